//! Durations and sizes as people write them: `500ms`, `5s`, `1MiB`.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A fault in a written duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a whole number and a unit.
    #[error("`{0}` is not a duration, expected a whole number and a unit (us, ms, s, m, h, d) such as 500ms or 5s")]
    Duration(String),
    /// Not a whole number, with or without a unit.
    #[error("`{0}` is not a size, expected bytes or a whole number and a unit (KiB, MiB, GiB) such as 1MiB")]
    Size(String),
    /// More than can be held.
    #[error("`{0}` is too large, expected a smaller number")]
    TooLarge(String),
}

/// Splits `12ms` into 12 and `ms`; `None` unless it begins with a digit.
fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| (&text[..end], text[end..].trim_start()))
}

/// Reads a whole number with a unit: us, ms, s, m, h or d.
///
/// # Errors
/// No number, another unit or none, or more microseconds than 64 bits hold.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let bad = || UnitError::Duration(text.to_owned());
    let (digits, unit) = split(text).ok_or_else(bad)?;
    let microseconds = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return Err(bad()),
    };
    product(text, digits, microseconds).map(Duration::from_micros)
}

/// Reads a count of bytes, or a whole number with a unit: B, KiB, MiB or GiB.
///
/// # Errors
/// No number, another unit, or more bytes than 64 bits hold.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let bad = || UnitError::Size(text.to_owned());
    let (digits, unit) = split(text).ok_or_else(bad)?;
    let bytes = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(bad()),
    };
    product(text, digits, bytes)
}

fn product(text: &str, digits: &str, unit: u64) -> Result<u64, UnitError> {
    // Only digits came this far, so the one fault left is their number.
    let number: Option<u64> = digits.parse().ok();
    number.and_then(|n| n.checked_mul(unit)).ok_or_else(|| UnitError::TooLarge(text.to_owned()))
}

/// A duration written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenDuration(pub Duration);

impl<'de> Deserialize<'de> for WrittenDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_duration(&String::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for WrittenDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^\\s*[0-9]+\\s*(us|ms|s|m|h|d)$", "x-unit": "duration" })
    }
}

/// A size in bytes, written as a number or with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl de::Visitor<'_> for Either {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes or a size such as 1MiB")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                parse_size(text).map(ByteSize).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"], "minimum": 0, "pattern": "^\\s*[0-9]+\\s*(B|KiB|MiB|GiB)?$", "x-unit": "size"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration(" 2 m").unwrap(), Duration::from_secs(120));
        assert_eq!(parse_duration("1d").unwrap(), Duration::from_secs(86_400));
        for bad in ["5", "", "s", "-1s", "1.5s", "5 sec", "NaNs", "inf"] {
            assert_eq!(parse_duration(bad), Err(UnitError::Duration(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn sizes_are_bytes_unless_a_unit_is_written() {
        assert_eq!(parse_size("1048576").unwrap(), 1 << 20);
        assert_eq!(parse_size("1MiB").unwrap(), 1 << 20);
        assert_eq!(parse_size("3 KiB").unwrap(), 3 << 10);
        assert_eq!(parse_size("1MB"), Err(UnitError::Size("1MB".into())), "decimal units are ambiguous");
    }

    #[test]
    fn what_does_not_fit_is_refused_instead_of_wrapped() {
        assert!(matches!(parse_duration("99999999999999999999s"), Err(UnitError::TooLarge(_))));
        assert!(matches!(parse_duration("213503982334602d"), Err(UnitError::TooLarge(_))));
        assert!(matches!(parse_size("17179869184GiB"), Err(UnitError::TooLarge(_))));
    }
}
