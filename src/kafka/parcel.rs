//! Messages on their way out: to which topic an output goes, with which key and headers, and what becomes of one that
//! comes back.

use std::sync::Arc;

use rdkafka::{
    IntoOpaque,
    error::{KafkaError as ClientError, RDKafkaErrorCode},
    message::{Header, Headers as _, OwnedHeaders},
    producer::BaseRecord,
};

use super::{output_schemas, state};
use crate::{
    config::settings::{KafkaSettings, OutputFormat},
    detect::avro::{self, EventKind},
    pipeline::{Delivery, Output},
    record::{
        Position,
        headers::{Headers as _, KeptHeaders},
    },
    telemetry::OutputKind,
};

/// Bytes that are kept of a dead letter which the broker refuses as too large.
const TRUNCATED_BYTES: usize = 64 * 1024;
/// Says how many headers of its record a dead letter lacks.
const LEFT_OUT: &str = "strayd.headers.left_out";
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
    /// `None` leaves it to the key.
    pub(super) partition: Option<i32>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) payload: Option<Vec<u8>>,
    pub(super) headers: OwnedHeaders,
}

impl Parcel {
    /// As librdkafka takes it, to come back by `opaque`.
    pub(super) fn record<O: IntoOpaque>(&self, opaque: O) -> BaseRecord<'_, [u8], [u8], O> {
        let mut record = BaseRecord::with_opaque_to(&self.topic, opaque).headers(self.headers.clone());
        record.partition = self.partition;
        record.key = self.key.as_deref();
        record.payload = self.payload.as_deref();
        record
    }

    /// Whether no second try could end better than this one did: the broker will not take these bytes.
    pub(super) fn is_hopeless(&self, error: &ClientError) -> bool {
        // The last one: a record that was a dead letter itself may bring such a header along.
        let cut = self.headers.iter().last().is_some_and(|header| header.key == TRUNCATED);
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

/// A topic of events, and how they are written there.
struct EventTopic {
    name: Arc<str>,
    kind: EventKind,
    /// The id of its schema, which was registered before; `None` writes JSON.
    schema: Option<Option<u32>>,
}

impl EventTopic {
    fn new(kind: EventKind, name: &str, format: &OutputFormat) -> Self {
        let schema = match format {
            OutputFormat::Json => None,
            OutputFormat::Avro(schemas) => Some(schemas.id(&output_schemas::subject(name))),
        };
        Self { name: name.into(), kind, schema }
    }

    fn parcel(&self, sender: Sender, (entity, json): (String, Vec<u8>)) -> Result<Parcel, String> {
        let (payload, content) = match self.schema {
            None => (json, "application/json"),
            Some(id) => {
                let id = id.ok_or_else(|| format!("the schema of topic `{}` is not registered", self.name))?;
                (avro::encode(self.kind, id, &json)?, "avro/binary")
            }
        };
        Ok(Parcel {
            sender,
            topic: Arc::clone(&self.name),
            partition: None,
            key: Some(entity.into_bytes()),
            payload: Some(payload),
            headers: OwnedHeaders::new().insert(header("content-type", content)),
        })
    }
}

/// The topics, and what is told of a dead letter's source.
pub(super) struct Addresses {
    anomaly: EventTopic,
    incident: Option<EventTopic>,
    dead_letter: Arc<str>,
    state: Option<Arc<str>>,
    input: String,
    group: String,
}

impl Addresses {
    pub(super) fn new(settings: &KafkaSettings) -> Self {
        let format = &settings.output_format;
        Self {
            anomaly: EventTopic::new(EventKind::Anomaly, &settings.anomaly_topic, format),
            incident: settings.incident_topic.as_deref().map(|name| EventTopic::new(EventKind::Incident, name, format)),
            dead_letter: settings.dead_letter_topic.as_str().into(),
            state: settings.state_topic.as_deref().map(Into::into),
            input: settings.input_topic.clone(),
            group: settings.group.clone(),
        }
    }

    /// The message for an output; `None` where there is no topic for its kind.
    ///
    /// # Errors
    /// An event is not what its schema says, which none of ours is, or the schema is not registered, which it is from the start.
    pub(super) fn parcel(&self, position: Position, output: Output) -> Result<Option<Parcel>, String> {
        let sender = Sender { position, kind: output.kind() };
        Ok(Some(match output {
            Output::Anomaly { entity, json } => self.anomaly.parcel(sender, (entity, json))?,
            Output::Incident { entity, json } => match &self.incident {
                Some(topic) => topic.parcel(sender, (entity, json))?,
                None => return Ok(None),
            },
            Output::DeadLetter { key, payload, headers, position, reason, error } => {
                let (partition, offset) = (position.partition.to_string(), position.offset.to_string());
                let headers = copied(&headers)
                    .insert(header("strayd.error.reason", reason.as_str()))
                    .insert(header("strayd.error.message", &error))
                    .insert(header("strayd.source.topic", &self.input))
                    .insert(header("strayd.source.partition", &partition))
                    .insert(header("strayd.source.offset", &offset));
                Parcel { sender, topic: Arc::clone(&self.dead_letter), partition: None, key, payload, headers }
            }
            Output::Snapshot { entity, as_of, body } => {
                let Some(topic) = &self.state else { return Ok(None) };
                Parcel {
                    sender,
                    topic: Arc::clone(topic),
                    partition: Some(position.partition),
                    key: Some(state::key(&self.group, &entity)),
                    payload: body,
                    headers: OwnedHeaders::new().insert(header(state::AS_OF, &as_of.to_string())),
                }
            }
        }))
    }
}

/// The headers that a record came with, and how many of them are missing.
fn copied(headers: &KeptHeaders) -> OwnedHeaders {
    let copied = headers.iter().fold(OwnedHeaders::new(), |copied, (key, value)| copied.insert(Header { key, value }));
    match headers.left_out() {
        0 => copied,
        left_out => copied.insert(header(LEFT_OUT, &left_out.to_string())),
    }
}

fn header<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header { key, value: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Settings, settings::Preset},
        record::{DeadLetterReason, headers::Headers as KeptIn},
    };

    /// Headers of a record: these.
    #[derive(Debug)]
    struct Given(Vec<(String, Option<Vec<u8>>)>);

    impl KeptIn for Given {
        fn visit(&self, visit: &mut dyn FnMut(&str, Option<&[u8]>)) {
            self.0.iter().for_each(|(key, value)| visit(key, value.as_deref()));
        }
    }

    fn dead_letter(given: Vec<(String, Option<Vec<u8>>)>) -> Parcel {
        let position = Position { partition: 1, offset: 7 };
        let output = Output::DeadLetter {
            key: None,
            payload: Some(vec![b'x'; 200_000]),
            headers: KeptHeaders::copy(&Given(given)),
            position,
            reason: DeadLetterReason::Undecodable,
            error: "broken".into(),
        };
        Addresses::new(&Settings::defaults(Preset::Timeseries).kafka).parcel(position, output).unwrap().unwrap()
    }

    fn headers(parcel: &Parcel) -> Vec<(String, Option<String>)> {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        parcel.headers.iter().map(|header| (header.key.to_owned(), header.value.map(text))).collect()
    }

    #[test]
    fn a_dead_letter_bears_the_headers_of_its_record_and_ours_behind_them() {
        let given = vec![
            ("trace".to_owned(), Some(b"00-1".to_vec())),
            ("trace".to_owned(), None),
            ("empty".to_owned(), Some(Vec::new())),
        ];
        let found = headers(&dead_letter(given));
        let text = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
        let first = [
            text("trace", "00-1"),
            ("trace".to_owned(), None),
            text("empty", ""),
            text("strayd.error.reason", "undecodable"),
        ];
        assert_eq!(found[..4], first);
        assert_eq!(found.last(), Some(&text("strayd.source.offset", "7")));
    }

    #[test]
    fn a_flood_of_headers_is_cut_and_says_so() {
        let found = headers(&dead_letter(vec![("k".to_owned(), Some(vec![b'v'; 1_000])); 1_000]));
        let bytes: usize = found.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, String::len)).sum();
        assert!(bytes < 20_000, "{bytes}");
        let left_out = found.iter().find(|(key, _)| key == "strayd.headers.left_out").unwrap();
        assert_eq!(left_out.1.as_deref(), Some("984"), "16 of 1,001 bytes go into 16 KiB");
    }

    #[test]
    fn a_dead_letter_that_is_read_and_dies_again_is_cut_like_any_other() {
        let too_large = ClientError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge);
        let mut parcel = dead_letter(vec![("strayd.truncated".to_owned(), Some(b"9".to_vec()))]);
        assert!(!parcel.is_hopeless(&too_large), "it was not cut yet");
        parcel.cut();
        assert_eq!(parcel.payload.as_ref().map(Vec::len), Some(TRUNCATED_BYTES));
        assert!(parcel.is_hopeless(&too_large));
    }
}
