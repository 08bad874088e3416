//! Delivery when things change: members come and go, the broker is away at the end, the first records are no good.
//! Every test runs on the embedded broker and on the real Apache Kafka.

mod support;

use std::{
    ffi::OsStr,
    io::Write,
    os::unix::ffi::OsStrExt,
    process::{Command, Stdio},
};

use support::{
    broker::{Broker, Kind, on_both_brokers},
    daemon::{Daemon, Stage},
    incidents::{COLD_START, PLANTED, incidents_found},
    records::{Record, stream},
};

on_both_brokers!(
    a_second_member_takes_its_share_and_takes_over_all,
    a_stop_while_the_broker_is_away_ends_by_the_deadline,
    a_stop_while_training_ends_by_the_deadline_and_moves_no_offset,
    a_topic_that_begins_with_bad_records_is_trained_on_what_follows,
    an_input_topic_that_is_missing_is_named_by_readyz,
);

fn bad(payload: &str) -> Record {
    Record { key: "broken".into(), payload: payload.into(), planted: false }
}

/// Alarms a day that the budget leaves to all entities of a replica.
fn promised_in_all(daemon: &Daemon) -> Option<f64> {
    let [promised, entities] = ["strayd_alarm_rate_promised", "strayd_entities"].map(|name| daemon.sum(name));
    Some(promised * entities).filter(|alarms| alarms.is_finite())
}

fn a_second_member_takes_its_share_and_takes_over_all(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "members", COLD_START);
    // Seven entities, so that both partitions have some.
    let records = stream(8, 4_000, 7, &PLANTED);
    stage.feed(&records[..COLD_START]);
    let start = || Daemon::start(&stage.config(), &["--set", "judging.budget.alarms=7 per day"]);
    let mut first = start();
    first.wait_ready();
    let mut second = start();
    second.wait_for("a partition for the second", |daemon| {
        let assigned = |line: &&str| line.contains("partitions assigned") && !line.contains("\"[]\"");
        daemon.log().lines().find(assigned).map(|_| ())
    });
    stage.feed(&records[COLD_START..3_000]);
    stage.wait_committed(&mut second, 3_000);
    assert!(first.sum("strayd_records_total") < 3_000.0, "the second has its share:\n{}", second.log());
    second.wait_for("half of the budget for half of the partitions", |daemon| {
        promised_in_all(daemon).filter(|promised| (3.3..3.7).contains(promised))
    });
    assert_eq!(first.terminate().code(), Some(0), "{}", first.log());
    stage.feed(&records[3_000..]);
    stage.wait_committed(&mut second, records.len());
    assert!(second.sum("strayd_records_total") > 1_000.0);
    assert!(second.sum("strayd_offsets_committed_total") > 0.0);
    second.wait_for("the whole budget", |daemon| {
        promised_in_all(daemon).filter(|promised| (6.6..7.4).contains(promised))
    });
    assert_eq!(incidents_found(&stage.events(PLANTED.len()), &records), PLANTED.len());
    assert_eq!(second.terminate().code(), Some(0), "{}", second.log());
}

fn a_stop_while_the_broker_is_away_ends_by_the_deadline(kind: Kind) {
    let Some(broker) = Broker::own(kind) else { return };
    let stage = Stage::new(&broker, "away-at-the-end", COLD_START);
    stage.feed(&stream(9, 2_100, 4, &[]));
    let mut daemon = stage.start();
    daemon.wait_ready();
    stage.wait_committed(&mut daemon, 2_100);
    broker.down();
    daemon.wait_for("/readyz is 503", |daemon| daemon.get("/readyz").filter(|(code, _)| *code == 503));
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

fn a_stop_while_training_ends_by_the_deadline_and_moves_no_offset(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "training", COLD_START);
    stage.feed(&stream(10, COLD_START, 4, &[]));
    let long = ["--set", "training.epochs=100000", "--set", "training.patience=100000"];
    let mut daemon = Daemon::start(&stage.config(), &long);
    daemon.wait_for("an epoch", |daemon| (daemon.sum("strayd_training_epoch") > 0.0).then_some(()));
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    assert_eq!(stage.committed(), 0);
}

fn a_topic_that_begins_with_bad_records_is_trained_on_what_follows(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "bad-first", COLD_START);
    // The first can't be decoded; the second are sound, but nothing can be learned from them.
    let mut records: Vec<Record> = (0..3_000).map(|_| bad("{\"load\":")).collect();
    records.extend((0..COLD_START).map(|row| bad(&format!("{{\"time\":{},\"note\":\"é\"}}", 1_767_225_600 + row))));
    stage.feed(&records);
    let mut daemon = stage.start();
    daemon.wait_for("/readyz says why there is no model", |daemon| {
        let (code, why) = daemon.get("/readyz")?;
        (code == 503 && why.contains("last error") && why.contains("rows collected")).then_some(())
    });
    assert_eq!(daemon.metric("strayd_training_runs_total")["result=\"failed\""], 1.0);
    let sound = stream(11, 6_000, 4, &[]);
    stage.feed(&sound);
    daemon.wait_ready();
    stage.wait_committed(&mut daemon, records.len() + sound.len());
    assert_eq!(daemon.sum("strayd_dead_letters_total"), records.len() as f64);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

fn an_input_topic_that_is_missing_is_named_by_readyz(kind: Kind) {
    // The embedded broker makes every topic that it is asked for.
    if kind == Kind::Embedded {
        return;
    }
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "no-input", COLD_START);
    let mut daemon = Daemon::start(&stage.config(), &["--set", "kafka.input_topic=no-input.later"]);
    daemon.wait_for("/readyz names the topic", |daemon| {
        let (code, why) = daemon.get("/readyz")?;
        (code == 503 && why.contains("`no-input.later` does not exist")).then_some(())
    });
    broker.create_topic("no-input.later", 1);
    daemon.wait_for("the source is connected", |daemon| {
        let (_, why) = daemon.get("/readyz")?;
        (!why.contains("source:")).then_some(())
    });
}

/// The partitions that a log tells of in lines with this word.
fn partitions_told(daemon: &Daemon, word: &str) -> Vec<String> {
    let lines: Vec<serde_json::Value> =
        daemon.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told = lines.iter().filter(|line| line["message"] == format!("partitions {word}"));
    told.map(|line| line["partitions"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Only a real broker knows members by names of their own. The session outlasts the restart of a busy machine, but not the test.
#[test]
fn a_named_member_that_is_killed_comes_back_to_its_partitions_and_no_other_notices() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let stage = Stage::new(&broker, "named-members", COLD_START);
    let records = stream(12, 4_000, 7, &PLANTED);
    stage.feed(&records[..COLD_START]);
    let start = |name: &str| {
        let id = format!("kafka.group_instance_id={name}");
        let session = r#"kafka.properties={"session.timeout.ms":"60000","heartbeat.interval.ms":"500"}"#;
        Daemon::start(&stage.config(), &["--set", &id, "--set", session])
    };
    let mut first = start("pump-0");
    first.wait_ready();
    let mut second = start("pump-1");
    second.wait_for("a partition for the second", |daemon| {
        (partitions_told(daemon, "assigned").last()?.as_str() != "[]").then_some(())
    });
    let told = || [partitions_told(&second, "assigned"), partitions_told(&second, "revoked")];
    let before = told();
    stage.feed(&records[COLD_START..3_000]);
    stage.wait_committed(&mut first, 3_000);
    first.kill();
    let mut again = start("pump-0");
    again.wait_for("its partition is back", |daemon| partitions_told(daemon, "assigned").pop());
    assert_ne!(partitions_told(&again, "assigned"), [before[0].last().cloned().unwrap_or_default()]);
    stage.feed(&records[3_000..]);
    stage.wait_committed(&mut again, records.len());
    assert_eq!(told(), before, "the second has seen no rebalance");
    assert_eq!(partitions_told(&again, "revoked"), [""; 0], "nor has the first");
    assert_eq!(incidents_found(&stage.events(PLANTED.len()), &records), PLANTED.len());
    assert_eq!(second.terminate().code(), Some(0), "{}", second.log());
}

#[test]
fn a_dead_letter_keeps_the_headers_of_its_record_whatever_bytes_their_keys_are() {
    let Some(kcat) = support::tools::binary("kcat") else { return };
    let broker = Broker::own(Kind::Embedded).expect("it is in this process");
    let stage = Stage::new(&broker, "headers", COLD_START);
    let mut producer = Command::new(kcat)
        .args(["-b", &stage.servers, "-t", &stage.input(), "-P", "-H", "trace=00-1", "-H"])
        .arg(OsStr::from_bytes(b"ke\xffy=1"))
        .stdin(Stdio::piped())
        .spawn()
        .expect("kcat starts");
    producer.stdin.take().expect("standard input is piped").write_all(b"{\"load\":").expect("kcat reads");
    assert!(producer.wait().expect("kcat ends").success());
    let mut daemon = stage.start();
    daemon.wait_records(1);
    let headers = stage.read(&stage.dead_letters(), 1).remove(0).headers;
    let found = ["trace", "ke\u{fffd}y", "strayd.error.reason"].map(|key| headers.get(key).map(String::as_str));
    assert_eq!(found, [Some("00-1"), Some("1"), Some("undecodable")], "{headers:?}");
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

/// Larger than what librdkafka's producer takes by default. Apache Kafka's own limit is about the same.
#[test]
fn a_record_of_two_megabytes_is_a_dead_letter_with_all_its_bytes() {
    let broker = Broker::own(Kind::Embedded).expect("it is in this process");
    let stage = Stage::new(&broker, "large", COLD_START);
    let large = "x".repeat(2_000_000);
    stage.feed(&[bad(&large)]);
    let mut daemon = stage.start();
    daemon.wait_records(1);
    let letters = stage.read(&stage.dead_letters(), 1);
    assert_eq!(letters[0].payload.as_ref().map(Vec::len), Some(large.len()));
    assert_eq!(letters[0].headers["strayd.error.reason"], "too_large");
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}
