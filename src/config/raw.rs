//! The configuration as written. The doc comment of a field is its manual, its `schemars` attributes are its range: the
//! JSON schema, the table in the README, the range checks and the texts of problems all come from here. Defaults stand
//! in `presets.rs`.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    raw_features::RawFeatures,
    raw_format::{RawFormat, RawSchemaRegistry},
    raw_judging::RawJudging,
    raw_model::RawModel,
    raw_training::RawTraining,
    settings::{
        DeliveryGuarantee, DeviceChoice, Duplicates, EventFormat, LogFormat, OnLoss, Preset, Role, StartAt,
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
    /// Where models are kept, which one is used, and what a model of strayd's own is made of.
    pub model: RawModel,
    /// When and how a model is fitted, and to which rows.
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
    /// Name of this process in its group, of no other at a time: who comes back under it within session.timeout.ms gets its
    /// partitions back without a rebalance; null makes each start a new member.
    pub group_instance_id: Option<String>,
    /// Where a group without committed offsets begins.
    pub start: StartAt,
    /// What follows from records that the topic's retention deleted before they were read.
    pub on_loss: OnLoss,
    /// What holds of outputs when a process ends in the midst of its work.
    pub delivery: DeliveryGuarantee,
    /// Name of the transactional producer of `delivery: exactly_once`, of this process alone; null makes it of group and host.
    pub transactional_id: Option<String>,
    /// Topic that anomalies are written to.
    pub anomaly_topic: String,
    /// Topic that incidents are written to: opened, updated, resolved; null writes none.
    pub incident_topic: Option<String>,
    /// Topic with what people say of alarms (`strayd feedback`), read by every process from its beginning; null reads none.
    pub feedback_topic: Option<String>,
    /// Topic for records that can't be scored, with the raw bytes and the reason.
    pub dead_letter_topic: String,
    /// How anomalies and incidents are written: json, or avro behind the id of its schema (docs/formats.md), which is registered as
    /// TOPIC-value in `record.schema_registry`.
    pub output_format: EventFormat,
    /// Compacted topic with what is remembered of entities, so that a restart or a rebalance goes on where it was; made where it
    /// is missing. null keeps nothing: every restart begins anew.
    pub state_topic: Option<String>,
    /// Further librdkafka settings for consumer and producer, by their librdkafka names.
    #[schemars(extend("x-expected" = "librdkafka keys with text values"))]
    pub properties: BTreeMap<String, String>,
    /// librdkafka settings whose value is read from a file (key -> file), such as sasl.password. Never printed.
    #[schemars(extend("x-expected" = "librdkafka keys with file names"))]
    pub secrets: BTreeMap<String, PathBuf>,
    /// File with the JSON Web Token that `sasl.mechanism: OAUTHBEARER` shows to brokers. Read anew before the token expires, and never printed.
    pub oauth_token_file: Option<PathBuf>,
}

/// `record.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRecordSection {
    /// Whose record it is: the message key, a field, or nothing (all records belong to one entity).
    pub entity: RawEntity,
    /// Field with the event time; without it, the message's own timestamp counts.
    pub timestamp: Option<RawTimestamp>,
    /// What a message's value is (docs/formats.md): json or messagepack (an object); avro or protobuf (behind the id of a
    /// schema in a schema registry); {avro_schema: FILE} or {protobuf_schema: {file, message}} (without one); {csv: {columns, separator}}: one line
    /// whose cells these columns name, separated by a comma if left out; or {raw: {shape, type, big_endian}}: the bytes of one
    /// grid, row by row, its cells of type uint8, uint16, int16, float32 or float64 in little-endian order unless big_endian is
    /// true. Raw bytes have no fields; their grid is the only feature.
    pub format: RawFormat,
    /// Where the schemas are that records were written with.
    pub schema_registry: RawSchemaRegistry,
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
    /// A record further behind the newest of its entity, in event time, is late: it is counted, and neither scored nor
    /// remembered. After 20 late ones in a row the newest time is taken for that of a broken clock, and set back. null takes
    /// records in whatever order they come.
    #[schemars(extend("x-minimum" = "0ms", "x-maximum" = "365d"))]
    pub lateness: Option<WrittenDuration>,
    /// What becomes of a record with the time and the values of its entity's record before it: keep scores it, drop counts it and
    /// neither scores nor remembers it.
    pub duplicates: Duplicates,
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
    /// An entity that has changed has a snapshot on `kafka.state_topic` after this time at the latest.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "1h"))]
    pub snapshot_interval: WrittenDuration,
    /// After a restart or a rebalance at most this many records of each partition are read again to fill windows.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub max_rewind: u64,
    /// An entity without records for so long is forgotten; null forgets none before `max_entities` are held.
    #[schemars(extend("x-minimum" = "1m", "x-maximum" = "3650d"))]
    pub evict_after: Option<WrittenDuration>,
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
