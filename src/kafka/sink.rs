//! The sink: an idempotent producer that never gives up on a broker, and tells how each message ended.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message, Statistics,
    client::OAuthToken,
    error::{KafkaError as ClientError, RDKafkaErrorCode},
    producer::{BaseProducer, DeliveryResult, Producer, ProducerContext, PurgeConfig},
};

use super::{
    KafkaError, fault,
    link::Link,
    output_topics::OutputTopics,
    parcel::{Addresses, Parcel, Sender, is_too_large},
    settings,
    token::TokenFile,
};
use crate::{
    config::settings::KafkaSettings,
    pipeline::{Delivery, Output, Sink, SinkError},
    record::Position,
    telemetry::OutputKind,
};

/// How long one look for room in a full buffer takes.
const ROOM_WAIT: Duration = Duration::from_millis(50);
/// Time before a message that the broker refused is sent again.
const RESEND_WAIT: Duration = Duration::from_secs(1);

/// How long messages that are taken from a producer may take to come back.
const PURGE_WAIT: Duration = Duration::from_millis(200);

/// A message that came back, to be sent again.
struct Returned {
    parcel: Parcel,
    error: ClientError,
    at: Instant,
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
}

impl Context {
    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message came back: either it has ended, or it is kept for another try.
    fn take_back(&self, parcel: Parcel, error: ClientError) {
        let mut mail = self.mail();
        if parcel.is_hopeless(&error) {
            mail.ended.push(parcel.sender.delivery(Err(error.to_string())));
        } else {
            mail.returned.push(Returned { parcel, error, at: Instant::now() });
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.link.token()
    }

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
            Err((error, message)) => {
                let parcel = Parcel {
                    sender: *sender,
                    topic: message.topic().into(),
                    partition: (sender.kind == OutputKind::Snapshot).then(|| message.partition()),
                    key: message.key().map(<[u8]>::to_vec),
                    payload: message.payload().map(<[u8]>::to_vec),
                    headers: message.headers().map(|headers| headers.detach()).unwrap_or_default(),
                };
                self.take_back(parcel, error.clone());
            }
        }
    }
}

/// The output topics, written to at least once.
pub struct KafkaSink {
    producer: BaseProducer<Context>,
    addresses: Addresses,
    topics: OutputTopics,
}

impl KafkaSink {
    /// Makes the producer; a broker that is away is waited for.
    pub fn connect(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let link = Link::new(&settings.brokers).showing(TokenFile::of(settings));
        let context = Context { link, mail: Mutex::default() };
        Ok(Self {
            producer: settings::producer(settings)?.create_with_context(context)?,
            addresses: Addresses::new(settings),
            topics: OutputTopics::new(settings),
        })
    }

    /// Whether nothing is on its way or waits to be sent again.
    pub(super) fn is_idle(&self) -> bool {
        self.producer.in_flight_count() == 0 && self.producer.context().mail().returned.is_empty()
    }

    /// Whether a broker answers and says nothing against us.
    pub(super) fn is_connected(&self) -> bool {
        self.producer.context().link.state().is_ok()
    }

    /// Why this producer will never write anything, although another one may.
    pub(super) fn forbidden(&self) -> Option<String> {
        fault::forbids_writing(self.producer.client())
    }

    /// Takes over from another one what has ended and what waits to be sent again. What is still on its way there is sent
    /// anew, and may then be there twice.
    pub(super) fn take_over(&self, old: Self) {
        old.producer.purge(PurgeConfig::default().queue().inflight());
        old.take_reports(PURGE_WAIT);
        let left = std::mem::take(&mut *old.producer.context().mail());
        let mut mail = self.producer.context().mail();
        mail.ended.extend(left.ended);
        mail.returned.extend(left.returned);
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
    fn post(&self, parcel: Parcel) -> Result<(), SinkError> {
        loop {
            let Err((error, _)) = self.producer.send(parcel.record(Box::new(parcel.sender))) else { return Ok(()) };
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => self.producer.poll(ROOM_WAIT),
                Some(RDKafkaErrorCode::Fatal) if self.forbidden().is_none() => {
                    return Err(SinkError::Fatal(error.to_string()));
                }
                _ => {
                    // The client itself refuses it, before anything went over the wire.
                    self.producer.context().take_back(parcel, error);
                    return Ok(());
                }
            }
        }
    }

    /// Sends again what came back: what was too large at once and cut, the rest after a pause.
    fn resend(&self) -> Result<(), SinkError> {
        let due = |returned: &Returned| is_too_large(&returned.error) || returned.at.elapsed() >= RESEND_WAIT;
        let (due, later) = std::mem::take(&mut self.producer.context().mail().returned).into_iter().partition(due);
        self.producer.context().mail().returned = later;
        for Returned { mut parcel, error, .. } in due {
            if is_too_large(&error) {
                parcel.cut();
            }
            self.post(parcel)?;
        }
        Ok(())
    }
}

impl Sink for KafkaSink {
    fn send(&mut self, position: Position, output: Output) -> Result<(), SinkError> {
        let sender = Sender { position, kind: output.kind() };
        match self.addresses.parcel(position, output) {
            Ok(Some(parcel)) => self.post(parcel),
            // Nobody makes events where there is no topic for them; one would have nothing to wait for.
            unsent => {
                self.producer.context().mail().ended.push(sender.delivery(unsent.map(drop)));
                Ok(())
            }
        }
    }

    fn deliveries(&mut self, wait: Duration, visit: &mut dyn FnMut(Delivery)) -> Result<(), SinkError> {
        self.take_reports(wait);
        if let Some((_, reason)) = self.producer.client().fatal_error() {
            // Nothing will be delivered any more. What was not is not done: its records are read again after a restart.
            return Err(SinkError::Fatal(reason));
        }
        if self.producer.context().link.state().is_ok() {
            self.topics.look(self.producer.client());
        }
        self.resend()?;
        let ended = std::mem::take(&mut self.producer.context().mail().ended);
        ended.into_iter().for_each(visit);
        Ok(())
    }

    fn health(&self) -> Result<(), String> {
        let context = self.producer.context();
        let mut faults: Vec<String> = Vec::new();
        for Returned { parcel, error, .. } in &context.mail().returned {
            let fault = fault::of_output(&parcel.topic, error.rdkafka_error_code(), error);
            // There are a few topics, and maybe thousands of messages.
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
        if faults.is_empty() {
            context.link.state()?;
            faults.extend_from_slice(self.topics.faults());
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }
}
