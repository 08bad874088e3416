//! What a model file says beside its graph: one JSON document under the key `strayd` of the ONNX metadata.

use serde::{Deserialize, Serialize};

use super::knots::{Knots, along};
use crate::{detect::calibrate::Calibration, record::features::FeatureSetting};

/// The whole metadata of a model file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Version of this document's shape: [`format_of`] its columns.
    pub format: u32,
    /// The program that wrote it.
    pub program: String,
    /// Features in order, vocabularies frozen.
    pub features: Vec<FeatureSetting>,
    /// The row's columns in order; their count is the row's width D.
    pub columns: Vec<Column>,
    /// Rows per window L; the graph's input is `[batch, L * D]`, oldest row first.
    pub window: usize,
    /// Who made the graph.
    pub graph: GraphOrigin,
    /// How scores are smoothed and residuals follow drift.
    pub scoring: Scoring,
    /// From score to p-value and limit.
    pub calibration: Calibration,
    /// Where the model comes from.
    pub provenance: Provenance,
    /// Windows and the raw scores that the graph gave for them when it was made.
    pub golden: Vec<GoldenRow>,
}

/// The shape of documents whose columns are all scaled by centre and divisor alone.
pub const FORMAT: u32 = 1;
/// The shape of documents with [`Column::knots`], which programs that know [`FORMAT`] alone can't read.
pub const FORMAT_WITH_KNOTS: u32 = 2;

/// The format of a document with these columns.
pub fn format_of(columns: &[Column]) -> u32 {
    if columns.iter().any(|column| column.knots.is_some()) { FORMAT_WITH_KNOTS } else { FORMAT }
}

/// One column of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Name in events: the feature's, with `=category`, `.sin`, `.cos` where a feature has several columns.
    pub name: String,
    /// Index into [`Metadata::features`].
    pub feature: usize,
    /// What stands for a missing value: the training rows' median, in the column's own unit.
    pub impute: f32,
    /// Subtracted first, column's unit.
    pub center: f32,
    /// Divisor, column's unit, > 0 (constant columns too).
    pub scale: f32,
    /// What bends the divided value into scaled units, as pairs `[divided, scaled]`; none where the divided value is the
    /// scaled one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knots: Option<Knots>,
    /// Largest absolute residual in scaled units that counts; infinite (written as null) for all but constant columns.
    #[serde(with = "infinite_as_null")]
    pub residual_cap: f32,
    /// Mean of the residual on held-back rows, scaled units.
    pub residual_mean: f32,
    /// Variance of the residual on held-back rows, scaled units, > 0.
    pub residual_variance: f32,
}

impl Column {
    /// A column whose values are what the network sees, and whose residuals were not looked at yet.
    pub(crate) fn unscaled(name: &str, feature: usize) -> Self {
        Self {
            name: name.to_owned(),
            feature,
            impute: 0.0,
            center: 0.0,
            scale: 1.0,
            knots: None,
            residual_cap: f32::INFINITY,
            residual_mean: 0.0,
            residual_variance: 1.0,
        }
    }

    /// A value in scaled units.
    pub fn scaled(&self, value: f32) -> f32 {
        self.bent((value - self.center) / self.scale)
    }

    /// A divided value in scaled units.
    pub(crate) fn bent(&self, divided: f32) -> f32 {
        self.knots.as_ref().map_or(divided, |knots| along(knots.forward(), divided))
    }

    /// The divided value that becomes this one.
    pub(crate) fn straightened(&self, scaled: f32) -> f32 {
        self.knots.as_ref().map_or(scaled, |knots| along(knots.back(), scaled))
    }

    /// What lies so many scaled units below a value, column's unit.
    pub(crate) fn below(&self, value: f32, difference: f32) -> f64 {
        let (value, difference, scale) = (f64::from(value), f64::from(difference), f64::from(self.scale));
        let Some(knots) = &self.knots else { return value - difference * scale };
        let center = f64::from(self.center);
        let scaled = along(knots.forward(), (value - center) / scale);
        along(knots.back(), scaled - difference) * scale + center
    }

    /// How far apart two values of a column are, scaled units.
    pub(crate) fn reach(&self, low: f32, high: f32) -> f32 {
        if self.knots.is_some() { self.scaled(high) - self.scaled(low) } else { (high - low) / self.scale }
    }
}

mod infinite_as_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
        Ok(Option::<f32>::deserialize(deserializer)?.unwrap_or(f32::INFINITY))
    }
}

/// Who made the graph, and so what its inputs and outputs mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum GraphOrigin {
    /// Our trainer: raw rows in; `score`, `reconstruction`, `error`, `latent`, `residual` out, of Gaussian outputs
    /// `difference` too, and of a Gaussian code `latent_deviation`.
    Strayd {
        /// Words for people: kind and layer widths.
        architecture: String,
    },
    /// Another tool: scaled windows in, their reconstruction (of the window or of its newest row) out.
    Foreign {
        /// Name of the graph's input.
        input: String,
        /// Name of the graph's output.
        output: String,
    },
}

impl GraphOrigin {
    /// The network's kinds as `model.kind` writes them, such as `denoising + sparse`, or `foreign`.
    pub fn kind(&self) -> &str {
        match self {
            Self::Strayd { architecture } => {
                let widths = architecture.find(|c: char| c.is_ascii_digit()).unwrap_or(architecture.len());
                architecture[..widths].trim_end()
            }
            Self::Foreign { .. } => "foreign",
        }
    }
}

/// How raw residuals become the judged score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scoring {
    /// Span in rows of the exponential smoothing per entity; 1 is none.
    pub smoothing_span: u32,
    /// What the smoothing of an entity begins with: the median unsmoothed score of held-back rows, so that an entity's
    /// first row weighs no more than any other.
    pub smoothing_start: f64,
    /// A row's score above it counts as knee * (1 + ln(score / knee)), and is remembered by the smoothing as the knee, > 0.
    pub score_knee: f64,
    /// Half-life in rows of the running residual statistics; `None` keeps the held-back ones.
    pub half_life: Option<f64>,
    /// How many of the columns' errors, the largest ones, make a row's judged score; `None` takes all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<u32>,
    /// An incident ends after this many rows of its entity without anomaly.
    pub incident_quiet_rows: u32,
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Topic or files that the rows came from.
    pub source: String,
    /// First and last position per partition, as `[partition, first offset, last offset]`.
    pub ranges: Vec<(i32, i64, i64)>,
    /// Rows that the network was fitted on.
    pub fitted_rows: usize,
    /// Rows held back for early stopping and calibration.
    pub held_back_rows: usize,
    /// Held-back rows left out of the calibration: the network gives them no finite score, or one that is far off.
    pub left_out_rows: usize,
    /// Records kept out of training because they could not be used.
    pub unusable_records: usize,
    /// Event time of the first and last row, RFC 3339.
    pub span: Option<(String, String)>,
    /// Seed of all randomness.
    pub seed: u64,
    /// SHA-256 of the training settings, hexadecimal.
    pub config_sha256: String,
    /// When the model was made, RFC 3339.
    pub created: String,
    /// Loss on the fitted rows at the end.
    pub training_loss: f64,
    /// Loss on the held-back rows at the end.
    pub validation_loss: f64,
    /// Epochs run.
    pub epochs: usize,
    /// Share of the code's values, over held-back rows and units, that are larger than a tenth of the largest one; none for a
    /// graph of another tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_units: Option<f64>,
    /// Version of the model that was in use when this one was made; none for a first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// A window and its score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenRow {
    /// `L * D` values in the columns' units, oldest row first.
    pub window: Vec<f32>,
    /// The graph's raw score.
    pub score: f32,
}

/// Metadata for tests of what is computed with it.
#[cfg(test)]
pub(crate) mod fixture {
    use super::{Column, FORMAT, GoldenRow, GraphOrigin, Metadata, Provenance, Scoring};
    use crate::{
        detect::calibrate::Calibration,
        record::features::{FeatureKind, FeatureSetting, Transform},
    };

    /// Sound metadata of `columns` numeric columns in windows of one row: centre 0, scale 1, residual mean 0 and variance
    /// 1, no smoothing and no drift.
    pub(crate) fn metadata(columns: usize) -> Metadata {
        let name = |index: usize| format!("c{index}");
        let feature = |index: usize| FeatureSetting {
            name: name(index),
            path: name(index).parse().unwrap(),
            kind: FeatureKind::Numeric { transform: Transform::None },
        };
        let scores: Vec<f64> = (0..100).map(f64::from).collect();
        Metadata {
            format: FORMAT,
            program: "a test".to_owned(),
            features: (0..columns).map(feature).collect(),
            columns: (0..columns).map(|index| Column::unscaled(&name(index), index)).collect(),
            window: 1,
            graph: GraphOrigin::Strayd { architecture: "pca 2-1-2 x 1".to_owned() },
            scoring: Scoring {
                smoothing_span: 1,
                smoothing_start: 0.0,
                score_knee: 1e50,
                half_life: None,
                top: None,
                incident_quiet_rows: 0,
            },
            calibration: Calibration::fit(&[scores], 0, Some(60.0)).unwrap(),
            provenance: provenance(),
            golden: vec![GoldenRow { window: vec![0.0; columns], score: 0.0 }],
        }
    }

    fn provenance() -> Provenance {
        Provenance {
            source: "nowhere".to_owned(),
            ranges: Vec::new(),
            fitted_rows: 100,
            held_back_rows: 100,
            left_out_rows: 0,
            unusable_records: 0,
            span: None,
            seed: 1,
            config_sha256: String::new(),
            created: String::new(),
            training_loss: 0.0,
            validation_loss: 0.0,
            epochs: 1,
            active_units: None,
            parent: None,
        }
    }
}
