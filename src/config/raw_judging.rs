//! `judging.*` as written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    budget::WrittenRate,
    raw_incidents::{RawFeedback, RawIncidents, RawSeverity, RawSilence},
    settings::{Aggregation, Residuals},
};
use crate::detect::gates::columns::Direction;

/// `judging.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawJudging {
    /// How many alarms are allowed: exactly one of its two keys.
    pub budget: RawBudget,
    /// Span in rows of the exponential smoothing of scores per entity; 1 is none.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub smoothing_span: u32,
    /// How residuals are put on one scale: raw (as they are), held_back (divided by their variance on held-back rows),
    /// or {running: {half_life}} (the same, following slow drift per entity; half_life in rows). If left out, running with a
    /// half_life of 5000.
    #[schemars(extend("x-expected" = "raw, held_back or {running: {half_life: ROWS}}"))]
    pub residuals: Option<Residuals>,
    /// What a row's score is made of: mean (of the columns' errors), max, {top: K} (the mean of the K largest), or mahalanobis
    /// (the mean after the residuals' correlations are taken out). If left out, mean; but mahalanobis where model.kind is
    /// left out too and few windows make it pca.
    #[schemars(extend("x-expected" = "mean, max, mahalanobis or {top: NUMBER}"))]
    pub aggregation: Option<Aggregation>,
    /// Rows of an entity without anomaly after which its incident ends.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub incident_quiet_rows: u32,
    /// How an entity's limit follows it where it raises more alarms than its budget allows.
    pub recalibration: RawRecalibration,
    /// What is told of an incident while it goes on.
    pub incidents: RawIncidents,
    /// How rare an anomaly has to be for each severity.
    pub severity: RawSeverity,
    /// Entities that stop reporting.
    pub silence: RawSilence,
    /// What follows from what people say of alarms on kafka.feedback_topic.
    pub feedback: RawFeedback,
    /// Features that an event names, those with the largest share of the error first.
    #[schemars(range(min = 1, max = 1000))]
    pub top_features: usize,
    /// What a feature has to do before its deviation counts: a list of objects with `name` (a pattern with * and ?),
    /// `min_absolute` and `min_relative` (least deviation, in the field's own unit and as a share of what was expected),
    /// `direction` (up, down, both) and `normal_range` ([LOW, HIGH], where it can't be wrong). Of entries that match the same
    /// feature, the last one that sets something wins.
    #[schemars(extend("x-expected" = "a list of objects with name, min_absolute, min_relative, direction, normal_range"))]
    pub features: Vec<RawFeatureRule>,
    /// How many of an entity's last judged rows must be anomalous before one raises an alarm.
    pub persistence: RawPersistence,
    /// First judged rows of an entity that raise no alarm; 0 asks for alarms at once. Entities that the model was trained on
    /// in a cold start of the daemon are known already.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub cold_start_rows: u32,
    /// When no alarms are raised, by event time: a list of objects with `entities` (a pattern) and either `from` and `to`
    /// (HH:MM, with `weekdays` and `time_zone`, may go over midnight; or two times in RFC 3339) or `ics` (an iCalendar file,
    /// with `time_zone` for its times without one).
    #[schemars(extend("x-expected" = "a list of objects with entities, weekdays, from, to, time_zone, ics"))]
    pub maintenance: Vec<RawMaintenance>,
    /// What is different for some entities: a list of objects with `entities` (a pattern) and any of `budget`, `persistence`,
    /// `cold_start_rows` and `features` (which come after the general ones). The first one that matches an entity is its own.
    #[schemars(extend("x-expected" = "a list of objects with entities, budget, persistence, cold_start_rows, features"))]
    pub overrides: Vec<RawOverride>,
    /// Whether an anomaly that was held back is published all the same, with the reason in `suppressed_by`.
    pub publish_suppressed: bool,
}

/// `judging.budget.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBudget {
    /// Alarms (incidents) that normal data may raise: a rate of all entities together (`3 per day`) or of each (`1 per entity
    /// per week`), by the hour, day, week or month of 30 days.
    pub alarms: Option<WrittenRate>,
    /// Share of normal rows that may be anomalous (contamination).
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub quantile: Option<f64>,
}

/// `judging.persistence.*`
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPersistence {
    /// Anomalies needed, at most as many as rows.
    #[schemars(range(min = 1, max = 64))]
    pub anomalies: u32,
    /// Last judged rows that they have to be among.
    #[schemars(range(min = 1, max = 64))]
    pub rows: u32,
}

/// One entry of `judging.features`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFeatureRule {
    /// Features that it holds of; * is any characters, ? is one.
    pub name: String,
    /// Least deviation from what was expected, in the field's own unit.
    #[schemars(range(min = 0.0))]
    pub min_absolute: Option<f64>,
    /// Least deviation as a share of what was expected.
    #[schemars(range(min = 0.0))]
    pub min_relative: Option<f64>,
    /// Which way a value has to stray.
    pub direction: Option<Direction>,
    /// Values that can't be wrong, both ends included.
    #[schemars(extend("x-expected" = "[LOW, HIGH]"))]
    pub normal_range: Option<[f64; 2]>,
}

/// One entry of `judging.maintenance`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawMaintenance {
    /// Entities that it holds of; * is any characters, ? is one.
    pub entities: String,
    /// Days on which the hours begin; every day if left out.
    pub weekdays: Option<Vec<String>>,
    /// Beginning: HH:MM, or a time in RFC 3339.
    pub from: Option<String>,
    /// End, excluded: HH:MM (24:00 is midnight), or a time in RFC 3339.
    pub to: Option<String>,
    /// Zone of the hours, by its name in the IANA database; UTC if left out.
    pub time_zone: Option<String>,
    /// An iCalendar file with the events to heed.
    pub ics: Option<PathBuf>,
}

/// One entry of `judging.overrides`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawOverride {
    /// Entities that it holds of; * is any characters, ? is one.
    pub entities: String,
    /// Their budget, which gives them a limit of their own.
    pub budget: Option<RawBudget>,
    /// How their anomalies have to persist.
    pub persistence: Option<RawPersistence>,
    /// First judged rows that raise no alarm.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub cold_start_rows: Option<u32>,
    /// What comes after judging.features for them.
    #[serde(default)]
    pub features: Vec<RawFeatureRule>,
}

/// `judging.recalibration.*`
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRecalibration {
    /// Share by which each incident of an entity raises its limit; half as many again as the budget allows keep it where it
    /// is, with fewer it comes back to the calibrated one. 0 keeps it where it was calibrated. Only with a budget per day.
    #[schemars(range(min = 0, max = 10.0))]
    pub step: f64,
    /// The limit never exceeds this many times the calibrated one.
    #[schemars(range(min = 1, max = 1_000_000.0))]
    pub most: f64,
}
