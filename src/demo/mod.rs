//! The demo: real labelled data through the whole daemon, judged against its labels.
//!
//! Nothing here is special to the demo but the feeding and the showing: it writes a configuration file, loads it as
//! `strayd run` does, and runs the same [`App`] with the same Kafka source and sink. The broker is librdkafka's mock
//! cluster in this process, so nothing has to be installed.

pub mod data;
pub mod display;
pub mod evaluate;
mod watch;

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use data::{DemoData, Replay};
use display::{Screen, TrainingBar};
use evaluate::Summary;
use watch::Watch;

use crate::{
    app::{self, App, Ends},
    cli::Failure,
    config::{Loaded, Sources, settings::Settings},
    kafka::{
        embedded::{EmbeddedBroker, Feeder, Reader},
        sink::KafkaSink,
        source::KafkaSource,
    },
    telemetry::log,
};

const INPUT_TOPIC: &str = "strayd.demo.records";
/// One partition keeps the records in the order of the labels; anomalies and dead letters are few.
const PARTITIONS: i32 = 1;
/// The replay stays this many records ahead of the daemon: the mock broker keeps 5 MiB per partition and drops older records.
const LEAD: u64 = 4_000;

/// What the demo is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which data.
    pub data: DemoData,
    /// Whether the summary is JSON.
    pub json: bool,
    /// Whether everything stays up.
    pub keep_running: bool,
    /// Folder for configuration and model.
    pub folder: PathBuf,
}

/// Runs the demo from broker to summary.
pub fn run(options: &Options) -> Result<(), Failure> {
    let started = Instant::now();
    let replay = Replay::read(options.data)?;
    let broker = EmbeddedBroker::start()?;
    let file = write_config(options, &replay, &broker)?;
    let loaded = Settings::load(&Sources::file(&file))?;
    log::init(&loaded.settings.log)?;
    for topic in [INPUT_TOPIC, &loaded.settings.kafka.anomaly_topic, &loaded.settings.kafka.dead_letter_topic] {
        broker.create_topic(topic, PARTITIONS)?;
    }
    let screen = Screen::new(options.json);
    screen.opening(options.data, &broker.bootstrap_servers(), &file, &replay);
    let stop = Arc::new(AtomicBool::new(false));
    app::stop_on_signals(Arc::clone(&stop), loaded.settings.pipeline.shutdown_deadline)?;
    let summary = play(options, &loaded, &replay, &Stage { broker: &broker, screen: &screen, stop: &stop, started })?;
    let summary = Summary { config_file: file.display().to_string(), broker: broker.bootstrap_servers(), ..summary };
    screen.summary(&summary);
    if options.json {
        println!("{}", summary.to_json_line());
        // The line may go to a pipe whose reader waits for it while the broker stays up.
        std::io::stdout().flush().map_err(|error| Failure::other(&error))?;
    }
    Ok(())
}
