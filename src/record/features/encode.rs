//! From the fields of a record to its row.

use serde::{Deserialize, Serialize};

use std::{collections::HashSet, f64::consts::TAU};

use super::{FeatureKind, FeatureSetting, Transform, cell_name, cells, cells::Cells, columns_of, slots_of};
use crate::record::{
    DecodedRecord, RecordError, SlotState,
    grid::{self, Shape},
    path::FieldPath,
};

/// Why features can't be encoded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EncoderError {
    /// There is nothing to encode.
    #[error("there are no features, expected at least one")]
    NoFeatures,
    /// The columns and their imputed values don't match.
    #[error("{got} imputed values for {columns} columns, expected one each")]
    ImputeLength {
        /// Values given.
        got: usize,
        /// Columns of the features.
        columns: usize,
    },
    /// An imputed value that is NaN or infinite.
    #[error("the imputed value of column `{column}` is {value}, expected a finite number")]
    ImputeNotFinite {
        /// The column.
        column: String,
        /// Its value.
        value: f32,
    },
    /// A share outside of 0..=1.
    #[error("record.max_missing is {0}, expected a share from 0 to 1")]
    MaxMissing(f64),
    /// A categorical feature whose categories were not learned yet.
    #[error("the vocabulary of feature `{0}` is empty, expected at least one category")]
    EmptyVocabulary(String),
    /// A grid without cells, or with too many.
    #[error(
        "feature `{feature}` has the shape {shape}, expected sides from 1 to {side} and at most {cells} cells",
        side = grid::MAX_SIDE, cells = grid::MAX_CELLS
    )]
    GridShape {
        /// The feature.
        feature: String,
        /// Its shape.
        shape: Shape,
    },
    /// A field that is a cell of a grid, or stands above one.
    #[error("`{path}` and the grid `{grid}` overlap, expected the field of a grid to be for nothing else")]
    GridShared {
        /// The path of the field.
        path: FieldPath,
        /// The path of the grid.
        grid: FieldPath,
    },
    /// A model that takes no raw grids, or others.
    #[error(
        "record.format is a raw grid of {configured}, but the features are {features}; expected those of such records"
    )]
    RawFormat {
        /// The configured shape.
        configured: Shape,
        /// The features in words.
        features: String,
    },
    /// A category that would have two columns.
    #[error("the vocabulary of feature `{feature}` holds `{category}` twice")]
    DoubleCategory {
        /// The feature.
        feature: String,
        /// The category.
        category: String,
    },
    /// Two columns of one name, such as that of a cell and that of a feature which is called like it.
    #[error("two columns are called `{0}`, expected a name of its own for each feature (record.features)")]
    DoubleColumn(String),
}

/// The last values of an entity's counters. `Default` is an entity without rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CounterState {
    /// Per counter: its value and the event time in microseconds; NaN before the first. Each has its own time, because
    /// a counter may be missing from some rows. Empty without counters.
    last: Vec<(f64, i64)>,
}

/// Turns decoded fields into rows of D columns.
#[derive(Debug, Clone)]
pub struct FeatureEncoder {
    parts: Vec<Part>,
    impute: Vec<f32>,
    max_missing: f64,
    /// Values that a record should hold: one per feature that needs a field, one per cell of a grid. Cyclic time can't be
    /// missing and says nothing about the record.
    fields: usize,
    counters: usize,
}

/// One feature, ready to encode.
#[derive(Debug, Clone)]
struct Part {
    name: String,
    /// First column and number of columns.
    column: usize,
    width: usize,
    source: Source,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Numeric {
        slot: usize,
        transform: Transform,
    },
    /// `slot` is that of the first cell, `row` is the number of cells in a row.
    Grid {
        slot: usize,
        transform: Transform,
        row: usize,
    },
    Boolean {
        slot: usize,
    },
    Category {
        slot: usize,
    },
    Counter {
        slot: usize,
        counter: usize,
    },
    HourOfDay,
    DayOfWeek,
}

impl FeatureEncoder {
    /// An encoder for `features` (vocabularies filled). `impute` holds one value per column, in the column's unit;
    /// `max_missing` is the share (0..=1) of features that may be missing from a record.
    ///
    /// # Errors
    /// An [`EncoderError`] if the parts don't fit together.
    pub fn new(features: &[FeatureSetting], impute: Vec<f32>, max_missing: f64) -> Result<Self, EncoderError> {
        let share = (0.0..=1.0).contains(&max_missing);
        if !share {
            return Err(EncoderError::MaxMissing(max_missing));
        }
        check_vocabularies(features)?;
        cells::check(features)?;
        let columns = columns_of(features);
        if columns.is_empty() {
            return Err(EncoderError::NoFeatures);
        }
        let mut names = HashSet::new();
        if let Some((column, _)) = columns.iter().find(|(column, _)| !names.insert(column.as_str())) {
            return Err(EncoderError::DoubleColumn(column.clone()));
        }
        if impute.len() != columns.len() {
            return Err(EncoderError::ImputeLength { got: impute.len(), columns: columns.len() });
        }
        if let Some(((column, _), value)) = columns.into_iter().zip(&impute).find(|(_, value)| !value.is_finite()) {
            return Err(EncoderError::ImputeNotFinite { column, value: *value });
        }
        let (mut parts, mut column, mut counters) = (Vec::new(), 0, 0..);
        for (feature, slot) in features.iter().zip(slots_of(features)) {
            let source = match (&feature.kind, slot) {
                (FeatureKind::Numeric { transform }, Some(slot)) => Source::Numeric { slot, transform: *transform },
                (FeatureKind::Grid { shape, transform }, Some(slot)) => {
                    Source::Grid { slot, transform: *transform, row: shape.width }
                }
                (FeatureKind::Boolean, Some(slot)) => Source::Boolean { slot },
                (FeatureKind::Categorical { .. }, Some(slot)) => Source::Category { slot },
                (FeatureKind::Counter, Some(slot)) => {
                    Source::Counter { slot, counter: counters.next().expect("an open range doesn't end") }
                }
                (FeatureKind::DayOfWeek, _) => Source::DayOfWeek,
                (_, _) => Source::HourOfDay,
            };
            let width = feature.kind.width();
            parts.push(Part { name: feature.name.clone(), column, width, source });
            column += width;
        }
        let fields = features.iter().map(|feature| feature.kind.slots()).sum();
        Ok(Self { parts, impute, max_missing, fields, counters: counters.start })
    }

    /// Whether a row hangs on records before it.
    pub fn has_counters(&self) -> bool {
        self.counters > 0
    }

    /// Number of columns D.
    pub fn width(&self) -> usize {
        self.impute.len()
    }

    /// Fills `row` (D values, columns' own units, never NaN) and marks in `imputed` (D flags) the columns whose value
    /// is not the record's. `state` belongs to the record's entity.
    ///
    /// The first row of a counter, and one whose time is not after the last row's, has no rate: it is imputed, but its
    /// feature doesn't count as missing. An unknown category is known to be none of the others: zeros, not imputed.
    ///
    /// # Errors
    /// [`RecordError::TooManyMissing`] if a larger share of the features that need a field is missing than allowed, or
    /// all of them; `state` stays as it was then. Each cell of a grid counts like a feature.
    pub fn encode(
        &self,
        decoded: &DecodedRecord,
        state: &mut CounterState,
        row: &mut [f32],
        imputed: &mut [bool],
    ) -> Result<(), RecordError> {
        let usual = self.check_missing(decoded)?;
        if state.last.len() < self.counters {
            state.last.resize(self.counters, (f64::NAN, 0));
        }
        for part in &self.parts {
            if usual && let Source::Numeric { slot, transform: Transform::None } = part.source {
                row[part.column] = decoded.values[slot] as f32;
                imputed[part.column] = false;
                continue;
            }
            let columns = part.column..part.column + part.width;
            let (row, imputed) = (&mut row[columns.clone()], &mut imputed[columns.clone()]);
            let known = match part.source {
                Source::Grid { slot, transform, .. } => {
                    Cells { decoded, slot, transform }.encode(usual, row, imputed, &self.impute[columns]);
                    continue;
                }
                Source::Category { slot } => one_hot(decoded, slot, row),
                Source::HourOfDay => circle(hour_of_day(decoded.time_us) / 24.0, row),
                Source::DayOfWeek => circle(day_of_week(decoded.time_us) / 7.0, row),
                Source::Counter { slot, counter } => number(decoded, slot)
                    .and_then(|value| rate(&mut state.last[counter], value, decoded.time_us))
                    .is_some_and(|value| put(value, row)),
                Source::Numeric { slot, transform } => {
                    plain(decoded, slot, transform).is_some_and(|value| put(value, row))
                }
                Source::Boolean { slot } => number(decoded, slot).is_some_and(|value| put(value, row)),
            };
            imputed.fill(!known);
            if !known {
                row.copy_from_slice(&self.impute[columns]);
            }
        }
        Ok(())
    }

    /// `Ok(true)` if every slot holds a value that an `f32` can hold, which one cheap pass tells for nearly all
    /// records.
    fn check_missing(&self, decoded: &DecodedRecord) -> Result<bool, RecordError> {
        let present = decoded.states.iter().all(|state| *state == SlotState::Present);
        if present && decoded.values.iter().all(|value| fits(*value)) {
            return Ok(true);
        }
        let missing = self.parts.iter().map(|part| part.missing(decoded)).sum();
        let allowed = missing as f64 <= self.max_missing * self.fields as f64 && missing < self.fields;
        match self.parts.iter().find(|part| part.missing(decoded) > 0) {
            Some(first) if !allowed => {
                let first = first.name_of_missing(decoded);
                Err(RecordError::TooManyMissing { missing, features: self.fields, first })
            }
            _ => Ok(false),
        }
    }
}

impl Part {
    /// Values that the record should hold for this feature and doesn't.
    fn missing(&self, decoded: &DecodedRecord) -> usize {
        match self.source {
            Source::HourOfDay | Source::DayOfWeek => 0,
            Source::Category { slot } => {
                let known = matches!(decoded.states[slot], SlotState::Present | SlotState::UnknownCategory);
                usize::from(!known)
            }
            Source::Numeric { slot, transform } => usize::from(!plain(decoded, slot, transform).is_some_and(fits)),
            Source::Grid { slot, transform, .. } => Cells { decoded, slot, transform }.missing(self.width).count(),
            Source::Boolean { slot } | Source::Counter { slot, .. } => usize::from(number(decoded, slot).is_none()),
        }
    }

    /// What to call the first missing value: the feature, or the cell of a grid.
    fn name_of_missing(&self, decoded: &DecodedRecord) -> String {
        match self.source {
            Source::Grid { slot, transform, row } => {
                let first = Cells { decoded, slot, transform }.missing(self.width).next().unwrap_or_default();
                cell_name(&self.name, first / row, first % row)
            }
            _ => self.name.clone(),
        }
    }
}

fn check_vocabularies(features: &[FeatureSetting]) -> Result<(), EncoderError> {
    for feature in features {
        let FeatureKind::Categorical { vocabulary } = &feature.kind else { continue };
        if vocabulary.is_empty() {
            return Err(EncoderError::EmptyVocabulary(feature.name.clone()));
        }
        let mut seen = HashSet::new();
        if let Some(category) = vocabulary.iter().find(|category| !seen.insert(*category)) {
            return Err(EncoderError::DoubleCategory { feature: feature.name.clone(), category: category.clone() });
        }
    }
    Ok(())
}

fn number(decoded: &DecodedRecord, slot: usize) -> Option<f64> {
    (decoded.states[slot] == SlotState::Present).then(|| decoded.values[slot]).filter(|value| value.is_finite())
}

pub(super) fn plain(decoded: &DecodedRecord, slot: usize, transform: Transform) -> Option<f64> {
    let value = number(decoded, slot)?;
    Some(match transform {
        Transform::None => value,
        Transform::Log1p => value.abs().ln_1p().copysign(value),
    })
}

/// Whether an `f32` can hold the value.
pub(super) fn fits(value: f64) -> bool {
    (value as f32).is_finite()
}

pub(super) fn put(value: f64, row: &mut [f32]) -> bool {
    row[0] = value as f32;
    fits(value)
}

/// Increase per second since the last value, which `value` replaces. Also after a step back in time: each pair of
/// values then still belongs together, and one time far ahead can't silence a counter for long.
fn rate(last: &mut (f64, i64), value: f64, time_us: i64) -> Option<f64> {
    let (last_value, last_time_us) = std::mem::replace(last, (value, time_us));
    let seconds = time_us.saturating_sub(last_time_us) as f64 / 1e6;
    if last_value.is_finite() && seconds > 0.0 {
        let increase = if value >= last_value { value - last_value } else { value };
        Some(increase / seconds)
    } else {
        None
    }
}

fn one_hot(decoded: &DecodedRecord, slot: usize, row: &mut [f32]) -> bool {
    row.fill(0.0);
    match decoded.states[slot] {
        SlotState::Present => {
            row[decoded.values[slot] as usize] = 1.0;
            true
        }
        SlotState::UnknownCategory => true,
        SlotState::Missing | SlotState::Unusable => false,
    }
}

fn circle(turns: f64, row: &mut [f32]) -> bool {
    let (sine, cosine) = (turns * TAU).sin_cos();
    row.copy_from_slice(&[sine as f32, cosine as f32]);
    true
}

const DAY_US: i64 = 86_400_000_000;

/// Hours since midnight UTC with their fraction, 0..24: without a jump at the full hour.
fn hour_of_day(time_us: i64) -> f64 {
    time_us.rem_euclid(DAY_US) as f64 / 3.6e9
}

/// Whole days since Monday in UTC, 0..=6.
fn day_of_week(time_us: i64) -> f64 {
    const THURSDAY: i64 = 3; // 1970-01-01
    (time_us.div_euclid(DAY_US) + THURSDAY).rem_euclid(7) as f64
}
