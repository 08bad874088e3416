//! Fields to row + mask.

mod cells;
mod encode;

use serde::{Deserialize, Serialize};

pub(crate) use cells::check as check_grids;
pub use encode::{CounterState, EncoderError, FeatureEncoder};

use super::{grid::Shape, path::FieldPath};

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
    /// A grid of numbers, given as a list of rows that are lists of cells: one column per cell, row by row. A cell
    /// without a number is a missing value of its column.
    Grid {
        /// Rows and columns.
        shape: Shape,
        /// Applied to each cell first.
        #[serde(default)]
        transform: Transform,
    },
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
            Self::Grid { shape, .. } => shape.cells(),
            Self::HourOfDay | Self::DayOfWeek => 2,
        }
    }

    /// Number of slots in a [`DecodedRecord`](super::DecodedRecord): values that a record holds for it.
    pub fn slots(&self) -> usize {
        match self {
            Self::Grid { shape, .. } => shape.cells(),
            Self::HourOfDay | Self::DayOfWeek => 0,
            Self::Numeric { .. } | Self::Boolean | Self::Categorical { .. } | Self::Counter => 1,
        }
    }
}

/// The first slot of each feature in a [`DecodedRecord`](super::DecodedRecord): those that need a field are numbered in order. A grid has one
/// slot per cell, row by row.
pub fn slots_of(features: &[FeatureSetting]) -> Vec<Option<usize>> {
    let mut next = 0;
    let mut slot = |feature: &FeatureSetting| {
        let slot = feature.kind.needs_field().then_some(next);
        next += feature.kind.slots();
        slot
    };
    features.iter().map(&mut slot).collect()
}

/// The shape `[height, width]` of the grid where the one and only feature is one; `None` of all other features. Rows of
/// such features are grids, row-major.
pub fn grid_of(features: &[FeatureSetting]) -> Option<[usize; 2]> {
    match features {
        [FeatureSetting { kind: FeatureKind::Grid { shape, .. }, .. }] => Some((*shape).into()),
        _ => None,
    }
}

/// The row's columns in order: each one's name and the index of its feature.
///
/// A feature of one column lends it its name; further columns are `name=category`, `name[row][column]`, and `name.sin`,
/// `name.cos`.
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
            FeatureKind::Grid { shape: Shape { height, width }, .. } => {
                let cells = (0..*height).flat_map(|row| (0..*width).map(move |column| (row, column)));
                columns.extend(cells.map(|(row, column)| (cell_name(name, row, column), index)));
            }
            FeatureKind::HourOfDay | FeatureKind::DayOfWeek => {
                columns.extend([(format!("{name}.sin"), index), (format!("{name}.cos"), index)]);
            }
        }
    }
    columns
}

/// The column of a grid's cell.
fn cell_name(name: &str, row: usize, column: usize) -> String {
    format!("{name}[{row}][{column}]")
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;
    use crate::record::{DecodedRecord, RecordError, SlotState};
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

    fn grid(name: &str, height: usize, width: usize) -> FeatureSetting {
        feature(name, FeatureKind::Grid { shape: Shape { height, width }, transform: Transform::None })
    }

    #[test]
    fn a_grid_has_a_column_and_a_slot_for_each_cell() {
        let features =
            [feature("a", NUMERIC), grid("g", 2, 3), feature("hour", FeatureKind::HourOfDay), grid("h", 1, 1)];
        let columns = columns_of(&features);
        let names = columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
        let cells = ["g[0][0]", "g[0][1]", "g[0][2]", "g[1][0]", "g[1][1]", "g[1][2]"];
        assert_eq!(names, [&["a"][..], &cells, &["hour.sin", "hour.cos", "h[0][0]"]].concat());
        assert!(columns[1..7].iter().all(|(_, feature)| *feature == 1));
        assert_eq!(slots_of(&features), [Some(0), Some(1), None, Some(7)]);
        assert_eq!(features.iter().map(|feature| feature.kind.width()).sum::<usize>(), columns.len());
    }

    #[test]
    fn rows_are_grids_where_a_grid_is_the_only_feature() {
        assert_eq!(grid_of(&[grid("g", 24, 32)]), Some([24, 32]));
        assert_eq!(grid_of(&[grid("g", 24, 32), feature("a", NUMERIC)]), None);
        assert_eq!(grid_of(&[feature("a", NUMERIC)]), None);
        assert_eq!(grid_of(&[]), None);
    }

    #[test]
    fn a_grid_keeps_its_shape_in_a_file() {
        let written = serde_json::to_string(&grid("g", 24, 32)).unwrap();
        assert_eq!(written, r#"{"name":"g","path":"g","kind":"grid","shape":[24,32],"transform":"none"}"#);
        assert_eq!(serde_json::from_str::<FeatureSetting>(&written).unwrap(), grid("g", 24, 32));
    }

    #[test]
    fn a_missing_cell_is_imputed_alone_and_counts_like_a_missing_field() {
        let features = [grid("g", 2, 2), feature("a", NUMERIC)];
        let one = |value| (value, Present);
        let gaps = record(0, &[one(1.0), (f64::NAN, Missing), one(3.0), one(1e39), one(5.0)]);
        let (row, imputed) = encode(&features, 0.4, std::slice::from_ref(&gaps)).unwrap();
        assert_eq!(row, [1.0, -2.0, 3.0, -4.0, 5.0]);
        assert_eq!(imputed, [false, true, false, true, false]);
        assert_eq!(
            encode(&features, 0.39, &[gaps]),
            Err(RecordError::TooManyMissing { missing: 2, features: 5, first: "g[0][1]".to_owned() })
        );
        let whole = record(0, &[1.0, 2.0, 3.0, 4.0, 5.0].map(one));
        assert_eq!(encode(&features, 0.0, &[whole]).unwrap(), (vec![1.0, 2.0, 3.0, 4.0, 5.0], vec![false; 5]));
        let nothing = record(0, &[(f64::NAN, Missing); 4]);
        let error = encode(&features[..1], 1.0, &[nothing]).unwrap_err();
        assert_eq!(error, RecordError::TooManyMissing { missing: 4, features: 4, first: "g[0][0]".to_owned() });
    }

    #[test]
    fn each_cell_goes_through_the_transform() {
        let kind = FeatureKind::Grid { shape: Shape { height: 1, width: 2 }, transform: Transform::Log1p };
        let (row, _) = encode(&[feature("g", kind)], 0.0, &[record(0, &[(9.0, Present), (-9.0, Present)])]).unwrap();
        assert_eq!(row, [10f64.ln() as f32, -10f64.ln() as f32]);
    }

    #[test]
    fn grids_without_bounds_and_fields_that_are_part_of_a_grid_are_refused() {
        let told =
            |features: &[FeatureSetting]| FeatureEncoder::new(features, vec![0.0; 4], 0.0).unwrap_err().to_string();
        let huge = told(&[grid("g", usize::MAX, usize::MAX)]);
        assert!(huge.contains("`g`") && huge.ends_with("sides from 1 to 1024 and at most 65536 cells"), "{huge}");
        assert!(matches!(FeatureEncoder::new(&[grid("g", 2, 0)], vec![], 0.0), Err(EncoderError::GridShape { .. })));
        for path in ["g", "g.0.1"] {
            let other = FeatureSetting { path: path.parse().unwrap(), ..feature("x", NUMERIC) };
            let told = told(&[other, grid("g", 1, 2)]);
            assert!(told.starts_with(&format!("`{path}` and the grid `g` overlap")), "{told}");
        }
        let beside = FeatureSetting { path: "g2.0".parse().unwrap(), ..feature("x", NUMERIC) };
        FeatureEncoder::new(&[grid("g", 1, 2), beside, feature("g", FeatureKind::HourOfDay)], vec![0.0; 5], 0.0)
            .unwrap();
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
        // A vocabulary that was learned may hold what another feature is called.
        let twice = new(&[category("c", &["x", "y"]), feature("c=y", NUMERIC)], vec![0.0; 3], 0.0);
        assert_eq!(twice, EncoderError::DoubleColumn("c=y".to_owned()));
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
