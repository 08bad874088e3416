//! What is said where a GPU can't be had: with the real ONNX Runtime for GPUs, NVIDIA's real libraries and a real driver's
//! library, on a machine without a GPU. Nothing stands in for any of them; what is missing is left away.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use support::{
    broker::{Broker, Kind},
    daemon::{Daemon, Stage, run_to_end},
    records::stream,
    tools::{leave_out, root},
};

/// ONNX Runtime for GPUs.
const ONNX_RUNTIME: &str = ".local/onnxruntime-cuda/lib";
/// What it is linked with, but for the driver.
const CUDA: &str = ".local/cuda-libraries/lib";
/// An older CUDA's runtime.
const OTHER_CUDA: &str = ".local/cuda-libraries/other";
/// A driver's library that is older than CUDA 13.
const OLD_DRIVER: &str = ".local/nvidia-driver/usr/lib/x86_64-linux-gnu/nvidia/current";

/// The libraries of such a folder. `None` where it was not fetched, or where the machine has a GPU: what these tests are
/// about can't happen there.
fn libraries(folder: &str) -> Option<Vec<PathBuf>> {
    if Path::new("/proc/driver/nvidia").exists() {
        leave_out("CUDA: A DRIVER IS HERE, SO WHAT IS SAID WITHOUT ONE WAS NOT TESTED");
        return None;
    }
    let found: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.to_string_lossy().contains(".so"))
        .collect();
    if found.is_empty() {
        leave_out(&format!("CUDA: {} IS NOT HERE, SO ITS TESTS WERE SKIPPED", folder.to_uppercase()));
    }
    (!found.is_empty()).then_some(found)
}

/// A folder in which libraries lie beside each other.
struct Place(tempfile::TempDir);

impl Place {
    /// With ONNX Runtime for GPUs in it.
    fn new() -> Option<Self> {
        let place = Self(tempfile::tempdir().expect("a temporary folder can be made"));
        // NVIDIA's libraries may have been linked beside it (CUDA_LIBRARIES=yes).
        let mut own = libraries(ONNX_RUNTIME)?;
        own.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime")));
        place.lay(&own);
        Some(place)
    }

    fn lay(&self, libraries: &[PathBuf]) {
        for library in libraries {
            let name = library.file_name().expect("a library has a name");
            symlink(library, self.0.path().join(name)).expect("the library can be linked");
        }
    }

    /// ONNX Runtime's library in it, as a setting.
    fn setting(&self) -> String {
        format!("runtime.library={}", self.0.path().join("libonnxruntime.so").display())
    }

    /// Starts the daemon with the libraries of this folder and a broker that nobody listens as.
    fn daemon(&self, device: &str) -> Daemon {
        let config = self.0.path().join("strayd.yaml");
        let text = format!(
            "kafka: {{brokers: \"127.0.0.1:9\", input_topic: in}}\nhttp: {{listen: \"127.0.0.1:0\"}}\n\
             model: {{registry: {}}}\nlog: {{format: json}}\n",
            self.0.path().join("models").display(),
        );
        fs::write(&config, text).expect("the configuration can be written");
        Daemon::start(&config, &["--set", &self.setting(), "--set", &format!("runtime.device={device}")])
    }
}

/// Waits until `/readyz` says all of this.
fn wait_not_ready(daemon: &mut Daemon, words: &[&str]) -> String {
    daemon.wait_for(&format!("/readyz says {words:?}"), |daemon| {
        let (code, why) = daemon.get("/readyz")?;
        (code == 503 && words.iter().all(|words| why.contains(words))).then_some(why)
    })
}

#[test]
fn a_build_for_cpus_is_told_with_the_command_that_fetches_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place(folder);
    place.lay(&[root().join(".local/onnxruntime/lib/libonnxruntime.so")]);
    let mut daemon = place.daemon("cuda");
    wait_not_ready(&mut daemon, &["device: ", "build for CPUs", "make fetch-onnxruntime DEVICE=cuda"]);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

#[test]
fn without_cuda_the_daemon_is_up_and_not_ready_and_reads_nothing() {
    let Some(place) = Place::new() else { return };
    let broker = Broker::own(Kind::Embedded).unwrap();
    let stage = Stage::new(&broker, "device", 1_000);
    stage.feed(&stream(11, 200, 3, &[]));
    let mut daemon = Daemon::start(&stage.config(), &["--set", &place.setting(), "--set", "runtime.device=cuda"]);
    let libraries = ["libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10", "libcuda.so.1"];
    let words = [&["CUDA 13", "CUDA_LIBRARIES=yes"][..], &libraries].concat();
    let why = wait_not_ready(&mut daemon, &words);
    assert!(why.contains("source: not connected yet"), "{why}");
    let (code, status) = daemon.get("/status").unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(code, 200);
    assert!(status["device"]["error"].as_str().unwrap().contains("libcudart.so.13"), "{status}");
    assert_eq!(daemon.get("/healthz").unwrap().0, 200, "what waits is alive");
    assert!(daemon.log().contains("no record is read: runtime.device: "), "{}", daemon.log());
    // Longer than the first pause: nothing has changed, so nothing is said again, and nothing was read.
    daemon.wait_for("it is tried again", |daemon| {
        let (_, status) = daemon.get("/status")?;
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        (status["uptime_seconds"].as_u64()? >= 3).then_some(())
    });
    assert_eq!(daemon.log().matches("no record is read").count(), 1, "{}", daemon.log());
    assert_eq!((daemon.sum("strayd_records_total"), stage.committed()), (0.0, 0));
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

#[test]
fn another_version_of_cuda_is_told() {
    let (Some(place), Some(other)) = (Place::new(), libraries(OTHER_CUDA)) else { return };
    place.lay(&other);
    let mut daemon = place.daemon("cuda");
    wait_not_ready(&mut daemon, &["built for CUDA 13", "libcudart.so.13", "CUDA 12 is here", "install CUDA 13"]);
}

#[test]
fn what_comes_while_the_daemon_waits_is_found_and_the_next_thing_missing_is_told() {
    let (Some(place), Some(cuda), Some(driver)) = (Place::new(), libraries(CUDA), libraries(OLD_DRIVER)) else {
        return;
    };
    let mut daemon = place.daemon("cuda");
    wait_not_ready(&mut daemon, &["libcudart.so.13"]);
    place.lay(&cuda);
    let why = wait_not_ready(&mut daemon, &["driver's library is missing", "NVIDIA Container Toolkit"]);
    assert!(!why.contains("libcudart"), "{why}");
    place.lay(&driver);
    wait_not_ready(&mut daemon, &["too old for CUDA 13", "580 or newer", "CUDA failure 35"]);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

#[test]
fn auto_falls_back_to_the_cpu_aloud() {
    let Some(place) = Place::new() else { return };
    let broker = Broker::own(Kind::Embedded).unwrap();
    let stage = Stage::new(&broker, "fallback", 1_000);
    let records = stream(12, 1_200, 3, &[]);
    stage.feed(&records);
    let mut daemon = Daemon::start(&stage.config(), &["--set", &place.setting(), "--set", "runtime.device=auto"]);
    daemon.wait_ready();
    daemon.wait_records(records.len());
    assert_eq!(
        daemon.metric("strayd_device_info").into_iter().collect::<Vec<_>>(),
        [("device=\"cpu\"".to_owned(), 1.0)]
    );
    assert_eq!(daemon.sum("strayd_device_fallback"), 1.0);
    let (_, status) = daemon.get("/status").unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["model"]["device"], &status["model"]["verified"]), (&"cpu".into(), &true.into()), "{status}");
    let log = daemon.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("models run on the CPU, because")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("WARN") && warnings[0].contains("libcudart.so.13"), "{log}");
}

#[test]
fn the_cpu_is_no_fallback_where_it_was_asked_for() {
    let Some(place) = Place::new() else { return };
    let mut daemon = place.daemon("cpu");
    daemon.wait_for("the device is told", |daemon| {
        (daemon.metric("strayd_device_info").get("device=\"cpu\"") == Some(&1.0)).then_some(())
    });
    assert_eq!(daemon.sum("strayd_device_fallback"), 0.0);
}

#[test]
fn training_on_files_ends_at_once_with_1_where_the_device_cannot_be_had() {
    let Some(place) = Place::new() else { return };
    let folder = place.0.path();
    fs::write(folder.join("rows.csv"), "load\n1\n2\n").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_strayd"))
        .args(["train", "--data", "rows.csv", "--out", "model.onnx", "--set", "runtime.device=cuda"])
        .args(["--set", &place.setting()])
        .current_dir(folder)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("strayd: runtime.device: ") && told.contains("libcudart.so.13"), "{told}");
}

#[test]
fn settings_of_a_gpu_need_a_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("strayd.yaml");
    fs::write(&config, "kafka: {brokers: \"127.0.0.1:9\", input_topic: in}\nhttp: {listen: \"127.0.0.1:0\"}\n")
        .unwrap();
    let (code, told) = run_to_end(
        &config,
        &["--set", "runtime.device_memory=2GiB", "--set", "runtime.device_id=1", "--set", "runtime.device=cpu"],
    );
    assert_eq!(code, Some(64), "{told}");
    for words in ["runtime.device_memory", "runtime.device_id", "cuda or auto"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let (code, told) = run_to_end(&config, &["--set", "runtime.device=gpu"]);
    assert!(code == Some(64) && told.contains("runtime.device") && told.contains("cuda"), "{told}");
}
