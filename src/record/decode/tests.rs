//! The same record means the same in every format.

mod avro;
mod csv;
mod every;
mod messagepack;
mod protobuf;

use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Decoder, Schema};
use crate::{
    config::settings::{EntityFrom, FeatureSelection, RecordFormat, RecordSettings, TimestampField, TimestampFormat},
    record::{
        DecodedRecord, Position, RawRecord, RecordError,
        features::{FeatureKind, FeatureSetting, Transform},
        grid::Shape,
    },
};

const NUMERIC: FeatureKind = FeatureKind::Numeric { transform: Transform::None };

fn feature(path: &str, kind: FeatureKind) -> FeatureSetting {
    FeatureSetting { name: path.to_owned(), path: path.parse().unwrap(), kind }
}

/// A feature of every kind, nested ones and elements of lists among them.
fn features() -> Vec<FeatureSetting> {
    let vocabulary = ["red", "1", "true", "é", "2.5"].map(str::to_owned).to_vec();
    let shape = Shape { height: 2, width: 2 };
    vec![
        feature("a", NUMERIC),
        feature("m.a", NUMERIC),
        feature("m.b", FeatureKind::Boolean),
        feature("l.0", NUMERIC),
        feature("l.2.a", NUMERIC),
        feature("c", FeatureKind::Categorical { vocabulary }),
        feature("b", FeatureKind::Boolean),
        feature("g", FeatureKind::Grid { shape, transform: Transform::None }),
    ]
}

fn settings(format: RecordFormat) -> RecordSettings {
    RecordSettings {
        entity: EntityFrom::Field("e".parse().unwrap()),
        timestamp: Some(TimestampField { path: "t".parse().unwrap(), format: TimestampFormat::Auto }),
        format,
        features: FeatureSelection::Listed(Vec::new()),
        lateness: None,
        duplicates: crate::config::settings::Duplicates::Keep,
        max_bytes: 100_000,
        max_missing: 0.5,
    }
}

fn decoder(format: RecordFormat) -> Decoder {
    Decoder::new(Schema::new(&features(), &settings(format)))
}

fn raw(payload: &[u8]) -> RawRecord<'_> {
    let position = Position { partition: 0, offset: 0 };
    RawRecord { position, timestamp_ms: Some(1), key: None, payload: Some(payload), headers: None }
}

/// All that was read, to the bit, and what was wrong with it.
#[derive(Debug, PartialEq)]
struct Read {
    values: Vec<u64>,
    states: Vec<crate::record::SlotState>,
    entity: String,
    time: Option<i64>,
    result: Result<(), RecordError>,
}

fn read(decoder: &mut Decoder, payload: &[u8]) -> Read {
    let mut out = DecodedRecord::default();
    let result = decoder.decode(&raw(payload), &mut out);
    Read {
        values: out.values.iter().map(|value| value.to_bits()).collect(),
        time: out.known_time_us(),
        states: out.states,
        entity: out.entity,
        result,
    }
}

/// The value by another's encoder.
fn datum(schema: &apache_avro::Schema, value: apache_avro::types::Value) -> Vec<u8> {
    GenericDatumWriter::builder(schema).build().unwrap().write_value_to_vec(value).unwrap()
}

fn undecodable(format: RecordFormat, payload: &[u8]) -> String {
    match read(&mut decoder(format), payload).result {
        Err(error @ RecordError::Undecodable { .. }) => error.to_string(),
        other => panic!("{other:?}: {payload:02x?}"),
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i32>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e12..1e12).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        prop::sample::select(vec!["red", "true", "false", "é", "", "2024-05-01T12:00:00Z", "17"]).prop_map(Value::from),
    ]
}

/// Objects of the keys that are wanted and some others.
fn record() -> impl Strategy<Value = Value> {
    let grid = prop::collection::vec(prop::collection::vec(scalar(), 0..4), 0..4).prop_map(|rows| json!(rows));
    let value = prop_oneof![6 => scalar(), 1 => grid].prop_recursive(3, 24, 4, |inner| {
        let keys = prop::sample::select(vec!["a", "b", "0", "x"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..4).prop_map(|map| json!(map)),
        ]
    });
    let keys = prop::sample::select(vec!["a", "m", "l", "c", "b", "g", "e", "t", "x"]);
    prop::collection::btree_map(keys, value, 0..9).prop_map(|map| json!(map))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_record_is_the_same_in_json_and_in_messagepack(records in prop::collection::vec(record(), 1..4)) {
        let (mut json, mut messagepack) = (decoder(RecordFormat::Json), decoder(RecordFormat::MessagePack));
        for record in records {
            let expected = read(&mut json, record.to_string().as_bytes());
            prop_assert_eq!(read(&mut messagepack, &rmp_serde::to_vec(&record).unwrap()), expected, "{}", record);
        }
    }
}

#[test]
fn json_may_stand_behind_the_id_of_its_schema() {
    let mut decoder = decoder(RecordFormat::Json);
    let text = br#"{"a":1,"e":"x","t":1714564800}"#;
    let plain = read(&mut decoder, text);
    assert_eq!(plain.result, Ok(()));
    assert_eq!(read(&mut decoder, &[b"\0\0\0\x01\x02", &text[..]].concat()), plain);
    assert_eq!(
        undecodable(RecordFormat::Json, b"\0\0\0\x01\x02[1]"),
        "not valid JSON at byte 5: found an array, expected an object"
    );
    assert!(undecodable(RecordFormat::Json, b"\0\0\0\x01").contains("at byte 0"));
}
