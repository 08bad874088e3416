//! The alert rules as they are shipped: they fire and don't fire as promtool's tests say, name only what the program
//! exports, and each has a page that says what to do.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use support::{prometheus::promtool, promql::complaints, tools::binary, tools::root};
use yaml_rust2::{Yaml, YamlLoader};

/// The tests of the rules for promtool.
const TESTS: [&str; 2] = ["strayd.rules.test.yaml", "strayd.rules.days.test.yaml"];

/// The sections of a runbook.
const SECTIONS: [&str; 5] =
    ["## What it means", "## What it costs", "## How to look", "## How to mend", "## How to silence"];

fn yaml(path: &str) -> Yaml {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}")).remove(0)
}

fn list<'a>(yaml: &'a Yaml, key: &str) -> &'a [Yaml] {
    yaml[key].as_vec().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(yaml: &'a Yaml, key: &str) -> &'a str {
    yaml[key].as_str().unwrap_or_default()
}

/// All rules, by the alert's name.
fn rules() -> BTreeMap<String, Yaml> {
    let file = yaml("deploy/prometheus/strayd.rules.yaml");
    let rules = list(&file, "groups").iter().flat_map(|group| list(group, "rules").to_vec());
    let rules: BTreeMap<String, Yaml> = rules.map(|rule| (text(&rule, "alert").to_owned(), rule)).collect();
    assert!(rules.len() >= 13, "the rules were not found, only {:?}", rules.keys());
    rules
}

/// Runs promtool on a file of `deploy/prometheus`, which must have nothing to say against it.
fn promtool_accepts(arguments: &[&str], file: &str) {
    let path = root().join("deploy/prometheus").join(file).display().to_string();
    if let Some(verdict) = promtool(&[arguments, &[&path]].concat(), "") {
        assert_eq!(verdict, Ok(()), "{file}");
    }
}

#[test]
fn promtool_and_amtool_accept_what_is_shipped() {
    promtool_accepts(&["check", "rules"], "strayd.rules.yaml");
    promtool_accepts(&["check", "config"], "prometheus.yaml");
    let Some(amtool) = binary("amtool") else { return };
    let checked = Command::new(amtool)
        .arg("check-config")
        .arg(root().join("deploy/alertmanager/alertmanager.yaml"))
        .output()
        .expect("amtool starts");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn each_rule_fires_and_stays_silent_where_its_tests_say() {
    promtool_accepts(&["test", "rules"], TESTS[0]);
}

#[test]
fn each_rule_that_looks_at_days_fires_and_stays_silent_where_its_tests_say() {
    promtool_accepts(&["test", "rules"], TESTS[1]);
}

#[test]
fn each_rule_is_tested_firing_and_not_firing() {
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for file in TESTS {
        let tests = yaml(&format!("deploy/prometheus/{file}"));
        for test in list(&tests, "tests").iter().flat_map(|group| list(group, "promql_expr_test").to_vec()) {
            let alert = text(&test, "expr").split("alertname=\"").nth(1).and_then(|rest| rest.split('"').next());
            let seen = if list(&test, "exp_samples").is_empty() { &mut silent } else { &mut firing };
            seen.extend(alert.map(str::to_owned));
        }
    }
    let rules: BTreeSet<String> = rules().into_keys().collect();
    assert_eq!(firing, rules, "tested firing");
    assert_eq!(silent, rules, "tested not firing");
}

#[test]
fn the_rules_name_only_metrics_and_labels_that_are_exported() {
    let mut wrong = Vec::new();
    for (alert, rule) in rules() {
        let expression = text(&rule, "expr");
        assert!(expression.contains("strayd_"), "{alert}: {expression}");
        wrong.extend(complaints(expression).into_iter().map(|complaint| format!("{alert}: {complaint}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_alert_says_what_it_is_how_bad_and_where_to_read_on() {
    for (alert, rule) in rules() {
        assert!(alert.starts_with("Strayd"), "{alert}");
        // That of an incident comes with its series.
        let words = ["critical", "warning", "{{ $labels.severity }}"];
        assert!(words.contains(&text(&rule["labels"], "severity")), "{alert} has no severity");
        let notes = &rule["annotations"];
        for note in ["summary", "description"] {
            assert!(text(notes, note).len() > 10, "{alert} has no {note}");
        }
        let page = format!("docs/runbooks/{alert}.md");
        assert_eq!(text(notes, "runbook_url"), page);
        let page = fs::read_to_string(root().join(&page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(page.starts_with(&format!("# {alert}\n")), "{page}");
        let mut rest = page.as_str();
        for section in SECTIONS {
            let (_, after) =
                rest.split_once(&format!("\n{section}\n\n")).unwrap_or_else(|| panic!("{alert}: {section}"));
            assert!(!after.starts_with('#') && !after.trim().is_empty(), "{alert}: {section} says nothing");
            rest = after;
        }
        assert!(page.contains(&format!("alertname={alert}")), "{alert}: how to silence it is not shown");
    }
}

#[test]
fn each_runbook_belongs_to_an_alert_and_stands_in_the_list() {
    let pages = fs::read_dir(root().join("docs/runbooks")).expect("there are runbooks");
    let pages: BTreeSet<String> =
        pages.map(|page| page.expect("an entry").file_name().to_string_lossy().replace(".md", "")).collect();
    let alerts: BTreeSet<String> = rules().into_keys().chain(["README".to_owned()]).collect();
    assert_eq!(pages, alerts);
    let contents = fs::read_to_string(root().join("docs/runbooks/README.md")).expect("the list can be read");
    for alert in rules().into_keys() {
        assert!(contents.contains(&format!("[{alert}]({alert}.md)")), "{alert} is missing in the list");
    }
}

/// The checks would pass for ever if they found nothing.
#[test]
fn what_an_expression_gets_wrong_is_named() {
    let fine = "sum by (stage, le) (rate(strayd_stage_seconds_bucket{job=~\"$job\", stage=\"score\"}[5m])) > 0";
    assert_eq!(complaints(fine), Vec::<String>::new());
    let wrong = [
        ("strayd_record_total", "no metric is called strayd_record_total"),
        ("strayd_ready_count", "no metric is called strayd_ready_count"),
        ("strayd_records_total{result=\"normal\"}", "strayd_records_total has no label result"),
        ("strayd_records_total{outcome=~\"normal|odd\"}", "strayd_records_total never has outcome=\"odd\""),
        ("sum by (reason) (strayd_records_total)", "no metric in it has the label reason"),
        ("strayd_ready and on(job, end) strayd_model_limit", "no metric in it has the label end"),
    ];
    for (expression, complaint) in wrong {
        assert_eq!(complaints(expression), [complaint], "{expression}");
    }
}
