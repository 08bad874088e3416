//! Dense layers in a row, one of which is the code.

use linfa::{Float, traits::PredictInplace};
use ndarray::{Array1, Array2, ArrayBase, ArrayView2, ArrayViewMut2, Data, Ix2, linalg::general_mat_mul};
use rand::Rng;

use crate::config::settings::Activation;

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

/// One dense layer: `activation(x * weight + bias)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense<F> {
    /// `[inputs, outputs]`, row-major.
    pub(super) weight: Array2<F>,
    /// `[outputs]`
    pub(super) bias: Array1<F>,
    pub(super) activation: Activation,
}

impl<F: Float> Dense<F> {
    /// A layer of a weight `[inputs, outputs]` and a bias `[outputs]`.
    ///
    /// # Errors
    /// The bias does not fit the weight, or the layer is empty.
    pub fn new(weight: Array2<F>, bias: Array1<F>, activation: Activation) -> Result<Self, NetworkError> {
        let (inputs, outputs) = weight.dim();
        if inputs == 0 || outputs == 0 {
            return Err(NetworkError::Empty { inputs, outputs });
        }
        if bias.len() != outputs {
            return Err(NetworkError::Bias { bias: bias.len(), outputs });
        }
        let weight = weight.as_standard_layout().into_owned();
        let bias = bias.as_standard_layout().into_owned();
        Ok(Self { weight, bias, activation })
    }

    /// A layer with random weights and no bias: He's uniform bounds before a rectifier (He et al. 2015, "Delving Deep
    /// into Rectifiers"), Glorot's otherwise (Glorot and Bengio 2010).
    pub(super) fn random<R: Rng>((inputs, outputs): (usize, usize), activation: Activation, rng: &mut R) -> Self {
        let variance = match activation {
            Activation::Relu => 2.0 / inputs as f64,
            Activation::Identity
            | Activation::Tanh
            | Activation::Sigmoid
            | Activation::LeakyRelu
            | Activation::Elu
            | Activation::Gelu
            | Activation::Silu => 2.0 / (inputs + outputs) as f64,
        };
        let bound = (3.0 * variance).sqrt();
        let weight = Array2::from_shape_simple_fn((inputs, outputs), || F::cast(rng.gen_range(-bound..bound)));
        Self { weight, bias: Array1::zeros(outputs), activation }
    }

    /// The weight `[inputs, outputs]`, row-major.
    pub fn weight(&self) -> &Array2<F> {
        &self.weight
    }

    /// The bias `[outputs]`.
    pub fn bias(&self) -> &Array1<F> {
        &self.bias
    }

    /// What is applied to the sums.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Width of its input.
    pub fn inputs(&self) -> usize {
        self.weight.nrows()
    }

    /// Width of its output.
    pub fn outputs(&self) -> usize {
        self.weight.ncols()
    }

    /// Writes `input * weight + bias` into `output`, `[rows, inputs]` -> `[rows, outputs]`, row-major.
    pub(super) fn affine_into(&self, input: ArrayView2<'_, F>, mut output: ArrayViewMut2<'_, F>) {
        general_mat_mul(F::one(), &input, &self.weight, F::zero(), &mut output);
        let bias = contiguous(self.bias.as_slice());
        for row in contiguous_mut(output.as_slice_mut()).chunks_exact_mut(bias.len()) {
            for (value, &bias) in row.iter_mut().zip(bias) {
                *value += bias;
            }
        }
    }

    fn forward(&self, input: ArrayView2<'_, F>) -> Array2<F> {
        let mut output = Array2::zeros((input.nrows(), self.outputs()));
        self.affine_into(input, output.view_mut());
        activate(self.activation, contiguous_mut(output.as_slice_mut()));
        output
    }
}

/// An autoencoder of dense layers.
///
/// As a linfa predictor it gives the reconstruction of `[rows, input_width]` rows in the same shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Network<F> {
    pub(super) layers: Vec<Dense<F>>,
    code: usize,
}

impl<F: Float> Network<F> {
    /// A network of these layers from input to output, of which layer `code` (from 0) gives the latent code.
    ///
    /// # Errors
    /// The layers' widths do not chain, input and output width differ, or there is no layer after the code.
    pub fn new(layers: Vec<Dense<F>>, code: usize) -> Result<Self, NetworkError> {
        if code + 1 >= layers.len() {
            return Err(NetworkError::Code { code, layers: layers.len() });
        }
        for (before, pair) in layers.windows(2).enumerate() {
            let (inputs, expected) = (pair[1].inputs(), pair[0].outputs());
            if inputs != expected {
                return Err(NetworkError::Chain { layer: before + 1, inputs, expected });
            }
        }
        let network = Self { layers, code };
        let (inputs, outputs) = (network.input_width(), network.layers[network.layers.len() - 1].outputs());
        if inputs != outputs {
            return Err(NetworkError::Widths { inputs, outputs });
        }
        Ok(network)
    }

    /// The layers from input to output.
    pub fn layers(&self) -> &[Dense<F>] {
        &self.layers
    }

    /// Index of the layer whose output is the latent code, from 0.
    pub fn code_layer(&self) -> usize {
        self.code
    }

    /// Width of the latent code.
    pub fn code_size(&self) -> usize {
        self.layers[self.code].outputs()
    }

    /// Width of a row, and of its reconstruction.
    pub fn input_width(&self) -> usize {
        self.layers[0].inputs()
    }

    /// Number of weights and biases.
    pub fn parameter_count(&self) -> usize {
        self.layers.iter().map(|layer| layer.weight.len() + layer.bias.len()).sum()
    }

    /// The widths from input to output for people, as in `38-16-8-16-38`.
    pub fn architecture(&self) -> String {
        let widths = std::iter::once(self.input_width()).chain(self.layers.iter().map(Dense::outputs));
        widths.map(|width| width.to_string()).collect::<Vec<_>>().join("-")
    }

    /// Whether every weight and bias is finite.
    pub fn is_finite(&self) -> bool {
        self.layers.iter().all(|layer| layer.weight.iter().chain(&layer.bias).all(|value| value.is_finite()))
    }

    /// The latent codes `[rows, code_size]` of rows `[rows, input_width]`.
    ///
    /// # Panics
    /// The rows have another width than the network.
    pub fn encode(&self, rows: ArrayView2<'_, F>) -> Array2<F> {
        propagate(&self.layers[..=self.code], rows)
    }

    /// The reconstructions `[rows, input_width]` of latent codes `[rows, code_size]`.
    ///
    /// # Panics
    /// The codes have another width than the network's code.
    pub fn decode(&self, codes: ArrayView2<'_, F>) -> Array2<F> {
        propagate(&self.layers[self.code + 1..], codes)
    }

    /// The reconstructions of rows, both `[rows, input_width]`.
    ///
    /// # Panics
    /// The rows have another width than the network.
    pub fn reconstruct(&self, rows: ArrayView2<'_, F>) -> Array2<F> {
        propagate(&self.layers, rows)
    }

    /// Takes over another network's weights without allocating; both have the same shape.
    pub(super) fn copy_from(&mut self, other: &Self) {
        for (mine, theirs) in self.layers.iter_mut().zip(&other.layers) {
            mine.weight.assign(&theirs.weight);
            mine.bias.assign(&theirs.bias);
        }
    }
}

impl<F: Float, D: Data<Elem = F>> PredictInplace<ArrayBase<D, Ix2>, Array2<F>> for Network<F> {
    fn predict_inplace(&self, rows: &ArrayBase<D, Ix2>, reconstruction: &mut Array2<F>) {
        assert_eq!(rows.dim(), reconstruction.dim(), "the reconstruction must have the shape of the rows");
        reconstruction.assign(&self.reconstruct(rows.view()));
    }

    fn default_target(&self, rows: &ArrayBase<D, Ix2>) -> Array2<F> {
        Array2::zeros(rows.dim())
    }
}

fn propagate<F: Float>(layers: &[Dense<F>], input: ArrayView2<'_, F>) -> Array2<F> {
    let mut output = layers[0].forward(input);
    for layer in &layers[1..] {
        output = layer.forward(output.view());
    }
    output
}

/// Applies the activation to every value.
pub(super) fn activate<F: Float>(activation: Activation, values: &mut [F]) {
    match activation {
        Activation::Identity => {}
        // Written so that a NaN stays one: the loss must see it.
        Activation::Relu => values.iter_mut().for_each(|x| *x = if *x < F::zero() { F::zero() } else { *x }),
        Activation::Tanh => values.iter_mut().for_each(|x| *x = x.tanh()),
        Activation::Sigmoid => values.iter_mut().for_each(|x| *x = sigmoid(*x)),
        Activation::LeakyRelu | Activation::Elu | Activation::Gelu | Activation::Silu => todo!(),
    }
}

/// Multiplies each gradient by the activation's slope, which all activations let us say by their output alone.
pub(super) fn multiply_by_slope<F: Float>(activation: Activation, outputs: &[F], gradients: &mut [F]) {
    let pairs = gradients.iter_mut().zip(outputs);
    match activation {
        Activation::Identity => {}
        Activation::Relu => pairs.for_each(|(g, &y)| *g = if y > F::zero() { *g } else { F::zero() }),
        Activation::Tanh => pairs.for_each(|(g, &y)| *g *= F::one() - y * y),
        Activation::Sigmoid => pairs.for_each(|(g, &y)| *g *= y * (F::one() - y)),
        Activation::LeakyRelu | Activation::Elu | Activation::Gelu | Activation::Silu => todo!(),
    }
}

/// 1 / (1 + exp(-x)); exp may overflow to infinity, which gives the right 0.
pub(super) fn sigmoid<F: Float>(x: F) -> F {
    F::one() / (F::one() + (-x).exp())
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
    use linfa::traits::Predict;
    use ndarray::{arr1, arr2};

    use super::*;

    fn dense(inputs: usize, outputs: usize) -> Dense<f32> {
        Dense::new(Array2::ones((inputs, outputs)), Array1::zeros(outputs), Activation::Identity).unwrap()
    }

    #[test]
    fn layers_that_do_not_fit_together_are_refused() {
        let identity = Activation::Identity;
        let bias = Dense::<f32>::new(Array2::ones((2, 3)), Array1::zeros(2), identity);
        assert_eq!(bias, Err(NetworkError::Bias { bias: 2, outputs: 3 }));
        let empty = Dense::<f32>::new(Array2::ones((2, 0)), Array1::zeros(0), identity);
        assert_eq!(empty, Err(NetworkError::Empty { inputs: 2, outputs: 0 }));
        let chain = Network::new(vec![dense(3, 2), dense(1, 3)], 0);
        assert_eq!(chain, Err(NetworkError::Chain { layer: 1, inputs: 1, expected: 2 }));
        assert_eq!(Network::new(vec![dense(3, 3)], 0), Err(NetworkError::Code { code: 0, layers: 1 }));
        assert_eq!(
            Network::new(vec![dense(3, 2), dense(2, 4)], 0),
            Err(NetworkError::Widths { inputs: 3, outputs: 4 })
        );
    }

    #[test]
    fn predict_is_the_forward_pass_worked_out_by_hand() {
        let encoder = Dense::new(arr2(&[[1.0, -1.0], [2.0, 1.0]]), arr1(&[0.5, 0.0]), Activation::Relu).unwrap();
        let decoder =
            Dense::new(arr2(&[[1.0, 0.0], [3.0, 1.0]]).reversed_axes(), arr1(&[0.0, 1.0]), Activation::Identity);
        let network = Network::new(vec![encoder, decoder.unwrap()], 0).unwrap();
        let rows = arr2(&[[1.0, 2.0], [3.0, -1.0]]);
        assert_eq!(network.encode(rows.view()), arr2(&[[5.5, 1.0], [1.5, 0.0]]));
        assert_eq!(network.predict(&rows), arr2(&[[5.5, 18.5], [1.5, 5.5]]));
        assert_eq!(network.architecture(), "2-2-2");
        assert_eq!(network.parameter_count(), 12);
    }

    #[test]
    fn activations_of_extreme_sums_are_finite_and_nan_stays() {
        for activation in [Activation::Identity, Activation::Relu, Activation::Tanh, Activation::Sigmoid] {
            let mut values = [-1e30f32, 1e30, f32::NAN];
            activate(activation, &mut values);
            assert!(values[0].is_finite() && values[1].is_finite() && values[2].is_nan(), "{activation:?}");
        }
    }
}
