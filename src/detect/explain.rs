//! Which features are to blame: value, expected value and share of the error.

use super::judge::{EntityJudgement, Judge};
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
    /// Share of the row's standardised error, 0..=1.
    pub share: f64,
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
        let shares = judge.shares(judged.residuals, judged.imputed, entity);
        let mut order: Vec<usize> = (0..shares.len()).filter(|&c| shares[c] > 0.0).collect();
        let larger_first = |a: &usize, b: &usize| shares[*b].total_cmp(&shares[*a]).then(a.cmp(b));
        if count < order.len() {
            // There may be as many as a grid has cells.
            order.select_nth_unstable_by(count, larger_first);
            order.truncate(count);
        }
        order.sort_by(larger_first);
        order
            .into_iter()
            .map(|c| {
                let (value, expected) = self.value_and_expected(c, judged);
                Blame { name: self.columns[c].name.clone(), value, expected, share: f64::from(shares[c]) }
            })
            .collect()
    }

    /// What came in a column and what the model expected there, in the field's own unit.
    pub fn value_and_expected(&self, column: usize, judged: &JudgedRow<'_>) -> (f64, f64) {
        let inverse = self.inverse[column];
        (inverse(f64::from(judged.row[column])), inverse(self.expected(column, judged)))
    }

    /// Value and expected value of each column, fields' own units.
    pub fn compare(&self, judged: &JudgedRow<'_>) -> Vec<(f64, f64)> {
        (0..self.columns.len()).map(|column| self.value_and_expected(column, judged)).collect()
    }

    /// The column with the largest share of the error; `None` where there is no error.
    pub fn top_column(&self, judged: &JudgedRow<'_>, judge: &Judge, entity: &EntityJudgement) -> Option<usize> {
        let shares = judge.shares(judged.residuals, judged.imputed, entity);
        // Of equal shares the first column's counts, as in `top`.
        (0..shares.len()).rev().filter(|&c| shares[c] > 0.0).max_by(|&a, &b| shares[a].total_cmp(&shares[b]))
    }

    fn expected(&self, c: usize, judged: &JudgedRow<'_>) -> f64 {
        let column = &self.columns[c];
        if column.residual_cap.is_finite() {
            // Constant in training: nothing else was ever expected, and the capped residual can't say how far off it is.
            return f64::from(column.center);
        }
        let differences = judged.differences.unwrap_or(judged.residuals);
        f64::from(judged.row[c]) - f64::from(differences[c]) * f64::from(column.scale)
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
    use crate::model::metadata::fixture::metadata;

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
