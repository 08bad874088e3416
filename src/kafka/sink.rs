//! The sink: an idempotent producer that never gives up on a broker, and tells how each message ended.

use std::{sync::Mutex, time::Duration};

use rdkafka::{
    ClientContext, Message, Statistics,
    error::{KafkaError as ClientError, RDKafkaErrorCode},
    message::{Header, Headers, OwnedHeaders, ToBytes},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};

use super::{KafkaError, link::Link, settings};
use crate::{
    config::settings::KafkaSettings,
    pipeline::{Delivery, Output, Sink, SinkError},
    record::Position,
};

/// Bytes that are kept of a dead letter which the broker refuses as too large.
const TRUNCATED_BYTES: usize = 64 * 1024;
/// Marks a dead letter whose payload was cut.
const TRUNCATED: &str = "strayd.truncated";
/// How long one look for room in a full buffer takes.
const ROOM_WAIT: Duration = Duration::from_millis(50);

/// A dead letter that was refused for its size, to be sent again cut.
struct Oversized {
    position: Position,
    key: Option<Vec<u8>>,
    payload: Vec<u8>,
    headers: OwnedHeaders,
}

#[derive(Default)]
struct Mail {
    ended: Vec<Delivery>,
    oversized: Vec<Oversized>,
}

struct Context {
    link: Link,
    mail: Mutex<Mail>,
    dead_letter_topic: String,
}

impl Context {
    fn mail(&self) -> std::sync::MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn error(&self, error: ClientError, reason: &str) {
        self.link.error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.link.statistics(&statistics);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Position>;

    fn delivery(&self, result: &DeliveryResult<'_>, position: Box<Position>) {
        let result = match result {
            Ok(_) => {
                self.link.up();
                Ok(())
            }
            Err((error, message)) => {
                let too_large = error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge);
                let headers = message.headers().map(|headers| headers.detach()).unwrap_or_default();
                let cut = headers.iter().any(|header| header.key == TRUNCATED);
                if too_large && !cut && message.topic() == self.dead_letter_topic {
                    self.mail().oversized.push(Oversized {
                        position: *position,
                        key: message.key().map(<[u8]>::to_vec),
                        payload: message.payload().unwrap_or_default().to_vec(),
                        headers,
                    });
                    return;
                }
                Err(error.to_string())
            }
        };
        self.mail().ended.push(Delivery { position: *position, result });
    }
}

/// The output topics.
pub struct KafkaSink {
    producer: BaseProducer<Context>,
    anomaly_topic: String,
    dead_letter_topic: String,
    input_topic: String,
}

/// One message on its way.
struct Parcel<'a> {
    topic: &'a str,
    position: Position,
    key: Option<&'a [u8]>,
    payload: Option<&'a [u8]>,
    headers: OwnedHeaders,
}

impl KafkaSink {
    /// Makes the producer; a broker that is away is waited for.
    pub fn connect(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let context = Context {
            link: Link::new(&settings.brokers),
            mail: Mutex::default(),
            dead_letter_topic: settings.dead_letter_topic.clone(),
        };
        Ok(Self {
            producer: settings::producer(settings)?.create_with_context(context)?,
            anomaly_topic: settings.anomaly_topic.clone(),
            dead_letter_topic: settings.dead_letter_topic.clone(),
            input_topic: settings.input_topic.clone(),
        })
    }

    /// Hands the parcel to librdkafka, waiting while its buffer is full.
    fn post(&self, parcel: Parcel<'_>) -> Result<(), SinkError> {
        let mut record: BaseRecord<'_, [u8], [u8], Box<Position>> =
            BaseRecord::with_opaque_to(parcel.topic, Box::new(parcel.position)).headers(parcel.headers);
        record.key = parcel.key;
        record.payload = parcel.payload;
        loop {
            let Err((error, back)) = self.producer.send(record) else { return Ok(()) };
            record = back;
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => self.producer.poll(ROOM_WAIT),
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => return self.too_large(parcel.topic, record, &error),
                Some(RDKafkaErrorCode::Fatal) => return Err(SinkError::Fatal(error.to_string())),
                _ => {
                    let result = Err(error.to_string());
                    self.producer.context().mail().ended.push(Delivery { position: parcel.position, result });
                    return Ok(());
                }
            }
        }
    }

    /// The client itself refuses the size, before anything went over the wire.
    fn too_large(
        &self,
        topic: &str,
        record: BaseRecord<'_, [u8], [u8], Box<Position>>,
        error: &ClientError,
    ) -> Result<(), SinkError> {
        let position = *record.delivery_opaque;
        let mut mail = self.producer.context().mail();
        let headers = record.headers.unwrap_or_default();
        let cut = headers.iter().any(|header| header.key == TRUNCATED);
        if topic == self.dead_letter_topic && !cut {
            mail.oversized.push(Oversized {
                position,
                key: record.key.map(|key| key.to_bytes().to_vec()),
                payload: record.payload.unwrap_or_default().to_vec(),
                headers,
            });
        } else {
            mail.ended.push(Delivery { position, result: Err(error.to_string()) });
        }
        Ok(())
    }

    /// Sends what was too large again, cut: a dead letter without its tail is better than none.
    fn resend_cut(&self) {
        let oversized = std::mem::take(&mut self.producer.context().mail().oversized);
        for letter in oversized {
            let bytes = letter.payload.len();
            tracing::error!(
                partition = letter.position.partition,
                offset = letter.position.offset,
                bytes,
                kept = TRUNCATED_BYTES,
                "the broker takes no dead letter of this size: its payload is cut"
            );
            let size = bytes.to_string();
            let parcel = Parcel {
                topic: &self.dead_letter_topic,
                position: letter.position,
                key: letter.key.as_deref(),
                payload: Some(&letter.payload[..bytes.min(TRUNCATED_BYTES)]),
                headers: letter.headers.insert(header(TRUNCATED, &size)),
            };
            if let Err(error) = self.post(parcel) {
                let result = Err(error.to_string());
                self.producer.context().mail().ended.push(Delivery { position: letter.position, result });
            }
        }
    }
}

fn header<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header { key, value: Some(value) }
}

impl Sink for KafkaSink {
    fn send(&mut self, position: Position, output: Output) -> Result<(), SinkError> {
        match output {
            Output::Anomaly { entity, json } => self.post(Parcel {
                topic: &self.anomaly_topic,
                position,
                key: Some(entity.as_bytes()),
                payload: Some(&json),
                headers: OwnedHeaders::new().insert(header("content-type", "application/json")),
            }),
            Output::DeadLetter { key, payload, position, reason, error } => {
                let (partition, offset) = (position.partition.to_string(), position.offset.to_string());
                let headers = OwnedHeaders::new()
                    .insert(header("strayd.error.reason", reason.as_str()))
                    .insert(header("strayd.error.message", &error))
                    .insert(header("strayd.source.topic", &self.input_topic))
                    .insert(header("strayd.source.partition", &partition))
                    .insert(header("strayd.source.offset", &offset));
                let (key, payload) = (key.as_deref(), payload.as_deref());
                self.post(Parcel { topic: &self.dead_letter_topic, position, key, payload, headers })
            }
        }
    }

    fn deliveries(&mut self, wait: Duration, visit: &mut dyn FnMut(Delivery)) {
        self.producer.poll(wait);
        self.resend_cut();
        let ended = std::mem::take(&mut self.producer.context().mail().ended);
        ended.into_iter().for_each(visit);
    }

    fn health(&self) -> Result<(), String> {
        self.producer.context().link.state()
    }
}
