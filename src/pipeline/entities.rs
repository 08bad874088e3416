//! What the pipeline keeps of one entity.

use crate::{
    detect::{incident::IncidentState, judge::EntityJudgement},
    record::features::CounterState,
    stream::window::Window,
};

/// Everything that is remembered between two records of an entity.
#[derive(Debug, Clone)]
pub struct EntityState {
    /// Partition of the last record.
    pub partition: i32,
    /// Last counter readings.
    pub counters: CounterState,
    /// The last rows.
    pub window: Window,
    /// Running residual statistics and smoothing.
    pub judgement: EntityJudgement,
    /// The incident that the entity is in.
    pub incident: IncidentState,
}

impl EntityState {
    /// An entity never seen before: windows of `rows` rows of `width` columns.
    pub fn new(rows: usize, width: usize) -> Self {
        Self {
            partition: 0,
            counters: CounterState::default(),
            window: Window::new(rows, width),
            judgement: EntityJudgement::default(),
            incident: IncidentState::default(),
        }
    }
}
