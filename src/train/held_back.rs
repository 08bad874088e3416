//! What the held-back rows tell: how far residuals usually stray, what scores normal rows have, and where the limit lies.

use std::collections::BTreeMap;

use super::{entity_scales::entity_scales, recipe::TrainError, sample::SampleRows, split::Split};
use crate::{
    config::settings::Residuals,
    detect::{
        ScoreError, Scorer,
        calibrate::{Calibration, Missing, quantile},
        judge::{EntityJudgement, Judge, raw_score},
    },
    model::metadata::{Column, GoldenRow, Metadata},
    record::Position,
};

/// Windows per call of the scorer.
pub(super) const CHUNK: usize = 512;
/// Golden rows in a model file.
pub(super) const GOLDEN_ROWS: usize = 4;
/// Golden rows have scores below this: where single precision overflows, no runtime can be compared.
const GOLDEN_MAX: f64 = 1e30;
/// Smallest residual variance of a column, scaled units: a column that was rebuilt almost exactly on held-back rows must not
/// turn the next rounding difference into an alarm.
const VARIANCE_FLOOR: f64 = 1e-4;
/// Share of held-back rows, the furthest off in a column, that may be outliers and don't set the bound for the others.
const OUTLIER_SHARE: f64 = 0.005;
/// Residuals further from the median than this many times the furthest one that isn't among these, and than the column's range
/// in the fitted rows, are cut before mean and variance. What the fitted rows did too is no outlier: columns that rarely
/// move must keep the variance that their moves give them.
const OUTLIER_BOUND: f64 = 3.0;
/// What held-back rows ordinarily score at most: this quantile.
const ORDINARY: f64 = 0.99;
/// The change of a constant column alone scores this many times what rows ordinarily score at most.
const CONSTANT_LIFT: f64 = 20.0;
/// Scores beyond this many times what rows ordinarily score at most count by their logarithm.
const KNEE: f64 = 10.0;
/// Up to an outlier's share of rows may score more than this many times what rows ordinarily score at most, and be left out
/// of the calibration: an incident among the held-back rows must not set the limit.
const FAR: f64 = 100.0;
/// Smallest ordinary score to stand on, where every held-back row is rebuilt exactly.
const LEAST_ORDINARY: f64 = 1e-9;

/// Residuals of so many windows, a chunk at a time; `append` writes the values of one window behind the others.
pub(super) fn score_windows(
    scorer: &mut dyn Scorer,
    count: usize,
    append: &mut dyn FnMut(usize, &mut Vec<f32>),
) -> Result<Vec<f32>, ScoreError> {
    let (mut all, mut windows, mut residuals) = (Vec::new(), Vec::new(), Vec::new());
    for first in (0..count).step_by(CHUNK) {
        windows.clear();
        let chunk = first..count.min(first + CHUNK);
        chunk.clone().for_each(|window| append(window, &mut windows));
        scorer.score(&windows, chunk.len(), &mut residuals)?;
        all.extend_from_slice(&residuals);
    }
    Ok(all)
}

/// The held-back windows with the residuals that production's scorer gives for them.
pub(super) struct HeldBack<'a> {
    rows: &'a SampleRows,
    split: &'a Split,
    /// `windows * columns`, scaled units.
    residuals: Vec<f32>,
}

impl<'a> HeldBack<'a> {
    /// Scores all held-back windows.
    pub(super) fn score(scorer: &mut dyn Scorer, rows: &'a SampleRows, split: &'a Split) -> Result<Self, TrainError> {
        let append = &mut |at: usize, windows: &mut Vec<f32>| split.append_window(rows, split.held_back[at], windows);
        let residuals = score_windows(scorer, split.held_back.len(), append)?;
        Ok(Self { rows, split, residuals })
    }

    /// Writes into `metadata` what these rows tell: residual statistics, the smoothing's start and knee, calibration,
    /// golden rows.
    pub(super) fn describe(
        &self,
        metadata: &mut Metadata,
        residuals: Residuals,
        missing: Missing,
    ) -> Result<(), TrainError> {
        if !matches!(residuals, Residuals::Raw) {
            self.standardise(&mut metadata.columns);
        }
        let all = vec![true; self.split.held_back.len()];
        metadata.calibration = Calibration::unknown();
        if !matches!(residuals, Residuals::Raw) {
            metadata.calibration.entity_scales = self.entity_scales(metadata, &all);
        }
        let varying = self.scores(&unsmoothed(metadata), &all, true);
        self.weigh_constants(&mut metadata.columns, CONSTANT_LIFT * ordinary(&varying));
        let own = self.scores(&unsmoothed(metadata), &all, false);
        let calibrating = self.calibrating(&own)?;
        metadata.provenance.left_out_rows = calibrating.iter().filter(|counts| !**counts).count();
        metadata.scoring.smoothing_start = quantile(&sorted(&own), 0.5);
        metadata.scoring.score_knee = KNEE * ordinary(&own);
        let judged = self.scores(metadata, &calibrating, false);
        let quiet = metadata.scoring.incident_quiet_rows;
        let interval = self.rows.interval_seconds();
        let fitted = Calibration::fit_truncated(&self.sequences(&judged), quiet, interval, missing)?;
        let entity_scales = std::mem::take(&mut metadata.calibration.entity_scales);
        metadata.calibration = Calibration { entities: self.rows.names.len(), entity_scales, ..fitted };
        metadata.golden = self.golden(&metadata.columns);
        Ok(())
    }

    /// Mean and variance of the residuals of each column that varied in the fitted rows.
    fn standardise(&self, columns: &mut [Column]) {
        for (c, column) in columns.iter_mut().enumerate().filter(|(_, column)| column.residual_cap.is_infinite()) {
            let (low, high) = self.fitted_ends(c);
            let reach = f64::from(column.reach(low, high));
            if let Some((mean, variance)) = robust_moments(self.of_column(c).collect(), reach) {
                column.residual_mean = mean as f32;
                column.residual_variance = variance.max(VARIANCE_FLOOR) as f32;
            }
        }
    }

    /// Gives the columns that were constant in the fitted rows a variance by which a change of one of them alone makes a
    /// row's score `change`, however many columns there are. One that changed in more than an outlier's share of the held-back
    /// rows is not so constant and counts by its variance there, as any other.
    fn weigh_constants(&self, columns: &mut [Column], change: f64) {
        let width = columns.len() as f64;
        for (c, column) in columns.iter_mut().enumerate().filter(|(_, column)| column.residual_cap.is_finite()) {
            let squares: Vec<f64> = self.of_column(c).map(|residual| residual * residual).collect();
            let changed = squares.iter().filter(|square| **square > 0.25).count();
            let least = 1.0 / (change * width);
            let seen = if changed > outliers(squares.len()) {
                squares.iter().sum::<f64>() / squares.len() as f64
            } else {
                0.0
            };
            column.residual_variance = least.max(seen) as f32;
        }
    }

    /// Ends of a column's values in the fitted rows, column's unit, without the lowest and the highest one.
    fn fitted_ends(&self, column: usize) -> (f32, f32) {
        let at = |index: &usize| self.split.newest(*index) * self.rows.width() + column;
        let present = self.split.fitted.iter().map(at).filter(|at| !self.rows.imputed[*at]);
        let mut values: Vec<f32> = present.map(|at| self.rows.values[at]).collect();
        values.sort_by(f32::total_cmp);
        if values.len() < 3 { (0.0, 0.0) } else { (values[1], values[values.len() - 2]) }
    }

    /// The residuals of a column that were not imputed and are numbers.
    fn of_column(&self, column: usize) -> impl Iterator<Item = f64> {
        let width = self.rows.width();
        let present = move |(at, _): &(usize, &f32)| !self.rows.imputed[self.newest(*at) * width + column];
        let residuals = self.residuals.iter().skip(column).step_by(width).enumerate();
        residuals.filter(present).map(|(_, residual)| f64::from(*residual)).filter(|residual| residual.is_finite())
    }

    /// Scores of the held-back rows by the judge, each entity's rows in order; no number for those that don't `count` or
    /// have no score. `without_constants` leaves the columns out that were constant in the fitted rows. The limit plays no
    /// part in scores.
    fn scores(&self, metadata: &Metadata, count: &[bool], without_constants: bool) -> Vec<f64> {
        let width = self.rows.width();
        let judge = Judge::new(metadata, f64::INFINITY);
        let left_out: Vec<bool> =
            metadata.columns.iter().map(|column| without_constants && column.residual_cap.is_finite()).collect();
        let mut memories: Vec<EntityJudgement> = self.rows.names.iter().map(|name| judge.enter(name)).collect();
        let mut marks = vec![false; width];
        let judged = self.residuals.chunks_exact(width).enumerate().map(|(at, residuals)| {
            if !count[at] {
                return f64::NAN;
            }
            let newest = self.newest(at);
            let imputed = &self.rows.imputed[newest * width..(newest + 1) * width];
            marks.iter_mut().zip(imputed.iter().zip(&left_out)).for_each(|(mark, (a, b))| *mark = *a || *b);
            judge.judge(residuals, &marks, &mut memories[self.rows.entities[newest] as usize]).score
        });
        judged.collect()
    }

    /// The scores that are numbers, one sequence per run: what is far apart is not one incident.
    fn sequences(&self, scores: &[f64]) -> Vec<Vec<f64>> {
        let mut sequences = vec![(0, Vec::new()); self.rows.names.len()];
        let mut ended = Vec::new();
        for (at, &score) in scores.iter().enumerate().filter(|(_, score)| score.is_finite()) {
            let newest = self.newest(at);
            let (run, sequence) = &mut sequences[self.rows.entities[newest] as usize];
            if *run != self.rows.runs[newest] {
                *run = self.rows.runs[newest];
                ended.push(std::mem::take(sequence));
            }
            sequence.push(score);
        }
        ended.extend(sequences.into_iter().map(|(_, sequence)| sequence));
        ended
    }

    /// Which rows the calibration stands on: not those without a finite score, and not the few that are so far off that
    /// they can't be normal. Says in the log which ones are left out.
    ///
    /// # Errors
    /// No row has a finite score.
    fn calibrating(&self, own: &[f64]) -> Result<Vec<bool>, TrainError> {
        let bound = FAR * ordinary(own);
        let far = own.iter().filter(|score| **score > bound).count();
        // More than outliers are a part of what is normal here.
        let bound = if far > outliers(own.len()) { f64::MAX } else { bound };
        let counts: Vec<bool> = own.iter().map(|score| score.is_finite() && *score <= bound).collect();
        let Some(first) = counts.iter().position(|counts| !counts) else { return Ok(counts) };
        let (of, rows) = (counts.len(), counts.iter().filter(|counts| !**counts).count());
        let Position { partition, offset } = self.rows.positions[self.newest(first)];
        if own.iter().all(|score| !score.is_finite()) {
            return Err(TrainError::Unscorable { rows, partition, offset });
        }
        let why = "far off or without a finite score: held-back rows left out of the calibration";
        tracing::warn!(rows, of, partition, offset, "{why}");
        Ok(counts)
    }

    /// The sample's row that a held-back window ends with.
    fn newest(&self, at: usize) -> usize {
        self.split.newest(self.split.held_back[at])
    }

    /// How far the residuals of each entity stray beside those of all, where that is known: by columns that varied, and by
    /// what is usual of held-back rows, not by running statistics, which would follow them.
    fn entity_scales(&self, metadata: &Metadata, count: &[bool]) -> BTreeMap<String, f32> {
        let mut still = unsmoothed(metadata);
        still.scoring.half_life = None;
        let mut of_entity = vec![Vec::new(); self.rows.names.len()];
        let scores = self.scores(&still, count, true);
        for (at, score) in scores.into_iter().enumerate().filter(|(_, score)| score.is_finite()) {
            of_entity[self.rows.entities[self.newest(at)] as usize].push(score);
        }
        let scales = entity_scales(&of_entity).into_iter();
        scales.map(|(entity, scale)| (self.rows.names[entity].clone(), scale)).collect()
    }

    fn golden(&self, columns: &[Column]) -> Vec<GoldenRow> {
        let width = columns.len();
        let variances: Vec<f32> = columns.iter().map(|column| column.residual_variance).collect();
        let score = |at: usize| raw_score(&self.residuals[at * width..(at + 1) * width], &variances);
        let comparable: Vec<usize> = (0..self.split.held_back.len()).filter(|at| score(*at) < GOLDEN_MAX).collect();
        let every = (comparable.len() / GOLDEN_ROWS).max(1);
        let golden = comparable.into_iter().step_by(every).take(GOLDEN_ROWS).map(|at| {
            let mut window = Vec::new();
            self.split.append_window(self.rows, self.split.held_back[at], &mut window);
            GoldenRow { window, score: score(at) as f32 }
        });
        golden.collect()
    }
}

/// What rows with these scores ordinarily score at most.
fn ordinary(scores: &[f64]) -> f64 {
    let sorted = sorted(scores);
    if sorted.is_empty() { LEAST_ORDINARY } else { quantile(&sorted, ORDINARY).max(LEAST_ORDINARY) }
}

/// The scores that are numbers, ascending.
fn sorted(scores: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = scores.iter().copied().filter(|score| score.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The same metadata with a judge that neither smooths nor compresses.
pub(super) fn unsmoothed(metadata: &Metadata) -> Metadata {
    let mut plain = metadata.clone();
    (plain.scoring.smoothing_span, plain.scoring.score_knee) = (1, f64::MAX);
    plain
}

/// How many of `rows` values may be outliers.
fn outliers(rows: usize) -> usize {
    ((rows as f64 * OUTLIER_SHARE).ceil() as usize).max(1)
}

/// Mean and variance of `values` with outliers cut, but none to less than `reach` from the median; `None` for no values.
fn robust_moments(mut values: Vec<f64>, reach: f64) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let median = *values.get(values.len() / 2)?;
    let mut distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
    distances.sort_by(f64::total_cmp);
    let bound = OUTLIER_BOUND * distances[distances.len().saturating_sub(1 + outliers(values.len()))];
    let bound = bound.max(reach);
    let cut = |value: &f64| value.clamp(median - bound, median + bound);
    let count = values.len() as f64;
    let mean = values.iter().map(cut).sum::<f64>() / count;
    let variance = values.iter().map(|value| (cut(value) - mean).powi(2)).sum::<f64>() / count;
    Some((mean, variance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Settings, settings::Preset},
        model::metadata::fixture::metadata,
        train::sample::fixture,
    };

    /// Rows that are held back.
    const HELD_BACK: usize = 500;
    const SPREAD: f64 = 0.5;

    /// Evenly spread numbers of mean 0 and this standard deviation, in a shuffled order that hangs on `column`.
    fn residual(at: usize, column: usize) -> f32 {
        let place = ((at * 7919 + column * 131) % HELD_BACK) as f64 / (HELD_BACK - 1) as f64 - 0.5;
        (place * 12_f64.sqrt() * SPREAD) as f32
    }

    struct Sample {
        rows: SampleRows,
        split: Split,
        residuals: Vec<f32>,
        metadata: Metadata,
    }

    impl Sample {
        /// `columns` columns, of which column 0 was constant where `constant`.
        fn new(columns: usize, constant: bool) -> Self {
            let rows = fixture::rows(&vec![vec![0.0; columns]; 4 * HELD_BACK], 1);
            let mut training = Settings::defaults(Preset::Timeseries).training;
            (training.window, training.held_back) = (1, 0.25);
            let split = Split::new(&rows, Preset::Timeseries, &training).unwrap();
            assert_eq!(split.held_back.len(), HELD_BACK);
            let mut metadata = metadata(columns);
            let mut residuals: Vec<f32> =
                (0..HELD_BACK * columns).map(|at| residual(at / columns, at % columns)).collect();
            if constant {
                metadata.columns[0].residual_cap = 1.0;
                residuals.iter_mut().step_by(columns).for_each(|residual| *residual = 0.0);
            }
            Self { rows, split, residuals, metadata }
        }

        fn put(&mut self, at: usize, column: usize, residual: f32) {
            let columns = self.metadata.columns.len();
            self.residuals[at * columns + column] = residual;
        }

        fn described(mut self, residuals: Residuals) -> Result<Metadata, TrainError> {
            let held_back = HeldBack { rows: &self.rows, split: &self.split, residuals: self.residuals };
            held_back.describe(&mut self.metadata, residuals, Missing::default()).map(|()| self.metadata)
        }
    }

    fn row(values: &[(usize, f32)], columns: usize) -> Vec<f32> {
        let mut row = vec![0.0; columns];
        values.iter().for_each(|(column, value)| row[*column] = *value);
        row
    }

    #[test]
    fn residuals_are_standardised_by_their_mean_and_variance_on_held_back_rows() {
        let columns = Sample::new(3, false).described(Residuals::HeldBack).unwrap().columns;
        for column in &columns {
            assert!(column.residual_mean.abs() < 1e-3);
            assert!((f64::from(column.residual_variance) / (SPREAD * SPREAD) - 1.0).abs() < 0.01, "{column:?}");
        }
        let raw = Sample::new(3, false).described(Residuals::Raw).unwrap().columns;
        assert!(raw.iter().all(|column| (column.residual_mean, column.residual_variance) == (0.0, 1.0)));
    }

    #[test]
    fn outliers_do_not_set_a_columns_variance_but_heavy_tails_do() {
        let mut sample = Sample::new(2, false);
        sample.put(7, 0, 1e6);
        sample.put(400, 0, -1e30);
        // One row in 50 is 6 deviations off, as bursts are: it belongs to what is normal.
        (0..HELD_BACK).step_by(50).for_each(|at| sample.put(at, 1, 3.0));
        let columns = sample.described(Residuals::HeldBack).unwrap().columns;
        let times = |column: usize| f64::from(columns[column].residual_variance) / (SPREAD * SPREAD);
        assert!(times(0) < 20.0, "{}", times(0));
        assert!((1.5..2.0).contains(&times(1)), "{}", times(1));
    }

    #[test]
    fn residuals_of_imputed_values_do_not_count() {
        let mut sample = Sample::new(2, false);
        for at in 0..HELD_BACK / 2 {
            let newest = sample.split.newest(sample.split.held_back[at]);
            sample.rows.imputed[newest * 2] = true;
            sample.put(at, 0, 40.0);
        }
        let column = &sample.described(Residuals::HeldBack).unwrap().columns[0];
        assert!(column.residual_mean.abs() < 0.1 && column.residual_variance < 0.3, "{column:?}");
    }

    #[test]
    fn a_change_of_a_constant_column_scores_far_above_the_limit_with_any_number_of_columns() {
        for residuals in [Residuals::Raw, Residuals::HeldBack] {
            for columns in [2, 30, 301] {
                let metadata = Sample::new(columns, true).described(residuals).unwrap();
                let variances: Vec<f32> = metadata.columns.iter().map(|column| column.residual_variance).collect();
                let changed = raw_score(&row(&[(0, 1.0)], columns), &variances);
                let limit = metadata.calibration.limit(crate::config::budget::EntityBudget::PerDay(0.1));
                assert!(changed > 3.0 * limit.clone().unwrap(), "{columns} columns: {changed}, limit {limit:?}");
            }
        }
    }

    #[test]
    fn a_constant_column_that_often_changes_on_held_back_rows_counts_by_its_variance_there() {
        let mut sample = Sample::new(4, true);
        (0..HELD_BACK).step_by(10).for_each(|at| sample.put(at, 0, 1.0));
        let column = &sample.described(Residuals::HeldBack).unwrap().columns[0];
        assert!((column.residual_variance - 0.1).abs() < 1e-6, "{column:?}");
    }

    #[test]
    fn rows_without_a_finite_score_are_counted_and_left_out_of_the_calibration() {
        let mut sample = Sample::new(2, false);
        (10..13).for_each(|at| sample.put(at, 1, f32::NAN));
        sample.put(20, 0, f32::MAX);
        let metadata = sample.described(Residuals::HeldBack).unwrap();
        assert_eq!((metadata.provenance.left_out_rows, metadata.calibration.rows), (4, HELD_BACK - 4));
        assert!(metadata.golden.iter().all(|golden| golden.score.is_finite()));
    }

    #[test]
    fn one_far_row_hardly_moves_the_limit() {
        let limit = |sample: Sample| {
            let metadata = sample.described(Residuals::HeldBack).unwrap();
            metadata.calibration.limit(crate::config::budget::EntityBudget::PerDay(1.0)).unwrap()
        };
        let mut wild = Sample::new(3, false);
        wild.put(250, 1, 1e6);
        let (wild, tame) = (limit(wild), limit(Sample::new(3, false)));
        assert!(wild < 1.5 * tame && wild > 0.2 * tame, "{wild} against {tame}");
    }

    #[test]
    fn where_no_row_has_a_finite_score_the_first_one_is_named_by_its_place_in_the_source() {
        let mut sample = Sample::new(2, false);
        sample.residuals.fill(f32::NAN);
        let refused = sample.described(Residuals::HeldBack).unwrap_err().to_string();
        assert!(refused.contains("500 held-back rows") && refused.contains("record 1500 of partition 0"), "{refused}");
    }

    #[test]
    fn smoothing_begins_with_the_median_score_of_held_back_rows() {
        let mut sample = Sample::new(1, false);
        sample.metadata.scoring.smoothing_span = 15;
        let metadata = sample.described(Residuals::HeldBack).unwrap();
        // Residuals are uniform, so the median of their squares is a quarter of the largest, which is 3 variances.
        assert!((metadata.scoring.smoothing_start - 0.75).abs() < 0.02, "{:?}", metadata.scoring);
        assert!(metadata.scoring.score_knee > 3.0);
    }
}
