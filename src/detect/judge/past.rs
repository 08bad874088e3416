//! What is asked of a row once it was judged: what its score is made of, and what other residuals would have given.
//!
//! Its entity's memory has taken it in by then. What the memory was before is worked out from what it is, so that nothing is
//! kept for the many rows that nobody asks about.

use super::{EntityJudgement, Judge, Judged, UPDATE_CLIP, VARIANCE_FLOOR, distance, error};

/// A judged row and what is remembered of its entity after it, before any other row. Slices have one entry per column.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// Its residuals.
    pub residuals: &'a [f32],
    /// Which of its values were imputed.
    pub imputed: &'a [bool],
    /// The memory.
    pub entity: &'a EntityJudgement,
}

impl Judge {
    /// Share of each column in the error of a row, in 0..=1; imputed columns have none.
    pub fn shares(&self, past: &Past<'_>) -> Vec<f32> {
        let errors = self.errors(past);
        let total: f64 = errors.iter().sum();
        let share = |error: f64| if total > 0.0 { (error / total) as f32 } else { 0.0 };
        errors.into_iter().map(share).collect()
    }

    /// Error of each column of a row, of which its own score is made: the squared distance of the residual from its mean,
    /// over its variance, both as they were before the row. Imputed columns have none.
    pub fn errors(&self, past: &Past<'_>) -> Vec<f64> {
        self.errors_of(past.residuals, past)
    }

    /// The standardised error of a column: the root of its error, with the sign of the residual's distance from its mean.
    /// Standard deviations.
    pub fn standardised(&self, column: usize, past: &Past<'_>) -> f64 {
        if past.imputed[column] {
            return 0.0;
        }
        let (mean, variance) = self.before(column, past);
        distance(past.residuals[column], mean) * f64::from(1.0 / variance).sqrt()
    }

    /// How the row would have been judged with other residuals: by what was known of its entity before it. The memory stays
    /// as it is.
    pub fn judge_again(&self, others: &[f32], past: &Past<'_>, judged: &Judged) -> Judged {
        let own = self.own_score_of(&self.errors_of(others, past), past.imputed);
        let score = judged.last + self.smoothing * (own - judged.last);
        Judged { raw_score: self.raw_score(others), score, anomalous: score.min(own) > judged.limit, ..*judged }
    }

    fn errors_of(&self, residuals: &[f32], past: &Past<'_>) -> Vec<f64> {
        let of_column = |c: usize| {
            let (mean, variance) = self.before(c, past);
            if past.imputed[c] { 0.0 } else { error(residuals[c], mean, variance) }
        };
        (0..residuals.len()).map(of_column).collect()
    }

    /// Mean and variance that a column's residual was judged by.
    fn before(&self, c: usize, past: &Past<'_>) -> (f32, f32) {
        let variance = self.variance_of(past.entity)[c];
        match (self.drift, past.entity.mean.get(c)) {
            (None, _) => (0.0, variance),
            (Some(_), None) => (self.base_mean[c], variance),
            (Some(_), Some(mean)) if past.imputed[c] => (*mean, variance),
            (Some(weight), Some(mean)) => {
                let floor = VARIANCE_FLOOR * past.entity.scale * self.base_variance[c];
                give_back(past.residuals[c], (*mean, variance), floor, weight)
            }
        }
    }
}

/// What the running statistics of a column were before they took this residual in: [`super::take_in`] the other way round.
/// Exact but for rounding, and but for a variance at its floor, which was higher before by a share of `weight` at most.
fn give_back(residual: f32, (mean, variance): (f32, f32), floor: f32, weight: f32) -> (f32, f32) {
    // As if the residual had been beyond the clip, where both move by as much as one at the clip.
    let clipped = variance / (1.0 + weight * (UPDATE_CLIP * UPDATE_CLIP - 1.0));
    let bound = UPDATE_CLIP * clipped.sqrt();
    let from = mean - weight * bound.copysign(residual - mean);
    if (residual - from).abs() >= bound {
        return (from, clipped);
    }
    let from = (mean - weight * residual) / (1.0 - weight);
    let step = residual - from;
    (from, ((variance - weight * step * step) / (1.0 - weight)).max(floor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{detect::judge::take_in, model::metadata::fixture::metadata};

    proptest! {
        #[test]
        fn what_was_known_before_a_row_is_worked_out_from_what_is_known_after_it(
            mean in -2.0_f32..2.0,
            variance in 0.3_f32..5.0,
            deviations in -40.0_f32..40.0,
            half_life in 2.0_f64..5000.0,
        ) {
            let weight = (1.0 - 0.5_f64.powf(1.0 / half_life)) as f32;
            let residual = mean + deviations * variance.sqrt();
            let (mut later_mean, mut later_variance) = (mean, variance);
            take_in((residual, false), (&mut later_mean, &mut later_variance), VARIANCE_FLOOR, weight);
            let found = give_back(residual, (later_mean, later_variance), VARIANCE_FLOOR, weight);
            let spread = variance.sqrt();
            prop_assert!((found.0 - mean).abs() <= 1e-4 * spread, "mean {} of {mean}", found.0);
            // A variance that fell to its floor is taken for it.
            let floor = later_variance == VARIANCE_FLOOR;
            let bound = if floor { weight } else { 1e-4 };
            prop_assert!((found.1 - variance).abs() <= bound * variance, "variance {} of {variance}", found.1);
        }
    }

    /// A judge whose running statistics move so fast that those after a row differ much from those before it.
    fn judge() -> Judge {
        let mut metadata = metadata(2);
        (metadata.scoring.half_life, metadata.scoring.smoothing_span) = (Some(4.0), 3);
        (metadata.scoring.smoothing_start, metadata.scoring.score_knee) = (1.0, 50.0);
        Judge::new(&metadata, 10.0)
    }

    const THERE: [bool; 2] = [false, false];

    /// Judges rows of an entity, and gives what became of the last one.
    fn last(judge: &Judge, rows: &[[f32; 2]]) -> (Judged, EntityJudgement) {
        let mut memory = EntityJudgement::default();
        let (row, before) = rows.split_last().expect("there are rows");
        for row in before {
            judge.judge(row, &THERE, &mut memory);
        }
        (judge.judge(row, &THERE, &mut memory), memory)
    }

    #[test]
    fn errors_are_those_that_the_score_is_made_of_and_not_those_that_the_row_itself_has_changed() {
        let judge = judge();
        let rows = [[1.0, -1.0], [0.5, 0.0], [9.0, -2.0]];
        let before = last(&judge, &rows[..2]).1;
        let (_, memory) = last(&judge, &rows);
        let past = Past { residuals: &rows[2], imputed: &THERE, entity: &memory };
        let errors = judge.errors(&past);
        for c in 0..2 {
            let expected = error(rows[2][c], before.mean[c], before.variance[c]);
            assert!((errors[c] - expected).abs() < 1e-4 * expected, "{} of {expected}", errors[c]);
            let standardised = judge.standardised(c, &past);
            assert!((standardised * standardised - errors[c]).abs() < 1e-9 * errors[c]);
            assert_eq!(standardised > 0.0, rows[2][c] > before.mean[c], "the sign is the direction");
        }
    }

    #[test]
    fn a_row_judged_again_with_its_own_residuals_is_judged_as_before_and_with_others_as_they_would_have_been() {
        let judge = judge();
        let rows = [[1.0, -1.0], [0.5, 0.0], [12.0, -2.0]];
        let (judged, memory) = last(&judge, &rows);
        let past = Past { residuals: &rows[2], imputed: &THERE, entity: &memory };
        let same = judge.judge_again(&rows[2], &past, &judged);
        assert!(judged.anomalous && same.anomalous && (same.score - judged.score).abs() < 1e-4 * judged.score);

        let other = [0.5, -2.0];
        let expected = last(&judge, &[rows[0], rows[1], other]).0;
        let found = judge.judge_again(&other, &past, &judged);
        assert!((found.score - expected.score).abs() < 1e-4, "{} of {}", found.score, expected.score);
        assert!(!found.anomalous && found.limit == judged.limit && found.raw_score == expected.raw_score);
    }

    #[test]
    fn shares_add_up_to_one_leave_imputed_columns_out_and_stand_the_largest_residual() {
        let mut metadata = metadata(2);
        metadata.columns[0].residual_variance = 4.0;
        let judge = Judge::new(&metadata, 10.0);
        let shares = |residuals: &[f32], imputed: &[bool]| {
            judge.shares(&Past { residuals, imputed, entity: &EntityJudgement::default() })
        };
        assert_eq!(shares(&[2.0, 3.0], &THERE), [0.1, 0.9]);
        assert_eq!(shares(&[2.0, 3.0], &[false, true]), [1.0, 0.0]);
        assert_eq!(shares(&[0.0, 0.0], &THERE), [0.0, 0.0]);
        assert_eq!(shares(&[f32::MAX, f32::MAX], &THERE), [0.2, 0.8]);
        let past = Past { residuals: &[-3.0, 3.0], imputed: &[false, true], entity: &EntityJudgement::default() };
        assert_eq!([0, 1].map(|column| judge.standardised(column, &past)), [-1.5, 0.0]);
    }
}
