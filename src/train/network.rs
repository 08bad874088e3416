//! Layers in a row, one of which gives the code.

use linfa::Float;
use ndarray::Array2;

use super::{
    activation::softplus,
    layer::{Layer, Map},
};

/// Log-variances of a Gaussian output are above this: the square of a hundredth, in scaled units.
pub(crate) const LEAST_LOG_VARIANCE: f64 = -9.210_340_371_976_182;

/// Why layers do not make a network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NetworkError {
    /// A bias has another length than its layer has outputs.
    #[error("the bias has {bias} values for {outputs} outputs, expected as many")]
    Bias {
        /// Length of the bias.
        bias: usize,
        /// Columns of the weight.
        outputs: usize,
    },
    /// A weight has another shape than its convolution.
    #[error("the weight is {rows} x {columns}, expected {} x {}", .expected.0, .expected.1)]
    Kernel {
        /// Rows of the weight.
        rows: usize,
        /// Columns of the weight.
        columns: usize,
        /// What the convolution needs.
        expected: (usize, usize),
    },
    /// The linear skip rebuilds another width than the network.
    #[error("the linear skip maps {inputs} values to {outputs}, expected {expected} to {expected} as the network")]
    Skip {
        /// Its inputs.
        inputs: usize,
        /// Its outputs.
        outputs: usize,
        /// The network's input width.
        expected: usize,
    },
    /// Means and log-variances come in pairs.
    #[error("{what} has {values} values, expected an even number: means, then log-variances")]
    Odd {
        /// Code or output.
        what: &'static str,
        /// Values of the layer.
        values: usize,
    },
    /// A layer without inputs or outputs.
    #[error("a layer is {inputs} x {outputs}, expected at least 1 x 1")]
    Empty {
        /// Rows of the weight.
        inputs: usize,
        /// Columns of the weight.
        outputs: usize,
    },
    /// A layer takes another width than the layer before gives.
    #[error("layer {layer} takes {inputs} values, expected {expected} as layer {before} gives", before = .layer - 1)]
    Chain {
        /// The later layer, from 0.
        layer: usize,
        /// Its inputs.
        inputs: usize,
        /// Outputs of the layer before.
        expected: usize,
    },
    /// The code must have a decoder after it.
    #[error("the code is layer {code} of {layers}, expected a layer before the last")]
    Code {
        /// Index of the code layer, from 0.
        code: usize,
        /// Number of layers.
        layers: usize,
    },
    /// The network must rebuild what it takes.
    #[error("the network gives {outputs} values for {inputs}, expected as many")]
    Widths {
        /// Input width.
        inputs: usize,
        /// Output width.
        outputs: usize,
    },
}

/// What the code layer gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latent {
    /// The code itself.
    Plain,
    /// The means of the code's normal distributions, then the logarithms of their variances (Kingma and Welling 2014).
    Gaussian,
}

/// What the last layer gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Output<F> {
    /// The reconstruction.
    Values,
    /// The means of the values' normal distributions, then what becomes the logarithms of their variances, by
    /// [`log_variance`]. Scores average over these draws from the code's distribution, standard normal, `[draws, code size]`.
    Gaussian(Array2<F>),
}

/// A bounded logarithm of a variance out of an output: `LEAST + ln(1 + exp(raw - LEAST))`. Never below its bound, where
/// a column that is rebuilt exactly would make the likelihood infinite, and never without a slope.
pub fn log_variance<F: Float>(raw: F) -> F {
    let least = F::cast(LEAST_LOG_VARIANCE);
    least + softplus(raw - least)
}

/// A linear way around the network, to whose reconstruction the network's own output is added.
#[derive(Debug, Clone, PartialEq)]
pub struct Skip<F> {
    /// Dense, without activation.
    pub encoder: Layer<F>,
    /// Dense, without activation.
    pub decoder: Layer<F>,
}

/// An autoencoder: layers, one of which gives the code.
///
/// As a linfa predictor it gives the reconstruction `[rows, output_width]` of `[rows, input_width]` rows. Most networks
/// rebuild what they take; a sequence network takes the first rows of a window and predicts the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Network<F> {
    pub(super) layers: Vec<Layer<F>>,
    pub(super) code: usize,
    pub(super) latent: Latent,
    pub(super) output: Output<F>,
    pub(super) skip: Option<Skip<F>>,
}

impl<F: Float> Network<F> {
    /// A network of these layers from input to output, of which layer `code` (from 0) gives the latent code.
    ///
    /// # Errors
    /// The layers' widths do not chain, input and output width differ, or there is no layer after the code.
    pub fn new(layers: Vec<Layer<F>>, code: usize) -> Result<Self, NetworkError> {
        let network = Self { layers, code, latent: Latent::Plain, output: Output::Values, skip: None }.check()?;
        let (inputs, outputs) = (network.input_width(), network.output_width());
        if inputs != outputs {
            return Err(NetworkError::Widths { inputs, outputs });
        }
        Ok(network)
    }

    /// The network, if its parts fit together. Input and output may have other widths.
    pub(super) fn check(self) -> Result<Self, NetworkError> {
        let layers = &self.layers;
        if self.code + 1 >= layers.len() {
            return Err(NetworkError::Code { code: self.code, layers: layers.len() });
        }
        let last = layers[layers.len() - 1].outputs();
        let pairs = [
            ("the code", layers[self.code].outputs(), self.latent == Latent::Gaussian),
            ("the output", last, matches!(self.output, Output::Gaussian(_))),
        ];
        if let Some(&(what, values, _)) = pairs.iter().find(|(_, values, paired)| *paired && values % 2 == 1) {
            return Err(NetworkError::Odd { what, values });
        }
        for (before, pair) in layers.windows(2).enumerate() {
            let given = if before == self.code { self.code_size() } else { pair[0].outputs() };
            let inputs = pair[1].inputs();
            if inputs != given {
                return Err(NetworkError::Chain { layer: before + 1, inputs, expected: given });
            }
        }
        if let Some(Skip { encoder, decoder }) = &self.skip {
            let (inputs, outputs, expected) = (encoder.inputs(), decoder.outputs(), self.input_width());
            let fits = encoder.outputs() == decoder.inputs() && outputs == self.output_width();
            if inputs != expected || !fits {
                return Err(NetworkError::Skip { inputs, outputs, expected });
            }
        }
        Ok(self)
    }

    /// The layers from input to output.
    pub fn layers(&self) -> &[Layer<F>] {
        &self.layers
    }

    /// Index of the layer whose output is the latent code, from 0.
    pub fn code_layer(&self) -> usize {
        self.code
    }

    /// What the code layer gives.
    pub fn latent(&self) -> Latent {
        self.latent
    }

    /// What the last layer gives.
    pub fn output(&self) -> &Output<F> {
        &self.output
    }

    /// The linear way around the network.
    pub fn skip(&self) -> Option<&Skip<F>> {
        self.skip.as_ref()
    }

    /// Width of the latent code.
    pub fn code_size(&self) -> usize {
        match self.latent {
            Latent::Plain => self.layers[self.code].outputs(),
            Latent::Gaussian => self.layers[self.code].outputs() / 2,
        }
    }

    /// Values that the network takes: the first ones of a window.
    pub fn input_width(&self) -> usize {
        self.layers[0].inputs()
    }

    /// Values that the network rebuilds or predicts: the last ones of a window.
    pub fn output_width(&self) -> usize {
        let last = self.layers[self.layers.len() - 1].outputs();
        match self.output {
            Output::Values => last,
            Output::Gaussian(_) => last / 2,
        }
    }

    /// Whether a layer is a convolution, so that no single weight belongs to an input.
    pub fn shares_weights(&self) -> bool {
        self.layers.iter().any(|layer| *layer.map() != Map::Dense)
    }

    /// All layers, those of the linear skip last.
    fn all_layers(&self) -> impl Iterator<Item = &Layer<F>> {
        self.layers.iter().chain(self.skip.iter().flat_map(|skip| [&skip.encoder, &skip.decoder]))
    }

    /// Number of weights and biases, those of a linear skip included.
    pub fn parameter_count(&self) -> usize {
        self.all_layers().map(Layer::parameter_count).sum()
    }

    /// The widths from input to output for people, as in `38-16-8-16-38`.
    pub fn architecture(&self) -> String {
        let widths = std::iter::once(self.input_width()).chain(self.layers.iter().map(Layer::outputs));
        widths.map(|width| width.to_string()).collect::<Vec<_>>().join("-")
    }

    /// Whether every weight and bias is finite.
    pub fn is_finite(&self) -> bool {
        self.all_layers().all(|layer| layer.weight.iter().chain(&layer.bias).all(|value| value.is_finite()))
    }

    /// Takes over another network's weights without allocating; both have the same shape.
    pub(super) fn copy_from(&mut self, other: &Self) {
        for (mine, theirs) in self.layers.iter_mut().zip(&other.layers) {
            mine.weight.assign(&theirs.weight);
            mine.bias.assign(&theirs.bias);
        }
    }
}

/// The values of an array that was made row-major.
pub(super) fn contiguous<F>(slice: Option<&[F]>) -> &[F] {
    slice.expect("arrays of the trainer are made row-major and never transposed")
}

/// The values of an array that was made row-major.
pub(super) fn contiguous_mut<F>(slice: Option<&mut [F]>) -> &mut [F] {
    slice.expect("arrays of the trainer are made row-major and never transposed")
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;

    use super::*;
    use crate::config::settings::Activation;

    fn dense(inputs: usize, outputs: usize) -> Layer<f32> {
        Layer::dense(Array2::ones((inputs, outputs)), Array1::zeros(outputs), Activation::Identity).unwrap()
    }

    #[test]
    fn layers_that_do_not_fit_together_are_refused() {
        let identity = Activation::Identity;
        let bias = Layer::<f32>::dense(Array2::ones((2, 3)), Array1::zeros(2), identity);
        assert_eq!(bias, Err(NetworkError::Bias { bias: 2, outputs: 3 }));
        let empty = Layer::<f32>::dense(Array2::ones((2, 0)), Array1::zeros(0), identity);
        assert_eq!(empty, Err(NetworkError::Empty { inputs: 2, outputs: 0 }));
        let chain = Network::new(vec![dense(3, 2), dense(1, 3)], 0);
        assert_eq!(chain, Err(NetworkError::Chain { layer: 1, inputs: 1, expected: 2 }));
        assert_eq!(Network::new(vec![dense(3, 3)], 0), Err(NetworkError::Code { code: 0, layers: 1 }));
        assert_eq!(
            Network::new(vec![dense(3, 2), dense(2, 4)], 0),
            Err(NetworkError::Widths { inputs: 3, outputs: 4 })
        );
    }
}
