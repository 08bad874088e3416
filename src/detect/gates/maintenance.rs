//! Hours of maintenance: weekly ones, single ones, and those of a calendar file. By event time, never by the clock.

use std::{collections::VecDeque, sync::Arc};

use chrono::{DateTime, Datelike, Timelike, Weekday};
use chrono_tz::Tz;

use super::{calendar::Calendar, pattern::Pattern, time_zone};

/// Seconds of a day by the clock.
pub const DAY: u32 = 24 * 60 * 60;
/// Years of a calendar that are kept expanded.
const YEARS: usize = 4;

/// When alarms of which entities are expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Maintenance {
    /// Whose.
    pub entities: Pattern,
    /// When.
    pub hours: Hours,
}

/// When maintenance takes place.
#[derive(Debug, Clone, PartialEq)]
pub enum Hours {
    /// On weekdays, by the clock.
    Weekly(Weekly),
    /// Once.
    Once {
        /// Its first moment, microseconds since the epoch.
        from_us: i64,
        /// The first moment after it.
        to_us: i64,
    },
    /// As the events of a calendar file.
    Calendar(Arc<Calendar>),
}

/// The same hours on each of some weekdays. What the clocks of the zone show counts: where they are put forward, hours
/// that they leave out are none, and hours that they show twice are maintenance both times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weekly {
    /// Whether hours begin on the day, from Monday on.
    days: [bool; 7],
    /// Second of the day of the beginning.
    from: u32,
    /// Second of the day of the end, which may lie on the next day.
    to: u32,
    zone: Tz,
}

impl Weekly {
    /// From one second of the day to another, exclusive: the next day's where it is not the later one. `None` unless
    /// `from` is below [`DAY`], `to` at most that, the two differ, and there is a day.
    pub fn new(days: &[Weekday], (from, to): (u32, u32), zone: Tz) -> Option<Self> {
        let mut begins = [false; 7];
        days.iter().for_each(|day| begins[day.num_days_from_monday() as usize] = true);
        (from < DAY && to <= DAY && from != to && !days.is_empty()).then_some(Self { days: begins, from, to, zone })
    }

    fn contains(&self, time_us: i64) -> bool {
        let Some(shown) = time_zone::local(time_us, self.zone) else { return false };
        let second = shown.num_seconds_from_midnight();
        let today = shown.weekday().num_days_from_monday() as usize;
        let yesterday = (today + 6) % 7;
        if self.from < self.to {
            return self.days[today] && (self.from..self.to).contains(&second);
        }
        (self.days[today] && second >= self.from) || (self.days[yesterday] && second < self.to)
    }
}

/// The hours of one [`Maintenance`], with what was already found out about its calendar.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    hours: Hours,
    /// Spans of event time by year, in the order in which the years were asked for.
    years: VecDeque<(i32, Vec<(i64, i64)>)>,
}

impl Watch {
    pub(super) fn new(hours: Hours) -> Self {
        Self { hours, years: VecDeque::new() }
    }

    /// Whether an event time (microseconds since the epoch) lies in the hours.
    pub(super) fn contains(&mut self, time_us: i64) -> bool {
        match &self.hours {
            Hours::Weekly(weekly) => weekly.contains(time_us),
            Hours::Once { from_us, to_us } => (*from_us..*to_us).contains(&time_us),
            Hours::Calendar(calendar) => {
                let Some(year) = DateTime::from_timestamp_micros(time_us).map(|time| time.year()) else { return false };
                if !self.years.iter().any(|(known, _)| *known == year) {
                    // A replay goes through many years; it need not keep them all.
                    self.years.truncate(YEARS - 1);
                    self.years.push_front((year, calendar.spans(year)));
                }
                let spans = self.years.iter().find(|(known, _)| *known == year).map_or(&[][..], |(_, spans)| spans);
                let after = spans.partition_point(|(from_us, _)| *from_us <= time_us);
                after.checked_sub(1).is_some_and(|at| time_us < spans[at].1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::timestamp::milliseconds_of_rfc3339;

    fn us(time: &str) -> i64 {
        milliseconds_of_rfc3339(time).unwrap() * 1000
    }

    fn weekly(days: &[Weekday], from: u32, to: u32) -> Watch {
        let berlin = time_zone::parse("Europe/Berlin").unwrap();
        Watch::new(Hours::Weekly(Weekly::new(days, (from * 3600, to * 3600), berlin).unwrap()))
    }

    #[test]
    fn weekly_hours_are_those_of_the_zones_clocks_from_the_first_second_to_before_the_last() {
        let mut hours = weekly(&[Weekday::Wed], 2, 4);
        // 2026-07-15 is a Wednesday; Berlin is two hours ahead.
        for (time, inside) in [
            ("2026-07-14T23:59:59Z", false),
            ("2026-07-15T00:00:00Z", true),
            ("2026-07-15T01:59:59Z", true),
            ("2026-07-15T02:00:00Z", false),
            ("2026-07-16T00:30:00Z", false),
            ("2026-01-14T00:30:00Z", false),
            ("2026-01-14T01:30:00Z", true),
        ] {
            assert_eq!(hours.contains(us(time)), inside, "{time}");
        }
    }

    #[test]
    fn hours_over_midnight_belong_to_the_day_on_which_they_begin() {
        let mut hours = weekly(&[Weekday::Fri], 22, 3);
        // 2026-07-17 is a Friday.
        for (time, inside) in [
            ("2026-07-17T00:30:00Z", false),
            ("2026-07-17T20:30:00Z", true),
            ("2026-07-18T00:59:00Z", true),
            ("2026-07-18T01:00:00Z", false),
            ("2026-07-18T20:30:00Z", false),
        ] {
            assert_eq!(hours.contains(us(time)), inside, "{time}");
        }
    }

    #[test]
    fn where_clocks_are_put_forward_or_back_what_they_show_counts() {
        let mut hours = weekly(&[Weekday::Sun], 2, 4);
        // 2026-03-29: 01:59:59 is followed by 03:00. 2026-10-25: 02:00 to 03:00 comes twice.
        for (time, inside) in [
            ("2026-03-29T00:59:59Z", false),
            ("2026-03-29T01:00:00Z", true),
            ("2026-03-29T01:59:59Z", true),
            ("2026-03-29T02:00:00Z", false),
            ("2026-10-24T23:59:59Z", false),
            ("2026-10-25T00:00:00Z", true),
            ("2026-10-25T01:30:00Z", true),
            ("2026-10-25T02:59:59Z", true),
            ("2026-10-25T03:00:00Z", false),
        ] {
            assert_eq!(hours.contains(us(time)), inside, "{time}");
        }
    }

    #[test]
    fn a_whole_day_ends_at_24_oclock_and_hours_without_a_length_are_refused() {
        let mut hours = weekly(&[Weekday::Sun], 0, 24);
        assert!(hours.contains(us("2026-07-19T21:59:59Z")) && !hours.contains(us("2026-07-19T22:00:00Z")));
        for (days, from, to) in [
            (&[Weekday::Sun][..], 5, 5),
            (&[][..], 5, 6),
            (&[Weekday::Sun][..], DAY, 5),
            (&[Weekday::Sun][..], 5, DAY + 1),
        ] {
            assert_eq!(Weekly::new(days, (from, to), Tz::UTC), None);
        }
    }

    #[test]
    fn a_single_span_ends_before_its_last_moment() {
        let (from_us, to_us) = (us("2026-07-15T00:00:00Z"), us("2026-07-15T02:00:00Z"));
        let mut hours = Watch::new(Hours::Once { from_us, to_us });
        assert!(hours.contains(from_us) && hours.contains(to_us - 1));
        assert!(!hours.contains(from_us - 1) && !hours.contains(to_us));
    }

    #[test]
    fn a_calendar_is_asked_once_a_year_and_forgets_years_that_were_asked_for_long_ago() {
        let text = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20100101T000000Z\nDURATION:PT1H\nRRULE:FREQ=YEARLY\n\
                    END:VEVENT\nEND:VCALENDAR\n";
        let calendar = Calendar::parse(text, Tz::UTC).unwrap();
        let mut hours = Watch::new(Hours::Calendar(Arc::new(calendar)));
        for year in 2011..2031 {
            assert!(hours.contains(us(&format!("{year}-01-01T00:59:59Z"))), "{year}");
            assert!(!hours.contains(us(&format!("{year}-01-01T01:00:00Z"))), "{year}");
            assert!(hours.years.len() <= YEARS);
        }
    }
}
