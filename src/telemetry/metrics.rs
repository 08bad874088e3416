//! Metrics: all series exist from the start, so a dashboard never waits for a first event. Handles are looked up once;
//! the hot path adds up a batch in [`BatchCounts`] and [`LocalDelay`] and hands it over once.

use std::time::Duration;

use prometheus::{
    Counter, Gauge, GaugeVec, Histogram, IntCounter, Registry, TextEncoder, local::LocalHistogram,
    process_collector::ProcessCollector,
};
use tracing::{error, info, warn};

use super::{
    describe::{self, End, Outcome, Part},
    feedback::FeedbackMetrics,
    incidents::IncidentMetrics,
    kafka::{Certificate, DeliveryResult, OutputKind, TransactionResult},
    model::ModelMetrics,
    register::{
        counter, counters, counters_by_two, fraction_counter, gauge, gauge_vec, gauges, histogram, histograms, register,
    },
    state::StateMetrics,
    training::TrainingMetrics,
};
use crate::{
    detect::gates::{Suppression, cold_start::WatchState},
    record::{DeadLetterReason, Position},
};

/// What one batch adds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BatchCounts {
    /// Rows that were scored together.
    pub rows: u64,
    /// Records that ended as normal.
    pub normal: u64,
    /// Records that ended as anomalous.
    pub anomalous: u64,
    /// Records whose anomaly was held back, in the order of [`Suppression::ALL`].
    pub suppressed: [u64; Suppression::ALL.len()],
    /// Records whose window is not full yet.
    pub warming_up: u64,
    /// Records that came too late.
    pub late: u64,
    /// Records that came twice.
    pub duplicates: u64,
    /// Records that came behind a newer one of their entity and were taken.
    pub out_of_order: u64,
    /// Records kept for the cold start.
    pub collected: u64,
    /// Messages without a value.
    pub tombstones: u64,
    /// Missing values that were imputed.
    pub imputed_values: u64,
    /// Time of entities that was judged: rows times the seconds between two rows; 0 without a time order.
    pub judged_seconds: f64,
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

/// Scores of one thread by how they stand to the limit, gathered without contention.
#[derive(Debug)]
pub struct LocalScores(LocalHistogram);

impl LocalScores {
    /// Notes scores, each divided by the limit that it was compared with.
    pub fn observe(&self, scores_to_limits: &[f64]) {
        scores_to_limits.iter().for_each(|score| self.0.observe(*score));
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
    suppressed: Vec<IntCounter>,
    /// By kind, then by result.
    outputs: Vec<Vec<IntCounter>>,
    errors: Vec<IntCounter>,
    pub(super) incidents: IncidentMetrics,
    pub(super) feedback: FeedbackMetrics,
    pub(super) state: StateMetrics,
    score_to_limit: Histogram,
    judged_seconds: Counter,
    entities: Gauge,
    entity_states: Vec<Gauge>,
    entities_evicted: IntCounter,
    imputed_values: IntCounter,
    out_of_order: IntCounter,
    batch_rows: Histogram,
    stage_time: Vec<Histogram>,
    event_delay: Histogram,
    consumer_lag: Gauge,
    records_held: Gauge,
    connected: Vec<Gauge>,
    pub(super) credentials: Vec<IntCounter>,
    certificate_expiry: Vec<Gauge>,
    ready: Gauge,
    cold_start_remaining: Gauge,
    pub(super) training: TrainingMetrics,
    pub(super) model: ModelMetrics,
    pub(super) alarm_rate_promised: Gauge,
    alarm_rate_measured: Gauge,
    score_last: Gauge,
    offsets_committed: IntCounter,
    records_lost: IntCounter,
    transactions: Vec<IntCounter>,
    role_info: GaugeVec,
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
        let role_info = gauge_vec(add, &describe::ROLE_INFO);
        role_info.with_label_values(&["all"]).set(1.0);
        Self {
            records: counters(add, &describe::RECORDS),
            dead_letters: counters(add, &describe::DEAD_LETTERS),
            suppressed: counters(add, &describe::SUPPRESSED),
            outputs: counters_by_two(add, &describe::OUTPUTS),
            errors: counters(add, &describe::ERRORS),
            incidents: IncidentMetrics::new(add),
            feedback: FeedbackMetrics::new(add),
            state: StateMetrics::new(add),
            score_to_limit: histogram(add, &describe::SCORE_TO_LIMIT),
            judged_seconds: fraction_counter(add, &describe::JUDGED_SECONDS),
            entities: gauge(add, &describe::ENTITIES, 0.0),
            entity_states: gauges(add, &describe::ENTITY_STATES, 0.0),
            entities_evicted: counter(add, &describe::ENTITIES_EVICTED),
            imputed_values: counter(add, &describe::IMPUTED_VALUES),
            out_of_order: counter(add, &describe::OUT_OF_ORDER),
            batch_rows: histogram(add, &describe::BATCH_ROWS),
            stage_time: histograms(add, &describe::STAGE_TIME),
            event_delay: histogram(add, &describe::EVENT_DELAY),
            consumer_lag: gauge(add, &describe::CONSUMER_LAG, 0.0),
            records_held: gauge(add, &describe::RECORDS_HELD, 0.0),
            connected: gauges(add, &describe::CONNECTED, f64::NAN),
            credentials: counters(add, &describe::CREDENTIALS),
            certificate_expiry: gauges(add, &describe::CERTIFICATE_EXPIRY, f64::NAN),
            ready: gauge(add, &describe::READY, 0.0),
            cold_start_remaining: gauge(add, &describe::COLD_START_REMAINING, 0.0),
            training: TrainingMetrics::new(add),
            model: ModelMetrics::new(add),
            alarm_rate_promised: gauge(add, &describe::ALARM_RATE_PROMISED, f64::NAN),
            alarm_rate_measured: gauge(add, &describe::ALARM_RATE_MEASURED, f64::NAN),
            score_last: gauge(add, &describe::SCORE_LAST, f64::NAN),
            offsets_committed: counter(add, &describe::OFFSETS_COMMITTED),
            records_lost: counter(add, &describe::RECORDS_LOST),
            transactions: counters(add, &describe::TRANSACTIONS),
            role_info,
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
            (Outcome::Suppressed, counts.suppressed.iter().sum()),
            (Outcome::WarmingUp, counts.warming_up),
            (Outcome::Late, counts.late),
            (Outcome::Duplicate, counts.duplicates),
            (Outcome::Collected, counts.collected),
            (Outcome::Tombstone, counts.tombstones),
        ];
        for (outcome, count) in outcomes {
            self.records[outcome as usize].inc_by(count);
        }
        self.suppressed.iter().zip(counts.suppressed).for_each(|(counter, count)| counter.inc_by(count));
        self.imputed_values.inc_by(counts.imputed_values);
        self.out_of_order.inc_by(counts.out_of_order);
        self.judged_seconds.inc_by(counts.judged_seconds.max(0.0));
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

    /// So many entities are held in memory.
    pub fn entities(&self, entities: usize) {
        self.entities.set(entities as f64);
    }

    /// How many of them are in each state.
    pub fn entity_states(&self, of: impl Fn(WatchState) -> usize) {
        WatchState::ALL.iter().for_each(|state| self.entity_states[*state as usize].set(of(*state) as f64));
    }

    /// A place for one thread to gather event delays.
    pub fn local_delay(&self) -> LocalDelay {
        LocalDelay(self.event_delay.local())
    }

    /// A place for one thread to gather scores against their limit.
    pub fn local_scores(&self) -> LocalScores {
        LocalScores(self.score_to_limit.local())
    }

    /// What this process does: `all`, `scorer` or `trainer`.
    pub fn role(&self, role: &str) {
        self.role_info.reset();
        self.role_info.with_label_values(&[role]).set(1.0);
        tracing::debug!(role, "role");
    }

    /// A fault that a person should know of, in the part that it struck.
    pub fn error(&self, part: Part, cause: &str) {
        self.count_error(part);
        error!(part = Part::WORDS[part as usize], "{cause}");
    }

    /// Counts a fault whose line is written by the caller.
    pub(super) fn count_error(&self, part: Part) {
        self.errors[part as usize].inc();
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
                self.count_error(Part::Sink);
                if is_worth_a_line(counter.get()) {
                    let Position { partition, offset } = position;
                    let kind = OutputKind::WORDS[kind as usize];
                    error!(partition, offset, kind, "an output is lost, the broker refuses it: {cause}");
                }
            }
        }
    }

    /// Connecting begins: until it succeeds, nothing is connected. Before, as while a scorer waits for its first model,
    /// nothing was to be.
    pub fn connecting(&self) {
        self.connected.iter().for_each(|end| end.set(0.0));
    }

    /// An end of the pipeline is connected.
    pub fn connected(&self, end: End) {
        self.connected[end as usize].set(1.0);
        info!(end = End::WORDS[end as usize], "connected");
    }

    /// An end of the pipeline is not connected; it will be tried again.
    pub fn disconnected(&self, end: End, cause: &str) {
        self.connected[end as usize].set(0.0);
        self.count_error(if end == End::Source { Part::Source } else { Part::Sink });
        warn!(end = End::WORDS[end as usize], "not connected, trying again: {cause}");
    }

    /// Until when the certificates in use are valid, epoch seconds; those not named are none.
    pub fn certificates(&self, expiries: &[(Certificate, i64)]) {
        self.certificate_expiry.iter().for_each(|gauge| gauge.set(f64::NAN));
        expiries.iter().for_each(|(certificate, end)| self.certificate_expiry[*certificate as usize].set(*end as f64));
    }

    /// The cold start still waits for this many rows.
    pub fn cold_start_remaining(&self, rows: usize) {
        self.cold_start_remaining.set(rows as f64);
    }

    /// This many alarms per entity and day were counted.
    pub fn alarm_rate_measured(&self, alarms: f64) {
        self.alarm_rate_measured.set(alarms);
    }

    /// Offsets of this many partitions were committed.
    pub fn offsets_committed(&self, partitions: u64) {
        self.offsets_committed.inc_by(partitions);
    }

    /// So many records, from this place on, were deleted before they were read.
    pub fn records_lost(&self, from: Position, records: u64) {
        self.records_lost.inc_by(records);
        let Position { partition, offset } = from;
        error!(
            partition,
            offset, records, "records were deleted before they were read: retention is faster than this group"
        );
    }

    /// A transaction of outputs and offsets was committed, or aborted for this reason.
    pub fn transaction(&self, result: &Result<(), String>) {
        let (word, why) = match result {
            Ok(()) => (TransactionResult::Committed, None),
            Err(why) => (TransactionResult::Aborted, Some(why)),
        };
        self.transactions[word as usize].inc();
        if let Some(why) = why {
            warn!(why, "a transaction was aborted: its outputs and offsets go with the next one");
        }
    }

    /// This many records of the assigned partitions were not received yet.
    pub fn consumer_lag(&self, records: u64) {
        self.consumer_lag.set(records as f64);
    }

    /// This many records wait for the schema that they were written with.
    pub fn records_held(&self, records: usize) {
        self.records_held.set(records as f64);
    }

    /// Whether the daemon is ready, as `/readyz` says.
    pub fn ready(&self, ready: bool) {
        self.ready.set(f64::from(u8::from(ready)));
    }
}

/// Whether the `count`-th occurrence is told: a flood of bad records must not become a flood of lines.
pub(super) fn is_worth_a_line(count: u64) -> bool {
    count <= 10 || count.is_multiple_of(1000)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::telemetry::{CredentialsResult, DESCRIPTIONS, MetricKind, SwapResult, TrainingResult, metrics_table};

    const HERE: Position = Position { partition: 3, offset: 14 };

    pub(in crate::telemetry) fn value(metrics: &Metrics, series: &str) -> f64 {
        let text = metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} is missing in\n{text}")).parse().unwrap()
    }

    #[test]
    fn exactly_the_described_metrics_are_exported() {
        let metrics = Metrics::new();
        metrics.model_loaded(&crate::telemetry::model::tests::model("v1"));
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
        assert!(value(&metrics, "strayd_connected{end=\"sink\"}").is_nan(), "nobody tries yet");
        metrics.connecting();
        assert_eq!(value(&metrics, "strayd_connected{end=\"sink\"}"), 0.0);
        assert!(value(&metrics, "strayd_model_limit").is_nan(), "no limit is not a limit of 0");
    }

    #[test]
    fn label_words_stand_in_the_order_of_their_variants() {
        assert_eq!(Outcome::WORDS[Outcome::DeadLetter as usize], "dead_letter");
        assert_eq!(OutputKind::WORDS[OutputKind::DeadLetter as usize], "dead_letter");
        assert_eq!(DeliveryResult::WORDS[DeliveryResult::Refused as usize], "refused");
        assert_eq!(End::WORDS[End::Sink as usize], "sink");
        assert_eq!(TrainingResult::WORDS[TrainingResult::Refused as usize], "refused");
        assert_eq!(SwapResult::WORDS[SwapResult::Failed as usize], "failed");
        assert_eq!(CredentialsResult::WORDS[CredentialsResult::Unfit as usize], "unfit");
        assert_eq!(Part::WORDS[Part::Registry as usize], "registry");
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
            suppressed: [0, 0, 2, 0, 0, 0, 1],
            judged_seconds: 180.0,
            last_score: Some(1.5),
            judge: Duration::from_millis(2),
            ..BatchCounts::default()
        };
        metrics.batch(&counts);
        metrics.batch(&BatchCounts { last_score: None, ..counts });
        metrics.entities(7);
        // What was decoded but filled no window makes no batch.
        metrics.batch(&BatchCounts { warming_up: 1, ..BatchCounts::default() });
        assert_eq!(value(&metrics, "strayd_records_total{outcome=\"normal\"}"), 4.0);
        assert_eq!(value(&metrics, "strayd_records_total{outcome=\"anomalous\"}"), 2.0);
        assert_eq!(value(&metrics, "strayd_records_total{outcome=\"suppressed\"}"), 6.0);
        assert_eq!(value(&metrics, "strayd_anomalies_suppressed_total{reason=\"deviation_too_small\"}"), 4.0);
        assert_eq!(value(&metrics, "strayd_anomalies_suppressed_total{reason=\"not_persistent\"}"), 2.0);
        assert_eq!(value(&metrics, "strayd_judged_seconds_total"), 360.0);
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
    fn scores_are_told_as_multiples_of_their_limit() {
        let metrics = Metrics::new();
        let scores = metrics.local_scores();
        scores.observe(&[0.5, 1.0, 1.025]);
        scores.flush();
        assert_eq!(value(&metrics, "strayd_score_to_limit_bucket{le=\"0.4\"}"), 0.0);
        assert_eq!(value(&metrics, "strayd_score_to_limit_bucket{le=\"1\"}"), 2.0);
        assert_eq!(value(&metrics, "strayd_score_to_limit_bucket{le=\"1.25\"}"), 3.0);
        assert_eq!(value(&metrics, "strayd_score_to_limit_count"), 3.0);
    }

    #[test]
    fn faults_count_by_what_they_struck() {
        let metrics = Metrics::new();
        assert_eq!(value(&metrics, "strayd_errors_total{part=\"model\"}"), 0.0);
        metrics.error(Part::Registry, "the disk is full");
        metrics.disconnected(End::Sink, "all brokers are down");
        metrics.delivered(OutputKind::Anomaly, HERE, &Err("too large".into()));
        metrics.training_failed("no rows");
        assert_eq!(value(&metrics, "strayd_errors_total{part=\"registry\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_errors_total{part=\"sink\"}"), 2.0);
        assert_eq!(value(&metrics, "strayd_errors_total{part=\"source\"}"), 0.0);
        assert_eq!(value(&metrics, "strayd_errors_total{part=\"training\"}"), 1.0);
    }

    #[test]
    fn there_is_one_role_which_is_all_until_it_is_said() {
        let metrics = Metrics::new();
        assert_eq!(value(&metrics, "strayd_role_info{role=\"all\"}"), 1.0);
        metrics.role("trainer");
        assert_eq!(value(&metrics, "strayd_role_info{role=\"trainer\"}"), 1.0);
        assert!(!metrics.render().contains("role=\"all\""));
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
        assert!(
            table.contains(
                "`outcome`: normal, anomalous, suppressed, warming_up, late, duplicate, collected, dead_letter"
            )
        );
    }
}
