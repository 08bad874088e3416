//! A hot swap gives the old session's memory back. A test program of its own: it measures the whole process.

mod support;

use std::sync::Arc;

use strayd::{
    detect::Scorers,
    pipeline::{End, NoObserver, prepared::Prepared, scoring::Scoring},
};
use support::{
    models::{models, raw},
    process::resident,
    records::stream,
};

fn score(scoring: &mut Scoring, records: &[support::records::Record]) {
    for (at, record) in records.iter().enumerate() {
        if scoring.room() == 0 {
            scoring.flush(&mut NoObserver, &mut |_, _: End, _| {}).expect("the model scores");
        }
        scoring.take(&raw(at, record), &mut NoObserver);
    }
    scoring.flush(&mut NoObserver, &mut |_, _: End, _| {}).expect("the model scores");
}

#[test]
fn a_hundred_swaps_leave_the_memory_as_it_was() {
    let (runtime, settings, pair) = models(&["model.hidden=[512,256]", "training.epochs=1"]);
    let records = stream(23, 1_000, 4, &[]);
    let scorers: &dyn Scorers = &runtime;
    let prepare = |at: usize| Prepared::new(Arc::clone(&pair[at % 2]), &settings, scorers).expect("the model loads");
    let mut scoring = Scoring::new(prepare(0), &settings);
    let mut swap = |from: usize, to: usize| {
        for at in from..to {
            score(&mut scoring, &records);
            // Made on another thread, as in the daemon: what it allocates is freed on this one.
            let prepared = std::thread::scope(|scope| scope.spawn(|| prepare(at)).join().expect("it is prepared"));
            drop(scoring.swap(prepared));
        }
    };
    swap(0, 20);
    let before = resident();
    swap(20, 120);
    let after = resident();
    let grown = after as f64 / before as f64 - 1.0;
    println!("resident after 20 swaps {before}, after 120 {after}: {:+.2} %", grown * 100.0);
    assert!(grown <= 0.05, "resident memory grew from {before} to {after} bytes");
}
