//! `strayd demo`: the whole way on shipped data, with an embedded Kafka broker.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::demo::{self, data::DemoData};

/// Arguments of `strayd demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Which data: `server` (38 metrics of a server) or `mentions` (user engagement of ten companies)
    #[arg(long, value_enum, default_value_t = DemoData::Server)]
    pub data: DemoData,
    /// Print the summary as one JSON object on the last line of stdout
    #[arg(long)]
    pub json: bool,
    /// Leave broker, daemon and metrics running after the summary, until Ctrl-C
    #[arg(long)]
    pub keep_running: bool,
    /// Folder for the configuration file and the model; it holds nothing else
    #[arg(long, default_value = "strayd-demo", value_name = "FOLDER")]
    pub dir: PathBuf,
}

/// Runs the demo.
pub fn run(args: &DemoArgs) -> Result<(), Failure> {
    let options =
        demo::Options { data: args.data, json: args.json, keep_running: args.keep_running, folder: args.dir.clone() };
    demo::run(&options)
}
