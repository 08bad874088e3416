//! The daemon end to end, as a process, on the embedded broker and on the real Apache Kafka: every test runs on both.

mod support;

use std::collections::BTreeSet;

use support::{
    broker::{Broker, Kind, kcat, on_both_brokers},
    daemon::{Daemon, Stage},
    incidents::{COLD_START, PLANTED, incidents_found, record_time, text},
    records::{Record, stream},
};

on_both_brokers!(
    a_cold_start_trains_scores_and_finds_what_was_planted,
    bad_records_become_dead_letters_and_stop_nothing,
    a_restart_scores_at_once_and_goes_on_where_it_was,
    a_stop_while_collecting_loses_nothing,
    a_kill_loses_nothing,
    a_broker_that_goes_away_is_waited_for,
    outside_clients_feed_it_and_read_it,
);

/// Whether an event's window held no planted row: neither its own nor one of the three before it.
fn is_false_alarm(event: &serde_json::Value, records: &[Record]) -> bool {
    let (entity, time) = (text(event, "entity"), text(event, "timestamp"));
    let own: Vec<&Record> = records.iter().filter(|record| record.key == entity).collect();
    let at = own.iter().position(|record| record_time(record) == time).expect("an event is of a record that was fed");
    own[at.saturating_sub(3)..=at].iter().all(|record| !record.planted)
}

fn a_cold_start_trains_scores_and_finds_what_was_planted(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "cold", COLD_START);
    let records = stream(1, 4_000, 4, &PLANTED);
    let mut daemon = stage.start();
    let (code, why) = daemon.wait_for("a page", |daemon| daemon.get("/readyz"));
    assert_eq!(code, 503, "{why}");
    stage.feed(&records[..COLD_START / 2]);
    daemon.wait_for("the countdown", |daemon| {
        (daemon.sum("strayd_cold_start_rows_remaining") == (COLD_START / 2) as f64).then_some(())
    });
    let (code, why) = daemon.get("/readyz").expect("pages are served");
    assert_eq!((code, why.contains("1000 of 2000 rows collected")), (503, true), "{why}");
    stage.feed(&records[COLD_START / 2..]);
    daemon.wait_ready();
    daemon.wait_records(records.len());

    let events = stage.events(PLANTED.len());
    assert_eq!(incidents_found(&events, &records), PLANTED.len(), "{events:?}");
    let outcomes = daemon.metric("strayd_records_total");
    assert_eq!(outcomes.values().sum::<f64>(), records.len() as f64, "{outcomes:?}");
    assert_eq!(outcomes["outcome=\"collected\""], COLD_START as f64, "{outcomes:?}");
    assert_eq!(outcomes["outcome=\"anomalous\""], events.len() as f64, "{outcomes:?}");
    assert_eq!(daemon.metric("strayd_outputs_total")["kind=\"anomaly\",result=\"acknowledged\""], events.len() as f64);
    let incidents = stage.incident_events(PLANTED.len());
    let acknowledged = daemon.metric("strayd_outputs_total")["kind=\"incident\",result=\"acknowledged\""];
    assert_eq!(acknowledged, incidents.len() as f64);
    let opened: BTreeSet<String> =
        incidents.iter().filter(|event| event["state"] == "opened").map(|event| text(event, "id")).collect();
    assert_eq!(opened.len() as f64, daemon.sum("strayd_incidents_total"), "each incident has an id of its own");
    assert!(incidents.iter().all(|event| opened.contains(&text(event, "id"))), "{incidents:?}");
    let false_alarms = events.iter().filter(|event| is_false_alarm(event, &records)).count();
    let scored = records.len() - COLD_START;
    assert!(false_alarms * 100 <= scored, "{false_alarms} of {scored} normal rows raise an alarm");

    let status = daemon.terminate();
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    assert_eq!(stage.committed(), records.len() as i64, "all that ended is committed");
}

fn bad_records_become_dead_letters_and_stop_nothing(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "bad", COLD_START);
    let mut records = stream(2, 3_000, 4, &[]);
    let large = format!("{{\"load\":1,\"note\":\"{}\"}}", "x".repeat(5_000));
    let bad = ["{\"load\":", "[1,2]", "{\"time\":1767225600}", "{\"load\":1,\"time\":\"yesterday\"}", &large, ""];
    for (at, payload) in bad.iter().enumerate() {
        // Some among the sample, some later.
        let record = Record { key: "broken".into(), payload: (*payload).into(), planted: false };
        records.insert(if at % 2 == 0 { 500 + at } else { 2_500 + at }, record);
    }
    stage.feed(&records);
    let mut daemon = stage.start();
    daemon.wait_records(records.len());
    let letters = stage.read(&stage.dead_letters(), bad.len());
    assert_eq!(letters.len(), bad.len(), "{letters:?}");
    for payload in bad {
        let letter = letters.iter().find(|letter| letter.payload.as_deref() == Some(payload.as_bytes()));
        let letter = letter.unwrap_or_else(|| panic!("no dead letter holds {payload:.60}"));
        assert_eq!(letter.key.as_deref(), Some(&b"broken"[..]));
        for header in ["strayd.error.reason", "strayd.error.message", "strayd.source.topic", "strayd.source.offset"] {
            assert!(letter.headers.get(header).is_some_and(|value| !value.is_empty()), "{header} in {letter:?}");
        }
        assert_eq!(letter.headers["strayd.source.topic"], stage.input());
    }
    assert_eq!(daemon.sum("strayd_dead_letters_total"), bad.len() as f64);
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(stage.committed(), records.len() as i64);
}

fn a_restart_scores_at_once_and_goes_on_where_it_was(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "again", COLD_START);
    let records = stream(3, 4_000, 4, &PLANTED);
    stage.feed(&records[..2_200]);
    let mut first = stage.start();
    first.wait_records(2_200);
    assert_eq!(first.terminate().code(), Some(0));
    stage.feed(&records[2_200..]);
    let mut second = stage.start();
    second.wait_ready();
    second.wait_records(records.len() - 2_200);
    assert!(!second.log().contains("collecting"), "{}", second.log());
    assert_eq!(second.sum("strayd_records_total"), (records.len() - 2_200) as f64, "nothing is read twice");
    assert_eq!(incidents_found(&stage.events(PLANTED.len()), &records), PLANTED.len());
    assert_eq!(second.terminate().code(), Some(0));
}

fn a_stop_while_collecting_loses_nothing(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "half", COLD_START);
    let records = stream(4, 4_000, 4, &PLANTED);
    stage.feed(&records[..1_200]);
    let mut first = stage.start();
    first.wait_for("1,200 rows are collected", |daemon| {
        (daemon.sum("strayd_cold_start_rows_remaining") == 800.0).then_some(())
    });
    assert_eq!(first.terminate().code(), Some(0));
    assert_eq!(stage.committed(), 0, "a sample that made no model is read again");
    stage.feed(&records[1_200..]);
    let mut second = stage.start();
    second.wait_records(records.len());
    assert_eq!(second.metric("strayd_records_total")["outcome=\"collected\""], COLD_START as f64);
    assert_eq!(incidents_found(&stage.events(PLANTED.len()), &records), PLANTED.len());
}

fn a_kill_loses_nothing(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "kill", COLD_START);
    let records = stream(5, 4_000, 4, &PLANTED);
    stage.feed(&records[..2_600]);
    let mut first = stage.start();
    first.wait_records(2_600);
    first.kill();
    stage.feed(&records[2_600..]);
    let mut second = stage.start();
    stage.wait_committed(&mut second, records.len());
    let events = stage.events(PLANTED.len());
    assert_eq!(incidents_found(&events, &records), PLANTED.len());
    // Judged twice by the same model, a record has the same id: whoever reads the topic can tell.
    let mut ids = std::collections::BTreeMap::new();
    for event in &events {
        let place = (text(event, "topic"), event["partition"].to_string(), event["offset"].to_string());
        assert_eq!(*ids.entry(place).or_insert_with(|| text(event, "id")), text(event, "id"));
    }
}

fn a_broker_that_goes_away_is_waited_for(kind: Kind) {
    // This test takes the broker down, so it has one for itself.
    let Some(broker) = Broker::own(kind) else { return };
    let stage = Stage::new(&broker, "away", COLD_START);
    let records = stream(6, 4_000, 4, &PLANTED);
    stage.feed(&records[..2_300]);
    broker.down();
    let mut daemon = stage.start();
    daemon.wait_for("both ends say that they are away", |daemon| {
        let (code, why) = daemon.get("/readyz")?;
        (code == 503 && why.contains("source:") && why.contains("sink:")).then_some(())
    });
    broker.up();
    daemon.wait_ready();
    daemon.wait_records(2_300);
    broker.down();
    daemon.wait_for("/readyz is 503", |daemon| daemon.get("/readyz").filter(|(code, _)| *code == 503));
    broker.up();
    stage.feed(&records[2_300..]);
    daemon.wait_ready();
    stage.wait_committed(&mut daemon, records.len());
    assert_eq!(incidents_found(&stage.events(PLANTED.len()), &records), PLANTED.len());
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

fn outside_clients_feed_it_and_read_it(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "kcat", COLD_START);
    let records = stream(7, 4_000, 4, &PLANTED);
    let lines: Vec<String> = records.iter().map(|record| format!("{}|{}\n", record.key, record.payload)).collect();
    let Some(_) = kcat(&["-b", &stage.servers, "-t", &stage.input(), "-P", "-K", "|"], &lines.concat()) else { return };
    let mut daemon: Daemon = stage.start();
    daemon.wait_records(records.len());
    assert_eq!(daemon.terminate().code(), Some(0));
    let read = kcat(&["-b", &stage.servers, "-t", &stage.anomalies(), "-C", "-e", "-q"], "").unwrap_or_default();
    let events: Vec<serde_json::Value> =
        read.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect();
    assert_eq!(incidents_found(&events, &records), PLANTED.len(), "{read}");
}

/// Only a real broker refuses to write into a topic that isn't there.
#[test]
fn an_output_topic_that_is_missing_is_waited_for_and_costs_no_event() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let stage = Stage::without_output_topics(&broker, "missing", COLD_START);
    let records = stream(10, 4_000, 4, &PLANTED);
    stage.feed(&records);
    // How long librdkafka itself hopes that the topic appears; its default is 30 s.
    let hope = r#"kafka.properties={"producer.topic.metadata.propagation.max.ms":"500"}"#;
    let mut daemon = Daemon::start(&stage.config(), &["--set", hope]);
    daemon.wait_for("/readyz names the topic", |daemon| {
        let (code, why) = daemon.get("/readyz")?;
        (code == 503 && why.contains(&stage.anomalies())).then_some(())
    });
    assert!(stage.committed() < records.len() as i64, "an event that nobody took holds its offset back");
    stage.create_output_topics();
    daemon.wait_ready();
    stage.wait_committed(&mut daemon, records.len());
    assert_eq!(incidents_found(&stage.events(PLANTED.len()), &records), PLANTED.len());
    assert_eq!(daemon.metric("strayd_outputs_total")["kind=\"anomaly\",result=\"refused\""], 0.0);
}
