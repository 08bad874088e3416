//! Noise on the input of a denoising autoencoder (Vincent et al. 2010, "Stacked denoising autoencoders").

use linfa::Float;
use rand::RngCore;
use rand_distr::{Distribution, StandardNormal};

use super::rows::{Rows, column_moments};
use crate::config::settings::Noise;

/// Noise that is fitted to the training rows' columns.
#[derive(Debug, Clone)]
pub(super) struct Corruption<F> {
    /// Standard deviation of the Gaussian noise per column; `None` for no such noise.
    deviations: Option<Vec<F>>,
    means: Vec<F>,
    /// A 32-bit draw below this masks a value.
    mask_below: u64,
    /// A 32-bit draw from `mask_below` to below this swaps a value.
    swap_below: u64,
}

impl<F: Float> Corruption<F> {
    /// `None` where there is no noise at all.
    pub(super) fn new(noise: Noise, rows: Rows<'_, F>, columns: usize) -> Option<Self> {
        if noise == Noise::default() {
            return None;
        }
        let (means, deviations) = column_moments(rows, columns);
        let scaled = |deviations: Vec<f64>| deviations.into_iter().map(|d| F::cast(d * noise.gaussian)).collect();
        let threshold = |share: f64| (share * 2f64.powi(32)).round() as u64;
        Some(Self {
            deviations: (noise.gaussian > 0.0).then(|| scaled(deviations)),
            means: means.into_iter().map(F::cast).collect(),
            mask_below: threshold(noise.masking),
            swap_below: threshold(noise.masking + noise.swap),
        })
    }

    /// Writes the corrupted form of the batch `clean` (`[rows, width]`, row-major) into `noisy`.
    ///
    /// Gaussian noise comes first; a masked value is then exactly the column's mean and a swapped one exactly the clean
    /// value of another row of the batch.
    pub(super) fn apply<R: RngCore>(&self, clean: &[F], noisy: &mut [F], rng: &mut R) {
        let width = self.means.len();
        match &self.deviations {
            None => noisy.copy_from_slice(clean),
            Some(deviations) => {
                for (noisy, clean) in noisy.chunks_exact_mut(width).zip(clean.chunks_exact(width)) {
                    for ((noisy, &clean), &deviation) in noisy.iter_mut().zip(clean).zip(deviations) {
                        let normal: f32 = StandardNormal.sample(rng);
                        *noisy = clean + deviation * F::cast(normal);
                    }
                }
            }
        }
        if self.swap_below > 0 {
            self.replace(clean, noisy, rng);
        }
    }

    fn replace<R: RngCore>(&self, clean: &[F], noisy: &mut [F], rng: &mut R) {
        let width = self.means.len();
        let others = (clean.len() / width - 1) as u64;
        for (row, noisy) in noisy.chunks_exact_mut(width).enumerate() {
            for (column, noisy) in noisy.iter_mut().enumerate() {
                let bits = rng.next_u64();
                let (draw, choice) = (bits >> 32, bits & 0xffff_ffff);
                if draw < self.mask_below {
                    *noisy = self.means[column];
                } else if draw < self.swap_below && others > 0 {
                    let other = ((choice * others) >> 32) as usize;
                    let other = other + usize::from(other >= row);
                    *noisy = clean[other * width + column];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;
    use crate::train::rows::of_matrix;

    const WIDTH: usize = 4;

    /// Rows of which column 2 is constant and every other value is unique.
    fn rows() -> Array2<f32> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        Array2::from_shape_fn((2000, WIDTH), |(_, column)| match column {
            2 => 0.1,
            _ => rng.gen_range(-1.0..1.0) * (column + 1) as f32,
        })
    }

    fn fitted(noise: Noise, rows: &Array2<f32>) -> Corruption<f32> {
        let copy = of_matrix(rows.view());
        Corruption::new(noise, Rows { len: rows.nrows(), width: WIDTH, copy: &copy }, WIDTH).unwrap()
    }

    fn moments(rows: &Array2<f32>) -> (Vec<f64>, Vec<f64>) {
        let copy = of_matrix(rows.view());
        column_moments(Rows { len: rows.nrows(), width: WIDTH, copy: &copy }, WIDTH)
    }

    fn corrupted(noise: Noise) -> (Array2<f32>, Array2<f32>, Corruption<f32>) {
        let clean = rows();
        let corruption = fitted(noise, &clean);
        let mut noisy = Array2::zeros(clean.dim());
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(6);
        corruption.apply(clean.as_slice().unwrap(), noisy.as_slice_mut().unwrap(), &mut rng);
        (clean, noisy, corruption)
    }

    #[test]
    fn gaussian_noise_has_its_share_of_each_columns_deviation_and_spares_constant_columns() {
        let (clean, noisy, _) = corrupted(Noise { gaussian: 0.5, ..Noise::default() });
        let (_, spread) = moments(&clean);
        let (mean, noise) = moments(&(&noisy - &clean));
        for column in [0, 1, 3] {
            assert!((noise[column] / spread[column] - 0.5).abs() < 0.03, "column {column}");
            assert!(mean[column].abs() < 0.05 * spread[column], "column {column}");
        }
        assert_eq!(noisy.column(2), clean.column(2));
    }

    #[test]
    fn masking_sets_its_share_of_values_to_the_columns_mean_and_leaves_the_rest() {
        let (clean, noisy, corruption) = corrupted(Noise { masking: 0.3, ..Noise::default() });
        let mut masked = 0;
        for ((row, column), &value) in noisy.indexed_iter().filter(|((_, column), _)| *column != 2) {
            if value == corruption.means[column] {
                masked += 1;
            } else {
                assert_eq!(value, clean[[row, column]]);
            }
        }
        assert!((f64::from(masked) / 6000.0 - 0.3).abs() < 0.02);
    }

    #[test]
    fn swapping_takes_its_share_of_values_from_the_same_column_of_another_row() {
        let (clean, noisy, _) = corrupted(Noise { swap: 0.2, ..Noise::default() });
        let mut swapped = 0;
        for ((row, column), &value) in noisy.indexed_iter().filter(|((_, column), _)| *column != 2) {
            if value != clean[[row, column]] {
                swapped += 1;
                assert!(clean.column(column).iter().any(|&other| other == value));
            }
        }
        assert!((f64::from(swapped) / 6000.0 - 0.2).abs() < 0.02);
    }

    #[test]
    fn a_batch_of_one_row_has_nothing_to_swap_with() {
        let corruption = fitted(Noise { swap: 0.9, ..Noise::default() }, &rows());
        let (clean, mut noisy) = ([1.0, 2.0, 3.0, 4.0], [0.0; WIDTH]);
        corruption.apply(&clean, &mut noisy, &mut Xoshiro256PlusPlus::seed_from_u64(1));
        assert_eq!(noisy, clean);
    }
}
