//! Metrics: all series exist from the start, so a dashboard never waits for a first event. Handles are looked up once;
//! the hot path adds up a batch in [`BatchCounts`] and [`LocalDelay`] and hands it over once.

use std::time::Duration;

use prometheus::{
    Gauge, GaugeVec, Histogram, IntCounter, Registry, TextEncoder, local::LocalHistogram,
    process_collector::ProcessCollector,
};
use tracing::{debug, error, info, warn};

use super::{
    board::ModelStatus,
    describe::{self, DeliveryResult, End, Outcome, OutputKind, TrainingResult},
    register::{counter, counters, counters_by_two, gauge, gauge_vec, gauges, histogram, histograms, register},
};
use crate::record::{DeadLetterReason, Position};

/// What one batch adds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BatchCounts {
    /// Rows that were scored together.
    pub rows: u64,
    /// Records that ended as normal.
    pub normal: u64,
    /// Records that ended as anomalous.
    pub anomalous: u64,
    /// Records whose window is not full yet.
    pub warming_up: u64,
    /// Records kept for the cold start.
    pub collected: u64,
    /// Missing values that were imputed.
    pub imputed_values: u64,
    /// Incidents that this batch opened.
    pub incidents_opened: u64,
    /// Entities that made room.
    pub entities_evicted: u64,
    /// Score of the last row; `None` if no row was scored.
    pub last_score: Option<f64>,
    /// Time in [`super::Stage::Receive`].
    pub receive: Duration,
    /// Time in [`super::Stage::Score`].
    pub score: Duration,
    /// Time in [`super::Stage::Judge`].
    pub judge: Duration,
    /// Time in [`super::Stage::Publish`].
    pub publish: Duration,
}

/// How a training run went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingOutcome {
    /// Epochs run.
    pub epochs: usize,
    /// Loss on the fitted rows at the end.
    pub training_loss: f64,
    /// Loss on the held-back rows at the end.
    pub validation_loss: f64,
    /// Time it took.
    pub took: Duration,
}

/// Event delays of one thread, gathered without contention.
#[derive(Debug)]
pub struct LocalDelay(LocalHistogram);

impl LocalDelay {
    /// Notes the time in seconds from a message's timestamp to its receipt; clocks that disagree give less than 0,
    /// which counts as 0.
    pub fn observe(&self, seconds: f64) {
        self.0.observe(seconds.max(0.0));
    }

    /// Hands over what was gathered; once per batch.
    pub fn flush(&self) {
        self.0.flush();
    }
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    records: Vec<IntCounter>,
    dead_letters: Vec<IntCounter>,
    /// By kind, then by result.
    outputs: Vec<Vec<IntCounter>>,
    incidents: IntCounter,
    incidents_open: Gauge,
    entities: Gauge,
    entities_evicted: IntCounter,
    imputed_values: IntCounter,
    batch_rows: Histogram,
    stage_time: Vec<Histogram>,
    event_delay: Histogram,
    consumer_lag: Gauge,
    connected: Vec<Gauge>,
    ready: Gauge,
    cold_start_remaining: Gauge,
    training_runs: Vec<IntCounter>,
    training_epoch: Gauge,
    training_loss: Gauge,
    validation_loss: Gauge,
    training_seconds: Gauge,
    model_info: GaugeVec,
    model_created: Gauge,
    model_limit: Gauge,
    alarm_rate_promised: Gauge,
    alarm_rate_measured: Gauge,
    score_last: Gauge,
    offsets_committed: IntCounter,
    device_info: GaugeVec,
    device_fallback: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers all metrics in a registry of their own.
    pub fn new() -> Self {
        let registry = Registry::new();
        let add = &registry;
        register(add, ProcessCollector::for_self());
        gauge_vec(add, &describe::BUILD_INFO).with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        Self {
            records: counters(add, &describe::RECORDS),
            dead_letters: counters(add, &describe::DEAD_LETTERS),
            outputs: counters_by_two(add, &describe::OUTPUTS),
            incidents: counter(add, &describe::INCIDENTS),
            incidents_open: gauge(add, &describe::INCIDENTS_OPEN, 0.0),
            entities: gauge(add, &describe::ENTITIES, 0.0),
            entities_evicted: counter(add, &describe::ENTITIES_EVICTED),
            imputed_values: counter(add, &describe::IMPUTED_VALUES),
            batch_rows: histogram(add, &describe::BATCH_ROWS),
            stage_time: histograms(add, &describe::STAGE_TIME),
            event_delay: histogram(add, &describe::EVENT_DELAY),
            consumer_lag: gauge(add, &describe::CONSUMER_LAG, 0.0),
            connected: gauges(add, &describe::CONNECTED),
            ready: gauge(add, &describe::READY, 0.0),
            cold_start_remaining: gauge(add, &describe::COLD_START_REMAINING, 0.0),
            training_runs: counters(add, &describe::TRAINING_RUNS),
            training_epoch: gauge(add, &describe::TRAINING_EPOCH, 0.0),
            training_loss: gauge(add, &describe::TRAINING_LOSS, f64::NAN),
            validation_loss: gauge(add, &describe::VALIDATION_LOSS, f64::NAN),
            training_seconds: gauge(add, &describe::TRAINING_SECONDS, 0.0),
            model_info: gauge_vec(add, &describe::MODEL_INFO),
            model_created: gauge(add, &describe::MODEL_CREATED, f64::NAN),
            model_limit: gauge(add, &describe::MODEL_LIMIT, f64::NAN),
            alarm_rate_promised: gauge(add, &describe::ALARM_RATE_PROMISED, f64::NAN),
            alarm_rate_measured: gauge(add, &describe::ALARM_RATE_MEASURED, f64::NAN),
            score_last: gauge(add, &describe::SCORE_LAST, f64::NAN),
            offsets_committed: counter(add, &describe::OFFSETS_COMMITTED),
            device_info: gauge_vec(add, &describe::DEVICE_INFO),
            device_fallback: gauge(add, &describe::DEVICE_FALLBACK, 0.0),
            registry,
        }
    }

    /// All metrics in Prometheus' text format 0.0.4.
    pub fn render(&self) -> String {
        let families = self.registry.gather();
        TextEncoder::new().encode_to_string(&families).expect("every family has a name and a type")
    }

    /// Adds what a batch gathered.
    pub fn batch(&self, counts: &BatchCounts) {
        let outcomes = [
            (Outcome::Normal, counts.normal),
            (Outcome::Anomalous, counts.anomalous),
            (Outcome::WarmingUp, counts.warming_up),
            (Outcome::Collected, counts.collected),
        ];
        for (outcome, count) in outcomes {
            self.records[outcome as usize].inc_by(count);
        }
        self.imputed_values.inc_by(counts.imputed_values);
        self.incidents.inc_by(counts.incidents_opened);
        self.entities_evicted.inc_by(counts.entities_evicted);
        if let Some(score) = counts.last_score {
            self.score_last.set(score);
        }
        if counts.rows > 0 {
            self.batch_rows.observe(counts.rows as f64);
        }
        let times = [counts.receive, counts.score, counts.judge, counts.publish];
        // A stage that had nothing to do says nothing of how long it takes.
        for (histogram, time) in self.stage_time.iter().zip(times).filter(|(_, time)| !time.is_zero()) {
            histogram.observe(time.as_secs_f64());
        }
    }

    /// So many entities are held in memory, and so many incidents are open.
    pub fn population(&self, entities: u64, incidents_open: u64) {
        self.entities.set(entities as f64);
        self.incidents_open.set(incidents_open as f64);
    }

    /// A place for one thread to gather event delays.
    pub fn local_delay(&self) -> LocalDelay {
        LocalDelay(self.event_delay.local())
    }

    /// A record could not be scored. Every one is counted; the first ten of a reason and then each thousandth make a
    /// line.
    pub fn dead_letter(&self, reason: DeadLetterReason, position: Position, cause: &str) {
        self.records[Outcome::DeadLetter as usize].inc();
        let counter = &self.dead_letters[reason as usize];
        counter.inc();
        let count = counter.get();
        if is_worth_a_line(count) {
            let Position { partition, offset } = position;
            warn!(partition, offset, reason = reason.as_str(), count, "a record could not be scored: {cause}");
        }
    }

    /// The broker has a message, or refuses it for good.
    pub fn delivered(&self, kind: OutputKind, position: Position, result: &Result<(), String>) {
        let of_kind = &self.outputs[kind as usize];
        match result {
            Ok(()) => of_kind[DeliveryResult::Acknowledged as usize].inc(),
            Err(cause) => {
                let counter = &of_kind[DeliveryResult::Refused as usize];
                counter.inc();
                if is_worth_a_line(counter.get()) {
                    let Position { partition, offset } = position;
                    let kind = OutputKind::WORDS[kind as usize];
                    error!(partition, offset, kind, "an output is lost, the broker refuses it: {cause}");
                }
            }
        }
    }

    /// An end of the pipeline is connected.
    pub fn connected(&self, end: End) {
        self.connected[end as usize].set(1.0);
        info!(end = End::WORDS[end as usize], "connected");
    }

    /// An end of the pipeline is not connected; it will be tried again.
    pub fn disconnected(&self, end: End, cause: &str) {
        self.connected[end as usize].set(0.0);
        warn!(end = End::WORDS[end as usize], "not connected, trying again: {cause}");
    }

    /// The cold start still waits for this many rows.
    pub fn cold_start_remaining(&self, rows: usize) {
        self.cold_start_remaining.set(rows as f64);
    }

    /// Training began on this many rows.
    pub fn training_started(&self, rows: usize) {
        self.training_epoch.set(0.0);
        info!(rows, "training started");
    }

    /// An epoch is done.
    pub fn training_epoch(&self, epoch: usize, training_loss: f64, validation_loss: f64) {
        self.training_epoch.set(epoch as f64);
        self.training_loss.set(training_loss);
        self.validation_loss.set(validation_loss);
        debug!(epoch, training_loss, validation_loss, "epoch done");
    }

    /// Training ended with a model.
    pub fn training_finished(&self, outcome: &TrainingOutcome) {
        let TrainingOutcome { epochs, training_loss, validation_loss, took } = *outcome;
        self.training_runs[TrainingResult::Succeeded as usize].inc();
        self.training_epoch.set(epochs as f64);
        self.training_loss.set(training_loss);
        self.validation_loss.set(validation_loss);
        self.training_seconds.set(took.as_secs_f64());
        info!(epochs, training_loss, validation_loss, seconds = took.as_secs_f64(), "training finished");
    }

    /// Training ended without a model.
    pub fn training_failed(&self, cause: &str) {
        self.training_runs[TrainingResult::Failed as usize].inc();
        error!("training failed: {cause}");
    }

    /// The device that models run on, and whether it is only the second choice of `auto`.
    pub fn device(&self, device: &str, fallback: bool) {
        self.device_info.reset();
        self.device_info.with_label_values(&[device]).set(1.0);
        self.device_fallback.set(f64::from(u8::from(fallback)));
    }

    /// Another model is in use from now on.
    pub fn model_loaded(&self, model: &ModelStatus) {
        self.model_info.reset();
        self.model_info.with_label_values(&[&model.version, &model.kind]).set(1.0);
        self.device_info.reset();
        self.device_info.with_label_values(&[&model.device]).set(1.0);
        let created = model.created.parse::<jiff::Timestamp>();
        self.model_created.set(created.map_or(f64::NAN, |time| time.as_millisecond() as f64 / 1000.0));
        self.model_limit.set(model.limit);
        let ModelStatus { version, kind, device, limit, .. } = model;
        info!(%version, %kind, %device, limit, "model in use");
    }

    /// The budget allows this many alarms per entity and day.
    pub fn alarm_rate_promised(&self, alarms: f64) {
        self.alarm_rate_promised.set(alarms);
    }

    /// This many alarms per entity and day were counted.
    pub fn alarm_rate_measured(&self, alarms: f64) {
        self.alarm_rate_measured.set(alarms);
    }

    /// Offsets of this many partitions were committed.
    pub fn offsets_committed(&self, partitions: u64) {
        self.offsets_committed.inc_by(partitions);
    }

    /// This many records of the assigned partitions were not received yet.
    pub fn consumer_lag(&self, records: u64) {
        self.consumer_lag.set(records as f64);
    }

    /// Whether the daemon is ready, as `/readyz` says.
    pub fn ready(&self, ready: bool) {
        self.ready.set(f64::from(u8::from(ready)));
    }
}

/// Whether the `count`-th occurrence is told: a flood of bad records must not become a flood of lines.
fn is_worth_a_line(count: u64) -> bool {
    count <= 10 || count.is_multiple_of(1000)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::telemetry::{DESCRIPTIONS, MetricKind, metrics_table};

    const HERE: Position = Position { partition: 3, offset: 14 };

    fn model(version: &str) -> ModelStatus {
        ModelStatus {
            version: version.into(),
            kind: "denoising".into(),
            created: "2026-01-02T03:04:05Z".into(),
            device: "cpu".into(),
            limit: 4.5,
            verified: true,
        }
    }

    fn value(metrics: &Metrics, series: &str) -> f64 {
        let text = metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} is missing in\n{text}")).parse().unwrap()
    }

    #[test]
    fn exactly_the_described_metrics_are_exported() {
        let metrics = Metrics::new();
        metrics.model_loaded(&model("v1"));
        let families = metrics.registry.gather();
        let exported: BTreeSet<_> = families.iter().map(|f| f.name()).filter(|n| !n.starts_with("process_")).collect();
        let described: BTreeSet<_> = DESCRIPTIONS.iter().map(|description| description.name).collect();
        assert_eq!(exported, described);
        assert_eq!(described.len(), DESCRIPTIONS.len(), "each name stands once");
        let types = |kind: MetricKind| match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram(_) => "histogram",
        };
        let text = metrics.render();
        for description in DESCRIPTIONS {
            let line = format!("# TYPE {} {}\n", description.name, types(description.kind));
            assert!(text.contains(&line), "{line}");
        }
        assert!(text.contains("process_resident_memory_bytes"));
    }

    #[test]
    fn series_of_known_labels_exist_before_the_first_event() {
        let metrics = Metrics::new();
        for outcome in Outcome::WORDS {
            assert_eq!(value(&metrics, &format!("strayd_records_total{{outcome=\"{outcome}\"}}")), 0.0);
        }
        for reason in DeadLetterReason::ALL {
            assert_eq!(value(&metrics, &format!("strayd_dead_letters_total{{reason=\"{}\"}}", reason.as_str())), 0.0);
        }
        assert_eq!(value(&metrics, "strayd_outputs_total{kind=\"dead_letter\",result=\"refused\"}"), 0.0);
        assert_eq!(value(&metrics, "strayd_connected{end=\"sink\"}"), 0.0);
        assert!(value(&metrics, "strayd_model_limit").is_nan(), "no limit is not a limit of 0");
    }

    #[test]
    fn label_words_stand_in_the_order_of_their_variants() {
        assert_eq!(Outcome::WORDS[Outcome::DeadLetter as usize], "dead_letter");
        assert_eq!(OutputKind::WORDS[OutputKind::DeadLetter as usize], "dead_letter");
        assert_eq!(DeliveryResult::WORDS[DeliveryResult::Refused as usize], "refused");
        assert_eq!(End::WORDS[End::Sink as usize], "sink");
        assert_eq!(TrainingResult::WORDS[TrainingResult::Failed as usize], "failed");
        for (index, reason) in DeadLetterReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }

    #[test]
    fn a_batch_adds_up() {
        let metrics = Metrics::new();
        let counts = BatchCounts {
            rows: 3,
            normal: 2,
            anomalous: 1,
            last_score: Some(1.5),
            judge: Duration::from_millis(2),
            ..BatchCounts::default()
        };
        metrics.batch(&counts);
        metrics.batch(&BatchCounts { last_score: None, ..counts });
        metrics.population(7, 4);
        // What was decoded but filled no window makes no batch.
        metrics.batch(&BatchCounts { warming_up: 1, ..BatchCounts::default() });
        assert_eq!(value(&metrics, "strayd_records_total{outcome=\"normal\"}"), 4.0);
        assert_eq!(value(&metrics, "strayd_records_total{outcome=\"anomalous\"}"), 2.0);
        assert_eq!(value(&metrics, "strayd_incidents_open"), 4.0);
        assert_eq!(value(&metrics, "strayd_score_last"), 1.5);
        assert_eq!(value(&metrics, "strayd_entities"), 7.0);
        assert_eq!(value(&metrics, "strayd_batch_rows_sum"), 6.0);
        assert_eq!(value(&metrics, "strayd_batch_rows_count"), 2.0);
        assert_eq!(value(&metrics, "strayd_stage_seconds_count{stage=\"publish\"}"), 0.0);
        assert_eq!(value(&metrics, "strayd_stage_seconds_sum{stage=\"judge\"}"), 0.004);
    }

    #[test]
    fn delays_appear_when_they_are_flushed() {
        let metrics = Metrics::new();
        let delay = metrics.local_delay();
        delay.observe(0.5);
        delay.observe(-1.0);
        assert_eq!(value(&metrics, "strayd_event_delay_seconds_count"), 0.0);
        delay.flush();
        assert_eq!(value(&metrics, "strayd_event_delay_seconds_count"), 2.0);
        assert_eq!(value(&metrics, "strayd_event_delay_seconds_sum"), 0.5);
    }

    #[test]
    fn a_dead_letter_counts_by_reason_and_as_an_outcome() {
        let metrics = Metrics::new();
        metrics.dead_letter(DeadLetterReason::TooLarge, HERE, "2 MiB");
        assert_eq!(value(&metrics, "strayd_dead_letters_total{reason=\"too_large\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_records_total{outcome=\"dead_letter\"}"), 1.0);
    }

    #[test]
    fn deliveries_count_by_kind_and_result() {
        let metrics = Metrics::new();
        metrics.delivered(OutputKind::Anomaly, HERE, &Ok(()));
        metrics.delivered(OutputKind::Anomaly, HERE, &Err("too large".into()));
        assert_eq!(value(&metrics, "strayd_outputs_total{kind=\"anomaly\",result=\"acknowledged\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_outputs_total{kind=\"anomaly\",result=\"refused\"}"), 1.0);
    }

    #[test]
    fn only_the_model_in_use_is_shown() {
        let metrics = Metrics::new();
        metrics.model_loaded(&model("v1"));
        metrics.model_loaded(&model("v2"));
        let text = metrics.render();
        assert!(text.contains("strayd_model_info{kind=\"denoising\",model=\"v2\"} 1"), "{text}");
        assert!(!text.contains("model=\"v1\""));
        assert_eq!(value(&metrics, "strayd_model_created_timestamp_seconds"), 1_767_323_045.0);
        assert_eq!(value(&metrics, "strayd_model_limit"), 4.5);
        assert_eq!(value(&metrics, "strayd_device_info{device=\"cpu\"}"), 1.0);
    }

    #[test]
    fn training_shows_its_course_and_its_end() {
        let metrics = Metrics::new();
        metrics.training_started(100);
        metrics.training_epoch(3, 0.5, 0.6);
        assert_eq!(value(&metrics, "strayd_training_epoch"), 3.0);
        let took = Duration::from_secs(2);
        metrics.training_finished(&TrainingOutcome { epochs: 9, training_loss: 0.1, validation_loss: 0.2, took });
        metrics.training_failed("no rows");
        assert_eq!(value(&metrics, "strayd_training_runs_total{result=\"succeeded\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_training_runs_total{result=\"failed\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_training_epoch"), 9.0);
        assert_eq!(value(&metrics, "strayd_validation_loss"), 0.2);
        assert_eq!(value(&metrics, "strayd_training_seconds"), 2.0);
    }

    #[test]
    fn the_states_of_the_ends_are_shown() {
        let metrics = Metrics::new();
        metrics.connected(End::Source);
        metrics.ready(true);
        assert_eq!(value(&metrics, "strayd_connected{end=\"source\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_ready"), 1.0);
        metrics.disconnected(End::Source, "all brokers are down");
        assert_eq!(value(&metrics, "strayd_connected{end=\"source\"}"), 0.0);
    }

    #[test]
    fn a_flood_becomes_few_lines() {
        let told = (1..=10_000).filter(|&count| is_worth_a_line(count)).count();
        assert_eq!(told, 20);
    }

    #[test]
    fn the_table_names_every_metric() {
        let table = metrics_table();
        for description in DESCRIPTIONS {
            assert!(table.contains(&format!("| `{}` |", description.name)));
        }
        assert!(table.contains("`outcome`: normal, anomalous, warming_up, collected, dead_letter"));
    }
}
