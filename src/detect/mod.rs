//! From windows to verdicts: the [`Scorer`] seam and its ONNX Runtime form, the judge, calibration, explanation, events.

pub mod calibrate;
pub mod event;
pub mod judge;
pub mod onnx;
pub mod runtime;

/// Gives residuals for a batch of windows. A batch of three scores like three batches of one, to the bit.
pub trait Scorer {
    /// Scores `rows` windows of `window * width` values each (row-major, oldest row first, columns' own units) and writes
    /// `rows * width` signed residuals of the newest row, in scaled units, into `residuals`.
    fn score(&mut self, windows: &[f32], rows: usize, residuals: &mut Vec<f32>) -> Result<(), ScoreError>;
}

/// A fault of the model at run time.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// ONNX Runtime refused or failed.
    #[error("ONNX Runtime failed on a batch of {rows} rows: {cause}")]
    Run {
        /// Rows of the batch.
        rows: usize,
        /// What it said.
        cause: String,
    },
    /// The output has another shape than the model file promised.
    #[error("the model gave {got} values for {rows} rows, expected {expected}")]
    Shape {
        /// Rows of the batch.
        rows: usize,
        /// Values in the output.
        got: usize,
        /// Values expected.
        expected: usize,
    },
}
