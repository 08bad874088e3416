//! Which entities are in an incident, and what is told of it: events for the incident topic, metrics, `/status`. An entity
//! keeps only whether it is in one; all else stands here, so that it costs nothing while none is open.

mod kept;
mod rules;
mod silences;
mod told;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use self::{
    rules::{Rules, Tale},
    silences::Silences,
    told::News,
};
use super::{entities::EntityState, observed::Observed};
use crate::{
    config::settings::Settings,
    detect::{
        group::{GroupChange, GroupIncident, Groups, Left},
        incident::{Incident, IncidentChange, Update},
        incident_event::{self, Silence, State},
    },
    feedback::{Subject, Verdict},
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

/// The alarm that a row raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// Its entity is in an incident from now on, which is part of none of a group.
    Entity,
    /// Incidents of a group, its entity's among them, are one of the group from now on.
    Group,
}

/// The books of one [`Scoring`](super::scoring::Scoring).
#[derive(Debug)]
pub(super) struct Incidents {
    rules: Rules,
    /// By the places of the entities.
    open: BTreeMap<u32, Incident>,
    groups: Groups,
    /// `None` where silence is not watched for.
    silences: Option<Silences>,
    news: Vec<News>,
    announcements: Vec<Announcement>,
}

impl Incidents {
    pub(super) fn new(settings: &Settings) -> Self {
        let (judging, rules) = (&settings.judging, Rules::new(settings));
        let groups = Groups::new(judging.incidents.groups.clone(), rules.bounds, rules.retelling);
        let silences = judging.silence.as_ref().map(Silences::new);
        Self { rules, open: BTreeMap::new(), groups, silences, news: Vec::new(), announcements: Vec::new() }
    }

    /// A row of the entity at this place was judged. Gives the alarm that it raised, if any.
    pub(super) fn judged(&mut self, place: u32, entity: &Arc<str>, row: &Observed<'_>) -> Option<Alarm> {
        match row.incident {
            IncidentChange::None => None,
            IncidentChange::Quiet => self.quiet(place, row),
            IncidentChange::Opened => self.opened(place, entity, row),
            IncidentChange::Continued => self.continued(place, row),
            IncidentChange::Resolved => {
                self.resolved(place, row);
                None
            }
        }
    }

    fn opened(&mut self, place: u32, entity: &Arc<str>, row: &Observed<'_>) -> Option<Alarm> {
        let shares = row.shares();
        let evidence = row.evidence(&shares);
        let mut incident = Incident::open(&evidence, self.rules.bounds.of(evidence.p_value), row.compare());
        incident.opening = row.opening();
        let is_explained = row.counterfactual.map(|told| told.under_limit);
        let opened = News::Opened {
            entity: Arc::clone(entity),
            score: evidence.score,
            limit: evidence.limit,
            severity: incident.severity,
            top_column: incident.top_column,
            is_explained,
        };
        self.groups.opened(place, entity, &incident);
        self.open.insert(place, incident);
        let change = self.groups.strayed((place, &evidence), &self.open, || row.compare());
        self.say(place, (State::Opened, false), row);
        let is_alone = self.groups.of(place).is_none();
        self.news.push(if is_alone { opened } else { News::Joined { is_explained } });
        self.grouped((place, true), change, row).or(is_alone.then_some(Alarm::Entity))
    }

    fn continued(&mut self, place: u32, row: &Observed<'_>) -> Option<Alarm> {
        let incident = self.open.get_mut(&place)?;
        let shares = row.shares();
        let (evidence, Rules { bounds, retelling, .. }) = (row.evidence(&shares), &self.rules);
        let update = incident.add(&evidence, bounds, retelling, || row.compare());
        if update == Update::NewNormal {
            self.news.push(News::LevelShift);
        }
        let change = self.groups.strayed((place, &evidence), &self.open, || row.compare());
        let is_told = update != Update::None;
        if is_told {
            self.say(place, (State::Updated, update == Update::NewNormal), row);
        }
        self.grouped((place, is_told), change, row)
    }

    fn quiet(&mut self, place: u32, row: &Observed<'_>) -> Option<Alarm> {
        self.open.get_mut(&place)?.quiet();
        let change = self.groups.settle(place, row.position, &self.open);
        self.grouped((place, false), change, row)
    }

    fn resolved(&mut self, place: u32, row: &Observed<'_>) {
        let Some(incident) = self.open.remove(&place) else { return };
        let left = self.groups.resolved(place);
        let group = left.as_ref().map(|left| match left {
            Left::Open(made_by) => *made_by,
            Left::Over(group) => group.made_by,
        });
        let (state, entity) = (State::Resolved, row.entity);
        let tale = Tale { state, new_normal_offered: false, entity, incident: &incident, group };
        self.announcements.extend(self.rules.event(&tale, row));
        match left {
            None => self.news.push(News::Resolved { severity: incident.severity, top_column: incident.top_column }),
            // Its alarm was that of the group, which goes on.
            Some(Left::Open(_)) => {}
            Some(Left::Over(group)) => {
                let (severity, top_column) = (group.whole.severity, group.whole.top_column);
                self.news.push(News::Resolved { severity, top_column });
                self.announcements.extend(self.rules.group(State::Resolved, &group, row));
            }
        }
    }

    /// Tells what a row did to its entity's group. `is_told` says whether the row caused an event of the entity's own incident.
    fn grouped(&mut self, (place, is_told): (u32, bool), change: GroupChange, row: &Observed<'_>) -> Option<Alarm> {
        let (state, parts) = match change {
            GroupChange::Alone | GroupChange::Continued(Update::None) => return None,
            GroupChange::Continued(_) => (Some(State::Updated), Vec::new()),
            GroupChange::Joined(update) => ((update != Update::None).then_some(State::Updated), vec![place]),
            GroupChange::Formed(places) => (Some(State::Opened), places),
        };
        // Each part is told once which incident it is part of.
        for part in parts.iter().filter(|part| **part != place || !is_told) {
            self.say(*part, (State::Updated, false), row);
        }
        let group = self.groups.of(*parts.first().unwrap_or(&place))?;
        self.announcements.extend(state.and_then(|state| self.rules.group(state, group, row)));
        if state != Some(State::Opened) {
            return None;
        }
        self.news.push(News::GroupOpened {
            name: Arc::clone(&group.name),
            members: group.entities(),
            severity: group.whole.severity,
            top_column: group.whole.top_column,
        });
        Some(Alarm::Group)
    }

    /// Tells of the incident of the entity at this place, which may be another one than the row's, what the row gives reason
    /// to say.
    fn say(&mut self, place: u32, (state, new_normal_offered): (State, bool), row: &Observed<'_>) {
        let Some(incident) = self.open.get(&place) else { return };
        let group = self.groups.of(place);
        let entity = group.and_then(|group| group.entity(place)).map_or(row.entity, |entity| entity);
        let tale = Tale { state, new_normal_offered, entity, incident, group: group.map(|group| group.made_by) };
        self.announcements.extend(self.rules.event(&tale, row));
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
        incident.heed(subject, verdict);
        Some(incident.last.position)
    }

    /// A person said this of what may be an incident of a group; `None` takes it back. It holds of each of its entities whose
    /// incident is open: gives their places, and first and last record of each of these incidents.
    pub(super) fn told_of_group(
        &mut self,
        subject: &Subject,
        verdict: Option<Verdict>,
    ) -> Vec<(u32, Position, Position)> {
        let places = self.groups.told(subject, verdict).into_iter();
        let told = places.filter_map(|place| {
            let incident = self.open.get_mut(&place)?;
            incident.heed(subject, verdict);
            Some((place, incident.first.position, incident.last.position))
        });
        told.collect()
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

    /// Finds the entities that are silent by what the record at `cause` says of the time, and gives their places.
    pub(super) fn fall_silent(&mut self, cause: Position, entities: &mut Entities<EntityState>) -> Vec<u32> {
        let mut silent = Vec::new();
        let Some(silences) = &mut self.silences else { return silent };
        while let Some((place, silence)) = silences.next_silent(cause.partition, entities) {
            let Some(entity) = entities.name(place) else { continue };
            let seconds = (silence.last.time_us - silence.first.time_us) as f64 / 1e6;
            self.news.push(News::Silent { entity: Arc::clone(entity), seconds });
            self.announcements.extend(self.rules.silence((State::Opened, cause), entity, &silence));
            silent.push(place);
        }
        silent
    }

    /// Events that nobody has taken yet.
    pub(super) fn announcements(&mut self) -> &mut Vec<Announcement> {
        &mut self.announcements
    }

    /// The entity at this place is gone.
    pub(super) fn gone(&mut self, place: u32) {
        self.open.remove(&place);
        self.groups.gone(place);
        self.silences.iter_mut().for_each(|silences| silences.gone(place));
    }

    /// These partitions are no longer ours, and neither are the incidents of their entities. They are not over: whoever has
    /// them now goes on with them.
    pub(super) fn forget(&mut self, partitions: &[i32], entities: &Entities<EntityState>) {
        self.open.retain(|place, _| entities.get(*place).is_some());
        self.groups.forget(partitions, |place| entities.get(place).is_some());
        self.silences.iter_mut().for_each(|silences| silences.forget(partitions, entities));
    }

    /// Columns mean something else from now on.
    pub(super) fn forget_columns(&mut self) {
        self.open.values_mut().for_each(Incident::forget_columns);
        self.groups.forget_columns();
    }

    /// The incidents that are open.
    pub(super) fn open<'a>(&'a self, entities: &'a Entities<EntityState>) -> impl Iterator<Item = OpenNow<'a>> {
        self.open.iter().filter_map(|(place, incident)| Some(OpenNow { entity: entities.name(*place)?, incident }))
    }

    /// Those of them that are part of none of a group.
    pub(super) fn alone<'a>(&'a self, entities: &'a Entities<EntityState>) -> impl Iterator<Item = OpenNow<'a>> {
        let alone = self.open.iter().filter(|(place, _)| self.groups.of(**place).is_none());
        alone.filter_map(|(place, incident)| Some(OpenNow { entity: entities.name(*place)?, incident }))
    }

    /// The incidents of groups that are open.
    pub(super) fn open_groups(&self) -> impl Iterator<Item = &GroupIncident> {
        self.groups.open()
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

    /// The id of an incident of a group, as events write it.
    pub(super) fn id_of_group(&self, group: &GroupIncident) -> String {
        incident_event::id_of_group(&self.rules.topic, group.made_by)
    }

    /// The id of a silence, as events write it.
    pub(super) fn id_of_silence(&self, silence: &Silence) -> String {
        incident_event::id_of_silence(&self.rules.topic, silence.first.position)
    }
}

fn microseconds(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
