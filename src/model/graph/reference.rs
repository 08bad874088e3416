//! The graph's computation by the trainer's own forward pass, to compare an ONNX runtime with.

use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate, s};

use super::{GraphError, GraphSpec, finite_cap};

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
    /// `[batch, D]`: newest row minus reconstruction, scaled units, cut at the caps.
    pub residual: Array2<f32>,
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
        (windows[[row, index]] - column.center) * column.scale.recip()
    });
    let input = match spec.input_clip {
        Some((low, high)) => scaled.mapv(|value| value.clamp(low, high)),
        None => scaled.clone(),
    };
    let newest = s![.., expected - columns.len()..];
    let codes: Vec<Array2<f32>> = spec.networks.iter().map(|network| network.encode(input.view())).collect();
    let mut rebuilt = Array2::<f32>::zeros((windows.nrows(), columns.len()));
    for (network, code) in spec.networks.iter().zip(&codes) {
        rebuilt += &network.decode(code.view()).slice(newest);
    }
    rebuilt /= spec.networks.len() as f32;
    let codes: Vec<ArrayView2<'_, f32>> = codes.iter().map(Array2::view).collect();
    let latent = concatenate(Axis(1), &codes).expect("every member has a code for every row");

    let mut residual = &scaled.slice(newest) - &rebuilt;
    let mut error = residual.clone();
    let mut reconstruction = rebuilt;
    for (index, column) in columns.iter().enumerate() {
        let cap = finite_cap(column);
        residual.column_mut(index).mapv_inplace(|value| value.clamp(-cap, cap));
        error.column_mut(index).zip_mut_with(&residual.column(index), |error, &residual| {
            *error = residual * residual / column.residual_variance;
        });
        reconstruction.column_mut(index).mapv_inplace(|value| value * column.scale + column.center);
    }
    let mean = |row: ndarray::ArrayView1<'_, f32>| row.iter().sum::<f32>() / columns.len() as f32;
    let score = error.rows().into_iter().map(mean).collect();
    Ok(GraphOutputs { score, reconstruction, error, latent, residual })
}
