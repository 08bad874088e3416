//! `strayd healthcheck`: whether the daemon on this machine is well, for a container's health check.

use std::time::Duration;

use clap::Args;

use super::{ConfigArgs, Failure, output};
use crate::{config::Settings, http::probe};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Arguments of `strayd healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// The daemon's configuration, which says where it listens
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Ask whether it can score (/readyz) and not only whether it moves (/healthz)
    #[arg(long)]
    pub ready: bool,
}

/// Asks, and prints the answer. A no is a failure.
pub fn run(args: &HealthcheckArgs) -> Result<(), Failure> {
    let settings = Settings::load(&args.config.sources())?.settings;
    let Some(listen) = settings.http.listen else {
        return Err(Failure::config(&"http.listen is `none`, so nobody can be asked; expected an address"));
    };
    let page = if args.ready { "/readyz" } else { "/healthz" };
    let answer = probe::ask(listen, page, PATIENCE).map_err(|error| Failure::other(&error))?;
    output::print(&format!("{}\n", answer.trim_end()))
}
