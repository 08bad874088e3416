//! What is remembered of entities between their records, kept over restarts and rebalances.
//!
//! The log is the state: a window is rebuilt by reading its partition again, from the offset that the commit names. What grew
//! over more records than that (running statistics, incidents, how often an entity reports) is written as one snapshot per
//! entity now and then, and brought up to date by judging again what came after it. Nobody is told of what is judged again.
//!
//! [`StateStore`] is where snapshots are read from; they are written as outputs are, so that they can go with their offsets.

mod kept;
mod refill;
mod snapshot;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::kept::{Kept, NOT_LOOKED, StateStore};
pub(super) use self::{
    refill::{Refill, Restored, Stage},
    snapshot::{Rows, Snapshot},
};
use crate::{
    record::Position,
    stream::horizon::{Horizon, Life},
    telemetry::metrics::Metrics,
};

/// So many snapshots are taken at once between two batches.
const MOST_AT_ONCE: usize = 2_000;
/// So many evicted entities wait at most for their end to be written.
const MOST_GONE: usize = 100_000;
/// None are taken while so many wait for their acknowledgement.
const MOST_WAITING: usize = 10_000;
/// The most time between two looks for windows that reach back too far.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// An entity of which a snapshot is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) place: u32,
    pub(super) life: Life,
}

/// An entity that was evicted.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) partition: i32,
    pub(super) entity: Arc<str>,
    pub(super) place: u32,
    pub(super) life: Life,
    /// Records of the partition before it were its former life's.
    pub(super) as_of: i64,
}

/// The books of what is kept.
pub(super) struct Keeping {
    store: Box<dyn StateStore>,
    pub(super) horizon: Horizon,
    /// Partitions that are being filled again.
    refills: BTreeMap<i32, Refill>,
    /// Entities that changed since their last snapshot, in the order of the first change, with its time.
    changed: VecDeque<(Instant, Due)>,
    gone: Vec<Gone>,
    /// Next offset of each partition: all records before it were taken.
    next: BTreeMap<i32, i64>,
    lives: Life,
    interval: Duration,
    /// So many of them are due whatever the time.
    hurried: usize,
    /// When windows that reach back too far were last looked for.
    looked: Instant,
    /// The most records of a partition that are read again.
    max_rewind: i64,
    /// Why the store can't be read, if it can't.
    fault: Option<String>,
}

impl Keeping {
    /// Reads from `store`; an entity that changes has a snapshot after `interval` at the latest.
    pub(super) fn new(store: Box<dyn StateStore>, (interval, max_rewind): (Duration, u64)) -> Self {
        Self {
            store,
            horizon: Horizon::default(),
            refills: BTreeMap::new(),
            changed: VecDeque::new(),
            gone: Vec::new(),
            next: BTreeMap::new(),
            lives: 0,
            interval,
            hurried: 0,
            looked: Instant::now(),
            max_rewind: i64::try_from(max_rewind).unwrap_or(i64::MAX),
            fault: Some(NOT_LOOKED.to_owned()),
        }
    }

    /// The most records of a partition that are read again.
    pub(super) fn max_rewind(&self) -> i64 {
        self.max_rewind
    }

    /// A record came. Where the partition's offsets went back, what was known of it is worth nothing.
    pub(super) fn took(&mut self, Position { partition, offset }: Position) {
        let before = self.next.insert(partition, offset + 1);
        if before.is_some_and(|before| offset < before) {
            self.horizon.forget(&[partition]);
            self.gone.retain(|gone| gone.partition != partition);
        }
    }

    /// All records of the partition before this offset were taken.
    pub(super) fn next(&self, partition: i32) -> i64 {
        self.next.get(&partition).copied().unwrap_or_default()
    }

    /// The number of a life that begins.
    pub(super) fn begin_life(&mut self) -> Life {
        self.lives += 1;
        self.lives
    }

    /// An entity has changed for the first time since its last snapshot.
    pub(super) fn changed(&mut self, due: Due) {
        self.changed.push_back((Instant::now(), due));
    }

    /// All that has changed so far has its snapshot as soon as may be: it can't be judged again.
    pub(super) fn hurry(&mut self) {
        self.hurried = self.changed.len();
    }

    /// An entity made room for another one.
    pub(super) fn evicted(&mut self, partition: i32, entity: Arc<str>, due: Due) {
        let as_of = self.next(partition);
        if self.gone.len() >= MOST_GONE {
            // The topic can't be written to for so long that nobody will miss it.
            self.horizon.leave(partition, due.life);
            return;
        }
        self.gone.push(Gone { partition, entity, place: due.place, life: due.life, as_of });
    }

    /// Entities that were evicted and whose end is to be written. It waits while their partition is filled again: a snapshot that
    /// was kept may be from a later offset.
    pub(super) fn take_gone(&mut self) -> Vec<Gone> {
        if self.fault.is_some() || self.horizon.waiting() > MOST_WAITING {
            return Vec::new();
        }
        let refills = &self.refills;
        self.gone.extract_if(.., |gone| !refills.contains_key(&gone.partition)).take(MOST_AT_ONCE).collect()
    }

    /// Entities whose snapshots are due, the longest changed first; none where nothing is.
    pub(super) fn take_due(&mut self) -> Vec<Due> {
        let mut due = Vec::new();
        if self.fault.is_some() || self.horizon.waiting() > MOST_WAITING {
            return due;
        }
        while due.len() < MOST_AT_ONCE
            && let Some((since, first)) = self.changed.front()
            && (self.hurried > 0 || since.elapsed() >= self.interval)
        {
            due.push(*first);
            self.changed.pop_front();
            self.hurried = self.hurried.saturating_sub(1);
        }
        due
    }

    /// Entities whose windows reach back so far that reading them again would soon be too much: their snapshots hold them.
    pub(super) fn take_far(&mut self) -> Vec<Due> {
        let is_early = self.looked.elapsed() < LOOK_EVERY.min(self.interval);
        if is_early || self.fault.is_some() || self.horizon.waiting() > MOST_WAITING {
            return Vec::new();
        }
        self.looked = Instant::now();
        let far = |(partition, next): (&i32, &i64)| {
            let far = next - self.max_rewind / 2;
            self.horizon.needy(*partition).take_while(move |needy| needy.offset < far)
        };
        let far = self.next.iter().filter(|(partition, _)| !self.refills.contains_key(partition)).flat_map(far);
        far.take(MOST_AT_ONCE).map(|needy| Due { place: needy.place, life: needy.life }).collect()
    }

    /// Reading of a partition goes on at `next`, and begins at `from` so that windows are filled again.
    pub(super) fn resume(&mut self, next: Position, from: i64) {
        self.refills.insert(next.partition, Refill::new(from, next.offset));
        self.next.insert(next.partition, from);
        self.store.load(next.partition);
    }

    /// Whether the state of the partition has not been read yet, so that its records have to wait.
    pub(super) fn awaits(&self, partition: i32) -> bool {
        self.refills.get(&partition).is_some_and(Refill::is_loading)
    }

    /// Whether the partition is filled again.
    pub(super) fn is_refilling(&self, partition: i32) -> bool {
        self.refills.contains_key(&partition)
    }

    /// Whether the record stands before the place where the group goes on.
    pub(super) fn is_refill(&self, Position { partition, offset }: Position) -> bool {
        self.refills.get(&partition).is_some_and(|refill| offset < refill.until)
    }

    /// The partition's refill, while it is filled again.
    pub(super) fn refill(&mut self, partition: i32) -> Option<&mut Refill> {
        self.refills.get_mut(&partition)
    }

    /// The place where the group goes on, if the partition is filled again and that is over when all records before `next` were
    /// taken.
    pub(super) fn refilled(&self, next: Position) -> Option<Position> {
        let refill = self.refills.get(&next.partition)?;
        let is_over = !refill.is_loading() && next.offset >= refill.until;
        is_over.then_some(Position { offset: refill.until, ..next })
    }

    /// The partition is not filled again any more; gives how it was.
    pub(super) fn end_refill(&mut self, partition: i32) -> Option<Refill> {
        self.refills.remove(&partition)
    }

    /// Partitions that are filled again, each with the offset of its next record.
    pub(super) fn refilling(&self) -> Vec<Position> {
        let next = |partition: &i32| Position { partition: *partition, offset: self.next(*partition) };
        self.refills.keys().map(next).collect()
    }

    /// Reads on what was kept. Gives whether it can be read, where that has changed.
    pub(super) fn read(&mut self, metrics: &Metrics) -> Option<Result<(), String>> {
        let Self { store, refills, .. } = self;
        let read = store.read(&mut |kept| match kept {
            Kept::Snapshot { partition, entity, as_of, body } => {
                refills.get_mut(&partition).into_iter().for_each(|refill| refill.read(entity, as_of, body));
            }
            Kept::All(partition) => {
                let Some(refill) = refills.get_mut(&partition) else { return };
                refill.loaded();
                metrics.state_read((partition, refill.from), (refill.entities(), refill.unread, refill.cut));
            }
        });
        let fault = read.err();
        if self.fault == fault {
            return None;
        }
        self.fault.clone_from(&fault);
        Some(fault.map_or(Ok(()), Err))
    }

    /// Forgets partitions that are no longer ours.
    pub(super) fn forget(&mut self, partitions: &[i32]) {
        self.horizon.forget(partitions);
        self.gone.retain(|gone| !partitions.contains(&gone.partition));
        self.refills.retain(|partition, _| !partitions.contains(partition));
        self.next.retain(|partition, _| !partitions.contains(partition));
    }
}
