//! Where a convolution's outputs look: grids, strides, dilation, padding.

use linfa::Float;
use ndarray::{ArrayView2, ArrayViewMut2};

/// `height x width` positions of `channels` values each; rows of values are in the order `[height][width][channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows of the grid, or of a window.
    pub height: usize,
    /// Columns of the grid; 1 for a window.
    pub width: usize,
    /// Values per position.
    pub channels: usize,
}

impl Shape {
    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Number of values.
    pub fn size(&self) -> usize {
        self.positions() * self.channels
    }
}

/// As in `16 x 16 x 8`; a grid of one column as `16 x 8`, a single position as `8`.
impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.height, self.width) {
            (1, 1) => write!(f, "{}", self.channels),
            (height, 1) => write!(f, "{height} x {}", self.channels),
            (height, width) => write!(f, "{height} x {width} x {}", self.channels),
        }
    }
}

/// Step, reach and spacing of a convolution, each for height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Positions that one output looks at.
    pub kernel: [usize; 2],
    /// From one output to the next.
    pub stride: [usize; 2],
    /// Between the positions that one output looks at.
    pub dilation: [usize; 2],
}

impl Steps {
    /// The grid that a convolution in these steps makes of a fine one: as many outputs as strides begin in it.
    pub fn coarse(&self, fine: Shape, channels: usize) -> Shape {
        let height = fine.height.div_ceil(self.stride[0]);
        Shape { height, width: fine.width.div_ceil(self.stride[1]), channels }
    }
}

/// A fine grid, the coarse one that a convolution makes of it, and which positions belong together.
///
/// Padding is "same": there are as many outputs as strides begin in the input, and what lies outside counts as 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    /// Input of a convolution, output of a transposed one.
    pub fine: Shape,
    /// Output of a convolution, input of a transposed one.
    pub coarse: Shape,
    /// Kernel, stride, dilation.
    pub steps: Steps,
    /// Per coarse position and tap the fine position, [`OUTSIDE`] beyond the edge.
    positions: Vec<u32>,
}

const OUTSIDE: u32 = u32::MAX;

impl Geometry {
    /// The geometry of a convolution from `fine` to `channels` channels. Sizes and steps are at least 1.
    pub fn new(fine: Shape, channels: usize, steps: Steps) -> Self {
        let coarse = steps.coarse(fine, channels);
        let width = coarse.width;
        let mut geometry = Self { fine, coarse, steps, positions: Vec::new() };
        let before = geometry.padding().map(|[before, _]| before);
        let at = |axis: usize, output: usize, tap: usize, size: usize| {
            let padded = output * steps.stride[axis] + tap * steps.dilation[axis];
            padded.checked_sub(before[axis]).filter(|position| *position < size)
        };
        for output in 0..coarse.positions() {
            for tap in 0..steps.kernel[0] * steps.kernel[1] {
                let y = at(0, output / width, tap / steps.kernel[1], fine.height);
                let x = at(1, output % width, tap % steps.kernel[1], fine.width);
                let position = y.zip(x).map_or(OUTSIDE, |(y, x)| (y * fine.width + x) as u32);
                geometry.positions.push(position);
            }
        }
        geometry
    }

    /// Positions outside of the fine grid that the first and the last output look at, for height and width.
    pub fn padding(&self) -> [[usize; 2]; 2] {
        [(0, self.fine.height, self.coarse.height), (1, self.fine.width, self.coarse.width)].map(
            |(axis, fine, coarse)| {
                let reach = self.reach(axis, coarse);
                let total = reach.saturating_sub(fine);
                [total / 2, total - total / 2]
            },
        )
    }

    /// Fine positions behind the last one that an output looks at, for height and width: none but where the stride is
    /// larger than the kernel's reach.
    pub fn unseen(&self) -> [usize; 2] {
        [
            self.fine.height.saturating_sub(self.reach(0, self.coarse.height)),
            self.fine.width.saturating_sub(self.reach(1, self.coarse.width)),
        ]
    }

    fn reach(&self, axis: usize, coarse: usize) -> usize {
        (coarse - 1) * self.steps.stride[axis] + (self.steps.kernel[axis] - 1) * self.steps.dilation[axis] + 1
    }

    /// Positions that one output looks at.
    pub fn taps(&self) -> usize {
        self.steps.kernel[0] * self.steps.kernel[1]
    }

    /// Outputs that look at one position, about.
    pub(super) fn taps_per_step(&self) -> usize {
        (self.taps() / (self.steps.stride[0] * self.steps.stride[1])).max(1)
    }

    /// Room for the patches of so many rows: `[rows * coarse positions, taps * fine channels]`.
    pub(super) fn patches<'a, F>(&self, rows: usize, scratch: &'a mut [F]) -> ArrayViewMut2<'a, F> {
        let shape = (rows * self.coarse.positions(), self.taps() * self.fine.channels);
        ArrayViewMut2::from_shape(shape, &mut scratch[..shape.0 * shape.1]).expect("the scratch has room for all rows")
    }

    /// Copies what each output looks at out of fine grids `[rows, size]`, row-major.
    pub(super) fn gather<'a, F: Float>(&self, fine: ArrayView2<'_, F>, scratch: &'a mut [F]) -> ArrayView2<'a, F> {
        let channels = self.fine.channels;
        let patch_values = self.positions.len() * channels;
        let values = fine.to_slice().expect("the trainer's arrays are row-major");
        let scratch = &mut scratch[..fine.nrows() * patch_values];
        for (grid, patches) in values.chunks_exact(self.fine.size()).zip(scratch.chunks_exact_mut(patch_values)) {
            for (patch, &position) in patches.chunks_exact_mut(channels).zip(&self.positions) {
                match position {
                    OUTSIDE => patch.fill(F::zero()),
                    _ => patch.copy_from_slice(&grid[position as usize * channels..][..channels]),
                }
            }
        }
        let shape = (fine.nrows() * self.coarse.positions(), self.taps() * channels);
        ArrayView2::from_shape(shape, scratch).expect("the scratch was cut to this shape")
    }

    /// Adds patches up where they came from: the transpose of [`Self::gather`].
    pub(super) fn scatter<F: Float>(&self, patches: ArrayView2<'_, F>, fine: ArrayViewMut2<'_, F>) {
        let channels = self.fine.channels;
        let values = fine.into_slice().expect("the trainer's arrays are row-major");
        let patches = patches.to_slice().expect("patches are row-major");
        values.fill(F::zero());
        let patch_values = self.positions.len() * channels;
        for (grid, patches) in values.chunks_exact_mut(self.fine.size()).zip(patches.chunks_exact(patch_values)) {
            for (patch, &position) in patches.chunks_exact(channels).zip(&self.positions) {
                if position != OUTSIDE {
                    let target = &mut grid[position as usize * channels..][..channels];
                    target.iter_mut().zip(patch).for_each(|(sum, &value)| *sum += value);
                }
            }
        }
    }

    /// Coarse grids `[rows, size]`, row-major, as one row per position: `[rows * positions, channels]`.
    pub(super) fn per_position_of<'a, F>(&self, coarse: ArrayView2<'a, F>) -> ArrayView2<'a, F> {
        let shape = (coarse.nrows() * self.coarse.positions(), self.coarse.channels);
        let values = coarse.to_slice().expect("the trainer's arrays are row-major");
        ArrayView2::from_shape(shape, values).expect("positions times channels are the size")
    }

    /// The same to write into.
    pub(super) fn per_position<'a, F>(&self, coarse: ArrayViewMut2<'a, F>) -> ArrayViewMut2<'a, F> {
        let shape = (coarse.nrows() * self.coarse.positions(), self.coarse.channels);
        let values = coarse.into_slice().expect("the trainer's arrays are row-major");
        ArrayViewMut2::from_shape(shape, values).expect("positions times channels are the size")
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;

    fn geometry(fine: [usize; 3], kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2]) -> Geometry {
        let [height, width, channels] = fine;
        Geometry::new(Shape { height, width, channels }, 1, Steps { kernel, stride, dilation })
    }

    #[test]
    fn outputs_look_at_what_was_worked_out_by_hand() {
        let strided = geometry([5, 1, 1], [3, 1], [2, 1], [1, 1]);
        assert_eq!((strided.coarse.height, strided.padding()[0]), (3, [1, 1]));
        assert_eq!(strided.positions, [OUTSIDE, 0, 1, 1, 2, 3, 3, 4, OUTSIDE]);
        let dilated = geometry([4, 1, 1], [2, 1], [1, 1], [2, 1]);
        assert_eq!(dilated.positions, [OUTSIDE, 1, 0, 2, 1, 3, 2, OUTSIDE]);
        let sparse = geometry([5, 1, 1], [1, 1], [3, 1], [1, 1]);
        assert_eq!((sparse.positions.clone(), sparse.unseen()), (vec![0, 3], [1, 0]));
    }

    proptest! {
        #[test]
        fn scatter_is_the_transpose_of_gather(
            size in (1..7usize, 1..6usize, 1..4usize), kernel in (1..4usize, 1..4usize), stride in (1..4usize, 1..4usize),
            dilation in (1..3usize, 1..3usize), rows in 1..4usize,
        ) {
            let geometry = geometry(size.into(), kernel.into(), stride.into(), dilation.into());
            let fine = Array2::from_shape_fn((rows, geometry.fine.size()), |(r, c)| ((r * 31 + c * 7) as f64).sin());
            let mut scratch = vec![0.0; rows * geometry.positions.len() * geometry.fine.channels];
            let gathered = geometry.gather(fine.view(), &mut scratch).to_owned();
            let other = gathered.mapv(|value: f64| (value * 3.0).cos());
            let mut back = Array2::from_elem(fine.dim(), 5.0);
            geometry.scatter(other.view(), back.view_mut());
            let (there, here) = ((&gathered * &other).sum(), (&fine * &back).sum());
            prop_assert!((there - here).abs() < 1e-9 * (1.0 + there.abs()));
        }
    }
}
