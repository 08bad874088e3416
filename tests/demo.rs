//! `strayd demo` as a reader of its last line sees it.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use strayd::kafka::embedded::Reader;
use support::{
    broker::kcat,
    tools::{end, root, signal},
};

/// Runs the demo in a folder of its own, and gives the summary.
fn demo(data: &str) -> (serde_json::Value, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let output = Command::new(env!("CARGO_BIN_EXE_strayd"))
        .args(["demo", "--json", "--data", data, "--dir"])
        .arg(folder.path().join("demo"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the program starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    let last = stdout.lines().last().expect("the demo writes something");
    (serde_json::from_str(last).unwrap_or_else(|error| panic!("{error} in {last}")), folder)
}

fn number(summary: &serde_json::Value, key: &str) -> f64 {
    summary[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {summary}"))
}

/// What every run must show, whatever the data: all promised keys, and books that balance.
fn is_whole(summary: &serde_json::Value) {
    for key in [
        "records_in",
        "anomalies_out",
        "dead_letters",
        "events_labelled",
        "events_found",
        "precision",
        "auroc",
        "aucpr",
        "alarm_rate_promised",
        "alarm_rate_measured",
        "records_per_second",
        "seconds",
    ] {
        assert!(number(summary, key) >= 0.0, "{key} in {summary}");
    }
    assert_eq!(number(summary, "dead_letters"), 0.0, "{summary}");
    assert!(number(summary, "anomalies_out") > 0.0, "{summary}");
    assert!(number(summary, "events_found") <= number(summary, "events_labelled"), "{summary}");
}

/// A demo that is still running; dropping it ends it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

impl Running {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_strayd"))
            .args(["demo", "--data", "mentions", "--dir"])
            .arg(folder)
            .args(arguments)
            .current_dir(root())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        Self(child)
    }

    /// Ctrl-C.
    fn interrupt(&self) {
        signal(&self.0, "INT");
    }
}

/// The lines up to the first that begins with `start`.
fn lines_until(reader: impl Read, start: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(reader).lines() {
        lines.push(line.expect("the demo writes text"));
        if lines.last().is_some_and(|line| line.starts_with(start)) {
            return lines;
        }
    }
    panic!("no line begins with `{start}` in {lines:#?}");
}

/// The first word behind the name of a row.
fn row<'a>(lines: &'a [String], name: &str) -> &'a str {
    let found = lines.iter().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    found.unwrap_or_else(|| panic!("no row `{name}` in {lines:#?}"))
}

#[test]
fn with_keep_running_any_client_can_join_the_broker_and_read_the_anomalies_until_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Running::start(&folder.path().join("demo"), &["--keep-running"]);
    // Its own pipe, or the demo would wait for somebody to read it.
    let mut errors = demo.0.stderr.take().unwrap();
    let drain = std::thread::spawn(move || errors.read_to_string(&mut String::new()));
    let lines = lines_until(demo.0.stdout.take().unwrap(), "Everything stays up");
    let (broker, anomalies) = (row(&lines, "broker "), row(&lines, "anomalies "));
    let anomalies: usize = anomalies.replace(',', "").parse().unwrap();
    let reader = Reader::connect(broker, "strayd.anomalies", 1).unwrap();
    let events: Vec<serde_json::Value> = (0..anomalies)
        .map(|_| reader.next(Duration::from_secs(10)).expect("as many anomalies as the summary tells"))
        .map(|message| serde_json::from_slice(&message.payload.unwrap()).unwrap())
        .collect();
    assert!(anomalies > 0 && events.iter().all(|event| event["entity"] == "mentions"), "{events:?}");
    if let Some(read) = kcat(&["-b", broker, "-t", "strayd.anomalies", "-C", "-e", "-q"], "") {
        assert_eq!(read.lines().count(), anomalies, "{read}");
    }
    demo.interrupt();
    assert!(demo.0.wait().unwrap().success());
    drain.join().unwrap().unwrap();
}

#[test]
fn a_demo_that_is_stopped_before_its_end_fails_and_prints_no_summary() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Running::start(&folder.path().join("demo"), &["--json"]);
    let errors = demo.0.stderr.take().unwrap();
    // The first words come before the first record.
    let mut errors = BufReader::new(errors);
    let mut told = String::new();
    errors.read_line(&mut told).unwrap();
    demo.interrupt();
    errors.read_to_string(&mut told).unwrap();
    assert_eq!(demo.0.wait().unwrap().code(), Some(1), "{told}");
    assert!(told.contains("stopped before its end"), "{told}");
    let mut summary = String::new();
    demo.0.stdout.take().unwrap().read_to_string(&mut summary).unwrap();
    assert_eq!(summary, "");
}

#[test]
fn a_demo_whose_reader_has_seen_enough_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Running::start(&folder.path().join("demo"), &["--keep-running"]);
    // The first line, and nobody reads any more.
    lines_until(demo.0.stdout.take().unwrap(), "");
    let mut told = String::new();
    demo.0.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(demo.0.wait().unwrap().code(), Some(0), "{told}");
    assert!(!told.contains("panicked"), "{told}");
}

#[test]
fn the_demo_finds_the_labelled_events_of_a_server() {
    let (summary, folder) = demo("server");
    is_whole(&summary);
    assert_eq!(number(&summary, "records_in"), 20_160.0);
    // Chance would be 0.5, and the share of anomalous rows.
    assert!(number(&summary, "auroc") > 0.8, "{summary}");
    assert!(number(&summary, "events_found") >= number(&summary, "events_labelled") / 2.0, "{summary}");
    // The file that it says to run against a real broker is a valid configuration.
    let check = Command::new(env!("CARGO_BIN_EXE_strayd"))
        .args(["config", "check", "--config"])
        .arg(folder.path().join("demo/strayd.yaml"))
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn the_demo_finds_labelled_events_of_user_engagement() {
    let (summary, _folder) = demo("mentions");
    is_whole(&summary);
    assert!(number(&summary, "auroc") > 0.6, "{summary}");
    assert!(number(&summary, "events_found") >= 1.0, "{summary}");
}
