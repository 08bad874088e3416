//! `judging.incidents`, `judging.severity`, `judging.silence` and `judging.feedback` as written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::units::WrittenDuration;

/// `judging.incidents.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawIncidents {
    /// Event time between two updates of an incident that goes on; a severity that rises is told at once.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "30d"))]
    pub update_interval: WrittenDuration,
    /// Event time after which an incident with at least nine anomalous rows in ten is a level shift and offered as the new
    /// normal; null never offers one.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "365d"))]
    pub new_normal_after: Option<WrittenDuration>,
    /// Whether rows of an offered level shift count as normal for the next training from then on, so that the next model
    /// learns the new level.
    pub accept_new_normal: bool,
    /// Entities that are a group, so that their incidents are one where several begin together: a list of objects with
    /// `entities` (a pattern in which `{group}` may stand for the part of the name that tells the group), `least` (so many
    /// entities, 3) and `within` (event time, 5m). The first one that matches an entity is its own. If empty, each entity has
    /// incidents of its own.
    #[schemars(extend("x-expected" = "a list of objects with entities, least, within"))]
    pub groups: Vec<RawGroup>,
}

/// One entry of `judging.incidents.groups`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawGroup {
    /// Entities that it holds of; * is any characters, ? is one, {group} is the part that tells the group.
    pub entities: String,
    /// So many entities of the group make an incident of the group; 3 if left out.
    #[serde(default = "least")]
    #[schemars(range(min = 2, max = 1_000_000))]
    pub least: usize,
    /// Where their incidents opened within this event time of each other; 5m if left out.
    #[serde(default = "within")]
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "30d"))]
    pub within: WrittenDuration,
}

/// Two may be chance.
fn least() -> usize {
    3
}

fn within() -> WrittenDuration {
    WrittenDuration(Duration::from_secs(300))
}

/// `judging.severity.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSeverity {
    /// An anomaly whose p-value is below this is a warning; others are info.
    #[schemars(extend("exclusiveMinimum" = 1e-12, "exclusiveMaximum" = 1))]
    pub warning: f64,
    /// An anomaly whose p-value is below this is critical. Below `warning`.
    #[schemars(extend("exclusiveMinimum" = 1e-12, "exclusiveMaximum" = 1))]
    pub critical: f64,
}

/// `judging.silence.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSilence {
    /// An entity is silent after so many of its usual intervals without a record, in event time; null watches for no silence.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub after_intervals: Option<u32>,
    /// And not before this much event time.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "365d"))]
    pub least: WrittenDuration,
}

/// `judging.feedback.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFeedback {
    /// Event time after an incident that was called false, or an expected change, in which anomalies alike raise no alarm.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "365d"))]
    pub suppress_for: WrittenDuration,
    /// Verdicts that were written longer ago are not read any more. At least `suppress_for`.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "3650d"))]
    pub keep: WrittenDuration,
}
