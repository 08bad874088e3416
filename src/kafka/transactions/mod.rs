//! Exactly once: outputs and the offsets of the records that caused them are one Kafka transaction.
//!
//! Outputs are held here until all records of their partition up to their own are finished; until then nobody can see
//! them. Then a thread of its own sends them and the offsets, commits, and tells how it went. A transaction that was
//! aborted changes nothing: its outputs are held again, its offsets go back to the source, and the next one takes both.
//! Whoever takes a partition over reads from the offsets that were committed with the outputs, so each output is seen
//! exactly once by consumers that read what is committed (`isolation.level=read_committed`).

mod attempt;
mod sink;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::consumer::ConsumerGroupMetadata;
pub use sink::TransactionalSink;

use self::attempt::Worker;
use super::{KafkaError, commit::Mark, parcel::Parcel};
use crate::{config::settings::KafkaSettings, pipeline::Delivery};

/// Time before outputs whose transaction was aborted are sent again.
const PAUSE: Duration = Duration::from_secs(1);

/// What one transaction is made of.
pub(super) struct Job {
    parcels: Vec<Parcel>,
    /// How far each partition is finished.
    offsets: BTreeMap<i32, Mark>,
    /// Who commits: the broker fences off members that are none any more.
    group: ConsumerGroupMetadata,
}

/// How a transaction ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The offsets of so many partitions are committed, and with them their outputs.
    Committed(usize),
    /// Nothing has happened; these offsets, of partitions that are still ours, are still to be committed.
    Aborted {
        /// How far each partition is finished.
        offsets: BTreeMap<i32, Mark>,
        /// For people.
        why: String,
    },
}

/// Why a transaction did not come to its end.
#[derive(Debug)]
enum Failure {
    /// Another one may.
    Again(String),
    /// No transaction of this process will.
    Fatal(String),
    /// The process stops.
    Stopping,
}

#[derive(Default)]
struct State {
    /// Outputs that wait for their records to be finished, in the order in which they were caused.
    held: Vec<Parcel>,
    under_way: bool,
    /// Partitions that were revoked while a transaction was under way.
    revoked: BTreeSet<i32>,
    /// Outputs that came to their end, for the sink.
    ended: Vec<Delivery>,
    /// How the last transaction ended, for the source.
    outcome: Option<Outcome>,
    /// Why outputs don't go out at present.
    fault: Option<String>,
    /// Why they never will.
    fatal: Option<String>,
    /// No transaction is begun before.
    resume: Option<Instant>,
}

impl State {
    /// Takes the outputs whose records are finished by these offsets.
    fn take_finished(&mut self, offsets: &BTreeMap<i32, Mark>) -> Vec<Parcel> {
        let is_finished = |parcel: &Parcel| {
            let position = parcel.sender.position;
            offsets.get(&position.partition).is_some_and(|mark| position.offset < mark.next)
        };
        let (finished, held) = std::mem::take(&mut self.held).into_iter().partition(is_finished);
        self.held = held;
        finished
    }

    /// Books how a transaction of these outputs and offsets ended. Partitions that were revoked meanwhile belong to
    /// somebody else: whatever of them was not committed is not ours to send again.
    fn end(&mut self, job: Job, result: Result<(), Failure>) {
        let Job { mut parcels, mut offsets, .. } = job;
        let revoked = std::mem::take(&mut self.revoked);
        parcels.retain(|parcel| !revoked.contains(&parcel.sender.position.partition));
        self.under_way = false;
        self.outcome = Some(match result {
            Ok(()) => {
                (self.fault, self.resume) = (None, None);
                self.ended.extend(parcels.into_iter().map(|parcel| parcel.sender.delivery(Ok(()))));
                Outcome::Committed(offsets.len())
            }
            Err(failure) => {
                let why = match failure {
                    Failure::Again(why) => why,
                    Failure::Stopping => "the program stops".to_owned(),
                    Failure::Fatal(why) => {
                        self.fatal = Some(why.clone());
                        why
                    }
                };
                offsets.retain(|partition, _| !revoked.contains(partition));
                // They were caused before those that came since.
                self.held.splice(0..0, parcels);
                (self.fault, self.resume) = (Some(why.clone()), Some(Instant::now() + PAUSE));
                Outcome::Aborted { offsets, why }
            }
        });
    }
}

/// What the pipeline's thread and that of the transactions share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stopping: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `happened`, at most until then.
    fn wait(&self, until: Instant, happened: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.lock(), left, |state| !happened(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Holds outputs, and sends them with offsets. The source and the sink of one pipeline share it.
pub struct Transactions {
    shared: Arc<Shared>,
    /// `None` once this is dropped.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Transactions {
    /// Makes the producer and its thread; a broker that is away is waited for.
    ///
    /// # Errors
    /// The settings can't be used, or there is no thread to be had.
    pub fn start(settings: &KafkaSettings) -> Result<Arc<Self>, KafkaError> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                fault: Some("the transactional producer is not ready yet".to_owned()),
                ..State::default()
            }),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        let worker = Worker::new(settings, Arc::clone(&shared))?;
        let (sender, jobs) = channel();
        let thread = std::thread::Builder::new()
            .name("transactions".to_owned())
            .spawn(move || worker.run(&jobs))
            .map_err(|cause| KafkaError::Broker(format!("no thread for transactions can be started: {cause}")))?;
        Ok(Arc::new(Self { shared, jobs: Some(sender), thread: Some(thread) }))
    }

    /// Whether a transaction may be begun: none is under way, and the last one was not just aborted.
    pub(super) fn is_free(&self) -> bool {
        let state = self.shared.lock();
        !state.under_way && state.resume.is_none_or(|resume| Instant::now() >= resume)
    }

    /// Sends on their way, as one transaction, the offsets and all outputs that records before them caused. To be called
    /// only when none is under way and the outcome of the last was taken.
    pub(super) fn begin(&self, offsets: BTreeMap<i32, Mark>, group: ConsumerGroupMetadata) {
        let mut state = self.shared.lock();
        let job = Job { parcels: state.take_finished(&offsets), offsets, group };
        state.under_way = true;
        let lost = match &self.jobs {
            Some(jobs) => jobs.send(job).err().map(|lost| lost.0),
            None => Some(job),
        };
        if let Some(job) = lost {
            state.end(job, Err(Failure::Fatal("the thread of transactions has died, its message stands above".into())));
        }
    }

    /// How the last transaction ended, told once.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.shared.lock().outcome.take()
    }

    /// Waits until no transaction is under way, at most until then.
    pub(super) fn wait(&self, until: Instant) {
        drop(self.shared.wait(until, |state| !state.under_way));
    }

    /// Drops what is held of these partitions: whoever has them now causes it anew.
    pub(super) fn forget(&self, partitions: &[i32]) {
        let mut state = self.shared.lock();
        state.held.retain(|parcel| !partitions.contains(&parcel.sender.position.partition));
        if state.under_way {
            state.revoked.extend(partitions);
        }
    }

    /// Why no transaction will succeed any more.
    pub(super) fn fatal(&self) -> Option<String> {
        self.shared.lock().fatal.clone()
    }
}

impl Drop for Transactions {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests;
