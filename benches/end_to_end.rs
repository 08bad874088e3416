//! The whole daemon against what the machine can do: raw polling of the same topic, CPU per record, a Python daemon,
//! latency, memory, and how soon it is ready.
//!
//! The broker runs in a process of its own (this program again, with `--broker`), so that the clients' CPU time is theirs.

#[path = "../tests/support/mod.rs"]
mod harness;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::{
    broker::{Broker, Kind},
    daemon::Daemon,
};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use strayd::{
    app::{App, Ends},
    config::{Settings, Sources},
    kafka::{embedded::EmbeddedBroker, sink::KafkaSink, source::KafkaSource},
    pipeline::{Observer, Unscored, observed::Observed},
};
use support::{ENTITIES, Goal, cpu_time, median, not_measured, record, records, resident, root, tell};

/// The allocator of the daemon, for its runs inside this program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Records of the throughput topic, and its partitions: the embedded broker keeps 5 MiB in each.
const RECORDS: usize = 512_000;
const PARTITIONS: i32 = 128;

/// Rounds in which the contestants take turns.
const ROUNDS: usize = 3;

/// How long the latency is measured.
const LATENCY: Duration = Duration::from_secs(8);

/// Partitions of the latency run: few, so that batches hold some records. The embedded broker serves one batch per
/// partition and fetch, and a real one that has just started is slow with thousands of batches a second.
const LATENCY_PARTITIONS: u64 = 4;

/// Every so many records of the latency run are odd, and their events are awaited.
const ODD_EVERY: u64 = 500;

fn main() {
    // `cargo bench --bench end_to_end -- --throughput` leaves the latency out, for a profiler.
    if std::env::args().any(|argument| argument == "--broker") {
        serve();
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let model = train(folder.path());
    let ceiling = throughput(folder.path(), &model);
    if std::env::args().any(|argument| argument == "--throughput") {
        return;
    }
    // Feeder, broker, daemon and reader share this machine: at half of the ceiling nothing of two cores is left for the
    // real broker's Java, so that it is also measured at a rate that leaves some.
    for (kind, rate) in [(Kind::Embedded, ceiling / 2.0), (Kind::Embedded, 10_000.0), (Kind::Apache, 10_000.0)] {
        latency(folder.path(), &model, kind, rate);
    }
}

/// The broker process: tells its address, makes the topics that it is asked for, ends with its standard input.
fn serve() {
    let broker = EmbeddedBroker::start().expect("the embedded broker starts");
    println!("{}", broker.bootstrap_servers());
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let (name, number) = line.split_once(' ').expect("a topic and its partitions");
        match name {
            "feed" => feed(&broker.bootstrap_servers()),
            _ => broker.create_topic(name, number.parse().expect("a number")).expect("the topic can be made"),
        }
        println!("done");
    }
}

/// Fills the input topic. Not in the process that measures, whose memory and profile shall be its clients'.
fn feed(servers: &str) {
    let feeder = producer(servers, "50");
    let texts = records(2, 10_000);
    for record in 0..RECORDS as u64 {
        send(&feeder, record % ENTITIES as u64, &texts[record as usize % texts.len()]);
    }
    feeder.flush(Duration::from_secs(60)).expect("the broker takes the records");
}

/// A broker in another process.
struct Remote {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    servers: String,
}

impl Remote {
    fn start() -> Self {
        let own = std::env::current_exe().expect("this program has a path");
        let mut child =
            Command::new(own).arg("--broker").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut servers = String::new();
        output.read_line(&mut servers).expect("it tells its address");
        Self { child, output, servers: servers.trim().to_owned() }
    }

    /// Makes a topic with so many partitions, or feeds.
    fn ask(&mut self, name: &str, partitions: i32) {
        let input = self.child.stdin.as_mut().expect("standard input is piped");
        writeln!(input, "{name} {partitions}").expect("it reads");
        self.output.read_line(&mut String::new()).expect("it answers");
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A model of the reference records, made by `strayd train`.
fn train(folder: &Path) -> PathBuf {
    let data = folder.join("train.jsonl");
    fs::write(&data, records(1, 5_000).join("\n") + "\n").expect("the data can be written");
    let model = folder.join("model.onnx");
    let trained = Command::new(env!("CARGO_BIN_EXE_strayd"))
        .args(["train", "--set", "record.timestamp={\"field\":\"time\"}", "--set", "training.epochs=20", "--data"])
        .arg(&data)
        .arg("--out")
        .arg(&model)
        .output()
        .expect("the program starts");
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    model
}

/// Writes a configuration, and gives its path.
fn config(folder: &Path, servers: &str, group: &str, properties: &BTreeMap<String, String>) -> PathBuf {
    let lines: Vec<String> = properties.iter().map(|(key, value)| format!("    {key}: \"{value}\"\n")).collect();
    let properties = if lines.is_empty() { String::new() } else { format!("  properties:\n{}", lines.concat()) };
    let text = format!(
        "kafka:\n  brokers: {servers}\n  input_topic: in\n  anomaly_topic: out\n  dead_letter_topic: dead\n  \
         group: {group}\n{properties}record:\n  timestamp: {{field: time}}\nmodel:\n  file: {}\n\
         http:\n  listen: 127.0.0.1:0\nlog:\n  format: json\n",
        folder.join("model.onnx").display()
    );
    let file = folder.join(format!("{group}.yaml"));
    fs::write(&file, text).expect("the configuration can be written");
    file
}

fn producer(servers: &str, linger: &str) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("linger.ms", linger).set("batch.size", "1000000");
    config.set("queue.buffering.max.messages", "1000000").create().expect("a producer can be made")
}

fn send(producer: &BaseProducer, entity: u64, payload: &str) {
    let key = format!("entity-{entity}");
    let mut record = BaseRecord::to("in").key(key.as_str()).payload(payload);
    record.partition = Some((entity % PARTITIONS as u64) as i32);
    while let Err((error, back)) = producer.send(record) {
        assert_eq!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::QueueFull));
        record = back;
        producer.poll(Duration::from_millis(1));
    }
}

/// Rates of raw polling, of strayd and of the Python daemon on the same topic; gives strayd's, records per second.
fn throughput(folder: &Path, model: &Path) -> f64 {
    let mut remote = Remote::start();
    remote.ask("in", PARTITIONS);
    remote.ask("feed", 0);
    let (mut raw, mut own, mut other, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut raw_cpu = Vec::new();
    let mut why = String::new();
    for round in 0..ROUNDS {
        let (rate, nanoseconds) = poll_raw(&remote.servers);
        raw.push(rate);
        raw_cpu.push(nanoseconds);
        let (rate, nanoseconds) = run_strayd(folder, &mut remote, round);
        own.push(rate);
        cpu.push(nanoseconds);
        match run_python(&remote.servers, model) {
            Ok(rate) => other.push(rate),
            Err(error) => why = error,
        }
    }
    let (raw, own) = (median(&mut raw), median(&mut own));
    tell("raw poll", raw / 1e3, " k records/s", Goal::None);
    tell("strayd, Kafka to Kafka", own / 1e3, " k records/s", Goal::None);
    tell("strayd over raw poll", own / raw, "", Goal::AtLeast(0.30));
    tell("CPU per record, raw poll", median(&mut raw_cpu), " ns", Goal::None);
    tell("CPU per record, strayd", median(&mut cpu), " ns", Goal::AtMost(3_000.0));
    if other.is_empty() {
        not_measured("strayd over a Python daemon", &why);
    } else {
        tell("strayd over a Python daemon", own / median(&mut other), "x", Goal::AtLeast(3.0));
    }
    own
}

/// Polls the whole topic and drops what comes: records per second and CPU nanoseconds per record.
fn poll_raw(servers: &str) -> (f64, f64) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("group.id", "raw").set("enable.auto.commit", "false");
    config.set("fetch.wait.max.ms", "10").set("fetch.queue.backoff.ms", "5").set("queued.min.messages", "100000");
    let consumer: BaseConsumer = config.set("fetch.message.max.bytes", "4194304").create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset("in", partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&list).expect("an assignment");
    let mut start = None;
    let (mut records, mut bytes) = (0, 0);
    while records < RECORDS {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            start.get_or_insert_with(|| (Instant::now(), cpu_time()));
            bytes += message.payload().map_or(0, <[u8]>::len);
            records += 1;
        }
    }
    assert!(bytes > RECORDS * 500);
    let (started, cpu) = start.expect("something came");
    let rate = RECORDS as f64 / started.elapsed().as_secs_f64();
    (rate, (cpu_time() - cpu).as_nanos() as f64 / RECORDS as f64)
}

/// Counts records that came to their end, and stops the run after the last one.
struct Counter<'a> {
    seen: usize,
    started: Option<(Instant, Duration)>,
    ended: Option<(Instant, Duration)>,
    stop: &'a AtomicBool,
}

impl Counter<'_> {
    fn count(&mut self) {
        self.started.get_or_insert_with(|| (Instant::now(), cpu_time()));
        self.seen += 1;
        if self.seen == RECORDS {
            self.ended = Some((Instant::now(), cpu_time()));
            self.stop.store(true, Ordering::SeqCst);
        }
    }
}

impl Observer for Counter<'_> {
    fn judged(&mut self, _: &Observed<'_>) {
        self.count();
    }

    fn unscored(&mut self, _: &Unscored<'_>) {
        self.count();
    }
}

/// The daemon in this process, from the real source to the real sink: records per second and CPU nanoseconds per record.
fn run_strayd(folder: &Path, remote: &mut Remote, round: usize) -> (f64, f64) {
    if round == 0 {
        remote.ask("out", 1);
        remote.ask("dead", 1);
    }
    let file = config(folder, &remote.servers, &format!("bench-{round}"), &EmbeddedBroker::properties());
    let loaded = Settings::load(&Sources { file: Some(file), ..Sources::default() }).expect("the settings are sound");
    let app = App::build(&loaded).expect("the parts are there");
    let stop = Arc::new(AtomicBool::new(false));
    let plan = app.plan(&stop).expect("the model can be read").expect("nobody told it to stop");
    let mut counter = Counter { seen: 0, started: None, ended: None, stop: &stop };
    let mut source = KafkaSource::connect(&loaded.settings.kafka).expect("a source");
    let mut sink = KafkaSink::connect(&loaded.settings.kafka).expect("a sink");
    let ends = Ends { source: &mut source, sink: &mut sink, observer: &mut counter, progress: &mut |_| {} };
    app.run(plan, ends, &stop).expect("it runs");
    let (started, ended) = (counter.started.expect("records came"), counter.ended.expect("all records came"));
    let rate = RECORDS as f64 / (ended.0 - started.0).as_secs_f64();
    (rate, (ended.1 - started.1).as_nanos() as f64 / RECORDS as f64)
}

/// The Python daemon on the same topic; the error where it can't run.
fn run_python(servers: &str, model: &Path) -> Result<f64, String> {
    let python = root().join(".local/bench-venv/bin/python");
    let output = Command::new(python)
        .arg(root().join("benches/python/daemon.py"))
        .args([servers, &model.display().to_string(), &RECORDS.to_string(), &PARTITIONS.to_string()])
        .output()
        .map_err(|_| "no Python packages (scripts/bench-tools fetches them)".to_owned())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.trim().parse().map_err(|_| format!("it failed: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Latency from produce to published anomaly at `rate` records per second; then memory with all entities known, and how
/// soon a restart is ready.
fn latency(folder: &Path, model: &Path, kind: Kind, rate: f64) {
    assert!(model.is_file());
    let name = if kind == Kind::Embedded { "embedded broker" } else { "Apache Kafka" };
    let Some(broker) = Broker::own(kind) else {
        return not_measured(&format!("latency, {name}"), "no Kafka (make test-tools fetches it)");
    };
    broker.create_topic("in", LATENCY_PARTITIONS as i32);
    broker.create_topic("out", 1);
    broker.create_topic("dead", 1);
    let properties = if kind == Kind::Embedded { EmbeddedBroker::properties() } else { BTreeMap::new() };
    let file = config(folder, &broker.servers(), &format!("latency-{kind:?}-{rate:.0}"), &properties);
    let started = Instant::now();
    let mut daemon = Daemon::start(&file, &[]);
    daemon.wait_ready();
    let ready = started.elapsed().as_secs_f64();
    let mut delays = drive(&broker.servers(), rate);
    let memory = resident(daemon.id()) as f64 / 1e6;
    let told = |what: &str| format!("{what}, {name} at {:.0} k records/s", rate / 1e3);
    delays.sort_by(f64::total_cmp);
    assert!(!delays.is_empty(), "no event came back:\n{}", daemon.log());
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize] * 1e3;
    tell(&told("latency p50"), at(0.5), " ms", Goal::None);
    tell(&told("latency p99"), at(0.99), " ms", Goal::AtMost(50.0));
    tell(&format!("resident memory, {ENTITIES} entities x 38, window 4, {name}"), memory, " MB", Goal::AtMost(150.0));
    tell(&format!("ready with a model at hand, {name}"), ready, " s", Goal::AtMost(2.0));
}

/// Feeds at `rate` for a while, and gives the seconds from each odd record's making to its event's arrival.
fn drive(servers: &str, rate: f64) -> Vec<f64> {
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (done, servers) = (Arc::clone(&done), servers.to_owned());
        std::thread::spawn(move || collect(&servers, &done))
    };
    let feeder = producer(servers, "5");
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    let normal: Vec<String> =
        records(4, 5_000).into_iter().map(|text| text[text.find(',').expect("fields")..].to_owned()).collect();
    let start = Instant::now();
    let mut sent = 0_u64;
    while start.elapsed() < LATENCY {
        let due = (start.elapsed().as_secs_f64() * rate) as u64;
        while sent < due {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_micros() as u64;
            let odd = sent.is_multiple_of(ODD_EVERY) && start.elapsed() > LATENCY / 2;
            let text = if odd {
                record(&mut random, now, true)
            } else {
                format!("{{\"time\":{now}{}", normal[sent as usize % normal.len()])
            };
            let key = format!("entity-{}", sent % ENTITIES as u64);
            let mut record = BaseRecord::to("in").key(key.as_str()).payload(text.as_str());
            record.partition = Some((sent % ENTITIES as u64 % LATENCY_PARTITIONS) as i32);
            let _ = feeder.send(record);
            sent += 1;
        }
        feeder.poll(Duration::ZERO);
        std::thread::sleep(Duration::from_micros(500));
    }
    feeder.flush(Duration::from_secs(10)).expect("the broker takes the records");
    std::thread::sleep(Duration::from_millis(500));
    done.store(true, Ordering::SeqCst);
    reader.join().expect("the reader ends")
}

/// Reads events as they come; the delay is against the event time, which is when the record was made. Rows after an odd
/// one may be anomalous too: each event counts.
fn collect(servers: &str, done: &AtomicBool) -> Vec<f64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("group.id", "events").set("fetch.wait.max.ms", "1");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("out", 0, Offset::Beginning).expect("an offset");
    consumer.assign(&list).expect("an assignment");
    let mut delays = Vec::new();
    while !done.load(Ordering::SeqCst) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) else { continue };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64();
        let event: serde_json::Value = serde_json::from_slice(message.payload().unwrap_or_default()).expect("JSON");
        let time: jiff::Timestamp = event["timestamp"].as_str().and_then(|t| t.parse().ok()).expect("a time");
        delays.push(now - time.as_microsecond() as f64 / 1e6);
    }
    delays
}
