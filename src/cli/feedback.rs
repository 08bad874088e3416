//! `strayd feedback`: says of an incident or an anomaly that it was right, false, or an expected change.

use std::{
    io::{self, Read},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use serde::Deserialize;

use super::{ConfigArgs, Failure, output};
use crate::{
    config::{
        Settings,
        settings::{KafkaSettings, TimestampFormat},
    },
    detect::avro::{self, EventKind},
    feedback::{Feedback, FeedbackError, Subject, SubjectKind, Told, Verdict},
    kafka::{KafkaError, embedded::Fed, topic::TopicReader, writer::RecordWriter},
    record::timestamp,
    telemetry::log,
};

/// Share of the error from which on a feature of an event is one to know alike anomalies by.
const MATERIAL: f64 = 0.1;
/// How long the broker may take to tell of the event, and to take the verdict.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `strayd feedback`.
#[derive(Debug, Args)]
pub struct FeedbackArgs {
    /// Incident or anomaly by its `id`, as its events and /status name it; its event is looked up in its topic. Or -
    /// to read events as JSON from standard input
    #[arg(value_name = "ID")]
    pub id: String,
    /// What it was
    #[arg(long, value_enum, required_unless_present = "take_back")]
    pub verdict: Option<Verdict>,
    /// Take the verdict on it back
    #[arg(long, conflicts_with_all = ["verdict", "entity", "features", "until", "note"])]
    pub take_back: bool,
    /// The daemon's configuration, which says where Kafka is and what the topics are called
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Whose it is, over what its event says; with --feature nothing is looked up
    #[arg(long, value_name = "NAME")]
    pub entity: Option<String>,
    /// A feature to know alike anomalies by, the one with the largest share first, over what the event says; may be repeated
    #[arg(long = "feature", value_name = "NAME")]
    pub features: Vec<String>,
    /// Event time (RFC 3339) at which what follows from it ends, over judging.feedback.suppress_for
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Who says so; if left out, the variable USER
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

/// Why no verdict was sent.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("{0}")]
    Feedback(#[from] FeedbackError),
    #[error("standard input holds no event, expected those of kafka.incident_topic or kafka.anomaly_topic as JSON")]
    NoEvent,
    #[error(
        "standard input can't be read as events, expected those of kafka.incident_topic or kafka.anomaly_topic: {0}"
    )]
    Event(#[from] serde_json::Error),
    #[error("no event of `{id}` is in the topic {topic} (any more), expected another id, or --entity and --feature")]
    NotFound { id: String, topic: String },
    #[error("the event of `{id}` names no feature, expected --feature with the one to know alike anomalies by")]
    NoFeature { id: String },
    #[error(
        "--until: {until} is later than judging.feedback.keep ({days} days) from now, when the verdict is forgotten; expected an \
         earlier time, or a longer keep"
    )]
    UntilForgotten { until: String, days: f64 },
    #[error("the broker refuses the verdict: {0}")]
    Refused(String),
}

/// What a verdict takes from an event of an incident or an anomaly; the rest of the event is left out.
#[derive(Debug, Deserialize)]
struct Event {
    id: String,
    entity: String,
    feature_names: Vec<String>,
    #[serde(default)]
    feature_shares: Vec<f64>,
    #[serde(alias = "timestamp")]
    first_time: Option<String>,
    last_time: Option<String>,
    first_partition: Option<i32>,
    last_partition: Option<i32>,
    last_offset: Option<i64>,
}

/// What is sent: a verdict, or that the one on an id is taken back.
struct Parcel {
    id: String,
    value: Option<Vec<u8>>,
    line: String,
}

/// Checks everything, sends, waits for the broker, and prints what was said.
pub fn run(args: &FeedbackArgs) -> Result<(), Failure> {
    let settings = Settings::load(&args.config.sources())?.settings;
    log::init(&settings.log)?;
    settings.require_kafka()?;
    let kafka = settings.kafka_of_role();
    let Some(topic) = kafka.feedback_topic.clone() else {
        return Err(Failure::config(
            &"kafka.feedback_topic is not set: no daemon listens, expected the topic for feedback",
        ));
    };
    let until = args.until.as_deref().map(|text| (text, timestamp::from_text(text, TimestampFormat::Rfc3339)));
    if let Some((text, Ok(until_us))) = until {
        is_kept(text, until_us, settings.judging.feedback.keep).map_err(|error| Failure::config(&error))?;
    }
    let parcels = parcels(args, &kafka)?;
    send(&kafka, &topic, &parcels)?;
    output::print(&parcels.iter().map(|parcel| format!("{}\n", parcel.line)).collect::<String>())
}

/// A verdict that is forgotten holds nothing back any more.
fn is_kept(until: &str, until_us: i64, keep: Duration) -> Result<(), CommandError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if i128::from(until_us) <= (now + keep).as_micros() as i128 {
        return Ok(());
    }
    Err(CommandError::UntilForgotten { until: until.to_owned(), days: keep.as_secs_f64() / 86_400.0 })
}

fn parcels(args: &FeedbackArgs, kafka: &KafkaSettings) -> Result<Vec<Parcel>, Failure> {
    let subject = |id: &str| Subject::of_topic(id, &kafka.input_topic).map_err(|error| Failure::config(&error));
    let events = match args.id.as_str() {
        "-" => events(io::stdin().lock()).map_err(|error| Failure::config(&error))?.into_iter().map(Some).collect(),
        id => {
            let subject = subject(id)?;
            let is_told = args.take_back || (args.entity.is_some() && !args.features.is_empty());
            vec![if is_told { None } else { Some(find(kafka, &subject)?) }]
        }
    };
    let parcel = |event: Option<Event>| {
        let id = event.as_ref().map_or(args.id.as_str(), |event| &event.id);
        let subject = subject(id)?;
        match args.verdict {
            Some(verdict) => {
                said(args, Feedback::new(subject, verdict), event).map_err(|error| Failure::config(&error))
            }
            None => Ok(Parcel { id: id.to_owned(), value: None, line: format!("{id}: verdict taken back") }),
        }
    };
    events.into_iter().map(parcel).collect()
}

/// Every event in a stream of JSON values.
fn events(from: impl Read) -> Result<Vec<Event>, CommandError> {
    let events = serde_json::Deserializer::from_reader(from).into_iter().collect::<Result<Vec<Event>, _>>()?;
    if events.is_empty() { Err(CommandError::NoEvent) } else { Ok(events) }
}

/// The last event of it in the topic that its kind is written to.
fn find(kafka: &KafkaSettings, subject: &Subject) -> Result<Event, Failure> {
    let (kind, topic) = match subject.kind() {
        SubjectKind::Anomaly => (EventKind::Anomaly, Some(&kafka.anomaly_topic)),
        SubjectKind::Incident | SubjectKind::Silence | SubjectKind::Group => {
            (EventKind::Incident, kafka.incident_topic.as_ref())
        }
    };
    let Some(topic) = topic else {
        let why = "kafka.incident_topic is null, so there are no events, expected --entity and --feature";
        return Err(Failure::config(&why));
    };
    // The topic may hold events from before kafka.output_format was another.
    let read = |payload: &[u8]| match avro::decode(kind, payload) {
        Ok(event) => serde_json::from_value::<Event>(event).ok(),
        Err(_) => serde_json::from_slice(payload).ok(),
    };
    let event = |payload: &[u8]| read(payload).filter(|event| event.id == subject.id());
    let found = TopicReader::new(kafka, topic)?.find_last(PATIENCE, |payload| event(payload).is_some())?;
    let not_found = || CommandError::NotFound { id: subject.id().to_owned(), topic: topic.clone() };
    found.and_then(|payload| event(&payload)).ok_or_else(|| Failure::other(&not_found()))
}

/// The verdict with what the event and the arguments say, which stand over it.
fn said(args: &FeedbackArgs, bare: Feedback, event: Option<Event>) -> Result<Parcel, CommandError> {
    let time = |key: &'static str, text: Option<String>| {
        let read = |text: String| timestamp::from_text(&text, TimestampFormat::Rfc3339);
        text.map(read).transpose().map_err(|cause| FeedbackError::Time { key, cause })
    };
    let mut feedback = Feedback {
        entity: args.entity.clone(),
        features: args.features.clone(),
        until_us: time("--until", args.until.clone())?,
        by: args.by.clone().or_else(|| std::env::var("USER").ok()).filter(|by| !by.is_empty()),
        note: args.note.clone(),
        ..bare
    };
    if let Some(event) = event {
        let stays = event.first_partition == event.last_partition;
        feedback.last_offset = event.last_offset.filter(|_| stays);
        feedback.first_time_us = time("the event's first_time", event.first_time)?;
        feedback.last_time_us = time("the event's last_time", event.last_time)?.or(feedback.first_time_us);
        feedback.entity.get_or_insert(event.entity);
        if feedback.features.is_empty() {
            feedback.features = material(event.feature_names, &event.feature_shares);
        }
    }
    let id = feedback.subject.id().to_owned();
    let value = match feedback.check() {
        Err(FeedbackError::Lacks { field: "features", .. }) => return Err(CommandError::NoFeature { id }),
        checked => checked.map(|()| feedback.to_json())?,
    };
    // Whatever is sent is what the daemon takes.
    Told::read(Some(id.as_bytes()), Some(&value))?;
    Ok(Parcel { line: describe(&feedback), id, value: Some(value) })
}

/// The features that have a material share in the error, but at least the first one. The others are named whatever they did,
/// and anomalies that they lead one day are no likes of this one.
fn material(names: Vec<String>, shares: &[f64]) -> Vec<String> {
    let counts = |at: usize| at == 0 || shares.get(at).is_none_or(|share| *share >= MATERIAL);
    names.into_iter().enumerate().filter(|(at, _)| counts(*at)).map(|(_, name)| name).collect()
}

fn describe(feedback: &Feedback) -> String {
    let entity = match feedback.entity.as_deref() {
        None | Some("") => String::new(),
        Some(entity) => format!(" of {entity}"),
    };
    let features = match feedback.features.as_slice() {
        [] => String::new(),
        features => format!(" ({})", features.join(", ")),
    };
    format!("{}{entity}{features}: {}", feedback.subject.id(), feedback.verdict.as_str())
}

fn send(kafka: &KafkaSettings, topic: &str, parcels: &[Parcel]) -> Result<(), Failure> {
    let writer = RecordWriter::to_topic(kafka, topic)?;
    for Parcel { id, value, .. } in parcels {
        let fed = Fed { key: Some(id.as_bytes()), payload: value.as_deref(), timestamp_ms: None, partition: None };
        while !writer.offer(&fed)? {
            writer.flush(PATIENCE)?;
        }
    }
    let flushed = writer.flush(PATIENCE);
    let written = writer.written();
    match written.reason {
        Some(reason) => Err(Failure::other(&CommandError::Refused(reason))),
        None => flushed.map_err(|error: KafkaError| error.into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const INCIDENT: &str = include_str!("../../tests/golden/incident-events.jsonl");
    const ANOMALY: &str = include_str!("../../tests/golden/event.json");

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        feedback: FeedbackArgs,
    }

    fn args(arguments: &[&str]) -> FeedbackArgs {
        Command::parse_from([&["feedback", "-", "--by", "kim"], arguments].concat()).feedback
    }

    fn feedback(arguments: &[&str], event: &str) -> Result<Feedback, CommandError> {
        let event = events(event.as_bytes())?.remove(0);
        let args = args(arguments);
        let bare = Feedback::new(Subject::of_topic(&event.id, "sensors").unwrap(), args.verdict.unwrap());
        Ok(Feedback::read(&said(&args, bare, Some(event))?.value.unwrap())?)
    }

    #[test]
    fn a_verdict_takes_entity_features_and_times_from_the_event() {
        let said = feedback(&["--verdict", "false"], INCIDENT).unwrap();
        assert_eq!((said.entity.as_deref(), said.last_offset), (Some("pump \"7\""), Some(81723)));
        assert_eq!((said.features, said.by.as_deref()), (vec!["pressure".to_owned()], Some("kim")));
        assert!(said.first_time_us.is_some() && said.first_time_us == said.last_time_us);
        let said = feedback(&["--verdict", "expected_change"], ANOMALY).unwrap();
        assert_eq!((said.subject.kind(), said.last_offset), (SubjectKind::Anomaly, None));
        assert_eq!(said.features, ["pressure", "flow"]);
        assert!(said.first_time_us.is_some() && said.first_time_us == said.last_time_us);
    }

    #[test]
    fn arguments_stand_over_the_event() {
        let arguments = ["--verdict", "false", "--entity", "b", "--feature", "x", "--until", "2027-01-01T00:00:00Z"];
        let said = feedback(&arguments, INCIDENT).unwrap();
        assert_eq!((said.entity.as_deref(), said.features), (Some("b"), vec!["x".to_owned()]));
        assert!(said.until_us > said.last_time_us);
    }

    #[test]
    fn features_without_a_material_share_are_not_known_by_but_for_the_first() {
        let names = || ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(material(names(), &[0.6, 0.31, 0.09]), ["a", "b"]);
        assert_eq!(material(names(), &[0.06, 0.05, 0.05]), ["a"]);
        assert_eq!(material(names(), &[]), ["a", "b", "c"], "an event of another program may not tell");
    }

    #[test]
    fn an_end_at_which_the_verdict_is_forgotten_already_is_refused() {
        let day = Duration::from_secs(86_400);
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
        assert!(is_kept("", now_us + 86_400_000_000, day * 30).is_ok());
        let error = is_kept("2099-01-01T00:00:00Z", now_us + 31 * 86_400_000_000, day * 30).unwrap_err().to_string();
        assert!(error.contains("2099") && error.contains("30 days"), "{error}");
    }

    #[test]
    fn what_the_daemon_would_not_take_is_not_sent() {
        let error = |arguments: &[&str], event: &str| feedback(arguments, event).unwrap_err().to_string();
        let nameless = INCIDENT.replace(r#""feature_names":["pressure"]"#, r#""feature_names":[]"#);
        assert!(error(&["--verdict", "false"], &nameless).contains("expected --feature"));
        let time = error(&["--verdict", "false", "--until", "tomorrow"], INCIDENT);
        assert!(time.starts_with("--until: `tomorrow` is not a time"), "{time}");
        let true_until = ["--verdict", "true", "--until", "2027-01-01T00:00:00Z"];
        assert!(error(&true_until, INCIDENT).starts_with("until: a verdict of true"));
        assert!(matches!(events(&b""[..]), Err(CommandError::NoEvent)));
        assert!(events(&b"{\"id\":\"sensors-0-5\"}"[..]).unwrap_err().to_string().contains("missing field `entity`"));
    }

    #[test]
    fn each_event_of_standard_input_gets_the_verdict() {
        let mut all = events(INCIDENT.as_bytes()).unwrap();
        assert_eq!(all.len(), 3);
        let group = all.remove(2);
        let bare = Feedback::new(Subject::incident(&group.id).unwrap(), Verdict::False);
        let parcel = said(&args(&["--verdict", "false"]), bare, Some(group)).unwrap();
        assert_eq!(parcel.line, "sensors-4-512-group of rack-7-* (pressure): false");
        let silence = all.remove(1);
        let bare = Feedback::new(Subject::incident(&silence.id).unwrap(), Verdict::False);
        let parcel = said(&args(&["--verdict", "false"]), bare, Some(silence)).unwrap();
        assert_eq!(parcel.line, "sensors-3-81723-silence of pump \"7\": false");
    }
}
