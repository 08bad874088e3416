//! Scaling: where a column's unit ends and the network's begins.

use super::{quantiles, sample::SampleRows};
use crate::{config::settings::Scaling, model::knots::Knots};

/// Quantiles that are taken as a column's ends, so that a few wild rows don't set the scale.
pub(super) const ENDS: (f64, f64) = (0.005, 0.995);
/// Values further than this many ranges between the ends from the nearer end are cut before mean and standard deviation.
const WILD: f64 = 30.0;
/// Distance of the quartiles of a normal distribution, in standard deviations.
const NORMAL_QUARTILES: f32 = 1.349;
/// A change of a column that was constant counts as a full range from this share of its value on.
const CONSTANT_STEP: f32 = 1e-4;
/// Smallest divisor of a column that was constant zero.
const CONSTANT_FLOOR: f32 = 1e-6;

/// Centre and divisor of one column, what bends it, and whether it never changed.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnScale {
    /// Subtracted first, column's unit.
    pub center: f32,
    /// Divisor, column's unit, > 0.
    pub scale: f32,
    /// What bends the divided value into scaled units; `None` where it is the scaled value.
    pub knots: Option<Knots>,
    /// Whether all rows held one value.
    pub constant: bool,
}

impl ColumnScale {
    /// Centre and divisor of a column that varies, and no more.
    pub(super) fn straight(center: f32, scale: f32) -> Self {
        Self { center, scale, knots: None, constant: false }
    }
}

/// Fits each column on `rows` (indices into the sample); imputed values don't count.
pub fn fit(sample: &SampleRows, rows: &[usize], scaling: Scaling) -> Vec<ColumnScale> {
    let width = sample.width();
    (0..width)
        .map(|c| {
            let mut values: Vec<f32> = rows
                .iter()
                .map(|row| row * width + c)
                .filter(|&at| !sample.imputed[at])
                .map(|at| sample.values[at])
                .collect();
            values.sort_by(f32::total_cmp);
            // A column that no row to be fitted has: what stands for its missing values is all that is known of it.
            let known = if values.is_empty() { std::slice::from_ref(&sample.impute[c]) } else { &values[..] };
            fit_column(known, scaling)
        })
        .collect()
}

/// How many columns hold more than one value in `rows` (indices into the sample); imputed values don't count.
pub fn varying(sample: &SampleRows, rows: &[usize]) -> usize {
    let width = sample.width();
    let varies = |c: &usize| {
        let mut present = rows.iter().map(|row| row * width + c).filter(|&at| !sample.imputed[at]);
        let first = present.next().map(|at| sample.values[at]);
        present.any(|at| Some(sample.values[at]) != first)
    };
    (0..width).filter(varies).count()
}

/// Fits one column on its ascending values, at least one.
fn fit_column(sorted: &[f32], scaling: Scaling) -> ColumnScale {
    let (lowest, highest) = (sorted[0], sorted[sorted.len() - 1]);
    if lowest == highest {
        let scale = (lowest.abs() * CONSTANT_STEP).max(CONSTANT_FLOOR);
        return ColumnScale { constant: true, ..ColumnScale::straight(lowest, scale) };
    }
    let at = |q: f64| sorted[(q * (sorted.len() - 1) as f64).round() as usize];
    let (low, high) = (at(ENDS.0), at(ENDS.1));
    // A column that hardly ever moves has equal quantiles: its whole range is its scale then.
    let (low, high) = if high > low { (low, high) } else { (lowest, highest) };
    match scaling {
        Scaling::RobustMinMax => ColumnScale::straight(low, positive(high - low, low)),
        Scaling::MinMax => ColumnScale::straight(lowest, positive(highest - lowest, lowest)),
        Scaling::Robust if at(0.75) > at(0.25) => {
            let (median, quartiles) = (at(0.5), at(0.75) - at(0.25));
            ColumnScale::straight(median, positive(quartiles / NORMAL_QUARTILES, median))
        }
        Scaling::Quantile => quantiles::fit(sorted, (low, high)),
        Scaling::None => ColumnScale::straight(0.0, 1.0),
        // Of a column that hardly ever moves, quartiles tell nothing.
        Scaling::Standard | Scaling::Robust => {
            let count = sorted.len() as f64;
            let reach = WILD * (f64::from(high) - f64::from(low));
            let cut = |value: &f32| f64::from(*value).clamp(f64::from(low) - reach, f64::from(high) + reach);
            let mean = sorted.iter().map(cut).sum::<f64>() / count;
            let variance = sorted.iter().map(|value| (cut(value) - mean).powi(2)).sum::<f64>() / count;
            ColumnScale::straight(mean as f32, positive(variance.sqrt() as f32, mean as f32))
        }
    }
}

/// A difference of two floats may vanish beside their size; a divisor must not.
pub(super) fn positive(scale: f32, beside: f32) -> f32 {
    scale.max(beside.abs() * f32::EPSILON).max(f32::MIN_POSITIVE * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::sample::fixture::rows;

    #[test]
    fn a_constant_column_has_a_positive_divisor_and_any_real_change_is_a_full_range() {
        for value in [0.0_f32, 5.0, -1e9] {
            let fitted = fit_column(&[value; 50], Scaling::RobustMinMax);
            assert!(fitted.constant && fitted.scale > 0.0);
            let moved = value + value.abs() * 1e-3 + 1e-3;
            assert!(((moved - fitted.center) / fitted.scale).abs() >= 1.0, "{value}");
        }
    }

    #[test]
    fn wild_rows_do_not_set_the_scale() {
        let mut values: Vec<f32> = (0..1000).map(|i| i as f32 / 1000.0).collect();
        values[999] = 1e9;
        for scaling in [Scaling::RobustMinMax, Scaling::Standard, Scaling::Robust] {
            let fitted = fit_column(&values, scaling);
            assert!(fitted.scale < 1.1, "{scaling:?}: {}", fitted.scale);
        }
    }

    #[test]
    fn a_column_that_no_fitted_row_has_is_centred_on_what_stands_for_it() {
        let mut sample = rows(&vec![vec![0.0, 1.0]; 20], 1);
        sample.impute[0] = 7.5;
        sample.imputed.iter_mut().step_by(2).for_each(|mark| *mark = true);
        let fitted = fit(&sample, &[1, 2, 3], Scaling::RobustMinMax);
        assert!((fitted[0].center, fitted[0].constant) == (7.5, true) && fitted[0].scale > 0.0);
        assert_eq!(varying(&sample, &[1, 2, 3]), 0);
    }

    #[test]
    fn a_column_that_hardly_moves_is_scaled_by_its_whole_range() {
        let mut values = vec![3.0_f32; 1000];
        values[999] = 4.0;
        let fitted = fit_column(&values, Scaling::RobustMinMax);
        assert_eq!((fitted.center, fitted.scale, fitted.constant), (3.0, 1.0, false));
    }

    #[test]
    fn each_scaling_has_its_own_centre_and_divisor() {
        // 0 to 1,000, of which the last stands far off.
        let mut values: Vec<f32> = (0..=1000).map(|value| value as f32).collect();
        values[1000] = 1500.0;
        let fitted = |scaling| {
            let ColumnScale { center, scale, .. } = fit_column(&values, scaling);
            (center, scale)
        };
        assert_eq!(fitted(Scaling::RobustMinMax), (5.0, 990.0));
        assert_eq!(fitted(Scaling::MinMax), (0.0, 1500.0));
        assert_eq!(fitted(Scaling::Robust), (500.0, 500.0 / NORMAL_QUARTILES));
        assert_eq!(fitted(Scaling::None), (0.0, 1.0));
        let mut rare = vec![3.0_f32; 1000];
        rare[999] = 4.0;
        let standard = fit_column(&rare, Scaling::Standard);
        assert_eq!(fit_column(&rare, Scaling::Robust), standard, "where the quartiles are one");
    }
}
