//! The gates of single columns: how large a deviation has to be, in which direction it has to go, and where a value
//! can't be wrong.
//!
//! A column that one of them holds back counts as if it were as expected. Where the row's own score is no longer above
//! the limit then, its anomaly is held back, for the reason of the column among them that has the largest share of the
//! error.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Suppression, pattern::Pattern};
use crate::model::metadata::Metadata;

/// Which way a value has to stray.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Above what was expected.
    Up,
    /// Below it.
    Down,
    /// Either way.
    #[default]
    Both,
}

/// Values that can't be wrong, both ends included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormalRange {
    low: f64,
    high: f64,
}

impl NormalRange {
    /// From `low` to `high`; `None` unless both are finite and in this order.
    pub fn new(low: f64, high: f64) -> Option<Self> {
        (low.is_finite() && high.is_finite() && low <= high).then_some(Self { low, high })
    }
}

/// What is set for the features that a pattern matches. Sizes are in the field's own unit.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureRule {
    /// Names of features, or of their columns.
    pub name: Pattern,
    /// Least deviation, >= 0.
    pub min_absolute: Option<f64>,
    /// Least deviation as a share of what was expected, >= 0.
    pub min_relative: Option<f64>,
    /// Which way a value has to stray.
    pub direction: Option<Direction>,
    /// Values that can't be wrong.
    pub normal_range: Option<NormalRange>,
}

/// What holds of one column.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Column {
    min_absolute: f64,
    min_relative: f64,
    direction: Direction,
    normal_range: Option<NormalRange>,
}

/// What holds of the columns of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnGates(Vec<Column>);

impl ColumnGates {
    /// Finds the columns of each rule; of rules that match the same column, the last one that sets something wins. `None`
    /// where nothing is set for any.
    pub fn resolve<'a>(rules: impl Iterator<Item = &'a FeatureRule> + Clone, metadata: &Metadata) -> Option<Self> {
        let of_column = |column: &crate::model::metadata::Column| {
            let feature = metadata.features[column.feature].name.as_str();
            let mut gates = Column::default();
            for rule in rules.clone().filter(|rule| rule.matches(feature, &column.name)) {
                gates.min_absolute = rule.min_absolute.unwrap_or(gates.min_absolute);
                gates.min_relative = rule.min_relative.unwrap_or(gates.min_relative);
                gates.direction = rule.direction.unwrap_or(gates.direction);
                gates.normal_range = rule.normal_range.or(gates.normal_range);
            }
            gates
        };
        let columns: Vec<Column> = metadata.columns.iter().map(of_column).collect();
        columns.iter().any(|column| *column != Column::default()).then_some(Self(columns))
    }

    /// What holds an anomalous row back. `errors` are the columns' parts in its error; `told` gives a column's value and
    /// what was expected, in the field's own unit; `is_above` says whether the row's own score with these errors is above
    /// the limit.
    pub fn hold_back(
        &self,
        mut errors: Vec<f64>,
        told: impl Fn(usize) -> (f64, f64),
        is_above: impl FnOnce(&[f64]) -> bool,
    ) -> Option<Suppression> {
        let mut largest: Option<(f64, Suppression)> = None;
        for (at, (column, error)) in self.0.iter().zip(&mut errors).enumerate().filter(|(_, (_, error))| **error > 0.0)
        {
            if let Some(reason) = column.hold_back(told(at)) {
                // Of equal parts the first column's counts, as in the explanation.
                if largest.is_none_or(|(most, _)| *error > most) {
                    largest = Some((*error, reason));
                }
                *error = 0.0;
            }
        }
        largest.filter(|_| !is_above(&errors)).map(|(_, reason)| reason)
    }
}

impl FeatureRule {
    /// Whether it is meant for this column of this feature.
    pub fn matches(&self, feature: &str, column: &str) -> bool {
        self.name.matches(column) || self.name.matches(feature)
    }
}

impl Column {
    /// What is no number holds nothing back.
    fn hold_back(&self, (value, expected): (f64, f64)) -> Option<Suppression> {
        let deviation = value - expected;
        if deviation.abs() < self.min_absolute || deviation.abs() < self.min_relative * expected.abs() {
            return Some(Suppression::DeviationTooSmall);
        }
        let unwatched = match self.direction {
            Direction::Up => deviation <= 0.0,
            Direction::Down => deviation >= 0.0,
            Direction::Both => false,
        };
        if unwatched {
            return Some(Suppression::Direction);
        }
        let within = |range: NormalRange| value >= range.low && value <= range.high;
        self.normal_range.is_some_and(within).then_some(Suppression::WithinRange)
    }
}

#[cfg(test)]
mod tests {
    use Suppression::{DeviationTooSmall, Direction as Unwatched, WithinRange};

    use super::*;
    use crate::model::metadata::fixture::metadata;

    fn rule(name: &str) -> FeatureRule {
        let name = Pattern::new(name).unwrap();
        FeatureRule { name, min_absolute: None, min_relative: None, direction: None, normal_range: None }
    }

    fn resolve(rules: &[FeatureRule], columns: usize) -> Option<ColumnGates> {
        ColumnGates::resolve(rules.iter(), &metadata(columns))
    }

    /// What becomes of a row of one column.
    fn one(rule: FeatureRule, value: f64, expected: f64) -> Option<Suppression> {
        resolve(&[rule], 1).unwrap().hold_back(vec![9.0], |_| (value, expected), |errors| errors[0] > 1.0)
    }

    #[test]
    fn a_deviation_has_to_exceed_both_sizes() {
        let sizes = |absolute, relative| FeatureRule { min_absolute: absolute, min_relative: relative, ..rule("c0") };
        assert_eq!(one(sizes(Some(2.0), None), 11.9, 10.0), Some(DeviationTooSmall));
        assert_eq!(one(sizes(Some(2.0), None), 7.0, 10.0), None, "downwards too");
        assert_eq!(one(sizes(Some(2.0), None), 12.0, 10.0), None, "the size itself is enough");
        assert_eq!(one(sizes(None, Some(0.5)), -14.0, -10.0), Some(DeviationTooSmall));
        assert_eq!(one(sizes(None, Some(0.5)), -16.0, -10.0), None);
        assert_eq!(one(sizes(Some(2.0), Some(0.5)), 13.0, 10.0), Some(DeviationTooSmall));
        assert_eq!(one(sizes(Some(8.0), Some(0.5)), 16.0, 10.0), Some(DeviationTooSmall));
        assert_eq!(one(sizes(Some(8.0), Some(0.5)), 18.0, 10.0), None);
    }

    #[test]
    fn only_the_watched_direction_passes() {
        let towards = |direction| FeatureRule { direction: Some(direction), ..rule("c0") };
        assert_eq!(one(towards(Direction::Up), 11.0, 10.0), None);
        assert_eq!(one(towards(Direction::Up), 9.0, 10.0), Some(Unwatched));
        assert_eq!(one(towards(Direction::Down), 9.0, 10.0), None);
        assert_eq!(one(towards(Direction::Down), 11.0, 10.0), Some(Unwatched));
        assert_eq!(resolve(&[towards(Direction::Both)], 1), None, "both ways is no gate");
    }

    #[test]
    fn a_value_in_its_normal_range_can_not_be_wrong() {
        let range = FeatureRule { normal_range: NormalRange::new(-1.0, 20.0), ..rule("c*") };
        assert_eq!(one(range.clone(), 20.0, 90.0), Some(WithinRange), "the ends belong to it");
        assert_eq!(one(range.clone(), 20.1, 90.0), None);
        assert_eq!(one(range, -1.1, 90.0), None);
        for (low, high) in [(2.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
            assert_eq!(NormalRange::new(low, high), None);
        }
    }

    #[test]
    fn what_is_no_number_holds_nothing_back() {
        let all = FeatureRule {
            min_absolute: Some(1e300),
            min_relative: Some(1e300),
            direction: Some(Direction::Up),
            normal_range: NormalRange::new(-1e300, 1e300),
            ..rule("*")
        };
        assert_eq!(one(all.clone(), f64::NAN, 1.0), None);
        assert_eq!(one(all, f64::INFINITY, f64::INFINITY), None);
    }

    #[test]
    fn a_row_is_held_back_when_the_columns_that_are_left_do_not_suffice_for_the_reason_of_the_largest_part() {
        let rules = [
            FeatureRule { min_absolute: Some(5.0), ..rule("c0") },
            FeatureRule { direction: Some(Direction::Down), ..rule("c1") },
        ];
        let gates = resolve(&rules, 3).unwrap();
        let told = |at: usize| [(1.0, 0.0), (1.0, 0.0), (1.0, 0.0)][at];
        let hold = |errors: [f64; 3]| gates.hold_back(errors.to_vec(), told, |left| left.iter().sum::<f64>() > 10.0);
        assert_eq!(hold([20.0, 30.0, 1.0]), Some(Unwatched));
        assert_eq!(hold([30.0, 20.0, 1.0]), Some(DeviationTooSmall));
        assert_eq!(hold([20.0, 30.0, 11.0]), None, "the third column is enough by itself");
        assert_eq!(hold([0.0, 0.0, 9.0]), None, "no column was left out");
    }

    #[test]
    fn the_last_rule_that_sets_something_wins_and_leaves_the_rest() {
        let rules = [
            FeatureRule { min_absolute: Some(5.0), direction: Some(Direction::Up), ..rule("*") },
            FeatureRule { min_absolute: Some(1.0), ..rule("c1") },
            FeatureRule { direction: Some(Direction::Both), ..rule("c?") },
        ];
        let ColumnGates(columns) = resolve(&rules, 2).unwrap();
        assert_eq!(columns[0], Column { min_absolute: 5.0, ..Column::default() });
        assert_eq!(columns[1], Column { min_absolute: 1.0, ..Column::default() });
        assert_eq!(resolve(&[rule("*")], 2), None);
        assert_eq!(resolve(&[FeatureRule { min_absolute: Some(1.0), ..rule("x") }], 2), None);
    }

    #[test]
    fn a_feature_of_several_columns_is_matched_by_its_own_name_too() {
        let mut metadata = metadata(3);
        (metadata.columns[1].name, metadata.columns[2].name) = ("mode=idle".to_owned(), "mode=busy".to_owned());
        (metadata.columns[1].feature, metadata.columns[2].feature) = (1, 1);
        metadata.features[1].name = "mode".to_owned();
        let limited = |name: &str| {
            let rules = [FeatureRule { min_absolute: Some(1.0), ..rule(name) }];
            let gates = ColumnGates::resolve(rules.iter(), &metadata);
            gates.map(|ColumnGates(columns)| columns.iter().map(|column| column.min_absolute > 0.0).collect())
        };
        assert_eq!(limited("mode"), Some(vec![false, true, true]));
        assert_eq!(limited("mode=busy"), Some(vec![false, false, true]));
    }
}
