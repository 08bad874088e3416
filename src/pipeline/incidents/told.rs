//! What metrics and `/status` hear of incidents.

use std::sync::Arc;

use super::{OpenNow, SilentNow};
use crate::{
    detect::{
        group::GroupIncident,
        incident::Incident,
        incident_event::{Kind, MOST_MEMBERS, SEVERITY_OF_SILENCE},
        leading::keep_first,
        severity::Severity,
    },
    pipeline::scoring::Scoring,
    record::timestamp,
    telemetry::{
        GroupOpened, IncidentOpened, Metrics, OpenIncident,
        board::{Board, MOST_INCIDENTS},
    },
};

/// What happened and was not told yet.
#[derive(Debug)]
pub(super) enum News {
    /// An incident began.
    Opened {
        entity: Arc<str>,
        score: f64,
        limit: f64,
        severity: Severity,
        top_column: Option<usize>,
        is_explained: Option<bool>,
    },
    /// An incident began that is part of one of a group, and so raised no alarm of its own.
    Joined { is_explained: Option<bool> },
    /// Incidents of so many entities of a group became one.
    GroupOpened { name: Arc<str>, members: usize, severity: Severity, top_column: Option<usize> },
    /// An incident is over, of an entity that stood alone or of a group.
    Resolved { severity: Severity, top_column: Option<usize> },
    /// A level shift was offered as the new normal.
    LevelShift,
    /// An entity was not heard of for so long.
    Silent { entity: Arc<str>, seconds: f64 },
    /// A silent entity reports again.
    Reported,
}

impl News {
    pub(super) fn tell(&self, metrics: &Metrics) {
        match *self {
            Self::Opened { ref entity, score, limit, severity, top_column, is_explained } => {
                let opened = IncidentOpened { entity, score, limit, severity, top_feature: top_column, is_explained };
                metrics.incident_opened(&opened);
            }
            Self::Joined { is_explained } => metrics.incident_joined(is_explained),
            Self::GroupOpened { ref name, members, severity, top_column } => {
                metrics.group_incident_opened(&GroupOpened { name, members, severity, top_feature: top_column });
            }
            Self::Resolved { severity, top_column } => metrics.incident_resolved(top_column, severity),
            Self::LevelShift => metrics.level_shift_offered(),
            Self::Silent { ref entity, seconds } => metrics.silence_began(entity, seconds),
            Self::Reported => {}
        }
    }
}

/// One that is open, of any kind.
enum Open<'a> {
    Anomalies(OpenNow<'a>),
    Group(&'a GroupIncident),
    Silence(SilentNow<'a>),
}

impl Open<'_> {
    /// When it began, and whose it is.
    fn key(&self) -> (i64, &str) {
        match self {
            Self::Anomalies(open) => (open.incident.first.time_us, open.entity),
            Self::Group(group) => (group.whole.first.time_us, &group.name),
            Self::Silence(silent) => (silent.silence.first.time_us, silent.entity),
        }
    }

    fn describe(&self, scoring: &Scoring) -> OpenIncident {
        let (since_us, entity) = self.key();
        let bare = OpenIncident {
            id: String::new(),
            kind: Kind::Silence,
            severity: SEVERITY_OF_SILENCE,
            entity: entity.to_owned(),
            since: timestamp::to_rfc3339(since_us),
            anomalies: 0,
            peak_score: None,
            limit: None,
            top_feature: None,
            level_shift: false,
            members: None,
            members_open: None,
            worst_members: Vec::new(),
        };
        let incidents = scoring.incidents();
        match self {
            Self::Silence(SilentNow { silence, .. }) => OpenIncident { id: incidents.id_of_silence(silence), ..bare },
            Self::Anomalies(OpenNow { incident, .. }) => {
                OpenIncident { id: incidents.id(incident), kind: Kind::Anomaly, ..of_rows(bare, incident, scoring) }
            }
            Self::Group(group) => OpenIncident {
                id: incidents.id_of_group(group),
                kind: Kind::Group,
                members: Some(group.entities()),
                members_open: Some(group.open_entities()),
                worst_members: group.worst(MOST_MEMBERS).iter().map(|member| member.entity.to_string()).collect(),
                ..of_rows(bare, &group.whole, scoring)
            },
        }
    }
}

fn of_rows(bare: OpenIncident, incident: &Incident, scoring: &Scoring) -> OpenIncident {
    let name = |column: usize| Some(scoring.model().metadata.columns.get(column)?.name.clone());
    OpenIncident {
        severity: incident.severity,
        anomalies: incident.anomalies,
        peak_score: Some(incident.peak.score),
        limit: Some(incident.peak.limit),
        top_feature: incident.top_column.and_then(name),
        level_shift: incident.level_shift,
        ..bare
    }
}

/// Tells metrics and board which incidents are open.
pub(in crate::pipeline) fn tell_open(scoring: &Scoring, metrics: &Metrics, board: &Board) {
    let alone = || scoring.alone_incidents().map(|open| open.incident);
    let groups = || scoring.open_groups();
    // A group is one alarm, so it counts as one, and what is part of it does not.
    let alarms = alone().chain(groups().map(|group| &group.whole));
    metrics.incidents_open(alarms.map(|incident| (incident.top_column, incident.severity)));
    metrics.group_incidents_open(groups().count(), groups().map(GroupIncident::open_entities).sum());
    metrics.silences_open(scoring.silent_entities().count());
    let of_rows = scoring.alone_incidents().map(Open::Anomalies).chain(groups().map(Open::Group));
    let mut open: Vec<Open<'_>> = of_rows.chain(scoring.silent_entities().map(Open::Silence)).collect();
    let count = open.len();
    let newest_first = |a: &Open<'_>, b: &Open<'_>| (b.key().0, a.key().1).cmp(&(a.key().0, b.key().1));
    keep_first(&mut open, MOST_INCIDENTS, newest_first);
    board.set_incidents(count, open.iter().map(|open| open.describe(scoring)).collect());
}
