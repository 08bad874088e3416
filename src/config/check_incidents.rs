//! What hangs on several values of `judging.incidents`, `judging.severity`, `judging.silence` and `judging.feedback`.

use super::{
    error::Problems,
    raw_incidents::{RawFeedback, RawGroup, RawIncidents, RawSeverity, RawSilence},
    settings::{FeedbackSettings, GroupRule, IncidentSettings, SeverityBounds, SilenceSettings},
};
use crate::detect::group::pattern::GroupPattern;

pub(super) fn incidents(raw: &RawIncidents, problems: &mut Problems) -> IncidentSettings {
    if raw.accept_new_normal && raw.new_normal_after.is_none() {
        let problem = "accepts what is never offered: judging.incidents.new_normal_after is null";
        problems.push(
            "judging.incidents.accept_new_normal",
            problem,
            "false, or a time after which a level is offered",
        );
    }
    IncidentSettings {
        update_interval: raw.update_interval.0,
        new_normal_after: raw.new_normal_after.map(|after| after.0),
        accept_new_normal: raw.accept_new_normal,
        groups: raw.groups.iter().enumerate().filter_map(|(index, written)| group(written, index, problems)).collect(),
    }
}

fn group(raw: &RawGroup, index: usize, problems: &mut Problems) -> Option<GroupRule> {
    let key = format!("judging.incidents.groups[{index}]");
    if problems.concern_entry(&key) {
        return None;
    }
    match GroupPattern::new(&raw.entities) {
        Ok(entities) => {
            let within_us = i64::try_from(raw.within.0.as_micros()).unwrap_or(i64::MAX);
            Some(GroupRule { entities, least: raw.least, within_us })
        }
        Err(error) => {
            let told = error.to_string();
            let (problem, expected) = told.split_once(", expected ").unwrap_or((&told, "a pattern"));
            problems.push(format!("{key}.entities"), problem, expected);
            None
        }
    }
}

pub(super) fn severity(raw: &RawSeverity, problems: &mut Problems) -> SeverityBounds {
    let bounds = SeverityBounds::new(raw.warning, raw.critical);
    let one_is_wrong = ["judging.severity.warning", "judging.severity.critical"].map(|key| problems.concerns(key));
    if bounds.is_none() && one_is_wrong == [false; 2] {
        let problem = format!("{:e} is not below judging.severity.warning, {:e}", raw.critical, raw.warning);
        problems.push("judging.severity.critical", problem, "the smaller p-value of the two");
    }
    bounds.unwrap_or_else(|| SeverityBounds::new(0.5, 0.25).expect("0 < 0.25 < 0.5 < 1"))
}

pub(super) fn silence(raw: &RawSilence) -> Option<SilenceSettings> {
    raw.after_intervals.map(|after_intervals| SilenceSettings { after_intervals, least: raw.least.0 })
}

pub(super) fn feedback(raw: &RawFeedback, problems: &mut Problems) -> FeedbackSettings {
    let settings = FeedbackSettings { suppress_for: raw.suppress_for.0, keep: raw.keep.0 };
    let told = ["judging.feedback.suppress_for", "judging.feedback.keep"].iter().any(|key| problems.concerns(key));
    if settings.keep < settings.suppress_for && !told {
        let problem = "is shorter than judging.feedback.suppress_for: a restart would forget what is still held back";
        problems.push("judging.feedback.keep", problem, "at least as long");
    }
    settings
}
