//! A record of a known entity that is judged normal makes no allocation on its way, incidents and silences included.

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::sync::Arc;

use strayd::{
    config::{Settings, Sources},
    pipeline::{NoObserver, prepared::Prepared, scoring::Scoring},
    record::{Position, RawRecord},
    testing::CentreScorers,
    train::sample::SampleRecord,
};

const ENTITIES: [&str; 4] = ["a", "b", "c", "d"];

fn payload(row: usize) -> String {
    let phase = (row / ENTITIES.len()) as f64 * 0.1;
    format!("{{\"x\":{:.5},\"y\":{:.5}}}", phase.sin(), phase.cos())
}

fn scoring() -> Scoring {
    let set = ["training.window=2", "model.kind=pca", "judging.budget.quantile=0.0001", "pipeline.batch_rows=16"];
    let set = set.map(str::to_owned).into();
    let settings = Settings::load(&Sources { set, ..Sources::default() }).expect("the settings are sound").settings;
    let record = |row: usize| SampleRecord {
        position: Position { partition: 0, offset: row as i64 },
        timestamp_ms: Some((row / ENTITIES.len()) as i64 * 60_000),
        key: Some(ENTITIES[row % ENTITIES.len()].as_bytes().into()),
        payload: payload(row).into_bytes().into(),
        run: 0,
        headers: None,
    };
    let sample: Vec<SampleRecord> = (0..2_000).map(record).collect();
    let go_on = &mut |_: &_| std::ops::ControlFlow::Continue(());
    let model = support::models::recipe(CentreScorers, settings.clone()).train(&sample, go_on).expect("a model");
    let prepared = Prepared::new(Arc::new(model), &settings, &CentreScorers).expect("the model can be put to work");
    Scoring::new(prepared, &settings)
}

/// Allocations of a stretch of the stream; its payloads are made before.
fn allocations(scoring: &mut Scoring, rows: std::ops::Range<usize>) -> usize {
    let payloads: Vec<(usize, String)> = rows.map(|row| (row, payload(row))).collect();
    let before = counting::allocations();
    let mut judged = 0;
    for (row, payload) in &payloads {
        let raw = RawRecord {
            position: Position { partition: 0, offset: *row as i64 },
            timestamp_ms: Some((row / ENTITIES.len()) as i64 * 60_000),
            key: Some(ENTITIES[row % ENTITIES.len()].as_bytes()),
            payload: Some(payload.as_bytes()),
            headers: None,
        };
        scoring.take(&raw, &mut NoObserver);
        if scoring.room() == 0 {
            let report = scoring.flush(&mut NoObserver, &mut |_, _, _| {}).expect("the batch can be scored");
            judged += report.rows;
        }
    }
    assert!(judged >= payloads.len() - 16, "they are scored");
    counting::allocations() - before
}

#[test]
fn a_normal_record_of_a_known_entity_allocates_nothing() {
    let mut scoring = scoring();
    // The first records pay for entities, buffers and queues.
    allocations(&mut scoring, 0..1_600);
    assert_eq!(scoring.open_incidents().count() + scoring.silent_entities().count(), 0);
    assert_eq!(allocations(&mut scoring, 1_600..16_000), 0);
}
