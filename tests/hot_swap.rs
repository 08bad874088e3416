//! Hot swap: another model is taken up between two batches. No record is lost or scored twice, and windows outlive it.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use strayd::{
    model::registry::Registry,
    pipeline::{
        NoObserver, Observer, Polled, Source, SourceError, SourceEvent, Unscored,
        observed::Observed,
        run::{self, Parts, Plan, Start},
    },
    record::{Position, RawRecord},
    telemetry::{Board, Metrics},
    testing::MemorySink,
};
use support::{
    models::{models, raw, recipe},
    records::stream,
};

const PATIENCE: Duration = Duration::from_secs(60);

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

    fn finished(&mut self, _: Position, _: Option<i64>) -> Result<(), SourceError> {
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
    let start = Start::Model(Arc::clone(&pair[0]));
    let plan = Plan { follow: Some(registry.clone()), ..Plan::from(start) };
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
            _ => None,
        })
        .collect();
    assert_eq!(models.len(), 2, "both models raised alarms");
}

#[test]
fn a_cold_start_takes_the_model_that_another_replica_has_stored_and_scores_what_it_collected() {
    let (runtime, settings, pair) = models(&["training.rows=100000000"]);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let registry = Registry::new(folder.path());
    let (metrics, stop) = (Metrics::new(), AtomicBool::new(false));
    let (mut source, mut sink) = (Endless { records: stream(24, 800, 4, &[400]), lent: 0 }, MemorySink::default());
    let recipe = recipe(runtime.clone(), settings.clone());
    let start = Start::ColdStart { recipe: Box::new(recipe), registry: registry.clone() };
    let count = |what: &str| -> u64 {
        let text = metrics.render();
        let line =
            text.lines().find_map(|line| line.strip_prefix(&format!("strayd_records_total{{outcome=\"{what}\"}} ")));
        line.and_then(|value| value.parse().ok()).expect("the series exists")
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            registry.publish(&pair[0], None).expect("another replica can store its model");
            let begun = Instant::now();
            while count("normal") < 2_000 && begun.elapsed() < PATIENCE {
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        let parts = Parts {
            source: &mut source,
            sink: &mut sink,
            observer: &mut NoObserver,
            progress: &mut |_| {},
            metrics: &metrics,
            board: &Board::default(),
            stop: &stop,
        };
        let plan = Plan { follow: Some(registry.clone()), ..Plan::from(start) };
        run::run(parts, plan, &settings, &runtime).expect("the run ends well");
    });
    let ended = ["normal", "anomalous", "suppressed", "warming_up"].map(count).iter().sum::<u64>();
    assert_eq!((ended, count("collected")), (source.lent as u64, 0), "what was collected is scored, once");
    assert_eq!(
        registry.current_version().expect("it can be read"),
        Some(pair[0].version.clone()),
        "no model of its own"
    );
}
