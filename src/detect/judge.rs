//! From residuals to a score and a verdict.
//!
//! A residual is divided by its variance on held-back rows, or by running statistics of its entity that follow slow
//! drift; the mean over the columns that were not imputed is smoothed per entity and compared with the calibrated limit,
//! which the row's own score must exceed as well. Pure: arrays in, numbers out; every sum runs in an order that hangs on
//! the number of columns alone, so a score never depends on how rows were batched, and in double precision, so the square
//! of the largest residual that a graph can give is still a number.

mod past;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use past::Past;

use super::limit::{Lift, Limit};
use crate::model::{
    MOST_TOP,
    metadata::{Column, Metadata},
};

/// A residual further than this many standard deviations from its mean moves the running statistics no more than one
/// at that distance, so that an anomaly doesn't teach the judge that it is normal.
const UPDATE_CLIP: f32 = 3.0;
/// A column strays in a row whose residual is further than this many standard deviations from its mean: just those that
/// teach no more than one at that distance.
pub const STRAYS: f32 = UPDATE_CLIP;
/// Running variance never falls below this share of the held-back one: a calm hour must not make the next normal row an alarm.
const VARIANCE_FLOOR: f32 = 0.25;
/// Columns that are judged side by side. The sums of the lanes are added at the end, in an order of their own that
/// depends on nothing but the number of columns.
const LANES: usize = 4;

/// What the judge remembers of one entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntityJudgement {
    /// Mean per column, scaled units; empty until the first row, and always where the entity's are those of all.
    mean: Vec<f32>,
    /// Variance per column.
    variance: Vec<f32>,
    smoothed: Option<f64>,
    /// How much higher than calibrated its limit is.
    lift: Lift,
    /// How far its squared residuals stray beside those of all.
    scale: f32,
    /// Per column the rows in a row, up to the last one, in which it strayed: 255 are so many or more. Empty until the
    /// first row, and always where rows have no order.
    streaks: Box<[u8]>,
}

impl Default for EntityJudgement {
    /// An entity of which nothing is known: it strays as all do.
    fn default() -> Self {
        Self {
            mean: Vec::new(),
            variance: Vec::new(),
            smoothed: None,
            lift: Lift::default(),
            scale: 1.0,
            streaks: Box::default(),
        }
    }
}

impl EntityJudgement {
    /// Moves the entity's limit by so many steps: one up when an incident has begun, and by what people say of its alarms.
    /// Gives those that it moved indeed.
    pub fn step_limit(&mut self, limit: &Limit, steps: f64) -> f64 {
        limit.step(steps, &mut self.lift)
    }

    /// How many rows before the one judged last a column began to stray, which it has done ever since: 0 is that row, 254
    /// are so many or more. `None` where it doesn't stray in it, or where rows have no order. Rows in which it was missing
    /// don't count.
    pub fn onset(&self, column: usize) -> Option<u8> {
        self.streaks.get(column).and_then(|rows| rows.checked_sub(1))
    }
}

/// Scores of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Mean over all columns of squared residual over held-back variance: what the graph's `score` output says, in double
    /// precision. The strongest anomalies are finite here where the graph's 32 bits are not.
    pub raw_score: f64,
    /// After standardisation by running statistics and smoothing; what is compared with the limit.
    pub score: f64,
    /// The entity's limit at this row.
    pub limit: f64,
    /// Whether the score is above the limit, and the row's own score before smoothing is too.
    pub anomalous: bool,
    /// The smoothed score of the rows before.
    last: f64,
}

/// The judge of one model.
#[derive(Debug, Clone)]
pub struct Judge {
    base_mean: Vec<f32>,
    base_variance: Vec<f32>,
    /// Weight of the newest score in the smoothing, 0..=1.
    smoothing: f64,
    /// What the smoothing of an entity begins with.
    start: f64,
    /// Scores above it count by their logarithm, and are remembered as if they were no higher.
    knee: f64,
    /// How many of the columns' errors, the largest ones, a score is made of; `None` takes all.
    top: Option<usize>,
    /// Weight of the newest residual in the running statistics; `None` keeps the held-back ones.
    drift: Option<f32>,
    /// Columns that were constant in training; the scale of an entity plays no part in them.
    constant: Vec<bool>,
    /// How far the squared residuals of entities stray beside those of all, where that is known.
    entity_scales: BTreeMap<String, f32>,
    /// Whether rows follow each other in time.
    in_order: bool,
    limit: Limit,
}

impl Judge {
    /// A judge for the model with `metadata` and the limit that its calibration gave for the budget.
    pub fn new(metadata: &Metadata, limit: impl Into<Limit>) -> Self {
        let of = |f: fn(&Column) -> f32| metadata.columns.iter().map(f).collect::<Vec<_>>();
        let constant = metadata.columns.iter().map(|column| column.residual_cap.is_finite());
        let scoring = &metadata.scoring;
        Self {
            base_mean: of(|column| column.residual_mean),
            base_variance: of(|column| column.residual_variance),
            smoothing: 2.0 / (f64::from(scoring.smoothing_span) + 1.0),
            start: scoring.smoothing_start,
            knee: scoring.score_knee,
            top: scoring.top.map(|top| top as usize),
            drift: scoring.half_life.map(|rows| (1.0 - 0.5_f64.powf(1.0 / rows)) as f32),
            constant: constant.collect(),
            entity_scales: metadata.calibration.entity_scales.clone(),
            in_order: metadata.calibration.interval_seconds.is_some(),
            limit: limit.into(),
        }
    }

    /// What is known of an entity before its first row.
    pub fn enter(&self, entity: &str) -> EntityJudgement {
        let scale = self.entity_scales.get(entity).copied().unwrap_or(1.0);
        EntityJudgement { scale, ..EntityJudgement::default() }
    }

    /// Judges one row: `residuals` and `imputed` have one entry per column. Updates the entity's memory.
    ///
    /// A row of nothing but imputed values says nothing: it is not anomalous, its score is the remembered one, and the
    /// memory stays as it was. A residual that is not a number gives a score that is none, and leaves the memory alone too.
    pub fn judge(&self, residuals: &[f32], imputed: &[bool], entity: &mut EntityJudgement) -> Judged {
        self.judge_by(&self.limit, residuals, imputed, entity)
    }

    /// The same by a limit of the entity's own.
    pub fn judge_by(&self, limit: &Limit, residuals: &[f32], imputed: &[bool], entity: &mut EntityJudgement) -> Judged {
        let raw_score = self.raw_score(residuals);
        let last = entity.smoothed.unwrap_or(self.start);
        if !raw_score.is_finite() {
            return Judged { raw_score, score: f64::NAN, limit: limit.of(entity.lift), anomalous: false, last };
        }
        let Some(own) = self.own_score(residuals, imputed, entity) else {
            return Judged { raw_score, score: last, limit: limit.of(entity.lift), anomalous: false, last };
        };
        let own = self.compress(own);
        let smoothed = last + self.smoothing * (own - last);
        // The row at hand is told in full, but what is remembered of it ends at the knee: after the most violent row the
        // score comes down within a span, and no sum can overflow.
        entity.smoothed = Some(last + self.smoothing * (own.min(self.knee) - last));
        limit.fall(&mut entity.lift);
        let limit = limit.of(entity.lift);
        // The row's own score must be above the limit too: after a violent incident the smoothed one takes a while to
        // come down, and the rows of that time are normal.
        Judged { raw_score, score: smoothed, limit, anomalous: smoothed.min(own) > limit, last }
    }

    /// The score by itself, before smoothing, that a row with these errors of its columns has.
    pub fn own_score_of(&self, errors: &[f64], imputed: &[bool]) -> f64 {
        let present = imputed.iter().filter(|imputed| !**imputed).count();
        let Some(top) = self.top.map(|top| top.min(present.max(1))) else {
            return self.compress(errors.iter().sum::<f64>() / present.max(1) as f64);
        };
        let mut largest = Largest::new(top);
        errors.iter().for_each(|error| largest.offer(*error));
        self.compress(largest.mean())
    }

    /// What the graph's `score` output says of these residuals, before it is rounded to 32 bits.
    pub fn raw_score(&self, residuals: &[f32]) -> f64 {
        raw_score(residuals, &self.base_variance)
    }

    /// The row's score by itself, before smoothing; `None` where every column was imputed.
    fn own_score(&self, residuals: &[f32], imputed: &[bool], entity: &mut EntityJudgement) -> Option<f64> {
        let present = imputed.iter().filter(|imputed| !**imputed).count();
        if present == 0 {
            return None;
        }
        if entity.mean.is_empty() && (self.drift.is_some() || entity.scale != 1.0) {
            let of_entity = |(base, constant): (&f32, &bool)| if *constant { *base } else { base * entity.scale };
            entity.variance = self.base_variance.iter().zip(&self.constant).map(of_entity).collect();
            entity.mean.clone_from(&self.base_mean);
        }
        if self.in_order {
            self.count_streaks(residuals, imputed, entity);
        }
        if let Some(top) = self.top {
            return Some(self.mean_of_largest(residuals, imputed, top.min(present), entity));
        }
        let sum = match self.drift {
            Some(weight) => self.running_sum(residuals, imputed, weight, entity),
            None => {
                let variance = self.variance_of(entity);
                (0..residuals.len()).filter(|&c| !imputed[c]).map(|c| error(residuals[c], 0.0, variance[c])).sum()
            }
        };
        Some(sum / present as f64)
    }

    /// Variance per column by which an entity's residuals are judged.
    fn variance_of<'a>(&'a self, entity: &'a EntityJudgement) -> &'a [f32] {
        if entity.variance.is_empty() { &self.base_variance } else { &entity.variance }
    }

    /// Counts the rows in which columns stray; before running statistics take the row in.
    fn count_streaks(&self, residuals: &[f32], imputed: &[bool], entity: &mut EntityJudgement) {
        let mut streaks = std::mem::take(&mut entity.streaks);
        if streaks.is_empty() {
            streaks = vec![0; residuals.len()].into();
        }
        let variance = self.variance_of(entity);
        match self.drift {
            Some(_) => {
                let mean = &entity.mean[..residuals.len()];
                count_on(&mut streaks, (imputed, variance), |c| residuals[c] - mean[c]);
            }
            None => count_on(&mut streaks, (imputed, variance), |c| residuals[c]),
        }
        entity.streaks = streaks;
    }

    /// Mean of the `top` largest errors; running statistics take the row in.
    fn mean_of_largest(&self, residuals: &[f32], imputed: &[bool], top: usize, entity: &mut EntityJudgement) -> f64 {
        let mut largest = Largest::new(top);
        for c in 0..residuals.len() {
            largest.offer(match self.drift {
                Some(weight) => {
                    let floor = VARIANCE_FLOOR * entity.scale * self.base_variance[c];
                    let memory = (&mut entity.mean[c], &mut entity.variance[c]);
                    take_in((residuals[c], imputed[c]), memory, floor, weight)
                }
                None if imputed[c] => 0.0,
                None => error(residuals[c], 0.0, self.variance_of(entity)[c]),
            });
        }
        largest.mean()
    }

    /// Sum of the errors by the entity's running statistics, which then take the row in.
    fn running_sum(&self, residuals: &[f32], imputed: &[bool], weight: f32, entity: &mut EntityJudgement) -> f64 {
        let EntityJudgement { mean, variance, scale, .. } = entity;
        let floor = VARIANCE_FLOOR * *scale;
        let (residuals, residuals_rest) = residuals.as_chunks::<LANES>();
        let (imputed, imputed_rest) = imputed.as_chunks::<LANES>();
        let (mean, mean_rest) = mean.as_chunks_mut::<LANES>();
        let (variance, variance_rest) = variance.as_chunks_mut::<LANES>();
        let (base, base_rest) = self.base_variance.as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        let chunks = residuals.iter().zip(imputed).zip(mean.iter_mut().zip(variance)).zip(base);
        for (((residuals, imputed), (mean, variance)), base) in chunks {
            for lane in 0..LANES {
                let memory = (&mut mean[lane], &mut variance[lane]);
                sums[lane] += take_in((residuals[lane], imputed[lane]), memory, floor * base[lane], weight);
            }
        }
        let rest = residuals_rest.iter().zip(imputed_rest).zip(mean_rest.iter_mut().zip(variance_rest)).zip(base_rest);
        for (((residual, imputed), memory), base) in rest {
            sums[0] += take_in((*residual, *imputed), memory, floor * base, weight);
        }
        sums.iter().sum()
    }

    /// Up to the knee a score counts as it is, above it by its logarithm: the order stays, but a few violent rows don't
    /// outweigh all others.
    fn compress(&self, score: f64) -> f64 {
        if score > self.knee { self.knee * (1.0 + (score / self.knee).ln()) } else { score }
    }
}

/// The largest errors so far, in ascending order, so that the smallest one makes room.
struct Largest {
    errors: [f64; MOST_TOP],
    count: usize,
}

impl Largest {
    fn new(count: usize) -> Self {
        Self { errors: [0.0; MOST_TOP], count }
    }

    fn offer(&mut self, error: f64) {
        let errors = &mut self.errors[..self.count];
        let place = errors.partition_point(|other| *other < error);
        if place > 0 {
            errors.copy_within(1..place, 0);
            errors[place - 1] = error;
        }
    }

    fn mean(&self) -> f64 {
        self.errors[..self.count].iter().sum::<f64>() / self.count as f64
    }
}

/// Mean over the columns of squared residual over variance, as the graph's `score` output, in double precision.
pub fn raw_score(residuals: &[f32], variances: &[f32]) -> f64 {
    let (chunks, rest) = residuals.as_chunks::<LANES>();
    let (variances, variances_rest) = variances.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (residuals, variances) in chunks.iter().zip(variances) {
        for lane in 0..LANES {
            sums[lane] += error(residuals[lane], 0.0, variances[lane]);
        }
    }
    let rest: f64 = rest.iter().zip(variances_rest).map(|(r, variance)| error(*r, 0.0, *variance)).sum();
    (sums.iter().sum::<f64>() + rest) / residuals.len() as f64
}

/// The error of one column by its running statistics, which then take the residual in; 0, and nothing changes, where it
/// was imputed. Without a branch, so that lanes can go side by side.
#[inline(always)]
fn take_in((residual, imputed): (f32, bool), (mean, variance): (&mut f32, &mut f32), floor: f32, weight: f32) -> f64 {
    let bound = UPDATE_CLIP * variance.sqrt();
    let step = (residual - *mean).max(-bound).min(bound);
    let (next_mean, next_variance) = (*mean + weight * step, *variance + weight * (step * step - *variance));
    let error = error(residual, *mean, *variance);
    *mean = if imputed { *mean } else { next_mean };
    *variance = if imputed { *variance } else { next_variance.max(floor) };
    if imputed { 0.0 } else { error }
}

/// Counts on where columns are further from their means than they may be, and begins anew where they are not; where they were
/// imputed, nothing changes. Without a branch, so that columns can go side by side.
#[inline(always)]
fn count_on(streaks: &mut [u8], (imputed, variance): (&[bool], &[f32]), distance: impl Fn(usize) -> f32) {
    let columns = streaks.len();
    let (imputed, variance) = (&imputed[..columns], &variance[..columns]);
    let mask = |is: bool| u8::from(is).wrapping_neg();
    for (c, streak) in streaks.iter_mut().enumerate() {
        let distance = distance(c);
        let (strays, kept) = (mask(distance * distance > STRAYS * STRAYS * variance[c]), mask(imputed[c]));
        *streak = (*streak & kept) | (streak.saturating_add(1) & strays & !kept);
    }
}

/// Squared distance over variance. The square may exceed what 32 bits hold; the quotient is taken in 32 bits, where four
/// divisions cost as much as one.
#[inline(always)]
fn error(residual: f32, mean: f32, variance: f32) -> f64 {
    let distance = distance(residual, mean);
    distance * distance * f64::from(1.0 / variance)
}

#[inline(always)]
fn distance(residual: f32, mean: f32) -> f64 {
    f64::from(residual) - f64::from(mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{budget::EntityBudget, settings::Recalibration},
        model::metadata::fixture::metadata,
    };

    /// A judge of two columns with variances 4 and 1 and the limit 10.
    fn judge(change: impl Fn(&mut Metadata)) -> Judge {
        let mut metadata = metadata(2);
        metadata.columns[0].residual_variance = 4.0;
        change(&mut metadata);
        Judge::new(&metadata, 10.0)
    }

    fn smoothing(span: u32) -> impl Fn(&mut Metadata) {
        move |metadata| (metadata.scoring.smoothing_span, metadata.scoring.score_knee) = (span, 50.0)
    }

    const THERE: [bool; 2] = [false, false];

    fn scores(judge: &Judge, rows: &[[f32; 2]]) -> Vec<Judged> {
        let mut memory = EntityJudgement::default();
        rows.iter().map(|row| judge.judge(row, &THERE, &mut memory)).collect()
    }

    #[test]
    fn a_score_is_the_mean_of_squared_residual_over_variance_of_the_columns_that_came() {
        let judge = judge(|_| {});
        let mut memory = EntityJudgement::default();
        let all = judge.judge(&[4.0, 6.0], &THERE, &mut memory);
        assert_eq!((all.raw_score, all.score, all.anomalous), (20.0, 20.0, true));
        let first = judge.judge(&[4.0, 6.0], &[false, true], &mut memory);
        assert_eq!((first.raw_score, first.score, first.anomalous), (20.0, 4.0, false));
    }

    #[test]
    fn a_score_of_the_largest_errors_is_their_mean_whatever_the_others_are() {
        let residuals = [3.0, -5.0, 1.0, 4.0, 2.0];
        let told = |top: u32, half_life: Option<f64>, imputed: [bool; 5]| {
            let mut metadata = metadata(5);
            (metadata.scoring.top, metadata.scoring.half_life) = (Some(top), half_life);
            Judge::new(&metadata, 10.0).judge(&residuals, &imputed, &mut EntityJudgement::default()).score
        };
        for half_life in [None, Some(5000.0)] {
            let all = |top| told(top, half_life, [false; 5]);
            assert_eq!([1, 2, 3, 5, 64].map(all), [25.0, 20.5, 50.0 / 3.0, 11.0, 11.0]);
            assert_eq!(told(2, half_life, [false, true, false, false, false]), 12.5, "an imputed one has no error");
        }
    }

    #[test]
    fn smoothing_begins_with_the_start_so_that_a_first_row_weighs_no_more_than_any_other() {
        let judge = judge(|metadata| {
            smoothing(15)(metadata);
            metadata.scoring.smoothing_start = 1.0;
        });
        // Own score 40 above the limit of 10; smoothed 1 + 2 / 16 * 39.
        let first = scores(&judge, &[[0.0, 80_f32.sqrt()]])[0];
        assert!((first.score - 5.875).abs() < 1e-4 && !first.anomalous, "{first:?}");
    }

    #[test]
    fn a_row_is_anomalous_only_while_its_own_score_is_above_the_limit_too() {
        let judge = judge(smoothing(3));
        let told = scores(&judge, &[[0.0, 9.0], [0.0, 9.0], [0.0, 0.1]]);
        assert!(told[2].score > 10.0, "{told:?}");
        assert_eq!(told.iter().map(|judged| judged.anomalous).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn after_the_most_violent_rows_the_score_is_below_the_limit_within_a_span() {
        let judge = judge(smoothing(15));
        for violent in [1e3, 1e6, f32::MAX] {
            for violents in [1, 100] {
                let mut rows = vec![[violent, violent]; violents];
                rows.resize(violents + 15, [0.0, 0.0]);
                let told = scores(&judge, &rows);
                assert!(told[0].anomalous && told[0].raw_score.is_finite() && told[0].score.is_finite(), "{violent}");
                assert!(told.last().unwrap().score < 10.0, "{violent}: {:?}", told.last());
            }
        }
    }

    #[test]
    fn the_order_of_scores_is_that_of_the_residuals_however_large() {
        let judge = judge(|metadata| metadata.scoring.score_knee = 50.0);
        let rows = [1.0, 5.0, 9.9, 10.1, 100.0, 1e10, 1e20, 1e38].map(|residual| [0.0, residual]);
        let told = scores(&judge, &rows);
        assert!(told.windows(2).all(|pair| pair[0].score < pair[1].score), "{told:?}");
    }

    #[test]
    fn any_number_of_violent_rows_leaves_the_score_a_number() {
        let judge = judge(|metadata| {
            smoothing(15)(metadata);
            metadata.scoring.half_life = Some(100.0);
        });
        let told = scores(&judge, &vec![[f32::MAX, -f32::MAX]; 1000]);
        assert!(told.iter().all(|judged| judged.score.is_finite() && judged.raw_score.is_finite()));
    }

    #[test]
    fn a_row_of_imputed_values_repeats_the_remembered_score_and_changes_nothing() {
        let judge = judge(|metadata| {
            smoothing(15)(metadata);
            metadata.scoring.half_life = Some(100.0);
            metadata.scoring.smoothing_start = 1.5;
        });
        let mut memory = EntityJudgement::default();
        let first = judge.judge(&[9.0, 9.0], &[true, true], &mut memory);
        assert_eq!((first.score, first.anomalous, &memory), (1.5, false, &EntityJudgement::default()));
        let last = (0..5).map(|_| judge.judge(&[20.0, 9.0], &THERE, &mut memory)).last().unwrap();
        assert!(last.anomalous);
        let before = memory.clone();
        let silent = judge.judge(&[20.0, 9.0], &[true, true], &mut memory);
        assert_eq!((Some(silent.score), silent.anomalous), (before.smoothed, false));
        assert_eq!(memory, before);
    }

    #[test]
    fn incidents_raise_the_limit_of_their_entity_alone() {
        let metadata = metadata(2);
        let steps = Recalibration { step: 0.5, most: 10.0 };
        let judge = Judge::new(&metadata, Limit::new(10.0, steps, EntityBudget::PerDay(1.0), Some(60.0)));
        let (mut strays, mut other) = (EntityJudgement::default(), EntityJudgement::default());
        strays.step_limit(&judge.limit, 1.0);
        let row = [0.0, 5.0];
        let (raised, calm) = (judge.judge(&row, &THERE, &mut strays), judge.judge(&row, &THERE, &mut other));
        assert!(raised.limit > 14.9 && !raised.anomalous, "{raised:?}");
        assert!(calm.limit == 10.0 && calm.anomalous, "{calm:?}");
    }

    #[test]
    fn an_entity_known_to_be_noisier_is_judged_by_its_own_variance_but_for_columns_that_were_constant() {
        for (half_life, top) in [(None, None), (Some(5000.0), None), (None, Some(2)), (Some(5000.0), Some(2))] {
            let judge = judge(|metadata| {
                (metadata.scoring.half_life, metadata.scoring.top) = (half_life, top);
                metadata.columns[1].residual_cap = 9.0;
                metadata.calibration.entity_scales.insert("noisy".to_owned(), 4.0);
            });
            let (mut noisy, mut other) = (judge.enter("noisy"), judge.enter("other"));
            assert_eq!(other, EntityJudgement::default());
            let told = [&mut noisy, &mut other].map(|memory| judge.judge(&[4.0, 6.0], &THERE, memory));
            // 16 over a variance of 4, times 4 for the noisy one; and 36 over 1.
            assert_eq!(told.map(|judged| judged.score), [18.5, 20.0], "{half_life:?} {top:?}");
            assert_eq!(told.map(|judged| judged.raw_score), [20.0, 20.0], "what the graph says is the same");
            if half_life.is_none() {
                let past = Past { residuals: &[4.0, 6.0], imputed: &THERE, entity: &noisy };
                assert_eq!(judge.errors(&past), [1.0, 36.0]);
            }
        }
    }

    #[test]
    fn calm_hours_keep_a_quarter_of_the_variance_of_the_entity() {
        let judge = judge(|metadata| {
            metadata.scoring.half_life = Some(50.0);
            metadata.calibration.entity_scales.insert("noisy".to_owned(), 3.0);
        });
        let mut noisy = judge.enter("noisy");
        for _ in 0..2000 {
            judge.judge(&[0.0, 0.0], &THERE, &mut noisy);
        }
        assert_eq!(noisy.variance, [3.0, 0.75]);
    }

    #[test]
    fn a_residual_that_is_no_number_gives_no_score_and_leaves_the_memory_alone() {
        let judge = judge(smoothing(15));
        let mut memory = EntityJudgement::default();
        judge.judge(&[1.0, 1.0], &THERE, &mut memory);
        let before = memory.clone();
        let told = judge.judge(&[f32::NAN, 1.0], &THERE, &mut memory);
        assert!(told.score.is_nan() && !told.anomalous);
        assert_eq!(memory, before);
    }

    #[test]
    fn running_statistics_follow_a_slow_shift_until_it_is_normal() {
        let drifting = judge(|metadata| metadata.scoring.half_life = Some(50.0));
        let rows: Vec<[f32; 2]> = (0..1000).map(|row| [0.0, 2.0 + if row % 2 == 0 { 1.0 } else { -1.0 }]).collect();
        let (still, moving) = (scores(&judge(|_| {}), &rows), scores(&drifting, &rows));
        assert_eq!(still[0].score, moving[0].score);
        assert!(still[999].raw_score == moving[999].raw_score && still[998].score > 4.0);
        assert!(moving[998].score < 1.0, "{:?}", moving[998]);
    }

    #[test]
    fn one_anomaly_hardly_moves_the_running_statistics_and_calm_hours_keep_a_quarter_of_the_variance() {
        let drifting = judge(|metadata| metadata.scoring.half_life = Some(50.0));
        let mut memory = EntityJudgement::default();
        drifting.judge(&[0.0, 1e6], &THERE, &mut memory);
        assert!(memory.mean[1] < 0.05 && memory.variance[1] < 1.2, "{memory:?}");
        for _ in 0..2000 {
            drifting.judge(&[0.0, 0.0], &THERE, &mut memory);
        }
        assert_eq!(memory.variance, [1.0, 0.25]);
    }

    #[test]
    fn a_limit_of_the_entitys_own_takes_the_place_of_the_general_one() {
        let judge = judge(|_| {});
        let judged =
            |limit: f64| judge.judge_by(&limit.into(), &[4.0, 6.0], &THERE, &mut EntityJudgement::default()).anomalous;
        assert_eq!([19.9, 20.0].map(judged), [true, false]);
    }

    #[test]
    fn the_errors_of_a_row_give_its_own_score() {
        let judge = judge(|metadata| metadata.scoring.score_knee = 15.0);
        let mut memory = EntityJudgement::default();
        for (row, imputed) in [([4.0, 6.0], THERE), ([2.0, 3.0], THERE), ([2.0, 3.0], [false, true])] {
            let judged = judge.judge(&row, &imputed, &mut memory);
            let errors = judge.errors(&Past { residuals: &row, imputed: &imputed, entity: &memory });
            assert_eq!(judge.own_score_of(&errors, &imputed), judged.score, "{row:?} {imputed:?}");
        }
    }

    #[test]
    fn a_column_strays_since_the_first_of_the_rows_in_a_row_in_which_it_was_beyond_three_deviations() {
        let running = |metadata: &mut Metadata| metadata.scoring.half_life = Some(1e6);
        for judge in [judge(running), judge(|_| {})] {
            let mut memory = EntityJudgement::default();
            let onsets = |memory: &EntityJudgement| [memory.onset(0), memory.onset(1)];
            assert_eq!(onsets(&memory), [None, None]);
            // Deviations are 2 and 1.
            let rows = [
                ([6.1, 2.9], THERE, [Some(0), None]),
                ([-6.1, -3.1], THERE, [Some(1), Some(0)]),
                ([0.0, 3.1], [true, false], [Some(1), Some(1)]),
                ([6.1, 2.9], THERE, [Some(2), None]),
                ([5.9, 3.1], THERE, [None, Some(0)]),
            ];
            for (row, imputed, expected) in rows {
                judge.judge(&row, &imputed, &mut memory);
                assert_eq!(onsets(&memory), expected, "{row:?} {imputed:?}");
            }
            for _ in 0..300 {
                judge.judge(&[7.0, 7.0], &THERE, &mut memory);
            }
            assert_eq!(onsets(&memory), [Some(254), Some(254)]);
        }
    }

    #[test]
    fn where_rows_have_no_order_there_is_no_since() {
        let judge = judge(|metadata| metadata.calibration.interval_seconds = None);
        let mut memory = EntityJudgement::default();
        judge.judge(&[60.0, 60.0], &THERE, &mut memory);
        assert_eq!(memory.onset(0), None);
    }
}
