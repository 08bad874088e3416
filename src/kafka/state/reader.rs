//! The thread that reads the state topic.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, Statistics, TopicPartitionList,
    admin::AdminClient,
    client::{DefaultClientContext, OAuthToken},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError as ClientError,
    message::Headers,
};

use super::{
    AS_OF, Load, News, entity_of,
    topic::{Admin, partitions},
};
use crate::{
    config::settings::{DeliveryGuarantee, KafkaSettings},
    kafka::{KafkaError, settings, token::TokenFile},
};

/// Time before another try where the topic can't be used.
const AGAIN: Duration = Duration::from_secs(2);
/// Time between two looks whether the topic has enough partitions.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// After so many failures other clients are made: certificates or passwords may have changed in their files.
const RENEW_AFTER: u32 = 3;
/// How long one look for the next message takes.
const STEP: Duration = Duration::from_millis(100);

struct Context {
    token: TokenFile,
    /// The latest statistics: per partition whether all that was written is either visible or aborted; and when they came.
    settled: Mutex<(Option<Instant>, BTreeMap<i32, bool>)>,
    topic: String,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.token.token()
    }

    fn error(&self, error: ClientError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason, "client error");
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        let settled = topic.partitions.iter().map(|(number, one)| (*number, one.ls_offset == one.hi_offset)).collect();
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = (Some(Instant::now()), settled);
    }
}

impl ConsumerContext for Context {}

impl Context {
    /// Whether nothing of the partition was still undecided at some time after `since`.
    fn is_settled(&self, partition: i32, since: Instant) -> bool {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.0.is_some_and(|told| told > since) && settled.1.get(&partition).copied().unwrap_or_default()
    }
}

/// A partition that is read.
struct Reading {
    load: Load,
    next: Offset,
    /// When its end was reached.
    ended: Option<Instant>,
    /// Whether everything that was written to it has been decided since, so that its end is the end.
    settled: bool,
}

pub(super) struct Reader {
    consumer: BaseConsumer<Context>,
    admin: ClientConfig,
    settings: KafkaSettings,
    topic: String,
    /// Whether snapshots are written in transactions, one of which may still be open when a partition is read.
    transacted: bool,
    open: BTreeMap<i32, Reading>,
    /// When the topic was last found fit.
    prepared: Option<Instant>,
    /// Failures to look at it or to read it since then.
    failed: u32,
    /// Whether it was told that nothing can be read.
    told_fault: Cell<bool>,
}

/// Nobody listens any more.
struct Gone;

impl Reader {
    pub(super) fn new(settings: &KafkaSettings, topic: &str) -> Result<Self, KafkaError> {
        let (consumer, admin) = clients(settings, topic)?;
        Ok(Self {
            consumer,
            admin,
            settings: settings.clone(),
            topic: topic.to_owned(),
            transacted: settings.delivery == DeliveryGuarantee::ExactlyOnce,
            open: BTreeMap::new(),
            prepared: None,
            failed: 0,
            told_fault: Cell::new(false),
        })
    }

    /// Reads until the other end is gone.
    pub(super) fn run(mut self, jobs: &Receiver<Load>, news: &SyncSender<News>) {
        while self.take_jobs(jobs).is_ok() {
            if self.step(news).is_err() {
                return;
            }
        }
    }

    /// Takes what is wanted, waiting for it where nothing is read.
    fn take_jobs(&mut self, jobs: &Receiver<Load>) -> Result<(), Gone> {
        let mut wait = if self.prepared.is_some() && self.open.is_empty() { STEP } else { Duration::ZERO };
        let mut is_new = false;
        loop {
            match jobs.recv_timeout(wait) {
                Ok(load) => {
                    let reading = Reading { load, next: Offset::Beginning, ended: None, settled: false };
                    self.open.insert(load.partition, reading);
                    is_new = true;
                    wait = Duration::ZERO;
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Err(Gone),
            }
        }
        if is_new && self.prepared.is_some() {
            self.assign();
        }
        Ok(())
    }

    /// Reads from where each partition stands.
    fn assign(&self) {
        let mut list = TopicPartitionList::new();
        for (partition, reading) in &self.open {
            // A place in a topic is one that the client takes.
            drop(list.add_partition_offset(&self.topic, *partition, reading.next));
        }
        if let Err(error) = self.consumer.assign(&list) {
            tracing::warn!(topic = self.topic, %error, "the state topic can't be read");
        }
    }

    fn step(&mut self, news: &SyncSender<News>) -> Result<(), Gone> {
        if self.prepared.is_none_or(|prepared| prepared.elapsed() >= LOOK_EVERY && self.open.is_empty()) {
            let found = self.prepare();
            let is_fit = found.is_ok();
            news.send(News::State(found)).map_err(|_| Gone)?;
            if !is_fit {
                self.prepared = None;
                self.failed += 1;
                std::thread::sleep(AGAIN);
                if self.failed.is_multiple_of(RENEW_AFTER) {
                    self.renew();
                }
                return Ok(());
            }
            self.failed = 0;
            self.prepared = Some(Instant::now());
            self.assign();
        }
        // Without anything to read it is polled too, for the sake of tokens and statistics.
        let wait = if self.open.is_empty() { Duration::ZERO } else { STEP };
        match self.consumer.poll(wait) {
            None => {}
            Some(Ok(message)) => {
                self.recovered(news)?;
                if let Some(reading) = self.open.get_mut(&message.partition()) {
                    reading.next = Offset::Offset(message.offset() + 1);
                    if let Some(snapshot) = snapshot(&self.settings.group, reading.load, &message) {
                        news.send(snapshot).map_err(|_| Gone)?;
                    }
                }
            }
            Some(Err(ClientError::PartitionEOF(partition))) => {
                self.recovered(news)?;
                if let Some(reading) = self.open.get_mut(&partition) {
                    reading.ended.get_or_insert_with(Instant::now);
                }
            }
            Some(Err(error)) if self.open.is_empty() => tracing::debug!(topic = self.topic, %error, "state topic"),
            Some(Err(error)) => {
                self.told_fault.set(true);
                self.failed += 1;
                let why = format!("the topic `{}` can't be read: {error}", self.topic);
                news.send(News::State(Err(why))).map_err(|_| Gone)?;
                if self.failed.is_multiple_of(RENEW_AFTER) {
                    self.renew();
                    self.assign();
                }
            }
        }
        self.finish(news)
    }

    /// It can be read, whatever was told before.
    fn recovered(&self, news: &SyncSender<News>) -> Result<(), Gone> {
        if self.told_fault.take() { news.send(News::State(Ok(()))).map_err(|_| Gone) } else { Ok(()) }
    }

    /// Tells which partitions have been read to their end. Where a transaction is still open, or one that is committed has not
    /// come to be seen yet, the end is further on: it counts where it is reached once more after all had been decided.
    fn finish(&mut self, news: &SyncSender<News>) -> Result<(), Gone> {
        let transacted = self.transacted;
        let is_over = |one: &Reading| one.ended.is_some() && (one.settled || !transacted);
        let over: Vec<Load> = self.open.extract_if(.., |_, one| is_over(one)).map(|(_, one)| one.load).collect();
        for load in &over {
            news.send(News::All(*load)).map_err(|_| Gone)?;
        }
        let context = self.consumer.context();
        let mut again = false;
        for (partition, one) in &mut self.open {
            if one.ended.is_some_and(|ended| context.is_settled(*partition, ended)) {
                (one.ended, one.settled, again) = (None, true, true);
            }
        }
        if again || (!over.is_empty() && self.open.is_empty()) {
            self.assign();
        }
        Ok(())
    }

    /// Goes on with other clients, made of what the files of the settings hold now. They can't be made of all of it while somebody
    /// writes them: the old ones go on then.
    fn renew(&mut self) {
        match clients(&self.settings, &self.topic) {
            Ok((consumer, admin)) => (self.consumer, self.admin) = (consumer, admin),
            Err(error) => tracing::debug!(topic = self.topic, %error, "no other client of the state topic can be made"),
        }
    }

    fn prepare(&self) -> Result<(), String> {
        // Who is asked for a token is asked in a poll, and without one nobody answers what follows.
        if self.open.is_empty() {
            drop(self.consumer.poll(Duration::ZERO));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|cause| format!("no runtime for the state topic can be made: {cause}"))?;
        let client: AdminClient<DefaultClientContext> =
            self.admin.create_with_context(DefaultClientContext).map_err(|error| error.to_string())?;
        let partitions = |topic: &str| partitions(self.consumer.client(), topic);
        Admin { client: &client, runtime: &runtime, topic: &self.topic }
            .prepare(&self.settings.input_topic, &partitions)
    }
}

/// The consumer of the topic, and the settings of the client that looks after it.
fn clients(settings: &KafkaSettings, topic: &str) -> Result<(BaseConsumer<Context>, ClientConfig), KafkaError> {
    let mut config = settings::consumer(settings)?;
    config
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        // The group is named, as librdkafka wants one, and never joined.
        .set("group.protocol", "classic")
        .set("partition.assignment.strategy", "range");
    let context = Context { token: TokenFile::of(settings), settled: Mutex::default(), topic: topic.to_owned() };
    Ok((config.create_with_context(context)?, settings::admin(settings)?))
}

/// The snapshot of a message; `None` where it is another group's, or none.
fn snapshot(group: &str, of: Load, message: &impl Message) -> Option<News> {
    let entity = entity_of(group, message.key()?)?.to_owned();
    let headers = message.headers()?;
    let as_of = headers.iter().find(|header| header.key == AS_OF).and_then(|header| header.value)?;
    let as_of = std::str::from_utf8(as_of).ok()?.parse().ok()?;
    Some(News::Snapshot { of, entity, as_of, body: message.payload().map(<[u8]>::to_vec) })
}
