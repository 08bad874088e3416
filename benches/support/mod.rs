//! What the benchmarks share: records of the reference shape, clocks, and the table that `make bench` prints at its end.

// Each benchmark includes this file and uses its own part of it.
#![allow(dead_code)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Numeric fields of a reference record.
pub const FIELDS: usize = 38;

/// Entities of the reference stream.
pub const ENTITIES: usize = 1_000;

/// The project's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One reference record, about 750 bytes: an event time in microseconds and 38 numbers that hang together. `odd` puts
/// one of them far off.
pub fn record(random: &mut Xoshiro256PlusPlus, time_us: u64, odd: bool) -> String {
    use std::fmt::Write as _;
    let phase: f64 = random.gen_range(0.0..std::f64::consts::TAU);
    let mut text = format!("{{\"time\":{time_us}");
    for field in 0..FIELDS {
        let noise: f64 = random.gen_range(-0.05..0.05);
        let value = 0.5 + 0.4 * (phase + field as f64).sin() + noise + if odd && field == 7 { 50.0 } else { 0.0 };
        // Writing to a String can't fail.
        let _ = write!(text, ",\"metric_{field:02}\":{value:.4}");
    }
    text.push('}');
    text
}

/// `count` reference records of a seed, a second apart.
pub fn records(seed: u64, count: usize) -> Vec<String> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..count as u64).map(|second| record(&mut random, (1_767_225_600 + second) * 1_000_000, false)).collect()
}

/// CPU time that this process has used so far, user and system, with a resolution of 10 ms.
pub fn cpu_time() -> Duration {
    cpu_time_of("self")
}

/// The same of another process, by its number.
pub fn cpu_time_of(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("/proc is there");
    // Fields 14 and 15, counted after the name, which may hold blanks.
    let after = stat.rsplit_once(')').expect("the name is in parentheses").1;
    let ticks: u64 = after.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

/// Resident memory of a process, bytes.
pub fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("/proc is there");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("resident memory is told");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

/// Median seconds of one call, over `rounds` calls after one to warm up.
pub fn median_seconds(rounds: usize, mut call: impl FnMut()) -> f64 {
    call();
    let mut seconds: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed().as_secs_f64()
        })
        .collect();
    median(&mut seconds)
}

/// The median; sorts.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What a row of the table must reach.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// No goal, told for its own sake.
    None,
}

/// Prints one result, and keeps it for the table. `unit` follows the numbers.
pub fn tell(what: &str, measured: f64, unit: &str, goal: Goal) {
    let number = |value: f64| match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    let (wanted, met) = match goal {
        Goal::AtLeast(least) => {
            (format!("at least {}{unit}", number(least)), if measured >= least { "met" } else { "MISSED" })
        }
        Goal::AtMost(most) => {
            (format!("at most {}{unit}", number(most)), if measured <= most { "met" } else { "MISSED" })
        }
        Goal::None => (String::new(), ""),
    };
    keep(&format!("{what}\t{}{unit}\t{wanted}\t{met}", number(measured)));
}

/// Says in the table that something was not measured, and why.
pub fn not_measured(what: &str, why: &str) {
    keep(&format!("{what}\tnot measured: {why}\t\t"));
}

fn keep(row: &str) {
    println!("{}", row.replace('\t', "  "));
    let rows: PathBuf = root().join(".local/bench-rows");
    let kept =
        fs::OpenOptions::new().create(true).append(true).open(&rows).and_then(|mut file| writeln!(file, "{row}"));
    kept.unwrap_or_else(|error| panic!("{}: {error}", rows.display()));
}
