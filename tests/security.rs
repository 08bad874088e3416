//! Who may talk to whom: every way to log in to a real broker, each way to be refused by one, and no secret told anywhere.

// Helpers of tests may fail as loudly as the tests themselves.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{
    broker::{Broker, Kind},
    certificates::replace,
    daemon::{Daemon, PATIENCE, Stage, run_to_end},
    incidents::{COLD_START, incidents_found_at},
    records::stream,
    rights::{Operation, Resource, Right},
    secured::{PASSWORDS, Secured},
};

/// The broker of these tests spends much of its time on TLS with clients that it refuses: one test at a time meets it, so that none waits
/// for longer than it would by itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A password that nobody has.
const WRONG: &str = "wrong-Zq81-secret";

/// How a daemon logs in: where, and with which settings of librdkafka and files of secrets.
struct Login {
    servers: String,
    properties: Vec<(&'static str, String)>,
    secrets: Vec<(&'static str, String)>,
    token_file: Option<PathBuf>,
}

impl Login {
    /// To the listener that asks for certificates, trusting an authority.
    fn ssl(secured: &Secured, authority: &str) -> Self {
        let ca = secured.certificates.text_path(&format!("{authority}.crt"));
        let properties = vec![("security.protocol", "SSL".to_owned()), ("ssl.ca.location", ca)];
        Self { servers: secured.ssl.clone(), properties, secrets: Vec::new(), token_file: None }
    }

    /// The same, showing a certificate.
    fn certificate(secured: &Secured, name: &str) -> Self {
        let [certificate, key] = ["crt", "key"].map(|end| secured.certificates.text_path(&format!("{name}.{end}")));
        let mut login = Self::ssl(secured, "good");
        login.properties.extend([("ssl.certificate.location", certificate), ("ssl.key.location", key)]);
        login
    }

    /// To the listener that asks for passwords.
    fn password(secured: &Secured, mechanism: &str, (user, password): (&str, &str)) -> Self {
        let file = secured.certificates.path(&format!("{mechanism}-{user}-{}", password.len()));
        std::fs::write(&file, format!("{password}\n")).unwrap();
        let mut login = Self::ssl(secured, "good");
        login.servers.clone_from(&secured.sasl);
        login.properties[0].1 = "SASL_SSL".to_owned();
        login.properties.extend([("sasl.mechanism", mechanism.to_owned()), ("sasl.username", user.to_owned())]);
        login.secrets.push(("sasl.password", file.display().to_string()));
        login
    }

    /// To the same, with a token in the file of this name.
    fn token(secured: &Secured, name: &str, token: &str) -> Self {
        let file = secured.certificates.path(name);
        replace(&file, token.as_bytes());
        let mut login = Self::ssl(secured, "good");
        login.servers.clone_from(&secured.sasl);
        login.properties[0].1 = "SASL_SSL".to_owned();
        login.properties.push(("sasl.mechanism", "OAUTHBEARER".to_owned()));
        login.token_file = Some(file);
        login
    }

    /// With all that librdkafka tells of it in the log.
    fn chatty(mut self) -> Self {
        self.properties.push(("debug", "security,conf,broker,protocol".to_owned()));
        self
    }

    fn arguments(&self) -> Vec<String> {
        let table = |pairs: &[(&str, String)]| {
            json!(pairs.iter().cloned().collect::<std::collections::BTreeMap<_, _>>()).to_string()
        };
        [
            format!("kafka.brokers={}", self.servers),
            format!("kafka.properties={}", table(&self.properties)),
            format!("kafka.secrets={}", table(&self.secrets)),
        ]
        .into_iter()
        .chain(self.token_file.iter().map(|file| format!("kafka.oauth_token_file={}", file.display())))
        .flat_map(|pair| ["--set".to_owned(), pair])
        .collect()
    }

    fn start(&self, stage: &Stage, further: &[&str]) -> Daemon {
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(further.iter().copied()).collect();
        Daemon::start(&stage.config(), &arguments)
    }
}

/// Asserts that no secret stands in anything that the daemon said or serves; of a token, its signature is the secret.
fn tells_no_secret(daemon: &Daemon, login: &Login) {
    let token = login.token_file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    let signature = token.as_deref().and_then(|token| token.rsplit('.').next()).filter(|part| part.len() > 20);
    let pages =
        ["/readyz", "/status", "/metrics"].map(|page| daemon.get(page).map(|(_, text)| text).unwrap_or_default());
    for secret in PASSWORDS.iter().copied().chain([WRONG]).chain(signature) {
        assert!(!daemon.log().contains(secret), "the log tells {secret}");
        assert!(pages.iter().all(|page| !page.contains(secret)), "a page tells {secret}");
    }
}

#[test]
fn each_way_to_log_in_reads_records_and_publishes_anomalies() {
    let _alone = alone();
    const ROWS: usize = 600;
    let Some(secured) = Secured::shared() else { return };
    let ways = [
        Login::certificate(secured, "strayd"),
        Login::password(secured, "PLAIN", ("plain", PASSWORDS[0])),
        Login::password(secured, "SCRAM-SHA-256", ("scram", PASSWORDS[1])),
        Login::password(secured, "SCRAM-SHA-512", ("scram", PASSWORDS[1])),
        Login::token(secured, "good-token", &secured.certificates.token("oauth", "tokens", 600)),
    ];
    let planted: Vec<usize> = (0..ways.len()).map(|way| COLD_START + way * ROWS + 400 + way % 4).collect();
    let records = stream(31, COLD_START + ways.len() * ROWS, 4, &planted);
    let stage = Stage::new(&secured.broker(), "logins", COLD_START);
    let mut fed = 0;
    for (way, login) in ways.iter().enumerate() {
        let end = COLD_START + (way + 1) * ROWS;
        stage.feed(&records[fed..end]);
        fed = end;
        let mut daemon = login.start(&stage, &[]);
        stage.wait_committed(&mut daemon, end);
        daemon.wait_ready();
        tells_no_secret(&daemon, login);
        assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    }
    assert_eq!(incidents_found_at(&planted, &stage.events(planted.len()), &records), planted.len());
}

/// Asserts that the daemon isn't ready, and that this is said by `/readyz`, `/status`, the log and the metrics.
fn is_refused(stage: &Stage, login: Login, words: &[&str]) {
    let login = login.chatty();
    let mut daemon = login.start(stage, &["--set", "log.level=debug"]);
    let says_all = |text: &str| words.iter().all(|word| text.contains(word));
    daemon.wait_for(&format!("/readyz says {words:?}"), |daemon| {
        let (code, why) = daemon.get("/readyz")?;
        (code == 503 && says_all(&why)).then_some(())
    });
    daemon.wait_for("the log and /status say so too", |daemon| {
        let (_, status) = daemon.get("/status")?;
        let warned: Vec<String> =
            daemon.log().lines().filter(|line| line.contains("WARN")).map(str::to_owned).collect();
        // The log names the end in a field of its own.
        let plain = |word: &str| word.trim_start_matches("source:").trim_start_matches("sink:").trim().to_owned();
        let says = |word: &&str| warned.iter().any(|line| line.contains(&plain(word)));
        (says_all(&status) && words.iter().all(says)).then_some(())
    });
    assert_eq!(daemon.sum("strayd_ready"), 0.0);
    assert_eq!(daemon.metric("strayd_connected")["end=\"source\""], 0.0);
    assert!(daemon.metric("strayd_errors_total")["part=\"source\""] >= 1.0);
    tells_no_secret(&daemon, &login);
    // What differs from one try to the next alone is no news: librdkafka tries some four times a second at first.
    let told = daemon.log().matches("not connected, trying again").count();
    assert!(told < 12, "{told} lines say that it isn't connected:\n{}", daemon.log());
}

#[test]
fn who_is_refused_is_told_why_and_what_would_be_right() {
    let _alone = alone();
    let Some(secured) = Secured::shared() else { return };
    let stage = Stage::new(&secured.broker(), "refusals", COLD_START);
    let mut late = Login::ssl(secured, "good");
    late.servers.clone_from(&secured.late);
    for (login, words) in [
        (Login::ssl(secured, "other"), &["source:", "sink:", &secured.ssl, "an authority in ssl.ca.location"][..]),
        (late, &["source:", &secured.late, "must be valid today"]),
        (
            Login::ssl(secured, "good"),
            &["source:", "sink:", "asks for a client certificate", "ssl.certificate.location"],
        ),
        (Login::certificate(secured, "late"), &["refuses the client certificate in ssl.certificate.location"]),
        // OpenSSL shows no certificate of an authority that the broker doesn't name.
        (Login::certificate(secured, "foreign"), &["asks for a client certificate", "ssl.certificate.location"]),
        (
            Login::password(secured, "PLAIN", ("plain", WRONG)),
            &["source:", "sink:", "Invalid username or password", "kafka.secrets.sasl.password"],
        ),
        (
            Login::password(secured, "SCRAM-SHA-256", ("scram", WRONG)),
            &["invalid credentials with SASL mechanism SCRAM-SHA-256", "kafka.secrets.sasl.password"],
        ),
        (
            Login::password(secured, "SCRAM-SHA-512", ("nobody", PASSWORDS[1])),
            &["invalid credentials with SASL mechanism SCRAM-SHA-512"],
        ),
        (
            Login::password(secured, "PLAIN", ("stranger", PASSWORDS[2])),
            &["source: the broker forbids", "sink: the broker forbids writing", "ACLs"],
        ),
    ] {
        is_refused(&stage, login, words);
    }
}

#[test]
fn rights_that_are_taken_away_are_named_and_when_given_again_no_event_is_missing() {
    let _alone = alone();
    const ROWS: usize = 600;
    let Some(secured) = Secured::shared() else { return };
    let stage = Stage::new(&secured.broker(), "rights", COLD_START);
    let right = |of, to| Right { of, to, principal: "User:tenant" };
    let (topics, group) = (Resource::Topics("rights."), Resource::Group("rights"));
    let [read, write, join] =
        [(topics, Operation::Read), (topics, Operation::Write), (group, Operation::Read)].map(|(of, to)| right(of, to));
    [read, write, join].iter().for_each(|right| right.give(&stage.servers));
    let planted = [COLD_START + 200, COLD_START + ROWS + 201, COLD_START + 2 * ROWS + 202];
    let records = stream(34, COLD_START + 3 * ROWS, 4, &planted);
    let chunk = |number: usize| COLD_START + number * ROWS..COLD_START + (number + 1) * ROWS;
    stage.feed(&records[..chunk(0).end]);
    let login = Login::password(secured, "PLAIN", ("tenant", PASSWORDS[3]));
    let mut daemon = login.start(&stage, &["--set", "kafka.state_topic=null"]);
    stage.wait_committed(&mut daemon, chunk(0).end);
    let refused = |daemon: &mut Daemon, words: &str| {
        daemon.wait_for(&format!("/readyz says `{words}`"), |daemon| {
            daemon.get("/readyz").filter(|(code, why)| *code == 503 && why.contains(words))
        });
    };

    write.take(&stage.servers);
    stage.feed(&records[chunk(1)]);
    refused(&mut daemon, "sink: the broker forbids writing to the topic `rights.anomalies`");
    write.give(&stage.servers);
    stage.wait_committed(&mut daemon, chunk(1).end);
    daemon.wait_ready();

    read.take(&stage.servers);
    refused(&mut daemon, "source: the broker forbids reading the topic `rights.in`");
    stage.feed(&records[chunk(2)]);
    read.give(&stage.servers);
    stage.wait_committed(&mut daemon, chunk(2).end);
    daemon.wait_ready();
    assert_eq!(daemon.sum("strayd_records_total") as usize, records.len(), "each record ends once");
    assert_eq!(incidents_found_at(&planted, &stage.events(planted.len()), &records), planted.len());
    tells_no_secret(&daemon, &login);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());

    // Nobody gave rights on the state topic.
    let mut daemon = login.start(&stage, &[]);
    refused(
        &mut daemon,
        "state: the broker forbids the topic `strayd.state`: its ACLs must allow this user Read, Write",
    );
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_token_that_is_dead_forged_or_none_is_named_with_its_file() {
    let _alone = alone();
    let Some(secured) = Secured::shared() else { return };
    let stage = Stage::new(&secured.broker(), "tokens", COLD_START);
    let token = |signer: &str, expires_in: i64| secured.certificates.token("oauth", signer, expires_in);
    let mut missing = Login::token(secured, "gone", "");
    missing.token_file = Some(secured.certificates.path("never-there"));
    let file = "kafka.oauth_token_file";
    for (login, words) in [
        (Login::token(secured, "dead", &token("tokens", -60)), &["source:", "sink:", file, "/dead expired at 20"][..]),
        (
            Login::token(secured, "forged", &token("forger", 600)),
            &["source:", "sink:", "the broker refuses the token", file],
        ),
        (
            Login::token(secured, "none", "no token at all"),
            &["source:", "/none holds no JSON Web Token", "three parts"],
        ),
        (missing, &["source:", "/never-there can't be read", "No such file"]),
    ] {
        is_refused(&stage, login, words);
    }
}

#[test]
fn a_token_that_is_renewed_in_its_file_keeps_the_connection() {
    let _alone = alone();
    const LIFE: Duration = Duration::from_secs(10);
    let Some(secured) = Secured::shared() else { return };
    let stage = Stage::new(&secured.broker(), "renewed", COLD_START);
    let token = || secured.certificates.token("oauth", "tokens", LIFE.as_secs() as i64);
    let login = Login::token(secured, "renewed", &token());
    let file = login.token_file.clone().unwrap();
    let mut daemon = login.start(&stage, &[]);
    daemon.wait_for("it is connected", |daemon| {
        let (_, why) = daemon.get("/readyz")?;
        (!why.contains("source:") && !why.contains("sink:")).then_some(())
    });
    // Each token lives for ten seconds, and the broker ends the sessions of the dead: three lives are enough.
    let records = stream(33, 1_900, 4, &[]);
    let start = Instant::now();
    let mut fed = 0;
    while start.elapsed() < 3 * LIFE {
        replace(&file, token().as_bytes());
        stage.feed(&records[fed..fed + 50]);
        fed += 50;
        daemon.wait_for("what was fed is read", |daemon| {
            (daemon.sum("strayd_cold_start_rows_remaining") <= (COLD_START - fed) as f64).then_some(())
        });
        std::thread::sleep(LIFE / 10);
    }
    tells_no_secret(&daemon, &login);
    // Nobody renews it any more.
    std::thread::sleep(LIFE);
    daemon.wait_for("/readyz tells that the token is dead", |daemon| {
        let (_, why) = daemon.get("/readyz")?;
        (why.contains("kafka.oauth_token_file") && why.contains("expired")).then_some(())
    });
    // librdkafka looks every ten seconds.
    replace(&file, secured.certificates.token("oauth", "tokens", 600).as_bytes());
    daemon.wait_for("a new token is taken up", |daemon| {
        let (_, why) = daemon.get("/readyz")?;
        (!why.contains("source:") && !why.contains("sink:")).then_some(())
    });
}

#[test]
fn a_key_of_another_certificate_ends_it_with_64_before_anything_is_sent() {
    let Some(secured) = Secured::shared() else { return };
    let stage = Stage::new(&secured.broker(), "mismatch", COLD_START);
    let mut login = Login::certificate(secured, "strayd");
    login.properties.retain(|(key, _)| *key != "ssl.key.location");
    login.properties.push(("ssl.key.location", secured.certificates.text_path("foreign.key")));
    let arguments = login.arguments();
    let (code, told) = run_to_end(&stage.config(), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, Some(64), "{told}");
    assert!(told.contains("ssl.key.location") && told.contains("key values mismatch"), "{told}");
}

#[test]
fn a_printed_configuration_shows_where_secrets_are_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, PASSWORDS[0]).unwrap();
    let print = Command::new(env!("CARGO_BIN_EXE_strayd"))
        .args(["config", "print", "--set", &format!("kafka.secrets.sasl.password={}", file.display())])
        .env("STRAYD__KAFKA__PROPERTIES__SSL__KEY__PASSWORD", PASSWORDS[1])
        .output()
        .unwrap();
    let told = String::from_utf8(print.stdout).unwrap();
    assert!(print.status.success() && told.contains(&file.display().to_string()), "{told}");
    assert!(told.contains("ssl.key.password: '***'") || told.contains("ssl.key.password: \"***\""), "{told}");
    PASSWORDS.iter().for_each(|secret| assert!(!told.contains(secret), "{told}"));
}

/// Sends a request's bytes as they are; gives what comes until the other side closes.
fn exchange(daemon: &Daemon, request: &str) -> String {
    let mut stream = TcpStream::connect(daemon.address().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A connection that was cut gives what came before.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn whoever_never_ends_a_request_or_sends_too_much_is_cut_off_while_probes_are_answered() {
    let broker = Broker::own(Kind::Embedded).unwrap();
    let stage = Stage::new(&broker, "slow", COLD_START);
    let mut daemon = stage.start();
    daemon.wait_for("it serves", |daemon| daemon.get("/healthz"));
    let address = daemon.address().unwrap();
    let silent: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /status HTTP/1.1\r\nhost: x\r\nx-slow: ").unwrap();
            stream
        })
        .collect();
    assert_eq!(daemon.get("/healthz").unwrap().0, 200);
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(matches!(stream.read(&mut [0; 64]), Ok(0)), "not cut off");
    }
    let large = exchange(&daemon, "POST /admin/retrain HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n");
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    let slow = exchange(&daemon, "GET /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx");
    assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
    let off = exchange(&daemon, "POST /admin/retrain HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(off.starts_with("HTTP/1.1 404") && off.contains("http.admin_token_file"), "{off}");
}
