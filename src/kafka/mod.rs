//! Kafka: the source, the sink, and an embedded broker. The only place that names rdkafka.
//!
//! A rule for everyone who changes something here: a `TopicPartitionList` that a consumer gave must be dropped before that
//! consumer, because it holds references to its partitions and librdkafka's destructor waits for them for ever.

pub mod certificates;
mod commit;
pub mod embedded;
mod fault;
mod headers;
mod lag;
mod link;
mod losses;
mod membership;
pub mod output_schemas;
mod output_topics;
mod parcel;
pub mod renewal;
mod settings;
pub mod sink;
pub mod source;
pub mod state;
mod token;
pub mod topic;
pub mod transactions;
pub mod writer;

pub use settings::{KafkaProblem, check, check_clients, check_secrets};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// A setting is owned by strayd.
    #[error("kafka.properties.{key}: strayd sets this itself ({why}), remove it")]
    Owned {
        /// The setting.
        key: String,
        /// What it is needed for.
        why: &'static str,
    },
    /// A secret can't be read.
    #[error("kafka.secrets.{key}: {file} can't be read: {cause}")]
    Secret {
        /// The setting.
        key: String,
        /// Its file.
        file: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// librdkafka refuses the settings.
    #[error("librdkafka refuses the settings: {0}")]
    Refused(String),
    /// The broker or the topic can't be used.
    #[error("{0}")]
    Broker(String),
}

impl KafkaError {
    /// Whether the configuration is to blame.
    pub fn is_config(&self) -> bool {
        matches!(self, Self::Owned { .. } | Self::Secret { .. } | Self::Refused(_))
    }
}

impl From<rdkafka::error::KafkaError> for KafkaError {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        match error {
            rdkafka::error::KafkaError::ClientConfig(_, what, key, value) => {
                Self::Refused(format!("kafka.properties.{key}: {}", settings::hidden(&what, &value)))
            }
            rdkafka::error::KafkaError::ClientCreation(what) => Self::Refused(what),
            other => Self::Broker(other.to_string()),
        }
    }
}
