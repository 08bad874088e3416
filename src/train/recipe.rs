//! From a sample to a model file: features, scaling, network, residual statistics, calibration, export.
//!
//! The sample is split in time: the network is fitted on the older rows, early stopping watches the first part of the
//! held-back ones, and residual statistics and calibration stand on held-back rows, pushed through the very scorer and
//! judge that production uses. Independent rows (the tabular preset) are split by turns instead, because a file may be sorted.

use std::{ops::ControlFlow, sync::Arc};

use ndarray::Array2;

use super::{
    AutoencoderError, EpochReport, Layer, Network, Output,
    assemble::columns,
    sample::{SampleError, SampleRecord, SampleRows},
    scaling::{self, ColumnScale},
    size::Oversize,
    split::Split,
};
use crate::{
    config::settings::{Activation, Aggregation, Loss, Residuals, Scaling, Settings},
    detect::{
        LoadError, ScoreError, Scorers,
        calibrate::{CalibrationError, Missing},
        onnx::Ports,
    },
    model::{
        Model,
        graph::GraphError,
        metadata::{Column, GraphOrigin},
    },
};

/// The network's input is clipped to this many ranges below 0 and above 1; residuals are not.
const INPUT_CLIP: f32 = 1.0;
/// The same for scalings in standard deviations: far beyond what a fitted row holds, and small enough that no sum
/// inside the network overflows.
const STANDARD_CLIP: f32 = 100.0;
/// Half-life in rows of the running residual statistics, where `judging.residuals` is left out.
const HALF_LIFE: f64 = 5_000.0;
/// A sum of which a sigmoid or a raw log-variance makes next to nothing.
const NOTHING: f32 = -50.0;

/// A graph from another tool, to be given scaler and calibration.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// What it is called in errors: its file.
    pub name: String,
    /// The file as it came.
    pub bytes: Arc<[u8]>,
    /// Its input and output.
    pub ports: Ports,
    /// Centre and scale per column; `None` fits them.
    pub scaler: Option<(Vec<f32>, Vec<f32>)>,
}

/// Everything that training needs beside the sample.
#[derive(Clone)]
pub struct Recipe {
    /// Checked settings.
    pub settings: Arc<Settings>,
    /// Makes scorers of draft models.
    pub scorers: Arc<dyn Scorers>,
    /// A graph to be adopted instead of fitting a network.
    pub foreign: Option<Foreign>,
    /// Topic or files that the sample comes from.
    pub source: String,
    /// SHA-256 of the settings.
    pub config_sha256: String,
    /// Now, RFC 3339.
    pub created: String,
    /// Version of the model in use, if there is one.
    pub parent: Option<String>,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The sample gives no rows.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// Too few rows for fitting and holding back.
    #[error(
        "{windows} usable windows are too few to train on, expected at least {least}; collect more rows (training.rows){unusable}"
    )]
    TooFewRows {
        /// Windows there are.
        windows: usize,
        /// Windows needed.
        least: usize,
        /// What tells of records that could not be used.
        unusable: String,
    },
    /// The network can't be fitted.
    #[error(transparent)]
    Network(#[from] AutoencoderError),
    /// The draft model can't be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The draft model can't score.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// No held-back row has a score.
    #[error(
        "the network gives none of {rows} held-back rows a finite score; the first one is record {offset} of partition {partition}: its values are too large or not what the network was made for"
    )]
    Unscorable {
        /// Held-back rows.
        rows: usize,
        /// Partition of the first one.
        partition: i32,
        /// Its offset.
        offset: i64,
    },
    /// A network that is too large.
    #[error("{0}; expected {cure}", cure = Oversize::CURE)]
    Oversize(#[from] Oversize),
    /// A code that lets everything through.
    #[error(
        "model.kind {kind}: a code {code} wide can't squeeze an input {inputs} wide (columns that vary times rows of the window): it would rebuild every row, and none would stand out; {cure}"
    )]
    WideCode {
        /// The network's kind.
        kind: &'static str,
        /// Values of the code.
        code: usize,
        /// Values of the network's input that vary.
        inputs: usize,
        /// What would be right.
        cure: String,
    },
    /// No limit.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// The given scaler doesn't fit the rows.
    #[error("model.foreign gives {given} centres and scales, but the rows have {columns} columns")]
    ForeignScaler {
        /// Entries given.
        given: usize,
        /// Columns of the rows.
        columns: usize,
    },
    /// The foreign graph doesn't fit the rows.
    #[error(
        "{graph} takes {found} values per row, but {columns} columns in windows of {window} rows make {}; set record.features or training.window to fit",
        .columns * .window
    )]
    ForeignWidth {
        /// The graph's name.
        graph: String,
        /// Values that the graph takes.
        found: usize,
        /// Columns of the rows.
        columns: usize,
        /// Rows per window.
        window: usize,
    },
    /// The correlations of residuals can't be taken out of another tool's graph.
    #[error(
        "judging.aggregation: mahalanobis is written into the graph, and {graph} comes from another tool; set judging.aggregation to mean, max or {{top: K}}"
    )]
    ForeignWhitening {
        /// The graph's name.
        graph: String,
    },
    /// The graph can't be written.
    #[error("the graph can't be written: {0}")]
    Graph(#[from] GraphError),
    /// The training thread died.
    #[error("the training thread panicked; its message stands in the log")]
    Panicked,
    /// Training was cancelled by a shutdown.
    #[error("training was cancelled")]
    Cancelled,
}

/// What a recipe has made so far.
pub(super) struct Draft {
    pub(super) columns: Vec<Column>,
    pub(super) networks: Vec<Network<f32>>,
    pub(super) origin: GraphOrigin,
    pub(super) epochs: usize,
    pub(super) losses: (f64, f64),
    /// Share of active values of the members' codes on held-back rows.
    pub(super) active_units: Option<f64>,
    /// What residuals are multiplied with, `[columns, columns]`, where they are freed of their correlations.
    pub(super) whitening: Option<Array2<f32>>,
}

impl Draft {
    pub(super) fn unfitted(columns: Vec<Column>, origin: GraphOrigin) -> Self {
        Self {
            columns,
            networks: Vec::new(),
            origin,
            epochs: 0,
            losses: (0.0, 0.0),
            active_units: None,
            whitening: None,
        }
    }
}

impl Recipe {
    /// Trains on `sample` and gives the finished model. `progress` hears of each epoch and may stop the run.
    pub fn train(
        &self,
        sample: &[SampleRecord],
        progress: &mut dyn FnMut(&EpochReport) -> ControlFlow<()>,
    ) -> Result<Model, TrainError> {
        let rows = SampleRows::decode(sample, &self.settings.record)?;
        let (decided, split) = self.decided(&rows)?;
        let (model, _) = decided.train_on(sample, Missing::default(), (&rows, &split), progress)?;
        Ok(model)
    }

    pub(super) fn draft(
        &self,
        rows: &SampleRows,
        split: &Split,
        progress: &mut dyn FnMut(&EpochReport) -> ControlFlow<()>,
    ) -> Result<Draft, TrainError> {
        let columns = self.columns(rows, split)?;
        if let Some(foreign) = &self.foreign {
            if self.aggregation() == Aggregation::Mahalanobis {
                return Err(TrainError::ForeignWhitening { graph: foreign.name.clone() });
            }
            let Ports { input, output, .. } = foreign.ports.clone();
            let origin = GraphOrigin::Foreign { input, output };
            return Ok(Draft::unfitted(columns, origin));
        }
        let members = self.members(rows, &columns)?;
        let origin = GraphOrigin::Strayd { architecture: String::new() };
        let mut draft = Draft::unfitted(columns, origin);
        self.fit_members(&mut draft, &members, (rows, split), progress)?;
        Ok(draft)
    }

    /// The row's columns, scaled by the fitted rows.
    pub(super) fn columns(&self, rows: &SampleRows, split: &Split) -> Result<Vec<Column>, TrainError> {
        let newest: Vec<usize> = split.fitted.iter().map(|index| split.newest(*index)).collect();
        let scales = match &self.foreign {
            Some(foreign) => self.foreign_scales(foreign, rows, &newest)?,
            None => scaling::fit(rows, &newest, self.scaling()),
        };
        Ok(columns(rows, &scales))
    }

    fn foreign_scales(
        &self,
        foreign: &Foreign,
        rows: &SampleRows,
        fitted: &[usize],
    ) -> Result<Vec<ColumnScale>, TrainError> {
        let (columns, window) = (rows.width(), self.settings.training.window);
        if let Some(found) = foreign.ports.input_width.filter(|width| *width != columns * window) {
            return Err(TrainError::ForeignWidth { graph: foreign.name.clone(), found, columns, window });
        }
        let Some((centers, divisors)) = &foreign.scaler else {
            return Ok(scaling::fit(rows, fitted, self.scaling()));
        };
        if centers.len() != columns || divisors.len() != columns {
            return Err(TrainError::ForeignScaler { given: centers.len().min(divisors.len()), columns });
        }
        let given = centers.iter().zip(divisors);
        Ok(given.map(|(center, scale)| ColumnScale::straight(*center, *scale)).collect())
    }

    pub(super) fn input_clip(&self) -> Option<(f32, f32)> {
        let written = self.settings.training.network.input_clip;
        match (self.settings.training.network.loss, self.scaling()) {
            // Cross-entropy is defined for targets in 0..=1 only.
            (Loss::BinaryCrossEntropy, _) => Some((0.0, 1.0)),
            (_, Scaling::RobustMinMax | Scaling::MinMax) => {
                let clip = written.unwrap_or(INPUT_CLIP);
                Some((-clip, 1.0 + clip))
            }
            (_, Scaling::Standard | Scaling::Robust | Scaling::Quantile) => {
                let clip = written.unwrap_or(STANDARD_CLIP);
                Some((-clip, clip))
            }
            (_, Scaling::None) => written.map(|clip| (-clip, clip)),
        }
    }

    fn scaling(&self) -> Scaling {
        self.settings.training.network.scaling.unwrap_or(Scaling::RobustMinMax)
    }

    pub(super) fn aggregation(&self) -> Aggregation {
        self.settings.judging.aggregation.unwrap_or(Aggregation::Mean)
    }

    pub(super) fn residuals(&self) -> Residuals {
        self.settings.judging.residuals.unwrap_or(Residuals::Running { half_life: HALF_LIFE })
    }
}

/// Inputs of the network that never changed: whatever they do later must not move the reconstruction of the others.
pub(super) fn constant_columns(columns: &[Column]) -> Vec<usize> {
    (0..columns.len()).filter(|c| columns[*c].residual_cap.is_finite()).collect()
}

/// How many columns changed.
pub(super) fn varying_columns(columns: &[Column]) -> usize {
    columns.len() - constant_columns(columns).len()
}

/// Cuts inputs and outputs of constant columns: their weights were never trained. They are rebuilt as 0, the centre, and are
/// as sure as can be. Convolutions share their weights among columns; of networks with such layers the graph masks constant
/// columns instead.
pub(super) fn disconnect(network: &mut Network<f32>, constant: &[usize], width: usize) {
    if network.shares_weights() {
        return;
    }
    let (inputs, outputs) = (network.input_width(), network.output_width());
    let gaussian = matches!(network.output(), Output::Gaussian(_));
    let last = network.layers.len() - 1;
    let of_constant = |values: usize| (0..values).filter(|at| constant.contains(&(at % width)));
    for at in of_constant(inputs) {
        network.layers[0].weight.row_mut(at).fill(0.0);
        if let Some(skip) = &mut network.skip {
            skip.encoder.weight.row_mut(at).fill(0.0);
        }
    }
    let off = match network.layers[last].activation() {
        Activation::Sigmoid => NOTHING,
        _ => 0.0,
    };
    for at in of_constant(outputs) {
        cut_output(&mut network.layers[last], at, off);
        if gaussian {
            cut_output(&mut network.layers[last], outputs + at, NOTHING);
        }
        if let Some(skip) = &mut network.skip {
            cut_output(&mut skip.decoder, at, 0.0);
        }
    }
}

fn cut_output(layer: &mut Layer<f32>, at: usize, bias: f32) {
    layer.weight.column_mut(at).fill(0.0);
    layer.bias[at] = bias;
}

#[cfg(test)]
mod tests {
    use linfa::ParamGuard;
    use ndarray::{Array2, s};

    use super::*;
    use crate::{
        config::settings::{NetworkKind, Variational, VariationalScore},
        train::AutoencoderParams,
    };

    /// Windows of two rows of three columns.
    fn windows(count: usize) -> Array2<f32> {
        Array2::from_shape_fn((count, 6), |(row, at)| 0.5 + 0.5 * ((row * 7 + at * at) as f32).sin())
    }

    fn fitted(params: AutoencoderParams<f32>) -> Network<f32> {
        let params = params.epochs(2).learning_rate(0.05).check().unwrap();
        let rows = windows(60);
        params.fit_with_validation(rows.view(), rows.view(), &mut |_| ControlFlow::Continue(())).unwrap().network
    }

    #[test]
    fn a_column_that_was_constant_is_rebuilt_as_its_centre_and_moves_no_other_whatever_the_network_is() {
        let variational = Variational { beta: 0.1, warm_up: 0, score: VariationalScore::Probability, draws: 3 };
        let base = || AutoencoderParams::new(6, 2).hidden(&[5]);
        let all = [
            base(),
            base().loss(Loss::BinaryCrossEntropy),
            base().skip(true),
            base().kinds(NetworkKind::Sequence).predicted(3),
            base().kinds(NetworkKind::Variational).variational(variational),
        ];
        for params in all {
            let mut network = fitted(params.clone());
            disconnect(&mut network, &[1], 3);
            let mut windows = windows(4);
            windows.slice_mut(s![.., 1..;3]).fill(0.0);
            let mut moved = windows.clone();
            moved.slice_mut(s![.., 1..;3]).fill(1.5);
            let given = s![.., ..network.input_width()];
            let (before, after) = (windows.slice(given), moved.slice(given));
            assert_eq!(network.reconstruct(before), network.reconstruct(after), "{params:?}");
            let rebuilt = network.reconstruct(before);
            assert!(rebuilt.slice(s![.., 1..;3]).iter().all(|value| value.abs() < 1e-20), "{params:?}: {rebuilt}");
            assert!(rebuilt.slice(s![.., 2..;3]).iter().any(|value| value.abs() > 1e-3), "{params:?}: {rebuilt}");
            if let Some((_, deviance)) = network.deviance(before, windows.view()) {
                assert!(deviance.slice(s![.., 1..;3]).iter().all(|value| *value < 1e-4), "{deviance}");
            }
        }
    }
}
