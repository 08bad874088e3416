//! Records of the stream in each format, by encoders that are not strayd's.

use std::time::Duration;

use apache_avro::{Schema, types::Value as Datum, writer::datum::GenericDatumWriter};
use prost_reflect::{DynamicMessage, MessageDescriptor, prost::Message as _};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::{Value, json};

use super::{Record, Stage};

/// A reading in Avro.
pub const AVRO: &str = r#"{"type": "record", "name": "Reading", "namespace": "acme", "fields": [
    {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "load", "type": "double"},
    {"name": "temperature", "type": "double"},
    {"name": "pressure", "type": "float"},
    {"name": "flow", "type": ["null", "double"], "default": null},
    {"name": "note", "type": "string"}]}"#;

/// The same later: a field was added, `flow` was removed, `pressure` has more digits, and all stand in another order.
pub const AVRO_LATER: &str = r#"{"type": "record", "name": "Reading", "namespace": "acme", "fields": [
    {"name": "pressure", "type": "double"},
    {"name": "humidity", "type": ["null", "double"], "default": null},
    {"name": "note", "type": "string"},
    {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "temperature", "type": "double"},
    {"name": "load", "type": "double"}]}"#;

/// A reading in Protobuf, in the second message of its file; its values are in one of another file.
pub const PROTOBUF: &str = r#"syntax = "proto3";
package acme;
import "values.proto";
import "google/protobuf/timestamp.proto";
message Header { string id = 1; }
message Reading {
    google.protobuf.Timestamp time = 1;
    Values values = 2;
    string note = 3;
}"#;

/// The file that [`PROTOBUF`] imports.
pub const PROTOBUF_VALUES: &str = r#"syntax = "proto3";
package acme;
message Values { double load = 1; double temperature = 2; double pressure = 3; optional double flow = 4; }"#;

/// [`PROTOBUF_VALUES`] later: a field was added and one was removed.
pub const PROTOBUF_VALUES_LATER: &str = r#"syntax = "proto3";
package acme;
message Values { double load = 1; double temperature = 2; double pressure = 3; reserved 4; optional double humidity = 5; }"#;

/// What stands before a record whose schema has this id.
pub fn head(id: u32) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes()].concat()
}

/// How a record is written.
pub enum Encoding {
    /// A map.
    MessagePack,
    /// A line, separated by semicolons.
    Csv,
    /// A datum of this schema, behind these bytes.
    Avro(Box<Schema>, Vec<u8>),
    /// A message, behind these bytes.
    Protobuf(MessageDescriptor, Vec<u8>),
}

/// A message: key and value.
pub type Message = (String, Option<Vec<u8>>);

impl Encoding {
    /// Datums of this schema behind these bytes.
    pub fn avro(schema: &str, head: Vec<u8>) -> Self {
        Self::Avro(Box::new(Schema::parse_str(schema).expect("the schema is sound")), head)
    }

    /// Messages `acme.Reading` with these values, behind these bytes.
    pub fn protobuf(values: &str, head: Vec<u8>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for (name, text) in [("reading.proto", PROTOBUF), ("values.proto", values)] {
            std::fs::write(folder.path().join(name), text).expect("the schema can be written");
        }
        let set = protox::compile(["reading.proto"], [folder.path()]).expect("the schema is sound");
        let pool = prost_reflect::DescriptorPool::from_file_descriptor_set(set).expect("the descriptors are sound");
        Self::Protobuf(pool.get_message_by_name("acme.Reading").expect("it is there"), head)
    }

    /// The records as messages.
    pub fn all(&self, records: &[Record]) -> Vec<Message> {
        records.iter().map(|record| (record.key.clone(), Some(self.encode(&record.payload)))).collect()
    }

    fn encode(&self, json: &str) -> Vec<u8> {
        let value: Value = serde_json::from_str(json).expect("the stream is JSON");
        match self {
            Self::MessagePack => rmp_serde::to_vec(&value).expect("JSON is MessagePack too"),
            Self::Csv => {
                let cells = ["time", "load", "temperature", "pressure", "flow", "note"].map(|name| &value[name]);
                let cells = cells.map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned));
                cells.join(";").into_bytes()
            }
            Self::Avro(schema, head) => {
                let writer = GenericDatumWriter::builder(schema).build().expect("the schema is sound");
                let datum = writer.write_value_to_vec(datum(schema, &value)).expect("it fits its schema");
                [&head[..], &datum].concat()
            }
            Self::Protobuf(descriptor, head) => {
                let time = strayd::record::timestamp::to_rfc3339(seconds(&value) * 1_000_000);
                let mut values = json!({});
                for name in ["load", "temperature", "pressure", "flow"] {
                    let there = descriptor
                        .get_field_by_name("values")
                        .and_then(|field| field.kind().as_message().and_then(|values| values.get_field_by_name(name)));
                    if there.is_some() {
                        values[name] = value[name].clone();
                    }
                }
                let json = json!({"time": time, "values": values, "note": value["note"]});
                let message = DynamicMessage::deserialize(descriptor.clone(), &json).expect("it fits its schema");
                [&head[..], &message.encode_to_vec()].concat()
            }
        }
    }
}

fn seconds(value: &Value) -> i64 {
    value["time"].as_i64().expect("a time")
}

/// The record by this schema.
fn datum(schema: &Schema, value: &Value) -> Datum {
    let Schema::Record(record) = schema else { panic!("{schema:?} is no record") };
    let number = |name: &str| value[name].as_f64().expect("a number");
    let fields = record.fields.iter().map(|field| {
        let name = field.name.as_str();
        let datum = match (name, &field.schema) {
            ("time", _) => Datum::TimestampMillis(seconds(value) * 1_000),
            ("note", _) => Datum::String(value["note"].as_str().expect("a text").to_owned()),
            ("humidity", _) => Datum::Union(1, Box::new(Datum::Double(40.0))),
            (_, Schema::Union(_)) => Datum::Union(1, Box::new(Datum::Double(number(name)))),
            (_, Schema::Float) => Datum::Float(number(name) as f32),
            _ => Datum::Double(number(name)),
        };
        (name.to_owned(), datum)
    });
    Datum::Record(fields.collect())
}

/// Feeds the messages in one compression, and waits until the broker has them.
pub fn feed_compressed(stage: &Stage, messages: &[Message], codec: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &stage.servers).set("linger.ms", "20").set("compression.codec", codec);
    let producer: BaseProducer = config.create().expect("a producer can be made");
    let topic = stage.input();
    for (key, payload) in messages {
        // Of no account for a record; a dead letter keeps it.
        let headers = OwnedHeaders::new().insert(Header { key: "trace", value: Some("00-1") });
        let mut record = BaseRecord::<str, [u8]>::to(&topic).key(key.as_str()).headers(headers);
        record.payload = payload.as_deref();
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::QueueFull), "{error}");
            record = back;
            producer.poll(Duration::from_millis(10));
        }
    }
    producer.flush(Duration::from_secs(60)).expect("the broker takes the messages");
}

/// Feeds the messages, and waits until the broker has them.
pub fn feed(stage: &Stage, messages: &[Message]) {
    feed_compressed(stage, messages, "none");
}
