//! What people say of alarms: that they were right, that they were false, or that the change was expected.
//!
//! A [`Feedback`] is one such message, with what it takes to know alike anomalies; the [`Book`] holds the last one of each
//! incident and anomaly, and says which anomalies of which entity are held back for it. Pure: event times in, verdicts out.

mod book;
mod message;
mod subject;

pub use book::{Book, Change, LEADING};
pub use message::{Feedback, FeedbackError, Told};
pub use subject::{IdError, Subject, SubjectKind};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What somebody says of an incident or an anomaly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Verdict {
    /// It was worth the alarm.
    True,
    /// It was not: nothing was wrong.
    False,
    /// What is normal has changed, and was to.
    ExpectedChange,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 3] = [Self::True, Self::False, Self::ExpectedChange];

    /// The word in messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::ExpectedChange => "expected_change",
        }
    }

    /// Steps by which the entity's limit goes up: a false alarm is a reason for a higher one, and one that was right gives
    /// back the step that its incident took.
    fn steps(self) -> i32 {
        match self {
            Self::True => -1,
            Self::False => 1,
            Self::ExpectedChange => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_verdicts_are_those_of_their_json_and_of_the_command_line() {
        for (index, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, index);
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
            let value = clap::ValueEnum::to_possible_value(&verdict).unwrap();
            assert_eq!(value.get_name(), verdict.as_str());
        }
    }
}
