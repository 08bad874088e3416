//! An embedded broker for the demo and for tests: librdkafka's mock cluster, in this process, on a loopback port.
//!
//! It speaks the real protocol, so outside clients can join. It is no store: it keeps 5 MiB per partition in memory, its
//! transactions are stubs, and look-ups by time always give the end.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
    message::Headers,
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer, ProducerContext},
};

use super::KafkaError;
use crate::record::Position;

/// The broker; it is gone when this is dropped.
pub struct EmbeddedBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl EmbeddedBroker {
    /// Starts a cluster of one broker on a free loopback port.
    pub fn start() -> Result<Self, KafkaError> {
        Ok(Self { cluster: MockCluster::new(1)? })
    }

    /// `host:port`.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Makes a topic.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        Ok(self.cluster.create_topic(name, partitions, 1)?)
    }

    /// Cuts all connections and refuses new ones, or accepts them again.
    pub fn set_down(&self, down: bool) -> Result<(), KafkaError> {
        Ok(if down { self.cluster.broker_down(1) } else { self.cluster.broker_up(1) }?)
    }

    /// `kafka.properties` that the mock cluster's peculiarities ask for: it doesn't wake waiting fetches when data comes, and
    /// its classic groups take seconds to form.
    pub fn properties() -> BTreeMap<String, String> {
        [("consumer.fetch.wait.max.ms", "10"), ("consumer.group.protocol", "consumer")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }
}

/// One record to feed.
#[derive(Debug, Clone, Copy)]
pub struct Fed<'a> {
    /// Message key.
    pub key: Option<&'a [u8]>,
    /// Message value; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Milliseconds since the epoch; `None` is now.
    pub timestamp_ms: Option<i64>,
    /// Partition; `None` lets the key decide.
    pub partition: Option<i32>,
}

impl Fed<'_> {
    /// Puts the record into a producer's buffer; `false` where that is full.
    pub(super) fn offer<C: ProducerContext<DeliveryOpaque = ()>>(
        &self,
        producer: &BaseProducer<C>,
        topic: &str,
    ) -> Result<bool, KafkaError> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        (record.key, record.payload) = (self.key, self.payload);
        (record.partition, record.timestamp) = (self.partition, self.timestamp_ms);
        match producer.send(record) {
            Ok(()) => Ok(true),
            Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => Ok(false),
            Err((error, _)) => Err(error.into()),
        }
    }
}

/// Writes records into a topic, as a sensor's gateway would.
pub struct Feeder {
    producer: BaseProducer,
    topic: String,
}

impl Feeder {
    /// A producer for `topic`. Batches are compressed, so that the mock broker's 5 MiB per partition hold many.
    pub fn connect(brokers: &str, topic: &str) -> Result<Self, KafkaError> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("compression.type", "zstd")
            .set("linger.ms", "5")
            .set("message.max.bytes", "8000000")
            .create()?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    /// Puts one record into the producer's buffer, waiting while it is full.
    pub fn feed(&self, fed: &Fed<'_>) -> Result<(), KafkaError> {
        while !fed.offer(&self.producer, &self.topic)? {
            self.producer.poll(Duration::from_millis(10));
        }
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    /// Waits until the broker has everything.
    pub fn flush(&self, wait: Duration) -> Result<(), KafkaError> {
        Ok(self.producer.flush(wait)?)
    }
}

/// A message that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBack {
    /// Where it stands.
    pub position: Position,
    /// Message key.
    pub key: Option<Vec<u8>>,
    /// Message value.
    pub payload: Option<Vec<u8>>,
    /// Headers, as text.
    pub headers: BTreeMap<String, String>,
}

/// Reads a topic from its beginning, without a group.
pub struct Reader {
    consumer: BaseConsumer,
}

impl Reader {
    /// A reader of all `partitions` of `topic`.
    pub fn connect(brokers: &str, topic: &str, partitions: i32) -> Result<Self, KafkaError> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "strayd-reader")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "10")
            .create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        Ok(Self { consumer })
    }

    /// The next message, or `None` when nothing came within `wait`.
    pub fn next(&self, wait: Duration) -> Option<ReadBack> {
        let message = self.consumer.poll(wait)?.ok()?;
        let headers = message.headers().map(|headers| {
            headers
                .iter()
                .map(|header| {
                    let value = String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned();
                    (header.key.to_owned(), value)
                })
                .collect()
        });
        Some(ReadBack {
            position: Position { partition: message.partition(), offset: message.offset() },
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
        })
    }
}
