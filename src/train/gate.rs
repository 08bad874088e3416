//! The gate: what a newly trained model has to show before it may take the place of the one in use.
//!
//! It is tried on rows that neither model has seen, in time order, by the scorer and the judge that production uses. Each
//! check says what was measured, what the bound is, and in a sentence what that means.

mod allowance;
mod export;
pub(super) mod plants;
pub(super) mod trial;

use serde::{Deserialize, Serialize};

pub use trial::TrialError;

use super::{Candidate, Yardstick, decide::suits_components, recipe::varying_columns, sample::SampleRecord};
use crate::{
    config::settings::{EntityBudget, Settings},
    detect::{LoadError, Scorers, calibrate::SECONDS_PER_DAY, judge::raw_score},
    model::{Model, graph::GraphError},
};
use plants::{Plants, Scored, Separation};
use trial::Trial;

/// Fewer withheld windows than this tell nothing.
pub const MIN_WINDOWS: usize = 100;
/// Share of the withheld records that the candidate may be unable to decode.
const UNUSABLE: f64 = 0.01;
/// A difference counts from this many standard errors on: by chance alone one contest in 20 between equals is further off.
pub const SURE: f64 = 1.645;

/// What is checked, named by what a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// A withheld row has no finite score.
    NonFinite,
    /// The model in use tells planted changes from normal rows better.
    WorseThanCurrent,
    /// Principal components with the same treatment do.
    WorseThanPca,
    /// The exported graph computes something else than the network that was trained.
    ExportDiffers,
    /// Normal rows would raise more alarms than the budget allows.
    AlarmRate,
}

impl Check {
    /// All, in the order in which they are told.
    pub const ALL: [Self; 5] =
        [Self::NonFinite, Self::WorseThanCurrent, Self::WorseThanPca, Self::ExportDiffers, Self::AlarmRate];

    /// The word in metrics, logs and the registry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NonFinite => "non_finite",
            Self::WorseThanCurrent => "worse_than_current",
            Self::WorseThanPca => "worse_than_pca",
            Self::ExportDiffers => "export_differs",
            Self::AlarmRate => "alarm_rate",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckResult {
    /// What was checked.
    pub check: Check,
    /// Whether the candidate passed.
    pub passed: bool,
    /// What was measured; `None` where there was nothing to measure.
    pub measured: Option<f64>,
    /// What it was held to.
    pub bound: Option<f64>,
    /// The same for people.
    pub sentence: String,
}

/// What the gate found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateReport {
    /// Withheld windows that the candidate was judged by.
    pub windows: usize,
    /// One result per check that was made.
    pub checks: Vec<CheckResult>,
}

impl GateReport {
    /// Whether the candidate may be put to work.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    /// Why not: the checks that failed.
    pub fn reasons(&self) -> Vec<Check> {
        self.checks.iter().filter(|check| !check.passed).map(|check| check.check).collect()
    }

    /// Why not, in a sentence for each check that failed.
    pub fn sentences(&self) -> Vec<String> {
        self.checks.iter().filter(|check| !check.passed).map(|check| check.sentence.clone()).collect()
    }

    /// Why not, in words.
    pub fn explanation(&self) -> String {
        self.sentences().join("; ")
    }
}

/// Why a candidate can't be judged.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Too few rows.
    #[error(
        "{windows} windows of rows that neither the new model nor the one in use has seen are too few to judge by, expected at least {least}; wait for more rows"
    )]
    TooFew {
        /// Windows there are.
        windows: usize,
        /// Windows needed.
        least: usize,
    },
    /// The candidate can't be tried.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// The trainer's own forward pass refuses.
    #[error("the trainer's own network can't be compared: {0}")]
    Graph(#[from] GraphError),
}

/// A candidate, what it is compared with, and the rows that decide.
#[derive(Clone, Copy)]
pub struct Contest<'a> {
    /// The new model.
    pub candidate: &'a Candidate,
    /// The model in use.
    pub current: Option<&'a Model>,
    /// Rows that neither has seen, in time order.
    pub withheld: &'a [SampleRecord],
    /// Checked settings.
    pub settings: &'a Settings,
    /// Makes scorers.
    pub scorers: &'a dyn Scorers,
}

/// What two models are compared by.
struct Compared {
    candidate: f64,
    other: f64,
    error: f64,
    rows: usize,
}

impl<'a> Contest<'a> {
    /// Judges the candidate. Where principal components do better, would pass, and the settings leave `model.kind` open and
    /// ask for nothing that they lack, they take its place. Gives the report with the candidate that it is about.
    ///
    /// # Errors
    /// As [`Contest::judge`].
    pub fn choose(&self) -> Result<(&'a Candidate, GateReport), GateError> {
        let report = self.judge()?;
        let network = &self.settings.training.network;
        let columns = &self.candidate.model.metadata.columns;
        let inputs = varying_columns(columns) * self.candidate.model.metadata.window;
        let open = network.kinds.is_none() && suits_components(network, inputs);
        match &self.candidate.yardstick {
            Yardstick::Components(components) if open && report.reasons().contains(&Check::WorseThanPca) => {
                let instead = Contest { candidate: components, ..*self }.judge()?;
                if !instead.passed() {
                    return Ok((self.candidate, report));
                }
                tracing::info!("{}; model.kind is left open, so they take the network's place", report.explanation());
                Ok((components, instead))
            }
            _ => Ok((self.candidate, report)),
        }
    }

    /// Makes every check.
    ///
    /// # Errors
    /// There are too few rows, or the candidate can't be tried for a reason that is no fault of the candidate.
    pub fn judge(&self) -> Result<GateReport, GateError> {
        let mut trial = match self.trial(&self.candidate.model) {
            Err(TrialError::Load(LoadError::Golden { index, got, expected })) => {
                return Ok(export::golden_differs(index, got, expected));
            }
            trial => trial?,
        };
        if trial.len() < MIN_WINDOWS {
            return Err(GateError::TooFew { windows: trial.len(), least: MIN_WINDOWS });
        }
        let checks = vec![
            self.finite(&trial),
            self.not_worse_than_current(&mut trial)?,
            self.not_worse_than_pca(&mut trial)?,
            self.export(&trial)?,
            self.alarm_rate(&trial)?,
        ];
        Ok(GateReport { windows: trial.len(), checks })
    }

    fn trial<'m>(&self, model: &'m Model) -> Result<Trial<'m>, TrialError> {
        Trial::run(model, self.withheld, (self.settings, self.scorers))
    }

    fn finite(&self, trial: &Trial<'_>) -> CheckResult {
        let variances: Vec<f32> = trial.model.metadata.columns.iter().map(|column| column.residual_variance).collect();
        let windows = trial.residuals.chunks_exact(variances.len());
        let lacking = windows.filter(|residuals| !raw_score(residuals, &variances).is_finite()).count();
        let allowed = (UNUSABLE * self.withheld.len() as f64).floor() as usize;
        let unusable = if trial.rows.unusable > allowed { trial.rows.unusable } else { 0 };
        let (rows, bad) = (trial.len(), lacking + unusable);
        let sentence = match (lacking, trial.rows.first_error.as_deref().filter(|_| unusable > 0)) {
            (0, None) => format!("each of {rows} withheld rows has a finite score"),
            (0, Some(why)) => format!("{unusable} withheld records can't be used with the new model's features: {why}"),
            (lacking, _) => format!("{lacking} of {rows} withheld rows have no finite score"),
        };
        result(Check::NonFinite, bad == 0, (bad as f64, 0.0), sentence)
    }

    fn not_worse_than_current(&self, trial: &mut Trial<'_>) -> Result<CheckResult, GateError> {
        let check = Check::WorseThanCurrent;
        let Some(current) = self.current else { return Ok(not_made(check, "no model is in use")) };
        let mut other = match self.trial(current) {
            Ok(other) => other,
            Err(error) => return Ok(not_made(check, &format!("the model in use can't score these rows: {error}"))),
        };
        let compared = self.compare(trial, &mut other)?;
        let Some(compared) = compared else {
            return Ok(not_made(check, "the model in use has no varying feature in common with the new one"));
        };
        let cure = "if its settings were changed on purpose, promote it by hand";
        Ok(self.compared(check, &compared, ("the model in use", cure)))
    }

    fn not_worse_than_pca(&self, trial: &mut Trial<'_>) -> Result<CheckResult, GateError> {
        let check = Check::WorseThanPca;
        let yardstick = match &self.candidate.yardstick {
            Yardstick::Components(yardstick) => yardstick,
            Yardstick::None(why) => return Ok(not_made(check, why)),
        };
        let mut other = self.trial(&yardstick.model)?;
        let compared = self.compare(trial, &mut other)?;
        let Some(compared) = compared else { return Ok(not_made(check, "no withheld feature varies")) };
        let cure = "set model.kind to pca, or give the network more rows (training.sample_rows)";
        Ok(self.compared(check, &compared, ("principal components with the same treatment", cure)))
    }

    /// How well both tell the same planted changes from the same rows; `None` where there is nothing to plant.
    fn compare(&self, trial: &mut Trial<'_>, other: &mut Trial<'_>) -> Result<Option<Compared>, GateError> {
        let ends: Vec<usize> = (0..trial.len())
            .map(|window| trial.newest(window))
            .filter(|row| other.row_of(trial.rows.positions[*row]).is_some())
            .collect();
        let plants = Plants::draw(&trial.rows, &ends, Some(&other.rows.features));
        let score = |trial: &mut Trial<'_>| trial.plant(&plants).map_err(TrialError::from);
        let (mine, theirs) = (score(trial)?, score(other)?);
        let both: Vec<(Scored, Scored)> = mine.into_iter().zip(theirs).filter_map(|(a, b)| a.zip(b)).collect();
        if both.len() < MIN_WINDOWS {
            return Ok(None);
        }
        let (mine, theirs): (Vec<Scored>, Vec<Scored>) = both.into_iter().unzip();
        let (candidate, other) = (Separation::of(&mine), Separation::of(&theirs));
        let error = candidate.error_of_difference(&other);
        Ok(Some(Compared { candidate: candidate.area, other: other.area, error, rows: mine.len() }))
    }

    fn compared(&self, check: Check, compared: &Compared, (whom, cure): (&str, &str)) -> CheckResult {
        let Compared { candidate, other, error, rows } = compared;
        let bound = other - self.settings.training.gate.tolerance - SURE * error;
        let passed = *candidate >= bound;
        let rest = if passed { String::new() } else { format!("; {cure}") };
        let sentence = format!(
            "the new model tells planted changes from normal rows in {:.1} % of cases, {whom} in {:.1} %, on {rows} withheld \
             rows; at least {:.1} % was asked for{rest}",
            100.0 * candidate,
            100.0 * other,
            100.0 * bound,
        );
        result(check, passed, (*candidate, bound), sentence)
    }

    fn alarm_rate(&self, trial: &Trial<'_>) -> Result<CheckResult, GateError> {
        let budget = self.settings.judging.budget.of_one_among(trial.entities() as f64);
        let alarms = trial.alarms(budget).map_err(TrialError::from)?;
        let calibration = &trial.model.metadata.calibration;
        let stretch = calibration.rows as f64 / trial.len() as f64;
        let (seen, expected, most, unit) = match budget {
            EntityBudget::PerDay(a_day) => {
                let days = trial.len() as f64 * calibration.interval_seconds.unwrap_or(0.0) / SECONDS_PER_DAY;
                let expected = a_day * days;
                (alarms.incidents, expected, allowance::most(expected, stretch), "incidents")
            }
            EntityBudget::Quantile(share) => {
                // Smoothing makes rows in alarm come in bunches, and a bunch is one event.
                let bunch = f64::from(trial.model.metadata.scoring.smoothing_span);
                let expected = share * trial.len() as f64;
                let most = (allowance::most(expected / bunch, stretch) as f64 * bunch) as u64;
                (alarms.rows, expected, most, "rows in alarm")
            }
        };
        let sentence = format!(
            "{} withheld rows, all judged normal by the model in use, give {seen} {unit} by the new one; its budget is {expected:.1}, and up \
             to {most} are within chance",
            trial.len()
        );
        Ok(result(Check::AlarmRate, seen as u64 <= most, (seen as f64, most as f64), sentence))
    }
}

fn result(check: Check, passed: bool, (measured, bound): (f64, f64), sentence: String) -> CheckResult {
    let number = |value: f64| value.is_finite().then_some(value);
    CheckResult { check, passed, measured: number(measured), bound: number(bound), sentence }
}

/// A check that has nothing to compare with is passed.
fn not_made(check: Check, why: &str) -> CheckResult {
    CheckResult { check, passed: true, measured: None, bound: None, sentence: format!("nothing to compare: {why}") }
}
