//! A whole topic, read from its beginning without a group: verdicts, and the event that somebody looks for.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    client::OAuthToken,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError as ClientError,
};

use super::{KafkaError, link::refuses, settings, token::TokenFile};
use crate::{
    config::settings::KafkaSettings,
    pipeline::feedback::{Look, Message, VerdictSource},
    record::Position,
};

/// How long one try to find the topic may take.
const FIND_WAIT: Duration = Duration::from_secs(2);
/// How long one look for the next message takes while an event is looked for.
const SEARCH_WAIT: Duration = Duration::from_millis(200);

struct Context {
    token: TokenFile,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.token.token()
    }

    fn error(&self, error: ClientError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason, "client error");
    }
}

impl ConsumerContext for Context {}

/// A topic from its beginning on. Nothing is committed. Partitions that are added to the topic later are not read.
pub struct TopicReader {
    consumer: BaseConsumer<Context>,
    topic: String,
    /// Partitions whose end was not reached yet; `None` before the topic was found.
    unread: Option<BTreeSet<i32>>,
}

impl TopicReader {
    /// Makes the consumer; a broker that is away, or a topic that isn't there, is for [`VerdictSource::look`] to tell.
    ///
    /// # Errors
    /// The settings can't be used.
    pub fn new(settings: &KafkaSettings, topic: &str) -> Result<Self, KafkaError> {
        // It is no member of the group, so nobody's place in it.
        let nameless = KafkaSettings { group_instance_id: None, ..settings.clone() };
        let mut config = settings::consumer(&nameless)?;
        config
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            // The group is named, as librdkafka wants one, and never joined.
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "range")
            .set("queued.min.messages", "1000");
        let context = Context { token: TokenFile::of(settings) };
        Ok(Self { consumer: config.create_with_context(context)?, topic: topic.to_owned(), unread: None })
    }

    /// Goes on with another consumer, made of what the files of the settings hold now.
    ///
    /// # Errors
    /// It can't be made; the old one goes on.
    pub(super) fn renew(&mut self, settings: &KafkaSettings) -> Result<(), KafkaError> {
        let new = Self::new(settings, &self.topic)?;
        if self.unread.is_some() {
            let mut list = TopicPartitionList::new();
            // Dropped before its consumer: see the rule of this module.
            for element in self.consumer.position()?.elements() {
                let next =
                    if let Offset::Offset(next) = element.offset() { Offset::Offset(next) } else { Offset::Beginning };
                list.add_partition_offset(&self.topic, element.partition(), next)?;
            }
            new.consumer.assign(&list)?;
        }
        self.consumer = new.consumer;
        Ok(())
    }

    /// Finds the topic's partitions and begins with the oldest message of each.
    fn begin(&mut self) -> Result<(), KafkaError> {
        // Who is asked for a token is asked in a poll, and without one nobody answers what follows.
        if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
            return Err(error.into());
        }
        let found = self.consumer.fetch_metadata(Some(&self.topic), FIND_WAIT)?;
        let partitions: BTreeSet<i32> =
            found.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
        if partitions.is_empty() {
            return Err(KafkaError::Broker(format!("the topic `{}` does not exist (yet)", self.topic)));
        }
        let mut list = TopicPartitionList::new();
        for partition in &partitions {
            list.add_partition_offset(&self.topic, *partition, Offset::Beginning)?;
        }
        self.consumer.assign(&list)?;
        self.unread = Some(partitions);
        Ok(())
    }

    fn next(&mut self, wait: Duration) -> Result<Look, KafkaError> {
        if self.unread.is_none() {
            self.begin()?;
        }
        let unread = self.unread.get_or_insert_default();
        match self.consumer.poll(wait) {
            None => Ok(Look::Nothing),
            Some(Ok(message)) => Ok(Look::Message(Message {
                position: Position { partition: message.partition(), offset: message.offset() },
                timestamp_ms: message.timestamp().to_millis(),
                key: message.key().map(<[u8]>::to_vec),
                payload: message.payload().map(<[u8]>::to_vec),
                is_new: !unread.contains(&message.partition()),
            })),
            Some(Err(ClientError::PartitionEOF(partition))) => {
                let is_last = unread.remove(&partition) && unread.is_empty();
                Ok(if is_last { Look::CaughtUp } else { Look::Nothing })
            }
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(refuses) => Err(error.into()),
            Some(Err(error)) => {
                // librdkafka goes on by itself: transport errors, timeouts, leader changes.
                tracing::debug!(%error, topic = self.topic, "consumer");
                Ok(Look::Nothing)
            }
        }
    }

    /// The value of the last message so far whose value is the one looked for.
    ///
    /// # Errors
    /// Nothing came for `patience` before the topic's end was reached.
    pub fn find_last(
        &mut self,
        patience: Duration,
        is_it: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, KafkaError> {
        let mut last = Instant::now();
        let mut found = None;
        loop {
            match self.next(SEARCH_WAIT)? {
                Look::CaughtUp => return Ok(found),
                Look::Message(message) => {
                    last = Instant::now();
                    found = message.payload.filter(|payload| is_it(payload)).or(found);
                }
                Look::Nothing => {}
            }
            if last.elapsed() > patience {
                let seconds = patience.as_secs();
                let why = format!("nothing of the topic `{}` came for {seconds} s, before its end", self.topic);
                return Err(KafkaError::Broker(why));
            }
        }
    }
}

impl VerdictSource for TopicReader {
    fn look(&mut self, wait: Duration) -> Result<Look, String> {
        self.next(wait).map_err(|error| format!("{}: {error}", self.topic))
    }
}
