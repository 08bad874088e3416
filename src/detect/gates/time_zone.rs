//! Time zones by their names, and local times as instants.

use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{GapInfo, TZ_VARIANTS, Tz};

use super::pattern::closest;

/// A name that no time zone has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone `{name}`{}, expected a name of the IANA database such as Europe/Berlin", .closest.map(|zone| format!(" (did you mean {zone}?)")).unwrap_or_default())]
pub struct UnknownZone {
    /// The name.
    pub name: String,
    /// What may have been meant.
    pub closest: Option<&'static str>,
}

/// The time zone of this name, such as `UTC` or `Europe/Berlin`.
///
/// # Errors
/// A name that the IANA database doesn't hold.
pub fn parse(name: &str) -> Result<Tz, UnknownZone> {
    name.parse().map_err(|_| {
        let names = || TZ_VARIANTS.iter().map(|zone| zone.name());
        let is_its_city = |zone: &&str| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name));
        let is_it = |zone: &&str| zone.eq_ignore_ascii_case(name);
        let closest = names().find(is_it).or_else(|| names().find(is_its_city)).or_else(|| closest(name, names()));
        UnknownZone { name: name.to_owned(), closest }
    })
}

/// What clocks show in the zone at an event time (microseconds since the epoch); `None` beyond all calendars.
pub fn local(time_us: i64, zone: Tz) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(time_us).map(|time| time.with_timezone(&zone).naive_local())
}

/// The event time (microseconds since the epoch) at which clocks in the zone show `local`. The first one where they show
/// it twice; where they leave it out, it is counted by the offset before, as RFC 5545 has it.
pub fn instant(local: NaiveDateTime, zone: Tz) -> i64 {
    let time = match zone.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => time.naive_utc(),
        LocalResult::None => {
            // No clock was ever put forward by more than a day.
            let before = zone.offset_from_local_datetime(&(local - Duration::days(1))).earliest();
            local
                - before.map_or_else(Duration::zero, |offset| Duration::seconds(offset.fix().local_minus_utc().into()))
        }
    };
    time.and_utc().timestamp_micros()
}

/// The event time (microseconds since the epoch) from which clocks in the zone show times again, where they leave `local` out.
pub fn after_gap(local: NaiveDateTime, zone: Tz) -> Option<i64> {
    GapInfo::new(&local, &zone)?.end.map(|time| time.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::timestamp::{milliseconds_of_rfc3339, to_rfc3339};

    fn at(local: &str) -> String {
        let local = NaiveDateTime::parse_from_str(local, "%Y-%m-%dT%H:%M").unwrap();
        to_rfc3339(instant(local, parse("Europe/Berlin").unwrap()))
    }

    #[test]
    fn local_times_follow_daylight_saving() {
        assert_eq!(at("2026-01-15T12:00"), "2026-01-15T11:00:00Z");
        assert_eq!(at("2026-07-15T12:00"), "2026-07-15T10:00:00Z");
        assert_eq!(at("2026-03-29T02:30"), "2026-03-29T01:30:00Z", "left out: an hour later by the clock");
        assert_eq!(at("2026-10-25T02:30"), "2026-10-25T00:30:00Z", "shown twice: the first time");
    }

    #[test]
    fn clocks_are_read_in_their_zone() {
        let time_us = milliseconds_of_rfc3339("2026-07-15T22:30:00Z").unwrap() * 1000;
        let shown = local(time_us, parse("Europe/Berlin").unwrap()).unwrap();
        assert_eq!(shown.to_string(), "2026-07-16 00:30:00");
        assert_eq!(local(i64::MAX, Tz::UTC), None);
    }

    #[test]
    fn of_an_unknown_zone_the_closest_is_told() {
        for (name, closest) in [("Berlin", "Europe/Berlin"), ("Europe/Berlni", "Europe/Berlin"), ("utc", "UTC")] {
            let told = parse(name).unwrap_err().to_string();
            assert!(told.starts_with(&format!("unknown time zone `{name}` (did you mean {closest}?)")), "{told}");
        }
        assert_eq!(parse("Q").unwrap_err().closest, None);
    }
}
