//! When a score is an alarm, from words to gates.

use std::sync::Arc;

use chrono::Weekday;
use chrono_tz::Tz;

use super::{
    budget::{AlarmBudget, WrittenRate},
    check_incidents,
    error::Problems,
    raw_judging::{RawBudget, RawFeatureRule, RawJudging, RawMaintenance, RawOverride, RawPersistence},
    settings::{FeatureSelection, JudgingSettings, Override, Recalibration, TimestampFormat},
};
use crate::{
    detect::gates::{
        calendar::Calendar,
        columns::{FeatureRule, NormalRange},
        maintenance::{DAY, Hours, Maintenance, Weekly},
        pattern::{Pattern, closest},
        persistence::Persistence,
        time_zone,
    },
    record::{
        features::{FeatureKind, FeatureSetting, columns_of},
        timestamp,
    },
};

const WEEKDAYS: [(&str, &str, Weekday); 7] = [
    ("mon", "monday", Weekday::Mon),
    ("tue", "tuesday", Weekday::Tue),
    ("wed", "wednesday", Weekday::Wed),
    ("thu", "thursday", Weekday::Thu),
    ("fri", "friday", Weekday::Fri),
    ("sat", "saturday", Weekday::Sat),
    ("sun", "sunday", Weekday::Sun),
];

/// Gates heed the names of `features`, where they are known before a model is.
pub(super) fn judging(raw: RawJudging, features: &FeatureSelection, problems: &mut Problems) -> JudgingSettings {
    let known = match features {
        FeatureSelection::Listed(listed) => Some(listed.as_slice()),
        FeatureSelection::AllNumeric { .. } => None,
    };
    let key = |list: &str, index: usize| format!("judging.{list}[{index}]");
    let maintenance = raw.maintenance.into_iter().enumerate();
    let overrides = raw.overrides.iter().enumerate();
    JudgingSettings {
        budget: budget(&raw.budget, "judging.budget", problems),
        smoothing_span: raw.smoothing_span,
        residuals: raw.residuals,
        aggregation: raw.aggregation,
        incident_quiet_rows: raw.incident_quiet_rows,
        recalibration: Recalibration { step: raw.recalibration.step, most: raw.recalibration.most },
        incidents: check_incidents::incidents(&raw.incidents, problems),
        severity: check_incidents::severity(&raw.severity, problems),
        silence: check_incidents::silence(&raw.silence),
        feedback: check_incidents::feedback(&raw.feedback, problems),
        top_features: raw.top_features,
        features: feature_rules(&raw.features, "judging.features", known, problems),
        persistence: persistence(raw.persistence, "judging.persistence", problems),
        cold_start_rows: raw.cold_start_rows,
        maintenance: maintenance
            .filter_map(|(index, written)| hours(written, &key("maintenance", index), problems))
            .collect(),
        overrides: overrides
            .filter_map(|(index, written)| own(written, &key("overrides", index), known, problems))
            .collect(),
        publish_suppressed: raw.publish_suppressed,
    }
}

fn budget(raw: &RawBudget, key: &str, problems: &mut Problems) -> AlarmBudget {
    match (raw.alarms, raw.quantile) {
        (Some(WrittenRate(alarms)), None) => alarms,
        (None, Some(share)) => AlarmBudget::Quantile(share),
        // A key that is known by another name now was told before.
        (None, None) if problems.concern_entry(key) => AlarmBudget::PerEntityAndDay(1.0),
        (written, _) => {
            let how_many = if written.is_some() { "two budgets are set" } else { "no budget is set" };
            problems.push(key, how_many, "exactly one of alarms, quantile");
            written.map_or(AlarmBudget::PerEntityAndDay(1.0), |WrittenRate(alarms)| alarms)
        }
    }
}

fn persistence(raw: RawPersistence, key: &str, problems: &mut Problems) -> Persistence {
    let in_range = |number: u32| (1..=64).contains(&number);
    Persistence::new(raw.anomalies, raw.rows).unwrap_or_else(|_| {
        // What is out of its own range was told before.
        if in_range(raw.anomalies) && in_range(raw.rows) {
            let problem = format!("{} of {} rows can't be anomalous", raw.anomalies, raw.rows);
            problems.push(format!("{key}.anomalies"), problem, format!("at most {}, as many as rows", raw.rows));
        }
        Persistence::ONE
    })
}

/// A pattern, or `None` and a problem. An entry of which something else was wrong before has stand-ins for what it lacks.
fn pattern(text: &str, key: &str, problems: &mut Problems) -> Option<Pattern> {
    let pattern = Pattern::new(text).ok();
    if pattern.is_none() {
        problems.push(key, "is empty", "a name in which * stands for any characters and ? for one");
    }
    pattern
}

fn feature_rules(
    raw: &[RawFeatureRule],
    list: &str,
    known: Option<&[FeatureSetting]>,
    problems: &mut Problems,
) -> Vec<FeatureRule> {
    let rules = raw.iter().enumerate().filter_map(|(index, written)| {
        let key = format!("{list}[{index}]");
        if problems.concern_entry(&key) {
            return None;
        }
        feature_rule(written, &key, known, problems)
    });
    rules.collect()
}

fn feature_rule(
    raw: &RawFeatureRule,
    key: &str,
    known: Option<&[FeatureSetting]>,
    problems: &mut Problems,
) -> Option<FeatureRule> {
    let rule = FeatureRule {
        name: pattern(&raw.name, &format!("{key}.name"), problems)?,
        min_absolute: raw.min_absolute,
        min_relative: raw.min_relative,
        direction: raw.direction,
        normal_range: raw.normal_range.and_then(|[low, high]| {
            let range = NormalRange::new(low, high);
            if range.is_none() {
                let problem = format!("{low} to {high} is no range");
                problems.push(format!("{key}.normal_range"), problem, "[LOW, HIGH], the lower one first");
            }
            range
        }),
    };
    if let Some(features) = known {
        is_known(&rule, features, &format!("{key}.name"), problems);
    }
    Some(rule)
}

/// A rule that matches nothing was meant for something else.
fn is_known(rule: &FeatureRule, features: &[FeatureSetting], key: &str, problems: &mut Problems) {
    let matches = columns_of(features).iter().any(|(column, at)| rule.matches(&features[*at].name, column));
    // The words of a category may be known only after training.
    let open = |feature: &&FeatureSetting| matches!(&feature.kind, FeatureKind::Categorical { vocabulary } if vocabulary.is_empty());
    let may_match = |feature: &FeatureSetting| {
        rule.name.matches(&feature.name) || rule.name.as_str().starts_with(&format!("{}=", feature.name))
    };
    if matches || features.iter().filter(open).any(may_match) {
        return;
    }
    let names = || features.iter().map(|feature| feature.name.as_str());
    let likely =
        closest(rule.name.as_str(), names()).map_or_else(String::new, |name| format!(" (did you mean {name}?)"));
    let listed: Vec<&str> = names().collect();
    problems.push(key, format!("`{}` matches no feature{likely}", rule.name), format!("one of {}", listed.join(", ")));
}

fn own(raw: &RawOverride, key: &str, known: Option<&[FeatureSetting]>, problems: &mut Problems) -> Option<Override> {
    if problems.concern_entry(key) {
        return None;
    }
    Some(Override {
        entities: pattern(&raw.entities, &format!("{key}.entities"), problems)?,
        budget: raw.budget.as_ref().map(|own| budget(own, &format!("{key}.budget"), problems)),
        persistence: raw.persistence.map(|own| persistence(own, &format!("{key}.persistence"), problems)),
        cold_start_rows: raw.cold_start_rows,
        features: feature_rules(&raw.features, &format!("{key}.features"), known, problems),
    })
}

fn hours(raw: RawMaintenance, key: &str, problems: &mut Problems) -> Option<Maintenance> {
    if problems.concern_entry(key) {
        return None;
    }
    let entities = pattern(&raw.entities, &format!("{key}.entities"), problems);
    let zone = match raw.time_zone.as_deref().map_or(Ok(Tz::UTC), time_zone::parse) {
        Ok(zone) => zone,
        Err(unknown) => {
            let likely = unknown.closest.map_or_else(String::new, |zone| format!(" (did you mean {zone}?)"));
            let problem = format!("`{}` is no time zone{likely}", unknown.name);
            problems.push(format!("{key}.time_zone"), problem, "a name of the IANA database such as Europe/Berlin");
            return None;
        }
    };
    let hours = match (&raw.from, &raw.to, &raw.ics) {
        (None, None, Some(_)) => calendar(&raw, key, zone, problems),
        (Some(from), Some(to), None) if from.contains('-') || to.contains('-') => once(&raw, key, (from, to), problems),
        (Some(from), Some(to), None) => weekly(&raw, key, (from, to, zone), problems),
        _ => {
            let problem = "says not when, or in two ways";
            problems.push(key, problem, "from and to (HH:MM or RFC 3339), or ics");
            None
        }
    };
    Some(Maintenance { entities: entities?, hours: hours? })
}

fn calendar(raw: &RawMaintenance, key: &str, zone: Tz, problems: &mut Problems) -> Option<Hours> {
    has_no_weekdays(raw, key, "events of a file have days of their own", problems);
    let path = raw.ics.as_ref()?;
    match Calendar::read(path, zone) {
        Ok(calendar) => Some(Hours::Calendar(Arc::new(calendar))),
        Err(error) => {
            let told = error.to_string();
            let (problem, expected) = told.rsplit_once(" expected ").unwrap_or((&told, "an iCalendar file"));
            let problem = problem.trim_end_matches([',', ';']);
            problems.push(format!("{key}.ics"), format!("{}: {problem}", path.display()), expected);
            None
        }
    }
}

fn once(raw: &RawMaintenance, key: &str, (from, to): (&str, &str), problems: &mut Problems) -> Option<Hours> {
    has_no_weekdays(raw, key, "a single span has days of its own", problems);
    if raw.time_zone.is_some() {
        let problem = "has no effect, as times in RFC 3339 have an offset of their own";
        problems.push(format!("{key}.time_zone"), problem, "no such key");
    }
    let mut time = |name: &str, text: &str| {
        let time = timestamp::from_text(text, TimestampFormat::Rfc3339);
        if let Err(error) = &time {
            let told = error.to_string();
            let (problem, expected) = told.split_once(", expected ").unwrap_or((&told, "a time in RFC 3339"));
            problems.push(format!("{key}.{name}"), problem, expected);
        }
        time.ok()
    };
    let (from_us, to_us) = (time("from", from), time("to", to));
    let (from_us, to_us) = (from_us?, to_us?);
    if from_us < to_us {
        return Some(Hours::Once { from_us, to_us });
    }
    problems.push(format!("{key}.to"), format!("{to} is not after {from}"), "a later time than from");
    None
}

fn has_no_weekdays(raw: &RawMaintenance, key: &str, why: &str, problems: &mut Problems) {
    if raw.weekdays.is_some() {
        problems.push(format!("{key}.weekdays"), format!("has no effect, as {why}"), "no such key");
    }
}

fn weekly(
    raw: &RawMaintenance,
    key: &str,
    (from, to, zone): (&str, &str, Tz),
    problems: &mut Problems,
) -> Option<Hours> {
    let days = weekdays(raw, key, problems);
    let mut clock = |name: &str, text: &str, last: u32| {
        let second = second_of_day(text).filter(|second| *second <= last);
        if second.is_none() {
            let expected = "HH:MM such as 02:00, or a time in RFC 3339";
            problems.push(format!("{key}.{name}"), format!("`{text}` is no time of day"), expected);
        }
        second
    };
    let (from_second, to_second) = (clock("from", from, DAY - 1), clock("to", to, DAY));
    let hours = (from_second?, to_second?);
    if hours.0 == hours.1 {
        let expected = "another time than from; a whole day is 00:00 to 24:00";
        problems.push(format!("{key}.to"), format!("{to} is from too"), expected);
    }
    Weekly::new(&days?, hours, zone).map(Hours::Weekly)
}

fn weekdays(raw: &RawMaintenance, key: &str, problems: &mut Problems) -> Option<Vec<Weekday>> {
    let Some(written) = &raw.weekdays else { return Some(WEEKDAYS.map(|(_, _, day)| day).into()) };
    let key = format!("{key}.weekdays");
    let all = || WEEKDAYS.iter().map(|(short, ..)| *short).collect::<Vec<_>>().join(", ");
    if written.is_empty() {
        problems.push(&key, "is empty", format!("some of {}, or no such key for every day", all()));
        return None;
    }
    let day = |name: &String| {
        let found = WEEKDAYS
            .into_iter()
            .find(|(short, long, _)| [short, long].iter().any(|word| name.eq_ignore_ascii_case(word)));
        if found.is_none() {
            let likely = closest(name, WEEKDAYS.iter().flat_map(|(short, long, _)| [*short, *long]));
            let likely = likely.map_or_else(String::new, |word| format!(" (did you mean {word}?)"));
            problems.push(&key, format!("`{name}` is no weekday{likely}"), format!("some of {}", all()));
        }
        found.map(|(_, _, day)| day)
    };
    let days: Vec<Option<Weekday>> = written.iter().map(day).collect();
    days.into_iter().collect()
}

/// The second of `HH:MM` or `HH:MM:SS`; 24:00 is the day's end.
fn second_of_day(text: &str) -> Option<u32> {
    let parts: Vec<&str> = text.split(':').collect();
    let is_two_digits = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(is_two_digits) {
        return None;
    }
    let numbers: Vec<u32> = parts.iter().filter_map(|part| part.parse().ok()).collect();
    let (hour, minute, second) = (numbers[0], numbers[1], numbers.get(2).copied().unwrap_or(0));
    let seconds = hour * 3600 + minute * 60 + second;
    (minute < 60 && second < 60 && seconds <= DAY).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_has_two_digits_each_and_ends_at_24_oclock() {
        for (text, seconds) in [("00:00", 0), ("02:30", 9000), ("23:59:59", DAY - 1), ("24:00", DAY)] {
            assert_eq!(second_of_day(text), Some(seconds), "{text}");
        }
        for bad in ["", "2:00", "02", "02:60", "24:01", "25:00", "02:00:60", "02:00:00:00", "+2:00", "aa:bb"] {
            assert_eq!(second_of_day(bad), None, "{bad}");
        }
    }
}
