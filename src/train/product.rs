//! Matrix products, the trainer's main work.

use linfa::Float;
use ndarray::{ArrayView2, ArrayViewMut2, linalg::general_mat_mul};

/// `out = a * b`, or with `accumulate` `out += a * b`; `[n, k]` x `[k, m]` -> `[n, m]`, any strides.
pub(super) fn multiply<F: Float>(
    a: ArrayView2<'_, F>,
    b: ArrayView2<'_, F>,
    mut out: ArrayViewMut2<'_, F>,
    accumulate: bool,
) {
    let beta = if accumulate { F::one() } else { F::zero() };
    general_mat_mul(F::one(), &a, &b, beta, &mut out);
}
