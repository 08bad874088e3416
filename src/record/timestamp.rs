//! Event time: from what a record says to microseconds since the epoch, and back to text.
//!
//! Times lie in the years 0001 to 9999, the range of RFC 3339.

use jiff::{Timestamp, civil::DateTime, tz::Offset};

use crate::config::settings::TimestampFormat;

/// 0001-01-01T00:00:00Z in microseconds since the epoch.
pub const MIN_US: i64 = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z in microseconds since the epoch.
pub const MAX_US: i64 = 253_402_300_799_999_999;

/// In [`TimestampFormat::Auto`], numbers below this (absolute) are seconds: years before 5138.
pub const AUTO_SECONDS_BELOW: f64 = 1e11;
/// In [`TimestampFormat::Auto`], numbers from [`AUTO_SECONDS_BELOW`] to below this are milliseconds (1973 to 5138),
/// larger ones microseconds (from 1973 on).
pub const AUTO_MILLISECONDS_BELOW: f64 = 1e14;

/// Why an event time can't be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TimestampError {
    /// A number where the format asks for text.
    #[error("{0} is a number, expected RFC 3339 text such as `2024-05-01T12:00:00Z`")]
    NotText(f64),
    /// A text that is neither a time nor a number, where either would do.
    #[error("`{0}` is not a time, expected RFC 3339 such as `2024-05-01T12:00:00Z`")]
    NotRfc3339(String),
    /// A text that is no number, where the format asks for one.
    #[error("`{text}` is not a number, expected {unit} since the epoch")]
    NotNumber {
        /// What was found.
        text: String,
        /// The unit that the format asks for.
        unit: &'static str,
    },
    /// Before year 1, after year 9999, or not finite.
    #[error("{number} {unit} since the epoch lie outside of the years 0001 to 9999")]
    OutOfRange {
        /// What was found.
        number: f64,
        /// The unit that it was taken for.
        unit: &'static str,
    },
}

/// The time of a number, in microseconds since the epoch, rounded to the nearest one.
///
/// In [`TimestampFormat::Auto`] its size tells the unit: see [`AUTO_SECONDS_BELOW`] and [`AUTO_MILLISECONDS_BELOW`].
///
/// # Errors
/// [`TimestampError::OutOfRange`], also for NaN; [`TimestampError::NotText`] where the format is RFC 3339.
pub fn from_number(number: f64, format: TimestampFormat) -> Result<i64, TimestampError> {
    let (unit, factor) = match format {
        TimestampFormat::Rfc3339 => return Err(TimestampError::NotText(number)),
        TimestampFormat::Seconds => ("seconds", 1e6),
        TimestampFormat::Milliseconds => ("milliseconds", 1e3),
        TimestampFormat::Microseconds => ("microseconds", 1.0),
        TimestampFormat::Auto if number.abs() < AUTO_SECONDS_BELOW => ("seconds", 1e6),
        TimestampFormat::Auto if number.abs() < AUTO_MILLISECONDS_BELOW => ("milliseconds", 1e3),
        TimestampFormat::Auto => ("microseconds", 1.0),
    };
    let time_us = (number * factor).round();
    // The upper end is exclusive: as f64, MAX_US is the first microsecond of year 10000.
    if time_us >= MIN_US as f64 && time_us < MAX_US as f64 {
        Ok(time_us as i64)
    } else {
        Err(TimestampError::OutOfRange { number, unit })
    }
}

/// The time of a text, in microseconds since the epoch; finer fractions are cut off.
///
/// RFC 3339 in [`TimestampFormat::Rfc3339`]. [`TimestampFormat::Auto`] also takes a time without zone as UTC
/// (`2024-05-01 12:00:00`). All formats but RFC 3339 take a text that holds a number like the number.
///
/// # Errors
/// A [`TimestampError`] that quotes the text and says what would be right.
pub fn from_text(text: &str, format: TimestampFormat) -> Result<i64, TimestampError> {
    let unit = match format {
        TimestampFormat::Rfc3339 => return from_rfc3339(text, false),
        TimestampFormat::Auto => match fast_float2::parse::<f64, _>(text) {
            Ok(number) => return from_number(number, format),
            Err(_) => return from_rfc3339(text, true),
        },
        TimestampFormat::Seconds => "seconds",
        TimestampFormat::Milliseconds => "milliseconds",
        TimestampFormat::Microseconds => "microseconds",
    };
    let number =
        fast_float2::parse::<f64, _>(text).map_err(|_| TimestampError::NotNumber { text: quoted(text), unit })?;
    from_number(number, format)
}

/// The time of a Kafka message's timestamp (milliseconds since the epoch), in microseconds.
///
/// # Errors
/// [`TimestampError::OutOfRange`]; Kafka writes -1 where it knows none, which is the source's to leave out.
pub fn from_message(timestamp_ms: i64) -> Result<i64, TimestampError> {
    match timestamp_ms.checked_mul(1_000) {
        Some(time_us) if (MIN_US..=MAX_US).contains(&time_us) => Ok(time_us),
        _ => Err(TimestampError::OutOfRange { number: timestamp_ms as f64, unit: "milliseconds" }),
    }
}

/// The time of a value that by its type is one, in microseconds.
///
/// # Errors
/// [`TimestampError::OutOfRange`].
pub fn from_moment(time_us: i64) -> Result<i64, TimestampError> {
    if (MIN_US..=MAX_US).contains(&time_us) {
        Ok(time_us)
    } else {
        Err(TimestampError::OutOfRange { number: time_us as f64, unit: "microseconds" })
    }
}

/// RFC 3339 text in UTC (`Z`), with a fraction only where there is one. Times outside of [`MIN_US`]`..=`[`MAX_US`],
/// which RFC 3339 can't write and this module never gives, become their number of microseconds.
pub fn to_rfc3339(time_us: i64) -> String {
    match Timestamp::from_microsecond(time_us) {
        Ok(timestamp) if (MIN_US..=MAX_US).contains(&time_us) => timestamp.to_string(),
        _ => format!("{time_us} us"),
    }
}

/// Milliseconds since the epoch of a time as [`to_rfc3339`] writes it; `None` for anything else.
pub fn milliseconds_of_rfc3339(text: &str) -> Option<i64> {
    from_rfc3339(text, false).ok().map(|time_us| time_us.div_euclid(1000))
}

fn from_rfc3339(text: &str, zone_optional: bool) -> Result<i64, TimestampError> {
    let fail = || TimestampError::NotRfc3339(quoted(text));
    let Some(zone) = zone_of(text) else { return Err(fail()) };
    let timestamp = match zone {
        Zone::Written => text.parse::<Timestamp>(),
        Zone::Absent if zone_optional => text.parse::<DateTime>().and_then(|civil| Offset::UTC.to_timestamp(civil)),
        Zone::Absent => return Err(fail()),
    };
    let time_us = timestamp.map_err(|_| fail())?.as_microsecond();
    if (MIN_US..=MAX_US).contains(&time_us) { Ok(time_us) } else { Err(fail()) }
}

enum Zone {
    Written,
    Absent,
}

/// Checks the shape `YYYY-MM-DD?HH:MM:SS`, a fraction, a zone: jiff also reads far looser ISO 8601, which RFC 3339
/// isn't.
fn zone_of(text: &str) -> Option<Zone> {
    let bytes = text.as_bytes();
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let head = bytes.get(..shape.len())?;
    let fits = head.iter().zip(shape).all(|(byte, expected)| match expected {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        separator => byte == separator,
    });
    let mut rest = &bytes[shape.len()..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = if digits > 0 { &fraction[digits..] } else { return None };
    }
    match rest {
        _ if !fits => None,
        [] => Some(Zone::Absent),
        [b'Z' | b'z'] => Some(Zone::Written),
        [b'+' | b'-', h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()) => {
            Some(Zone::Written)
        }
        _ => None,
    }
}

/// The text for an error message, cut so that a huge field doesn't make a huge message.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use TimestampFormat::{Auto, Microseconds, Milliseconds, Rfc3339, Seconds};

    const NOON: i64 = 1_714_564_800_000_000; // 2024-05-01T12:00:00Z

    #[test]
    fn rfc3339_is_read_in_any_zone() {
        for text in
            ["2024-05-01T12:00:00Z", "2024-05-01t12:00:00z", "2024-05-01T14:00:00+02:00", "2024-05-01 12:00:00.000Z"]
        {
            assert_eq!(from_text(text, Rfc3339), Ok(NOON), "{text}");
            assert_eq!(from_text(text, Auto), Ok(NOON), "{text}");
        }
        assert_eq!(from_text("2024-05-01T12:00:00.1234567Z", Rfc3339), Ok(NOON + 123_456));
    }

    #[test]
    fn a_time_without_zone_is_utc_in_auto_and_an_error_in_rfc3339() {
        assert_eq!(from_text("2024-05-01 12:00:00", Auto), Ok(NOON));
        assert_eq!(from_text("2024-05-01T12:00:00.5", Auto), Ok(NOON + 500_000));
        assert!(from_text("2024-05-01 12:00:00", Rfc3339).is_err());
    }

    #[test]
    fn what_is_no_time_is_refused_and_named() {
        for text in [
            "",
            "yesterday",
            "2024-05-01",
            "2024-13-01T00:00:00Z",
            "2024-02-30T00:00:00Z",
            "20240501T120000Z",
            "2024-05-01T12:00:00Z[Europe/Berlin]",
            "2024-05-01T12:00:00.Z",
            "2024-05-01T12:00:00+0200",
            "0000-05-01T12:00:00Z",
            "-00001-05-01T12:00:00Z",
            "2024-05-01T25:00:00Z",
            "２０２４-05-01T12:00:00Z",
        ] {
            assert_eq!(from_text(text, Auto), Err(TimestampError::NotRfc3339(text.to_owned())), "{text}");
        }
        let message = from_text(&"x".repeat(500), Auto).unwrap_err().to_string();
        assert!(message.len() < 200 && message.contains("RFC 3339"), "{message}");
        assert_eq!(from_number(5.0, Rfc3339), Err(TimestampError::NotText(5.0)));
        assert!(from_text("abc", Milliseconds).unwrap_err().to_string().contains("expected milliseconds"));
    }

    #[test]
    fn auto_tells_the_unit_of_a_number_by_its_size() {
        assert_eq!(from_number(1_714_564_800.0, Auto), Ok(NOON));
        assert_eq!(from_number(1_714_564_800_000.0, Auto), Ok(NOON));
        assert_eq!(from_number(1_714_564_800_000_000.0, Auto), Ok(NOON));
        assert_eq!(from_text("1714564800.25", Auto), Ok(NOON + 250_000));
        assert_eq!(from_number(99_999_999_999.0, Auto), Ok(99_999_999_999_000_000));
        assert_eq!(from_number(1e11, Auto), Ok(100_000_000_000_000));
        assert_eq!(from_number(1e14, Auto), Ok(100_000_000_000_000));
        assert_eq!(from_number(-1.5, Auto), Ok(-1_500_000));
    }

    #[test]
    fn a_set_unit_is_obeyed() {
        assert_eq!(from_number(1.5, Seconds), Ok(1_500_000));
        assert_eq!(from_number(1.5, Milliseconds), Ok(1_500));
        assert_eq!(from_number(1.0, Microseconds), Ok(1));
        assert_eq!(from_text("1.5", Milliseconds), Ok(1_500));
    }

    #[test]
    fn times_outside_of_year_1_to_9999_are_refused() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
            for format in [Auto, Seconds, Milliseconds, Microseconds] {
                assert!(matches!(from_number(number, format), Err(TimestampError::OutOfRange { .. })), "{number}");
            }
        }
        assert_eq!(from_number(-62_135_596_800.0, Seconds), Ok(MIN_US));
        assert!(from_number(-62_135_596_801.0, Seconds).is_err());
        assert!(from_number(253_402_300_799.0, Seconds).is_ok() && from_number(253_402_300_800.0, Seconds).is_err());
        assert!(from_text("inf", Seconds).is_err() && from_text("nan", Auto).is_err());
        assert_eq!(from_message(1_714_564_800_000), Ok(NOON));
        assert!(from_message(i64::MAX).is_err() && from_message(i64::MIN).is_err());
    }

    #[test]
    fn text_has_a_fraction_only_where_there_is_one() {
        assert_eq!(to_rfc3339(NOON), "2024-05-01T12:00:00Z");
        assert_eq!(to_rfc3339(NOON + 500_000), "2024-05-01T12:00:00.5Z");
        assert_eq!(to_rfc3339(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(to_rfc3339(MIN_US), "0001-01-01T00:00:00Z");
        assert_eq!(to_rfc3339(i64::MAX), format!("{} us", i64::MAX));
    }

    proptest! {
        #[test]
        fn text_and_time_agree(time_us in MIN_US..=MAX_US) {
            prop_assert_eq!(from_text(&to_rfc3339(time_us), Rfc3339), Ok(time_us));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}|[0-9TZ:.+ -]{0,40}") {
            for format in [Auto, Rfc3339, Seconds] {
                let _ = from_text(&text, format);
            }
        }
    }
}
