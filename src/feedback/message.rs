//! The message on the feedback topic: flat JSON under the id as key.

use serde::{Deserialize, Serialize};

use super::{IdError, Subject, SubjectKind, Verdict};
use crate::{
    config::settings::TimestampFormat,
    detect::gates::pattern::closest,
    record::timestamp::{self, TimestampError},
};

/// What somebody said, and what it takes to know alike anomalies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// What it is about.
    pub subject: Subject,
    /// What it says.
    pub verdict: Verdict,
    /// Whose incident it is; `None` where that was not said, and nothing follows for any entity.
    pub entity: Option<String>,
    /// Features of the incident with the largest shares of the error, largest first.
    pub features: Vec<String>,
    /// Event time of its first anomalous record, microseconds since the epoch.
    pub first_time_us: Option<i64>,
    /// Event time of its last anomalous record so far.
    pub last_time_us: Option<i64>,
    /// Offset of its last anomalous record so far, in the partition of the first.
    pub last_offset: Option<i64>,
    /// Event time at which what follows from it ends, if somebody said so.
    pub until_us: Option<i64>,
    /// Who says so.
    pub by: Option<String>,
    /// Why.
    pub note: Option<String>,
}

/// The same as written.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anomaly: Option<String>,
    verdict: String,
    entity: Option<String>,
    #[serde(default)]
    features: Vec<String>,
    first_time: Option<String>,
    last_time: Option<String>,
    last_offset: Option<i64>,
    until: Option<String>,
    by: Option<String>,
    note: Option<String>,
}

/// What a message of the topic says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A verdict, in the place of any before it on the same id.
    Verdict(Box<Feedback>),
    /// The verdict on this id is taken back.
    TakenBack(String),
}

/// Why a message is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// Not JSON, or not of that shape.
    #[error("the value is no verdict, expected a JSON object with incident or anomaly, and verdict: {0}")]
    Shape(#[from] serde_json::Error),
    /// An unknown word.
    #[error("verdict: `{word}` is unknown, expected true, false or expected_change{hint}")]
    Word {
        /// What was found.
        word: String,
        /// What may have been meant.
        hint: String,
    },
    /// Nothing is named, or two things are.
    #[error("{found} of incident and anomaly is named, expected the id of exactly one")]
    Subject {
        /// How many.
        found: &'static str,
    },
    /// Not an id.
    #[error("{key}: {cause}")]
    Id {
        /// The field.
        key: &'static str,
        /// What is wrong.
        cause: IdError,
    },
    /// Not a time.
    #[error("{key}: {cause}")]
    Time {
        /// The field.
        key: &'static str,
        /// What is wrong.
        cause: TimestampError,
    },
    /// An end without anything that ends.
    #[error("until: a verdict of true holds nothing back that could end, expected no such field")]
    UntilOfTrue,
    /// Something is missing without which nothing could follow.
    #[error("{field} is missing: {verdict} needs it to know alike anomalies by, expected what the event says")]
    Lacks {
        /// The field.
        field: &'static str,
        /// The verdict.
        verdict: &'static str,
    },
    /// The key is another one.
    #[error("the message's key is `{key}`, expected the id, `{id}`: the last message of a key is the one that counts")]
    Key {
        /// What was found.
        key: String,
        /// What would be right.
        id: String,
    },
    /// Neither key nor value.
    #[error("the message has neither key nor value, expected the id of a verdict as key to take it back")]
    Nothing,
}

impl Told {
    /// Reads a message of the topic; without a value it takes back the verdict on its key.
    ///
    /// # Errors
    /// It is no verdict.
    pub fn read(key: Option<&[u8]>, payload: Option<&[u8]>) -> Result<Self, FeedbackError> {
        let key = key.map(String::from_utf8_lossy);
        let Some(payload) = payload else {
            return key.map(|key| Self::TakenBack(key.into_owned())).ok_or(FeedbackError::Nothing);
        };
        let feedback = Feedback::read(payload)?;
        match key {
            Some(key) if key != feedback.subject.id() => {
                Err(FeedbackError::Key { key: key.into_owned(), id: feedback.subject.id().to_owned() })
            }
            _ => Ok(Self::Verdict(Box::new(feedback))),
        }
    }

    /// The id of what it is about.
    pub fn id(&self) -> &str {
        match self {
            Self::Verdict(feedback) => feedback.subject.id(),
            Self::TakenBack(id) => id,
        }
    }
}

impl Feedback {
    /// A bare verdict.
    pub fn new(subject: Subject, verdict: Verdict) -> Self {
        Self {
            subject,
            verdict,
            entity: None,
            features: Vec::new(),
            first_time_us: None,
            last_time_us: None,
            last_offset: None,
            until_us: None,
            by: None,
            note: None,
        }
    }

    /// Reads a message's value.
    ///
    /// # Errors
    /// It is no verdict.
    pub fn read(payload: &[u8]) -> Result<Self, FeedbackError> {
        let written: Written = serde_json::from_slice(payload)?;
        let (subject, key) = match (&written.incident, &written.anomaly) {
            (Some(id), None) => (Subject::incident(id), "incident"),
            (None, Some(id)) => (Subject::anomaly(id), "anomaly"),
            (None, None) => return Err(FeedbackError::Subject { found: "neither" }),
            (Some(_), Some(_)) => return Err(FeedbackError::Subject { found: "each" }),
        };
        let feedback = Self {
            subject: subject.map_err(|cause| FeedbackError::Id { key, cause })?,
            verdict: verdict(&written.verdict)?,
            entity: written.entity,
            features: written.features,
            first_time_us: time("first_time", written.first_time)?,
            last_time_us: time("last_time", written.last_time)?,
            last_offset: written.last_offset,
            until_us: time("until", written.until)?,
            by: written.by,
            note: written.note,
        };
        feedback.check()?;
        Ok(feedback)
    }

    /// Whether all is there that its verdict needs. A silence has no features, and nothing is held back for it.
    ///
    /// # Errors
    /// What is missing or too much.
    pub fn check(&self) -> Result<(), FeedbackError> {
        let verdict = self.verdict.as_str();
        match self.verdict {
            Verdict::True if self.until_us.is_some() => Err(FeedbackError::UntilOfTrue),
            Verdict::True => Ok(()),
            _ if self.subject.kind() == SubjectKind::Silence => Ok(()),
            // That of a group is a pattern, which can't be empty.
            _ if self
                .entity
                .as_ref()
                .is_none_or(|name| self.subject.kind() == SubjectKind::Group && name.is_empty()) =>
            {
                Err(FeedbackError::Lacks { field: "entity", verdict })
            }
            _ if self.features.is_empty() => Err(FeedbackError::Lacks { field: "features", verdict }),
            _ => Ok(()),
        }
    }

    /// The message's value.
    pub fn to_json(&self) -> Vec<u8> {
        let is_anomaly = self.subject.kind() == SubjectKind::Anomaly;
        let id = |named: bool| named.then(|| self.subject.id().to_owned());
        let time = |time_us: Option<i64>| time_us.map(timestamp::to_rfc3339);
        let written = Written {
            incident: id(!is_anomaly),
            anomaly: id(is_anomaly),
            verdict: self.verdict.as_str().to_owned(),
            entity: self.entity.clone(),
            features: self.features.clone(),
            first_time: time(self.first_time_us),
            last_time: time(self.last_time_us),
            last_offset: self.last_offset,
            until: time(self.until_us),
            by: self.by.clone(),
            note: self.note.clone(),
        };
        serde_json::to_vec(&written).expect("strings and integers always serialise")
    }
}

fn verdict(word: &str) -> Result<Verdict, FeedbackError> {
    let known = Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == word);
    known.ok_or_else(|| {
        let likely = closest(word, Verdict::ALL.map(Verdict::as_str));
        let hint = likely.map_or_else(String::new, |likely| format!(" (did you mean {likely}?)"));
        FeedbackError::Word { word: word.to_owned(), hint }
    })
}

fn time(key: &'static str, text: Option<String>) -> Result<Option<i64>, FeedbackError> {
    let read = |text: String| timestamp::from_text(&text, TimestampFormat::Rfc3339);
    text.map(read).transpose().map_err(|cause| FeedbackError::Time { key, cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{"incident":"sensors-3-81723","verdict":"false","entity":"pump-7","features":["pressure","flow"],
        "first_time":"2026-03-01T12:00:00Z","last_time":"2026-03-01T12:21:00Z","last_offset":82104,
        "until":"2026-04-01T00:00:00Z","by":"kim","note":"the valve was being tested"}"#;

    fn error(payload: &str) -> String {
        Feedback::read(payload.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let feedback = Feedback::read(WHOLE.as_bytes()).unwrap();
        assert_eq!((feedback.verdict, feedback.entity.as_deref()), (Verdict::False, Some("pump-7")));
        assert_eq!(feedback.features, ["pressure", "flow"]);
        assert_eq!(feedback.last_time_us.unwrap() - feedback.first_time_us.unwrap(), 21 * 60_000_000);
        assert_eq!(Feedback::read(&feedback.to_json()).unwrap(), feedback);
        let bare = Feedback::new(Subject::anomaly("s-0-5-5c0ffee5a11d").unwrap(), Verdict::True);
        assert_eq!(Feedback::read(&bare.to_json()).unwrap(), bare);
    }

    #[test]
    fn an_unknown_verdict_is_named_with_the_one_that_may_have_been_meant() {
        let told = error(r#"{"incident":"s-0-5","verdict":"fasle"}"#);
        let expected = "verdict: `fasle` is unknown, expected true, false or expected_change (did you mean false?)";
        assert_eq!(told, expected);
        assert!(error(r#"{"incident":"s-0-5","verdict":"expected"}"#).ends_with("(did you mean expected_change?)"));
        assert!(error(r#"{"incident":"s-0-5","verdict":"7"}"#).ends_with("or expected_change"));
    }

    #[test]
    fn what_is_wrong_with_a_message_is_said_with_its_field_and_what_would_be_right() {
        for (payload, told) in [
            ("false", "the value is no verdict, expected a JSON object"),
            (r#"{"incident":"s-0-5","verdict":false}"#, "invalid type: boolean `false`, expected a string"),
            (r#"{"incident":"s-0-5","verdict":"true","entitty":"a"}"#, "unknown field `entitty`, expected one of"),
            (r#"{"verdict":"true"}"#, "neither of incident and anomaly is named"),
            (r#"{"incident":"s-0-5","anomaly":"s-0-5-5c0ffee5a11d","verdict":"true"}"#, "each of incident and anomaly"),
            (r#"{"incident":"s-0","verdict":"true"}"#, "incident: `s-0` is no id"),
            (r#"{"anomaly":"s-0-5","verdict":"true"}"#, "anomaly: `s-0-5` is no id"),
            (r#"{"incident":"s-0-5","verdict":"true","until":"2026-01-01T00:00:00Z"}"#, "until: a verdict of true"),
            (
                r#"{"incident":"s-0-5","verdict":"true","last_time":"yesterday"}"#,
                "last_time: `yesterday` is not a time",
            ),
            (r#"{"incident":"s-0-5","verdict":"false","features":["x"]}"#, "entity is missing: false needs it"),
            (
                r#"{"incident":"s-0-5","verdict":"expected_change","entity":"a"}"#,
                "features is missing: expected_change needs it",
            ),
        ] {
            assert!(error(payload).contains(told), "{payload}: {}", error(payload));
        }
        assert!(Feedback::read(br#"{"incident":"s-0-5-silence","verdict":"false"}"#).is_ok(), "it has no features");
    }

    #[test]
    fn the_key_is_the_id_and_without_a_value_takes_the_verdict_back() {
        let read =
            |key: Option<&str>, value: Option<&str>| Told::read(key.map(str::as_bytes), value.map(str::as_bytes));
        assert_eq!(read(Some("sensors-3-81723"), Some(WHOLE)).unwrap().id(), "sensors-3-81723");
        assert!(matches!(read(None, Some(WHOLE)), Ok(Told::Verdict(_))));
        assert_eq!(read(Some("s-0-5"), None).unwrap(), Told::TakenBack("s-0-5".into()));
        let other = read(Some("pump-7"), Some(WHOLE)).unwrap_err().to_string();
        assert!(other.starts_with("the message's key is `pump-7`, expected the id, `sensors-3-81723`"), "{other}");
        assert!(matches!(read(None, None), Err(FeedbackError::Nothing)));
    }
}
