//! What the model made of a batch.

use super::open_batch::OpenBatch;
use crate::detect::{ScoreError, Scorer, explain::JudgedRow};

/// Residuals of the rows that were scored last, and what was not as expected where they are something else.
#[derive(Debug, Default)]
pub(super) struct Scored {
    residuals: Vec<f32>,
    differences: Option<Vec<f32>>,
}

impl Scored {
    /// Scores `rows` windows. What the scorer tells beside the residuals is kept, for it may be asked of others before all
    /// of these are judged.
    pub(super) fn score(&mut self, scorer: &mut dyn Scorer, windows: &[f32], rows: usize) -> Result<(), ScoreError> {
        scorer.score(windows, rows, &mut self.residuals)?;
        match scorer.differences() {
            Some(differences) => {
                let kept = self.differences.get_or_insert_default();
                kept.clear();
                kept.extend_from_slice(differences);
            }
            None => self.differences = None,
        }
        Ok(())
    }

    /// A row of the batch that was scored, of `width` columns.
    pub(super) fn row<'a>(&'a self, batch: &'a OpenBatch, width: usize, index: usize) -> JudgedRow<'a> {
        let columns = index * width..(index + 1) * width;
        let window = batch.window(index);
        JudgedRow {
            row: &window[window.len() - width..],
            residuals: &self.residuals[columns.clone()],
            differences: self.differences.as_ref().map(|all| &all[columns.clone()]),
            imputed: &batch.imputed[columns],
        }
    }

    /// Residuals of a row of `width` columns.
    pub(super) fn residuals(&self, width: usize, index: usize) -> &[f32] {
        &self.residuals[index * width..(index + 1) * width]
    }
}
