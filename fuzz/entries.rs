//! Where bytes from outside come in: each function takes any bytes and must come back, whatever they are. cargo-fuzz calls
//! them with what it finds, and the tests with what it found.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::PathBuf,
    sync::{Arc, OnceLock, mpsc::channel},
    time::Duration,
};

use strayd::{
    config::settings::FeatureSelection,
    config::{Settings, Sources},
    http::{HttpServer, admin::Admin},
    model::Model,
    record::{
        DecodedRecord, Position, RawRecord, SlotState,
        decode::{Decoder, Schema},
    },
    telemetry::{Board, Metrics},
};

/// An entry point: its name, which is that of its corpus, and the function.
pub type Entry = (&'static str, fn(&[u8]));

/// All of them.
pub const ENTRIES: [Entry; 9] = [
    ("json", json),
    ("messagepack", messagepack),
    ("csv", csv),
    ("avro", avro),
    ("protobuf", protobuf),
    ("raw", raw),
    ("config", config),
    ("model", model),
    ("http", http),
];

/// Settings of `record` with every kind of feature.
const FIELDS: &str = r#"record.features=["load", {"path": "net.sent", "transform": "log1p"}, {"path": "requests", "kind": "counter"},
    {"path": "open", "kind": "boolean"}, {"path": "list[2].x"}, {"path": "mode", "kind": "categorical", "vocabulary": ["on", "off", "1"]}]"#;

/// A decoder of these settings. They are read once per thread, since that takes a thousand times as long as a payload.
fn decoder(sets: &[&str]) -> Decoder {
    thread_local! {
        static SCHEMAS: RefCell<HashMap<String, Schema>> = RefCell::default();
    }
    SCHEMAS.with_borrow_mut(|schemas| {
        Decoder::new(schemas.entry(sets.join("\n")).or_insert_with(|| schema_of(sets)).clone())
    })
}

fn schema_of(sets: &[&str]) -> Schema {
    let set = sets.iter().map(|set| (*set).to_owned()).collect();
    let settings = Settings::load(&Sources { set, ..Sources::default() }).expect("the settings are sound").settings;
    let features = match &settings.record.features {
        FeatureSelection::Listed(listed) => listed.clone(),
        FeatureSelection::AllNumeric { .. } => Vec::new(),
    };
    Schema::new(&features, &settings.record)
}

/// Reads the payload twice, since what is kept from record to record must not change what is read.
fn decode(sets: &[&str], payload: &[u8]) {
    let mut decoder = decoder(sets);
    let position = Position { partition: 0, offset: 1 };
    let record =
        RawRecord { position, timestamp_ms: Some(1), key: Some(b"pump-1"), payload: Some(payload), headers: None };
    let mut decoded = [DecodedRecord::default(), DecodedRecord::default()];
    let results = decoded.each_mut().map(|decoded| decoder.decode(&record, decoded));
    assert_eq!(results[0].is_ok(), results[1].is_ok());
    if results[0].is_err() {
        return;
    }
    let [first, second] = &decoded;
    assert_eq!((&first.states, &first.entity, first.time_us), (&second.states, &second.entity, second.time_us));
    assert_eq!(first.values.len(), decoder.schema().slots());
    for ((value, again), state) in first.values.iter().zip(&second.values).zip(&first.states) {
        assert_eq!(value.to_bits(), again.to_bits());
        assert_eq!(value.is_finite(), *state == SlotState::Present, "no number without a state, and none that is none");
    }
}

/// A payload of these fields in this format.
fn decode_fields(fields: &str, format: &str, payload: &[u8]) {
    let (entity, time) = ("record.entity={\"field\": \"id\"}", "record.timestamp={\"field\": \"time\"}");
    decode(&[fields, entity, time, &format!("record.format={format}")], payload);
}

/// A file of `fuzz/schemas`.
fn schema(name: &str) -> String {
    // The targets of cargo-fuzz stand one level deeper than the tests.
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.join("schemas"), root.join("fuzz/schemas")];
    let found = folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    found.expect("the schema is there").display().to_string()
}

/// A payload of JSON.
pub fn json(data: &[u8]) {
    decode_fields(FIELDS, "json", data);
}

/// A payload of MessagePack.
pub fn messagepack(data: &[u8]) {
    decode_fields(FIELDS, "messagepack", data);
}

/// A line of CSV.
pub fn csv(data: &[u8]) {
    let fields = r#"record.features=["load", {"path": "sent", "transform": "log1p"}, {"path": "requests", "kind": "counter"},
        {"path": "open", "kind": "boolean"}, {"path": "mode", "kind": "categorical", "vocabulary": ["on", "off", "1"]}]"#;
    let format = r#"{"csv": {"columns": ["id", "time", "load", "sent", "requests", "open", "mode"]}}"#;
    decode_fields(fields, format, data);
}

/// A datum of Avro, without a registry.
pub fn avro(data: &[u8]) {
    decode_fields(FIELDS, &format!("{{\"avro_schema\": \"{}\"}}", schema("reading.avsc")), data);
}

/// A message of Protobuf, without a registry.
pub fn protobuf(data: &[u8]) {
    let file = schema("reading.proto");
    let format = format!("{{\"protobuf_schema\": {{\"file\": \"{file}\", \"message\": \"acme.Reading\"}}}}");
    decode_fields(FIELDS, &format, data);
}

/// A payload that is a grid of raw bytes.
pub fn raw(data: &[u8]) {
    let cells = ["uint8", "uint16", "int16", "float32", "float64"];
    let (which, payload) = data.split_first().map_or((0, data), |(first, rest)| (usize::from(*first), rest));
    let format = format!("record.format={{\"raw\": {{\"shape\": [4, 4], \"type\": \"{}\"}}}}", cells[which % 5]);
    decode(&[&format], payload);
}

/// A configuration file; the first byte says in which language.
pub fn config(data: &[u8]) {
    let (which, text) = data.split_first().map_or((0, data), |(first, rest)| (usize::from(*first), rest));
    let file = scratch(["yaml", "toml", "json"][which % 3]);
    fs::write(&file, text).expect("the scratch folder can be written to");
    match Settings::load(&Sources { file: Some(file), ..Sources::default() }) {
        Ok(loaded) => drop(loaded.settings),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A model file.
pub fn model(data: &[u8]) {
    match Model::from_bytes(data.to_vec()) {
        Ok(model) => assert_eq!(*model.bytes, *data),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// What somebody sends to the port of metrics and admin. It answers, or closes; and nobody comes in without the token.
pub fn http(data: &[u8]) {
    static SERVER: OnceLock<(HttpServer, SocketAddr)> = OnceLock::new();
    let (_, address) = SERVER.get_or_init(|| {
        let token = scratch("token");
        fs::write(&token, "open sesame").expect("the scratch folder can be written to");
        let (sender, requests) = channel();
        // A request that comes through finds somebody: that it comes is what must not be.
        std::thread::spawn(move || requests.recv().map(|_: strayd::pipeline::learning::Request| std::process::abort()));
        let admin = Admin::new(&token, Some(sender)).expect("the token was just written");
        let board = Arc::new(Board::default());
        board.set_phase(strayd::telemetry::Phase::Scoring);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = HttpServer::start(any, Arc::new(Metrics::new()), board, Some(admin)).expect("a free port");
        let address = server.address();
        (server, address)
    });
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    // It may have closed already.
    if stream.write_all(data).and_then(|()| stream.shutdown(Shutdown::Write)).is_err() {
        return;
    }
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it neither answers nor closes");
    }
}

/// A file of this thread's own.
fn scratch(extension: &str) -> PathBuf {
    let thread =
        format!("{:?}", std::thread::current().id()).replace(|letter: char| !letter.is_ascii_alphanumeric(), "");
    std::env::temp_dir().join(format!("strayd-fuzz-{}-{thread}.{extension}", std::process::id()))
}
