//! The demo: real labelled data through the whole daemon, judged against its labels.
//!
//! Nothing here is special to the demo but the feeding and the showing: it writes a configuration file, loads it as
//! `strayd run` does, and runs the same [`App`] with the same Kafka source and sink. The broker is librdkafka's mock
//! cluster in this process, so nothing has to be installed.

pub mod data;
pub mod display;
mod setup;
pub mod summary;
mod watch;

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use data::{DemoData, DemoRecord};
use display::{Colour, TrainingProgress, incident_line, summary_table};
use summary::Summary;
use watch::{News, Tally, Watch};

use crate::{
    app::{self, App, AppError, Ends},
    cli::{
        Failure,
        output::{is_read, print},
    },
    config::{Loaded, settings::AlarmBudget},
    file::FileError,
    kafka::{
        KafkaError,
        embedded::{EmbeddedBroker, Fed, Feeder, Reader},
        sink::KafkaSink,
        source::KafkaSource,
    },
    telemetry::log,
    train::TimedEpoch,
};

/// The replay stays at most this many records ahead of the daemon: the mock broker keeps 5 MiB per partition.
const LEAD: u64 = 6_000;
/// Without a word from the daemon for so long, of a record or of an epoch, something is wrong.
const SILENCE: Duration = Duration::from_secs(60);

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

/// What is replayed: the part to train on, then the part to score.
struct Replay {
    records: Vec<DemoRecord>,
    trained: usize,
}

impl Replay {
    fn read(data: DemoData) -> Result<Self, FileError> {
        let mut records = data.train()?;
        let trained = records.len();
        records.extend(data.stream()?);
        Ok(Self { records, trained })
    }
}

/// Runs the demo from broker to summary.
pub fn run(options: &Options) -> Result<(), Failure> {
    let replay = Replay::read(options.data)?;
    let broker = EmbeddedBroker::start()?;
    let address = broker.bootstrap_servers();
    let file = setup::write_config(options, replay.trained, &address)?;
    let loaded = setup::load(&file)?;
    log::init(&loaded.settings.log)?;
    for topic in setup::topics(&loaded.settings) {
        broker.create_topic(topic, 1)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    app::stop_on_signals(Arc::clone(&stop), loaded.settings.pipeline.shutdown_deadline)?;
    let app = App::build(&loaded)?;
    say(options, &setup::opening(options, &loaded, &address, app.http_address()))?;
    let scene = Scene { options, loaded: &loaded, replay: &replay, address: &address, file: &file, stop: &stop };
    scene.play(&app)
}

/// What people read: on stdout, or on stderr where stdout is for programs. Whoever has seen enough of it ends the show,
/// which is no failure.
fn say(options: &Options, text: &str) -> Result<(), Failure> {
    let written =
        if options.json { writeln!(std::io::stderr(), "{text}") } else { writeln!(std::io::stdout(), "{text}") };
    if is_read(written)? { Ok(()) } else { Err(Failure::told(0)) }
}

/// Everything that the acts of the demo share.
struct Scene<'a> {
    options: &'a Options,
    loaded: &'a Loaded,
    replay: &'a Replay,
    address: &'a str,
    file: &'a Path,
    stop: &'a AtomicBool,
}

impl Scene<'_> {
    /// Daemon and feeder on their own threads, the show on this one.
    fn play(&self, app: &App) -> Result<(), Failure> {
        let (teller, told) = channel();
        let ended = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let daemon = scope.spawn(|| {
                let result = self.daemon(app, teller, &ended);
                // Whatever happened to the daemon, nobody should go on waiting for it.
                self.stop.store(true, Ordering::SeqCst);
                result
            });
            let feeder = scope.spawn(|| self.feed(&ended));
            let shown = self.show(&told);
            if !(self.options.keep_running && shown.is_ok()) {
                self.stop.store(true, Ordering::SeqCst);
            }
            let fed = feeder.join().unwrap_or_else(|_| Err(lost("the replay")));
            let ran = daemon.join().unwrap_or_else(|_| Err(lost("the daemon")));
            ran.and(fed).and(shown)
        })
    }

    fn daemon(&self, app: &App, teller: Sender<News>, ended: &AtomicU64) -> Result<(), Failure> {
        let Some(plan) = app.plan(self.stop)? else { return Ok(()) };
        let mut source = KafkaSource::connect(&self.loaded.settings.kafka)?;
        let mut sink = KafkaSink::connect(&self.loaded.settings.kafka)?;
        let mut watch = Watch::new(teller.clone(), ended);
        // The show may be over before the daemon; nobody listens then.
        let mut progress = |report: &TimedEpoch| drop(teller.send(News::Epoch(*report)));
        let ends = Ends { source: &mut source, sink: &mut sink, observer: &mut watch, progress: &mut progress };
        app.run(plan, ends, self.stop)?;
        Ok(())
    }

    /// Replays the records, a little ahead of the daemon.
    fn feed(&self, ended: &AtomicU64) -> Result<(), Failure> {
        let feeder = Feeder::connect(self.address, &self.loaded.settings.kafka.input_topic)?;
        let key = self.options.data.entity().as_bytes();
        for (index, record) in self.replay.records.iter().enumerate() {
            while index as u64 > ended.load(Ordering::Relaxed) + LEAD && index >= self.replay.trained + LEAD as usize {
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            feeder.feed(&Fed {
                key: Some(key),
                payload: Some(&record.payload),
                timestamp_ms: Some(record.time_ms),
                partition: Some(0),
            })?;
        }
        Ok(feeder.flush(Duration::from_secs(30))?)
    }

    /// Shows what the daemon tells until all records have ended, then sums up.
    fn show(&self, news: &Receiver<News>) -> Result<(), Failure> {
        let colour =
            Colour::of(!self.options.json && std::io::stdout().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
        let tally = self.watch(news, colour)?;
        let summary = self.sum_up(&tally)?;
        say(self.options, &summary_table(&summary, colour))?;
        say(self.options, &setup::closing(self.options, self.file))?;
        if self.options.json {
            print(&format!("{}\n", summary.to_json_line()))?;
        }
        Ok(())
    }

    /// Shows training and incidents until all records have ended.
    fn watch(&self, news: &Receiver<News>, colour: Colour) -> Result<Tally, Failure> {
        let mut tally = Tally::new(self.replay.records.len(), self.replay.trained);
        let mut bar = Some(TrainingProgress::new(std::io::stderr().is_terminal(), Box::new(std::io::stderr())));
        while !tally.is_complete() {
            match news.recv_timeout(SILENCE) {
                // A terminal that can't be written to is no reason to stop the show.
                Ok(News::Epoch(report)) => drop(bar.as_mut().map(|bar| bar.epoch(&report))),
                Ok(News::Ended(told)) => {
                    if told.is_scored() {
                        // The training may have ended before its last epoch.
                        drop(bar.take().map(TrainingProgress::finish));
                    }
                    if let Some(opened) = tally.take(told) {
                        say(self.options, &opened.write(|line| incident_line(line, colour)))?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(lost("a record on its way")),
                // The daemon has ended, by a fault that it tells itself or because it was asked to.
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::other(&Stopped)),
            }
        }
        Ok(tally)
    }

    /// The summary: what came out is read back from the output topics, as any consumer would.
    fn sum_up(&self, tally: &Tally) -> Result<Summary, Failure> {
        let kafka = &self.loaded.settings.kafka;
        let labels: Vec<bool> = self.replay.records[self.replay.trained..].iter().map(|record| record.label).collect();
        let anomalies_out = self.read_back(&kafka.anomaly_topic, tally.anomalies())?;
        let dead_letters = self.read_back(&kafka.dead_letter_topic, tally.dead_letters())?;
        let times: Vec<Option<i64>> =
            self.replay.records[self.replay.trained..].iter().map(|record| Some(record.time_ms * 1000)).collect();
        let evaluation = tally.evaluate(&labels, &times).map_err(|error| Failure::other(&error))?;
        let promised = match self.loaded.settings.judging.budget {
            AlarmBudget::PerEntityAndDay(alarms) => Some(alarms),
            AlarmBudget::PerDay(_) | AlarmBudget::Quantile(_) => None,
        };
        Ok(Summary {
            records_in: tally.records(),
            anomalies_out,
            dead_letters,
            events_labelled: evaluation.events.labelled,
            events_found: evaluation.events.found,
            precision: evaluation.precision,
            recall: evaluation.recall,
            auroc: evaluation.auroc,
            aucpr: evaluation.aucpr,
            alarm_rate_promised: promised,
            alarm_rate_measured: evaluation.events.false_alarms_per_day,
            records_per_second: tally.records_per_second(),
            seconds: tally.seconds(),
            incidents: tally.incidents(),
            model: setup::model_file(&self.loaded.settings),
            broker: self.address.to_owned(),
            config_file: Some(self.file.display().to_string()),
        })
    }

    /// Counts the messages of an output topic, waiting until as many are there as the daemon judged.
    fn read_back(&self, topic: &str, expected: u64) -> Result<u64, KafkaError> {
        let reader = Reader::connect(self.address, topic, 1)?;
        let until = Instant::now() + Duration::from_secs(10);
        let mut count = 0;
        while count < expected && Instant::now() < until {
            count += u64::from(reader.next(Duration::from_millis(200)).is_some());
        }
        Ok(count)
    }
}

/// The demo was stopped by a signal.
#[derive(Debug, thiserror::Error)]
#[error("the demo was stopped before its end, so it has no summary")]
struct Stopped;

fn lost(what: &str) -> Failure {
    Failure::other(&AppError::Lost(what.to_owned()))
}
