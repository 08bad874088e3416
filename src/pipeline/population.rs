//! How many entities are held, by how well they are known and by what holds of them.

use crate::detect::gates::cold_start::WatchState;

/// Counts of entities, kept up to date with each change, as there may be as many entities as records.
#[derive(Debug, Clone, PartialEq)]
pub struct Population {
    /// In the order of [`WatchState::ALL`].
    states: [usize; WatchState::ALL.len()],
    /// By the number of their rule, see [`Policy::rule`](crate::detect::gates::policies::Policy::rule).
    rules: Vec<usize>,
    /// Which share of all entities is held here; the others are other replicas'.
    share: f64,
}

impl Default for Population {
    /// Nobody; whoever comes is one of all.
    fn default() -> Self {
        Self { states: [0; WatchState::ALL.len()], rules: Vec::new(), share: 1.0 }
    }
}

impl Population {
    /// Entities in this state.
    pub fn of(&self, state: WatchState) -> usize {
        self.states[state as usize]
    }

    /// Entities of which this rule holds, here and as far as can be told elsewhere.
    pub fn in_all(&self, rule: usize) -> f64 {
        self.rules.get(rule).map_or(0.0, |held| *held as f64 / self.share)
    }

    /// From now on this share of all entities is held here, 0..=1. Without a partition nothing is judged, and the last one
    /// stays.
    pub(super) fn set_share(&mut self, share: f64) {
        if share > 0.0 {
            self.share = share;
        }
    }

    /// An entity came of which nothing is known but its rule.
    pub(super) fn came(&mut self, rule: usize) {
        self.states[WatchState::default() as usize] += 1;
        if self.rules.len() <= rule {
            self.rules.resize(rule + 1, 0);
        }
        self.rules[rule] += 1;
    }

    /// An entity in this state is gone.
    pub(super) fn left(&mut self, state: WatchState, rule: usize) {
        self.states[state as usize] -= 1;
        self.rules[rule] -= 1;
    }

    /// An entity may have changed its state.
    pub(super) fn moved(&mut self, from: WatchState, to: WatchState) {
        if from != to {
            self.states[from as usize] -= 1;
            self.states[to as usize] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_with_a_third_of_the_partitions_takes_its_entities_for_a_third_of_all() {
        let mut population = Population::default();
        [0, 2, 2].into_iter().for_each(|rule| population.came(rule));
        assert_eq!([0, 1, 2, 3].map(|rule| population.in_all(rule)), [1.0, 0.0, 2.0, 0.0]);
        population.set_share(0.25);
        population.set_share(0.0);
        assert_eq!(population.in_all(2), 8.0);
        population.left(WatchState::default(), 2);
        assert_eq!((population.in_all(2), population.of(WatchState::default())), (4.0, 2));
    }
}
