//! The first few of many, in order.

use std::cmp::Ordering;

/// Keeps the first `count` by `order`, in order. There may be as many as a grid has cells, or as there are entities: only
/// those that are kept are sorted.
pub(crate) fn keep_first<T>(all: &mut Vec<T>, count: usize, order: impl Fn(&T, &T) -> Ordering) {
    if count < all.len() {
        all.select_nth_unstable_by(count, &order);
        all.truncate(count);
    }
    all.sort_by(order);
}

/// The `count` columns with the largest shares, largest first, and of equal ones the first; columns without a share are left
/// out.
pub(crate) fn leading(columns: usize, count: usize, share: impl Fn(usize) -> f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..columns).filter(|column| share(*column) > 0.0).collect();
    keep_first(&mut order, count, |a, b| share(*b).total_cmp(&share(*a)).then(a.cmp(b)));
    order
}
