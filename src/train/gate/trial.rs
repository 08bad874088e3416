//! One model's run over the withheld rows, by the scorer and the judge that production uses.

use std::collections::HashMap;

use super::plants::{Plants, Scored};
use crate::{
    config::settings::{AlarmBudget, Settings},
    detect::{
        LoadError, ScoreError, Scorer, Scorers,
        calibrate::CalibrationError,
        incident::{IncidentChange, IncidentState},
        judge::{EntityJudgement, Judge},
    },
    model::Model,
    record::Position,
    train::{
        held_back::{CHUNK, unsmoothed},
        sample::{SampleError, SampleRecord, SampleRows},
        split,
    },
};

/// Why a model can't be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The model can't be loaded.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// The model can't score.
    #[error("{0}")]
    Score(#[from] ScoreError),
    /// No withheld record can be used.
    #[error("{0}")]
    Sample(#[from] SampleError),
    /// The calibration gives no limit for the budget.
    #[error("{0}")]
    Calibration(#[from] CalibrationError),
}

/// A model, the withheld rows as it sees them, and its residuals.
pub(super) struct Trial<'a> {
    pub(super) model: &'a Model,
    pub(super) rows: SampleRows,
    scorer: Box<dyn Scorer>,
    /// Rows of each window, `window` per entry.
    windows: Vec<usize>,
    /// `windows * columns`, scaled units.
    pub(super) residuals: Vec<f32>,
    of_position: HashMap<Position, usize>,
}

/// What a limit makes of the withheld rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Alarms {
    /// Anomalous rows.
    pub(super) rows: usize,
    /// Incidents; one never reaches from one run into the next.
    pub(super) incidents: usize,
}

impl<'a> Trial<'a> {
    /// Decodes the records with the model's features and scores all full windows.
    pub(super) fn run(
        model: &'a Model,
        records: &[SampleRecord],
        (settings, scorers): (&Settings, &dyn Scorers),
    ) -> Result<Self, TrialError> {
        let scorer = scorers.scorer(model)?;
        let metadata = &model.metadata;
        let impute = metadata.columns.iter().map(|column| column.impute).collect();
        let rows = SampleRows::read(records, &settings.record, (metadata.features.clone(), impute))?;
        let (windows, _) = split::windows(&rows, metadata.window);
        let of_position = rows.positions.iter().enumerate().map(|(row, position)| (*position, row)).collect();
        let mut trial = Self { model, rows, scorer, windows, residuals: Vec::new(), of_position };
        trial.residuals = trial.score(&|_, _| true)?;
        Ok(trial)
    }

    /// Full windows.
    pub(super) fn len(&self) -> usize {
        self.windows.len() / self.model.metadata.window
    }

    /// The row that a window ends with.
    pub(super) fn newest(&self, window: usize) -> usize {
        self.windows[(window + 1) * self.model.metadata.window - 1]
    }

    /// The row of a record.
    pub(super) fn row_of(&self, position: Position) -> Option<usize> {
        self.of_position.get(&position).copied()
    }

    /// Appends a window's values, oldest row first.
    pub(super) fn append(&self, window: usize, values: &mut Vec<f32>) {
        let rows = self.model.metadata.window;
        for row in &self.windows[window * rows..(window + 1) * rows] {
            values.extend_from_slice(self.rows.row(*row));
        }
    }

    /// Residuals of all windows after `change` had its way with the newest row of each; where it says false a window is
    /// scored as it is.
    fn score(&mut self, change: &dyn Fn(usize, &mut [f32]) -> bool) -> Result<Vec<f32>, ScoreError> {
        let width = self.rows.width();
        let (count, mut all) = (self.len(), Vec::with_capacity(self.len() * width));
        let (mut values, mut residuals) = (Vec::new(), Vec::new());
        for first in (0..count).step_by(CHUNK) {
            values.clear();
            let chunk = first..count.min(first + CHUNK);
            for window in chunk.clone() {
                self.append(window, &mut values);
                let newest = values.len() - width;
                change(window, &mut values[newest..]);
            }
            self.scorer.score(&values, chunk.len(), &mut residuals)?;
            all.extend_from_slice(&residuals);
        }
        Ok(all)
    }

    /// Scores of each planted row as it came and with its plant, before smoothing; `None` where the model has no window
    /// that ends with it.
    pub(super) fn plant(&mut self, plants: &Plants) -> Result<Vec<Option<Scored>>, ScoreError> {
        let width = self.rows.width();
        let places = plants.places(&self.rows);
        let planted: Vec<Option<(usize, Vec<f32>, Vec<bool>)>> = (0..self.len())
            .map(|window| {
                let row = self.newest(window);
                let plant = plants.of(self.rows.positions[row])?;
                let donor = plants.donor(plant).map_or(Some(row), |donor| self.row_of(donor))?;
                let (values, imputed) = plants.apply(plant, &places, (&self.rows, row, donor));
                Some((plant, values, imputed))
            })
            .collect();
        let residuals = self.score(&|window, newest| {
            let values = planted[window].as_ref().map(|(_, values, _)| values);
            values.inspect(|values| newest.copy_from_slice(values)).is_some()
        })?;
        let judge = Judge::new(&unsmoothed(&self.model.metadata), f64::INFINITY);
        let mut memories = HashMap::<u32, EntityJudgement>::new();
        let mut scored = vec![None; plants.len()];
        for (window, planted) in planted.iter().enumerate() {
            let (row, at) = (self.newest(window), window * width..(window + 1) * width);
            let memory = memories.entry(self.rows.entities[row]).or_default();
            if let Some((plant, _, imputed)) = planted {
                let planted = judge.judge(&residuals[at.clone()], imputed, &mut memory.clone()).score;
                let own = judge.judge(&self.residuals[at], self.imputed(row), memory).score;
                scored[*plant] = Some(Scored { own, planted });
            } else {
                judge.judge(&self.residuals[at], self.imputed(row), memory);
            }
        }
        Ok(scored)
    }

    fn imputed(&self, row: usize) -> &[bool] {
        let width = self.rows.width();
        &self.rows.imputed[row * width..(row + 1) * width]
    }

    /// Judges all windows as production would, and counts what is above the limit for the budget.
    pub(super) fn alarms(&self, budget: &AlarmBudget) -> Result<Alarms, CalibrationError> {
        let metadata = &self.model.metadata;
        let judge = Judge::new(metadata, metadata.calibration.limit(budget)?);
        let (width, quiet) = (self.rows.width(), metadata.scoring.incident_quiet_rows);
        let mut entities = HashMap::<u32, (EntityJudgement, IncidentState, u32)>::new();
        let mut alarms = Alarms { rows: 0, incidents: 0 };
        for (window, residuals) in self.residuals.chunks_exact(width).enumerate() {
            let row = self.newest(window);
            let (memory, incident, run) = entities.entry(self.rows.entities[row]).or_default();
            if *run != self.rows.runs[row] {
                (*run, *incident) = (self.rows.runs[row], IncidentState::default());
            }
            let judged = judge.judge(residuals, self.imputed(row), memory);
            let change = incident.advance(judged.anomalous, judged.score, self.rows.times[row], quiet);
            alarms.rows += usize::from(judged.anomalous);
            alarms.incidents += usize::from(matches!(change, IncidentChange::Opened(_)));
        }
        Ok(alarms)
    }
}
