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
        let inverse = metadata
            .columns
            .iter()
            .map(|column| match metadata.features[column.feature].kind {
                FeatureKind::Numeric { transform: Transform::Log1p } => signed_expm1 as fn(f64) -> f64,
                _ => |value| value,
            })
            .collect();
        Self { columns: metadata.columns.clone(), inverse }
    }

    /// The `count` columns with the largest share of the error, largest first; columns without error are left out.
    pub fn top(&self, judged: &JudgedRow<'_>, judge: &Judge, entity: &EntityJudgement, count: usize) -> Vec<Blame> {
        let shares = judge.shares(judged.residuals, judged.imputed, entity);
        let mut order: Vec<usize> = (0..shares.len()).filter(|&c| shares[c] > 0.0).collect();
        order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]).then(a.cmp(&b)));
        order.truncate(count);
        order
            .into_iter()
            .map(|c| Blame {
                name: self.columns[c].name.clone(),
                value: (self.inverse[c])(f64::from(judged.row[c])),
                expected: (self.inverse[c])(self.expected(c, judged)),
                share: f64::from(shares[c]),
            })
            .collect()
    }

    fn expected(&self, c: usize, judged: &JudgedRow<'_>) -> f64 {
        let column = &self.columns[c];
        if column.residual_cap.is_finite() {
            // Constant in training: nothing else was ever expected, and the capped residual can't say how far off it is.
            return f64::from(column.center);
        }
        f64::from(judged.row[c]) - f64::from(judged.residuals[c]) * f64::from(column.scale)
    }
}

/// Inverse of sign(x) * log(1 + |x|).
fn signed_expm1(value: f64) -> f64 {
    value.signum() * value.abs().exp_m1()
}
