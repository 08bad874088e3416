//! Which entities are in an incident, and what is told of it: events for the incident topic, metrics, `/status`. An entity
//! keeps only whether it is in one; all else stands here, so that it costs nothing while none is open.

mod silences;
mod told;

use std::{collections::BTreeMap, sync::Arc};

use self::{silences::Silences, told::News};
use super::{entities::EntityState, observed::Observed};
use crate::{
    config::settings::Settings,
    detect::{
        explain::Blame,
        incident::{Incident, IncidentChange, Retelling, Update},
        incident_event::{self, IncidentEvent, Silence, State, Telling},
        severity::SeverityBounds,
    },
    feedback::{Subject, Verdict},
    model::Model,
    record::Position,
    stream::{silence::Heard, window::Entities},
    telemetry::Metrics,
};

pub(super) use told::tell_open;

/// An event for the incident topic. The record that caused it is not done before it is delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// The record that caused it.
    pub position: Position,
    /// Whose incident it is; the message key.
    pub entity: String,
    /// The encoded event.
    pub json: Vec<u8>,
}

/// An incident that is open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OpenNow<'a> {
    /// Whose.
    pub entity: &'a str,
    /// The incident so far.
    pub incident: &'a Incident,
}

/// An entity that is silent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SilentNow<'a> {
    /// Which.
    pub entity: &'a str,
    /// Since when.
    pub silence: &'a Silence,
}

/// What of the settings concerns incidents.
#[derive(Debug)]
struct Rules {
    topic: String,
    /// Whether there is a topic for events.
    publishes: bool,
    top_features: usize,
    bounds: SeverityBounds,
    retelling: Retelling,
    accepts_new_normal: bool,
}

/// The books of one [`Scoring`](super::scoring::Scoring).
#[derive(Debug)]
pub(super) struct Incidents {
    rules: Rules,
    /// By the places of the entities.
    open: BTreeMap<u32, Incident>,
    /// `None` where silence is not watched for.
    silences: Option<Silences>,
    news: Vec<News>,
    announcements: Vec<Announcement>,
}

impl Incidents {
    pub(super) fn new(settings: &Settings) -> Self {
        let judging = &settings.judging;
        let microseconds = |time: std::time::Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let rules = Rules {
            topic: settings.kafka.input_topic.clone(),
            publishes: settings.kafka.incident_topic.is_some(),
            top_features: judging.top_features,
            bounds: judging.severity,
            retelling: Retelling {
                update_interval_us: microseconds(judging.incidents.update_interval),
                new_normal_after_us: judging.incidents.new_normal_after.map(microseconds),
            },
            accepts_new_normal: judging.incidents.accept_new_normal,
        };
        let silences = judging.silence.as_ref().map(Silences::new);
        Self { rules, open: BTreeMap::new(), silences, news: Vec::new(), announcements: Vec::new() }
    }

    /// A row of the entity at this place was judged.
    pub(super) fn judged(&mut self, place: u32, entity: &Arc<str>, row: &Observed<'_>) {
        match row.incident {
            IncidentChange::None => {}
            IncidentChange::Quiet => self.open.get_mut(&place).into_iter().for_each(Incident::quiet),
            IncidentChange::Opened => self.opened(place, entity, row),
            IncidentChange::Continued => self.continued(place, row),
            IncidentChange::Resolved => {
                let Some(incident) = self.open.remove(&place) else { return };
                self.news.push(News::Resolved { severity: incident.severity, top_column: incident.top_column });
                self.announcements.extend(self.rules.event((State::Resolved, false), &incident, row));
            }
        }
    }

    fn opened(&mut self, place: u32, entity: &Arc<str>, row: &Observed<'_>) {
        let shares = row.shares();
        let evidence = row.evidence(&shares);
        let incident = Incident::open(&evidence, self.rules.bounds.of(evidence.p_value), row.compare());
        self.news.push(News::Opened {
            entity: Arc::clone(entity),
            score: evidence.score,
            limit: evidence.limit,
            severity: incident.severity,
            top_column: incident.top_column,
        });
        self.announcements.extend(self.rules.event((State::Opened, false), &incident, row));
        self.open.insert(place, incident);
    }

    fn continued(&mut self, place: u32, row: &Observed<'_>) {
        let Some(incident) = self.open.get_mut(&place) else { return };
        let shares = row.shares();
        let Rules { bounds, retelling, .. } = &self.rules;
        let update = incident.add(&row.evidence(&shares), bounds, retelling, || row.compare());
        if update == Update::NewNormal {
            self.news.push(News::LevelShift);
        }
        if update != Update::None {
            let telling = (State::Updated, update == Update::NewNormal);
            self.announcements.extend(self.rules.event(telling, incident, row));
        }
    }

    /// Whether the rows of the entity at this place count as normal although it is in an incident: the level that it has
    /// shifted to was accepted, and nobody said otherwise.
    pub(super) fn is_accepted(&self, place: u32) -> bool {
        let is_accepted = |incident: &Incident| incident.level_shift && incident.verdict.is_none();
        self.rules.accepts_new_normal && self.open.get(&place).is_some_and(is_accepted)
    }

    /// Whether a person called the incident of the entity at this place an expected change.
    pub(super) fn is_expected(&self, place: u32) -> bool {
        self.open.get(&place).is_some_and(|incident| incident.verdict == Some(Verdict::ExpectedChange))
    }

    /// A person said this of what may be the incident of the entity at this place; `None` takes it back. Gives the last
    /// anomalous record of the incident, if it is the one.
    pub(super) fn told(&mut self, place: u32, subject: &Subject, verdict: Option<Verdict>) -> Option<Position> {
        let incident = self.open.get_mut(&place).filter(|incident| incident.is_meant_by(subject))?;
        incident.verdict = verdict;
        Some(incident.last.position)
    }

    /// A record came that has an entity and a time.
    pub(super) fn heard(&mut self, heard: &Heard, entities: &mut Entities<EntityState>) {
        let Some(silences) = &mut self.silences else { return };
        if let (Some(silence), Some(entity)) = (silences.heard(heard, entities), entities.name(heard.place)) {
            self.news.push(News::Reported);
            let cause = Position { partition: heard.partition, offset: heard.offset };
            self.announcements.extend(self.rules.silence((State::Resolved, cause), entity, &silence));
        }
    }

    /// Finds the entities that are silent by what the record at `cause` says of the time.
    pub(super) fn fall_silent(&mut self, cause: Position, entities: &mut Entities<EntityState>) {
        let Some(silences) = &mut self.silences else { return };
        while let Some((place, silence)) = silences.next_silent(cause.partition, entities) {
            let Some(entity) = entities.name(place) else { continue };
            let seconds = (silence.last.time_us - silence.first.time_us) as f64 / 1e6;
            self.news.push(News::Silent { entity: Arc::clone(entity), seconds });
            self.announcements.extend(self.rules.silence((State::Opened, cause), entity, &silence));
        }
    }

    /// Events that nobody has taken yet.
    pub(super) fn announcements(&mut self) -> &mut Vec<Announcement> {
        &mut self.announcements
    }

    /// The entity at this place is gone.
    pub(super) fn gone(&mut self, place: u32) {
        self.open.remove(&place);
        self.silences.iter_mut().for_each(|silences| silences.gone(place));
    }

    /// These partitions are no longer ours, and neither are the incidents of their entities. They are not over: whoever has
    /// them now goes on with them.
    pub(super) fn forget(&mut self, partitions: &[i32], entities: &Entities<EntityState>) {
        self.open.retain(|place, _| entities.get(*place).is_some());
        self.silences.iter_mut().for_each(|silences| silences.forget(partitions, entities));
    }

    /// Columns mean something else from now on.
    pub(super) fn forget_columns(&mut self) {
        self.open.values_mut().for_each(Incident::forget_columns);
    }

    /// The incidents that are open.
    pub(super) fn open<'a>(&'a self, entities: &'a Entities<EntityState>) -> impl Iterator<Item = OpenNow<'a>> {
        self.open.iter().filter_map(|(place, incident)| Some(OpenNow { entity: entities.name(*place)?, incident }))
    }

    /// The entities that are silent.
    pub(super) fn silent<'a>(&'a self, entities: &'a Entities<EntityState>) -> impl Iterator<Item = SilentNow<'a>> {
        let open = self.silences.iter().flat_map(Silences::open);
        open.filter_map(|(place, silence)| Some(SilentNow { entity: entities.name(*place)?, silence }))
    }

    /// Tells what is new; `None` tells nobody.
    pub(super) fn tell(&mut self, metrics: Option<&Metrics>) {
        for news in self.news.drain(..) {
            metrics.iter().for_each(|metrics| news.tell(metrics));
        }
    }

    /// The id of an incident, as events write it.
    pub(super) fn id(&self, incident: &Incident) -> String {
        incident_event::id(&self.rules.topic, incident.first.position)
    }

    /// The id of a silence, as events write it.
    pub(super) fn id_of_silence(&self, silence: &Silence) -> String {
        incident_event::id_of_silence(&self.rules.topic, silence.first.position)
    }
}

impl Rules {
    /// The event that a row causes, and whether it offers a new normal.
    fn event(
        &self,
        (state, new_normal_offered): (State, bool),
        incident: &Incident,
        row: &Observed<'_>,
    ) -> Option<Announcement> {
        self.publishes.then(|| {
            let model = &row.context.model;
            let telling = Telling { topic: &self.topic, entity: row.entity, state, cause: row.position };
            let blames = blames(model, incident, self.top_features);
            let event = IncidentEvent::of_anomalies(&telling, incident, &model.version, blames);
            let json = IncidentEvent { new_normal_offered, ..event }.to_json();
            Announcement { position: row.position, entity: row.entity.to_owned(), json }
        })
    }

    fn silence(&self, (state, cause): (State, Position), entity: &str, silence: &Silence) -> Option<Announcement> {
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
        let (value, expected) = incident.peak.columns[column];
        Blame { name: columns[column].name.clone(), value, expected, share }
    };
    incident.top(count).into_iter().map(blame).collect()
}
