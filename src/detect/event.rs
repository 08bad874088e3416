//! The anomaly event as consumers of the output topic read it: flat JSON, a deterministic id, a stable schema.

use schemars::JsonSchema;
use serde::Serialize;

use super::{counterfactual::Counterfactual, explain::Blame, gates::Suppression, severity::Severity};
use crate::record::{Position, timestamp};

/// Version of the event's shape; a field may be added without a new one.
pub const SCHEMA_VERSION: u32 = 1;

/// One anomaly. Arrays are parallel: entry `i` of each belongs to the feature with the `i`-th largest share.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnomalyEvent<'a> {
    /// Deterministic: `<topic>-<partition>-<offset>-<model>`. The same record judged by the same model has the same id.
    pub id: String,
    /// Version of this shape.
    pub schema_version: u32,
    /// Topic of the record.
    pub topic: &'a str,
    /// Partition of the record.
    pub partition: i32,
    /// Offset of the record.
    pub offset: i64,
    /// Whose record it is; empty for the nameless entity.
    pub entity: &'a str,
    /// Event time, RFC 3339, UTC.
    pub timestamp: String,
    /// The judged score (standardised and smoothed); > limit.
    pub score: f64,
    /// What the model file's graph gives for the row alone, in double precision: finite where the graph's own 32 bits
    /// overflow.
    pub raw_score: f64,
    /// The score above which a row of the entity is anomalous.
    pub limit: f64,
    /// Probability that a normal row scores as high, 0..=1.
    pub p_value: f64,
    /// How bad that is, by the bounds of `judging.severity`.
    pub severity: Severity,
    /// Version of the model: the first 12 hexadecimal digits of its file's SHA-256.
    pub model: &'a str,
    /// The feature with the largest share of the error.
    pub top_feature: Option<String>,
    /// Its value.
    pub top_feature_value: Option<f64>,
    /// What the model expected.
    pub top_feature_expected: Option<f64>,
    /// How far that is from what is usual: its standardised error, standard deviations; above 0 where more came than that.
    pub top_feature_error: Option<f64>,
    /// Its share of the error, 0..=1.
    pub top_feature_share: Option<f64>,
    /// Names of the features with the largest shares.
    pub feature_names: Vec<String>,
    /// Their values.
    pub feature_values: Vec<f64>,
    /// What the model expected of them.
    pub feature_expected: Vec<f64>,
    /// Their standardised errors, standard deviations; above 0 where more came than is usual.
    pub feature_errors: Vec<f64>,
    /// Their shares of the error, 0..=1.
    pub feature_shares: Vec<f64>,
    /// How many rows of the entity before this one they began to stray, which they have done ever since: 0 is this row,
    /// 254 are so many or more. To stray is a standardised error beyond 3. Null for one that doesn't stray by itself in
    /// this row, and where rows have no order.
    pub feature_onsets: Vec<Option<u8>>,
    /// The score that the record would have had with these features as the model expected them. Only of a record that
    /// opened an incident, else null.
    pub counterfactual_score: Option<f64>,
    /// Whether it would not have been anomalous then, so that these features explain the incident; null with the score.
    pub counterfactual_under_limit: Option<bool>,
    /// What held the anomaly back, so that it is no alarm; null for one that is. Only where `judging.publish_suppressed` is
    /// on are others than alarms published.
    pub suppressed_by: Option<Suppression>,
}

/// The numbers of a verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// Judged score.
    pub score: f64,
    /// The graph's score, in double precision.
    pub raw_score: f64,
    /// The limit.
    pub limit: f64,
    /// The p-value.
    pub p_value: f64,
    /// What the p-value makes it.
    pub severity: Severity,
    /// What held the anomaly back.
    pub suppressed_by: Option<Suppression>,
}

/// Where the judged record comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Topic or file.
    pub topic: &'a str,
    /// Partition and offset.
    pub position: Position,
    /// Entity name.
    pub entity: &'a str,
    /// Event time, microseconds since the epoch.
    pub time_us: i64,
    /// Model version.
    pub model: &'a str,
}

impl<'a> AnomalyEvent<'a> {
    /// The event of an anomalous record and the features to blame, largest share first.
    pub fn new(origin: &Origin<'a>, verdict: &Verdict, blames: Vec<Blame>) -> Self {
        let Position { partition, offset } = origin.position;
        let top = blames.first();
        Self {
            id: format!("{}-{partition}-{offset}-{}", origin.topic, origin.model),
            schema_version: SCHEMA_VERSION,
            topic: origin.topic,
            partition,
            offset,
            entity: origin.entity,
            timestamp: timestamp::to_rfc3339(origin.time_us),
            score: verdict.score,
            raw_score: verdict.raw_score,
            limit: verdict.limit,
            p_value: verdict.p_value,
            severity: verdict.severity,
            model: origin.model,
            top_feature: top.map(|blame| blame.name.clone()),
            top_feature_value: top.map(|blame| blame.value),
            top_feature_expected: top.map(|blame| blame.expected),
            top_feature_error: top.map(|blame| blame.error),
            top_feature_share: top.map(|blame| blame.share),
            feature_values: blames.iter().map(|blame| blame.value).collect(),
            feature_expected: blames.iter().map(|blame| blame.expected).collect(),
            feature_errors: blames.iter().map(|blame| blame.error).collect(),
            feature_shares: blames.iter().map(|blame| blame.share).collect(),
            feature_onsets: blames.iter().map(|blame| blame.onset).collect(),
            counterfactual_score: None,
            counterfactual_under_limit: None,
            feature_names: blames.into_iter().map(|blame| blame.name).collect(),
            suppressed_by: verdict.suppressed_by,
        }
    }

    /// The same, of a record that opened an incident.
    #[must_use]
    pub fn with(self, counterfactual: Option<Counterfactual>) -> Self {
        Self {
            counterfactual_score: counterfactual.map(|told| told.score),
            counterfactual_under_limit: counterfactual.map(|told| told.under_limit),
            ..self
        }
    }

    /// One line of JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, integers and floats always serialise")
    }
}

/// The event's JSON Schema, as kept in `docs/anomaly-event.schema.json`.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(AnomalyEvent<'static>).to_value()
}
