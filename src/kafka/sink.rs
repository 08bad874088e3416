//! The sink: an idempotent producer that never gives up on a broker, and tells how each message ended.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message, Statistics,
    error::{KafkaError as ClientError, RDKafkaErrorCode},
    message::{Header, Headers, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};

use super::{KafkaError, link::Link, settings};
use crate::{
    config::settings::KafkaSettings,
    pipeline::{Delivery, Output, Sink, SinkError},
    record::Position,
    telemetry::OutputKind,
};

/// Bytes that are kept of a dead letter which the broker refuses as too large.
const TRUNCATED_BYTES: usize = 64 * 1024;
/// Marks a dead letter whose payload was cut.
const TRUNCATED: &str = "strayd.truncated";
/// How long one look for room in a full buffer takes.
const ROOM_WAIT: Duration = Duration::from_millis(50);

/// Time before a message that the broker refused is sent again.
const RESEND_WAIT: Duration = Duration::from_secs(1);

/// Time between two looks for output topics that were not seen yet, and how long one look may take.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOK_WAIT: Duration = Duration::from_millis(500);

/// What a message goes back by: the record that caused it, and what it is.
#[derive(Debug, Clone, Copy)]
struct Sender {
    position: Position,
    kind: OutputKind,
}

/// A message that came back, to be sent again.
struct Returned {
    sender: Sender,
    topic: String,
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    headers: OwnedHeaders,
    error: ClientError,
    at: Instant,
}

impl Sender {
    fn delivery(self, result: Result<(), String>) -> Delivery {
        Delivery { position: self.position, kind: self.kind, result }
    }
}

impl Returned {
    fn is_too_large(&self) -> bool {
        self.error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
    }

    /// No second try would end better: the broker will not take these bytes.
    fn is_hopeless(&self, dead_letter_topic: &str) -> bool {
        let cut = self.headers.iter().any(|header| header.key == TRUNCATED);
        let invalid = matches!(
            self.error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::InvalidMessage | RDKafkaErrorCode::InvalidRecord)
        );
        invalid || (self.is_too_large() && (cut || self.topic != dead_letter_topic))
    }
}

#[derive(Default)]
struct Mail {
    ended: Vec<Delivery>,
    returned: Vec<Returned>,
    /// Delivery reports so far.
    reports: u64,
}

struct Context {
    link: Link,
    mail: Mutex<Mail>,
    dead_letter_topic: String,
}

impl Context {
    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message came back: either it has ended, or it is kept for another try.
    fn take_back(&self, returned: Returned) {
        let mut mail = self.mail();
        if returned.is_hopeless(&self.dead_letter_topic) {
            let result = Err(returned.error.to_string());
            mail.ended.push(returned.sender.delivery(result));
        } else {
            mail.returned.push(returned);
        }
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
    type DeliveryOpaque = Box<Sender>;

    fn delivery(&self, result: &DeliveryResult<'_>, sender: Box<Sender>) {
        self.mail().reports += 1;
        match result {
            Ok(_) => {
                self.link.works();
                self.mail().ended.push(sender.delivery(Ok(())));
            }
            Err((error, message)) => self.take_back(Returned {
                sender: *sender,
                topic: message.topic().to_owned(),
                key: message.key().map(<[u8]>::to_vec),
                payload: message.payload().map(<[u8]>::to_vec),
                headers: message.headers().map(|headers| headers.detach()).unwrap_or_default(),
                error: error.clone(),
                at: Instant::now(),
            }),
        }
    }
}

/// The output topics.
pub struct KafkaSink {
    producer: BaseProducer<Context>,
    anomaly_topic: String,
    incident_topic: Option<String>,
    dead_letter_topic: String,
    input_topic: String,
    topics: Topics,
}

/// Whether the output topics were seen. A missing one shall be known before the first anomaly needs it.
struct Topics {
    /// Those not seen yet.
    unseen: Vec<String>,
    looked: Option<Instant>,
    /// What the last look found wrong, one entry per topic.
    faults: Vec<String>,
}

/// One message on its way.
struct Parcel<'a> {
    topic: &'a str,
    sender: Sender,
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
            incident_topic: settings.incident_topic.clone(),
            dead_letter_topic: settings.dead_letter_topic.clone(),
            input_topic: settings.input_topic.clone(),
            topics: Topics {
                unseen: settings.output_topics().map(str::to_owned).collect(),
                looked: None,
                faults: Vec::new(),
            },
        })
    }

    /// Asks for the output topics until each was seen once.
    fn look_for_topics(&mut self) {
        let Self { producer, topics, .. } = self;
        let due = topics.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        if topics.unseen.is_empty() || !due || producer.context().link.state().is_err() {
            return;
        }
        topics.looked = Some(Instant::now());
        topics.faults.clear();
        topics.unseen.retain(|topic| {
            // A broker that gives no answer is no reason to call the topic missing.
            let Ok(metadata) = producer.client().fetch_metadata(Some(topic), LOOK_WAIT) else { return true };
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            match found.and_then(|found| found.error()) {
                None => false,
                Some(error) => {
                    let error = RDKafkaErrorCode::from(error);
                    topics.faults.push(format!("topic `{topic}`: {error}"));
                    true
                }
            }
        });
    }

    /// Takes all delivery reports that are there: one call of librdkafka's client takes but one of them.
    fn take_reports(&self, wait: Duration) {
        self.producer.poll(wait);
        loop {
            let before = self.producer.context().mail().reports;
            self.producer.poll(Duration::ZERO);
            if self.producer.context().mail().reports == before {
                return;
            }
        }
    }

    /// Hands the parcel to librdkafka, waiting while its buffer is full.
    fn post(&self, parcel: Parcel<'_>) -> Result<(), SinkError> {
        let mut record: BaseRecord<'_, [u8], [u8], Box<Sender>> =
            BaseRecord::with_opaque_to(parcel.topic, Box::new(parcel.sender)).headers(parcel.headers);
        record.key = parcel.key;
        record.payload = parcel.payload;
        loop {
            let Err((error, back)) = self.producer.send(record) else { return Ok(()) };
            record = back;
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => self.producer.poll(ROOM_WAIT),
                Some(RDKafkaErrorCode::Fatal) => return Err(SinkError::Fatal(error.to_string())),
                _ => {
                    // The client itself refuses it, before anything went over the wire.
                    self.producer.context().take_back(Returned {
                        sender: *record.delivery_opaque,
                        topic: record.topic.to_owned(),
                        key: record.key.map(<[u8]>::to_vec),
                        payload: record.payload.map(<[u8]>::to_vec),
                        headers: record.headers.unwrap_or_default(),
                        error,
                        at: Instant::now(),
                    });
                    return Ok(());
                }
            }
        }
    }

    /// Posts an event about an entity, which is its key.
    fn post_event(&self, topic: &str, sender: Sender, (entity, json): (&str, &[u8])) -> Result<(), SinkError> {
        let headers = OwnedHeaders::new().insert(header("content-type", "application/json"));
        self.post(Parcel { topic, sender, key: Some(entity.as_bytes()), payload: Some(json), headers })
    }

    /// Sends again what came back: what was too large at once and cut, since a dead letter without its tail is better
    /// than none; the rest after a pause.
    fn resend(&self) -> Result<(), SinkError> {
        let due = |returned: &Returned| returned.is_too_large() || returned.at.elapsed() >= RESEND_WAIT;
        let (due, later) = std::mem::take(&mut self.producer.context().mail().returned).into_iter().partition(due);
        self.producer.context().mail().returned = later;
        for returned in due {
            self.post_again(returned)?;
        }
        Ok(())
    }

    fn post_again(&self, mut returned: Returned) -> Result<(), SinkError> {
        let Sender { position, .. } = returned.sender;
        if returned.is_too_large() {
            let payload = returned.payload.get_or_insert_default();
            tracing::error!(
                partition = position.partition,
                offset = position.offset,
                bytes = payload.len(),
                kept = TRUNCATED_BYTES,
                "the broker takes no dead letter of this size: its payload is cut"
            );
            returned.headers = returned.headers.insert(header(TRUNCATED, &payload.len().to_string()));
            payload.truncate(TRUNCATED_BYTES);
        }
        self.post(Parcel {
            topic: &returned.topic,
            sender: returned.sender,
            key: returned.key.as_deref(),
            payload: returned.payload.as_deref(),
            headers: returned.headers,
        })
    }
}

fn header<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header { key, value: Some(value) }
}

impl Sink for KafkaSink {
    fn send(&mut self, position: Position, output: Output) -> Result<(), SinkError> {
        let sender = Sender { position, kind: output.kind() };
        match output {
            Output::Anomaly { entity, json } => self.post_event(&self.anomaly_topic, sender, (&entity, &json)),
            Output::Incident { entity, json } => match &self.incident_topic {
                Some(topic) => self.post_event(topic, sender, (&entity, &json)),
                // Nobody makes events where there is no topic for them; one would have nothing to wait for.
                None => {
                    self.producer.context().mail().ended.push(sender.delivery(Ok(())));
                    Ok(())
                }
            },
            Output::DeadLetter { key, payload, position, reason, error } => {
                let (partition, offset) = (position.partition.to_string(), position.offset.to_string());
                let headers = OwnedHeaders::new()
                    .insert(header("strayd.error.reason", reason.as_str()))
                    .insert(header("strayd.error.message", &error))
                    .insert(header("strayd.source.topic", &self.input_topic))
                    .insert(header("strayd.source.partition", &partition))
                    .insert(header("strayd.source.offset", &offset));
                let (key, payload) = (key.as_deref(), payload.as_deref());
                self.post(Parcel { topic: &self.dead_letter_topic, sender, key, payload, headers })
            }
        }
    }

    fn deliveries(&mut self, wait: Duration, visit: &mut dyn FnMut(Delivery)) -> Result<(), SinkError> {
        self.take_reports(wait);
        if let Some((_, reason)) = self.producer.client().fatal_error() {
            // Nothing will be delivered any more. What was not is not done: its records are read again after a restart.
            return Err(SinkError::Fatal(reason));
        }
        self.look_for_topics();
        self.resend()?;
        let ended = std::mem::take(&mut self.producer.context().mail().ended);
        ended.into_iter().for_each(visit);
        Ok(())
    }

    fn health(&self) -> Result<(), String> {
        let context = self.producer.context();
        let mut faults: Vec<String> = Vec::new();
        for Returned { topic, error, .. } in &context.mail().returned {
            let fault = format!("topic `{topic}`: {error}");
            // There are a few topics, and maybe thousands of messages.
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
        if faults.is_empty() {
            context.link.state()?;
            faults.clone_from(&self.topics.faults);
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }
}
