//! A judged record as an observer sees it, and the event that tells of it.

use std::sync::Arc;

use crate::{
    detect::{
        event::{AnomalyEvent, Origin, Verdict},
        explain::{Blame, Explainer, JudgedRow},
        incident::IncidentChange,
        judge::{EntityJudgement, Judge, Judged},
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

    /// The limit that the score was compared with.
    pub fn limit(&self) -> f64 {
        self.judged.limit
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
        };
        AnomalyEvent::new(&origin, &verdict, observed.blames(self.top_features))
    }
}
