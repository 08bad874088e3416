//! Which offsets are done, so that a partition's committed offset never passes a record that has not ended.

use std::collections::VecDeque;

use crate::record::Position;

/// Keeps, per partition, the records that are under way, and tells up to where all are finished.
///
/// Offsets of a partition are opened ascending, with gaps where compaction or transactions left some, and are done in
/// any order. Partitions stand in a short sorted list; records come in runs of one partition, so the last one used is
/// tried first.
#[derive(Debug, Default)]
pub struct Ledger {
    partitions: Vec<Partition>,
    /// Index of the partition used last.
    last: usize,
    /// Records under way in all partitions.
    open: usize,
}

#[derive(Debug)]
struct Partition {
    number: i32,
    /// Offsets from the oldest open one on, ascending, each with whether it is done; the front never is.
    entries: VecDeque<(i64, bool)>,
    /// The newest offset opened.
    newest: Option<i64>,
    /// One past the last offset of the finished front.
    next: Option<i64>,
    /// Whether `next` moved since [`Ledger::changed`] was asked.
    moved: bool,
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that a record is under way. `false`, and nothing changes, if this offset or a later one of the partition
    /// was opened before.
    pub fn open(&mut self, position: Position) -> bool {
        let partition = self.partition_or_new(position.partition);
        if partition.newest.is_some_and(|newest| position.offset <= newest) {
            return false;
        }
        partition.newest = Some(position.offset);
        partition.entries.push_back((position.offset, false));
        self.open += 1;
        true
    }

    /// Says that a record has ended. `false`, and nothing changes, if it is not under way: unknown, revoked, or done
    /// before.
    pub fn done(&mut self, position: Position) -> bool {
        let Some(index) = self.index(position.partition) else { return false };
        let known = self.partitions[index].done(position.offset);
        self.open -= usize::from(known);
        known
    }

    /// The offset up to which (exclusive) every record of the partition is finished; `None` until the first is.
    pub fn next(&self, partition: i32) -> Option<i64> {
        self.find(partition)?.next
    }

    /// Hands out each partition whose [`Ledger::next`] moved since the last call, with the new one as the offset.
    pub fn changed(&mut self, mut visit: impl FnMut(Position)) {
        for partition in self.partitions.iter_mut().filter(|partition| partition.moved) {
            partition.moved = false;
            if let Some(offset) = partition.next {
                visit(Position { partition: partition.number, offset });
            }
        }
    }

    /// Forgets a partition that is no longer ours and returns how many of its records were under way.
    pub fn revoke(&mut self, partition: i32) -> usize {
        let Ok(index) = self.search(partition) else { return 0 };
        let revoked = self.partitions.remove(index);
        let open = revoked.entries.iter().filter(|(_, done)| !done).count();
        self.open -= open;
        open
    }

    /// Number of records under way, in all partitions.
    pub fn open_count(&self) -> usize {
        self.open
    }

    /// The oldest offset of the partition that is under way.
    pub fn oldest_open(&self, partition: i32) -> Option<i64> {
        self.find(partition)?.entries.front().map(|(offset, _)| *offset)
    }

    fn search(&self, partition: i32) -> Result<usize, usize> {
        self.partitions.binary_search_by_key(&partition, |known| known.number)
    }

    fn find(&self, partition: i32) -> Option<&Partition> {
        self.search(partition).ok().map(|index| &self.partitions[index])
    }

    fn index(&mut self, partition: i32) -> Option<usize> {
        let same = self.partitions.get(self.last).is_some_and(|last| last.number == partition);
        if !same {
            self.last = self.search(partition).ok()?;
        }
        Some(self.last)
    }

    fn partition_or_new(&mut self, number: i32) -> &mut Partition {
        if self.index(number).is_none() {
            let place = self.partitions.partition_point(|known| known.number < number);
            let entries = VecDeque::new();
            self.partitions.insert(place, Partition { number, entries, newest: None, next: None, moved: false });
            self.last = place;
        }
        &mut self.partitions[self.last]
    }
}

impl Partition {
    fn done(&mut self, offset: i64) -> bool {
        match self.entries.front() {
            Some((front, _)) if *front == offset => {
                self.finish_front();
                true
            }
            Some((front, _)) if *front < offset => self.done_behind(offset),
            _ => false,
        }
    }

    /// The front is done: moves past it and past all that were done before it.
    fn finish_front(&mut self) {
        let mut finished = self.entries.pop_front();
        while let Some((offset, _)) = finished {
            self.next = Some(offset + 1);
            finished = self.entries.pop_front_if(|(_, done)| *done);
        }
        self.moved = true;
    }

    fn done_behind(&mut self, offset: i64) -> bool {
        let Ok(place) = self.entries.binary_search_by_key(&offset, |(known, _)| *known) else { return false };
        !std::mem::replace(&mut self.entries[place].1, true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn at(partition: i32, offset: i64) -> Position {
        Position { partition, offset }
    }

    fn changed(ledger: &mut Ledger) -> Vec<(i32, i64)> {
        let mut changed = Vec::new();
        ledger.changed(|position| changed.push((position.partition, position.offset)));
        changed
    }

    #[test]
    fn offset_moves_only_past_finished_records() {
        let mut ledger = Ledger::new();
        for offset in [3, 4, 9] {
            assert!(ledger.open(at(0, offset)));
        }
        assert_eq!((ledger.next(0), ledger.oldest_open(0), ledger.open_count()), (None, Some(3), 3));
        assert!(ledger.done(at(0, 4)));
        assert_eq!((ledger.next(0), changed(&mut ledger)), (None, vec![]));
        assert!(ledger.done(at(0, 3)));
        assert_eq!((ledger.next(0), ledger.oldest_open(0), ledger.open_count()), (Some(5), Some(9), 1));
        assert_eq!(changed(&mut ledger), [(0, 5)]);
        assert_eq!(changed(&mut ledger), []);
        assert!(ledger.done(at(0, 9)));
        assert_eq!((ledger.next(0), ledger.oldest_open(0), ledger.open_count()), (Some(10), None, 0));
    }

    #[test]
    fn what_is_not_under_way_is_not_done() {
        let mut ledger = Ledger::new();
        assert!(!ledger.done(at(0, 1)));
        ledger.open(at(0, 1));
        ledger.open(at(0, 5));
        assert!(ledger.done(at(0, 5)) && !ledger.done(at(0, 5)));
        assert!(!ledger.done(at(0, 3)) && !ledger.done(at(0, 0)) && !ledger.done(at(1, 1)));
        assert!(!ledger.open(at(0, 5)) && !ledger.open(at(0, 2)));
        assert_eq!((ledger.next(0), ledger.open_count()), (None, 1));
    }

    #[test]
    fn a_revoked_partition_starts_anew_when_it_comes_back() {
        let mut ledger = Ledger::new();
        ledger.open(at(1, 7));
        ledger.open(at(1, 8));
        ledger.open(at(2, 7));
        ledger.done(at(1, 8));
        assert_eq!((ledger.revoke(1), ledger.revoke(1)), (1, 0));
        assert!(!ledger.done(at(1, 7)));
        assert_eq!((ledger.next(1), ledger.open_count()), (None, 1));
        assert!(ledger.open(at(1, 2)) && ledger.done(at(1, 2)));
        assert_eq!(ledger.next(1), Some(3));
        assert!(ledger.done(at(2, 7)));
    }

    /// All opened and all done offsets of a partition, and nothing clever.
    #[derive(Default)]
    struct Model {
        opened: BTreeSet<i64>,
        done: BTreeSet<i64>,
    }

    impl Model {
        fn next(&self) -> Option<i64> {
            let open = |offset: &&i64| !self.done.contains(*offset);
            let first_open = self.opened.iter().find(open).copied().unwrap_or(i64::MAX);
            self.opened.range(..first_open).next_back().map(|offset| offset + 1)
        }
    }

    proptest! {
        #[test]
        fn the_ledger_agrees_with_a_naive_model(
            steps in prop::collection::vec((0u8..40, -1i32..3, 0i64..60), 0..300),
        ) {
            let mut ledger = Ledger::new();
            let mut model = BTreeMap::<i32, Model>::new();
            let mut told = BTreeMap::new();
            for (step, partition, number) in steps {
                let state = model.entry(partition).or_default();
                let newest = state.opened.last().copied().unwrap_or(-1);
                match step {
                    0 => {
                        prop_assert_eq!(ledger.revoke(partition), state.opened.len() - state.done.len());
                        *state = Model::default();
                        told.remove(&partition);
                    }
                    1..=20 => {
                        let offset = newest - 1 + number % 5; // repeated, next, or with a gap
                        let fresh = state.opened.last().is_none_or(|last| offset > *last);
                        if fresh {
                            state.opened.insert(offset);
                        }
                        prop_assert_eq!(ledger.open(at(partition, offset)), fresh);
                    }
                    21..=36 => {
                        let offset = newest - number % 12;
                        let under_way = state.opened.contains(&offset) && state.done.insert(offset);
                        prop_assert_eq!(ledger.done(at(partition, offset)), under_way);
                    }
                    _ => {
                        let mut expected = Vec::new();
                        for (partition, state) in &model {
                            if let Some(next) = state.next() && told.insert(*partition, next) != Some(next) {
                                expected.push((*partition, next));
                            }
                        }
                        prop_assert_eq!(changed(&mut ledger), expected);
                    }
                }
                for (partition, state) in &model {
                    prop_assert_eq!(ledger.next(*partition), state.next());
                    let oldest = state.opened.difference(&state.done).next().copied();
                    prop_assert_eq!(ledger.oldest_open(*partition), oldest);
                }
                let open = model.values().map(|state| state.opened.len() - state.done.len()).sum::<usize>();
                prop_assert_eq!(ledger.open_count(), open);
            }
        }
    }
}
