//! The source: a consumer whose messages are lent, not copied, and whose offsets move only when told.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientContext, Message, Offset, Statistics, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError as ClientError, RDKafkaErrorCode},
};

use super::{
    KafkaError,
    link::{Link, cuts_off},
    settings,
};
use crate::{
    config::settings::KafkaSettings,
    pipeline::{Polled, Source, SourceError, SourceEvent},
    record::{Position, RawRecord},
};

/// What the callbacks leave for the next look of the pipeline.
#[derive(Debug, Default)]
struct Mail {
    events: Vec<SourceEvent>,
    lag: Option<i64>,
}

/// librdkafka's callbacks; they run inside `poll`, on the pipeline's thread.
struct Context {
    link: Link,
    mail: Mutex<Mail>,
    topic: String,
}

impl Context {
    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn error(&self, error: ClientError, reason: &str) {
        self.link.error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.link.statistics(&statistics);
        let partitions = statistics.topics.get(&self.topic).map(|topic| &topic.partitions);
        let lags = partitions.map(|partitions| partitions.values().map(|p| p.consumer_lag).filter(|lag| *lag >= 0));
        self.mail().lag = lags.map(Iterator::sum);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            // What was finished until now is committed before another member starts from it.
            match consumer.commit_consumer_state(CommitMode::Sync) {
                Ok(()) | Err(ClientError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
                Err(error) => {
                    tracing::warn!(%error, "offsets could not be committed before the partitions were revoked: their records will be read again")
                }
            }
            self.mail().events.push(SourceEvent::Revoked(numbers(partitions)));
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                self.link.up();
                self.mail().events.push(SourceEvent::Assigned(numbers(partitions)));
            }
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed, librdkafka tries again"),
            Rebalance::Revoke(_) => {}
        }
    }

    fn commit_callback(&self, result: Result<(), ClientError>, _: &TopicPartitionList) {
        match result {
            Ok(()) | Err(ClientError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => tracing::warn!(%error, "commit failed; the next one covers it"),
        }
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<i32> {
    partitions.elements().iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition).collect()
}

/// The input topic, read as a member of the consumer group.
pub struct KafkaSource {
    consumer: BaseConsumer<Context>,
    context: Arc<Shared>,
    paused: bool,
    told: Option<Result<(), String>>,
}

/// What outlives a poll; the consumer owns the context, so this only holds what we need beside it.
struct Shared {
    topic: String,
}

impl KafkaSource {
    /// Subscribes; a broker that is away is waited for.
    pub fn connect(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let context =
            Context { link: Link::new(&settings.brokers), mail: Mutex::default(), topic: settings.input_topic.clone() };
        let consumer: BaseConsumer<Context> = settings::consumer(settings)?.create_with_context(context)?;
        consumer.subscribe(&[&settings.input_topic])?;
        let context = Arc::new(Shared { topic: settings.input_topic.clone() });
        Ok(Self { consumer, context, paused: false, told: None })
    }

    fn fault(&self, error: &ClientError) -> Result<(), SourceError> {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::Fatal) {
            return Err(SourceError::Fatal(error.to_string()));
        }
        if code.is_some_and(cuts_off) {
            let why = match code {
                Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                    format!("the topic `{}` does not exist (yet)", self.context.topic)
                }
                _ => error.to_string(),
            };
            self.consumer.context().link.down(why);
        } else {
            // librdkafka goes on by itself: transport errors, timeouts, leader changes.
            tracing::debug!(%error, "consumer");
        }
        Ok(())
    }

    /// Pauses or resumes all that is assigned. The list must not outlive the consumer; it ends with this call.
    fn apply_pause(&self) -> Result<(), ClientError> {
        let assignment = self.consumer.assignment()?;
        if assignment.count() == 0 {
            return Ok(());
        }
        if self.paused { self.consumer.pause(&assignment) } else { self.consumer.resume(&assignment) }
    }
}

impl Source for KafkaSource {
    fn poll(
        &mut self,
        max: usize,
        wait: Duration,
        visit: &mut dyn FnMut(RawRecord<'_>),
    ) -> Result<Polled, SourceError> {
        let mut taken = 0;
        let mut patience = wait;
        while taken < max {
            match self.consumer.poll(patience) {
                None => break,
                Some(Ok(message)) => {
                    if taken == 0 {
                        self.consumer.context().link.up();
                    }
                    visit(RawRecord {
                        position: Position { partition: message.partition(), offset: message.offset() },
                        timestamp_ms: message.timestamp().to_millis(),
                        key: message.key(),
                        payload: message.payload(),
                    });
                    taken += 1;
                }
                Some(Err(error)) => self.fault(&error)?,
            }
            patience = Duration::ZERO;
        }
        if self.paused && self.consumer.context().mail().events.iter().any(|e| matches!(e, SourceEvent::Assigned(_))) {
            self.apply_pause().map_err(|error| SourceError::Fatal(error.to_string()))?;
        }
        Ok(if taken == 0 { Polled::Idle } else { Polled::Records(taken) })
    }

    fn events(&mut self) -> Vec<SourceEvent> {
        let mut events = std::mem::take(&mut self.consumer.context().mail().events);
        let now = self.consumer.context().link.state();
        if self.told.as_ref() != Some(&now) {
            match &now {
                Ok(()) => events.push(SourceEvent::Up),
                // A source that starts is not connected yet, which is no news.
                Err(_) if self.told.is_none() => {}
                Err(why) => events.push(SourceEvent::Down(why.clone())),
            }
            self.told = Some(now);
        }
        events
    }

    fn finished(&mut self, next: Position) -> Result<(), SourceError> {
        // The list form stores what it says; the single form would store one more. A test pins this.
        let mut list = TopicPartitionList::new();
        let stored = list
            .add_partition_offset(&self.context.topic, next.partition, Offset::Offset(next.offset))
            .and_then(|()| self.consumer.store_offsets(&list));
        if let Err(error) = stored {
            // The partition was revoked in the meantime: whoever has it now reads from the last commit.
            tracing::debug!(partition = next.partition, offset = next.offset, %error, "offset not stored");
        }
        Ok(())
    }

    fn pause(&mut self, paused: bool) -> Result<(), SourceError> {
        self.paused = paused;
        self.apply_pause().map_err(|error| SourceError::Fatal(error.to_string()))
    }

    fn commit(&mut self, wait: bool) -> Result<(), SourceError> {
        let mode = if wait { CommitMode::Sync } else { CommitMode::Async };
        match self.consumer.commit_consumer_state(mode) {
            Ok(()) => Ok(()),
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::NoOffset) => Ok(()),
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) => {
                Err(SourceError::Fatal(error.to_string()))
            }
            Err(error) => {
                tracing::warn!(%error, "commit failed; uncommitted records will be read again after a restart");
                Ok(())
            }
        }
    }

    fn lag(&self) -> Option<i64> {
        self.consumer.context().mail().lag
    }
}
