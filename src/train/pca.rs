//! Principal components as a network: the linear autoencoder, solved exactly (Baldi and Hornik 1989).

use linfa::Float;
use linfa_linalg::eigh::{EigSort, EighInto};
use ndarray::{Array1, Array2, ArrayView2, Axis, Zip, s};

use crate::config::settings::Activation;

use super::{
    activation::to_f64,
    error::AutoencoderError,
    layer::Layer,
    network::Network,
    product::multiply,
    rows::{Rows, column_moments, of_matrix},
};

/// Rows that are brought to double precision at a time.
const BLOCK: usize = 1024;

/// A network of one linear code layer of `components` principal components of `rows` (`[rows, columns]`) and a decoder
/// with the same weights; the rows' mean is folded into both biases.
///
/// Where the rows span fewer directions than `components` (constant columns, few rows), the code values beyond them are
/// always 0; directions with less than about a 50,000th of the largest one's standard deviation count as not spanned.
/// Everything is computed in double precision.
///
/// # Errors
/// No rows, no components or more than columns, or rows whose covariance isn't finite.
pub fn principal_components<F: Float>(
    rows: ArrayView2<'_, F>,
    components: usize,
) -> Result<Network<F>, AutoencoderError> {
    let copy = of_matrix(rows.reborrow());
    components_of(Rows { len: rows.nrows(), width: rows.ncols(), copy: &copy }, components)
}

/// The same of rows that stand in no matrix.
pub(super) fn components_of<F: Float>(rows: Rows<'_, F>, components: usize) -> Result<Network<F>, AutoencoderError> {
    let columns = rows.width;
    if rows.len == 0 {
        return Err(AutoencoderError::TooFewRows { set: "training", got: 0, needed: 1 });
    }
    if components == 0 || components > columns {
        let expected = format!("between 1 and the number of columns, {columns}");
        let (name, value) = ("number of components".to_owned(), components.to_string());
        return Err(AutoencoderError::Parameter { name, value, expected });
    }
    let mean = Array1::from(column_moments(rows, columns).0);
    let basis = principal_axes(&covariance(rows, &mean), components)?;
    let code_bias = basis.dot(&mean).mapv(|value| -value);
    let cast = |matrix: ArrayView2<'_, f64>| matrix.mapv(|value| F::cast(value));
    let encoder = Layer::dense(cast(basis.t()), code_bias.mapv(F::cast), Activation::Identity)?;
    let decoder = Layer::dense(cast(basis.view()), mean.mapv(F::cast), Activation::Identity)?;
    Ok(Network::new(vec![encoder, decoder], 0)?)
}

/// Covariance `[columns, columns]` of the rows.
fn covariance<F: Float>(rows: Rows<'_, F>, mean: &Array1<f64>) -> Array2<f64> {
    let mut sum = Array2::zeros((mean.len(), mean.len()));
    let mut centred = Array2::zeros((BLOCK.min(rows.len), mean.len()));
    rows.blocks(BLOCK, |_, block| {
        let mut centred = centred.slice_mut(s![..block.nrows(), ..]);
        for (mut centred, row) in centred.rows_mut().into_iter().zip(block.rows()) {
            Zip::from(&mut centred)
                .and(row)
                .and(mean)
                .for_each(|centred, &value, mean| *centred = to_f64(value) - mean);
        }
        multiply(centred.t(), centred.view(), sum.view_mut(), true);
    });
    sum / rows.len as f64
}

/// Smallest variance of a direction that is told from none, as a share of the largest column's.
const NONE: f64 = 4e-10;

/// The `components` orthonormal directions `[components, columns]` of largest variance; missing ones are zero.
fn principal_axes(covariance: &Array2<f64>, components: usize) -> Result<Array2<f64>, AutoencoderError> {
    let columns = covariance.nrows();
    let largest = covariance.diag().iter().copied().fold(0.0, f64::max);
    let mut basis = Array2::zeros((components, columns));
    if !covariance.iter().all(|value| value.is_finite()) {
        // The solver would search for ever.
        return Err(AutoencoderError::Covariance);
    }
    if largest == 0.0 {
        return Ok(basis);
    }
    // Constant columns have no part in any direction; without them the decomposition is better conditioned.
    let varying: Vec<usize> = (0..columns).filter(|&column| covariance[[column, column]] > 0.0).collect();
    // The same variance in every direction more leaves the directions as they are; without it the solver looks long for
    // digits of small variances that rounding has taken.
    let shifted =
        covariance.select(Axis(0), &varying).select(Axis(1), &varying) / largest + Array2::<f64>::eye(varying.len());
    let (variances, axes) = shifted.eigh_into().map_err(AutoencoderError::Decomposition)?.sort_eig_desc();
    let spanned = variances.iter().take_while(|&&variance| variance - 1.0 > NONE);
    for ((mut place, axis), _) in basis.rows_mut().into_iter().zip(axes.columns()).zip(spanned) {
        for (&column, &value) in varying.iter().zip(axis) {
            place[column] = value;
        }
    }
    Ok(basis)
}

#[cfg(test)]
mod tests {
    use linfa::{Dataset, traits::Fit};
    use linfa_reduction::Pca;
    use ndarray::{arr2, concatenate};
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    fn random(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        Array2::from_shape_simple_fn((rows, columns), || rng.gen_range(-1.0..1.0))
    }

    fn worst_error(rows: &Array2<f64>, components: usize) -> f64 {
        let network = principal_components(rows.view(), components).unwrap();
        (network.reconstruct(rows.view()) - rows).iter().fold(0.0, |worst: f64, error| worst.max(error.abs()))
    }

    #[test]
    fn rows_of_low_rank_are_rebuilt_exactly_by_as_many_components() {
        for (rank, columns) in [(1, 3), (2, 6), (5, 9), (3, 38)] {
            let rows = random(200, rank, 1).dot(&random(rank, columns, 2)) + 3.0;
            assert!(worst_error(&rows, rank) < 1e-9, "{rank} of {columns}");
            assert!(rank == 1 || worst_error(&rows, rank - 1) > 1e-3, "{rank} of {columns}");
        }
    }

    #[test]
    fn components_equal_those_worked_out_by_hand() {
        // Variance 4 along (0.6, 0.8), 1 across: means (1, 2).
        let rows = arr2(&[[2.2f64, 3.6], [-0.2, 0.4], [1.8, 1.4], [0.2, 2.6]]);
        let network = principal_components(rows.view(), 1).unwrap();
        let axis = network.layers()[0].weight().column(0).to_owned();
        assert!((axis[0].abs() - 0.6).abs() < 1e-12 && (axis[1] / axis[0] - 0.8 / 0.6).abs() < 1e-9, "{axis}");
        let expected = arr2(&[[2.2, 3.6], [-0.2, 0.4], [1.0, 2.0], [1.0, 2.0]]);
        assert!((network.reconstruct(rows.view()) - expected).iter().all(|error| error.abs() < 1e-9));
    }

    /// linfa-reduction iterates from random directions: an independent way, but minutes long for hundreds of columns, and
    /// exact only where it is asked for all directions.
    #[test]
    fn components_are_those_of_linfa_reduction() {
        let rows = random(300, 12, 4).dot(&random(12, 12, 5)) + 2.0;
        let network = principal_components(rows.view(), 5).unwrap();
        let pca = Pca::params(12).fit(&Dataset::from(rows)).unwrap();
        for (ours, theirs) in network.layers()[0].weight().columns().into_iter().zip(pca.components().rows()) {
            assert!((ours.dot(&theirs).abs() - 1.0).abs() < 1e-6, "{ours} and {theirs}");
        }
    }

    #[test]
    fn directions_are_orthonormal_and_leave_the_least_error_for_any_count() {
        for columns in [2, 3, 7, 38] {
            let rows = random(300, columns, 4).dot(&random(columns, columns, 5));
            let mut before = f64::INFINITY;
            for components in 1..=columns {
                let network = principal_components(rows.view(), components).unwrap();
                let axes = network.layers()[0].weight();
                let deviation = axes.t().dot(axes) - Array2::<f64>::eye(components);
                assert!(deviation.iter().all(|value| value.abs() < 1e-9), "{components} of {columns}");
                let error = (network.reconstruct(rows.view()) - &rows).mapv(|e| e * e).sum();
                assert!(error < before, "{components} of {columns}");
                before = error;
            }
            assert!(before < 1e-12, "{before:e} is left by all {columns} components");
        }
    }

    #[test]
    fn code_values_are_uncorrelated_and_fall_in_variance() {
        for columns in [2, 7, 38, 120, 304] {
            let rows = random(500, columns, 4).dot(&random(columns, columns, 5));
            let codes = principal_components(rows.view(), columns).unwrap().encode(rows.view());
            let copy = of_matrix(codes.view());
            let rows = Rows { len: codes.nrows(), width: codes.ncols(), copy: &copy };
            let spread = covariance(rows, &Array1::from(column_moments(rows, codes.ncols()).0));
            for ((row, column), value) in spread.indexed_iter().filter(|((row, column), _)| row != column) {
                assert!(value.abs() < 1e-8 * spread[[0, 0]], "{row}, {column} of {columns}: {value:e}");
            }
            assert!((1..columns).all(|index| spread[[index, index]] <= spread[[index - 1, index - 1]]));
        }
    }

    #[test]
    fn windows_of_rows_that_change_slowly_are_decomposed_too() {
        // Such windows have directions of almost no variance by the hundred.
        let mut walk = random(400, 38, 11);
        for row in 1..walk.nrows() {
            let before = walk.row(row - 1).to_owned();
            walk.row_mut(row).scaled_add(50.0, &before.mapv(|value| value / 51.0));
        }
        let windows: Vec<_> = (0..4).map(|step| walk.slice(s![step..step + 397, ..])).collect();
        let rows = concatenate(Axis(1), &windows).unwrap();
        assert!(worst_error(&rows, 152) < 1e-9);
        assert!(worst_error(&rows, 76) < worst_error(&rows, 38));
    }

    #[test]
    fn constant_columns_and_few_rows_leave_code_values_at_zero() {
        let mut rows = random(50, 6, 7);
        rows.column_mut(1).fill(0.1);
        rows.column_mut(4).fill(-7.0);
        assert!(worst_error(&rows, 4) < 1e-9);
        assert!(worst_error(&rows, 5) < 1e-9);
        let network = principal_components(rows.view(), 6).unwrap();
        assert!(network.encode(rows.view()).slice(s![.., 4..]).iter().all(|&value| value == 0.0));

        let few = random(3, 10, 8);
        assert!(worst_error(&few, 2) < 1e-9);
        assert!(worst_error(&few, 9) < 1e-9);
        assert!(worst_error(&Array2::from_elem((5, 3), 2.5), 2) == 0.0);
        assert!(worst_error(&random(1, 4, 9), 2) == 0.0);
    }

    #[test]
    fn columns_of_very_different_size_keep_their_directions() {
        let mut rows = random(500, 4, 10);
        rows.column_mut(0).mapv_inplace(|value| value * 1e2);
        rows.column_mut(3).mapv_inplace(|value| value * 1e-2 + 100.0);
        let network = principal_components(rows.view(), 3).unwrap();
        let weights = network.layers()[0].weight();
        assert!(weights.row(3).iter().all(|value| value.abs() < 1e-3), "{weights}");
        assert!(worst_error(&rows, 4) < 1e-9);
    }

    #[test]
    fn counts_that_make_no_sense_are_refused() {
        let rows = random(5, 3, 1);
        assert!(principal_components(rows.view(), 0).is_err());
        let error = principal_components(rows.view(), 4).unwrap_err().to_string();
        assert_eq!(error, "number of components is 4, expected between 1 and the number of columns, 3");
        assert!(principal_components(rows.slice(s![..0, ..]), 1).is_err());
        let mut rows = rows;
        rows[[1, 2]] = f64::NAN;
        assert!(matches!(principal_components(rows.view(), 1), Err(AutoencoderError::Covariance)));
    }
}
