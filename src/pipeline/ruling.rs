//! What was found of a judged row: its scores, what the gates make of them, and what follows from that for its record and
//! for the sample of the next model.

use super::{
    End,
    entities::EntityState,
    observed::{Context, Observed},
    population::Population,
};
use crate::{
    detect::{
        explain::JudgedRow,
        gates::{Suppression, policies::Policies},
        incident::IncidentChange,
        judge::Judged,
    },
    feedback::{Book, Verdict},
    train::recent::Standing,
};

/// What a row is judged by.
pub(super) struct Bench<'a> {
    pub(super) context: &'a Context,
    pub(super) policies: &'a mut Policies,
    pub(super) population: &'a mut Population,
    pub(super) feedback: &'a Book,
    /// Whether rows are kept for the next model, so that normal ones are asked for maintenance too.
    pub(super) keeps_sample: bool,
}

/// What was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ruling {
    pub(super) judged: Judged,
    pub(super) suppressed: Option<Suppression>,
    in_maintenance: bool,
    /// Whether it was held back because a person expected the like.
    is_expected: bool,
}

impl Bench<'_> {
    /// Judges the next row of an entity at an event time in microseconds since the epoch; `None` where its score is no
    /// number.
    pub(super) fn judge(
        &mut self,
        row: &JudgedRow<'_>,
        (entity, time_us): (&str, i64),
        state: &mut EntityState,
    ) -> Option<Ruling> {
        let (context, feedback) = (self.context, self.feedback);
        let rule = &context.rules[self.policies.get(state.policy).rule];
        let judged = context.judge.judge_by(&rule.limit, row.residuals, row.imputed, &mut state.judgement);
        if !judged.score.is_finite() {
            return None;
        }
        let asks = judged.anomalous || self.keeps_sample;
        let in_maintenance = asks && self.policies.in_maintenance(state.policy, time_us);
        let (before, memory) = (state.gates.cold_start.state(), &state.judgement);
        let mut is_expected = false;
        let by_content = || {
            context.hold_back((rule, judged.limit), row, memory).or_else(|| {
                let verdict = feedback.hold_back(entity, time_us, || context.leading(row, memory))?;
                is_expected = verdict == Verdict::ExpectedChange;
                Some(Suppression::Feedback)
            })
        };
        let policy = self.policies.get(state.policy);
        let suppressed = state.gates.pass(policy, judged.anomalous, in_maintenance, by_content);
        self.population.moved(before, state.gates.cold_start.state());
        Some(Ruling { judged, suppressed, in_maintenance, is_expected })
    }
}

impl Ruling {
    /// Whether the row is an anomaly that nothing held back.
    pub(super) fn is_alarm(&self) -> bool {
        self.judged.anomalous && self.suppressed.is_none()
    }

    /// The score divided by the limit; a limit of 0 leaves nothing to measure by.
    pub(super) fn score_to_limit(&self) -> Option<f64> {
        (self.judged.limit > 0.0).then(|| self.judged.score / self.judged.limit)
    }

    /// What the row does to its entity's incident. One that was called an expected change is over with the first row that is
    /// no other alarm.
    pub(super) fn advance(&self, state: &mut EntityState, quiet_rows: u32, is_expected: bool) -> IncidentChange {
        if is_expected && !self.is_alarm() {
            return state.incident.end();
        }
        state.incident.advance(self.is_alarm(), quiet_rows)
    }

    /// What the row is to the sample of the next model, given its entity after it.
    pub(super) fn standing(&self, state: &EntityState) -> Standing {
        match (self.suppressed, state.incident.open()) {
            _ if self.in_maintenance => Standing::Maintenance,
            _ if self.is_alarm() => Standing::Anomalous,
            (Some(reason), _) if !(reason.is_learned_from() || self.is_expected) => Standing::Suppressed,
            (_, Some(_)) => Standing::InIncident,
            (_, None) => Standing::Normal,
        }
    }

    /// How the record ends.
    pub(super) fn end(&self, observed: &Observed<'_>) -> End {
        let context = observed.context;
        let event = || (observed.entity.to_owned(), context.event(observed).to_json());
        match self.suppressed {
            Some(reason) => End::Suppressed { reason, event: context.publish_suppressed.then(event) },
            None if self.judged.anomalous => {
                let (entity, json) = event();
                End::Anomalous { entity, json }
            }
            None => End::Normal,
        }
    }
}
