//! How far the residuals of one entity stray beside those of all: a factor on their variance, shrunk to 1.
//!
//! Entities of one kind are not equally noisy. What is usual for one would be an alarm for another, and a calibration on all
//! of them together is too strict for the first and too lax for the second. Where enough rows of an entity were held back,
//! its factor is told by them; how far it is believed is told by how much the factors of all entities differ beyond what
//! chance gives them (empirical Bayes; Efron and Morris, *J. Am. Stat. Assoc.* 68, 1973). Entities that are alike keep 1.

use crate::detect::calibrate::{ENTITY_SCALES, quantile};

/// Blocks of consecutive rows that an entity's are cut into: what they differ by is chance. Few long ones, as rows that
/// follow each other are alike.
const BLOCKS: usize = 4;
/// Rows that a block must have.
const LEAST_BLOCK: usize = 25;
/// Quantile of the scores that is compared: high enough to be about what rows score at most, and left alone by incidents.
const USUAL: f64 = 0.9;
/// Factors closer to 1 than this share are not worth keeping.
const SAME: f64 = 0.05;

/// What one entity's rows say, as natural logarithms.
struct Told {
    entity: usize,
    /// Mean over its blocks.
    mean: f64,
    /// Variance of that mean, by its blocks alone.
    noise: f64,
}

/// The factor of each entity that has one of its own, given the finite scores of its held-back rows in order: means of squared
/// residuals over variance, without smoothing.
pub(super) fn entity_scales(scores: &[Vec<f64>]) -> Vec<(usize, f32)> {
    let mut all: Vec<f64> = scores.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    if all.is_empty() {
        return Vec::new();
    }
    let whole = quantile(&all, USUAL);
    let told: Vec<Told> =
        scores.iter().enumerate().filter_map(|(entity, scores)| Told::new(entity, scores, whole)).collect();
    if told.len() < 2 {
        return Vec::new();
    }
    let count = told.len() as f64;
    let pooled = told.iter().map(|one| one.noise).sum::<f64>() / count;
    // Four blocks say little of their own noise, and entities differ in theirs.
    let noise = |one: &Told| f64::midpoint(one.noise, pooled);
    let beyond_chance = (told.iter().map(|one| one.mean.powi(2) - noise(one)).sum::<f64>() / count).max(0.0);
    let shrunk = |one: &Told| {
        let factor = one.mean * beyond_chance / (beyond_chance + noise(one)).max(f64::MIN_POSITIVE);
        (factor.abs() > SAME).then(|| (one.entity, (factor.exp() as f32).clamp(ENTITY_SCALES.0, ENTITY_SCALES.1)))
    };
    told.iter().filter_map(shrunk).collect()
}

impl Told {
    /// `None` where there are too few rows, or they are rebuilt exactly.
    fn new(entity: usize, scores: &[f64], whole: f64) -> Option<Self> {
        let rows = scores.len() / BLOCKS;
        if rows < LEAST_BLOCK {
            return None;
        }
        let logs: Vec<f64> = scores
            .chunks_exact(rows)
            .take(BLOCKS)
            .map(|block| {
                let mut sorted = block.to_vec();
                sorted.sort_by(f64::total_cmp);
                (quantile(&sorted, USUAL) / whole).ln()
            })
            .collect();
        let mean = logs.iter().sum::<f64>() / BLOCKS as f64;
        let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (BLOCKS - 1) as f64;
        mean.is_finite().then_some(Self { entity, mean, noise: variance / BLOCKS as f64 })
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_distr::StandardNormal;
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    /// Means of `columns` squared normal numbers, times `scale`.
    fn scores(rows: usize, scale: f64, seed: u64) -> Vec<f64> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut normal = move || rng.sample::<f64, _>(StandardNormal);
        (0..rows).map(|_| scale * (0..5).map(|_| normal().powi(2)).sum::<f64>() / 5.0).collect()
    }

    #[test]
    fn a_noisy_entity_and_a_calm_one_get_factors_of_their_own() {
        let fleet: Vec<Vec<f64>> =
            [1.0, 1.0, 1.0, 1.0, 2.5, 0.2].iter().zip(0..).map(|(scale, seed)| scores(2000, *scale, seed)).collect();
        let scales = entity_scales(&fleet);
        let of = |entity: usize| scales.iter().find(|(one, _)| *one == entity).map_or(1.0, |(_, scale)| *scale);
        // They are beside what is usual of all, which the noisy one raises.
        assert!((2.1..2.9).contains(&(of(4) / of(0))), "{scales:?}");
        assert!((0.16..0.25).contains(&(of(5) / of(0))), "{scales:?}");
        assert!((0.9..1.1).contains(&(of(1) / of(0))), "{scales:?}");
    }

    #[test]
    fn entities_that_are_alike_keep_the_factor_of_all() {
        for seed in 0..20 {
            let alike: Vec<Vec<f64>> = (0..8).map(|entity| scores(400, 1.0, seed * 100 + entity)).collect();
            let scales = entity_scales(&alike);
            assert!(scales.iter().all(|(_, scale)| (0.9..1.1).contains(scale)), "{seed}: {scales:?}");
        }
    }

    #[test]
    fn few_rows_no_rows_and_rows_that_are_rebuilt_exactly_say_nothing() {
        assert_eq!(entity_scales(&[]), []);
        assert_eq!(entity_scales(&[Vec::new(), Vec::new()]), []);
        assert_eq!(entity_scales(&[scores(99, 1.0, 1), scores(99, 9.0, 2), scores(5000, 1.0, 3)]), []);
        assert_eq!(entity_scales(&[vec![0.0; 1000], vec![0.0; 1000]]), []);
        let told = entity_scales(&[vec![0.0; 1000], scores(1000, 1.0, 1), scores(1000, 4.0, 2)]);
        assert!(told.iter().all(|(entity, scale)| *entity > 0 && scale.is_finite()), "{told:?}");
    }

    #[test]
    fn no_factor_leaves_its_bounds() {
        let fleet: Vec<Vec<f64>> =
            [1e-9, 1.0, 1.0, 1.0, 1e9].iter().zip(0..).map(|(scale, seed)| scores(1000, *scale, seed)).collect();
        let scales = entity_scales(&fleet);
        assert!(!scales.is_empty());
        assert!(scales.iter().all(|(_, scale)| (ENTITY_SCALES.0..=ENTITY_SCALES.1).contains(scale)), "{scales:?}");
    }
}
