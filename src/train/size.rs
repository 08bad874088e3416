//! How large a network is, reckoned before anything of it is made.

use linfa::Float;

pub use super::members::check_size;
use super::{
    architecture::{coarsest, steps},
    geometry::Shape,
    params::AutoencoderValidParams,
};
use crate::config::settings::{Convolution, NetworkKind, VariationalScore};

/// Bytes of a parameter, a 32-bit number.
const PARAMETER_BYTES: usize = size_of::<f32>();
/// What a model file holds at most: protobuf, in which ONNX files are written, counts a message's bytes in 31 bits.
const MOST_BYTES: usize = i32::MAX as usize;

/// Networks that no model file can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{parameters} parameters in all (model.members: {members}) are {} bytes, more than the {MOST_BYTES} that a model file holds",
    .parameters.saturating_mul(PARAMETER_BYTES)
)]
pub struct Oversize {
    /// Parameters over all members.
    pub parameters: usize,
    /// How many members there are.
    pub members: usize,
}

impl Oversize {
    /// What would be right.
    pub const CURE: &str = "fewer or narrower layers (model.hidden, model.layers), a smaller model.code_size, fewer \
                            model.members or a shorter training.window";

    /// Refuses so many members of so many parameters each if no file can hold them.
    ///
    /// # Errors
    /// More than 2 GiB.
    pub fn check(members: usize, parameters: usize) -> Result<(), Self> {
        let all = members.saturating_mul(parameters);
        let fits = all.saturating_mul(PARAMETER_BYTES) <= MOST_BYTES;
        if fits { Ok(()) } else { Err(Self { parameters: all, members }) }
    }
}

impl<F: Float> AutoencoderValidParams<F> {
    /// Weights and biases of the network that these parameters fit, and of what runs beside it; the largest number there is
    /// where they are more.
    pub fn parameters(&self) -> usize {
        let components =
            dense(self.input_width(), self.code_size).saturating_add(dense(self.code_size, self.output_width()));
        if self.kinds.has(NetworkKind::Pca) {
            return components;
        }
        let probable = self.variational.is_some_and(|of| of.score == VariationalScore::Probability);
        let (mut first, mut last) =
            (self.input_width(), if probable { 2 * self.output_width() } else { self.output_width() });
        let mut sum = if self.skip { components } else { 0 };
        if let Some((given, made, convolution)) = self.grids() {
            sum = sum.saturating_add(convolutions([given, made], convolution));
            (first, last) = (coarsest(given, convolution).size(), coarsest(made, convolution).size());
        }
        let heads = if self.variational.is_some() { 2 * self.code_size } else { self.code_size };
        let down = [&[first], &self.hidden[..], &[heads]].concat();
        let up = [&[last], &self.hidden[..], &[self.code_size]].concat();
        let encoder = down.windows(2).map(|pair| dense(pair[0], pair[1]));
        let decoder = up.windows(2).map(|pair| dense(pair[1], pair[0]));
        encoder.chain(decoder).fold(sum, usize::saturating_add)
    }
}

/// Weights and biases of a dense layer.
fn dense(inputs: usize, outputs: usize) -> usize {
    inputs.saturating_add(1).saturating_mul(outputs)
}

/// Weights and biases of the convolutions on one grid and of the transposed ones that mirror them on another.
fn convolutions(grids: [Shape; 2], convolution: &Convolution) -> usize {
    let taps: usize = grids.iter().map(|grid| steps(*grid, convolution).kernel.iter().product::<usize>()).sum();
    let mut fine = grids[0].channels;
    let mut sum = 0_usize;
    for &coarse in &convolution.channels {
        // There is a bias for each channel that comes out: coarse ones on the way down, fine ones on the way up.
        sum = sum.saturating_add(taps.saturating_mul(fine * coarse)).saturating_add(fine + coarse);
        fine = coarse;
    }
    sum
}

#[cfg(test)]
mod tests {
    use linfa::ParamGuard;

    use super::*;
    use crate::train::AutoencoderParams;

    #[test]
    fn no_more_is_taken_than_a_model_file_holds() {
        let most = MOST_BYTES / PARAMETER_BYTES;
        assert_eq!(Oversize::check(1, most), Ok(()));
        let told = Oversize::check(2, most / 2 + 1).unwrap_err().to_string();
        let words =
            "536870912 parameters in all (model.members: 2) are 2147483648 bytes, more than the 2147483647 that";
        assert!(told.starts_with(words), "{told}");
        assert!(Oversize::check(usize::MAX, usize::MAX).is_err());
    }

    #[test]
    fn networks_that_no_memory_holds_are_counted_too() {
        let wide = AutoencoderParams::<f32>::new(8, 4).hidden(&[65536, 65536]).check().unwrap();
        assert_eq!(wide.parameters(), 2 * 65536 * 65536 + 2 * 65536 * 12 + 4 * 65536 + 12);
    }
}
