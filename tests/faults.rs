//! Faults of topics, brokers, clocks and machines, on the real Apache Kafka: what an operator sees of them, and that the
//! daemon goes on.

mod support;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use strayd::{
    kafka::embedded::{Fed, Feeder},
    record::timestamp::to_rfc3339,
};
use support::{
    broker::{Broker, Extras, Kind, plain},
    daemon::{Daemon, PARTITIONS, PATIENCE, Stage},
    incidents::{COLD_START, text},
    records::{Record, stream},
    slow::SlowWay,
    tools::{free_ports, leave_out},
};

/// Records that are read before the fault.
const BEFORE: usize = COLD_START + 500;

/// A daemon that has read everything.
fn running(broker: &Broker, name: &str) -> (Stage, Daemon) {
    running_with(broker, name, &[])
}

/// The same with further arguments.
fn running_with(broker: &Broker, name: &str, arguments: &[&str]) -> (Stage, Daemon) {
    let stage = Stage::new(broker, name, COLD_START);
    // Seven entities, so that both partitions have some.
    stage.feed(&stream(21, BEFORE, 7, &[]));
    let mut daemon = Daemon::start(&stage.config(), arguments);
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

/// A broker that can be reached by a way that may be slow, beside the fast one.
fn slow_broker() -> Option<(Broker, SlowWay)> {
    let [behind] = free_ports();
    let way = SlowWay::to(behind);
    let broker = Broker::apache_with(Extras::default(), |port, controller, log| {
        let settings = plain(port, controller, log);
        let slow = format!("SLOW://127.0.0.1:{}", way.port());
        settings
            .replace("\nadvertised.listeners=", &format!(",SLOW://127.0.0.1:{behind}\nadvertised.listeners={slow},"))
            + "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SLOW:PLAINTEXT\n"
    })?;
    Some((broker, way))
}

#[test]
fn a_broker_that_is_slow_shows_as_lag_and_one_that_stands_still_as_not_ready_and_nothing_is_lost() {
    const MORE: usize = 2_000;
    let Some((broker, way)) = slow_broker() else { return };
    let brokers = format!("kafka.brokers=127.0.0.1:{}", way.port());
    // An answer that takes longer than this counts as none; a minute by default. Answers hold little, so that they are many.
    let properties = r#"kafka.properties={"socket.timeout.ms":"3000","fetch.message.max.bytes":"4096"}"#;
    let (stage, mut daemon) = running_with(&broker, "slow", &["--set", &brokers, "--set", properties]);
    way.limit(20_000);
    stream(27, MORE, 7, &[]).chunks(200).for_each(|some| stage.feed(some));
    let ready = daemon.wait_for("the lag is told", |daemon| {
        (daemon.sum("strayd_consumer_lag_records") > 0.0).then(|| daemon.get("/readyz"))
    });
    assert_eq!(ready.map(|(code, _)| code), Some(200), "slow is not away: {}", daemon.log());
    stage.wait_committed(&mut daemon, BEFORE + MORE);
    daemon.wait_for("the lag is gone", |daemon| (daemon.sum("strayd_consumer_lag_records") == 0.0).then_some(()));

    way.limit(0);
    stage.feed(&stream(28, 300, 7, &[]));
    daemon.wait_for("/readyz is 503", |daemon| {
        daemon.get("/readyz").filter(|(code, why)| *code == 503 && why.contains("source:"))
    });
    way.free();
    stage.wait_committed(&mut daemon, BEFORE + MORE + 300);
    daemon.wait_ready();
    assert_eq!(daemon.sum("strayd_records_total") as usize, BEFORE + MORE + 300, "each record ends once");
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

/// A disk of a few megabytes in memory, which goes when this does.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`, and that is said, where it may not be mounted.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(folder.path()).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            leave_out("MOUNT: ONLY ROOT CAN MAKE A SMALL DISK, SO NO TEST FILLED A BROKER'S");
            return None;
        }
        Some(Self { folder })
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }

    /// Leaves no room.
    fn fill(&self) {
        let mut filler = fs::File::create(self.filler()).expect("there is room yet");
        while filler.write_all(&[1; 4096]).is_ok() {}
    }

    /// Makes room again.
    fn free(&self) {
        fs::remove_file(self.filler()).expect("the disk was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a broker that was just killed may hold files yet.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

#[test]
fn a_broker_that_ends_because_its_disk_is_full_is_waited_for_and_no_record_is_lost() {
    const MORE: usize = 2_000;
    let Some(disk) = SmallDisk::new() else { return };
    let log = disk.folder.path().join("log");
    let settings = |port: u16, controller: u16, _: &Path| plain(port, controller, &log);
    let Some(broker) = Broker::apache_with(Extras::default(), settings) else { return };
    let (stage, mut daemon) = running(&broker, "full");
    disk.fill();
    let (servers, input) = (stage.servers.clone(), stage.input());
    let feeding = thread::spawn(move || {
        let feeder = Feeder::connect(&servers, &input).expect("a feeder can be made");
        for record in stream(29, MORE, 7, &[]) {
            let (key, payload) = (Some(record.key.as_bytes()), Some(record.payload.as_bytes()));
            feeder.feed(&Fed { key, payload, timestamp_ms: None, partition: None }).expect("the record can be fed");
        }
        feeder.flush(PATIENCE).expect("the broker takes the records in the end");
    });
    daemon.wait_for("/readyz is 503", |daemon| {
        daemon.get("/readyz").filter(|(code, why)| *code == 503 && why.contains("source:"))
    });
    assert_eq!(daemon.metric("strayd_connected")["end=\"source\""], 0.0);
    disk.free();
    broker.down();
    broker.up();
    feeding.join().expect("all records were fed");
    let all: i64 = (0..PARTITIONS).map(|partition| broker.real().end(&stage.input(), partition)).sum();
    assert!(all as usize >= BEFORE + MORE, "the broker holds {all}");
    stage.wait_committed(&mut daemon, all as usize);
    daemon.wait_ready();
    assert_eq!(daemon.sum("strayd_records_total"), all as f64, "each record ends once");
    assert_eq!(daemon.sum("strayd_records_lost_total"), 0.0);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_member_that_gets_no_cpu_loses_its_place_takes_it_again_and_loses_no_record() {
    const MORE: usize = 900;
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let session = "kafka.properties={\"session.timeout.ms\":\"6000\"}";
    let (stage, mut daemon) = running_with(&broker, "starved", &["--set", session]);
    let assigned = |daemon: &Daemon| daemon.log().matches("partitions assigned").count();
    let before = assigned(&daemon);
    daemon.hold_back(true);
    stage.feed(&stream(30, MORE, 7, &[]));
    // The broker's word, not a time: it shuts out whom it has not heard of for the session's timeout.
    let start = Instant::now();
    while broker.real().members(&stage.name) > 0 {
        assert!(start.elapsed() < PATIENCE, "the broker still counts on the member");
        thread::sleep(Duration::from_millis(200));
    }
    daemon.hold_back(false);
    stage.wait_committed(&mut daemon, BEFORE + MORE);
    assert!(assigned(&daemon) > before, "{}", daemon.log());
    assert_eq!(daemon.sum("strayd_records_total") as usize, BEFORE + MORE, "each record ends once");
    assert_eq!(daemon.sum("strayd_records_lost_total"), 0.0);
    daemon.wait_ready();
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

/// Feeds these rows of the records, each with the time that its producer's clock told.
fn feed_at(stage: &Stage, records: &[Record], rows: std::ops::Range<usize>, clock: impl Fn(usize) -> i64) {
    let feeder = Feeder::connect(&stage.servers, &stage.input()).expect("a feeder can be made");
    for row in rows {
        let record = &records[row];
        let timestamp_ms = Some(clock(row));
        let (key, payload) = (Some(record.key.as_bytes()), Some(record.payload.as_bytes()));
        feeder.feed(&Fed { key, payload, timestamp_ms, partition: None }).expect("the record can be fed");
    }
    feeder.flush(PATIENCE).expect("the broker takes the records");
}

#[test]
fn records_of_clocks_that_are_ahead_or_decades_behind_are_judged_by_their_own_time() {
    const ENTITIES: usize = 7;
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let stage = Stage::new(&broker, "clocks", COLD_START);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as i64;
    // Kafka itself takes no record that is more than an hour ahead.
    let (ahead, behind) = (now + 40 * 60_000, 631_152_000_000);
    let clock = |row: usize| {
        let begin = [ahead, behind].get(row % ENTITIES).copied().unwrap_or(now - 3_600_000);
        begin + 1_000 * (row / ENTITIES) as i64
    };
    // One incident of either clock.
    let planted = [2_401 / ENTITIES * ENTITIES, 2_801 / ENTITIES * ENTITIES + 1];
    let records = stream(32, 4_000, ENTITIES, &planted);
    let sets = ["--set", "record.timestamp=null", "--set", "record.exclude=[\"time\"]"];
    let mut daemon = Daemon::start(&stage.config(), &sets);
    feed_at(&stage, &records, 0..COLD_START, clock);
    daemon.wait_ready();
    feed_at(&stage, &records, COLD_START..records.len(), clock);
    stage.wait_committed(&mut daemon, records.len());
    assert_eq!(daemon.sum("strayd_records_total") as usize, records.len(), "each record has its end");
    assert_eq!(daemon.sum("strayd_dead_letters_total"), 0.0);
    // No delay is negative, and none is no number.
    let delays = daemon.metric("strayd_event_delay_seconds_sum");
    assert!(delays.values().all(|seconds| *seconds >= 0.0), "{delays:?}");
    let events = stage.events(2);
    for (entity, row) in [(0, planted[0]), (1, planted[1])] {
        let found = (row..).step_by(ENTITIES).take(12).any(|row| {
            let time = to_rfc3339(clock(row) * 1_000);
            events.iter().any(|event| {
                (text(event, "entity"), text(event, "timestamp")) == (format!("machine-{entity}"), time.clone())
            })
        });
        assert!(found, "the incident of machine-{entity}: {events:?}");
    }
    daemon.wait_ready();
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}
