//! What the learning loop costs the record's way: offering rows to the sample, copying the sample for a training, and the
//! pause of a hot swap. 38 columns, 1,000 entities, windows of 4 rows, batches of 512.

#[path = "../tests/support/mod.rs"]
mod harness;
mod support;

use std::sync::Arc;
use std::time::Instant;

use harness::models::recipe;
use strayd::{
    config::{Settings, Sources},
    detect::runtime::Runtime,
    pipeline::{End, NoObserver, prepared::Prepared, scoring::Scoring},
    record::{Position, RawRecord},
    train::{
        recent::{Bounds, Offered, RecentSample, Standing},
        sample::SampleRecord,
    },
};
use support::{ENTITIES, Goal, median, records, tell};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Swaps measured.
const SWAPS: usize = 100;
/// Rows scored between two swaps.
const BETWEEN: usize = 5_000;
/// Rows offered per round.
const OFFERED: usize = 200_000;

fn main() {
    let payloads = records(31, 20_000);
    offers(&payloads);
    swaps(&payloads);
}

fn raw<'a>(at: usize, key: &'a str, payloads: &'a [String]) -> RawRecord<'a> {
    RawRecord {
        position: Position { partition: 0, offset: at as i64 },
        timestamp_ms: Some(at as i64),
        key: Some(key.as_bytes()),
        payload: Some(payloads[at % payloads.len()].as_bytes()),
        headers: None,
    }
}

/// Nanoseconds per offered row while the sample fills, and once it is full and takes few.
fn offers(payloads: &[String]) {
    let names: Vec<Arc<str>> = (0..ENTITIES).map(|entity| format!("entity-{entity}").into()).collect();
    let mut sample = RecentSample::new(Bounds::new(20_000, 4));
    let imputed = [false; support::FIELDS];
    let mut offer = |from: usize, rows: usize| {
        let started = Instant::now();
        for at in from..from + rows {
            let slot = at % ENTITIES;
            let row = Offered {
                raw: raw(at, &names[slot], payloads),
                slot: slot as u32,
                entity: &names[slot],
                // A row a second per entity: 20,000 rows a sample, so seven days are far away and few rows are taken.
                time_us: (at / ENTITIES) as i64 * 1_000_000,
                standing: Standing::Normal,
                imputed: &imputed,
            };
            sample.offer(&row);
        }
        started.elapsed().as_nanos() as f64 / rows as f64
    };
    let filling = offer(0, 20_000);
    let mut later: Vec<f64> = (0..9).map(|round| offer(20_000 + round * OFFERED, OFFERED)).collect();
    tell("sample: a row offered while it fills, CPU", filling, " ns", Goal::None);
    tell("sample: a row offered once it is full, CPU", median(&mut later), " ns", Goal::AtMost(50.0));
    let started = Instant::now();
    let copied = sample.copy();
    tell(
        "sample: 20,000 rows handed to the trainer's thread",
        started.elapsed().as_secs_f64() * 1e3,
        " ms",
        Goal::AtMost(5.0),
    );
    assert!(copied.len() > 10_000, "{}", copied.len());
}

/// The pause of a swap, from the last row scored by the old model to the first that the new one can take.
fn swaps(payloads: &[String]) {
    let runtime = Runtime::load(None).expect("ONNX Runtime is here");
    let set = ["record.entity=key", "record.timestamp.field=time", "training.epochs=2"];
    let sources = Sources { set: set.map(str::to_owned).to_vec(), ..Sources::default() };
    let settings = Settings::load(&sources).expect("the settings are sound").settings;
    let sample: Vec<SampleRecord> =
        (0..8_000).filter_map(|at| SampleRecord::copy(&raw(at, &format!("entity-{}", at % 8), payloads))).collect();
    let recipe = recipe(runtime.clone(), settings.clone());
    let model = recipe.train(&sample, &mut |_| std::ops::ControlFlow::Continue(())).expect("a model can be made");
    let model = Arc::new(model);
    let prepare = || Prepared::new(Arc::clone(&model), &settings, &runtime).expect("the model loads");
    let mut scoring = Scoring::new(prepare(), &settings);
    let mut pauses = Vec::with_capacity(SWAPS);
    let mut at = 0;
    for _ in 0..SWAPS {
        for _ in 0..BETWEEN {
            if scoring.room() == 0 {
                scoring.flush(&mut NoObserver, &mut |_, _: End, _| {}).expect("the model scores");
            }
            scoring.take(&raw(at, &format!("entity-{}", at % ENTITIES), payloads), &mut NoObserver);
            at += 1;
        }
        let prepared = std::thread::scope(|scope| scope.spawn(prepare).join().expect("it is prepared"));
        let started = Instant::now();
        scoring.flush(&mut NoObserver, &mut |_, _: End, _| {}).expect("the model scores");
        drop(scoring.swap(prepared));
        pauses.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let worst = pauses.iter().copied().fold(0.0, f64::max);
    let deadline = settings.pipeline.batch_wait.as_secs_f64() * 1e3;
    tell("hot swap: pause, the open batch included, median of 100", median(&mut pauses), " ms", Goal::AtMost(deadline));
    tell("hot swap: pause, the longest of 100", worst, " ms", Goal::AtMost(deadline));
}
