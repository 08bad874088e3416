//! The model file against the outside world: Python's onnx checker accepts it, and Python's onnxruntime and the library
//! that the daemon loads compute what the trainer computes.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ndarray::{Array2, ArrayView1, ArrayView2, s};
use ort::{environment::Environment, session::Session, value::TensorRef};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use strayd::{
    config::settings::{Activation, Loss, NetworkKind, Noise, Sparsity},
    detect::judge::raw_score,
    model::graph::{self, GraphOutputs},
    train::{AutoencoderParams, Output, principal_components},
};
use support::{
    networks::{Case, Plan, columns, fitted, random_case, scaled_rows, sure_case},
    python::python,
    tools::{leave_out, root},
};

/// Rows that are compared per case.
const ROWS: usize = 64;
/// How far apart trainer and runtime may be, relative to the magnitude.
const TOLERANCE: f32 = 1e-5;

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
        let base = |seed| base(seed).epochs(3).batch_size(32);
        cases.push(Case {
            name: name.to_owned(),
            networks: (0..members).map(|seed| fitted(make(base(seed)), rows.view())).collect(),
            columns: columns(count, true, &mut random),
            window,
            input_clip: match name {
                "cross-entropy" => Some((0.0, 1.0)),
                _ => (window > 1).then_some((-1.0, 2.0)),
            },
            whitening: None,
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
    for activation in Activation::ALL {
        add(&format!("{activation:?}").to_lowercase(), 38, 4, &|params| params.activation(activation), 1);
    }
    let rows = scaled_rows(256, 12, &mut random);
    cases.push(Case {
        name: "pca".to_owned(),
        networks: vec![principal_components(rows.view(), 3).expect("components")],
        columns: columns(4, true, &mut random),
        window: 3,
        input_clip: None,
        whitening: None,
    });
    cases.push(sure_case());
    cases.extend(combinations(&mut random));
    cases
}

fn write_f32<'a>(path: &Path, values: impl IntoIterator<Item = &'a f32>) {
    let bytes: Vec<u8> = values.into_iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(path, bytes).expect("the numbers can be written");
}

fn write_case(folder: &Path, case: &Case, random: &mut Xoshiro256PlusPlus) {
    let spec = case.spec();
    let mut model = graph::write(&spec).expect("the graph can be written");
    graph::append_metadata(&mut model, "strayd-test", &case.name);
    let windows = case.windows(ROWS, random);
    let GraphOutputs { score, reconstruction, error, latent, latent_deviation, residual, difference } =
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
    for (name, values) in [
        ("reconstruction", &reconstruction),
        ("error", &error),
        ("latent", &latent),
        ("residual", &residual),
        ("difference", &difference),
        ("latent_deviation", latent_deviation.as_ref().unwrap_or(&latent)),
    ] {
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

/// Convolutions over windows and grids, variational codes with both scores, sequences, skips, and all of them at once.
fn combinations(random: &mut Xoshiro256PlusPlus) -> Vec<Case> {
    use NetworkKind::{Convolutional, Denoising, Sequence, Variational};
    let plan = |kinds: &[NetworkKind]| Plan {
        kinds: kinds.to_vec(),
        probability: false,
        skip: false,
        loss: Loss::MeanSquaredError,
        grid: None,
        window: 8,
        columns: 3,
        predicted: if kinds.contains(&Sequence) { 2 } else { 0 },
        members: 1,
        constant: true,
        bent: false,
    };
    let probability = |plan: Plan| Plan { probability: true, ..plan };
    let plans = [
        ("convolutional", plan(&[Convolutional])),
        ("grid", Plan { grid: Some((5, 4)), window: 1, columns: 20, ..plan(&[Convolutional]) }),
        ("variational", plan(&[Variational])),
        ("probability", probability(plan(&[Variational]))),
        ("probabilities", Plan { members: 2, ..probability(plan(&[Variational])) }),
        ("sequence", plan(&[Sequence])),
        ("sequence-probability", probability(plan(&[Denoising, Sequence, Variational]))),
        ("skip", Plan { skip: true, ..plan(&[Denoising]) }),
        ("convolutional-skip", Plan { skip: true, ..plan(&[Convolutional]) }),
        ("everything", Plan { members: 2, ..plan(&[Denoising, Convolutional, Sequence, Variational]) }),
        ("bent", Plan { bent: true, ..plan(&[Denoising]) }),
        ("bent-grid", Plan { bent: true, grid: Some((5, 4)), window: 1, columns: 20, ..plan(&[Convolutional]) }),
        ("bent-sequence-probability", Plan { bent: true, ..probability(plan(&[Sequence, Variational])) }),
    ];
    plans.into_iter().map(|(name, plan)| Case { name: name.to_owned(), ..plan.case(random) }).collect()
}

/// A file in the library that the daemon loads, set up as the daemon does it.
struct Loaded(Session);

/// There is only one per process.
static ENVIRONMENT: LazyLock<Option<Environment>> = LazyLock::new(|| {
    let filled = root().join(".local/onnxruntime/lib/libonnxruntime.so");
    let library: PathBuf = std::env::var_os("ORT_DYLIB_PATH").map_or(filled, Into::into);
    if !library.is_file() {
        leave_out("ONNX RUNTIME IS NOT HERE, SO NO NETWORK WAS COMPARED WITH ITS MODEL FILE");
        return None;
    }
    Some(ort::init_from(library).expect("the library loads").build().expect("it starts"))
});

impl Loaded {
    fn new(environment: &Environment, model: &[u8]) -> Self {
        let builder = Session::builder(environment).expect("the library makes sessions");
        let builder = builder.with_intra_threads(1).expect("one thread can be had");
        let mut builder = builder.with_intra_op_spinning(false).expect("threads may wait");
        Self(builder.commit_from_memory(model).expect("the file is sound"))
    }

    fn run(&mut self, input: &str, rows: ArrayView2<'_, f32>, output: &str) -> Array2<f32> {
        let rows = rows.as_standard_layout();
        let given = TensorRef::from_array_view((rows.shape().to_vec(), rows.as_slice().expect("rows are row-major")))
            .expect("the shape is that of the rows");
        let outputs = self.0.run(ort::inputs![input => given]).expect("the rows have the input's width");
        let (_, values) = outputs[output].try_extract_tensor::<f32>().expect("outputs are floats");
        Array2::from_shape_vec((rows.nrows(), values.len() / rows.nrows()), values.to_vec())
            .expect("every row has as many values")
    }
}

fn assert_close(name: &str, got: ArrayView2<'_, f32>, expected: ArrayView2<'_, f32>, unit: f32) {
    assert_eq!(got.dim(), expected.dim(), "{name}");
    for (row, (got, expected)) in got.rows().into_iter().zip(expected.rows()).enumerate() {
        let magnitude = expected.iter().fold(unit, |largest, value| largest.max(value.abs()));
        for (column, (got, expected)) in got.iter().zip(expected).enumerate() {
            let distance = (got - expected).abs() / magnitude;
            assert!(distance <= TOLERANCE, "{name} of row {row}, {column}: {got} instead of {expected}");
        }
    }
}

/// Signs of roots of surprises hang on differences, which rounding may turn where they are next to none.
fn without_doubtful_signs(residual: &Array2<f32>, difference: &Array2<f32>) -> Array2<f32> {
    let mut residual = residual.clone();
    residual.zip_mut_with(difference, |residual, difference| {
        if difference.abs() < TOLERANCE {
            *residual = residual.abs();
        }
    });
    residual
}

fn computes_what_the_trainer_computes(environment: &Environment, case: &Case, random: &mut Xoshiro256PlusPlus) {
    let windows = case.windows(40, random);
    let model = graph::write(&case.spec()).expect("the networks fit");
    let expected = graph::reference(&case.spec(), windows.view()).expect("the networks fit");
    let mut whole = Loaded::new(environment, &model);
    let mut run = |output: &str| whole.run(graph::WINDOW, windows.view(), output);
    let unit = case.columns.iter().fold(1.0_f32, |unit, column| unit.max(column.scale));
    assert_close("reconstruction", run(graph::RECONSTRUCTION).view(), expected.reconstruction.view(), unit);
    assert_close("latent", run(graph::LATENT).view(), expected.latent.view(), 1.0);
    if let Some(deviation) = expected.latent_deviation.as_ref().filter(|_| case.networks.len() == 1) {
        assert_close("latent deviation", run(graph::LATENT_DEVIATION).view(), deviation.view(), 1.0);
    }
    assert_close("error", run(graph::ERROR).view(), expected.error.view(), 1.0);
    let score = expected.score.view().insert_axis(ndarray::Axis(1));
    assert_close("score", run(graph::SCORE).view(), score, 1.0);
    let cleared = |residual: &Array2<f32>| without_doubtful_signs(residual, &expected.difference);
    let residual = cleared(&run(graph::RESIDUAL));
    assert_close("residual", residual.view(), cleared(&expected.residual).view(), 1.0);
    if matches!(case.networks[0].output(), Output::Gaussian(_)) {
        assert_close("difference", run(graph::DIFFERENCE).view(), expected.difference.view(), 1.0);
    }
}

fn scores_alike_in_every_batch(environment: &Environment, case: &Case, random: &mut Xoshiro256PlusPlus) {
    let windows = case.windows(40, random);
    let model = graph::write(&case.spec()).expect("the networks fit");
    let part = graph::only(&model, &[graph::RESIDUAL, graph::DIFFERENCE]).expect("the file is a model");
    let mut loaded = Loaded::new(environment, &part);
    let whole = loaded.run(graph::WINDOW, windows.view(), graph::RESIDUAL);
    for batch in 1..40 {
        for first in (0..40).step_by(batch) {
            let rows = s![first..(first + batch).min(40), ..];
            let got = loaded.run(graph::WINDOW, windows.slice(rows), graph::RESIDUAL);
            let same = got.iter().zip(whole.slice(rows)).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "rows from {first} in batches of {batch} of {}", case.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_runtime_computes_what_the_trainer_computes_for_networks_of_every_kind_and_shape(seed in any::<u64>()) {
        let Some(environment) = &*ENVIRONMENT else { return Ok(()) };
        let (case, mut random) = random_case(seed);
        computes_what_the_trainer_computes(environment, &case, &mut random);
        scores_alike_in_every_batch(environment, &case, &mut random);
    }
}

#[test]
fn a_network_that_is_as_sure_as_it_can_be_computes_what_the_trainer_computes() {
    let Some(environment) = &*ENVIRONMENT else { return };
    let (case, mut random) = (sure_case(), Xoshiro256PlusPlus::seed_from_u64(3));
    computes_what_the_trainer_computes(environment, &case, &mut random);
    scores_alike_in_every_batch(environment, &case, &mut random);
}
