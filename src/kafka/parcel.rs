//! Messages on their way out: to which topic an output goes, with which key and headers, and what becomes of one that
//! comes back.

use std::sync::Arc;

use rdkafka::{
    IntoOpaque,
    error::{KafkaError as ClientError, RDKafkaErrorCode},
    message::{Header, Headers, OwnedHeaders},
    producer::BaseRecord,
};

use crate::{
    config::settings::KafkaSettings,
    pipeline::{Delivery, Output},
    record::Position,
    telemetry::OutputKind,
};

/// Bytes that are kept of a dead letter which the broker refuses as too large.
const TRUNCATED_BYTES: usize = 64 * 1024;
/// Marks a dead letter whose payload was cut.
const TRUNCATED: &str = "strayd.truncated";

/// What a message goes back by: the record that caused it, and what it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender {
    pub(super) position: Position,
    pub(super) kind: OutputKind,
}

impl Sender {
    pub(super) fn delivery(self, result: Result<(), String>) -> Delivery {
        Delivery { position: self.position, kind: self.kind, result }
    }
}

/// One message on its way.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) sender: Sender,
    pub(super) topic: Arc<str>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) payload: Option<Vec<u8>>,
    pub(super) headers: OwnedHeaders,
}

impl Parcel {
    /// As librdkafka takes it, to come back by `opaque`.
    pub(super) fn record<O: IntoOpaque>(&self, opaque: O) -> BaseRecord<'_, [u8], [u8], O> {
        let mut record = BaseRecord::with_opaque_to(&self.topic, opaque).headers(self.headers.clone());
        record.key = self.key.as_deref();
        record.payload = self.payload.as_deref();
        record
    }

    /// Whether no second try could end better than this one did: the broker will not take these bytes.
    pub(super) fn is_hopeless(&self, error: &ClientError) -> bool {
        let cut = self.headers.iter().any(|header| header.key == TRUNCATED);
        let invalid = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::InvalidMessage | RDKafkaErrorCode::InvalidRecord)
        );
        invalid || (is_too_large(error) && (cut || self.sender.kind != OutputKind::DeadLetter))
    }

    /// Leaves only the beginning of a dead letter, which is better than none.
    pub(super) fn cut(&mut self) {
        let Position { partition, offset } = self.sender.position;
        let payload = self.payload.get_or_insert_default();
        tracing::error!(
            partition,
            offset,
            bytes = payload.len(),
            kept = TRUNCATED_BYTES,
            "the broker takes no dead letter of this size: its payload is cut"
        );
        let headers = std::mem::replace(&mut self.headers, OwnedHeaders::new_with_capacity(0));
        self.headers = headers.insert(header(TRUNCATED, &payload.len().to_string()));
        payload.truncate(TRUNCATED_BYTES);
    }
}

/// Whether the broker takes no message of this size.
pub(super) fn is_too_large(error: &ClientError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// The topics, and what is told of a dead letter's source.
pub(super) struct Addresses {
    anomaly: Arc<str>,
    incident: Option<Arc<str>>,
    dead_letter: Arc<str>,
    input: String,
}

impl Addresses {
    pub(super) fn new(settings: &KafkaSettings) -> Self {
        Self {
            anomaly: settings.anomaly_topic.as_str().into(),
            incident: settings.incident_topic.as_deref().map(Into::into),
            dead_letter: settings.dead_letter_topic.as_str().into(),
            input: settings.input_topic.clone(),
        }
    }

    /// The message for an output; `None` where there is no topic for its kind.
    pub(super) fn parcel(&self, position: Position, output: Output) -> Option<Parcel> {
        let sender = Sender { position, kind: output.kind() };
        let event = |topic: &Arc<str>, entity: String, json| Parcel {
            sender,
            topic: Arc::clone(topic),
            key: Some(entity.into_bytes()),
            payload: Some(json),
            headers: OwnedHeaders::new().insert(header("content-type", "application/json")),
        };
        Some(match output {
            Output::Anomaly { entity, json } => event(&self.anomaly, entity, json),
            Output::Incident { entity, json } => event(self.incident.as_ref()?, entity, json),
            Output::DeadLetter { key, payload, position, reason, error } => {
                let (partition, offset) = (position.partition.to_string(), position.offset.to_string());
                let headers = OwnedHeaders::new()
                    .insert(header("strayd.error.reason", reason.as_str()))
                    .insert(header("strayd.error.message", &error))
                    .insert(header("strayd.source.topic", &self.input))
                    .insert(header("strayd.source.partition", &partition))
                    .insert(header("strayd.source.offset", &offset));
                Parcel { sender, topic: Arc::clone(&self.dead_letter), key, payload, headers }
            }
        })
    }
}

fn header<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header { key, value: Some(value) }
}
