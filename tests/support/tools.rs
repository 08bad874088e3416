//! Outside programs: found under `.local/`, where `make test-tools` lays them, or on `PATH`. What is not there is left
//! out of the test run, which says so in its last lines; with `REQUIRE_ALL=1` it is a failure.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// The project's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The binary under `.local/prometheus` or on `PATH`. Where there is none, that goes to the test run's last words.
pub fn binary(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::iter::once(root().join(".local/prometheus/usr/bin"))
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file());
    if found.is_none() {
        leave_out(&format!("{}: IT IS NOT HERE, SO ITS TESTS WERE SKIPPED", name.to_uppercase()));
    }
    found
}

/// Says that something is left out, for `scripts/report-left-out` too, because a passing test's own output is not
/// shown.
pub fn leave_out(message: &str) {
    assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"), "{message}");
    eprintln!("{message}");
    let local = root().join(".local");
    let note = fs::create_dir_all(&local)
        .and_then(|()| fs::OpenOptions::new().create(true).append(true).open(local.join("left-out")))
        .and_then(|mut file| writeln!(file, "{message}"));
    note.unwrap_or_else(|error| panic!("cannot note in {}: {error}", local.display()));
}

/// Sends a signal, `TERM` or `INT`. By the shell's own `kill`: a bare machine has no program of that name.
pub fn signal(child: &Child, signal: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status();
    assert!(sent.expect("sh runs").success(), "no process {} takes the signal {signal}", child.id());
}

/// Ends the process and reaps it; it may have ended before.
pub fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
