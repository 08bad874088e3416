//! What an operator sees of the daemon: how it refuses to start, and what Prometheus gets from it.

mod support;

use std::fs;
use std::path::Path;

use support::{
    broker::{Broker, Kind},
    daemon::{PATIENCE, Stage, run_to_end},
    prometheus::{Prometheus, check_metrics},
    records::stream,
};

/// Writes a configuration for a broker that nobody listens as, with these lines added.
fn config(folder: &Path, lines: &str) -> std::path::PathBuf {
    let file = folder.join("strayd.yaml");
    let text =
        format!("kafka: {{brokers: \"127.0.0.1:9\", input_topic: in}}\nhttp: {{listen: \"127.0.0.1:0\"}}\n{lines}\n");
    fs::write(&file, text).expect("the configuration can be written");
    file
}

/// Asserts that the daemon ends with this code and says all of this, and that it didn't panic.
fn refuses(config: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let (ended, told) = run_to_end(config, arguments);
    assert_eq!(ended, Some(code), "{told}");
    words.iter().for_each(|word| assert!(told.contains(word), "`{word}` is missing in: {told}"));
    assert!(!told.contains("panicked at"), "{told}");
}

#[test]
fn a_slip_in_the_configuration_ends_it_with_64_and_names_every_problem() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "training: {windw: 4, held_back: 2.0}");
    refuses(&file, &[], 64, &["training.windw", "training.window", "training.held_back"]);
    refuses(&folder.path().join("not-there.yaml"), &[], 64, &["not-there.yaml"]);
    let file = config(folder.path(), "");
    refuses(&file, &["--set", "kafka.properties={\"enable.auto.commit\": \"true\"}"], 64, &["enable.auto.commit"]);
}

#[test]
fn a_setting_that_librdkafka_does_not_know_ends_it_with_64() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "");
    refuses(&file, &["--set", "kafka.properties={\"fetch.wait.maximum\": \"1\"}"], 64, &["fetch.wait.maximum"]);
}

#[test]
fn a_missing_onnx_runtime_ends_it_with_1_and_says_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "runtime: {library: /nowhere/libonnxruntime.so}");
    refuses(&file, &[], 1, &["/nowhere/libonnxruntime.so", "make fetch-onnxruntime"]);
}

#[test]
fn a_torn_model_ends_it_with_1_and_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("torn.onnx");
    fs::write(&model, [8, 9, 10, 250, 1, 2]).unwrap();
    let file = config(folder.path(), &format!("model: {{file: {}}}", model.display()));
    refuses(&file, &[], 1, &["torn.onnx"]);
    let file = config(folder.path(), "model: {file: /nowhere/model.onnx}");
    refuses(&file, &[], 1, &["/nowhere/model.onnx"]);
}

#[test]
fn an_address_that_is_taken_ends_it_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = config(folder.path(), "");
    refuses(&file, &["--set", &format!("http.listen={address}")], 1, &["http.listen", &address]);
}

#[test]
fn prometheus_scrapes_it_and_promtool_finds_nothing_to_say() {
    let broker = Broker::own(Kind::Embedded).unwrap();
    let stage = Stage::new(&broker, "scraped", 1_000);
    let records = stream(8, 1_500, 3, &[1_200]);
    stage.feed(&records);
    let mut daemon = stage.start();
    daemon.wait_records(records.len());
    let (_, exposition) = daemon.get("/metrics").unwrap();
    if let Some(verdict) = check_metrics(&exposition) {
        assert_eq!(verdict, Ok(()));
    }
    let Some(prometheus) = Prometheus::scraping(daemon.address().unwrap()) else { return };
    let total = prometheus.wait_for("sum(strayd_records_total)", PATIENCE, |samples| !samples.is_empty());
    assert_eq!(total[0].value, records.len() as f64);
    assert_eq!(prometheus.query("strayd_ready")[0].value, 1.0);
}

#[test]
fn the_status_page_tells_phase_ends_and_model() {
    let broker = Broker::own(Kind::Embedded).unwrap();
    let stage = Stage::new(&broker, "status", 1_000);
    stage.feed(&stream(9, 1_200, 3, &[]));
    let mut daemon = stage.start();
    daemon.wait_records(1_200);
    let (code, status) = daemon.get("/status").unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((code, &status["ready"]), (200, &serde_json::Value::Bool(true)), "{status}");
    assert_eq!(status["source"]["connected"], true, "{status}");
    let model = fs::read_dir(stage.models()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let version = status["model"]["version"].as_str().unwrap();
    assert!(model.into_iter().any(|name| name == format!("{version}.onnx")), "{version}");
    assert_eq!(daemon.get("/healthz").unwrap(), (200, "alive\n".to_owned()));
    assert_eq!(daemon.get("/nothing").unwrap().0, 404);
}
