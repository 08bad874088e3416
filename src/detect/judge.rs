//! From residuals to a score and a verdict.
//!
//! A residual is divided by its variance on held-back rows, or by running statistics of its entity that follow slow
//! drift; the mean over the columns that were not imputed is smoothed per entity and compared with the calibrated limit,
//! which the row's own score must exceed as well. Pure: arrays in, numbers out; every sum runs in column order, so a
//! score never depends on how rows were batched.

use crate::model::metadata::{Column, Metadata};

/// A residual further than this many standard deviations from its mean moves the running statistics no more than one
/// at that distance, so that an anomaly doesn't teach the judge that it is normal.
const UPDATE_CLIP: f32 = 3.0;
/// Running variance never falls below this share of the held-back one: a calm hour must not make the next normal row an alarm.
const VARIANCE_FLOOR: f32 = 0.25;

/// What the judge remembers of one entity.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EntityJudgement {
    /// Running mean per column, scaled units; empty until the first row, and always without drift.
    mean: Vec<f32>,
    /// Running variance per column.
    variance: Vec<f32>,
    smoothed: Option<f64>,
}

/// Scores of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Mean over all columns of squared residual over held-back variance: what the graph's `score` output says.
    pub raw_score: f32,
    /// After standardisation by running statistics and smoothing; what is compared with the limit.
    pub score: f64,
    /// Whether the score is above the limit, and the row's own score before smoothing is too.
    pub anomalous: bool,
}

/// The judge of one model.
#[derive(Debug, Clone)]
pub struct Judge {
    base_mean: Vec<f32>,
    base_variance: Vec<f32>,
    /// 1 / variance as the graph has it.
    inverse_variance: Vec<f32>,
    /// Weight of the newest score in the smoothing, 0..=1.
    smoothing: f64,
    /// Weight of the newest residual in the running statistics; `None` keeps the held-back ones.
    drift: Option<f32>,
    limit: f64,
}

impl Judge {
    /// A judge for the model with `metadata` and the limit that its calibration gave for the budget.
    pub fn new(metadata: &Metadata, limit: f64) -> Self {
        let of = |f: fn(&Column) -> f32| metadata.columns.iter().map(f).collect::<Vec<_>>();
        Self {
            base_mean: of(|column| column.residual_mean),
            base_variance: of(|column| column.residual_variance),
            inverse_variance: of(|column| 1.0 / column.residual_variance),
            smoothing: 2.0 / (f64::from(metadata.scoring.smoothing_span) + 1.0),
            drift: metadata.scoring.half_life.map(|rows| (1.0 - 0.5_f64.powf(1.0 / rows)) as f32),
            limit,
        }
    }

    /// The score above which a row is anomalous.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// Judges one row: `residuals` and `imputed` have one entry per column. Updates the entity's memory.
    /// A residual that is not finite gives a score that is not finite, and leaves the memory as it was.
    pub fn judge(&self, residuals: &[f32], imputed: &[bool], entity: &mut EntityJudgement) -> Judged {
        let raw_score = self.raw_score(residuals);
        if !raw_score.is_finite() {
            return Judged { raw_score, score: f64::NAN, anomalous: false };
        }
        let standardised = if self.drift.is_some() {
            self.running_score(residuals, imputed, entity)
        } else {
            self.fixed_score(residuals, imputed)
        };
        let smoothed = match entity.smoothed {
            Some(last) => last + self.smoothing * (standardised - last),
            None => standardised,
        };
        entity.smoothed = Some(smoothed);
        // The row's own score must be above the limit too: after a violent incident the smoothed one takes long to come
        // down, and the rows of that time are normal.
        Judged { raw_score, score: smoothed, anomalous: smoothed.min(standardised) > self.limit }
    }

    /// Share of each column in the standardised error of a row, in 0..=1; imputed columns have none.
    pub fn shares(&self, residuals: &[f32], imputed: &[bool], entity: &EntityJudgement) -> Vec<f32> {
        let (mean, variance) = if entity.mean.is_empty() {
            (&self.base_mean, &self.base_variance)
        } else {
            (&entity.mean, &entity.variance)
        };
        let centred = self.drift.is_some();
        let mut shares: Vec<f32> = (0..residuals.len())
            .map(|c| {
                let distance = if centred { residuals[c] - mean[c] } else { residuals[c] };
                if imputed[c] { 0.0 } else { distance * distance / variance[c] }
            })
            .collect();
        let total: f32 = shares.iter().sum();
        if total > 0.0 {
            shares.iter_mut().for_each(|share| *share /= total);
        }
        shares
    }

    fn raw_score(&self, residuals: &[f32]) -> f32 {
        let sum: f32 = residuals.iter().zip(&self.inverse_variance).map(|(r, inverse)| r * r * inverse).sum();
        sum / residuals.len() as f32
    }

    fn fixed_score(&self, residuals: &[f32], imputed: &[bool]) -> f64 {
        let mut sum = 0.0_f32;
        let mut count = 0_u32;
        for c in 0..residuals.len() {
            if !imputed[c] {
                sum += residuals[c] * residuals[c] * self.inverse_variance[c];
                count += 1;
            }
        }
        f64::from(sum) / f64::from(count.max(1))
    }

    fn running_score(&self, residuals: &[f32], imputed: &[bool], entity: &mut EntityJudgement) -> f64 {
        let weight = self.drift.unwrap_or(0.0);
        if entity.mean.is_empty() {
            entity.mean.clone_from(&self.base_mean);
            entity.variance.clone_from(&self.base_variance);
        }
        let mut sum = 0.0_f32;
        let mut count = 0_u32;
        for c in 0..residuals.len() {
            if imputed[c] {
                continue;
            }
            let variance = entity.variance[c];
            let distance = residuals[c] - entity.mean[c];
            sum += distance * distance / variance;
            count += 1;
            let bound = UPDATE_CLIP * variance.sqrt();
            let step = distance.clamp(-bound, bound);
            entity.mean[c] += weight * step;
            entity.variance[c] =
                (variance + weight * (step * step - variance)).max(VARIANCE_FLOOR * self.base_variance[c]);
        }
        f64::from(sum) / f64::from(count.max(1))
    }
}
