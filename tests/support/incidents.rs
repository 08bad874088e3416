//! Incidents that the tests plant in a stream, and whether events tell of them.

use std::collections::BTreeSet;

use super::records::{INCIDENT_ROWS, Record};

/// Records that the cold start takes.
pub const COLD_START: usize = 2_000;

/// Rows at which incidents are planted, in the part that is scored.
pub const PLANTED: [usize; 3] = [2_400, 2_701, 3_102];

/// The record's event time as events write it.
pub fn record_time(record: &Record) -> String {
    let value: serde_json::Value = serde_json::from_str(&record.payload).expect("the stream is JSON");
    strayd::record::timestamp::to_rfc3339(value["time"].as_i64().expect("a time") * 1_000_000)
}

/// A text of an event.
pub fn text(event: &serde_json::Value, key: &str) -> String {
    event[key].as_str().unwrap_or_else(|| panic!("{key} is no text in {event}")).to_owned()
}

/// How many of the incidents at [`PLANTED`] are found.
pub fn incidents_found(events: &[serde_json::Value], records: &[Record]) -> usize {
    incidents_found_at(&PLANTED, events, records)
}

/// How many of the incidents planted at these rows are told by an event whose first blame goes to the planted feature.
pub fn incidents_found_at(planted: &[usize], events: &[serde_json::Value], records: &[Record]) -> usize {
    let entities = records.iter().map(|record| &record.key).collect::<BTreeSet<_>>().len();
    let found = |incident: usize| {
        (incident..).step_by(entities).take(INCIDENT_ROWS).any(|row| {
            let (record, time) = (&records[row], record_time(&records[row]));
            assert!(record.planted, "row {row} belongs to an incident");
            events.iter().any(|event| {
                (text(event, "entity"), text(event, "timestamp")) == (record.key.clone(), time.clone())
                    && text(event, "top_feature") == "pressure"
            })
        })
    };
    planted.iter().filter(|incident| found(**incident)).count()
}
