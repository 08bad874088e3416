//! What of the settings concerns incidents, and the events that are made by it.

use super::{Announcement, microseconds};
use crate::{
    config::settings::Settings,
    detect::{
        explain::{Blame, Compared},
        group::GroupIncident,
        incident::{Incident, Retelling},
        incident_event::{self, IncidentEvent, Silence, State, Telling},
        severity::SeverityBounds,
    },
    model::Model,
    pipeline::observed::Observed,
    record::Position,
};

/// What of the settings concerns incidents.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) topic: String,
    /// Whether there is a topic for events.
    publishes: bool,
    top_features: usize,
    pub(super) bounds: SeverityBounds,
    pub(super) retelling: Retelling,
    pub(super) accepts_new_normal: bool,
}

/// What there is to tell of an entity's incident.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tale<'a> {
    pub(super) state: State,
    /// Whether its level is offered as the new normal.
    pub(super) new_normal_offered: bool,
    pub(super) entity: &'a str,
    pub(super) incident: &'a Incident,
    /// The record in the id of the group's incident that it is part of.
    pub(super) group: Option<Position>,
}

impl Rules {
    pub(super) fn new(settings: &Settings) -> Self {
        let judging = &settings.judging;
        Self {
            topic: settings.kafka.input_topic.clone(),
            publishes: settings.kafka.incident_topic.is_some(),
            top_features: judging.top_features,
            bounds: judging.severity,
            retelling: Retelling {
                update_interval_us: microseconds(judging.incidents.update_interval),
                new_normal_after_us: judging.incidents.new_normal_after.map(microseconds),
            },
            accepts_new_normal: judging.incidents.accept_new_normal,
        }
    }

    /// The event of an entity's incident that a row causes.
    pub(super) fn event(&self, tale: &Tale<'_>, row: &Observed<'_>) -> Option<Announcement> {
        self.publishes.then(|| {
            let (model, Tale { state, new_normal_offered, entity, incident, group }) = (&row.context.model, *tale);
            let telling = Telling { topic: &self.topic, entity, state, cause: row.position };
            let blames = blames(model, incident, self.top_features);
            let event = IncidentEvent::of_anomalies(&telling, incident, &model.version, blames);
            let group_id = group.map(|made_by| incident_event::id_of_group(&self.topic, made_by));
            let json = IncidentEvent { new_normal_offered, group_id, ..event }.to_json();
            Announcement { position: row.position, entity: entity.to_owned(), json }
        })
    }

    /// The event of a group's incident that a row causes.
    pub(super) fn group(&self, state: State, group: &GroupIncident, row: &Observed<'_>) -> Option<Announcement> {
        self.publishes.then(|| {
            let model = &row.context.model;
            let telling = Telling { topic: &self.topic, entity: &group.name, state, cause: row.position };
            let blames = blames(model, &group.whole, self.top_features);
            let json = IncidentEvent::of_group(&telling, group, &model.version, blames).to_json();
            Announcement { position: row.position, entity: group.name.to_string(), json }
        })
    }

    pub(super) fn silence(
        &self,
        (state, cause): (State, Position),
        entity: &str,
        silence: &Silence,
    ) -> Option<Announcement> {
        self.publishes.then(|| {
            let telling = Telling { topic: &self.topic, entity, state, cause };
            let json = IncidentEvent::of_silence(&telling, silence).to_json();
            Announcement { position: cause, entity: entity.to_owned(), json }
        })
    }
}

/// The features to blame for an incident. None while the worst row is one whose columns meant something else.
fn blames(model: &Model, incident: &Incident, count: usize) -> Vec<Blame> {
    let columns = &model.metadata.columns;
    if incident.peak.columns.len() != columns.len() {
        return Vec::new();
    }
    let blame = |(column, share): (usize, f64)| {
        let Compared { value, expected, error } = incident.peak.columns[column];
        let onset = incident.opening.onsets.get(column).copied().flatten();
        Blame { name: columns[column].name.clone(), value, expected, error, share, onset }
    };
    incident.top(count).into_iter().map(blame).collect()
}
