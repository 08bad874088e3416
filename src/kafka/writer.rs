//! Writes records into a topic: as a gateway of sensors would, for `strayd gen`, and verdicts, for `strayd feedback`.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientContext,
    client::OAuthToken,
    error::KafkaError as ClientError,
    producer::{BaseProducer, DeliveryResult, Producer, ProducerContext},
};

use super::{KafkaError, embedded::Fed, fault, settings, token::TokenFile};
use crate::config::settings::KafkaSettings;

/// What became of the records so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Acknowledged by the broker.
    pub acknowledged: u64,
    /// Lost.
    pub refused: u64,
    /// Why the first one was lost.
    pub reason: Option<String>,
}

struct Context {
    written: Mutex<Written>,
    token: TokenFile,
}

impl Context {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.token.token()
    }

    fn error(&self, error: ClientError, reason: &str) {
        tracing::warn!(%error, reason = fault::explained(reason), "the broker can't be used");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        let mut written = self.written();
        match result {
            Ok(_) => written.acknowledged += 1,
            Err((error, _)) => {
                written.refused += 1;
                if written.reason.is_none() {
                    tracing::error!(%error, "a record was refused");
                    written.reason = Some(error.to_string());
                }
            }
        }
    }
}

/// A producer for one topic, with all of `kafka.properties` and `kafka.secrets`. It waits for a broker that is
/// away as long as it takes.
pub struct RecordWriter {
    producer: BaseProducer<Context>,
    topic: String,
}

impl RecordWriter {
    /// A producer for the input topic. Connects in the background.
    ///
    /// # Errors
    /// The settings can't be used.
    pub fn connect(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        Self::to_topic(settings, &settings.input_topic)
    }

    /// The same for another topic.
    ///
    /// # Errors
    /// The settings can't be used.
    pub fn to_topic(settings: &KafkaSettings, topic: &str) -> Result<Self, KafkaError> {
        let context = Context { written: Mutex::default(), token: TokenFile::of(settings) };
        let producer = settings::producer(settings)?.create_with_context(context)?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    /// Puts one record into the producer's buffer; `false` where that is full.
    ///
    /// # Errors
    /// The record can't be sent at all.
    pub fn offer(&self, fed: &Fed<'_>) -> Result<bool, KafkaError> {
        let offered = fed.offer(&self.producer, &self.topic);
        self.producer.poll(Duration::ZERO);
        offered
    }

    /// Waits until the broker has everything, or for this long.
    ///
    /// # Errors
    /// It has not.
    pub fn flush(&self, wait: Duration) -> Result<(), KafkaError> {
        Ok(self.producer.flush(wait)?)
    }

    /// What became of the records so far.
    pub fn written(&self) -> Written {
        self.producer.poll(Duration::ZERO);
        self.producer.context().written().clone()
    }
}
