//! The model file against the outside world: Python's onnx checker accepts it, and Python's onnxruntime computes what
//! the trainer computes.

mod support;

use std::fs;
use std::path::Path;

use linfa::ParamGuard;
use ndarray::{Array2, ArrayView1, ArrayView2};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use strayd::{
    config::settings::{Activation, Loss, NetworkKind, Noise, Sparsity},
    detect::judge::raw_score,
    model::{
        graph::{self, GraphOutputs, GraphSpec},
        metadata::Column,
    },
    train::{AutoencoderParams, Network, principal_components},
};
use support::python::python;

/// Rows that are compared per case.
const ROWS: usize = 64;

/// One model to be written, and the rows to be compared on.
struct Case {
    name: String,
    networks: Vec<Network<f32>>,
    columns: Vec<Column>,
    window: usize,
    input_clip: Option<(f32, f32)>,
}

/// Columns with centres and scales of very different sizes; the last one is constant, so that its residual is capped.
fn columns(count: usize, random: &mut Xoshiro256PlusPlus) -> Vec<Column> {
    (0..count)
        .map(|index| Column {
            name: format!("column-{index}"),
            feature: index,
            impute: 0.0,
            center: random.gen_range(-5.0..5.0),
            scale: 10_f32.powi(random.gen_range(-2..3)) * random.gen_range(0.5..2.0),
            residual_cap: if index + 1 == count { 1.0 } else { f32::INFINITY },
            residual_mean: random.gen_range(-0.1..0.1),
            residual_variance: random.gen_range(0.5..2.0),
        })
        .collect()
}

/// Rows in scaled units that hang together, so that a network has something to learn.
fn scaled_rows(rows: usize, width: usize, random: &mut Xoshiro256PlusPlus) -> Array2<f32> {
    let phases: Vec<f32> = (0..rows).map(|_| random.gen_range(0.0..6.0)).collect();
    Array2::from_shape_fn((rows, width), |(row, column)| {
        (0.5 + 0.4 * (phases[row] + column as f32).sin() + random.gen_range(-0.05..0.05)).clamp(0.0, 1.0)
    })
}

fn fitted(params: AutoencoderParams<f32>, rows: ArrayView2<'_, f32>) -> Network<f32> {
    let checked = params.epochs(3).batch_size(32).check().expect("the parameters are sound");
    let (fitted, validation) = rows.split_at(ndarray::Axis(0), rows.nrows() * 4 / 5);
    let mut go_on = |_: &_| std::ops::ControlFlow::Continue(());
    checked.fit_with_validation(fitted, validation, &mut go_on).expect("the network can be fitted").network
}

/// Every kind, noise, loss and activation that changes what is exported, in windows of one row and of several.
fn cases() -> Vec<Case> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(11);
    let mut cases = Vec::new();
    let mut add = |name: &str,
                   count: usize,
                   window: usize,
                   make: &dyn Fn(AutoencoderParams<f32>) -> AutoencoderParams<f32>,
                   members: u64| {
        let width = count * window;
        let rows = scaled_rows(256, width, &mut random);
        let base = |seed| AutoencoderParams::new(width, (width / 3).max(1)).hidden(&[width + 3, width]).seed(seed);
        cases.push(Case {
            name: name.to_owned(),
            networks: (0..members).map(|seed| fitted(make(base(seed)), rows.view())).collect(),
            columns: columns(count, &mut random),
            window,
            input_clip: match name {
                "cross-entropy" => Some((0.0, 1.0)),
                _ => (window > 1).then_some((-1.0, 2.0)),
            },
        });
    };
    let noise = |gaussian, masking, swap| Noise { gaussian, masking, swap };
    let denoising = |params: AutoencoderParams<f32>, noise| params.kinds(NetworkKind::Denoising).noise(noise);
    add("undercomplete", 6, 1, &|params| params.kinds(NetworkKind::Undercomplete), 1);
    add("gaussian", 5, 4, &|params| denoising(params, noise(0.3, 0.0, 0.0)), 1);
    add("masking", 3, 2, &|params| denoising(params, noise(0.0, 0.2, 0.0)), 3);
    add("swap", 7, 1, &|params| denoising(params, noise(0.0, 0.0, 0.2)), 1);
    let sparse = |l1, kl| Sparsity { l1, kl, target: 0.1 };
    add("sparse-l1", 4, 3, &|params| params.kinds(NetworkKind::Sparse).sparsity(sparse(0.01, 0.0)), 2);
    add(
        "sparse-kl",
        4,
        1,
        &|params| params.kinds(NetworkKind::Sparse).activation(Activation::Sigmoid).sparsity(sparse(0.0, 0.01)),
        1,
    );
    add("huber", 1, 8, &|params| params.loss(Loss::Huber { delta: 0.1 }), 1);
    add("cross-entropy", 5, 2, &|params| params.loss(Loss::BinaryCrossEntropy), 1);
    for activation in [Activation::Identity, Activation::Relu, Activation::Tanh, Activation::Sigmoid] {
        add(&format!("{activation:?}").to_lowercase(), 38, 4, &|params| params.activation(activation), 1);
    }
    let rows = scaled_rows(256, 12, &mut random);
    cases.push(Case {
        name: "pca".to_owned(),
        networks: vec![principal_components(rows.view(), 3).expect("components")],
        columns: columns(4, &mut random),
        window: 3,
        input_clip: None,
    });
    cases
}

/// Windows in the columns' own units, some of them far off.
fn windows(case: &Case, random: &mut Xoshiro256PlusPlus) -> Array2<f32> {
    let width = case.columns.len() * case.window;
    let mut windows = scaled_rows(ROWS, width, random);
    for value in windows.iter_mut().step_by(37) {
        *value *= 20.0;
    }
    for ((_, index), value) in windows.indexed_iter_mut() {
        let column = &case.columns[index % case.columns.len()];
        *value = *value * column.scale + column.center;
    }
    windows
}

fn write_f32<'a>(path: &Path, values: impl IntoIterator<Item = &'a f32>) {
    let bytes: Vec<u8> = values.into_iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(path, bytes).expect("the numbers can be written");
}

fn write_case(folder: &Path, case: &Case, random: &mut Xoshiro256PlusPlus) {
    let spec = GraphSpec {
        networks: &case.networks,
        columns: &case.columns,
        window: case.window,
        input_clip: case.input_clip,
        doc: "a test",
        metadata: &[],
    };
    let mut model = graph::write(&spec).expect("the graph can be written");
    graph::append_metadata(&mut model, "strayd-test", &case.name);
    let windows = windows(case, random);
    let GraphOutputs { score, reconstruction, error, latent, residual } =
        graph::reference(&spec, windows.view()).expect("the trainer can compute it");
    let folder = folder.join(&case.name);
    fs::create_dir(&folder).expect("a folder can be made");
    fs::write(folder.join("model.onnx"), model).expect("the model can be written");
    fs::write(folder.join("case.json"), format!("{{\"rows\": {ROWS}}}")).expect("the case can be written");
    write_f32(&folder.join("window.f32"), &windows);
    write_f32(&folder.join("scale.f32"), case.columns.iter().map(|column| &column.scale));
    write_f32(&folder.join("score.f32"), &score);
    // The daemon sums the residuals itself: both must say the same.
    let variances: Vec<f32> = case.columns.iter().map(|column| column.residual_variance).collect();
    let summed = |row: ArrayView1<'_, f32>| raw_score(&row.to_vec(), &variances) as f32;
    write_f32(&folder.join("raw_score.f32"), &residual.rows().into_iter().map(summed).collect::<Vec<f32>>());
    for (name, values) in
        [("reconstruction", &reconstruction), ("error", &error), ("latent", &latent), ("residual", &residual)]
    {
        write_f32(&folder.join(format!("{name}.f32")), values);
    }
}

#[test]
fn python_accepts_every_model_and_computes_what_the_trainer_computes() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(12);
    let cases = cases();
    cases.iter().for_each(|case| write_case(folder.path(), case, &mut random));
    let Some(told) = python("tests/onnx/check.py", folder.path()) else { return };

    assert!(told.starts_with(&format!("{} cases", cases.len())), "{told}");
}
