//! The incident event as consumers of the incident topic read it: flat JSON, deterministic ids, a stable schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    explain::Blame,
    group::GroupIncident,
    incident::{Incident, Mark},
    severity::Severity,
};
use crate::{
    feedback::Verdict,
    record::{Position, timestamp},
};

/// Version of the event's shape; a field may be added without a new one.
pub const SCHEMA_VERSION: u32 = 1;

/// Entities that the event of a group names at most.
pub const MOST_MEMBERS: usize = 10;

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
    /// Several entities of a group stray together.
    Group,
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
    /// silence, of the last record before it with `-silence` behind, or, of a group, of the record that made it one with
    /// `-group` behind.
    pub id: String,
    /// Deterministic: `<id>-<state>-<offset>` of the record that caused the event, with its partition before the offset where
    /// it is another than that of the id. Whoever reads an event twice knows it by this.
    pub event_id: String,
    /// Version of this shape.
    pub schema_version: u32,
    /// What it is about.
    pub kind: Kind,
    /// What became of it.
    pub state: State,
    /// Topic of the records.
    pub topic: &'a str,
    /// Whose; empty for the nameless entity. Of a group, the pattern that all its entities match.
    pub entity: &'a str,
    /// The incident of the entity's group that it is part of; null where it stands alone, and of a group.
    pub group_id: Option<String>,
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
    /// Usual seconds between two records of the entity. Null but of a silence.
    pub interval_seconds: Option<f64>,
    /// Entities of the group that strayed in it so far. Null but of a group.
    pub members: Option<usize>,
    /// Entities of the group whose own incident is open in it. Null but of a group.
    pub members_open: Option<usize>,
    /// The entities of the group with the worst rows, at most 10, the worst first; empty but of a group.
    pub worst_members: Vec<&'a str>,
    /// Their incidents' ids.
    pub worst_member_ids: Vec<String>,
    /// The feature with the largest share of the error.
    pub top_feature: Option<String>,
    /// Names of the features with the largest shares.
    pub feature_names: Vec<String>,
    /// Their values in the worst row.
    pub feature_values: Vec<f64>,
    /// What the model expected there.
    pub feature_expected: Vec<f64>,
    /// Their standardised errors there, standard deviations; above 0 where more came than is usual.
    pub feature_errors: Vec<f64>,
    /// Their shares of the whole incident's error, 0..=1: means over its anomalous rows, weighted by their scores.
    pub feature_shares: Vec<f64>,
    /// How many rows of the entity before the first anomalous record they began to stray, which they had done ever since:
    /// 0 is that record, 254 are so many or more. To stray is a standardised error beyond 3. Null for one that didn't stray
    /// by itself in that record, and where it is not known.
    pub feature_onsets: Vec<Option<u8>>,
    /// The score that the first anomalous record would have had with the features that its own event names as the model
    /// expected them. Null of a silence.
    pub counterfactual_score: Option<f64>,
    /// Whether it would not have been anomalous then, so that these features explain it; null with the score.
    pub counterfactual_under_limit: Option<bool>,
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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

/// The id of the incident of a group that the record at `made_by` made one; that record may have begun an incident of its
/// own.
pub fn id_of_group(topic: &str, made_by: Position) -> String {
    format!("{}-group", id(topic, made_by))
}

/// What an event is about: its id, the record in the id, and the kind.
type Named = (String, Position, Kind);

impl<'a> IncidentEvent<'a> {
    /// News of anomalies, judged by the model of this version. `blames` are the features with the largest shares, largest
    /// first.
    pub fn of_anomalies(telling: &Telling<'a>, incident: &Incident, model: &'a str, blames: Vec<Blame>) -> Self {
        let first = incident.first.position;
        Self::of_rows((id(telling.topic, first), first, Kind::Anomaly), telling, incident, (model, blames))
    }

    /// News of a group; `telling` has its name for the entity, and the rest is as of an entity's anomalies.
    pub fn of_group(telling: &Telling<'a>, group: &'a GroupIncident, model: &'a str, blames: Vec<Blame>) -> Self {
        let named = (id_of_group(telling.topic, group.made_by), group.made_by, Kind::Group);
        let worst = group.worst(MOST_MEMBERS);
        Self {
            members: Some(group.entities()),
            members_open: Some(group.open_entities()),
            worst_members: worst.iter().map(|member| &*member.entity).collect(),
            worst_member_ids: worst.iter().map(|member| id(telling.topic, member.first)).collect(),
            ..Self::of_rows(named, telling, &group.whole, (model, blames))
        }
    }

    fn of_rows(
        named: Named,
        telling: &Telling<'a>,
        incident: &Incident,
        (model, blames): (&'a str, Vec<Blame>),
    ) -> Self {
        let bare = Self::bare(named, telling, (incident.first, incident.last));
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
            feature_errors: blames.iter().map(|blame| blame.error).collect(),
            feature_shares: blames.iter().map(|blame| blame.share).collect(),
            feature_onsets: blames.iter().map(|blame| blame.onset).collect(),
            counterfactual_score: incident.opening.counterfactual.map(|told| told.score),
            counterfactual_under_limit: incident.opening.counterfactual.map(|told| told.under_limit),
            feature_names: blames.into_iter().map(|blame| blame.name).collect(),
            ..bare
        }
    }

    /// News of a silence.
    pub fn of_silence(telling: &Telling<'a>, silence: &Silence) -> Self {
        let first = silence.first.position;
        let named = (id_of_silence(telling.topic, first), first, Kind::Silence);
        let bare = Self::bare(named, telling, (silence.first, silence.last));
        Self { interval_seconds: silence.interval_seconds, ..bare }
    }

    fn bare((id, named_by, kind): Named, telling: &Telling<'a>, (first, last): (Mark, Mark)) -> Self {
        let Position { partition, offset } = telling.cause;
        // Records of two partitions may have one offset.
        let cause = if partition == named_by.partition { offset.to_string() } else { format!("{partition}-{offset}") };
        Self {
            event_id: format!("{id}-{}-{cause}", telling.state.as_str()),
            id,
            schema_version: SCHEMA_VERSION,
            kind,
            state: telling.state,
            topic: telling.topic,
            entity: telling.entity,
            group_id: None,
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
            members: None,
            members_open: None,
            worst_members: Vec::new(),
            worst_member_ids: Vec::new(),
            top_feature: None,
            feature_names: Vec::new(),
            feature_values: Vec::new(),
            feature_expected: Vec::new(),
            feature_errors: Vec::new(),
            feature_shares: Vec::new(),
            feature_onsets: Vec::new(),
            counterfactual_score: None,
            counterfactual_under_limit: None,
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
