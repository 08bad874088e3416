//! Residuals freed of their correlations, so that the sum of their squares is a Mahalanobis distance: columns that always
//! err together count as one, and one that errs against the habit of the others counts for more.
//!
//! The symmetric inverse root of the residuals' covariance is taken (zero-phase or ZCA whitening; Kessy, Lewin and Strimmer,
//! *The American Statistician* 72, 2018): of all whitenings it leaves each residual as near to itself as can be, and so a
//! share of the distance still belongs to a column.

use linfa_linalg::eigh::EighInto;
use ndarray::{Array1, Array2, Axis};

use super::error::AutoencoderError;

/// Share of each covariance that is taken for chance: few rows must not make two columns one.
const SHRINKAGE: f64 = 0.1;
/// Residuals further than this many deviations from 0 are cut, so that a few rows don't make the correlation of all.
const CUT: f64 = 6.0;
/// Smallest variance of a direction, as a share of the mean one: what is next to nothing is rounding.
const LEAST: f64 = 1e-3;

/// The matrix `[columns, columns]` that residuals `[rows, columns]` are multiplied with from the right. Columns that don't
/// `vary` stay as they are.
///
/// # Errors
/// The decomposition failed.
pub(super) fn whitening(residuals: &[f32], vary: &[bool]) -> Result<Array2<f32>, AutoencoderError> {
    let varying: Vec<usize> = (0..vary.len()).filter(|column| vary[*column]).collect();
    let mut whole = Array2::eye(vary.len());
    let finite: Vec<&[f32]> =
        residuals.chunks_exact(vary.len()).filter(|row| row.iter().all(|residual| residual.is_finite())).collect();
    if varying.is_empty() || finite.is_empty() {
        return Ok(whole);
    }
    let rows = Array2::from_shape_fn((finite.len(), varying.len()), |(row, at)| f64::from(finite[row][varying[at]]));
    let root = inverse_root(covariance(rows))?;
    for (at, row) in varying.iter().enumerate() {
        for (to, column) in varying.iter().enumerate() {
            whole[[*row, *column]] = root[[at, to]] as f32;
        }
    }
    Ok(whole)
}

/// Second moments of the rows about 0, each row's values cut, those of two columns shrunk towards none.
fn covariance(mut rows: Array2<f64>) -> Array2<f64> {
    let count = rows.nrows() as f64;
    let deviations: Array1<f64> = rows.mapv(|value| value * value).sum_axis(Axis(0)).mapv(|sum| (sum / count).sqrt());
    for mut row in rows.rows_mut() {
        row.zip_mut_with(&deviations, |value, deviation| *value = value.clamp(-CUT * deviation, CUT * deviation));
    }
    let mut moments = rows.t().dot(&rows) / count;
    for ((row, column), moment) in moments.indexed_iter_mut() {
        if row != column {
            *moment *= 1.0 - SHRINKAGE;
        }
    }
    moments
}

fn inverse_root(covariance: Array2<f64>) -> Result<Array2<f64>, AutoencoderError> {
    let size = covariance.nrows();
    let mean = covariance.diag().sum() / size as f64;
    if mean == 0.0 {
        return Ok(Array2::eye(size));
    }
    // In the decomposition all variances lie about 1 or above, where the solver finds its digits soon.
    let scaled = covariance / mean + Array2::<f64>::eye(size);
    let (variances, axes) = scaled.eigh_into().map_err(AutoencoderError::Decomposition)?;
    let factor = |variance: &f64| ((variance - 1.0).max(LEAST) * mean).sqrt().recip();
    let stretched = &axes * &variances.map(factor);
    Ok(stretched.dot(&axes.t()))
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    /// Rows of three residuals, of which the second has half its variance from the first.
    fn correlated(rows: usize) -> Vec<f32> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let mut noise = move || rng.gen_range(-1.0_f32..1.0);
        let row = |_| {
            let (first, second, third) = (noise(), noise(), noise());
            [first, first + second, 5.0 * third]
        };
        (0..rows).flat_map(row).collect()
    }

    fn whitened(residuals: &[f32], vary: &[bool]) -> Array2<f64> {
        let matrix = whitening(residuals, vary).unwrap().mapv(f64::from);
        let rows = Array2::from_shape_vec((residuals.len() / 3, 3), residuals.to_vec()).unwrap();
        rows.mapv(f64::from).dot(&matrix)
    }

    #[test]
    fn whitened_residuals_hardly_correlate_and_have_variances_of_about_one() {
        let rows = whitened(&correlated(4000), &[true; 3]);
        let moments = rows.t().dot(&rows) / 4000.0;
        for ((row, column), moment) in moments.indexed_iter() {
            let expected = if row == column { 0.9..1.2 } else { -0.15..0.15 };
            assert!(expected.contains(moment), "{moments}");
        }
    }

    #[test]
    fn a_residual_against_the_habit_of_the_others_counts_for_more() {
        let residuals = correlated(4000);
        let matrix = whitening(&residuals, &[true; 3]).unwrap();
        let size = |row: [f32; 3]| Array1::from(row.to_vec()).dot(&matrix).mapv(|value| value * value).sum();
        let (with, against) = (size([1.0, 1.4, 0.0]), size([1.0, -1.4, 0.0]));
        assert!(against > 4.0 * with, "{against} against the habit, {with} with it");
    }

    #[test]
    fn columns_that_do_not_vary_and_rows_that_are_no_numbers_have_no_part() {
        let mut residuals = correlated(500);
        residuals[3] = f32::NAN;
        let matrix = whitening(&residuals, &[true, false, true]).unwrap();
        assert!(matrix.iter().all(|value| value.is_finite()));
        assert_eq!(matrix.row(1).to_vec(), [0.0, 1.0, 0.0]);
        assert_eq!(whitening(&[f32::NAN; 6], &[true; 3]).unwrap(), Array2::<f32>::eye(3));
        assert_eq!(whitening(&[0.0; 6], &[true; 3]).unwrap(), Array2::<f32>::eye(3));
    }

    #[test]
    fn a_wild_row_does_not_make_the_correlation_of_all() {
        let mut residuals = correlated(2000);
        let tame = whitening(&residuals, &[true; 3]).unwrap();
        residuals[0] = 1e4;
        residuals[2] = -1e4;
        let wild = whitening(&residuals, &[true; 3]).unwrap();
        assert!(wild[[2, 2]] > 0.05 * tame[[2, 2]], "{wild} against {tame}");
    }
}
