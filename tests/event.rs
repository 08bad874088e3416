//! The events as their readers know them: their schemas in the repository, their texts, their ids.

mod support;

use std::fs;

use strayd::{
    detect::{
        avro::EventKind,
        counterfactual::Counterfactual,
        event::{AnomalyEvent, Origin, Verdict, json_schema},
        explain::{Blame, Compared},
        group::{GroupIncident, GroupRule, Groups, pattern::GroupPattern},
        incident::{Evidence, Incident, Mark, Opening, Retelling},
        incident_event::{self, IncidentEvent, Silence, State, Telling},
        severity::{Severity, SeverityBounds},
    },
    record::Position,
};
use support::tools::root;

fn event() -> AnomalyEvent<'static> {
    let origin = Origin {
        topic: "sensors",
        position: Position { partition: 3, offset: 81_723 },
        entity: "pump \"7\"",
        time_us: 1_772_366_400_250_000,
        model: "5c0ffee5a11d",
    };
    let verdict = Verdict {
        score: 14.25,
        raw_score: 31.5,
        limit: 6.125,
        p_value: 0.00012,
        severity: Severity::Info,
        suppressed_by: None,
    };
    let pressure =
        Blame { name: "pressure".to_owned(), value: 9.125, expected: 4.25, error: 7.5, share: 0.625, onset: Some(2) };
    let flow = Blame { name: "flow".to_owned(), value: 0.25, expected: 1.125, error: -1.5, share: 0.25, onset: None };
    AnomalyEvent::new(&origin, &verdict, vec![pressure, flow]).with(Some(EXPLAINED))
}

const EXPLAINED: Counterfactual = Counterfactual { score: 1.75, under_limit: true };

/// Compares with a file of the repository, or writes it with `UPDATE_GOLDEN=1`.
fn is_pinned(file: &str, text: &str) {
    let path = root().join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).expect("the golden file can be written");
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "{file}: UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn the_schema_in_the_repository_is_the_one_of_the_code() {
    let schema = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    is_pinned("docs/anomaly-event.schema.json", &schema);
}

#[test]
fn an_event_is_pinned_to_the_byte_and_fits_the_schema() {
    let json = event().to_json();
    is_pinned("tests/golden/event.json", &(String::from_utf8(json.clone()).unwrap() + "\n"));
    let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    assert!(
        validator.is_valid(&value),
        "{:?}",
        validator.iter_errors(&value).map(|e| e.to_string()).collect::<Vec<_>>()
    );
    // Numbers that JSON has no word for would become null, which the schema refuses.
    let nan = AnomalyEvent { score: f64::NAN, ..event() };
    let value: serde_json::Value = serde_json::from_slice(&nan.to_json()).unwrap();
    assert!(!validator.is_valid(&value));
}

#[test]
fn the_id_names_topic_partition_offset_and_model_and_nothing_else() {
    assert_eq!(event().id, "sensors-3-81723-5c0ffee5a11d");
    assert_eq!(event().to_json(), event().to_json());
}

fn at(offset: i64, seconds: i64) -> Mark {
    let time_us = 1_772_366_400_250_000 + seconds * 1_000_000;
    Mark { position: Position { partition: 3, offset }, time_us }
}

/// Two columns of a row, and what was expected of them.
fn columns() -> Vec<Compared> {
    let compared = |value, expected, error| Compared { value, expected, error };
    vec![compared(0.25, 1.125, -1.5), compared(9.125, 4.25, 7.5)]
}

fn pressure(onset: Option<u8>) -> Blame {
    Blame { name: "pressure".to_owned(), value: 9.125, expected: 4.25, error: 7.5, share: 0.75, onset }
}

/// An incident of one row, told as `state` by the record at `cause`.
fn incident(state: State, cause: i64) -> IncidentEvent<'static> {
    let shares = [0.25, 0.75];
    let row = Evidence { mark: at(81_723, 0), score: 14.25, limit: 6.125, p_value: 0.00012, shares: &shares };
    let mut incident = Incident::open(&row, Severity::Info, columns());
    incident.opening = Opening { onsets: vec![None, Some(2)], counterfactual: Some(EXPLAINED) };
    let position = Position { partition: 3, offset: cause };
    let telling = Telling { topic: "sensors", entity: "pump \"7\"", state, cause: position };
    IncidentEvent::of_anomalies(&telling, &incident, "5c0ffee5a11d", vec![pressure(Some(2))])
}

fn silence(state: State, cause: i64) -> IncidentEvent<'static> {
    let position = Position { partition: 3, offset: cause };
    let telling = Telling { topic: "sensors", entity: "pump \"7\"", state, cause: position };
    let silence = Silence { first: at(81_723, 0), last: at(81_723, 640), interval_seconds: Some(60.0) };
    IncidentEvent::of_silence(&telling, &silence)
}

/// Two pumps of a rack that stray together, from partitions of their own, told as `state` by the record at `cause` in the
/// second one's.
fn group_incident() -> GroupIncident {
    let retelling = Retelling { update_interval_us: 600_000_000, new_normal_after_us: None };
    let entities = GroupPattern::new("rack-{group}-*").expect("a pattern");
    let rule = GroupRule { entities, least: 2, within_us: 300_000_000 };
    let mut groups = Groups::new(vec![rule], SeverityBounds::new(1e-4, 1e-6).expect("bounds"), retelling);
    let mut incidents = std::collections::BTreeMap::new();
    for (place, (partition, offset, p_value)) in [(3, 81_723, 0.00012), (4, 512, 0.00003)].into_iter().enumerate() {
        let place = place as u32;
        let mark = Mark { position: Position { partition, offset }, ..at(0, i64::from(place) * 20) };
        let row = Evidence { mark, score: 14.25, limit: 6.125, p_value, shares: &[0.25, 0.75] };
        let severity = if p_value < 1e-4 { Severity::Warning } else { Severity::Info };
        let incident = Incident::open(&row, severity, columns());
        groups.opened(place, &format!("rack-7-pump-{place}").into(), &incident);
        incidents.insert(place, incident);
        groups.strayed((place, &row), &incidents, Vec::new);
    }
    groups.of(1).expect("two make one").clone()
}

fn group(incident: &GroupIncident, state: State, cause: i64) -> IncidentEvent<'_> {
    let cause = Position { partition: 4, offset: cause };
    let telling = Telling { topic: "sensors", entity: &incident.name, state, cause };
    IncidentEvent::of_group(&telling, incident, "5c0ffee5a11d", vec![pressure(None)])
}

/// The fields that a schema names, each with whether it may be null.
fn fields(schema: &serde_json::Value) -> std::collections::BTreeMap<String, bool> {
    let nullable = |kind: &serde_json::Value| {
        let words = kind.as_array().map(Vec::as_slice).unwrap_or_default();
        words.iter().any(|word| word == "null" || word["type"] == "null")
    };
    match schema["properties"].as_object() {
        Some(properties) => properties
            .iter()
            .map(|(name, field)| (name.clone(), nullable(&field["type"]) || nullable(&field["anyOf"])))
            .collect(),
        None => schema["fields"]
            .as_array()
            .expect("a schema has properties or fields")
            .iter()
            .map(|field| (field["name"].as_str().expect("a name").to_owned(), nullable(&field["type"])))
            .collect(),
    }
}

#[test]
fn events_in_avro_have_the_fields_of_those_in_json_and_the_schemas_in_the_repository() {
    for (kind, file, json) in [
        (EventKind::Anomaly, "docs/anomaly-event.avsc", json_schema()),
        (EventKind::Incident, "docs/incident-event.avsc", incident_event::json_schema()),
    ] {
        is_pinned(file, kind.schema_text());
        let avro: serde_json::Value = serde_json::from_str(kind.schema_text()).unwrap();
        assert!(fields(&json).len() > 20);
        assert_eq!(fields(&avro), fields(&json), "{file}");
    }
}

#[test]
fn the_schema_of_incidents_in_the_repository_is_the_one_of_the_code() {
    let schema = serde_json::to_string_pretty(&incident_event::json_schema()).unwrap() + "\n";
    is_pinned("docs/incident-event.schema.json", &schema);
}

#[test]
fn incident_events_are_pinned_to_the_byte_and_fit_the_schema() {
    let validator = jsonschema::validator_for(&incident_event::json_schema()).unwrap();
    let together = group_incident();
    let events =
        [incident(State::Opened, 81_723), silence(State::Opened, 90_001), group(&together, State::Opened, 512)];
    let mut text = String::new();
    for event in events {
        let json = event.to_json();
        text += std::str::from_utf8(&json).unwrap();
        text += "\n";
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    is_pinned("tests/golden/incident-events.jsonl", &text);
}

#[test]
fn an_incident_keeps_its_id_and_each_of_its_events_has_one_of_its_own_whatever_the_model() {
    let states = [(State::Opened, 81_723), (State::Updated, 81_800), (State::Resolved, 81_900)];
    let told = states.map(|(state, cause)| incident(state, cause));
    assert!(told.iter().all(|event| event.id == "sensors-3-81723"));
    let ids = told.map(|event| event.event_id);
    assert_eq!(
        ids,
        ["sensors-3-81723-opened-81723", "sensors-3-81723-updated-81800", "sensors-3-81723-resolved-81900"]
    );
    assert_eq!(
        silence(State::Opened, 90_001).id,
        "sensors-3-81723-silence",
        "an incident may begin with the same record"
    );
    let together = group_incident();
    let told = group(&together, State::Updated, 600);
    assert_eq!((told.id.as_str(), told.event_id.as_str()), ("sensors-4-512-group", "sensors-4-512-group-updated-600"));
    let position = Position { partition: 3, offset: 600 };
    let telling = Telling { topic: "sensors", entity: &together.name, state: State::Updated, cause: position };
    let told = IncidentEvent::of_group(&telling, &together, "5c0ffee5a11d", Vec::new());
    assert_eq!(told.event_id, "sensors-4-512-group-updated-3-600", "a record of another partition");
    assert!(!incident(State::Opened, 1).event_id.contains("5c0ffee5a11d"));
}
