//! A million entities, as a key gives them that is no name of anything: memory stays within its bounds, and every record has
//! its end. A test program of its own: it measures the whole process.

mod support;

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufWriter, Write as _},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

use strayd::{
    config::{Settings, Sources},
    model::Model,
    pipeline::{End, NoObserver, prepared::Prepared, scoring::Scoring},
    record::{Position, RawRecord},
    testing::CentreScorers,
    train::sample::SampleRecord,
};
use support::{process::resident, tools::root};

const MILLION: usize = 1_000_000;
/// Entities that are held at most.
const HELD: usize = 10_000;
/// Memory that a backtest of a million entities may ask for, KiB: a few hundred bytes for each in the figures of the
/// report, as much for its text, and what any backtest takes.
const ADDRESS_SPACE_KIB: usize = 4 << 20;

/// One at a time: each measures.
static ALONE: Mutex<()> = Mutex::new(());

fn settings() -> Settings {
    let set = ["training.window=1", "model.kind=pca", "judging.budget.quantile=0.001", "pipeline.max_entities=10000"];
    let set = set.iter().map(|set| (*set).to_owned()).collect();
    Settings::load(&Sources { set, ..Sources::default() }).expect("the settings are sound").settings
}

fn payload(row: usize, into: &mut String) {
    into.clear();
    let _ = write!(into, "{{\"x\":{},\"y\":{}}}", row % 7, row % 5);
}

fn model(settings: &Settings) -> Model {
    let mut text = String::new();
    let mut record = |row: usize| {
        payload(row, &mut text);
        SampleRecord {
            position: Position { partition: 0, offset: row as i64 },
            timestamp_ms: Some(row as i64 * 1000),
            key: Some(b"a"[..].into()),
            payload: text.as_bytes().into(),
            headers: None,
            run: 0,
        }
    };
    let sample: Vec<SampleRecord> = (0..400).map(&mut record).collect();
    let go_on = &mut |_: &_| std::ops::ControlFlow::Continue(());
    support::models::recipe(CentreScorers, settings.clone()).train(&sample, go_on).expect("a model can be made")
}

#[test]
fn a_million_entities_take_turns_in_the_memory_of_those_that_may_be_held() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = settings();
    let prepared = Prepared::new(Arc::new(model(&settings)), &settings, &CentreScorers).expect("the model loads");
    let mut scoring = Scoring::new(prepared, &settings);
    let (mut key, mut text) = (String::new(), String::new());
    let (mut ended, mut evicted, mut early) = (0, 0, 0);
    for row in 0..MILLION {
        key.clear();
        let _ = write!(key, "session-{row}");
        payload(row, &mut text);
        let raw = RawRecord {
            position: Position { partition: 0, offset: row as i64 },
            timestamp_ms: Some(row as i64),
            key: Some(key.as_bytes()),
            payload: Some(text.as_bytes()),
            headers: None,
        };
        ended += usize::from(scoring.take(&raw, &mut NoObserver).is_some());
        if scoring.room() == 0 || row + 1 == MILLION {
            let report = scoring.flush(&mut NoObserver, &mut |_, _: End, _| ended += 1).expect("the model scores");
            evicted += report.evicted;
            scoring.tell_incidents(None);
        }
        if row == 10 * HELD {
            early = resident();
        }
    }
    assert_eq!((ended, scoring.entities(), evicted as usize), (MILLION, HELD, MILLION - HELD));
    let grown = resident() as f64 / early as f64 - 1.0;
    println!("resident after {} entities {early}, after {MILLION}: {:+.2} %", 10 * HELD, grown * 100.0);
    assert!(grown <= 0.1, "resident memory grew by {:.1} % after the first {} entities", grown * 100.0, 10 * HELD);
}

#[test]
fn a_backtest_of_a_million_entities_counts_them_all_within_four_gigabytes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let table = |name: &str, rows: usize, entity: &dyn Fn(usize) -> usize| {
        let mut file = BufWriter::new(File::create(folder.path().join(name)).unwrap());
        writeln!(file, "id,a,b").unwrap();
        (0..rows).for_each(|row| writeln!(file, "e{},{},{}", entity(row), row % 7, row % 5).unwrap());
    };
    table("train.csv", 1_000, &|_| 0);
    table("many.csv", MILLION, &|row| row);
    let runtime = root().join(".local/onnxruntime/lib/libonnxruntime.so");
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -v {ADDRESS_SPACE_KIB} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_strayd")])
        .args(["backtest", "--data", "many.csv", "--train-data", "train.csv", "--report", "out"])
        .args(["--set", "record.entity={\"field\":\"id\"}", "--set", "training.epochs=1"])
        .current_dir(folder.path())
        .env("ORT_DYLIB_PATH", std::env::var_os("ORT_DYLIB_PATH").map_or(runtime, Into::into))
        .env("STRAYD__LOG__LEVEL", "error")
        .output()
        .expect("the program starts");
    let (told, table) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{told}");
    for line in [
        "rows scored       1,000,000 of 1,000,000\n",
        "entities          1,000,000\n",
        "and 999,990 others with no more",
    ] {
        assert!(table.contains(line), "{line} is missing in {table}");
    }
    let page = fs::metadata(folder.path().join("out/report.html")).unwrap().len();
    assert!(page < 2_000_000, "a page of {page} bytes");
}
