//! The configuration as meant: every value was checked, so the rest of the program can't meet a bad one.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

pub use super::{
    budget::{AlarmBudget, EntityBudget},
    settings_format::{RawGrid, RecordFormat},
    settings_incidents::{FeedbackSettings, GroupRule, IncidentSettings, SeverityBounds, SilenceSettings},
    settings_kafka::{DeliveryGuarantee, EventFormat, KafkaSettings, OnLoss, OutputFormat, StartAt},
    settings_runtime::{DeviceChoice, RuntimeSettings},
    settings_training::{
        Activation, Contraction, Convolution, GateSettings, Kinds, Loss, NetworkKind, NetworkSettings, Noise,
        Optimiser, OptimiserRule, RateSchedule, Scaling, ScheduleSettings, Sparsity, TrainingSettings, Variational,
        VariationalScore, When,
    },
};
use crate::{
    detect::gates::{columns::FeatureRule, maintenance::Maintenance, pattern::Pattern, persistence::Persistence},
    record::{
        features::{FeatureSetting, Transform},
        path::FieldPath,
    },
    schemas::SchemaRegistrySettings,
};

/// A kind of data, and with it the defaults of all settings that depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Rows of an entity follow each other in time.
    Timeseries,
    /// Rows are independent of each other.
    Tabular,
}

/// Everything that can be set, checked and with defaults filled in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which defaults were used.
    pub preset: Preset,
    /// What this process does.
    pub role: Role,
    /// Brokers, topics, group.
    pub kafka: KafkaSettings,
    /// How a record becomes a row.
    pub record: RecordSettings,
    /// `record.schema_registry`; `None` where neither records nor outputs need one.
    pub schema_registry: Option<SchemaRegistrySettings>,
    /// Where models are kept and which one is used.
    pub model: ModelSettings,
    /// The network and how it is fitted.
    pub training: TrainingSettings,
    /// When a score is an alarm.
    pub judging: JudgingSettings,
    /// Batches and buffers.
    pub pipeline: PipelineSettings,
    /// Metrics and probes.
    pub http: HttpSettings,
    /// Log lines.
    pub log: LogSettings,
    /// ONNX Runtime.
    pub runtime: RuntimeSettings,
}

impl Settings {
    /// `kafka.*` as this role uses it: a trainer reads all partitions beside the scorers, in a consumer group of its own.
    pub fn kafka_of_role(&self) -> KafkaSettings {
        let mut kafka = self.kafka.clone();
        if self.role == Role::Trainer {
            kafka.group.push_str("-trainer");
            kafka.state_topic = None;
        }
        kafka
    }
}

/// What a process does of the whole; scorers and trainers meet only in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Scores, publishes and trains.
    All,
    /// Scores and publishes with the registry's model, and never trains.
    Scorer,
    /// Reads the topic in a consumer group of its own, trains, and writes the registry; publishes nothing.
    Trainer,
}

impl Role {
    /// The word in configuration and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Scorer => "scorer",
            Self::Trainer => "trainer",
        }
    }
}

/// `record.*`
#[derive(Debug, Clone)]
pub struct RecordSettings {
    /// `record.entity`: whose record it is.
    pub entity: EntityFrom,
    /// `record.timestamp`: event time; `None` takes the message's own.
    pub timestamp: Option<TimestampField>,
    /// `record.format`: what a payload is.
    pub format: RecordFormat,
    /// `record.features`: the list, or all numeric fields found at training time. Of raw bytes it is their grid alone.
    pub features: FeatureSelection,
    /// `record.lateness`: how far behind the newest of its entity a record may be; `None` takes any order.
    pub lateness: Option<Duration>,
    /// `record.duplicates`: what becomes of records that come twice.
    pub duplicates: Duplicates,
    /// `record.max_bytes`: larger payloads are dead letters.
    pub max_bytes: usize,
    /// `record.max_missing`: share (0..=1) of features that may be missing before a record is a dead letter.
    pub max_missing: f64,
}

/// What becomes of a record with the time and the values of its entity's record before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Duplicates {
    /// It is a record like any other.
    Keep,
    /// It is counted, and neither scored nor remembered.
    Drop,
}

/// Where the entity's name stands.
#[derive(Debug, Clone, PartialEq)]
pub enum EntityFrom {
    /// All records belong to one nameless entity.
    Nothing,
    /// The message key, as UTF-8; a record without key belongs to the nameless entity.
    Key,
    /// A field of the record.
    Field(FieldPath),
}

/// The field with the event time.
#[derive(Debug, Clone, PartialEq)]
pub struct TimestampField {
    /// Where it stands.
    pub path: FieldPath,
    /// How it is written.
    pub format: TimestampFormat,
}

/// How an event time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TimestampFormat {
    /// Strings are RFC 3339; numbers are epoch seconds, milliseconds or microseconds, told apart by their size.
    Auto,
    /// RFC 3339.
    Rfc3339,
    /// Epoch seconds, may have a fraction.
    Seconds,
    /// Epoch milliseconds.
    Milliseconds,
    /// Epoch microseconds.
    Microseconds,
}

/// Which fields are features.
#[derive(Debug, Clone, PartialEq)]
pub enum FeatureSelection {
    /// All numeric fields that the training sample holds, but for these paths (entity and timestamp are left out too).
    AllNumeric {
        /// Paths left out.
        exclude: Vec<FieldPath>,
        /// `record.transform`: applied to each of the fields found.
        transform: Transform,
    },
    /// Exactly these.
    Listed(Vec<FeatureSetting>),
}

/// `model.*`
#[derive(Debug, Clone)]
pub struct ModelSettings {
    /// `model.registry`: directory of models.
    pub registry: PathBuf,
    /// `model.keep`: models kept in the registry, >= 2.
    pub keep: usize,
    /// `model.file`: a model file to use instead of the registry's.
    pub file: Option<PathBuf>,
    /// `model.poll_interval`: time between two looks for another model in the registry.
    pub poll_interval: Duration,
    /// `model.foreign`: how to feed a model that another tool made; `None` if neither of its keys is set.
    pub foreign: Option<ForeignSettings>,
}

/// `model.foreign.*`: the scaler of a model from another tool. Both or none are given, with the same length; without
/// them, strayd fits them to the rows of the cold start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ForeignSettings {
    /// `model.foreign.center`: subtracted from each column, column's unit, finite.
    pub center: Option<Vec<f32>>,
    /// `model.foreign.scale`: divisor of each column, finite and > 0.
    pub scale: Option<Vec<f32>>,
}

/// `judging.*`
#[derive(Debug, Clone)]
pub struct JudgingSettings {
    /// `judging.budget`: how many alarms are allowed.
    pub budget: AlarmBudget,
    /// `judging.smoothing_span`: span in rows of the exponential smoothing per entity; 1 is none.
    pub smoothing_span: u32,
    /// `judging.residuals`: how residuals are put on one scale; `None` is running with a half-life of 5,000 rows.
    pub residuals: Option<Residuals>,
    /// `judging.aggregation`: what a row's score is made of; `None` is mean, or mahalanobis where
    /// [`kinds`](NetworkSettings::kinds) turn out to be pca by itself.
    pub aggregation: Option<Aggregation>,
    /// `judging.incident_quiet_rows`: an incident ends after this many rows of its entity without anomaly.
    pub incident_quiet_rows: u32,
    /// `judging.recalibration`: how an entity's limit follows it.
    pub recalibration: Recalibration,
    /// `judging.incidents`: what is told of an incident while it goes on.
    pub incidents: IncidentSettings,
    /// `judging.severity`: how rare an anomaly has to be for each severity.
    pub severity: SeverityBounds,
    /// `judging.silence`; `None` watches for no silence.
    pub silence: Option<SilenceSettings>,
    /// `judging.feedback`: what follows from verdicts.
    pub feedback: FeedbackSettings,
    /// `judging.top_features`: how many features an event names.
    pub top_features: usize,
    /// `judging.features`: what a feature has to do before its deviation counts.
    pub features: Vec<FeatureRule>,
    /// `judging.persistence`: how many of an entity's last judged rows must be anomalous.
    pub persistence: Persistence,
    /// `judging.cold_start_rows`: first judged rows of an entity that raise no alarm.
    pub cold_start_rows: u32,
    /// `judging.maintenance`: when no alarms are raised.
    pub maintenance: Vec<Maintenance>,
    /// `judging.overrides`: what is different for some entities; the first that matches is an entity's own.
    pub overrides: Vec<Override>,
    /// `judging.publish_suppressed`: whether an anomaly that was held back is published all the same.
    pub publish_suppressed: bool,
}

/// One entry of `judging.overrides`; what is `None` is as in general.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// Whose.
    pub entities: Pattern,
    /// Another budget, and with it another limit.
    pub budget: Option<AlarmBudget>,
    /// How anomalies have to persist.
    pub persistence: Option<Persistence>,
    /// First judged rows that raise no alarm.
    pub cold_start_rows: Option<u32>,
    /// What comes after `judging.features`.
    pub features: Vec<FeatureRule>,
}

/// `judging.recalibration.*`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recalibration {
    /// `step`: share by which an incident raises its entity's limit, >= 0; 0 keeps limits as they were calibrated.
    pub step: f64,
    /// `most`: the highest limit, in calibrated ones, >= 1.
    pub most: f64,
}

/// What a row's score is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Aggregation {
    /// The mean of the columns' errors.
    Mean,
    /// The largest one.
    Max,
    /// The mean of so many, the largest ones.
    Top(#[schemars(range(min = 1, max = 64))] u32),
    /// The mean of the errors of residuals whose correlations are taken out: their Mahalanobis distance.
    Mahalanobis,
}

/// How residuals are put on one scale before they are summed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Residuals {
    /// As they are, in scaled units.
    Raw,
    /// Divided by their variance on held-back rows.
    HeldBack,
    /// The same, and mean and variance follow slow drift per entity.
    Running {
        /// Rows after which an old residual counts half, > 0.
        #[schemars(extend("exclusiveMinimum" = 0))]
        half_life: f64,
    },
}

/// `pipeline.*`
#[derive(Debug, Clone)]
pub struct PipelineSettings {
    /// `pipeline.batch_rows`: a batch closes at this many rows.
    pub batch_rows: usize,
    /// `pipeline.batch_wait`: or this long after its first row.
    pub batch_wait: Duration,
    /// `pipeline.commit_interval`
    pub commit_interval: Duration,
    /// `pipeline.max_entities`: the longest idle entity makes room beyond this.
    pub max_entities: usize,
    /// `pipeline.snapshot_interval`: an entity that has changed has a snapshot after this time at the latest.
    pub snapshot_interval: Duration,
    /// `pipeline.max_rewind`: the most records of a partition that are read again to fill windows.
    pub max_rewind: u64,
    /// `pipeline.evict_after`: an entity without records for so long is forgotten; `None` forgets none before there are too many.
    pub evict_after: Option<Duration>,
    /// `pipeline.shutdown_deadline`: time to drain after SIGTERM.
    pub shutdown_deadline: Duration,
}

/// `http.*`
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// `http.listen`; `None` serves nothing.
    pub listen: Option<SocketAddr>,
    /// `http.admin_token_file`: holds the bearer token of `/admin`; without one there is no `/admin`.
    pub admin_token_file: Option<PathBuf>,
}

/// `log.*`
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// `log.level`: a tracing filter.
    pub level: String,
    /// `log.format`
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}
