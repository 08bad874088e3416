//! The rows that a network is fitted on, copied out one at a time: a sample is held once, and its overlapping windows are
//! never laid out beside each other.

use linfa::Float;
use ndarray::{Array2, ArrayView2};

use super::{activation::to_f64, network::contiguous_mut};

/// Rows that are looked at together.
const BLOCK: usize = 256;

/// `len` rows of `width` values, scaled.
#[derive(Clone, Copy)]
pub struct Rows<'a, F> {
    /// Number of rows.
    pub len: usize,
    /// Values of a row.
    pub width: usize,
    /// Writes one row (from 0) into a slice of `width` values.
    pub copy: &'a (dyn Fn(usize, &mut [F]) + Sync),
}

/// Rows to fit on and rows to stop by.
#[derive(Clone, Copy)]
pub struct Sets<'a, F> {
    /// Fitted on.
    pub training: Rows<'a, F>,
    /// Watched by early stopping.
    pub validation: Rows<'a, F>,
}

/// Copies rows of a matrix of any memory order.
pub(super) fn of_matrix<F: Float>(matrix: ArrayView2<'_, F>) -> impl Fn(usize, &mut [F]) + Sync {
    move |row, values| {
        let row = matrix.row(row);
        match row.as_slice() {
            Some(row) => values.copy_from_slice(row),
            None => values.iter_mut().zip(row).for_each(|(to, &from)| *to = from),
        }
    }
}

impl<F: Float> Rows<'_, F> {
    /// Calls `each` with all rows in order, in blocks of at most `rows` rows; one buffer serves for all.
    pub(super) fn blocks(&self, rows: usize, mut each: impl FnMut(usize, ArrayView2<'_, F>)) {
        let mut block = Array2::zeros((rows.min(self.len), self.width));
        for first in (0..self.len).step_by(rows.max(1)) {
            let count = rows.min(self.len - first);
            for (at, mut row) in block.rows_mut().into_iter().take(count).enumerate() {
                (self.copy)(first + at, contiguous_mut(row.as_slice_mut()));
            }
            each(first, block.slice(ndarray::s![..count, ..]));
        }
    }
}

/// Mean and standard deviation of each of the first `columns` columns; exact for constant ones, whose deviation is 0.
pub(super) fn column_moments<F: Float>(rows: Rows<'_, F>, columns: usize) -> (Vec<f64>, Vec<f64>) {
    let count = rows.len as f64;
    let (mut first, mut constant) = (Vec::new(), vec![true; columns]);
    let (mut means, mut variances) = (vec![0.0; columns], vec![0.0; columns]);
    rows.blocks(BLOCK, |at, block| {
        if at == 0 {
            first = block.row(0).iter().map(|&value| to_f64(value)).collect();
        }
        for row in block.rows() {
            for (column, &value) in row.iter().take(columns).enumerate() {
                means[column] += to_f64(value);
                constant[column] &= to_f64(value) == first[column];
            }
        }
    });
    means.iter_mut().for_each(|sum| *sum /= count);
    rows.blocks(BLOCK, |_, block| {
        for row in block.rows() {
            for (column, &value) in row.iter().take(columns).enumerate() {
                variances[column] += (to_f64(value) - means[column]).powi(2);
            }
        }
    });
    for column in (0..columns).filter(|column| constant[*column]) {
        (means[column], variances[column]) = (first.get(column).copied().unwrap_or(0.0), 0.0);
    }
    (means, variances.into_iter().map(|sum| (sum / count).sqrt()).collect())
}

impl<F> std::fmt::Debug for Rows<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows of {} values", self.len, self.width)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::concatenate;

    use super::*;

    #[test]
    fn blocks_give_every_row_once_in_order_whatever_their_size_and_the_matrix_memory_order() {
        let matrix = Array2::from_shape_fn((3, 7), |(column, row)| (10 * row + column) as f32).reversed_axes();
        let copy = of_matrix(matrix.view());
        let rows = Rows { len: 7, width: 3, copy: &copy };
        for size in [1, 2, 3, 7, 9] {
            let (mut blocks, mut firsts) = (Vec::new(), Vec::new());
            rows.blocks(size, |first, block| {
                firsts.push(first);
                blocks.push(block.to_owned());
            });
            let views: Vec<_> = blocks.iter().map(Array2::view).collect();
            assert_eq!(concatenate(ndarray::Axis(0), &views).unwrap(), matrix);
            assert_eq!(firsts, (0..7).step_by(size).collect::<Vec<_>>());
        }
    }
}
