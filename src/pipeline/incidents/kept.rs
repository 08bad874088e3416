//! What of an entity's incidents is kept over restarts.
//!
//! An incident of a group is not kept: those of its entities are, and become one of the group again, under another id, when
//! they stray on.

use std::sync::Arc;

use super::{EntityState, Incidents};
use crate::{
    detect::{incident::Incident, incident_event::Silence},
    stream::{silence::ClockState, window::Entities},
};

/// How much has been said so far.
#[derive(Debug, Clone, Copy)]
pub(in crate::pipeline) struct Said {
    news: usize,
    announcements: usize,
}

impl Incidents {
    /// The incident and the silence that the entity at this place is in.
    pub(in crate::pipeline) fn of(&self, place: u32) -> (Option<&Incident>, Option<&Silence>) {
        (self.open.get(&place), self.silences.as_ref().and_then(|silences| silences.of(place)))
    }

    /// Where the partition's clock stands; `None` where silence is not watched for.
    pub(in crate::pipeline) fn clock(&self, partition: i32) -> Option<ClockState> {
        self.silences.as_ref()?.clock(partition)
    }

    /// Sets the partition's clock to where it stood.
    pub(in crate::pipeline) fn set_clock(&mut self, partition: i32, state: ClockState) {
        self.silences.iter_mut().for_each(|silences| silences.set_clock(partition, state));
    }

    /// A record came of which nothing matters but its time.
    pub(in crate::pipeline) fn tick(&mut self, partition: i32, time_us: i64) {
        self.silences.iter_mut().for_each(|silences| silences.tick(partition, time_us));
    }

    /// The entity at this place is in what it was in.
    pub(in crate::pipeline) fn restore(
        &mut self,
        (place, entity): (u32, &Arc<str>),
        (open, silence): (Option<Incident>, Option<Silence>),
        entities: &Entities<EntityState>,
    ) {
        if let Some(incident) = open {
            self.groups.opened(place, entity, &incident);
            self.open.insert(place, incident);
        }
        if let (Some(silences), Some(state)) = (&mut self.silences, entities.get(place)) {
            silences.restore(place, state, silence);
        }
    }

    /// How much has been said so far.
    pub(in crate::pipeline) fn said(&self) -> Said {
        Said { news: self.news.len(), announcements: self.announcements.len() }
    }

    /// Takes back what has been said since.
    pub(in crate::pipeline) fn unsay(&mut self, since: Said) {
        self.news.truncate(since.news);
        self.announcements.truncate(since.announcements);
    }
}
