//! What this process takes.

use std::fs;

/// Resident memory of this process in bytes.
pub fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("Linux tells");
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number of pages") * 4096
}
