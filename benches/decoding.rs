//! What a record of each format costs to decode: the reference record of 38 numbers and its event time, all of them wanted, and
//! one where only four are, which is what skipping costs. Payloads come from other encoders; nothing else is timed.

mod support;

use std::{fs, path::Path};

use apache_avro::{Schema as AvroText, types::Value as Datum, writer::datum::GenericDatumWriter};
use prost_reflect::{DescriptorPool, DynamicMessage, prost::Message};
use serde_json::Value;
use strayd::{
    config::{
        Settings, Sources,
        settings::{FeatureSelection, RecordSettings},
    },
    record::{
        DecodedRecord, Position, RawRecord,
        decode::{Decoder, Schema},
    },
};
use support::{FIELDS, Goal, median_seconds, records, tell};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Records per round, and rounds.
const RECORDS: usize = 20_000;
const ROUNDS: usize = 9;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let values: Vec<Value> =
        records(7, RECORDS).iter().map(|text| serde_json::from_str(text).expect("the records are JSON")).collect();
    for (name, format, payloads) in formats(folder.path(), &values) {
        let bytes = payloads.iter().map(Vec::len).sum::<usize>() / payloads.len();
        for (what, wanted) in [("all of 39 fields", FIELDS), ("5 of 39 fields", 4)] {
            let nanoseconds = decode(&settings(&format, wanted), &payloads);
            tell(&format!("decoding {name} ({bytes} bytes), {what}"), nanoseconds, " ns", Goal::None);
        }
    }
}

fn settings(format: &str, wanted: usize) -> RecordSettings {
    let paths: Vec<String> = (0..wanted).map(|field| format!("metric_{field:02}")).collect();
    let set = vec![
        format!("record.format={format}"),
        format!("record.features={}", paths.join(",")),
        "record.timestamp.field=time".to_owned(),
    ];
    Settings::load(&Sources { set, ..Sources::default() }).expect("the settings are sound").settings.record
}

/// Nanoseconds per record.
fn decode(settings: &RecordSettings, payloads: &[Vec<u8>]) -> f64 {
    let FeatureSelection::Listed(features) = &settings.features else { unreachable!("they are listed") };
    let mut decoder = Decoder::new(Schema::new(features, settings));
    let mut out = DecodedRecord::default();
    let seconds = median_seconds(ROUNDS, || {
        for payload in payloads {
            let position = Position { partition: 0, offset: 0 };
            let raw =
                RawRecord { position, timestamp_ms: None, key: Some(b"e"), payload: Some(payload), headers: None };
            decoder.decode(&raw, &mut out).expect("the record is sound");
        }
    });
    seconds * 1e9 / payloads.len() as f64
}

/// Name, `record.format` and payloads of each format.
fn formats(folder: &Path, values: &[Value]) -> Vec<(&'static str, String, Vec<Vec<u8>>)> {
    let names: Vec<String> = (0..FIELDS).map(|field| format!("metric_{field:02}")).collect();
    let number = |value: &Value, name: &str| value[name].as_f64().expect("a number");
    let columns: Vec<&str> = std::iter::once("time").chain(names.iter().map(String::as_str)).collect();
    let csv = |value: &Value| columns.iter().map(|name| value[name].to_string()).collect::<Vec<_>>().join(",");
    let avro = avro(&names);
    let avro_file = write(folder, "reference.avsc", &avro);
    let avro = AvroText::parse_str(&avro).expect("the schema is sound");
    let datum = |value: &Value| {
        let time = ("time".to_owned(), Datum::Long(value["time"].as_i64().expect("a time")));
        let fields = names.iter().map(|name| (name.clone(), Datum::Double(number(value, name))));
        let record = Datum::Record(std::iter::once(time).chain(fields).collect());
        GenericDatumWriter::builder(&avro)
            .build()
            .and_then(|writer| writer.write_value_to_vec(record))
            .expect("it fits")
    };
    let protobuf_file = write(folder, "reference.proto", &protobuf(&names));
    let set = protox::compile(["reference.proto"], [folder]).expect("the schema is sound");
    let pool = DescriptorPool::from_file_descriptor_set(set).expect("the descriptors are sound");
    let descriptor = pool.get_message_by_name("bench.Reference").expect("it is there");
    let message =
        |value: &Value| DynamicMessage::deserialize(descriptor.clone(), value).expect("it fits").encode_to_vec();
    let all = |encode: &dyn Fn(&Value) -> Vec<u8>| values.iter().map(encode).collect();
    vec![
        ("JSON", "json".to_owned(), all(&|value| value.to_string().into_bytes())),
        ("MessagePack", "messagepack".to_owned(), all(&|value| rmp_serde::to_vec(value).expect("it fits"))),
        ("CSV", serde_json::json!({"csv": {"columns": columns}}).to_string(), all(&|value| csv(value).into_bytes())),
        ("Avro", serde_json::json!({"avro_schema": avro_file}).to_string(), all(&datum)),
        (
            "Protobuf",
            serde_json::json!({"protobuf_schema": {"file": protobuf_file, "message": "bench.Reference"}}).to_string(),
            all(&message),
        ),
    ]
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("the schema can be written");
    path.display().to_string()
}

fn avro(names: &[String]) -> String {
    let fields: Vec<String> = names.iter().map(|name| format!(r#"{{"name":"{name}","type":"double"}}"#)).collect();
    format!(r#"{{"type":"record","name":"Reference","fields":[{{"name":"time","type":"long"}},{}]}}"#, fields.join(","))
}

fn protobuf(names: &[String]) -> String {
    let fields: Vec<String> =
        names.iter().zip(2..).map(|(name, number)| format!("  double {name} = {number};\n")).collect();
    format!("syntax = \"proto3\";\npackage bench;\nmessage Reference {{\n  int64 time = 1;\n{}}}\n", fields.concat())
}
