//! From scores of normal rows to p-values and a limit.
//!
//! [`Calibration`] keeps what the judged scores of held-back rows looked like: an empirical body (quantile points) and a
//! generalised Pareto tail above a high threshold, fitted by maximum likelihood, or by probability-weighted moments where
//! that is less sure (Hosking and Wallis, *Technometrics* 29, 1987: below some dozens of exceedances its errors are smaller).
//! For a budget in alarms per day the tail is that of incident peaks (peaks over threshold,
//! declustered like incidents are), because one incident of fifty rows is one alarm, not fifty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::budget::{AlarmBudget, EntityBudget};

/// Quantile points that are kept of the body.
pub(crate) const BODY_POINTS: usize = 1024;
/// Share of rows above the tail's threshold.
const TAIL_SHARE: f64 = 0.02;
/// A tail needs this many exceedances to be fitted; below it is exponential.
const MIN_TAIL: usize = 10;
/// And this many to be fitted by maximum likelihood; below it is fitted by probability-weighted moments.
const MIN_LIKELIHOOD: usize = 50;
/// Steps in which the most likely shape is narrowed down, and its scale.
const STEPS: usize = 40;
/// Bounds of the tail's shape: held-back samples are too short to tell heavier or lighter tails.
pub(crate) const SHAPE_BOUNDS: (f64, f64) = (-0.2, 0.5);
/// Smallest p-value that is told: a tail fitted to some thousands of rows says nothing of rarer events.
pub const LEAST_P: f64 = 1e-12;
/// Bounds of [`Calibration::entity_scales`]. Above, a change of a column that was constant must still be an alarm, though its
/// variance falls no lower than a quarter of the entity's.
pub(crate) const ENTITY_SCALES: (f32, f32) = (0.0625, 4.0);
/// Rounds in which missing values and the tail find each other.
const TRUNCATED_ROUNDS: usize = 30;
/// What budgets are counted by.
pub(crate) const SECONDS_PER_DAY: f64 = 86_400.0;

/// What scores of normal rows look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Ascending, evenly spaced quantile points (0 and 1 included) of the judged scores.
    pub body: Vec<f64>,
    /// Rows that the calibration stands on.
    pub rows: usize,
    /// Entities of the sample that they were taken from; 0 where a model of before doesn't say.
    #[serde(default)]
    pub entities: usize,
    /// Factors on the variance of the residuals of entities that have one of their own, 0.0625 to 4; the others'
    /// is 1. Scores are comparable after it, so body and tails hold of each entity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub entity_scales: BTreeMap<String, f32>,
    /// The rows' tail.
    pub row_tail: Tail,
    /// The tail of incident peaks; its rate counts peaks per row.
    pub peak_tail: Tail,
    /// Median distance of two rows of one entity in seconds; `None` when rows have no time order.
    pub interval_seconds: Option<f64>,
}

/// A generalised Pareto tail: P(X > x) = rate * (1 + shape * (x - threshold) / scale)^(-1 / shape).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// Where the tail begins.
    pub threshold: f64,
    /// Exceedances of the threshold per row.
    pub rate: f64,
    /// Shape (xi), 0 is the exponential tail.
    pub shape: f64,
    /// Scale (sigma), > 0, in units of the score.
    pub scale: f64,
}

/// Normal rows that a sample lacks because the model in use took them for anomalies, per row that it judged.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Missing {
    /// Rows.
    pub rows: f64,
    /// Incidents.
    pub incidents: f64,
}

impl Missing {
    /// What the budget allows at most: the rest was anomalous indeed.
    #[must_use]
    pub fn within(self, budget: EntityBudget, interval_seconds: Option<f64>) -> Self {
        let (actual, allowed) = match budget {
            EntityBudget::PerDay(alarms) => {
                (self.incidents, alarms * interval_seconds.unwrap_or(0.0) / SECONDS_PER_DAY)
            }
            EntityBudget::Quantile(share) => (self.rows, share),
        };
        let share = if actual > allowed { allowed / actual } else { 1.0 };
        Self { rows: self.rows * share, incidents: self.incidents * share }
    }
}

/// Why there is no calibration or no limit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// Too few held-back rows.
    #[error(
        "{rows} held-back rows are too few for a limit, expected at least {least}; raise training.rows or training.held_back"
    )]
    TooFewRows {
        /// Rows there are.
        rows: usize,
        /// Rows needed.
        least: usize,
    },
    /// A score is NaN or infinite.
    #[error("score {row} of entity {entity} is {score}, expected finite scores")]
    NotFinite {
        /// Index of the entity's sequence, from 0.
        entity: usize,
        /// Index in the sequence, from 0.
        row: usize,
        /// The refused score.
        score: f64,
    },
    /// A budget per day needs to know how many rows a day has.
    #[error(
        "judging.budget counts alarms per day, but the rows have no event time to tell how long a day is; set judging.budget.quantile"
    )]
    NoInterval,
}

/// Fewest held-back rows that a limit can stand on.
pub const MIN_ROWS: usize = 20;

impl Calibration {
    /// What a draft model has before its own scores are known.
    pub fn unknown() -> Self {
        let tail = Tail { threshold: 0.0, rate: 1.0, shape: 0.0, scale: 1.0 };
        Self {
            body: vec![0.0, 0.0],
            rows: 0,
            entities: 0,
            entity_scales: BTreeMap::new(),
            row_tail: tail,
            peak_tail: tail,
            interval_seconds: None,
        }
    }

    /// Fits body and tails to the scores of held-back rows: one sequence per entity, in event order.
    pub fn fit(
        sequences: &[Vec<f64>],
        quiet_rows: u32,
        interval_seconds: Option<f64>,
    ) -> Result<Self, CalibrationError> {
        Self::fit_truncated(sequences, quiet_rows, interval_seconds, Missing::default())
    }

    /// The same for rows that a model in use judged normal. That its budget lets it take some normal rows for anomalies cuts
    /// the tail of the others: a limit fitted to what is left would be lower with every model that follows the last one.
    pub fn fit_truncated(
        sequences: &[Vec<f64>],
        quiet_rows: u32,
        interval_seconds: Option<f64>,
        missing: Missing,
    ) -> Result<Self, CalibrationError> {
        let mut sorted: Vec<f64> = sequences.iter().flatten().copied().collect();
        if sorted.len() < MIN_ROWS {
            return Err(CalibrationError::TooFewRows { rows: sorted.len(), least: MIN_ROWS });
        }
        for (entity, sequence) in sequences.iter().enumerate() {
            if let Some((row, &score)) = sequence.iter().enumerate().find(|(_, score)| !score.is_finite()) {
                return Err(CalibrationError::NotFinite { entity, row, score });
            }
        }
        sorted.sort_by(f64::total_cmp);
        let rows = sorted.len();
        let exceedances = ((rows as f64 * TAIL_SHARE) as usize).clamp(MIN_TAIL.min(rows / 2), rows / 2);
        let threshold = sorted[rows - exceedances - 1];
        let row_tail = Tail::fit_truncated(threshold, &sorted[rows - exceedances..], (rows, missing.rows));
        let mut peaks: Vec<f64> =
            sequences.iter().flat_map(|sequence| incident_peaks(sequence, threshold, quiet_rows)).collect();
        peaks.sort_by(f64::total_cmp);
        let peak_tail = Tail::fit_truncated(threshold, &peaks, (rows, missing.incidents));
        let points = rows.min(BODY_POINTS);
        let body = (0..points).map(|k| quantile(&sorted, k as f64 / (points - 1) as f64)).collect();
        Ok(Self { body, rows, entities: 0, entity_scales: BTreeMap::new(), row_tail, peak_tail, interval_seconds })
    }

    /// Probability that a normal row scores at least `score`: empirical below the tail's threshold, extrapolated above,
    /// never below [`LEAST_P`]. `score` must be finite.
    pub fn p_value(&self, score: f64) -> f64 {
        if score > self.row_tail.threshold {
            return self.row_tail.survival(score).max(LEAST_P);
        }
        let below = self.body.partition_point(|point| *point < score);
        let share = 1.0 - below as f64 / self.body.len() as f64;
        ((share * self.rows as f64 + 1.0) / (self.rows as f64 + 1.0)).max(self.row_tail.rate).min(1.0)
    }

    /// The limit for the budget among as many entities as the sample had.
    pub fn limit_of(&self, budget: AlarmBudget) -> Result<f64, CalibrationError> {
        self.limit(budget.of_one_among(self.entities as f64))
    }

    /// The score above which a row is anomalous, so that normal data keeps to the budget.
    pub fn limit(&self, budget: EntityBudget) -> Result<f64, CalibrationError> {
        match budget {
            EntityBudget::Quantile(share) if share >= self.row_tail.rate => Ok(quantile(&self.body, 1.0 - share)),
            EntityBudget::Quantile(share) => Ok(self.row_tail.inverse(share)),
            EntityBudget::PerDay(alarms) => {
                let interval = self.interval_seconds.ok_or(CalibrationError::NoInterval)?;
                let per_row = alarms * interval / SECONDS_PER_DAY;
                if per_row >= self.peak_tail.rate {
                    Ok(self.peak_tail.threshold)
                } else {
                    Ok(self.peak_tail.inverse(per_row))
                }
            }
        }
    }

    /// Alarms per entity and day that normal data is expected to raise at `limit`; `None` without a time order.
    pub fn alarms_per_entity_and_day(&self, limit: f64) -> Option<f64> {
        let interval = self.interval_seconds?;
        Some(self.peak_tail.survival(limit.max(self.peak_tail.threshold)) * SECONDS_PER_DAY / interval)
    }
}

impl Tail {
    /// Fits `above` (ascending, all > threshold), seen among `rows` rows.
    fn fit(threshold: f64, above: &[f64], rows: usize) -> Self {
        let count = above.len();
        let rate = count.max(1) as f64 / rows as f64;
        let excess: Vec<f64> = above.iter().map(|score| score - threshold).collect();
        let mean = excess.iter().sum::<f64>() / count.max(1) as f64;
        // A tail without width would turn the smallest excess into certainty.
        let floor = (threshold.abs() * 1e-6).max(1e-12);
        if count < MIN_TAIL {
            return Self { threshold, rate, shape: 0.0, scale: mean.max(floor) };
        }
        if count >= MIN_LIKELIHOOD
            && let Some((shape, scale)) = most_likely(&excess, mean)
        {
            return Self { threshold, rate, shape, scale: scale.max(floor) };
        }
        let weighted = excess
            .iter()
            .enumerate()
            .map(|(rank, value)| value * (count - 1 - rank) as f64 / (count - 1) as f64)
            .sum::<f64>()
            / count as f64;
        let shape = 2.0 - mean / (mean - 2.0 * weighted);
        let shape = if shape.is_finite() { shape.clamp(SHAPE_BOUNDS.0, SHAPE_BOUNDS.1) } else { 0.0 };
        Self { threshold, rate, shape, scale: (mean * (1.0 - shape)).max(floor) }
    }

    /// Fits `above` where the largest values are missing, `missing` of them per row: they are put back where the tail
    /// expects them, above all others, and the tail is fitted to all, until neither moves (expectation maximisation).
    fn fit_truncated(threshold: f64, above: &[f64], (rows, missing): (usize, f64)) -> Self {
        let mut tail = Self::fit(threshold, above, rows);
        let lacking = (missing * rows as f64).round() as usize;
        let (Some(&highest), true) = (above.last(), lacking > 0) else { return tail };
        let mut all = above.to_vec();
        for _ in 0..TRUNCATED_ROUNDS {
            all.truncate(above.len());
            let beyond = tail.survival(highest);
            let place = |rank: usize| tail.inverse(beyond * (lacking as f64 - rank as f64 - 0.5) / lacking as f64);
            all.extend(
                (0..lacking).map(place).map(|value| if value.is_finite() { value.max(highest) } else { highest }),
            );
            tail = Self::fit(threshold, &all, rows + lacking);
        }
        tail
    }

    /// Exceedances of `x` per row, for x >= threshold.
    fn survival(&self, x: f64) -> f64 {
        let excess = (x - self.threshold) / self.scale;
        if self.shape.abs() < 1e-9 {
            return self.rate * (-excess).exp();
        }
        self.rate * (1.0 + self.shape * excess).max(0.0).powf(-1.0 / self.shape)
    }

    /// The x that is exceeded `rate` times per row, for rates up to the tail's own.
    fn inverse(&self, rate: f64) -> f64 {
        let ratio = rate / self.rate;
        if self.shape.abs() < 1e-9 {
            return self.threshold - self.scale * ratio.ln();
        }
        self.threshold + self.scale / self.shape * (ratio.powf(-self.shape) - 1.0)
    }
}

/// The shape within its bounds and the scale under which these excesses are most likely; `None` where they have no width or
/// are too wide for numbers.
fn most_likely(excess: &[f64], mean: f64) -> Option<(f64, f64)> {
    if !(mean > 0.0 && mean.is_finite()) {
        return None;
    }
    let loss = |shape: f64| {
        let scale = likely_scale(excess, mean, shape);
        scale.ln()
            + (1.0 + shape) * excess.iter().map(|x| log_term(*x / scale, shape)).sum::<f64>() / excess.len() as f64
    };
    // Golden section: the likelihood along the shape, with the best scale for each, has one summit.
    let golden = (5_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = SHAPE_BOUNDS;
    for _ in 0..STEPS {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        if loss(left) < loss(right) {
            high = right;
        } else {
            low = left;
        }
    }
    let shape = f64::midpoint(low, high);
    let scale = likely_scale(excess, mean, shape);
    (scale > 0.0 && scale.is_finite() && loss(shape).is_finite()).then_some((shape, scale))
}

/// ln(1 + shape * x) / shape, which is x where the shape is 0.
fn log_term(x: f64, shape: f64) -> f64 {
    if shape.abs() < 1e-9 { x } else { (shape * x).max(-1.0).ln_1p() / shape }
}

/// The scale that makes the excesses most likely for a shape: where the mean of (1 + shape) * x / (scale + shape * x), which
/// falls with it, is 1.
fn likely_scale(excess: &[f64], mean: f64, shape: f64) -> f64 {
    let largest = excess.iter().copied().fold(0.0, f64::max);
    let pull =
        |scale: f64| excess.iter().map(|x| (1.0 + shape) * x / (scale + shape * x)).sum::<f64>() / excess.len() as f64;
    // No excess may lie beyond the end of a tail that has one.
    let mut low = (-shape * largest).max(0.0);
    let mut high = low.max(mean) * 8.0;
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if pull(middle) > 1.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// Highest score of each run of rows above `threshold`; runs closer than `quiet_rows` are one, as incidents are.
fn incident_peaks(sequence: &[f64], threshold: f64, quiet_rows: u32) -> Vec<f64> {
    let mut peaks = Vec::new();
    let mut open: Option<(f64, u32)> = None;
    for &score in sequence {
        open = match (open, score > threshold) {
            (None, true) => Some((score, 0)),
            (Some((peak, _)), true) => Some((peak.max(score), 0)),
            (Some((peak, quiet)), false) if quiet < quiet_rows => Some((peak, quiet + 1)),
            (Some((peak, _)), false) => {
                peaks.push(peak);
                None
            }
            (None, false) => None,
        };
    }
    peaks.extend(open.map(|(peak, _)| peak));
    peaks
}

/// Linear interpolation between the closest ranks of ascending `sorted`, `at` in 0..=1.
pub(crate) fn quantile(sorted: &[f64], at: f64) -> f64 {
    let place = at.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let low = place.floor() as usize;
    let high = place.ceil() as usize;
    sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exponential scores with mean 1 by inverse transform of evenly spaced probabilities in a fixed shuffled order.
    fn exponential(n: usize) -> Vec<f64> {
        (0..n).map(|i| -(1.0 - ((i * 7919) % n) as f64 / n as f64 - 0.5 / n as f64).ln()).collect()
    }

    #[test]
    fn p_values_of_the_calibration_rows_are_uniform() {
        let scores = exponential(5000);
        let calibration = Calibration::fit(std::slice::from_ref(&scores), 0, Some(60.0)).unwrap();
        for level in [0.5, 0.1, 0.05, 0.01] {
            let share = scores.iter().filter(|s| calibration.p_value(**s) <= level).count() as f64 / 5000.0;
            assert!((share - level).abs() < 0.15 * level + 0.002, "{level}: {share}");
        }
    }

    #[test]
    fn a_p_value_falls_with_the_score_and_never_below_what_a_sample_can_tell() {
        let calibration = Calibration::fit(&[exponential(5000)], 0, Some(60.0)).unwrap();
        let values: Vec<f64> = [0.1, 1.0, 3.0, 6.0, 9.0, 1e3, 1e300].map(|score| calibration.p_value(score)).into();
        assert!(values.windows(2).all(|pair| pair[0] >= pair[1]), "{values:?}");
        assert_eq!(values.last(), Some(&LEAST_P));
    }

    #[test]
    fn the_tail_extrapolates_an_exponential_beyond_the_sample() {
        let calibration = Calibration::fit(&[exponential(5000)], 0, Some(60.0)).unwrap();
        let limit = calibration.limit(EntityBudget::Quantile(1e-5)).unwrap();
        assert!((limit - 11.5).abs() < 2.0, "{limit}");
        assert!((calibration.p_value(limit) / 1e-5 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_larger_budget_never_raises_the_limit() {
        let calibration = Calibration::fit(&[exponential(3000)], 5, Some(60.0)).unwrap();
        let limits: Vec<f64> =
            [0.1, 1.0, 10.0, 100.0].iter().map(|b| calibration.limit(EntityBudget::PerDay(*b)).unwrap()).collect();
        assert!(limits.windows(2).all(|pair| pair[0] >= pair[1]), "{limits:?}");
        let rate = calibration.alarms_per_entity_and_day(limits[1]).unwrap();
        assert!((rate - 1.0).abs() < 1e-6, "{rate}");
    }

    /// Generalised Pareto values with scale 2 by inverse transform of evenly spaced probabilities.
    fn pareto(n: usize, shape: f64) -> Vec<f64> {
        let tail = Tail { threshold: 0.0, rate: 1.0, shape, scale: 2.0 };
        (0..n).map(|i| tail.inverse(1.0 - (i as f64 + 0.5) / n as f64)).collect()
    }

    #[test]
    fn a_tails_shape_and_scale_are_found_by_maximum_likelihood() {
        for shape in [-0.15, 0.0, 0.2, 0.4] {
            let tail = Tail::fit(0.0, &pareto(400, shape), 20_000);
            assert!((tail.shape - shape).abs() < 0.05 && (tail.scale / 2.0 - 1.0).abs() < 0.05, "{shape}: {tail:?}");
        }
        // Another tail than any within the bounds is taken for the nearest one.
        let wild = Tail::fit(0.0, &pareto(400, 2.0), 20_000);
        assert!((wild.shape - SHAPE_BOUNDS.1).abs() < 1e-6 && wild.scale.is_finite(), "{wild:?}");
    }

    #[test]
    fn a_likelihood_without_a_summit_leaves_the_tail_to_its_moments() {
        assert_eq!(most_likely(&[0.0; 60], 0.0), None);
        assert_eq!(most_likely(&[f64::MAX; 60], f64::INFINITY), None);
        let equal = Tail::fit(1.0, &[3.0; 60], 1000);
        assert!(equal.scale > 0.0 && equal.scale.is_finite() && equal.shape.is_finite(), "{equal:?}");
    }

    #[test]
    fn a_tail_whose_largest_values_are_missing_gives_the_limit_of_the_whole() {
        let whole = exponential(5000);
        let budget = EntityBudget::Quantile(0.004);
        let limit = |calibration: Calibration| calibration.limit(budget).unwrap();
        let right = limit(Calibration::fit(std::slice::from_ref(&whole), 0, None).unwrap());
        // The model in use kept to its budget, so it took the highest 0.4 % for anomalies.
        let cut: Vec<f64> = whole.iter().copied().filter(|score| *score <= right).collect();
        let missing = Missing { rows: (whole.len() - cut.len()) as f64 / whole.len() as f64, incidents: 0.0 };
        let naive = limit(Calibration::fit(std::slice::from_ref(&cut), 0, None).unwrap());
        let told = limit(Calibration::fit_truncated(&[cut], 0, None, missing).unwrap());
        assert!((told / right - 1.0).abs() < 0.04, "{told}, and of the whole {right}");
        assert!(naive < 0.95 * right, "{naive}, and of the whole {right}");
    }

    #[test]
    fn no_more_is_taken_for_missing_than_the_budget_allows() {
        let missing = Missing { rows: 0.3, incidents: 0.01 };
        let daily = missing.within(EntityBudget::PerDay(1.44), Some(60.0));
        assert!((daily.incidents - 0.001).abs() < 1e-9 && (daily.rows - 0.03).abs() < 1e-9, "{daily:?}");
        assert_eq!(missing.within(EntityBudget::Quantile(0.5), None), missing);
    }

    #[test]
    fn runs_of_exceedances_count_as_one_peak() {
        assert_eq!(incident_peaks(&[0.0, 5.0, 0.0, 7.0, 0.0, 0.0, 0.0, 3.0], 1.0, 2), vec![7.0, 3.0]);
        assert_eq!(incident_peaks(&[5.0, 0.0, 7.0], 1.0, 0), vec![5.0, 7.0]);
    }

    #[test]
    fn a_score_that_is_not_finite_is_refused_by_entity_and_row() {
        let mut scores = exponential(100);
        scores[17] = f64::INFINITY;
        let refused = Calibration::fit(&[exponential(50), scores], 0, None);
        assert_eq!(refused, Err(CalibrationError::NotFinite { entity: 1, row: 17, score: f64::INFINITY }));
    }

    #[test]
    fn constant_scores_give_a_limit_just_above_them() {
        let calibration = Calibration::fit(&[vec![2.0; 100]], 0, None).unwrap();
        let limit = calibration.limit(EntityBudget::Quantile(0.001)).unwrap();
        assert!((2.0..2.1).contains(&limit), "{limit}");
        assert_eq!(calibration.limit(EntityBudget::PerDay(1.0)), Err(CalibrationError::NoInterval));
    }
}
