//! `judging.incidents`, `judging.severity`, `judging.silence` and `judging.feedback` as meant.

use std::time::Duration;

pub use crate::detect::{group::GroupRule, severity::SeverityBounds};

/// `judging.incidents.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentSettings {
    /// `judging.incidents.update_interval`: event time between two updates.
    pub update_interval: Duration,
    /// `judging.incidents.new_normal_after`: event time after which a level shift is offered as the new normal; `None` never.
    pub new_normal_after: Option<Duration>,
    /// `judging.incidents.accept_new_normal`: whether its rows are learned from then on.
    pub accept_new_normal: bool,
    /// `judging.incidents.groups`: entities whose incidents may be one; the first that matches is an entity's own.
    pub groups: Vec<GroupRule>,
}

/// `judging.silence.*`, where it is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SilenceSettings {
    /// `judging.silence.after_intervals`: usual intervals without a record, >= 2.
    pub after_intervals: u32,
    /// `judging.silence.least`: and at least this much event time, > 0.
    pub least: Duration,
}

/// `judging.feedback.*`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedbackSettings {
    /// `judging.feedback.suppress_for`: event time after an incident in which alike anomalies are held back.
    pub suppress_for: Duration,
    /// `judging.feedback.keep`: how long verdicts are heeded after they were written, >= `suppress_for`.
    pub keep: Duration,
}
