//! Delivery under faults, on the real Apache Kafka: replicas are killed, added and removed, the broker is killed and
//! restarted, while numbered records of a seeded generator come in. With `delivery: exactly_once` a consumer that reads
//! what is committed finds each expected output once, and nothing else; with `at_least_once` none is lost. In either case
//! the scores are those of an undisturbed run to the bit, although each hangs on all records of its entity before it.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rdkafka::{
    ClientConfig,
    error::RDKafkaErrorCode,
    producer::{BaseProducer, BaseRecord, Producer},
};
use support::{
    broker::{Broker, Kind, read_all},
    daemon::{Daemon, PATIENCE},
    program::succeed,
};

/// Partitions of the input topic.
const PARTITIONS: i32 = 8;
/// Replicas that share them.
const REPLICAS: usize = 3;
/// One record in so many strays.
const STRAY_EVERY: usize = 503;
/// One record in so many can't be decoded.
const BAD_EVERY: usize = 101;

/// Whose records they are; each one's stand in one partition.
const ENTITIES: usize = 40;

/// A model of windows whose residuals are judged by running statistics, and smoothed: what a record scores hangs on all
/// before it.
const FIELDS: &str = "record:\n  entity: key\n  features: [load, temperature, pressure, flow]\n\
                      training:\n  epochs: 20\n  window: 4\njudging:\n  budget: {quantile: 0.00001}\n  \
                      residuals: {running: {half_life: 500.0}}\n  smoothing_span: 2\n  cold_start_rows: 20\n";

/// Record number `row`: four fields that hang together.
fn payload(random: &mut Xoshiro256PlusPlus, row: usize) -> String {
    let mut noise = |size: f64| size * (random.r#gen::<f64>() - 0.5);
    let load = 50.0 + noise(60.0);
    let temperature = 20.0 + 0.4 * load + noise(0.5);
    let pressure = 3.0 + 0.02 * load + noise(0.05) + if is_stray(row) { 4.0 } else { 0.0 };
    let flow = 7.0 - 0.05 * load + noise(0.3);
    let text = format!(
        "{{\"n\":{row},\"load\":{load:.4},\"temperature\":{temperature:.4},\"pressure\":{pressure:.5},\"flow\":{flow:.4}}}"
    );
    if is_bad(row) { text[..text.len() / 2].to_owned() } else { text }
}

fn is_stray(row: usize) -> bool {
    row % STRAY_EVERY == 7 && !is_bad(row)
}

fn is_bad(row: usize) -> bool {
    row % BAD_EVERY == 11
}

/// A broker with records to come, and a model that was trained on others of their kind.
struct Scene {
    broker: Broker,
    folder: tempfile::TempDir,
    records: usize,
}

impl Scene {
    fn new(records: usize) -> Option<Self> {
        let broker = Broker::own(Kind::Apache)?;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        broker.create_topic("in", PARTITIONS);
        let scene = Self { broker, folder, records };
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let rows: Vec<String> = (0..4_000).map(|row| payload(&mut random, row * STRAY_EVERY * BAD_EVERY)).collect();
        fs::write(scene.folder.path().join("history.jsonl"), rows.join("\n")).expect("the history can be written");
        // Lines of a file have no message key.
        let of_lines = FIELDS.replace("entity: key", "entity: nothing");
        fs::write(scene.folder.path().join("train.yaml"), of_lines).expect("the configuration can be written");
        let arguments = ["train", "--config", "train.yaml", "--data", "history.jsonl", "--out", "model.onnx"];
        succeed(scene.folder.path(), &arguments);
        Some(scene)
    }

    /// The configuration of a run whose group and topics have this name. Batches wait long, so that bad records come to their
    /// end before the rows beside them, and a kill finds much that is half done.
    fn config(&self, name: &str, delivery: &str) -> PathBuf {
        let file = self.folder.path().join(format!("{name}.yaml"));
        let text = format!(
            "kafka:\n  brokers: {}\n  input_topic: in\n  group: {name}\n  delivery: {delivery}\n  \
             anomaly_topic: {name}.anomalies\n  incident_topic: null\n  dead_letter_topic: {name}.dead\n  \
             state_topic: {name}.state\n  properties:\n    \
             session.timeout.ms: 6000\nmodel:\n  file: {}\npipeline:\n  batch_wait: 100ms\n  \
             commit_interval: 200ms\n  snapshot_interval: 1s\nhttp:\n  \
             listen: 127.0.0.1:0\nlog:\n  format: json\n{FIELDS}",
            self.broker.servers(),
            self.folder.path().join("model.onnx").display(),
        );
        fs::write(&file, text).expect("the configuration can be written");
        file
    }

    fn create_outputs(&self, name: &str) {
        self.broker.create_topic(&format!("{name}.anomalies"), 2);
        self.broker.create_topic(&format!("{name}.dead"), 1);
    }

    /// Feeds all records at this many a second, each once whatever happens to the broker.
    fn feed(&self, per_second: usize) -> thread::JoinHandle<()> {
        let (servers, records) = (self.broker.servers(), self.records);
        thread::spawn(move || {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", servers).set("enable.idempotence", "true").set("log_level", "0");
            let producer: BaseProducer =
                config.set("linger.ms", "20").set("compression.type", "lz4").create().expect("a producer can be made");
            let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
            let started = Instant::now();
            for row in 0..records {
                let payload = payload(&mut random, row);
                let entity = row % ENTITIES;
                let (key, partition) = (format!("machine-{entity}"), entity as i32 % PARTITIONS);
                let record = || BaseRecord::<str, str>::to("in").partition(partition).key(&key).payload(&*payload);
                while let Err((error, _)) = producer.send(record()) {
                    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
                    producer.poll(Duration::from_millis(10));
                }
                if row % 256 == 0 {
                    producer.poll(Duration::ZERO);
                    let due = Duration::from_secs_f64(row as f64 / per_second as f64);
                    thread::sleep(due.saturating_sub(started.elapsed()));
                }
            }
            producer.flush(PATIENCE).expect("the broker takes the records");
        })
    }

    /// Waits until the group has committed the end of every partition.
    fn wait_committed(&self, group: &str, log: impl Fn() -> String) {
        let started = Instant::now();
        let committed = || self.broker.committed(group, "in", PARTITIONS).into_iter().flatten().sum::<i64>();
        while committed() != self.records as i64 {
            assert!(started.elapsed() < 2 * PATIENCE, "{} of {} are committed:\n{}", committed(), self.records, log());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// How often each anomaly and each dead letter is in the output topics of this name: the former by all that its event
    /// says, score, limit and features, the latter by partition and offset of its record.
    fn outputs(&self, name: &str) -> [BTreeMap<String, usize>; 2] {
        let read = |topic: String, partitions| read_all(&self.broker.servers(), &topic, partitions);
        let mut found = [BTreeMap::new(), BTreeMap::new()];
        for message in read(format!("{name}.anomalies"), 2) {
            let event = String::from_utf8(message.payload.unwrap_or_default()).expect("an event is text");
            *found[0].entry(event).or_default() += 1;
        }
        for message in read(format!("{name}.dead"), 1) {
            let [partition, offset] =
                ["strayd.source.partition", "strayd.source.offset"].map(|header| message.headers[header].clone());
            *found[1].entry(format!("{partition}/{offset}")).or_default() += 1;
        }
        found
    }

    /// What an undisturbed run finds, once all records are there.
    fn expected(&self) -> [BTreeMap<String, usize>; 2] {
        self.create_outputs("calm");
        let mut daemon = Daemon::start(&self.config("calm", "at_least_once"), &[]);
        daemon.wait_ready();
        self.wait_committed("calm", || daemon.log());
        assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
        self.outputs("calm")
    }
}

/// The replicas of one run, some of which are members of the group that it knows again when they come back.
struct Replicas<'a> {
    config: PathBuf,
    random: &'a mut Xoshiro256PlusPlus,
    running: Vec<Option<Daemon>>,
}

impl Replicas<'_> {
    fn start(&mut self, index: usize) {
        let id = format!("kafka.transactional_id={}-{index}", self.config.display());
        let instance = format!("kafka.group_instance_id=replica-{index}");
        let mut arguments = vec!["--set", id.as_str()];
        if index != 0 {
            arguments.extend(["--set", instance.as_str()]);
        }
        self.running[index] = Some(Daemon::start(&self.config, &arguments));
    }

    /// Kills one, or ends it politely, and starts it again after a while.
    fn disturb(&mut self, politely: bool) {
        let index = self.random.gen_range(0..REPLICAS);
        let Some(mut daemon) = self.running[index].take() else { return };
        if politely {
            // Before that it would not know what it is asked for.
            daemon.wait_for("it serves", |daemon| daemon.address());
            assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
        } else {
            daemon.kill();
        }
        let away = self.random.gen_range(0..600);
        thread::sleep(Duration::from_millis(away));
        self.start(index);
    }

    fn logs(&self) -> String {
        self.running.iter().flatten().map(Daemon::log).collect::<Vec<_>>().join("\n----\n")
    }
}

/// Streams the records while replicas are killed so many times at random moments, every third time one leaves politely
/// too, and the broker is killed twice.
fn disturbed(scene: &Scene, name: &str, delivery: &str, kills: usize, seed: u64) {
    scene.create_outputs(name);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let config = scene.config(name, delivery);
    let mut replicas = Replicas { config, random: &mut random, running: (0..REPLICAS).map(|_| None).collect() };
    (0..REPLICAS).for_each(|index| replicas.start(index));
    for kill in 0..kills {
        let pause = replicas.random.gen_range(200..2_000);
        thread::sleep(Duration::from_millis(pause));
        replicas.disturb(false);
        if kill % 3 == 1 {
            replicas.disturb(true);
        }
        if kill == kills / 3 || kill == 2 * kills / 3 {
            scene.broker.down();
            thread::sleep(Duration::from_millis(500));
            scene.broker.up();
        }
    }
    scene.wait_committed(name, || replicas.logs());
    for daemon in replicas.running.iter_mut().flatten() {
        assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    }
}

/// What `left` has and `right` has not, or not as often.
fn beyond(left: &BTreeMap<String, usize>, right: &BTreeMap<String, usize>) -> Vec<String> {
    let more = |(id, count): &(&String, &usize)| right.get(*id).is_none_or(|known| known < count);
    left.iter().filter(more).map(|(id, count)| format!("{id} ({count} times)")).collect()
}

#[test]
fn thirty_kills_leave_each_output_exactly_once() {
    let Some(scene) = Scene::new(1_000_000) else { return };
    let feeding = scene.feed(14_000);
    disturbed(&scene, "exact", "exactly_once", 30, 3);
    feeding.join().expect("the feeder ends well");
    let (expected, found) = (scene.expected(), scene.outputs("exact"));
    let strays = (0..scene.records).filter(|row| is_stray(*row)).count();
    let bad = (0..scene.records).filter(|row| is_bad(*row)).count();
    assert!(expected[0].len() >= strays * 99 / 100, "{} of {strays} strays are found", expected[0].len());
    assert_eq!(expected[1].len(), bad);
    for (kind, (expected, found)) in ["anomalies", "dead letters"].iter().zip(expected.iter().zip(&found)) {
        assert_eq!(beyond(expected, found), [""; 0], "{kind} are missing");
        assert_eq!(beyond(found, expected), [""; 0], "{kind} are too many");
        eprintln!("{kind}: {} expected, each found once", expected.len());
    }
}

#[test]
fn at_least_once_loses_nothing_and_doubles_can_be_told_by_their_id() {
    let Some(scene) = Scene::new(200_000) else { return };
    let feeding = scene.feed(10_000);
    disturbed(&scene, "least", "at_least_once", 8, 4);
    feeding.join().expect("the feeder ends well");
    let (expected, found) = (scene.expected(), scene.outputs("least"));
    for (kind, (expected, found)) in ["anomalies", "dead letters"].iter().zip(expected.iter().zip(&found)) {
        assert_eq!(beyond(expected, found), [""; 0], "{kind} are missing");
        let strangers: Vec<_> = found.keys().filter(|id| !expected.contains_key(*id)).collect();
        assert!(strangers.is_empty(), "{kind} are none: {strangers:?}");
        let doubles: usize = found.values().map(|times| times - 1).sum();
        eprintln!("{kind}: {} expected, all found, {doubles} twice", expected.len());
    }
}
