//! Validation losses that strayd's trainer reaches, as JSON, with the first weights and the batches that led there;
//! scripts/measure-parity gives both to PyTorch and sets its losses beside them.
//!
//! `parity WIDTH TRAINING-ROWS EPOCHS BATCH RATE SEEDS ACTIVATION FOLDER CODE [HIDDEN...] <MATRIX`: the matrix stands on standard
//! input as 32-bit numbers, little-endian, row by row: first the training rows, then those for validation. `FOLDER/SEED.weights`
//! gets each layer's weight (inputs by outputs) and bias before the first step, `FOLDER/SEED.rows` the training rows in the order
//! of the batches, epoch after epoch, both as 32-bit numbers.

use std::fs;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;

use linfa::ParamGuard;
use ndarray::{Array2, ArrayView2, Axis};
use strayd::config::settings::Activation;
use strayd::train::{AutoencoderParams, Fitted, Rows, Sets, fit_members};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [width, training, epochs, batch, rate, seeds, activation, folder, code, hidden @ ..] = &arguments[..] else {
        // `cargo bench` runs all benchmarks, this one without arguments.
        println!("parity is run by scripts/measure-parity");
        return;
    };
    let number = |text: &String| text.parse::<usize>().expect("the script gives numbers");
    let activation = match &activation[..] {
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        other => panic!("no activation '{other}'"),
    };
    let matrix = matrix(number(width));
    let sets = matrix.view().split_at(Axis(0), number(training));
    let hidden: Vec<usize> = hidden.iter().map(number).collect();
    let losses = (1..=number(seeds)).map(|seed| {
        let params = AutoencoderParams::new(matrix.ncols(), number(code))
            .hidden(&hidden)
            .activation(activation)
            .epochs(number(epochs))
            .patience(number(epochs))
            .batch_size(number(batch))
            .learning_rate(rate.parse().expect("the rate is a number"))
            .seed(seed as u64);
        let file = |what: &str| Path::new(folder).join(format!("{seed}.{what}"));
        // Steps of nothing leave the first weights.
        let (start, _) = fit(&params.clone().epochs(1).learning_rate(f64::MIN_POSITIVE), sets);
        let layers = start.network.layers().iter();
        let weights = layers.flat_map(|layer| layer.weight().iter().chain(layer.bias()).flat_map(|v| v.to_le_bytes()));
        fs::write(file("weights"), weights.collect::<Vec<u8>>()).expect("the folder can be written");
        let (fitted, order) = fit(&params, sets);
        let order = order.iter().flat_map(|row| row.to_le_bytes()).collect::<Vec<u8>>();
        fs::write(file("rows"), order).expect("the folder can be written");
        fitted.validation_loss
    });
    println!("{}", serde_json::to_string(&losses.collect::<Vec<_>>()).expect("numbers can be written"));
}

fn matrix(width: usize) -> Array2<f32> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).expect("the matrix can be read");
    let (values, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty(), "numbers are of 4 bytes");
    let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
    Array2::from_shape_vec((values.len() / width, width), values).expect("rows are whole")
}

/// The fitted network, and the training rows as its batches took them.
fn fit(
    params: &AutoencoderParams<f32>,
    (training, validation): (ArrayView2<'_, f32>, ArrayView2<'_, f32>),
) -> (Fitted<f32>, Vec<u32>) {
    let valid = params.clone().check().expect("the parameters are sound");
    let taken = Mutex::new(Vec::new());
    let copy = |row: usize, values: &mut [f32]| {
        taken.lock().expect("nothing panics").push(row as u32);
        values.copy_from_slice(training.row(row).to_slice().expect("the matrix is row-major"));
    };
    let of_validation = |row: usize, values: &mut [f32]| {
        values.copy_from_slice(validation.row(row).to_slice().expect("the matrix is row-major"));
    };
    let (len, width) = training.dim();
    let sets = Sets {
        training: Rows { len, width, copy: &copy },
        validation: Rows { len: validation.nrows(), width, copy: &of_validation },
    };
    let fitted = fit_members(&[valid], sets, 1, &mut |_| ControlFlow::Continue(())).expect("it can be fitted");
    let taken = taken.into_inner().expect("nothing panics");
    // Before the first epoch all rows are looked at once, to check them.
    (fitted.into_iter().next().expect("one member was fitted"), taken[len..].to_vec())
}
