//! The Helm chart without a cluster: what it renders, what it refuses, and that its generated files are current.
//!
//! Golden files stand in `tests/golden/helm`, each beside the values that it is made of; `UPDATE_GOLDEN=1` writes them
//! anew, and so it does the chart's `values.schema.json` and the table in its README.

// Helpers of tests may fail as loudly as the tests themselves.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::kube::{Helm, chart, documents};
use support::tools::{leave_out, root};

fn golden() -> PathBuf {
    root().join("tests/golden/helm")
}

/// The values files of the golden renderings, sorted.
fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(".values.yaml")).collect();
    cases.sort();
    assert!(cases.len() >= 5, "{cases:?}");
    cases
}

/// Compares a file with what it should be, or writes it with `UPDATE_GOLDEN=1`.
fn is_current(file: &Path, wanted: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file, wanted).unwrap();
        return;
    }
    let old = fs::read_to_string(file).unwrap_or_default();
    let hint = "is old: UPDATE_GOLDEN=1 cargo test --test helm writes it anew";
    assert!(old == wanted, "{} {hint}\n{}", file.display(), first_difference(&old, wanted));
}

fn first_difference(old: &str, new: &str) -> String {
    let (mut old, mut new, mut number) = (old.lines(), new.lines(), 0);
    loop {
        number += 1;
        match (old.next(), new.next()) {
            (None, None) => return "they differ in line breaks only".to_owned(),
            (old, new) if old != new => return format!("line {number}: {old:?} is now {new:?}"),
            _ => {}
        }
    }
}

/// The rendering without what comes word for word from `deploy/`, which another test compares.
fn without_deployed_files(rendered: &str) -> String {
    let shortened = rendered.split_inclusive("\n---\n").map(|document| {
        let cut = [("templates/dashboards.yaml", "\ndata:\n"), ("templates/prometheusrule.yaml", "\nspec:\n")];
        let found = cut.iter().find(|(source, _)| document.contains(source));
        let Some((head, _)) = found.and_then(|(_, at)| document.split_once(at)) else { return document.to_owned() };
        format!("{head}\n# Its content is that of the file in deploy/.\n---\n")
    });
    shortened.collect()
}

#[test]
fn each_example_renders_as_in_its_golden_file() {
    let Some(helm) = Helm::find() else { return };
    for values in cases() {
        let rendered = without_deployed_files(&helm.template(&values, &[]));
        is_current(&PathBuf::from(values.display().to_string().replace(".values.yaml", ".yaml")), &rendered);
    }
}

#[test]
fn the_notes_say_how_to_see_the_first_anomaly_of_this_very_release() {
    let Some(helm) = Helm::find() else { return };
    let chart = chart().display().to_string();
    for values in cases() {
        let file = values.display().to_string();
        let output = helm.run(&["install", "watch", &chart, "--namespace", "streams", "--dry-run=client", "-f", &file]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, notes) = told.split_once("\nNOTES:\n").unwrap_or_else(|| panic!("{file}: {output:?}"));
        is_current(&PathBuf::from(file.replace(".values.yaml", ".notes.txt")), notes);
    }
}

#[test]
fn lint_has_nothing_to_say() {
    let Some(helm) = Helm::find() else { return };
    for values in cases() {
        let (chart, values) = (chart().display().to_string(), values.display().to_string());
        let output = helm.run(&["lint", "--strict", "--quiet", "--kube-version", "1.37.0", "-f", &values, &chart]);
        assert!(output.status.success(), "{values}: {output:?}");
    }
}

/// Values that can't work, over the smallest that can.
const REFUSED: [&str; 44] = [
    "config.kafka.brokers=",
    "config.kafka.brokers=kafka\\,other:9092",
    "config.kafka.input_topic=null",
    "replicas=2",
    "replicas=2,registry.persistent=false",
    "mode=split",
    "mode=split,registry.persistent=false",
    "mode=both",
    "autoscaling.kind=hpa",
    "autoscaling.kind=both",
    "autoscaling.kind=hpa,registry.accessModes={ReadWriteMany},resources.requests.cpu=null",
    "autoscaling.kind=keda,registry.accessModes={ReadWriteMany},autoscaling.minReplicas=5",
    "autoscaling.kind=keda,autoscaling.minReplicas=0",
    "config.model.registry=./models",
    "config.http.listen=none",
    "config.http.listen=127.0.0.1:9464",
    "config.pipeline.shutdown_deadline=soon",
    "config.role=trainer",
    "config.training.epochs=0",
    "config.training.epoch=10",
    "kafka.sasl.mechanism=PLAIN",
    "kafka.sasl.mechanism=PLAIN,kafka.sasl.existingSecret=there,kafka.sasl.password=here",
    "kafka.sasl.existingSecret=there",
    "kafka.sasl.mechanism=GSSAPI",
    "kafka.sasl.mechanism=OAUTHBEARER",
    "kafka.sasl.mechanism=OAUTHBEARER,kafka.sasl.username=u,kafka.sasl.token.audience=kafka",
    "kafka.sasl.mechanism=OAUTHBEARER,kafka.sasl.existingSecret=there,kafka.sasl.token.audience=kafka",
    "kafka.sasl.mechanism=OAUTHBEARER,kafka.sasl.token.audience=kafka,config.kafka.oauth_token_file=/there",
    "kafka.sasl.mechanism=OAUTHBEARER,kafka.sasl.token.audience=kafka,autoscaling.kind=keda,registry.accessModes={ReadWriteMany}",
    "kafka.sasl.token.audience=kafka",
    "kafka.tls.existingSecret=there",
    "kafka.tls.enabled=true,kafka.tls.clientCertificate=true",
    "kafka.tls.enabled=true,config.kafka.properties.security\\.protocol=PLAINTEXT",
    "kafka.tls.enabled=true,kafka.tls.ca=/etc/ssl/ca.crt",
    "schemaRegistry.existingSecret=there",
    "schemaRegistry.caKey=ca,config.record.schema_registry.url=https://registry",
    "schemaRegistry.existingSecret=there,schemaRegistry.tokenKey=t,config.record.schema_registry.url=http://registry,config.record.schema_registry.token_file=/there",
    "kafka.staticMembership=true,autoscaling.kind=hpa,registry.accessModes={ReadWriteMany}",
    "kafka.staticMembership=true,config.kafka.group_instance_id=mine",
    "adminToken.value=here,adminToken.existingSecret=there",
    "adminToken.value=here,config.http.admin_token_file=/there",
    "gpu.enabled=true,mode=split,registry.accessModes={ReadWriteMany},image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "image.tagg=1.2.3",
    "replicas=2,config.kafka.brokers=,kafka.sasl.mechanism=PLAIN",
];

/// What helm says of it, without the words that differ from machine to machine and from helm to helm.
fn reasons(stderr: &str) -> String {
    let about_links = |line: &&str| !line.contains("symbolic link") && !line.trim().is_empty();
    let lines = stderr.lines().filter(about_links).filter(|line| !line.starts_with("Use --debug"));
    lines.map(|line| format!("  {}\n", line.trim())).collect()
}

#[test]
fn values_that_can_not_work_are_refused_with_their_reasons() {
    let Some(helm) = Helm::find() else { return };
    let (chart, values) = (chart().display().to_string(), golden().join("minimal.values.yaml").display().to_string());
    let mut told = String::new();
    for set in REFUSED {
        let output = helm.run(&["template", "watch", &chart, "-f", &values, "--set", set]);
        assert!(!output.status.success(), "{set} was taken");
        let reasons = reasons(&String::from_utf8_lossy(&output.stderr));
        assert!(reasons.contains("  - ") || reasons.contains("at '/"), "{set}: no reason in {reasons}");
        told.push_str(&format!("{set}\n{reasons}"));
    }
    is_current(&golden().join("refused.txt"), &told);
}

/// The chart's types of values, with the daemon's own schema as that of `config` and the comments of `values.yaml` as
/// descriptions.
fn values_schema() -> Value {
    let text = fs::read_to_string(root().join("helm/values.types.json")).unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    let mut config = strayd::config::schema();
    let config_table = config.as_object_mut().unwrap();
    config_table.remove("$schema");
    config_table.remove("title");
    schema["properties"]["config"] = config;
    for comment in comments().iter().filter(|comment| !comment.key.starts_with("config.")) {
        let node = comment.key.split('.').fold(&mut schema, |node, level| &mut node["properties"][level]);
        assert!(node.is_object(), "helm/values.types.json has no {}", comment.key);
        node["description"] = json!(comment.text);
    }
    schema
}

#[test]
fn the_schema_of_the_values_is_that_of_the_daemon_and_of_the_comments() {
    let text = format!("{}\n", serde_json::to_string_pretty(&values_schema()).unwrap());
    is_current(&chart().join("values.schema.json"), &text);
}

/// A key of `values.yaml` with the comment above it.
struct Comment {
    key: String,
    text: String,
}

/// All keys of `values.yaml` that have a comment, in their order.
fn comments() -> Vec<Comment> {
    let text = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let (mut levels, mut words, mut comments) = (Vec::<(usize, String)>::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        let code = line.trim_start();
        if let Some(comment) = code.strip_prefix("# ") {
            words.push(comment.to_owned());
            continue;
        }
        let key =
            code.split_once(':').map(|(key, _)| key).filter(|key| key.chars().all(|c| c.is_alphanumeric() || c == '_'));
        let Some(key) = key else {
            words.clear();
            continue;
        };
        let indent = line.len() - code.len();
        levels.retain(|(outer, _)| *outer < indent);
        levels.push((indent, key.to_owned()));
        if !words.is_empty() {
            let key = levels.iter().map(|(_, level)| level.as_str()).collect::<Vec<_>>().join(".");
            comments.push(Comment { key, text: std::mem::take(&mut words).join(" ") });
        }
    }
    comments
}

/// The keys of the schema that are settings of the chart: tables of known keys are gone through, `config` is not.
fn settings(schema: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    for (name, node) in schema["properties"].as_object().unwrap() {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if node.get("properties").is_some() && key != "config" {
            settings(node, &key, found);
        } else if key != "global" {
            found.insert(key);
        }
    }
}

#[test]
fn every_setting_stands_in_the_values_with_its_meaning() {
    let types: Value =
        serde_json::from_str(&fs::read_to_string(root().join("helm/values.types.json")).unwrap()).unwrap();
    let mut wanted = BTreeSet::new();
    settings(&types, "", &mut wanted);
    let said: BTreeSet<String> = comments().into_iter().map(|comment| comment.key).collect();
    let missing: Vec<&String> = wanted.difference(&said).collect();
    assert!(wanted.len() > 60 && missing.is_empty(), "values.yaml explains no {missing:?}");
}

/// The README's table of values.
fn table() -> String {
    let values = documents(&fs::read_to_string(chart().join("values.yaml")).unwrap()).remove(0);
    let mut table = "| Key | Default | Meaning |\n|---|---|---|\n".to_owned();
    let comments = comments();
    for comment in &comments {
        let value = comment.key.split('.').fold(&values, |node, level| &node[level]);
        let group = comments.iter().any(|other| other.key.starts_with(&format!("{}.", comment.key)));
        let default = if group { String::new() } else { format!("`{value}`") };
        table.push_str(&format!("| `{}` | {default} | {} |\n", comment.key, comment.text.replace('|', "\\|")));
    }
    table
}

#[test]
fn the_table_in_the_readme_of_the_chart_is_that_of_the_values() {
    let file = chart().join("README.md");
    let readme = fs::read_to_string(&file).unwrap();
    let (head, rest) = readme.split_once("<!-- values:begin -->\n").unwrap();
    let (_, tail) = rest.split_once("<!-- values:end -->").unwrap();
    is_current(&file, &format!("{head}<!-- values:begin -->\n{}<!-- values:end -->{tail}", table()));
}

/// The objects of a kind in a rendering.
fn objects(rendered: &str, kind: &str) -> Vec<Value> {
    documents(rendered).into_iter().filter(|document| document["kind"] == kind).collect()
}

#[test]
fn dashboards_and_rules_are_those_of_the_deploy_folder() {
    let Some(helm) = Helm::find() else { return };
    let rendered = helm.template(&golden().join("everything.values.yaml"), &[]);
    let grafana = fs::read_dir(root().join("deploy/grafana")).unwrap().map(|entry| entry.unwrap().path());
    let dashboards: Vec<PathBuf> = grafana.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    let maps = objects(&rendered, "ConfigMap");
    let maps: Vec<&Value> = maps.iter().filter(|map| map["metadata"]["labels"]["grafana_dashboard"] == "1").collect();
    assert_eq!((maps.len(), dashboards.is_empty()), (dashboards.len(), false));
    for file in dashboards {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let content = fs::read_to_string(&file).unwrap();
        let found = maps.iter().find_map(|map| map["data"][&name].as_str());
        assert_eq!(found.map(str::trim_end), Some(content.trim_end()), "{name}");
    }
    let rules = fs::read_to_string(root().join("deploy/prometheus/strayd.rules.yaml")).unwrap();
    assert_eq!(objects(&rendered, "PrometheusRule")[0]["spec"], documents(&rules)[0]);
}

#[test]
fn a_package_renders_as_the_folder_does() {
    let Some(helm) = Helm::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (chart().display().to_string(), folder.path().display().to_string());
    let packed = helm.run(&["package", &source, "--destination", &target]);
    assert!(packed.status.success(), "{packed:?}");
    let package = folder.path().join("strayd-0.1.0.tgz").display().to_string();
    let values = golden().join("everything.values.yaml");
    let arguments = ["template", "watch", &package, "--namespace", "streams", "-f", &values.display().to_string()];
    let output = helm.run(&arguments);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), helm.template(&values, &[]));
}

/// The configuration and the arguments of each Deployment, as the daemon gets them.
fn daemons(rendered: &str) -> Vec<(String, Vec<String>)> {
    let maps = objects(rendered, "ConfigMap");
    let config = maps.iter().find_map(|map| map["data"]["strayd.yaml"].as_str()).unwrap();
    let arguments = |deployment: &Value| {
        let list = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap().clone();
        list.iter().map(|argument| argument.as_str().unwrap().to_owned()).collect::<Vec<String>>()
    };
    objects(rendered, "Deployment").iter().map(|deployment| (config.to_owned(), arguments(deployment))).collect()
}

/// A folder with all that the pods' Secrets hold, in files of the same names, and its path.
fn secrets() -> Option<(tempfile::TempDir, String)> {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("kafka-sasl/username", "u"),
        ("kafka-sasl/password", "p"),
        ("admin/token", "0123456789abcdef0123456789abcdef"),
        ("schema-registry/password", "p"),
    ] {
        fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
        fs::write(folder.path().join(path), text).unwrap();
    }
    let certificates = folder.path().join("kafka-tls");
    fs::create_dir(&certificates).unwrap();
    let make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=test -keyout tls.key -out tls.crt && cp tls.crt ca.crt && \
         cp tls.crt ../schema-registry/ca.crt";
    let made = Command::new("sh").args(["-c", make]).current_dir(&certificates).output().unwrap();
    if !made.status.success() {
        leave_out("OPENSSL: IT IS NOT HERE, SO THE CONFIGURATIONS OF THE CHART WERE NOT CHECKED");
        return None;
    }
    let path = folder.path().display().to_string();
    Some((folder, path))
}

#[test]
fn the_daemon_accepts_every_configuration_that_is_rendered() {
    let (Some(helm), Some((folder, secrets))) = (Helm::find(), secrets()) else { return };
    let file = folder.path().join("strayd.yaml");
    for values in cases() {
        for (config, arguments) in daemons(&helm.template(&values, &[])) {
            fs::write(&file, config.replace("/run/secrets/strayd", &secrets)).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_strayd"));
            command.args(["config", "check", "--config"]).arg(&file);
            for argument in &arguments {
                let set = argument.strip_prefix("--set=").map(str::to_owned);
                let role = argument.strip_prefix("--role=").map(|role| format!("role={role}"));
                if let Some(pair) = set.or(role) {
                    command.args(["--set", &pair.replace("/run/secrets/strayd", &secrets)]);
                }
            }
            let output = command.output().unwrap();
            let told = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && !told.contains("note:"), "{} {arguments:?}: {told}", values.display());
        }
    }
}

#[test]
fn the_grace_period_is_longer_than_the_daemon_takes_to_end() {
    let Some(helm) = Helm::find() else { return };
    for deadline in ["1s", "25s", "1500ms", "90 s", "2m", "1h"] {
        let set = format!("config.pipeline.shutdown_deadline={deadline}");
        let rendered = helm.template(&golden().join("minimal.values.yaml"), &["--set", &set]);
        let spec = &objects(&rendered, "Deployment")[0]["spec"]["template"]["spec"];
        let grace = spec["terminationGracePeriodSeconds"].as_u64().unwrap();
        let deadline = strayd::config::parse_duration(deadline).unwrap();
        let slack = std::time::Duration::from_secs(grace).checked_sub(deadline).unwrap().as_secs();
        // The daemon ends at most 3 s after its deadline.
        assert!((8..=9).contains(&slack), "{grace} s for {deadline:?}");
    }
}

#[test]
fn the_version_of_the_chart_is_that_of_the_program() {
    let chart = documents(&fs::read_to_string(chart().join("Chart.yaml")).unwrap()).remove(0);
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let image = fs::read_to_string(root().join("deploy/Dockerfile")).unwrap_or_default();
    // The ids that the pods run under are those of the image.
    let values = documents(&fs::read_to_string(self::chart().join("values.yaml")).unwrap()).remove(0);
    let (user, group) = (&values["podSecurityContext"]["runAsUser"], &values["podSecurityContext"]["runAsGroup"]);
    assert!(image.is_empty() || image.contains(&format!("\nUSER {user}:{group}\n")), "the image runs as another user");
}
