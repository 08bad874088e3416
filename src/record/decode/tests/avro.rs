//! What Avro has beyond JSON, schemas that change, and what is wrong with bytes that are none.

use std::sync::Arc;

use apache_avro::{Schema as AvroText, types::Value as Datum};

use super::{super::avro::AvroSchema, *};
use crate::{
    record::{SlotState, discover::Discovery},
    schemas::SchemaSource,
};
use SlotState::{Missing, Present, Unusable};

fn format(text: &str) -> RecordFormat {
    RecordFormat::Avro(SchemaSource::File(Arc::new(AvroSchema::new(text, &[]).unwrap())))
}

/// A record of the entity, the time, and `a` of this type.
fn with_a(kind: &str) -> String {
    format!(
        r#"{{"type":"record","name":"R","fields":[{{"name":"e","type":"string"}},
        {{"name":"t","type":{{"type":"long","logicalType":"timestamp-micros"}}}},{{"name":"a","type":{kind}}}]}}"#
    )
}

/// The entity `x`, the time 1 us, and these bytes.
fn behind(bytes: &[u8]) -> Vec<u8> {
    [b"\x02x\x02", bytes].concat()
}

fn a_of(kind: &str, bytes: &[u8]) -> (f64, SlotState) {
    let read = read(&mut decoder(format(&with_a(kind))), &behind(bytes));
    assert_eq!((read.result, read.time), (Ok(()), Some(1)), "{kind}");
    (f64::from_bits(read.values[0]), read.states[0])
}

#[test]
fn each_type_is_a_number_or_of_no_use() {
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}"#;
    let fixed = r#"{"type":"fixed","name":"F","size":3,"logicalType":"decimal","precision":6,"scale":1}"#;
    for (kind, bytes, value) in [
        (r#""int""#, &b"\x03"[..], -2.0),
        (r#""long""#, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", i64::MIN as f64),
        (r#""float""#, b"\0\0\xc0\x3f", 1.5),
        (r#""double""#, b"\0\0\0\0\0\0\xf8\x3f", 1.5),
        (decimal, b"\x04\x04\xd2", 12.34),
        (decimal, b"\x02\xff", -0.01),
        (decimal, b"\x00", 0.0),
        (fixed, b"\xff\xff\xf6", -1.0),
        (r#"{"type":"int","logicalType":"time-millis"}"#, b"\x04", 2.0),
        (r#"["null","string","double"]"#, b"\x04\0\0\0\0\0\0\xf8\x3f", 1.5),
    ] {
        assert_eq!(a_of(kind, bytes), (value, Present), "{kind}");
    }
    for (kind, bytes, state) in [
        (r#""null""#, &b""[..], Missing),
        (r#"["null","double"]"#, b"\0", Missing),
        (r#""string""#, b"\x021", Unusable),
        (r#""bytes""#, b"\x021", Unusable),
        (r#""boolean""#, b"\x01", Unusable),
        (r#"{"type":"fixed","name":"F","size":2}"#, b"\0\0", Unusable),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, b"\0", Unusable),
        (r#"{"type":"long","logicalType":"timestamp-millis"}"#, b"\x02", Unusable),
        (r#""double""#, b"\0\0\0\0\0\0\xf8\x7f", Unusable),
        (r#"{"type":"array","items":"double"}"#, b"\0", Unusable),
    ] {
        assert_eq!(a_of(kind, bytes).1, state, "{kind}");
    }
}

#[test]
fn decimals_of_any_length_are_the_nearest_double() {
    let of = |unscaled: i128, scale: usize| {
        let kind = format!(r#"{{"type":"bytes","logicalType":"decimal","precision":38,"scale":{scale}}}"#);
        a_of(&kind, &[&[32][..], &unscaled.to_be_bytes()].concat()).0
    };
    assert_eq!(of(123_456_789_012_345_678_901_234_567_890, 10), 12_345_678_901_234_567_890.123_456_789);
    assert_eq!(of(-1, 30), -1e-30);
    let kind = r#"{"type":"bytes","logicalType":"decimal","precision":60,"scale":0}"#;
    let long = a_of(kind, &[&[34][..], &[1], &[0; 16]].concat()).0;
    assert_eq!(long, 2_f64.powi(128));
}

#[test]
fn logical_types_tell_the_unit_of_the_event_time() {
    let of = |kind: &str, number: u8| {
        let text = format!(
            r#"{{"type":"record","name":"R","fields":[{{"name":"e","type":"string"}},{{"name":"t","type":{kind}}}]}}"#
        );
        read(&mut decoder(format(&text)), &[b"\x02x", &[number][..]].concat()).time
    };
    for (logical, us) in [
        ("timestamp-millis", 5_000),
        ("timestamp-micros", 5),
        ("local-timestamp-millis", 5_000),
        ("local-timestamp-micros", 5),
    ] {
        assert_eq!(of(&format!(r#"{{"type":"long","logicalType":"{logical}"}}"#), 10), Some(us), "{logical}");
    }
    assert_eq!(of(r#"{"type":"int","logicalType":"date"}"#, 10), Some(5 * 86_400_000_000));
    assert_eq!(of(r#"["null",{"type":"long","logicalType":"timestamp-millis"}]"#, 0), None);
    assert_eq!(of(r#""long""#, 10), Some(5_000_000), "without one, its size does");
}

#[test]
fn a_type_may_stand_in_itself_and_in_other_schemas() {
    let list = r#"{"type":"record","name":"acme.R","fields":[{"name":"e","type":"string"},{"name":"t","type":"long"},
        {"name":"m","type":["null","R"]},{"name":"a","type":"other.Number"}]}"#;
    let number = r#"{"type":"record","name":"other.Number","fields":[{"name":"v","type":"double"}]}"#;
    let schema = AvroSchema::new(list, &[number]).unwrap();
    let features = [feature("m.m.a.v", NUMERIC), feature("a.v", NUMERIC)];
    let settings = settings(RecordFormat::Avro(SchemaSource::File(Arc::new(schema))));
    let one = 1_f64.to_le_bytes();
    let leaf = [&b"\x02z\x02\0"[..], &2_f64.to_le_bytes()].concat();
    let middle = [&b"\x02y\x02\x02"[..], &leaf, &one].concat();
    let top = [&b"\x02x\x02\x02"[..], &middle, &one].concat();
    let read = read(&mut Decoder::new(Schema::new(&features, &settings)), &top);
    assert_eq!((read.result, read.entity.as_str()), (Ok(()), "x"));
    assert_eq!(read.values, [2_f64.to_bits(), 1_f64.to_bits()]);
}

#[test]
fn blocks_with_and_without_their_size_are_read_and_passed_over() {
    let text = |name: &str| {
        format!(
            r#"{{"type":"record","name":"R","fields":[{{"name":"e","type":"string"}},{{"name":"t","type":"long"}},
            {{"name":"{name}","type":{{"type":"array","items":"double"}}}},
            {{"name":"x","type":{{"type":"map","values":"string"}}}},{{"name":"a","type":"double"}}]}}"#
        )
    };
    let one = 1_f64.to_le_bytes();
    // Two items, one more with the block's 8 bytes told, the end; then a map of one entry.
    let datum = [&b"\x02x\x02\x04"[..], &one, &one, b"\x01\x10", &one, b"\0\x02\x02k\x02v\0", &one].concat();
    for name in ["l", "skipped"] {
        let read = read(&mut decoder(format(&text(name))), &datum);
        assert_eq!((read.result, f64::from_bits(read.values[0])), (Ok(()), 1.0), "{name}");
        assert_eq!(read.states[3], if name == "l" { Present } else { Missing });
    }
}

#[test]
fn a_single_object_is_read_without_its_head() {
    let text = with_a(r#""double""#);
    let schema = AvroText::parse_str(&text).unwrap();
    let fingerprint = schema.fingerprint::<apache_avro::rabin::Rabin>().bytes;
    let datum = behind(&1_f64.to_le_bytes());
    let object = [&[0xc3, 0x01][..], &fingerprint, &datum].concat();
    let mut decoder = decoder(format(&text));
    assert_eq!(read(&mut decoder, &object), read(&mut decoder, &datum));
    let other = [&[0xc3, 0x01][..], &[0; 8], &datum].concat();
    assert!(read(&mut decoder, &other).result.is_err(), "of another schema");
}

#[test]
fn a_schema_that_is_no_record_is_told() {
    let told = |text: &str| AvroSchema::new(text, &[]).unwrap_err();
    assert!(told(r#""double""#).contains("its top is no record"));
    assert!(told("{").contains("EOF") || told("{").contains("JSON"), "{}", told("{"));
    assert!(!told(&with_a(r#""nothing""#)).is_empty());
}

#[test]
fn bytes_that_are_no_datum_are_told_where_they_go_wrong() {
    let double = with_a(r#""double""#);
    for (kind, bytes, told) in [
        (double.clone(), behind(b"\0\0"), "at byte 3: the record is cut off: of 8 bytes 2 are there"),
        (double.clone(), behind(&[0; 9]), "at byte 11: the record ends here, but 1 more bytes follow"),
        (double.clone(), b"\x01x".to_vec(), "a length of -1"),
        (double, b"\x04\xffx".to_vec(), "at byte 1: byte 0xff is not UTF-8"),
        (with_a(r#"["null","int"]"#), behind(b"\x04"), "choice 2 of 2"),
        (with_a(r#"{"type":"enum","name":"E","symbols":["A"]}"#), behind(b"\x02"), "choice 1 of 1"),
        (with_a(r#""boolean""#), behind(b"\x02"), "byte 0x02 is no boolean"),
        (with_a(r#"{"type":"array","items":"null"}"#), behind(b"\xfe\xff\xff\xff\x0f\0"), "items in 1 bytes"),
    ] {
        let error = undecodable(format(&kind), &bytes);
        assert!(error.starts_with("not valid Avro") && error.contains(told), "{error}");
    }
}

#[test]
fn nesting_without_end_neither_overflows_nor_is_taken() {
    let text = r#"{"type":"record","name":"R","fields":[{"name":"x","type":["null","R"]}]}"#;
    let deep = vec![2; 50_000];
    assert!(undecodable(format(text), &deep).contains("more than 64 levels"));
    let error = Discovery::of_numbers(&format(text)).observe(&deep).unwrap_err().to_string();
    assert!(error.contains("more than 64 levels"), "{error}");
}

#[test]
fn numeric_fields_are_found_and_times_are_none() {
    let text = r#"{"type":"record","name":"R","fields":[{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"v","type":{"type":"map","values":"double"}},{"name":"n","type":"int"},{"name":"s","type":"string"}]}"#;
    let schema = AvroText::parse_str(text).unwrap();
    let values = std::collections::HashMap::from([("k".to_owned(), Datum::Double(1.0))]);
    let record = Datum::Record(vec![
        ("at".into(), Datum::TimestampMillis(1)),
        ("v".into(), Datum::Map(values)),
        ("n".into(), Datum::Int(3)),
        ("s".into(), Datum::String("7".into())),
    ]);
    let mut discovery = Discovery::of_numbers(&format(text));
    discovery.observe(&datum(&schema, record)).unwrap();
    let names: Vec<_> = discovery.numeric_features(&[]).unwrap().into_iter().map(|feature| feature.name).collect();
    assert_eq!(names, ["v.k", "n"]);
}

proptest! {
    #[test]
    fn no_payload_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let inner = r#"["null","double",{"type":"array","items":["null",{"type":"map","values":"bytes"}]},
            {"type":"fixed","name":"F","size":3,"logicalType":"decimal","precision":6,"scale":1}]"#;
        let format = format(&with_a(inner));
        read(&mut decoder(format.clone()), &bytes);
        read(&mut decoder(format.clone()), &behind(&bytes));
        let _ = Discovery::of_numbers(&format).observe(&behind(&bytes));
    }
}
