//! How far back a partition has to be read again after a restart, so that all windows are as they were.
//!
//! Of each entity a snapshot is written now and then, which says from which offset on its window's rows stand in the
//! partition. Until the first snapshot is safe, an entity is read again from its first record. A snapshot that was taken
//! after the offset that is committed is of no use to whoever starts there, so that it counts once the offset has passed it.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// Number of an entity's life: one that comes again after it was evicted begins another.
pub type Life = u64;

/// The oldest offset that is needed of each partition.
#[derive(Debug, Default)]
pub struct Horizon {
    partitions: BTreeMap<i32, Partition>,
}

#[derive(Debug, Default)]
struct Partition {
    /// From where on each entity has to be read again, with its place.
    needs: BTreeMap<(i64, Life), u32>,
    /// The same by entity.
    of: HashMap<Life, i64>,
    /// Snapshots that were sent, the oldest first.
    sent: VecDeque<Sent>,
}

/// Snapshots that were taken before the same record.
#[derive(Debug)]
struct Sent {
    as_of: i64,
    /// What each makes of its entity's need; `None` ends its life.
    changes: Vec<(Life, u32, Option<i64>)>,
    /// How many of them nobody has acknowledged yet.
    waiting: usize,
    /// Whether the broker has refused one of them for good: which, is not known.
    refused: bool,
}

/// Who needs an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needy {
    /// The offset.
    pub offset: i64,
    /// The entity's place.
    pub place: u32,
    /// Its life.
    pub life: Life,
}

impl Horizon {
    /// An entity's life begins with the record at this offset.
    pub fn enter(&mut self, partition: i32, (life, place): (Life, u32), offset: i64) {
        self.partitions.entry(partition).or_default().need(life, place, Some(offset));
    }

    /// The entity's records come from another partition from now on.
    pub fn leave(&mut self, partition: i32, life: Life) {
        self.partitions.get_mut(&partition).into_iter().for_each(|partition| partition.need(life, 0, None));
    }

    /// A snapshot was sent that holds all records of the partition before `as_of`, and needs those from `oldest` on; `None`
    /// ends the entity's life. To be called in the order of `as_of`.
    pub fn sent(&mut self, partition: i32, as_of: i64, (life, place): (Life, u32), oldest: Option<i64>) {
        let sent = &mut self.partitions.entry(partition).or_default().sent;
        if sent.back().is_none_or(|last| last.as_of != as_of) {
            sent.push_back(Sent { as_of, changes: Vec::new(), waiting: 0, refused: false });
        }
        if let Some(last) = sent.back_mut() {
            last.changes.push((life, place, oldest));
            last.waiting += 1;
        }
    }

    /// A snapshot of this time has come to its end: it is safe, or was refused for good.
    pub fn ended(&mut self, partition: i32, as_of: i64, is_safe: bool) {
        let Some(partition) = self.partitions.get_mut(&partition) else { return };
        let Ok(at) = partition.sent.binary_search_by_key(&as_of, |sent| sent.as_of) else { return };
        let sent = &mut partition.sent[at];
        sent.waiting = sent.waiting.saturating_sub(1);
        sent.refused |= !is_safe;
    }

    /// From where on the partition has to be read again by whoever goes on at `next`; at most `next`. `None` where nothing is
    /// known of the partition.
    pub fn oldest(&mut self, partition: i32, next: i64) -> Option<i64> {
        let partition = self.partitions.get_mut(&partition)?;
        while let Some(sent) = partition.sent.pop_front_if(|sent| sent.as_of <= next && sent.waiting == 0) {
            if sent.refused {
                continue;
            }
            sent.changes.into_iter().for_each(|(life, place, oldest)| partition.need(life, place, oldest));
        }
        Some(partition.needs.first_key_value().map_or(next, |((oldest, _), _)| next.min(*oldest)))
    }

    /// Who needs how old an offset of the partition, the oldest first.
    pub fn needy(&self, partition: i32) -> impl Iterator<Item = Needy> {
        let needs = self.partitions.get(&partition).into_iter().flat_map(|partition| &partition.needs);
        needs.map(|((offset, life), place)| Needy { offset: *offset, place: *place, life: *life })
    }

    /// Snapshots that were sent and of which nobody has heard yet.
    pub fn waiting(&self) -> usize {
        self.partitions.values().flat_map(|partition| &partition.sent).map(|sent| sent.waiting).sum()
    }

    /// Forgets partitions that are no longer ours, or whose offsets began anew.
    pub fn forget(&mut self, partitions: &[i32]) {
        self.partitions.retain(|partition, _| !partitions.contains(partition));
    }
}

impl Partition {
    fn need(&mut self, life: Life, place: u32, oldest: Option<i64>) {
        let before = match oldest {
            Some(offset) => self.of.insert(life, offset),
            None => self.of.remove(&life),
        };
        if let Some(offset) = before {
            self.needs.remove(&(offset, life));
        }
        self.needs.extend(oldest.map(|offset| ((offset, life), place)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_entity_is_needed_from_its_first_record_until_a_snapshot_is_safe_and_passed_by_the_commit() {
        let mut horizon = Horizon::default();
        assert_eq!(horizon.oldest(0, 5), None);
        horizon.enter(0, (1, 0), 3);
        horizon.enter(0, (2, 1), 4);
        assert_eq!(horizon.oldest(0, 20), Some(3));
        horizon.sent(0, 30, (1, 0), Some(25));
        horizon.sent(0, 30, (2, 1), Some(28));
        assert_eq!(horizon.oldest(0, 30), Some(3), "it may never arrive");
        horizon.ended(0, 30, true);
        assert_eq!(horizon.oldest(0, 30), Some(3), "one of two has arrived");
        horizon.ended(0, 30, true);
        assert_eq!(horizon.oldest(0, 29), Some(3), "whoever starts at 29 can't use what was taken at 30");
        assert_eq!(horizon.oldest(0, 30), Some(25));
        let needy: Vec<Needy> = horizon.needy(0).collect();
        assert_eq!(needy[0], Needy { offset: 25, place: 0, life: 1 });
        assert_eq!((needy.len(), horizon.waiting()), (2, 0));
        assert_eq!(horizon.oldest(0, 20), Some(20), "never more than what is committed");
    }

    #[test]
    fn an_evicted_entity_is_needed_until_that_is_safe_and_its_next_life_is_another() {
        let mut horizon = Horizon::default();
        horizon.enter(0, (1, 0), 3);
        horizon.sent(0, 10, (1, 0), None);
        horizon.enter(0, (2, 0), 12);
        assert_eq!(horizon.oldest(0, 15), Some(3));
        horizon.ended(0, 10, true);
        assert_eq!(horizon.oldest(0, 15), Some(12));
        horizon.forget(&[0]);
        assert_eq!((horizon.oldest(0, 15), horizon.needy(0).next()), (None, None));
    }

    #[test]
    fn a_refused_snapshot_changes_nothing_and_the_next_one_counts() {
        let mut horizon = Horizon::default();
        horizon.enter(0, (1, 0), 3);
        for (as_of, oldest, is_safe) in [(10, 8, false), (20, 18, true)] {
            horizon.sent(0, as_of, (1, 0), Some(oldest));
            horizon.ended(0, as_of, is_safe);
            let expected = if is_safe { 18 } else { 3 };
            assert_eq!(horizon.oldest(0, as_of), Some(expected));
        }
    }

    proptest! {
        #[test]
        fn it_is_the_least_of_what_the_newest_safe_snapshots_need(
            steps in prop::collection::vec((0u64..4, any::<bool>(), 0i64..5), 1..60),
        ) {
            let mut horizon = Horizon::default();
            // Per entity: what is needed, and what will be once the commit has passed it.
            let mut needs = BTreeMap::<u64, Vec<(i64, i64)>>::new();
            for (at, (life, is_safe, back)) in steps.into_iter().enumerate() {
                let as_of = at as i64 + 10;
                let history = needs.entry(life).or_insert_with(|| {
                    horizon.enter(0, (life, life as u32), as_of);
                    vec![(0, as_of)]
                });
                let oldest = as_of - back;
                horizon.sent(0, as_of, (life, life as u32), Some(oldest));
                horizon.ended(0, as_of, is_safe);
                if is_safe {
                    history.push((as_of, oldest));
                }
                let next = as_of - 2;
                let known = |history: &Vec<(i64, i64)>| history.iter().rev().find(|(from, _)| *from <= next).map(|found| found.1);
                let expected = needs.values().filter_map(known).min().map_or(next, |least| least.min(next));
                prop_assert_eq!(horizon.oldest(0, next), Some(expected));
            }
        }
    }
}
