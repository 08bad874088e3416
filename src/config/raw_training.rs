//! `training.*` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    settings::{Loss, OptimiserRule, RateSchedule, Scaling},
    units::WrittenDuration,
};

/// Rows of a window where `training.window` is left out.
const WINDOW: usize = 4;

/// `training.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTraining {
    /// Records that a cold start collects before it trains.
    #[schemars(range(min = 100, max = 100_000_000))]
    pub rows: usize,
    /// Rows that `strayd train` keeps at most, the newest ones.
    #[schemars(range(min = 100, max = 100_000_000))]
    pub max_rows: usize,
    /// Rows judged normal that are kept in memory for retraining, at most. A training takes at least rows * columns * 4
    /// bytes beside them, and a grid has a column for each of its cells: 20,000 grids of 256 x 256 make 5.2 GB.
    #[schemars(range(min = 1000, max = 1_000_000))]
    pub sample_rows: usize,
    /// When `strayd run` trains a new model.
    pub schedule: RawSchedule,
    /// Rows of an entity that make one input of the network. If left out, 4; but 8 where model.kind is left out too and few
    /// windows make it pca.
    #[schemars(range(min = 1, max = 1024))]
    pub window: Option<usize>,
    /// Share of the newest rows kept out of fitting, for early stopping and calibration.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub held_back: f64,
    /// What fitting minimises: mean_squared_error, binary_cross_entropy (values scaled to 0..1), or {huber: {delta}}.
    #[schemars(extend("x-expected" = "mean_squared_error, binary_cross_entropy or {huber: {delta: NUMBER}}"))]
    pub loss: Loss,
    /// Corruption of the denoising kind's input; the parts may be combined.
    pub noise: RawNoise,
    /// Penalties of the sparse kind.
    pub sparsity: RawSparsity,
    /// Penalty of the contractive kind.
    pub contraction: RawContraction,
    /// How columns are scaled before the network: robust_min_max (robust ends to 0..1), min_max (smallest and largest value to
    /// 0..1), standard (mean 0, standard deviation 1), robust (median 0, by the distance of the quartiles), quantile (each value
    /// by the normal score of its rank), or none. If left out, robust_min_max, or standard where model.kind is left out too
    /// and few windows make it pca.
    pub scaling: Option<Scaling>,
    /// How far the network's input may lie outside of what is usual before it is cut: in ranges beyond either end, or in
    /// standard deviations; of scaling none in the field's own unit. Residuals are never cut. If left out, 1 range, or 100
    /// deviations, or no cut with scaling none.
    #[schemars(range(min = 0.001, max = 1_000_000.0))]
    pub input_clip: Option<f64>,
    /// Passes over the rows, at most.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: usize,
    /// Rows per step of the optimiser.
    #[schemars(range(min = 1, max = 65536))]
    pub batch_size: usize,
    /// Rule by which gradients become steps. adamw takes the weight decay out of the gradients.
    pub optimiser: OptimiserRule,
    /// Step size of the optimiser, the largest one where a schedule changes it.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1.0))]
    pub learning_rate: f64,
    /// How the step size changes over `epochs`: constant, cosine (half a cosine down to 0), or one_cycle (up over the first
    /// 30 %, then down to almost 0).
    pub learning_rate_schedule: RateSchedule,
    /// Weight decay; biases don't decay.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight_decay: f64,
    /// Gradients whose Euclidean norm over all parameters is larger are shortened to it. If left out, none are.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1_000_000.0))]
    pub clip_norm: Option<f64>,
    /// Share of each batch's rows, those with the largest losses, that is not learned from, so that anomalies among the
    /// rows don't become normal: 0, or at least 1/batch_size.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub trim: f64,
    /// Epochs without improvement on the held-back rows before fitting stops.
    #[schemars(range(min = 1, max = 100_000))]
    pub patience: usize,
    /// Threads of a training, beside those that score.
    #[schemars(range(min = 1, max = 256))]
    pub threads: usize,
    /// Seed of all randomness; the same seed, rows and settings give the same model.
    pub seed: u64,
    /// What a newly trained model has to show before it replaces the one in use.
    pub gate: RawGate,
}

/// `training.gate.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawGate {
    /// Share of the newest rows of the sample that a retraining leaves to the gate: no model has seen them.
    #[schemars(range(min = 0.01, max = 0.5))]
    pub withheld: f64,
    /// How much worse than the model in use, and than principal components, a new model may tell planted changes from normal
    /// rows: difference of the areas under the ROC curve, beyond what chance explains. 1 switches both comparisons off.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub tolerance: f64,
}

/// `training.schedule.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSchedule {
    /// Train so long after the last model, or never. If left out: 24h, or by cron.
    #[schemars(extend("x-expected" = "a duration such as 24h (at least 1s), or never"))]
    pub every: Option<String>,
    /// Train at these times, in UTC, as cron writes them: minute, hour, day of month, month, day of week.
    #[schemars(extend("x-expected" = "five fields such as 30 2 * * 1-5, or @daily"))]
    pub cron: Option<String>,
    /// Each time is put off by a random part of this, so that many daemons don't train at once.
    #[schemars(extend("x-minimum" = "0ms", "x-maximum" = "24h"))]
    pub jitter: WrittenDuration,
}

impl RawTraining {
    /// Rows of a window where few windows don't make it longer.
    pub(super) fn window_rows(&self) -> usize {
        self.window.unwrap_or(WINDOW)
    }
}

/// `training.noise.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawNoise {
    /// Standard deviation of Gaussian noise, in standard deviations of each feature.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub gaussian: f64,
    /// Share of values set to their column's mean over the training rows.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub masking: f64,
    /// Share of values taken from another row.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub swap: f64,
}

/// `training.sparsity.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSparsity {
    /// Weight of the mean absolute activation of the code.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub l1: f64,
    /// Weight of the Kullback-Leibler divergence of the code's mean activity from `target`; makes the code a
    /// sigmoid.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub kl: f64,
    /// Wanted mean activity of a code unit, for `kl`.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub target: f64,
}

/// `training.contraction.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawContraction {
    /// Weight of the squared Frobenius norm of the encoder's Jacobian, mean over rows, divided by the code size.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub weight: f64,
    /// Random projections per row that estimate the norm where the encoder has several layers.
    #[schemars(range(min = 1, max = 64))]
    pub projections: usize,
}
