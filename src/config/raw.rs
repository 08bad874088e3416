//! The configuration as written. The doc comment of a field is its manual, its `schemars` attributes are its range: the
//! JSON schema, the table in the README, the range checks and the texts of problems all come from here. Defaults stand
//! in `presets.rs`.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    raw_features::RawFeatures,
    raw_format::RawFormat,
    settings::{
        Activation, DeviceChoice, LogFormat, Loss, NetworkKind, Preset, Residuals, Role, Scaling, StartAt,
        TimestampFormat,
    },
    units::{ByteSize, WrittenDuration},
};
use crate::record::{features::Transform, path::FieldPath};

/// Settings of strayd.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Kind of data; chooses the defaults of all settings that depend on it.
    pub preset: Preset,
    /// What this process does: all, scorer (never trains, waits for a model in the registry), or trainer (reads in the
    /// consumer group GROUP-trainer, publishes nothing).
    pub role: Role,
    /// Brokers, topics, group.
    pub kafka: RawKafka,
    /// How a record becomes a row.
    pub record: RawRecordSection,
    /// Where models are kept and which one is used.
    pub model: RawModel,
    /// The network and how it is fitted.
    pub training: RawTraining,
    /// When a score is an alarm.
    pub judging: RawJudging,
    /// Batches and buffers.
    pub pipeline: RawPipeline,
    /// Metrics and probes.
    pub http: RawHttp,
    /// Log lines.
    pub log: RawLog,
    /// ONNX Runtime.
    pub runtime: RawRuntime,
}

/// `kafka.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawKafka {
    /// Brokers to start from, as host:port, comma separated. `strayd run` needs it.
    pub brokers: Option<String>,
    /// Topic that records are read from. `strayd run` needs it.
    pub input_topic: Option<String>,
    /// Consumer group; processes of one group share the topic's partitions.
    pub group: String,
    /// Where a group without committed offsets begins.
    pub start: StartAt,
    /// Topic that anomalies are written to.
    pub anomaly_topic: String,
    /// Topic for records that can't be scored, with the raw bytes and the reason.
    pub dead_letter_topic: String,
    /// Further librdkafka settings for consumer and producer, by their librdkafka names.
    #[schemars(extend("x-expected" = "librdkafka keys with text values"))]
    pub properties: BTreeMap<String, String>,
    /// librdkafka settings whose value is read from a file (key -> file), such as sasl.password. Never printed.
    #[schemars(extend("x-expected" = "librdkafka keys with file names"))]
    pub secrets: BTreeMap<String, PathBuf>,
}

/// `record.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRecordSection {
    /// Whose record it is: the message key, a field, or nothing (all records belong to one entity).
    pub entity: RawEntity,
    /// Field with the event time; without it, the message's own timestamp counts.
    pub timestamp: Option<RawTimestamp>,
    /// What a message's value is: json (an object), or {raw: {shape, type, big_endian}}: the bytes of one grid, row by row,
    /// its cells of type uint8, uint16, int16, float32 or float64 in little-endian order unless big_endian is true. Raw
    /// bytes have no fields; their grid is the only feature.
    pub format: RawFormat,
    /// Fields to watch: every numeric field of the training rows, or a list of paths and of objects with `path`,
    /// `name`, `kind`, `transform` (numeric, grid), `vocabulary` (categorical; learned at training if empty) and `shape`
    /// (grid).
    pub features: RawFeatures,
    /// Paths that `features: all_numeric` leaves out.
    #[schemars(extend("x-expected" = "a list of paths"))]
    pub exclude: Vec<FieldPath>,
    /// Transform of every field that `features: all_numeric` finds, or of each cell of raw bytes; log1p is for counts and
    /// sizes.
    pub transform: Transform,
    /// Larger payloads are dead letters.
    #[schemars(extend("x-minimum" = "64", "x-maximum" = "1GiB"))]
    pub max_bytes: ByteSize,
    /// Share of features that may be missing; beyond it a record is a dead letter.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_missing: f64,
}

/// `record.entity`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(extend("x-expected" = "key, nothing or {field: PATH}"))]
pub enum RawEntity {
    /// The message key.
    Key,
    /// All records belong to one nameless entity.
    Nothing,
    /// A field of the record.
    Field(FieldPath),
}

/// `record.timestamp`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTimestamp {
    /// Path of the field with the event time.
    pub field: FieldPath,
    /// How the event time is written; auto takes strings as RFC 3339 and tells seconds, milliseconds and microseconds
    /// apart by their size. If left out: auto.
    #[serde(default = "automatic")]
    pub format: TimestampFormat,
}

fn automatic() -> TimestampFormat {
    TimestampFormat::Auto
}

/// `model.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawModel {
    /// Directory of models. Its file `current` names the one in use; new models are stored there.
    pub registry: PathBuf,
    /// Models kept in the registry; beyond it the oldest go, but never the one in use nor the last ones that were in use before it.
    #[schemars(range(min = 2, max = 10_000))]
    pub keep: usize,
    /// A model file to use instead of the registry's.
    pub file: Option<PathBuf>,
    /// Time between two looks for another model in the registry.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "1h"))]
    pub poll_interval: WrittenDuration,
    /// How to feed a model that another tool made.
    pub foreign: Option<RawForeign>,
}

/// `model.foreign.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawForeign {
    /// Subtracted from each column before a model from another tool, in the column's unit, one number per column; goes
    /// with `scale`. Without both, they are fitted to the rows of the cold start.
    #[schemars(extend("x-expected" = "a list of finite numbers, one per column"))]
    pub center: Option<Vec<f32>>,
    /// Divisor of each column after the subtraction, one number per column.
    #[schemars(extend("x-expected" = "a list of finite numbers above 0, one per column"))]
    pub scale: Option<Vec<f32>>,
}

/// `training.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTraining {
    /// Records that a cold start collects before it trains.
    #[schemars(range(min = 100, max = 100_000_000))]
    pub rows: usize,
    /// Rows that `strayd train` keeps at most, the newest ones.
    #[schemars(range(min = 100, max = 100_000_000))]
    pub max_rows: usize,
    /// Rows judged normal that are kept in memory for retraining, at most.
    #[schemars(range(min = 1000, max = 1_000_000))]
    pub sample_rows: usize,
    /// When `strayd run` trains a new model.
    pub schedule: RawSchedule,
    /// Rows of an entity that make one input of the network.
    #[schemars(range(min = 1, max = 1024))]
    pub window: usize,
    /// Share of the newest rows kept out of fitting, for early stopping and calibration.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub held_back: f64,
    /// Kind of autoencoder.
    pub kind: Option<NetworkKind>,
    /// Widths of the encoder's hidden layers, from input to code; the decoder mirrors them. If left out, derived from
    /// the width of the input.
    #[schemars(inner(range(min = 1, max = 65536)), length(max = 16))]
    pub hidden: Option<Vec<usize>>,
    /// Width of the code (principal components for pca). If left out, derived from the width of the input.
    #[schemars(range(min = 1, max = 65536))]
    pub code_size: Option<usize>,
    /// Activation of the hidden layers. The code is linear, but for a sigmoid where sparsity.kl is above 0.
    pub activation: Activation,
    /// What fitting minimises: mean_squared_error, binary_cross_entropy (values scaled to 0..1), or {huber: {delta}}.
    #[schemars(extend("x-expected" = "mean_squared_error, binary_cross_entropy or {huber: {delta: NUMBER}}"))]
    pub loss: Loss,
    /// Corruption of the denoising kind's input; the parts may be combined.
    pub noise: RawNoise,
    /// Penalties of the sparse kind.
    pub sparsity: RawSparsity,
    /// How columns are scaled before the network: robust ends to 0..1, or mean 0 and standard deviation 1. If left out,
    /// robust_min_max, or standard where kind is left out too and few windows make it pca.
    pub scaling: Option<Scaling>,
    /// Networks with different seeds whose reconstructions are averaged.
    #[schemars(range(min = 1, max = 64))]
    pub members: usize,
    /// Passes over the rows, at most.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: usize,
    /// Rows per step of the optimiser.
    #[schemars(range(min = 1, max = 65536))]
    pub batch_size: usize,
    /// Step size of the optimiser (Adam).
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1.0))]
    pub learning_rate: f64,
    /// Epochs without improvement on the held-back rows before fitting stops.
    #[schemars(range(min = 1, max = 100_000))]
    pub patience: usize,
    /// Seed of all randomness; the same seed, rows and settings give the same model.
    pub seed: u64,
    /// What a newly trained model has to show before it replaces the one in use.
    pub gate: RawGate,
}

/// `training.gate.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawGate {
    /// Share of the newest rows of the sample that a retraining leaves to the gate: no model has seen them.
    #[schemars(range(min = 0.01, max = 0.5))]
    pub withheld: f64,
    /// How much worse than the model in use, and than principal components, a new model may tell planted changes from normal
    /// rows: difference of the areas under the ROC curve, beyond what chance explains. 1 switches both comparisons off.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub tolerance: f64,
}

/// `training.schedule.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSchedule {
    /// Train so long after the last model, or never. If left out: 24h, or by cron.
    #[schemars(extend("x-expected" = "a duration such as 24h (at least 1s), or never"))]
    pub every: Option<String>,
    /// Train at these times, in UTC, as cron writes them: minute, hour, day of month, month, day of week.
    #[schemars(extend("x-expected" = "five fields such as 30 2 * * 1-5, or @daily"))]
    pub cron: Option<String>,
    /// Each time is put off by a random part of this, so that many daemons don't train at once.
    #[schemars(extend("x-minimum" = "0ms", "x-maximum" = "24h"))]
    pub jitter: WrittenDuration,
}

/// `training.noise.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawNoise {
    /// Standard deviation of Gaussian noise, in standard deviations of each feature.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub gaussian: f64,
    /// Share of values set to their feature's centre.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub masking: f64,
    /// Share of values taken from another row.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub swap: f64,
}

/// `training.sparsity.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSparsity {
    /// Weight of the mean absolute activation of the code.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub l1: f64,
    /// Weight of the Kullback-Leibler divergence of the code's mean activity from `target`; needs activation sigmoid.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub kl: f64,
    /// Wanted mean activity of a code unit, for `kl`.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub target: f64,
}

/// `judging.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawJudging {
    /// How many alarms are allowed: exactly one of its two keys.
    pub budget: RawBudget,
    /// Span in rows of the exponential smoothing of scores per entity; 1 is none.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub smoothing_span: u32,
    /// How residuals are put on one scale: raw (as they are), held_back (divided by their variance on held-back rows),
    /// or {running: {half_life}} (the same, following slow drift per entity; half_life in rows). If left out, running with a
    /// half_life of 5000, or raw where training.kind is left out too and few windows make it pca.
    #[schemars(extend("x-expected" = "raw, held_back or {running: {half_life: ROWS}}"))]
    pub residuals: Option<Residuals>,
    /// Rows of an entity without anomaly after which its incident ends.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub incident_quiet_rows: u32,
    /// Features that an event names, those with the largest share of the error first.
    #[schemars(range(min = 1, max = 1000))]
    pub top_features: usize,
}

/// `judging.budget.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBudget {
    /// Alarms (incidents) per entity and day that normal data may raise.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1_000_000.0))]
    pub alarms_per_entity_and_day: Option<f64>,
    /// Share of normal rows that may be anomalous (contamination).
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub quantile: Option<f64>,
}

/// `pipeline.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPipeline {
    /// A batch closes at this many rows.
    #[schemars(range(min = 1, max = 65536))]
    pub batch_rows: usize,
    /// Or this long after its first row.
    #[schemars(extend("x-minimum" = "0ms", "x-maximum" = "1m"))]
    pub batch_wait: WrittenDuration,
    /// Time between two commits of offsets.
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "10m"))]
    pub commit_interval: WrittenDuration,
    /// Entities kept in memory; beyond it, the one idle for longest makes room.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_entities: usize,
    /// Time to drain after SIGTERM.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1h"))]
    pub shutdown_deadline: WrittenDuration,
}

/// `http.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawHttp {
    /// Address of metrics, probes and status; none serves nothing.
    #[schemars(extend("x-expected" = "IP:PORT or none"))]
    pub listen: String,
    /// File with the bearer token of POST /admin/retrain; without it, nothing under /admin is served.
    pub admin_token_file: Option<PathBuf>,
}

/// `log.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawLog {
    /// Least level of log lines, or a list such as info,strayd::kafka=debug.
    #[schemars(extend("x-expected" = "off, error, warn, info, debug, trace, or such levels per module"))]
    pub level: String,
    /// human for people, json for one object a line.
    pub format: LogFormat,
}

/// `runtime.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRuntime {
    /// The ONNX Runtime shared library; if left out, it is searched for beside the program and in the system's places.
    pub library: Option<PathBuf>,
    /// What models run on: cpu; cuda (an NVIDIA GPU, and nothing else in its place); or auto (a GPU if one can be had when
    /// the program starts, else the CPU, with a warning and a metric).
    pub device: DeviceChoice,
    /// Which GPU, as CUDA counts them from 0.
    #[schemars(range(min = 0, max = 1023))]
    pub device_id: u32,
    /// GPU memory that ONNX Runtime's arena may take per model; if left out, there is no limit. What CUDA itself needs
    /// comes on top.
    #[schemars(extend("x-minimum" = "1MiB", "x-maximum" = "1024GiB"))]
    pub device_memory: Option<ByteSize>,
}
