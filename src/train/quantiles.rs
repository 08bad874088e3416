//! Scaling by quantiles: a value becomes the normal score of its rank among the fitted values.
//!
//! This is the rank-based inverse normal transformation (van der Waerden 1952; Beasley, Erickson and Allison, *Behavior Genetics*
//! 39, 2009), which scikit-learn has as `QuantileTransformer(output_distribution="normal")`: of equal values each has the mean
//! of their ranks, and rank `r` of `n` becomes the quantile `(r - 1/2) / n` of the standard normal distribution. Normal
//! scores and not the ranks themselves, because ranks put the highest hundredth of all values, where anomalies are, next to the
//! median's neighbours: half a range away at most, while scores keep the tails apart. And a linear code, correlations
//! and noise in deviations suit columns best that are normal.
//!
//! It is computed as straight pieces between few quantiles, whose slopes are bounded, and which go on outside: scikit-learn gives
//! everything beyond the fitted values the last one's score, but the further off a value is, the more of an anomaly it
//! has to be.

use super::{
    activation::normal_distribution,
    scaling::{ColumnScale, positive},
};
use crate::model::knots::Knots;

/// Straight pieces at most: with so many, a score is 0.003 off at most where logarithms have the deviation 1.
const PIECES: usize = 32;
/// The normal score of the upper robust end, 99.5 %; the lower end has its negative. Columns are divided so that the
/// robust ends are as far apart as these: of a normal column the divided value is its score already.
const END: f64 = 2.575_829_303_548_901;
/// Steepest piece. A twenty-fifth of the usual range counts as the whole of it at most: what moves much less than that, such
/// as rounding around 0 of a column that is mostly 0, is noise and must not become deviations. Of 10, 25, 30 and 100 the
/// smaller ones measured better, but 10 cuts into what is left of a heavy tail's small values.
const STEEPEST: f64 = 25.0;
/// Flattest piece. The whole usual range counts as two deviations at least: between the modes of a column with several lie
/// no ranks, and without it no distance either, and how far out in a tail a value lies says more than its rank. One
/// deviation or less measured worse.
const FLATTEST: f64 = 1.0 / END;
/// Values nearer to each other than this, divided, are equal: no piece between them is wide enough to matter.
const EQUAL: f32 = 1e-4;
/// Fewest fitted rows between two knots; the slope of a piece over so many is a third off. It matters most outside, where the
/// last piece says how far off a value is.
const LEAST_ROWS: f64 = 10.0;

/// A quantile of a column.
struct Quantile {
    /// Its value, divided.
    divided: f32,
    /// Share of the fitted values up to it, of those that are equal to it the half.
    share: f64,
}

/// Fits one column on its ascending values, of which `low` and `high` are the ends, `low < high`.
pub(super) fn fit(sorted: &[f32], (low, high): (f32, f32)) -> ColumnScale {
    let (least, most) = (f64::from(low), f64::from(high));
    let at = |share: f64| sorted[(share * (sorted.len() - 1) as f64).round() as usize];
    // Where the ends are further apart than single precision reaches, no value between them may overflow.
    let reach = f64::from(f32::MAX);
    let center = f64::from(at(0.5)).clamp(most - reach, least + reach) as f32;
    let scale = positive(((most - least) / (2.0 * END)) as f32, low);
    let divided = |value: f32| (value - center) * scale.recip();
    let straight = ColumnScale::straight(center, scale);
    if divided(high) - divided(low) < EQUAL {
        return straight;
    }
    let quantile = |value: f32| {
        let divided_value = divided(value);
        let below = sorted.partition_point(|other| divided(*other) < divided_value - EQUAL);
        let up_to = sorted.partition_point(|other| divided(*other) <= divided_value + EQUAL);
        Quantile { divided: divided_value, share: (below + up_to) as f64 / (2 * sorted.len()) as f64 }
    };
    let score = |piece: usize| END * (2.0 * piece as f64 / PIECES as f64 - 1.0);
    let inner = (1..PIECES).map(|piece| at(normal_distribution(score(piece))).clamp(low, high));
    let quantiles = apart(inner.map(quantile), (quantile(low), quantile(high)), sorted.len());
    let knots = Knots::new(bounded(&quantiles)).expect("its pieces are neither flat nor narrow");
    ColumnScale { knots: Some(knots), ..straight }
}

/// Both ends and what lies far enough from them and from each other.
fn apart(inner: impl Iterator<Item = Quantile>, (low, high): (Quantile, Quantile), rows: usize) -> Vec<Quantile> {
    let apart =
        |a: &Quantile, b: &Quantile| b.divided - a.divided >= EQUAL && (b.share - a.share) * rows as f64 >= LEAST_ROWS;
    let mut kept = vec![low];
    for quantile in inner {
        if apart(&kept[kept.len() - 1], &quantile) {
            kept.push(quantile);
        }
    }
    while kept.len() > 1 && !apart(&kept[kept.len() - 1], &high) {
        kept.pop();
    }
    kept.push(high);
    kept
}

/// Knots from divided values to normal scores. Where a piece would be too steep or too flat, all that lies beyond it, seen
/// from the middle, moves with its end.
fn bounded(quantiles: &[Quantile]) -> Vec<(f32, f32)> {
    let mut scores: Vec<f64> = quantiles.iter().map(|quantile| normal_score(quantile.share)).collect();
    let steps: Vec<f64> = quantiles
        .windows(2)
        .zip(scores.windows(2))
        .map(|(pair, scores)| {
            let run = f64::from(pair[1].divided) - f64::from(pair[0].divided);
            (scores[1] - scores[0]).clamp(FLATTEST * run, STEEPEST * run)
        })
        .collect();
    let middle = (0..scores.len()).min_by(|a, b| scores[*a].abs().total_cmp(&scores[*b].abs())).unwrap_or(0);
    (middle..steps.len()).for_each(|at| scores[at + 1] = scores[at] + steps[at]);
    (0..middle).rev().for_each(|at| scores[at] = scores[at + 1] - steps[at]);
    quantiles.iter().zip(scores).map(|(quantile, score)| (quantile.divided, score as f32)).collect()
}

/// The quantile `share` of the standard normal distribution, by bisection; 0 < `share` < 1.
fn normal_score(share: f64) -> f64 {
    let (mut low, mut high) = (-9.0, 9.0);
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if normal_distribution(middle) < share { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_distr::{Distribution, Normal, StandardNormal};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;
    use crate::{
        config::settings::Scaling,
        model::metadata::Column,
        train::{sample::fixture::rows, scaling},
    };

    /// A column fitted on these values, as a model file has it.
    fn column(values: &[f32]) -> Column {
        let sample = rows(&values.iter().map(|value| vec![*value]).collect::<Vec<_>>(), 1);
        let all: Vec<usize> = (0..values.len()).collect();
        let ColumnScale { center, scale, knots, .. } = scaling::fit(&sample, &all, Scaling::Quantile).remove(0);
        Column { center, scale, knots, ..Column::unscaled("c", 0) }
    }

    fn slopes(column: &Column) -> Vec<f64> {
        let knots = column.knots.as_ref().map(|knots| knots.forward().to_vec()).unwrap_or_default();
        knots.iter().map(|piece| f64::from(piece.slope)).collect()
    }

    /// Values of one of several shapes: normal, log-normal, half of them 0, few different ones, two modes, rounding around 0 and
    /// a few real ones, or with a tail without a mean, in a unit of any size.
    fn shaped(shape: usize, count: usize, unit: f32, random: &mut Xoshiro256PlusPlus) -> Vec<f32> {
        let normal = |random: &mut Xoshiro256PlusPlus| -> f32 { StandardNormal.sample(random) };
        let value = |random: &mut Xoshiro256PlusPlus| match shape {
            0 => normal(random),
            1 => (2.0 * normal(random)).exp(),
            2 if random.gen_bool(0.5) => 0.0,
            2 => random.gen_range(1.0..2.0),
            3 => random.gen_range(0..5) as f32,
            4 if random.gen_bool(0.5) => 100.0 + normal(random),
            4 => normal(random),
            5 if random.gen_bool(0.97) => 1e-9 * normal(random),
            5 => random.gen_range(1.0..2.0),
            _ => 1.0 / random.gen_range(1e-6_f32..1.0),
        };
        (0..count).map(|_| value(random) * unit).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn whatever_the_shape_more_never_becomes_less_nothing_is_flat_or_endless_and_the_way_back_is_known(
            (shape, count) in (0usize..7, 2usize..1500),
            power in -30i32..30,
            seed in any::<u64>(),
        ) {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut values = shaped(shape, count, 10_f32.powi(power), &mut random);
            let column = column(&values);
            for slope in slopes(&column) {
                prop_assert!((FLATTEST * 0.999..=STEEPEST * 1.001).contains(&slope), "{slope}");
            }
            values.extend(values.clone().iter().flat_map(|value| [value * 3.0, value * -3.0, value * 0.99]));
            values.sort_by(f32::total_cmp);
            let scaled: Vec<f32> = values.iter().map(|value| column.scaled(*value)).collect();
            prop_assert!(scaled.iter().all(|value| value.is_finite()));
            prop_assert!(scaled.windows(2).all(|pair| pair[0] <= pair[1]));
            for (value, scaled) in values.iter().zip(&scaled) {
                let distance = (column.below(*value, 0.0) - f64::from(*value)).abs();
                let unit = f64::from(value.abs()) + f64::from(column.scale) * (1.0 + f64::from(scaled.abs()));
                prop_assert!(distance <= 1e-5 * unit, "{value} becomes {scaled} and comes back {distance} off");
            }
        }
    }

    #[test]
    fn a_heavy_tail_becomes_as_normal_as_its_logarithm_is() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let normal = Normal::new(3.0_f32, 1.0).unwrap();
        let values: Vec<f32> = (0..20_000).map(|_| normal.sample(&mut random).exp()).collect();
        let column = column(&values);
        for score in [-2.2_f32, -2.0, -1.0, -0.3, 0.0, 0.7, 1.5, 1.8] {
            let scaled = column.scaled((3.0 + score).exp());
            assert!((scaled - score).abs() < 0.08, "{score}: {scaled}");
        }
        let (end, far) = (column.scaled(5.5758_f32.exp()), column.scaled(12_f32.exp()));
        assert!((2.5..3.2).contains(&end), "the upper end: {end}");
        assert!(far > 100.0, "600 times the upper end is far off: {far}");
    }

    #[test]
    fn equal_values_have_the_score_of_their_mean_rank() {
        let values: Vec<f32> =
            (0..1000).map(|row: usize| if row.is_multiple_of(2) { 0.0 } else { 0.2 + row as f32 / 1000.0 }).collect();
        let column = column(&values);
        // The lower half of all ranks, in the middle of which a quarter lies below.
        assert!((column.scaled(0.0) + 0.6745).abs() < 1e-3, "{}", column.scaled(0.0));
        assert!((0.6..0.9).contains(&column.scaled(0.7)), "{}", column.scaled(0.7));
        assert!(column.scaled(-1.0) < column.scaled(0.0) - 0.5 && column.scaled(2.2) > column.scaled(1.2) + 0.5);
    }

    #[test]
    fn rounding_around_the_value_that_a_column_mostly_has_is_no_deviation() {
        let value =
            |row: usize| if row.is_multiple_of(10) { 1.0 + row as f32 / 2000.0 } else { (row % 7) as f32 * 1e-12 };
        let column = column(&(0..2000).map(value).collect::<Vec<_>>());
        assert!(column.scaled(6e-12) - column.scaled(0.0) < 1e-6);
        assert!(column.scaled(1.0) - column.scaled(0.0) > 1.0);
    }

    #[test]
    fn between_modes_there_are_no_ranks_but_a_distance() {
        let value = |row: usize| if row.is_multiple_of(2) { 0.0 } else { 10.0 } + (row % 101) as f32 / 1010.0;
        let column = column(&(0..4000).map(value).collect::<Vec<_>>());
        let (low, high) = (column.scaled(0.1), column.scaled(10.0));
        assert!((1.9..2.3).contains(&(high - low)), "{low} {high}");
        assert!((column.scaled(5.05) - 0.5 * (low + high)).abs() < 0.1);
    }

    #[test]
    fn two_values_make_one_piece_and_one_value_none() {
        let few = column(&[[5.0; 30], [7.0; 30]].concat());
        assert_eq!(slopes(&few).len(), 1);
        // Their ranks are 1.35 deviations apart, the whole range of a column two at least.
        assert!((few.scaled(7.0) - few.scaled(5.0) - 2.0).abs() < 1e-3 && few.scaled(5.0) < -0.6);
        assert_eq!(slopes(&column(&[1.0, 2.0])).len(), 1, "rows that are too few to have quantiles");
        let sample = rows(&[vec![4.0], vec![9.0]], 1);
        let alone = scaling::fit(&sample, &[0], Scaling::Quantile).remove(0);
        assert_eq!(alone, scaling::fit(&sample, &[0], Scaling::RobustMinMax).remove(0));
        assert!(alone.constant && alone.knots.is_none());
    }

    #[test]
    fn a_column_that_hardly_moves_has_its_whole_range() {
        let mut values = vec![3.0_f32; 1000];
        values[999] = 4.0;
        let column = column(&values);
        assert!(column.scaled(3.0).abs() < 0.01 && (column.scaled(4.0) - 3.29).abs() < 0.01);
    }

    #[test]
    fn imputed_values_and_wild_rows_do_not_set_the_scale() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
        let mut values: Vec<f32> = (0..2000).map(|_| StandardNormal.sample(&mut random)).collect();
        let tame = column(&values);
        values[7] = 1e9;
        let wild = column(&values);
        assert!((wild.scaled(5.0) / tame.scaled(5.0) - 1.0).abs() < 0.02);
        let mut sample = rows(&values.iter().map(|value| vec![*value]).collect::<Vec<_>>(), 1);
        sample.values.extend(vec![50.0; 2000]);
        sample.imputed = (0..4000).map(|at| at >= 2000).collect();
        let all: Vec<usize> = (0..4000).collect();
        let fitted = scaling::fit(&sample, &all, Scaling::Quantile).remove(0);
        assert_eq!((fitted.center, fitted.scale, fitted.knots), (wild.center, wild.scale, wild.knots));
    }

    #[test]
    fn values_near_the_largest_number_stay_numbers() {
        for values in [
            (0..500).map(|row| f32::MAX * (row as f32 / 250.0 - 0.998)).collect::<Vec<f32>>(),
            (0..500).map(|row| if row < 100 { f32::MIN } else { f32::MAX }).collect(),
            (0..500).map(|row| f32::MAX * (1.0 - row as f32 * 1e-6)).collect(),
            (0..500).map(|row| row as f32 * f32::MIN_POSITIVE).collect(),
        ] {
            let column = column(&values);
            assert!(column.scale > 0.0 && column.scale.is_finite() && column.center.is_finite());
            for value in &values {
                let scaled = column.scaled(*value);
                assert!(scaled.abs() < 10.0, "{value} becomes {scaled}");
                let back = column.below(*value, 0.0);
                assert!((back - f64::from(*value)).abs() <= 1e-5 * f64::from(column.scale).max(f64::from(value.abs())));
            }
        }
    }

    #[test]
    fn normal_scores_are_the_quantiles_of_the_normal_distribution() {
        for (share, score) in [(0.5, 0.0), (0.975, 1.959_963_984_540_054), (0.995, END), (1e-6, -4.753_424_308_822_899)]
        {
            assert!((normal_score(share) - score).abs() < 1e-9, "{share}");
        }
    }
}
