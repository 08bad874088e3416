//! When a new model is trained, from words to times.

use std::time::Duration;

use super::{
    error::Problems,
    raw_training::RawSchedule,
    settings::{ScheduleSettings, When},
    units::parse_duration,
};

/// Time between two trainings where nothing is written.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);
const SHORTEST: Duration = Duration::from_secs(1);

pub(super) fn schedule(raw: &RawSchedule, problems: &mut Problems) -> ScheduleSettings {
    let when = match (&raw.every, &raw.cron) {
        (None, None) => When::Every(EVERY),
        (Some(every), None) => interval(every, problems),
        (None, Some(cron)) => times(cron, problems),
        (Some(_), Some(_)) => {
            problems.push("training.schedule", "every and cron are both set", "one of the two");
            When::Never
        }
    };
    ScheduleSettings { when, jitter: raw.jitter.0 }
}

fn interval(text: &str, problems: &mut Problems) -> When {
    if text.trim() == "never" {
        return When::Never;
    }
    match parse_duration(text) {
        Ok(every) if every >= SHORTEST => When::Every(every),
        Ok(_) => {
            problems.push("training.schedule.every", format!("{text} is too short"), "at least 1s, or never");
            When::Never
        }
        Err(_) => {
            let expected = "a whole number and a unit (s, m, h, d) such as 24h, or never";
            problems.push("training.schedule.every", format!("`{text}` is no duration"), expected);
            When::Never
        }
    }
}

fn times(text: &str, problems: &mut Problems) -> When {
    match text.parse::<croner::Cron>() {
        Ok(cron) => When::Cron(Box::new(cron)),
        Err(error) => {
            let expected = "minute, hour, day of month, month, day of week, such as 30 2 * * 1-5";
            problems.push("training.schedule.cron", format!("`{text}` can't be read: {error}"), expected);
            When::Never
        }
    }
}
