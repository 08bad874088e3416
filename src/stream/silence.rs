//! Which entities have fallen silent, in event time.
//!
//! Each partition has a clock that its own records move: the latest event time seen, never the wall clock, so that a replay
//! finds what production found. A step of it counts for at most a few of its usual ones: while a whole partition pauses
//! (a night, an outage before Kafka), or a record comes from a broken clock, nobody is silent. Gaps are learned and judged
//! by that same clock.
//!
//! An entity stands in its partition's queue once, with the time at which it would be silent. Reporting leaves the queue
//! alone; an entity that comes up before its time is put back. So a record costs a few additions, and an entity one
//! look per allowance. What an entity leaves behind when it reports from another partition is taken out when it piles up.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use serde::{Deserialize, Serialize};

use super::rhythm::{Rhythm, SilenceRule};

/// A step of a partition's clock counts for at most so many usual ones.
const MOST_STEPS: f32 = 3.0;
/// And if that is less, for this share of the least silence.
const LEAST_STEP: f32 = 0.5;
/// Records in a row that lie far behind the clock before it is set back to them: it was a broken clock that put it there.
const SET_BACK_AFTER: u32 = 100;
/// Microseconds of a second.
const SECOND: f32 = 1e6;

/// Stale entries that a queue may hold beside twice as many as there are entities.
const SPARE: usize = 1024;

/// No time.
const NEVER: i64 = i64::MIN;

/// What is known of one entity's reporting.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reporting {
    /// The partition's clock when it last reported; [`NEVER`] before it did so there.
    heard_us: i64,
    /// When its entry in the queue comes up; [`NEVER`] without one.
    queued_us: i64,
    /// Event time of its last record, microseconds since the epoch.
    time_us: i64,
    /// Offset of its last record.
    offset: i64,
    rhythm: Rhythm,
    silent: bool,
}

impl Default for Reporting {
    fn default() -> Self {
        Self { heard_us: NEVER, queued_us: NEVER, time_us: 0, offset: 0, rhythm: Rhythm::default(), silent: false }
    }
}

impl Reporting {
    /// Event time, microseconds since the epoch, and offset of the last record.
    pub fn last(&self) -> (i64, i64) {
        (self.time_us, self.offset)
    }

    /// The usual gap between two records in seconds; `None` until enough were seen.
    pub fn interval_seconds(&self) -> Option<f64> {
        self.rhythm.usual().map(f64::from)
    }

    /// The entity reports from another partition from now on, whose clock is another. Its rhythm is still its own.
    pub fn moved(&mut self) {
        (self.heard_us, self.queued_us) = (NEVER, NEVER);
    }
}

/// A record that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its event time, microseconds since the epoch.
    pub time_us: i64,
    /// The entity's place.
    pub place: u32,
}

/// An entity whose time has come, if it has not reported since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The entity's place.
    pub place: u32,
    partition: i32,
    queued_us: i64,
}

/// Where a partition's clock stands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClockState {
    /// The latest event time seen.
    watermark_us: i64,
    /// The sum of its steps as far as they count.
    now_us: i64,
    /// Its usual step.
    steps: Rhythm,
    /// Records in a row that lay far behind.
    behind: u32,
}

#[derive(Debug)]
struct Clock {
    state: ClockState,
    queue: BinaryHeap<Reverse<(i64, u32)>>,
}

/// Watches the partitions.
#[derive(Debug)]
pub struct SilenceWatch {
    rule: SilenceRule,
    clocks: BTreeMap<i32, Clock>,
}

impl SilenceWatch {
    /// Watches nobody yet.
    pub fn new(rule: SilenceRule) -> Self {
        Self { rule, clocks: BTreeMap::new() }
    }

    /// A record came: moves its partition's clock and the entity's reporting. Says whether this ended a silence.
    pub fn heard(&mut self, heard: &Heard, reporting: &mut Reporting) -> bool {
        let rule = self.rule;
        let clock = self.clocks.entry(heard.partition).or_insert_with(|| Clock::new(heard.time_us));
        clock.advance(heard.time_us, &rule);
        if reporting.heard_us != NEVER {
            reporting.rhythm.learn(seconds(clock.state.now_us - reporting.heard_us), &rule);
        }
        reporting.heard_us = clock.state.now_us;
        (reporting.time_us, reporting.offset) = (heard.time_us, heard.offset);
        let was_silent = std::mem::take(&mut reporting.silent);
        if reporting.queued_us == NEVER {
            clock.queue(heard.place, reporting, &rule);
        }
        was_silent
    }

    /// The next entity of the partition whose time has come; to be asked until there is none.
    pub fn due(&mut self, partition: i32) -> Option<Due> {
        let clock = self.clocks.get_mut(&partition)?;
        let Reverse((queued_us, place)) = *clock.queue.peek()?;
        if queued_us > clock.state.now_us {
            return None;
        }
        clock.queue.pop();
        Some(Due { place, partition, queued_us })
    }

    /// Whether the entity in a due one's place is silent from now on; otherwise it is another one, or it has reported since
    /// and is put back.
    pub fn falls_silent(&mut self, due: &Due, reporting: &mut Reporting) -> bool {
        let rule = self.rule;
        let Some(clock) = self.clocks.get_mut(&due.partition) else { return false };
        if reporting.queued_us != due.queued_us {
            return false;
        }
        clock.queue(due.place, reporting, &rule);
        if reporting.queued_us > clock.state.now_us {
            return false;
        }
        reporting.queued_us = NEVER;
        reporting.silent = true;
        true
    }

    /// A record came that says how late it is, and no more: its entity's reporting is known as of a later one.
    pub fn tick(&mut self, partition: i32, time_us: i64) {
        let rule = self.rule;
        self.clocks.get_mut(&partition).into_iter().for_each(|clock| clock.advance(time_us, &rule));
    }

    /// Where the partition's clock stands; `None` before its first record.
    pub fn clock(&self, partition: i32) -> Option<ClockState> {
        self.clocks.get(&partition).map(|clock| clock.state)
    }

    /// Sets the partition's clock to where it stood.
    pub fn set_clock(&mut self, partition: i32, state: ClockState) {
        let set = |clock: &mut Clock| clock.state = state;
        self.clocks.entry(partition).and_modify(set).or_insert_with(|| Clock { state, queue: BinaryHeap::new() });
    }

    /// An entity's reporting is as it was kept: puts it where it stood in the partition's queue.
    pub fn restore(&mut self, partition: i32, place: u32, reporting: &Reporting) {
        let clock = self.clocks.get_mut(&partition);
        clock.filter(|_| reporting.queued_us != NEVER).into_iter().for_each(|clock| {
            clock.queue.push(Reverse((reporting.queued_us, place)));
        });
    }

    /// The latest event time of the partition, microseconds since the epoch; `None` before its first record.
    pub fn watermark_us(&self, partition: i32) -> Option<i64> {
        self.clocks.get(&partition).map(|clock| clock.state.watermark_us)
    }

    /// Whether most that stands in the partition's queue must be stale, given how many entities there are: an entity that
    /// comes and goes between partitions leaves an entry behind each time.
    pub fn is_crowded(&self, partition: i32, entities: usize) -> bool {
        self.clocks.get(&partition).is_some_and(|clock| clock.queue.len() > 2 * entities + SPARE)
    }

    /// Takes stale entries out of the partition's queue. `stands` says whether an entity's reporting is still of this
    /// partition, by its place.
    pub fn tidy<'a>(&mut self, partition: i32, stands: impl Fn(u32) -> Option<&'a Reporting>) {
        if let Some(clock) = self.clocks.get_mut(&partition) {
            let is_live = |queued_us: i64, place: u32| stands(place).is_some_and(|one| one.queued_us == queued_us);
            clock.queue.retain(|Reverse((queued_us, place))| is_live(*queued_us, *place));
            // The same one may have been queued twice for the same time.
            let mut once: Vec<_> = std::mem::take(&mut clock.queue).into_vec();
            once.sort_unstable();
            once.dedup();
            clock.queue = once.into();
        }
    }

    /// Forgets partitions that are no longer ours.
    pub fn forget(&mut self, partitions: &[i32]) {
        self.clocks.retain(|partition, _| !partitions.contains(partition));
    }
}

impl Clock {
    fn new(time_us: i64) -> Self {
        let state = ClockState { watermark_us: time_us, now_us: 0, steps: Rhythm::default(), behind: 0 };
        Self { state, queue: BinaryHeap::new() }
    }

    /// The largest step that counts in full, seconds.
    fn most_step(&self, rule: &SilenceRule) -> f32 {
        (LEAST_STEP * rule.least).max(MOST_STEPS * self.state.steps.usual().unwrap_or_default())
    }

    fn advance(&mut self, time_us: i64, rule: &SilenceRule) {
        let step = seconds(time_us.saturating_sub(self.state.watermark_us));
        let most = self.most_step(rule);
        if step > 0.0 {
            self.state.now_us += (step.min(most) * SECOND) as i64;
            self.state.steps.learn(step, rule);
            self.state.watermark_us = time_us;
        }
        self.state.behind = if -step > most.max(rule.least) { self.state.behind + 1 } else { 0 };
        if self.state.behind >= SET_BACK_AFTER {
            (self.state.watermark_us, self.state.behind) = (time_us, 0);
        }
    }

    /// Puts an entity into the queue, once its rhythm is known and unless its time has come: the caller sees that by what it
    /// would have been queued for.
    fn queue(&mut self, place: u32, reporting: &mut Reporting, rule: &SilenceRule) {
        let Some(allowed) = reporting.rhythm.allowance(rule) else { return };
        reporting.queued_us = reporting.heard_us.saturating_add((allowed * SECOND) as i64);
        if reporting.queued_us > self.state.now_us {
            self.queue.push(Reverse((reporting.queued_us, place)));
        }
    }
}

fn seconds(microseconds: i64) -> f32 {
    (microseconds as f64 / 1e6) as f32
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    const RULE: SilenceRule = SilenceRule { after_intervals: 10.0, least: 300.0 };

    /// Entities of one partition, and who fell silent and spoke again.
    struct Crowd {
        watch: SilenceWatch,
        entities: Vec<Reporting>,
        /// Second of the clock's own time, entity, and whether it fell silent (or reported again).
        told: Vec<(i64, u32, bool)>,
    }

    impl Crowd {
        fn new(entities: usize) -> Self {
            Self { watch: SilenceWatch::new(RULE), entities: vec![Reporting::default(); entities], told: Vec::new() }
        }

        fn report(&mut self, second: f64, place: u32) {
            let heard = Heard { partition: 0, offset: 0, time_us: (second * 1e6) as i64, place };
            if self.watch.heard(&heard, &mut self.entities[place as usize]) {
                self.told.push((second as i64, place, false));
            }
            while let Some(due) = self.watch.due(0) {
                if self.watch.falls_silent(&due, &mut self.entities[due.place as usize]) {
                    self.told.push((second as i64, due.place, true));
                }
            }
        }
    }

    #[test]
    fn an_entity_is_silent_after_ten_of_its_intervals_until_it_reports_again() {
        let mut crowd = Crowd::new(3);
        for minute in 0..200 {
            for place in 0..3 {
                if place != 1 || !(100..150).contains(&minute) {
                    crowd.report(f64::from(minute) * 60.0, place);
                }
            }
        }
        // Heard in minute 99 for the last time; ten minutes are allowed.
        assert_eq!(crowd.told, [(109 * 60, 1, true), (150 * 60, 1, false)]);
    }

    #[test]
    fn nobody_is_silent_while_the_whole_partition_pauses() {
        let mut crowd = Crowd::new(20);
        for day in 0..10 {
            for minute in 0..600 {
                for place in 0..20 {
                    crowd.report(f64::from(day) * 86_400.0 + f64::from(minute) * 60.0 + f64::from(place), place);
                }
            }
        }
        assert_eq!(crowd.told, []);
    }

    #[test]
    fn a_record_from_a_broken_clock_silences_nobody_and_is_recovered_from() {
        let mut crowd = Crowd::new(5);
        for minute in 0..400 {
            for place in 0..5 {
                let broken = minute == 100 && place == 2;
                let stopped = minute >= 300 && place == 4;
                if !stopped {
                    crowd.report(if broken { 1e9 } else { f64::from(minute) * 60.0 }, place);
                }
            }
        }
        assert_eq!(crowd.told.len(), 1, "{:?}", crowd.told);
        assert_eq!((crowd.told[0].1, crowd.told[0].2), (4, true), "found although the clock was far ahead once");
    }

    #[test]
    fn who_sends_an_hour_of_records_at_once_is_not_silent_in_between_once_its_rhythm_is_known() {
        let mut crowd = Crowd::new(2);
        for minute in 0..3000 {
            crowd.report(f64::from(minute) * 60.0, 0);
            if minute % 60 == 59 {
                (0..60).for_each(|back| crowd.report(f64::from(minute - 59 + back) * 60.0, 1));
            }
        }
        assert!(
            crowd.told.iter().all(|told| told.0 < 6 * 3600),
            "its longest gap is learned within hours: {:?}",
            crowd.told
        );
    }

    #[test]
    fn exponential_gaps_raise_less_than_one_false_silence_in_a_hundred_thousand() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut crowd = Crowd::new(200);
        // Means from a minute to an hour and a half, as users differ; whoever is next reports.
        let mean = |place: u32| 60.0 * (1.0 + f64::from(place % 90));
        let mut next = BinaryHeap::new();
        let mut gap = |place: u32| (-mean(place) * random.r#gen::<f64>().max(1e-12).ln() * 1e3) as u64;
        (0..200).for_each(|place| next.push(Reverse((gap(place), place))));
        let records = 1_000_000;
        for _ in 0..records {
            let Reverse((millisecond, place)) = next.pop().expect("everybody has a next record");
            crowd.report(millisecond as f64 / 1e3, place);
            next.push(Reverse((millisecond + gap(place), place)));
        }
        let silences = crowd.told.iter().filter(|told| told.2).count();
        assert!(silences < records / 100_000, "{silences} in {records} gaps");
    }

    #[test]
    fn an_entity_stands_in_the_queue_once_however_often_it_reports() {
        let mut crowd = Crowd::new(100);
        for minute in 0..1000 {
            (0..100).for_each(|place| crowd.report(f64::from(minute) * 60.0, place));
        }
        assert_eq!(crowd.watch.clocks[&0].queue.len(), 100);
        assert!(size_of::<Reporting>() <= 48);
    }

    #[test]
    fn entities_that_change_their_partition_all_the_time_do_not_pile_up_in_the_queues() {
        let mut watch = SilenceWatch::new(RULE);
        let mut entities = vec![(0, Reporting::default()); 10];
        let mut most = 0;
        for step in 0..200_000_u32 {
            // Long enough in each for its rhythm to be known.
            let (place, partition) = (step % 10, (step / 250 % 2) as i32);
            let state = &mut entities[place as usize];
            if state.0 != partition {
                state.1.moved();
                if watch.is_crowded(partition, 10) {
                    let here = |place: u32| Some(&entities[place as usize]).filter(|one| one.0 == partition);
                    watch.tidy(partition, |place| here(place).map(|one| &one.1));
                }
            }
            let state = &mut entities[place as usize];
            state.0 = partition;
            watch.heard(&Heard { partition, offset: 0, time_us: i64::from(step) * 6_000_000, place }, &mut state.1);
            most = most.max(watch.clocks.values().map(|clock| clock.queue.len()).max().unwrap_or(0));
        }
        assert!(most <= 20 + SPARE + 1, "{most}");
        assert!(watch.clocks.values().all(|clock| !clock.queue.is_empty()), "who stands is left in");
    }

    #[test]
    fn a_place_that_another_entity_took_is_not_silent_for_its_predecessor() {
        let mut crowd = Crowd::new(2);
        for minute in 0..40 {
            (0..2).for_each(|place| crowd.report(f64::from(minute) * 60.0, place));
        }
        crowd.entities[1] = Reporting::default();
        for minute in 40..100 {
            crowd.report(f64::from(minute) * 60.0, 0);
        }
        assert_eq!(crowd.told, []);
    }

    #[test]
    fn a_partition_that_was_revoked_is_forgotten() {
        let mut crowd = Crowd::new(1);
        crowd.report(60.0, 0);
        assert_eq!(crowd.watch.watermark_us(0), Some(60_000_000));
        crowd.watch.forget(&[0]);
        assert_eq!((crowd.watch.watermark_us(0), crowd.watch.due(0)), (None, None));
    }
}
