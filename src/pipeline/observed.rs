//! A judged record as an observer sees it, and the event that tells of it.

use std::sync::Arc;

use crate::{
    detect::{
        event::{AnomalyEvent, Origin, Verdict},
        explain::{Blame, Explainer, JudgedRow},
        incident::{Evidence, IncidentChange, Mark},
        judge::{EntityJudgement, Judge, Judged},
        severity::{Severity, SeverityBounds},
    },
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
    pub(super) topic: String,
    pub(super) top_features: usize,
    pub(super) severity: SeverityBounds,
}

impl Context {
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
        };
        AnomalyEvent::new(&origin, &verdict, observed.blames(self.top_features))
    }
}
