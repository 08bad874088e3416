//! From windows to verdicts: the [`Scorer`] seam and its ONNX Runtime form, the judge, calibration, explanation, events.

pub mod avro;
pub mod calibrate;
pub mod counterfactual;
mod cuda;
pub mod device;
pub mod event;
pub mod explain;
pub mod gates;
pub mod generate;
pub mod group;
pub mod incident;
pub mod incident_event;
pub mod judge;
pub(crate) mod leading;
pub mod limit;
pub mod onnx;
pub mod runtime;
pub mod severity;

use crate::model::Model;
use device::{Device, DeviceError};

/// Gives residuals for a batch of windows. A batch of three scores like three batches of one, to the bit.
pub trait Scorer: Send {
    /// Scores `rows` windows of `window * width` values each (row-major, oldest row first, columns' own units) and writes
    /// `rows * width` signed residuals of the newest row, in scaled units, into `residuals`.
    fn score(&mut self, windows: &[f32], rows: usize, residuals: &mut Vec<f32>) -> Result<(), ScoreError>;

    /// Newest rows minus their reconstructions of the windows that were scored last, laid out as their residuals and in scaled
    /// units too. `None` where the residuals are just that but for their caps.
    fn differences(&self) -> Option<&[f32]> {
        None
    }
}

/// Makes scorers of model files: ONNX Runtime in production.
pub trait Scorers: Send + Sync {
    /// Loads the model, runs its golden rows once, and gives a scorer for the calling thread.
    fn scorer(&self, model: &Model) -> Result<Box<dyn Scorer>, LoadError>;

    /// The device that the scorers made so far run on.
    fn device(&self) -> Device {
        Device::Cpu
    }
}

/// Why a model file can't be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// The device that it shall run on can't be had; the file may be sound.
    #[error("runtime.device: {0}")]
    Device(#[from] DeviceError),
    /// ONNX Runtime refused the file.
    #[error("ONNX Runtime can't load the model: {cause}")]
    Broken {
        /// What it said.
        cause: String,
    },
    /// A foreign graph has more than one input or output.
    #[error("the graph has {inputs} inputs and {outputs} outputs, an autoencoder needs exactly one of each")]
    Ports {
        /// Inputs of the graph.
        inputs: usize,
        /// Outputs of the graph.
        outputs: usize,
    },
    /// The named input or output is missing.
    #[error("the graph has no input or output `{name}`, it has: {}", .there.join(", "))]
    NoSuchPort {
        /// The missing name.
        name: String,
        /// The names there are.
        there: Vec<String>,
    },
    /// An input or output is not a float tensor.
    #[error("`{name}` is {found}, expected a float32 tensor of shape [batch, values]")]
    Type {
        /// Name of the input or output.
        name: String,
        /// Its type.
        found: String,
    },
    /// An input or output has another rank.
    #[error(
        "`{name}` has the shape {found:?}, expected [batch, values]: rows of a window follow each other in one axis; put a reshape into the graph"
    )]
    Rank {
        /// Name of the input or output.
        name: String,
        /// Its shape, -1 where it is open.
        found: Vec<i64>,
    },
    /// An input or output takes batches of one size only.
    #[error(
        "`{name}` takes or gives batches of exactly {rows} rows, expected any number; export the model with a dynamic batch axis (in PyTorch dynamic_axes or dynamic_shapes)"
    )]
    FixedBatch {
        /// Name of the input or output.
        name: String,
        /// Rows of a batch.
        rows: i64,
    },
    /// An input or output has another width than the rows.
    #[error(
        "`{name}` takes or gives {found} values per row, expected {expected} (columns of the features times rows of the window)"
    )]
    Width {
        /// Name of the input or output.
        name: String,
        /// Its width.
        found: usize,
        /// The width needed.
        expected: usize,
    },
    /// A golden row gave another score than when the file was made.
    #[error("golden row {index} scores {got}, the model file says {expected}: file and runtime don't agree")]
    Golden {
        /// Index of the row.
        index: usize,
        /// Score now.
        got: f32,
        /// Score in the file.
        expected: f32,
    },
}

/// A fault of the model at run time.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// The device failed.
    #[error("the device failed on a batch of {rows} rows: {cause}")]
    Device {
        /// Rows of the batch.
        rows: usize,
        /// What is the matter with it.
        cause: DeviceError,
    },
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
