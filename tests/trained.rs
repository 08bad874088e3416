//! Models that the trainer makes, on the real ONNX Runtime: what they find, what they survive, and that no score depends
//! on the batch.

mod support;

use std::ops::ControlFlow;
use std::process::Command;

use linfa::ParamGuard;
use ndarray::{Array2, Axis};
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;
use rand_xoshiro::Xoshiro256PlusPlus;
use strayd::{
    config::{
        Settings, Sources,
        settings::{Activation, AlarmBudget, NetworkKind, Variational, VariationalScore},
    },
    detect::{
        Scorers,
        judge::{EntityJudgement, Judge, Judged},
        runtime::Runtime,
    },
    model::{
        Model,
        graph::{self, GraphSpec},
        metadata::Metadata,
    },
    record::Position,
    train::{AutoencoderParams, Network, recipe::TrainError, sample::SampleRecord},
};
use support::models::{self, recipe};

/// Rows of a training sample; the last fifth is held back.
const SAMPLE: usize = 2_000;
/// Anomalous rows among some hundred normal ones that a budget of one alarm a day may give by chance.
const CALM: usize = 5;

fn runtime() -> Option<Runtime> {
    models::runtime("NO MODEL WAS TRAINED AND SCORED")
}

/// Rows of `columns` values that hang on two waves, one row a minute, with a little noise.
fn rows(count: usize, columns: usize) -> Vec<Vec<f32>> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
    let row = |at: usize| {
        let (a, b) = ((at as f32 / 3.0).sin(), (at as f32 / 7.0).cos());
        (0..columns).map(|c| 10.0 + a * (c as f32).cos() + b * (c as f32).sin()).collect::<Vec<f32>>()
    };
    let mut rows: Vec<Vec<f32>> = (0..count).map(row).collect();
    rows.iter_mut().flatten().for_each(|value| *value += random.gen_range(-0.05..0.05));
    rows
}

fn train(runtime: &Runtime, sample: &[Vec<f32>], sets: &[&str]) -> Result<Model, TrainError> {
    let record = |(at, row): (usize, &Vec<f32>)| {
        let fields: Vec<String> = row.iter().enumerate().map(|(c, value)| format!("\"c{c:03}\":{value:e}")).collect();
        SampleRecord {
            position: Position { partition: 0, offset: at as i64 },
            timestamp_ms: Some(at as i64 * 60_000),
            key: None,
            payload: format!("{{{}}}", fields.join(",")).into_bytes().into(),
            run: 0,
            headers: None,
        }
    };
    let sample: Vec<SampleRecord> = sample.iter().enumerate().map(record).collect();
    let fixed = ["record.entity=nothing", "training.epochs=15", "training.window=2"];
    let set = fixed.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    let settings = Settings::load(&Sources { set, ..Sources::default() }).expect("the settings are sound").settings;
    recipe(runtime.clone(), settings).train(&sample, &mut |_| ControlFlow::Continue(()))
}

/// Scores rows of one entity as production does, for one alarm a day; the first row fills the window.
fn judge(runtime: &Runtime, model: &Model, rows: &[Vec<f32>]) -> Vec<Judged> {
    let windows: Vec<f32> = rows.windows(model.metadata.window).flatten().flatten().copied().collect();
    let count = rows.len() + 1 - model.metadata.window;
    let mut residuals = Vec::new();
    runtime.scorer(model).expect("the model loads").score(&windows, count, &mut residuals).expect("the model scores");
    let limit = model.metadata.calibration.limit_of(AlarmBudget::PerEntityAndDay(1.0)).expect("there is a limit");
    let (judge, mut memory) = (Judge::new(&model.metadata, limit), EntityJudgement::default());
    let width = model.metadata.columns.len();
    residuals.chunks(width).map(|row| judge.judge(row, &vec![false; width], &mut memory)).collect()
}

/// How many of the rows from `from` on are anomalous.
fn alarms(judged: &[Judged], from: usize) -> usize {
    judged[from..].iter().filter(|judged| judged.anomalous).count()
}

#[test]
fn scores_do_not_depend_on_the_batch_to_the_bit() {
    let Some(runtime) = runtime() else { return };
    let probability = "model.variational.score=probability";
    for (columns, sets) in [
        (5, &["model.kind=pca"][..]),
        (38, &["training.window=4"]),
        (9, &["model.members=3"]),
        (9, &["training.scaling=quantile"]),
        (6, &["model.kind=convolutional", "training.window=16", "model.activation=gelu"]),
        (6, &["model.kind=variational", probability, "model.activation=elu"]),
        (4, &[r#"model.kind=["convolutional","sequence","variational"]"#, "training.window=8"]),
        (4, &[r#"model.kind=["sequence","variational"]"#, probability, "training.window=8"]),
    ] {
        let model = train(&runtime, &rows(SAMPLE, columns), sets).unwrap();
        let windows: Vec<f32> = rows(512 + model.metadata.window, columns)
            .windows(model.metadata.window)
            .take(512)
            .flatten()
            .flatten()
            .copied()
            .collect();
        let mut scorer = runtime.scorer(&model).unwrap();
        let width = columns * model.metadata.window;
        let mut whole = Vec::new();
        scorer.score(&windows, 512, &mut whole).unwrap();
        for batch in [1, 2, 3, 4, 5, 7, 8, 16, 31, 33, 64, 100, 255, 511] {
            let mut told = Vec::new();
            for windows in windows.chunks(batch * width) {
                let mut residuals = Vec::new();
                scorer.score(windows, windows.len() / width, &mut residuals).unwrap();
                told.extend(residuals);
            }
            let same = told.iter().zip(&whole).filter(|(a, b)| a.to_bits() == b.to_bits()).count();
            assert_eq!(same, whole.len(), "{columns} columns, batches of {batch}");
        }
    }
}

#[test]
fn a_change_of_a_constant_column_is_flagged_however_many_columns_there_are() {
    let Some(runtime) = runtime() else { return };
    for (columns, sets) in [
        (4, &[][..]),
        (101, &[]),
        (101, &["judging.residuals=raw"]),
        (101, &["judging.residuals=held_back"]),
        (4, &["model.kind=convolutional", "training.window=8"]),
        (4, &["model.kind=variational", "model.variational.score=probability"]),
        (4, &["training.scaling=quantile"]),
    ] {
        let constant = |mut rows: Vec<Vec<f32>>| {
            rows.iter_mut().for_each(|row| row[2] = 5.0);
            rows
        };
        let model = train(&runtime, &constant(rows(SAMPLE, columns)), sets).unwrap();
        let mut later = constant(rows(SAMPLE + 200, columns).split_off(SAMPLE));
        assert!(alarms(&judge(&runtime, &model, &later), 0) <= CALM, "{columns} {sets:?}");
        later[100..].iter_mut().for_each(|row| row[2] = 6.0);
        let judged = judge(&runtime, &model, &later);
        assert!(alarms(&judged, 99) > 80, "{columns} columns, {sets:?}: {:?}", judged[110]);
        // It stays capped: ten times the change says no more.
        later[100..].iter_mut().for_each(|row| row[2] = 1e30);
        assert!((judge(&runtime, &model, &later)[150].raw_score / judged[150].raw_score - 1.0).abs() < 0.1);
    }
}

#[test]
fn an_outlier_among_the_held_back_rows_does_not_blind_its_feature() {
    let Some(runtime) = runtime() else { return };
    let mut sample = rows(SAMPLE, 6);
    sample[SAMPLE - 100][3] = 1e6;
    let model = train(&runtime, &sample, &[]).unwrap();
    let mut later = rows(SAMPLE + 300, 6).split_off(SAMPLE);
    let judged = judge(&runtime, &model, &later);
    assert!(alarms(&judged, 0) <= CALM);
    later[150..].iter_mut().for_each(|row| row[3] += 4.0);
    assert!(alarms(&judge(&runtime, &model, &later), 149) > 50);
}

#[test]
fn a_row_of_huge_values_stops_neither_training_nor_scoring() {
    let Some(runtime) = runtime() else { return };
    let standard = &["model.kind=pca", "training.scaling=standard", "judging.residuals=raw"];
    for sets in [&[][..], standard, &["training.scaling=quantile"]] {
        for at in [SAMPLE / 2, SAMPLE - 100] {
            let mut sample = rows(SAMPLE, 6);
            sample[at][1] = 1e25;
            let model = train(&runtime, &sample, sets).unwrap_or_else(|error| panic!("{sets:?}, row {at}: {error}"));
            Model::from_bytes(model.bytes.to_vec()).unwrap();
            let mut later = rows(SAMPLE + 200, 6).split_off(SAMPLE);
            later[100][0] = 1e25;
            let judged = judge(&runtime, &model, &later);
            assert!(judged.iter().all(|judged| judged.score.is_finite() && judged.raw_score.is_finite()));
            assert!(judged[99].anomalous && judged[99].raw_score > 1e30, "{sets:?}: {:?}", judged[99]);
            assert!(alarms(&judged, 110) <= CALM, "{sets:?}, row {at}");
        }
    }
}

/// Rows whose logarithms hang on two causes, normal ones: most values are small, few are a hundred times as large.
fn heavy_tailed(count: usize, columns: usize) -> Vec<Vec<f32>> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(9);
    let mut normal = || -> f32 { random.sample(StandardNormal) };
    let mut row = || {
        let (a, b) = (normal(), normal());
        (0..columns).map(|c| (1.5 * (a * (c as f32).cos() + b * (c as f32).sin()) + 0.05 * normal()).exp()).collect()
    };
    (0..count).map(|_| row()).collect()
}

#[test]
fn of_heavy_tailed_columns_scaling_by_quantiles_finds_a_change_of_small_values_that_scaling_by_ranges_misses() {
    let Some(runtime) = runtime() else { return };
    let all = heavy_tailed(SAMPLE + 600, 6);
    let (sample, later) = all.split_at(SAMPLE);
    // Rows in which the first column is below its median have it three times as large.
    let small: Vec<usize> = (1..later.len()).filter(|at| later[*at][0] < 1.0).collect();
    let changed = |row: &Vec<f32>| row.iter().enumerate().map(|(c, x)| if c == 0 { 3.0 * x } else { *x }).collect();
    let area = |scaling: &str| {
        let scaling = format!("training.scaling={scaling}");
        let sets = [scaling.as_str(), "training.window=1", "model.kind=pca", "model.code_size=2"];
        let model = train(&runtime, sample, &sets).unwrap();
        let score = |row: &Vec<f32>| judge(&runtime, &model, std::slice::from_ref(row))[0].raw_score;
        let own: Vec<f64> = small.iter().map(|at| score(&later[*at])).collect();
        let planted: Vec<f64> = small.iter().map(|at| score(&changed(&later[*at]))).collect();
        let above = planted.iter().map(|score| own.iter().filter(|own| *own < score).count()).sum::<usize>();
        above as f64 / (own.len() * planted.len()) as f64
    };
    let (quantile, range) = (area("quantile"), area("robust_min_max"));
    assert!(quantile > 0.9 && range < 0.6, "{quantile} by quantiles, {range} by ranges");
}

#[test]
fn a_network_of_binary_cross_entropy_is_trained_and_finds_what_strays() {
    let Some(runtime) = runtime() else { return };
    let model = train(&runtime, &rows(SAMPLE, 6), &["training.loss=binary_cross_entropy"]).unwrap();
    let mut later = rows(SAMPLE + 200, 6).split_off(SAMPLE);
    later[100..].iter_mut().for_each(|row| row[4] += 3.0);
    let judged = judge(&runtime, &model, &later);
    assert!(alarms(&judged[..99], 0) <= CALM);
    assert!(alarms(&judged, 99) > 50, "{:?}", &judged[99..115]);
}

#[test]
fn a_code_that_would_let_everything_through_is_refused_before_anything_is_fitted() {
    let Some(runtime) = runtime() else { return };
    let refusal = |columns, sets: &[&str]| train(&runtime, &rows(SAMPLE, columns), sets).unwrap_err().to_string();
    let lone = refusal(1, &["model.kind=pca", "training.window=1"]);
    assert!(lone.contains("training.window") && lone.contains("an input 1 wide"), "{lone}");
    let both = refusal(2, &["model.kind=undercomplete", "training.window=1", "model.code_size=2"]);
    assert!(both.starts_with("model.kind undercomplete: a code 2 wide can't squeeze an input 2 wide"), "{both}");
    assert!(both.contains("model.code_size below 2"), "{both}");
    let derived = train(&runtime, &rows(SAMPLE, 2), &["model.kind=pca", "training.window=1"]).unwrap();
    let mut later = rows(SAMPLE + 200, 2).split_off(SAMPLE);
    later[100..].iter_mut().for_each(|row| row[1] -= 6.0);
    assert!(alarms(&judge(&runtime, &derived, &later), 99) > 50);
}

#[test]
fn a_network_that_no_file_holds_is_refused_before_anything_of_it_is_made() {
    let Some(runtime) = runtime() else { return };
    // With one column it would be small; how many there are is known only now.
    let sets = ["model.hidden=20000", "training.window=512"];
    let told = train(&runtime, &rows(SAMPLE, 30), &sets).unwrap_err().to_string();
    assert!(told.starts_with("6145") && told.contains("fewer or narrower layers (model.hidden"), "{told}");
}

#[test]
fn few_windows_and_a_kind_left_open_give_principal_components_unless_what_is_written_excludes_them() {
    let Some(runtime) = runtime() else { return };
    let kind = |sets: &[&str]| train(&runtime, &rows(600, 5), sets).unwrap().metadata.graph.kind().to_owned();
    assert_eq!(kind(&["model.members=3"]), "pca");
    for other in ["model.layers=2", "model.hidden=9", "model.code_size=200"] {
        assert_eq!(kind(&[other]), "denoising", "{other}");
    }
}

/// A model file of a variational network over windows of two rows, with columns and scales of a model that was trained on
/// `sample`.
fn variational(runtime: &Runtime, sample: &[Vec<f32>], score: VariationalScore) -> (Model, Network<f32>) {
    let model = train(runtime, sample, &["model.kind=pca", "training.window=2"]).expect("the sample is sound");
    let Metadata { columns, .. } = &model.metadata;
    let scaled = |row: &Vec<f32>| {
        let scaled = row.iter().zip(columns).map(|(value, column)| (value - column.center) / column.scale);
        scaled.collect::<Vec<f32>>()
    };
    let windows: Vec<f32> = sample.windows(2).flat_map(|rows| rows.iter().flat_map(&scaled)).collect();
    let windows = Array2::from_shape_vec((sample.len() - 1, 2 * columns.len()), windows).expect("windows are full");
    let settings = Variational { beta: 0.1, warm_up: 20, score, draws: 4 };
    let params = AutoencoderParams::new(2 * columns.len(), 2)
        .kinds(NetworkKind::Variational)
        .variational(settings)
        .hidden(&[24, 12])
        .activation(Activation::Silu)
        .epochs(150)
        .patience(50)
        .learning_rate(3e-3)
        .check()
        .expect("the parameters fit together");
    let (fitted, validation) = windows.view().split_at(Axis(0), 1_600);
    let fit = params
        .fit_with_validation(fitted, validation, &mut |_| ControlFlow::Continue(()))
        .expect("every loss is finite");
    let networks = [fit.network];
    let spec = GraphSpec {
        networks: &networks,
        columns,
        window: 2,
        input_clip: None,
        whitening: None,
        doc: "a test",
        metadata: &[],
    };
    let model = Model::assemble(graph::write(&spec).expect("the network fits"), model.metadata.clone());
    let [network] = networks;
    (model, network)
}

/// Mean and deviation of two columns, and their correlation.
fn moments(rows: &[Vec<f64>], a: usize, b: usize) -> ([f64; 2], [f64; 2], f64) {
    let mean = |value: &dyn Fn(&Vec<f64>) -> f64| rows.iter().map(value).sum::<f64>() / rows.len() as f64;
    let (ma, mb) = (mean(&|row| row[a]), mean(&|row| row[b]));
    let (va, vb) = (mean(&|row| (row[a] - ma).powi(2)), mean(&|row| (row[b] - mb).powi(2)));
    let covariance = mean(&|row| (row[a] - ma) * (row[b] - mb));
    ([ma, mb], [va.sqrt(), vb.sqrt()], covariance / (va * vb).sqrt())
}

#[test]
fn rows_that_a_variational_model_makes_have_the_means_deviations_and_correlations_of_those_it_was_fitted_on() {
    let Some(runtime) = runtime() else { return };
    let sample = rows(SAMPLE, 5);
    let true_rows: Vec<Vec<f64>> =
        sample.iter().map(|row| row.iter().map(|value| f64::from(*value)).collect()).collect();
    let (model, _) = variational(&runtime, &sample, VariationalScore::Error);
    let mut generator = runtime.row_generator(&model, 7).unwrap();
    let made: Vec<Vec<f64>> = generator.generate(4_000).unwrap().chunks(5).map(<[f64]>::to_vec).collect();
    for (a, b) in [(0, 1), (0, 3), (1, 4), (2, 3)] {
        let ((means, deviations, correlation), truth) = (moments(&made, a, b), moments(&true_rows, a, b));
        for at in 0..2 {
            assert!((means[at] - truth.0[at]).abs() < 0.3 * truth.1[at], "{means:?} for {truth:?}");
            let ratio = deviations[at] / truth.1[at];
            assert!((0.6..1.4).contains(&ratio), "{deviations:?} for {truth:?}");
        }
        let near = (correlation - truth.2).abs() < 0.35;
        assert!(near, "columns {a} and {b}: {correlation} for {}", truth.2);
    }
}

#[test]
fn a_row_that_is_made_is_the_newest_one_that_the_decoder_makes_of_a_code_whatever_the_scores_stand_on() {
    let Some(runtime) = runtime() else { return };
    for score in [VariationalScore::Error, VariationalScore::Probability] {
        let (model, network) = variational(&runtime, &rows(SAMPLE, 5), score);
        let mut generator = runtime.row_generator(&model, 7).unwrap();
        assert_eq!(generator.names()[2], "c002");
        let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
        let codes = Array2::from_shape_simple_fn((50, 2), || random.sample(StandardNormal));
        let decoded = network.decode(codes.view());
        let made = generator.generate(50).unwrap();
        for (at, value) in made.iter().enumerate() {
            let column = &model.metadata.columns[at % 5];
            let expected = decoded[[at / 5, 5 + at % 5]] * column.scale + column.center;
            assert!((*value - f64::from(expected)).abs() < 1e-4, "{score:?}: {value} for {expected}");
        }
    }
}

#[test]
fn the_command_prints_the_rows_that_a_model_makes_and_the_same_seed_the_same_ones() {
    let Some(runtime) = runtime() else { return };
    let (model, _) = variational(&runtime, &rows(SAMPLE, 3), VariationalScore::Error);
    let folder = tempfile::tempdir().unwrap();
    model.write(&folder.path().join("model.onnx")).unwrap();
    let made = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_strayd"))
            .args(["model", "generate", "model.onnx", "--rows", "3"])
            .args(more)
            .current_dir(folder.path())
            .env("ORT_DYLIB_PATH", runtime.library())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let rows = runtime.row_generator(&model, 7).unwrap().generate(3).unwrap();
    let lines = made(&["--seed", "7"]);
    let parsed: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((parsed.len(), &parsed[1]["c001"]), (3, &serde_json::json!(rows[4])));
    let table = made(&["--seed", "7", "--format", "csv"]);
    assert_eq!(table.lines().next(), Some("c000,c001,c002"));
    assert_eq!(table.lines().nth(3), Some(format!("{},{},{}", rows[6], rows[7], rows[8]).as_str()));
    assert_ne!(made(&["--seed", "8"]), lines);
}

#[test]
fn where_scores_are_probabilities_the_expected_value_is_the_reconstruction_and_the_batch_changes_no_bit() {
    let Some(runtime) = runtime() else { return };
    let sample = rows(SAMPLE, 4);
    let (mut model, network) = variational(&runtime, &sample, VariationalScore::Probability);
    let windows: Vec<f32> = sample.windows(2).take(100).flatten().flatten().copied().collect();
    // The golden rows are another network's.
    model.metadata.golden.clear();
    let mut scorer = runtime.scorer(&model).unwrap();
    let (mut whole, mut residuals) = (Vec::new(), Vec::new());
    scorer.score(&windows, 100, &mut whole).unwrap();
    let differences = scorer.differences().unwrap().to_vec();
    assert!(whole.iter().zip(&differences).all(|(a, b)| a.signum() == b.signum() || *b == 0.0));
    let columns = &model.metadata.columns;
    let scaled = |(at, value): (usize, &f32)| (value - columns[at % 4].center) / columns[at % 4].scale;
    let scaled: Vec<f32> = windows.iter().enumerate().map(scaled).collect();
    let scaled = Array2::from_shape_vec((100, 8), scaled).unwrap();
    let (rebuilt, _) = network.deviance(scaled.view(), scaled.view()).expect("its output is Gaussian");
    for (at, difference) in differences.iter().enumerate() {
        let (row, column) = (at / 4, 4 + at % 4);
        let expected = scaled[[row, column]] - rebuilt[[row, column]];
        assert!((difference - expected).abs() < 1e-5, "{difference} instead of {expected}");
    }
    for (index, window) in windows.chunks(8).enumerate() {
        scorer.score(window, 1, &mut residuals).unwrap();
        assert_eq!(residuals, whole[index * 4..][..4]);
        assert_eq!(scorer.differences().unwrap(), &differences[index * 4..][..4]);
    }
}
