//! Helm, and a real kube-apiserver with etcd, as `make test-tools` lays them under `.local/kube`. There is no kubelet
//! and no controller: objects are checked, admitted and kept, but no pod ever runs.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::tools::{free_ports, leave_out, root};

/// How long the API server may take to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a program and ends it when the standard input of this ends, so also where the test run is killed. At once: an API
/// server whose etcd is gone would wait for it, and nothing of theirs is kept.
const LEASH: &str = r#"dir=$1; shift; "$@" & child=$!; read -r _; kill -KILL $child; wait $child; rm -rf "$dir""#;

/// The folder of the chart.
pub fn chart() -> PathBuf {
    root().join("helm/strayd")
}

/// A file under `.local/kube`. Where there is none, that goes to the test run's last words.
fn part(path: &str) -> Option<PathBuf> {
    let found = root().join(".local/kube").join(path);
    if !found.is_file() {
        leave_out("KUBERNETES: HELM, KUBE-APISERVER OR ETCD IS NOT HERE, SO NO TEST INSTALLED THE CHART");
        return None;
    }
    Some(found)
}

/// Standard output of a program that must succeed.
fn succeeded(what: &str, output: &Output) -> String {
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{errors}\n{text}", output.status);
    text.into_owned()
}

/// Runs a command with this standard input.
fn run(command: &mut Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let input = input.to_owned();
    let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("the program ends");
    // That the program closed its input early shows in its answer.
    let _ = writer.join().expect("the writing thread does not panic");
    output
}

/// The helm command, with a home of its own.
pub struct Helm {
    program: PathBuf,
    home: TempDir,
}

impl Helm {
    /// `None` where helm is not here.
    pub fn find() -> Option<Self> {
        Some(Self { program: part("bin/helm")?, home: tempfile::tempdir().expect("a temporary folder can be made") })
    }

    /// Runs it, whatever comes of it.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        run(command.args(arguments).env("HOME", self.home.path()).env_remove("KUBECONFIG"), "")
    }

    /// The manifests of the chart with these values, for the release `watch` in the namespace `streams`.
    pub fn template(&self, values: &Path, more: &[&str]) -> String {
        let (chart, values) = (chart().display().to_string(), values.display().to_string());
        let fixed = ["template", "watch", &chart, "--namespace", "streams", "--kube-version", "1.37.0", "-f", &values];
        succeeded(&values, &self.run(&[&fixed[..], more].concat()))
    }
}

/// The documents of a YAML stream as JSON, empty ones left out.
pub fn documents(text: &str) -> Vec<Value> {
    let loaded = yaml_rust2::YamlLoader::load_from_str(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    loaded.iter().map(json).filter(|document| !document.is_null()).collect()
}

fn json(yaml: &yaml_rust2::Yaml) -> Value {
    use yaml_rust2::Yaml;
    match yaml {
        Yaml::Integer(number) => Value::from(*number),
        Yaml::Real(text) => Value::from(text.parse::<f64>().expect("a number")),
        Yaml::String(text) => Value::from(text.as_str()),
        Yaml::Boolean(yes) => Value::from(*yes),
        Yaml::Array(list) => list.iter().map(json).collect(),
        Yaml::Hash(table) => Value::Object(table.iter().map(|(key, value)| (key_text(key), json(value))).collect()),
        Yaml::Null | Yaml::Alias(_) | Yaml::BadValue => Value::Null,
    }
}

fn key_text(key: &yaml_rust2::Yaml) -> String {
    key.as_str().map_or_else(|| panic!("{key:?} is no text"), str::to_owned)
}

/// A kube-apiserver with its etcd; whoever asks it is allowed everything.
pub struct Cluster {
    // Dropping their standard input ends them.
    _etcd: Child,
    _server: Child,
    folder: PathBuf,
    kubectl: PathBuf,
    helm: PathBuf,
}

impl Cluster {
    /// Starts both on free ports, and waits until the server is ready. `None` where they are not here.
    pub fn start() -> Option<Self> {
        let (etcd, server) = (part("etcd/usr/bin/etcd")?, part("bin/kube-apiserver")?);
        let (kubectl, helm, key) = (part("bin/kubectl")?, part("bin/helm")?, part("service-account.key")?);
        let folder = tempfile::tempdir().expect("a temporary folder can be made").keep();
        let [client, peer, secure] = free_ports();
        let etcd = start_etcd(&etcd, &folder.join("etcd"), [client, peer]);
        let server = start_server(&server, &folder.join("server"), &key, [client, secure]);
        let cluster = Self { _etcd: etcd, _server: server, folder, kubectl, helm };
        cluster.write_kubeconfig(secure);
        cluster.wait_until_ready();
        Some(cluster)
    }

    fn write_kubeconfig(&self, port: u16) {
        let authority = self.folder.join("server/apiserver.crt");
        // The server makes its own certificate, for the name and not for the address.
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: test, \
             clusters: [{{name: test, cluster: {{server: 'https://127.0.0.1:{port}', \
             certificate-authority: {}, tls-server-name: kubernetes.default}}}}], \
             users: [{{name: test, user: {{token: {}}}}}], \
             contexts: [{{name: test, context: {{cluster: test, user: test}}}}]}}",
            authority.display(),
            token(&self.folder)
        );
        fs::write(self.folder.join("kubeconfig"), text).expect("the kubeconfig can be written");
    }

    fn wait_until_ready(&self) {
        let start = Instant::now();
        loop {
            let output = self.run_kubectl(&["get", "--raw", "/readyz"], "");
            if output.status.success() {
                return;
            }
            let log = || fs::read_to_string(self.folder.join("server/log")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "the API server is not ready: {output:?}\n{}", log());
            // Nothing tells when it is ready, so this must ask again and again.
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("HOME", &self.folder).env("KUBECONFIG", self.folder.join("kubeconfig"));
        command
    }

    /// Runs kubectl, whatever comes of it.
    pub fn run_kubectl(&self, arguments: &[&str], input: &str) -> Output {
        run(&mut self.command(&self.kubectl, arguments), input)
    }

    /// What kubectl says; it must succeed, and without a warning of the server.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run_kubectl(arguments, input);
        let text = succeeded(&format!("kubectl {}", arguments.join(" ")), &output);
        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(warnings.is_empty(), "kubectl {}: {warnings}", arguments.join(" "));
        text
    }

    /// An object as JSON.
    pub fn get(&self, namespace: &str, object: &str) -> Value {
        let text =
            self.kubectl(&["--namespace", namespace, "get", object, "--output", "json", "--show-managed-fields"], "");
        serde_json::from_str(&text).expect("kubectl writes JSON")
    }

    /// Runs helm, whatever comes of it.
    pub fn run_helm(&self, arguments: &[&str]) -> Output {
        run(&mut self.command(&self.helm, arguments), "")
    }

    /// What helm says; it must succeed, and without a warning of the server.
    pub fn helm(&self, arguments: &[&str]) -> String {
        let output = self.run_helm(arguments);
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = succeeded(&format!("helm {}", arguments.join(" ")), &output);
        assert!(!warnings.contains("Warning"), "helm {}: {warnings}", arguments.join(" "));
        text
    }
}

/// The one user's secret: known to this folder alone.
fn token(folder: &Path) -> String {
    folder.file_name().expect("the folder has a name").to_string_lossy().replace('.', "token-")
}

/// Starts a program whose files and log lie in `folder`.
///
/// `owned` is removed when it has ended.
fn leashed(program: &Path, (folder, owned): (&Path, &Path), arguments: &[String]) -> Child {
    fs::create_dir_all(folder).expect("the folder can be made");
    let log = fs::File::create(folder.join("log")).expect("a log can be made");
    let mut command = Command::new("sh");
    command.args(["-c", LEASH, "leash"]).arg(owned).arg(program).args(arguments);
    command.stdin(Stdio::piped()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
    command.spawn().expect("sh starts")
}

fn start_etcd(program: &Path, folder: &Path, [client, peer]: [u16; 2]) -> Child {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let arguments = [
        format!("--data-dir={}", folder.join("data").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ];
    leashed(program, (folder, folder), &arguments)
}

fn start_server(program: &Path, folder: &Path, key: &Path, [etcd, secure]: [u16; 2]) -> Child {
    fs::create_dir_all(folder).expect("the folder can be made");
    let tokens = folder.join("tokens.csv");
    let parent = folder.parent().expect("it lies in the cluster's folder");
    fs::write(&tokens, format!("{},admin,admin,\"system:masters\"\n", token(parent))).expect("tokens can be written");
    let arguments = [
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        // Only told to others, of whom there are none; without it the server looks for a way into the network.
        "--advertise-address=192.0.2.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--secure-port={secure}"),
        format!("--cert-dir={}", folder.display()),
        format!("--token-auth-file={}", tokens.display()),
        "--authorization-mode=RBAC".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-signing-key-file={}", key.display()),
        format!("--service-account-key-file={}", key.display()),
    ];
    leashed(program, (folder, parent), &arguments)
}
