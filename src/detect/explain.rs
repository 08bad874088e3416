//! Which features are to blame: value, expected value, standardised error, share of the error, and since when.

use serde::{Deserialize, Serialize};

use super::{
    judge::{EntityJudgement, Judge, Past},
    leading::leading,
};
use crate::{
    model::metadata::{Column, Metadata},
    record::features::{FeatureKind, Transform},
};

/// One feature's part in an anomaly.
#[derive(Debug, Clone, PartialEq)]
pub struct Blame {
    /// The column's name.
    pub name: String,
    /// What came, in the field's own unit.
    pub value: f64,
    /// What the model expected, in the field's own unit.
    pub expected: f64,
    /// Standardised error: how far its residual was from what is usual for it, standard deviations. Positive above.
    pub error: f64,
    /// Share of the row's error, 0..=1: the square of `error` over the sum of such squares of all columns.
    pub share: f64,
    /// Rows before this one in which it began to stray; see [`EntityJudgement::onset`].
    pub onset: Option<u8>,
}

/// What came in a column, and how far that was from what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// What came, in the field's own unit.
    pub value: f64,
    /// What the model expected, in the field's own unit.
    pub expected: f64,
    /// Standardised error, standard deviations.
    pub error: f64,
}

/// What [`Explainer::top`] looks at: one judged row.
#[derive(Debug, Clone, Copy)]
pub struct JudgedRow<'a> {
    /// The row's values, one per column, columns' own units.
    pub row: &'a [f32],
    /// Residuals in scaled units.
    pub residuals: &'a [f32],
    /// Values minus what was expected, in scaled units, where the residuals are something else.
    pub differences: Option<&'a [f32]>,
    /// Which values were imputed.
    pub imputed: &'a [bool],
}

impl<'a> JudgedRow<'a> {
    /// As the judge looks at it, given what is remembered of its entity since.
    pub fn past(&self, entity: &'a EntityJudgement) -> Past<'a> {
        Past { residuals: self.residuals, imputed: self.imputed, entity }
    }
}

/// Explains rows of one model.
#[derive(Debug, Clone)]
pub struct Explainer {
    columns: Vec<Column>,
    inverse: Vec<fn(f64) -> f64>,
}

impl Explainer {
    /// An explainer for the model with `metadata`.
    pub fn new(metadata: &Metadata) -> Self {
        Self { columns: metadata.columns.clone(), inverse: inverse(metadata) }
    }

    /// The `count` columns with the largest share of the error, largest first; columns without error are left out.
    pub fn top(&self, judged: &JudgedRow<'_>, judge: &Judge, entity: &EntityJudgement, count: usize) -> Vec<Blame> {
        let blame = |(c, share): (usize, f32)| {
            let Compared { value, expected, error } = self.compared(c, judged, judge, entity);
            let name = self.columns[c].name.clone();
            Blame { name, value, expected, error, share: f64::from(share), onset: entity.onset(c) }
        };
        self.top_columns(judged, judge, entity, count).into_iter().map(blame).collect()
    }

    /// The same columns by their numbers, with their shares.
    pub fn top_columns(
        &self,
        judged: &JudgedRow<'_>,
        judge: &Judge,
        entity: &EntityJudgement,
        count: usize,
    ) -> Vec<(usize, f32)> {
        let shares = judge.shares(&judged.past(entity));
        leading(shares.len(), count, |c| shares[c].into()).into_iter().map(|c| (c, shares[c])).collect()
    }

    /// What came in a column and what the model expected there, in the field's own unit.
    pub fn value_and_expected(&self, column: usize, judged: &JudgedRow<'_>) -> (f64, f64) {
        let inverse = self.inverse[column];
        (inverse(f64::from(judged.row[column])), inverse(self.expected(column, judged)))
    }

    /// Each column as it came and as it was expected.
    pub fn compare(&self, judged: &JudgedRow<'_>, judge: &Judge, entity: &EntityJudgement) -> Vec<Compared> {
        (0..self.columns.len()).map(|column| self.compared(column, judged, judge, entity)).collect()
    }

    fn compared(&self, column: usize, judged: &JudgedRow<'_>, judge: &Judge, entity: &EntityJudgement) -> Compared {
        let (value, expected) = self.value_and_expected(column, judged);
        Compared { value, expected, error: judge.standardised(column, &judged.past(entity)) }
    }

    /// The column with the largest share of the error; `None` where there is no error.
    pub fn top_column(&self, judged: &JudgedRow<'_>, judge: &Judge, entity: &EntityJudgement) -> Option<usize> {
        let shares = judge.shares(&judged.past(entity));
        // Of equal shares the first column's counts, as in `top`.
        (0..shares.len()).rev().filter(|&c| shares[c] > 0.0).max_by(|&a, &b| shares[a].total_cmp(&shares[b]))
    }

    /// What the model expected in a column, in the column's unit, which is what windows hold.
    pub fn expected(&self, c: usize, judged: &JudgedRow<'_>) -> f64 {
        let column = &self.columns[c];
        if column.residual_cap.is_finite() {
            // Constant in training: nothing else was ever expected, and the capped residual can't say how far off it is.
            return f64::from(column.center);
        }
        let differences = judged.differences.unwrap_or(judged.residuals);
        column.below(judged.row[c], differences[c])
    }
}

/// Per column what leads from its values back to the field's own unit.
pub(super) fn inverse(metadata: &Metadata) -> Vec<fn(f64) -> f64> {
    let of_column = |column: &Column| match metadata.features[column.feature].kind {
        FeatureKind::Numeric { transform: Transform::Log1p }
        | FeatureKind::Grid { transform: Transform::Log1p, .. } => signed_expm1 as fn(f64) -> f64,
        _ => |value| value,
    };
    metadata.columns.iter().map(of_column).collect()
}

/// Inverse of sign(x) * log(1 + |x|).
fn signed_expm1(value: f64) -> f64 {
    value.signum() * value.abs().exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{knots::Knots, metadata::fixture::metadata};

    fn top(metadata: &Metadata, judged: &JudgedRow<'_>, count: usize) -> Vec<Blame> {
        Explainer::new(metadata).top(judged, &Judge::new(metadata, 1.0), &EntityJudgement::default(), count)
    }

    #[test]
    fn features_are_named_by_their_share_and_those_without_error_are_left_out() {
        let mut metadata = metadata(4);
        (metadata.columns[1].scale, metadata.columns[1].center) = (2.0, 10.0);
        let residuals = [1.0, 3.0, 0.0, 5.0];
        let judged = JudgedRow {
            row: &[4.0, 20.0, 7.0, 9.0],
            residuals: &residuals,
            differences: None,
            imputed: &[false, false, false, true],
        };
        let blames = top(&metadata, &judged, 5);
        let told: Vec<(&str, f64, f64)> = blames.iter().map(|b| (b.name.as_str(), b.value, b.expected)).collect();
        assert_eq!(told, [("c1", 20.0, 14.0), ("c0", 4.0, 3.0)]);
        assert!((blames[0].share - 0.9).abs() < 1e-6 && (blames[1].share - 0.1).abs() < 1e-6);
        assert_eq!(top(&metadata, &judged, 1).len(), 1);
        let judge = Judge::new(&metadata, 1.0);
        assert_eq!(Explainer::new(&metadata).top_column(&judged, &judge, &EntityJudgement::default()), Some(1));
    }

    #[test]
    fn where_residuals_are_no_differences_the_expected_value_is_told_by_the_differences() {
        let mut metadata = metadata(2);
        (metadata.columns[1].scale, metadata.columns[1].center) = (2.0, 10.0);
        let judged = JudgedRow {
            row: &[4.0, 20.0],
            residuals: &[0.5, 3.0],
            differences: Some(&[1.0, 4.0]),
            imputed: &[false, false],
        };
        let blames = top(&metadata, &judged, 2);
        assert_eq!((blames[0].expected, blames[1].expected), (12.0, 3.0));
        assert!((blames[0].share - 9.0 / 9.25).abs() < 1e-6);
    }

    #[test]
    fn where_the_scale_bends_the_expected_value_is_the_one_that_lies_the_difference_below() {
        let mut metadata = metadata(1);
        (metadata.columns[0].scale, metadata.columns[0].center) = (2.0, 10.0);
        metadata.columns[0].knots = Some(Knots::new(vec![(0.0, 0.0), (1.0, 4.0), (2.0, 5.0)]).unwrap());
        let expected = |row: f32, residual: f32| {
            let judged = JudgedRow { row: &[row], residuals: &[residual], differences: None, imputed: &[false] };
            let blame = top(&metadata, &judged, 1).remove(0);
            assert_eq!(blame.value, f64::from(row));
            blame.expected
        };
        // 14 is 2 when divided, bent 5; 3 less is 2, half a divided unit. 20 and 0 lie beyond the knots.
        assert_eq!((expected(14.0, 3.0), expected(14.0, 0.5)), (11.0, 13.0));
        assert_eq!((expected(20.0, 8.0), expected(0.0, -24.0)), (10.0, 12.0));
        // However far off it is, there is a number to tell.
        assert!(expected(f32::MAX, f32::MAX).is_finite());
    }

    #[test]
    fn of_a_constant_column_its_centre_is_expected_whatever_the_capped_residual_says() {
        let mut metadata = metadata(1);
        (metadata.columns[0].center, metadata.columns[0].residual_cap) = (3.0, 1.0);
        let blames =
            top(&metadata, &JudgedRow { row: &[50.0], residuals: &[1.0], differences: None, imputed: &[false] }, 1);
        assert_eq!((blames[0].value, blames[0].expected, blames[0].share), (50.0, 3.0, 1.0));
    }

    #[test]
    fn a_transformed_feature_is_told_in_the_fields_own_unit() {
        let mut metadata = metadata(1);
        metadata.features[0].kind = FeatureKind::Numeric { transform: Transform::Log1p };
        let row = [-(101_f32.ln())];
        let blames =
            top(&metadata, &JudgedRow { row: &row, residuals: &[row[0]], differences: None, imputed: &[false] }, 1);
        assert!((blames[0].value + 100.0).abs() < 1e-3 && blames[0].expected.abs() < 1e-9, "{blames:?}");
    }
}
