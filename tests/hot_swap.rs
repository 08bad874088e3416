//! Hot swap: another model is taken up between two batches. No record is lost or scored twice, windows outlive it, and the
//! old session's memory is given back.

mod support;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use strayd::{
    config::{Settings, Sources},
    detect::{Scorers, runtime::Runtime},
    model::{Model, registry::Registry},
    pipeline::{
        NoObserver, Observer, Polled, Source, SourceError, SourceEvent, Unscored,
        observed::Observed,
        prepared::Prepared,
        run::{self, Parts, Plan, Start},
        scoring::{End, Scoring},
    },
    record::{Position, RawRecord},
    telemetry::{Board, Metrics},
    testing::MemorySink,
    train::{recipe::Recipe, sample::SampleRecord},
};
use support::records::stream;

const PATIENCE: Duration = Duration::from_secs(60);

fn settings(sets: &[&str]) -> Settings {
    let fixed = ["record.entity=key", "record.timestamp.field=time", "training.epochs=3", "model.poll_interval=100ms"];
    let set = fixed.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    Settings::load(&Sources { set, ..Sources::default() }).expect("the settings are sound").settings
}

/// Two models of the same records that differ by their seed, and what they were made with.
fn models(sets: &[&str]) -> (Runtime, Settings, [Arc<Model>; 2]) {
    let runtime = Runtime::load(None).expect("ONNX Runtime is here");
    let sample: Vec<SampleRecord> =
        stream(21, 2_000, 4, &[]).iter().enumerate().filter_map(|(at, record)| SampleRecord::copy(&raw(at, record))).collect();
    let make = |seed: &str| {
        let seed = format!("training.seed={seed}");
        let recipe = Recipe {
            settings: Arc::new(settings(&[sets, &[seed.as_str()]].concat())),
            scorers: Arc::new(runtime.clone()),
            foreign: None,
            source: "memory".to_owned(),
            config_sha256: String::new(),
            created: "2026-01-01T00:00:00Z".to_owned(),
            parent: None,
        };
        Arc::new(recipe.train(&sample, &mut |_| std::ops::ControlFlow::Continue(())).expect("a model can be made"))
    };
    let pair = [make("1"), make("2")];
    assert_ne!(pair[0].version, pair[1].version);
    (runtime.clone(), settings(sets), pair)
}

fn raw(at: usize, record: &support::records::Record) -> RawRecord<'_> {
    RawRecord {
        position: Position { partition: 0, offset: at as i64 },
        timestamp_ms: Some(at as i64),
        key: Some(record.key.as_bytes()),
        payload: Some(record.payload.as_bytes()),
    }
}

/// Lends the same records over and over, with offsets that go on, until the run is told to stop.
struct Endless {
    records: Vec<support::records::Record>,
    lent: usize,
}

impl Source for Endless {
    fn poll(&mut self, max: usize, _: Duration, visit: &mut dyn FnMut(RawRecord<'_>)) -> Result<Polled, SourceError> {
        // Few at a time, so that swaps meet open batches of all sizes.
        let count = max.min(1 + self.lent % 7);
        for _ in 0..count {
            visit(raw(self.lent, &self.records[self.lent % self.records.len()]));
            self.lent += 1;
        }
        Ok(Polled::Records(count))
    }

    fn events(&mut self) -> Vec<SourceEvent> {
        Vec::new()
    }

    fn finished(&mut self, _: Position) -> Result<(), SourceError> {
        Ok(())
    }

    fn pause(&mut self, _: bool) -> Result<(), SourceError> {
        Ok(())
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn commit_last(&mut self, _: Duration) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Counts how often each offset ended, and how often for want of a full window.
#[derive(Default)]
struct Ends {
    ends: Vec<u8>,
    warming_up: usize,
}

impl Ends {
    fn end(&mut self, position: Position) {
        let offset = position.offset as usize;
        self.ends.resize(self.ends.len().max(offset + 1), 0);
        self.ends[offset] += 1;
    }
}

impl Observer for Ends {
    fn judged(&mut self, record: &Observed<'_>) {
        self.end(record.position);
    }

    fn unscored(&mut self, record: &Unscored<'_>) {
        self.end(record.position);
        self.warming_up += 1;
    }
}

fn swaps(metrics: &Metrics) -> u64 {
    let text = metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix("strayd_model_swaps_total{result=\"swapped\"} "));
    line.and_then(|value| value.parse().ok()).expect("the series exists")
}

#[test]
fn while_models_are_swapped_each_record_ends_once_and_windows_stay_full() {
    let (runtime, settings, pair) = models(&["pipeline.batch_rows=16"]);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let registry = Registry::new(folder.path());
    registry.publish(&pair[1], None).expect("a model can be stored");
    registry.publish(&pair[0], None).expect("a model can be stored");
    let (metrics, stop) = (Metrics::new(), AtomicBool::new(false));
    let (mut source, mut sink) = (Endless { records: stream(22, 800, 4, &[400]), lent: 0 }, MemorySink::default());
    let mut ends = Ends::default();
    let plan =
        Plan { start: Start::Model(Arc::clone(&pair[0])), follow: Some(registry.clone()), learning: None };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for swap in 1..=6 {
                registry.promote(&pair[swap % 2].version, false).expect("a stored model can be put to use");
                let begun = Instant::now();
                while swaps(&metrics) < swap as u64 && begun.elapsed() < PATIENCE {
                    std::thread::yield_now();
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        let parts = Parts {
            source: &mut source,
            sink: &mut sink,
            observer: &mut ends,
            progress: &mut |_| {},
            metrics: &metrics,
            board: &Board::default(),
            stop: &stop,
        };
        run::run(parts, plan, &settings, &runtime).expect("the run ends well");
    });
    assert_eq!(swaps(&metrics), 6);
    assert_eq!(ends.ends.len(), source.lent);
    assert!(ends.ends.iter().all(|count| *count == 1), "a record is lost or ended twice");
    assert_eq!(ends.warming_up, 4 * 3, "the first rows of four entities, and none after a swap");
    let models: std::collections::BTreeSet<String> = sink
        .outputs
        .iter()
        .filter_map(|(_, output)| match output {
            strayd::pipeline::Output::Anomaly { json, .. } => {
                let event: serde_json::Value = serde_json::from_slice(json).expect("an event is JSON");
                event["model"].as_str().map(str::to_owned)
            }
            strayd::pipeline::Output::DeadLetter { .. } => None,
        })
        .collect();
    assert_eq!(models.len(), 2, "both models raised alarms");
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("Linux tells");
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number of pages") * 4096
}

fn score(scoring: &mut Scoring, records: &[support::records::Record]) {
    for (at, record) in records.iter().enumerate() {
        if scoring.room() == 0 {
            scoring.flush(&mut NoObserver, &mut |_, _: End| {}).expect("the model scores");
        }
        scoring.take(&raw(at, record), &mut NoObserver);
    }
    scoring.flush(&mut NoObserver, &mut |_, _: End| {}).expect("the model scores");
}

#[test]
fn a_hundred_swaps_leave_the_memory_as_it_was() {
    let (runtime, settings, pair) = models(&["training.hidden=[512,256]", "training.epochs=1"]);
    let records = stream(23, 1_000, 4, &[]);
    let scorers: &dyn Scorers = &runtime;
    let prepare = |at: usize| Prepared::new(Arc::clone(&pair[at % 2]), &settings, scorers).expect("the model loads");
    let mut scoring = Scoring::new(prepare(0), &settings);
    let mut swap = |from: usize, to: usize| {
        for at in from..to {
            score(&mut scoring, &records);
            // Made on another thread, as in the daemon: what it allocates is freed on this one.
            let prepared = std::thread::scope(|scope| scope.spawn(|| prepare(at)).join().expect("it is prepared"));
            drop(scoring.swap(prepared));
        }
    };
    swap(0, 20);
    let before = resident();
    swap(20, 120);
    let after = resident();
    let grown = after as f64 / before as f64 - 1.0;
    println!("resident after 20 swaps {before}, after 120 {after}: {:+.2} %", grown * 100.0);
    assert!(grown <= 0.05, "resident memory grew from {before} to {after} bytes");
}
