//! The source: a consumer whose messages are lent, not copied, and whose offsets move only when told.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard},
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError as ClientError, RDKafkaErrorCode},
};

use super::{
    KafkaError,
    commit::{self, Mark},
    fault::{self, Wish, forbidden},
    headers::MessageHeaders,
    link::{Refusal, is_missing_topic, refuses},
    losses::Losses,
    membership::{Context, Mail},
    settings,
    transactions::Transactions,
};
use crate::{
    config::settings::KafkaSettings,
    pipeline::{Polled, Source, SourceError, SourceEvent},
    record::{KeptRecord, Position, RawRecord},
};

/// Time between two looks for a topic that isn't there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long such a look may take.
const LOOK_WAIT: Duration = Duration::from_millis(500);
/// How long the broker may take to tell what is committed.
const COMMITTED_WAIT: Duration = Duration::from_secs(5);
/// How long one look for the last commit's answer takes.
const COMMIT_WAIT: Duration = Duration::from_millis(20);

/// The input topic, read as a member of the consumer group.
pub struct KafkaSource {
    consumer: BaseConsumer<Context>,
    topic: String,
    group: String,
    paused: bool,
    /// What was last told of the connection.
    told: Result<(), String>,
    looked: Instant,
    losses: Losses,
    /// A record of partitions that had just come: it is lent when that was told.
    early: Option<KeptRecord>,
}

impl KafkaSource {
    /// Subscribes; a broker that is away is waited for.
    pub fn connect(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        Self::committing_with(settings, None)
    }

    /// The same, where offsets are committed together with outputs.
    pub fn committing_with(
        settings: &KafkaSettings,
        transactions: Option<Arc<Transactions>>,
    ) -> Result<Self, KafkaError> {
        let source = Self::unsubscribed(settings, transactions)?;
        source.subscribe()?;
        Ok(source)
    }

    /// No member of the group yet.
    pub(super) fn unsubscribed(
        settings: &KafkaSettings,
        transactions: Option<Arc<Transactions>>,
    ) -> Result<Self, KafkaError> {
        let topic = settings.input_topic.clone();
        let context = Context::new(settings, transactions);
        // That a source that starts is not connected yet is no news.
        let told = context.link.state();
        let consumer: BaseConsumer<Context> = settings::consumer(settings)?.create_with_context(context)?;
        let (group, looked, losses) = (settings.group.clone(), Instant::now(), Losses::new(settings));
        Ok(Self { consumer, topic, group, paused: false, told, looked, losses, early: None })
    }

    /// Joins the group.
    pub(super) fn subscribe(&self) -> Result<(), KafkaError> {
        Ok(self.consumer.subscribe(&[&self.topic])?)
    }

    /// What the group has committed of these partitions, as far as it has.
    pub(super) fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, KafkaError> {
        let marks = commit::committed(&self.consumer, &self.topic, partitions, COMMITTED_WAIT)?;
        Ok(marks.into_iter().map(|(partition, mark)| (partition, mark.next)).collect())
    }

    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.consumer.context().mail()
    }

    fn fault(&self, error: &ClientError) -> Result<(), SourceError> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => return Err(self.fatal(error)),
            Some(code) if is_missing_topic(code) => {
                let why = format!("the topic `{}` does not exist (yet)", self.topic);
                self.consumer.context().link.refused(Some(Refusal { why, is_missing_topic: true }));
            }
            Some(code) if refuses(code) => {
                let wish = Wish::Read { topic: &self.topic, group: &self.group };
                let why = forbidden(code, &wish).unwrap_or_else(|| error.to_string());
                let refusal = Refusal { why, is_missing_topic: false };
                self.consumer.context().link.refused(Some(refusal));
            }
            // librdkafka goes on by itself: transport errors, timeouts, leader changes.
            _ => tracing::debug!(%error, "consumer"),
        }
        Ok(())
    }

    fn fatal(&self, error: &ClientError) -> SourceError {
        SourceError::Fatal(fault::fatal(self.consumer.client()).unwrap_or_else(|| error.to_string()))
    }

    /// A missing topic is told once; that it is there now is seen by looking. A member of the group without a partition
    /// would wait for ever for a record to tell.
    fn look_for_topic(&mut self) {
        let link = &self.consumer.context().link;
        let missing = link.refusal().is_some_and(|refusal| refusal.is_missing_topic);
        if !missing || self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), LOOK_WAIT);
        let there = metadata.is_ok_and(|found| found.topics().iter().any(|topic| !topic.partitions().is_empty()));
        if there {
            link.refused(None);
        }
    }

    /// Pauses or resumes all that is assigned. The list must not outlive the consumer; it ends with this call.
    fn apply_pause(&self) -> Result<(), SourceError> {
        let applied = self.consumer.assignment().and_then(|assignment| match assignment.count() {
            0 => Ok(()),
            _ if self.paused => self.consumer.pause(&assignment),
            _ => self.consumer.resume(&assignment),
        });
        applied.map_err(|error| SourceError::Fatal(error.to_string()))
    }

    /// Sends what is finished on its way to the broker, unless another commit still is.
    fn send_commit(&self) -> Result<(), SourceError> {
        // A member that another process has shut out learns it from nothing that it polls.
        if let Some(why) = fault::fatal(self.consumer.client()) {
            return Err(SourceError::Fatal(why));
        }
        let context = self.consumer.context();
        if let Some(transactions) = &context.transactions {
            context.hear(transactions);
            if transactions.is_free() {
                context.begin(transactions, &self.consumer);
            }
            return transactions.fatal().map_or(Ok(()), |why| Err(SourceError::Fatal(why)));
        }
        if self.mail().committing {
            return Ok(());
        }
        let sent = context.take_finished_list().and_then(|list| match list {
            Some(list) => {
                self.mail().committing = true;
                commit::in_background(&self.consumer, &list)
            }
            None => Ok(()),
        });
        match sent {
            Ok(()) => Ok(()),
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) => Err(self.fatal(&error)),
            Err(error) => {
                self.mail().committing = false;
                tracing::warn!(%error, "commit failed; uncommitted records will be read again after a restart");
                Ok(())
            }
        }
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
        if let Some(early) = self.early.take()
            && self.mail().assigned.contains(&early.position.partition)
        {
            self.losses.look(&self.consumer, early.position)?;
            visit(early.lend());
            taken += 1;
        }
        while taken < max {
            match self.consumer.poll(patience) {
                None => break,
                Some(Ok(message)) => {
                    if taken == 0 {
                        self.consumer.context().link.works();
                    }
                    let headers = MessageHeaders(&message);
                    let record = RawRecord {
                        position: Position { partition: message.partition(), offset: message.offset() },
                        timestamp_ms: message.timestamp().to_millis(),
                        key: message.key(),
                        payload: message.payload(),
                        headers: Some(&headers),
                    };
                    if self.consumer.context().have_come() {
                        self.early = Some(KeptRecord::copy(&record));
                        break;
                    }
                    self.losses.look(&self.consumer, record.position)?;
                    visit(record);
                    taken += 1;
                }
                Some(Err(error)) => self.fault(&error)?,
            }
            patience = Duration::ZERO;
        }
        // librdkafka keeps a partition paused that went away and came back, whatever was resumed meanwhile.
        let assigned = self.mail().events.iter().any(|event| matches!(event, SourceEvent::Assigned(_)));
        if assigned {
            self.apply_pause()?;
        }
        Ok(if taken == 0 { Polled::Idle } else { Polled::Records(taken) })
    }

    fn events(&mut self) -> Vec<SourceEvent> {
        self.look_for_topic();
        let context = self.consumer.context();
        context.transactions.iter().for_each(|transactions| context.hear(transactions));
        let mut events = std::mem::take(&mut self.mail().events);
        let now = self.consumer.context().link.state();
        if self.told != now {
            match &now {
                Ok(()) => events.push(SourceEvent::Up),
                Err(why) => events.push(SourceEvent::Down(why.clone())),
            }
            self.told = now;
        }
        events
    }

    fn finished(&mut self, next: Position, oldest: Option<i64>) -> Result<(), SourceError> {
        // The list form stores what it says; the single form would store one more. Storing is how librdkafka tells
        // whether the partition is still ours; what is committed is our own list, which may also go back.
        let mut list = TopicPartitionList::new();
        let stored = list
            .add_partition_offset(&self.topic, next.partition, Offset::Offset(next.offset))
            .and_then(|()| self.consumer.store_offsets(&list));
        match stored {
            Ok(()) => {
                self.mail().finished.insert(next.partition, Mark { next: next.offset, oldest });
            }
            // The partition was revoked in the meantime: whoever has it now reads from the last commit.
            Err(error) => {
                tracing::debug!(partition = next.partition, offset = next.offset, %error, "offset not stored");
            }
        }
        Ok(())
    }

    fn rewind(&mut self, most: i64) {
        self.consumer.context().rewind(most);
    }

    fn pause(&mut self, paused: bool) -> Result<(), SourceError> {
        self.paused = paused;
        self.apply_pause()
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        self.send_commit()
    }

    fn commit_last(&mut self, wait: Duration) -> Result<(), SourceError> {
        let until = Instant::now() + wait;
        self.pause(true)?;
        loop {
            self.send_commit()?;
            // The answer comes while polling; a record that still slips through is nobody's yet and is read again.
            if let Some(Err(error)) = self.consumer.poll(COMMIT_WAIT) {
                self.fault(&error)?;
            }
            let mut mail = self.mail();
            let done = !mail.committing && mail.finished.is_empty();
            if done || Instant::now() >= until {
                mail.closing = true;
                if !done {
                    tracing::warn!("the last commit was not acknowledged in time; its records will be read again");
                }
                return Ok(());
            }
        }
    }

    fn lag(&self) -> Option<i64> {
        self.mail().lag
    }

    fn share(&self) -> f64 {
        let mail = self.mail();
        if mail.partitions == 0 { 1.0 } else { (mail.assigned.len() as f64 / mail.partitions as f64).min(1.0) }
    }
}
