//! What a verdict is about: an incident or an anomaly, by the id that its events bear.

use crate::record::Position;

/// Hexadecimal digits of a model's version, at the end of an anomaly's id.
const VERSION_DIGITS: usize = 12;
/// The end of a silence's id.
const SILENCE: &str = "-silence";
/// The end of the id of a group's incident.
const GROUP: &str = "-group";

/// What an id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// An incident of anomalies.
    Incident,
    /// An entity that stopped reporting.
    Silence,
    /// Entities of a group that strayed together.
    Group,
    /// A single anomalous row.
    Anomaly,
}

/// An incident or an anomaly, by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    id: String,
    kind: SubjectKind,
    /// Bytes of the id that name the input topic.
    topic: usize,
    position: Position,
}

/// Not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{id}` is no id of an {what}, expected {expected}, as `id` in its events")]
pub struct IdError {
    id: String,
    what: &'static str,
    expected: &'static str,
}

impl Subject {
    /// The incident with this id: `TOPIC-PARTITION-OFFSET` of its first record, with `-silence` or `-group` behind where it is
    /// one.
    ///
    /// # Errors
    /// It is no such id.
    pub fn incident(id: &str) -> Result<Self, IdError> {
        let ends = [(SILENCE, SubjectKind::Silence), (GROUP, SubjectKind::Group)];
        let special = ends.into_iter().find_map(|(end, kind)| Some((id.strip_suffix(end)?, kind)));
        let (place, kind) = special.unwrap_or((id, SubjectKind::Incident));
        let expected = "TOPIC-PARTITION-OFFSET, with -silence or -group behind where there is one";
        let (topic, position) =
            placed(place).ok_or_else(|| IdError { id: id.to_owned(), what: "incident", expected })?;
        Ok(Self { id: id.to_owned(), kind, topic, position })
    }

    /// The anomaly with this id: `TOPIC-PARTITION-OFFSET-MODEL`.
    ///
    /// # Errors
    /// It is no such id.
    pub fn anomaly(id: &str) -> Result<Self, IdError> {
        let is_version = |text: &str| text.len() == VERSION_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let place = id.rsplit_once('-').filter(|(_, version)| is_version(version)).and_then(|(place, _)| placed(place));
        let error = || IdError { id: id.to_owned(), what: "anomaly", expected: "TOPIC-PARTITION-OFFSET-MODEL" };
        let (topic, position) = place.ok_or_else(error)?;
        Ok(Self { id: id.to_owned(), kind: SubjectKind::Anomaly, topic, position })
    }

    /// What has this id, given the topic of the records, which tells the two kinds of id apart.
    ///
    /// # Errors
    /// It is no id of that topic.
    pub fn of_topic(id: &str, topic: &str) -> Result<Self, IdError> {
        let rest = id.strip_prefix(topic).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
        let is_anomaly = rest.matches('-').count() == 2 && ![SILENCE, GROUP].iter().any(|end| id.ends_with(end));
        let found = if is_anomaly { Self::anomaly(id) } else { Self::incident(id) };
        let expected =
            "TOPIC-PARTITION-OFFSET with kafka.input_topic, and -silence, -group or -MODEL behind where there is one";
        let error = || IdError { id: id.to_owned(), what: "incident or anomaly", expected };
        found.ok().filter(|subject| subject.topic() == topic).ok_or_else(error)
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it stands for.
    pub fn kind(&self) -> SubjectKind {
        self.kind
    }

    /// The topic of the records.
    pub fn topic(&self) -> &str {
        &self.id[..self.topic]
    }

    /// The first anomalous record, the anomalous one, the last one before the silence, or the one that made it one of a group.
    pub fn position(&self) -> Position {
        self.position
    }
}

/// Bytes of the topic in `TOPIC-PARTITION-OFFSET`, and the position.
fn placed(text: &str) -> Option<(usize, Position)> {
    let (rest, offset) = text.rsplit_once('-')?;
    let (topic, partition) = rest.rsplit_once('-')?;
    let position = Position { partition: number(partition)?, offset: number(offset)? };
    (!topic.is_empty()).then_some((topic.len(), position))
}

/// A number as events write it; `+7` is none.
fn number<N: std::str::FromStr>(digits: &str) -> Option<N> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_topic_and_first_record_whatever_the_topic_is_called() {
        let incident = Subject::incident("plant-7-sensors-3-81723").unwrap();
        assert_eq!((incident.topic(), incident.kind()), ("plant-7-sensors", SubjectKind::Incident));
        assert_eq!(incident.position(), Position { partition: 3, offset: 81723 });
        let silence = Subject::incident("sensors-3-81723-silence").unwrap();
        assert_eq!((silence.topic(), silence.kind()), ("sensors", SubjectKind::Silence));
        let anomaly = Subject::anomaly("sensors-3-81723-5c0ffee5a11d").unwrap();
        assert_eq!((anomaly.topic(), anomaly.kind()), ("sensors", SubjectKind::Anomaly));
    }

    #[test]
    fn the_topic_tells_an_incident_from_an_anomaly_whose_version_is_all_digits() {
        let kind = |id: &str, topic: &str| Subject::of_topic(id, topic).map(|subject| subject.kind());
        assert_eq!(kind("sensors-3-81723-123456789012", "sensors"), Ok(SubjectKind::Anomaly));
        assert_eq!(kind("sensors-3-81723-123456789012", "sensors-3"), Ok(SubjectKind::Incident));
        assert_eq!(kind("sensors-3-81723", "sensors"), Ok(SubjectKind::Incident));
        assert_eq!(kind("sensors-3-81723-silence", "sensors"), Ok(SubjectKind::Silence));
        assert_eq!(kind("sensors-3-81723-group", "sensors"), Ok(SubjectKind::Group));
        let other = kind("sensors-3-81723", "sensor").unwrap_err().to_string();
        assert!(other.starts_with("`sensors-3-81723` is no id") && other.contains("kafka.input_topic"), "{other}");
    }

    #[test]
    fn what_is_no_id_is_named_with_what_would_be_right() {
        for bad in ["", "sensors", "sensors-3", "-3-5", "sensors-x-5", "sensors--5", "sensors-3-+5", "s-3-5-silent"] {
            let error = Subject::incident(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("`{bad}`")) && error.contains("TOPIC-PARTITION-OFFSET"), "{error}");
        }
        assert!(Subject::incident("s-99999999999-5").is_err(), "no partition has so high a number");
        for bad in ["sensors-3-81723", "sensors-3-81723-5c0ffee", "sensors-3-x-5c0ffee5a11d"] {
            assert!(Subject::anomaly(bad).is_err(), "{bad}");
        }
    }
}
