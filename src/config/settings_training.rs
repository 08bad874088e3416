//! Settings of the network, of how it is fitted, and of when.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `training.*`
#[derive(Debug, Clone)]
pub struct TrainingSettings {
    /// `training.rows`: how many records a cold start collects before it trains.
    pub rows: usize,
    /// `training.max_rows`: `strayd train` keeps at most the newest so many rows.
    pub max_rows: usize,
    /// `training.sample_rows`: rows judged normal that are kept for retraining, at most.
    pub sample_rows: usize,
    /// `training.schedule`: when a new model is trained.
    pub schedule: ScheduleSettings,
    /// `training.window`: rows of an entity that make one input of the network, >= 1.
    pub window: usize,
    /// Whether `training.window` was left out, so that few windows may make it longer.
    pub window_is_open: bool,
    /// `training.held_back`: share of the newest rows kept out of fitting, for early stopping and calibration, 0..0.9.
    pub held_back: f64,
    /// The network.
    pub network: NetworkSettings,
    /// `training.seed`
    pub seed: u64,
    /// `training.gate.*`
    pub gate: GateSettings,
}

/// `training.gate.*`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateSettings {
    /// `training.gate.withheld`: share of the newest rows of the sample that a retraining leaves to the gate, 0.01..=0.5.
    pub withheld: f64,
    /// `training.gate.tolerance`: by how much the area under the ROC curve may be smaller, 0..=1.
    pub tolerance: f64,
}

/// `training.schedule.*`
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleSettings {
    /// `training.schedule.every` or `training.schedule.cron`.
    pub when: When,
    /// `training.schedule.jitter`: each time is put off by a random part of it.
    pub jitter: Duration,
}

/// When a new model is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// Only on request.
    Never,
    /// So long after the last model.
    Every(Duration),
    /// At these times, UTC.
    Cron(Box<croner::Cron>),
}

/// The network and how it is fitted: `model.*` and `training.*`.
#[derive(Debug, Clone)]
pub struct NetworkSettings {
    /// `model.kind`; `None` is denoising, or, where a time series gives fewer than 1,000 windows to fit, pca on standard
    /// scaling: with few rows the linear model measured better.
    pub kinds: Option<Kinds>,
    /// `model.layers`: number of the encoder's hidden layers, whose widths are derived; `None` where [`hidden`](Self::hidden)
    /// is given, or to derive the number too.
    pub layers: Option<usize>,
    /// `model.hidden`: widths of the encoder's hidden layers from input to code; `None` derives them.
    pub hidden: Option<Vec<usize>>,
    /// `model.code_size`: `None` derives it.
    pub code_size: Option<usize>,
    /// `model.activation`
    pub activation: Activation,
    /// `model.members`: networks with different seeds whose reconstructions are averaged, >= 1.
    pub members: usize,
    /// `model.skip`: whether the network only corrects principal components; `None` does where a time series leaves
    /// [`kinds`](Self::kinds) open too.
    pub skip: Option<bool>,
    /// `model.convolution`: layers of the convolutional kind.
    pub convolution: Convolution,
    /// `model.variational`
    pub variational: Variational,
    /// `model.sequence.rows`: newest rows of the window that the sequence kind predicts, >= 1 and, with that kind, fewer than
    /// the window has.
    pub predicted_rows: usize,
    /// `training.loss`
    pub loss: Loss,
    /// `training.noise`: corruption of the denoising kind.
    pub noise: Noise,
    /// `training.sparsity`: penalty of the sparse kind.
    pub sparsity: Sparsity,
    /// `training.contraction`: penalty of the contractive kind.
    pub contraction: Contraction,
    /// `training.scaling`; `None` is robust min-max, or standard where [`kinds`](Self::kinds) turns out to be pca by itself.
    pub scaling: Option<Scaling>,
    /// `training.input_clip`: how far a network's input may lie outside, in ranges or standard deviations, > 0; `None` is 1 range
    /// or 100 deviations.
    pub input_clip: Option<f32>,
    /// `training.epochs`: upper bound.
    pub epochs: usize,
    /// `training.batch_size`
    pub batch_size: usize,
    /// `training.optimiser`, `learning_rate`, `learning_rate_schedule`, `weight_decay` and `clip_norm`.
    pub optimiser: Optimiser,
    /// `training.patience`: epochs without improvement on held-out rows before fitting stops.
    pub patience: usize,
    /// `training.trim`: share of each batch's rows, those with the largest losses, that is not learned from, 0..=0.5.
    pub trim: f64,
    /// `training.threads`: threads that a training may use, 1..=256.
    pub threads: usize,
}

impl NetworkSettings {
    /// Whether `model.kind` names this kind; of one left open nothing is known yet.
    pub fn has(&self, kind: NetworkKind) -> bool {
        self.kinds.as_ref().is_some_and(|kinds| kinds.has(kind))
    }
}

/// The kind of autoencoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkKind {
    /// Principal components: the linear autoencoder, solved exactly.
    Pca,
    /// Dense autoencoder with a code smaller than its input.
    Undercomplete,
    /// Rebuilds the clean row from a corrupted one.
    Denoising,
    /// Activations of the code are penalised; the code may be wider than the input.
    Sparse,
    /// The code is penalised for following small changes of the input.
    Contractive,
    /// Convolutions over the rows of a window, or over the two sides of a grid.
    Convolutional,
    /// The code is a distribution, from which rows can be drawn.
    Variational,
    /// Predicts the newest rows of a window from those before them.
    Sequence,
}

/// Kinds of autoencoder that hold at once: at least one, each at most once, in the order of [`NetworkKind`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kinds(Vec<NetworkKind>);

impl Kinds {
    /// `None` for no kind at all; a kind that is named twice counts once.
    pub fn new(kinds: &[NetworkKind]) -> Option<Self> {
        let mut kinds = kinds.to_vec();
        kinds.sort();
        kinds.dedup();
        (!kinds.is_empty()).then_some(Self(kinds))
    }

    /// Whether this kind is one of them.
    pub fn has(&self, kind: NetworkKind) -> bool {
        self.0.contains(&kind)
    }

    /// Whether nothing but the width of the code keeps such a network from copying its input, so that it has to be smaller.
    pub fn need_narrow_code(&self) -> bool {
        self.has(NetworkKind::Pca) || self.has(NetworkKind::Undercomplete) || self.0 == [NetworkKind::Convolutional]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = NetworkKind> {
        self.0.iter().copied()
    }
}

impl From<NetworkKind> for Kinds {
    fn from(kind: NetworkKind) -> Self {
        Self(vec![kind])
    }
}

/// As in `denoising + convolutional`.
impl std::fmt::Display for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, kind) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " + " })?;
            f.write_str(kind.name())?;
        }
        Ok(())
    }
}

impl NetworkKind {
    /// As it is written in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pca => "pca",
            Self::Undercomplete => "undercomplete",
            Self::Denoising => "denoising",
            Self::Sparse => "sparse",
            Self::Contractive => "contractive",
            Self::Convolutional => "convolutional",
            Self::Variational => "variational",
            Self::Sequence => "sequence",
        }
    }
}

/// Activation of the hidden layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// No activation.
    Identity,
    /// max(0, x)
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// 1 / (1 + exp(-x))
    Sigmoid,
    /// x, below 0 a hundredth of it (Maas et al. 2013).
    LeakyRelu,
    /// x, below 0 exp(x) - 1 (Clevert et al. 2016).
    Elu,
    /// x times the standard normal distribution function of x (Hendrycks and Gimpel 2016), exact, not the tanh form.
    Gelu,
    /// x times its sigmoid (Elfwing et al. 2018).
    Silu,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Identity, Self::Relu, Self::Tanh, Self::Sigmoid, Self::LeakyRelu, Self::Elu, Self::Gelu, Self::Silu];

    /// As it is written in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Relu => "relu",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::LeakyRelu => "leaky_relu",
            Self::Elu => "elu",
            Self::Gelu => "gelu",
            Self::Silu => "silu",
        }
    }
}

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Loss {
    /// Mean squared error.
    MeanSquaredError,
    /// Binary cross-entropy; scaled values must lie in 0..=1 (min-max scaling, clipped).
    BinaryCrossEntropy,
    /// Huber's loss with threshold delta, in scaled units.
    Huber {
        /// Where the square becomes a line, > 0.
        #[schemars(extend("exclusiveMinimum" = 0))]
        delta: f64,
    },
}

/// How the denoising kind corrupts its input; all parts may be combined.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Noise {
    /// Standard deviation of the Gaussian noise, in units of each feature's standard deviation, >= 0.
    pub gaussian: f64,
    /// Share of values set to their column's mean over the training rows, 0..1.
    pub masking: f64,
    /// Share of values taken from another row, 0..1.
    pub swap: f64,
}

/// Penalties of the sparse kind.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sparsity {
    /// Weight of the mean absolute activation of the code, >= 0.
    pub l1: f64,
    /// Weight of the Kullback-Leibler divergence from the target activity, >= 0; it makes the code a sigmoid.
    pub kl: f64,
    /// Target mean activity of a code unit, 0..1.
    pub target: f64,
}

/// Penalty of the contractive kind.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Contraction {
    /// Weight of the squared Frobenius norm of the encoder's Jacobian, mean over rows, divided by the code size; >= 0.
    pub weight: f64,
    /// Random projections per row that estimate the norm where the encoder has several layers, >= 1.
    pub projections: usize,
}

/// Layers of the convolutional kind, from input to code; the decoder mirrors them with transposed convolutions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Convolution {
    /// Channels of each layer, at least one layer.
    pub channels: Vec<usize>,
    /// Rows of the window (or cells of the grid, on each side) that one output looks at, >= 1.
    pub kernel: usize,
    /// Step from one output to the next, >= 1.
    pub stride: usize,
    /// Distance between the rows (or cells) that one output looks at, >= 1.
    pub dilation: usize,
}

/// The variational kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variational {
    /// Weight of the Kullback-Leibler divergence from the standard normal distribution, per output value; >= 0.
    pub beta: f64,
    /// Epochs in which the weight rises from 0.
    pub warm_up: usize,
    /// What a score stands on.
    pub score: VariationalScore,
    /// Codes drawn per row to estimate the reconstruction probability, >= 1.
    pub draws: usize,
}

/// What the scores of the variational kind stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VariationalScore {
    /// Reconstruction error from the mean of the code.
    Error,
    /// Reconstruction probability (An and Cho 2015).
    Probability,
}

/// How the optimiser steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Optimiser {
    /// The rule.
    pub rule: OptimiserRule,
    /// Largest step size, > 0.
    pub learning_rate: f64,
    /// How the step size changes.
    pub schedule: RateSchedule,
    /// Weight decay, >= 0: added to the gradients by Adam, decoupled from them in AdamW. Biases don't decay.
    pub weight_decay: f64,
    /// Gradients of a larger Euclidean norm over all parameters are shortened to it, > 0.
    pub clip_norm: Option<f64>,
}

/// The rule by which gradients become steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OptimiserRule {
    /// Kingma and Ba 2015.
    Adam,
    /// Loshchilov and Hutter 2019.
    AdamW,
}

/// How the step size changes while fitting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateSchedule {
    /// Not at all.
    Constant,
    /// Half a cosine from the learning rate down to 0 at the last epoch (Loshchilov and Hutter 2017, without restarts).
    Cosine,
    /// Up to the learning rate over the first 30 % of the steps, then down to almost 0 (Smith and Topin 2018).
    OneCycle,
}

/// How columns are scaled before the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// Robust ends (the 0.5 % and 99.5 % quantiles) to 0..1.
    RobustMinMax,
    /// Smallest and largest value to 0..1.
    MinMax,
    /// Mean 0, standard deviation 1.
    Standard,
    /// Median 0, the distance of the quartiles that of a normal distribution with standard deviation 1.
    Robust,
    /// Each value by the normal score of its rank among the fitted rows' values (rank-based inverse normal transformation).
    Quantile,
    /// As they are.
    None,
}

impl Scaling {
    /// Whether fitted values lie in 0..=1, but for few.
    pub fn is_to_range(self) -> bool {
        matches!(self, Self::RobustMinMax | Self::MinMax)
    }
}
