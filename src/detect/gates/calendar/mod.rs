//! Events of an iCalendar file (RFC 5545): single and recurring ones, with exceptions, moved occurrences and time zones.
//!
//! Recurrences are reckoned in what clocks show, and each occurrence becomes an instant by itself: an event at 02:00
//! stays at 02:00 when clocks change, and ends when they show its end.

mod event;
mod lines;

use std::{collections::HashMap, path::Path};

use chrono::{NaiveDate, NaiveDateTime};
use chrono_tz::Tz;

use event::{Draft, Event, Time};
use lines::Line;

use super::time_zone::UnknownZone;

/// The events of a calendar.
#[derive(Debug, Clone, PartialEq)]
pub struct Calendar {
    events: Vec<Event>,
}

/// Why a file gives no calendar.
#[derive(Debug, thiserror::Error)]
pub enum CalendarError {
    /// The file can't be read.
    #[error("it can't be read: {0}")]
    Io(#[from] std::io::Error),
    /// The file doesn't begin like a calendar.
    #[error("line {line}: `{found}` begins no calendar, expected BEGIN:VCALENDAR")]
    NoCalendar {
        /// Line of the file, from 1.
        line: usize,
        /// What stands there.
        found: String,
    },
    /// A line has no value.
    #[error("line {line}: `{found}` is no content line, expected NAME:VALUE")]
    NoContentLine {
        /// Line of the file, from 1.
        line: usize,
        /// What stands there.
        found: String,
    },
    /// What begins and ends doesn't fit together.
    #[error("line {line}: END:{found} is out of place, expected END:{expected}")]
    Unbalanced {
        /// Line of the file, from 1.
        line: usize,
        /// What ends there.
        found: String,
        /// What is open there.
        expected: String,
    },
    /// The file ends within a component.
    #[error("line {line}: BEGIN:{name} is never ended, expected END:{name}")]
    Open {
        /// Line of the file, from 1, where it begins.
        line: usize,
        /// What begins there.
        name: String,
    },
    /// A time or date that is none.
    #[error(
        "line {line}: {name} `{found}` is no time, expected one such as 20260301T020000, 20260301T020000Z or 20260301"
    )]
    Time {
        /// Line of the file, from 1.
        line: usize,
        /// The property.
        name: String,
        /// Its value.
        found: String,
    },
    /// A time zone that is none.
    #[error("line {line}: {cause}")]
    Zone {
        /// Line of the file, from 1.
        line: usize,
        /// Which, and what may have been meant.
        cause: UnknownZone,
    },
    /// A duration that is none.
    #[error("line {line}: DURATION `{found}` is no duration, expected one above 0 such as PT2H or P1D")]
    Duration {
        /// Line of the file, from 1.
        line: usize,
        /// Its value.
        found: String,
    },
    /// An event without a beginning.
    #[error("line {line}: the event has no DTSTART, expected one such as DTSTART:20260301T020000Z")]
    NoStart {
        /// Line of the file, from 1, where the event begins.
        line: usize,
    },
    /// An event that is over before it begins.
    #[error("line {line}: the event ends before it begins, expected DTEND after DTSTART")]
    EndsEarly {
        /// Line of the file, from 1.
        line: usize,
    },
    /// An event that stands for more than one occurrence.
    #[error(
        "line {line}: RECURRENCE-ID with RANGE={found} moves more than one occurrence, expected one without RANGE, or an event of \
         its own from there on"
    )]
    Range {
        /// Line of the file, from 1.
        line: usize,
        /// The range.
        found: String,
    },
    /// A recurrence rule that is none.
    #[error("line {line}: RRULE `{found}` can't be used: {cause}; expected one such as FREQ=WEEKLY;BYDAY=SU")]
    Rule {
        /// Line of the file, from 1.
        line: usize,
        /// The rule.
        found: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl Calendar {
    /// Reads a file. Times without a zone, and days, are those of `zone`.
    ///
    /// # Errors
    /// A file that can't be read, or the first line of it that is wrong.
    pub fn read(path: &Path, zone: Tz) -> Result<Self, CalendarError> {
        Self::parse(&std::fs::read_to_string(path)?, zone)
    }

    /// The same for the text of a file.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str, zone: Tz) -> Result<Self, CalendarError> {
        let drafts = drafts(&lines::read(text)?, zone)?;
        // An occurrence that was moved or cancelled stands in an event of its own, beside the one that it belongs to.
        let mut moved: HashMap<&str, Vec<Time>> = HashMap::new();
        for draft in &drafts {
            if let (Some(uid), Some(instead_of)) = (&draft.uid, draft.instead_of) {
                moved.entry(uid).or_default().push(instead_of);
            }
        }
        let mut events = Vec::new();
        for draft in drafts.iter().filter(|draft| !draft.is_cancelled) {
            let elsewhere = draft.uid.as_deref().filter(|_| draft.instead_of.is_none()).and_then(|uid| moved.get(uid));
            events.extend(draft.event(elsewhere.map_or(&[], Vec::as_slice))?);
        }
        Ok(Self { events })
    }

    /// What the events take of a year (UTC): spans of event time in microseconds since the epoch, ends excluded, in order
    /// and apart from each other.
    pub fn spans(&self, year: i32) -> Vec<(i64, i64)> {
        let new_year = |year| NaiveDate::from_ymd_opt(year, 1, 1).map(|date| NaiveDateTime::from(date).and_utc());
        let (Some(first), Some(last)) = (new_year(year), new_year(year + 1)) else { return Vec::new() };
        let within = (first.timestamp_micros(), last.timestamp_micros());
        let mut spans: Vec<(i64, i64)> = self.events.iter().flat_map(|event| event.spans(within)).collect();
        spans.sort_unstable();
        let mut apart: Vec<(i64, i64)> = Vec::with_capacity(spans.len());
        for (from_us, to_us) in spans {
            match apart.last_mut() {
                Some((_, end)) if from_us <= *end => *end = to_us.max(*end),
                _ => apart.push((from_us, to_us)),
            }
        }
        apart
    }
}

/// The events of the file as they are written; whatever else it holds is passed over.
fn drafts(lines: &[Line], zone: Tz) -> Result<Vec<Draft>, CalendarError> {
    match lines.first() {
        Some(first) if first.is("BEGIN", "VCALENDAR") => {}
        first => {
            let found = first.map_or_else(String::new, |line| format!("{}:{}", line.name, line.value));
            return Err(CalendarError::NoCalendar { line: first.map_or(1, |line| line.number), found });
        }
    }
    let mut open: Vec<&Line> = Vec::new();
    let mut drafts: Vec<Draft> = Vec::new();
    for line in lines {
        match line.name.as_str() {
            "BEGIN" => {
                if line.value.eq_ignore_ascii_case("VEVENT") {
                    drafts.push(Draft::new(line.number, zone));
                }
                open.push(line);
            }
            "END" => {
                let begun = open.pop().map_or("nothing", |begun| begun.value.as_str());
                if !begun.eq_ignore_ascii_case(&line.value) {
                    let (found, expected) = (line.value.clone(), begun.to_owned());
                    return Err(CalendarError::Unbalanced { line: line.number, found, expected });
                }
            }
            // An event's alarms have durations of their own.
            _ if open.last().is_some_and(|begun| begun.value.eq_ignore_ascii_case("VEVENT")) => {
                drafts.last_mut().into_iter().try_for_each(|draft| draft.take(line))?;
            }
            _ => {}
        }
    }
    match open.last() {
        Some(begun) => Err(CalendarError::Open { line: begun.number, name: begun.value.clone() }),
        None => Ok(drafts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{detect::gates::time_zone, record::timestamp::to_rfc3339};

    /// A calendar of one event with these lines, and its spans of a year.
    fn spans(lines: &str, year: i32) -> Vec<String> {
        calendar(lines)
            .spans(year)
            .into_iter()
            .map(|(from, to)| format!("{} {}", to_rfc3339(from), to_rfc3339(to)))
            .collect()
    }

    fn text(lines: &str) -> String {
        format!("BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\n{lines}\nEND:VEVENT\nEND:VCALENDAR\n")
    }

    fn calendar(lines: &str) -> Calendar {
        Calendar::parse(&text(lines), time_zone::parse("Europe/Berlin").unwrap())
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn told(lines: &str) -> String {
        Calendar::parse(&text(lines), Tz::UTC).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_single_event_lasts_from_its_start_to_its_end() {
        let utc = spans("DTSTART:20260715T000000Z\nDTEND:20260715T020000Z", 2026);
        assert_eq!(utc, ["2026-07-15T00:00:00Z 2026-07-15T02:00:00Z"]);
        let floating = spans("DTSTART:20260715T000000\nDURATION:P1DT30M", 2026);
        assert_eq!(floating, ["2026-07-14T22:00:00Z 2026-07-15T22:30:00Z"], "in the calendar's own zone");
        let zoned =
            spans("DTSTART;TZID=America/New_York:20260715T000000\nDTEND;TZID=Europe/Berlin:20260715T070000", 2026);
        assert_eq!(zoned, ["2026-07-15T04:00:00Z 2026-07-15T05:00:00Z"]);
        assert_eq!(spans("DTSTART:20260715T000000Z\nDTEND:20260715T020000Z", 2025), Vec::<String>::new());
        assert_eq!(spans("DTSTART:20260715T000000Z", 2026), Vec::<String>::new(), "a moment has no length");
    }

    #[test]
    fn an_all_day_event_is_a_day_of_the_calendars_zone_and_its_end_is_excluded() {
        let one = spans("DTSTART;VALUE=DATE:20260715", 2026);
        assert_eq!(one, ["2026-07-14T22:00:00Z 2026-07-15T22:00:00Z"]);
        let two = spans("DTSTART;VALUE=DATE:20260328\nDTEND;VALUE=DATE:20260330", 2026);
        assert_eq!(two, ["2026-03-27T23:00:00Z 2026-03-29T22:00:00Z"], "an hour short, as clocks are put forward");
    }

    #[test]
    fn a_recurring_event_keeps_its_hours_when_clocks_change_and_leaves_its_exceptions_out() {
        let lines = "DTSTART;TZID=Europe/Berlin:20260322T020000\nDTEND;TZID=Europe/Berlin:20260322T040000\n\
                     RRULE:FREQ=WEEKLY;BYDAY=SU;COUNT=4\nEXDATE;TZID=Europe/Berlin:20260405T020000";
        let expected = [
            "2026-03-22T01:00:00Z 2026-03-22T03:00:00Z",
            "2026-03-29T01:00:00Z 2026-03-29T02:00:00Z",
            "2026-04-12T00:00:00Z 2026-04-12T02:00:00Z",
        ];
        assert_eq!(spans(lines, 2026), expected);
    }

    #[test]
    fn a_recurrence_ends_with_the_occurrence_at_its_until() {
        let rule = |until: &str| format!("DTSTART:20260101T233000\nDURATION:PT1H\nRRULE:FREQ=DAILY;UNTIL={until}");
        // 23:30 in Berlin is 22:30 UTC.
        assert_eq!(spans(&rule("20260103T223000Z"), 2026).len(), 3);
        assert_eq!(spans(&rule("20260103T222959Z"), 2026).len(), 2);
        assert_eq!(spans(&rule("20260103"), 2026).len(), 3, "a date is the whole day");
        let days = "DTSTART;VALUE=DATE:20260101\nRRULE:FREQ=DAILY;UNTIL=20260103\nEXDATE;VALUE=DATE:20260102";
        assert_eq!(
            spans(days, 2026),
            ["2025-12-31T23:00:00Z 2026-01-01T23:00:00Z", "2026-01-02T23:00:00Z 2026-01-03T23:00:00Z"]
        );
    }

    #[test]
    fn a_recurrence_without_end_is_found_in_any_year_and_reaches_over_new_year() {
        let lines = "DTSTART:20101231T230000Z\nDURATION:PT4H\nRRULE:FREQ=MONTHLY;BYMONTHDAY=-1";
        assert_eq!(spans(lines, 2009), Vec::<String>::new());
        let found = spans(lines, 2040);
        assert_eq!(found.len(), 13, "that of the year before ends in it");
        assert_eq!(found[0], "2039-12-31T23:00:00Z 2040-01-01T03:00:00Z");
        assert_eq!(found[2], "2040-02-29T23:00:00Z 2040-03-01T03:00:00Z");
    }

    #[test]
    fn further_dates_and_spans_that_overlap_are_one_list() {
        let lines = "DTSTART:20260101T000000Z\nDURATION:PT2H\nRRULE:FREQ=DAILY;COUNT=1\nRDATE:20260101T010000Z,20260105T000000Z";
        let expected = ["2026-01-01T00:00:00Z 2026-01-01T03:00:00Z", "2026-01-05T00:00:00Z 2026-01-05T02:00:00Z"];
        assert_eq!(spans(lines, 2026), expected);
        let alone = "DTSTART:20260101T000000Z\nDURATION:PT2H\nRDATE:20260105T000000Z";
        assert_eq!(spans(alone, 2026).len(), 2, "the start counts beside them");
    }

    #[test]
    fn a_moved_occurrence_takes_the_place_of_its_own_and_a_cancelled_one_is_gone() {
        let event = |lines: &str| format!("BEGIN:VEVENT\nUID:a\n{lines}\nEND:VEVENT\n");
        let text = [
            "DTSTART:20260101T000000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=3",
            "RECURRENCE-ID:20260102T000000Z\nDTSTART:20260102T120000Z\nDURATION:PT1H",
            "RECURRENCE-ID:20260103T000000Z\nDTSTART:20260103T000000Z\nSTATUS:CANCELLED",
        ]
        .map(event)
        .concat();
        let calendar = Calendar::parse(&format!("BEGIN:VCALENDAR\n{text}END:VCALENDAR"), Tz::UTC).unwrap();
        let starts: Vec<String> = calendar.spans(2026).into_iter().map(|(from, _)| to_rfc3339(from)).collect();
        assert_eq!(starts, ["2026-01-01T00:00:00Z", "2026-01-02T12:00:00Z"]);
    }

    #[test]
    fn a_moved_occurrence_is_known_by_its_instant_or_its_day_whatever_its_zone() {
        let event = |lines: &str| format!("BEGIN:VEVENT\nUID:a\n{lines}\nEND:VEVENT\n");
        for id in ["RECURRENCE-ID:20260104T010000Z", "RECURRENCE-ID;VALUE=DATE:20260104"] {
            let text = [
                "DTSTART;TZID=Europe/Berlin:20260103T020000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=3".to_owned(),
                format!("{id}\nDTSTART:20260104T010000Z\nSTATUS:CANCELLED"),
            ]
            .map(|lines| event(&lines))
            .concat();
            let calendar = Calendar::parse(&format!("BEGIN:VCALENDAR\n{text}END:VCALENDAR"), Tz::UTC).unwrap();
            let starts: Vec<String> = calendar.spans(2026).into_iter().map(|(from, _)| to_rfc3339(from)).collect();
            assert_eq!(starts, ["2026-01-03T01:00:00Z", "2026-01-05T01:00:00Z"], "{id}");
        }
    }

    #[test]
    fn what_clocks_show_of_an_event_counts_where_they_leave_its_beginning_out() {
        let lines = "DTSTART;TZID=Europe/Berlin:20260322T023000\nDURATION:PT45M\nRRULE:FREQ=WEEKLY;COUNT=2";
        let told = spans(lines, 2026);
        assert_eq!(told, ["2026-03-22T01:30:00Z 2026-03-22T02:15:00Z", "2026-03-29T01:00:00Z 2026-03-29T01:15:00Z"]);
    }

    #[test]
    fn an_endless_event_is_heeded_for_a_hundred_years() {
        let lines = "DTSTART:20260101T000000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY";
        assert_eq!([2026, 2125, 9999].map(|year| spans(lines, year).len()), [365, 365, 0]);
    }

    #[test]
    fn alarms_of_an_event_and_other_components_are_passed_over() {
        let lines =
            "DTSTART:20260101T000000Z\nDURATION:PT2H\nBEGIN:VALARM\nDURATION:nonsense\nTRIGGER:-PT5M\nEND:VALARM";
        assert_eq!(spans(lines, 2026), ["2026-01-01T00:00:00Z 2026-01-01T02:00:00Z"]);
        let other = "BEGIN:VCALENDAR\nBEGIN:VTODO\nDTSTART:nonsense\nEND:VTODO\nEND:VCALENDAR";
        assert_eq!(Calendar::parse(other, Tz::UTC).unwrap().spans(2026), []);
    }

    #[test]
    fn a_rule_that_never_comes_true_ends() {
        assert_eq!(
            spans("DTSTART:20260101T000000Z\nDURATION:PT1H\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", 2027),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_what_would_be_right() {
        for (lines, expected) in [
            ("DTSTART:yesterday", "line 4: DTSTART `yesterday` is no time, expected one such as 20260301T020000"),
            ("DTSTART:20260230", "line 4: DTSTART `20260230` is no time"),
            ("DTSTART;TZID=Berlin:20260101T000000", "line 4: unknown time zone `Berlin` (did you mean Europe/Berlin?)"),
            ("DTSTART:20260101T000000Z\nDTEND:20250101T000000Z", "line 5: the event ends before it begins"),
            ("DTSTART:20260101T000000Z\nDURATION:2 hours", "line 5: DURATION `2 hours` is no duration, expected"),
            ("DTSTART:20260101T000000Z\nDURATION:-PT2H", "line 5: DURATION `-PT2H` is no duration, expected"),
            ("SUMMARY:x", "line 3: the event has no DTSTART, expected"),
            (
                "DTSTART:20260101T000000Z\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260101T000000Z",
                "line 5: RECURRENCE-ID with RANGE=THISANDFUTURE moves more than one occurrence",
            ),
            (
                "DTSTART:20260101T000000Z\nDURATION:PT1H\nRRULE:FREQ=SOMETIMES",
                "line 6: RRULE `FREQ=SOMETIMES` can't be used: ",
            ),
            (
                "DTSTART:20260101T000000Z\nDURATION:PT1H\nRRULE:FREQ=SECONDLY",
                "line 6: RRULE `FREQ=SECONDLY` can't be used: ",
            ),
            ("DTSTART:20260101T000000Z\nRRULE:FREQ=DAILY;UNTIL=soon", "line 5: RRULE `soon` is no time"),
            ("END:VCALENDAR", "line 4: END:VCALENDAR is out of place, expected END:VEVENT"),
        ] {
            let told = told(lines);
            assert!(told.starts_with(expected), "{lines}: {told}");
        }
        let cut = Calendar::parse("BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20260101", Tz::UTC).unwrap_err().to_string();
        assert_eq!(cut, "line 2: BEGIN:VEVENT is never ended, expected END:VEVENT");
        let other = Calendar::parse("name,date\n", Tz::UTC).unwrap_err().to_string();
        assert!(other.starts_with("line 1: `name,date` is no content line"), "{other}");
        let vcard = Calendar::parse("BEGIN:VCARD\nEND:VCARD", Tz::UTC).unwrap_err().to_string();
        assert_eq!(vcard, "line 1: `BEGIN:VCARD` begins no calendar, expected BEGIN:VCALENDAR");
    }
}
