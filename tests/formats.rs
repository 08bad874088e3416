//! The daemon on records of each format: from Apache Kafka, written by other encoders, with schemas of a real registry.

#[path = "formats/encode.rs"]
mod encode;
mod support;

use apache_avro::{Schema, reader::datum::GenericDatumReader};
use encode::{AVRO, AVRO_LATER, Encoding, PROTOBUF, PROTOBUF_VALUES, PROTOBUF_VALUES_LATER, head};
use strayd::kafka::embedded::ReadBack;
use support::{
    broker::{Broker, Kind},
    daemon::{Daemon, Stage},
    incidents::{COLD_START, PLANTED, incidents_found},
    records::{Record, stream},
    registry::Registry,
};

/// Features of the Protobuf records, whose values stand in a message of their own. The one that incidents are planted in keeps
/// the name that events tell.
const VALUES: &str = r#"record.features=[{"path":"values.load","name":"load"},{"path":"values.temperature","name":"temperature"},{"path":"values.pressure","name":"pressure"},{"path":"values.flow","name":"flow"}]"#;

/// Records before the schema changes; the cold start lies before it.
const SCHEMA_CHANGES_AT: usize = 2_200;

/// A daemon is fed a stream in this format, and has to find what is planted in it.
fn finds_the_incidents(name: &str, encodings: [&Encoding; 2], settings: &[String]) -> Option<Daemon> {
    let broker = Broker::shared(Kind::Apache)?;
    let stage = Stage::new(&broker, name, COLD_START);
    let records = stream(31, 4_000, 4, &PLANTED);
    let (before, after) = records.split_at(SCHEMA_CHANGES_AT);
    encode::feed(&stage, &encodings[0].all(before));
    let mut daemon = start(&stage, settings);
    daemon.wait_ready();
    stage.wait_committed(&mut daemon, before.len());
    encode::feed(&stage, &encodings[1].all(after));
    stage.wait_committed(&mut daemon, records.len());
    assert_eq!(incidents_found(&stage.events(PLANTED.len()), &records), PLANTED.len(), "{}", daemon.log());
    assert_eq!(daemon.sum("strayd_dead_letters_total"), 0.0, "{}", daemon.log());
    Some(daemon)
}

fn start(stage: &Stage, settings: &[String]) -> Daemon {
    let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting.as_str()]).collect();
    Daemon::start(&stage.config(), &arguments)
}

fn set(key: &str, value: &str) -> String {
    format!("{key}={value}")
}

fn with_registry(format: &str, registry: &Registry) -> Vec<String> {
    vec![set("record.format", format), set("record.schema_registry.url", &registry.url())]
}

#[test]
fn messagepack_is_watched() {
    let encoding = Encoding::MessagePack;
    finds_the_incidents("messagepack", [&encoding; 2], &[set("record.format", "messagepack")]);
}

#[test]
fn lines_of_csv_are_watched() {
    let columns = r#"{"csv":{"columns":["time","load","temperature","pressure","flow","note"],"separator":";"}}"#;
    finds_the_incidents("csv", [&Encoding::Csv; 2], &[set("record.format", columns)]);
}

#[test]
fn avro_is_watched_while_its_schema_changes_in_the_registry() {
    let Some(registry) = Registry::shared() else { return };
    let ids = [AVRO, AVRO_LATER].map(|schema| registry.register("avro-value", "AVRO", schema, &[]));
    let [before, after] = [AVRO, AVRO_LATER];
    let encodings = [Encoding::avro(before, head(ids[0])), Encoding::avro(after, head(ids[1]))];
    let settings = with_registry("avro", registry);
    let Some(daemon) = finds_the_incidents("avro", [&encodings[0], &encodings[1]], &settings) else { return };
    // The removed field is missing in each record since, and nothing else is.
    assert_eq!(daemon.sum("strayd_imputed_values_total"), (4_000 - SCHEMA_CHANGES_AT) as f64);
}

#[test]
fn avro_is_watched_by_a_schema_from_a_file() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("reading.avsc");
    std::fs::write(&file, AVRO).expect("the schema can be written");
    let encoding = Encoding::avro(AVRO, Vec::new());
    let format = serde_json::json!({"avro_schema": file}).to_string();
    finds_the_incidents("avro-file", [&encoding; 2], &[set("record.format", &format)]);
}

#[test]
fn protobuf_is_watched_while_its_schema_changes_in_the_registry() {
    let Some(registry) = Registry::shared() else { return };
    let encodings = [("values-1", PROTOBUF_VALUES), ("values-2", PROTOBUF_VALUES_LATER)].map(|(subject, values)| {
        registry.register(subject, "PROTOBUF", values, &[]);
        let id = registry.register(&format!("{subject}-reading"), "PROTOBUF", PROTOBUF, &[("values.proto", subject)]);
        // One level, index 1: the second message of the file.
        Encoding::protobuf(values, [head(id), vec![2, 2]].concat())
    });
    let mut settings = with_registry("protobuf", registry);
    settings.push(VALUES.to_owned());
    let Some(daemon) = finds_the_incidents("protobuf", [&encodings[0], &encodings[1]], &settings) else { return };
    assert_eq!(daemon.sum("strayd_imputed_values_total"), (4_000 - SCHEMA_CHANGES_AT) as f64);
}

#[test]
fn protobuf_is_watched_by_a_schema_from_files() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for (name, text) in [("reading.proto", PROTOBUF), ("values.proto", PROTOBUF_VALUES)] {
        std::fs::write(folder.path().join(name), text).expect("the schema can be written");
    }
    let encoding = Encoding::protobuf(PROTOBUF_VALUES, Vec::new());
    let file = folder.path().join("reading.proto");
    let format = serde_json::json!({"protobuf_schema": {"file": file, "message": "acme.Reading"}}).to_string();
    let settings = [set("record.format", &format), VALUES.to_owned()];
    finds_the_incidents("protobuf-file", [&encoding; 2], &settings);
}

/// What any client with a registry does: asks for the schema by the id before the datum, and reads the datum by it. Gives the
/// schema too.
fn read_by_registry(registry: &Registry, message: &ReadBack) -> (Schema, serde_json::Value) {
    let payload = message.payload.as_deref().expect("an event has a value");
    let (head, mut datum) = payload.split_at(5);
    assert_eq!((head[0], message.headers["content-type"].as_str()), (0, "avro/binary"));
    let id = u32::from_be_bytes(head[1..].try_into().expect("four bytes"));
    let schema = Schema::parse_str(&registry.schema(id)).expect("the registry gives a sound schema");
    let reader = GenericDatumReader::builder(&schema).build().expect("the schema is sound");
    let event = reader.read_value(&mut datum).expect("the datum is of its schema");
    let event = serde_json::Value::try_from(event).expect("an event is JSON too");
    (schema, event)
}

fn documented(file: &str) -> Schema {
    let text = std::fs::read_to_string(support::tools::root().join("docs").join(file)).expect("it is documented");
    Schema::parse_str(&text).expect("a documented schema is sound")
}

#[test]
fn anomalies_and_incidents_are_written_in_avro_by_schemas_that_the_registry_gives() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let Some(registry) = Registry::shared() else { return };
    let stage = Stage::new(&broker, "avro-out", COLD_START);
    let records = stream(37, 4_000, 4, &PLANTED);
    stage.feed(&records);
    let settings = [set("kafka.output_format", "avro"), set("record.schema_registry.url", &registry.url())];
    let mut daemon = start(&stage, &settings);
    stage.wait_committed(&mut daemon, records.len());
    let read = |topic: &str, file: &str| -> Vec<serde_json::Value> {
        let messages = stage.read(topic, PLANTED.len());
        let read = messages.iter().map(|message| read_by_registry(registry, message));
        read.map(|(schema, event)| {
            assert_eq!(schema, documented(file));
            event
        })
        .collect()
    };
    let anomalies = read(&stage.anomalies(), "anomaly-event.avsc");
    assert_eq!(incidents_found(&anomalies, &records), PLANTED.len(), "{anomalies:?}");
    let incidents = read(&stage.incidents(), "incident-event.avsc");
    assert!(incidents.iter().any(|event| event["state"] == "opened" && event["kind"] == "anomaly"), "{incidents:?}");
    // A start anew finds what is registered.
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    start(&stage, &settings).wait_ready();
}

/// With outputs and offsets in one transaction, an output that is not sent would be lost with its offset.
#[test]
fn nothing_is_read_before_the_registry_has_the_schemas_of_what_is_written_and_nothing_lost() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let Some(registry) = Registry::start() else { return };
    let stage = Stage::new(&broker, "avro-later", COLD_START);
    let records = stream(38, 4_000, 4, &PLANTED);
    stage.feed(&records);
    registry.freeze(true);
    let mut daemon = start(
        &stage,
        &[
            set("kafka.output_format", "avro"),
            set("kafka.delivery", "exactly_once"),
            set("record.schema_registry.url", &registry.url()),
            set("record.schema_registry.timeout", "500ms"),
        ],
    );
    daemon.wait_for("/readyz names the registry", |daemon| {
        let (code, why) = daemon.get("/readyz")?;
        (code == 503 && why.contains("schema registry: http://") && why.contains("didn't answer")).then_some(())
    });
    assert!(!daemon.log().contains("partitions assigned"), "{}", daemon.log());
    registry.freeze(false);
    daemon.wait_ready();
    stage.wait_committed(&mut daemon, records.len());
    let anomalies: Vec<serde_json::Value> = stage
        .read(&stage.anomalies(), PLANTED.len())
        .iter()
        .map(|message| read_by_registry(&registry, message).1)
        .collect();
    assert_eq!(incidents_found(&anomalies, &records), PLANTED.len());
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

#[test]
fn no_record_is_lost_while_the_registry_is_away() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let Some(registry) = Registry::start() else { return };
    let stage = Stage::new(&broker, "registry-away", COLD_START);
    let records = stream(32, 3_000, 4, &[]);
    let first = Encoding::avro(AVRO, head(registry.register("away-value", "AVRO", AVRO, &[])));
    let later = Encoding::avro(AVRO_LATER, head(registry.register("away-value", "AVRO", AVRO_LATER, &[])));
    encode::feed(&stage, &first.all(&records[..COLD_START]));
    let mut settings = with_registry("avro", &registry);
    settings.push(set("record.schema_registry.timeout", "500ms"));
    let mut daemon = start(&stage, &settings);
    daemon.wait_ready();
    stage.wait_committed(&mut daemon, COLD_START);
    registry.freeze(true);
    // What was fetched is known; what is new has to wait, and what comes after it too.
    encode::feed(&stage, &first.all(&records[COLD_START..2_100]));
    stage.wait_committed(&mut daemon, 2_100);
    encode::feed(&stage, &later.all(&records[2_100..2_500]));
    encode::feed(&stage, &first.all(&records[2_500..]));
    daemon.wait_for("/readyz names the registry", |daemon| {
        let (code, why) = daemon.get("/readyz")?;
        (code == 503 && why.contains("schema registry: http://") && why.contains("didn't answer")).then_some(())
    });
    assert!(daemon.sum("strayd_records_held") > 0.0);
    assert_eq!(stage.committed(), 2_100, "none of them has ended");
    registry.freeze(false);
    daemon.wait_ready();
    stage.wait_committed(&mut daemon, records.len());
    assert_eq!(daemon.sum("strayd_records_held"), 0.0);
    assert_eq!(daemon.sum("strayd_dead_letters_total"), 0.0, "{}", daemon.log());
    assert_eq!(daemon.sum("strayd_records_total"), records.len() as f64, "each has ended once");
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_stop_while_the_registry_is_away_moves_no_offset_of_what_waits() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let stage = Stage::new(&broker, "registry-gone", COLD_START);
    let records = stream(33, COLD_START, 4, &[]);
    encode::feed(&stage, &Encoding::avro(AVRO, head(1)).all(&records));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let settings = [set("record.format", "avro"), set("record.schema_registry.url", &format!("http://{nobody}"))];
    let mut daemon = start(&stage, &settings);
    daemon.wait_for("/readyz names the registry", |daemon| {
        let (code, why) = daemon.get("/readyz")?;
        (code == 503 && why.contains(&format!("schema registry: http://{nobody}"))).then_some(())
    });
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    assert_eq!((stage.committed(), daemon_letters(&stage)), (0, 0));
}

fn daemon_letters(stage: &Stage) -> usize {
    stage.read(&stage.dead_letters(), 0).len()
}

#[test]
fn what_names_no_schema_of_the_registry_is_a_dead_letter_that_says_so() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let Some(registry) = Registry::shared() else { return };
    let stage = Stage::new(&broker, "no-schema", COLD_START);
    let id = registry.register("dead-value", "AVRO", AVRO, &[]);
    let other = registry.register("other-value", "PROTOBUF", PROTOBUF_VALUES, &[]);
    let records = stream(34, COLD_START, 4, &[]);
    let mut messages = Encoding::avro(AVRO, head(id)).all(&records);
    for bad in [head(4_000_000), head(other), head(id), b"{}".to_vec()] {
        messages.push(("broken".to_owned(), Some(bad)));
    }
    encode::feed(&stage, &messages);
    let mut daemon = start(&stage, &with_registry("avro", registry));
    daemon.wait_ready();
    stage.wait_committed(&mut daemon, messages.len());
    let letters = stage.read(&stage.dead_letters(), 4);
    let told = |letter: usize| letters[letter].headers["strayd.error.message"].as_str();
    assert!(letters.iter().all(|letter| letter.headers["strayd.error.reason"] == "undecodable"));
    let of_registry = format!("schema 4000000 of {}: /schemas/ids/4000000: HTTP/1.1 404 Not Found (", registry.url());
    assert!(told(0).contains(&of_registry), "{}", told(0));
    assert!(told(1).contains("it is PROTOBUF, expected AVRO"), "{}", told(1));
    assert!(told(2).contains("not valid Avro at byte 5: the record is cut off"), "{}", told(2));
    assert!(told(3).contains("found byte 0x7b, expected a zero"), "{}", told(3));
    assert_eq!(letters[0].payload.as_deref(), Some(&head(4_000_000)[..]));
    assert!(letters.iter().all(|letter| letter.headers["trace"] == "00-1"), "also of one that waited for its schema");
}

#[test]
fn batches_of_every_compression_are_read() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let stage = Stage::new(&broker, "compressed", COLD_START);
    let records = stream(35, 4_000, 4, &PLANTED);
    let messages = Encoding::MessagePack.all(&records);
    for (codec, part) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().zip(messages.chunks(800)) {
        encode::feed_compressed(&stage, part, codec);
    }
    let mut daemon = start(&stage, &[set("record.format", "messagepack")]);
    stage.wait_committed(&mut daemon, records.len());
    assert_eq!(incidents_found(&stage.events(PLANTED.len()), &records), PLANTED.len());
    assert_eq!(daemon.sum("strayd_dead_letters_total"), 0.0, "{}", daemon.log());
}

#[test]
fn tombstones_end_as_such_before_and_after_the_cold_start() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let stage = Stage::new(&broker, "tombstones", COLD_START);
    let records: Vec<Record> = stream(36, 2_400, 4, &[]);
    let mut messages = Encoding::MessagePack.all(&records);
    for at in [2_300, 1_000, 0] {
        messages.insert(at, ("machine-1".to_owned(), None));
    }
    encode::feed(&stage, &messages);
    let mut daemon = start(&stage, &[set("record.format", "messagepack")]);
    daemon.wait_ready();
    stage.wait_committed(&mut daemon, messages.len());
    assert_eq!(daemon.metric("strayd_records_total")["outcome=\"tombstone\""], 3.0);
    assert_eq!(daemon_letters(&stage), 0);
}
