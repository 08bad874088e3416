//! What the pipeline keeps of one entity.

use crate::{
    detect::{gates::EntityGates, incident::IncidentState, judge::EntityJudgement},
    record::features::CounterState,
    stream::{horizon::Life, order::Order, silence::Reporting, window::Window},
};

/// Everything that is remembered between two records of an entity.
#[derive(Debug, Clone)]
pub struct EntityState {
    /// Partition of the last record.
    pub partition: i32,
    /// Which model it was last seen under, counted from the first.
    pub generation: u32,
    /// Last counter readings.
    pub counters: CounterState,
    /// The last rows.
    pub window: Window,
    /// Running residual statistics and smoothing.
    pub judgement: EntityJudgement,
    /// Whether the entity is in an incident.
    pub incident: IncidentState,
    /// How often it reports.
    pub reporting: Reporting,
    /// Number of what holds of it.
    pub policy: u32,
    /// What stands between its anomalies and alarms.
    pub gates: EntityGates,
    /// How far its records have come in event time.
    pub order: Order,
    /// When it was last heard of, seconds of the wall clock since the epoch.
    pub seen_s: u32,
    /// Number of its life; 0 where nothing of it is kept.
    pub life: Life,
    /// What became of it since its last snapshot.
    pub kept: Kept,
}

/// How an entity stands to its last snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kept {
    /// There is none of it in its partition, and it waits for one.
    #[default]
    Never,
    /// It has changed since.
    Changed,
    /// It is as it was.
    Same,
}

impl EntityState {
    /// An entity never seen before, of which `policy` holds and `judgement` is known: windows of `rows` rows of `width` columns.
    pub fn new((rows, width): (usize, usize), generation: u32, (policy, judgement): (u32, EntityJudgement)) -> Self {
        Self {
            partition: 0,
            generation,
            counters: CounterState::default(),
            window: Window::new(rows, width),
            judgement,
            incident: IncidentState::default(),
            reporting: Reporting::default(),
            policy,
            gates: EntityGates::default(),
            order: Order::default(),
            seen_s: 0,
            life: 0,
            kept: Kept::default(),
        }
    }

    /// Makes it one of another model with windows of `(rows, columns)`. Its rows are kept if they mean the same there, and
    /// so is its incident: an alarm that was raised is not raised again because a model was swapped. `judgement` is what that
    /// model knows of it.
    pub fn renew(
        &mut self,
        (rows, width): (usize, usize),
        (generation, judgement): (u32, EntityJudgement),
        rows_mean_the_same: bool,
    ) {
        (self.generation, self.judgement) = (generation, judgement);
        if !rows_mean_the_same {
            self.counters = CounterState::default();
            self.window = Window::new(rows, width);
        } else if self.window.rows() != rows {
            self.window = self.window.resized(rows);
        }
        if !self.window.is_full() {
            self.gates.cold_start.window_emptied();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_costs_little_beside_its_window_and_statistics() {
        let size = size_of::<EntityState>();
        assert!(size <= 304, "{size} bytes: what only open incidents need stands beside");
    }
}
