//! A short run of the fuzz targets of `fuzz/` without a fuzzer: all that is in their corpora, and many variants of it, made by
//! a seeded generator. `make fuzz` runs them by cargo-fuzz, which looks where coverage grows.

#[path = "../fuzz/entries.rs"]
mod entries;

use std::{fs, path::Path};

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Bytes that mean something somewhere.
const WORDS: [&[u8]; 14] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\u",
    b":",
    b"\r\n",
    b"\0",
    b"\xff\xff\xff\xff",
    b"NaN",
    b"1e999",
    b"-9223372036854775809",
    b"&a [*a]",
];

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(folder).expect("a corpus").map(|file| file.expect("a file").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("it can be read")).collect()
}

/// A variant: cut, doubled, with bytes changed, or with the tail of another.
fn variant(random: &mut Xoshiro256PlusPlus, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = seeds[random.gen_range(0..seeds.len())].clone();
    for _ in 0..random.gen_range(1..6) {
        let at = random.gen_range(0..=data.len());
        match random.gen_range(0..6) {
            0 => data.truncate(at),
            1 if at < data.len() => data[at] ^= 1 << random.gen_range(0..8),
            2 if at < data.len() => data[at] = random.r#gen(),
            3 => drop(data.splice(at..at, WORDS[random.gen_range(0..WORDS.len())].iter().copied())),
            4 if at < data.len() => drop(data.remove(at)),
            _ => {
                let other = &seeds[random.gen_range(0..seeds.len())];
                data.truncate(at);
                data.extend_from_slice(&other[random.gen_range(0..=other.len())..]);
            }
        }
    }
    data
}

fn run(name: &str, variants: usize) {
    let (_, entry) = entries::ENTRIES.iter().find(|(known, _)| *known == name).expect("an entry of this name");
    let seeds = corpus(name);
    assert!(!seeds.is_empty(), "fuzz/corpus/{name} is empty");
    seeds.iter().for_each(|seed| entry(seed));
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    (0..variants).for_each(|_| entry(&variant(&mut random, &seeds)));
}

#[test]
fn every_entry_has_a_test_and_a_target() {
    for (name, _) in entries::ENTRIES {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(target.is_file(), "{}", target.display());
    }
}

#[test]
fn payloads_of_json() {
    run("json", 20_000);
}

#[test]
fn payloads_of_messagepack() {
    run("messagepack", 20_000);
}

#[test]
fn lines_of_csv() {
    run("csv", 20_000);
}

#[test]
fn payloads_of_avro() {
    run("avro", 20_000);
}

#[test]
fn payloads_of_protobuf() {
    run("protobuf", 20_000);
}

#[test]
fn payloads_of_raw_bytes() {
    run("raw", 20_000);
}

#[test]
fn configuration_files() {
    run("config", 2_000);
}

#[test]
fn model_files() {
    run("model", 2_000);
}

#[test]
fn requests_to_the_port_of_metrics_and_admin() {
    run("http", 500);
}
