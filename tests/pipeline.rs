//! The pipeline on sources, sinks and scorers in memory: every record ends once, offsets move only past what has ended,
//! and scores don't depend on how rows were batched.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, atomic::AtomicBool};
use std::time::Instant;

use proptest::prelude::*;
use strayd::{
    config::{Settings, Sources, settings::RecordSettings},
    detect::{LoadError, ScoreError, Scorer, Scorers},
    model::{Model, registry::Registry},
    pipeline::{
        NoObserver, Observer, Output, SourceEvent, Unscored,
        observed::Observed,
        prepared::Prepared,
        run::{self, Parts, RunError, RunSummary, Start},
        scoring::Scoring,
    },
    record::{DeadLetterReason, Position, RawRecord, features::grid_of},
    telemetry::{Board, Metrics},
    testing::{CentreScorers, MemorySink, OwnedRecord, SinkBehaviour, VecSource},
    train::{recipe::Recipe, sample::SampleRecord},
};

/// Records of the sample that the tests' model is made of.
const SAMPLE: usize = 400;

fn settings(sets: &[&str]) -> Settings {
    let fixed = ["training.window=2", "model.kind=pca", "record.entity=nothing", "judging.budget.quantile=0.001"];
    let set = fixed.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    let sources = Sources { set, ..Sources::default() };
    Settings::load(&sources).expect("the settings are sound").settings
}

/// A row of two fields that wander slowly; far off where `odd`.
fn payload(row: usize, odd: bool) -> String {
    let phase = row as f64 * 0.1;
    let x = phase.sin() + if odd { 60.0 } else { 0.0 };
    format!("{{\"x\":{x:.5},\"y\":{:.5}}}", phase.cos())
}

fn sample() -> Vec<SampleRecord> {
    let record = |row: usize| SampleRecord {
        position: Position { partition: 0, offset: row as i64 },
        timestamp_ms: Some(row as i64 * 1000),
        key: None,
        payload: payload(row, false).into_bytes().into(),
        run: 0,
        headers: None,
    };
    (0..SAMPLE).map(record).collect()
}

fn recipe(settings: &Settings) -> Recipe {
    support::models::recipe(CentreScorers, settings.clone())
}

fn model(settings: &Settings) -> Start {
    let go_on = &mut |_: &_| std::ops::ControlFlow::Continue(());
    Start::Model(Arc::new(recipe(settings).train(&sample(), go_on).expect("a model can be made")))
}

/// What an observer saw: scores by offset, and ends without a score by offset.
#[derive(Default)]
struct Seen {
    scores: BTreeMap<i64, u64>,
    entities: BTreeMap<i64, String>,
    unscored: BTreeMap<i64, String>,
    ends: usize,
}

impl Observer for Seen {
    fn judged(&mut self, record: &Observed<'_>) {
        self.ends += 1;
        self.scores.insert(record.position.offset, record.judged.score.to_bits());
        self.entities.insert(record.position.offset, record.entity.to_owned());
    }

    fn unscored(&mut self, record: &Unscored<'_>) {
        self.ends += 1;
        self.unscored.insert(record.position.offset, record.why.to_owned());
    }
}

/// The outside of a run and what it left there.
struct Outcome {
    result: Result<RunSummary, RunError>,
    source: VecSource,
    sink: MemorySink,
    seen: Seen,
}

fn run_on(source: VecSource, sink: MemorySink, start: Start, settings: &Settings, scorers: &dyn Scorers) -> Outcome {
    let mut outcome = Outcome { result: Ok(RunSummary::default()), source, sink, seen: Seen::default() };
    let parts = Parts {
        source: &mut outcome.source,
        sink: &mut outcome.sink,
        observer: &mut outcome.seen,
        progress: &mut |_| {},
        metrics: &Metrics::new(),
        board: &Board::new(Instant::now()),
        stop: &AtomicBool::new(false),
    };
    outcome.result = run::run(parts, start, settings, scorers);
    outcome
}

/// Scores `records` with a model that is there from the start.
fn score(records: Vec<OwnedRecord>, behaviour: SinkBehaviour, settings: &Settings) -> Outcome {
    run_on(VecSource::of_records(records), MemorySink::new(behaviour), model(settings), settings, &CentreScorers)
}

fn records(payloads: impl IntoIterator<Item = Option<String>>) -> Vec<OwnedRecord> {
    let record = |(offset, payload): (usize, Option<String>)| OwnedRecord {
        position: Position { partition: 0, offset: offset as i64 },
        timestamp_ms: Some(offset as i64 * 1000),
        key: None,
        payload: payload.map(String::into_bytes),
    };
    payloads.into_iter().enumerate().map(record).collect()
}

/// What a random stream is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Made {
    Normal,
    Odd,
    Torn,
    Empty,
    Bare,
}

fn make(row: usize, made: Made) -> Option<String> {
    match made {
        Made::Normal => Some(payload(row, false)),
        Made::Odd => Some(payload(row, true)),
        Made::Torn => Some("{\"x\":".to_owned()),
        Made::Empty => None,
        Made::Bare => Some("{\"z\":1}".to_owned()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_record_ends_once_and_every_offset_moves(
        made in prop::collection::vec(
            prop_oneof![6 => Just(Made::Normal), 1 => Just(Made::Odd), 1 => Just(Made::Torn), 1 => Just(Made::Empty), 1 => Just(Made::Bare)],
            1..200,
        ),
        batch in 1_usize..40,
    ) {
        let settings = settings(&[&format!("pipeline.batch_rows={batch}")]);
        let count = made.len();
        let stream = records(made.iter().enumerate().map(|(row, made)| make(row, *made)));
        let Outcome { result, source, sink, seen } = score(stream.clone(), SinkBehaviour::Works, &settings);
        let summary = result.unwrap();
        prop_assert_eq!((summary.records, seen.ends), (count as u64, count));
        prop_assert_eq!(seen.scores.len() + seen.unscored.len(), count, "no record ends twice");
        prop_assert_eq!(source.committed.get(&0), Some(&(count as i64)));
        // An empty one is a tombstone, which ends by itself.
        let bad: Vec<i64> = (0..count).filter(|row| matches!(made[*row], Made::Torn | Made::Bare)).map(|row| row as i64).collect();
        let mut letters: Vec<i64> = Vec::new();
        for (position, output) in &sink.outputs {
            if let Output::DeadLetter { payload, .. } = output {
                prop_assert_eq!(payload, &stream[position.offset as usize].payload, "raw bytes");
                letters.push(position.offset);
            }
        }
        letters.sort_unstable();
        prop_assert_eq!(letters, bad);
        prop_assert_eq!((summary.anomalies + summary.incidents + summary.dead_letters) as usize, sink.outputs.len());
    }
}

#[test]
fn scores_are_the_same_to_the_bit_however_rows_are_batched() {
    let stream = || records((0..500).map(|row| Some(payload(row, row % 90 == 89))));
    let one = score(stream(), SinkBehaviour::Works, &settings(&["pipeline.batch_rows=1"]));
    let many = score(stream(), SinkBehaviour::Works, &settings(&["pipeline.batch_rows=64"]));
    assert_eq!(one.seen.scores.len(), 499, "all but the row that fills the first window");
    assert_eq!(one.seen.scores, many.seen.scores);
}

#[test]
fn no_offset_moves_past_an_output_that_nobody_acknowledged() {
    let settings = settings(&["pipeline.shutdown_deadline=1s", "pipeline.batch_rows=8"]);
    let stream = records((0..100).map(|row| Some(payload(row, row == 50))));
    let Outcome { result, source, sink, .. } = score(stream, SinkBehaviour::Hangs, &settings);
    assert!(matches!(result, Err(RunError::Deadline { outputs }) if outputs == sink.outputs.len()), "{result:?}");
    let first = sink.outputs.iter().map(|(position, _)| position.offset).min().unwrap();
    assert_eq!(first, 50);
    assert_eq!(source.finished.iter().map(|next| next.offset).max(), Some(first));
}

#[test]
fn what_the_sink_refuses_for_good_is_counted_and_holds_nothing_up() {
    let stream = records((0..100).map(|row| Some(payload(row, row == 50))));
    let Outcome { result, source, sink, .. } = score(stream, SinkBehaviour::Refuses, &settings(&[]));
    let summary = result.unwrap();
    assert_eq!((summary.anomalies, summary.refused), (0, sink.outputs.len() as u64));
    assert!(summary.refused > 0);
    assert_eq!(source.committed.get(&0), Some(&100));
}

#[test]
fn a_cold_start_collects_trains_and_scores_and_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&["training.rows=300"]);
    let registry = Registry::new(folder.path());
    let start = Start::ColdStart { recipe: Box::new(recipe(&settings)), registry: registry.clone() };
    let stream = || VecSource::of_records(records((0..400).map(|row| Some(payload(row, row == 350)))));
    let cold = run_on(stream(), MemorySink::default(), start, &settings, &CentreScorers);
    assert!(cold.result.is_ok(), "{:?}", cold.result);
    assert_eq!(cold.seen.unscored.values().filter(|why| *why == "collected").count(), 300);
    assert_eq!(cold.seen.scores.len(), 100, "the sample fills the windows, so that the next record is scored");
    assert!(cold.sink.outputs.iter().any(|(position, _)| position.offset == 350));
    assert_eq!(cold.source.committed.get(&0), Some(&400));
    assert_eq!(cold.source.pauses, 1, "while training the source is paused");

    let model: Model = registry.current().unwrap().expect("the model is kept");
    let warm = run_on(stream(), MemorySink::default(), Start::Model(Arc::new(model)), &settings, &CentreScorers);
    assert_eq!(warm.seen.scores.len(), 399);
    assert!(warm.sink.outputs.iter().any(|(position, _)| position.offset == 350));
}

#[test]
fn status_tells_how_far_a_training_is_while_it_is_under_way_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&["training.rows=300", "model.kind=denoising", "training.epochs=3", "model.members=1"]);
    let start = Start::ColdStart { recipe: Box::new(recipe(&settings)), registry: Registry::new(folder.path()) };
    let board = Board::new(Instant::now());
    let mut told = Vec::new();
    let parts = Parts {
        source: &mut VecSource::of_records(records((0..320).map(|row| Some(payload(row, false))))),
        sink: &mut MemorySink::default(),
        observer: &mut NoObserver,
        progress: &mut |_| told.push(board.status()["training"].clone()),
        metrics: &Metrics::new(),
        board: &board,
        stop: &AtomicBool::new(false),
    };
    run::run(parts, start, &settings, &CentreScorers).unwrap();
    let epochs: Vec<_> = told.iter().map(|status| (status["epoch"].as_u64(), status["epochs"].as_u64())).collect();
    assert_eq!(epochs, [1, 2, 3].map(|epoch| (Some(epoch), Some(3))));
    assert!(told.iter().all(|status| status["rows_per_second"].as_f64() > Some(0.0)), "{told:?}");
    assert!(told[0]["seconds_left"].as_f64() > Some(0.0) && told[2]["seconds_left"] == 0.0, "{told:?}");
    assert!(board.status()["training"].is_null());
}

#[test]
fn grids_in_raw_bytes_are_learned_from_and_scored() {
    let folder = tempfile::tempdir().unwrap();
    let raw = "record.format={\"raw\":{\"shape\":[2,3],\"type\":\"int16\"}}";
    let settings = settings(&["training.rows=300", raw]);
    let registry = Registry::new(folder.path());
    let start = Start::ColdStart { recipe: Box::new(recipe(&settings)), registry: registry.clone() };
    let frame = |row: usize| {
        let cell = |at: usize| ((row as f64 * 0.1).sin() * 500.0) as i16 + 20 * ((row * 7 + at * 3) % 11) as i16;
        let hot = |at: usize| if at == 4 && row == 350 { 30_000 } else { cell(at) };
        (0..6).flat_map(|at| hot(at).to_le_bytes()).collect::<Vec<u8>>()
    };
    let record = |row: usize| OwnedRecord {
        position: Position { partition: 0, offset: row as i64 },
        timestamp_ms: Some(row as i64 * 1000),
        key: None,
        payload: Some(if row == 380 { b"{}".to_vec() } else { frame(row) }),
    };
    let source = VecSource::of_records((0..400).map(record).collect::<Vec<_>>());
    let run = run_on(source, MemorySink::default(), start, &settings, &CentreScorers);
    assert!(run.result.is_ok(), "{:?}", run.result);
    assert_eq!((run.seen.scores.len(), run.seen.unscored[&380].as_str()), (99, "undecodable"));
    let model: Model = registry.current().unwrap().expect("the model is kept");
    assert_eq!(grid_of(&model.metadata.features), Some([2, 3]));
    let published: Vec<i64> = run.sink.outputs.iter().map(|(position, _)| position.offset).collect();
    assert!(published.contains(&350) && published.contains(&380), "{published:?}");
    // A model of other grids than the configured ones is refused before the first record.
    let other = Settings { record: settings_of_shape([3, 2]), ..settings };
    let refused = Prepared::new(Arc::new(model), &other, &CentreScorers).err().expect("other grids").to_string();
    assert!(refused.contains("3 rows of 2 cells each") && refused.contains("2 rows of 3 cells each"), "{refused}");
}

fn settings_of_shape(shape: [usize; 2]) -> RecordSettings {
    settings(&[&format!("record.format={{\"raw\":{{\"shape\":{shape:?},\"type\":\"int16\"}}}}")]).record
}

#[test]
fn a_source_that_ends_before_there_is_a_model_moves_no_offset() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&["training.rows=300"]);
    let start = Start::ColdStart { recipe: Box::new(recipe(&settings)), registry: Registry::new(folder.path()) };
    let source = VecSource::of_records(records((0..299).map(|row| Some(payload(row, false)))));
    let Outcome { result, source, .. } = run_on(source, MemorySink::default(), start, &settings, &CentreScorers);
    assert!(matches!(result, Err(RunError::TooShort { have: 299, need: 300 })), "{result:?}");
    assert!(source.finished.is_empty() && source.committed.is_empty());
}

/// Scores rows far off as not a number, as a model that diverged would.
struct Diverging;

impl Scorers for Diverging {
    fn scorer(&self, model: &Model) -> Result<Box<dyn Scorer>, LoadError> {
        Ok(Box::new(DivergingScorer(CentreScorers.scorer(model)?)))
    }
}

struct DivergingScorer(Box<dyn Scorer>);

impl Scorer for DivergingScorer {
    fn score(&mut self, windows: &[f32], rows: usize, residuals: &mut Vec<f32>) -> Result<(), ScoreError> {
        self.0.score(windows, rows, residuals)?;
        residuals.iter_mut().filter(|residual| residual.abs() > 10.0).for_each(|residual| *residual = f32::NAN);
        Ok(())
    }
}

#[test]
fn a_score_that_is_no_number_is_a_dead_letter_and_never_an_anomaly_or_a_zero() {
    let settings = settings(&[]);
    let source = VecSource::of_records(records((0..100).map(|row| Some(payload(row, row == 50)))));
    let Outcome { result, sink, seen, .. } =
        run_on(source, MemorySink::default(), model(&settings), &settings, &Diverging);
    assert_eq!(result.unwrap().dead_letters, 1);
    let Output::DeadLetter { reason, position, .. } = &sink.outputs[0].1 else { panic!("{:?}", sink.outputs) };
    assert_eq!((*reason, position.offset), (DeadLetterReason::NonFiniteScore, 50));
    assert!(!seen.scores.contains_key(&50));
}

/// Records of a partition whose key is an entity of its own, from one offset to another.
fn of_partition(partition: i32, offsets: std::ops::Range<i64>) -> impl Iterator<Item = OwnedRecord> {
    offsets.map(move |offset| OwnedRecord {
        position: Position { partition, offset },
        timestamp_ms: Some(offset * 1000),
        key: Some(format!("entity-{partition}").into_bytes()),
        payload: Some(payload(offset as usize, false).into_bytes()),
    })
}

#[test]
fn a_partition_that_was_revoked_and_comes_back_is_scored_as_if_it_were_new() {
    let settings = settings(&["record.entity=key", "pipeline.batch_rows=64"]);
    let start = || model(&settings);
    // Offset 40 is where the group's commit stands when partition 1 comes back; the batch is open when it goes.
    let source = VecSource::of_records(of_partition(0, 0..30).chain(of_partition(1, 0..60)))
        .then_event(SourceEvent::Revoked(vec![1]))
        .then_event(SourceEvent::Assigned(vec![1]))
        .then_records(of_partition(1, 40..90));
    let back = run_on(source, MemorySink::default(), start(), &settings, &CentreScorers);
    assert!(back.result.is_ok(), "{:?}", back.result);
    assert_eq!(back.source.committed, BTreeMap::from([(0, 30), (1, 90)]));
    assert!(back.seen.ends < 30 + 60 + 50, "what was open of the partition is left to its next owner");
    let fresh = run_on(
        VecSource::of_records(of_partition(1, 40..90)),
        MemorySink::default(),
        start(),
        &settings,
        &CentreScorers,
    );
    let scores = |outcome: &Outcome| outcome.seen.scores.range(41..).map(|(_, score)| *score).collect::<Vec<_>>();
    assert_eq!(scores(&back), scores(&fresh), "nothing of before is left in windows or statistics");
}

#[test]
fn the_sample_of_a_revoked_partition_is_collected_anew() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&["record.entity=key", "training.rows=200"]);
    let start = Start::ColdStart { recipe: Box::new(recipe(&settings)), registry: Registry::new(folder.path()) };
    let source = VecSource::of_records(of_partition(0, 0..150).chain(of_partition(1, 0..40)))
        .then_event(SourceEvent::Revoked(vec![1]))
        .then_event(SourceEvent::Assigned(vec![1]))
        .then_records(of_partition(1, 0..100));
    let Outcome { result, source, seen, .. } = run_on(source, MemorySink::default(), start, &settings, &CentreScorers);
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(source.committed, BTreeMap::from([(0, 150), (1, 100)]));
    assert_eq!(seen.scores.len(), 50, "150 of one and 50 of the other are the sample");
}

#[test]
fn with_fewer_entities_than_a_batch_has_rows_none_is_taken_for_another() {
    let settings =
        settings(&["record.entity=key", "training.window=1", "pipeline.max_entities=3", "pipeline.batch_rows=64"]);
    let stream = (0..200).map(|offset| OwnedRecord {
        key: Some(format!("entity-{}", offset * 7 % 8).into_bytes()),
        ..of_partition(0, offset..offset + 1).next().unwrap()
    });
    let Outcome { result, seen, .. } = score(stream.collect(), SinkBehaviour::Works, &settings);
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(seen.entities.len(), 200);
    for (offset, entity) in seen.entities {
        assert_eq!(entity, format!("entity-{}", offset * 7 % 8));
    }
}

#[test]
fn offsets_with_gaps_and_offsets_that_go_back_are_followed() {
    let settings = settings(&["record.entity=key"]);
    let gaps = of_partition(0, 0..300).filter(|record| record.position.offset % 3 != 1);
    let Outcome { source, .. } = score(gaps.collect(), SinkBehaviour::Works, &settings);
    assert_eq!(source.committed, BTreeMap::from([(0, 300)]));
    let again = of_partition(0, 0..100).chain(of_partition(0, 0..1));
    let Outcome { source, .. } = score(again.collect(), SinkBehaviour::Works, &settings);
    assert_eq!(source.committed, BTreeMap::from([(0, 1)]), "the topic was made anew");
}

#[test]
fn a_sink_that_breaks_for_good_ends_the_run_and_moves_no_offset_past_its_outputs() {
    let settings = settings(&["pipeline.batch_rows=8"]);
    let stream = records((0..100).map(|row| Some(payload(row, row == 50))));
    let Outcome { result, source, .. } = score(stream, SinkBehaviour::Breaks, &settings);
    assert!(matches!(result, Err(RunError::Sink(_))), "{result:?}");
    assert!(source.finished.iter().all(|next| next.offset <= 50), "{:?}", source.finished);
}

#[test]
fn outputs_that_wait_pause_the_source_until_the_sink_has_caught_up() {
    let settings = settings(&[]);
    let stream = records((0..12_000).map(|_| Some("{".to_owned())));
    let Outcome { result, source, .. } = score(stream, SinkBehaviour::Slow, &settings);
    assert_eq!(result.unwrap().dead_letters, 12_000);
    assert!(source.polls_while_paused > 0);
    assert_eq!(source.committed, BTreeMap::from([(0, 12_000)]));
}

#[test]
fn bad_records_before_the_first_model_become_dead_letters_and_train_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&["training.rows=300"]);
    let start = Start::ColdStart { recipe: Box::new(recipe(&settings)), registry: Registry::new(folder.path()) };
    let stream = (0..500).map(|_| Some("{\"x\":".to_owned())).chain((0..310).map(|row| Some(payload(row, false))));
    let source = VecSource::of_records(records(stream));
    let Outcome { result, source, seen, .. } = run_on(source, MemorySink::default(), start, &settings, &CentreScorers);
    assert_eq!(result.unwrap().dead_letters, 500);
    assert_eq!(seen.unscored.values().filter(|why| *why == "undecodable").count(), 500);
    assert_eq!(source.committed, BTreeMap::from([(0, 810)]));
}

#[test]
fn a_sample_that_gives_no_model_is_kept_and_training_is_tried_again_with_more() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&["training.rows=100"]);
    let registry = Registry::new(folder.path());
    let start = || Start::ColdStart { recipe: Box::new(recipe(&settings)), registry: registry.clone() };
    let useless = || (0..100).map(|_| Some("{\"name\":\"a\"}".to_owned()));
    let source = VecSource::of_records(records(useless()));
    let Outcome { result, source, .. } = run_on(source, MemorySink::default(), start(), &settings, &CentreScorers);
    assert!(matches!(result, Err(RunError::Train(_))), "what was wrong is told where no more records come: {result:?}");
    assert!(source.committed.is_empty(), "they are read again");

    let source = VecSource::of_records(records(useless().chain((0..400).map(|row| Some(payload(row, false))))));
    let Outcome { result, source, seen, .. } =
        run_on(source, MemorySink::default(), start(), &settings, &CentreScorers);
    let summary = result.unwrap();
    assert_eq!((summary.records, summary.dead_letters), (500, 100), "what the model can't use is a dead letter");
    assert!(seen.scores.len() >= 200, "{}", seen.scores.len());
    assert_eq!(source.committed, BTreeMap::from([(0, 500)]));
    assert!(registry.current().unwrap().is_some());
}

#[test]
fn a_registry_that_can_not_be_written_is_told_before_anything_is_collected() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models");
    std::fs::write(&file, "a file and no folder").unwrap();
    let error = Registry::new(&file).probe().unwrap_err();
    assert!(error.to_string().contains("models"), "{error}");
}

/// Scoring with a model whose records have keys, which raises alarms from their first row on.
fn keyed_scoring(sets: &[&str]) -> Scoring {
    let settings = settings(&[&["record.entity=key", "judging.cold_start_rows=0"], sets].concat());
    let keyed = |record| SampleRecord { key: Some(b"a"[..].into()), ..record };
    let sample: Vec<SampleRecord> = sample().into_iter().map(keyed).collect();
    let go_on = &mut |_: &_| std::ops::ControlFlow::Continue(());
    let model = recipe(&settings).train(&sample, go_on).expect("a model can be made");
    let prepared = Prepared::new(Arc::new(model), &settings, &CentreScorers).expect("the model can be put to work");
    Scoring::new(prepared, &settings)
}

/// Three rows of the entity, whose partition is `partition`; the last one is odd where an incident is to begin.
fn score_rows(scoring: &mut Scoring, entity: &str, partition: i32, odd: bool) {
    for row in 0..3 {
        let payload = payload(row, odd && row == 2);
        let raw = RawRecord {
            position: Position { partition, offset: row as i64 },
            timestamp_ms: Some(row as i64 * 1000),
            key: Some(entity.as_bytes()),
            payload: Some(payload.as_bytes()),
            headers: None,
        };
        scoring.take(&raw, &mut NoObserver);
        scoring.flush(&mut NoObserver, &mut |_, _, _| {}).expect("the batch can be scored");
    }
}

/// Entities and columns to blame of the incidents that are open.
fn open(scoring: &Scoring) -> Vec<(String, Option<usize>)> {
    let mut open: Vec<_> =
        scoring.open_incidents().map(|open| (open.entity.to_owned(), open.incident.top_column)).collect();
    open.sort();
    open
}

#[test]
fn an_incident_is_open_with_its_blame_until_its_entity_goes_to_another_member() {
    let mut scoring = keyed_scoring(&[]);
    let metrics = Metrics::new();
    metrics.incident_features(["x", "y"].into_iter());
    score_rows(&mut scoring, "a", 0, true);
    score_rows(&mut scoring, "b", 1, true);
    score_rows(&mut scoring, "c", 1, false);
    assert_eq!(open(&scoring), [("a".to_owned(), Some(0)), ("b".to_owned(), Some(0))]);
    assert_eq!(scoring.scores_to_limits().len(), 1, "those of the last batch");
    scoring.tell_incidents(Some(&metrics));
    scoring.tell_incidents(Some(&metrics));
    assert!(metrics.render().contains("strayd_incidents_total{top_feature=\"x\"} 2\n"), "each is told once");
    scoring.forget(&[1]);
    assert_eq!(open(&scoring), [("a".to_owned(), Some(0))]);
    scoring.forget(&[0]);
    assert_eq!(open(&scoring), []);
}

#[test]
fn an_incident_is_open_until_its_entity_was_quiet_for_long_enough() {
    let mut scoring = keyed_scoring(&["judging.incident_quiet_rows=4"]);
    score_rows(&mut scoring, "a", 0, true);
    score_rows(&mut scoring, "a", 0, false);
    assert_eq!(open(&scoring), [("a".to_owned(), Some(0))]);
    score_rows(&mut scoring, "a", 0, false);
    assert_eq!(open(&scoring), []);
}

#[test]
fn the_incident_of_an_entity_that_makes_room_is_not_open_any_more() {
    let mut scoring = keyed_scoring(&["pipeline.max_entities=2"]);
    score_rows(&mut scoring, "a", 0, true);
    score_rows(&mut scoring, "b", 0, true);
    score_rows(&mut scoring, "c", 0, false);
    assert_eq!(open(&scoring), [("b".to_owned(), Some(0))], "a made room");
    score_rows(&mut scoring, "d", 0, true);
    assert_eq!(open(&scoring), [("d".to_owned(), Some(0))], "b made room");
}

/// A row of entity `a` at a second; rows differ by their number.
fn at_second(offset: i64, second: i64, row: usize) -> OwnedRecord {
    OwnedRecord {
        position: Position { partition: 0, offset },
        timestamp_ms: Some(second * 1000),
        key: Some(b"a".to_vec()),
        payload: Some(payload(row, false).into_bytes()),
    }
}

#[test]
fn records_that_come_too_late_or_twice_end_without_a_score_and_leave_no_trace_in_those_that_follow() {
    let settings = settings(&["record.entity=key", "record.lateness=10s", "record.duplicates=drop"]);
    let clean = [(100, 0), (110, 1), (120, 2), (115, 3), (130, 4), (131, 5)];
    let at = |(offset, (second, row)): (usize, &(i64, usize))| at_second(offset as i64, *second, *row);
    let expected = score(clean.iter().enumerate().map(at).collect(), SinkBehaviour::Works, &settings);
    // Late, twice at once, and twice after a while, which is behind and so another row.
    let disturbed =
        [(100, 0), (110, 1), (110, 1), (120, 2), (109, 9), (115, 3), (130, 4), (130, 4), (119, 9), (131, 5)];
    let found = score(disturbed.iter().enumerate().map(at).collect(), SinkBehaviour::Works, &settings);
    assert!(found.result.is_ok(), "{:?}", found.result);
    let why = |offset: i64| found.seen.unscored.get(&offset).map(String::as_str);
    assert_eq!([0, 2, 4, 7, 8].map(why), ["warming_up", "duplicate", "late", "duplicate", "late"].map(Some));
    let scores = |outcome: &Outcome| outcome.seen.scores.values().copied().collect::<Vec<_>>();
    assert_eq!(scores(&found), scores(&expected));
    assert_eq!(found.source.committed, BTreeMap::from([(0, 10)]), "they are done");
}

#[test]
fn where_nothing_is_asked_of_their_order_records_are_scored_as_they_come() {
    let settings = settings(&["record.entity=key"]);
    let stream = [(100, 0), (110, 1), (50, 2), (110, 1), (110, 1)];
    let at = |(offset, (second, row)): (usize, &(i64, usize))| at_second(offset as i64, *second, *row);
    let found = score(stream.iter().enumerate().map(at).collect(), SinkBehaviour::Works, &settings);
    assert_eq!(found.seen.scores.len(), 4, "all but the first, whose window is not full");
}

#[test]
fn an_entity_without_records_for_long_is_forgotten_and_one_that_reports_is_not() {
    let hour_ms = 3_600_000;
    let mut scoring = keyed_scoring(&["pipeline.evict_after=2h"]);
    scoring.tick(hour_ms);
    score_rows(&mut scoring, "a", 0, true);
    score_rows(&mut scoring, "b", 0, true);
    scoring.tick(2 * hour_ms);
    score_rows(&mut scoring, "b", 0, true);
    scoring.tick(3 * hour_ms);
    assert_eq!(scoring.entities(), 2);
    scoring.tick(3 * hour_ms + 1_000);
    assert_eq!(open(&scoring), [("b".to_owned(), Some(0))], "a is gone, and its incident with it");
    scoring.tick(5 * hour_ms);
    assert_eq!(scoring.entities(), 0);
}
