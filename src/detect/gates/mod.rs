//! The gates between "the score is above the limit" and "an alarm".
//!
//! A row whose judged score is above the limit passes through them in the order of [`Suppression::ALL`]; the first that
//! holds it back gives the reason. A normal row costs what the entity has to remember: a comparison, and a shift where
//! anomalies have to persist. Pure: event times in, verdicts out.

pub mod calendar;
pub mod cold_start;
pub mod columns;
pub mod maintenance;
pub mod pattern;
pub mod persistence;
pub mod policies;
pub mod time_zone;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use cold_start::ColdStart;
use persistence::Recent;
use policies::Policy;

/// Which gate held an anomaly back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Suppression {
    /// The entity has been judged too rarely to be known.
    ColdStart,
    /// The event time lies in hours of maintenance.
    Maintenance,
    /// What deviates does so by less than a minimal size.
    DeviationTooSmall,
    /// What deviates goes in a direction that isn't watched.
    Direction,
    /// What deviates has a value that can't be wrong.
    WithinRange,
    /// A person called one like it a false alarm, or an expected change.
    Feedback,
    /// Too few of the entity's last rows were anomalous.
    NotPersistent,
}

impl Suppression {
    /// Every reason, in the order of the gates.
    pub const ALL: [Self; 7] = [
        Self::ColdStart,
        Self::Maintenance,
        Self::DeviationTooSmall,
        Self::Direction,
        Self::WithinRange,
        Self::Feedback,
        Self::NotPersistent,
    ];

    /// The reason in events, metrics and scores files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ColdStart => "cold_start",
            Self::Maintenance => "maintenance",
            Self::DeviationTooSmall => "deviation_too_small",
            Self::Direction => "direction",
            Self::WithinRange => "within_range",
            Self::Feedback => "feedback",
            Self::NotPersistent => "not_persistent",
        }
    }

    /// Whether the user called such a row normal, so that the next model shall learn from it. The other reasons say nothing
    /// of the row itself; of feedback, only an expected change is learned from, and a false alarm is not: that nothing was
    /// wrong is no proof that the row is as rows should be.
    pub fn is_learned_from(self) -> bool {
        match self {
            Self::DeviationTooSmall | Self::Direction | Self::WithinRange => true,
            Self::ColdStart | Self::Maintenance | Self::Feedback | Self::NotPersistent => false,
        }
    }
}

/// What the gates remember of one entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EntityGates {
    /// How well it is known.
    pub cold_start: ColdStart,
    recent: Recent,
}

impl EntityGates {
    /// Takes the entity's next judged row, anomalous or not, and says what holds its anomaly back. `by_content` is asked
    /// only where no gate before it does: what the row itself is like, and what people said of its like.
    pub fn pass(
        &mut self,
        policy: &Policy,
        anomalous: bool,
        in_maintenance: bool,
        by_content: impl FnOnce() -> Option<Suppression>,
    ) -> Option<Suppression> {
        let cold = self.cold_start.judged(policy.cold_start_rows);
        let held = match anomalous {
            false => None,
            true if cold => Some(Suppression::ColdStart),
            true if in_maintenance => Some(Suppression::Maintenance),
            true => by_content(),
        };
        let counts = anomalous && held.is_none();
        let persists = self.recent.push(policy.persistence, counts);
        held.or((counts && !persists).then_some(Suppression::NotPersistent))
    }
}

#[cfg(test)]
mod tests {
    use super::{cold_start::WatchState, persistence::Persistence, *};

    fn policy(cold_start_rows: u32, persistence: (u32, u32)) -> Policy {
        let persistence = Persistence::new(persistence.0, persistence.1).unwrap();
        Policy { rule: 0, persistence, cold_start_rows, maintenance: Box::default() }
    }

    /// An entity whose window is full.
    fn entity(policy: &Policy) -> EntityGates {
        let mut gates = EntityGates::default();
        gates.cold_start.window_filled(policy.cold_start_rows);
        gates
    }

    #[test]
    fn without_gates_every_anomaly_passes() {
        let policy = policy(0, (1, 1));
        let mut gates = entity(&policy);
        assert_eq!(gates.cold_start.state(), WatchState::Watched);
        assert_eq!(gates.pass(&policy, true, false, || None), None);
        assert_eq!(gates.pass(&policy, false, false, || panic!("a normal row asks nothing")), None);
    }

    #[test]
    fn the_first_gate_that_holds_an_anomaly_back_gives_the_reason() {
        let policy = policy(1, (2, 2));
        let mut gates = entity(&policy);
        let small = || Some(Suppression::DeviationTooSmall);
        let told: Vec<Option<Suppression>> = vec![
            gates.pass(&policy, true, true, small),
            gates.pass(&policy, true, true, small),
            gates.pass(&policy, true, false, small),
            gates.pass(&policy, true, false, || None),
            gates.pass(&policy, true, false, || None),
        ];
        let expected = [
            Some(Suppression::ColdStart),
            Some(Suppression::Maintenance),
            Some(Suppression::DeviationTooSmall),
            Some(Suppression::NotPersistent),
            None,
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn only_anomalies_that_passed_the_other_gates_count_as_persisting() {
        let policy = policy(0, (2, 3));
        let mut gates = entity(&policy);
        for _ in 0..3 {
            assert_eq!(gates.pass(&policy, true, true, || None), Some(Suppression::Maintenance));
        }
        assert_eq!(gates.pass(&policy, true, false, || None), Some(Suppression::NotPersistent));
        assert_eq!(gates.pass(&policy, false, false, || None), None);
        assert_eq!(gates.pass(&policy, true, false, || None), None, "two of the last three");
    }

    #[test]
    fn words_of_reasons_are_those_of_their_json_and_stand_in_the_order_of_the_variants() {
        for (index, reason) in Suppression::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
