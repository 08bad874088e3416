//! A judged record as an observer sees it, and the event that tells of it.

use std::sync::Arc;

use super::incidents::Alarm;
use crate::{
    config::settings::{AlarmBudget, EntityBudget, Recalibration},
    detect::{
        calibrate::{Calibration, CalibrationError},
        counterfactual::Counterfactual,
        event::{AnomalyEvent, Origin, Verdict},
        explain::{Blame, Compared, Explainer, JudgedRow},
        gates::{Suppression, columns::ColumnGates},
        incident::{Evidence, IncidentChange, Mark, Opening},
        judge::{EntityJudgement, Judge, Judged},
        limit::Limit,
        severity::{Severity, SeverityBounds},
    },
    feedback::LEADING,
    model::Model,
    record::Position,
};

/// A budget of all entities is shared out anew when their number has changed by more than this share.
const SAME_SHARE: f64 = 0.05;

/// A judged record, lent to an [`Observer`](super::Observer).
pub struct Observed<'a> {
    /// Where it stands.
    pub position: Position,
    /// Whose record it is.
    pub entity: &'a str,
    /// Event time, microseconds since the epoch.
    pub time_us: i64,
    /// Scores and verdict.
    pub judged: Judged,
    /// What held its anomaly back, if it is one and was.
    pub suppressed: Option<Suppression>,
    /// What the row did to its entity's incident.
    pub incident: IncidentChange,
    /// The alarm that it raised.
    pub alarm: Option<Alarm>,
    /// What it would have scored with its top features as expected, if it opened an incident and that is a number.
    pub counterfactual: Option<Counterfactual>,
    pub(super) context: &'a Context,
    pub(super) row: JudgedRow<'a>,
    pub(super) memory: &'a EntityJudgement,
}

impl Observed<'_> {
    /// Probability that a normal row scores as high.
    pub fn p_value(&self) -> f64 {
        self.context.model.metadata.calibration.p_value(self.judged.score)
    }

    /// How bad that is.
    pub fn severity(&self) -> Severity {
        self.context.severity.of(self.p_value())
    }

    /// The limit that the score was compared with.
    pub fn limit(&self) -> f64 {
        self.judged.limit
    }

    /// Signed residuals of all columns, scaled units.
    pub fn residuals(&self) -> &[f32] {
        self.row.residuals
    }

    /// Which columns' values were missing.
    pub fn imputed(&self) -> &[bool] {
        self.row.imputed
    }

    /// Share of each column in the row's standardised error, 0..=1; 0 where it was missing.
    pub fn shares(&self) -> Vec<f32> {
        self.context.judge.shares(&self.row.past(self.memory))
    }

    /// Standardised error of a column, standard deviations; 0 where it was missing.
    pub fn standardised(&self, column: usize) -> f64 {
        self.context.judge.standardised(column, &self.row.past(self.memory))
    }

    /// What is to be known of the row as the first one of an incident.
    pub fn opening(&self) -> Opening {
        let onsets = (0..self.row.row.len()).map(|column| self.memory.onset(column)).collect();
        Opening { onsets, counterfactual: self.counterfactual }
    }

    /// What came in a column and what the model expected there, in the field's own unit.
    pub fn value_and_expected(&self, column: usize) -> (f64, f64) {
        self.context.explainer.value_and_expected(column, &self.row)
    }

    /// What an incident takes in of an anomalous row. `shares` are those of [`Observed::shares`].
    pub(super) fn evidence<'s>(&self, shares: &'s [f32]) -> Evidence<'s> {
        Evidence {
            mark: Mark { position: self.position, time_us: self.time_us },
            score: self.judged.score,
            limit: self.limit(),
            p_value: self.p_value(),
            shares,
        }
    }

    /// Each column as it came and as it was expected.
    pub(super) fn compare(&self) -> Vec<Compared> {
        self.context.explainer.compare(&self.row, &self.context.judge, self.memory)
    }

    /// Whether the row is an anomaly, and nothing held it back.
    pub fn is_anomalous(&self) -> bool {
        self.judged.anomalous && self.suppressed.is_none()
    }

    /// The `count` features with the largest share of the error.
    pub fn blames(&self, count: usize) -> Vec<Blame> {
        self.context.explainer.top(&self.row, &self.context.judge, self.memory, count)
    }
}

/// What belongs to the model in use and doesn't change while it is.
pub(super) struct Context {
    pub(super) model: Arc<Model>,
    pub(super) judge: Judge,
    pub(super) explainer: Explainer,
    /// How limits move.
    pub(super) recalibration: Recalibration,
    /// What holds in general, then what each override makes of it.
    pub(super) rules: Vec<ModelRule>,
    pub(super) publish_suppressed: bool,
    pub(super) topic: String,
    pub(super) top_features: usize,
    pub(super) severity: SeverityBounds,
}

/// What the model makes of a rule.
pub(super) struct ModelRule {
    /// What it promises.
    pub(super) budget: AlarmBudget,
    /// The score above which a row is anomalous.
    pub(super) limit: Limit,
    /// Among how many entities the budget was shared out for it.
    pub(super) entities: f64,
    /// Gates of single columns; `None` where none is set.
    pub(super) columns: Option<ColumnGates>,
}

impl ModelRule {
    /// What each entity may raise.
    pub(super) fn of_one(&self) -> EntityBudget {
        self.budget.of_one_among(self.entities)
    }

    /// Shares a budget of all entities out among so many, unless they are about as many as before.
    ///
    /// # Errors
    /// The calibration gives no limit for the budget.
    pub(super) fn share_out(
        &mut self,
        entities: f64,
        calibration: &Calibration,
        steps: Recalibration,
    ) -> Result<(), CalibrationError> {
        let before = self.entities.max(1.0);
        if !matches!(self.budget, AlarmBudget::PerDay(_)) || (entities / before).ln().abs() < SAME_SHARE {
            return Ok(());
        }
        self.entities = entities;
        self.limit = Limit::for_budget(self.of_one(), calibration, steps)?;
        Ok(())
    }
}

impl Context {
    /// What the gates of single columns say of a row above this limit.
    pub(super) fn hold_back(
        &self,
        (rule, limit): (&ModelRule, f64),
        row: &JudgedRow<'_>,
        memory: &EntityJudgement,
    ) -> Option<Suppression> {
        let gates = rule.columns.as_ref()?;
        let errors = self.judge.errors(&row.past(memory));
        let is_above = |errors: &[f64]| self.judge.own_score_of(errors, row.imputed) > limit;
        gates.hold_back(errors, |column| self.explainer.value_and_expected(column, row), is_above)
    }

    /// Names of the columns to blame first, as feedback knows anomalies by.
    pub(super) fn leading(&self, row: &JudgedRow<'_>, memory: &EntityJudgement) -> Vec<String> {
        let blames = self.explainer.top(row, &self.judge, memory, LEADING);
        blames.into_iter().map(|blame| blame.name).collect()
    }

    /// The event that tells of an anomalous record.
    pub(super) fn event<'a>(&'a self, observed: &Observed<'a>) -> AnomalyEvent<'a> {
        let origin = Origin {
            topic: &self.topic,
            position: observed.position,
            entity: observed.entity,
            time_us: observed.time_us,
            model: &self.model.version,
        };
        let verdict = Verdict {
            score: observed.judged.score,
            raw_score: observed.judged.raw_score,
            limit: observed.limit(),
            p_value: observed.p_value(),
            severity: observed.severity(),
            suppressed_by: observed.suppressed,
        };
        AnomalyEvent::new(&origin, &verdict, observed.blames(self.top_features)).with(observed.counterfactual)
    }
}
