//! The factors of a product, and panels: columns of the second one, copied to where their rows lie close together.

use fearless_simd::{Simd, SimdFloat};
use ndarray::{CowArray, Ix2};

/// Values of the widest vector.
pub(super) const WIDEST: usize = 16;

/// A matrix whose rows, or with `transposed` columns, begin `stride` values apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factor<'a, E> {
    pub(super) values: &'a [E],
    pub(super) stride: usize,
    pub(super) transposed: bool,
}

impl<'a, E> Factor<'a, E> {
    pub(super) fn new(matrix: &'a CowArray<'_, E, Ix2>) -> Self {
        let (rows, columns) = matrix.dim();
        match matrix.as_slice() {
            Some(values) => Self { values, stride: columns, transposed: false },
            None => {
                let values = matrix.t().to_slice().expect("it is in standard layout, or its transpose is");
                Self { values, stride: rows, transposed: true }
            }
        }
    }

    pub(super) fn cast<T>(self, values: impl FnOnce(&'a [E]) -> &'a [T]) -> Factor<'a, T> {
        Factor { values: values(self.values), stride: self.stride, transposed: self.transposed }
    }

    /// What lies from this row and column on.
    #[inline(always)]
    pub(super) fn from(self, row: usize, column: usize) -> Self {
        let (long, short) = if self.transposed { (column, row) } else { (row, column) };
        Self { values: &self.values[long * self.stride + short..], ..self }
    }
}

/// Copies `width` columns of the factor to a panel of `W` vectors a row. What lies beyond them doesn't matter.
#[inline(always)]
pub(super) fn fill<S: Simd, V: SimdFloat<S>, const W: usize>(
    simd: S,
    panel: &mut [V::Element],
    b: Factor<'_, V::Element>,
    width: usize,
) {
    let wide = W * V::LEN;
    if b.transposed {
        for first in (0..width).step_by(V::LEN) {
            let columns = Factor { values: &b.values[first * b.stride..], ..b };
            turn::<S, V>(simd, (&mut panel[first..], wide), columns, V::LEN.min(width - first));
        }
        return;
    }
    for (index, row) in panel.chunks_exact_mut(wide).enumerate() {
        let values = &b.values[index * b.stride..];
        // Past the width stands the next row, which is quicker to copy than to avoid.
        match values.get(..wide) {
            Some(values) => {
                for (row, values) in row.chunks_exact_mut(V::LEN).zip(values.chunks_exact(V::LEN)) {
                    V::from_slice(simd, values).store_slice(row);
                }
            }
            None => row[..width].copy_from_slice(&values[..width]),
        }
    }
}

/// Copies as many columns as a vector holds, or `width` of them, to the beginning of each of the panel's rows.
#[inline(always)]
fn turn<S: Simd, V: SimdFloat<S>>(
    simd: S,
    (panel, wide): (&mut [V::Element], usize),
    columns: Factor<'_, V::Element>,
    width: usize,
) {
    let depth = panel.len().div_ceil(wide);
    let mut done = 0;
    while done + V::LEN <= depth {
        let mut square = [V::splat(simd, V::Element::default()); WIDEST];
        let mut index = 0;
        while index < V::LEN {
            // Beyond the width the last column stands in.
            let column = index.min(width - 1);
            square[index] = V::from_slice(simd, &columns.values[column * columns.stride + done..][..V::LEN]);
            index += 1;
        }
        let square = transpose::<S, V>(square);
        let mut index = 0;
        while index < V::LEN {
            square[index].store_slice(&mut panel[(done + index) * wide..][..V::LEN]);
            index += 1;
        }
        done += V::LEN;
    }
    for column in 0..width {
        let values = &columns.values[column * columns.stride..][..depth];
        for (row, &value) in panel.chunks_mut(wide).zip(values).skip(done) {
            row[column] = value;
        }
    }
}

/// The transpose of the square in the first vectors: shuffling both halves of a deck of n cards log2(n) times turns rows
/// to columns.
#[inline(always)]
fn transpose<S: Simd, V: SimdFloat<S>>(mut square: [V; WIDEST]) -> [V; WIDEST] {
    let mut rounds = V::LEN;
    while rounds > 1 {
        let before = square;
        let mut index = 0;
        while index < V::LEN / 2 {
            let (low, high) = before[index].interleave(before[index + V::LEN / 2]);
            square[2 * index] = low;
            square[2 * index + 1] = high;
            index += 1;
        }
        rounds /= 2;
    }
    square
}
