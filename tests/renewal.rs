//! Certificates and passwords that are renewed while the daemon runs: it goes on, and no record is lost or scored twice.

// Helpers of tests may fail as loudly as the tests themselves.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use support::{
    broker::{Broker, Extras, Kind, on_both_brokers},
    certificates::{Certificates, VALID, replace},
    daemon::{Daemon, Stage},
    incidents::{COLD_START, incidents_found_at, text},
    records::stream,
    secured::{PASSWORDS, Secured},
    tools::free_ports,
};

on_both_brokers!(records_count_once_however_often_the_connection_is_made_anew);

/// Rows of an entity's window that have no score (training.window - 1, by default).
const WARM_UP: usize = 3;
const ENTITIES: usize = 4;

/// A broker that trusts clients whose certificate an authority in `trust.crt` has signed, and shows that in `shown.pem`.
fn broker(certificates: &Certificates) -> Option<(Broker, String)> {
    let [ssl] = free_ports();
    let [store, trust] = ["shown.pem", "trust.crt"].map(|file| certificates.text_path(file));
    let settings = |port: u16, controller: u16, log: &Path| {
        format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},SSL://127.0.0.1:{ssl}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port},SSL://127.0.0.1:{ssl}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL\n\
             controller.listener.names=CONTROLLER\nlog.dirs={}\nauto.create.topics.enable=false\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nssl.client.auth=required\n\
             ssl.keystore.type=PEM\nssl.keystore.location={store}\nssl.truststore.type=PEM\nssl.truststore.location={trust}\n",
            log.display()
        )
    };
    Some((Broker::apache_with(Extras::default(), settings)?, format!("127.0.0.1:{ssl}")))
}

/// Puts together what stands in these files.
fn bundle(certificates: &Certificates, parts: &[&str]) -> Vec<u8> {
    parts.iter().flat_map(|part| fs::read(certificates.path(part)).unwrap()).collect()
}

fn changes(daemon: &Daemon, result: &str) -> f64 {
    daemon.metric("strayd_credentials_changes_total")[&format!("result=\"{result}\"")]
}

fn client_expiry(daemon: &Daemon) -> f64 {
    daemon.metric("strayd_certificate_expiry_timestamp_seconds")["certificate=\"client\""]
}

#[test]
fn certificates_are_rotated_to_a_new_authority_without_a_restart_and_each_record_counts_once() {
    const ROWS: usize = 800;
    let Some(certificates) = Certificates::new() else { return };
    for (authority, days) in [("old", VALID), ("new", VALID + 1)] {
        certificates.authority(authority);
        certificates.certificate(&format!("broker-{authority}"), authority, VALID);
        certificates.certificate(&format!("client-{authority}"), authority, days);
    }
    let lay = |file: &str, parts: &[&str]| replace(&certificates.path(file), &bundle(&certificates, parts));
    lay("shown.pem", &["broker-old.pem"]);
    lay("trust.crt", &["old.crt", "new.crt"]);
    lay("ca.crt", &["old.crt"]);
    lay("tls.crt", &["client-old.crt"]);
    lay("tls.key", &["client-old.key"]);
    let Some((broker, ssl)) = broker(&certificates) else { return };
    let stage = Stage::new(&broker, "rotation", COLD_START);
    let planted: Vec<usize> = (0..4).map(|chunk| COLD_START + chunk * ROWS + 500 + chunk).collect();
    let records = stream(41, COLD_START + 4 * ROWS, ENTITIES, &planted);
    let chunk = |number: usize| COLD_START + number * ROWS..COLD_START + (number + 1) * ROWS;
    let [ca, certificate, key] = ["ca.crt", "tls.crt", "tls.key"].map(|file| certificates.text_path(file));
    let properties = serde_json::json!({
        "security.protocol": "SSL", "ssl.ca.location": ca, "ssl.certificate.location": certificate, "ssl.key.location": key
    });
    let [brokers, properties] = [format!("kafka.brokers={ssl}"), format!("kafka.properties={properties}")];
    stage.feed(&records[..chunk(0).end]);
    let mut daemon = Daemon::start(&stage.config(), &["--set", &brokers, "--set", &properties]);
    stage.wait_committed(&mut daemon, chunk(0).end);
    let expiry = client_expiry(&daemon);

    // A key that belongs to another certificate: whoever writes them one after the other has it for a while.
    lay("tls.key", &["client-new.key"]);
    daemon.wait_for("the wrong key is told", |daemon| (changes(daemon, "unfit") == 1.0).then_some(()));
    assert!(daemon.log().contains("key values mismatch"), "{}", daemon.log());
    assert_eq!(client_expiry(&daemon), expiry, "the old one is still in use");
    lay("tls.crt", &["client-new.crt"]);
    lay("ca.crt", &["old.crt", "new.crt"]);
    // Records keep coming while the connection is made anew.
    for part in records[chunk(1)].chunks(100) {
        stage.feed(part);
        std::thread::sleep(Duration::from_millis(700));
    }
    daemon.wait_for("the new ones are taken up", |daemon| (changes(daemon, "taken_up") == 1.0).then_some(()));
    daemon.wait_for("an expiry a day later", |daemon| (client_expiry(daemon) >= expiry + 86_400.0).then_some(()));
    stage.wait_committed(&mut daemon, chunk(1).end);
    stage.feed(&records[chunk(2)]);
    stage.wait_committed(&mut daemon, chunk(2).end);

    // From now on nobody trusts the old authority, and the broker shows a certificate of the new one.
    broker.down();
    daemon.wait_for("/readyz is 503", |daemon| daemon.get("/readyz").filter(|(code, _)| *code == 503));
    lay("shown.pem", &["broker-new.pem"]);
    lay("trust.crt", &["new.crt"]);
    broker.up();
    stage.feed(&records[chunk(3)]);
    daemon.wait_ready();
    daemon.wait_records(records.len());
    stage.wait_committed(&mut daemon, records.len());

    let ended = daemon.metric("strayd_records_total");
    assert_eq!(ended.values().sum::<f64>(), records.len() as f64, "{ended:?}");
    assert_eq!(ended["outcome=\"collected\""], COLD_START as f64);
    // No window had to fill anew; those of the first records come from the cold start.
    assert!(ended["outcome=\"warming_up\""] <= (WARM_UP * ENTITIES) as f64, "{ended:?}");
    let events = stage.events(planted.len());
    let ids: BTreeSet<String> = events.iter().map(|event| text(event, "id")).collect();
    assert_eq!(ids.len(), events.len(), "each anomaly is published once");
    assert_eq!(incidents_found_at(&planted, &events, &records), planted.len());
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

fn records_count_once_however_often_the_connection_is_made_anew(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "often", COLD_START);
    let planted = [COLD_START + 1_500];
    let records = stream(44, COLD_START + 2_400, ENTITIES, &planted);
    stage.feed(&records[..COLD_START]);
    // Nothing here asks for it, but it is a secret that may change.
    let file = stage.folder.path().join("secret");
    fs::write(&file, "0").unwrap();
    let secret = format!("kafka.secrets.ssl.key.password={}", file.display());
    let mut daemon = Daemon::start(&stage.config(), &["--set", &secret]);
    daemon.wait_ready();
    for (round, part) in records[COLD_START..].chunks(800).enumerate() {
        replace(&file, format!("{}", round + 1).as_bytes());
        for some in part.chunks(80) {
            stage.feed(some);
            std::thread::sleep(Duration::from_millis(500));
        }
        daemon.wait_for("it is taken up", |daemon| (changes(daemon, "taken_up") >= (round + 1) as f64).then_some(()));
    }
    stage.wait_committed(&mut daemon, records.len());
    let ended = daemon.metric("strayd_records_total");
    assert_eq!(ended.values().sum::<f64>(), records.len() as f64, "{ended:?}");
    assert!(ended["outcome=\"warming_up\""] <= (WARM_UP * ENTITIES) as f64, "{ended:?}");
    assert_eq!(incidents_found_at(&planted, &stage.events(1), &records), 1);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_second_member_keeps_its_share_while_the_first_renews_its_certificates() {
    let Some(certificates) = Certificates::new() else { return };
    certificates.authority("old");
    for name in ["broker", "client", "client-next"] {
        certificates.certificate(name, "old", VALID);
    }
    let lay = |file: &str, part: &str| replace(&certificates.path(file), &bundle(&certificates, &[part]));
    lay("shown.pem", "broker.pem");
    lay("trust.crt", "old.crt");
    lay("own.pem", "client.pem");
    let Some((broker, ssl)) = broker(&certificates) else { return };
    let stage = Stage::new(&broker, "shared", COLD_START);
    // Seven entities, so that both partitions have some.
    let records = stream(43, COLD_START + 2_000, 7, &[]);
    stage.feed(&records[..COLD_START]);
    let brokers = format!("kafka.brokers={ssl}");
    let with = |file: &str| {
        let [ca, own] = ["old.crt", file].map(|file| certificates.text_path(file));
        let properties = serde_json::json!({
            "security.protocol": "SSL", "ssl.ca.location": ca, "ssl.certificate.location": own, "ssl.key.location": own
        });
        format!("kafka.properties={properties}")
    };
    let mut first = Daemon::start(&stage.config(), &["--set", &brokers, "--set", &with("own.pem")]);
    first.wait_ready();
    let mut second = Daemon::start(&stage.config(), &["--set", &brokers, "--set", &with("client.pem")]);
    second.wait_for("a partition for the second", |daemon| {
        let assigned = |line: &&str| line.contains("partitions assigned") && !line.contains("\"[]\"");
        daemon.log().lines().find(assigned).map(|_| ())
    });
    stage.feed(&records[COLD_START..COLD_START + 1_000]);
    stage.wait_committed(&mut second, COLD_START + 1_000);
    let before = second.sum("strayd_records_total");
    assert!(before > 0.0 && before < 1_000.0, "both have their share, the second {before}");
    lay("own.pem", "client-next.pem");
    first.wait_for("the new certificate is taken up", |daemon| (changes(daemon, "taken_up") == 1.0).then_some(()));
    stage.feed(&records[COLD_START + 1_000..]);
    stage.wait_committed(&mut first, records.len());
    let sum = first.sum("strayd_records_total") + second.sum("strayd_records_total");
    assert_eq!(sum, records.len() as f64, "each record ends once, in one of the two");
    assert!(second.sum("strayd_records_total") > before, "{}", second.log());
}

#[test]
fn a_password_that_is_put_right_ends_an_outage_without_a_restart() {
    let Some(secured) = Secured::shared() else { return };
    let stage = Stage::new(&secured.broker(), "healed", COLD_START);
    let records = stream(42, COLD_START + 400, ENTITIES, &[COLD_START + 200]);
    stage.feed(&records);
    let file = secured.certificates.path("healed-password");
    fs::write(&file, "not-yet-the-secret").unwrap();
    let properties = serde_json::json!({
        "security.protocol": "SASL_SSL", "ssl.ca.location": secured.certificates.text_path("good.crt"),
        "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "scram"
    });
    let sets = [
        format!("kafka.brokers={}", secured.sasl),
        format!("kafka.properties={properties}"),
        format!("kafka.secrets.sasl.password={}", file.display()),
    ];
    let arguments: Vec<&str> = sets.iter().flat_map(|set| ["--set", set.as_str()]).collect();
    let mut daemon = Daemon::start(&stage.config(), &arguments);
    daemon.wait_for("the wrong password is told", |daemon| {
        let (_, why) = daemon.get("/readyz")?;
        (why.contains("source:") && why.contains("sink:") && why.contains("invalid credentials")).then_some(())
    });
    replace(&file, PASSWORDS[1].as_bytes());
    daemon.wait_ready();
    stage.wait_committed(&mut daemon, records.len());
    assert_eq!(changes(&daemon, "taken_up"), 1.0);
    assert_eq!(incidents_found_at(&[COLD_START + 200], &stage.events(1), &records), 1);
    assert!(!daemon.log().contains(PASSWORDS[1]));
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}
