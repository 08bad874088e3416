//! What metrics and `/status` hear of incidents.

use std::sync::Arc;

use super::{OpenNow, SilentNow};
use crate::{
    detect::{
        incident_event::{Kind, SEVERITY_OF_SILENCE},
        severity::Severity,
    },
    pipeline::scoring::Scoring,
    record::timestamp,
    telemetry::{
        IncidentOpened, Metrics, OpenIncident,
        board::{Board, MOST_INCIDENTS},
    },
};

/// What happened and was not told yet.
#[derive(Debug)]
pub(super) enum News {
    /// An incident began.
    Opened { entity: Arc<str>, score: f64, limit: f64, severity: Severity, top_column: Option<usize> },
    /// An incident is over.
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
            Self::Opened { ref entity, score, limit, severity, top_column } => {
                let opened = IncidentOpened { entity, score, limit, severity, top_feature: top_column };
                metrics.incident_opened(&opened);
            }
            Self::Resolved { severity, top_column } => metrics.incident_resolved(top_column, severity),
            Self::LevelShift => metrics.level_shift_offered(),
            Self::Silent { ref entity, seconds } => metrics.silence_began(entity, seconds),
            Self::Reported => {}
        }
    }
}

/// One that is open, of either kind.
enum Open<'a> {
    Anomalies(OpenNow<'a>),
    Silence(SilentNow<'a>),
}

impl Open<'_> {
    /// When it began, and whose it is.
    fn key(&self) -> (i64, &str) {
        match self {
            Self::Anomalies(open) => (open.incident.first.time_us, open.entity),
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
        };
        match self {
            Self::Silence(SilentNow { silence, .. }) => {
                OpenIncident { id: scoring.incidents().id_of_silence(silence), ..bare }
            }
            Self::Anomalies(OpenNow { incident, .. }) => OpenIncident {
                id: scoring.incidents().id(incident),
                kind: Kind::Anomaly,
                severity: incident.severity,
                anomalies: incident.anomalies,
                peak_score: Some(incident.peak.score),
                limit: Some(incident.peak.limit),
                top_feature: incident
                    .top_column
                    .and_then(|column| Some(scoring.model().metadata.columns.get(column)?.name.clone())),
                level_shift: incident.level_shift,
                ..bare
            },
        }
    }
}

/// Tells metrics and board which incidents are open.
pub(in crate::pipeline) fn tell_open(scoring: &Scoring, metrics: &Metrics, board: &Board) {
    metrics.incidents_open(scoring.open_incidents().map(|open| (open.incident.top_column, open.incident.severity)));
    metrics.silences_open(scoring.silent_entities().count());
    let anomalies = scoring.open_incidents().map(Open::Anomalies);
    let mut open: Vec<Open<'_>> = anomalies.chain(scoring.silent_entities().map(Open::Silence)).collect();
    let count = open.len();
    let newest_first = |a: &Open<'_>, b: &Open<'_>| (b.key().0, a.key().1).cmp(&(a.key().0, b.key().1));
    if count > MOST_INCIDENTS {
        // There may be as many as there are entities.
        open.select_nth_unstable_by(MOST_INCIDENTS, newest_first);
        open.truncate(MOST_INCIDENTS);
    }
    open.sort_by(newest_first);
    board.set_incidents(count, open.iter().map(|open| open.describe(scoring)).collect());
}
