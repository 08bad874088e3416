//! Fields to row + mask.

use std::{collections::HashSet, f64::consts::TAU};

use serde::{Deserialize, Serialize};

use super::{DecodedRecord, RecordError, SlotState, path::FieldPath};

/// How a field is turned into columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FeatureKind {
    /// A number.
    Numeric {
        /// Applied to the number first.
        #[serde(default)]
        transform: Transform,
    },
    /// true / false (or 1 / 0): one column.
    Boolean,
    /// One column per known category; an unknown category is all zeros. An empty vocabulary is learned at training.
    Categorical {
        /// Known categories in column order.
        vocabulary: Vec<String>,
    },
    /// A counter that only grows: its increase per second since the entity's last row. A fall is a restart from zero.
    Counter,
    /// Hour of the event time's day (UTC) as sine and cosine: two columns. Needs no field.
    HourOfDay,
    /// Weekday of the event time (UTC) as sine and cosine: two columns. Needs no field.
    DayOfWeek,
}

/// A transform of a numeric field before scaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// As it is.
    #[default]
    None,
    /// sign(x) * log(1 + |x|): for counts and sizes.
    Log1p,
}

/// One feature as configured and as frozen in the model (with its vocabulary filled).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureSetting {
    /// Name in events; the path's text by default.
    pub name: String,
    /// Where it stands in the record; unused by cyclic time.
    pub path: FieldPath,
    /// What becomes of it.
    #[serde(flatten)]
    pub kind: FeatureKind,
}

impl FeatureKind {
    /// Whether it is made from a field; cyclic time is made from the event time alone.
    pub fn needs_field(&self) -> bool {
        !matches!(self, Self::HourOfDay | Self::DayOfWeek)
    }

    /// Whether it hangs on the event time.
    pub fn needs_time(&self) -> bool {
        matches!(self, Self::Counter | Self::HourOfDay | Self::DayOfWeek)
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        match self {
            Self::Numeric { .. } | Self::Boolean | Self::Counter => 1,
            Self::Categorical { vocabulary } => vocabulary.len(),
            Self::HourOfDay | Self::DayOfWeek => 2,
        }
    }
}

/// The slot of each feature in a [`DecodedRecord`]: those that need a field are numbered in order.
pub fn slots_of(features: &[FeatureSetting]) -> Vec<Option<usize>> {
    let mut slots = 0..;
    features.iter().map(|feature| if feature.kind.needs_field() { slots.next() } else { None }).collect()
}

/// The row's columns in order: each one's name and the index of its feature.
///
/// A feature of one column lends it its name; further columns are `name=category`, and `name.sin`, `name.cos`.
pub fn columns_of(features: &[FeatureSetting]) -> Vec<(String, usize)> {
    let mut columns = Vec::new();
    for (index, feature) in features.iter().enumerate() {
        let name = &feature.name;
        match &feature.kind {
            FeatureKind::Numeric { .. } | FeatureKind::Boolean | FeatureKind::Counter => {
                columns.push((name.clone(), index))
            }
            FeatureKind::Categorical { vocabulary } => {
                columns.extend(vocabulary.iter().map(|category| (format!("{name}={category}"), index)));
            }
            FeatureKind::HourOfDay | FeatureKind::DayOfWeek => {
                columns.extend([(format!("{name}.sin"), index), (format!("{name}.cos"), index)]);
            }
        }
    }
    columns
}

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
    /// A category that would have two columns.
    #[error("the vocabulary of feature `{feature}` holds `{category}` twice")]
    DoubleCategory {
        /// The feature.
        feature: String,
        /// The category.
        category: String,
    },
}

/// The last values of an entity's counters. `Default` is an entity without rows.
#[derive(Debug, Clone, Default, PartialEq)]
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
    /// Features that need a field; cyclic time can't be missing and says nothing about the record.
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
    Numeric { slot: usize, transform: Transform },
    Boolean { slot: usize },
    Category { slot: usize },
    Counter { slot: usize, counter: usize },
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
        let columns = columns_of(features);
        if columns.is_empty() {
            return Err(EncoderError::NoFeatures);
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
        let fields = features.iter().filter(|feature| feature.kind.needs_field()).count();
        Ok(Self { parts, impute, max_missing, fields, counters: counters.start })
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
    /// all of them; `state` stays as it was then.
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
        let lacks = |part: &&Part| match part.source {
            Source::HourOfDay | Source::DayOfWeek => false,
            Source::Category { slot } => {
                !matches!(decoded.states[slot], SlotState::Present | SlotState::UnknownCategory)
            }
            Source::Numeric { slot, transform } => !plain(decoded, slot, transform).is_some_and(fits),
            Source::Boolean { slot } | Source::Counter { slot, .. } => number(decoded, slot).is_none(),
        };
        let missing = self.parts.iter().filter(lacks).count();
        let allowed = missing as f64 <= self.max_missing * self.fields as f64 && missing < self.fields;
        match self.parts.iter().find(lacks) {
            Some(first) if !allowed => {
                Err(RecordError::TooManyMissing { missing, features: self.fields, first: first.name.clone() })
            }
            _ => Ok(false),
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

fn plain(decoded: &DecodedRecord, slot: usize, transform: Transform) -> Option<f64> {
    let value = number(decoded, slot)?;
    Some(match transform {
        Transform::None => value,
        Transform::Log1p => value.abs().ln_1p().copysign(value),
    })
}

/// Whether an `f32` can hold the value.
fn fits(value: f64) -> bool {
    (value as f32).is_finite()
}

fn put(value: f64, row: &mut [f32]) -> bool {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use SlotState::{Missing, Present, UnknownCategory, Unusable};

    const NUMERIC: FeatureKind = FeatureKind::Numeric { transform: Transform::None };
    const LOG: FeatureKind = FeatureKind::Numeric { transform: Transform::Log1p };

    fn feature(name: &str, kind: FeatureKind) -> FeatureSetting {
        FeatureSetting { name: name.to_owned(), path: FieldPath::key(name), kind }
    }

    fn category(name: &str, vocabulary: &[&str]) -> FeatureSetting {
        let vocabulary = vocabulary.iter().map(|category| (*category).to_owned()).collect();
        feature(name, FeatureKind::Categorical { vocabulary })
    }

    fn record(time_us: i64, slots: &[(f64, SlotState)]) -> DecodedRecord {
        let (values, states) = slots.iter().copied().unzip();
        DecodedRecord { values, states, entity: String::new(), time_us, timed: true }
    }

    /// Encodes with imputed values -1, -2, ... and returns row and mask.
    fn encode(
        features: &[FeatureSetting],
        max_missing: f64,
        records: &[DecodedRecord],
    ) -> Result<(Vec<f32>, Vec<bool>), RecordError> {
        let width = columns_of(features).len();
        let impute = (0..width).map(|column| -1.0 - column as f32).collect();
        let encoder = FeatureEncoder::new(features, impute, max_missing).unwrap();
        let (mut row, mut imputed, mut state) = (vec![f32::NAN; width], vec![false; width], CounterState::default());
        for record in records {
            encoder.encode(record, &mut state, &mut row, &mut imputed)?;
        }
        Ok((row, imputed))
    }

    #[test]
    fn columns_are_named_after_feature_category_and_circle() {
        let features = [
            feature("a", NUMERIC),
            category("c", &["x", "y"]),
            feature("hour", FeatureKind::HourOfDay),
            feature("b", FeatureKind::Boolean),
            feature("n", FeatureKind::Counter),
            feature("day", FeatureKind::DayOfWeek),
        ];
        let columns = columns_of(&features);
        let names = columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["a", "c=x", "c=y", "hour.sin", "hour.cos", "b", "n", "day.sin", "day.cos"]);
        let indices = columns.iter().map(|(_, feature)| *feature).collect::<Vec<_>>();
        assert_eq!(indices, [0, 1, 1, 2, 2, 3, 4, 5, 5]);
        assert_eq!(slots_of(&features), [Some(0), Some(1), None, Some(2), Some(3), None]);
    }

    #[test]
    fn numbers_go_through_their_transform() {
        let features = [feature("a", NUMERIC), feature("b", LOG), feature("c", LOG)];
        let (row, imputed) =
            encode(&features, 0.0, &[record(0, &[(2.5, Present), (9.0, Present), (-9.0, Present)])]).unwrap();
        assert_eq!(row, [2.5, 10f64.ln() as f32, -10f64.ln() as f32]);
        assert_eq!(imputed, [false; 3]);
    }

    #[test]
    fn what_an_f32_cannot_hold_is_imputed_and_counts_as_missing() {
        let features = [feature("a", NUMERIC), feature("b", LOG)];
        let large = record(0, &[(1e39, Present), (1e300, Present)]);
        let (row, imputed) = encode(&features, 0.5, std::slice::from_ref(&large)).unwrap();
        assert_eq!((row[0], imputed), (-1.0, vec![true, false]));
        assert!((row[1] - 690.775_5).abs() < 1e-3);
        assert_eq!(
            encode(&features, 0.4, &[large]),
            Err(RecordError::TooManyMissing { missing: 1, features: 2, first: "a".to_owned() })
        );
    }

    #[test]
    fn an_unknown_category_is_zeros_and_a_missing_one_is_imputed() {
        let features = [category("c", &["x", "y"]), feature("a", NUMERIC)];
        let encode = |slot| encode(&features, 0.5, &[record(0, &[slot, (1.0, Present)])]).unwrap();
        assert_eq!(encode((1.0, Present)), (vec![0.0, 1.0, 1.0], vec![false; 3]));
        assert_eq!(encode((f64::NAN, UnknownCategory)), (vec![0.0, 0.0, 1.0], vec![false; 3]));
        assert_eq!(encode((f64::NAN, Missing)), (vec![-1.0, -2.0, 1.0], vec![true, true, false]));
        assert_eq!(encode((f64::NAN, Unusable)), (vec![-1.0, -2.0, 1.0], vec![true, true, false]));
    }

    #[test]
    fn a_counter_becomes_its_increase_per_second() {
        let features = [feature("n", FeatureKind::Counter)];
        let rows = [
            (0, (100.0, Present), None),
            (2_000_000, (110.0, Present), Some(5.0)),
            (2_000_000, (120.0, Present), None),    // no time went by
            (4_000_000, (6.0, Present), Some(3.0)), // a restart
            (3_000_000, (5.0, Present), None),      // late
            (5_000_000, (15.0, Present), Some(5.0)),
        ];
        for count in 1..=rows.len() {
            let records = rows[..count].iter().map(|(time, slot, _)| record(*time, &[*slot])).collect::<Vec<_>>();
            let (row, imputed) = encode(&features, 0.0, &records).unwrap();
            assert_eq!(
                (row[0], imputed[0]),
                rows[count - 1].2.map_or((-1.0, true), |rate| (rate, false)),
                "row {count}"
            );
        }
    }

    #[test]
    fn a_counter_that_was_missing_is_measured_from_its_last_value() {
        let features = [feature("n", FeatureKind::Counter), feature("a", NUMERIC)];
        let rows = [
            record(0, &[(1.0, Present), (0.0, Present)]),
            record(1_000_000, &[(f64::NAN, Missing), (0.0, Present)]),
            record(2_000_000, &[(5.0, Present), (0.0, Present)]),
        ];
        assert_eq!(encode(&features, 0.5, &rows).unwrap(), (vec![2.0, 0.0], vec![false, false]));
    }

    #[test]
    fn a_refused_record_leaves_the_counters_alone() {
        let features = [feature("n", FeatureKind::Counter), feature("a", NUMERIC)];
        let encoder = FeatureEncoder::new(&features, vec![0.0; 2], 0.0).unwrap();
        let (mut state, mut row, mut imputed) = (CounterState::default(), [0.0; 2], [false; 2]);
        encoder.encode(&record(0, &[(1.0, Present), (0.0, Present)]), &mut state, &mut row, &mut imputed).unwrap();
        let before = state.clone();
        let refused = record(1_000_000, &[(9.0, Present), (f64::NAN, Unusable)]);
        assert!(encoder.encode(&refused, &mut state, &mut row, &mut imputed).is_err());
        assert_eq!(state, before);
    }

    #[test]
    fn a_record_without_any_field_is_refused_whatever_is_allowed() {
        let features = [feature("hour", FeatureKind::HourOfDay), feature("a", NUMERIC), feature("b", NUMERIC)];
        let error = encode(&features, 1.0, &[record(0, &[(f64::NAN, Missing), (f64::NAN, Unusable)])]).unwrap_err();
        assert_eq!(error, RecordError::TooManyMissing { missing: 2, features: 2, first: "a".to_owned() });
        let hour_alone = [feature("hour", FeatureKind::HourOfDay)];
        assert_eq!(encode(&hour_alone, 0.0, &[record(0, &[])]).unwrap().0, [0.0, 1.0]);
    }

    #[test]
    fn time_goes_round_the_clock_and_the_week() {
        let features = [feature("hour", FeatureKind::HourOfDay), feature("day", FeatureKind::DayOfWeek)];
        let at = |time_us| encode(&features, 0.0, &[record(time_us, &[])]).unwrap().0;
        let near = |row: Vec<f32>, expected: [f64; 4]| {
            assert!(
                row.iter().zip(expected).all(|(got, want)| (f64::from(*got) - want).abs() < 1e-6),
                "{row:?} {expected:?}"
            );
        };
        let day = |weekday: f64| (weekday / 7.0 * TAU).sin_cos();
        let monday_6h = 1_714_370_400_000_000; // 2024-04-29T06:00:00Z
        near(at(monday_6h), [1.0, 0.0, 0.0, 1.0]);
        let (sine, cosine) = day(3.0);
        near(at(0), [0.0, 1.0, sine, cosine]); // 1970-01-01 was a Thursday
        let (sine, cosine) = day(2.0);
        near(at(-21_600_000_000), [-1.0, 0.0, sine, cosine]); // 18:00 the day before
    }

    #[test]
    fn an_encoder_whose_parts_do_not_fit_is_refused() {
        let features = [feature("a", NUMERIC)];
        let new = |features: &[FeatureSetting], impute, max| FeatureEncoder::new(features, impute, max).unwrap_err();
        assert_eq!(new(&features, vec![], 0.0), EncoderError::ImputeLength { got: 0, columns: 1 });
        assert!(matches!(new(&features, vec![f32::NAN], 0.0), EncoderError::ImputeNotFinite { .. }));
        assert!(matches!(new(&features, vec![0.0], f64::NAN), EncoderError::MaxMissing(_)));
        assert_eq!(new(&features, vec![0.0], 1.1), EncoderError::MaxMissing(1.1));
        assert_eq!(new(&[], vec![], 0.0), EncoderError::NoFeatures);
        assert_eq!(new(&[category("c", &[])], vec![], 0.0), EncoderError::EmptyVocabulary("c".to_owned()));
        assert!(matches!(new(&[category("c", &["x", "x"])], vec![0.0; 2], 0.0), EncoderError::DoubleCategory { .. }));
    }

    proptest! {
        #[test]
        fn a_row_never_holds_a_value_that_is_not_finite(
            records in prop::collection::vec((any::<i64>(), any::<[f64; 3]>(), 0usize..4, 0usize..4), 1..6),
        ) {
            let features = [
                feature("a", NUMERIC), feature("b", LOG), feature("n", FeatureKind::Counter),
                category("c", &["x", "y"]),
                feature("hour", FeatureKind::HourOfDay), feature("day", FeatureKind::DayOfWeek),
            ];
            let width = columns_of(&features).len();
            let encoder = FeatureEncoder::new(&features, vec![0.5; width], 1.0).unwrap();
            let mut state = CounterState::default();
            for (time_us, values, first, last) in records {
                let states = [Present, Missing, Unusable, UnknownCategory];
                let mut slots = values.map(|value| (value, Present)).to_vec();
                slots[0].1 = states[first.min(2)];
                slots.push((if last == 0 { 1.0 } else { f64::NAN }, states[last]));
                let (mut row, mut imputed) = (vec![f32::NAN; width], vec![false; width]);
                if encoder.encode(&record(time_us, &slots), &mut state, &mut row, &mut imputed).is_ok() {
                    prop_assert!(row.iter().all(|value| value.is_finite()), "{:?}", row);
                }
            }
        }
    }
}
