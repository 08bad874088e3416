//! What is remembered of entities survives a process: whatever is killed, and whenever, the scores, anomalies and incidents
//! that come out are those of an undisturbed run, to the bit.

mod support;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, atomic::AtomicBool};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use strayd::{
    config::{Settings, Sources},
    detect::{LoadError, ScoreError, Scorer, Scorers},
    model::{Model, metadata::Metadata},
    pipeline::{
        Delivery, Observer, Output, Polled, Sink, SinkError, Source, SourceError, SourceEvent, Unscored,
        observed::Observed,
        run::{self, Parts, Plan, RunError, Start},
        state::{Kept, StateStore},
    },
    record::{Position, RawRecord},
    telemetry::{Board, Metrics, OutputKind},
    testing::OwnedRecord,
    train::sample::SampleRecord,
};

const WINDOW: usize = 5;
const PARTITIONS: i32 = 2;
const ENTITIES: usize = 7;

fn settings(sets: &[&str]) -> Settings {
    let fixed = [
        "training.window=5",
        "model.kind=pca",
        "record.entity=key",
        "judging.budget.quantile=0.01",
        "judging.residuals={\"running\": {\"half_life\": 40.0}}",
        "judging.silence.least=20s",
        "pipeline.batch_rows=16",
    ];
    let set = fixed.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    let mut settings = Settings::load(&Sources { set, ..Sources::default() }).expect("the settings are sound").settings;
    settings.pipeline.snapshot_interval = Duration::ZERO;
    settings
}

/// Two fields that wander, and a counter; some are missing, some far off.
fn payload(rng: &mut Xoshiro256PlusPlus, row: usize, wild: bool) -> String {
    let phase = row as f64 * 0.1;
    let off = if wild && rng.gen_bool(0.04) { 30.0 } else { 0.0 };
    let x = phase.sin() + 0.1 * rng.r#gen::<f64>() + off;
    let count = row * 3 + rng.gen_range(0..3);
    match rng.gen_range(0..30) {
        0 if wild => "{\"x\":".to_owned(),
        1 => format!("{{\"x\":{x},\"count\":{count}}}"),
        _ => format!("{{\"x\":{x},\"y\":{},\"count\":{count}}}", phase.cos()),
    }
}

fn sample() -> Vec<SampleRecord> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let record = |row: usize| SampleRecord {
        position: Position { partition: 0, offset: row as i64 },
        timestamp_ms: Some(row as i64 * 1000),
        key: Some(b"of-the-sample".as_slice().into()),
        payload: payload(&mut rng, row, false).into_bytes().into(),
        headers: None,
        run: 0,
    };
    (0..400).map(record).collect()
}

/// Expects each value to be the mean of those before it in the window: a score hangs on every row of it.
#[derive(Clone, Copy)]
struct MeanScorers;

struct MeanScorer(Metadata);

impl Scorers for MeanScorers {
    fn scorer(&self, model: &Model) -> Result<Box<dyn Scorer>, LoadError> {
        Ok(Box::new(MeanScorer(model.metadata.clone())))
    }
}

impl Scorer for MeanScorer {
    fn score(&mut self, windows: &[f32], _: usize, residuals: &mut Vec<f32>) -> Result<(), ScoreError> {
        let columns = &self.0.columns;
        residuals.clear();
        for window in windows.chunks_exact(columns.len() * self.0.window) {
            let (before, newest) = window.split_at(window.len() - columns.len());
            residuals.extend(newest.iter().zip(columns).enumerate().map(|(at, (value, column))| {
                let rows = before.chunks_exact(columns.len());
                let mean = rows.clone().map(|row| column.scaled(row[at])).sum::<f32>() / rows.len() as f32;
                let cap = column.residual_cap.min(f32::MAX);
                (column.scaled(*value) - mean).clamp(-cap, cap)
            }));
        }
        Ok(())
    }
}

fn model(settings: &Settings) -> Arc<Model> {
    let go_on = &mut |_: &_| std::ops::ControlFlow::Continue(());
    let recipe = support::models::recipe(MeanScorers, settings.clone());
    Arc::new(recipe.train(&sample(), go_on).expect("a model can be made"))
}

/// What outlives a process: the log, what was committed, and what was kept.
#[derive(Default)]
struct Cluster {
    log: BTreeMap<i32, Vec<OwnedRecord>>,
    /// Next offset, and from where on windows are filled again.
    committed: BTreeMap<i32, (i64, Option<i64>)>,
    kept: Vec<(i32, String, i64, Option<Vec<u8>>)>,
    outputs: BTreeSet<(Position, &'static str, Vec<u8>)>,
    scores: BTreeMap<Position, u64>,
    unscored: BTreeMap<Position, String>,
    read_again: usize,
    /// Windows that could not be filled again.
    cut: usize,
}

type Shared = Rc<RefCell<Cluster>>;

fn log(seed: u64, rows: usize) -> BTreeMap<i32, Vec<OwnedRecord>> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut log = BTreeMap::<i32, Vec<OwnedRecord>>::new();
    for row in 0..rows {
        // One entity falls silent in the middle, and comes back near the end.
        let mut entity = rng.gen_range(0..ENTITIES);
        if entity == 3 && (rows / 3..rows * 5 / 6).contains(&row) {
            entity = 4;
        }
        let partition = entity as i32 % PARTITIONS;
        let records = log.entry(partition).or_default();
        let offset = records.last().map_or(3, |last| last.position.offset + rng.gen_range(1..3));
        let position = Position { partition, offset };
        let key = Some(format!("entity-{entity}").into_bytes());
        let before = records.iter().rev().find(|record| record.key == key).filter(|_| rng.gen_bool(0.03));
        records.push(match before {
            // Whoever sends sends it twice.
            Some(before) => OwnedRecord { position, ..before.clone() },
            None => OwnedRecord {
                position,
                // Some take a detour.
                timestamp_ms: Some(row as i64 * 1000 - if rng.gen_bool(0.1) { rng.gen_range(0..30_000) } else { 0 }),
                key,
                payload: rng.gen_bool(0.98).then(|| payload(&mut rng, row, true).into_bytes()),
            },
        });
    }
    log
}

/// Reads as a member of a group does, commits now and then, and is killed after so many polls.
struct Reader {
    cluster: Shared,
    rng: Xoshiro256PlusPlus,
    next: BTreeMap<i32, i64>,
    finished: BTreeMap<i32, (i64, Option<i64>)>,
    polls: usize,
    most: Option<i64>,
    events: Vec<SourceEvent>,
    has_begun: bool,
    is_paused: bool,
}

impl Reader {
    fn begin(&mut self) {
        let cluster = self.cluster.borrow();
        for partition in 0..PARTITIONS {
            let (next, oldest) = cluster.committed.get(&partition).copied().unwrap_or((0, None));
            let from = self.most.zip(oldest).map(|(most, oldest)| oldest.max(next - most));
            self.next.insert(partition, from.unwrap_or(next));
            // It may have gone and come back before anybody looked.
            self.events.extend([SourceEvent::Revoked(vec![partition]), SourceEvent::Assigned(vec![partition])]);
            self.events
                .extend(from.map(|from| SourceEvent::Resumes { next: Position { partition, offset: next }, from }));
        }
    }
}

impl Source for Reader {
    fn poll(&mut self, max: usize, _: Duration, visit: &mut dyn FnMut(RawRecord<'_>)) -> Result<Polled, SourceError> {
        self.polls = self.polls.checked_sub(1).ok_or_else(|| SourceError::Fatal("killed".into()))?;
        if !std::mem::replace(&mut self.has_begun, true) {
            self.begin();
            return Ok(Polled::Idle);
        }
        if self.is_paused {
            return Ok(Polled::Idle);
        }
        let log = self.cluster.borrow().log.clone();
        let mut lent = 0;
        let turn = self.rng.gen_range(0..PARTITIONS);
        for partition in (0..PARTITIONS).map(|at| (at + turn) % PARTITIONS) {
            let next = self.next.get_mut(&partition).expect("it was assigned");
            let records = &log[&partition];
            let start = records.partition_point(|record| record.position.offset < *next);
            let most = max.saturating_sub(lent).min(self.rng.gen_range(1..9));
            for record in records[start..].iter().take(most) {
                *next = record.position.offset + 1;
                lent += 1;
                let (key, payload) = (record.key.as_deref(), record.payload.as_deref());
                visit(RawRecord {
                    position: record.position,
                    timestamp_ms: record.timestamp_ms,
                    key,
                    payload,
                    headers: None,
                });
            }
        }
        Ok(if lent == 0 { Polled::End } else { Polled::Records(lent) })
    }

    fn events(&mut self) -> Vec<SourceEvent> {
        std::mem::take(&mut self.events)
    }

    fn finished(&mut self, next: Position, oldest: Option<i64>) -> Result<(), SourceError> {
        self.finished.insert(next.partition, (next.offset, oldest));
        if self.rng.gen_bool(0.2) {
            self.commit()?;
        }
        Ok(())
    }

    fn rewind(&mut self, most: i64) {
        self.most = Some(most);
    }

    fn pause(&mut self, paused: bool) -> Result<(), SourceError> {
        self.is_paused = paused;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        self.cluster.borrow_mut().committed.extend(std::mem::take(&mut self.finished));
        Ok(())
    }

    fn commit_last(&mut self, _: Duration) -> Result<(), SourceError> {
        self.commit()
    }
}

/// Acknowledges in order, a few at a look. What was not acknowledged when the process died may be there or not.
struct Writer {
    cluster: Shared,
    rng: Xoshiro256PlusPlus,
    waiting: std::collections::VecDeque<(Position, Output)>,
}

impl Writer {
    fn write(&self, position: Position, output: Output) {
        let mut cluster = self.cluster.borrow_mut();
        let kind = OutputKind::WORDS[output.kind() as usize];
        match output {
            Output::Snapshot { entity, as_of, body } => cluster.kept.push((position.partition, entity, as_of, body)),
            Output::Anomaly { json, .. } | Output::Incident { json, .. } => {
                cluster.outputs.insert((position, kind, json));
            }
            Output::DeadLetter { error, .. } => {
                cluster.outputs.insert((position, kind, error.into_bytes()));
            }
        }
    }
}

impl Sink for Writer {
    fn send(&mut self, position: Position, output: Output) -> Result<(), SinkError> {
        self.waiting.push_back((position, output));
        Ok(())
    }

    fn deliveries(&mut self, _: Duration, visit: &mut dyn FnMut(Delivery)) -> Result<(), SinkError> {
        let few = self.rng.gen_range(0..12).min(self.waiting.len());
        let acknowledged: Vec<_> = self.waiting.drain(..few).collect();
        for (position, output) in acknowledged {
            let kind = output.kind();
            self.write(position, output);
            visit(Delivery { position, kind, result: Ok(()) });
        }
        Ok(())
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let arrived = self.rng.gen_range(0..=self.waiting.len());
        let waiting: Vec<_> = self.waiting.drain(..arrived).collect();
        waiting.into_iter().for_each(|(position, output)| self.write(position, output));
    }
}

struct Store {
    cluster: Shared,
    wanted: Vec<i32>,
    /// Looks before it answers.
    patience: usize,
}

impl StateStore for Store {
    fn load(&mut self, partition: i32) {
        self.wanted.push(partition);
    }

    fn read(&mut self, visit: &mut dyn FnMut(Kept<'_>)) -> Result<(), String> {
        if self.patience > 0 {
            self.patience -= 1;
            return Ok(());
        }
        for wanted in self.wanted.drain(..) {
            for (partition, entity, as_of, body) in &self.cluster.borrow().kept {
                if *partition == wanted {
                    visit(Kept::Snapshot { partition: wanted, entity, as_of: *as_of, body: body.as_deref() });
                }
            }
            visit(Kept::All(wanted));
        }
        Ok(())
    }
}

/// Sees that a record that ends twice ends alike, unless windows are cut on purpose.
struct Watcher {
    cluster: Shared,
    is_cut: bool,
}

impl Observer for Watcher {
    fn judged(&mut self, record: &Observed<'_>) {
        let bits = record.judged.score.to_bits();
        let before = self.cluster.borrow_mut().scores.insert(record.position, bits);
        let is_same = self.is_cut || before.is_none_or(|before| before == bits);
        assert!(is_same, "{:?} has another score this time", record.position);
    }

    fn unscored(&mut self, record: &Unscored<'_>) {
        let before = self.cluster.borrow_mut().unscored.insert(record.position, record.why.to_owned());
        let is_same = self.is_cut || before.is_none_or(|before| before == record.why);
        assert!(is_same, "{:?} ended otherwise", record.position);
    }
}

/// One life of a process. `Err` where it was killed.
fn live(cluster: &Shared, model: &Arc<Model>, settings: &Settings, (seed, polls): (u64, usize)) -> Result<(), String> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut source = Reader {
        cluster: Rc::clone(cluster),
        rng: rng.clone(),
        next: BTreeMap::new(),
        finished: BTreeMap::new(),
        polls,
        most: None,
        events: Vec::new(),
        has_begun: false,
        is_paused: false,
    };
    rng.jump();
    let patience = rng.gen_range(0..4);
    let mut sink = Writer { cluster: Rc::clone(cluster), rng, waiting: std::collections::VecDeque::new() };
    let metrics = Metrics::new();
    let parts = Parts {
        source: &mut source,
        sink: &mut sink,
        observer: &mut Watcher { cluster: Rc::clone(cluster), is_cut: settings.pipeline.max_rewind < 100 },
        progress: &mut |_| {},
        metrics: &metrics,
        board: &Board::new(Instant::now()),
        stop: &AtomicBool::new(false),
    };
    let store = Store { cluster: Rc::clone(cluster), wanted: Vec::new(), patience };
    let plan = Plan { state: Some(Box::new(store)), ..Plan::from(Start::Model(Arc::clone(model))) };
    let result = run::run(parts, plan, settings, &MeanScorers);
    let exposition = metrics.render();
    let count = |name: &str| -> usize {
        let value = exposition.lines().find_map(|line| line.strip_prefix(name)).expect("the counter is there");
        value.trim().parse::<f64>().expect("a number") as usize
    };
    let (again, cut) = (count("strayd_records_reread_total "), count("strayd_windows_cut_total "));
    cluster.borrow_mut().read_again += again;
    cluster.borrow_mut().cut += cut;
    match result {
        Ok(_) => Ok(()),
        Err(RunError::Source(SourceError::Fatal(why))) if why == "killed" => Err(why),
        Err(other) => panic!("{other}"),
    }
}

fn cluster(seed: u64, rows: usize) -> Shared {
    Rc::new(RefCell::new(Cluster { log: log(seed, rows), ..Cluster::default() }))
}

/// Lives until the log's end is reached, killed each time after the next number of polls.
fn live_on(seed: u64, rows: usize, model: &Arc<Model>, settings: &Settings, kills: &[usize]) -> Cluster {
    let shared = cluster(seed, rows);
    for (life, polls) in kills.iter().chain([&usize::MAX]).enumerate() {
        if live(&shared, model, settings, (seed + life as u64, *polls)).is_ok() {
            break;
        }
    }
    Rc::into_inner(shared).expect("the processes are gone").into_inner()
}

/// What is there, or otherwise, in one of the two alone; the first few.
fn differences<T: Ord + Clone>(
    disturbed: impl IntoIterator<Item = T>,
    undisturbed: impl IntoIterator<Item = T>,
) -> Vec<T> {
    let [disturbed, undisturbed] = [BTreeSet::from_iter(disturbed), BTreeSet::from_iter(undisturbed)];
    disturbed.symmetric_difference(&undisturbed).take(6).cloned().collect()
}

fn assert_same(disturbed: &Cluster, undisturbed: &Cluster) {
    let text = |cluster: &Cluster| -> Vec<(Position, &'static str, String)> {
        let outputs = cluster.outputs.iter();
        outputs.map(|(at, kind, bytes)| (*at, *kind, String::from_utf8_lossy(bytes).into_owned())).collect()
    };
    assert_eq!(differences(disturbed.unscored.clone(), undisturbed.unscored.clone()), []);
    assert_eq!(differences(disturbed.scores.clone(), undisturbed.scores.clone()), []);
    assert_eq!(differences(text(disturbed), text(undisturbed)), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whenever_a_process_is_killed_the_next_one_goes_on_to_the_bit(
        seed in any::<u32>(),
        kills in prop::collection::vec(1usize..60, 1..31),
        with_counter in any::<bool>(),
        in_order in any::<bool>(),
        max_rewind in prop_oneof![Just(1_000_000), Just(200)],
    ) {
        let exclude = if with_counter { "record.exclude=[]" } else { "record.exclude=[\"count\"]" };
        let features = if with_counter {
            "record.features=[{\"path\":\"x\"},{\"path\":\"y\"},{\"path\":\"count\",\"kind\":\"counter\"}]"
        } else {
            "record.features=all_numeric"
        };
        let mut sets = vec![exclude, features];
        if in_order {
            sets.extend(["record.lateness=5s", "record.duplicates=drop"]);
        }
        // With little to be read again, the window of whoever is silent for long has to be kept whole.
        let mut settings = settings(&sets);
        settings.pipeline.max_rewind = max_rewind;
        let model = model(&settings);
        let undisturbed = live_on(u64::from(seed), 1200, &model, &settings, &[]);
        let disturbed = live_on(u64::from(seed), 1200, &model, &settings, &kills);
        assert_same(&disturbed, &undisturbed);
        prop_assert!(undisturbed.scores.len() > 900 && undisturbed.outputs.len() > 20);
        for why in ["late", "duplicate"] {
            prop_assert_eq!(undisturbed.unscored.values().any(|found| found == why), in_order, "{}", why);
        }
    }
}

#[test]
fn thirty_kills_read_windows_again_and_no_more_than_that() {
    let settings = settings(&["record.exclude=[\"count\"]"]);
    let model = model(&settings);
    let undisturbed = live_on(7, 3000, &model, &settings, &[]);
    let disturbed = live_on(7, 3000, &model, &settings, &[20; 30]);
    assert_same(&disturbed, &undisturbed);
    assert_eq!(undisturbed.read_again, 0);
    let most = 30 * (ENTITIES * WINDOW * 12);
    assert!((30..most).contains(&disturbed.read_again), "{} records were read again", disturbed.read_again);
}

#[test]
fn where_too_little_may_be_read_again_windows_fill_anew_and_no_record_is_lost() {
    let mut settings = settings(&["record.exclude=[\"count\"]"]);
    settings.pipeline.max_rewind = 4;
    let model = model(&settings);
    let undisturbed = live_on(9, 1200, &model, &settings, &[]);
    let disturbed = live_on(9, 1200, &model, &settings, &[15; 12]);
    let ended = |cluster: &Cluster| -> BTreeSet<Position> {
        cluster.scores.keys().chain(cluster.unscored.keys()).copied().collect()
    };
    assert_eq!(ended(&disturbed), ended(&undisturbed));
    assert!(disturbed.cut > 0 && undisturbed.cut == 0, "{} windows were cut", disturbed.cut);
}
