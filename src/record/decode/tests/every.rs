//! Records whose fields have one type each, as Avro and Protobuf want it, in all formats that hold them.

use std::sync::Arc;

use apache_avro::types::Value as Datum;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, prost::Message};

use super::{
    super::{avro::AvroSchema, protobuf::ProtobufSchema},
    *,
};
use crate::schemas::{Definition, SchemaSource};

const AVRO: &str = r#"{"type": "record", "name": "Reading", "namespace": "acme", "fields": [
    {"name": "a", "type": ["null", "double"]},
    {"name": "m", "type": ["null", {"type": "record", "name": "Inner", "fields": [
        {"name": "skipped", "type": "string"},
        {"name": "a", "type": ["null", "double"]},
        {"name": "b", "type": ["null", "boolean"]}]}]},
    {"name": "l", "type": {"type": "array", "items": "double"}},
    {"name": "k", "type": {"type": "array", "items": "Inner"}},
    {"name": "c", "type": ["null", {"type": "enum", "name": "Colour", "symbols": ["NONE", "red", "blue"]}]},
    {"name": "n", "type": ["null", "long"]},
    {"name": "x", "type": {"type": "map", "values": "double"}},
    {"name": "e", "type": "string"},
    {"name": "t", "type": "long"}]}"#;

const PROTOBUF: &str = r#"syntax = "proto3";
package acme;
message Other {}
message Reading {
    message Inner { string skipped = 9; optional double a = 1; optional bool b = 2; }
    enum Colour { NONE = 0; red = 1; blue = 2; }
    optional double a = 7;
    Inner m = 2;
    repeated double l = 3;
    repeated Inner k = 4;
    optional Colour c = 5;
    optional sint64 n = 6;
    map<string, double> x = 1;
    string e = 8;
    int64 t = 9;
}"#;

/// A record in whose fields everything may be missing that can be.
#[derive(Debug, Clone)]
struct Reading {
    a: Option<f64>,
    m: Option<Inner>,
    l: Vec<f64>,
    k: Vec<Inner>,
    c: Option<&'static str>,
    n: Option<i64>,
    x: Vec<(&'static str, f64)>,
    t: i64,
}

type Inner = (Option<f64>, Option<bool>);

impl Reading {
    fn json(&self) -> Value {
        let inner = |(a, b): &Inner| {
            let fields = [("skipped", Some(json!("s"))), ("a", a.map(Value::from)), ("b", b.map(Value::from))];
            json!(
                fields
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
                    .collect::<std::collections::BTreeMap<_, _>>()
            )
        };
        let mut all = json!({"l": self.l, "k": self.k.iter().map(inner).collect::<Vec<_>>(), "e": "é1", "t": self.t});
        all["x"] = json!(self.x.iter().copied().collect::<std::collections::BTreeMap<_, _>>());
        let optional = [
            ("a", self.a.map(Value::from)),
            ("m", self.m.as_ref().map(inner)),
            ("c", self.c.map(Value::from)),
            ("n", self.n.map(Value::from)),
        ];
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .for_each(|(name, value)| all[name] = value);
        all
    }

    fn avro(&self) -> Datum {
        fn or_null(value: Option<Datum>) -> Datum {
            value.map_or(Datum::Union(0, Box::new(Datum::Null)), |value| Datum::Union(1, Box::new(value)))
        }
        let inner = |(a, b): &Inner| {
            Datum::Record(vec![
                ("skipped".into(), Datum::String("s".into())),
                ("a".into(), or_null(a.map(Datum::Double))),
                ("b".into(), or_null(b.map(Datum::Boolean))),
            ])
        };
        let symbol = |name: &str| Datum::Enum(if name == "red" { 1 } else { 2 }, name.to_owned());
        Datum::Record(vec![
            ("a".into(), or_null(self.a.map(Datum::Double))),
            ("m".into(), or_null(self.m.as_ref().map(inner))),
            ("l".into(), Datum::Array(self.l.iter().copied().map(Datum::Double).collect())),
            ("k".into(), Datum::Array(self.k.iter().map(inner).collect())),
            ("c".into(), or_null(self.c.map(symbol))),
            ("n".into(), or_null(self.n.map(Datum::Long))),
            (
                "x".into(),
                Datum::Map(self.x.iter().map(|(key, value)| ((*key).to_owned(), Datum::Double(*value))).collect()),
            ),
            ("e".into(), Datum::String("é1".into())),
            ("t".into(), Datum::Long(self.t)),
        ])
    }
}

fn readings() -> impl Strategy<Value = Reading> {
    let number = || prop_oneof![Just(0.0), Just(-1.5), any::<i32>().prop_map(f64::from), -1e300..1e300];
    let inner = || (prop::option::of(number()), prop::option::of(any::<bool>()));
    let numbers = prop::collection::vec(number(), 0..4);
    let colour = prop::option::of(prop::sample::select(vec!["red", "blue"]));
    let entries = prop::option::of(number()).prop_map(|p| p.map(|p| ("p", p)).into_iter().collect());
    let optional = (prop::option::of(number()), prop::option::of(inner()), colour, prop::option::of(any::<i64>()));
    (optional, numbers, prop::collection::vec(inner(), 0..4), entries, 0..253_402_300_799_i64)
        .prop_map(|((a, m, c, n), l, k, x, t)| Reading { a, m, l, k, c, n, x, t })
}

fn wanted() -> Vec<FeatureSetting> {
    let vocabulary = vec!["blue".to_owned()];
    let mut features: Vec<FeatureSetting> =
        ["a", "m.a", "l.0", "l.2", "k.1.a", "n", "x.p"].map(|path| feature(path, NUMERIC)).into();
    features.extend(["m.b", "k.0.b"].map(|path| feature(path, FeatureKind::Boolean)));
    features.push(feature("c", FeatureKind::Categorical { vocabulary }));
    features
}

pub(super) fn descriptor(text: &str, message: &str) -> MessageDescriptor {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("reading.proto"), text).unwrap();
    let set = protox::compile(["reading.proto"], [folder.path()]).unwrap();
    DescriptorPool::from_file_descriptor_set(set).unwrap().get_message_by_name(message).unwrap()
}

/// The message as Protobuf's own JSON has it, in bytes.
pub(super) fn message(descriptor: &MessageDescriptor, json: &str) -> Vec<u8> {
    let mut json = serde_json::Deserializer::from_str(json);
    DynamicMessage::deserialize(descriptor.clone(), &mut json).unwrap().encode_to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_record_is_the_same_in_every_format(readings in prop::collection::vec(readings(), 1..4)) {
        let avro = apache_avro::Schema::parse_str(AVRO).unwrap();
        let descriptor = descriptor(PROTOBUF, "acme.Reading");
        let definition = Definition { kind: "PROTOBUF".into(), text: PROTOBUF.into(), references: Vec::new() };
        let source = RecordFormat::Protobuf(SchemaSource::File(Arc::new(ProtobufSchema::of(&definition).unwrap())));
        let formats = [
            RecordFormat::Json,
            RecordFormat::MessagePack,
            RecordFormat::Avro(SchemaSource::File(Arc::new(AvroSchema::new(AVRO, &[]).unwrap()))),
            source,
        ];
        let mut decoders = formats.map(|format| Decoder::new(Schema::new(&wanted(), &settings(format))));
        for reading in readings {
            let text = reading.json().to_string();
            let payloads = [
                text.clone().into_bytes(),
                rmp_serde::to_vec(&reading.json()).unwrap(),
                datum(&avro, reading.avro()),
                // The second message of the file: one level, index 1.
                [&[2, 2][..], &message(&descriptor, &text)].concat(),
            ];
            let read: Vec<Read> =
                decoders.iter_mut().zip(&payloads).map(|(decoder, payload)| read(decoder, payload)).collect();
            for (index, other) in read.iter().enumerate().skip(1) {
                prop_assert_eq!(other, &read[0], "format {}: {}", index, text);
            }
            prop_assert!(read[0].result.is_ok(), "{:?}", read[0]);
        }
    }
}
