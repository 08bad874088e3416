//! Training speed beside PyTorch's: the same architectures, batch sizes, optimiser and number of threads, taking turns on
//! the same machine.

mod support;

use std::ops::ControlFlow;
use std::process::Command;

use linfa::ParamGuard;
use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use strayd::{config::settings::Activation, train::AutoencoderParams};
use support::{Goal, median, not_measured, root, tell};

/// Rounds in which both sides take turns.
const ROUNDS: usize = 3;

/// An architecture, its data, and the goal.
struct Case {
    name: &'static str,
    inputs: usize,
    hidden: &'static [usize],
    code: usize,
    rows: usize,
    epochs: usize,
    batch: usize,
    goal: f64,
}

const SMALL: &[usize] = &[32, 16];
const WIDE: &[usize] = &[512, 128];

const CASES: [Case; 4] = [
    Case { name: "38-32-16-8", inputs: 38, hidden: SMALL, code: 8, rows: 65_536, epochs: 8, batch: 128, goal: 3.0 },
    Case { name: "38-32-16-8", inputs: 38, hidden: SMALL, code: 8, rows: 65_536, epochs: 16, batch: 1024, goal: 1.2 },
    Case { name: "256-512-128-32", inputs: 256, hidden: WIDE, code: 32, rows: 8_192, epochs: 8, batch: 128, goal: 1.0 },
    Case {
        name: "256-512-128-32",
        inputs: 256,
        hidden: WIDE,
        code: 32,
        rows: 8_192,
        epochs: 8,
        batch: 1024,
        goal: 1.0,
    },
];

fn rows(case: &Case) -> Array2<f32> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
    Array2::from_shape_simple_fn((case.rows, case.inputs), || random.r#gen::<f32>())
}

/// Samples per second of strayd's trainer.
fn ours(case: &Case, rows: &Array2<f32>) -> f64 {
    let params = AutoencoderParams::new(case.inputs, case.code)
        .hidden(case.hidden)
        .activation(Activation::Relu)
        .epochs(case.epochs)
        .patience(case.epochs)
        .batch_size(case.batch)
        .check()
        .expect("the parameters are sound");
    // The rows that validation looks at after each epoch are few, and PyTorch looks at none.
    let validation = rows.slice(ndarray::s![..128, ..]);
    let start = std::time::Instant::now();
    params.fit_with_validation(rows.view(), validation, &mut |_| ControlFlow::Continue(())).expect("it can be fitted");
    (case.rows * case.epochs) as f64 / start.elapsed().as_secs_f64()
}

/// Samples per second of PyTorch, and its version; the error where it can't be had.
fn theirs(case: &Case) -> Result<(f64, String), String> {
    // Debian's PyTorch belongs to Debian's Python, whichever other stands first on the path.
    let output = Command::new("/usr/bin/python3")
        .arg(root().join("benches/python/training.py"))
        .args([case.inputs, case.code, case.rows, case.epochs, case.batch].map(|number| number.to_string()))
        .args(case.hidden.iter().map(usize::to_string))
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace();
    match (words.next().and_then(|speed| speed.parse().ok()), words.next()) {
        (Some(speed), Some(version)) => Ok((speed, version.to_owned())),
        _ => Err("no PyTorch (scripts/bench-tools fetches it)".to_owned()),
    }
}

fn main() {
    for case in &CASES {
        let rows = rows(case);
        let (mut own, mut other, mut version) = (Vec::new(), Vec::new(), Err(String::new()));
        for _ in 0..ROUNDS {
            own.push(ours(case, &rows));
            version = theirs(case).map(|(speed, version)| {
                other.push(speed);
                version
            });
        }
        let what = format!("training {}, batch {}", case.name, case.batch);
        tell(&what, median(&mut own) / 1e3, " k samples/s", Goal::None);
        match version {
            Ok(version) => {
                let ratio = median(&mut own) / median(&mut other);
                tell(&format!("{what} over PyTorch {version}, one thread"), ratio, "x", Goal::AtLeast(case.goal));
            }
            Err(why) => not_measured(&format!("{what} over PyTorch"), &why),
        }
    }
}
