//! Bringing one's own model: graphs that another tool exported, sound ones and unsound ones.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use support::{
    broker::{Broker, Kind},
    daemon::{Daemon, Stage},
    python::python,
    records::stream,
};

/// Rows of the training file; the graph rebuilds a row as what its three columns have in common.
const ROWS: usize = 600;

/// The folder with the graphs and with data that they fit; `None` without Python.
fn workshop() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    python("tests/onnx/foreign.py", folder.path())?;
    let row = |step: usize, odd: f64| {
        let common = (step as f64 / 20.0).sin();
        let wobble = |k: f64| 0.05 * ((step as f64 * k).sin());
        format!(
            "{step},{:.5},{:.5},{:.5}\n",
            20.0 + 4.0 * (common + wobble(1.7)),
            45.0 + 12.0 * (common + wobble(2.3)),
            1013.0 + 9.0 * (common + wobble(3.1) + odd)
        )
    };
    let csv = |rows: std::ops::Range<usize>, odd: usize| {
        rows.fold("time,temperature,humidity,pressure\n".to_owned(), |text, step| {
            text + &row(step + 1_767_225_600, if step == odd { 5.0 } else { 0.0 })
        })
    };
    fs::write(folder.path().join("train.csv"), csv(0..ROWS, ROWS)).expect("the data can be written");
    fs::write(folder.path().join("test.csv"), csv(ROWS..ROWS + 100, ROWS + 50)).expect("the data can be written");
    Some(folder)
}

fn strayd(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_strayd"))
        .args(arguments)
        .current_dir(folder)
        .env("ORT_DYLIB_PATH", runtime())
        .output()
        .expect("the program starts")
}

/// `make test` says where ONNX Runtime is; the test program's own folder is not where the tests run the program.
fn runtime() -> std::path::PathBuf {
    let filled_by_make = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/onnxruntime/lib/libonnxruntime.so");
    std::env::var_os("ORT_DYLIB_PATH").map_or(filled_by_make, Into::into)
}

/// Fits scaler (where it isn't given) and limit for the graph in this file.
fn adopt(folder: &Path, graph: &str, scaler: bool) -> Output {
    let given = "{center: [20.0, 45.0, 1013.0], scale: [4.0, 12.0, 9.0]}";
    let text = format!(
        "record:\n  timestamp: {{field: time}}\n  entity: nothing\n  features: [temperature, humidity, pressure]\n\
         model:\n  file: {graph}\n{}training: {{window: 1}}\n",
        if scaler { format!("  foreign: {given}\n") } else { String::new() }
    );
    fs::write(folder.join("strayd.yaml"), text).expect("the configuration can be written");
    strayd(folder, &["train", "--config", "strayd.yaml", "--data", "train.csv", "--out", "adopted.onnx"])
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_foreign_autoencoder_gets_scaler_and_limit_and_finds_what_is_odd() {
    let Some(workshop) = workshop() else { return };
    let folder = workshop.path();
    for scaler in [true, false] {
        let output = adopt(folder, "sound.onnx", scaler);
        assert!(output.status.success(), "{}", told(&output));
        let output = strayd(folder, &["score", "--model", "adopted.onnx", "--data", "test.csv", "--out", "scores.csv"]);
        assert!(output.status.success(), "{}", told(&output));
        let scores = fs::read_to_string(folder.join("scores.csv")).unwrap();
        let odd = scores.lines().nth(51).unwrap();
        assert!(odd.starts_with("50,") && odd.contains(",anomalous,pressure,"), "{odd}");
        // The graph's own arithmetic: what the three columns share is rebuilt, the rest is error.
        if scaler {
            let raw: f64 = odd.split(',').nth(3).unwrap().parse().unwrap();
            assert!(raw > 1.0, "{odd}");
        }
    }
}

#[test]
fn an_unsound_graph_is_refused_with_its_name_and_what_would_be_right() {
    let Some(workshop) = workshop() else { return };
    for (graph, words) in [
        ("wide.onnx", &["5 values", "3 columns"][..]),
        ("double.onnx", &["float32"]),
        ("one-row.onnx", &["exactly 1 rows", "dynamic batch axis"]),
        ("three-axes.onnx", &["[-1, 1, 3]", "[batch, values]"]),
        ("two-inputs.onnx", &["2 inputs"]),
        ("two-outputs.onnx", &["2 outputs"]),
        ("truncated.onnx", &[]),
        ("random.onnx", &[]),
        ("empty.onnx", &[]),
        ("not-there.onnx", &[]),
    ] {
        let output = adopt(workshop.path(), graph, false);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(1), "{graph}: {told}");
        assert!(told.contains(graph), "{graph} is not named: {told}");
        words.iter().for_each(|word| assert!(told.contains(word), "{graph}: `{word}` is missing in {told}"));
        assert!(!told.contains("panicked"), "{graph}: {told}");
    }
}

#[test]
fn a_column_that_was_constant_moves_no_other_ones_reconstruction_and_its_change_is_found() {
    let Some(workshop) = workshop() else { return };
    let folder = workshop.path();
    for (name, from) in [("train.csv", ROWS), ("test.csv", 60)] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        let still = text.lines().enumerate().map(|(row, line)| match (row, line.rsplit_once(',')) {
            (1.., Some((others, _))) => format!("{others},{}\n", if row > from { 2000.0 } else { 1013.0 }),
            _ => format!("{line}\n"),
        });
        fs::write(folder.join(name), still.collect::<String>()).unwrap();
    }
    let output = adopt(folder, "sound.onnx", false);
    assert!(output.status.success(), "{}", told(&output));
    let output = strayd(folder, &["score", "--model", "adopted.onnx", "--data", "test.csv", "--out", "scores.csv"]);
    assert!(output.status.success(), "{}", told(&output));
    let scores = fs::read_to_string(folder.join("scores.csv")).unwrap();
    let changed: Vec<&str> = scores.lines().skip(66).collect();
    let found = changed.iter().filter(|line| line.contains(",anomalous,pressure,2000,1013")).count();
    assert!(found > 25, "{found} of {}: {:?}", changed.len(), changed[0]);
}

#[test]
fn scoring_with_a_graph_that_was_never_adopted_says_how_to_adopt_it() {
    let Some(workshop) = workshop() else { return };
    let output =
        strayd(workshop.path(), &["score", "--model", "sound.onnx", "--data", "test.csv", "--out", "scores.csv"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("sound.onnx") && told(&output).contains("strayd train"), "{}", told(&output));
}

#[test]
fn a_scaler_of_another_length_is_refused() {
    let Some(workshop) = workshop() else { return };
    fs::write(
        workshop.path().join("strayd.yaml"),
        "record: {timestamp: {field: time}, features: [temperature, humidity, pressure]}\n\
         model: {file: sound.onnx, foreign: {center: [1.0, 2.0], scale: [1.0, 2.0]}}\ntraining: {window: 1}\n",
    )
    .unwrap();
    let arguments = ["train", "--config", "strayd.yaml", "--data", "train.csv", "--out", "adopted.onnx"];
    let output = strayd(workshop.path(), &arguments);
    assert!(!output.status.success());
    let told = told(&output);
    assert!(told.contains("model.foreign") && told.contains('2') && told.contains('3'), "{told}");
}

#[test]
fn the_daemon_adopts_a_foreign_graph_at_its_cold_start_and_remembers_it() {
    let Some(workshop) = workshop() else { return };
    let broker = Broker::own(Kind::Embedded).unwrap();
    let stage = Stage::new(&broker, "foreign", 1_000);
    stage.feed(&stream(13, 1_500, 3, &[1_200]));
    let file = format!("model.file={}", workshop.path().join("sound.onnx").display());
    let settings = [
        "--set",
        &file,
        "--set",
        "training.window=1",
        "--set",
        "record.features=[\"load\",\"temperature\",\"pressure\"]",
    ];
    let mut first = Daemon::start(&stage.config(), &settings);
    first.wait_records(1_500);
    assert_eq!(first.metric("strayd_model_info").keys().filter(|labels| labels.contains("foreign")).count(), 1);
    assert_eq!(first.terminate().code(), Some(0), "{}", first.log());
    assert!(!stage.events(1).is_empty());
    let mut second = Daemon::start(&stage.config(), &settings);
    second.wait_ready();
    assert!(!second.log().contains("collecting"), "{}", second.log());
}
