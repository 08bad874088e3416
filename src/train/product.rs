//! Matrix products, the trainer's main work.
//!
//! Each value is summed up in the same order whatever the [tiles](super::tile) and threads, so that neither changes a bit.
//! CPUs with fused multiply-add (all with AVX2, and AArch64) give the same bits; those without round once more per term.

use linfa::Float;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, CowArray, Ix2};

use super::{
    lanes::{Kind, kind, kind_mut},
    panel::Factor,
    tile::{Element, Product, Shape, whole},
};

/// From this many multiplications on it pays to share a product among threads.
const SHARED: usize = 1 << 20;

/// A pool of threads in which large products are shared; the number of threads changes no bit.
#[derive(Debug)]
pub(super) struct Threads(Option<rayon::ThreadPool>);

impl Threads {
    /// `count` threads; with fewer than 2, or where the system gives no more, the caller's own.
    pub(super) fn new(count: usize) -> Self {
        let name = |index| format!("train-{index}");
        let pool = || rayon::ThreadPoolBuilder::new().num_threads(count).thread_name(name).build().ok();
        Self(if count > 1 { pool() } else { None })
    }

    /// Does `work` in the pool: every [`multiply`] in it may use all threads.
    pub(super) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}

/// `out = a * b`, or with `accumulate` `out += a * b`; `[n, k]` x `[k, m]` -> `[n, m]`, any strides. Whole matrices, their
/// transposes and first rows are read where they are; others are copied first.
pub(super) fn multiply<F: Float>(
    a: ArrayView2<'_, F>,
    b: ArrayView2<'_, F>,
    mut out: ArrayViewMut2<'_, F>,
    accumulate: bool,
) {
    let (of_a, of_b, of_out) = (a.dim(), b.dim(), out.dim());
    assert!(of_a.1 == of_b.0 && of_out == (of_a.0, of_b.1), "no product of {of_a:?} and {of_b:?} is {of_out:?}");
    if out.is_empty() {
        return;
    }
    if a.ncols() == 0 {
        if !accumulate {
            out.fill(F::zero());
        }
    } else if let Some(values) = out.as_slice_mut() {
        multiply_into(a, b, values, accumulate);
    } else if let Some(values) = out.view_mut().reversed_axes().as_slice_mut() {
        multiply_into(b.reversed_axes(), a.reversed_axes(), values, accumulate);
    } else {
        let mut whole = Array2::zeros(out.dim());
        multiply(a, b, whole.view_mut(), false);
        out.zip_mut_with(&whole, |sum, &value| *sum = if accumulate { *sum + value } else { value });
    }
}

fn multiply_into<F: Float>(a: ArrayView2<'_, F>, b: ArrayView2<'_, F>, out: &mut [F], accumulate: bool) {
    let shape = Shape { rows: a.nrows(), columns: b.ncols(), depth: a.ncols() };
    let (a, b) = (laid_out(&a), laid_out(&b));
    let (a, b) = (Factor::new(&a), Factor::new(&b));
    match kind_mut(out) {
        Kind::Single(out) => share(Product { a: a.cast(single), b: b.cast(single), out, shape, accumulate }),
        Kind::Double(out) => share(Product { a: a.cast(double), b: b.cast(double), out, shape, accumulate }),
    }
}

fn single<F: Float>(values: &[F]) -> &[f32] {
    let Kind::Single(values) = kind(values) else { unreachable!("the output is of the same kind") };
    values
}

fn double<F: Float>(values: &[F]) -> &[f64] {
    let Kind::Double(values) = kind(values) else { unreachable!("the output is of the same kind") };
    values
}

/// The matrix itself where its rows or columns lie one after another, else a copy.
fn laid_out<'a, F: Float>(matrix: &'a ArrayView2<'_, F>) -> CowArray<'a, F, Ix2> {
    if matrix.t().is_standard_layout() { CowArray::from(matrix.view()) } else { matrix.as_standard_layout() }
}

/// Does a product on the threads of the pool that this is called in, if any: each makes some of the rows.
fn share<E: Element>(product: Product<'_, E>) {
    let Shape { rows, columns, depth } = product.shape;
    let large = rows.saturating_mul(columns).saturating_mul(depth) >= SHARED;
    let threads = if large && rayon::current_thread_index().is_some() { rayon::current_num_threads() } else { 1 };
    split(product, threads.min(rows));
}

fn split<E: Element>(product: Product<'_, E>, parts: usize) {
    if parts < 2 {
        return whole(product);
    }
    let Product { a, b, out, shape, accumulate } = product;
    let above = shape.rows * (parts / 2) / parts;
    let (upper, lower) = out.split_at_mut(above * shape.columns);
    let part = |a, out, rows| Product { a, b, out, shape: Shape { rows, ..shape }, accumulate };
    let (upper, lower) = (part(a, upper, above), part(a.from(above, 0), lower, shape.rows - above));
    rayon::join(|| split(upper, parts / 2), || split(lower, parts - parts / 2));
}

#[cfg(test)]
mod tests {
    use ndarray::{Axis, s};
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    type Random = Xoshiro256PlusPlus;

    fn random<F: Float>(rows: usize, columns: usize, rng: &mut Random) -> Array2<F> {
        Array2::from_shape_simple_fn((rows, columns), || F::cast(rng.gen_range(-1.0..1.0)))
    }

    fn exact<F: Float>(value: F) -> f64 {
        value.to_f64().unwrap()
    }

    /// A matrix of these sizes laid out in one of five ways: whole, transposed, part of another, with gaps, upside down.
    fn laid<F: Float>(
        way: usize,
        (rows, columns): (usize, usize),
        rng: &mut Random,
        check: &mut dyn FnMut(ArrayView2<F>),
    ) {
        match way {
            0 => check(random(rows, columns, rng).view()),
            1 => check(random(columns, rows, rng).t()),
            2 => check(random(rows + 2, columns + 3, rng).slice(s![1..rows + 1, 2..columns + 2])),
            3 => check(random(2 * rows, 3 * columns, rng).slice(s![..;2, ..;3])),
            _ => {
                let mut matrix = random(rows, columns, rng);
                matrix.invert_axis(Axis(0));
                check(matrix.view());
            }
        }
    }

    /// A product differs from sums in double precision by no more than rounding explains.
    fn check<F: Float>(ways: [usize; 3], shape: Shape, rng: &mut Random, accumulate: bool) {
        let Shape { rows, columns, depth } = shape;
        let mut other = rng.clone();
        laid::<F>(ways[0], (rows, depth), rng, &mut |a| {
            let mut third = other.clone();
            laid::<F>(ways[1], (depth, columns), &mut other, &mut |b| {
                laid::<F>(ways[2], (rows, columns), &mut third, &mut |before| {
                    let mut out = before.to_owned();
                    let mut room = Array2::zeros((2 * rows, columns + 1));
                    let mut gaps = room.slice_mut(s![..;2, 1..]);
                    gaps.assign(&before);
                    let mut out = if ways[2] == 0 { out.view_mut() } else { gaps };
                    multiply(a, b, out.view_mut(), accumulate);
                    for ((row, column), &value) in out.indexed_iter() {
                        let terms = (0..depth).map(|term| exact(a[[row, term]]) * exact(b[[term, column]]));
                        let first = if accumulate { exact(before[[row, column]]) } else { 0.0 };
                        let expected = terms.clone().fold(first, |sum, term| sum + term);
                        let size = terms.fold(first.abs(), |sum, term| sum + term.abs());
                        let allowed = exact(F::epsilon()) * size * (depth + 1) as f64;
                        let error = (exact(value) - expected).abs();
                        assert!(error <= allowed, "{shape:?} {ways:?} [{row}, {column}]: {value} {expected}");
                    }
                });
            });
        });
    }

    #[test]
    fn products_equal_naive_sums_for_any_shape_and_layout() {
        let mut rng = Random::seed_from_u64(1);
        for round in 0..300 {
            let mut size = |largest: usize| rng.gen_range(1..=largest);
            // Some are deeper than a panel, some narrower than a vector.
            let shape = match round % 3 {
                0 => Shape { rows: size(70), columns: size(70), depth: size(70) },
                1 => Shape { rows: size(20), columns: size(20), depth: size(600) },
                _ => Shape { rows: size(60), columns: size(9), depth: size(9) },
            };
            let ways = [size(5) - 1, size(5) - 1, size(5) - 1];
            check::<f32>(ways, shape, &mut rng, round % 2 == 0);
            check::<f64>(ways, shape, &mut rng, round % 2 == 0);
        }
    }

    #[test]
    fn an_output_stored_by_columns_is_filled_as_one_stored_by_rows() {
        let mut rng = Random::seed_from_u64(2);
        let (a, b) = (random::<f32>(13, 70, &mut rng), random(70, 37, &mut rng));
        let (mut by_rows, mut by_columns) = (Array2::zeros((13, 37)), Array2::zeros((37, 13)));
        multiply(a.view(), b.view(), by_rows.view_mut(), false);
        multiply(a.view(), b.view(), by_columns.view_mut().reversed_axes(), false);
        assert_eq!(by_rows, by_columns.t());
    }

    #[test]
    fn a_product_without_terms_is_zero_and_one_without_values_is_nothing() {
        let mut out = Array2::from_elem((2, 3), 7.0);
        multiply(Array2::<f64>::zeros((2, 0)).view(), Array2::zeros((0, 3)).view(), out.view_mut(), true);
        assert_eq!(out, Array2::from_elem((2, 3), 7.0));
        multiply(Array2::zeros((2, 0)).view(), Array2::zeros((0, 3)).view(), out.view_mut(), false);
        assert_eq!(out, Array2::<f64>::zeros((2, 3)));
        multiply(
            Array2::<f32>::zeros((0, 4)).view(),
            Array2::zeros((4, 3)).view(),
            Array2::zeros((0, 3)).view_mut(),
            false,
        );
    }

    #[test]
    fn a_nan_reaches_what_it_is_multiplied_into_and_nothing_else() {
        let mut rng = Random::seed_from_u64(3);
        let (mut a, b) = (random::<f32>(30, 20, &mut rng), random(20, 45, &mut rng));
        a[[17, 5]] = f32::NAN;
        let mut out = Array2::zeros((30, 45));
        multiply(a.view(), b.view(), out.view_mut(), false);
        for (row, values) in out.rows().into_iter().enumerate() {
            assert!(values.iter().all(|value| value.is_nan() == (row == 17)), "{row}");
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let mut rng = Random::seed_from_u64(4);
        for (rows, depth, columns) in [(1024, 256, 130), (130, 1024, 256), (3, 700, 700), (257, 128, 67)] {
            let (a, b) = (random::<f32>(rows, depth, &mut rng), random(columns, depth, &mut rng));
            let by = |threads| {
                let mut out = Array2::zeros((rows, columns));
                Threads::new(threads).run(|| multiply(a.view(), b.t(), out.view_mut(), false));
                out
            };
            let alone = by(1);
            for threads in 2..6 {
                assert_eq!(by(threads), alone, "{threads} threads, {rows} x {depth} x {columns}");
            }
        }
    }
}
