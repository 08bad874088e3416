//! From parameters to the network before fitting.

use linfa::Float;
use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{
    error::AutoencoderError,
    geometry::{Geometry, Shape, Steps},
    layer::{Layer, Map},
    loss::output_activation,
    network::{Latent, Network, Output, Skip},
    params::AutoencoderValidParams,
    pca::components_of,
    rows::Rows,
};
use crate::config::settings::{Activation, Convolution, NetworkKind, VariationalScore};

/// Keeps the draws of the reconstruction probability apart from all other randomness of a seed.
const DRAWS: u64 = 0x9e37_79b9_7f4a_7c15;

impl<F: Float> AutoencoderValidParams<F> {
    /// Input, convolutions, hidden layers, code, and the same mirrored. Principal components are solved here; a linear skip
    /// too, and the network's last layer then starts at 0, so that it begins as that skip alone.
    pub(super) fn initial_network(
        &self,
        training: Rows<'_, F>,
        rng: &mut Xoshiro256PlusPlus,
    ) -> Result<Network<F>, AutoencoderError> {
        if self.kinds.has(NetworkKind::Pca) {
            return components_of(training, self.code_size);
        }
        let (mut layers, code) = self.random_layers(rng);
        let mut skip = None;
        if self.skip {
            let components = components_of(training, self.code_size)?;
            let [encoder, decoder] = <[Layer<F>; 2]>::try_from(components.layers)
                .expect("principal components are an encoder and a decoder");
            skip = Some(Skip { encoder, decoder });
            let last = layers.len() - 1;
            layers[last].weight.fill(F::zero());
        }
        let latent = if self.variational.is_some() { Latent::Gaussian } else { Latent::Plain };
        Ok(Network { layers, code, latent, output: self.output(), skip }.check()?)
    }

    pub(super) fn output(&self) -> Output<F> {
        match self.variational {
            Some(variational) if variational.score == VariationalScore::Probability => {
                let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed ^ DRAWS);
                let mut normal = || {
                    let value: f64 = StandardNormal.sample(&mut rng);
                    F::cast(value)
                };
                Output::Gaussian(Array2::from_shape_simple_fn((variational.draws, self.code_size), &mut normal))
            }
            Some(_) | None => Output::Values,
        }
    }

    /// All layers, and which of them is the code.
    pub(super) fn random_layers<R: Rng>(&self, rng: &mut R) -> (Vec<Layer<F>>, usize) {
        let pairs = |width: usize, paired: bool| if paired { 2 * width } else { width };
        let gaussian_output = matches!(self.output(), Output::Gaussian(_));
        let mut layers = Vec::new();
        let mut widths = vec![self.input_width()];
        let mut decoder = Vec::new();
        if let Some((input, output, convolution)) = self.grids() {
            for geometry in chain(input, convolution) {
                layers.push(Layer::random_convolution(Map::Convolution(geometry), self.activation, rng));
            }
            widths = vec![layers[layers.len() - 1].outputs()];
            decoder = chain(output, convolution);
        }
        widths.extend(&self.hidden);
        for pair in widths.windows(2) {
            layers.push(Layer::random((pair[0], pair[1]), self.activation, rng));
        }
        let code = layers.len();
        let before = widths[widths.len() - 1];
        let heads = pairs(self.code_size, self.variational.is_some());
        layers.push(Layer::random((before, heads), self.code_activation(), rng));
        let outputs = pairs(self.output_width(), gaussian_output);
        let first = decoder.last().map_or(outputs, |geometry| geometry.coarse.size());
        let mut widths = vec![self.code_size];
        widths.extend(self.hidden.iter().rev());
        widths.push(first);
        for (index, pair) in widths.windows(2).enumerate() {
            let last = decoder.is_empty() && index + 2 == widths.len();
            layers.push(Layer::random((pair[0], pair[1]), self.activation_of_decoder(last), rng));
        }
        for (index, geometry) in decoder.into_iter().enumerate().rev() {
            let activation = self.activation_of_decoder(index == 0);
            layers.push(Layer::random_convolution(Map::Transposed(geometry), activation, rng));
        }
        (layers, code)
    }

    /// The grid that convolutions slide over, the one that transposed ones give, and the layers.
    pub(super) fn grids(&self) -> Option<(Shape, Shape, &Convolution)> {
        let (row, convolution) = self.convolution.as_ref()?;
        let predicted = self.predicted / (row.width * row.channels);
        let made = if predicted > 0 { predicted } else { row.height };
        Some((Shape { height: row.height - predicted, ..*row }, Shape { height: made, ..*row }, convolution))
    }

    fn activation_of_decoder(&self, last: bool) -> Activation {
        if last { output_activation(self.loss) } else { self.activation }
    }
}

/// The steps of all convolutions on a grid. A side of one position, as that of a window, is left alone.
pub(super) fn steps(fine: Shape, convolution: &Convolution) -> Steps {
    let Convolution { kernel, stride, dilation, .. } = *convolution;
    let sides = [fine.height, fine.width];
    let on = |step: usize| sides.map(|side| if side > 1 { step } else { 1 });
    Steps { kernel: on(kernel), stride: on(stride), dilation: on(dilation) }
}

/// What convolutions make of a fine grid in the end.
pub(super) fn coarsest(fine: Shape, convolution: &Convolution) -> Shape {
    let steps = steps(fine, convolution);
    convolution.channels.iter().fold(fine, |fine, channels| steps.coarse(fine, *channels))
}

/// The convolutions from a fine grid to the coarsest one.
fn chain(mut fine: Shape, convolution: &Convolution) -> Vec<Geometry> {
    let steps = steps(fine, convolution);
    let mut geometries = Vec::with_capacity(convolution.channels.len());
    for &channels in &convolution.channels {
        let geometry = Geometry::new(fine, channels, steps);
        fine = geometry.coarse;
        geometries.push(geometry);
    }
    geometries
}
