//! `strayd tune` as a user types it: that it finds what there is to find, says so only where rows that it has not seen say so
//! too, and writes a configuration that can be used.

mod support;

use std::{collections::BTreeSet, fmt::Write as _, fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;
use strayd::cli::tune::report::json_schema;
use support::{
    program::{strayd, succeed, told},
    tools::root,
};

/// A search with few epochs: what networks could learn is not the point here.
fn tune(folder: &Path, arguments: &[&str]) -> Value {
    let (json, _) = succeed(folder, &[&["tune", "--json", "--set", "training.epochs=4"], arguments].concat());
    assert_eq!(json.lines().count(), 1, "{json}");
    let report: Value = serde_json::from_str(&json).expect("it is JSON");
    let changes = report["changes"].as_object().expect("a table");
    assert_eq!(
        report["kept_out"]["better"],
        !changes.is_empty(),
        "nothing is changed but what is better beyond chance"
    );
    report
}

fn noise(row: usize, salt: usize) -> f64 {
    ((row * 7919 + salt * 104_729 + row * row % 31) % 1_009) as f64 / 1_009.0 - 0.5
}

/// Five gauges a minute of which each follows one cause with its own delay and a little noise.
fn gauges(rows: usize) -> String {
    let mut text = "timestamp,a,b,c,d,e\n".to_owned();
    for row in 0..rows {
        let time = strayd::record::timestamp::to_rfc3339((1_767_225_600 + row as i64 * 60) * 1_000_000);
        let cause = |delay: f64| ((row as f64 - delay) / 9.0).sin() + 0.6 * ((row as f64 - delay) / 23.0).sin();
        let _ = write!(text, "{time}");
        (0..5).for_each(|at| {
            let _ = write!(text, ",{:.5}", cause(at as f64) * (at + 1) as f64 + 0.05 * noise(row, at));
        });
        text.push('\n');
    }
    text
}

/// Rows without times: two causes, six measures of them.
fn table(rows: usize) -> String {
    let row = |row: usize| {
        let (one, other) = (noise(row, 1) * 4.0, noise(row * 3 + 1, 2) * 3.0);
        let values = [one, other, one + other, one - other, 2.0 * one, 3.0 - other];
        let noisy = values.iter().enumerate().map(|(at, value)| format!("{:.4}", value + 0.1 * noise(row, at + 3)));
        noisy.collect::<Vec<_>>().join(",") + "\n"
    };
    (0..rows).fold("a,b,c,d,e,f\n".to_owned(), |text, at| text + &row(at))
}

/// A configuration that is clearly worse than others: scores are smoothed over so many rows that little is left of a change.
const SLUGGISH: &str = "# Mine.\npreset: timeseries\nrecord:\n  timestamp: {field: timestamp}\nmodel:\n  kind: pca\n  \
                        code_size: 1\njudging:\n  smoothing_span: 500\n  incident_quiet_rows: 17\ntraining:\n  epochs: 4\n";

#[test]
fn what_is_clearly_better_is_found_and_stands_on_rows_that_had_no_part_in_the_search_and_in_a_sound_configuration() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), gauges(2_500)).unwrap();
    fs::write(folder.path().join("mine.yaml"), SLUGGISH).unwrap();
    fs::set_permissions(folder.path().join("mine.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
    let arguments = ["--data", "rows.csv", "--config", "mine.yaml", "--out", "tuned.yaml", "--trials", "40"];
    let report = tune(folder.path(), &arguments);
    let kept_out = &report["kept_out"];
    assert_eq!(kept_out["better"], true, "{kept_out}");
    let area = |whose: &str| kept_out[whose]["auroc"].as_f64().unwrap();
    assert!(area("winner") > area("given") + 0.05, "{kept_out}");
    assert_eq!((&report["rows"]["training"], &report["rows"]["kept_out"]), (&1_500.into(), &500.into()));

    let text = fs::read_to_string(folder.path().join("tuned.yaml")).unwrap();
    assert_eq!(fs::metadata(folder.path().join("tuned.yaml")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(report["config"].as_str(), Some(text.as_str()));
    assert!(
        text.starts_with("# Written by strayd tune") && text.contains("rows.csv") && text.contains("seed 42"),
        "{text}"
    );
    let (checked, _) = succeed(folder.path(), &["config", "check", "--config", "tuned.yaml"]);
    assert!(checked.starts_with("ok: tuned.yaml"), "{checked}");
    // Nothing but what won differs from what was given.
    let printed = |file: &str| succeed(folder.path(), &["config", "print", "--config", file]).0;
    let (given, tuned) = (printed("mine.yaml"), printed("tuned.yaml"));
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<BTreeSet<_>>();
    let changed: Vec<String> = lines(&tuned).difference(&lines(&given)).cloned().collect();
    let changes = report["changes"].as_object().unwrap();
    assert!(changes.contains_key("judging.smoothing_span"), "{changes:?}");
    assert!(tuned.contains("incident_quiet_rows: 17"), "{tuned}");
    for line in &changed {
        let key = line.split(':').next().unwrap();
        let known = changes.iter().any(|(name, value)| name.ends_with(key) || value.to_string().contains(key));
        assert!(known, "`{line}` was not to be changed: {changes:?}");
    }
}

#[test]
fn the_same_file_and_seed_give_the_same_winner_and_figures() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), gauges(1_200)).unwrap();
    let search = || {
        let mut report = tune(folder.path(), &["--data", "rows.csv", "--trials", "12"]);
        for tried in report["tried"].as_array_mut().unwrap() {
            tried["seconds"].take();
        }
        report
    };
    let first = search();
    assert_eq!(first, search());
    assert_eq!(first["ended"], "trials");
    let measured = first["tried"].as_array().unwrap().iter().filter(|one| one["left_out"].is_null()).count();
    assert_eq!(measured, 12);
}

#[test]
fn without_a_place_the_configuration_goes_to_standard_output_and_the_table_to_standard_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), gauges(900)).unwrap();
    let output = strayd(folder.path(), &["tune", "--data", "rows.csv", "--trials", "4", "--set", "training.epochs=2"]);
    assert!(output.status.success(), "{}", told(&output));
    let yaml = String::from_utf8_lossy(&output.stdout).into_owned();
    fs::write(folder.path().join("piped.yaml"), &yaml).unwrap();
    succeed(folder.path(), &["config", "check", "--config", "piped.yaml"]);
    assert!(yaml.contains("field: timestamp"), "what followed from the data is written: {yaml}");
    for words in ["CHANGED", "nothing: as given", "AUROC", "rows kept out of the search", "model.kind=pca"] {
        assert!(told(&output).contains(words), "`{words}` is missing in {}", told(&output));
    }
}

#[test]
fn independent_rows_have_no_windows_and_no_smoothing_to_choose() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), table(1_000)).unwrap();
    let report = tune(folder.path(), &["--data", "rows.csv", "--trials", "8"]);
    for tried in report["tried"].as_array().unwrap() {
        let keys: Vec<&String> = tried["changes"].as_object().unwrap().keys().collect();
        assert!(keys.iter().all(|key| !key.contains("window") && !key.contains("smoothing")), "{keys:?}");
        let plants: Vec<&String> = tried["by_plant"].as_object().unwrap().keys().collect();
        assert!(plants.iter().all(|kind| ["swap", "spike"].contains(&kind.as_str())), "{plants:?}");
    }
    assert_eq!(report["rows"]["judging"], 200);
}

#[test]
fn labelled_rows_are_left_out_and_a_candidate_that_can_not_be_is_told_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let labelled = gauges(1_000).lines().enumerate().fold(String::new(), |text, (at, line)| {
        let label = if at == 0 {
            "truth"
        } else if at % 100 == 50 {
            "1"
        } else {
            "0"
        };
        text + line + "," + label + "\n"
    });
    fs::write(folder.path().join("rows.csv"), labelled).unwrap();
    let layered = ["--set", "model.kind=denoising", "--set", "model.hidden=[8]"];
    let arguments = [&["--data", "rows.csv", "--labels", "truth", "--trials", "3"], &layered[..]].concat();
    let report = tune(folder.path(), &arguments);
    assert_eq!(report["rows"]["labelled_left_out"], 10);
    let left_out: Vec<&str> =
        report["tried"].as_array().unwrap().iter().filter_map(|tried| tried["left_out"].as_str()).collect();
    assert!(left_out.iter().any(|why| why.contains("model.hidden")), "{left_out:?}");
    assert!(!report["config"].as_str().unwrap().contains("truth"), "{report}");
}

#[test]
fn data_and_options_that_can_not_be_used_are_named_with_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).expect("it can be written");
    write("few.csv", gauges(300));
    write("rows.csv", gauges(600));
    write("alike.csv", (0..800).fold("a,b\n".to_owned(), |text, _| text + "1,2\n"));
    write("bad.csv", (0..800).fold("a,truth\n".to_owned(), |text, row| text + &format!("{row},1\n")));
    write("mine.yaml", SLUGGISH.to_owned());
    for (arguments, code, words) in [
        (
            "--data few.csv",
            1,
            "tuning on few.csv: 300 rows are too few to tell settings apart by, expected at least 500",
        ),
        ("--data alike.csv", 1, "changes can be planted in 0 of 160 rows, expected at least 100: no feature varies"),
        ("--data bad.csv --labels truth", 1, "all 800 rows of bad.csv are labelled 1, expected normal rows"),
        ("--data rows.csv --labels truth", 1, "rows.csv has no column `truth`"),
        ("--data rows.csv --out tuned.toml", 2, "expected a name that ends in .yaml or .yml"),
        ("--data rows.csv --out no/such/tuned.yaml", 1, "no/such/tuned.yaml"),
        ("--data rows.csv --trials 0", 2, "1..=10000"),
        ("--data rows.csv --minutes 0", 2, "expected a number above 0"),
        ("--data rows.csv --minutes 1 --trials 3", 2, "cannot be used with"),
        (
            "--data rows.csv --config mine.yaml --out ./mine.yaml",
            64,
            "is the configuration to start from, expected another",
        ),
        ("--data rows.csv --set training.window=1024", 1, "changes can be planted in 0 of 120 rows"),
    ] {
        let arguments: Vec<&str> = ["tune"].into_iter().chain(arguments.split(' ')).collect();
        let output = strayd(folder.path(), &arguments);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: `{words}` is missing in {told}");
        assert!(output.stdout.is_empty() && !told.contains("panicked"), "{told}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5, "no file is left behind");
}

#[test]
fn one_column_can_be_tuned() {
    let folder = tempfile::tempdir().unwrap();
    let one: String =
        gauges(800).lines().map(|line| line.split(',').take(2).collect::<Vec<_>>().join(",") + "\n").collect();
    fs::write(folder.path().join("rows.csv"), one).unwrap();
    let report = tune(folder.path(), &["--data", "rows.csv", "--trials", "6"]);
    assert!(report["kept_out"]["given"]["auroc"].as_f64().is_some(), "{report}");
}

#[test]
fn the_schema_is_the_one_of_the_code_and_the_page_names_every_figure() {
    let schema = json_schema();
    let path = root().join("docs/tune.schema.json");
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).expect("the schema can be written");
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap_or_default(),
        text,
        "UPDATE_GOLDEN=1 writes docs/tune.schema.json anew"
    );

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), gauges(800)).unwrap();
    let report = tune(folder.path(), &["--data", "rows.csv", "--trials", "3"]);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let page = fs::read_to_string(root().join("docs/tune.md")).unwrap();
    let mut names: Vec<String> = report.as_object().unwrap().keys().map(|key| format!("`.{key}`")).collect();
    names.retain(|name| !["`.tried`", "`.rows`", "`.kept_out`"].contains(&name.as_str()));
    names.extend(report["tried"][0].as_object().unwrap().keys().map(|key| format!("`.tried[].{key}`")));
    names.extend(report["rows"].as_object().unwrap().keys().map(|key| format!("`.rows.{key}`")));
    names.extend(report["kept_out"].as_object().unwrap().keys().map(|key| format!("`.kept_out.{key}`")));
    names.iter().for_each(|name| assert!(page.contains(name), "docs/tune.md has no {name}"));
}
