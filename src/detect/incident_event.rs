//! The incident event as consumers of the incident topic read it: flat JSON, deterministic ids, a stable schema.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    explain::Blame,
    incident::{Incident, Mark},
    severity::Severity,
};
use crate::{
    feedback::Verdict,
    record::{Position, timestamp},
};

/// Version of the event's shape; a field may be added without a new one.
pub const SCHEMA_VERSION: u32 = 1;

/// Silence has no p-value; somebody should look the same day.
pub const SEVERITY_OF_SILENCE: Severity = Severity::Warning;

/// What an incident is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Records stray from what is normal.
    Anomaly,
    /// No records come.
    Silence,
}

/// What became of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It began.
    Opened,
    /// It goes on and there is news of it.
    Updated,
    /// It is over.
    Resolved,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Resolved => "resolved",
        }
    }
}

/// News of one incident. Arrays are parallel: entry `i` of each belongs to the feature with the `i`-th largest share.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IncidentEvent<'a> {
    /// The incident, the same in all its events: `<topic>-<partition>-<offset>` of its first anomalous record, or, of a
    /// silence, of the last record before it with `-silence` behind.
    pub id: String,
    /// Deterministic: `<id>-<state>-<offset>` of the record that caused the event. Whoever reads an event twice knows it by
    /// this.
    pub event_id: String,
    /// Version of this shape.
    pub schema_version: u32,
    /// What it is about.
    pub kind: Kind,
    /// What became of it.
    pub state: State,
    /// Topic of the records.
    pub topic: &'a str,
    /// Whose; empty for the nameless entity.
    pub entity: &'a str,
    /// How bad its worst row was. It never falls.
    pub severity: Severity,
    /// Event time of the first anomalous record, or of the last record before the silence. RFC 3339, UTC.
    pub first_time: String,
    /// Event time of the last anomalous record so far; of a silence, the latest event time of the partition, or that of the
    /// record that ended it. RFC 3339, UTC.
    pub last_time: String,
    /// From `first_time` to `last_time`, seconds.
    pub duration_seconds: f64,
    /// Partition of the first anomalous record, or of the last one before the silence.
    pub first_partition: i32,
    /// Its offset.
    pub first_offset: i64,
    /// Partition of the last anomalous record so far; of a silence, that of the first one until a record ended it.
    pub last_partition: i32,
    /// Its offset.
    pub last_offset: i64,
    /// Anomalous records so far; 0 of a silence.
    pub anomalies: u64,
    /// Score of its worst row; > limit. Null of a silence.
    pub peak_score: Option<f64>,
    /// Probability that a normal row scores as high as the worst one, 0..=1. Null of a silence.
    pub peak_p_value: Option<f64>,
    /// The limit that the worst row was above. Null of a silence.
    pub limit: Option<f64>,
    /// Version of the model in use at the time of the event. Null of a silence.
    pub model: Option<&'a str>,
    /// Whether it lasted so long at one level that what is normal may have changed.
    pub level_shift: bool,
    /// Whether this event offers the level as the new normal, which only one does.
    pub new_normal_offered: bool,
    /// What a person had said of it by then; null where nobody had. An expected change resolves it.
    pub verdict: Option<Verdict>,
    /// Usual seconds between two records of the entity. Null of an anomaly.
    pub interval_seconds: Option<f64>,
    /// The feature with the largest share of the error.
    pub top_feature: Option<String>,
    /// Names of the features with the largest shares.
    pub feature_names: Vec<String>,
    /// Their values in the worst row.
    pub feature_values: Vec<f64>,
    /// What the model expected there.
    pub feature_expected: Vec<f64>,
    /// Their shares of the whole incident's error, 0..=1: means over its anomalous rows, weighted by their scores.
    pub feature_shares: Vec<f64>,
}

/// What an event says beside the incident itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Telling<'a> {
    /// Topic or file.
    pub topic: &'a str,
    /// Whose incident it is.
    pub entity: &'a str,
    /// What became of it.
    pub state: State,
    /// The record that caused the event.
    pub cause: Position,
}

/// A silence as an event tells it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Silence {
    /// The last record before it.
    pub first: Mark,
    /// The same record, or the one that ended it.
    pub last: Mark,
    /// Usual seconds between two records.
    pub interval_seconds: Option<f64>,
}

/// The id of the incident that began with the record at `first`.
pub fn id(topic: &str, first: Position) -> String {
    format!("{topic}-{}-{}", first.partition, first.offset)
}

/// The id of the silence after the record at `first`, which may have begun an incident of its own.
pub fn id_of_silence(topic: &str, first: Position) -> String {
    format!("{}-silence", id(topic, first))
}

impl<'a> IncidentEvent<'a> {
    /// News of anomalies, judged by the model of this version. `blames` are the features with the largest shares, largest
    /// first.
    pub fn of_anomalies(telling: &Telling<'a>, incident: &Incident, model: &'a str, blames: Vec<Blame>) -> Self {
        let id = id(telling.topic, incident.first.position);
        let bare = Self::bare((id, Kind::Anomaly), telling, (incident.first, incident.last));
        Self {
            severity: incident.severity,
            anomalies: incident.anomalies,
            peak_score: Some(incident.peak.score),
            peak_p_value: Some(incident.peak.p_value),
            limit: Some(incident.peak.limit),
            model: Some(model),
            level_shift: incident.level_shift,
            verdict: incident.verdict,
            top_feature: blames.first().map(|blame| blame.name.clone()),
            feature_values: blames.iter().map(|blame| blame.value).collect(),
            feature_expected: blames.iter().map(|blame| blame.expected).collect(),
            feature_shares: blames.iter().map(|blame| blame.share).collect(),
            feature_names: blames.into_iter().map(|blame| blame.name).collect(),
            ..bare
        }
    }

    /// News of a silence.
    pub fn of_silence(telling: &Telling<'a>, silence: &Silence) -> Self {
        let id = id_of_silence(telling.topic, silence.first.position);
        let bare = Self::bare((id, Kind::Silence), telling, (silence.first, silence.last));
        Self { interval_seconds: silence.interval_seconds, ..bare }
    }

    fn bare((id, kind): (String, Kind), telling: &Telling<'a>, (first, last): (Mark, Mark)) -> Self {
        Self {
            event_id: format!("{id}-{}-{}", telling.state.as_str(), telling.cause.offset),
            id,
            schema_version: SCHEMA_VERSION,
            kind,
            state: telling.state,
            topic: telling.topic,
            entity: telling.entity,
            severity: SEVERITY_OF_SILENCE,
            first_time: timestamp::to_rfc3339(first.time_us),
            last_time: timestamp::to_rfc3339(last.time_us),
            duration_seconds: last.time_us.saturating_sub(first.time_us).max(0) as f64 / 1e6,
            first_partition: first.position.partition,
            first_offset: first.position.offset,
            last_partition: last.position.partition,
            last_offset: last.position.offset,
            anomalies: 0,
            peak_score: None,
            peak_p_value: None,
            limit: None,
            model: None,
            level_shift: false,
            new_normal_offered: false,
            verdict: None,
            interval_seconds: None,
            top_feature: None,
            feature_names: Vec::new(),
            feature_values: Vec::new(),
            feature_expected: Vec::new(),
            feature_shares: Vec::new(),
        }
    }

    /// One line of JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, integers and floats always serialise")
    }
}

/// The event's JSON Schema, as kept in `docs/incident-event.schema.json`.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(IncidentEvent<'static>).to_value()
}
