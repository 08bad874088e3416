//! One model's run over the withheld rows, by the scorer and the judge that production uses.

use std::collections::HashMap;

use super::plants::{Planted, Plants, Scored};
use crate::{
    config::settings::{EntityBudget, Settings},
    detect::{
        LoadError, ScoreError, Scorer, Scorers,
        calibrate::CalibrationError,
        incident::{IncidentChange, IncidentState},
        judge::{EntityJudgement, Judge},
    },
    model::Model,
    record::Position,
    train::{
        held_back::{score_windows, unsmoothed},
        sample::{SampleError, SampleRecord, SampleRows},
        split,
    },
};

/// Why a model can't be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The model can't be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The model can't score.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// No withheld record can be used.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The calibration gives no limit for the budget.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
}

/// A model, the withheld rows as it sees them, and its residuals.
pub(in crate::train) struct Trial<'a> {
    pub(in crate::train) model: &'a Model,
    pub(in crate::train) rows: SampleRows,
    scorer: Box<dyn Scorer>,
    /// Rows of each window, `window` per entry.
    windows: Vec<usize>,
    /// `windows * columns`, scaled units.
    pub(in crate::train) residuals: Vec<f32>,
    of_position: HashMap<Position, usize>,
}

/// Anomalous rows after which an incident counts again.
const LONG: u32 = 100;

/// What a limit makes of the withheld rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::train) struct Alarms {
    /// Anomalous rows.
    pub(in crate::train) rows: usize,
    /// Incidents. One never reaches from one run into the next, and one that goes on counts again after every
    /// [`LONG`] anomalous rows: a limit below everything would give a single one otherwise.
    pub(in crate::train) incidents: usize,
}

impl<'a> Trial<'a> {
    /// Decodes the records with the model's features and scores all full windows.
    pub(in crate::train) fn run(
        model: &'a Model,
        records: &[SampleRecord],
        (settings, scorers): (&Settings, &dyn Scorers),
    ) -> Result<Self, TrialError> {
        let metadata = &model.metadata;
        let impute = metadata.columns.iter().map(|column| column.impute).collect();
        let rows = SampleRows::read(records, &settings.record, (metadata.features.clone(), impute))?;
        Self::on(model, rows, scorers)
    }

    /// Scores all full windows of rows with the model's features.
    pub(in crate::train) fn on(model: &'a Model, rows: SampleRows, scorers: &dyn Scorers) -> Result<Self, TrialError> {
        let scorer = scorers.scorer(model)?;
        let metadata = &model.metadata;
        let (windows, _) = split::windows(&rows, metadata.window);
        let of_position = rows.positions.iter().enumerate().map(|(row, position)| (*position, row)).collect();
        let mut trial = Self { model, rows, scorer, windows, residuals: Vec::new(), of_position };
        trial.residuals = trial.score(&|_, _| {})?;
        Ok(trial)
    }

    /// Full windows.
    pub(in crate::train) fn len(&self) -> usize {
        self.windows.len() / self.model.metadata.window
    }

    /// Entities whose rows they are.
    pub(in crate::train) fn entities(&self) -> usize {
        self.rows.names.len()
    }

    /// The row that a window ends with.
    pub(in crate::train) fn newest(&self, window: usize) -> usize {
        self.windows[(window + 1) * self.model.metadata.window - 1]
    }

    /// The row of a record.
    pub(in crate::train) fn row_of(&self, position: Position) -> Option<usize> {
        self.of_position.get(&position).copied()
    }

    /// Appends a window's values, oldest row first.
    pub(in crate::train) fn append(&self, window: usize, values: &mut Vec<f32>) {
        let rows = self.model.metadata.window;
        self.rows.append(&self.windows[window * rows..(window + 1) * rows], values);
    }

    /// Residuals of all windows after `change` had its way with the newest row of each.
    fn score(&mut self, change: &dyn Fn(usize, &mut [f32])) -> Result<Vec<f32>, ScoreError> {
        let (width, window, count) = (self.rows.width(), self.model.metadata.window, self.len());
        let Self { rows, windows, scorer, .. } = self;
        score_windows(scorer.as_mut(), count, &mut |at, values| {
            rows.append(&windows[at * window..(at + 1) * window], values);
            let newest = values.len() - width;
            change(at, &mut values[newest..]);
        })
    }

    /// Scores of each planted row as it came and with its plant, before smoothing; `None` where the model has no window
    /// that ends with it.
    pub(in crate::train) fn plant(&mut self, plants: &Plants) -> Result<Vec<Option<Scored>>, ScoreError> {
        let width = self.rows.width();
        let places = plants.places(&self.rows);
        let planted: Vec<Option<Planted>> = (0..self.len())
            .map(|window| {
                let row = self.newest(window);
                let plant = plants.of(self.rows.positions[row])?;
                let donor = plants.donor(plant).map_or(Some(row), |donor| self.row_of(donor))?;
                Some(plants.apply(plant, &places, (&self.rows, row, donor)))
            })
            .collect();
        let residuals = self.score(&|window, newest| {
            if let Some(planted) = &planted[window] {
                newest.copy_from_slice(&planted.values);
            }
        })?;
        let judge = Judge::new(&unsmoothed(&self.model.metadata), f64::INFINITY);
        let mut memories = HashMap::<u32, EntityJudgement>::new();
        let mut scored = vec![None; plants.len()];
        for (window, planted) in planted.iter().enumerate() {
            let (row, at) = (self.newest(window), window * width..(window + 1) * width);
            let memory = memories.entry(self.rows.entities[row]).or_insert_with(|| judge.enter(self.name(row)));
            // What was planted must not be remembered.
            let mut beside = memory.clone();
            let own = judge.judge(&self.residuals[at.clone()], self.imputed(row), memory).score;
            if let Some(Planted { plant, imputed, .. }) = planted {
                let planted = judge.judge(&residuals[at], imputed, &mut beside).score;
                scored[*plant] = Some(Scored { own, planted });
            }
        }
        Ok(scored)
    }

    /// The entity of a row.
    fn name(&self, row: usize) -> &str {
        &self.rows.names[self.rows.entities[row] as usize]
    }

    fn imputed(&self, row: usize) -> &[bool] {
        let width = self.rows.width();
        &self.rows.imputed[row * width..(row + 1) * width]
    }

    /// What production's judge says of each row, smoothed and by running statistics; no number for a row that ends no
    /// window.
    pub(in crate::train) fn judged(&self) -> Vec<f64> {
        let judge = Judge::new(&self.model.metadata, f64::INFINITY);
        let mut memories = HashMap::<u32, EntityJudgement>::new();
        let mut scores = vec![f64::NAN; self.rows.len()];
        for (window, residuals) in self.residuals.chunks_exact(self.rows.width()).enumerate() {
            let row = self.newest(window);
            let memory = memories.entry(self.rows.entities[row]).or_insert_with(|| judge.enter(self.name(row)));
            scores[row] = judge.judge(residuals, self.imputed(row), memory).score;
        }
        scores
    }

    /// Judges all windows as production would, and counts what is above the limit for the budget.
    pub(in crate::train) fn alarms(&self, budget: EntityBudget) -> Result<Alarms, CalibrationError> {
        let metadata = &self.model.metadata;
        let judge = Judge::new(metadata, metadata.calibration.limit(budget)?);
        let (width, quiet) = (self.rows.width(), metadata.scoring.incident_quiet_rows);
        let mut entities = HashMap::<u32, (EntityJudgement, IncidentState, u32)>::new();
        let mut alarms = Alarms { rows: 0, incidents: 0 };
        for (window, residuals) in self.residuals.chunks_exact(width).enumerate() {
            let row = self.newest(window);
            let new = || (judge.enter(self.name(row)), IncidentState::default(), 0);
            let (memory, incident, run) = entities.entry(self.rows.entities[row]).or_insert_with(new);
            if *run != self.rows.runs[row] {
                (*run, *incident) = (self.rows.runs[row], IncidentState::default());
            }
            let judged = judge.judge(residuals, self.imputed(row), memory);
            let change = incident.advance(judged.anomalous, quiet);
            alarms.rows += usize::from(judged.anomalous);
            let goes_on = incident.open().is_some_and(|anomalies| anomalies % LONG == 0);
            let counts = matches!(change, IncidentChange::Opened) || (judged.anomalous && goes_on);
            alarms.incidents += usize::from(counts);
        }
        Ok(alarms)
    }
}
