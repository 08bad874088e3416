//! From a sample to a model file: features, scaling, network, residual statistics, calibration, export.
//!
//! The sample is split in time: the network is fitted on the older rows, early stopping watches the first part of the
//! held-back ones, and residual statistics and calibration stand on held-back rows, pushed through the very scorer and
//! judge that production uses. Independent rows (the tabular preset) are split by turns instead, because a file may be sorted.

use std::{ops::ControlFlow, sync::Arc};

use linfa::ParamGuard;
use ndarray::ArrayView2;

use super::{
    AutoencoderError, AutoencoderParams, EpochReport, Network,
    assemble::{architecture, golden},
    principal_components,
    sample::{SampleError, SampleRecord, SampleRows},
    scaling::{self, ColumnScale},
    split::Split,
};
use crate::{
    config::settings::{NetworkKind, NetworkSettings, Noise, Preset, Residuals, Scaling, Settings, Sparsity},
    detect::{LoadError, ScoreError, Scorers, calibrate::CalibrationError, onnx::Ports},
    model::{
        Model,
        metadata::{Column, GraphOrigin},
    },
};

/// The network's input is clipped to this many ranges below 0 and above 1; residuals are not.
const INPUT_CLIP: f32 = 1.0;
/// Fewer windows than this to be fitted, and a kind left open becomes principal components.
const FEW_WINDOWS: usize = 1_000;
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
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The sample gives no rows.
    #[error("{0}")]
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
    #[error("{0}")]
    Network(#[from] AutoencoderError),
    /// The draft model can't be loaded.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// The draft model can't score.
    #[error("{0}")]
    Score(#[from] ScoreError),
    /// No limit.
    #[error("{0}")]
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
    /// The graph can't be written.
    #[error("the graph can't be written: {0}")]
    Graph(String),
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
}

impl Recipe {
    /// Trains on `sample` and gives the finished model. `progress` hears of each epoch and may stop the run.
    pub fn train(
        &self,
        sample: &[SampleRecord],
        progress: &mut dyn FnMut(&EpochReport) -> ControlFlow<()>,
    ) -> Result<Model, TrainError> {
        let rows = SampleRows::decode(sample, &self.settings.record)?;
        let split = Split::new(&rows, self.settings.preset, &self.settings.training)?;
        self.decided(&rows, &split).train_on(sample, &rows, &split, progress)
    }

    /// The same with the kind decided where the settings leave it open.
    fn decided(&self, rows: &SampleRows, split: &Split) -> Self {
        let mut settings = Settings::clone(&self.settings);
        let network = &mut settings.training.network;
        let windows = split.fitted.len();
        let few = windows < FEW_WINDOWS && settings.preset == Preset::Timeseries && self.foreign.is_none();
        if network.kind.is_none() && few {
            network.scaling = Scaling::Standard;
            settings.judging.residuals = Residuals::Raw;
            let inputs = rows.width() * settings.training.window;
            network.code_size.get_or_insert(rows.width().min(inputs / 2).max(1));
            tracing::info!(windows, "few windows to fit, and no training.kind: taking pca");
        }
        network.kind.get_or_insert(if few { NetworkKind::Pca } else { NetworkKind::Denoising });
        Self { settings: Arc::new(settings), ..self.clone() }
    }

    fn train_on(
        &self,
        sample: &[SampleRecord],
        rows: &SampleRows,
        split: &Split,
        progress: &mut dyn FnMut(&EpochReport) -> ControlFlow<()>,
    ) -> Result<Model, TrainError> {
        let mut draft = self.draft(rows, split, progress)?;
        let mut scorer = self.scorers.scorer(&self.assemble(&draft, self.metadata(&draft, rows, sample))?)?;
        let residuals = self.residuals(scorer.as_mut(), rows, split)?;
        self.standardise(&mut draft.columns, &residuals);
        let mut metadata = self.metadata(&draft, rows, sample);
        metadata.provenance.fitted_rows = split.fitted.len();
        metadata.provenance.held_back_rows = split.held_back.len();
        metadata.calibration = self.calibrate(&metadata, rows, split, &residuals)?;
        metadata.golden = golden(&metadata.columns, rows, split, &residuals);
        self.assemble(&draft, metadata)
    }

    fn draft(
        &self,
        rows: &SampleRows,
        split: &Split,
        progress: &mut dyn FnMut(&EpochReport) -> ControlFlow<()>,
    ) -> Result<Draft, TrainError> {
        let newest: Vec<usize> = split.fitted.iter().map(|index| split.newest(*index)).collect();
        let scales = match &self.foreign {
            Some(foreign) => self.foreign_scales(foreign, rows, &newest)?,
            None => scaling::fit(rows, &newest, self.settings.training.network.scaling),
        };
        let columns = columns(rows, &scales);
        if let Some(foreign) = &self.foreign {
            let Ports { input, output, .. } = foreign.ports.clone();
            let origin = GraphOrigin::Foreign { input, output };
            return Ok(Draft { columns, networks: Vec::new(), origin, epochs: 0, losses: (0.0, 0.0) });
        }
        let fitted = split.matrix(rows, &columns, self.input_clip(), &split.fitted);
        let validation = split.matrix(rows, &columns, self.input_clip(), &split.validation);
        let mut draft = Draft {
            columns,
            networks: Vec::new(),
            origin: GraphOrigin::Strayd { architecture: String::new() },
            epochs: 0,
            losses: (0.0, 0.0),
        };
        self.fit_members(&mut draft, fitted.view(), validation.view(), progress)?;
        Ok(draft)
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
            return Ok(scaling::fit(rows, fitted, self.settings.training.network.scaling));
        };
        if centers.len() != columns || divisors.len() != columns {
            return Err(TrainError::ForeignScaler { given: centers.len().min(divisors.len()), columns });
        }
        let given = centers.iter().zip(divisors);
        Ok(given.map(|(center, scale)| ColumnScale { center: *center, scale: *scale, constant: false }).collect())
    }

    fn fit_members(
        &self,
        draft: &mut Draft,
        fitted: ArrayView2<'_, f32>,
        validation: ArrayView2<'_, f32>,
        progress: &mut dyn FnMut(&EpochReport) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        let network = &self.settings.training.network;
        let constant = constant_columns(&draft.columns);
        for member in 0..network.members {
            let mut cancelled = false;
            let mut made = if network.kind == Some(NetworkKind::Pca) {
                principal_components(fitted, code_size(network, draft.columns.len()))?
            } else {
                let params = self.params(fitted.ncols(), draft.columns.len(), member).check()?;
                let fit = params.fit_with_validation(fitted, validation, &mut |report| {
                    let flow = progress(report);
                    cancelled |= flow.is_break();
                    flow
                })?;
                draft.epochs += fit.epochs;
                draft.losses = (fit.training_loss, fit.validation_loss);
                fit.network
            };
            if cancelled {
                return Err(TrainError::Cancelled);
            }
            disconnect(&mut made, &constant, draft.columns.len());
            draft.networks.push(made);
        }
        draft.origin = GraphOrigin::Strayd { architecture: architecture(network, &draft.networks) };
        Ok(())
    }

    fn params(&self, inputs: usize, columns: usize, member: usize) -> AutoencoderParams<f32> {
        let network = &self.settings.training.network;
        let hidden =
            network.hidden.clone().unwrap_or_else(|| vec![(inputs / 2).clamp(16, 128), (inputs / 6).clamp(8, 32)]);
        // The settings carry noise and penalties for the kinds that know them; the others must not be given any.
        let kind = network.kind.unwrap_or(NetworkKind::Denoising);
        AutoencoderParams::new(inputs, code_size(network, columns))
            .hidden(&hidden)
            .kind(kind)
            .activation(network.activation)
            .loss(network.loss)
            .noise(if kind == NetworkKind::Denoising { network.noise } else { Noise::default() })
            .sparsity(if kind == NetworkKind::Sparse { network.sparsity } else { Sparsity::default() })
            .epochs(network.epochs)
            .batch_size(network.batch_size)
            .learning_rate(network.learning_rate)
            .patience(network.patience)
            .seed(self.settings.training.seed.wrapping_add(member as u64))
    }

    pub(super) fn input_clip(&self) -> Option<(f32, f32)> {
        match self.settings.training.network.scaling {
            Scaling::RobustMinMax => Some((-INPUT_CLIP, 1.0 + INPUT_CLIP)),
            Scaling::Standard => None,
        }
    }
}

/// The configured code size, or an eighth of the row's columns between 2 and 4: small codes measured best.
fn code_size(network: &NetworkSettings, columns: usize) -> usize {
    network.code_size.unwrap_or((columns / 8).clamp(2, 4))
}

fn columns(rows: &SampleRows, scales: &[ColumnScale]) -> Vec<Column> {
    rows.columns
        .iter()
        .zip(scales)
        .zip(&rows.impute)
        .map(|(((name, feature), scale), impute)| Column {
            name: name.clone(),
            feature: *feature,
            impute: *impute,
            center: scale.center,
            scale: scale.scale,
            residual_cap: if scale.constant { 1.0 } else { f32::INFINITY },
            residual_mean: 0.0,
            residual_variance: 1.0,
        })
        .collect()
}

/// Inputs of the network that never changed: whatever they do later must not move the reconstruction of the others.
fn constant_columns(columns: &[Column]) -> Vec<usize> {
    (0..columns.len()).filter(|c| columns[*c].residual_cap.is_finite()).collect()
}

/// Cuts inputs and outputs of constant columns: their weights were never trained.
fn disconnect(network: &mut Network<f32>, constant: &[usize], width: usize) {
    let last = network.layers.len() - 1;
    let inputs = network.layers[0].inputs();
    for at in (0..inputs).filter(|at| constant.contains(&(at % width))) {
        network.layers[0].weight.row_mut(at).fill(0.0);
        network.layers[last].weight.column_mut(at).fill(0.0);
        network.layers[last].bias[at] = 0.0;
    }
}
