//! One event: its lines, and its occurrences.

use chrono::{Duration, NaiveDate, NaiveDateTime, NaiveTime};
use chrono_tz::Tz;
use jiff::{Span, SpanRelativeTo, Unit};
use rrule::{RRule, RRuleSet, Unvalidated};

use super::{CalendarError, lines::Line};
use crate::detect::gates::time_zone;

/// A recurring event is heeded for so long after it began: 100 years, microseconds.
const HORIZON_US: i64 = 100 * 366 * 86_400 * 1_000_000;

/// An event as it is written.
#[derive(Debug)]
pub(super) struct Draft {
    line: usize,
    /// Zone of times without one.
    zone: Tz,
    pub(super) uid: Option<String>,
    /// The occurrence of the event of the same name that it stands for.
    pub(super) instead_of: Option<Time>,
    pub(super) is_cancelled: bool,
    start: Option<Time>,
    end: Option<(usize, End)>,
    rule: Option<(usize, String)>,
    further: Vec<Time>,
    except: Vec<Time>,
}

/// When an event ends.
#[derive(Debug, Clone, Copy)]
enum End {
    At(Time),
    After(Duration),
}

/// A time as it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    /// What clocks show.
    shown: NaiveDateTime,
    zone: Tz,
    is_date: bool,
}

/// An event that takes time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// What clocks show at its first beginning.
    start: NaiveDateTime,
    /// How much later they show its end.
    length: Duration,
    zone: Tz,
    /// When it begins, by clocks and as if they were those of UTC; `None`: just once.
    recurrence: Option<RRuleSet>,
}

impl Draft {
    pub(super) fn new(line: usize, zone: Tz) -> Self {
        Self {
            line,
            zone,
            uid: None,
            instead_of: None,
            is_cancelled: false,
            start: None,
            end: None,
            rule: None,
            further: Vec::new(),
            except: Vec::new(),
        }
    }

    /// Takes a line of the event in; those that say nothing of when it is are passed over.
    pub(super) fn take(&mut self, line: &Line) -> Result<(), CalendarError> {
        match line.name.as_str() {
            "UID" => self.uid = Some(line.value.clone()),
            "STATUS" => self.is_cancelled = line.value.eq_ignore_ascii_case("CANCELLED"),
            "RECURRENCE-ID" => {
                if let Some(range) = line.parameter("RANGE") {
                    return Err(CalendarError::Range { line: line.number, found: range.to_owned() });
                }
                self.instead_of = Some(self.time(line, &line.value)?);
            }
            "DTSTART" => self.start = Some(self.time(line, &line.value)?),
            "DTEND" => self.end = Some((line.number, End::At(self.time(line, &line.value)?))),
            "DURATION" => self.end = Some((line.number, End::After(duration(line)?))),
            "RRULE" => self.rule = Some((line.number, line.value.clone())),
            "RDATE" => self.further.extend(self.times(line)?),
            "EXDATE" => self.except.extend(self.times(line)?),
            _ => {}
        }
        Ok(())
    }

    fn times(&self, line: &Line) -> Result<Vec<Time>, CalendarError> {
        line.value.split(',').map(|value| self.time(line, value.trim())).collect()
    }

    fn time(&self, line: &Line, value: &str) -> Result<Time, CalendarError> {
        let no_time = || CalendarError::Time { line: line.number, name: line.name.clone(), found: value.to_owned() };
        let named = line.parameter("TZID").map(|name| zone(name, line.number)).transpose()?;
        let (shown, is_utc, is_date) = shown(value).ok_or_else(no_time)?;
        Ok(Time { shown, zone: if is_utc { Tz::UTC } else { named.unwrap_or(self.zone) }, is_date })
    }

    /// The event, without the occurrences at times that are told `elsewhere`; `None` where it takes no time.
    pub(super) fn event(&self, elsewhere: &[Time]) -> Result<Option<Event>, CalendarError> {
        let start = self.start.ok_or(CalendarError::NoStart { line: self.line })?;
        let length = match self.end {
            None if start.is_date => Duration::days(1),
            None => Duration::zero(),
            Some((_, End::After(length))) => length,
            Some((_, End::At(end))) => end.shown_in(start.zone) - start.shown,
        };
        if length < Duration::zero() {
            return Err(CalendarError::EndsEarly { line: self.end.map_or(self.line, |(line, _)| line) });
        }
        let recurrence = self.recurrence(start, elsewhere)?;
        let event = Event { start: start.shown, length, zone: start.zone, recurrence };
        Ok((length > Duration::zero()).then_some(event))
    }

    fn recurrence(&self, start: Time, elsewhere: &[Time]) -> Result<Option<RRuleSet>, CalendarError> {
        if self.rule.is_none() && self.further.is_empty() {
            return Ok(None);
        }
        let naive = |shown: NaiveDateTime| shown.and_utc().with_timezone(&rrule::Tz::UTC);
        let mut set = RRuleSet::new(naive(start.shown)).limit();
        match &self.rule {
            Some((line, rule)) => {
                let bad = |cause: String| CalendarError::Rule { line: *line, found: rule.clone(), cause };
                let by_clock = until_by_clock(rule, start.zone).map_err(|found| CalendarError::Time {
                    line: *line,
                    name: "RRULE".to_owned(),
                    found,
                })?;
                let parsed: RRule<Unvalidated> = by_clock.parse().map_err(|error| bad(format!("{error}")))?;
                if matches!(parsed.get_freq(), rrule::Frequency::Secondly | rrule::Frequency::Minutely) {
                    return Err(bad("it comes more often than hourly".to_owned()));
                }
                set = set.rrule(parsed.validate(naive(start.shown)).map_err(|error| bad(format!("{error}")))?);
            }
            None => set = set.rdate(naive(start.shown)),
        }
        // A day means its occurrence, whatever the hour.
        let shown = |time: &Time| match time.is_date {
            true => naive(time.shown.date().and_time(start.shown.time())),
            false => naive(time.shown_in(start.zone)),
        };
        set = self.further.iter().map(shown).fold(set, RRuleSet::rdate);
        Ok(Some(self.except.iter().chain(elsewhere).map(shown).fold(set, RRuleSet::exdate)))
    }
}

impl Time {
    /// What clocks of another zone show at the time.
    fn shown_in(self, zone: Tz) -> NaiveDateTime {
        if zone == self.zone {
            return self.shown;
        }
        time_zone::local(time_zone::instant(self.shown, self.zone), zone).unwrap_or(self.shown)
    }
}

impl Event {
    /// Its occurrences that reach into `(from_us, to_us)`, microseconds since the epoch.
    pub(super) fn spans(&self, (from_us, to_us): (i64, i64)) -> Vec<(i64, i64)> {
        let span = |start: NaiveDateTime| {
            let (from_us, until_us) =
                (time_zone::instant(start, self.zone), time_zone::instant(start + self.length, self.zone));
            // Where clocks leave its beginning out, what they show of it may be over before the hour that was counted for it.
            let skipped = if until_us <= from_us { time_zone::after_gap(start, self.zone) } else { None };
            (skipped.unwrap_or(from_us), until_us)
        };
        let reaches_in = |(start, end): &(i64, i64)| *start < to_us && *end > from_us && start < end;
        match &self.recurrence {
            None => Some(span(self.start)).filter(reaches_in).into_iter().collect(),
            // Recurrences are walked from the first one on: a record from a far future must not hold up the others.
            Some(_) if from_us > time_zone::instant(self.start, self.zone).saturating_add(HORIZON_US) => Vec::new(),
            Some(set) => {
                let all = set.into_iter().map(|start| span(start.naive_utc()));
                all.take_while(|(start, _)| *start < to_us).filter(reaches_in).collect()
            }
        }
    }
}

/// What clocks show, whether they are those of UTC, and whether it is a day.
fn shown(value: &str) -> Option<(NaiveDateTime, bool, bool)> {
    if value.len() == 8 {
        let date = NaiveDate::parse_from_str(value, "%Y%m%d").ok()?;
        return Some((date.and_time(NaiveTime::MIN), false, true));
    }
    let local = value.strip_suffix(['Z', 'z']);
    let shown = NaiveDateTime::parse_from_str(local.unwrap_or(value), "%Y%m%dT%H%M%S").ok()?;
    Some((shown, local.is_some(), false))
}

/// A zone by the name that a calendar gives it: some programs put a path of their own before that of the IANA database.
fn zone(name: &str, line: usize) -> Result<Tz, CalendarError> {
    let behind = |slashes: usize| name.rmatch_indices('/').nth(slashes).map(|(at, _)| &name[at + 1..]);
    time_zone::parse(name).or_else(|cause| {
        let known = [behind(2), behind(1)].into_iter().flatten().find_map(|name| time_zone::parse(name).ok());
        known.ok_or(CalendarError::Zone { line, cause })
    })
}

fn duration(line: &Line) -> Result<Duration, CalendarError> {
    let bad = || CalendarError::Duration { line: line.number, found: line.value.clone() };
    // Other spellings than that of ISO 8601 are read by jiff too, and mean nothing in a calendar.
    if !line.value.trim_start_matches('+').starts_with(['P', 'p']) {
        return Err(bad());
    }
    let span: Span = line.value.parse().map_err(|_| bad())?;
    let seconds = span.total((Unit::Second, SpanRelativeTo::days_are_24_hours())).map_err(|_| bad())?;
    if seconds > 0.0 { Ok(Duration::seconds(seconds as i64)) } else { Err(bad()) }
}

/// The rule with its `UNTIL` as clocks of the zone show it, under the name of UTC: recurrences are reckoned in such times.
/// A date is the whole day. `Err` is an `UNTIL` that is no time.
fn until_by_clock(rule: &str, zone: Tz) -> Result<String, String> {
    let part = |part: &str| -> Result<String, String> {
        match part.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("UNTIL") => {
                let (time, is_utc, is_date) = shown(value.trim()).ok_or_else(|| value.trim().to_owned())?;
                let time = Time { shown: time, zone: if is_utc { Tz::UTC } else { zone }, is_date };
                let last = time.shown_in(zone) + if is_date { Duration::seconds(86_399) } else { Duration::zero() };
                Ok(format!("UNTIL={}", last.format("%Y%m%dT%H%M%SZ")))
            }
            _ => Ok(part.to_owned()),
        }
    };
    let parts: Vec<String> = rule.split(';').map(part).collect::<Result<_, _>>()?;
    Ok(parts.join(";"))
}
