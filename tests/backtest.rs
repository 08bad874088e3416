//! `strayd backtest` as a user types it: its figures against those of another program, and what it says to data that it
//! can't use.

#[path = "backtest/budget.rs"]
mod budget;
#[path = "backtest/report.rs"]
mod report;
mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;
use strayd::cli::backtest::report::json_schema;
use support::{
    program::{strayd, succeed, told},
    python::python,
    tools::root,
};

/// How far two programs may be apart that add the same numbers in another order.
const TOLERANCE: f64 = 1e-9;
/// Rows of the made-up data, of two machines that take turns.
const ROWS: usize = 3_000;
/// Steps (two rows each) of which the rows of `m0` are labelled; the first lie in the half that is trained on.
const TROUBLE: [std::ops::Range<usize>; 3] = [300..305, 1_000..1_010, 1_200..1_220];

/// A backtest with few epochs: what is learned is not the point here.
fn backtest(folder: &Path, arguments: &[&str]) -> (Value, String) {
    let (json, told) = succeed(folder, &[&["backtest", "--json", "--set", "training.epochs=3"], arguments].concat());
    assert_eq!(json.lines().count(), 1, "{json}");
    (serde_json::from_str(&json).expect("it is JSON"), told)
}

fn demo_data(name: &str) -> PathBuf {
    root().join("deploy/demo-data").join(name)
}

/// Rows of two machines, a minute apart each, that are told from each other by their level. `truth` is the label.
fn machines() -> String {
    machines_where(|machine, step| machine == 0 && TROUBLE.iter().any(|steps| steps.contains(&step)))
}

/// The same, labelled where the machine of that number strays at that step.
fn machines_where(strays: impl Fn(usize, usize) -> bool) -> String {
    let mut text = "timestamp,machine,load,pressure,flow,truth\n".to_owned();
    for row in 0..ROWS {
        let (step, machine) = (row / 2, row % 2);
        let noise = |salt: usize| ((row * 7919 + salt * 104_729) % 1_009) as f64 / 1_009.0 * 0.05;
        let label = strays(machine, step);
        let load = (step as f64 / 30.0).sin() + noise(1) + machine as f64;
        let pressure = 3.0 + 0.5 * load + noise(2) + if label { 9.0 } else { 0.0 };
        let time = strayd::record::timestamp::to_rfc3339((1_767_225_600 + step as i64 * 60) * 1_000_000);
        let _ = writeln!(text, "{time},m{machine},{load},{pressure},{},{}", 8.0 - load + noise(3), u8::from(label));
    }
    text
}

const BY_MACHINE: [&str; 2] = ["--set", r#"record.entity={"field":"machine"}"#];

#[test]
fn incidents_of_groups_are_counted_where_groups_are_set() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), machines_where(|_, step| (1_000..1_020).contains(&step))).unwrap();
    let steady = ["--set", "judging.residuals=held_back", "--set", "judging.budget.alarms=0.1 per entity per day"];
    let run = |sets: &[&str]| {
        let all = [&["--data", "rows.csv", "--no-suggest"], &BY_MACHINE[..], &steady, sets].concat();
        backtest(folder.path(), &all).0["alarms"].clone()
    };
    let (together, apart) = (run(&["--set", r#"judging.incidents.groups=[{"entities":"m?","least":2}]"#]), run(&[]));
    assert_eq!((&together["group_incidents"], &apart["group_incidents"]), (&1.into(), &Value::Null));
    assert_eq!((&together["incidents"], &together["anomalies"]), (&apart["incidents"], &apart["anomalies"]));
}

fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or_else(|| panic!("`{name}` is no number in {report}"))
}

#[test]
fn the_figures_are_those_of_another_program_on_what_train_and_score_give() {
    let folder = tempfile::tempdir().unwrap();
    let (train, stream) = (demo_data("server-train.csv.gz"), demo_data("server-stream.csv.gz"));
    let (train, stream) = (train.to_str().unwrap(), stream.to_str().unwrap());
    let settings = ["--set", "training.epochs=3", "--set", "judging.incident_quiet_rows=20"];
    let run = |arguments: &[&str]| succeed(folder.path(), &[arguments, &settings].concat()).0;
    run(&["train", "--data", train, "--out", "model.onnx"]);
    run(&["score", "--model", "model.onnx", "--data", stream, "--out", "scores.csv"]);
    let sets = [&["--data", stream, "--labels", "label"], &settings[2..]].concat();
    let (report, _) = backtest(folder.path(), &[&["--train-data", train], &sets[..]].concat());
    let (again, _) = backtest(folder.path(), &[&["--model", "model.onnx"], &sets[..]].concat());
    assert_eq!((&report["labels"], &report["alarms"]), (&again["labels"], &again["alarms"]));
    assert_eq!((report["rows"]["total"].as_u64(), report["labels"]["events"].as_u64()), (Some(10_080), Some(6)));
    assert_eq!(report["model"]["labelled_rows_left_out"], 0);
    assert!(again["model"]["labelled_rows_left_out"].is_null());

    let mut rows = String::new();
    std::io::Read::read_to_string(&mut GzDecoder::new(fs::File::open(stream).unwrap()), &mut rows).unwrap();
    let labels: Vec<&str> = rows.lines().skip(1).map(|row| row.rsplit(',').next().unwrap()).collect();
    fs::write(folder.path().join("labels.txt"), labels.join("\n")).unwrap();
    fs::write(folder.path().join("quiet_rows"), "20").unwrap();
    let Some(figures) = python("tests/backtest/figures.py", folder.path()) else { return };
    let Value::Object(figures) = serde_json::from_str(&figures).unwrap() else { panic!("{figures}") };
    assert_eq!(figures.len(), 16, "{figures:?}");
    for (name, expected) in &figures {
        let part = if name == "incidents" { "alarms" } else { "labels" };
        let (found, expected) = (number(&report[part], name), expected.as_f64().unwrap());
        assert!((found - expected).abs() <= TOLERANCE * expected.abs().max(1.0), "{name}: {found}, not {expected}");
    }
    assert_eq!(report["alarms"]["measured"], report["labels"]["false_alarms_per_entity_and_day"]);
}

#[test]
fn the_first_rows_are_trained_on_without_the_labelled_ones_and_the_rest_is_scored_per_entity() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), machines()).unwrap();
    let labelled = ["--data", "rows.csv", "--labels", "truth", "--train-share", "0.6"];
    let (report, warned) = backtest(folder.path(), &[&labelled, &BY_MACHINE[..]].concat());
    assert_eq!(warned.lines().filter(|line| line.starts_with("strayd:")).count(), 0, "{warned}");
    assert_eq!(report["model"]["labelled_rows_left_out"], 5);
    assert_eq!(report["model"]["columns"], 3, "the label is no feature");
    assert_eq!(report["model"]["source"], "rows 0 to 1799 of rows.csv");
    let alarms = &report["alarms"];
    let explained = number(alarms, "explained");
    assert_eq!(number(alarms, "explained_share"), explained / number(alarms, "incidents"), "{alarms}");
    assert!(explained >= 1.0, "pressure alone strays, and is named: {alarms}");
    let rows = &report["rows"];
    assert_eq!((&rows["total"], &rows["warming_up"], &rows["entities"]), (&1_200.into(), &6.into(), &2.into()));
    let labels = &report["labels"];
    assert_eq!((&labels["rows"], &labels["events"], &labels["events_found"]), (&30.into(), &2.into(), &2.into()));
    assert!(number(labels, "auroc") > 0.99 && number(labels, "aucpr") > 0.9, "{labels}");
    assert!(number(labels, "median_delay_seconds") <= 60.0, "{labels}");
    let entities = report["per_entity"].as_array().unwrap();
    let told: Vec<_> = entities.iter().map(|one| (&one["entity"], &one["rows"], &one["events_found"])).collect();
    assert_eq!(told, [(&"m0".into(), &600.into(), &2.into()), (&"m1".into(), &600.into(), &0.into())]);
    assert!(entities[1]["auroc"].is_null() && number(&entities[0], "vus_pr") > 0.5, "{entities:?}");
    assert_eq!(report["span"]["first"], "2026-01-01T15:00:00Z");
    assert_eq!((number(&report["span"], "step_seconds"), number(&report["span"], "days")), (60.0, 600.0 / 1_440.0));

    let (table, _) = succeed(folder.path(), &[&["backtest"], &labelled[..], &BY_MACHINE].concat());
    for line in
        ["events found      2 of 2\n", "rows scored       1,194 of 1,200\n", "promised          at most 1.00 alarms"]
    {
        assert!(table.contains(line), "{line} is missing in {table}");
    }
}

#[test]
fn without_labels_alarms_are_counted_and_without_times_only_their_share() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), machines()).unwrap();
    let (report, _) = backtest(
        folder.path(),
        &[&["--data", "rows.csv", "--set", "record.exclude=[\"truth\"]"], &BY_MACHINE[..]].concat(),
    );
    assert!(report["labels"].is_null());
    let alarms = &report["alarms"];
    assert_eq!((&alarms["unit"], &alarms["promised"]), (&"per_entity_and_day".into(), &1.0.into()));
    let incidents = number(alarms, "incidents");
    assert!(incidents >= 2.0, "both stretches of trouble in the second half: {alarms}");
    // 750 minutes of two machines.
    assert!((number(alarms, "measured") - incidents / (1_500.0 / 1_440.0)).abs() < TOLERANCE, "{alarms}");
    assert!((number(alarms, "per_day") - incidents / (750.0 / 1_440.0)).abs() < TOLERANCE, "{alarms}");

    let table = (0..600).fold("a,b,truth\n".to_owned(), |text, row| {
        let odd = row % 50 == 49 && row > 300;
        text + &format!("{},{},{}\n", row % 7, if odd { 40 } else { row % 7 * 2 }, u8::from(odd))
    });
    fs::write(folder.path().join("table.csv"), table).unwrap();
    let (report, _) = backtest(folder.path(), &["--data", "table.csv", "--labels", "truth"]);
    assert_eq!((&report["alarms"]["unit"], &report["span"]), (&"share_of_rows".into(), &Value::Null));
    let labels = &report["labels"];
    assert!(labels["vus_pr"].is_null() && labels["median_delay_seconds"].is_null(), "{labels}");
    assert_eq!((number(labels, "auroc"), &labels["events"]), (1.0, &6.into()));
}

#[test]
fn rows_that_go_back_in_time_and_rows_that_can_not_be_used_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let text = machines();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.swap(2_001, 2_301);
    lines.insert(2_500, "no row");
    fs::write(folder.path().join("rows.csv"), lines.join("\n")).unwrap();
    let arguments = [&["--data", "rows.csv", "--labels", "truth"], &BY_MACHINE[..]].concat();
    let (report, warned) = backtest(folder.path(), &arguments);
    assert_eq!(report["rows"]["back_in_time"], 2, "the early row comes late, and so does what follows the late one");
    assert!(warned.contains("strayd: 2 rows have an event time before the row before them"), "{warned}");
    assert!(report["warnings"][0].as_str().unwrap().contains("in the order of the file"), "{report}");
    assert_eq!((&report["rows"]["unusable"], &report["labels"]["unknown_rows"]), (&1.into(), &1.into()));
    assert_eq!(report["rows"]["entities"], 2, "nobody's row is no entity");

    // Sorted by machine, the second half is not what came after the first.
    lines.retain(|line| *line != "no row");
    lines[1..].sort_by_key(|line| line.split(',').nth(1).unwrap().to_owned());
    fs::write(folder.path().join("rows.csv"), lines.join("\n")).unwrap();
    let (report, _) = backtest(folder.path(), &arguments);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("before the end of the training rows at 2026-01-0"), "{warnings}");
}

/// A table of two columns and labels, without times.
fn table(rows: usize, label: fn(usize) -> &'static str) -> String {
    let row = |row: usize| format!("{},{},{}\n", row % 7, row % 5, label(row));
    (0..rows).fold("a,b,truth\n".to_owned(), |text, at| text + &row(at))
}

/// Asserts that these backtests fail with this exit code, these words, and nothing on standard output.
fn refuses(folder: &Path, backtests: &[(&str, i32, &str)]) {
    for (arguments, code, words) in backtests {
        let arguments: Vec<&str> = ["backtest"].into_iter().chain(arguments.split(' ')).collect();
        let output = strayd(folder, &arguments);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: `{words}` is missing in {told}");
        assert!(output.stdout.is_empty() && !told.contains("panicked"), "{told}");
    }
}

#[test]
fn labels_that_can_not_be_used_are_named_with_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("the file can be written");
    write("rows.csv", &table(400, |_| "0"));
    write("odd.csv", &table(400, |row| if row == 17 { "2" } else { "0" }));
    write("gap.csv", &table(400, |row| if row == 3 { "" } else { "0" }));
    write("bad.csv", &table(400, |row| if row < 200 { "1" } else { "0" }));
    let features = ["--set", "training.epochs=1", "--set", "record.features=[\"a\",\"truth\"]"];
    succeed(folder.path(), &[&["train", "--data", "rows.csv", "--out", "m.onnx"], &features[..]].concat());
    let place = "(rows are counted from 0) in the column `truth`";
    refuses(
        folder.path(),
        &[
            ("--data rows.csv --labels label", 1, "rows.csv has no column `label`, it has `a`, `b`, `truth`"),
            (
                "--data odd.csv --labels truth",
                1,
                &format!("odd.csv: the label of row 17 {place} is 2, expected 0 or 1"),
            ),
            ("--data gap.csv --labels truth", 1, &format!("the label of row 3 {place} is nothing, expected 0 or 1")),
            (
                "--data bad.csv --labels truth",
                1,
                "all 200 rows to train on, rows 0 to 199 of bad.csv, are labelled 1; expected normal rows there: a \
                 larger --train-share, or --train-data FILE",
            ),
            (
                "--data rows.csv --labels truth --set record.features=[\"a\",\"truth\"]",
                64,
                "record.features: the feature `truth` is the column of --labels",
            ),
            ("--data rows.csv --labels truth --model m.onnx", 64, "--labels truth is a feature of the model"),
        ],
    );
}

#[test]
fn data_and_options_that_can_not_be_used_are_named_with_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    for (name, rows) in [("rows.csv", 400), ("few.csv", 60), ("one.csv", 1), ("none.csv", 0)] {
        fs::write(folder.path().join(name), table(rows, |_| "0")).unwrap();
    }
    refuses(
        folder.path(),
        &[
            (
                "--data few.csv",
                1,
                "training on rows 0 to 29 of few.csv: 30 usable windows are too few, expected at least 50: a larger \
                 --train-share, or --train-data FILE, or --model FILE",
            ),
            (
                "--data rows.csv --train-data one.csv",
                1,
                "training on one.csv: 1 usable windows are too few, expected at least 50: other files as --train-data",
            ),
            ("--data one.csv", 1, "one.csv has 1 rows, of which --train-share 0.5 leaves none to train on or none"),
            ("--data none.csv --train-data rows.csv", 1, "none.csv has no rows, expected some to score"),
            ("--data not-there.csv", 1, "not-there.csv"),
            ("--data rows.csv --model not-there.onnx", 1, "not-there.onnx"),
            ("--data rows.csv --train-data few.csv --model m.onnx", 2, "cannot be used with"),
            ("--data rows.csv --train-data few.csv --train-share 0.1", 2, "cannot be used with"),
            ("--data rows.csv --train-share NaN", 2, "expected a number above 0 and below 1"),
            ("--data rows.csv --train-share 1", 2, "expected a number above 0 and below 1"),
        ],
    );
}

#[test]
fn the_schema_is_the_one_of_the_code_and_the_page_names_every_figure() {
    let schema = json_schema();
    let path = root().join("docs/backtest.schema.json");
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).expect("the schema can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, text, "UPDATE_GOLDEN=1 writes docs/backtest.schema.json anew");

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), machines()).unwrap();
    let (report, _) = backtest(folder.path(), &["--data", "rows.csv", "--labels", "truth"]);
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(
        validator.is_valid(&report),
        "{:?}",
        validator.iter_errors(&report).map(|e| e.to_string()).collect::<Vec<_>>()
    );
    let page = fs::read_to_string(root().join("docs/backtest.md")).unwrap();
    let Value::Object(parts) = &report else { panic!("{report}") };
    for (part, figures) in parts {
        // Of a list, each entry has the figures of the first one.
        let (part, figures) = match figures.get(0) {
            Some(first) => (format!(".{part}[]"), first),
            None => (format!(".{part}"), figures),
        };
        let names = figures
            .as_object()
            .map_or(vec![part.clone()], |figures| figures.keys().map(|name| format!("{part}.{name}")).collect());
        names.iter().for_each(|name| assert!(page.contains(&format!("`{name}`")), "docs/backtest.md has no `{name}`"));
    }
}
