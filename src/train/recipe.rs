//! From a sample to a model file: features, scaling, network, residual statistics, calibration, export.
//!
//! The sample is split in time: the network is fitted on the older rows, early stopping watches the first part of the
//! held-back ones, and residual statistics and calibration stand on held-back rows, pushed through the very scorer and
//! judge that production uses. Independent rows (the tabular preset) are split by turns instead, because a file may be sorted.

use std::{ops::ControlFlow, sync::Arc};

use linfa::ParamGuard;
use ndarray::{Array2, ArrayView2};

use super::{
    AutoencoderError, EpochReport,
    sample::{SampleError, SampleRecord, SampleRows},
    scaling::{self, ColumnScale},
};
use crate::{
    config::settings::{NetworkKind, NetworkSettings, Noise, Preset, Residuals, Scaling, Settings, Sparsity},
    detect::{
        LoadError, ScoreError, Scorer, Scorers,
        calibrate::{Calibration, CalibrationError},
        judge::{EntityJudgement, Judge},
        onnx::Ports,
    },
    model::{
        Model,
        graph::{self, GraphSpec},
        metadata::{Column, FORMAT, GoldenRow, GraphOrigin, Metadata, Provenance, Scoring},
    },
    record::timestamp,
    train::{AutoencoderParams, Network, principal_components},
};

/// The network's input is clipped to this many ranges below 0 and above 1; residuals are not.
const INPUT_CLIP: f32 = 1.0;
/// Windows per call of the scorer.
const CHUNK: usize = 512;
/// Golden rows in a model file.
const GOLDEN_ROWS: usize = 4;
/// Smallest residual variance of a column, scaled units: a column that was rebuilt almost exactly on held-back rows must not
/// turn the next rounding difference into an alarm.
const VARIANCE_FLOOR: f32 = 1e-4;
/// What a change of a constant column counts: its residual is capped at one range, over this variance.
const CONSTANT_VARIANCE: f32 = 1e-2;

/// A graph from another tool, to be given scaler and calibration.
#[derive(Debug, Clone)]
pub struct Foreign {
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
        "{windows} usable windows are too few to train on, expected at least {least}; collect more rows (training.rows)"
    )]
    TooFewRows {
        /// Windows there are.
        windows: usize,
        /// Windows needed.
        least: usize,
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
        "the graph takes {found} values per row, but {columns} columns in windows of {window} rows make {}; set record.features or training.window to fit",
        .columns * .window
    )]
    ForeignWidth {
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

/// Fewest windows that can be split into fitted and held-back ones.
const MIN_WINDOWS: usize = 50;

/// Where the windows of a sample stand, and which part each belongs to.
struct Split {
    /// Rows (indices into the sample) of each window, oldest first, `window` per entry.
    rows: Vec<usize>,
    window: usize,
    fitted: Vec<usize>,
    validation: Vec<usize>,
    held_back: Vec<usize>,
}

/// What a recipe has made so far.
struct Draft {
    columns: Vec<Column>,
    networks: Vec<Network<f32>>,
    origin: GraphOrigin,
    epochs: usize,
    losses: (f64, f64),
}

impl Recipe {
    /// Trains on `sample` and gives the finished model. `progress` hears of each epoch and may stop the run.
    pub fn train(
        &self,
        sample: &[SampleRecord],
        progress: &mut dyn FnMut(&EpochReport) -> ControlFlow<()>,
    ) -> Result<Model, TrainError> {
        let rows = SampleRows::decode(sample, &self.settings.record)?;
        let split = self.split(&rows)?;
        let mut draft = self.draft(&rows, &split, progress)?;
        let mut scorer = self.scorers.scorer(&self.assemble(&draft, self.metadata(&draft, &rows, sample))?)?;
        let residuals = self.residuals(scorer.as_mut(), &rows, &split)?;
        self.standardise(&mut draft.columns, &residuals);
        let mut metadata = self.metadata(&draft, &rows, sample);
        metadata.provenance.fitted_rows = split.fitted.len();
        metadata.provenance.held_back_rows = split.held_back.len();
        metadata.calibration = self.calibrate(&metadata, &rows, &split, &residuals)?;
        metadata.golden = golden(&metadata.columns, &rows, &split, &residuals);
        self.assemble(&draft, metadata)
    }

    fn split(&self, rows: &SampleRows) -> Result<Split, TrainError> {
        let training = &self.settings.training;
        let window = training.window;
        let mut last: Vec<Vec<usize>> = vec![Vec::new(); rows.entities.iter().max().map_or(0, |max| *max as usize + 1)];
        let mut windows = Vec::with_capacity(rows.len() * window);
        for (row, entity) in rows.entities.iter().enumerate() {
            let recent = &mut last[*entity as usize];
            if recent.len() == window {
                recent.remove(0);
            }
            recent.push(row);
            if recent.len() == window {
                windows.extend_from_slice(recent);
            }
        }
        let count = windows.len() / window;
        if count < MIN_WINDOWS {
            return Err(TrainError::TooFewRows { windows: count, least: MIN_WINDOWS });
        }
        let (fitted, held_back): (Vec<usize>, Vec<usize>) = match self.settings.preset {
            Preset::Timeseries => {
                let first_held = count - (count as f64 * training.held_back) as usize;
                ((0..first_held).collect(), (first_held..count).collect())
            }
            Preset::Tabular => {
                let every = (1.0 / training.held_back).round() as usize;
                (0..count).partition(|index| index % every != every - 1)
            }
        };
        let validation = match self.settings.preset {
            Preset::Timeseries => held_back.iter().copied().take(held_back.len().div_ceil(2)).collect(),
            Preset::Tabular => held_back.clone(),
        };
        Ok(Split { rows: windows, window, fitted, validation, held_back })
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
            return Err(TrainError::ForeignWidth { found, columns, window });
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
            let mut made = if network.kind == NetworkKind::Pca {
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
}

/// Making a model file out of what was fitted.
impl Recipe {
    fn assemble(&self, draft: &Draft, metadata: Metadata) -> Result<Model, TrainError> {
        let graph = match &self.foreign {
            Some(foreign) => foreign.bytes.to_vec(),
            None => graph::write(&GraphSpec {
                networks: &draft.networks,
                columns: &metadata.columns,
                window: metadata.window,
                input_clip: self.input_clip(),
                doc: "Anomaly score by reconstruction error; see the output `score`.",
                metadata: &[],
            })
            .map_err(|error| TrainError::Graph(error.to_string()))?,
        };
        Ok(Model::assemble(graph, metadata))
    }

    fn input_clip(&self) -> Option<(f32, f32)> {
        match self.settings.training.network.scaling {
            Scaling::RobustMinMax => Some((-INPUT_CLIP, 1.0 + INPUT_CLIP)),
            Scaling::Standard => None,
        }
    }

    /// Metadata without calibration and golden rows, which need the draft's own scores.
    fn metadata(&self, draft: &Draft, rows: &SampleRows, sample: &[SampleRecord]) -> Metadata {
        let settings = &self.settings;
        let half_life = match settings.judging.residuals {
            Residuals::Running { half_life } => Some(half_life),
            Residuals::Raw | Residuals::HeldBack => None,
        };
        Metadata {
            format: FORMAT,
            program: concat!("strayd ", env!("CARGO_PKG_VERSION")).to_owned(),
            features: rows.features.clone(),
            columns: draft.columns.clone(),
            window: settings.training.window,
            graph: draft.origin.clone(),
            scoring: Scoring {
                smoothing_span: settings.judging.smoothing_span,
                half_life,
                incident_quiet_rows: settings.judging.incident_quiet_rows,
            },
            calibration: Calibration::unknown(),
            provenance: Provenance {
                source: self.source.clone(),
                ranges: ranges(sample),
                fitted_rows: 0,
                held_back_rows: 0,
                unusable_records: rows.unusable,
                span: span(&rows.times),
                seed: settings.training.seed,
                config_sha256: self.config_sha256.clone(),
                created: self.created.clone(),
                training_loss: draft.losses.0,
                validation_loss: draft.losses.1,
                epochs: draft.epochs,
            },
            golden: Vec::new(),
        }
    }

    /// Residuals of all held-back windows, `held_back * columns`, from the scorer that production would use.
    fn residuals(&self, scorer: &mut dyn Scorer, rows: &SampleRows, split: &Split) -> Result<Vec<f32>, TrainError> {
        let mut all = Vec::with_capacity(split.held_back.len() * rows.width());
        let (mut windows, mut residuals) = (Vec::new(), Vec::new());
        for chunk in split.held_back.chunks(CHUNK) {
            windows.clear();
            chunk.iter().for_each(|index| split.append_window(rows, *index, &mut windows));
            scorer.score(&windows, chunk.len(), &mut residuals)?;
            all.extend_from_slice(&residuals);
        }
        Ok(all)
    }

    /// Writes mean and variance of the held-back residuals into the columns, where residuals are standardised at all.
    fn standardise(&self, columns: &mut [Column], residuals: &[f32]) {
        let width = columns.len();
        if matches!(self.settings.judging.residuals, Residuals::Raw) {
            return;
        }
        for (c, column) in columns.iter_mut().enumerate() {
            let of_column = || residuals.iter().skip(c).step_by(width).map(|r| f64::from(*r));
            let count = of_column().count() as f64;
            let mean = of_column().sum::<f64>() / count;
            let variance = of_column().map(|r| (r - mean) * (r - mean)).sum::<f64>() / count;
            let constant = column.residual_cap.is_finite();
            column.residual_mean = if constant { 0.0 } else { mean as f32 };
            column.residual_variance = if constant { CONSTANT_VARIANCE } else { (variance as f32).max(VARIANCE_FLOOR) };
        }
    }

    fn calibrate(
        &self,
        metadata: &Metadata,
        rows: &SampleRows,
        split: &Split,
        residuals: &[f32],
    ) -> Result<Calibration, TrainError> {
        let width = rows.width();
        // The limit plays no part in scores; whatever is above it is of no interest here.
        let judge = Judge::new(metadata, f64::INFINITY);
        let mut entities: Vec<(EntityJudgement, Vec<f64>)> = Vec::new();
        for (index, residuals) in split.held_back.iter().zip(residuals.chunks_exact(width)) {
            let newest = split.newest(*index);
            let entity = rows.entities[newest] as usize;
            if entities.len() <= entity {
                entities.resize_with(entity + 1, Default::default);
            }
            let (memory, scores) = &mut entities[entity];
            let imputed = &rows.imputed[newest * width..(newest + 1) * width];
            scores.push(judge.judge(residuals, imputed, memory).score);
        }
        let sequences: Vec<Vec<f64>> = entities.into_iter().map(|(_, scores)| scores).collect();
        let quiet = self.settings.judging.incident_quiet_rows;
        Ok(Calibration::fit(&sequences, quiet, rows.interval_seconds())?)
    }

    fn params(&self, inputs: usize, columns: usize, member: usize) -> AutoencoderParams<f32> {
        let network = &self.settings.training.network;
        let hidden =
            network.hidden.clone().unwrap_or_else(|| vec![(inputs / 2).clamp(16, 128), (inputs / 6).clamp(8, 32)]);
        // The settings carry noise and penalties for the kinds that know them; the others must not be given any.
        let corrupts = network.kind == NetworkKind::Denoising;
        AutoencoderParams::new(inputs, code_size(network, columns))
            .hidden(&hidden)
            .kind(network.kind)
            .activation(network.activation)
            .loss(network.loss)
            .noise(if corrupts { network.noise } else { Noise::default() })
            .sparsity(if network.kind == NetworkKind::Sparse { network.sparsity } else { Sparsity::default() })
            .epochs(network.epochs)
            .batch_size(network.batch_size)
            .learning_rate(network.learning_rate)
            .patience(network.patience)
            .seed(self.settings.training.seed.wrapping_add(member as u64))
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

/// Kind and widths, such as `denoising 152-76-25-4-25-76-152 x 3`.
fn architecture(settings: &NetworkSettings, networks: &[Network<f32>]) -> String {
    let layers = &networks[0].layers;
    let mut widths = vec![layers[0].inputs().to_string()];
    widths.extend(layers.iter().map(|layer| layer.outputs().to_string()));
    let kind = serde_json::to_value(settings.kind).ok();
    let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or_default();
    format!("{kind} {} x {}", widths.join("-"), networks.len())
}

fn golden(columns: &[Column], rows: &SampleRows, split: &Split, residuals: &[f32]) -> Vec<GoldenRow> {
    let width = columns.len();
    let every = (split.held_back.len() / GOLDEN_ROWS).max(1);
    (0..split.held_back.len())
        .step_by(every)
        .take(GOLDEN_ROWS)
        .map(|at| {
            let mut window = Vec::new();
            split.append_window(rows, split.held_back[at], &mut window);
            let errors = residuals[at * width..(at + 1) * width].iter().zip(columns);
            let sum: f32 = errors.map(|(r, column)| r * r / column.residual_variance).sum();
            GoldenRow { window, score: sum / width as f32 }
        })
        .collect()
}

fn ranges(sample: &[SampleRecord]) -> Vec<(i32, i64, i64)> {
    let mut ranges: std::collections::BTreeMap<i32, (i64, i64)> = std::collections::BTreeMap::new();
    for record in sample {
        let offset = record.position.offset;
        let range = ranges.entry(record.position.partition).or_insert((offset, offset));
        *range = (range.0.min(offset), range.1.max(offset));
    }
    ranges.into_iter().map(|(partition, (first, last))| (partition, first, last)).collect()
}

fn span(times: &[i64]) -> Option<(String, String)> {
    let (first, last) = (times.iter().min()?, times.iter().max()?);
    (first < last).then(|| (timestamp::to_rfc3339(*first), timestamp::to_rfc3339(*last)))
}

impl Split {
    /// The sample's row that a window ends with.
    fn newest(&self, index: usize) -> usize {
        self.rows[(index + 1) * self.window - 1]
    }

    fn append_window(&self, rows: &SampleRows, index: usize, windows: &mut Vec<f32>) {
        for row in &self.rows[index * self.window..(index + 1) * self.window] {
            windows.extend_from_slice(rows.row(*row));
        }
    }

    /// The windows as the network sees them: scaled and clipped.
    fn matrix(&self, rows: &SampleRows, columns: &[Column], clip: Option<(f32, f32)>, of: &[usize]) -> Array2<f32> {
        let width = columns.len();
        let mut values = Vec::with_capacity(of.len() * self.window * width);
        of.iter().for_each(|index| self.append_window(rows, *index, &mut values));
        let (low, high) = clip.unwrap_or((f32::MIN, f32::MAX));
        for (at, value) in values.iter_mut().enumerate() {
            let column = &columns[at % width];
            *value = ((*value - column.center) / column.scale).clamp(low, high);
        }
        Array2::from_shape_vec((of.len(), self.window * width), values)
            .expect("as many values as rows times columns were written")
    }
}
