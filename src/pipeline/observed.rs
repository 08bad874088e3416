//! A judged record as an observer sees it, and the event that tells of it.

use std::sync::Arc;

use crate::{
    detect::{
        event::{AnomalyEvent, Origin, Verdict},
        explain::{Blame, Explainer, JudgedRow},
        gates::{Suppression, columns::ColumnGates},
        incident::{Evidence, IncidentChange, Mark},
        judge::{EntityJudgement, Judge, Judged},
        limit::Limit,
        severity::{Severity, SeverityBounds},
    },
    feedback::LEADING,
    model::Model,
    record::Position,
};

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
        self.context.judge.shares(self.row.residuals, self.row.imputed, self.memory)
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

    /// Value and expected value of each column, fields' own units.
    pub(super) fn compare(&self) -> Vec<(f64, f64)> {
        self.context.explainer.compare(&self.row)
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
    /// What holds in general, then what each override makes of it.
    pub(super) rules: Vec<ModelRule>,
    pub(super) publish_suppressed: bool,
    pub(super) topic: String,
    pub(super) top_features: usize,
    pub(super) severity: SeverityBounds,
}

/// What the model makes of a rule.
pub(super) struct ModelRule {
    /// The score above which a row is anomalous.
    pub(super) limit: Limit,
    /// Gates of single columns; `None` where none is set.
    pub(super) columns: Option<ColumnGates>,
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
        let errors = self.judge.errors(row.residuals, row.imputed, memory);
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
        AnomalyEvent::new(&origin, &verdict, observed.blames(self.top_features))
    }
}
