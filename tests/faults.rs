//! Faults of topics, on the real Apache Kafka: what an operator sees of them, and that the daemon goes on.

mod support;

use support::{
    broker::{Broker, Kind},
    daemon::{Daemon, PARTITIONS, Stage},
    incidents::COLD_START,
    records::stream,
};

/// Records that are read before the fault.
const BEFORE: usize = COLD_START + 500;

/// A daemon that has read everything.
fn running(broker: &Broker, name: &str) -> (Stage, Daemon) {
    let stage = Stage::new(broker, name, COLD_START);
    // Seven entities, so that both partitions have some.
    stage.feed(&stream(21, BEFORE, 7, &[]));
    let mut daemon = stage.start();
    daemon.wait_ready();
    stage.wait_committed(&mut daemon, BEFORE);
    (stage, daemon)
}

/// A group that was away while records came in, all of which but the last of each partition were deleted. Gives how many.
fn overtaken(broker: &Broker, name: &str) -> (Stage, i64) {
    let (stage, mut daemon) = running(broker, name);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    let committed = broker.committed(&stage.name, &stage.input(), PARTITIONS);
    stage.feed(&stream(22, 900, 7, &[]));
    let mut lost = 0;
    for (partition, committed) in (0..).zip(committed) {
        let (from, end) = (committed.expect("it was read"), broker.real().end(&stage.input(), partition));
        if end > from {
            broker.real().delete_records(&stage.input(), partition, end - 1);
            lost += end - 1 - from;
        }
    }
    (stage, lost)
}

#[test]
fn records_that_retention_deleted_before_they_were_read_are_counted_and_told() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let (stage, lost) = overtaken(&broker, "overtaken");
    let mut daemon = stage.start();
    daemon.wait_for("the loss is counted", |daemon| {
        (daemon.sum("strayd_records_lost_total") == lost as f64).then_some(())
    });
    stage.wait_committed(&mut daemon, BEFORE + 900);
    assert!(daemon.log().contains("records were deleted before they were read"), "{}", daemon.log());
    assert_eq!(daemon.sum("strayd_records_total") as i64, 900 - lost, "what is left is read");
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

#[test]
fn with_on_loss_stop_the_program_ends_and_says_what_was_lost() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let (stage, _) = overtaken(&broker, "overtaken-stop");
    let (code, told) = support::daemon::run_to_end(&stage.config(), &["--set", "kafka.on_loss=stop"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("were deleted before they were read") && told.contains("kafka.on_loss"), "{told}");
    assert_eq!(stage.committed() as usize, BEFORE, "nothing was read beyond");
}

#[test]
fn partitions_that_are_added_are_read() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let (stage, mut daemon) = running(&broker, "grown");
    broker.real().add_partitions(&stage.input(), PARTITIONS as usize + 1);
    daemon.wait_for("the new partition is assigned", |daemon| {
        let assigned = |line: &str| line.contains("partitions assigned") && line.contains(&format!("[{PARTITIONS}]"));
        daemon.log().lines().any(assigned).then_some(())
    });
    let before = daemon.sum("strayd_records_total");
    stage.feed_to(PARTITIONS, &stream(23, 300, 4, &[]));
    daemon.wait_records(before as usize + 300);
    assert_eq!(daemon.sum("strayd_records_lost_total"), 0.0);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_topic_that_is_deleted_is_told_and_read_again_when_it_is_back() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let (stage, mut daemon) = running(&broker, "deleted");
    broker.real().delete_topic(&stage.input());
    daemon.wait_for("/readyz names the topic", |daemon| {
        let (code, why) = daemon.get("/readyz")?;
        (code == 503 && why.contains("`deleted.in` does not exist")).then_some(())
    });
    broker.create_topic(&stage.input(), PARTITIONS);
    daemon.wait_ready();
    let before = daemon.sum("strayd_records_total") as usize;
    stage.feed(&stream(24, 300, 4, &[]));
    daemon.wait_records(before + 300);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

#[test]
fn of_two_processes_with_one_transactional_id_the_older_ends_and_says_why() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let stage = Stage::new(&broker, "fenced", COLD_START);
    stage.feed(&stream(25, BEFORE, 4, &[]));
    let exactly = ["--set", "kafka.delivery=exactly_once", "--set", "kafka.transactional_id=fenced"];
    let mut older = Daemon::start(&stage.config(), &exactly);
    older.wait_ready();
    stage.wait_committed(&mut older, BEFORE);
    let mut newer = Daemon::start(&stage.config(), &exactly);
    newer.wait_ready();
    // Only who writes finds out.
    let ended = newer.wait_for("the older ends", |_| {
        stage.feed(&stream(26, 40, 4, &[]));
        older.ended()
    });
    assert_eq!(ended.code(), Some(1), "{}", older.log());
    assert!(older.log().contains("another process writes with the same kafka.transactional_id"), "{}", older.log());
    assert_eq!(newer.terminate().code(), Some(0), "{}", newer.log());
}

#[test]
fn of_two_processes_with_one_name_in_the_group_the_older_ends_and_says_why() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let stage = Stage::new(&broker, "same-name", COLD_START);
    stage.feed(&stream(27, BEFORE, 4, &[]));
    let named = ["--set", "kafka.group_instance_id=pump-0"];
    let mut older = Daemon::start(&stage.config(), &named);
    older.wait_ready();
    stage.wait_committed(&mut older, BEFORE);
    let mut newer = Daemon::start(&stage.config(), &named);
    let ended = newer.wait_for("the older ends", |_| older.ended());
    assert_eq!(ended.code(), Some(1), "{}", older.log());
    assert!(older.log().contains("under the same kafka.group_instance_id"), "{}", older.log());
    newer.wait_ready();
    assert_eq!(newer.terminate().code(), Some(0), "{}", newer.log());
}
