//! A real Prometheus for tests: it scrapes an address for as long as the value lives, and answers queries. Also
//! `promtool`, which says what is wrong with an exposition.
//!
//! Both binaries come from Debian's package, which `make test-tools` lays under `.local/`; those on `PATH` serve as
//! well. Where there are none, the callers get `None` and a line for the end of the test run; with `REQUIRE_ALL=1` they
//! panic.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::tools::{binary, end};

/// How long Prometheus may take to start, and one of its answers to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the target is scraped: far more often than in production, so that tests need not wait.
const SCRAPE_INTERVAL: &str = "200ms";

/// One element of a query's result: an instant vector's sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The labels, among them `__name__` where the query kept it.
    pub labels: BTreeMap<String, String>,
    /// The value, in the metric's own unit.
    pub value: f64,
}

/// A running Prometheus that scrapes one target. Dropping it ends it and removes its data.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Starts Prometheus on a port of its own, scraping `http://target/metrics` as job `strayd`. `None` where there
    /// is no Prometheus on this machine.
    pub fn scraping(target: SocketAddr) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary folder can be made");
        let text = format!(
            "global: {{scrape_interval: {SCRAPE_INTERVAL}, scrape_timeout: {SCRAPE_INTERVAL}}}\n{}",
            scrape_config(target)
        );
        Self::start(directory, &text)
    }

    /// The same, with these rules, evaluated once a second; what fires goes to the Alertmanager, again every second.
    pub fn alerting(target: SocketAddr, rules: &str, alertmanager: SocketAddr) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary folder can be made");
        fs::write(directory.path().join("rules.yaml"), rules).expect("the rules can be written");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yaml]\n\
             alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}\n{}",
            scrape_config(target)
        );
        Self::start(directory, &text)
    }

    fn start(directory: tempfile::TempDir, config: &str) -> Option<Self> {
        let binary = binary("prometheus")?;
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, config).expect("the configuration can be written");
        let mut child = Command::new(&binary)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            // Port 0: the kernel picks a free one, and the log says which.
            .arg("--web.listen-address=127.0.0.1:0")
            .arg("--rules.alert.resend-delay=1s")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", binary.display()));
        let log = BufReader::new(child.stderr.take().expect("standard error is piped"));
        match ready_at(log, Some("Server is ready to receive web requests")) {
            Ok(address) => Some(Self { child, address, _directory: directory }),
            Err(log) => {
                end(&mut child);
                panic!("prometheus was not ready after {PATIENCE:?}, its log:\n{log}");
            }
        }
    }

    /// The samples that a PromQL expression has now. Panics where it has an error or is not an instant vector.
    pub fn query(&self, expression: &str) -> Vec<Sample> {
        let body = get(self.address, &format!("/api/v1/query?query={}", percent_encoded(expression)));
        let answer: serde_json::Value =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in the answer '{body}'"));
        assert_eq!(answer["status"], "success", "query '{expression}': {body}");
        let result: Vec<RawSample> = serde_json::from_value(answer["data"]["result"].clone())
            .unwrap_or_else(|error| panic!("query '{expression}' gives no instant vector ({error}): {body}"));
        result
            .into_iter()
            .map(|raw| Sample { labels: raw.metric, value: raw.value.1.parse().expect("prometheus writes numbers") })
            .collect()
    }

    /// Asks until the samples are as wanted, and returns them. Panics with the last samples after `patience`.
    pub fn wait_for(&self, expression: &str, patience: Duration, wanted: impl Fn(&[Sample]) -> bool) -> Vec<Sample> {
        let start = Instant::now();
        loop {
            let samples = self.query(expression);
            if wanted(&samples) {
                return samples;
            }
            assert!(start.elapsed() < patience, "'{expression}' after {patience:?} still gives {samples:?}");
            // Nothing tells when Prometheus has scraped, so this must ask again and again.
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// What `promtool check metrics` says of an exposition in Prometheus' text format: `Err` holds its complaints, one a
/// line, be they errors or mere advice on names. `None` where there is no promtool on this machine.
pub fn check_metrics(exposition: &str) -> Option<Result<(), String>> {
    promtool(&["check", "metrics"], exposition)
}

/// Runs promtool with this standard input. `Err` holds what it wrote where it fails or where it has something to say on
/// standard error. `None` where there is no promtool on this machine.
pub fn promtool(arguments: &[&str], input: &str) -> Option<Result<(), String>> {
    let binary = binary("promtool")?;
    let mut child = Command::new(&binary)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", binary.display()));
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let input = input.to_owned();
    // On its own thread, since promtool may write before it has read all; that it closes the pipe early shows in its
    // answer.
    let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("promtool ends");
    let _ = writer.join().expect("the writing thread does not panic");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() && errors.is_empty() {
        return Some(Ok(()));
    }
    Some(Err(format!("{errors}{}", String::from_utf8_lossy(&output.stdout))))
}

/// A sample as Prometheus writes it; the value is a pair of time and number as text.
#[derive(serde::Deserialize)]
struct RawSample {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

fn scrape_config(target: SocketAddr) -> String {
    format!("scrape_configs: [{{job_name: strayd, static_configs: [{{targets: ['{target}']}}]}}]\n")
}

/// The address that the log names, once this line has come too; otherwise the log so far. The rest of the log is read and
/// thrown away, since a full pipe would stop the program. Prometheus and Alertmanager say it in the same words.
pub fn ready_at(log: impl BufRead + Send + 'static, ready: Option<&str>) -> Result<SocketAddr, String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let (deadline, mut seen, mut address) = (Instant::now() + PATIENCE, String::new(), None);
    let mut is_ready = ready.is_none();
    while let Ok(line) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if line.contains("msg=\"Listening on\"") {
            address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        }
        is_ready |= ready.is_some_and(|ready| line.contains(ready));
        if let (Some(address), true) = (address, is_ready) {
            return Ok(address);
        }
        seen.push_str(&line);
        seen.push('\n');
    }
    Err(seen)
}

/// The body of the answer to a GET. HTTP/1.0, so that it comes whole and not in chunks.
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("prometheus accepts connections");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit can be set");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("the request can be sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer is UTF-8 text");
    let (_, body) = answer.split_once("\r\n\r\n").expect("the answer has a head and a body");
    body.to_owned()
}

/// RFC 3986, section 2.1: everything but the unreserved characters is encoded.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
