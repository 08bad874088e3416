//! The CPU's widest vectors, found out at run time, for `f32` and `f64` alike.
//!
//! The program is compiled for any CPU of its architecture. Loops that matter are compiled once more for each kind of vector
//! unit, and the best that the CPU has is called: on x86-64 with 512, 256 or 128 bits, on AArch64 with 128.

use castaway::cast;
use fearless_simd::{Level, Simd, dispatch};

/// A loop over numbers of one kind, written for vectors of any width. `run` and what it calls must be inlined, to be
/// compiled for the vectors at hand.
pub(super) trait Work {
    /// What comes of it.
    type Result;

    fn run<S: Simd>(self, simd: S) -> Self::Result;
}

/// Does it on the CPU's widest vectors.
pub(super) fn on_widest<W: Work>(work: W) -> W::Result {
    dispatch!(Level::new(), simd => work.run(simd))
}

/// Of either of linfa's floats.
pub(super) enum Kind<S, D> {
    Single(S),
    Double(D),
}

pub(super) fn kind<F: linfa::Float>(values: &[F]) -> Kind<&[f32], &[f64]> {
    match cast!(values, &[f32]) {
        Ok(values) => Kind::Single(values),
        Err(values) => Kind::Double(double(cast!(values, &[f64]))),
    }
}

pub(super) fn kind_mut<F: linfa::Float>(values: &mut [F]) -> Kind<&mut [f32], &mut [f64]> {
    match cast!(values, &mut [f32]) {
        Ok(values) => Kind::Single(values),
        Err(values) => Kind::Double(double(cast!(values, &mut [f64]))),
    }
}

fn double<D, E>(cast: Result<D, E>) -> D {
    cast.unwrap_or_else(|_| unreachable!("linfa's floats are f32 and f64"))
}
