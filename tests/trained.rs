//! Models that the trainer makes, on the real ONNX Runtime: what they find, what they survive, and that no score depends
//! on the batch.

mod support;

use std::ops::ControlFlow;

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use strayd::{
    config::{Settings, Sources, settings::AlarmBudget},
    detect::{
        Scorers,
        judge::{EntityJudgement, Judge, Judged},
        runtime::Runtime,
    },
    model::Model,
    record::Position,
    train::{recipe::TrainError, sample::SampleRecord},
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
    let limit = model.metadata.calibration.limit(&AlarmBudget::PerEntityAndDay(1.0)).expect("there is a limit");
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
    for (columns, sets) in [(5, &["model.kind=pca"][..]), (38, &["training.window=4"]), (9, &["model.members=3"])] {
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
    for (columns, sets) in
        [(4, &[][..]), (101, &[]), (101, &["judging.residuals=raw"]), (101, &["judging.residuals=held_back"])]
    {
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
    for sets in [&[][..], &["model.kind=pca", "training.scaling=standard", "judging.residuals=raw"]] {
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
    assert!(lone.contains("training.window") && lone.contains("1 values"), "{lone}");
    let both = refusal(2, &["model.kind=undercomplete", "training.window=1", "model.code_size=2"]);
    assert!(both.contains("model.code_size below 2"), "{both}");
    let derived = train(&runtime, &rows(SAMPLE, 2), &["model.kind=pca", "training.window=1"]).unwrap();
    let mut later = rows(SAMPLE + 200, 2).split_off(SAMPLE);
    later[100..].iter_mut().for_each(|row| row[1] -= 6.0);
    assert!(alarms(&judge(&runtime, &derived, &later), 99) > 0);
}
