//! What befalls a member of the consumer group: partitions come and go, commits are answered. What is finished of
//! partitions that go is committed before they do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Offset, Statistics, TopicPartitionList,
    client::OAuthToken,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError as ClientError, KafkaResult, RDKafkaErrorCode},
    topic_partition_list::TopicPartitionListElem,
    types::RDKafkaRespErr,
};

use super::{
    commit::{self, Mark},
    lag::lag_of,
    link::Link,
    losses::Expected,
    token::TokenFile,
    transactions::{Outcome, Transactions},
};
use crate::{config::settings::KafkaSettings, pipeline::SourceEvent, record::Position};

/// How long the broker may take to tell what is committed.
const COMMITTED_WAIT: Duration = Duration::from_secs(5);
/// The same where transactions commit: one that a killed process left open has to time out first.
const TRANSACTED_WAIT: Duration = Duration::from_secs(45);
/// How long the broker may take to tell where a partition begins.
const BEGINNING_WAIT: Duration = Duration::from_secs(5);
/// Partitions are read from where the group goes on.
const NO_REWIND: i64 = -1;
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
    /// What is finished of each partition and not yet on its way to the broker.
    pub(super) finished: BTreeMap<i32, Mark>,
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
    fn put_back(&mut self, partition: i32, mark: Mark) {
        if self.assigned.contains(&partition) {
            self.finished.entry(partition).or_insert(mark);
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
    /// Partitions came since [`Context::have_come`] was asked.
    came: AtomicBool,
    /// The most records that are read again of a partition that comes; [`NO_REWIND`] reads none again.
    rewind: AtomicI64,
}

/// Where reading of a partition that comes goes on.
#[derive(Debug, Clone, Copy)]
struct Place {
    next: Position,
    /// Where it begins; `None` where nothing is to be filled again.
    from: Option<i64>,
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
            came: AtomicBool::new(false),
            rewind: AtomicI64::new(NO_REWIND),
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

    /// Whether partitions came since the last call. What comes of them shall be lent after that was told.
    pub(super) fn have_come(&self) -> bool {
        self.came.load(Ordering::Relaxed) && self.came.swap(false, Ordering::Relaxed)
    }

    /// From now on partitions that come are read from where their windows begin, but at most so many records before the place
    /// where the group goes on.
    pub(super) fn rewind(&self, most: i64) {
        self.rewind.store(most.max(0), Ordering::Relaxed);
    }

    /// What is finished, and no longer as finished.
    fn take_finished(&self) -> BTreeMap<i32, Mark> {
        std::mem::take(&mut self.mail().finished)
    }

    /// What is finished, as a list for the broker, and no longer as finished; `None` if there is nothing.
    pub(super) fn take_finished_list(&self) -> KafkaResult<Option<TopicPartitionList>> {
        let finished = self.take_finished();
        if finished.is_empty() { Ok(None) } else { commit::list(&self.topic, &finished).map(Some) }
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
                offsets.into_iter().for_each(|(partition, mark)| mail.put_back(partition, mark));
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

/// What happens when partitions come and go.
impl Context {
    /// What is done of partitions that go is committed before they do.
    fn before_revocation(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
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

    /// Finds where reading of partitions that come goes on, as far as the group has committed anything, and has those begin
    /// earlier whose windows do. Without an answer in time nobody can tell what was lost in between.
    fn before_assignment(&self, consumer: &BaseConsumer<Self>, partitions: &mut TopicPartitionList) -> Vec<Place> {
        let wait = if self.transactions.is_some() { TRANSACTED_WAIT } else { COMMITTED_WAIT };
        let marks = match commit::committed(consumer, &self.topic, &numbers(partitions), wait) {
            Ok(marks) => marks,
            Err(error) if self.rewind.load(Ordering::Relaxed) == NO_REWIND => {
                tracing::debug!(%error, "the committed offsets of new partitions are not known");
                return Vec::new();
            }
            Err(error) => {
                tracing::warn!(%error, "the committed offsets of new partitions are not known, so their windows fill anew");
                return Vec::new();
            }
        };
        let place = |(partition, mark): (i32, Mark)| {
            let from = self.beginning(consumer, partition, mark);
            if let Some(from) = from.filter(|from| *from < mark.next) {
                // The partition is one of the list, which is all that can be wrong with it.
                drop(partitions.set_partition_offset(&self.topic, partition, Offset::Offset(from)));
            }
            Place { next: Position { partition, offset: mark.next }, from }
        };
        marks.into_iter().map(place).collect()
    }

    /// Where reading of a partition begins so that its windows are filled again: not before the log does, or the client would
    /// go on somewhere else altogether.
    fn beginning(&self, consumer: &BaseConsumer<Self>, partition: i32, mark: Mark) -> Option<i64> {
        let most = self.rewind.load(Ordering::Relaxed);
        let from = mark.oldest.filter(|_| most != NO_REWIND)?.max(mark.next - most);
        if from >= mark.next {
            return Some(mark.next);
        }
        match consumer.fetch_watermarks(&self.topic, partition, BEGINNING_WAIT) {
            Ok((low, _)) => Some(from.max(low).min(mark.next)),
            Err(error) => {
                tracing::warn!(partition, %error, "where the partition begins is not known, so its windows fill anew");
                Some(mark.next)
            }
        }
    }

    fn after_assignment(&self, partitions: &TopicPartitionList, places: Vec<Place>) {
        let partitions = numbers(partitions);
        if !partitions.is_empty() {
            self.link.works();
        }
        let mut mail = self.mail();
        mail.assigned.extend(&partitions);
        // What is read again was read before: it can't be lost.
        mail.begun.extend(places.iter().map(|place| place.next));
        mail.events.push(SourceEvent::Assigned(partitions));
        let resumes = |Place { next, from }| Some(SourceEvent::Resumes { next, from: from? });
        mail.events.extend(places.into_iter().filter_map(resumes));
        self.changed.store(true, Ordering::Relaxed);
        self.came.store(true, Ordering::Relaxed);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let is_cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let done = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                let places = self.before_assignment(consumer, partitions);
                let done =
                    if is_cooperative { consumer.incremental_assign(partitions) } else { consumer.assign(partitions) };
                self.after_assignment(partitions, places);
                done
            }
            other => {
                if other == RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS {
                    self.before_revocation(consumer, partitions);
                } else {
                    let error = RDKafkaErrorCode::from(other);
                    tracing::warn!(%error, "rebalance failed, librdkafka tries again");
                }
                if is_cooperative { consumer.incremental_unassign(partitions) } else { consumer.unassign() }
            }
        };
        if let Err(error) = done {
            tracing::warn!(%error, "partitions can't be taken up or given away as the group asks for");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let mut mail = self.mail();
        mail.committing = false;
        match result {
            Ok(()) => mail.events.push(SourceEvent::Committed(offsets.count())),
            Err(error) => {
                tracing::warn!(%error, "commit failed; the next one covers it");
                commit::marks(offsets).into_iter().for_each(|(partition, mark)| mail.put_back(partition, mark));
            }
        }
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<i32> {
    partitions.elements().iter().map(TopicPartitionListElem::partition).collect()
}
