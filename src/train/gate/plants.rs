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
        features::{FeatureKind, FeatureSetting, columns_of},
    },
    train::{sample::SampleRows, scaling},
};

/// The same rows are given the same changes by every gate.
const SEED: u64 = 1;
/// Share of the features that take another row's values.
const SWAPPED: f64 = 0.25;
/// A moved feature is moved by this share of its usual range.
const MOVED: f32 = 0.5;

/// What is planted in which row.
pub(super) struct Plants {
    /// Features that vary, in all contestants the same.
    features: Vec<FeatureSetting>,
    plants: Vec<Plant>,
    of_position: HashMap<Position, usize>,
}

enum Plant {
    /// These features take the values of another record.
    Swap { features: Vec<usize>, donor: Position },
    /// This feature, of one column, is moved, column's unit.
    Move { feature: usize, by: f32 },
}

/// Score of a row as it came and with its plant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scored {
    pub(super) own: f64,
    pub(super) planted: f64,
}

impl Plants {
    /// Draws a change for each of `ends` (rows that end a window) out of the features that vary and that `shared` has too.
    pub(super) fn draw(rows: &SampleRows, ends: &[usize], shared: Option<&[FeatureSetting]>) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
        let own: Vec<(usize, Range<usize>, f32)> = columns_by_feature(rows)
            .into_iter()
            .map(|(feature, columns)| (feature, columns.clone(), usual_range(rows, columns)))
            .filter(|(feature, _, range)| {
                *range > 0.0 && shared.is_none_or(|shared| shared.contains(&rows.features[*feature]))
            })
            .collect();
        let features: Vec<FeatureSetting> = own.iter().map(|(at, _, _)| rows.features[*at].clone()).collect();
        let movable: Vec<usize> = (0..own.len()).filter(|at| is_number(&features[*at].kind)).collect();
        let mut of_entity: HashMap<u32, Vec<usize>> = HashMap::new();
        ends.iter().for_each(|row| of_entity.entry(rows.entities[*row]).or_default().push(*row));
        let mut plants = Vec::with_capacity(ends.len());
        let mut of_position = HashMap::with_capacity(ends.len());
        for (at, row) in ends.iter().enumerate().filter(|_| !own.is_empty()) {
            let plant = if at % 2 == 0 && !movable.is_empty() {
                let feature = movable[random.gen_range(0..movable.len())];
                let sign = if random.r#gen::<bool>() { 1.0 } else { -1.0 };
                Plant::Move { feature, by: sign * MOVED * own[feature].2 }
            } else {
                let others = &of_entity[&rows.entities[*row]];
                let donor = others[random.gen_range(0..others.len())];
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
        Self { features, plants, of_position }
    }

    pub(super) fn len(&self) -> usize {
        self.plants.len()
    }

    /// The plant of a record.
    pub(super) fn of(&self, position: Position) -> Option<usize> {
        self.of_position.get(&position).copied()
    }

    /// The record that a plant takes values from.
    pub(super) fn donor(&self, plant: usize) -> Option<Position> {
        match self.plants[plant] {
            Plant::Swap { donor, .. } => Some(donor),
            Plant::Move { .. } => None,
        }
    }

    /// The columns of each planted feature among a model's own.
    pub(super) fn places(&self, rows: &SampleRows) -> Vec<Range<usize>> {
        let columns = columns_by_feature(rows);
        let place = |feature: &FeatureSetting| {
            let found = columns.iter().find(|(at, _)| rows.features[*at] == *feature);
            found.map_or(0..0, |(_, columns)| columns.clone())
        };
        self.features.iter().map(place).collect()
    }

    /// The row's values and marks with its plant.
    pub(super) fn apply(
        &self,
        plant: usize,
        places: &[Range<usize>],
        (rows, row, donor): (&SampleRows, usize, usize),
    ) -> (Vec<f32>, Vec<bool>) {
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
            Plant::Move { feature, by } => values[places[*feature].clone()].iter_mut().for_each(|value| *value += by),
        }
        (values, imputed)
    }
}

fn is_number(kind: &FeatureKind) -> bool {
    matches!(kind, FeatureKind::Numeric { .. } | FeatureKind::Counter)
}

/// Each feature that has columns, with them.
fn columns_by_feature(rows: &SampleRows) -> Vec<(usize, Range<usize>)> {
    let mut found: Vec<(usize, Range<usize>)> = Vec::new();
    for (column, (_, feature)) in columns_of(&rows.features).iter().enumerate() {
        match found.last_mut() {
            Some((last, columns)) if last == feature => columns.end = column + 1,
            _ => found.push((*feature, column..column + 1)),
        }
    }
    found
}

/// Widest distance between the robust ends of a feature's columns; of one that hardly moves, between its ends.
fn usual_range(rows: &SampleRows, columns: Range<usize>) -> f32 {
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
pub(super) struct Separation {
    /// Probability that a planted row scores above a normal one, ties count half.
    pub(super) area: f64,
    /// What each row adds to the area, both as normal and as planted one.
    influence: Vec<f64>,
}

impl Separation {
    /// Of these rows, in time order. A score that is no number counts against the model.
    pub(super) fn of(rows: &[Scored]) -> Self {
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

    /// Standard error of the difference of the areas on the same rows (DeLong et al. 1988), from the means of blocks,
    /// since rows that follow each other are not independent.
    pub(super) fn error_of_difference(&self, other: &Self) -> f64 {
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
