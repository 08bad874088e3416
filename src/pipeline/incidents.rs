//! Which entities are in an incident, for metrics and `/status`: what is told of incidents costs nothing while none begins.

use std::{collections::BTreeSet, sync::Arc};

use super::{entities::EntityState, scoring::Scoring};
use crate::{
    detect::incident::Incident,
    record::timestamp,
    stream::window::Entities,
    telemetry::{
        IncidentOpened, Metrics, OpenIncident,
        board::{Board, MOST_INCIDENTS},
    },
};

/// An incident that is open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OpenNow<'a> {
    /// Whose.
    pub entity: &'a str,
    /// The incident so far.
    pub incident: Incident,
    /// The column to blame for its first anomaly.
    pub top_column: Option<usize>,
}

/// An incident that began and was not told of yet.
#[derive(Debug)]
pub(super) struct Began {
    pub(super) entity: Arc<str>,
    pub(super) score: f64,
    pub(super) top_column: Option<usize>,
}

/// The books of one [`Scoring`].
#[derive(Debug, Default)]
pub(super) struct Incidents {
    /// Places of the entities that are in an incident.
    open: BTreeSet<u32>,
    began: Vec<Began>,
}

impl Incidents {
    /// The entity at this place is in an incident from now on.
    pub(super) fn began(&mut self, place: u32, began: Began) {
        self.open.insert(place);
        self.began.push(began);
    }

    /// The entity at this place is in no incident any more, or is gone.
    pub(super) fn ended(&mut self, place: u32) {
        self.open.remove(&place);
    }

    /// Forgets the incidents of entities that are gone.
    pub(super) fn retain(&mut self, entities: &Entities<EntityState>) {
        self.open.retain(|place| entities.get(*place).is_some());
    }

    /// Columns mean something else from now on.
    pub(super) fn forget_columns(&self, entities: &mut Entities<EntityState>) {
        for place in &self.open {
            entities.get_mut(*place).into_iter().for_each(|state| state.incident.blame(None));
        }
    }

    /// The incidents that are open.
    pub(super) fn open<'a>(&'a self, entities: &'a Entities<EntityState>) -> impl Iterator<Item = OpenNow<'a>> {
        self.open.iter().filter_map(|place| {
            let state = entities.get(*place).map(|state| state.incident);
            debug_assert!(state.is_some_and(|state| state.open().is_some()), "what is over leaves the books");
            let state = state?;
            Some(OpenNow { entity: entities.name(*place)?, incident: state.open()?, top_column: state.top_column() })
        })
    }

    /// Tells of the incidents that began.
    pub(super) fn tell(&mut self, metrics: Option<&Metrics>, limit: f64) {
        for Began { entity, score, top_column } in self.began.drain(..) {
            let opened = IncidentOpened { entity: &entity, score, limit, top_feature: top_column };
            metrics.iter().for_each(|metrics| metrics.incident_opened(&opened));
        }
    }
}

/// Tells metrics and board which incidents are open.
pub(super) fn tell_open(scoring: &Scoring, metrics: &Metrics, board: &Board) {
    metrics.incidents_open(scoring.open_incidents().map(|open| open.top_column));
    let mut open: Vec<OpenNow<'_>> = scoring.open_incidents().collect();
    let count = open.len();
    let newest_first =
        |a: &OpenNow<'_>, b: &OpenNow<'_>| (b.incident.start_us, a.entity).cmp(&(a.incident.start_us, b.entity));
    if count > MOST_INCIDENTS {
        // There may be as many as there are entities.
        open.select_nth_unstable_by(MOST_INCIDENTS, newest_first);
        open.truncate(MOST_INCIDENTS);
    }
    open.sort_by(newest_first);
    let columns = &scoring.model().metadata.columns;
    let newest = open.into_iter().map(|open| OpenIncident {
        entity: open.entity.to_owned(),
        since: timestamp::to_rfc3339(open.incident.start_us),
        anomalies: open.incident.anomalies,
        peak_score: open.incident.peak,
        limit: scoring.limit(),
        top_feature: open.top_column.map(|column| columns[column].name.clone()),
    });
    board.set_incidents(count, newest.collect());
}
