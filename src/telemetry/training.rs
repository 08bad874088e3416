//! Metrics of training: its runs, what they were made of, and what the gate said of their models.

use std::time::{Duration, SystemTime};

use prometheus::{Gauge, IntCounter, Registry};
use tracing::{debug, error, info, warn};

use super::{
    describe::{self, Part, TrainingResult},
    metrics::Metrics,
    register::{counters, gauge},
};
use crate::train::{EpochReport, TimedEpoch, gate::Check, recent::KeptOut};

/// How a training run went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingOutcome {
    /// Epochs run, of all members together.
    pub epochs: usize,
    /// Loss on the fitted rows at the end.
    pub training_loss: f64,
    /// Loss on the held-back rows at the end.
    pub validation_loss: f64,
    /// Time it took.
    pub took: Duration,
}

#[derive(Debug)]
pub(super) struct TrainingMetrics {
    runs: Vec<IntCounter>,
    refusals: Vec<IntCounter>,
    in_progress: Gauge,
    last_success: Gauge,
    next: Gauge,
    sample_rows: Gauge,
    sample_entities: Gauge,
    kept_out: Vec<IntCounter>,
    epoch: Gauge,
    training_loss: Gauge,
    validation_loss: Gauge,
    epochs: Gauge,
    rows_per_second: Gauge,
    seconds_left: Gauge,
    seconds: Gauge,
}

impl TrainingMetrics {
    pub(super) fn new(add: &Registry) -> Self {
        Self {
            runs: counters(add, &describe::TRAINING_RUNS),
            refusals: counters(add, &describe::GATE_REFUSALS),
            in_progress: gauge(add, &describe::TRAINING_IN_PROGRESS, 0.0),
            last_success: gauge(add, &describe::TRAINING_LAST_SUCCESS, f64::NAN),
            next: gauge(add, &describe::TRAINING_NEXT, f64::NAN),
            sample_rows: gauge(add, &describe::SAMPLE_ROWS, 0.0),
            sample_entities: gauge(add, &describe::SAMPLE_ENTITIES, 0.0),
            kept_out: counters(add, &describe::SAMPLE_KEPT_OUT),
            epoch: gauge(add, &describe::TRAINING_EPOCH, 0.0),
            training_loss: gauge(add, &describe::TRAINING_LOSS, f64::NAN),
            validation_loss: gauge(add, &describe::VALIDATION_LOSS, f64::NAN),
            epochs: gauge(add, &describe::TRAINING_EPOCHS, 0.0),
            rows_per_second: gauge(add, &describe::TRAINING_ROWS_PER_SECOND, f64::NAN),
            seconds_left: gauge(add, &describe::TRAINING_SECONDS_LEFT, f64::NAN),
            seconds: gauge(add, &describe::TRAINING_SECONDS, 0.0),
        }
    }

    fn ended(&self, result: TrainingResult) {
        self.runs[result as usize].inc();
        self.over();
    }

    fn over(&self) {
        self.in_progress.set(0.0);
        self.seconds_left.set(f64::NAN);
    }
}

impl Metrics {
    /// Training began on this many rows, for this many epochs at most. What the last one came to says nothing of it.
    pub fn training_started(&self, rows: usize, epochs: usize) {
        let of = &self.training;
        of.in_progress.set(1.0);
        of.epoch.set(0.0);
        of.epochs.set(epochs as f64);
        [&of.rows_per_second, &of.seconds_left, &of.training_loss, &of.validation_loss]
            .iter()
            .for_each(|gauge| gauge.set(f64::NAN));
        info!(rows, epochs, "training started");
    }

    /// An epoch is done.
    pub fn training_epoch(&self, timed: &TimedEpoch) {
        let TimedEpoch { report, rows_per_second, seconds_left } = *timed;
        let EpochReport { epoch, epochs, training_loss, validation_loss, .. } = report;
        self.training.epoch.set(epoch as f64);
        self.training.epochs.set(epochs as f64);
        self.training.rows_per_second.set(rows_per_second);
        self.training.seconds_left.set(seconds_left);
        self.training.training_loss.set(training_loss);
        self.training.validation_loss.set(validation_loss);
        // Hundreds of epochs would fill the log: the first and each tenth part of them are enough.
        if epoch == 1 || epoch * 10 / epochs.max(1) > (epoch - 1) * 10 / epochs.max(1) {
            info!(epoch, epochs, training_loss, validation_loss, rows_per_second, seconds_left, "training");
        } else {
            debug!(epoch, epochs, training_loss, validation_loss, rows_per_second, seconds_left, "training");
        }
    }

    /// Training ended with a model that goes live.
    pub fn training_finished(&self, outcome: &TrainingOutcome) {
        let TrainingOutcome { epochs, training_loss, validation_loss, took } = *outcome;
        self.training.ended(TrainingResult::Succeeded);
        self.training.last_success.set(epoch_seconds(SystemTime::now()));
        // The epochs of all members together are no epoch of the run: that was told with the last one.
        self.training.training_loss.set(training_loss);
        self.training.validation_loss.set(validation_loss);
        self.training.seconds.set(took.as_secs_f64());
        info!(epochs, training_loss, validation_loss, seconds = took.as_secs_f64(), "training finished");
    }

    /// Training ended without a model.
    pub fn training_failed(&self, cause: &str) {
        self.training.ended(TrainingResult::Failed);
        self.count_error(Part::Training);
        error!("training failed: {cause}");
    }

    /// Training ended with a model that did not pass these checks of the gate; the one in use stays.
    pub fn training_refused(&self, checks: &[Check], why: &str) {
        self.training.ended(TrainingResult::Refused);
        self.gate_refused(checks, why);
    }

    /// A new model did not pass these checks of the gate.
    pub fn gate_refused(&self, checks: &[Check], why: &str) {
        checks.iter().for_each(|check| self.training.refusals[*check as usize].inc());
        let checks: Vec<&str> = checks.iter().map(|check| check.as_str()).collect();
        warn!(checks = checks.join(","), "the gate refuses a new model: {why}");
    }

    /// Training was told to stop before its end, as at shutdown.
    pub fn training_stopped(&self) {
        self.training.over();
        info!("training stopped before its end");
    }

    /// When training is due next, seconds since the epoch; `None` while it is not.
    pub fn training_due(&self, at: Option<i64>) {
        self.training.next.set(at.map_or(f64::NAN, |seconds| seconds as f64));
    }

    /// So many rows of so many entities are at hand for the next training.
    pub fn training_sample(&self, rows: usize, entities: usize) {
        self.training.sample_rows.set(rows as f64);
        self.training.sample_entities.set(entities as f64);
    }

    /// So many rows were kept out of the sample.
    pub fn kept_out(&self, reason: KeptOut, rows: u64) {
        self.training.kept_out[reason as usize].inc_by(rows);
    }
}

fn epoch_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::telemetry::metrics::tests::value;

    const OUTCOME: TrainingOutcome =
        TrainingOutcome { epochs: 9, training_loss: 0.1, validation_loss: 0.2, took: Duration::from_secs(2) };

    #[test]
    fn training_shows_its_course_and_its_end() {
        let metrics = Metrics::new();
        metrics.training_started(100, 20);
        assert!(value(&metrics, "strayd_training_seconds_left").is_nan());
        let report =
            EpochReport { epoch: 3, epochs: 10, rows: 100, training_loss: 0.5, validation_loss: 0.6, best_epoch: 3 };
        metrics.training_epoch(&TimedEpoch { report, rows_per_second: 2_000.0, seconds_left: 3.5 });
        assert_eq!(value(&metrics, "strayd_training_epoch"), 3.0);
        assert_eq!(value(&metrics, "strayd_training_epochs"), 10.0);
        assert_eq!(value(&metrics, "strayd_training_loss"), 0.5);
        assert_eq!(value(&metrics, "strayd_validation_loss"), 0.6);
        assert_eq!(value(&metrics, "strayd_training_rows_per_second"), 2_000.0);
        assert_eq!(value(&metrics, "strayd_training_seconds_left"), 3.5);
        assert_eq!(value(&metrics, "strayd_training_in_progress"), 1.0);
        metrics.training_finished(&OUTCOME);
        metrics.training_failed("no rows");
        assert_eq!(value(&metrics, "strayd_training_runs_total{result=\"succeeded\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_training_runs_total{result=\"failed\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_training_epoch"), 3.0, "three members had three epochs each");
        assert_eq!(value(&metrics, "strayd_validation_loss"), 0.2);
        assert_eq!(value(&metrics, "strayd_training_seconds"), 2.0);
        assert!(value(&metrics, "strayd_training_seconds_left").is_nan(), "nothing is under way");
    }

    #[test]
    fn a_training_that_begins_shows_nothing_of_the_last_one() {
        let metrics = Metrics::new();
        metrics.training_started(100, 20);
        let report =
            EpochReport { epoch: 3, epochs: 10, rows: 100, training_loss: 0.5, validation_loss: 0.6, best_epoch: 3 };
        metrics.training_epoch(&TimedEpoch { report, rows_per_second: 2_000.0, seconds_left: 3.5 });
        metrics.training_finished(&OUTCOME);
        metrics.training_started(100, 20);
        assert_eq!(value(&metrics, "strayd_training_epoch"), 0.0);
        assert_eq!(value(&metrics, "strayd_training_epochs"), 20.0);
        for name in [
            "strayd_training_loss",
            "strayd_validation_loss",
            "strayd_training_rows_per_second",
            "strayd_training_seconds_left",
        ] {
            assert!(value(&metrics, name).is_nan(), "{name}");
        }
    }

    /// Log lines that the test can read.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_log_tells_of_an_epoch_its_losses_its_speed_and_the_time_left() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let metrics = Metrics::new();
            for epoch in 1..=40 {
                let report = EpochReport {
                    epoch,
                    epochs: 40,
                    rows: 100,
                    training_loss: 0.5,
                    validation_loss: 0.6,
                    best_epoch: epoch,
                };
                metrics.training_epoch(&TimedEpoch { report, rows_per_second: 2_000.0, seconds_left: 3.5 });
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let told: Vec<&str> = text.lines().collect();
        assert_eq!(told.len(), 11, "the first epoch and each tenth part of them: {text}");
        for words in [
            "epoch=8 ",
            "epochs=40 ",
            "training_loss=0.5 ",
            "validation_loss=0.6 ",
            "rows_per_second=2000.0 ",
            "seconds_left=3.5",
        ] {
            assert!(told[2].contains(words), "{words} is missing in {}", told[2]);
        }
    }

    #[test]
    fn training_is_in_progress_until_it_ends_in_whatever_way() {
        let ends: [fn(&Metrics); 4] = [
            |metrics| metrics.training_finished(&OUTCOME),
            |metrics| metrics.training_failed("no rows"),
            |metrics| metrics.training_refused(&[Check::WorseThanPca], "0.2 is more than 0.1"),
            Metrics::training_stopped,
        ];
        for end in ends {
            let metrics = Metrics::new();
            metrics.training_started(100, 20);
            assert_eq!(value(&metrics, "strayd_training_in_progress"), 1.0);
            end(&metrics);
            assert_eq!(value(&metrics, "strayd_training_in_progress"), 0.0);
        }
    }

    #[test]
    fn only_a_model_that_goes_live_is_a_success() {
        let metrics = Metrics::new();
        metrics.training_failed("no rows");
        metrics.training_refused(&[Check::NonFinite], "NaN");
        assert!(value(&metrics, "strayd_training_last_success_timestamp_seconds").is_nan());
        metrics.training_finished(&OUTCOME);
        let told = value(&metrics, "strayd_training_last_success_timestamp_seconds");
        assert!((told - epoch_seconds(SystemTime::now())).abs() < 60.0, "{told}");
    }

    #[test]
    fn a_refusal_counts_once_as_a_run_and_once_per_check() {
        let metrics = Metrics::new();
        metrics.training_refused(&[Check::WorseThanCurrent, Check::AlarmRate], "worse, and too loud");
        assert_eq!(value(&metrics, "strayd_training_runs_total{result=\"refused\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_gate_refusals_total{reason=\"worse_than_current\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_gate_refusals_total{reason=\"alarm_rate\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_gate_refusals_total{reason=\"export_differs\"}"), 0.0);
    }

    #[test]
    fn sample_and_schedule_are_shown() {
        let metrics = Metrics::new();
        assert!(value(&metrics, "strayd_training_next_timestamp_seconds").is_nan());
        metrics.training_due(Some(1_800_000_000));
        metrics.training_sample(500, 7);
        metrics.kept_out(KeptOut::Incident, 3);
        assert_eq!(value(&metrics, "strayd_training_next_timestamp_seconds"), 1.8e9);
        assert_eq!(value(&metrics, "strayd_training_sample_rows"), 500.0);
        assert_eq!(value(&metrics, "strayd_training_sample_entities"), 7.0);
        assert_eq!(value(&metrics, "strayd_training_sample_kept_out_total{reason=\"incident\"}"), 3.0);
        metrics.training_due(None);
        assert!(value(&metrics, "strayd_training_next_timestamp_seconds").is_nan());
    }
}
