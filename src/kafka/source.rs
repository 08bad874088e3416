//! The source: a consumer whose messages are lent, not copied, and whose offsets move only when told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message, Offset, Statistics, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError as ClientError, KafkaResult, RDKafkaErrorCode},
    statistics::Partition,
};

use super::{
    KafkaError, commit,
    link::{Link, Refusal, is_missing_topic, refuses},
    settings,
};
use crate::{
    config::settings::KafkaSettings,
    pipeline::{Polled, Source, SourceError, SourceEvent},
    record::{Position, RawRecord},
};

/// Time between two looks for a topic that isn't there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long such a look may take.
const LOOK_WAIT: Duration = Duration::from_millis(500);
/// How long one look for the last commit's answer takes.
const COMMIT_WAIT: Duration = Duration::from_millis(20);

/// What the callbacks leave for the next look of the pipeline.
#[derive(Debug, Default)]
struct Mail {
    events: Vec<SourceEvent>,
    lag: Option<i64>,
    /// Partitions of the topic; 0 before they were counted.
    partitions: usize,
    /// Partitions that are ours.
    assigned: BTreeSet<i32>,
    /// Next offset per partition that is finished and not yet on its way to the broker.
    finished: BTreeMap<i32, i64>,
    /// Whether a commit is on its way.
    committing: bool,
    /// The last commit is over: a rebalance on the way out commits nothing more.
    closing: bool,
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

    /// What is finished, as a list for the broker, and no longer as finished; `None` if there is nothing.
    fn take_finished(&self) -> KafkaResult<Option<TopicPartitionList>> {
        let finished = std::mem::take(&mut self.mail().finished);
        let mut list = TopicPartitionList::new();
        for (partition, offset) in &finished {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))?;
        }
        Ok((!finished.is_empty()).then_some(list))
    }

    /// What is finished of partitions that go to another member is committed before it starts from there.
    fn commit_before_revocation(&self, consumer: &BaseConsumer<Self>) {
        if self.mail().closing {
            return;
        }
        let committed = self.take_finished().and_then(|list| match list {
            Some(list) => consumer.commit(&list, CommitMode::Sync).map(|()| list.count()),
            None => Ok(0),
        });
        match committed {
            Ok(0) => {}
            Ok(partitions) => self.mail().events.push(SourceEvent::Committed(partitions)),
            Err(error) => tracing::warn!(
                %error,
                "offsets could not be committed before partitions were revoked: their records will be read again"
            ),
        }
    }
}

impl ClientContext for Context {
    fn error(&self, error: ClientError, reason: &str) {
        self.link.error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.link.statistics(&statistics);
        let partitions = statistics.topics.get(&self.topic).map(|topic| &topic.partitions);
        let lags = partitions.map(|partitions| partitions.values().filter_map(lag_of));
        let mut mail = self.mail();
        mail.lag = lags.map(Iterator::sum);
        // librdkafka keeps one more, of the number -1, for what belongs to none yet.
        mail.partitions = partitions.map_or(0, |partitions| partitions.keys().filter(|number| **number >= 0).count());
    }
}

/// Records of a partition that were not handed to us yet; `None` where it isn't ours or its end isn't known.
fn lag_of(partition: &Partition) -> Option<i64> {
    let known = |offset: i64| (offset >= 0).then_some(offset);
    let end = known(partition.ls_offset).or(known(partition.hi_offset))?;
    let fetched = known(partition.app_offset).or(known(partition.committed_offset)).or(known(partition.lo_offset))?;
    partition.desired.then_some((end - fetched).max(0))
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            self.commit_before_revocation(consumer);
            let partitions = numbers(partitions);
            let mut mail = self.mail();
            mail.finished.retain(|partition, _| !partitions.contains(partition));
            mail.assigned.retain(|partition| !partitions.contains(partition));
            mail.events.push(SourceEvent::Revoked(partitions));
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                let partitions = numbers(partitions);
                if !partitions.is_empty() {
                    self.link.works();
                }
                let mut mail = self.mail();
                mail.assigned.extend(&partitions);
                mail.events.push(SourceEvent::Assigned(partitions));
            }
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed, librdkafka tries again"),
            Rebalance::Revoke(_) => {}
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let mut mail = self.mail();
        mail.committing = false;
        match result {
            Ok(()) => mail.events.push(SourceEvent::Committed(offsets.count())),
            Err(error) => {
                tracing::warn!(%error, "commit failed; the next one covers it");
                for element in offsets.elements() {
                    let (partition, ours) = (element.partition(), mail.assigned.contains(&element.partition()));
                    if let (Offset::Offset(offset), true) = (element.offset(), ours) {
                        mail.finished.entry(partition).or_insert(offset);
                    }
                }
            }
        }
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<i32> {
    partitions.elements().iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition).collect()
}

/// The input topic, read as a member of the consumer group.
pub struct KafkaSource {
    consumer: BaseConsumer<Context>,
    topic: String,
    paused: bool,
    told: Option<Result<(), String>>,
    looked: Instant,
}

impl KafkaSource {
    /// Subscribes; a broker that is away is waited for.
    pub fn connect(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let topic = settings.input_topic.clone();
        let context = Context { link: Link::new(&settings.brokers), mail: Mutex::default(), topic: topic.clone() };
        let consumer: BaseConsumer<Context> = settings::consumer(settings)?.create_with_context(context)?;
        consumer.subscribe(&[&topic])?;
        Ok(Self { consumer, topic, paused: false, told: None, looked: Instant::now() })
    }

    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.consumer.context().mail()
    }

    fn fault(&self, error: &ClientError) -> Result<(), SourceError> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => return Err(SourceError::Fatal(error.to_string())),
            Some(code) if is_missing_topic(code) => {
                let why = format!("the topic `{}` does not exist (yet)", self.topic);
                self.consumer.context().link.refused(Some(Refusal { why, is_missing_topic: true }));
            }
            Some(code) if refuses(code) => {
                let refusal = Refusal { why: error.to_string(), is_missing_topic: false };
                self.consumer.context().link.refused(Some(refusal));
            }
            // librdkafka goes on by itself: transport errors, timeouts, leader changes.
            _ => tracing::debug!(%error, "consumer"),
        }
        Ok(())
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
        if self.mail().committing {
            return Ok(());
        }
        let sent = self.consumer.context().take_finished().and_then(|list| match list {
            Some(list) => {
                self.mail().committing = true;
                commit::in_background(&self.consumer, &list)
            }
            None => Ok(()),
        });
        match sent {
            Ok(()) => Ok(()),
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) => {
                Err(SourceError::Fatal(error.to_string()))
            }
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
        while taken < max {
            match self.consumer.poll(patience) {
                None => break,
                Some(Ok(message)) => {
                    if taken == 0 {
                        self.consumer.context().link.works();
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
        // librdkafka keeps a partition paused that went away and came back, whatever was resumed meanwhile.
        let assigned = self.mail().events.iter().any(|event| matches!(event, SourceEvent::Assigned(_)));
        if assigned {
            self.apply_pause()?;
        }
        Ok(if taken == 0 { Polled::Idle } else { Polled::Records(taken) })
    }

    fn events(&mut self) -> Vec<SourceEvent> {
        self.look_for_topic();
        let mut events = std::mem::take(&mut self.mail().events);
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
        // The list form stores what it says; the single form would store one more. Storing is how librdkafka tells
        // whether the partition is still ours; what is committed is our own list, which may also go back.
        let mut list = TopicPartitionList::new();
        let stored = list
            .add_partition_offset(&self.topic, next.partition, Offset::Offset(next.offset))
            .and_then(|()| self.consumer.store_offsets(&list));
        match stored {
            Ok(()) => {
                self.mail().finished.insert(next.partition, next.offset);
            }
            // The partition was revoked in the meantime: whoever has it now reads from the last commit.
            Err(error) => {
                tracing::debug!(partition = next.partition, offset = next.offset, %error, "offset not stored");
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_was_not_handed_over_yet_whatever_is_committed() {
        let ours = Partition {
            desired: true,
            lo_offset: 10,
            hi_offset: 120,
            ls_offset: 100,
            app_offset: -1001,
            committed_offset: -1001,
            ..Partition::default()
        };
        assert_eq!(lag_of(&ours), Some(90), "a cold start that has read nothing has all before it");
        assert_eq!(lag_of(&Partition { committed_offset: 30, ..ours.clone() }), Some(70));
        assert_eq!(lag_of(&Partition { committed_offset: 30, app_offset: 95, ..ours.clone() }), Some(5));
        assert_eq!(lag_of(&Partition { ls_offset: -1001, app_offset: 95, ..ours.clone() }), Some(25));
        assert_eq!(lag_of(&Partition { ls_offset: -1001, hi_offset: -1001, ..ours.clone() }), None);
        assert_eq!(lag_of(&Partition { desired: false, ..ours }), None, "another member's");
    }
}
