//! A matrix product on one thread: tiles as high and wide as the CPU's registers can hold (Goto and van de Geijn 2008, "Anatomy
//! of high-performance matrix multiplication").

use std::cell::Cell;

use fearless_simd::{Simd, SimdBase, SimdFloat, SimdFloatElement};
use linfa::Float;

use super::{
    lanes::{Work, on_widest},
    panel::{Factor, WIDEST, fill},
};

/// Terms that are summed up in registers before they are added to the output. A panel of the second factor is as deep.
const DEPTH: usize = 256;
/// From this many rows on it pays to copy a panel to where its rows lie close together.
const ROWS_TO_PACK: usize = 48;
/// Panels that are copied at once.
const PANELS: usize = 8;
/// Values that the copies take at most.
const ROOM: usize = DEPTH * PANELS * 2 * WIDEST;
/// Terms that are looked up at once in a row of the first factor.
const STEP: usize = 4;

/// Sizes of a product: `[rows, depth]` x `[depth, columns]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) depth: usize,
}

/// A product to be done.
pub(super) struct Product<'a, E> {
    pub(super) a: Factor<'a, E>,
    pub(super) b: Factor<'a, E>,
    /// Row-major, without gaps.
    pub(super) out: &'a mut [E],
    pub(super) shape: Shape,
    pub(super) accumulate: bool,
}

/// Numbers that products are made of. Each thread keeps room for copies of parts of the factors.
pub(super) trait Element: Float + SimdFloatElement {
    /// Does `work` with the thread's room.
    fn with_room(work: impl FnOnce(&mut Vec<Self>));
}

macro_rules! element {
    ($($float:ty),*) => {
        $(impl Element for $float {
            fn with_room(work: impl FnOnce(&mut Vec<Self>)) {
                thread_local! {
                    static ROOM: Cell<Vec<$float>> = const { Cell::new(Vec::new()) };
                }
                // A thread that waits for another may be given one more product meanwhile; it then makes room anew.
                let mut room = ROOM.take();
                work(&mut room);
                ROOM.set(room);
            }
        })*
    };
}

element!(f32, f64);

/// Does a product.
pub(super) fn whole<E: Element>(product: Product<'_, E>) {
    E::with_room(|room| {
        room.resize(ROOM, E::zero());
        on_widest(Tiled { product, room });
    });
}

/// A product, and room for copies of parts of its factors.
struct Tiled<'a, E> {
    product: Product<'a, E>,
    room: &'a mut [E],
}

impl<E: SimdFloatElement> Work for Tiled<'_, E> {
    type Result = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Shape { rows, columns, .. } = self.product.shape;
        let wide = 2 * E::Native::<S>::LEN;
        let mut column = 0;
        while column + wide <= columns {
            let panels = PANELS.min((columns - column) / wide);
            if panels > 1 && rows >= ROWS_TO_PACK {
                self.block::<S>(simd, column, panels);
            } else {
                for panel in 0..panels {
                    self.panel::<S, 2>(simd, column + panel * wide, wide);
                }
            }
            column += panels * wide;
        }
        while column < columns {
            let width = E::Native::<S>::LEN.min(columns - column);
            self.panel::<S, 1>(simd, column, width);
            column += width;
        }
    }
}

impl<E: SimdFloatElement> Tiled<'_, E> {
    /// So many panels of columns of the output from `column` on, tile by tile from left to right: the rows of the first factor
    /// that a tile needs are fetched once for all panels.
    #[inline(always)]
    fn block<S: Simd>(&mut self, simd: S, column: usize, panels: usize) {
        let Product { a, b, ref mut out, shape, accumulate } = self.product;
        let wide = 2 * E::Native::<S>::LEN;
        for first in (0..shape.depth).step_by(DEPTH) {
            let depth = DEPTH.min(shape.depth - first);
            for (panel, room) in self.room.chunks_exact_mut(depth * wide).take(panels).enumerate() {
                fill::<S, E::Native<S>, 2>(simd, room, b.from(first, column + panel * wide), wide);
            }
            let mut tiles = shape.rows.div_ceil(tallest::<E::Native<S>>());
            let mut row = 0;
            while row < shape.rows {
                let height = (shape.rows - row).div_ceil(tiles);
                for (panel, room) in self.room.chunks_exact(depth * wide).take(panels).enumerate() {
                    let strip = Strip {
                        a: a.from(row, first),
                        panel: room,
                        stride: wide,
                        depth,
                        columns: shape.columns,
                        width: wide,
                        accumulate: accumulate || first > 0,
                    };
                    let out = &mut out[row * shape.columns + column + panel * wide..];
                    strip.run::<S, E::Native<S>, 2>(simd, out, height);
                }
                tiles -= 1;
                row += height;
            }
        }
    }

    /// `width` columns of the output from `column` on, which `W` vectors hold.
    #[inline(always)]
    fn panel<S: Simd, const W: usize>(&mut self, simd: S, column: usize, width: usize) {
        let Product { a, b, ref mut out, shape, accumulate } = self.product;
        let wide = W * E::Native::<S>::LEN;
        for first in (0..shape.depth).step_by(DEPTH) {
            let depth = DEPTH.min(shape.depth - first);
            let b = b.from(first, column);
            let packed = if b.transposed || width < wide || shape.rows >= ROWS_TO_PACK {
                let room = &mut self.room[..depth * wide];
                fill::<S, E::Native<S>, W>(simd, room, b, width);
                Factor { values: &*room, stride: wide, transposed: false }
            } else {
                b
            };
            let strip = Strip {
                a: a.from(0, first),
                panel: packed.values,
                stride: packed.stride,
                depth,
                columns: shape.columns,
                width,
                accumulate: accumulate || first > 0,
            };
            strip.run::<S, E::Native<S>, W>(simd, &mut out[column..], shape.rows);
        }
    }
}

/// Columns of the output, as many as some vectors hold, for one stretch of the depth.
#[derive(Clone, Copy)]
struct Strip<'a, E> {
    a: Factor<'a, E>,
    /// Rows of the second factor, `stride` values apart, each readable over the vectors' whole width.
    panel: &'a [E],
    stride: usize,
    depth: usize,
    /// Columns of the output, and how many of them are made here.
    columns: usize,
    width: usize,
    accumulate: bool,
}

/// Highest tile whose sums, with what is multiplied, the registers hold.
const fn tallest<V>() -> usize {
    match size_of::<V>() {
        64 => 12,
        32 => 6,
        _ => 4,
    }
}

impl<E: SimdFloatElement> Strip<'_, E> {
    /// Tiles of about equal height, from top to bottom.
    #[inline(always)]
    fn run<S: Simd, V: SimdFloat<S, Element = E>, const W: usize>(self, simd: S, out: &mut [E], rows: usize) {
        let mut tiles = rows.div_ceil(tallest::<V>());
        let mut row = 0;
        while row < rows {
            let height = (rows - row).div_ceil(tiles);
            let (strip, out) = (Self { a: self.a.from(row, 0), ..self }, &mut out[row * self.columns..]);
            macro_rules! tile {
                ($($height:literal),*) => {
                    match height {
                        $($height if $height <= tallest::<V>() => strip.tile::<S, V, $height, W>(simd, out),)*
                        _ => unreachable!("no tile is so high"),
                    }
                };
            }
            tile!(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
            tiles -= 1;
            row += height;
        }
    }

    /// `H` rows of `W` vectors. Loops are plain so that they are unrolled and the sums stay in registers.
    #[inline(always)]
    fn tile<S: Simd, V: SimdFloat<S, Element = E>, const H: usize, const W: usize>(self, simd: S, out: &mut [E]) {
        const READABLE: &str = "the factor has as many rows and columns as the product needs";
        let (a, stride) = (self.a.values, self.a.stride);
        let mut sums = [[V::splat(simd, E::default()); W]; H];
        let mut term = 0;
        if self.a.transposed {
            while term < self.depth {
                let column: &[E; H] = a[term * stride..].first_chunk().expect(READABLE);
                self.add_term(
                    simd,
                    &mut sums,
                    term,
                    #[inline(always)]
                    |row| column[row],
                );
                term += 1;
            }
        } else {
            while term + STEP <= self.depth {
                let rows: [&[E; STEP]; H] = std::array::from_fn(
                    #[inline(always)]
                    |row| a[row * stride + term..].first_chunk().expect(READABLE),
                );
                let mut at = 0;
                while at < STEP {
                    self.add_term(
                        simd,
                        &mut sums,
                        term + at,
                        #[inline(always)]
                        |row| rows[row][at],
                    );
                    at += 1;
                }
                term += STEP;
            }
            while term < self.depth {
                self.add_term(
                    simd,
                    &mut sums,
                    term,
                    #[inline(always)]
                    |row| a[row * stride + term],
                );
                term += 1;
            }
        }
        // Read by their place, sums would be kept in memory all along.
        let mut done = [[V::splat(simd, E::default()); W]; H];
        let mut row = 0;
        while row < H {
            done[row] = sums[row];
            row += 1;
        }
        self.write(simd, &done, out);
    }

    #[inline(always)]
    fn add_term<S: Simd, V: SimdFloat<S, Element = E>, const H: usize, const W: usize>(
        &self,
        simd: S,
        sums: &mut [[V; W]; H],
        term: usize,
        a: impl Fn(usize) -> E,
    ) {
        let panel = &self.panel[term * self.stride..][..W * V::LEN];
        let panel: [V; W] = std::array::from_fn(
            #[inline(always)]
            |vector| V::from_slice(simd, &panel[vector * V::LEN..][..V::LEN]),
        );
        let mut row = 0;
        while row < H {
            let value = V::splat(simd, a(row));
            let mut vector = 0;
            while vector < W {
                sums[row][vector] = value.mul_add(panel[vector], sums[row][vector]);
                vector += 1;
            }
            row += 1;
        }
    }

    #[inline(always)]
    fn write<S: Simd, V: SimdFloat<S, Element = E>, const H: usize, const W: usize>(
        &self,
        simd: S,
        sums: &[[V; W]; H],
        out: &mut [E],
    ) {
        for (row, sums) in sums.iter().enumerate() {
            let out = &mut out[row * self.columns..][..self.width];
            for (out, &sum) in out.chunks_mut(V::LEN).zip(sums) {
                if out.len() == V::LEN {
                    let sum = if self.accumulate { V::from_slice(simd, out) + sum } else { sum };
                    sum.store_slice(out);
                    continue;
                }
                let mut before = V::splat(simd, E::default());
                before.as_mut_slice()[..out.len()].copy_from_slice(out);
                let sum = if self.accumulate { before + sum } else { sum };
                out.copy_from_slice(&sum.as_slice()[..out.len()]);
            }
        }
    }
}
