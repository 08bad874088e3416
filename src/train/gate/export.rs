//! Whether the exported graph computes what was trained.

use ndarray::{Array2, ArrayView1, ArrayView2};

use super::{Candidate, Check, CheckResult, Contest, GateError, GateReport, not_made, result, trial::Trial};
use crate::{
    model::{
        graph::{self, GraphSpec},
        metadata::Column,
    },
    train::held_back::CHUNK,
};

/// Export and trainer may differ by this much, relative to the largest value that goes into the network.
const EXPORT_TOLERANCE: f64 = 1e-5;

impl Contest<'_> {
    /// The exported graph against the trainer's own forward pass.
    pub(super) fn export(&self, trial: &Trial<'_>) -> Result<CheckResult, GateError> {
        let check = Check::ExportDiffers;
        let Candidate { model, networks, whitening, input_clip, .. } = self.candidate;
        if networks.is_empty() {
            return Ok(not_made(check, "the graph comes from another tool"));
        }
        let metadata = &model.metadata;
        let (width, inputs) = (metadata.columns.len(), metadata.columns.len() * metadata.window);
        let (columns, window, input_clip) = (&metadata.columns[..], metadata.window, *input_clip);
        let whitening = whitening.as_ref();
        let spec = GraphSpec { networks, columns, window, input_clip, whitening, doc: "", metadata: &[] };
        let stretch = whitening.map_or(1.0, stretch);
        let (mut worst, mut values) = (0.0_f64, Vec::new());
        for first in (0..trial.len()).step_by(CHUNK) {
            values.clear();
            let chunk = first..trial.len().min(first + CHUNK);
            chunk.clone().for_each(|window| trial.append(window, &mut values));
            let windows = ArrayView2::from_shape((chunk.len(), inputs), &values).expect("windows are full");
            let own = graph::reference(&spec, windows)?;
            let exported = trial.residuals[first * width..chunk.end * width].chunks_exact(width);
            for (((own, difference), exported), window) in
                own.residual.rows().into_iter().zip(own.difference.rows()).zip(exported).zip(windows.rows())
            {
                let size = stretch * largest_input(window.as_slice().unwrap_or_default(), columns);
                let each = own.iter().zip(difference).zip(exported);
                worst = each.fold(worst, |worst, ((own, difference), exported)| {
                    larger(worst, apart((*own, *exported), f64::from(*difference), size))
                });
            }
        }
        let passed = worst <= EXPORT_TOLERANCE;
        let agrees = if passed { "agrees with" } else { "differs from" };
        let sentence = format!(
            "the exported graph {agrees} the trained network: {worst:.1e} apart at most on {} withheld rows, {EXPORT_TOLERANCE:.0e} is allowed",
            trial.len()
        );
        Ok(result(check, passed, (worst, EXPORT_TOLERANCE), sentence))
    }
}

/// The model file says itself that it doesn't compute what it did when it was made.
pub(super) fn golden_differs(index: usize, got: f32, expected: f32) -> GateReport {
    let check = if got.is_finite() { Check::ExportDiffers } else { Check::NonFinite };
    let sentence = format!("the model gives golden row {index} the score {got}, the trainer gave it {expected}");
    GateReport { windows: 0, checks: vec![result(check, false, (f64::from(got), f64::from(expected)), sentence)] }
}

/// How far two residuals are apart, as a share of `size`. A Gaussian output's residual has the sign of the difference, which
/// rounding may turn where it is next to none.
fn apart((own, exported): (f32, f32), difference: f64, size: f64) -> f64 {
    let (own, exported) = (f64::from(own), f64::from(exported));
    let doubtful = difference.abs() <= EXPORT_TOLERANCE * size;
    let apart = if doubtful { own.abs() - exported.abs() } else { own - exported };
    apart.abs() / size
}

/// How much larger than the largest difference a residual can become, at least 1.
fn stretch(whitening: &Array2<f32>) -> f64 {
    let column = |column: ArrayView1<'_, f32>| column.iter().map(|value| f64::from(value.abs())).sum::<f64>();
    whitening.columns().into_iter().map(column).fold(1.0, f64::max)
}

/// The larger of two; what is no number counts as larger than any, and so it must not look like agreement.
fn larger(worst: f64, apart: f64) -> f64 {
    if worst.is_nan() || apart <= worst { worst } else { apart }
}

/// Largest absolute value of a window in scaled units, at least 1.
fn largest_input(window: &[f32], columns: &[Column]) -> f64 {
    let scaled = window.iter().zip(columns.iter().cycle());
    let varying = scaled.filter(|(_, column)| column.residual_cap.is_infinite());
    varying.map(|(value, column)| f64::from(column.scaled(*value)).abs()).fold(1.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_never_looks_like_agreement() {
        let worst = [0.5, f64::NAN, 0.1].into_iter().fold(0.0, larger);
        assert!(worst.is_nan());
        assert_eq!([0.5, 0.7, 0.1].into_iter().fold(0.0, larger), 0.7);
        assert!(apart((f32::NAN, 0.1), 0.3, 1.0).is_nan());
    }

    #[test]
    fn a_sign_that_hangs_on_rounding_is_not_compared() {
        assert!(apart((0.05, -0.05), 1e-8, 1.0) == 0.0);
        assert!(apart((0.05, -0.05), 1e-3, 1.0) > 0.09);
        assert!(apart((0.05, -0.07), 1e-8, 1.0) > 0.01);
        assert!((apart((0.25, 0.75), 0.3, 2.0) - 0.25).abs() < 1e-9);
    }
}
