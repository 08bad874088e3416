//! The page of `--report`, marked training rows, suggestions, and data that are hard to use.

use super::*;

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("the file can be written");
}

/// What a spiteful name may hold; a CSV file keeps it in quotes.
const SPITE: &str = "<script>alert(1)</script>&'";

#[test]
fn a_report_is_a_page_and_the_figures_and_replaces_only_its_own_files() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "rows.csv", &machines());
    let arguments = [&["--data", "rows.csv", "--labels", "truth", "--report", "out/page"], &BY_MACHINE[..]].concat();
    let (report, told) = backtest(folder.path(), &arguments);
    let place = folder.path().join("out/page");
    let kept: Value = serde_json::from_str(&fs::read_to_string(place.join("report.json")).unwrap()).unwrap();
    assert_eq!(kept, report, "{told}");
    let page = fs::read_to_string(place.join("report.html")).unwrap();
    for words in [
        "<svg",
        "Score and limit of m0",
        "Incident 1: m0",
        "pressure",
        "labelled 1: 2026-01-01 16:40:00",
        "Calibration",
        " standard deviations, strays since the first row<",
        "with its top features as expected its first row would ",
    ] {
        assert!(page.contains(words), "{words} is missing");
    }
    backtest(folder.path(), &arguments);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 2);

    fs::write(place.join("report.html"), "mine").unwrap();
    refuses(
        folder.path(),
        &[
            ("--data rows.csv --report out/page", 1, "out/page/report.html was not written by strayd backtest"),
            ("--data rows.csv --report rows.csv", 1, "--report rows.csv: "),
        ],
    );
    assert_eq!(fs::read_to_string(place.join("report.html")).unwrap(), "mine");
}

#[test]
fn two_parsers_read_the_page_alike_and_names_of_data_are_text_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = machines().replacen("pressure", SPITE, 1).replace(",m0,", &format!(",{SPITE},"));
    write(folder.path(), "rows.csv", &text);
    let arguments = [&["--data", "rows.csv", "--labels", "truth", "--report", "."], &BY_MACHINE[..]].concat();
    backtest(folder.path(), &arguments);
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&#39;"));
    let Some(told) = python("tests/backtest/page.py", folder.path()) else { return };
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["as_xml"], &told["scripts"]), (&told["as_html"], &0.into()), "{told}");
    assert_eq!((&told["references"], &told["without_words"]), (&Value::Array(Vec::new()), &0.into()), "{told}");
    assert!(told["pictures"].as_u64() >= Some(6), "{told}");
    let incidents = told["incidents"].to_string();
    assert!(incidents.contains(&format!("Incident 1: {SPITE}")), "{incidents}");
}

#[test]
fn marked_rows_are_trained_on_and_the_others_scored() {
    let folder = tempfile::tempdir().unwrap();
    let marked = |is: fn(usize) -> bool| {
        let text = machines();
        let mut lines = text.lines();
        let head = format!("{},train\n", lines.next().unwrap());
        lines.enumerate().fold(head, |text, (row, line)| text + &format!("{line},{}\n", u8::from(is(row))))
    };
    write(folder.path(), "rows.csv", &machines());
    write(folder.path(), "first.csv", &marked(|row| row < 1_800));
    write(folder.path(), "middle.csv", &marked(|row| (600..2_400).contains(&row)));
    let run =
        |arguments: &[&str]| backtest(folder.path(), &[&["--labels", "truth"], arguments, &BY_MACHINE].concat()).0;
    let share = run(&["--data", "rows.csv", "--train-share", "0.6"]);
    let column = run(&["--data", "first.csv", "--train-column", "train"]);
    let until = run(&["--data", "rows.csv", "--train-until", "2026-01-01T15:00:00Z"]);
    let epoch = run(&["--data", "rows.csv", "--train-until", "1767279600"]);
    for other in [&column, &until, &epoch] {
        for part in ["rows", "span", "alarms", "labels", "per_entity"] {
            assert_eq!(share[part], other[part], "{part}");
        }
        assert_eq!(other["model"]["columns"], 3, "a mark is no feature");
    }
    assert_eq!(column["model"]["source"], "1,800 rows with 1 in the column `train` of first.csv");
    assert_eq!(until["model"]["source"], "1,800 rows before 2026-01-01T15:00:00Z of rows.csv");

    // Rows on either side of those that are trained on; what lies between keeps the windows whole.
    let middle = run(&["--data", "middle.csv", "--train-column", "train"]);
    let rows = &middle["rows"];
    assert_eq!((&rows["total"], &rows["warming_up"], &rows["unusable"]), (&1_200.into(), &6.into(), &0.into()));
    assert_eq!((&middle["labels"]["events"], &middle["model"]["labelled_rows_left_out"]), (&1.into(), &15.into()));
}

#[test]
fn marks_that_can_not_be_used_are_named_with_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "rows.csv", &machines());
    write(folder.path(), "none.csv", &table(400, |_| "0"));
    write(folder.path(), "all.csv", &table(400, |_| "1"));
    refuses(
        folder.path(),
        &[
            (
                "--data none.csv --train-column truth",
                1,
                "0 of 400 rows of none.csv are with 1 in the column `truth`, expected some",
            ),
            ("--data all.csv --train-column truth", 1, "400 of 400 rows of all.csv are with 1 in"),
            ("--data all.csv --train-column marked", 1, "all.csv has no column `marked`"),
            (
                "--data rows.csv --train-until 2020-01-01T00:00:00Z",
                1,
                "0 of 3000 rows of rows.csv are before 2020-01-01T00:00:00Z",
            ),
            (
                "--data all.csv --train-until 2020-01-01T00:00:00Z",
                64,
                "record.timestamp: is not set, but --train-until needs",
            ),
            ("--data rows.csv --train-until yesterday", 2, "`yesterday` is not a time"),
            ("--data rows.csv --train-until 9 --train-column truth", 2, "cannot be used with"),
            ("--data rows.csv --train-until 9 --train-share 0.5", 2, "cannot be used with"),
            ("--data rows.csv --train-column truth --train-data rows.csv", 2, "cannot be used with"),
            ("--data rows.csv --train-column truth --model m.onnx", 2, "cannot be used with"),
        ],
    );
}

#[test]
fn a_suggested_budget_gives_what_was_suggested() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "rows.csv", &machines());
    let labelled = ["--data", "rows.csv", "--labels", "truth", "--train-share", "0.15"];
    let settings = ["--set", "judging.incident_quiet_rows=1", "--set"];
    let run = |budget: &str, more: &[&str]| {
        let budget = format!("judging.budget.alarms={budget}");
        backtest(folder.path(), &[&labelled[..], &settings, &[&budget], more, &BY_MACHINE].concat()).0
    };
    let before = run("200 per entity per day", &[]);
    let suggestions = before["suggestions"].as_array().unwrap();
    let budget = suggestions.iter().find(|one| one["setting"] == "judging.budget.alarms");
    let budget = budget.unwrap_or_else(|| panic!("{before}"));
    assert_eq!(budget["before"]["false_alarms"], before["labels"]["false_alarms"]);
    let after = run(budget["value"].as_str().unwrap(), &[]);
    for figure in ["events_found", "false_alarms", "false_alarms_per_entity_and_day"] {
        assert_eq!(budget["after"][figure], after["labels"][figure], "{figure}");
    }
    assert!(number(&budget["after"], "event_f1") > number(&budget["before"], "event_f1") + 0.05, "{budget}");
    let none = after["suggestions"].as_array().unwrap().iter().all(|one| one["setting"] != budget["setting"]);
    assert!(none, "what is best already needs no other: {after}");
    assert_eq!(run("200 per entity per day", &["--no-suggest"])["suggestions"], Value::Array(Vec::new()));

    let budget = "judging.budget.alarms=200 per entity per day";
    let (told, _) = succeed(folder.path(), &[&["backtest"], &labelled[..], &settings, &[budget], &BY_MACHINE].concat());
    assert!(told.contains("suggestion        'judging.budget") && told.contains("so expect less of them"), "{told}");
}

#[test]
fn without_labels_far_more_alarms_than_promised_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let text = (0..4_000).fold("timestamp,a,b\n".to_owned(), |text, row| {
        let noise = |salt: usize| ((row * 7919 + salt * 104_729) % 1_009) as f64 / 1_009.0;
        let wild = if row > 2_000 && row % 40 == 0 { 9.0 } else { 0.1 };
        let load = (row as f64 / 50.0).sin();
        text + &format!("{},{},{}\n", 1_767_225_600 + row * 60, load + noise(1) * wild, load + noise(2) * wild)
    });
    write(folder.path(), "rows.csv", &text);
    let arguments = ["--data", "rows.csv", "--set", "judging.incident_quiet_rows=2"];
    let (report, _) = backtest(folder.path(), &arguments);
    let told = &report["suggestions"][0];
    assert_eq!(told["setting"], "judging.budget.alarms", "{report}");
    assert!(told["why"].as_str().unwrap().contains("train on more or later rows"), "{told}");
    assert_eq!(told["before"]["measured"], report["alarms"]["measured"]);
}

#[test]
fn labels_in_a_nested_object_are_found_and_never_learned_from() {
    let folder = tempfile::tempdir().unwrap();
    let row = |row: usize| {
        let odd = row % 50 == 49 && row > 300;
        let b = if odd { 40 } else { row % 7 * 2 };
        format!("{{\"x\":{{\"a\":{},\"b\":{b}}},\"meta\":{{\"truth\":{}}}}}\n", row % 7, u8::from(odd))
    };
    write(folder.path(), "rows.jsonl", &(0..600).map(row).collect::<String>());
    let (report, _) = backtest(folder.path(), &["--data", "rows.jsonl", "--labels", "meta.truth"]);
    assert_eq!((&report["model"]["columns"], &report["labels"]["rows"]), (&2.into(), &6.into()));
    assert_eq!(number(&report["labels"], "auroc"), 1.0);
    refuses(folder.path(), &[("--data rows.jsonl --labels meta.other", 1, "in the column `meta.other` is nothing")]);
}

#[test]
fn a_history_without_labels_is_no_reason_to_warn() {
    let folder = tempfile::tempdir().unwrap();
    let bare =
        |text: String| text.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned() + "\n").collect::<String>();
    write(folder.path(), "history.csv", &bare(table(400, |_| "0")));
    write(folder.path(), "label.csv", &table(400, |row| if row % 90 == 7 { "1" } else { "0" }));
    let arguments =
        ["--data", "label.csv", "--train-data", "history.csv", "--labels", "truth", "--set", "log.level=warn"];
    let (_, told) = backtest(folder.path(), &arguments);
    assert!(!told.contains("to be left out"), "{told}");
    let (_, told) = backtest(folder.path(), &[&arguments[..], &["--set", "record.exclude=[\"slip\"]"]].concat());
    assert!(told.contains("to be left out") && told.contains("slip"), "a slip is still told: {told}");
}

#[test]
fn data_that_are_hard_to_use_give_a_sane_report() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, text: &str, more: &[&str]| {
        write(folder.path(), name, text);
        let (report, told) = backtest(folder.path(), &[&["--data", name, "--report", "out"], more].concat());
        let page = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
        assert!(page.ends_with("</html>\n") && page.len() < 2_000_000 && !told.contains("panicked"), "{name}: {told}");
        report
    };
    let labelled = ["--labels", "truth"];
    let alike = (0..400).fold("a,b,truth\n".to_owned(), |text, _| text + "1,2,0\n");
    let report = run("alike.csv", &alike, &labelled);
    assert_eq!((&report["alarms"]["anomalies"], &report["labels"]["auroc"]), (&0.into(), &Value::Null));

    let wrong = run("wrong.csv", &table(400, |row| if row < 200 { "0" } else { "1" }), &labelled);
    assert_eq!((&wrong["labels"]["rows"], &wrong["labels"]["auroc"]), (&200.into(), &Value::Null), "no row is normal");
    assert_eq!(wrong["alarms"]["measured"], Value::Null);

    let gaps = (0..600).fold("timestamp,a,b,c,truth\n".to_owned(), |text, row| {
        let b = if row > 400 { "nan".to_owned() } else { (row % 5).to_string() };
        text + &format!("{},{},{b},nan,0\n", 1_767_225_600 + row * 60, row % 7)
    });
    let report = run("gaps.csv", &gaps, &labelled);
    assert_eq!((&report["model"]["columns"], &report["rows"]["judged"]), (&2.into(), &293.into()), "{report}");
    let page = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(page.contains(": missing</title>"), "what is missing is not zero");

    let one = machines().replace(",m1,", ",m0,");
    let report = run("one.csv", &one, &[&labelled[..], &BY_MACHINE].concat());
    assert_eq!((&report["rows"]["entities"], &report["per_entity"][0]["entity"]), (&1.into(), &"m0".into()));

    // Each of these makes a memory in the pipeline and a line of the report.
    let many = (0..24_000).fold("id,a,b\n".to_owned(), |text, row| {
        let id = if row < 12_000 { 0 } else { row };
        text + &format!("e{id},{},{}\n", row % 7, row % 5)
    });
    let report = run("many.csv", &many, &["--set", "record.entity={\"field\":\"id\"}"]);
    assert_eq!((&report["rows"]["entities"], &report["rows"]["judged"]), (&12_000.into(), &12_000.into()));
}
