//! The graph's computation by the trainer's own forward pass, to compare an ONNX runtime with.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, concatenate, s};

use super::{GraphError, GraphSpec, finite_cap};
use crate::train::LEAST_LOG_VARIANCE;

/// The graph's outputs for a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphOutputs {
    /// `[batch]`: mean over the columns of `error`.
    pub score: Array1<f32>,
    /// `[batch, D]`: reconstruction of the newest row, columns' own units.
    pub reconstruction: Array2<f32>,
    /// `[batch, D]`: squared residual over its variance.
    pub error: Array2<f32>,
    /// `[batch, K]`: codes of all members.
    pub latent: Array2<f32>,
    /// `[batch, K]`: deviations of Gaussian codes; `None` where codes are plain.
    pub latent_deviation: Option<Array2<f32>>,
    /// `[batch, D]`: newest row minus reconstruction, scaled units, cut at the caps; of Gaussian outputs the root of the
    /// surprise; freed of their correlations where that was asked for.
    pub residual: Array2<f32>,
    /// `[batch, D]`: newest row minus reconstruction, scaled units. Only graphs whose residuals are something else have it as an
    /// output.
    pub difference: Array2<f32>,
}

/// Computes in Rust what [`write`](super::write)'s graph computes for raw `windows` `[batch, L * D]`.
///
/// # Errors
/// The same as for `write`, or windows of another width.
pub fn reference(spec: &GraphSpec<'_>, windows: ArrayView2<'_, f32>) -> Result<GraphOutputs, GraphError> {
    spec.check()?;
    let (got, expected) = (windows.ncols(), spec.width());
    if got != expected {
        return Err(GraphError::Windows { got, expected });
    }
    let columns = spec.columns;
    let scaled = Array2::from_shape_fn(windows.dim(), |(row, index)| {
        let column = &columns[index % columns.len()];
        column.bent((windows[[row, index]] - column.center) * column.scale.recip())
    });
    let input = match spec.input_clip {
        Some((low, high)) => scaled.mapv(|value| value.clamp(low, high)),
        None => scaled.clone(),
    };
    let mask = spec.mask();
    let known = spec.networks[0].input_width();
    let mut input = input.slice(s![.., ..known]).as_standard_layout().into_owned();
    if let Some(mask) = &mask {
        input.indexed_iter_mut().for_each(|((_, at), value)| *value *= mask[at % columns.len()]);
    }
    let newest = scaled.slice(s![.., expected - columns.len()..]);
    let (codes, deviations): (Vec<_>, Vec<_>) = spec.networks.iter().map(|network| network.codes(input.view())).unzip();
    let latent = side_by_side(&codes);
    let latent_deviation = deviations.into_iter().collect::<Option<Vec<_>>>().map(|all| side_by_side(&all));
    let (mut rebuilt, surprise) = members(spec, (scaled.view(), input.view()));
    if let Some(mask) = &mask {
        rebuilt *= &ArrayView1::from(mask);
    }
    let difference = &newest - &rebuilt;
    let mut residual = match surprise {
        Some(surprise) => roots(surprise, difference.view()),
        None => difference.clone(),
    };
    for (index, column) in columns.iter().enumerate() {
        let cap = finite_cap(column);
        residual.column_mut(index).mapv_inplace(|value| value.clamp(-cap, cap));
    }
    if let Some(matrix) = spec.whitening {
        residual = residual.dot(matrix);
    }
    let mut error = residual.clone();
    let mut reconstruction = rebuilt;
    for (index, column) in columns.iter().enumerate() {
        error.column_mut(index).zip_mut_with(&residual.column(index), |error, &residual| {
            *error = residual * residual / column.residual_variance;
        });
        reconstruction
            .column_mut(index)
            .mapv_inplace(|value| column.straightened(value) * column.scale + column.center);
    }
    let mean = |row: ArrayView1<'_, f32>| row.iter().sum::<f32>() / columns.len() as f32;
    let score = error.rows().into_iter().map(mean).collect();
    Ok(GraphOutputs { score, reconstruction, error, latent, latent_deviation, residual, difference })
}

/// What each member has for every row, in one matrix.
fn side_by_side(members: &[Array2<f32>]) -> Array2<f32> {
    let members: Vec<ArrayView2<'_, f32>> = members.iter().map(Array2::view).collect();
    concatenate(Axis(1), &members).expect("every member has a code for every row")
}

/// The mean reconstruction of the newest row and, of Gaussian outputs, the mean surprise.
fn members(
    spec: &GraphSpec<'_>,
    (scaled, input): (ArrayView2<'_, f32>, ArrayView2<'_, f32>),
) -> (Array2<f32>, Option<Array2<f32>>) {
    let (rows, columns) = (scaled.nrows(), spec.columns.len());
    let (mut rebuilt, mut surprise) = (Array2::zeros((rows, columns)), Array2::zeros((rows, columns)));
    for network in spec.networks {
        let width = network.output_width();
        let newest = s![.., width - columns..];
        match network.deviance(input, scaled.slice(s![.., scaled.ncols() - width..])) {
            Some((means, deviance)) => {
                rebuilt += &means.slice(newest);
                surprise.scaled_add(LEAST_LOG_VARIANCE.exp() as f32, &deviance.slice(newest));
            }
            None => rebuilt += &network.reconstruct(input).slice(newest),
        }
    }
    let members = spec.networks.len() as f32;
    rebuilt /= members;
    (rebuilt, spec.is_gaussian().then(|| surprise / members))
}

/// The roots of surprises with the differences' signs.
fn roots(surprise: Array2<f32>, difference: ArrayView2<'_, f32>) -> Array2<f32> {
    let mut roots = surprise;
    roots.zip_mut_with(&difference, |root, &difference| {
        *root = if difference == 0.0 { 0.0 } else { root.sqrt().copysign(difference) };
    });
    roots
}
