//! The dashboards as they are shipped: Grafana can import them, they name only what the program exports, and every query of
//! every panel gives data on a real Prometheus that scrapes a real daemon.

mod support;

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use strayd::telemetry::DESCRIPTIONS;
use support::{
    broker::{Broker, Kind},
    daemon::{PATIENCE, Stage},
    prometheus::{Prometheus, Sample},
    promql::complaints,
    records::{Record, stream},
    tools::root,
};

const FILES: [&str; 2] = ["strayd-incidents.json", "strayd-health.json"];

/// Columns of Grafana's grid.
const GRID: u64 = 24;

/// What Grafana puts in place of its variables, for an interval that the tests' short scrapes fill.
const VARIABLES: [(&str, &str); 4] =
    [("$job", "strayd"), ("$instance", ".*"), ("$__rate_interval", "10s"), ("$__range", "10m")];

fn dashboards() -> Vec<(&'static str, Value)> {
    let read = |file| {
        let path = root().join("deploy/grafana").join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        (file, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}")))
    };
    FILES.map(read).into()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// A query of a panel.
struct Query {
    place: String,
    expression: String,
}

/// Every query of every panel, of the variables too, as an expression of PromQL.
fn queries() -> Vec<Query> {
    let mut queries = Vec::new();
    for (file, dashboard) in dashboards() {
        for panel in list(&dashboard, "panels") {
            for target in list(panel, "targets") {
                let place = format!("{file}: {} {}", text(panel, "title"), text(target, "refId"));
                queries.push(Query { place, expression: text(target, "expr").to_owned() });
            }
        }
        for variable in list(&dashboard["templating"], "list").iter().filter(|v| text(v, "type") == "query") {
            let definition = text(variable, "definition");
            assert_eq!(definition, text(&variable["query"], "query"), "{file}");
            let inside = definition.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(")"));
            let (series, label) = inside.and_then(|inside| inside.rsplit_once(", ")).expect("label_values of a series");
            let place = format!("{file}: variable {}", text(variable, "name"));
            queries.push(Query { place, expression: format!("group by ({label}) ({series})") });
        }
        for annotation in list(&dashboard["annotations"], "list").iter().filter(|a| a["expr"].is_string()) {
            // Most of the time there is nothing to annotate: what it compares must give data.
            let (compared, _) = text(annotation, "expr").rsplit_once(" > ").expect("an annotation compares");
            let place = format!("{file}: annotation {}", text(annotation, "name"));
            queries.push(Query { place, expression: compared.to_owned() });
        }
    }
    assert!(queries.len() > 60, "the queries were not found, only {}", queries.len());
    queries
}

/// The expression with Grafana's variables put in; none may be left.
fn substituted(query: &Query) -> String {
    let put_in = |text: String, (name, value): (&str, &str)| text.replace(name, value);
    let expression = VARIABLES.into_iter().fold(query.expression.clone(), put_in);
    assert!(!expression.contains('$'), "{}: a variable is left in {expression}", query.place);
    expression
}

#[test]
fn grafana_can_import_them() {
    let mut uids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        assert!(uids.insert(text(&dashboard, "uid").to_owned()) && text(&dashboard, "uid").starts_with("strayd-"));
        assert_eq!(dashboard["schemaVersion"], 39, "{file}: that of Grafana 11");
        assert_eq!(dashboard["id"], Value::Null, "{file}: Grafana gives the id");
        let variables: Vec<&str> =
            list(&dashboard["templating"], "list").iter().map(|variable| text(variable, "name")).collect();
        assert_eq!(variables, ["datasource", "job", "instance"], "{file}");
        let panels = list(&dashboard, "panels");
        let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(ids.len(), panels.len(), "{file}: each panel has an id of its own");
        lie_apart(file, panels);
        panels.iter().filter(|panel| text(panel, "type") != "row").for_each(|panel| is_whole(file, panel));
    }
}

/// Panels lie within the grid and none lies on another.
fn lie_apart(file: &str, panels: &[Value]) {
    let mut taken = BTreeSet::new();
    for panel in panels {
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a panel has its place"));
        assert!(w > 0 && h > 0 && x + w <= GRID, "{file}: {} leaves the grid", text(panel, "title"));
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{file}: {} lies on another panel at {cell:?}", text(panel, "title"));
        }
    }
}

/// A panel says what it shows, in which unit, and asks the data source that was chosen for the processes that were chosen.
fn is_whole(file: &str, panel: &Value) {
    let place = format!("{file}: {}", text(panel, "title"));
    let kinds = ["timeseries", "stat", "bargauge", "heatmap", "table"];
    assert!(kinds.contains(&text(panel, "type")), "{place}: {}", text(panel, "type"));
    assert!(text(panel, "description").len() > 20, "{place} has no description");
    assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{place} has no unit");
    let targets = list(panel, "targets");
    let refs: BTreeSet<&str> = targets.iter().map(|target| text(target, "refId")).collect();
    assert!(!targets.is_empty() && refs.len() == targets.len(), "{place}: queries without a name of their own");
    for target in targets {
        for source in [&panel["datasource"], &target["datasource"]] {
            assert_eq!((text(source, "type"), text(source, "uid")), ("prometheus", "${datasource}"), "{place}");
        }
        let expression = text(target, "expr");
        let named = expression.matches("strayd_").count() + expression.matches("process_").count();
        let chosen = expression.matches("job=~\"$job\", instance=~\"$instance\"").count();
        assert_eq!(named, chosen, "{place}: not all of {expression} follows the variables");
        let is_table = text(panel, "type") == "table";
        assert!(is_table || !text(target, "legendFormat").is_empty(), "{place} has no legend");
    }
}

#[test]
fn they_name_only_metrics_and_labels_that_are_exported_and_show_each_metric() {
    let queries = queries();
    let wrong: Vec<String> = queries
        .iter()
        .flat_map(|query| complaints(&query.expression).into_iter().map(|wrong| format!("{}: {wrong}", query.place)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for description in DESCRIPTIONS {
        let is_shown = queries.iter().any(|query| query.expression.contains(description.name));
        assert!(is_shown, "no panel shows {}", description.name);
    }
}

#[test]
fn what_provisions_them_names_the_data_source_and_the_folder() {
    for (file, words) in [
        ("datasources/prometheus.yaml", ["type: prometheus", "url: http://prometheus:9090"]),
        ("dashboards/strayd.yaml", ["type: file", "path: /var/lib/grafana/dashboards"]),
    ] {
        let text = fs::read_to_string(root().join("deploy/grafana/provisioning").join(file)).expect("it is there");
        yaml_rust2::YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        words.iter().for_each(|word| assert!(text.contains(word), "{file} has no `{word}`"));
    }
}

/// A cold start, normal records, an incident that is still open at the end, and some that can't be scored.
fn traffic() -> Vec<Record> {
    let mut records = stream(21, 1_600, 3, &[1_200, 1_560]);
    let torn = |key: usize| Record { key: format!("machine-{key}"), payload: "{\"load\":".to_owned(), planted: false };
    records.extend((0..3).map(torn));
    records
}

#[test]
fn every_query_of_every_panel_gives_data() {
    let broker = Broker::own(Kind::Embedded).unwrap();
    let stage = Stage::new(&broker, "dashboards", 1_000);
    let mut daemon = stage.start();
    let address = daemon.wait_for("it serves metrics", |daemon| daemon.address());
    // Before the first record, so that Prometheus sees the counters grow from 0.
    let Some(prometheus) = Prometheus::scraping(address) else { return };
    prometheus.wait_for("sum(strayd_records_total) == 0", PATIENCE, |samples| !samples.is_empty());
    let records = traffic();
    stage.feed(&records);
    let all = format!("sum(strayd_records_total) >= {}", records.len());
    prometheus.wait_for(&all, PATIENCE, |samples| !samples.is_empty());
    prometheus.wait_for("sum(strayd_incidents_open) > 0", PATIENCE, |samples| !samples.is_empty());
    let empty: Vec<String> = queries()
        .iter()
        .filter(|query| prometheus.query(&substituted(query)).is_empty())
        .map(|query| format!("{}: {}", query.place, substituted(query)))
        .collect();
    assert!(empty.is_empty(), "these give no data:\n{}", empty.join("\n"));
    tells_what_happened(&prometheus);
}

/// Of the panels that tell of this traffic, each shows a number above 0.
fn tells_what_happened(prometheus: &Prometheus) {
    let told = [
        "strayd-incidents.json: Open incidents A",
        "strayd-incidents.json: Incidents A",
        "strayd-incidents.json: Alarms per entity and day A",
        "strayd-incidents.json: Alarms per entity and day B",
        "strayd-incidents.json: Anomalous records A",
        "strayd-incidents.json: Limit A",
        "strayd-incidents.json: Top features A",
        "strayd-health.json: Ready A",
        "strayd-health.json: Ready B",
        "strayd-health.json: Model age A",
        "strayd-health.json: Dead letters A",
        "strayd-health.json: Training C",
        "strayd-health.json: Last success A",
        "strayd-health.json: Epochs A",
        "strayd-health.json: Training speed A",
        "strayd-health.json: Active code units A",
        "strayd-health.json: Memory A",
    ];
    let queries = queries();
    for place in told {
        let query = queries.iter().find(|query| query.place == place).unwrap_or_else(|| panic!("no panel {place}"));
        let samples = prometheus.query(&substituted(query));
        let is_told = |sample: &Sample| sample.value > 0.0;
        assert!(samples.iter().any(is_told), "{place} shows nothing: {samples:?}");
    }
    let top = queries.iter().find(|query| query.place == "strayd-incidents.json: Top features A").expect("see above");
    let top = prometheus.query(&substituted(top));
    let planted = top.iter().find(|sample| sample.labels["top_feature"] == "pressure");
    assert!(planted.is_some_and(|sample| sample.value >= 1.0), "the feature that was planted: {top:?}");
}
