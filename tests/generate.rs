//! `strayd gen` as a user types it: into files and Kafka, the same for the same seed, whole when it is stopped; and what
//! it plants is what `strayd train` and `strayd score` find.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use strayd::kafka::embedded::{EmbeddedBroker, Reader};
use support::{
    daemon::PATIENCE,
    tools::{root, signal},
};

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let runtime = root().join(".local/onnxruntime/lib/libonnxruntime.so");
    let mut command = Command::new(env!("CARGO_BIN_EXE_strayd"));
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .env("ORT_DYLIB_PATH", std::env::var_os("ORT_DYLIB_PATH").map_or(runtime, Into::into));
    command
}

fn strayd(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().expect("the program starts")
}

fn succeed(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = strayd(folder, arguments);
    assert!(output.status.success(), "strayd {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn lines(path: impl AsRef<Path>) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the file was written");
    assert!(text.ends_with('\n'), "the last line is whole");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_a_file_and_on_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let make = |out: &str, seed: &str, labels: &str| {
        let what = ["--records", "20000", "--quiet-start", "1000", "--anomaly-every", "1h"];
        succeed(folder.path(), &[&["gen", "--out", out, "--seed", seed, "--labels", labels][..], &what].concat())
    };
    make("one.jsonl", "3", "one.labels");
    let shown = make("-", "3", "two.labels");
    make("other.jsonl", "4", "other.labels");
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert!(read("one.jsonl") == shown && read("one.labels") == read("two.labels"));
    assert!(read("one.jsonl") != read("other.jsonl") && read("one.labels") != read("other.labels"));
    let labels = lines(folder.path().join("one.labels"));
    assert!(labels.len() > 20, "{labels:?}");
    let keys: Vec<&String> = labels[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["entity", "features", "first", "kind", "last"]);
    assert_eq!(lines(folder.path().join("one.jsonl")).len(), 20_000);
}

#[test]
fn records_go_to_kafka_with_their_entity_as_key() {
    let (folder, broker) = (tempfile::tempdir().unwrap(), EmbeddedBroker::start().unwrap());
    broker.create_topic("pages", 1).unwrap();
    let what = ["--family", "engagement", "--records", "500", "--duration", "10d"];
    succeed(folder.path(), &[&["gen", "--out", "pages.jsonl"][..], &what].concat());
    let address = broker.bootstrap_servers();
    let out = ["gen", "--brokers", &address, "--topic", "pages", "--set", "kafka.properties.compression.type=zstd"];
    succeed(folder.path(), &[&out[..], &what].concat());
    let written = fs::read_to_string(folder.path().join("pages.jsonl")).unwrap();
    let reader = Reader::connect(&address, "pages", 1).unwrap();
    for line in written.lines() {
        let message = reader.next(PATIENCE).expect("a message for each line");
        assert_eq!(message.payload.as_deref(), Some(line.as_bytes()));
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(message.key.as_deref(), record["page"].as_str().map(str::as_bytes));
    }
    assert_eq!(reader.next(Duration::from_millis(500)), None);
}

#[test]
fn it_ends_after_so_much_event_time() {
    let folder = tempfile::tempdir().unwrap();
    succeed(folder.path(), &["gen", "--out", "day.jsonl", "--duration", "1d", "--entities", "3", "--interval", "1h"]);
    let records = lines(folder.path().join("day.jsonl"));
    assert_eq!(records.len(), 3 * 24);
    assert_eq!(records[71]["timestamp"], "2026-01-05T23:40:00Z");
}

#[test]
fn sigterm_ends_it_well_with_all_that_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let arguments = ["gen", "--out", "endless.jsonl", "--rate", "500", "--labels", "labels", "--quiet-start", "0"];
    let further = ["--anomaly-every", "10m", "--kinds", "drift"];
    let mut child = command(folder.path(), &[&arguments[..], &further].concat()).spawn().unwrap();
    let (out, enough) = (folder.path().join("endless.jsonl"), 400);
    while fs::read_to_string(&out).map_or(0, |text| text.lines().count()) < enough {
        assert!(begun.elapsed() < PATIENCE && child.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(20));
    }
    signal(&child, "TERM");
    assert!(child.wait().unwrap().success());
    let most = (begun.elapsed().as_secs_f64() * 500.0) as usize + 500;
    let records = lines(&out).len();
    assert!((enough..most).contains(&records), "{records} records in {:?}", begun.elapsed());
    // A drift takes an hour or two of event time, so it was cut.
    assert!(!lines(folder.path().join("labels")).is_empty());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path(), &["gen", "--out", "-"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"timestamp\":\"2026-01-05T00:00:00Z\""), "{line}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn sigterm_ends_it_also_while_no_broker_is_there() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut child = command(folder.path(), &["gen", "--brokers", &format!("127.0.0.1:{port}"), "--topic", "x"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("the broker can't be used") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it told of the broker");
    }
    signal(&child, "TERM");
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "records are lost, and it says so: {rest}");
}

#[test]
fn what_can_not_be_done_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code, word) in [
        (vec!["gen", "--records", "1"], 64, "kafka.brokers"),
        (vec!["gen", "--out", "no/such/folder.jsonl"], 1, "no/such/folder.jsonl"),
        (vec!["gen", "--out", "-", "--rate", "0"], 2, "`max`"),
        (vec!["gen", "--out", "-", "--rate", "NaN"], 2, "`max`"),
        (vec!["gen", "--out", "-", "--interval", "0s"], 2, "1ms"),
        (vec!["gen", "--out", "-", "--entities", "0"], 2, "1..=100000"),
        (vec!["gen", "--out", "-", "--kinds", "spikes"], 2, "level_shift"),
        (vec!["gen", "--out", "-", "--start", "yesterday"], 64, "RFC 3339"),
        (vec!["gen", "--out", "-", "--topic", "x"], 2, "--out"),
    ] {
        let output = strayd(folder.path(), &arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(word), "{arguments:?}: `{word}` is missing in {told}");
    }
}

#[test]
fn a_health_check_without_a_daemon_fails() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("http.listen=0.0.0.0:{port}");
    let output = strayd(folder.path(), &["healthcheck", "--set", &listen]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains(&format!("http://127.0.0.1:{port}/healthz doesn't answer")), "{told}");
    assert_eq!(strayd(folder.path(), &["healthcheck", "--set", "http.listen=none"]).status.code(), Some(64));
}

/// Records that are learned from, and records that are scored.
const LEARNED: usize = 20_000;
const SCORED: usize = 80_000;

/// How many of the planted anomalies are told by a row that is anomalous, by kind: found, and planted.
fn found(family: &str, entity: &str, sets: &[&str]) -> BTreeMap<String, (usize, usize)> {
    let folder = tempfile::tempdir().unwrap();
    let (records, quiet) = ((LEARNED + SCORED).to_string(), LEARNED.to_string());
    let make = ["gen", "--family", family, "--out", "all.jsonl", "--labels", "labels", "--seed", "5"];
    let when = ["--records", &records, "--quiet-start", &quiet, "--anomaly-every", "2h", "--interval", "1m"];
    succeed(folder.path(), &[&make[..], &when].concat());
    let all = fs::read_to_string(folder.path().join("all.jsonl")).unwrap();
    let split = all.match_indices('\n').nth(LEARNED - 1).unwrap().0 + 1;
    fs::write(folder.path().join("train.jsonl"), &all[..split]).unwrap();
    fs::write(folder.path().join("score.jsonl"), &all[split..]).unwrap();
    let whose = format!("record.entity={{\"field\":\"{entity}\"}}");
    let sets: Vec<&str> = [whose.as_str()].iter().chain(sets).flat_map(|set| ["--set", set]).collect();
    succeed(folder.path(), &[&["train", "--data", "train.jsonl", "--out", "model.onnx"][..], &sets].concat());
    let score = ["score", "--model", "model.onnx", "--data", "score.jsonl", "--out", "scores.csv"];
    succeed(folder.path(), &[&score[..], &sets].concat());

    let scores = fs::read_to_string(folder.path().join("scores.csv")).unwrap();
    let alarms: Vec<(String, String)> = scores
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>())
        .filter(|line| line[6] == "anomalous")
        .map(|line| (line[1].to_owned(), line[2].to_owned()))
        .collect();
    let mut kinds: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut inside = 0;
    for label in lines(folder.path().join("labels")) {
        let text = |key: &str| label[key].as_str().unwrap().to_owned();
        let (first, last) = (text("first"), text("last"));
        let covered =
            alarms.iter().filter(|(entity, time)| *entity == text("entity") && first <= *time && *time <= last);
        let count = covered.count();
        inside += count;
        let kind = kinds.entry(text("kind")).or_default();
        kind.0 += usize::from(count > 0);
        kind.1 += 1;
    }
    eprintln!(
        "{family}: found by kind (of planted): {kinds:?}; {} rows anomalous, {inside} in anomalies",
        alarms.len()
    );
    kinds
}

/// The kinds that a detector of records can see in them: not those of missing fields and missing records.
const SEEN: [&str; 5] = ["spike", "level_shift", "stuck", "drift", "correlation_break"];

fn assert_most_are_found(kinds: &BTreeMap<String, (usize, usize)>) {
    assert_eq!(kinds.len(), 7, "{kinds:?}");
    let sum = |of: fn(&(usize, usize)) -> usize| SEEN.iter().map(|kind| of(&kinds[*kind])).sum::<usize>();
    let (found, planted) = (sum(|kind| kind.0), sum(|kind| kind.1));
    assert!(planted >= 30 && 2 * found > planted, "{found} of {planted}: {kinds:?}");
}

#[test]
fn most_anomalies_of_machines_are_found() {
    assert_most_are_found(&found("sensors", "machine", &[]));
}

#[test]
fn most_anomalies_of_pages_are_found() {
    assert_most_are_found(&found("engagement", "page", &["record.transform=log1p"]));
}
