//! The labelled data that is built into the program; sources and licences in `deploy/demo-data/README.md`.

use std::path::Path;

use flate2::read::GzDecoder;
use jiff::Timestamp;

use crate::file::{FileError, csv::CsvRows};

/// Columns that hold the truth and so are kept out of the records.
const LABEL_COLUMNS: [&str; 2] = ["label", "label_series"];

macro_rules! shipped {
    ($name:literal) => {
        Part {
            name: concat!("demo-data/", $name),
            bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/demo-data/", $name)),
        }
    };
}

/// One embedded file.
struct Part {
    name: &'static str,
    bytes: &'static [u8],
}

static SERVER_TRAIN: Part = shipped!("server-train.csv.gz");
static SERVER_STREAM: Part = shipped!("server-stream.csv.gz");
static MENTIONS_TRAIN: Part = shipped!("mentions-train.csv.gz");
static MENTIONS_STREAM: Part = shipped!("mentions-stream.csv.gz");

/// A shipped data set: normal history to learn from, and the labelled stream that follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DemoData {
    /// 38 metrics of one server, a record a minute: 10,080 + 10,080 records, 6 labelled events.
    Server,
    /// Mentions of ten companies, a record each 5 minutes: 4,032 + 11,799 records, 22 labelled events.
    Mentions,
}

/// One record of a shipped data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoRecord {
    /// A JSON object with the event time in `timestamp` and a number per feature; no labels.
    pub payload: Vec<u8>,
    /// Event time, milliseconds since the epoch.
    pub time_ms: i64,
    /// Whether the record lies in a labelled event; always false in the history.
    pub label: bool,
}

impl DemoData {
    /// Every data set.
    pub const ALL: [Self; 2] = [Self::Server, Self::Mentions];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Mentions => "mentions",
        }
    }

    /// What it is, in a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Server => "38 metrics of one server, a record a minute (Server Machine Dataset, machine-1-7)",
            Self::Mentions => "mentions of ten companies, a record each 5 minutes (Numenta Anomaly Benchmark)",
        }
    }

    /// The entity of all its records, which goes as message key.
    pub fn entity(self) -> &'static str {
        match self {
            Self::Server => "server-1",
            Self::Mentions => "mentions",
        }
    }

    /// The history, oldest first.
    pub fn train(self) -> Result<Vec<DemoRecord>, FileError> {
        match self {
            Self::Server => SERVER_TRAIN.records(),
            Self::Mentions => MENTIONS_TRAIN.records(),
        }
    }

    /// The stream that follows the history, oldest first.
    pub fn stream(self) -> Result<Vec<DemoRecord>, FileError> {
        match self {
            Self::Server => SERVER_STREAM.records(),
            Self::Mentions => MENTIONS_STREAM.records(),
        }
    }
}

impl Part {
    fn records(&self) -> Result<Vec<DemoRecord>, FileError> {
        let mut rows = CsvRows::new(Path::new(self.name), Box::new(GzDecoder::new(self.bytes)))?;
        rows.leave_out(&LABEL_COLUMNS);
        let mut records = Vec::new();
        let mut payload = Vec::new();
        while rows.next(&mut payload)? {
            let fault = |cause: String| FileError::Read {
                path: Path::new(self.name).to_owned(),
                row: records.len() as u64,
                cause,
            };
            let time_ms = event_time(&rows).map_err(fault)?;
            let label = label(&rows).map_err(fault)?;
            records.push(DemoRecord { payload: payload.clone(), time_ms, label });
        }
        Ok(records)
    }
}

fn event_time(rows: &CsvRows) -> Result<i64, String> {
    let text = rows.cell("timestamp").and_then(|cell| std::str::from_utf8(cell).ok()).unwrap_or_default();
    let moment: Timestamp = text.parse().map_err(|error| format!("the timestamp `{text}` is not RFC 3339: {error}"))?;
    Ok(moment.as_millisecond())
}

fn label(rows: &CsvRows) -> Result<bool, String> {
    match rows.cell("label") {
        None | Some(b"0") => Ok(false),
        Some(b"1") => Ok(true),
        Some(other) => Err(format!("the label `{}` is neither 0 nor 1", String::from_utf8_lossy(other))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::evaluate::events::runs;

    #[test]
    fn every_record_is_an_object_of_a_timestamp_and_finite_numbers() {
        for (data, features) in [(DemoData::Server, 38), (DemoData::Mentions, 10)] {
            for record in data.train().unwrap().into_iter().chain(data.stream().unwrap()) {
                let Value::Object(object) = serde_json::from_slice(&record.payload).unwrap() else {
                    panic!("no object")
                };
                assert_eq!(object.len(), features + 1);
                for (name, value) in &object {
                    assert!(!name.contains("label"), "{name}");
                    assert_eq!(value.is_number(), name != "timestamp", "{name}: {value}");
                }
                let moment: Timestamp = object["timestamp"].as_str().unwrap().parse().unwrap();
                assert_eq!(moment.as_millisecond(), record.time_ms);
            }
        }
    }

    #[test]
    fn the_stream_has_the_labelled_events_that_its_readme_tells() {
        let labels = |data: DemoData| data.stream().unwrap().iter().map(|record| record.label).collect::<Vec<_>>();
        let server = labels(DemoData::Server);
        assert_eq!(server.len(), 10_080);
        let expected = [(837, 857), (2959, 4173), (5849, 5939), (6031, 6033), (7099, 7999), (8564, 8579)];
        assert_eq!(runs(&server).map(|run| (run.first, run.last)).collect::<Vec<_>>(), expected);
        let mentions = labels(DemoData::Mentions);
        assert_eq!((mentions.len(), runs(&mentions).count()), (11_799, 22));
    }

    #[test]
    fn the_history_has_no_labels_and_ends_before_the_stream() {
        for (data, rows, seconds) in [(DemoData::Server, 10_080, 60.0), (DemoData::Mentions, 4032, 300.0)] {
            let (train, stream) = (data.train().unwrap(), data.stream().unwrap());
            assert_eq!(train.len(), rows);
            assert!(train.iter().all(|record| !record.label));
            let times: Vec<i64> = train.iter().chain(&stream).map(|record| record.time_ms).collect();
            assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{} is in order of time", data.name());
            let step = (stream[1].time_ms - stream[0].time_ms) as f64 / 1000.0;
            assert_eq!(step, seconds);
        }
    }

    #[test]
    fn cells_stand_in_the_record_as_they_stand_in_the_file() {
        let first = String::from_utf8(DemoData::Mentions.stream().unwrap().remove(0).payload).unwrap();
        assert_eq!(
            first,
            concat!(
                r#"{"timestamp":"2015-03-12T21:42:53Z","aapl":55,"amzn":42,"crm":2,"cvs":2,"fb":13,"goog":33,"ibm":5,"#,
                r#""ko":7,"pfe":6,"ups":2}"#
            )
        );
    }
}
