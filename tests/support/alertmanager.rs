//! A real Alertmanager for tests, and the receiver that it calls. The binary comes from Debian's package, as Prometheus does.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use super::prometheus::ready_at;
use super::tools::{binary, end, leave_out, root};

/// A running Alertmanager. Dropping it ends it and removes its data.
pub struct Alertmanager {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Alertmanager {
    /// Starts it on a port of its own. `None` where there is none on this machine.
    pub fn start(config: &str) -> Option<Self> {
        let mut command = command()?;
        let directory = tempfile::tempdir().expect("a temporary folder can be made");
        let file = directory.path().join("alertmanager.yaml");
        fs::write(&file, config).expect("the configuration can be written");
        let mut child = command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", directory.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            // One alone: it looks for no others.
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let log = BufReader::new(child.stderr.take().expect("standard error is piped"));
        match ready_at(log, None) {
            Ok(address) => Some(Self { child, address, _directory: directory }),
            Err(log) => {
                end(&mut child);
                panic!("alertmanager was not ready, its log:\n{log}");
            }
        }
    }

    /// Where it takes alerts.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The program, ready for its arguments. Debian's build reads its templates from a fixed place below `/usr/share`. Where the
/// package was not installed but only unpacked, it is started with that folder in the place of `/usr/share`, which nobody
/// else sees: a mount namespace of its own.
fn command() -> Option<Command> {
    let binary = binary("prometheus-alertmanager")?;
    if Path::new("/usr/share/prometheus/alertmanager/default.tmpl").is_file() {
        return Some(Command::new(binary));
    }
    let inside = |program: &str| {
        let mut command = Command::new("unshare");
        command
            .args([
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                "mount --bind \"$1\" /usr/share && shift && exec \"$@\"",
                "sh",
            ])
            .arg(root().join(".local/prometheus/usr/share"))
            .arg(program);
        command
    };
    if inside("true").output().is_ok_and(|output| output.status.success()) {
        return Some(inside(&binary.display().to_string()));
    }
    leave_out(
        "ALERTMANAGER: ITS PACKAGE IS NOT INSTALLED AND NO MOUNT NAMESPACE CAN BE MADE, SO ITS TESTS WERE SKIPPED",
    );
    None
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A web server that keeps what an Alertmanager posts to it, until the test program ends.
pub struct Receiver {
    address: SocketAddr,
    messages: Arc<Mutex<Vec<Value>>>,
}

/// An alert as a message told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// `firing` or `resolved`.
    pub status: String,
    /// The alert's name.
    pub alert: String,
    /// All that it says.
    pub text: String,
}

impl Receiver {
    /// Starts it on a port of its own.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let messages = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&messages);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let message = take(stream.expect("a connection"));
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend(message);
            }
        });
        Self { address, messages }
    }

    /// What to post to.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Every alert of every message so far, in order.
    pub fn told(&self) -> Vec<Told> {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let alerts = messages.iter().flat_map(|message| message["alerts"].as_array().expect("alerts"));
        alerts
            .map(|alert| Told {
                status: text(&alert["status"]),
                alert: text(&alert["labels"]["alertname"]),
                text: alert.to_string(),
            })
            .collect()
    }
}

/// Reads one request, answers it with 200, and gives its body.
fn take(stream: TcpStream) -> Option<Value> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length is a number");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body is as long as was said");
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    reader.get_mut().write_all(answer).expect("the sender waits for the answer");
    Some(serde_json::from_slice(&body).expect("Alertmanager posts JSON"))
}
