//! `strayd retrain`: asks a running daemon for a new model.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{Failure, output};
use crate::http::{admin, client};

/// How long the daemon may take to say whether it begins.
const PATIENCE: Duration = Duration::from_secs(15);

/// Arguments of `strayd retrain`.
#[derive(Debug, Args)]
pub struct RetrainArgs {
    /// Where the daemon serves metrics and probes (`http.listen`)
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    pub url: String,
    /// File with the bearer token, the same as the daemon's `http.admin_token_file`
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
}

/// The daemon said no.
#[derive(Debug, thiserror::Error)]
#[error("{url} refuses: {why} (HTTP {status})")]
struct Refused {
    url: String,
    status: u16,
    why: String,
}

/// Asks, and prints the daemon's answer.
pub fn run(args: &RetrainArgs) -> Result<(), Failure> {
    let token = admin::read_token(&args.token_file).map_err(|error| Failure::config(&error))?;
    let url = format!("{}/admin/retrain", args.url.trim_end_matches('/'));
    let answer = client::post(&url, Some(&token), PATIENCE).map_err(|error| Failure::other(&error))?;
    if answer.status == 202 {
        return output::print(&format!("{}\n", answer.body.trim()));
    }
    let why = answer.body.trim().to_owned();
    Err(Failure::other(&Refused { url, status: answer.status, why }))
}
