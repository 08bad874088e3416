//! How well a model tells each kind of plants.

use std::collections::BTreeMap;

use super::{PlantKind, Scored, Separation};

/// A kind with fewer plants than this says nothing and is left out.
const LEAST: usize = 50;

/// Areas under the ROC curve by kind of plant.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    kinds: BTreeMap<PlantKind, Separation>,
}

impl Figures {
    /// Of pairs in time order.
    pub(super) fn of(scored: &[(PlantKind, Scored)]) -> Self {
        let mut by_kind: BTreeMap<PlantKind, Vec<Scored>> = BTreeMap::new();
        scored.iter().for_each(|(kind, pair)| by_kind.entry(*kind).or_default().push(*pair));
        by_kind.retain(|_, pairs| pairs.len() >= LEAST);
        Self { kinds: by_kind.into_iter().map(|(kind, pairs)| (kind, Separation::of(&pairs))).collect() }
    }

    /// Probability that a planted row scores above a normal one, 0..=1: the mean over kinds, each of which counts the same
    /// however many rows it has.
    pub fn area(&self) -> f64 {
        self.areas().map(|(_, area)| area).sum::<f64>() / self.kinds.len() as f64
    }

    /// The same of each kind.
    pub fn areas(&self) -> impl Iterator<Item = (PlantKind, f64)> {
        self.kinds.iter().map(|(kind, separation)| (*kind, separation.area))
    }

    /// The mean of models that differ in nothing but their seeds, of at least one.
    pub fn mean(all: &[&Self]) -> Self {
        let of = |kind: &PlantKind| all.iter().filter_map(|one| one.kinds.get(kind)).collect::<Vec<_>>();
        let kinds = all.first().into_iter().flat_map(|first| first.kinds.keys());
        Self { kinds: kinds.map(|kind| (*kind, Separation::mean(&of(kind)))).collect() }
    }

    /// Standard error of the difference of the areas on the same plants, as far as rows are chance: that of each kind as
    /// [the gate](super::super::gate) has it. Kinds are planted in other rows, so that their errors hardly hang together.
    pub fn error_of_difference(&self, other: &Self) -> f64 {
        let pairs = self.kinds.iter().filter_map(|(kind, own)| Some((own, other.kinds.get(kind)?)));
        let squares: f64 = pairs.map(|(own, other)| own.error_of_difference(other).powi(2)).sum();
        squares.sqrt() / self.kinds.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(kind: PlantKind, rows: usize, shift: f64) -> Vec<(PlantKind, Scored)> {
        let score = |at: usize| ((at * 37) % rows) as f64 / rows as f64;
        (0..rows).map(|at| (kind, Scored { own: score(at), planted: score(at * 5 + 1) + shift })).collect()
    }

    #[test]
    fn kinds_count_the_same_however_many_rows_they_have_and_few_plants_say_nothing() {
        let both = Figures::of(&[pairs(PlantKind::Shift, 400, 9.0), pairs(PlantKind::Drift, 100, -9.0)].concat());
        assert_eq!(both.areas().collect::<Vec<_>>(), [(PlantKind::Shift, 1.0), (PlantKind::Drift, 0.0)]);
        assert_eq!(both.area(), 0.5);
        let few = Figures::of(&[pairs(PlantKind::Shift, 400, 9.0), pairs(PlantKind::Drift, 49, -9.0)].concat());
        assert_eq!(few.area(), 1.0);
    }

    #[test]
    fn seeds_are_averaged_and_equals_differ_by_nothing() {
        let (low, high) =
            (Figures::of(&pairs(PlantKind::Swap, 200, 0.0)), Figures::of(&pairs(PlantKind::Swap, 200, 0.5)));
        let mean = Figures::mean(&[&low, &high]);
        assert!((mean.area() - (low.area() + high.area()) / 2.0).abs() < 1e-12);
        assert_eq!(low.error_of_difference(&low), 0.0);
        assert!(low.error_of_difference(&high) > 0.0);
    }
}
