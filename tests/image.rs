//! The container image: built from `deploy/Dockerfile` without a Docker engine, then run by an OCI runtime as its own
//! settings say, with a read-only root file system and no capability: the demo passes, the daemon starts with the
//! image's command, its health check tells how it is, and it ends well. What is not the image's own is the two base
//! images, which `scripts/prove-image` makes with debootstrap.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strayd::kafka::embedded::EmbeddedBroker;
use support::{
    daemon::PATIENCE,
    tools::{end, free_ports, leave_out, root},
};

/// What `scripts/prove-image` tells of the image that it built.
fn image() -> Option<&'static Value> {
    static IMAGE: OnceLock<Option<Value>> = OnceLock::new();
    let build = || {
        // The owner of this process' folder in /proc is its effective user.
        let is_root = fs::metadata("/proc/self").is_ok_and(|folder| folder.uid() == 0);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
        if !is_root || !["buildah", "debootstrap", "runc"].iter().all(|name| is_there(name)) {
            leave_out("IMAGE: BUILDAH, DEBOOTSTRAP, RUNC OR ROOT IS MISSING, SO NO TEST BUILT THE CONTAINER IMAGE");
            return None;
        }
        let output = Command::new(root().join("scripts/prove-image")).output().expect("the script starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let told: Value = serde_json::from_str(told.lines().last().unwrap_or_default()).expect("its last line is JSON");
        eprintln!("{told}");
        Some(told)
    };
    IMAGE.get_or_init(build).as_ref()
}

/// One container of the image, its volume in a folder that lives as long as this.
struct Container {
    folder: tempfile::TempDir,
    name: String,
    settings: Value,
}

impl Container {
    /// With the image's user, environment and working folder, a read-only root, no capability, and its volume alone to
    /// write to. `network` is whether it shares the host's network; without, it has a loopback interface and no more.
    fn new(image: &Value, arguments: &[&str], environment: &[(&str, &str)], network: bool) -> Self {
        let bundle = PathBuf::from(image["bundle"].as_str().expect("a folder"));
        let settings: Value =
            serde_json::from_str(&fs::read_to_string(bundle.join("image.json")).expect("the image's settings"))
                .expect("JSON");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let volume = folder.path().join("volume");
        fs::create_dir(&volume).expect("a folder can be made");
        let (user, group) = settings["User"].as_str().and_then(|user| user.split_once(':')).expect("user:group");
        let (user, group): (u32, u32) = (user.parse().expect("a number"), group.parse().expect("a number"));
        chown(&volume, Some(user), Some(group)).expect("root may");
        let list = |key: &str| settings[key].as_array().cloned().unwrap_or_default();
        let command = if arguments.is_empty() { list("Cmd") } else { arguments.iter().map(|a| json!(a)).collect() };
        let given = environment.iter().map(|(key, value)| json!(format!("{key}={value}")));
        let words: Vec<Value> = list("Entrypoint").into_iter().chain(command).collect();
        let variables: Vec<Value> = list("Env").into_iter().chain(given).collect();
        let volumes: Vec<&String> = settings["Volumes"].as_object().expect("volumes").keys().collect();
        assert_eq!(volumes, ["/var/lib/strayd"]);
        let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
        namespaces.extend((!network).then_some("network"));
        let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": user, "gid": group},
                "args": words,
                "env": variables,
                "cwd": settings["WorkingDir"],
                "capabilities": {},
                "noNewPrivileges": true,
            },
            "root": {"path": bundle.join("rootfs"), "readonly": true},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": volumes[0], "type": "bind", "source": volume, "options": ["bind", "rw"]},
            ],
            "linux": {"namespaces": namespaces},
        });
        fs::write(folder.path().join("config.json"), config.to_string()).expect("the bundle can be written");
        let name =
            format!("strayd-test-{}", folder.path().file_name().expect("a name").to_string_lossy().replace('.', ""));
        Self { folder, name, settings }
    }

    fn runc(&self) -> Command {
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(self.folder.path().join("run"));
        runc
    }

    fn command(&self) -> Command {
        let mut run = self.runc();
        run.args(["run", "--bundle"]).arg(self.folder.path()).arg(&self.name).stdin(Stdio::null());
        run
    }

    fn run(&self) -> Output {
        self.command().output().expect("runc starts")
    }

    /// Runs the image's health check inside, or with these arguments beside its own.
    fn health(&self, further: &[&str]) -> Output {
        let test = self.settings["Healthcheck"]["Test"].as_array().expect("the image has a health check");
        assert_eq!(test[0], "CMD");
        let words = test[1..].iter().map(|word| word.as_str().expect("a text"));
        self.runc().arg("exec").arg(&self.name).args(words).args(further).output().expect("runc starts")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Where it has ended there is nothing left to delete.
        let _ = self.runc().args(["delete", "--force", &self.name]).output();
    }
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until the container's log, or what else is asked, is as wanted.
fn wait_for(what: &str, child: &mut Child, log: &Path, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        let read = || fs::read_to_string(log).unwrap_or_default();
        let ended = child.try_wait().expect("the child can be asked");
        assert!(ended.is_none(), "the container ended ({ended:?}) before {what}:\n{}", read());
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}\n{}", read());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_demo_passes_inside_without_network_rights_or_a_file_system_to_write_to() {
    let Some(image) = image() else { return };
    let demo = Container::new(image, &["demo", "--json"], &[], false).run();
    assert!(demo.status.success(), "{}", told(&demo));
    let out = String::from_utf8_lossy(&demo.stdout).into_owned();
    let summary: Value = serde_json::from_str(out.lines().last().unwrap_or_default()).expect("the summary is JSON");
    assert_eq!(summary["records_in"], 20_160, "{summary}");
    assert!(summary["events_found"].as_u64() >= Some(5), "{summary}");
}

#[test]
fn nobody_can_write_but_to_the_volume_nor_gain_rights() {
    let Some(image) = image() else { return };
    // What the container's own user may, by the shell of its Debian and in place of the program.
    let container = Container::new(image, &[], &[], false);
    let file = container.folder.path().join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let script = "id -u; grep CapEff /proc/self/status; touch /var/lib/strayd/there && echo volume; \
                  touch /tmp/no /opt/strayd/no /etc/no 2>/dev/null || echo nowhere else";
    config["process"]["args"] = json!(["sh", "-c", script]);
    fs::write(&file, config.to_string()).unwrap();
    let output = container.run();
    let lines: Vec<String> = told(&output).lines().map(|line| line.replace('\t', " ")).collect();
    assert_eq!(lines, ["65532", "CapEff: 0000000000000000", "volume", "nowhere else"]);
    // Nothing inside belongs to that user, or gives the rights of another one, but the volume.
    let rootfs = Path::new(image["bundle"].as_str().unwrap()).join("rootfs");
    let find = Command::new("find").arg(&rootfs).args(["-xdev", "-uid", "65532"]).output().unwrap();
    assert_eq!(told(&find).trim(), rootfs.join("var/lib/strayd").to_str().unwrap());
    let own = fs::metadata(rootfs.join("opt/strayd/strayd")).unwrap();
    assert_eq!((own.uid(), own.mode() & 0o7777), (0, 0o755));
}

#[test]
fn the_daemon_runs_as_the_image_says_its_health_check_tells_how_it_is_and_it_ends_well() {
    let Some(image) = image() else { return };
    let broker = EmbeddedBroker::start().expect("the embedded broker starts");
    for topic in ["sensors", "strayd.anomalies", "strayd.incidents", "strayd.dead-letters"] {
        broker.create_topic(topic, 1).expect("a topic can be made");
    }
    let [port] = free_ports();
    let listen = format!("127.0.0.1:{port}");
    let servers = broker.bootstrap_servers();
    let environment = [
        ("STRAYD__KAFKA__BROKERS", servers.as_str()),
        ("STRAYD__KAFKA__INPUT_TOPIC", "sensors"),
        ("STRAYD__HTTP__LISTEN", listen.as_str()),
    ];
    let container = Container::new(image, &[], &environment, true);
    let log = container.folder.path().join("log");
    let file = fs::File::create(&log).expect("a file can be made");
    let mut child = container.command().stdout(Stdio::null()).stderr(file).spawn().expect("runc starts");
    wait_for("its health check passes", &mut child, &log, || container.health(&[]).status.success());
    // It has no model yet, and says so.
    let ready = container.health(&["--ready"]);
    assert_eq!(ready.status.code(), Some(1), "{}", told(&ready));
    assert!(told(&ready).contains("503") && told(&ready).contains("model"), "{}", told(&ready));
    let signal = container.settings["StopSignal"].as_str().expect("a stop signal");
    assert_eq!(signal, "SIGTERM");
    let sent = container.runc().args(["kill", &container.name, signal]).output().expect("runc starts");
    assert!(sent.status.success(), "{}", told(&sent));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child can be asked") {
            break status;
        }
        if start.elapsed() > PATIENCE {
            end(&mut child);
            panic!("{signal} did not end it:\n{}", fs::read_to_string(&log).unwrap_or_default());
        }
        thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "{status:?}\n{}", fs::read_to_string(&log).unwrap_or_default());
}
