//! The Helm chart in a real kube-apiserver with etcd, in a namespace that enforces Pod Security's level `restricted`.
//!
//! There is no kubelet and no controller here: objects are validated, admitted, kept, changed and removed as in any
//! cluster, but no pod is made of a Deployment, and none runs.

// Helpers of tests may fail as loudly as the tests themselves.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::{Value, json};
use support::kube::{Cluster, Helm, chart, documents};
use support::tools::root;

/// One cluster for all tests here; each works in namespaces of its own.
fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER
        .get_or_init(|| {
            let cluster = Cluster::start()?;
            prepare(&cluster);
            Some(cluster)
        })
        .as_ref()
}

/// What a cluster has beside Kubernetes itself: operators' definitions, classes of priority and runtime.
fn prepare(cluster: &Cluster) {
    let definitions = root().join(".local/kube/definitions").display().to_string();
    cluster.kubectl(&["apply", "--server-side", "--filename", &definitions], "");
    cluster.kubectl(&["wait", "--for=condition=established", "customresourcedefinition", "--all"], "");
    let classes = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "important"}, "value": 1000},
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"},
    ]});
    cluster.kubectl(&["apply", "--server-side", "--filename=-"], &classes.to_string());
}

/// Makes a namespace that takes only restricted pods.
fn namespace(cluster: &Cluster, name: &str) {
    let levels =
        ["enforce", "warn", "audit"].map(|mode| (format!("pod-security.kubernetes.io/{mode}"), json!("restricted")));
    let labels: serde_json::Map<String, Value> = levels.into_iter().collect();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    // The account that a real cluster's controller would make.
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}});
    for object in [namespace, account] {
        cluster.kubectl(&["apply", "--server-side", "--filename=-"], &object.to_string());
    }
}

/// The values of the golden renderings.
fn cases() -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(root().join("tests/golden/helm")).unwrap().map(|entry| entry.unwrap().path());
    let named = entries.filter_map(|path| {
        let name = path.file_name()?.to_string_lossy().strip_suffix(".values.yaml")?.to_owned();
        Some((name, path))
    });
    let cases: Vec<(String, PathBuf)> = named.collect();
    assert!(cases.len() >= 5, "{cases:?}");
    cases
}

fn release(command: &str, namespace: &str, values: &str, more: &[&str]) -> Vec<String> {
    let chart = chart().display().to_string();
    let mut arguments = [command, "watch", &chart, "--namespace", namespace].map(str::to_owned).to_vec();
    for file in values.split(',') {
        arguments.extend(["--values".to_owned(), file.to_owned()]);
    }
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    arguments
}

fn helm(cluster: &Cluster, arguments: &[String]) -> String {
    cluster.helm(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The pod that a controller would make of the Deployment.
fn pod_of(deployment: &Value) -> Value {
    let template = &deployment["spec"]["template"];
    let metadata = json!({"name": deployment["metadata"]["name"], "labels": template["metadata"]["labels"]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

fn deployments(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let list = cluster.get(namespace, "deployments");
    let items = list["items"].as_array().unwrap().clone();
    assert!(!items.is_empty(), "no Deployments in {namespace}");
    items
}

const DRY_RUN: [&str; 5] = ["create", "--dry-run=server", "--validate=strict", "--filename=-", "--namespace"];

#[test]
fn every_example_is_valid_to_the_last_field_and_its_pods_are_restricted() {
    let (Some(cluster), Some(helm_alone)) = (cluster(), Helm::find()) else { return };
    for (name, values) in cases() {
        namespace(cluster, &name);
        let rendered = helm_alone.template(&values, &["--namespace", &name]);
        let strict = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename=-"];
        let told = cluster.kubectl(&strict, &rendered);
        let accepted = told.lines().filter(|line| line.contains("serverside-applied")).count();
        assert_eq!(accepted, documents(&rendered).len(), "{name}: {told}");
        helm(cluster, &release("install", &name, &values.display().to_string(), &[]));
        for deployment in deployments(cluster, &name) {
            let pod = pod_of(&deployment).to_string();
            cluster.kubectl(&[&DRY_RUN[..], &[&name]].concat(), &pod);
        }
    }
}

#[test]
fn fields_that_kubernetes_does_not_know_and_pods_that_are_not_restricted_would_be_noticed() {
    let Some(cluster) = cluster() else { return };
    namespace(cluster, "refusing");
    let minimal = root().join("tests/golden/helm/minimal.values.yaml").display().to_string();
    helm(cluster, &release("install", "refusing", &minimal, &[]));
    let pod = pod_of(&deployments(cluster, "refusing").remove(0));
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut pod = pod.clone();
        change(&mut pod["spec"]);
        let output = cluster.run_kubectl(&[&DRY_RUN[..], &["refusing"]].concat(), &pod.to_string());
        assert!(!output.status.success(), "taken: {pod}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = refused(&|spec| spec["securityContext"]["runAsNonRoot"] = json!(false));
    assert!(told.contains("violates PodSecurity \"restricted"), "{told}");
    let told = refused(&|spec| spec["containers"][0]["securityContext"]["capabilities"] = json!({}));
    assert!(told.contains("unrestricted capabilities"), "{told}");
    let told = refused(&|spec| spec["containers"][0]["readynessProbe"] = json!({}));
    assert!(told.contains("unknown field"), "{told}");
}

/// What matters of a release: its configuration, and the checksum that makes pods roll.
fn state(cluster: &Cluster, namespace: &str) -> (String, String) {
    let config = cluster.get(namespace, "configmap/watch-strayd")["data"]["strayd.yaml"].as_str().unwrap().to_owned();
    let deployment = cluster.get(namespace, "deployment/watch-strayd");
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    (config, annotations["checksum/config"].as_str().unwrap().to_owned())
}

/// Whether helm owns the object's fields by server-side apply.
fn applied_by_helm(object: &Value) -> bool {
    let fields = object["metadata"]["managedFields"].as_array().unwrap();
    fields.iter().any(|owner| owner["manager"] == "helm" && owner["operation"] == "Apply")
}

#[test]
fn a_release_is_installed_upgraded_rolled_back_and_uninstalled_and_keeps_its_models() {
    let Some(cluster) = cluster() else { return };
    namespace(cluster, "life");
    let minimal = root().join("tests/golden/helm/minimal.values.yaml").display().to_string();
    let notes = helm(cluster, &release("install", "life", &minimal, &["--server-side=true"]));
    for word in ["first anomaly", "deployment/watch-strayd", "-t strayd.anomalies", "--namespace life", ":9092"] {
        assert!(notes.contains(word), "the notes don't say {word}:\n{notes}");
    }
    let (config, checksum) = state(cluster, "life");
    assert!(config.contains("input_topic: sensors"), "{config}");
    assert!(applied_by_helm(&cluster.get("life", "deployment/watch-strayd")));

    // The same values change nothing, other ones roll the pods.
    let generation = || cluster.get("life", "deployment/watch-strayd")["metadata"]["generation"].as_u64().unwrap();
    let first = generation();
    helm(cluster, &release("upgrade", "life", &minimal, &["--server-side=true"]));
    assert_eq!((state(cluster, "life"), generation()), ((config.clone(), checksum.clone()), first));
    helm(cluster, &release("upgrade", "life", &minimal, &["--server-side=true", "--set", "config.training.rows=5000"]));
    let (other_config, other_checksum) = state(cluster, "life");
    assert!(other_config.contains("rows: 5000") && other_checksum != checksum, "{other_config}");
    assert!(generation() > first);

    // A value that is refused leaves the release as it is.
    let refused = release("upgrade", "life", &minimal, &["--set", "replicas=3"]);
    let refused = cluster.run_helm(&refused.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("ReadWriteMany"),
        "{refused:?}"
    );
    assert_eq!(state(cluster, "life"), (other_config, other_checksum));

    cluster.helm(&["rollback", "watch", "1", "--namespace", "life", "--server-side=true"]);
    assert_eq!(state(cluster, "life"), (config, checksum));
    let history = cluster.helm(&["history", "watch", "--namespace", "life", "--output", "json"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    assert_eq!(history.as_array().unwrap().last().unwrap()["status"], "deployed", "{history}");

    cluster.helm(&["uninstall", "watch", "--namespace", "life"]);
    let left =
        cluster.kubectl(&["--namespace", "life", "get", "deployments,services,configmaps,pvc", "--output=name"], "");
    let left: Vec<&str> = left.lines().filter(|name| !name.contains("kube-root-ca")).collect();
    assert_eq!(left, ["persistentvolumeclaim/watch-strayd"]);
    // The next release of this name takes the claim over.
    helm(cluster, &release("install", "life", &minimal, &["--server-side=true"]));
}

#[test]
fn a_pipeline_can_be_split_and_joined_again() {
    let Some(cluster) = cluster() else { return };
    namespace(cluster, "split-later");
    let minimal = root().join("tests/golden/helm/minimal.values.yaml").display().to_string();
    let shared = ["--set", "registry.accessModes={ReadWriteMany}"];
    let names = || -> Vec<String> {
        let items = deployments(cluster, "split-later");
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    helm(cluster, &release("install", "split-later", &minimal, &shared));
    assert_eq!(names(), ["watch-strayd"]);
    let split = [&shared[..], &["--set", "mode=split,replicas=4"]].concat();
    helm(cluster, &release("upgrade", "split-later", &minimal, &split));
    assert_eq!(names(), ["watch-strayd-scorer", "watch-strayd-trainer"]);
    assert_eq!(cluster.get("split-later", "deployment/watch-strayd-scorer")["spec"]["replicas"], 4);
    // Autoscaling takes the number over: helm no longer sets it, and Kubernetes begins with one.
    let scaled = [&split[..], &["--set", "autoscaling.kind=hpa"]].concat();
    helm(cluster, &release("upgrade", "split-later", &minimal, &scaled));
    assert_eq!(cluster.get("split-later", "deployment/watch-strayd-scorer")["spec"]["replicas"], 1);
    let target = &cluster.get("split-later", "hpa/watch-strayd")["spec"]["scaleTargetRef"];
    assert_eq!(target["name"], "watch-strayd-scorer");
    helm(cluster, &release("upgrade", "split-later", &minimal, &shared));
    assert_eq!(names(), ["watch-strayd"]);
}
