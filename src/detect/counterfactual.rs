//! What a row would have scored, had its leading features been what the model expected of them: whether the features that
//! an incident names do explain it.

use serde::{Deserialize, Serialize};

use super::{
    explain::{Explainer, JudgedRow},
    judge::{EntityJudgement, Judge, Judged},
};

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Counterfactual {
    /// The judged score that the row would have had; finite.
    pub score: f64,
    /// Whether the row would not have been anomalous.
    pub under_limit: bool,
}

/// Who can tell.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Knows what was expected.
    pub explainer: &'a Explainer,
    /// Judges again.
    pub judge: &'a Judge,
    /// How many features are named.
    pub top_features: usize,
}

impl Asker<'_> {
    /// Appends the window of a judged row to `windows`, with the expected values of the row's top features in place of those
    /// that came. `window` has its `L * D` values in the columns' own units, the judged row last; `entity` is what is
    /// remembered after that row.
    ///
    /// Only the judged row is changed, as only its own values were ever compared with what was expected of them: what
    /// should stand in the rows before it is not known, and they were judged when they came.
    pub fn question(&self, window: &[f32], row: &JudgedRow<'_>, entity: &EntityJudgement, windows: &mut Vec<f32>) {
        windows.extend_from_slice(window);
        let newest = windows.len() - row.row.len();
        for (column, _) in self.explainer.top_columns(row, self.judge, entity, self.top_features) {
            windows[newest + column] = self.explainer.expected(column, row) as f32;
        }
    }

    /// What the residuals of that window say. `None` where they give no finite score.
    pub fn answer(
        &self,
        residuals: &[f32],
        row: &JudgedRow<'_>,
        entity: &EntityJudgement,
        judged: &Judged,
    ) -> Option<Counterfactual> {
        let again = self.judge.judge_again(residuals, &row.past(entity), judged);
        again.score.is_finite().then_some(Counterfactual { score: again.score, under_limit: !again.anomalous })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metadata::fixture::metadata;

    /// Three columns in units of 2, and what the last of two rows was to a judge whose limit is 4.
    fn asks(top_features: usize, told: impl FnOnce(&Asker<'_>, &JudgedRow<'_>, &EntityJudgement, &Judged)) {
        let mut metadata = metadata(3);
        metadata.columns.iter_mut().for_each(|column| column.scale = 2.0);
        let (explainer, judge) = (Explainer::new(&metadata), Judge::new(&metadata, 4.0));
        let asker = Asker { explainer: &explainer, judge: &judge, top_features };
        let (values, residuals, imputed) = ([10.0, 20.0, 30.0], [1.0, -4.0, 5.0], [false; 3]);
        let mut memory = EntityJudgement::default();
        let judged = judge.judge(&residuals, &imputed, &mut memory);
        assert!(judged.anomalous);
        let row = JudgedRow { row: &values, residuals: &residuals, differences: None, imputed: &imputed };
        told(&asker, &row, &memory, &judged);
    }

    #[test]
    fn the_top_features_of_the_newest_row_are_as_expected_and_all_else_is_as_it_came() {
        asks(2, |asker, row, memory, _| {
            let window = [7.0, 8.0, 9.0, 10.0, 20.0, 30.0];
            let mut windows = vec![0.5];
            asker.question(&window, row, memory, &mut windows);
            assert_eq!(windows, [0.5, 7.0, 8.0, 9.0, 10.0, 28.0, 20.0]);
        });
    }

    #[test]
    fn an_answer_is_the_verdict_on_the_residuals_that_the_model_gives_then() {
        asks(1, |asker, row, memory, judged| {
            let answer = |residuals: [f32; 3]| asker.answer(&residuals, row, memory, judged);
            assert_eq!(answer([1.0, -1.0, 1.0]), Some(Counterfactual { score: 1.0, under_limit: true }));
            let still = answer([1.0, -4.0, 0.0]).unwrap();
            assert!(!still.under_limit && (still.score - 17.0 / 3.0).abs() < 1e-12, "{still:?}");
            assert_eq!(answer([f32::NAN, 0.0, 0.0]), None, "no number is no answer");
        });
    }
}
