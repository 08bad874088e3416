//! Validation losses that strayd's trainer reaches, as JSON; scripts/measure-parity sets them beside PyTorch's.
//!
//! `parity WIDTH TRAINING-ROWS EPOCHS BATCH RATE SEEDS ACTIVATION CODE [HIDDEN...] <MATRIX`: the matrix stands on standard input
//! as 32-bit numbers, little-endian, row by row: first the training rows, then those for validation.

use std::io::Read;
use std::ops::ControlFlow;

use linfa::ParamGuard;
use ndarray::{Array2, Axis};
use strayd::config::settings::Activation;
use strayd::train::AutoencoderParams;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [width, training, epochs, batch, rate, seeds, activation, code, hidden @ ..] = &arguments[..] else {
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
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).expect("the matrix can be read");
    let (values, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty(), "numbers are of 4 bytes");
    let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
    let rows = values.len() / number(width);
    let matrix = Array2::from_shape_vec((rows, number(width)), values).expect("rows are whole");
    let (training, validation) = matrix.view().split_at(Axis(0), number(training));
    let hidden: Vec<usize> = hidden.iter().map(number).collect();
    let losses = (1..=number(seeds) as u64).map(|seed| {
        let params = AutoencoderParams::new(matrix.ncols(), number(code))
            .hidden(&hidden)
            .activation(activation)
            .epochs(number(epochs))
            .patience(number(epochs))
            .batch_size(number(batch))
            .learning_rate(rate.parse().expect("the rate is a number"))
            .seed(seed)
            .check()
            .expect("the parameters are sound");
        let fitted = params.fit_with_validation(training, validation, &mut |_| ControlFlow::Continue(()));
        fitted.expect("it can be fitted").validation_loss
    });
    println!("{}", serde_json::to_string(&losses.collect::<Vec<_>>()).expect("numbers can be written"));
}
