//! Scoring on the CPU and on a GPU: records per second by rows of a batch, and how far the scores of both are apart.
//!
//! The models are what the two presets make of reference records: 38 columns in windows of 4 rows, narrow, and 38 columns
//! alone, three wide members. A batch goes as production sends it: from memory of the host to the device and back, one
//! session, one thread. Both devices run on the same library, `make bench DEVICE=cuda ARGS="--bench devices"` on its build
//! for GPUs. Where no GPU can be had, its rows say why.

#[path = "../tests/support/mod.rs"]
mod harness;
mod support;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::models::recipe;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use strayd::{
    config::{Settings, Sources},
    detect::{Scorer, Scorers, judge::raw_score, runtime::Runtime},
    model::Model,
    record::Position,
    train::sample::SampleRecord,
};
use support::{Goal, not_measured, records, tell};

/// Rows of a batch: 1 to 65,536, which is as far as pipeline.batch_rows goes.
const BATCHES: [usize; 9] = [1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536];

/// How long each size is measured, in calls of one batch, at least [`LEAST_CALLS`]. The fastest call counts: the machines
/// that this runs on are shared, and whoever else runs there only ever makes a call slower.
const SPAN: Duration = Duration::from_secs(2);
const LEAST_CALLS: usize = 20;

/// How far scores of two devices may be apart: 1e-4 of the score, as golden rows. In millionths.
const APART: f64 = 100.0;

/// Rows that a model is trained on. What it learns is not the point; its widths are.
const SAMPLE: usize = 2_000;

fn settings(preset: &str, device: &str) -> Settings {
    let set = [
        format!("preset={preset}"),
        format!("runtime.device={device}"),
        format!("pipeline.batch_rows={}", BATCHES[BATCHES.len() - 1]),
        "record.entity=nothing".to_owned(),
        "record.timestamp.field=time".to_owned(),
        r#"record.exclude=["time"]"#.to_owned(),
        "training.epochs=2".to_owned(),
    ];
    let sources = Sources { set: set.into(), ..Sources::default() };
    Settings::load(&sources).expect("the settings are sound").settings
}

fn model(preset: &str, cpu: &Runtime) -> Model {
    let sample: Vec<SampleRecord> = records(3, SAMPLE)
        .into_iter()
        .enumerate()
        .map(|(at, record)| SampleRecord {
            position: Position { partition: 0, offset: at as i64 },
            timestamp_ms: None,
            key: None,
            payload: record.into_bytes().into(),
            run: 0,
            headers: None,
        })
        .collect();
    let recipe = recipe(cpu.clone(), settings(preset, "cpu"));
    recipe.train(&sample, &mut |_| ControlFlow::Continue(())).expect("the model can be trained")
}

/// Windows like those that the model was trained on, and some far off.
fn windows(model: &Model, rows: usize) -> Vec<f32> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(8);
    let columns = &model.metadata.columns;
    let count = rows * model.metadata.window;
    (0..count)
        .flat_map(|row| {
            let far = if row % 97 == 0 { 20.0 } else { 2.0 };
            columns.iter().map(|c| c.center + c.scale * random.gen_range(-far..far)).collect::<Vec<f32>>()
        })
        .collect()
}

/// Records per second at each size of a batch.
fn rates(what: &str, device: &str, scorer: &mut dyn Scorer, windows: &[f32], width: usize) {
    let mut residuals = Vec::new();
    for rows in BATCHES {
        let batch = &windows[..rows * width];
        scorer.score(batch, rows, &mut residuals).expect("it scores");
        let (start, mut calls, mut fastest) = (Instant::now(), 0, f64::INFINITY);
        while calls < LEAST_CALLS || start.elapsed() < SPAN {
            let call = Instant::now();
            scorer.score(batch, rows, &mut residuals).expect("it scores");
            fastest = call.elapsed().as_secs_f64().min(fastest);
            calls += 1;
        }
        let rate = rows as f64 / fastest;
        tell(&format!("{what}, batch {rows}, on {device}"), rate / 1e3, " k records/s", Goal::None);
    }
}

/// The score of each row.
fn scores(model: &Model, scorer: &mut dyn Scorer, windows: &[f32], rows: usize) -> Vec<f64> {
    let variances: Vec<f32> = model.metadata.columns.iter().map(|column| column.residual_variance).collect();
    let mut residuals = Vec::new();
    scorer.score(windows, rows, &mut residuals).expect("it scores");
    residuals.chunks(variances.len()).map(|row| raw_score(row, &variances)).collect()
}

/// The model's name of the first GPU, as its driver says.
fn gpu() -> Option<String> {
    let entry = fs::read_dir(Path::new("/proc/driver/nvidia/gpus")).ok()?.next()?.ok()?;
    let information = fs::read_to_string(entry.path().join("information")).ok()?;
    let line = information.lines().find_map(|line| line.strip_prefix("Model:"))?;
    Some(line.trim().to_owned())
}

fn main() {
    let runtime = |preset: &str, device: &str| Runtime::of(&settings(preset, device)).expect("ONNX Runtime is here");
    for preset in ["timeseries", "tabular"] {
        let cpu = runtime(preset, "cpu");
        let model = model(preset, &cpu);
        let rows = BATCHES[BATCHES.len() - 1];
        let windows = windows(&model, rows);
        let width = model.metadata.columns.len() * model.metadata.window;
        let what = format!("scoring, preset {preset}");
        let mut on_cpu = cpu.scorer(&model).expect("the model loads");
        rates(&what, "the CPU, one thread", on_cpu.as_mut(), &windows, width);

        let cuda = runtime(preset, "cuda");
        let mut on_cuda = match cuda.scorer(&model) {
            Ok(scorer) => scorer,
            Err(error) => {
                not_measured(&format!("{what}, on a GPU"), &error.to_string());
                continue;
            }
        };
        let device = format!("{} ({})", gpu().unwrap_or_else(|| "an unknown GPU".to_owned()), cuda.device());
        rates(&what, &device, on_cuda.as_mut(), &windows, width);
        let wanted = scores(&model, on_cpu.as_mut(), &windows, rows);
        let got = scores(&model, on_cuda.as_mut(), &windows, rows);
        let apart = |(a, b): (&f64, &f64)| (a - b).abs() / b.abs().max(1e-3) * 1e6;
        // A score that is no number is as far off as can be.
        let most = got.iter().zip(&wanted).map(apart).fold(0.0, |most, next| if next <= most { most } else { next });
        tell(&format!("{what}: largest difference from the CPU's scores"), most, " millionths", Goal::AtMost(APART));
    }
}
