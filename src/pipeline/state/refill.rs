//! A partition that is read again so that its entities are as they were: what was kept of them, and what each record before
//! the place where the group goes on is good for.

use std::collections::HashMap;

use super::snapshot::Snapshot;

/// What was kept of one entity.
#[derive(Debug)]
struct Known {
    as_of: i64,
    /// `None` where it was evicted.
    snapshot: Option<Box<Snapshot>>,
}

/// An entity whose snapshot the reading has come up to.
#[derive(Debug)]
pub struct Restored {
    /// The entity.
    pub entity: Box<str>,
    /// It holds the records before this offset.
    pub as_of: i64,
    /// What was kept.
    pub snapshot: Box<Snapshot>,
}

/// What a record is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its entity's snapshot holds it, and its row stands in no window.
    Skip,
    /// Its row stands in its entity's window; all else the snapshot holds.
    Fill,
    /// It came after the snapshot, or there is none: it is judged as it was.
    Judge,
}

/// A partition that is read again.
#[derive(Debug)]
pub struct Refill {
    /// Where reading begins.
    pub from: i64,
    /// Where the group goes on.
    pub until: i64,
    is_loading: bool,
    kept: HashMap<Box<str>, Known>,
    /// Entities by the offsets of their snapshots, the latest first.
    order: Vec<(i64, Box<str>)>,
    /// Whether the partition's clock goes right: the first snapshot sets it.
    pub has_clock: bool,
    /// Snapshots that could not be read.
    pub unread: usize,
    /// Entities whose windows begin before `from`, so that they fill anew.
    pub cut: usize,
    /// Records that were read again.
    pub records: u64,
}

impl Refill {
    /// Reading begins at `from`; the group goes on at `until`.
    pub fn new(from: i64, until: i64) -> Self {
        Self {
            from,
            until,
            is_loading: true,
            kept: HashMap::new(),
            order: Vec::new(),
            has_clock: false,
            unread: 0,
            cut: 0,
            records: 0,
        }
    }

    /// Whether not all that was kept has been read.
    pub fn is_loading(&self) -> bool {
        self.is_loading
    }

    /// Entities that wait for the reading to come up to their snapshots.
    pub fn entities(&self) -> usize {
        self.order.len()
    }

    /// Takes a snapshot that was kept. One that was taken after the place where the group goes on is of no use.
    pub fn read(&mut self, entity: &str, as_of: i64, body: Option<&[u8]>) {
        if as_of > self.until || self.kept.get(entity).is_some_and(|known| known.as_of > as_of) {
            return;
        }
        let snapshot = match body.map(Snapshot::read) {
            None => None,
            Some(Ok(snapshot)) => Some(Box::new(snapshot)),
            Some(Err(error)) => {
                if self.unread == 0 {
                    tracing::warn!(entity, "a snapshot can't be used, so its entity begins anew: {error}");
                }
                self.unread += 1;
                return;
            }
        };
        self.kept.insert(entity.into(), Known { as_of, snapshot });
    }

    /// All that was kept has been read.
    pub fn loaded(&mut self) {
        self.is_loading = false;
        self.order = self.kept.iter().map(|(entity, known)| (known.as_of, entity.clone())).collect();
        self.order.sort_unstable_by(|one, other| other.cmp(one));
        let is_cut = |one: &Snapshot| one.rows.is_none() && one.oldest < self.from;
        let begins_before = |known: &&Known| known.snapshot.as_deref().is_some_and(is_cut);
        self.cut = self.kept.values().filter(begins_before).count();
    }

    /// The next entity whose snapshot holds all records of the partition before this offset; to be asked until there is none,
    /// before the record at the offset is looked at.
    pub fn restored(&mut self, offset: i64) -> Option<Restored> {
        loop {
            let (_, entity) = self.order.pop_if(|(as_of, _)| *as_of <= offset)?;
            let Some(Known { as_of, snapshot }) = self.kept.remove(&entity) else { continue };
            if let Some(snapshot) = snapshot {
                return Some(Restored { entity, as_of, snapshot });
            }
        }
    }

    /// What the record of the entity at this offset is good for.
    pub fn stage(&self, entity: &str, offset: i64) -> Stage {
        match self.kept.get(entity) {
            None => Stage::Judge,
            Some(Known { snapshot: Some(snapshot), .. }) if snapshot.rows.is_none() && offset >= snapshot.oldest => {
                Stage::Fill
            }
            Some(_) => Stage::Skip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::snapshot::tests::snapshot, *};

    fn refill(kept: &[(&str, i64, Option<i64>)]) -> Refill {
        let mut refill = Refill::new(10, 100);
        for (entity, as_of, oldest) in kept {
            refill.read(entity, *as_of, oldest.map(|oldest| snapshot(oldest).to_bytes()).as_deref());
        }
        refill.loaded();
        refill
    }

    fn restored(refill: &mut Refill, offset: i64) -> Vec<(Box<str>, i64)> {
        std::iter::from_fn(|| refill.restored(offset)).map(|one| (one.entity, one.as_of)).collect()
    }

    #[test]
    fn a_record_fills_its_window_up_to_the_snapshot_and_is_judged_after_it() {
        let mut refill = refill(&[("a", 50, Some(20))]);
        let mut stages = Vec::new();
        for offset in [19, 20, 49, 50, 51] {
            let came = restored(&mut refill, offset).len();
            stages.push((offset, came, refill.stage("a", offset)));
        }
        let expected = [(19, 0, Stage::Skip), (20, 0, Stage::Fill), (49, 0, Stage::Fill)];
        assert_eq!(stages[..3], expected);
        assert_eq!(stages[3..], [(50, 1, Stage::Judge), (51, 0, Stage::Judge)]);
        assert_eq!(refill.stage("never kept", 10), Stage::Judge);
    }

    #[test]
    fn the_newest_snapshot_counts_that_was_taken_before_the_place_where_the_group_goes_on() {
        let mut refill = refill(&[("a", 50, Some(20)), ("b", 99, Some(90)), ("a", 60, Some(30)), ("a", 101, Some(95))]);
        assert_eq!(restored(&mut refill, 100), [("a".into(), 60), ("b".into(), 99)]);
        assert_eq!(restored(&mut refill, 1000), []);
    }

    #[test]
    fn of_an_entity_that_was_evicted_only_what_came_later_counts() {
        let mut refill = refill(&[("a", 40, Some(20)), ("a", 50, None)]);
        assert_eq!(refill.stage("a", 45), Stage::Skip);
        assert_eq!(restored(&mut refill, 50), []);
        assert_eq!(refill.stage("a", 50), Stage::Judge);
    }

    #[test]
    fn what_reaches_back_further_than_reading_does_is_counted_and_so_is_what_can_not_be_read() {
        let mut refill = refill(&[("a", 50, Some(9)), ("b", 50, Some(10))]);
        assert_eq!(refill.cut, 1);
        refill.read("c", 60, Some(b"torn"));
        assert_eq!(refill.unread, 1);
    }
}
