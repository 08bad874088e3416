//! `kafka.*` as meant.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::schemas::OutputSchemas;

/// `kafka.*`
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// `kafka.brokers`: host:port, comma separated.
    pub brokers: String,
    /// `kafka.input_topic`
    pub input_topic: String,
    /// `kafka.group`: consumer group.
    pub group: String,
    /// `kafka.group_instance_id`: name of this process in its group; `None` makes each start a new member.
    pub group_instance_id: Option<String>,
    /// `kafka.start`: where a group without committed offsets begins.
    pub start: StartAt,
    /// `kafka.on_loss`: what follows from records that were deleted before they were read.
    pub on_loss: OnLoss,
    /// `kafka.delivery`: what holds of outputs when a process ends in the midst of its work.
    pub delivery: DeliveryGuarantee,
    /// `kafka.transactional_id`: the name of the transactional producer; `None` makes one of group and host.
    pub transactional_id: Option<String>,
    /// `kafka.anomaly_topic`
    pub anomaly_topic: String,
    /// `kafka.incident_topic`; `None` writes no incidents.
    pub incident_topic: Option<String>,
    /// `kafka.feedback_topic`; `None` reads no feedback.
    pub feedback_topic: Option<String>,
    /// `kafka.dead_letter_topic`
    pub dead_letter_topic: String,
    /// `kafka.output_format`: how anomalies and incidents are written.
    pub output_format: OutputFormat,
    /// `kafka.state_topic`; `None` keeps nothing of entities over restarts.
    pub state_topic: Option<String>,
    /// `kafka.properties`: further librdkafka settings for consumer and producer.
    pub properties: BTreeMap<String, String>,
    /// `kafka.secrets`: librdkafka settings read from files (key -> file), never printed.
    pub secrets: BTreeMap<String, PathBuf>,
    /// `kafka.oauth_token_file`: holds the token of OAUTHBEARER.
    pub oauth_token_file: Option<PathBuf>,
}

impl KafkaSettings {
    /// The topics that outputs are written to.
    pub fn output_topics(&self) -> impl Iterator<Item = &str> {
        let incidents = self.incident_topic.as_deref();
        [self.anomaly_topic.as_str()].into_iter().chain(incidents).chain([self.dead_letter_topic.as_str()])
    }
}

/// How anomalies and incidents are written, as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventFormat {
    /// One line of JSON.
    Json,
    /// An Avro datum behind the id of its schema in a registry.
    Avro,
}

/// The same with what it needs.
#[derive(Debug, Clone)]
pub enum OutputFormat {
    /// One line of JSON.
    Json,
    /// An Avro datum behind the id of its schema, one of these.
    Avro(OutputSchemas),
}

/// Where a consumer group without committed offsets begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StartAt {
    /// At the oldest record that the topic holds.
    Earliest,
    /// At the next record.
    Latest,
}

/// What follows from records that the topic's retention deleted before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnLoss {
    /// They are counted and told, and reading goes on with what is left.
    Continue,
    /// The program ends, and says what was lost.
    Stop,
}

/// What holds of anomalies, incidents and dead letters when a process ends in the midst of its work, a broker is lost or
/// partitions change hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryGuarantee {
    /// None is lost; some may be there twice, with the same id.
    AtLeastOnce,
    /// Each is there once for consumers that read what is committed: outputs and offsets are one Kafka transaction.
    ExactlyOnce,
}
