//! The [`Scorer`] that runs a model file through ONNX Runtime.

use std::borrow::Cow;

use ort::{
    session::{HasSelectedOutputs, OutputSelector, RunOptions, Session},
    value::{TensorElementType, TensorRef, ValueType},
};

use super::{
    LoadError, ScoreError, Scorer, Scorers, cuda,
    device::{Asked, Device, DeviceError},
    judge::raw_score,
    runtime::Runtime,
};
use crate::model::{
    Model, graph,
    metadata::{Column, GraphOrigin, Metadata},
};

/// Golden rows must come out within this relative distance.
const GOLDEN_TOLERANCE: f32 = 1e-4;

/// The one input and the one output of a foreign graph, and their widths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// Name of the input.
    pub input: String,
    /// Values per row of the input; `None` when the graph leaves it open.
    pub input_width: Option<usize>,
    /// Name of the output.
    pub output: String,
    /// Values per row of the output; `None` when the graph leaves it open.
    pub output_width: Option<usize>,
}

impl Runtime {
    /// Reads input and output of a graph that another tool exported.
    pub fn foreign_ports(&self, bytes: &[u8]) -> Result<Ports, LoadError> {
        // To read them, any device will do.
        let session = self.session(bytes, None)?;
        let ([input], [output]) = (session.inputs(), session.outputs()) else {
            return Err(LoadError::Ports { inputs: session.inputs().len(), outputs: session.outputs().len() });
        };
        Ok(Ports {
            input: input.name().to_owned(),
            input_width: width(input.name(), input.dtype())?,
            output: output.name().to_owned(),
            output_width: width(output.name(), output.dtype())?,
        })
    }

    /// Makes sure that the device can be had, by this model or, without one, by the smallest that there is, with room for
    /// the largest batch. Under `auto` that is where the GPU is given up for the CPU.
    ///
    /// # Errors
    /// What is missing. Faults of the model are not told here.
    pub fn try_device(&self, model: Option<&Model>) -> Result<(), DeviceError> {
        if self.current() == Device::Cpu {
            return Ok(());
        }
        let tried = match model {
            Some(model) => self.scorer(model).map(drop),
            None => self.on_device(|device| self.try_smallest(device)),
        };
        match tried {
            Err(LoadError::Device(error)) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn try_smallest(&self, device: Device) -> Result<(), LoadError> {
        let Some(asked) = self.asked(device)? else { return Ok(()) };
        // Whatever goes wrong with a graph that is known to be sound is the device's fault.
        let failed = |error: ort::Error| LoadError::Device(asked.diagnosed(&error.to_string()));
        let mut session = self.session(&graph::smallest(), Some(asked))?;
        let window = TensorRef::from_array_view(([1_usize, 1], &[0.0_f32][..])).map_err(failed)?;
        session.run(ort::inputs![graph::WINDOW => window]).map(drop).map_err(failed)
    }

    /// What to ask of the GPU; `None` on the CPU.
    pub(super) fn asked(&self, device: Device) -> Result<Option<Asked>, DeviceError> {
        let Device::Cuda(id) = device else { return Ok(None) };
        let version = cuda::load_libraries(self.library())?;
        Ok(Some(Asked { id, memory: self.wish.memory, version }))
    }

    pub(super) fn session(&self, bytes: &[u8], asked: Option<Asked>) -> Result<Session, LoadError> {
        let broken = |cause: String| match asked.and_then(|asked| asked.diagnose(&cause)) {
            Some(error) => LoadError::Device(error),
            None => LoadError::Broken { cause },
        };
        // One session per worker and one thread per session: a second intra-op thread costs twice the CPU and gains
        // nothing at these widths, and a spinning pool takes the core that Kafka's client needs.
        let mut builder = Session::builder(&self.environment)
            .map_err(|error| broken(error.to_string()))?
            .with_intra_threads(1)
            .map_err(|error| broken(error.to_string()))?
            .with_intra_op_spinning(false)
            .map_err(|error| broken(error.to_string()))?;
        if let Some(asked) = asked {
            builder = builder
                .with_execution_providers([cuda::provider(&asked)])
                .map_err(|error| LoadError::Device(asked.diagnosed(&error.to_string())))?;
        }
        builder.commit_from_memory(bytes).map_err(|error| broken(error.to_string()))
    }
}

/// Values per row of a float tensor `[batch, values]`, `None` where the graph leaves them open.
///
/// # Errors
/// Another type or rank, or a batch of a fixed size.
pub(super) fn width(name: &str, dtype: &ValueType) -> Result<Option<usize>, LoadError> {
    let ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } = dtype else {
        return Err(LoadError::Type { name: name.to_owned(), found: dtype.to_string() });
    };
    let &[batch, values] = &shape[..] else {
        return Err(LoadError::Rank { name: name.to_owned(), found: shape.to_vec() });
    };
    // A size that is open, named or not, is below 0.
    if batch >= 0 {
        return Err(LoadError::FixedBatch { name: name.to_owned(), rows: batch });
    }
    Ok(usize::try_from(values).ok())
}

impl Scorers for Runtime {
    fn scorer(&self, model: &Model) -> Result<Box<dyn Scorer>, LoadError> {
        let bytes = match &model.metadata.graph {
            GraphOrigin::Strayd { .. } => {
                let part = graph::only(&model.bytes, &[graph::RESIDUAL, graph::DIFFERENCE]);
                Cow::Owned(part.map_err(|error| LoadError::Broken { cause: error.to_string() })?)
            }
            GraphOrigin::Foreign { .. } => Cow::Borrowed(&model.bytes[..]),
        };
        self.on_device(|device| {
            let asked = self.asked(device)?;
            let mut scorer = OnnxScorer::new(self.session(&bytes, asked)?, &model.metadata, asked)?;
            scorer.check_golden(&model.metadata)?;
            if asked.is_some() {
                scorer.check_room(self.wish.batch_rows)?;
            }
            Ok(Box::new(scorer) as Box<dyn Scorer>)
        })
    }

    fn device(&self) -> Device {
        self.current()
    }
}

/// One session and its buffers, owned by one thread.
pub struct OnnxScorer {
    session: Session,
    /// What was asked of the GPU; `None` on the CPU.
    asked: Option<Asked>,
    input: String,
    output: String,
    options: RunOptions<HasSelectedOutputs>,
    /// Differences of the last batch, for graphs that tell them beside the residuals.
    differences: Option<Vec<f32>>,
    columns: Vec<Column>,
    window: usize,
    /// Scaled windows, for graphs that don't scale by themselves.
    scaled: Option<Vec<f32>>,
}

impl OnnxScorer {
    fn new(session: Session, metadata: &Metadata, asked: Option<Asked>) -> Result<Self, LoadError> {
        let (input, output, foreign) = match &metadata.graph {
            GraphOrigin::Strayd { .. } => (graph::WINDOW.to_owned(), graph::RESIDUAL.to_owned(), false),
            GraphOrigin::Foreign { input, output } => (input.clone(), output.clone(), true),
        };
        let of_input = find(session.inputs(), &input)?;
        let of_output = find(session.outputs(), &output)?;
        let (row, window) = (metadata.columns.len(), metadata.columns.len() * metadata.window);
        if of_input.is_some_and(|width| width != window) {
            return Err(LoadError::Width { name: input, found: of_input.unwrap_or(0), expected: window });
        }
        if of_output.is_some_and(|width| width != row && !(foreign && width == window)) {
            return Err(LoadError::Width { name: output, found: of_output.unwrap_or(0), expected: row });
        }
        let difference = session.outputs().iter().any(|outlet| outlet.name() == graph::DIFFERENCE) && !foreign;
        let mut asked_for = OutputSelector::no_default().with(output.clone());
        if difference {
            let found = find(session.outputs(), graph::DIFFERENCE)?.unwrap_or(row);
            if found != row {
                return Err(LoadError::Width { name: graph::DIFFERENCE.to_owned(), found, expected: row });
            }
            asked_for = asked_for.with(graph::DIFFERENCE);
        }
        let options =
            RunOptions::new().map_err(|error| LoadError::Broken { cause: error.to_string() })?.with_outputs(asked_for);
        Ok(Self {
            session,
            asked,
            input,
            output,
            options,
            differences: difference.then(Vec::new),
            columns: metadata.columns.clone(),
            window: metadata.window,
            scaled: foreign.then(Vec::new),
        })
    }

    /// Runs the golden rows: the first sign of life on the device, and proof that file and runtime agree.
    fn check_golden(&mut self, metadata: &Metadata) -> Result<(), LoadError> {
        let variances: Vec<f32> = self.columns.iter().map(|column| column.residual_variance).collect();
        let mut residuals = Vec::new();
        for (index, golden) in metadata.golden.iter().enumerate() {
            self.score(&golden.window, 1, &mut residuals).map_err(not_loaded)?;
            let got = raw_score(&residuals, &variances) as f32;
            let close = (got - golden.score).abs() <= GOLDEN_TOLERANCE * golden.score.abs().max(1e-3);
            if !close {
                return Err(LoadError::Golden { index, got, expected: golden.score });
            }
        }
        Ok(())
    }

    /// Runs a batch of the largest size, so that a GPU without room for it is told before records come.
    fn check_room(&mut self, rows: usize) -> Result<(), LoadError> {
        let window = self.columns.iter().map(|column| column.center).collect::<Vec<_>>().repeat(self.window * rows);
        self.score(&window, rows, &mut Vec::new()).map_err(not_loaded)
    }
}

fn failed(asked: Option<Asked>, rows: usize, cause: String) -> ScoreError {
    match asked.and_then(|asked| asked.diagnose(&cause)) {
        Some(cause) => ScoreError::Device { rows, cause },
        None => ScoreError::Run { rows, cause },
    }
}

/// A fault of the first runs as one of the file or the device.
fn not_loaded(error: ScoreError) -> LoadError {
    match error {
        ScoreError::Device { cause, .. } => LoadError::Device(cause),
        other => LoadError::Broken { cause: other.to_string() },
    }
}

fn find(outlets: &[ort::value::Outlet], name: &str) -> Result<Option<usize>, LoadError> {
    let outlet = outlets.iter().find(|outlet| outlet.name() == name).ok_or_else(|| LoadError::NoSuchPort {
        name: name.to_owned(),
        there: outlets.iter().map(|outlet| outlet.name().to_owned()).collect(),
    })?;
    width(name, outlet.dtype())
}

impl Scorer for OnnxScorer {
    fn score(&mut self, windows: &[f32], rows: usize, residuals: &mut Vec<f32>) -> Result<(), ScoreError> {
        let asked = self.asked;
        let failed = |cause: String| failed(asked, rows, cause);
        let row = self.columns.len();
        let width = row * self.window;
        let ours = self.scaled.is_none();
        let fed = match &mut self.scaled {
            Some(scaled) => {
                scaled.clear();
                // A column that was constant tells such a graph nothing, and its scale is tiny: whatever it does later must
                // not move the reconstruction of the others.
                scaled.extend(windows.iter().enumerate().map(|(i, value)| {
                    let column = &self.columns[i % row];
                    if column.residual_cap.is_finite() { 0.0 } else { column.scaled(*value) }
                }));
                scaled.as_slice()
            }
            None => windows,
        };
        let tensor = TensorRef::from_array_view(([rows, width], fed)).map_err(|error| failed(error.to_string()))?;
        let outputs = self
            .session
            .run_with_options(ort::inputs![self.input.as_str() => tensor], &self.options)
            .map_err(|error| failed(error.to_string()))?;
        let (_, values) =
            outputs[self.output.as_str()].try_extract_tensor::<f32>().map_err(|error| failed(error.to_string()))?;
        residuals.clear();
        if ours {
            if values.len() != rows * row {
                return Err(ScoreError::Shape { rows, got: values.len(), expected: rows * row });
            }
            residuals.extend_from_slice(values);
            if let Some(differences) = &mut self.differences {
                let (_, values) = outputs[graph::DIFFERENCE]
                    .try_extract_tensor::<f32>()
                    .map_err(|error| failed(error.to_string()))?;
                if values.len() != rows * row {
                    return Err(ScoreError::Shape { rows, got: values.len(), expected: rows * row });
                }
                differences.clear();
                differences.extend_from_slice(values);
            }
            return Ok(());
        }
        let per_row = values.len() / rows.max(1);
        if per_row * rows != values.len() || (per_row != row && per_row != width) {
            return Err(ScoreError::Shape { rows, got: values.len(), expected: rows * row });
        }
        for (window, rebuilt) in windows.chunks_exact(width).zip(values.chunks_exact(per_row)) {
            let newest = window[width - row..].iter().zip(&rebuilt[per_row - row..]).zip(&self.columns);
            residuals.extend(newest.map(|((value, rebuilt), column)| foreign_residual(column, *value, *rebuilt)));
        }
        Ok(())
    }

    fn differences(&self) -> Option<&[f32]> {
        self.differences.as_deref()
    }
}

/// Scaled distance of a value from what a foreign graph rebuilt; of a constant column from its centre, as nothing else was
/// ever expected. What overflows counts as the largest number, as it does in our own graphs.
fn foreign_residual(column: &Column, value: f32, rebuilt: f32) -> f32 {
    let expected = if column.residual_cap.is_finite() { 0.0 } else { rebuilt };
    let cap = column.residual_cap.min(f32::MAX);
    (column.scaled(value) - expected).clamp(-cap, cap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metadata::fixture::metadata;

    #[test]
    fn a_foreign_residual_is_the_scaled_distance_and_of_a_constant_column_the_capped_one_from_its_centre() {
        let mut column = metadata(1).columns.remove(0);
        (column.center, column.scale) = (10.0, 2.0);
        assert_eq!(foreign_residual(&column, 16.0, 1.0), 2.0);
        column.scale = f32::MIN_POSITIVE;
        assert_eq!(foreign_residual(&column, 1e30, 1.0), f32::MAX);
        column.residual_cap = 1.0;
        assert_eq!(foreign_residual(&column, 10.0, 0.7), 0.0);
        assert_eq!(foreign_residual(&column, -1e30, 0.7), -1.0);
    }
}
