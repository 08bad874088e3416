//! Outside programs: found under `.local/`, where `make test-tools` lays them, or on `PATH`. What is not there is left
//! out of the test run, which says so in its last lines; with `REQUIRE_ALL=1` it is a failure.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

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

/// Sends a signal, such as `TERM`. By the shell's own `kill`: a bare machine has no program of that name.
pub fn signal(child: &Child, signal: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status();
    assert!(sent.expect("sh runs").success(), "no process {} takes the signal {signal}", child.id());
}

/// Ends the process and reaps it; it may have ended before.
pub fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Where free ports are looked for: below those that the kernel gives to connections, of which any could take a port between
/// its choice and the start of who shall listen.
const PORTS: Range<u16> = 10_000..30_000;

/// Ports that nobody listens on, each given once by this process; others that look at the same time begin elsewhere.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let listeners = [(); N].map(|()| {
        loop {
            let tried = TRIED.fetch_add(1, Ordering::Relaxed);
            assert!(tried < PORTS.len() as u32, "no port of {PORTS:?} is free");
            let place = std::process::id().wrapping_mul(7_919).wrapping_add(tried) % PORTS.len() as u32;
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", PORTS.start + place as u16)) {
                break listener;
            }
        }
    });
    listeners.map(|listener| listener.local_addr().expect("a bound address").port())
}
