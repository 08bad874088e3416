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
    client::OAuthToken,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError as ClientError, KafkaResult},
    topic_partition_list::TopicPartitionListElem,
};

use super::{
    commit,
    lag::lag_of,
    link::Link,
    losses::Expected,
    token::TokenFile,
    transactions::{Outcome, Transactions},
};
use crate::{config::settings::KafkaSettings, pipeline::SourceEvent, record::Position};

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
        let link = Link::new(&settings.brokers).showing(TokenFile::of(settings));
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
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.link.token()
    }

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
                let partitions = numbers(partitions);
                let begun = begun(consumer, &partitions);
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
fn begun(consumer: &BaseConsumer<Context>, partitions: &[i32]) -> Vec<Position> {
    match commit::committed(consumer, consumer.context().topic(), partitions) {
        Ok(committed) => committed.into_iter().map(|(partition, offset)| Position { partition, offset }).collect(),
        Err(error) => {
            tracing::debug!(%error, "the committed offsets of new partitions are not known");
            Vec::new()
        }
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<i32> {
    partitions.elements().iter().map(TopicPartitionListElem::partition).collect()
}
