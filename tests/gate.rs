//! The retraining's sample and gate with real models on the real ONNX Runtime.

mod support;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;
use rand_xoshiro::Xoshiro256PlusPlus;
use strayd::{
    config::{
        Settings, Sources,
        settings::{AlarmBudget, Kinds, NetworkKind, TimestampFormat},
    },
    detect::{Scorers, calibrate::Missing, incident::IncidentState, onnx::Ports, runtime::Runtime},
    model::{
        Model,
        graph::{self, GraphSpec},
        metadata::Provenance,
    },
    pipeline::{Observer, Unscored, observed::Observed, prepared::Prepared, scoring::Scoring},
    record::{Position, timestamp},
    train::{
        Candidate, Layer, Network, Yardstick,
        gate::{Check, Contest, GateError, GateReport},
        recent::{Bounds, Offered, RecentSample, Standing},
        recipe::{Foreign, Recipe},
        sample::{SampleRecord, SampleRows},
        withheld::Withheld,
    },
};
use support::models::{self, recipe};

fn runtime() -> Option<Runtime> {
    models::runtime("NO MODEL WAS HELD TO THE GATE")
}

fn settings(sets: &[&str]) -> Settings {
    let set = ["record.entity=key"].iter().chain(sets).map(|set| (*set).to_owned()).collect();
    Settings::load(&Sources { set, ..Sources::default() }).expect("the settings are sound").settings
}

fn candidate(runtime: &Runtime, settings: &Settings, sample: &[SampleRecord]) -> Candidate {
    retrained(runtime, settings, (sample, Missing::default()))
}

fn retrained(runtime: &Runtime, settings: &Settings, (sample, missing): (&[SampleRecord], Missing)) -> Candidate {
    let trained =
        recipe(runtime.clone(), settings.clone()).train_candidate(sample, missing, &mut |_| ControlFlow::Continue(()));
    trained.expect("the sample is enough to train on")
}

/// A record of an entity; offsets tell records apart.
fn record(offset: usize, entity: &str, time_ms: i64, fields: &[(String, f64)]) -> SampleRecord {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    SampleRecord {
        position: Position { partition: 0, offset: offset as i64 },
        timestamp_ms: Some(time_ms),
        key: Some(entity.as_bytes().into()),
        payload: format!("{{{}}}", fields.join(",")).into_bytes().into(),
        run: 0,
        headers: None,
    }
}

/// Keeps what was judged.
#[derive(Default)]
struct Verdicts(Vec<(Position, String, i64, bool)>);

impl Observer for Verdicts {
    fn judged(&mut self, row: &Observed<'_>) {
        self.0.push((row.position, row.entity.to_owned(), row.time_us, row.judged.anomalous));
    }

    fn unscored(&mut self, _: &Unscored<'_>) {}
}

/// Scores records by `model` as production does, and offers what was judged to a sample. The first `primed` records only
/// fill windows.
fn sampled(
    runtime: &Runtime,
    settings: &Settings,
    model: &Model,
    (records, primed): (&[SampleRecord], usize),
) -> RecentSample {
    let mut scoring = Scoring::new(
        Prepared::new(Arc::new(model.clone()), settings, runtime).expect("the model can be put to work"),
        settings,
    );
    let mut verdicts = Verdicts::default();
    for (at, record) in records.iter().enumerate() {
        if at < primed {
            scoring.prime(&record.lend()).expect("the record is sound");
            continue;
        }
        scoring.take(&record.lend(), &mut verdicts);
        if scoring.room() == 0 || at + 1 == records.len() {
            scoring.flush(&mut verdicts, &mut |_, _, _| {}).expect("the model scores");
        }
    }
    let by_position: HashMap<Position, &SampleRecord> =
        records.iter().map(|record| (record.position, record)).collect();
    let mut sample = RecentSample::new(Bounds::new(20_000, model.metadata.window));
    let mut entities: HashMap<String, (u32, Arc<str>, IncidentState)> = HashMap::new();
    for (position, entity, time_us, anomalous) in verdicts.0 {
        let slot = entities.len() as u32;
        let (slot, entity, incident) =
            entities.entry(entity.clone()).or_insert_with(|| (slot, entity.as_str().into(), IncidentState::default()));
        incident.advance(anomalous, model.metadata.scoring.incident_quiet_rows);
        let standing = match (anomalous, incident.open()) {
            (true, _) => Standing::Anomalous,
            (false, Some(_)) => Standing::InIncident,
            (false, None) => Standing::Normal,
        };
        let raw = by_position[&position].lend();
        sample.offer(&Offered { raw, slot: *slot, entity, time_us, standing, imputed: &[] });
    }
    sample
}

/// Rows of the stream before the retraining, all entities together; the model in use is trained on the first ones.
const STREAM: usize = 9_000;
const COLD: usize = 3_000;
const ENTITIES: usize = 3;
const COLUMNS: usize = 6;
/// What makes models here small and quick.
const QUICK: [&str; 3] = ["training.epochs=20", "training.window=2", "model.kind=undercomplete"];

/// A stream of three machines, a row a minute each: columns hang on two waves, in ways that `turn` changes.
fn stream(count: usize, turn: f64) -> Vec<SampleRecord> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
    let row = |at: usize| {
        let (entity, minute) = (at % ENTITIES, at / ENTITIES);
        let phase = minute as f64 + 100.0 * entity as f64;
        let (a, b) = ((phase / 3.0).sin(), (phase / 17.0).cos());
        let value = |c: usize| {
            let angle = c as f64 * (1.0 + turn);
            10.0 + a * angle.cos()
                + b * angle.sin()
                + 0.3 * a * b * (2.0 * angle).cos()
                + 0.03 * random.sample::<f64, _>(StandardNormal)
        };
        let fields: Vec<(String, f64)> =
            (0..COLUMNS).map(value).enumerate().map(|(c, v)| (format!("c{c}"), v)).collect();
        record(at, &format!("machine-{entity}"), minute as i64 * 60_000, &fields)
    };
    let mut row = row;
    (0..count).map(&mut row).collect()
}

/// A model in use, and a candidate that was trained while it was.
struct Retrained {
    runtime: Runtime,
    settings: Settings,
    current: Model,
    candidate: Candidate,
    withheld: Vec<SampleRecord>,
}

impl Retrained {
    /// A healthy retraining; `None` without ONNX Runtime.
    fn new(sets: &[&str]) -> Option<Self> {
        let runtime = runtime()?;
        let settings = settings(&[&QUICK, sets].concat());
        let records = stream(STREAM, 0.0);
        let current = candidate(&runtime, &settings, &records[..COLD]).model;
        let sample = sampled(&runtime, &settings, &current, (&records, COLD));
        let counts = sample.counts();
        assert!(counts.entities == ENTITIES && counts.rows * 10 > 8 * (STREAM - COLD), "{counts:?}");
        let parts = Withheld::split(sample.copy().in_time_order(), 0.2, "memory", Some(&current.metadata.provenance));
        let candidate = retrained(&runtime, &settings, (&parts.training[..], sample.missing()));
        Some(Self { runtime, settings, current, candidate, withheld: parts.withheld })
    }

    fn report(&self) -> Result<GateReport, GateError> {
        self.report_of(&self.candidate, Some(&self.current))
    }

    fn report_of(&self, candidate: &Candidate, current: Option<&Model>) -> Result<GateReport, GateError> {
        let (withheld, settings, scorers) = (&self.withheld[..], &self.settings, &self.runtime as &dyn Scorers);
        Contest { candidate, current, withheld, settings, scorers }.judge()
    }

    fn spec<'a>(&'a self, networks: &'a [Network<f32>]) -> GraphSpec<'a> {
        let metadata = &self.candidate.model.metadata;
        let Candidate { input_clip, whitening, .. } = &self.candidate;
        GraphSpec {
            networks,
            columns: &metadata.columns,
            window: metadata.window,
            input_clip: *input_clip,
            whitening: whitening.as_ref(),
            doc: "",
            metadata: &[],
        }
    }
}

/// The network with the first weight of its last layer moved.
fn altered(network: &Network<f32>, by: f32) -> Network<f32> {
    let mut layers = network.layers().to_vec();
    let last = layers.pop().expect("a network has layers");
    let mut weight: Array2<f32> = last.weight().clone();
    let columns = weight.ncols();
    // Of the newest row, which alone is scored.
    weight[[0, columns - 1]] += by;
    layers.push(Layer::dense(weight, last.bias().clone(), last.activation()).expect("the shape is the same"));
    Network::new(layers, network.code_layer()).expect("the shape is the same")
}

fn sentences(report: &GateReport) -> String {
    report
        .checks
        .iter()
        .map(|check| format!("{}: {}", check.check.as_str(), check.sentence))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_sound_retraining_passes_every_check() {
    for sets in [
        &[][..],
        &["model.kind=denoising"],
        &["model.members=2"],
        &["judging.budget={\"quantile\":0.01}"],
        &["training.scaling=quantile"],
    ] {
        let Some(retrained) = Retrained::new(sets) else { return };
        let report = retrained.report().unwrap();
        assert!(report.passed() && report.reasons().is_empty(), "{sets:?}: {}", sentences(&report));
        assert_eq!(report.checks.iter().map(|check| check.check).collect::<Vec<_>>(), Check::ALL);
        assert!(report.checks.iter().all(|check| check.measured.is_some() && check.bound.is_some()), "{report:?}");
        assert!(report.windows > 900, "{}", report.windows);
        // It is kept with the model.
        let written = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<GateReport>(&written).unwrap(), report);
    }
}

#[test]
fn principal_components_and_first_models_have_nothing_to_be_compared_with() {
    let Some(retrained) = Retrained::new(&["model.kind=pca"]) else { return };
    assert!(matches!(retrained.candidate.yardstick, Yardstick::None(_)));
    let report = retrained.report_of(&retrained.candidate, None).unwrap();
    assert!(report.passed(), "{}", sentences(&report));
    let measured: Vec<bool> = report.checks.iter().map(|check| check.measured.is_some()).collect();
    assert_eq!(measured, [true, false, false, true, true]);
}

#[test]
fn a_model_of_another_regime_is_worse_than_the_one_in_use() {
    let Some(retrained) = Retrained::new(&[]) else { return };
    let other = candidate(&retrained.runtime, &retrained.settings, &stream(STREAM, 1.2));
    let report = retrained.report_of(&other, Some(&retrained.current)).unwrap();
    assert!(report.reasons().contains(&Check::WorseThanCurrent), "{}", sentences(&report));
    assert!(report.explanation().contains("the model in use"), "{}", report.explanation());
    // The other way round the new one is much better, and passes.
    let report = retrained.report_of(&retrained.candidate, Some(&other.model)).unwrap();
    assert!(report.passed(), "{}", sentences(&report));
}

#[test]
fn a_model_trained_on_mixed_up_columns_is_worse_than_the_one_in_use() {
    let Some(retrained) = Retrained::new(&[]) else { return };
    let mut mixed = stream(STREAM, 0.0);
    for record in &mut mixed {
        let text = String::from_utf8_lossy(&record.payload);
        record.payload = text.replace("c0", "x").replace("c3", "c0").replace('x', "c3").into_bytes().into();
    }
    let other = candidate(&retrained.runtime, &retrained.settings, &mixed);
    let report = retrained.report_of(&other, Some(&retrained.current)).unwrap();
    assert!(report.reasons().contains(&Check::WorseThanCurrent), "{}", sentences(&report));
}

#[test]
fn a_network_that_was_hardly_fitted_is_worse_than_principal_components() {
    let unfitted = ["training.epochs=1", "training.learning_rate=0.000001"];
    let Some(retrained) = Retrained::new(&[]) else { return };
    let settings = settings(&[&QUICK[..], &unfitted].concat());
    let other = candidate(&retrained.runtime, &settings, &stream(STREAM, 0.0));
    let report = retrained.report_of(&other, None).unwrap();
    assert_eq!(report.reasons(), [Check::WorseThanPca], "{}", sentences(&report));
    assert!(report.explanation().contains("model.kind to pca"), "{}", report.explanation());
    // They take its place where the kind is left open and nothing is asked for that they lack.
    for (kind, hidden, chosen, passed) in [
        (None, None, "pca", true),
        (None, Some(vec![16]), "undercomplete", false),
        (Some(NetworkKind::Undercomplete), None, "undercomplete", false),
    ] {
        let mut settings = retrained.settings.clone();
        settings.training.network.kinds = kind.map(Kinds::from);
        settings.training.network.hidden = hidden;
        let (withheld, scorers) = (&retrained.withheld[..], &retrained.runtime as &dyn Scorers);
        let current = Some(&retrained.current);
        let contest = Contest { candidate: &other, current, withheld, settings: &settings, scorers };
        let (candidate, report) = contest.choose().unwrap();
        assert_eq!(
            (candidate.model.metadata.graph.kind(), report.passed()),
            (chosen, passed),
            "{}",
            sentences(&report)
        );
        let Provenance { epochs, validation_loss, .. } = candidate.model.metadata.provenance;
        assert!(epochs > 0 && validation_loss > 0.0, "{epochs} epochs to a loss of {validation_loss}");
    }
    // Who wants the network all the same says so.
    let mut lenient = retrained;
    lenient.settings.training.gate.tolerance = 1.0;
    assert!(lenient.report_of(&other, None).unwrap().passed());
}

#[test]
fn a_graph_that_is_not_what_was_trained_is_told() {
    let Some(retrained) = Retrained::new(&[]) else { return };
    let mut other = retrained.candidate.clone();
    let networks = vec![altered(&other.networks[0], 1e-3)];
    let metadata = other.model.metadata.clone();
    let graph = graph::write(&retrained.spec(&networks)).unwrap();
    // The file's own golden rows tell it first.
    other.model = Model::assemble(graph.clone(), metadata.clone());
    let report = retrained.report_of(&other, None).unwrap();
    assert_eq!(report.reasons(), [Check::ExportDiffers], "{}", sentences(&report));
    // And without them the trainer's own network.
    let golden = Vec::new();
    other.model = Model::assemble(graph, strayd::model::metadata::Metadata { golden, ..metadata });
    let report = retrained.report_of(&other, None).unwrap();
    assert_eq!(report.reasons(), [Check::ExportDiffers], "{}", sentences(&report));
}

#[test]
fn a_graph_with_a_weight_that_is_no_number_is_told() {
    let Some(retrained) = Retrained::new(&[]) else { return };
    let mut other = retrained.candidate.clone();
    let mut bytes = other.model.bytes.to_vec();
    // A bias of the newest row in the middle, as it stands in the file.
    let layer = other.networks[0].layers().last().unwrap();
    let newest = other.model.metadata.columns.len();
    let weight = layer.bias()[layer.outputs() - newest / 2 - 1].to_le_bytes();
    let at = bytes.windows(4).rposition(|bytes| bytes == weight).expect("the graph holds the network's weights");
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    other.model.bytes = bytes.into();
    let report = retrained.report_of(&other, Some(&retrained.current)).unwrap();
    assert_eq!(report.reasons(), [Check::NonFinite], "golden rows: {}", sentences(&report));
    other.model.metadata.golden.clear();
    let report = retrained.report_of(&other, Some(&retrained.current)).unwrap();
    assert!(report.reasons().starts_with(&[Check::NonFinite]), "{}", sentences(&report));
    assert!(report.reasons().contains(&Check::ExportDiffers), "{}", sentences(&report));
    assert!(serde_json::to_string(&report).is_ok());
}

#[test]
fn a_limit_that_normal_rows_exceed_too_often_is_told_for_both_kinds_of_budget() {
    let Some(mut retrained) = Retrained::new(&[]) else { return };
    for budget in [AlarmBudget::PerEntityAndDay(1.0), AlarmBudget::Quantile(0.01)] {
        retrained.settings.judging.budget = budget;
        assert!(retrained.report().unwrap().passed(), "{budget:?}");
        let mut other = retrained.candidate.clone();
        let calibration = &mut other.model.metadata.calibration;
        // As if normal rows had never scored more than a twentieth of what they do.
        calibration.body.iter_mut().for_each(|score| *score *= 0.05);
        for tail in [&mut calibration.row_tail, &mut calibration.peak_tail] {
            (tail.threshold, tail.scale) = (0.05 * tail.threshold, 0.05 * tail.scale);
        }
        let report = retrained.report_of(&other, Some(&retrained.current)).unwrap();
        assert_eq!(report.reasons(), [Check::AlarmRate], "{budget:?}: {}", sentences(&report));
    }
}

#[test]
fn a_graph_of_another_tool_is_compared_with_the_model_in_use_alone() {
    let Some(retrained) = Retrained::new(&[]) else { return };
    // Scaled windows in, the newest row rebuilt out, as another tool would export it.
    let mut columns = retrained.candidate.model.metadata.columns.clone();
    columns.iter_mut().for_each(|column| (column.center, column.scale) = (0.0, 1.0));
    let spec = GraphSpec { columns: &columns, ..retrained.spec(&retrained.candidate.networks) };
    let graph = graph::write(&spec).unwrap();
    let (input, output) = (graph::WINDOW.to_owned(), graph::RECONSTRUCTION.to_owned());
    let ports = Ports { input, input_width: Some(2 * COLUMNS), output, output_width: Some(COLUMNS) };
    let foreign = Foreign { name: "theirs.onnx".to_owned(), bytes: graph.into(), ports, scaler: None };
    let recipe = Recipe { foreign: Some(foreign), ..recipe(retrained.runtime.clone(), retrained.settings.clone()) };
    let other =
        recipe.train_candidate(&stream(STREAM, 0.0), Missing::default(), &mut |_| ControlFlow::Continue(())).unwrap();
    let report = retrained.report_of(&other, Some(&retrained.current)).unwrap();
    let measured: Vec<bool> = report.checks.iter().map(|check| check.measured.is_some()).collect();
    assert_eq!(measured, [true, true, false, false, true], "{}", sentences(&report));
}

#[test]
fn too_few_rows_that_no_model_has_seen_decide_nothing() {
    let Some(mut retrained) = Retrained::new(&[]) else { return };
    retrained.withheld.truncate(90);
    let error = retrained.report().unwrap_err();
    assert!(matches!(error, GateError::TooFew { windows: 84..=90, least: 100 }), "{error}");
}

#[test]
fn the_same_contest_ends_the_same_way() {
    let Some(retrained) = Retrained::new(&[]) else { return };
    assert_eq!(retrained.report().unwrap(), retrained.report().unwrap());
}

#[test]
fn a_counters_rate_is_not_taken_across_two_runs() {
    let settings = settings(&["record.features=[{\"path\":\"n\",\"kind\":\"counter\"},{\"path\":\"x\"}]"]);
    let mut records: Vec<SampleRecord> = (0..20)
        .map(|at| record(at, "a", at as i64 * 1000, &[("n".to_owned(), 5.0 * at as f64), ("x".to_owned(), 1.0)]))
        .collect();
    records[10..].iter_mut().for_each(|record| record.run = 1);
    let rows = SampleRows::decode(&records, &settings.record).unwrap();
    let unknown: Vec<usize> = (0..20).filter(|row| rows.imputed[row * 2]).collect();
    assert_eq!(unknown, [0, 10]);
}

/// Rows of a labelled file, anomalies left in.
fn read(path: &Path, first: usize) -> Vec<SampleRecord> {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut reader = csv::Reader::from_reader(flate2::read::MultiGzDecoder::new(file));
    let names: Vec<String> = reader.headers().expect("the file has a header").iter().map(str::to_owned).collect();
    let row = |(at, row): (usize, Result<csv::StringRecord, csv::Error>)| {
        let row = row.expect("the row is CSV");
        let time = &row[0];
        let time_us = time.parse::<f64>().map_or_else(
            |_| timestamp::from_text(time, TimestampFormat::Rfc3339).expect("the time is RFC 3339"),
            |seconds| (seconds * 1e6) as i64,
        );
        let features = names.iter().zip(&row).skip(1).filter(|(name, _)| !name.starts_with("label"));
        let fields: Vec<(String, f64)> =
            features.filter_map(|(name, value)| Some((name.clone(), value.parse().ok()?))).collect();
        record(first + at, "a", time_us / 1000, &fields)
    };
    reader.records().enumerate().map(row).collect()
}

/// Whether one retraining after the other keeps the promise, on a stream that never changes and strays from itself only by
/// chance: incidents per entity and day on rows that were not sampled.
#[test]
#[ignore = "a measurement"]
fn how_the_alarm_rate_fares_over_many_retrainings() {
    let Some(runtime) = runtime() else { return };
    let settings =
        settings(&["model.kind=pca", "training.window=2", "judging.budget={\"alarms\":\"3 per entity per day\"}"]);
    const ROUND: usize = 20_000;
    let records = stream(ROUND * 9, 0.0);
    for told in [false, true] {
        let mut current = candidate(&runtime, &settings, &records[..10_000]).model;
        for round in 1..9 {
            let part = &records[ROUND * round - 100..ROUND * (round + 1)];
            let sample = sampled(&runtime, &settings, &current, (part, 100));
            let missing = sample.missing();
            let rate = missing.incidents * 1440.0;
            let limit = current.metadata.calibration.limit_of(settings.judging.budget).unwrap();
            println!("told {told}, model {round}: {rate:.2} incidents per entity and day, limit {limit:.3}");
            let missing = if told { missing } else { Missing::default() };
            current = retrained(&runtime, &settings, (&sample.copy().in_time_order()[..], missing)).model;
        }
    }
}

/// Prints how a contest ended; the model, if it passed.
fn passed(chosen: Result<(&Candidate, GateReport), GateError>) -> Option<Model> {
    let (chosen, report) = chosen.inspect_err(|error| println!("   {error}")).ok()?;
    println!("   {} passed: {} {:?}", chosen.model.metadata.graph.kind(), report.passed(), report.reasons());
    report.checks.iter().for_each(|check| println!("   {}", check.sentence));
    report.passed().then(|| chosen.model.clone())
}

/// How retrainings on labelled files fare: `STRAYD_GATE_DATA=FOLDER:FOLDER cargo test --release --test gate -- --ignored
/// --nocapture`. A folder holds pairs as `make quality` takes them.
#[test]
#[ignore = "a measurement"]
fn how_retrainings_on_labelled_files_fare() {
    let Some(runtime) = runtime() else { return };
    let folders = std::env::var("STRAYD_GATE_DATA").unwrap_or_else(|_| "deploy/demo-data".to_owned());
    let sets = std::env::var("STRAYD_GATE_SET").unwrap_or_default();
    let sets: Vec<&str> = sets.split_whitespace().collect();
    let only = std::env::var("STRAYD_GATE_ONLY").unwrap_or_default();
    let settings = settings(&sets);
    for folder in folders.split(':') {
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for train in files.iter().filter(|path| path.to_string_lossy().contains("train")) {
            let name = train.file_name().unwrap().to_string_lossy().into_owned();
            let test =
                [name.replace("train", "test"), name.replace("train", "stream")].map(|name| train.with_file_name(name));
            let test = test.iter().find(|path| path.is_file()).unwrap();
            if !name.contains(&only) {
                continue;
            }
            let mut records = read(train, 0);
            let first = records.len();
            records.extend(read(test, first));
            let cold = first.saturating_sub(10_000);
            let began = std::time::Instant::now();
            let mut current = candidate(&runtime, &settings, &records[cold..first]).model;
            let cold_took = began.elapsed();
            for part in [2, 1] {
                let end = first + (records.len() - first) / part;
                let sample = sampled(&runtime, &settings, &current, (&records[cold..end], first - cold));
                let counts = sample.counts();
                let Withheld { training, withheld } =
                    Withheld::split(sample.copy().in_time_order(), 0.2, "memory", Some(&current.metadata.provenance));
                let began = std::time::Instant::now();
                let next = retrained(&runtime, &settings, (&training[..], sample.missing()));
                let took = began.elapsed();
                let began = std::time::Instant::now();
                let contest = Contest {
                    candidate: &next,
                    current: Some(&current),
                    withheld: &withheld,
                    settings: &settings,
                    scorers: &runtime,
                };
                let chosen = contest.choose();
                println!(
                    "\n{name} 1/{part}: cold {cold_took:.1?}, {counts:?}, trained on {} as {} in {took:.1?}, gate {:.1?}",
                    training.len(),
                    next.model.metadata.graph.kind(),
                    began.elapsed()
                );
                if let Some(model) = passed(chosen) {
                    current = model;
                }
            }
        }
    }
}
