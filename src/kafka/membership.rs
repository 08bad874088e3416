//! What befalls a member of the consumer group: partitions come and go, commits are answered. What is finished of
//! partitions that go is committed before they do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Offset, Statistics, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError as ClientError, KafkaResult},
    statistics::Partition,
    topic_partition_list::TopicPartitionListElem,
};

use super::{
    link::Link,
    losses::Expected,
    transactions::{Outcome, Transactions},
};
use crate::{config::settings::KafkaSettings, pipeline::SourceEvent, record::Position};

/// How long the group's offsets of new partitions are waited for.
const COMMITTED_WAIT: Duration = Duration::from_secs(2);
/// How long partitions that are revoked wait for the transaction of what was done of them.
const REVOCATION_WAIT: Duration = Duration::from_secs(10);
/// Transactions that are begun before they go, where the first is aborted.
const REVOCATION_TRIES: usize = 2;

/// What the callbacks leave for the next look of the pipeline.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub(super) events: Vec<SourceEvent>,
    pub(super) lag: Option<i64>,
    /// Partitions of the topic; 0 before they were counted.
    pub(super) partitions: usize,
    /// Partitions that are ours.
    pub(super) assigned: BTreeSet<i32>,
    /// Next offset per partition that is finished and not yet on its way to the broker.
    pub(super) finished: BTreeMap<i32, i64>,
    /// Where partitions that came since the last poll go on, as far as the group has committed anything of them.
    begun: Vec<Position>,
    /// Partitions that went since then.
    gone: Vec<i32>,
    /// Whether a commit is on its way.
    pub(super) committing: bool,
    /// The last commit is over: a rebalance on the way out commits nothing more.
    pub(super) closing: bool,
}

impl Mail {
    /// An offset that was not committed is to be committed by the next one, unless its partition is not ours any more.
    fn put_back(&mut self, partition: i32, offset: i64) {
        if self.assigned.contains(&partition) {
            self.finished.entry(partition).or_insert(offset);
        }
    }
}

/// librdkafka's callbacks; they run inside `poll`, on the pipeline's thread.
pub(super) struct Context {
    pub(super) link: Link,
    mail: Mutex<Mail>,
    topic: String,
    /// Commits offsets together with outputs; `None` commits them alone.
    pub(super) transactions: Option<Arc<Transactions>>,
    /// Partitions came or went since [`Context::tell`] was asked.
    changed: AtomicBool,
}

impl Context {
    pub(super) fn new(settings: &KafkaSettings, transactions: Option<Arc<Transactions>>) -> Self {
        let link = Link::new(&settings.brokers);
        Self {
            link,
            mail: Mutex::default(),
            topic: settings.input_topic.clone(),
            transactions,
            changed: AtomicBool::new(false),
        }
    }

    pub(super) fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether partitions came or went since [`Context::tell`] was asked.
    pub(super) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }

    /// Tells which partitions came and went.
    pub(super) fn tell(&self, expected: &mut Expected) {
        self.changed.store(false, Ordering::Relaxed);
        let mut mail = self.mail();
        mail.gone.drain(..).for_each(|partition| expected.forget(partition));
        mail.begun.drain(..).for_each(|position| expected.begin(position));
    }

    /// What is finished, and no longer as finished.
    fn take_finished(&self) -> BTreeMap<i32, i64> {
        std::mem::take(&mut self.mail().finished)
    }

    /// What is finished, as a list for the broker, and no longer as finished; `None` if there is nothing.
    pub(super) fn take_finished_list(&self) -> KafkaResult<Option<TopicPartitionList>> {
        let finished = self.take_finished();
        let mut list = TopicPartitionList::new();
        for (partition, offset) in &finished {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))?;
        }
        Ok((!finished.is_empty()).then_some(list))
    }

    /// What is finished of partitions that go to another member is committed before it starts from there.
    fn commit_before_revocation(&self, consumer: &BaseConsumer<Self>) {
        let committed = self.take_finished_list().and_then(|list| match list {
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

/// What happens where offsets and outputs are committed together.
impl Context {
    /// Books how the last transaction ended.
    pub(super) fn hear(&self, transactions: &Transactions) {
        let Some(outcome) = transactions.outcome() else { return };
        let mut mail = self.mail();
        mail.committing = false;
        match outcome {
            Outcome::Committed(partitions) => {
                mail.events.extend([SourceEvent::Transaction(Ok(())), SourceEvent::Committed(partitions)]);
            }
            Outcome::Aborted { offsets, why } => {
                offsets.into_iter().for_each(|(partition, offset)| mail.put_back(partition, offset));
                mail.events.push(SourceEvent::Transaction(Err(why)));
            }
        }
    }

    /// Begins a transaction of what is finished, unless that is nothing. None may be under way.
    pub(super) fn begin(&self, transactions: &Transactions, consumer: &BaseConsumer<Self>) {
        // Who is no member of the group at the moment commits when it is one again.
        let Some(group) = consumer.group_metadata() else { return };
        let finished = self.take_finished();
        if !finished.is_empty() {
            self.mail().committing = true;
            transactions.begin(finished, group);
        }
    }

    /// What is finished of partitions that go to another member is committed, with its outputs, before it starts from
    /// there. What can't be committed in time is dropped: the other member does it anew.
    fn transact_before_revocation(&self, transactions: &Transactions, consumer: &BaseConsumer<Self>) {
        let until = Instant::now() + REVOCATION_WAIT;
        for _ in 0..=REVOCATION_TRIES {
            transactions.wait(until);
            self.hear(transactions);
            if self.mail().committing || self.mail().finished.is_empty() {
                return;
            }
            self.begin(transactions, consumer);
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
            let partitions = numbers(partitions);
            match &self.transactions {
                _ if self.mail().closing => {}
                Some(transactions) => {
                    self.transact_before_revocation(transactions, consumer);
                    transactions.forget(&partitions);
                }
                None => self.commit_before_revocation(consumer),
            }
            let mut mail = self.mail();
            mail.finished.retain(|partition, _| !partitions.contains(partition));
            mail.assigned.retain(|partition| !partitions.contains(partition));
            mail.begun.retain(|begun| !partitions.contains(&begun.partition));
            mail.gone.extend(&partitions);
            self.changed.store(true, Ordering::Relaxed);
            mail.events.push(SourceEvent::Revoked(partitions));
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                let begun = committed(consumer, partitions);
                let partitions = numbers(partitions);
                if !partitions.is_empty() {
                    self.link.works();
                }
                let mut mail = self.mail();
                mail.assigned.extend(&partitions);
                mail.begun.extend(begun);
                self.changed.store(true, Ordering::Relaxed);
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
                    if let Offset::Offset(offset) = element.offset() {
                        mail.put_back(element.partition(), offset);
                    }
                }
            }
        }
    }
}

/// Where the group goes on in these partitions, as far as it has committed anything. Without an answer in time nobody can tell
/// what was lost in between.
fn committed(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> Vec<Position> {
    let position = |element: &TopicPartitionListElem<'_>| match element.offset() {
        Offset::Offset(offset) => Some(Position { partition: element.partition(), offset }),
        _ => None,
    };
    match consumer.committed_offsets(partitions.clone(), COMMITTED_WAIT) {
        Ok(committed) => committed.elements().iter().filter_map(position).collect(),
        Err(error) => {
            tracing::debug!(%error, "the committed offsets of new partitions are not known");
            Vec::new()
        }
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<i32> {
    partitions.elements().iter().map(TopicPartitionListElem::partition).collect()
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
