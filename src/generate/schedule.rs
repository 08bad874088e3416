//! When which anomaly begins.

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Generator, Kind, Plan};

/// What will happen to an entity.
#[derive(Debug, Clone)]
pub(super) struct Incident {
    pub(super) kind: Kind,
    /// Indices of the features that it changes.
    pub(super) features: Vec<usize>,
    /// Records of the entity that it lasts.
    pub(super) records: u64,
    /// How far it moves a feature, with its sign.
    pub(super) strength: f64,
}

/// Draws anomalies one after the other: each kind once before any comes again.
pub(super) struct Schedule {
    random: Xoshiro256PlusPlus,
    every_us: f64,
    interval_us: i64,
    features: usize,
    kinds: Vec<Kind>,
    /// Kinds that are still to come in this round.
    round: Vec<Kind>,
    /// Event time from which on the next one begins, and whom it befalls.
    next: Option<(i64, usize)>,
    /// Per entity, the event time from which on it may be befallen again.
    rested: Vec<i64>,
}

/// Records that an entity is normal at least between two anomalies.
const REST: i64 = 60;

impl Schedule {
    pub(super) fn new(plan: &Plan) -> Self {
        let entities = plan.entities.max(1);
        let mut schedule = Self {
            random: Xoshiro256PlusPlus::seed_from_u64(plan.seed ^ 0x616e_6f6d_616c_7931),
            every_us: plan.anomaly_every.as_micros() as f64,
            interval_us: plan.interval.as_micros() as i64,
            features: Generator::features(plan.family).len(),
            kinds: plan.kinds.clone(),
            round: Vec::new(),
            next: None,
            rested: vec![i64::MIN; entities],
        };
        let interval = plan.interval.as_micros() as i64;
        let quiet = (plan.quiet_start / entities as u64) as i64;
        schedule.draw_next(plan.start_us.saturating_add(quiet.saturating_mul(interval)));
        schedule
    }

    /// The anomaly that begins now at this entity, if one does.
    pub(super) fn begins(&mut self, time_us: i64, entity: usize) -> Option<Incident> {
        let (due, whom) = self.next?;
        if entity != whom || time_us < due || time_us < self.rested[entity] {
            return None;
        }
        if self.round.is_empty() {
            self.round.clone_from(&self.kinds);
            self.round.shuffle(&mut self.random);
        }
        let kind = self.round.pop()?;
        let random = &mut self.random;
        let sign = if random.r#gen::<bool>() { 1.0 } else { -1.0 };
        let incident = Incident {
            kind,
            features: vec![random.gen_range(0..self.features)],
            records: random.gen_range(kind.records()),
            strength: sign * random.gen_range(kind.strength()),
        };
        self.draw_next(due.max(time_us));
        Some(incident)
    }

    /// The entity's anomaly ended with the record of this time.
    pub(super) fn ended(&mut self, entity: usize, time_us: i64) {
        self.rested[entity] = time_us.saturating_add(REST * self.interval_us);
    }

    fn draw_next(&mut self, from_us: i64) {
        if self.kinds.is_empty() {
            return;
        }
        let wait = self.every_us * self.random.gen_range(0.5..1.5);
        let whom = self.random.gen_range(0..self.rested.len());
        self.next = Some((from_us.saturating_add(wait as i64), whom));
    }
}
