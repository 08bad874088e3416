//! `deploy/compose.yaml`, as the parser of Docker Compose understands it: every file that it mounts is there, every
//! container is locked down, what it starts is what strayd takes; and the same programs with the same settings, run
//! without containers on a real Apache Kafka, find a planted anomaly. That containers were started nobody claims: the
//! tests' machines have no Docker engine.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{
    broker::Broker,
    daemon::{Daemon, PATIENCE},
    tools::{free_ports, leave_out, root},
};

/// One way to start Compose.
struct Start {
    files: &'static [&'static str],
    /// The variable `DEVICE`, where it is set.
    device: Option<&'static str>,
}

const STARTS: [Start; 2] = [
    Start { files: &["compose.yaml"], device: None },
    Start { files: &["compose.yaml", "compose.cuda.yaml"], device: Some("cuda") },
];

/// What Compose makes of its files: defaults filled in, anchors and variables replaced. `None` without its parser.
fn compose(start: &Start) -> Option<Value> {
    let parser = root().join(".local/compose/compose-spec");
    if !parser.is_file() {
        leave_out("COMPOSE: ITS PARSER IS NOT HERE, SO NO TEST READ DEPLOY/COMPOSE.YAML");
        return None;
    }
    let output = Command::new(parser)
        .args(start.files)
        .current_dir(root().join("deploy"))
        .env_remove("DEVICE")
        .envs(start.device.map(|device| ("DEVICE", device)))
        .output()
        .expect("the parser starts");
    assert!(output.status.success(), "{:?}: {}", start.files, String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("the parser writes JSON"))
}

fn services(model: &Value) -> impl Iterator<Item = (&String, &Value)> {
    model["services"].as_object().expect("there are services").iter()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().expect("a text")).collect()
}

/// A named image's version: what follows the last colon.
fn version(image: &str) -> &str {
    image.rsplit_once(':').map_or("", |(_, version)| version)
}

/// Sources of bind mounts, relative to `deploy/`, with where they appear.
fn mounts(service: &Value) -> Vec<(PathBuf, String)> {
    let volumes = service["volumes"].as_array().cloned().unwrap_or_default();
    let of = |volume: &Value| {
        let source = Path::new(volume["source"].as_str()?).strip_prefix(root().join("deploy")).ok()?.to_owned();
        Some((source, volume["target"].as_str()?.to_owned()))
    };
    volumes.iter().filter(|volume| volume["type"] == "bind").map(|volume| of(volume).expect("below deploy/")).collect()
}

fn strayd(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_strayd")).args(arguments).output().expect("the program starts");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_container_is_locked_down_and_told_when_it_is_well() {
    for start in &STARTS {
        let Some(model) = compose(start) else { return };
        let names: BTreeSet<&str> = services(&model).map(|(name, _)| name.as_str()).collect();
        let wanted = ["alertmanager", "gen", "grafana", "kafka", "prometheus", "strayd", "topics"];
        assert_eq!(names.into_iter().collect::<Vec<_>>(), wanted);
        for (name, service) in services(&model) {
            assert_eq!(service["read_only"], true, "{name}'s root file system");
            assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
            assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
            assert!(service["restart"].is_string(), "{name}");
            for port in service["ports"].as_array().into_iter().flatten() {
                assert_eq!(port["host_ip"], "127.0.0.1", "{name}: {port}");
            }
            let image = service["image"].as_str().expect("an image");
            assert!(!["", "latest"].contains(&version(image)), "{name}: {image} says no version");
            let check = &service["healthcheck"];
            match name.as_str() {
                "gen" | "topics" => assert_eq!(check["disable"], true, "{name} serves nothing"),
                "strayd" => assert!(check.is_null(), "the image's own check"),
                _ => assert!(check["test"].is_array(), "{name} says when it is well"),
            }
        }
        let waits = |name: &str, whom: &str| model["services"][name]["depends_on"][whom]["condition"].clone();
        assert_eq!(waits("topics", "kafka"), "service_healthy");
        assert_eq!(waits("strayd", "topics"), "service_completed_successfully");
        assert_eq!(waits("gen", "topics"), "service_completed_successfully");
        assert_eq!(waits("grafana", "prometheus"), "service_healthy");
    }
}

#[test]
fn what_it_mounts_and_builds_is_there() {
    for start in &STARTS {
        let Some(model) = compose(start) else { return };
        for (name, service) in services(&model) {
            for (source, target) in mounts(service) {
                let path = root().join("deploy").join(&source);
                assert!(path.exists(), "{name} mounts {}, which is not there", path.display());
                // A file that a command names in a mounted folder.
                let named = texts(&service["command"]).join(" ");
                let rest = named.split_whitespace().filter_map(|word| word.split(&format!("{target}/")).nth(1));
                for file in rest.filter(|_| path.is_dir()) {
                    assert!(path.join(file).is_file(), "{name} starts with {target}/{file}, which is not there");
                }
            }
        }
        let build = &model["services"]["strayd"]["build"];
        let context = Path::new(build["context"].as_str().expect("a build context"));
        assert!(context.join(build["dockerfile"].as_str().expect("a Dockerfile")).is_file(), "{build}");
        let device = build["args"]["DEVICE"].as_str().expect("a device");
        assert_eq!(device, start.device.unwrap_or("cpu"));
        for name in ["strayd", "gen"] {
            assert_eq!(model["services"][name]["image"], format!("strayd:{device}").as_str(), "{name}");
        }
    }
}

#[test]
fn versions_are_told_once() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("the file is there");
    let channel = read("rust-toolchain.toml")
        .lines()
        .find_map(|line| Some(line.strip_prefix("channel = ")?.trim_matches('"').to_owned()));
    let rust = format!("ARG RUST_IMAGE=rust:{}-slim-bookworm\n", channel.expect("a channel"));
    assert!(read("deploy/Dockerfile").contains(&rust), "the Dockerfile's compiler is not that of rust-toolchain.toml");
    let Some(model) = compose(&STARTS[0]) else { return };
    let kafka = version(model["services"]["kafka"]["image"].as_str().expect("an image"));
    assert!(
        read("tests/kafka/pom.xml").contains(&format!("<version>{kafka}</version>")),
        "no test meets Kafka {kafka}"
    );
}

#[test]
fn configurations_are_sound() {
    for name in ["strayd.yaml", "strayd-image.yaml"] {
        let file = root().join("deploy").join(name);
        let (sound, told) = strayd(&["config", "check", "--config", file.to_str().expect("UTF-8")]);
        assert!(sound, "{name}: {told}");
    }
}

/// The generator's arguments as in compose.yaml, with this rate, so many records, and labels in this file.
fn generator(model: &Value, rate: &str, records: &str, labels: &Path) -> Vec<String> {
    let mut arguments: Vec<String> =
        texts(&model["services"]["gen"]["command"]).into_iter().map(str::to_owned).collect();
    for (flag, value) in [("--rate", rate), ("--config", root().join("deploy/strayd.yaml").to_str().expect("UTF-8"))] {
        let at = arguments.iter().position(|argument| argument == flag).expect("the generator is told it");
        value.clone_into(&mut arguments[at + 1]);
    }
    let labels = labels.to_str().expect("UTF-8");
    arguments.extend(["--records", records, "--labels", labels].map(str::to_owned));
    arguments
}

/// The broker's settings with nothing changed but addresses and the folder for its log.
fn on_free_ports(port: u16, controller: u16, log: &Path) -> String {
    let [inner] = free_ports();
    let settings = fs::read_to_string(root().join("deploy/kafka/server.properties")).expect("the file is there");
    [
        ("CONTAINERS://:9092", format!("CONTAINERS://127.0.0.1:{inner}")),
        ("CONTAINERS://kafka:9092", format!("CONTAINERS://127.0.0.1:{inner}")),
        ("HOST://:29092", format!("HOST://127.0.0.1:{port}")),
        ("HOST://localhost:29092", format!("HOST://127.0.0.1:{port}")),
        ("localhost:9093", format!("127.0.0.1:{controller}")),
        ("/var/lib/kafka/data/log", log.display().to_string()),
    ]
    .into_iter()
    .fold(settings, |settings, (from, to)| {
        assert!(settings.contains(from), "{from} is not in deploy/kafka/server.properties");
        settings.replace(from, &to)
    })
}

/// Records that the generator makes: those that are learned from, and those of some days after.
const RECORDS: usize = 60_000;

/// Records a second. Not all at once: the daemon would read one partition ahead of the other, and learn its machines
/// alone.
const RATE: &str = "5000";

#[test]
fn the_same_programs_without_containers_find_what_was_planted() {
    let Some(model) = compose(&STARTS[0]) else { return };
    let Some(broker) = Broker::apache(on_free_ports) else { return };
    // As the service `topics` says.
    let script = texts(&model["services"]["topics"]["command"]).concat();
    let listed = script.split(" in ").nth(1).and_then(|rest| rest.split(';').next()).expect("a list of topics");
    let topics: Vec<(&str, &str)> = listed.split_whitespace().filter_map(|word| word.split_once(':')).collect();
    assert_eq!(topics.len(), 4, "{script}");
    topics.iter().for_each(|(name, partitions)| broker.create_topic(name, partitions.parse().expect("a number")));

    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (labels, models) = (folder.path().join("labels.jsonl"), folder.path().join("models"));
    let brokers = format!("kafka.brokers={}", broker.servers());
    let registry = format!("model.registry={}", models.display());
    let config = root().join("deploy/strayd.yaml");
    let sets = ["--set", &brokers, "--set", &registry, "--set", "http.listen=127.0.0.1:0"];
    let mut daemon = Daemon::start(&config, &sets);
    let made = Command::new(env!("CARGO_BIN_EXE_strayd"))
        .args(generator(&model, RATE, &RECORDS.to_string(), &labels))
        .args(["--set", &brokers])
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    daemon.wait_records(RECORDS);

    let labels: Vec<Value> = fs::read_to_string(&labels)
        .expect("labels were written")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a label is JSON"))
        .collect();
    assert!(labels.len() >= 3, "{labels:?}");
    let reader = strayd::kafka::embedded::Reader::connect(&broker.servers(), "strayd.anomalies", 1).expect("a reader");
    let mut events: Vec<Value> = Vec::new();
    let wanted = daemon
        .metric("strayd_records_total")
        .iter()
        .filter(|(labels, _)| labels.contains("anomalous"))
        .map(|(_, count)| *count as usize)
        .sum::<usize>();
    let start = std::time::Instant::now();
    while events.len() < wanted && start.elapsed() < PATIENCE {
        events.extend(reader.next(std::time::Duration::from_millis(200)).map(|message| {
            serde_json::from_slice(&message.payload.expect("an event has a body")).expect("an event is JSON")
        }));
    }
    let covered = |label: &Value| {
        events.iter().any(|event| {
            let time = event["timestamp"].as_str().expect("a time");
            event["entity"] == label["entity"]
                && label["first"].as_str() <= Some(time)
                && Some(time) <= label["last"].as_str()
        })
    };
    let found: Vec<&Value> = labels.iter().filter(|label| covered(label)).collect();
    eprintln!("{} events, {} of {} planted anomalies found", events.len(), found.len(), labels.len());
    assert!(2 * found.len() >= labels.len(), "{found:?} of {labels:?} in {} events\n{}", events.len(), daemon.log());
    assert!(daemon.terminate().success(), "{}", daemon.log());
}
