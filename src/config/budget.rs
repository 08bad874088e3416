//! The alarm budget, and the rates that people write it in: `3 per day`, `1 per entity per week`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Alarms a day that nobody asks for: more than every row of a second.
const MOST_A_DAY: f64 = 1e6;
/// What a rate may be counted by, and how many days that is.
const PERIODS: [(&str, f64); 4] = [("day", 1.0), ("hour", 1.0 / 24.0), ("week", 7.0), ("month", 30.0)];

/// Characters of a number that is told by the day though it is not whole.
const SHORT: usize = 6;

/// How many alarms (incidents) normal data may raise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AlarmBudget {
    /// So many a day, of all entities together; > 0.
    PerDay(f64),
    /// So many a day, of each entity; > 0.
    PerEntityAndDay(f64),
    /// This share of normal rows may be anomalous (contamination), 0..1.
    Quantile(f64),
}

/// What the budget leaves one entity: what a limit can be found for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EntityBudget {
    /// Alarms a day; > 0.
    PerDay(f64),
    /// Share of its normal rows, 0..1.
    Quantile(f64),
}

/// A written rate that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a rate of alarms, expected a number above 0, and at most {MOST_A_DAY} a day, per hour, day, week or month, of all \
         entities or of each, such as `3 per day` or `1 per entity per week`"
)]
pub struct RateError(String);

impl AlarmBudget {
    /// What each of so many entities may raise; fewer than one are as one.
    pub fn of_one_among(self, entities: f64) -> EntityBudget {
        match self {
            Self::PerDay(alarms) => EntityBudget::PerDay(alarms / entities.max(1.0)),
            Self::PerEntityAndDay(alarms) => EntityBudget::PerDay(alarms),
            Self::Quantile(share) => EntityBudget::Quantile(share),
        }
    }
}

impl FromStr for AlarmBudget {
    type Err = RateError;

    /// Reads a rate; a month has 30 days.
    fn from_str(text: &str) -> Result<Self, RateError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (number, period, kind): (_, _, fn(f64) -> Self) = match words[..] {
            [number, "per", period] => (number, period, Self::PerDay),
            [number, "per", "entity", "per", period] => (number, period, Self::PerEntityAndDay),
            _ => return Err(RateError(text.to_owned())),
        };
        let days = PERIODS.iter().find(|(name, _)| *name == period).map(|(_, days)| days);
        let a_day = days.zip(number.parse::<f64>().ok()).map(|(days, number)| number / days);
        let in_range = a_day.filter(|a_day| *a_day > 0.0 && *a_day <= MOST_A_DAY);
        in_range.map(kind).ok_or_else(|| RateError(text.to_owned()))
    }
}

impl fmt::Display for AlarmBudget {
    /// As it is written: by the day where that is a short number, else by the period that makes it a whole one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (a_day, of) = match *self {
            Self::PerDay(a_day) => (a_day, "per"),
            Self::PerEntityAndDay(a_day) => (a_day, "per entity per"),
            Self::Quantile(share) => return write!(f, "{share} of normal rows"),
        };
        let whole = |(period, days): &(&'static str, f64)| {
            let number = (a_day * days).round();
            (number >= 1.0 && (number / days - a_day).abs() <= 1e-12 * a_day).then_some((number, *period))
        };
        let is_short = a_day.to_string().len() <= SHORT;
        let (number, period) = PERIODS.iter().find_map(whole).filter(|_| !is_short).unwrap_or((a_day, "day"));
        write!(f, "{number} {of} {period}")
    }
}

impl Serialize for AlarmBudget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A rate as written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WrittenRate(pub AlarmBudget);

impl<'de> Deserialize<'de> for WrittenRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for WrittenRate {
    fn schema_name() -> Cow<'static, str> {
        "AlarmRate".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^\\s*[0-9.]+([eE][-+]?[0-9]+)?\\s+per\\s+(entity\\s+per\\s+)?(hour|day|week|month)\\s*$",
            "x-expected": "a rate such as 3 per day or 1 per entity per week"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_people_write_it() {
        let read = |text: &str| text.parse::<AlarmBudget>().unwrap();
        assert_eq!(read("3 per day"), AlarmBudget::PerDay(3.0));
        assert_eq!(read(" 1  per entity per week "), AlarmBudget::PerEntityAndDay(1.0 / 7.0));
        assert_eq!(read("0.5 per entity per hour"), AlarmBudget::PerEntityAndDay(12.0));
        assert_eq!(read("6e1 per month"), AlarmBudget::PerDay(2.0));
    }

    #[test]
    fn what_is_no_rate_is_refused_with_what_one_is() {
        for bad in [
            "",
            "3",
            "3 a day",
            "per day",
            "three per day",
            "0 per day",
            "-1 per day",
            "NaN per day",
            "inf per day",
            "1e9 per day",
            "3 per fortnight",
            "1 per week per entity",
            "1 per entity",
            "1 per entity per week, please",
        ] {
            let error = bad.parse::<AlarmBudget>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{bad}`")) && error.contains("1 per entity per week"), "{error}");
        }
    }

    #[test]
    fn a_budget_is_told_as_it_would_be_written() {
        for text in [
            "3 per day",
            "1 per entity per week",
            "1 per entity per day",
            "0.1 per entity per day",
            "2 per month",
            "0.3 per day",
            "0.001 per entity per day",
            "48 per day",
        ] {
            assert_eq!(text.parse::<AlarmBudget>().unwrap().to_string(), text);
        }
        assert_eq!("2 per hour".parse::<AlarmBudget>().unwrap().to_string(), "48 per day");
        assert_eq!(AlarmBudget::Quantile(0.01).to_string(), "0.01 of normal rows");
    }

    #[test]
    fn a_budget_of_all_is_shared_out_evenly_and_the_others_are_each_entitys_own() {
        let of_one = |budget: AlarmBudget| [0.0, 1.0, 30.0].map(|entities| budget.of_one_among(entities));
        assert_eq!(of_one(AlarmBudget::PerDay(3.0)), [3.0, 3.0, 0.1].map(EntityBudget::PerDay));
        assert_eq!(of_one(AlarmBudget::PerEntityAndDay(3.0)), [3.0; 3].map(EntityBudget::PerDay));
        assert_eq!(of_one(AlarmBudget::Quantile(0.01)), [0.01; 3].map(EntityBudget::Quantile));
    }
}
