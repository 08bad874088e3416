//! From a record in Kafka to the person on call: the rules and routes as they are shipped, with real Prometheus and
//! Alertmanager, where minutes pass as seconds.

mod support;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use support::{
    alertmanager::{Alertmanager, Receiver, Told},
    broker::{Broker, Kind, on_both_brokers},
    daemon::{Daemon, PATIENCE, Stage},
    prometheus::Prometheus,
    records::{Record, stream},
    tools::root,
};

/// Machines in the stream.
const ENTITIES: usize = 3;
/// Records that the cold start takes.
const COLD_START: usize = 2_000;
/// Records that are fed before the incident.
const BEFORE: usize = 2_400;
/// Records after which the incident is at its height, and far from over.
const AMID: usize = BEFORE + 8 * ENTITIES;
/// Records after which its entity has been quiet for long enough.
const AFTER: usize = 2_700;

/// So many times faster than in production do the shipped files' durations pass.
const FASTER: u64 = 60;

/// A file of `deploy/` with each duration divided by [`FASTER`]: minutes become seconds. Nothing else is changed.
fn faster(path: &str) -> String {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut out = String::new();
    for line in text.lines() {
        // A number in a comment or in a text for people is no setting.
        let is_setting = !line.trim_start().starts_with('#') && !line.contains("summary:");
        out += &if is_setting { faster_line(line) } else { line.to_owned() };
        out.push('\n');
    }
    out
}

/// Each number with a unit of time behind it, and neither letter nor digit around it.
fn faster_line(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - start);
        let end = start + digits;
        let stands_alone = !rest[..start].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '.');
        let mut after = rest[end..].chars();
        let milliseconds = match after.next() {
            Some('s') => Some(1_000),
            Some('m') => Some(60_000),
            Some('h') => Some(3_600_000),
            Some('d') => Some(86_400_000),
            _ => None,
        };
        let is_unit = after.next().is_none_or(|c| !c.is_ascii_alphanumeric());
        out.push_str(&rest[..start]);
        match (milliseconds, rest[start..end].parse::<u64>()) {
            (Some(milliseconds), Ok(number)) if stands_alone && is_unit => {
                out.push_str(&format!("{}ms", number * milliseconds / FASTER));
                rest = &rest[end + 1..];
            }
            _ => {
                out.push_str(&rest[start..end]);
                rest = &rest[end..];
            }
        }
    }
    out + rest
}

#[test]
fn only_durations_pass_faster() {
    let told = [
        ("  for: 5m", "  for: 5000ms"),
        ("repeat_interval: 24h", "repeat_interval: 1440000ms"),
        ("group_wait: 30s", "group_wait: 500ms"),
        ("increase(x_total{le=\"1\"}[1d]) > 3 * y / 86400", "increase(x_total{le=\"1\"}[1440000ms]) > 3 * y / 86400"),
        ("(z offset 6h) > 0.01", "(z offset 360000ms) > 0.01"),
    ];
    for (shipped, faster) in told {
        assert_eq!(faster_line(shipped), faster);
    }
}

/// Everything between Kafka and the person on call.
struct Watch {
    stage: Stage,
    daemon: Daemon,
    records: Vec<Record>,
    receiver: Receiver,
    _alertmanager: Alertmanager,
    prometheus: Prometheus,
}

impl Watch {
    /// A daemon that has its model and has scored what came before the incident. `None` where a part can't be had.
    fn begin(kind: Kind) -> Option<Self> {
        let broker = Broker::shared(kind)?;
        let receiver = Receiver::start();
        // The shipped receiver tells nobody.
        let routes = faster("deploy/alertmanager/alertmanager.yaml");
        let shipped = "  - name: on-call\n";
        assert!(routes.ends_with(shipped), "{routes}");
        let routes = format!("{routes}    webhook_configs:\n      - url: {}\n", receiver.url());
        let alertmanager = Alertmanager::start(&routes)?;
        let stage = Stage::new(&broker, &format!("alerting-{kind:?}"), COLD_START);
        // A tight budget: this is about one incident, so none of the normal rows may raise an alarm.
        let sets = ["--set", "judging.budget.alarms=0.01 per entity per day", "--set", "model.kind=denoising"];
        let mut daemon = Daemon::start(&stage.config(), &sets);
        let address = daemon.wait_for("both ends are connected", |daemon| {
            daemon.address().filter(|_| daemon.sum("strayd_connected") == 2.0)
        });
        let rules = faster("deploy/prometheus/strayd.rules.yaml");
        let prometheus = Prometheus::alerting(address, &rules, alertmanager.address())?;
        let records = stream(21, AFTER, ENTITIES, &[BEFORE]);
        let watch = Self { stage, daemon, records, receiver, _alertmanager: alertmanager, prometheus };
        Some(watch)
    }

    /// Feeds the records up to this one, and waits until Prometheus knows that they have ended.
    fn feed_until(&mut self, from: usize, to: usize) {
        self.stage.feed(&self.records[from..to]);
        self.daemon.wait_records(to);
        let known = format!("sum(strayd_records_total) >= {to}");
        self.prometheus.wait_for(&known, PATIENCE, |samples| !samples.is_empty());
    }

    /// Waits until the receiver was told so many alerts, and gives them.
    fn wait_told(&self, count: usize) -> Vec<Told> {
        let start = Instant::now();
        loop {
            let told = self.receiver.told();
            if told.len() >= count {
                return told;
            }
            let alerts = self.prometheus.query("ALERTS");
            assert!(start.elapsed() < PATIENCE, "told {told:?}, not {count}; Prometheus has {alerts:?}");
            // Nothing but the receiver's own list tells of a message.
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn a_planted_incident_reaches_the_receiver_once_and_is_resolved_once(kind: Kind) {
    let Some(mut watch) = Watch::begin(kind) else { return };
    watch.feed_until(0, BEFORE);
    assert_eq!(watch.receiver.told(), [], "nothing strays yet");
    watch.feed_until(BEFORE, AMID);
    let told = watch.wait_told(1);
    assert_eq!((told[0].status.as_str(), told[0].alert.as_str()), ("firing", "StraydIncident"), "{told:?}");
    assert!(told[0].text.contains("\"summary\":\"pressure strays\""), "{told:?}");
    assert!(!told[0].text.contains("machine-"), "entities are no labels: {told:?}");
    let (_, status) = watch.daemon.get("/status").expect("the daemon answers");
    let status: serde_json::Value = serde_json::from_str(&status).expect("/status is JSON");
    assert_eq!(status["incidents"]["newest"][0]["entity"], watch.records[BEFORE].key.as_str(), "{status}");
    // For longer than the routes' group_interval, evaluated and sent every second.
    let lasting = "count_over_time(ALERTS{alertname=\"StraydIncident\", alertstate=\"firing\"}[5m]) >= 10";
    watch.prometheus.wait_for(lasting, PATIENCE, |samples| !samples.is_empty());
    assert_eq!(watch.receiver.told(), told, "no second message while it lasts");
    watch.feed_until(AMID, AFTER);
    let told = watch.wait_told(2);
    assert_eq!((told[1].status.as_str(), told[1].alert.as_str()), ("resolved", "StraydIncident"), "{told:?}");
    // Whatever Prometheus let fire since it started.
    let fired = watch.prometheus.query("group by (alertname) (last_over_time(ALERTS{alertstate=\"firing\"}[1h]))");
    let fired: Vec<&str> = fired.iter().map(|sample| sample.labels["alertname"].as_str()).collect();
    assert_eq!(fired, ["StraydIncident"], "nothing else fires");
    assert_eq!(watch.receiver.told().len(), 2, "{:?}", watch.receiver.told());
}

on_both_brokers!(a_planted_incident_reaches_the_receiver_once_and_is_resolved_once);
