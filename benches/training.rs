//! Training speed beside PyTorch's: the same architectures, batch sizes, optimiser and number of threads, taking turns on
//! the same machine. `TORCH=debian` or `TORCH=pypi` leaves only that PyTorch, where both are there.

mod support;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::Command;

use linfa::ParamGuard;
use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use strayd::config::settings::Activation;
use strayd::train::{AutoencoderParams, AutoencoderValidParams, Rows, Sets, fit_members};
use support::{Goal, median, not_measured, root, tell};

/// Rounds in which all sides take turns.
const ROUNDS: usize = 5;

/// Threads that each side may use.
const THREADS: [usize; 2] = [1, 2];

/// An architecture, its data, and the goal on one thread; on more, the goal is to be faster.
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

const SMALL: Case =
    Case { name: "38-32-16-8", inputs: 38, hidden: &[32, 16], code: 8, rows: 65_536, epochs: 8, batch: 128, goal: 6.8 };

const WIDE: Case = Case {
    name: "256-512-128-32",
    inputs: 256,
    hidden: &[512, 128],
    code: 32,
    rows: 8_192,
    epochs: 8,
    batch: 128,
    goal: 1.6,
};

/// The goals are how much faster a sketch of the trainer was than PyTorch 2.15 from PyPI, when both were measured before
/// strayd was written, on a CPU with two 512-bit units per core.
const CASES: [Case; 4] = [
    SMALL,
    Case { epochs: 16, batch: 1024, goal: 2.0, ..SMALL },
    WIDE,
    Case { epochs: 16, batch: 1024, goal: 1.7, ..WIDE },
];

/// Rows that validation looks at after each epoch; few, for PyTorch looks at none.
const VALIDATION: usize = 128;

/// A PyTorch that may be there: which, and its Python.
struct Torch {
    origin: &'static str,
    python: PathBuf,
}

fn torches() -> Vec<Torch> {
    // Debian's PyTorch belongs to Debian's Python, whichever other stands first on the path.
    let debian = Torch { origin: "debian", python: "/usr/bin/python3".into() };
    let pypi = Torch { origin: "pypi", python: root().join(".local/torch-venv/bin/python") };
    let wanted = std::env::var("TORCH").ok();
    let is_wanted = |torch: &Torch| match &wanted {
        Some(wanted) => wanted == torch.origin,
        None => torch.origin == "debian" || torch.python.exists(),
    };
    [debian, pypi].into_iter().filter(is_wanted).collect()
}

fn rows(case: &Case) -> Array2<f32> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
    Array2::from_shape_simple_fn((case.rows, case.inputs), || random.r#gen::<f32>())
}

fn params(case: &Case) -> AutoencoderValidParams<f32> {
    let params = AutoencoderParams::new(case.inputs, case.code)
        .hidden(case.hidden)
        .activation(Activation::Relu)
        .epochs(case.epochs)
        .patience(case.epochs)
        .batch_size(case.batch);
    params.check().expect("the parameters are sound")
}

/// Samples per second of strayd's trainer.
fn ours(case: &Case, threads: usize, rows: &Array2<f32>) -> f64 {
    let params = params(case);
    let copy = |row: usize, values: &mut [f32]| {
        values.copy_from_slice(rows.row(row).to_slice().expect("the rows lie one after another"));
    };
    let set = |len| Rows { len, width: case.inputs, copy: &copy };
    let sets = Sets { training: set(case.rows), validation: set(VALIDATION) };
    let start = std::time::Instant::now();
    fit_members(&[params], sets, threads, &mut |_| ControlFlow::Continue(())).expect("it can be fitted");
    (case.rows * case.epochs) as f64 / start.elapsed().as_secs_f64()
}

/// Samples per second of a PyTorch, and its version with what it multiplies matrices with; the error where it can't be had.
fn theirs(case: &Case, threads: usize, torch: &Torch) -> Result<(f64, String), String> {
    let numbers = [threads, case.inputs, case.code, case.rows, case.epochs, case.batch];
    let mut command = Command::new(&torch.python);
    // Each of its libraries has its own idea of how many threads there are.
    for variable in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"] {
        command.env(variable, threads.to_string());
    }
    let output = command
        .arg(root().join("benches/python/training.py"))
        .args(numbers.iter().chain(case.hidden).map(usize::to_string))
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = text.trim().split_once(' ').and_then(|(speed, version)| Some((speed.parse().ok()?, version.to_owned())));
    told.ok_or_else(|| format!("no PyTorch of {} (scripts/bench-tools fetches it)", torch.origin))
}

fn compare(case: &Case, threads: usize, torches: &[Torch]) {
    let rows = rows(case);
    let mut own = Vec::new();
    let mut others: Vec<(Vec<f64>, Result<String, String>)> =
        torches.iter().map(|_| (Vec::new(), Err(String::new()))).collect();
    for _ in 0..ROUNDS {
        own.push(ours(case, threads, &rows));
        for (torch, (speeds, version)) in torches.iter().zip(&mut others) {
            *version = theirs(case, threads, torch).map(|(speed, version)| {
                speeds.push(speed);
                version
            });
        }
    }
    let what = format!("training {}, batch {}, threads {threads}", case.name, case.batch);
    let own = median(&mut own);
    tell(&what, own / 1e3, " k samples/s", Goal::None);
    for (mut speeds, version) in others {
        match version {
            Ok(version) => {
                let goal = if threads == 1 { case.goal } else { 1.0 };
                tell(&format!("{what}, over PyTorch {version}"), own / median(&mut speeds), "x", Goal::AtLeast(goal));
            }
            Err(why) => not_measured(&format!("{what}, over PyTorch"), &why),
        }
    }
}

fn main() {
    let torches = torches();
    for case in &CASES {
        for threads in THREADS {
            compare(case, threads, &torches);
        }
    }
}
