//! The state topic on the real Apache Kafka: strayd makes it as it needs it, goes on where it was after a restart, and says what
//! is wrong with one that is not fit. That nothing is lost and nothing differs whatever is killed, `exactly_once` and `state` prove.

mod support;

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::DefaultClientContext,
};
use support::{
    broker::{Broker, Kind},
    daemon::{Daemon, Stage},
    records::stream,
};

/// Rows of the cold start.
const ROWS: usize = 1_500;

/// The setting of a topic; `None` where it has none.
fn setting(broker: &Broker, topic: &str, name: &str) -> Option<String> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", broker.servers()).create().expect("a client can be made");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let asked = [ResourceSpecifier::Topic(topic)];
    let told = runtime.block_on(admin.describe_configs(&asked, &AdminOptions::new())).expect("the broker answers");
    told.into_iter().next()?.ok()?.get(name)?.value.clone()
}

fn start(stage: &Stage, topic: &str) -> Daemon {
    let topic = format!("kafka.state_topic={topic}");
    Daemon::start(&stage.config(), &["--set", &topic, "--set", "pipeline.snapshot_interval=200ms"])
}

fn outcome(daemon: &Daemon, outcome: &str) -> f64 {
    let found = daemon.metric("strayd_records_total");
    found.iter().filter(|(labels, _)| labels.contains(outcome)).map(|(_, count)| count).sum()
}

#[test]
fn a_restart_goes_on_where_it_was_by_a_topic_that_is_made_for_it() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let stage = Stage::new(&broker, "state-kept", ROWS);
    let records = stream(5, ROWS + 900, 6, &[]);
    let (before, after) = records.split_at(ROWS + 600);
    let mut daemon = start(&stage, "state-kept.state");
    stage.feed(before);
    daemon.wait_ready();
    stage.wait_committed(&mut daemon, before.len());
    daemon.wait_for("snapshots are written", |daemon| {
        let written = daemon.metric("strayd_outputs_total");
        let snapshots =
            written.iter().find(|(labels, _)| labels.contains("snapshot") && labels.contains("acknowledged"));
        snapshots.filter(|(_, count)| **count >= 6.0).map(drop)
    });
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    assert_eq!(setting(&broker, "state-kept.state", "cleanup.policy").as_deref(), Some("compact"));
    assert_eq!(setting(&broker, "state-kept.state", "min.compaction.lag.ms").as_deref(), Some("3600000"));

    let mut daemon = start(&stage, "state-kept.state");
    stage.feed(after);
    stage.wait_committed(&mut daemon, records.len());
    assert!(daemon.sum("strayd_records_reread_total") > 0.0, "windows were read again");
    assert_eq!(daemon.sum("strayd_windows_cut_total"), 0.0, "{}", daemon.log());
    assert_eq!(outcome(&daemon, "warming_up"), 0.0, "no window begins anew");
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());

    // Where the topic is gone, all that can be read again is, and what it held begins anew.
    broker.real().delete_topic("state-kept.state");
    let mut daemon = start(&stage, "state-kept.state");
    stage.feed(&records[..100]);
    stage.wait_committed(&mut daemon, records.len() + 100);
    assert!(daemon.sum("strayd_records_reread_total") > 0.0);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());

    // Without a topic they do.
    let mut daemon = Daemon::start(&stage.config(), &["--set", "kafka.state_topic=null"]);
    stage.feed(&records[..300]);
    stage.wait_committed(&mut daemon, records.len() + 400);
    assert!(outcome(&daemon, "warming_up") > 0.0);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_state_topic_that_deletes_snapshots_is_refused_and_said_to_be() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let stage = Stage::new(&broker, "state-unfit", ROWS);
    broker.create_topic("state-unfit.state", 1);
    stage.feed(&stream(5, ROWS + 10, 6, &[]));
    let mut daemon = start(&stage, "state-unfit.state");
    let said = daemon.wait_for("it says what is wrong", |daemon| {
        let (status, text) = daemon.get("/readyz")?;
        (status == 503 && text.contains("state:")).then_some(text)
    });
    assert!(said.contains("cleanup.policy=delete, so that snapshots are deleted; expected compact"), "{said}");
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}
