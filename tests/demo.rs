//! `strayd demo` as a reader of its last line sees it.

use std::process::Command;

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
