//! `strayd run`: the daemon.

use std::sync::{Arc, atomic::AtomicBool};

use clap::Args;

use super::{ConfigArgs, Failure};
use crate::{
    app::{self, App, Ends},
    kafka::{sink::KafkaSink, source::KafkaSource},
    pipeline::NoObserver,
    telemetry::log,
};

/// Arguments of `strayd run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Runs the daemon until SIGTERM or SIGINT.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let loaded = args.config.load_for_run()?;
    log::init(&loaded.settings.log)?;
    let stop = Arc::new(AtomicBool::new(false));
    app::stop_on_signals(Arc::clone(&stop), loaded.settings.pipeline.shutdown_deadline)?;
    let app = App::build(&loaded)?;
    let start = app.start()?;
    // Before the group is joined: partitions belong to those who can score.
    if !app.wait_for_device(&start, &stop) {
        return Ok(());
    }
    let mut source = KafkaSource::connect(&loaded.settings.kafka)?;
    let mut sink = KafkaSink::connect(&loaded.settings.kafka)?;
    let ends = Ends { source: &mut source, sink: &mut sink, observer: &mut NoObserver, progress: &mut |_| {} };
    let summary = app.run(start, ends, &stop)?;
    tracing::info!(
        records = summary.records,
        anomalies = summary.anomalies,
        dead_letters = summary.dead_letters,
        "drained, goodbye"
    );
    Ok(())
}
