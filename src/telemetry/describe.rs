//! Every metric once: name, type, labels and help. Registration and the table in the README both come from here.

use MetricKind::{Counter, Gauge, Histogram};

use super::kafka::{Certificate, CredentialsResult, DeliveryResult, OutputKind, TransactionResult};
use crate::{
    detect::{
        gates::{Suppression, cold_start::WatchState},
        severity::Severity,
    },
    feedback::Verdict,
    record::DeadLetterReason,
    train::{gate::Check, recent::KeptOut},
};

/// What a metric can do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts per bucket; the upper bounds are given.
    Histogram(&'static [f64]),
}

/// A label of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// All its values; empty if they are only known at run time.
    pub values: fn() -> Vec<&'static str>,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// Its labels in order.
    pub labels: &'static [Label],
    /// What it tells.
    pub help: &'static str,
}

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Scored, not above the limit.
    Normal,
    /// Scored, above the limit.
    Anomalous,
    /// Scored, above the limit, and held back by a gate.
    Suppressed,
    /// Its entity's window is not full yet.
    WarmingUp,
    /// Its event time lies too far behind its entity's newest.
    Late,
    /// Its entity's record before it is the same.
    Duplicate,
    /// Kept for the cold start.
    Collected,
    /// Could not be scored.
    DeadLetter,
    /// Has no value: its key is gone, which is nothing to be scored.
    Tombstone,
}

/// A stage of a batch's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Receiving, decoding and windowing.
    Receive,
    /// The network.
    Score,
    /// From residuals to verdicts.
    Judge,
    /// Handing outputs to the sink.
    Publish,
}

/// An end of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where records come from.
    Source,
    /// Where outputs go.
    Sink,
}

/// How a training run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainingResult {
    /// With a model.
    Succeeded,
    /// Without.
    Failed,
    /// With a model that the gate keeps from going live.
    Refused,
}

/// What the first anomaly of an incident would have been with its top features as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CounterfactualResult {
    /// None.
    Explained,
    /// An anomaly all the same.
    Unexplained,
    /// The model gives it no score.
    Unknown,
}

/// How putting another model to work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwapResult {
    /// The other model is in use.
    Swapped,
    /// The model before it is still in use.
    Failed,
}

/// What a fault struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Where records come from.
    Source,
    /// Where outputs go.
    Sink,
    /// Loading a model and scoring with it.
    Model,
    /// Training.
    Training,
    /// The registry of models.
    Registry,
    /// What people say of alarms.
    Feedback,
}

impl Outcome {
    /// The label's values, in the order of the variants.
    pub const WORDS: [&'static str; 9] = [
        "normal",
        "anomalous",
        "suppressed",
        "warming_up",
        "late",
        "duplicate",
        "collected",
        "dead_letter",
        "tombstone",
    ];
}

impl Stage {
    /// The label's values, in the order of the variants.
    pub const WORDS: [&'static str; 4] = ["receive", "score", "judge", "publish"];
}

impl End {
    /// The label's values, in the order of the variants.
    pub const WORDS: [&'static str; 2] = ["source", "sink"];
}

impl TrainingResult {
    /// The label's values, in the order of the variants.
    pub const WORDS: [&'static str; 3] = ["succeeded", "failed", "refused"];
}

impl CounterfactualResult {
    /// The label's values, in the order of the variants.
    pub const WORDS: [&'static str; 3] = ["explained", "unexplained", "unknown"];
}

impl SwapResult {
    /// The label's values, in the order of the variants.
    pub const WORDS: [&'static str; 2] = ["swapped", "failed"];
}

impl Part {
    /// The label's values, in the order of the variants.
    pub const WORDS: [&'static str; 6] = ["source", "sink", "model", "training", "registry", "feedback"];
}

const OUTCOME: Label = Label { name: "outcome", values: || Outcome::WORDS.to_vec() };
const REASON: Label = Label { name: "reason", values: || DeadLetterReason::ALL.map(DeadLetterReason::as_str).to_vec() };
const SUPPRESSION: Label = Label { name: "reason", values: || Suppression::ALL.map(Suppression::as_str).to_vec() };
const WATCH_STATE: Label = Label { name: "state", values: || WatchState::ALL.map(WatchState::as_str).to_vec() };
const OUTPUT_KIND: Label = Label { name: "kind", values: || OutputKind::WORDS.to_vec() };
const DELIVERY_RESULT: Label = Label { name: "result", values: || DeliveryResult::WORDS.to_vec() };
const STAGE: Label = Label { name: "stage", values: || Stage::WORDS.to_vec() };
const END: Label = Label { name: "end", values: || End::WORDS.to_vec() };
const TRAINING_RESULT: Label = Label { name: "result", values: || TrainingResult::WORDS.to_vec() };
const GATE_CHECK: Label = Label { name: "reason", values: || Check::ALL.map(Check::as_str).to_vec() };
const KEPT_OUT_REASON: Label = Label { name: "reason", values: || KeptOut::ALL.map(KeptOut::as_str).to_vec() };
const TRANSACTION_RESULT: Label = Label { name: "result", values: || TransactionResult::WORDS.to_vec() };
const CERTIFICATE: Label = Label { name: "certificate", values: || Certificate::WORDS.to_vec() };
const CREDENTIALS_RESULT: Label = Label { name: "result", values: || CredentialsResult::WORDS.to_vec() };
const SWAP_RESULT: Label = Label { name: "result", values: || SwapResult::WORDS.to_vec() };
const COUNTERFACTUAL_RESULT: Label = Label { name: "result", values: || CounterfactualResult::WORDS.to_vec() };
const PART: Label = Label { name: "part", values: || Part::WORDS.to_vec() };
const SEVERITY: Label = Label { name: "severity", values: || Severity::ALL.map(Severity::as_str).to_vec() };
const VERDICT: Label = Label { name: "verdict", values: || Verdict::ALL.map(Verdict::as_str).to_vec() };
const TOP_FEATURE: Label = Label { name: "top_feature", values: Vec::new };
const ROLE: Label = Label { name: "role", values: Vec::new };
const MODEL: Label = Label { name: "model", values: Vec::new };
const NETWORK_KIND: Label = Label { name: "kind", values: Vec::new };
const DEVICE: Label = Label { name: "device", values: Vec::new };
const VERSION: Label = Label { name: "version", values: Vec::new };

/// 1 to 4096 rows, by doubling.
const ROWS: &[f64] = &[1., 2., 4., 8., 16., 32., 64., 128., 256., 512., 1024., 2048., 4096.];
/// 10 us to 1 s: one batch takes tens of microseconds to some milliseconds.
const STAGE_SECONDS: &[f64] =
    &[1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 1.];
/// 1 ms to 1 h: from a live stream to a backlog.
const DELAY_SECONDS: &[f64] = &[1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1., 5., 15., 60., 300., 3600.];
/// From far below the limit to far above it; 1 is the limit.
const SCORE_TO_LIMIT_RATIOS: &[f64] =
    &[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1., 1.25, 1.5, 2., 3., 5., 10., 100.];

const fn described(name: &'static str, kind: MetricKind, labels: &'static [Label], help: &'static str) -> Description {
    Description { name, kind, labels, help }
}

macro_rules! descriptions {
    ($($constant:ident = $name:literal, $kind:expr, [$($label:ident),*], $help:literal;)*) => {
        $(pub(super) const $constant: Description = described($name, $kind, &[$($label),*], $help);)*
        /// All metrics of strayd, in the order of the table in the README.
        pub static DESCRIPTIONS: &[Description] = &[$($constant),*];
    };
}

descriptions! {
    RECORDS = "strayd_records_total", Counter, [OUTCOME], "Records by how they ended.";
    DEAD_LETTERS = "strayd_dead_letters_total", Counter, [REASON], "Records that could not be scored, by reason.";
    SUPPRESSED = "strayd_anomalies_suppressed_total", Counter, [SUPPRESSION],
        "Rows above the limit that raised no alarm, by the gate that held them back.";
    OUTPUTS = "strayd_outputs_total", Counter, [OUTPUT_KIND, DELIVERY_RESULT],
        "Published messages by what the broker said; refused ones are lost.";
    ERRORS = "strayd_errors_total", Counter, [PART],
        "Faults by what they struck: lost connections, refused outputs, models that can't be put to work, failed trainings, an unusable registry, feedback that can't be read.";
    INCIDENTS = "strayd_incidents_total", Counter, [TOP_FEATURE],
        "Incidents opened that are an alarm, of groups or of entities, by the feature to blame for the first anomaly; `other` after the model's first 100 columns.";
    INCIDENTS_OPEN = "strayd_incidents_open", Gauge, [TOP_FEATURE, SEVERITY],
        "Incidents open now, by the feature to blame for the first anomaly and by how bad the worst one was so far; that of a group counts as one, and its entities' not.";
    INCIDENTS_RESOLVED = "strayd_incidents_resolved_total", Counter, [TOP_FEATURE, SEVERITY],
        "Incidents that are over, by the feature to blame for the first anomaly and by how bad the worst one was; that of a group counts as one, and its entities' not.";
    INCIDENTS_JOINED = "strayd_incidents_joined_total", Counter, [],
        "Incidents of entities that were part of one of their group from their beginning, and so no alarm.";
    GROUP_INCIDENTS = "strayd_group_incidents_total", Counter, [], "Incidents of groups opened.";
    GROUP_INCIDENTS_OPEN = "strayd_group_incidents_open", Gauge, [], "Incidents of groups open now.";
    GROUP_MEMBERS_OPEN = "strayd_group_members_open", Gauge, [],
        "Entities whose open incident is part of one of their group.";
    COUNTERFACTUALS = "strayd_counterfactuals_total", Counter, [COUNTERFACTUAL_RESULT],
        "Incidents opened, by whether their first anomaly would have been none with its top features as expected.";
    LEVEL_SHIFTS = "strayd_level_shifts_total", Counter, [],
        "Incidents that lasted so long at one level that it was offered as the new normal.";
    SILENCES = "strayd_silences_total", Counter, [], "Times that an entity stopped reporting.";
    SILENCES_OPEN = "strayd_silences_open", Gauge, [], "Entities that have stopped reporting.";
    FEEDBACK = "strayd_feedback_total", Counter, [VERDICT],
        "Verdicts of people that came in since this process had read those that were there.";
    FEEDBACK_INVALID = "strayd_feedback_invalid_total", Counter, [], "Messages on the feedback topic that are no verdicts.";
    FEEDBACK_IN_FORCE = "strayd_feedback_verdicts", Gauge, [VERDICT],
        "Incidents and anomalies by the last verdict on each; true of true and false is the precision.";
    SCORE_TO_LIMIT = "strayd_score_to_limit", Histogram(SCORE_TO_LIMIT_RATIOS), [],
        "Score of a row divided by the limit; anomalous rows are above 1.";
    JUDGED_SECONDS = "strayd_judged_seconds_total", Counter, [],
        "Time of entities that was judged: rows times the seconds between two rows of an entity; 0 without a time order.";
    ENTITIES = "strayd_entities", Gauge, [], "Entities held in memory.";
    ENTITY_STATES = "strayd_entities_in_state", Gauge, [WATCH_STATE],
        "Entities held in memory by how well they are known: warming_up has no full window, cold raises no alarm yet.";
    ENTITIES_EVICTED = "strayd_entities_evicted_total", Counter, [],
        "Entities dropped because pipeline.max_entities was reached.";
    IMPUTED_VALUES = "strayd_imputed_values_total", Counter, [],
        "Missing values that the training median stood in for.";
    BATCH_ROWS = "strayd_batch_rows", Histogram(ROWS), [], "Rows per batch.";
    STAGE_TIME = "strayd_stage_seconds", Histogram(STAGE_SECONDS), [STAGE], "Time of one batch in a stage.";
    EVENT_DELAY = "strayd_event_delay_seconds", Histogram(DELAY_SECONDS), [],
        "Time from a message's timestamp to its receipt.";
    OUT_OF_ORDER = "strayd_records_out_of_order_total", Counter, [],
        "Records that came behind a newer one of their entity, by no more than record.lateness, and were taken all the same.";
    CONSUMER_LAG = "strayd_consumer_lag_records", Gauge, [], "Records in assigned partitions not yet received.";
    RECORDS_HELD = "strayd_records_held", Gauge, [],
        "Records that wait for the schema that they were written with; reading pauses meanwhile.";
    RECORDS_REREAD = "strayd_records_reread_total", Counter, [],
        "Records that had ended before and were read once more to fill windows, after a restart or a rebalance.";
    WINDOWS_CUT = "strayd_windows_cut_total", Counter, [],
        "Entities whose windows fill anew after a restart or a rebalance: reading again does not reach back so far.";
    CONNECTED = "strayd_connected", Gauge, [END], "1 while an end of the pipeline is connected; NaN before it is tried.";
    CREDENTIALS = "strayd_credentials_changes_total", Counter, [CREDENTIALS_RESULT],
        "Changes of the files with Kafka's certificates, keys and passwords: taken up by a new connection, or unfit for one.";
    CERTIFICATE_EXPIRY = "strayd_certificate_expiry_timestamp_seconds", Gauge, [CERTIFICATE],
        "Until when the certificates in use are valid that Kafka is shown, and the longest of the authorities that it is checked against, epoch seconds; NaN where none is configured.";
    READY = "strayd_ready", Gauge, [], "1 while /readyz says ready.";
    COLD_START_REMAINING = "strayd_cold_start_rows_remaining", Gauge, [], "Rows that the cold start still waits for.";
    TRAINING_RUNS = "strayd_training_runs_total", Counter, [TRAINING_RESULT], "Training runs by how they ended.";
    GATE_REFUSALS = "strayd_gate_refusals_total", Counter, [GATE_CHECK],
        "Checks of the gate that a newly trained model did not pass.";
    TRAINING_IN_PROGRESS = "strayd_training_in_progress", Gauge, [], "1 while a model is trained.";
    TRAINING_LAST_SUCCESS = "strayd_training_last_success_timestamp_seconds", Gauge, [],
        "When training last ended with a model, epoch seconds; NaN before.";
    TRAINING_NEXT = "strayd_training_next_timestamp_seconds", Gauge, [],
        "When training is due next, epoch seconds; NaN when it is not.";
    SAMPLE_ROWS = "strayd_training_sample_rows", Gauge, [], "Rows at hand for the next training.";
    SAMPLE_ENTITIES = "strayd_training_sample_entities", Gauge, [], "Entities that these rows come from.";
    SAMPLE_KEPT_OUT = "strayd_training_sample_kept_out_total", Counter, [KEPT_OUT_REASON],
        "Scored rows kept out of the sample for the next training.";
    TRAINING_EPOCH = "strayd_training_epoch", Gauge, [], "Epochs done of the current or last training run.";
    TRAINING_EPOCHS = "strayd_training_epochs", Gauge, [],
        "Epochs that the current or last training run may have at most.";
    TRAINING_ROWS_PER_SECOND = "strayd_training_rows_per_second", Gauge, [],
        "Rows per second in the last epoch of the current or last training run, each counted once per member; NaN before its first.";
    TRAINING_SECONDS_LEFT = "strayd_training_seconds_left", Gauge, [],
        "Seconds until the last epoch that is allowed, which is at most how long training goes on; NaN while there is none.";
    TRAINING_LOSS = "strayd_training_loss", Gauge, [],
        "Loss on the fitted rows after the last epoch of the current or last training run; NaN before its first.";
    VALIDATION_LOSS = "strayd_validation_loss", Gauge, [],
        "Loss on the held-back rows after the last epoch of the current or last training run; NaN before its first.";
    TRAINING_SECONDS = "strayd_training_seconds", Gauge, [], "Duration of the last training run.";
    MODEL_INFO = "strayd_model_info", Gauge, [MODEL, NETWORK_KIND], "1 for the model in use.";
    MODEL_CREATED = "strayd_model_created_timestamp_seconds", Gauge, [],
        "When the model in use was made, epoch seconds; NaN without one.";
    MODEL_LIMIT = "strayd_model_limit", Gauge, [], "Score above which a row is anomalous; NaN without a model.";
    MODEL_ACTIVE_UNITS = "strayd_model_active_code_units_ratio", Gauge, [],
        "Share of the code's values that were active on held-back rows of the model in use; NaN where it is not known.";
    MODEL_SWAPS = "strayd_model_swaps_total", Counter, [SWAP_RESULT],
        "Models put in another's place while scoring goes on.";
    MODEL_SWAP_SECONDS = "strayd_model_swap_seconds", Gauge, [],
        "How long scoring paused for the last swap; NaN before the first.";
    ALARM_RATE_PROMISED = "strayd_alarm_rate_promised", Gauge, [],
        "Alarms per entity and day that the budget allows; NaN before it is known.";
    ALARM_RATE_MEASURED = "strayd_alarm_rate_measured", Gauge, [],
        "Alarms per entity and day as counted; NaN before there is a count.";
    SCORE_LAST = "strayd_score_last", Gauge, [], "Score of the last row of the last batch; NaN before the first.";
    OFFSETS_COMMITTED = "strayd_offsets_committed_total", Counter, [],
        "Offsets committed, one per partition and commit.";
    RECORDS_LOST = "strayd_records_lost_total", Counter, [],
        "Records that were deleted, by the topic's retention or by somebody, before they were read.";
    TRANSACTIONS = "strayd_transactions_total", Counter, [TRANSACTION_RESULT],
        "Transactions of outputs and offsets, with `kafka.delivery: exactly_once`.";
    DEVICE_INFO = "strayd_device_info", Gauge, [DEVICE], "1 for the device that the model runs on.";
    DEVICE_FALLBACK = "strayd_device_fallback", Gauge, [],
        "1 while the model runs on the CPU because `auto` found no usable GPU.";
    ROLE_INFO = "strayd_role_info", Gauge, [ROLE], "1 for the role of this process: all, scorer or trainer.";
    BUILD_INFO = "strayd_build_info", Gauge, [VERSION], "1 for the version of this program.";
}

/// A Markdown table of all metrics: name, type, labels with their values, and help.
pub fn metrics_table() -> String {
    let mut table = "| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n".to_owned();
    for metric in DESCRIPTIONS {
        let kind = match metric.kind {
            Counter => "counter",
            Gauge => "gauge",
            Histogram(_) => "histogram",
        };
        let labels: Vec<_> = metric.labels.iter().map(label_text).collect();
        table.push_str(&format!("| `{}` | {kind} | {} | {} |\n", metric.name, labels.join("; "), metric.help));
    }
    table.push_str("| `process_*` | | | CPU time, memory, file descriptors and threads of the process (Linux). |\n");
    table
}

fn label_text(label: &Label) -> String {
    let values = (label.values)();
    if values.is_empty() { format!("`{}`", label.name) } else { format!("`{}`: {}", label.name, values.join(", ")) }
}
