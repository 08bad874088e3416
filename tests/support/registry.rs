//! Apicurio Registry, which `make test-tools` lays under `.local/schema-registry`: a real schema registry, its schemas in memory.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::tools::{free_ports, leave_out, root};

/// How long it may take to start, or to answer.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where it serves the API of Confluent's registry.
const API: &str = "/apis/ccompat/v7";

/// A running registry; dropping it ends it.
pub struct Registry {
    /// Holds the registry's output, and its process number.
    folder: tempfile::TempDir,
    port: u16,
    shell: Child,
    /// The shell ends the registry when this closes: also when this process is killed.
    leash: Option<ChildStdin>,
}

impl Registry {
    /// The one that the tests of this program share, with subjects of their own; `None` where there is none.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Registry>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// One that a test has for itself, because it takes it away.
    pub fn start() -> Option<Self> {
        let home = root().join(".local/schema-registry");
        let Some(jar) = runner(&home) else {
            leave_out("SCHEMA REGISTRY: IT IS NOT HERE, SO NO TEST ASKED A REAL ONE");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let [port] = free_ports();
        let output = || fs::File::create(folder.path().join("output")).expect("its output can be kept");
        let mut shell = Command::new("sh")
            .args(["-c", "java \"$@\" & echo $! >pid; read -r _; kill -9 $! 2>/dev/null; wait $!", "sh"])
            .args(["-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args([&format!("-Dquarkus.http.port={port}"), "-Dquarkus.http.host=127.0.0.1", "-jar"])
            .arg(jar)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(output())
            .stderr(output())
            .spawn()
            .expect("java runs, make test-tools installs it");
        let leash = shell.stdin.take();
        let registry = Self { folder, port, shell, leash };
        let start = Instant::now();
        while registry.ask("GET", "/subjects", None).is_none_or(|(status, _)| status != 200) {
            let told = fs::read_to_string(registry.folder.path().join("output")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "the registry is not up after {PATIENCE:?}:\n{told}");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(registry)
    }

    /// What `record.schema_registry.url` has to be.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}{API}", self.port)
    }

    /// Registers a schema that refers to these others (name, subject), and gives its id.
    pub fn register(&self, subject: &str, kind: &str, schema: &str, references: &[(&str, &str)]) -> u32 {
        let references: Vec<Value> =
            references.iter().map(|(name, subject)| json!({"name": name, "subject": subject, "version": 1})).collect();
        let body = json!({"schemaType": kind, "schema": schema, "references": references});
        let (status, answer) = self
            .ask("POST", &format!("/subjects/{subject}/versions"), Some(&body.to_string()))
            .expect("the registry answers");
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).expect("an answer is JSON");
        answer["id"].as_u64().and_then(|id| u32::try_from(id).ok()).unwrap_or_else(|| panic!("no id in {answer}"))
    }

    /// The text of the schema with this id.
    pub fn schema(&self, id: u32) -> String {
        let (status, answer) = self.ask("GET", &format!("/schemas/ids/{id}"), None).expect("the registry answers");
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).expect("an answer is JSON");
        answer["schema"].as_str().expect("a schema is text").to_owned()
    }

    /// It answers no more, or goes on: connections are taken, and nothing comes back.
    pub fn freeze(&self, frozen: bool) {
        let pid = fs::read_to_string(self.folder.path().join("pid")).expect("the shell writes it");
        let signal = if frozen { "STOP" } else { "CONT" };
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", pid.trim())]).status();
        assert!(sent.expect("sh runs").success());
    }

    fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let body = body.unwrap_or_default();
        write!(
            stream,
            "{method} {API}{path} HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\
             Content-Type: application/vnd.schemaregistry.v1+json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split_whitespace().nth(1)?.parse().ok()?, body.to_owned()))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.leash.take());
        let _ = self.shell.wait();
    }
}

/// The program in the folder where it was unpacked.
fn runner(home: &std::path::Path) -> Option<PathBuf> {
    let files = fs::read_dir(home).ok()?.flatten().map(|entry| entry.path());
    let is_runner = |path: &PathBuf| path.to_string_lossy().ends_with("-runner.jar");
    files.into_iter().find(is_runner)
}
