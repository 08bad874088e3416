//! The sample of a retraining: bounded, recent, fair per entity, and of rows judged normal only.
//!
//! Owned by the thread that judges. There is no lock and no channel, so offering a row never waits; a row that isn't
//! wanted costs a look-up and a comparison.
//!
//! Windows need rows that follow each other, so rows are kept in *chunks* of consecutive rows of an entity. What an
//! entity holds grows until the sample is full; then the entity that holds most gives a chunk away. That is how busy
//! entities end up with equal shares while quiet ones keep all they have. An entity that gives chunks away takes new ones
//! less often, evenly spread in event time, until its chunks span the [horizon](Bounds::horizon_us); from then on its
//! oldest chunk goes. So a fast stream's sample is neither its last seconds only nor its distant past.
//!
//! The same rows in the same order give the same sample.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

mod bounds;
mod copy;
mod held;
mod mask;

pub use bounds::Bounds;
pub use copy::SampleCopy;
use held::{Entity, hash};

use super::sample::SampleRecord;
use crate::{detect::calibrate::Missing, record::RawRecord};

/// Where so many of a row's values are imputed or more, little of the row was ever measured.
const IMPUTED_SHARE: f64 = 0.5;

/// What was found of a row when it was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Normal, and its entity in no incident.
    Normal,
    /// Anomalous.
    Anomalous,
    /// Not anomalous itself, but between anomalies or shortly after one: its entity's incident is open.
    InIncident,
    /// Anomalous, but held back for a reason that says nothing of the row: its entity was not known yet, or too few of its
    /// rows were anomalous.
    Suppressed,
    /// Of hours of maintenance, anomalous or not.
    Maintenance,
}

/// A judged row.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// The record as it came.
    pub raw: RawRecord<'a>,
    /// A small number that the entity has at the moment; it may become another entity's later.
    pub slot: u32,
    /// The entity's name.
    pub entity: &'a Arc<str>,
    /// Event time, microseconds since the epoch.
    pub time_us: i64,
    /// The verdict.
    pub standing: Standing,
    /// Which of the row's values were imputed.
    pub imputed: &'a [bool],
}

/// Why a row is kept out of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptOut {
    /// It was judged anomalous.
    Anomalous,
    /// Its entity's incident was open.
    Incident,
    /// Half of its values or more were imputed.
    Imputed,
    /// It was judged anomalous, and no alarm followed because its entity was not known yet or too few of its rows were.
    Suppressed,
    /// Its entity was in maintenance.
    Maintenance,
}

impl KeptOut {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Anomalous, Self::Incident, Self::Imputed, Self::Suppressed, Self::Maintenance];

    /// The reason in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anomalous => "anomalous",
            Self::Incident => "incident",
            Self::Imputed => "imputed",
            Self::Suppressed => "suppressed",
            Self::Maintenance => "maintenance",
        }
    }
}

/// What became of an offered row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is in the sample.
    Kept,
    /// It is normal, but the sample has enough of its entity's rows from about its time.
    NotNeeded,
    /// It must not be learned from.
    Out(KeptOut),
}

/// How much the sample holds, and how much was kept out since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SampleCounts {
    /// Rows held.
    pub rows: usize,
    /// Bytes of keys and payloads held.
    pub bytes: usize,
    /// Entities with a place in the sample.
    pub entities: usize,
    /// Rows kept out, in the order of [`KeptOut::ALL`].
    pub kept_out: [u64; KeptOut::ALL.len()],
}

/// A sample that goes with the stream.
#[derive(Debug)]
pub struct RecentSample {
    bounds: Bounds,
    entities: Vec<Entity>,
    by_name: HashMap<Arc<str>, u32>,
    /// Index of the entity that had a slot last, [`NONE`] before.
    by_slot: Vec<u32>,
    rows: usize,
    bytes: usize,
    chunk_rows: usize,
    /// Largest hash among the entities.
    worst: u64,
    /// No entity's last row is older than this, microseconds.
    quietest_us: i64,
    kept_out: [u64; KeptOut::ALL.len()],
    /// Rows judged of entities with a place, those of them that were anomalous, and the incidents that these began.
    judged: (u64, u64, u64),
}

const NONE: u32 = u32::MAX;

impl RecentSample {
    /// An empty sample.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            entities: Vec::new(),
            by_name: HashMap::new(),
            by_slot: Vec::new(),
            rows: 0,
            bytes: 0,
            chunk_rows: bounds.chunk_rows(1),
            worst: 0,
            quietest_us: i64::MAX,
            kept_out: [0; KeptOut::ALL.len()],
            judged: (0, 0, 0),
        }
    }

    /// Offers the next row of an entity, in the order in which they are judged.
    pub fn offer(&mut self, row: &Offered<'_>) -> Taken {
        let known = self.find(row.slot, row.entity);
        if let Some(reason) = reason(row) {
            self.kept_out[reason as usize] += 1;
            if let Some(at) = known {
                self.note(at, row.standing);
                self.end_run(at);
            }
            return Taken::Out(reason);
        }
        let Some(at) = known.or_else(|| self.admit(row)) else { return Taken::NotNeeded };
        let spare = self.rows < self.bounds.rows / 4 * 3 && self.bytes < self.bounds.bytes / 4 * 3;
        self.judged.0 += 1;
        let entity = &mut self.entities[at];
        entity.note(false);
        entity.last_us = row.time_us;
        self.quietest_us = self.quietest_us.min(row.time_us);
        if !entity.open && !entity.is_due() {
            entity.unbroken = false;
            return Taken::NotNeeded;
        }
        let Some(record) = SampleRecord::copy(&row.raw) else { return Taken::NotNeeded };
        if !entity.open {
            if spare {
                entity.stride_us /= 2;
            }
            entity.begin(self.chunk_rows);
        }
        let bytes = entity.push(record, self.chunk_rows);
        (self.rows, self.bytes) = (self.rows + 1, self.bytes + bytes);
        while self.rows > self.bounds.rows || self.bytes > self.bounds.bytes {
            self.give_way(row.time_us);
        }
        Taken::Kept
    }

    /// Notes a row that is kept out. What happens in maintenance says nothing of how often normal rows stray.
    fn note(&mut self, at: usize, standing: Standing) {
        if standing == Standing::Maintenance {
            return;
        }
        let incident = self.entities[at].note(standing != Standing::Normal);
        let anomalous = matches!(standing, Standing::Anomalous | Standing::Suppressed);
        let (rows, anomalies, incidents) = self.judged;
        self.judged = (rows + 1, anomalies + u64::from(anomalous), incidents + u64::from(incident));
    }

    /// The entity's next row doesn't follow the last one: rows in between were not judged.
    pub fn interrupt(&mut self, slot: u32, entity: &Arc<str>) {
        if let Some(at) = self.find(slot, entity) {
            self.end_run(at);
        }
    }

    /// Forgets the records of partitions that are no longer ours: whoever has them now samples them too.
    pub fn forget(&mut self, partitions: &[i32]) {
        for entity in &mut self.entities {
            let mut kept = VecDeque::with_capacity(entity.chunks.len());
            let mut before_kept = true;
            for mut chunk in std::mem::take(&mut entity.chunks) {
                let gone = chunk.rows.iter().any(|(_, record)| partitions.contains(&record.position.partition));
                if gone {
                    entity.rows -= chunk.rows.len();
                    entity.bytes -= chunk.bytes;
                } else {
                    chunk.follows &= before_kept;
                    kept.push_back(chunk);
                }
                before_kept = !gone;
            }
            entity.chunks = kept;
            if !before_kept {
                (entity.open, entity.unbroken) = (false, false);
            }
        }
        for at in (0..self.entities.len()).rev().filter(|at| self.entities[*at].chunks.is_empty()).collect::<Vec<_>>() {
            self.remove(at);
        }
        self.rows = self.entities.iter().map(|entity| entity.rows).sum();
        self.bytes = self.entities.iter().map(|entity| entity.bytes).sum();
    }

    /// A copy for a training, which shares its bytes with the sample. Putting it in order is left to whoever trains.
    pub fn copy(&self) -> SampleCopy {
        let chunks = self.entities.iter().flat_map(|entity| &entity.chunks);
        SampleCopy::new(chunks.map(|chunk| (chunk.follows, Arc::clone(&chunk.rows))).collect())
    }

    /// What the models in use kept out of it, for the calibration of the next one.
    pub fn missing(&self) -> Missing {
        let (rows, anomalies, incidents) = self.judged;
        let share = |count: u64| count as f64 / rows.max(1) as f64;
        Missing { rows: share(anomalies), incidents: share(incidents) }
    }

    /// Whether its bytes are used up, so that more rows can't come, only others.
    pub fn is_out_of_room(&self) -> bool {
        self.bytes >= self.bounds.bytes / 4 * 3
    }

    /// How much there is.
    pub fn counts(&self) -> SampleCounts {
        SampleCounts { rows: self.rows, bytes: self.bytes, entities: self.entities.len(), kept_out: self.kept_out }
    }

    fn find(&mut self, slot: u32, name: &Arc<str>) -> Option<usize> {
        let slot = slot as usize;
        if let Some(entity) = self.by_slot.get(slot).and_then(|at| self.entities.get(*at as usize))
            && (Arc::ptr_eq(&entity.name, name) || entity.name == *name)
        {
            return Some(self.by_slot[slot] as usize);
        }
        // Most entities of a full sample that have no place are told by their hash alone.
        if self.is_full() && hash(name) > self.worst {
            return None;
        }
        let at = *self.by_name.get(name)?;
        self.set_slot(slot, at);
        Some(at as usize)
    }

    fn set_slot(&mut self, slot: usize, at: u32) {
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, NONE);
        }
        self.by_slot[slot] = at;
    }

    fn is_full(&self) -> bool {
        self.entities.len() >= self.bounds.entities()
    }

    /// Gives a new entity a place: a free one, that of an entity that is gone, or that of the one with the largest hash.
    /// Places by hash are a fair draw, whenever an entity comes and however often its rows do.
    fn admit(&mut self, row: &Offered<'_>) -> Option<usize> {
        let hash = hash(row.entity);
        if self.is_full() {
            let gone = self.gone(row.time_us);
            let at = gone.or_else(|| (hash < self.worst).then(|| self.of_hash(self.worst)))?;
            self.remove(at);
        }
        let at = self.entities.len();
        self.entities.push(Entity::new(Arc::clone(row.entity), hash, row.time_us));
        self.by_name.insert(Arc::clone(row.entity), at as u32);
        self.set_slot(row.slot as usize, at as u32);
        self.quietest_us = self.quietest_us.min(row.time_us);
        self.worst = self.worst.max(hash);
        self.chunk_rows = self.bounds.chunk_rows(self.entities.len());
        Some(at)
    }

    /// The entity that has been without a row for longest, if that is longer than the horizon.
    fn gone(&mut self, now_us: i64) -> Option<usize> {
        let before = now_us.saturating_sub(self.bounds.horizon_us);
        if self.quietest_us >= before {
            return None;
        }
        let (at, last_us) =
            self.entities.iter().map(|entity| entity.last_us).enumerate().min_by_key(|(_, last)| *last)?;
        self.quietest_us = last_us;
        (last_us < before).then_some(at)
    }

    fn of_hash(&self, hash: u64) -> usize {
        self.entities.iter().position(|entity| entity.hash == hash).expect("the worst hash is an entity's")
    }

    fn remove(&mut self, at: usize) {
        let entity = self.entities.swap_remove(at);
        self.by_name.remove(&entity.name);
        if let Some(moved) = self.entities.get(at) {
            self.by_name.insert(Arc::clone(&moved.name), at as u32);
        }
        (self.rows, self.bytes) = (self.rows - entity.rows, self.bytes - entity.bytes);
        self.worst = self.entities.iter().map(|entity| entity.hash).max().unwrap_or(0);
        self.chunk_rows = self.bounds.chunk_rows(self.entities.len());
    }

    /// Ends the run of the entity's rows; what is too short for a window is dropped.
    fn end_run(&mut self, at: usize) {
        let window = self.bounds.window;
        let entity = &mut self.entities[at];
        entity.unbroken = false;
        if !std::mem::take(&mut entity.open) {
            return;
        }
        let last = entity.chunks.len() - 1;
        if !entity.chunks[last].follows && entity.chunks[last].rows.len() < window {
            let dropped = entity.drop_chunk(last);
            self.give_back(dropped);
        }
    }

    /// Takes a chunk from an entity that is gone, or else from the one that holds most.
    fn give_way(&mut self, now_us: i64) {
        let by_rows = self.rows > self.bounds.rows;
        let largest = |entity: &Entity| if by_rows { entity.rows } else { entity.bytes };
        let at = self.gone(now_us).filter(|at| !self.entities[*at].chunks.is_empty()).unwrap_or_else(|| {
            let sizes = self.entities.iter().map(largest).enumerate();
            sizes.max_by_key(|(at, size)| (*size, std::cmp::Reverse(*at))).map_or(0, |(at, _)| at)
        });
        let dropped = self.entities[at].give_way(self.bounds.horizon_us);
        self.give_back(dropped);
    }

    fn give_back(&mut self, (rows, bytes): (usize, usize)) {
        (self.rows, self.bytes) = (self.rows - rows, self.bytes - bytes);
    }
}

fn reason(row: &Offered<'_>) -> Option<KeptOut> {
    match row.standing {
        Standing::Anomalous => Some(KeptOut::Anomalous),
        Standing::InIncident => Some(KeptOut::Incident),
        Standing::Suppressed => Some(KeptOut::Suppressed),
        Standing::Maintenance => Some(KeptOut::Maintenance),
        Standing::Normal => {
            let bound = IMPUTED_SHARE * row.imputed.len() as f64;
            (!row.imputed.is_empty() && f64::from(marked(row.imputed)) >= bound).then_some(KeptOut::Imputed)
        }
    }
}

/// How many marks are set, eight at a time: it is asked of every row.
fn marked(marks: &[bool]) -> u32 {
    let (eights, rest) = marks.as_chunks::<8>();
    let eights = eights.iter().map(|eight| u64::from_ne_bytes(eight.map(u8::from)).count_ones());
    eights.sum::<u32>() + rest.iter().map(|mark| u32::from(*mark)).sum::<u32>()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::record::Position;

    const MINUTE: i64 = 60_000_000;
    const DAY: i64 = 24 * 60 * MINUTE;

    /// A stream of rows, each numbered within its entity by its offset; an entity's number is its partition.
    struct Stream {
        sample: RecentSample,
        names: Vec<Arc<str>>,
        next: Vec<i64>,
    }

    impl Stream {
        fn new(bounds: Bounds, entities: usize) -> Self {
            let names = (0..entities).map(|entity| format!("machine-{entity}").into()).collect();
            Self { sample: RecentSample::new(bounds), names, next: vec![0; entities] }
        }

        fn offer(&mut self, entity: usize, time_us: i64, standing: Standing) -> Taken {
            let payload = format!("{{\"x\":{}}}", self.next[entity]);
            self.offer_payload(entity, time_us, standing, payload.as_bytes())
        }

        fn offer_payload(&mut self, entity: usize, time_us: i64, standing: Standing, payload: &[u8]) -> Taken {
            let offset = self.next[entity];
            self.next[entity] += 1;
            let position = Position { partition: entity as i32, offset };
            let raw =
                RawRecord { position, timestamp_ms: Some(offset), key: None, payload: Some(payload), headers: None };
            let name = Arc::clone(&self.names[entity]);
            let row =
                Offered { raw, slot: entity as u32, entity: &name, time_us, standing, imputed: &[false, false, false] };
            self.sample.offer(&row)
        }

        fn normal(&mut self, entity: usize, time_us: i64) -> Taken {
            self.offer(entity, time_us, Standing::Normal)
        }

        /// A normal row a minute of each of these entities, `shift_us` late.
        fn fill(&mut self, entities: std::ops::Range<usize>, minutes: std::ops::Range<i64>, shift_us: i64) {
            for minute in minutes {
                for entity in entities.clone() {
                    self.normal(entity, shift_us + minute * MINUTE);
                }
            }
        }

        /// Offsets held of each entity, in order.
        fn held(&self) -> BTreeMap<i32, Vec<i64>> {
            let mut held: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
            for record in self.sample.copy().in_time_order() {
                held.entry(record.position.partition).or_default().push(record.position.offset);
            }
            held
        }
    }

    fn bounds(rows: usize) -> Bounds {
        Bounds::new(rows, 4)
    }

    /// Rows of one run follow each other, no run is met again after another one of its entity, and counts are true.
    fn assert_sound(sample: &RecentSample) {
        let records = sample.copy().in_time_order();
        let counts = sample.counts();
        assert_eq!(counts.rows, records.len());
        assert_eq!(counts.bytes, records.iter().map(|record| record.payload.len()).sum::<usize>());
        assert!(counts.rows <= sample.bounds.rows && counts.bytes <= sample.bounds.bytes, "{counts:?}");
        assert!(counts.entities <= sample.bounds.entities());
        let mut runs: BTreeMap<u32, Position> = BTreeMap::new();
        for record in &records {
            if let Some(before) = runs.insert(record.run, record.position) {
                assert_eq!(before.partition, record.position.partition, "a run is of one entity");
                assert_eq!(before.offset + 1, record.position.offset, "a run has no gap");
            }
        }
    }

    #[test]
    fn a_busy_entity_does_not_push_the_others_out() {
        let mut stream = Stream::new(bounds(2_000), 10);
        for minute in 0..200 {
            for _ in 0..1000 {
                stream.normal(0, minute * MINUTE);
            }
            (1..10).for_each(|entity| assert_eq!(stream.normal(entity, minute * MINUTE), Taken::Kept));
        }
        let held = stream.held();
        (1..10).for_each(|entity| assert_eq!(held[&entity].len(), 200));
        assert!((136..=200).contains(&held[&0].len()), "{}", held[&0].len());
        assert_sound(&stream.sample);
    }

    #[test]
    fn equally_busy_entities_get_equal_shares_and_late_ones_theirs_too() {
        let mut stream = Stream::new(bounds(4_000), 20);
        for minute in 0..20_000 {
            // Half of the entities come late.
            let there = if minute < 5_000 { 10 } else { 20 };
            (0..there).for_each(|entity| {
                stream.normal(entity, i64::from(minute) * MINUTE);
            });
        }
        for (entity, rows) in stream.held() {
            assert!((100..=264).contains(&rows.len()), "entity {entity} has {} rows", rows.len());
        }
        assert!(stream.sample.counts().rows > 3_800, "{:?}", stream.sample.counts());
        assert_sound(&stream.sample);
    }

    #[test]
    fn a_fast_stream_is_sampled_over_the_horizon_and_no_further_back() {
        let mut stream = Stream::new(bounds(1_000), 1);
        let second = MINUTE / 60;
        let days = 20;
        for at in 0..days * 86_400 / 10 {
            stream.normal(0, at * 10 * second);
        }
        let held = &stream.held()[&0];
        let day = |offset: i64| offset as f64 * 10.0 / 86_400.0;
        let (oldest, newest) = (day(held[0]), day(held[held.len() - 1]));
        assert!((days as f64 - 9.0..=days as f64 - 6.0).contains(&oldest), "{oldest}");
        assert!(newest > days as f64 - 0.6, "{newest}");
        // Every day of the last six has its part.
        for back in 1..6 {
            let (from, to) = (days as f64 - back as f64 - 1.0, days as f64 - back as f64);
            assert!(held.iter().filter(|offset| (from..to).contains(&day(**offset))).count() >= 64, "{back} days back");
        }
        assert!(held.len() > 900);
        assert_sound(&stream.sample);
    }

    #[test]
    fn a_stream_that_fits_is_kept_whole_as_one_run() {
        let mut stream = Stream::new(bounds(1_000), 2);
        (0..400).for_each(|minute| {
            (0..2).for_each(|entity| assert_eq!(stream.normal(entity, minute * MINUTE), Taken::Kept))
        });
        let records = stream.sample.copy().in_time_order();
        assert_eq!(records.len(), 800);
        let runs: std::collections::BTreeSet<u32> = records.iter().map(|record| record.run).collect();
        assert_eq!(runs.len(), 2);
    }

    #[test]
    fn rows_that_are_not_normal_are_kept_out_counted_and_end_the_run() {
        let mut stream = Stream::new(bounds(1_000), 1);
        (0..20).for_each(|minute| assert_eq!(stream.normal(0, minute * MINUTE), Taken::Kept));
        assert_eq!(stream.offer(0, 20 * MINUTE, Standing::Anomalous), Taken::Out(KeptOut::Anomalous));
        (21..23).for_each(|minute| {
            assert_eq!(stream.offer(0, minute * MINUTE, Standing::InIncident), Taken::Out(KeptOut::Incident));
        });
        // Too short for a window.
        (23..26).for_each(|minute| assert_eq!(stream.normal(0, minute * MINUTE), Taken::Kept));
        let position = Position { partition: 0, offset: 26 };
        let raw = RawRecord { position, timestamp_ms: None, key: None, payload: Some(b"{}"), headers: None };
        let name = Arc::clone(&stream.names[0]);
        let mut row = Offered {
            raw,
            slot: 0,
            entity: &name,
            time_us: 26 * MINUTE,
            standing: Standing::Normal,
            imputed: &[true, false],
        };
        assert_eq!(stream.sample.offer(&row), Taken::Out(KeptOut::Imputed));
        row.imputed = &[true, false, false];
        assert_eq!(stream.sample.offer(&row), Taken::Kept);
        assert_eq!(stream.sample.counts().kept_out, [1, 2, 1, 0, 0]);
        assert_eq!(stream.held()[&0], (0..20).chain([26]).collect::<Vec<_>>());
        let runs: Vec<u32> = stream.sample.copy().in_time_order().iter().map(|record| record.run).collect();
        assert!(runs[..20].iter().all(|run| *run == runs[0]) && runs[20] != runs[0]);
    }

    #[test]
    fn suppressed_rows_are_missing_from_the_sample_like_anomalies_and_those_of_maintenance_were_never_looked_for() {
        let mut stream = Stream::new(bounds(1_000), 1);
        (0..8).for_each(|minute| assert_eq!(stream.normal(0, minute * MINUTE), Taken::Kept));
        assert_eq!(stream.offer(0, 8 * MINUTE, Standing::Suppressed), Taken::Out(KeptOut::Suppressed));
        stream.normal(0, 9 * MINUTE);
        let before = stream.sample.missing();
        assert_eq!((before.rows, before.incidents), (0.1, 0.1));
        (10..20).for_each(|minute| {
            assert_eq!(stream.offer(0, minute * MINUTE, Standing::Maintenance), Taken::Out(KeptOut::Maintenance));
        });
        assert_eq!(stream.sample.missing(), before);
        assert_eq!(stream.sample.counts().kept_out, [0, 0, 0, 1, 10]);
    }

    #[test]
    fn rows_that_are_masked_later_leave_a_gap_and_nothing_too_short_for_a_window() {
        let mut stream = Stream::new(bounds(1_000), 2);
        stream.fill(0..2, 0..40, 0);
        stream.sample.mask("machine-0", 0, &(10..=19));
        stream.sample.mask("machine-0", 1, &(0..=39));
        stream.sample.mask("machine-7", 0, &(0..=39));
        let whole: Vec<i64> = (0..10).chain(20..40).collect();
        assert_eq!((&stream.held()[&0], stream.held()[&1].len()), (&whole, 40));
        assert_sound(&stream.sample);
        // Of rows 20 to 25 three are left on one side, fewer than a window of four holds.
        stream.sample.mask("machine-0", 0, &(23..=25));
        assert_eq!(stream.held()[&0], (0..10).chain(26..40).collect::<Vec<_>>());
        stream.fill(0..1, 40..50, 0);
        assert_sound(&stream.sample);
        stream.sample.mask("machine-0", 0, &(0..=60));
        assert!(!stream.held().contains_key(&0));
        assert_eq!(stream.sample.counts().entities, 1);
        assert_sound(&stream.sample);
    }

    #[test]
    fn marks_are_counted_wherever_they_stand() {
        let marks: Vec<bool> = (0..38).map(|at| at % 3 == 0).collect();
        (0..=38)
            .for_each(|len| assert_eq!(marked(&marks[..len]) as usize, marks[..len].iter().filter(|m| **m).count()));
    }

    #[test]
    fn rows_that_were_not_judged_in_between_end_the_run() {
        let mut stream = Stream::new(bounds(1_000), 1);
        stream.fill(0..1, 0..10, 0);
        let name = Arc::clone(&stream.names[0]);
        stream.sample.interrupt(0, &name);
        stream.normal(0, 20 * MINUTE);
        let records = stream.sample.copy().in_time_order();
        assert_ne!(records[9].run, records[10].run);
    }

    #[test]
    fn an_entitys_number_may_become_another_ones() {
        let mut stream = Stream::new(bounds(1_000), 2);
        for (minute, entity) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 0)] {
            let position = Position { partition: entity, offset: minute };
            let raw = RawRecord { position, timestamp_ms: None, key: None, payload: Some(b"{}"), headers: None };
            // A new allocation of the name each time, as after a swap.
            let name: Arc<str> = stream.names[entity as usize].to_string().into();
            let standing = Standing::Normal;
            let row = Offered { raw, slot: 0, entity: &name, time_us: minute * MINUTE, standing, imputed: &[false] };
            assert_eq!(stream.sample.offer(&row), Taken::Kept);
        }
        assert_eq!(stream.held(), BTreeMap::from([(0, vec![0, 1, 4]), (1, vec![2, 3])]));
    }

    #[test]
    fn records_of_a_revoked_partition_are_forgotten() {
        let mut stream = Stream::new(bounds(1_000), 3);
        stream.fill(0..3, 0..100, 0);
        stream.sample.forget(&[0, 2]);
        assert_eq!(stream.held(), BTreeMap::from([(1, (0..100).collect::<Vec<_>>())]));
        assert_eq!(stream.sample.counts().entities, 1);
        assert_sound(&stream.sample);
        stream.fill(0..3, 100..120, 0);
        assert_eq!(stream.held()[&2].len(), 20);
    }

    #[test]
    fn of_more_entities_than_have_room_a_fair_draw_is_kept_and_those_that_are_gone_make_room() {
        let bounds = bounds(1_600);
        let room = bounds.entities();
        assert_eq!(room, 50);
        let mut stream = Stream::new(bounds, 400);
        stream.fill(0..200, 0..400, 0);
        let held = stream.held();
        assert_eq!(held.len(), room);
        assert!(held.values().all(|rows| rows.len() >= 16), "{:?}", held.values().map(Vec::len).collect::<Vec<_>>());
        // The draw doesn't hang on who came first.
        let early = held.keys().filter(|entity| **entity < 100).count();
        assert!((13..=37).contains(&early), "{early}");
        // The first ones are gone for good, and others come.
        stream.fill(200..400, 0..400, 10 * DAY);
        assert!(stream.held().keys().all(|entity| *entity >= 200));
        assert_sound(&stream.sample);
    }

    #[test]
    fn records_from_the_far_future_neither_shut_their_entity_out_nor_empty_the_sample() {
        let mut stream = Stream::new(bounds(640), 1);
        for minute in 0..30_000 {
            let time = if minute % 1_000 == 0 { 100 * 365 * DAY } else { minute * MINUTE };
            stream.normal(0, time);
        }
        let held = &stream.held()[&0];
        assert!(held.len() > 500 && *held.iter().max().unwrap() > 29_000, "{} rows", held.len());
        assert_sound(&stream.sample);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut stream = Stream::new(Bounds { bytes: 10_000, ..bounds(1_000) }, 2);
        for minute in 0..500 {
            stream.offer_payload(0, minute * MINUTE, Standing::Normal, &[b'x'; 300]);
            stream.offer_payload(1, minute * MINUTE, Standing::Normal, &[b'x'; 10]);
            assert!(stream.sample.counts().bytes <= 10_000);
        }
        // The one with the small records keeps them.
        assert_eq!(stream.held()[&1].len(), 500);
        stream.offer_payload(0, 500 * MINUTE, Standing::Normal, &[b'x'; 20_000]);
        assert_sound(&stream.sample);
    }

    /// How long one offer takes; run with `--ignored --nocapture` on an optimised build.
    #[test]
    #[ignore = "a measurement"]
    fn the_cost_of_an_offer() {
        let names: Vec<Arc<str>> = (0..100_000).map(|entity| format!("machine-{entity}").into()).collect();
        let payload = vec![b'7'; 746];
        let offer = |sample: &mut RecentSample, slot: usize, offset: i64, time_us: i64| {
            let position = Position { partition: 0, offset };
            let raw = RawRecord { position, timestamp_ms: None, key: None, payload: Some(&payload), headers: None };
            let (entity, standing) = (&names[slot], Standing::Normal);
            let row = Offered { raw, slot: slot as u32, entity, time_us, standing, imputed: &[false; 38] };
            sample.offer(&row)
        };
        for entities in [1_usize, 100, 100_000] {
            let mut sample = RecentSample::new(bounds(20_000));
            let rounds = (2_000_000 / entities) as i64;
            (0..rounds)
                .for_each(|at| (0..entities).for_each(|slot| drop_it(offer(&mut sample, slot, at, at * MINUTE))));
            // Time stands still, so no chunk is due but those that were open.
            let again = |sample: &mut RecentSample| {
                let began = std::time::Instant::now();
                let all = (0..rounds).flat_map(|_| 0..entities);
                let kept = all.filter(|slot| offer(sample, *slot, 0, rounds * MINUTE) == Taken::Kept).count();
                (began.elapsed().as_nanos() as f64 / (rounds as usize * entities) as f64, kept)
            };
            again(&mut sample);
            let (each, kept) = again(&mut sample);
            println!("{entities} entities: {each:.1} ns a row that is not wanted ({kept} were)");
            let began = std::time::Instant::now();
            println!("  snapshot of {} rows: {:?}", sample.copy().in_time_order().len(), began.elapsed());
        }
        let mut sample = RecentSample::new(bounds(200_000));
        let began = std::time::Instant::now();
        (0..200_000).for_each(|at| drop_it(offer(&mut sample, (at % 100) as usize, at, at * MINUTE)));
        println!("{:.0} ns a row that is kept, of 746 bytes", began.elapsed().as_nanos() as f64 / 200_000.0);
    }

    fn drop_it(_: Taken) {}

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn bounds_hold_runs_are_whole_and_the_same_rows_give_the_same_sample(
            rows in 20_usize..300,
            window in 1_usize..6,
            steps in prop::collection::vec((0_usize..6, 0_i64..5, 0_u32..40, 1_usize..60), 1..400),
        ) {
            let bounds = Bounds { bytes: 4_000, horizon_us: 500 * MINUTE, ..Bounds::new(rows, window) };
            let run = || {
                let mut stream = Stream::new(bounds, 6);
                let mut time = 0;
                for (entity, minutes, verdict, repeat) in &steps {
                    for _ in 0..*repeat {
                        time += minutes * MINUTE;
                        let standing = match verdict {
                            0 => Standing::Anomalous,
                            1 => Standing::InIncident,
                            _ => Standing::Normal,
                        };
                        stream.offer(*entity, time, standing);
                    }
                    if *verdict == 2 {
                        stream.sample.forget(&[*entity as i32]);
                    }
                    assert_sound(&stream.sample);
                }
                stream.sample.copy().in_time_order()
            };
            let records = run();
            prop_assert_eq!(&records, &run());
            // Event time falls nowhere: the timestamps here are offsets, which rise within an entity.
            let mut last: BTreeMap<i32, i64> = BTreeMap::new();
            for record in &records {
                let before = last.insert(record.position.partition, record.position.offset);
                prop_assert!(before.is_none_or(|before| before < record.position.offset));
            }
        }
    }
}
