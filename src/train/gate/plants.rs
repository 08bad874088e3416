//! Planted changes: what a detector must tell from normal rows, whatever it is made of.
//!
//! The error of a reconstruction says nothing by itself: a wide code rebuilds every row, normal or not. What counts is
//! whether rows that are not right stand out. So each withheld row is scored as it came and with a change planted in it:
//! by turns, some features take the values that another row of the entity has (each value is usual, their combination
//! is not), or one feature is moved by half of its usual range. [`Separation`] is the probability that a planted row scores
//! above a normal one (the area under the ROC curve): ranks alone, so models with other scales, windows, codes and residual
//! statistics can be compared.

use std::{collections::HashMap, ops::Range};

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::{
    detect::calibrate::quantile,
    record::{
        Position,
        features::{FeatureKind, FeatureSetting},
    },
    train::{sample::SampleRows, scaling},
};

/// The same rows are given the same changes by every gate.
const SEED: u64 = 1;
/// Share of the features that take another row's values.
pub(in crate::train) const SWAPPED: f64 = 0.25;
/// A moved feature is moved by this share of its usual range.
const MOVED: f32 = 0.5;

/// What is planted in which row.
pub(in crate::train) struct Plants {
    /// Parts that vary, in all contestants the same.
    parts: Vec<Part>,
    plants: Vec<Plant>,
    of_position: HashMap<Position, usize>,
}

/// What is changed as one: a feature, or one row of the cells of a grid, which would otherwise be the whole record.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::train) struct Part {
    pub(in crate::train) feature: FeatureSetting,
    /// The first one among the feature's columns.
    first: usize,
}

enum Plant {
    /// These parts take the values of another record.
    Swap { features: Vec<usize>, donor: Position },
    /// This part is moved, column's unit.
    Move { feature: usize, by: f32 },
}

/// A row with its plant.
pub(in crate::train) struct Planted {
    pub(in crate::train) plant: usize,
    pub(in crate::train) values: Vec<f32>,
    pub(in crate::train) imputed: Vec<bool>,
}

/// Score of a row as it came and with its plant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::train) struct Scored {
    pub(in crate::train) own: f64,
    pub(in crate::train) planted: f64,
}

impl Plants {
    /// Draws a change for each of `ends` (rows that end a window) out of the features that vary and that `shared` has too.
    pub(in crate::train) fn draw(rows: &SampleRows, ends: &[usize], shared: Option<&[FeatureSetting]>) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
        let own: Vec<(Part, f32)> = parts(rows)
            .into_iter()
            .filter(|(part, _)| shared.is_none_or(|shared| shared.contains(&part.feature)))
            .map(|(part, columns)| (part, usual_range(rows, columns)))
            .filter(|(_, range)| *range > 0.0)
            .collect();
        let movable: Vec<usize> = (0..own.len()).filter(|at| is_number(&own[*at].0.feature.kind)).collect();
        let mut of_entity: HashMap<u32, Vec<usize>> = HashMap::new();
        ends.iter().for_each(|row| of_entity.entry(rows.entities[*row]).or_default().push(*row));
        let mut plants = Vec::with_capacity(ends.len());
        let mut of_position = HashMap::with_capacity(ends.len());
        for (at, row) in ends.iter().enumerate().filter(|_| !own.is_empty()) {
            let others = &of_entity[&rows.entities[*row]];
            // An entity's only row has none to take values from.
            let plant = if (at % 2 == 0 || others.len() < 2) && !movable.is_empty() {
                let feature = movable[random.gen_range(0..movable.len())];
                let sign = if random.r#gen::<bool>() { 1.0 } else { -1.0 };
                Plant::Move { feature, by: sign * MOVED * own[feature].1 }
            } else {
                let Some(donor) = another(others, *row, &mut random) else { continue };
                let count = ((own.len() as f64 * SWAPPED).ceil() as usize).max(1);
                let mut features: Vec<usize> = (0..own.len()).collect();
                features.partial_shuffle(&mut random, count);
                // The shuffled part stands at the end.
                let features = features.split_off(own.len() - count);
                Plant::Swap { features, donor: rows.positions[donor] }
            };
            of_position.insert(rows.positions[*row], plants.len());
            plants.push(plant);
        }
        Self { parts: own.into_iter().map(|(part, _)| part).collect(), plants, of_position }
    }

    pub(in crate::train) fn len(&self) -> usize {
        self.plants.len()
    }

    /// The plant of a record.
    pub(in crate::train) fn of(&self, position: Position) -> Option<usize> {
        self.of_position.get(&position).copied()
    }

    /// Whether a plant takes values of another record; else it moves one.
    pub(in crate::train) fn swaps(&self, plant: usize) -> bool {
        matches!(self.plants[plant], Plant::Swap { .. })
    }

    /// The record that a plant takes values from.
    pub(in crate::train) fn donor(&self, plant: usize) -> Option<Position> {
        match self.plants[plant] {
            Plant::Swap { donor, .. } => Some(donor),
            Plant::Move { .. } => None,
        }
    }

    /// The columns of each planted part among a model's own.
    pub(in crate::train) fn places(&self, rows: &SampleRows) -> Vec<Range<usize>> {
        let own = parts(rows);
        let place = |part: &Part| {
            let found = own.iter().find(|(other, _)| other == part);
            found.map_or(0..0, |(_, columns)| columns.clone())
        };
        self.parts.iter().map(place).collect()
    }

    /// The row's values and marks with its plant.
    pub(in crate::train) fn apply(
        &self,
        plant: usize,
        places: &[Range<usize>],
        (rows, row, donor): (&SampleRows, usize, usize),
    ) -> Planted {
        let width = rows.width();
        let marks = |row: usize| &rows.imputed[row * width..(row + 1) * width];
        let (mut values, mut imputed) = (rows.row(row).to_vec(), marks(row).to_vec());
        match &self.plants[plant] {
            Plant::Swap { features, .. } => {
                for columns in features.iter().map(|feature| places[*feature].clone()) {
                    values[columns.clone()].copy_from_slice(&rows.row(donor)[columns.clone()]);
                    imputed[columns.clone()].copy_from_slice(&marks(donor)[columns]);
                }
            }
            Plant::Move { feature, by } => {
                let columns = places[*feature].clone();
                values[columns.clone()].iter_mut().for_each(|value| *value += by);
                // A value that moved is there; left marked as missing it would not count.
                imputed[columns].fill(false);
            }
        }
        Planted { plant, values, imputed }
    }
}

/// One of the other rows of an entity.
fn another(rows: &[usize], row: usize, random: &mut Xoshiro256PlusPlus) -> Option<usize> {
    let own = rows.iter().position(|other| *other == row)?;
    let choice = random.gen_range(0..rows.len().checked_sub(1).filter(|others| *others > 0)?);
    Some(rows[choice + usize::from(choice >= own)])
}

pub(in crate::train) fn is_number(kind: &FeatureKind) -> bool {
    matches!(kind, FeatureKind::Numeric { .. } | FeatureKind::Counter | FeatureKind::Grid { .. })
}

/// Each part of the features that have columns, with them.
pub(in crate::train) fn parts(rows: &SampleRows) -> Vec<(Part, Range<usize>)> {
    let mut found = Vec::new();
    let mut next = 0;
    for feature in rows.features.iter() {
        let columns = feature.kind.width();
        let size = match &feature.kind {
            FeatureKind::Grid { shape, .. } => shape.width,
            _ => columns,
        };
        for first in (0..columns).step_by(size.max(1)) {
            let part = Part { feature: feature.clone(), first };
            found.push((part, next + first..next + (first + size).min(columns)));
        }
        next += columns;
    }
    found
}

/// Widest distance between the robust ends of a feature's columns; of one that hardly moves, between its ends.
pub(in crate::train) fn usual_range(rows: &SampleRows, columns: Range<usize>) -> f32 {
    let range = |column: usize| {
        let at = (0..rows.len()).map(|row| row * rows.width() + column);
        let mut values: Vec<f64> = at.filter(|at| !rows.imputed[*at]).map(|at| f64::from(rows.values[at])).collect();
        if values.is_empty() {
            return 0.0;
        }
        values.sort_by(f64::total_cmp);
        let (low, high) = (quantile(&values, scaling::ENDS.0), quantile(&values, scaling::ENDS.1));
        (if high > low { high - low } else { values[values.len() - 1] - values[0] }) as f32
    };
    columns.map(range).fold(0.0, f32::max)
}

/// How well a model tells planted rows from normal ones.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::train) struct Separation {
    /// Probability that a planted row scores above a normal one, ties count half.
    pub(in crate::train) area: f64,
    /// What each row adds to the area, both as normal and as planted one.
    influence: Vec<f64>,
}

impl Separation {
    /// Of these rows, in time order. A score that is no number counts against the model.
    pub(in crate::train) fn of(rows: &[Scored]) -> Self {
        let number = |score: f64, instead: f64| if score.is_nan() { instead } else { score };
        let own: Vec<f64> = rows.iter().map(|row| number(row.own, f64::INFINITY)).collect();
        let planted: Vec<f64> = rows.iter().map(|row| number(row.planted, f64::NEG_INFINITY)).collect();
        let (sorted_own, sorted_planted) = (sorted(&own), sorted(&planted));
        let influence: Vec<f64> = (0..rows.len())
            .map(|at| share_below(&sorted_own, planted[at]) + 1.0 - share_below(&sorted_planted, own[at]))
            .collect();
        // Each of the two parts has the area as its mean.
        let area = influence.iter().sum::<f64>() / rows.len() as f64 / 2.0;
        Self { area, influence }
    }

    /// The mean of several on the same rows, such as those of models that differ in their seeds; of at least one.
    pub(in crate::train) fn mean(all: &[&Self]) -> Self {
        let count = all.len() as f64;
        let influence = (0..all[0].influence.len())
            .map(|row| all.iter().map(|one| one.influence[row]).sum::<f64>() / count)
            .collect();
        Self { area: all.iter().map(|one| one.area).sum::<f64>() / count, influence }
    }

    /// Standard error of the difference of the areas on the same rows (DeLong et al. 1988), from the means of blocks,
    /// since rows that follow each other are not independent.
    pub(in crate::train) fn error_of_difference(&self, other: &Self) -> f64 {
        let rows = self.influence.len();
        let blocks = (rows / LEAST_BLOCK).clamp(2, MOST_BLOCKS);
        let difference: Vec<f64> = self.influence.iter().zip(&other.influence).map(|(a, b)| a - b).collect();
        let means: Vec<f64> = (0..blocks)
            .map(|block| &difference[block * rows / blocks..(block + 1) * rows / blocks])
            .map(|block| block.iter().sum::<f64>() / block.len().max(1) as f64)
            .collect();
        let mean = means.iter().sum::<f64>() / blocks as f64;
        let variance = means.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (blocks - 1) as f64;
        (variance / blocks as f64).sqrt()
    }
}

/// Blocks hold at least so many rows, and there are at most so many.
const LEAST_BLOCK: usize = 20;
const MOST_BLOCKS: usize = 40;

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Share of ascending values below `value`; equal ones count half.
fn share_below(sorted: &[f64], value: f64) -> f64 {
    let below = sorted.partition_point(|other| *other < value);
    let up_to = sorted.partition_point(|other| *other <= value);
    (below + up_to) as f64 / 2.0 / sorted.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::sample::fixture;

    fn scored(rows: usize, score: impl Fn(usize) -> (f64, f64)) -> Vec<Scored> {
        (0..rows).map(score).map(|(own, planted)| Scored { own, planted }).collect()
    }

    #[test]
    fn the_area_is_the_share_of_pairs_in_the_right_order() {
        let area = |rows: &[Scored]| Separation::of(rows).area;
        assert_eq!(area(&scored(50, |at| (at as f64, 100.0 + at as f64))), 1.0);
        assert_eq!(area(&scored(50, |_| (1.0, 1.0))), 0.5);
        assert_eq!(area(&scored(50, |_| (f64::NAN, f64::NAN))), 0.0);
        let mixed = scored(60, |at| (((at * 37) % 60) as f64, ((at * 23) % 60) as f64 + 20.5));
        let pairs = mixed.iter().flat_map(|a| mixed.iter().map(|b| f64::from(u8::from(b.planted > a.own))));
        assert!((area(&mixed) - pairs.sum::<f64>() / 3600.0).abs() < 1e-12);
    }

    #[test]
    fn the_error_of_a_difference_covers_what_equals_differ_by() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
        let mut beyond = 0;
        for _ in 0..300 {
            let noise: Vec<f64> = (0..1_200).map(|_| random.gen_range(0.0..1.0)).collect();
            let model = |shift: usize| scored(300, |at| (noise[at * 4 + shift], noise[at * 4 + shift + 1] + 0.3));
            let (a, b) = (Separation::of(&model(0)), Separation::of(&model(2)));
            beyond += usize::from((a.area - b.area).abs() > 1.96 * a.error_of_difference(&b));
        }
        // 15 of 300 are expected.
        assert!((5..=35).contains(&beyond), "{beyond}");
        let same = Separation::of(&scored(100, |at| (at as f64, 50.0)));
        assert_eq!(same.error_of_difference(&same), 0.0);
    }

    #[test]
    fn plants_change_what_varies_and_is_shared_and_nothing_else() {
        let values: Vec<Vec<f32>> = (0..200).map(|row| vec![row as f32, 7.0, (row % 10) as f32, row as f32]).collect();
        let rows = fixture::rows(&values, 2);
        let ends: Vec<usize> = (0..200).collect();
        let plants = Plants::draw(&rows, &ends, Some(&rows.features[..3]));
        assert_eq!(plants.len(), 200);
        let places = plants.places(&rows);
        let mut changed = [0; 4];
        for row in ends {
            let plant = plants.of(rows.positions[row]).unwrap();
            let donor = plants.donor(plant).map_or(row, |position| position.offset as usize);
            assert_eq!(rows.entities[row], rows.entities[donor]);
            let planted = plants.apply(plant, &places, (&rows, row, donor));
            (0..4).for_each(|c| changed[c] += usize::from(planted.values[c] != rows.row(row)[c]));
        }
        assert!(changed[0] > 50 && changed[2] > 50 && (changed[1], changed[3]) == (0, 0), "{changed:?}");
        assert_eq!(Plants::draw(&rows, &[1, 2], Some(&[])).len(), 0);
    }
}
