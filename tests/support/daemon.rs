//! `strayd run` as a child process: its configuration file, its log, its HTTP pages, its end.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use strayd::kafka::embedded::{Fed, Feeder, ReadBack, Reader};

use super::broker::Broker;
use super::records::Record;
use super::tools::{end, root, signal};

/// How long anything that will happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The default of pipeline.shutdown_deadline, and what a busy machine takes to notice.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(25 + 3);

/// Partitions of every input topic.
pub const PARTITIONS: i32 = 2;

/// A place for one daemon: its topics on a broker, its folder, its configuration.
pub struct Stage {
    /// Holds configuration and models.
    pub folder: tempfile::TempDir,
    /// Prefix of the topics, and the group.
    pub name: String,
    /// `host:port`.
    pub servers: String,
    broker: Broker,
}

impl Stage {
    /// Makes the topics on the broker and writes a configuration whose cold start takes `rows` records.
    pub fn new(broker: &Broker, name: &str, rows: usize) -> Self {
        let stage = Self::without_output_topics(broker, name, rows);
        stage.create_output_topics();
        stage
    }

    /// The same, but nobody made the topics that the daemon writes to.
    pub fn without_output_topics(broker: &Broker, name: &str, rows: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let stage = Self { folder, name: name.to_owned(), servers: broker.servers(), broker: broker.clone() };
        broker.create_topic(&stage.input(), PARTITIONS);
        stage.write_config(rows);
        stage
    }

    /// Makes the topics that the daemon writes to.
    pub fn create_output_topics(&self) {
        self.broker.create_topic(&self.anomalies(), 1);
        self.broker.create_topic(&self.incidents(), 1);
        self.broker.create_topic(&self.dead_letters(), 1);
    }

    fn write_config(&self, rows: usize) {
        let text = format!(
            "preset: timeseries\nkafka:\n  brokers: {}\n  input_topic: {}\n  anomaly_topic: {}\n  incident_topic: {}\n  \
             dead_letter_topic: {}\n  group: {}\n{}record:\n  entity: key\n  timestamp: {{field: time}}\n  \
             max_bytes: 4KiB\ntraining:\n  rows: {rows}\n  epochs: 15\nmodel:\n  registry: {}\npipeline:\n  \
             commit_interval: 200ms\nhttp:\n  listen: 127.0.0.1:0\nlog:\n  format: json\n",
            self.servers,
            self.input(),
            self.anomalies(),
            self.incidents(),
            self.dead_letters(),
            self.name,
            self.broker.properties(),
            self.models().display(),
        );
        fs::write(self.config(), text).expect("the configuration can be written");
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("strayd.yaml")
    }

    /// The registry.
    pub fn models(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    /// The input topic.
    pub fn input(&self) -> String {
        format!("{}.in", self.name)
    }

    /// The anomalies' topic.
    pub fn anomalies(&self) -> String {
        format!("{}.anomalies", self.name)
    }

    /// The incidents' topic.
    pub fn incidents(&self) -> String {
        format!("{}.incidents", self.name)
    }

    /// The dead letters' topic.
    pub fn dead_letters(&self) -> String {
        format!("{}.dead", self.name)
    }

    /// Feeds the records, and waits until the broker has them.
    pub fn feed(&self, records: &[Record]) {
        self.feed_by(None, records);
    }

    /// The same, all into one partition.
    pub fn feed_to(&self, partition: i32, records: &[Record]) {
        self.feed_by(Some(partition), records);
    }

    fn feed_by(&self, partition: Option<i32>, records: &[Record]) {
        let feeder = Feeder::connect(&self.servers, &self.input()).expect("a feeder can be made");
        for record in records {
            let fed = Fed {
                key: Some(record.key.as_bytes()),
                payload: Some(record.payload.as_bytes()),
                timestamp_ms: None,
                partition,
            };
            feeder.feed(&fed).expect("the record can be fed");
        }
        feeder.flush(PATIENCE).expect("the broker takes the records");
    }

    /// Everything in a topic of one partition, once it holds at least `least` messages.
    pub fn read(&self, topic: &str, least: usize) -> Vec<ReadBack> {
        let reader = Reader::connect(&self.servers, topic, 1).expect("a reader can be made");
        let start = Instant::now();
        let mut messages = Vec::new();
        while messages.len() < least {
            messages.extend(reader.next(Duration::from_millis(200)));
            assert!(start.elapsed() < PATIENCE, "{topic} holds {} messages, not {least}", messages.len());
        }
        while let Some(message) = reader.next(Duration::from_millis(500)) {
            messages.push(message);
        }
        messages
    }

    /// The anomaly events, once there are at least `least`.
    pub fn events(&self, least: usize) -> Vec<serde_json::Value> {
        self.read_json(&self.anomalies(), least)
    }

    /// The events of incidents, once there are at least `least`.
    pub fn incident_events(&self, least: usize) -> Vec<serde_json::Value> {
        self.read_json(&self.incidents(), least)
    }

    fn read_json(&self, topic: &str, least: usize) -> Vec<serde_json::Value> {
        let messages = self.read(topic, least);
        let parse = |message: ReadBack| serde_json::from_slice(&message.payload.unwrap_or_default());
        messages.into_iter().map(|message| parse(message).expect("an event is JSON")).collect()
    }

    /// The sum over the input's partitions of what the group has committed.
    pub fn committed(&self) -> i64 {
        self.broker.committed(&self.name, &self.input(), PARTITIONS).into_iter().flatten().sum()
    }

    /// Waits until so many records are committed.
    pub fn wait_committed(&self, daemon: &mut Daemon, records: usize) {
        daemon.wait_for(&format!("{records} records are committed"), |_| {
            (self.committed() == records as i64).then_some(())
        });
    }

    /// Starts the daemon.
    pub fn start(&self) -> Daemon {
        Daemon::start(&self.config(), &[])
    }
}

/// A running `strayd run`; dropping it kills it.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// Starts the built program with this configuration and these further arguments.
    pub fn start(config: &Path, arguments: &[&str]) -> Self {
        let mut child = command(config, arguments).spawn().expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("standard error is piped"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { child, log }
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Waits until `happened` gives something. Panics with the log when it never does, or when the program ends.
    pub fn wait_for<T>(&mut self, what: &str, mut happened: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(value) = happened(self) {
                return value;
            }
            let ended = self.child.try_wait().expect("the child can be asked");
            assert!(ended.is_none(), "the daemon ended ({ended:?}) before {what}:\n{}", self.log());
            assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}\n{}", self.log());
            thread::sleep(Duration::from_millis(25));
        }
    }

    /// Where it serves metrics and probes, as its log says.
    pub fn address(&self) -> Option<SocketAddr> {
        self.log().lines().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let text = line.to_string();
            text.contains("serving metrics and probes").then_some(())?;
            find_text(&line, "address")?.parse().ok()
        })
    }

    /// Status code and body of a page; `None` while nothing is served.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.address()?, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: strayd\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split_whitespace().nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// Waits until `/readyz` says 200.
    pub fn wait_ready(&mut self) {
        self.wait_for("/readyz is 200", |daemon| daemon.get("/readyz").filter(|(code, _)| *code == 200));
    }

    /// The values of a metric by their labels (as written, without braces).
    pub fn metric(&self, name: &str) -> BTreeMap<String, f64> {
        let (_, text) = self.get("/metrics").unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let (labels, value) = rest.rsplit_once(' ')?;
                let whole = labels.is_empty() || labels.starts_with('{');
                whole.then(|| (labels.trim_matches(['{', '}']).to_owned(), value.parse().expect("a number")))
            })
            .collect()
    }

    /// The sum of a metric over its labels.
    pub fn sum(&self, name: &str) -> f64 {
        self.metric(name).values().sum()
    }

    /// Waits until so many records have come to their end.
    pub fn wait_records(&mut self, records: usize) {
        self.wait_for(&format!("{records} records have ended"), |daemon| {
            (daemon.sum("strayd_records_total") >= records as f64).then_some(())
        });
    }

    /// The process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be asked")
    }

    /// SIGTERM, and how it ended, which has to be within the shutdown deadline.
    pub fn terminate(&mut self) -> ExitStatus {
        let ended = self.child.try_wait().expect("the child can be asked");
        assert!(ended.is_none(), "the daemon had ended ({ended:?}):\n{}", self.log());
        signal(&self.child, "TERM");
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                return status;
            }
            assert!(start.elapsed() < SHUTDOWN_DEADLINE, "SIGTERM did not end it:\n{}", self.log());
            thread::sleep(Duration::from_millis(25));
        }
    }

    /// Holds it back with SIGSTOP, as a machine does that has no time for it, or lets it go on with SIGCONT.
    pub fn hold_back(&self, held: bool) {
        signal(&self.child, if held { "STOP" } else { "CONT" });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        end(&mut self.child);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Runs the program to its end: exit code and standard error.
pub fn run_to_end(config: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(config, arguments).output().expect("the program starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn command(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strayd"));
    command
        .args(["run", "--config"])
        .arg(config)
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The text under this key, however deep.
fn find_text<'a>(value: &'a serde_json::Value, key: &str) -> Option<&'a str> {
    let object = value.as_object()?;
    object.get(key).and_then(|found| found.as_str()).or_else(|| object.values().find_map(|v| find_text(v, key)))
}
