//! What Protobuf has beyond JSON, and what is wrong with bytes that are none.

use std::sync::Arc;

use super::{
    super::protobuf::ProtobufSchema,
    every::{descriptor, message},
    *,
};
use crate::{
    record::{SlotState, discover::Discovery},
    schemas::{Definition, Reference, SchemaSource},
};
use SlotState::{Missing, Present, UnknownCategory};

fn schema(text: &str) -> ProtobufSchema {
    let definition = Definition { kind: "PROTOBUF".into(), text: text.into(), references: Vec::new() };
    ProtobufSchema::of(&definition).unwrap()
}

fn format(text: &str) -> RecordFormat {
    RecordFormat::Protobuf(SchemaSource::File(Arc::new(schema(text))))
}

/// A message `R` with the entity, the time and these other fields, from number 3 on.
fn with(fields: &str) -> String {
    format!(
        "syntax = \"proto3\"; import \"google/protobuf/timestamp.proto\"; import \"google/protobuf/wrappers.proto\"; \
         message R {{ string e = 1; google.protobuf.Timestamp t = 2; {fields} }}"
    )
}

/// The record of Protobuf's own JSON: an index of 0, which is the first message, and the message.
fn of_json(text: &str, json: &str) -> Vec<u8> {
    let json = json.replacen('{', r#"{"e":"x","t":"2024-05-01T12:00:00.25Z","#, 1).replace(",}", "}");
    [&[0][..], &message(&descriptor(text, "R"), &json)].concat()
}

fn read_json(text: &str, json: &str) -> Read {
    let read = read(&mut decoder(format(text)), &of_json(text, json));
    assert_eq!((read.result.clone(), read.entity.as_str()), (Ok(()), "x"), "{text}");
    assert_eq!(read.time, Some(1_714_564_800_250_000));
    read
}

#[test]
fn each_type_of_number_is_one() {
    for kind in ["double", "float", "int32", "int64", "sint32", "sint64", "sfixed32", "sfixed64", "optional double"] {
        let read = read_json(&with(&format!("{kind} a = 3;")), r#"{"a":-2}"#);
        assert_eq!((f64::from_bits(read.values[0]), read.states[0]), (-2.0, Present), "{kind}");
    }
    for kind in ["uint32", "uint64", "fixed32", "fixed64", "google.protobuf.UInt32Value", "google.protobuf.DoubleValue"]
    {
        let read = read_json(&with(&format!("{kind} a = 3;")), r#"{"a":7}"#);
        assert_eq!((f64::from_bits(read.values[0]), read.states[0]), (7.0, Present), "{kind}");
    }
}

#[test]
fn what_did_not_come_is_zero_unless_its_absence_can_be_told() {
    let first = |kind: &str| {
        let read = read_json(&with(&format!("{kind} a = 3;")), "{}");
        (read.values[0], read.states[0])
    };
    for implicit in ["double", "sint32", "fixed64", "float"] {
        assert_eq!(first(implicit), (0_f64.to_bits(), Present), "{implicit}");
    }
    for missing in ["optional double", "google.protobuf.DoubleValue", "repeated double", "R"] {
        assert_eq!(first(missing).1, Missing, "{missing}");
    }
    let read = read_json(&with("oneof one { double a = 3; double z = 4; }"), r#"{"z":1}"#);
    assert_eq!(read.states[0], Missing);
    let read = read_json(&with("google.protobuf.DoubleValue a = 3;"), r#"{"a":0}"#);
    assert_eq!((read.values[0], read.states[0]), (0_f64.to_bits(), Present));
}

#[test]
fn enums_are_known_by_name_and_unknown_ones_by_number() {
    let text = with("enum Colour { none = 0; red = 1; } Colour c = 3; bool b = 4;");
    let read = read_json(&text, r#"{"c":"red","b":true}"#);
    assert_eq!((f64::from_bits(read.values[5]), f64::from_bits(read.values[6])), (0.0, 1.0));
    // Field 3, a varint of 2: a value that this schema doesn't name.
    let later = [&of_json(&text, "{}")[..], &[0x18, 2]].concat();
    assert_eq!(super::read(&mut decoder(format(&text)), &later).states[5], UnknownCategory);
}

#[test]
fn lists_are_read_packed_or_not_and_in_pieces() {
    let text = with("repeated double l = 3;");
    let (one, two) = (1_f64.to_le_bytes(), 2_f64.to_le_bytes());
    let head = of_json(&text, "{}");
    // Alone, then another field, then two in one piece.
    let payload = [&head[..], &[0x19], &one, &[0x78, 1], &[0x1a, 16], &two, &two].concat();
    let features = [feature("l.0", NUMERIC), feature("l.2", NUMERIC), feature("l.3", NUMERIC)];
    let mut decoder = Decoder::new(Schema::new(&features, &settings(format(&text))));
    let read = super::read(&mut decoder, &payload);
    assert_eq!((read.result, &read.values[..2]), (Ok(()), &[1_f64.to_bits(), 2_f64.to_bits()][..]));
    assert_eq!(read.states[2], Missing);
}

#[test]
fn maps_are_read_by_their_keys_whatever_these_are() {
    let text = with("map<string, double> m = 3; map<int32, R> l = 4; map<bool, double> g = 5;");
    let features = [feature("m.a", NUMERIC), feature("l.-7.m.a", NUMERIC), feature("g.true", NUMERIC)];
    let mut decoder = Decoder::new(Schema::new(&features, &settings(format(&text))));
    let json = r#"{"m":{"a":1,"b":9},"l":{"-7":{"m":{"a":2}}},"g":{"true":3}}"#;
    let read = super::read(&mut decoder, &of_json(&text, json));
    assert_eq!((read.result, read.values), (Ok(()), [1.0, 2.0, 3.0_f64].map(f64::to_bits).to_vec()));
}

#[test]
fn a_message_is_named_by_its_index_within_others() {
    let text = "syntax = \"proto3\"; message A {} message B { map<string, string> z = 9; message C { message D { double a = 1; } } message E { double a = 1; } }";
    let plain = RecordSettings { entity: EntityFrom::Nothing, timestamp: None, ..settings(format(text)) };
    let mut decoder = Decoder::new(Schema::new(&[feature("a", NUMERIC)], &plain));
    let one = [&[9][..], &1_f64.to_le_bytes()].concat();
    for path in [&[6, 2, 0, 0][..], &[4, 2, 2]] {
        let read = super::read(&mut decoder, &[path, &one].concat());
        assert_eq!((read.result, read.values[0]), (Ok(()), 1_f64.to_bits()), "{path:?}");
    }
    let told = super::read(&mut decoder, &[&[4, 2, 4][..], &one].concat()).result.unwrap_err().to_string();
    assert_eq!(told, "not valid Protobuf at byte 3: message 2 of 2");
}

#[test]
fn schemas_are_read_from_files_with_their_imports() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("inner.proto"), "syntax = \"proto3\"; package acme; message Inner { double a = 1; }").unwrap();
    let text = "syntax = \"proto3\"; package acme; import \"inner.proto\"; message R { string e = 1; int64 t = 2; Inner m = 3; }";
    std::fs::write(at("reading.proto"), text).unwrap();
    let set = protox::compile(["reading.proto"], [folder.path()]).unwrap();
    std::fs::write(at("reading.bin"), prost::Message::encode_to_vec(&set)).unwrap();
    let payload = [&[0x0a, 1, b'x', 0x10, 1, 0x1a, 9, 9][..], &1_f64.to_le_bytes()].concat();
    for file in ["reading.proto", "reading.bin"] {
        let schema = ProtobufSchema::read(&at(file), "acme.R").unwrap();
        let format = RecordFormat::Protobuf(SchemaSource::File(Arc::new(schema)));
        let read = super::read(&mut decoder(format), &payload);
        assert_eq!((read.result, read.values[1], read.time), (Ok(()), 1_f64.to_bits(), Some(1_000_000)), "{file}");
        let told = ProtobufSchema::read(&at(file), "acme.S").unwrap_err();
        assert!(told.contains("no message `acme.S`") && told.contains("acme.R"), "{told}");
    }
    assert!(ProtobufSchema::read(&at("none.proto"), "R").unwrap_err().contains("none.proto"));
    let definition = Definition {
        kind: "PROTOBUF".into(),
        text: text.into(),
        references: vec![Reference {
            name: "inner.proto".into(),
            text: std::fs::read_to_string(at("inner.proto")).unwrap(),
        }],
    };
    assert!(ProtobufSchema::of(&definition).is_ok());
    let told = ProtobufSchema::of(&Definition { references: Vec::new(), ..definition.clone() }).unwrap_err();
    assert!(told.contains("inner.proto"), "{told}");
    assert!(
        ProtobufSchema::of(&Definition { kind: "AVRO".into(), ..definition })
            .unwrap_err()
            .contains("expected PROTOBUF")
    );
}

#[test]
fn bytes_that_are_no_message_are_told_where_they_go_wrong() {
    let text = with("double a = 3; R m = 4;");
    for (bytes, told) in [
        (&b"\0\x0a\x05x"[..], "at byte 3: the record is cut off: of 5 bytes 1 are there"),
        (b"\0\x19\0", "at byte 2: the record is cut off: of 8 bytes 1 are there"),
        (b"\0\x0f", "wire type 7 is none"),
        (b"\0\x00", "field number 0 is none"),
        (b"\0\x0c", "a group ends that did not begin"),
        (b"\0\x0a\x02\xffx", "at byte 3: byte 0xff is not UTF-8"),
        (b"\x02\x02", "message 1 of 1"),
        (b"", "cut off"),
    ] {
        let error = undecodable(format(&text), bytes);
        assert!(error.starts_with("not valid Protobuf") && error.contains(told), "{error}");
    }
}

#[test]
fn nesting_without_end_neither_overflows_nor_is_taken() {
    let text = "syntax = \"proto3\"; message R { R x = 1; }";
    let mut deep = Vec::new();
    for _ in 0..200 {
        let mut length = Vec::new();
        prost::encoding::encode_varint(deep.len() as u64, &mut length);
        deep = [&[0x0a][..], &length, &deep].concat();
    }
    let error = Discovery::of_numbers(&format(text)).observe(&[&[0][..], &deep].concat()).unwrap_err().to_string();
    assert!(error.contains("more than 64 levels"), "{error}");
    let groups = [&[0][..], &[0x13; 50_000]].concat();
    assert!(undecodable(format(text), &groups).contains("cut off"));
}

#[test]
fn numeric_fields_are_found_and_times_are_none() {
    let text = with("double a = 3; repeated float l = 4; map<string, int32> m = 5; string s = 6;");
    let mut discovery = Discovery::of_numbers(&format(&text));
    discovery.observe(&of_json(&text, r#"{"l":[1,2],"m":{"k":1},"s":"7"}"#)).unwrap();
    let names: Vec<_> = discovery.numeric_features(&[]).unwrap().into_iter().map(|feature| feature.name).collect();
    assert_eq!(names, ["l.0", "l.1", "m.k", "a"], "the last one did not come, and is zero");
}

proptest! {
    #[test]
    fn no_payload_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>()) {
        let text = with("double a = 3; R m = 4; repeated sint32 l = 5; map<string, R> x = 6;");
        let format = format(&text);
        let mut torn = of_json(&text, r#"{"a":1,"m":{"a":2},"l":[1,2],"x":{"k":{"a":1}}}"#);
        let at = at.index(torn.len());
        torn.splice(at..at, bytes.iter().copied());
        for payload in [&bytes[..], &torn, &torn[..at]] {
            read(&mut decoder(format.clone()), payload);
            let _ = Discovery::of_numbers(&format).observe(payload);
        }
    }
}
