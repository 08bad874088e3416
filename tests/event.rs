//! The anomaly event as its readers know it: its schema in the repository, its text, its id.

mod support;

use std::fs;

use strayd::{
    detect::{
        event::{AnomalyEvent, Origin, Verdict, json_schema},
        explain::Blame,
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
    let verdict = Verdict { score: 14.25, raw_score: 31.5, limit: 6.125, p_value: 0.00012 };
    let blame = |name: &str, value, expected, share| Blame { name: name.to_owned(), value, expected, share };
    AnomalyEvent::new(&origin, &verdict, vec![blame("pressure", 9.125, 4.25, 0.625), blame("flow", 0.25, 1.125, 0.25)])
}

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
