//! One layer: a linear map, a bias, an activation.
//!
//! Dense layers multiply by a matrix. A convolution gathers what each output looks at into patches and multiplies those
//! (Chellapilla et al. 2006); a transposed convolution is the same backwards. So every map is known by three operations,
//! and each pass of the trainer is made of them: [`Layer::apply`], its [adjoint](Layer::adjoint), and the gradient of its
//! [weight](Layer::weight_gradient).

use linfa::Float;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2};
use rand::Rng;

use super::{activation::LEAK, geometry::Geometry, network::NetworkError, product::multiply};
use crate::config::settings::Activation;

/// How a layer's inputs are connected with its outputs.
#[derive(Debug, Clone, PartialEq)]
pub enum Map {
    /// Each with each; the weight is `[inputs, outputs]`.
    Dense,
    /// From the fine grid to the coarse one; the weight is `[taps * fine channels, coarse channels]`.
    Convolution(Geometry),
    /// From the coarse grid to the fine one; the weight is `[coarse channels, taps * fine channels]`.
    Transposed(Geometry),
}

/// One layer: `activation(map(x) + bias)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer<F> {
    map: Map,
    /// Row-major; its shape is told by [`Map`].
    pub(super) weight: Array2<F>,
    /// One per output, or per output channel of a convolution.
    pub(super) bias: Array1<F>,
    activation: Activation,
}

impl<F: Float> Layer<F> {
    /// A dense layer of a weight `[inputs, outputs]` and a bias `[outputs]`.
    ///
    /// # Errors
    /// The bias does not fit the weight, or the layer is empty.
    pub fn dense(weight: Array2<F>, bias: Array1<F>, activation: Activation) -> Result<Self, NetworkError> {
        Self::new(Map::Dense, weight, bias, activation)
    }

    /// A layer of any map.
    ///
    /// # Errors
    /// Weight or bias do not fit the map, or the layer is empty.
    pub fn new(map: Map, weight: Array2<F>, bias: Array1<F>, activation: Activation) -> Result<Self, NetworkError> {
        let (rows, columns) = weight.dim();
        if rows == 0 || columns == 0 {
            return Err(NetworkError::Empty { inputs: rows, outputs: columns });
        }
        let (expected, biases) = match &map {
            Map::Dense => ((rows, columns), columns),
            Map::Convolution(geometry) => {
                ((geometry.taps() * geometry.fine.channels, geometry.coarse.channels), geometry.coarse.channels)
            }
            Map::Transposed(geometry) => {
                ((geometry.coarse.channels, geometry.taps() * geometry.fine.channels), geometry.fine.channels)
            }
        };
        if (rows, columns) != expected {
            return Err(NetworkError::Kernel { rows, columns, expected });
        }
        if bias.len() != biases {
            return Err(NetworkError::Bias { bias: bias.len(), outputs: biases });
        }
        let weight = weight.as_standard_layout().into_owned();
        let bias = bias.as_standard_layout().into_owned();
        Ok(Self { map, weight, bias, activation })
    }

    /// A dense layer with random weights and no bias: He's uniform bounds before rectifiers and their kin (He et al. 2015,
    /// "Delving Deep into Rectifiers"), Glorot's otherwise (Glorot and Bengio 2010).
    pub(super) fn random<R: Rng>((inputs, outputs): (usize, usize), activation: Activation, rng: &mut R) -> Self {
        let bound = bound(activation, inputs, outputs);
        let weight = Array2::from_shape_simple_fn((inputs, outputs), || F::cast(rng.gen_range(-bound..bound)));
        Self { map: Map::Dense, weight, bias: Array1::zeros(outputs), activation }
    }

    /// A convolution, or its transpose, with random weights by the same rules, where an output of a convolution has as many
    /// inputs as its patch has values, and one of a transposed convolution as many as patches reach it.
    pub(super) fn random_convolution<R: Rng>(map: Map, activation: Activation, rng: &mut R) -> Self {
        let (shape, reach, biases) = match &map {
            Map::Dense => unreachable!("dense layers are made by Layer::random"),
            Map::Convolution(geometry) => {
                let patch = geometry.taps() * geometry.fine.channels;
                let outputs = geometry.coarse.channels;
                ((patch, outputs), (patch, geometry.taps_per_step() * outputs), outputs)
            }
            Map::Transposed(geometry) => {
                let (inputs, outputs) = (geometry.coarse.channels, geometry.fine.channels);
                let taps = geometry.taps();
                ((inputs, taps * outputs), (geometry.taps_per_step() * inputs, taps * outputs), outputs)
            }
        };
        let bound = bound(activation, reach.0, reach.1);
        let weight = Array2::from_shape_simple_fn(shape, || F::cast(rng.gen_range(-bound..bound)));
        Self { map, weight, bias: Array1::zeros(biases), activation }
    }

    /// How inputs and outputs are connected.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// The weight, row-major; [`Map`] tells its shape.
    pub fn weight(&self) -> &Array2<F> {
        &self.weight
    }

    /// The bias, one per output or output channel.
    pub fn bias(&self) -> &Array1<F> {
        &self.bias
    }

    /// What is applied to the sums.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Number of its inputs.
    pub fn inputs(&self) -> usize {
        match &self.map {
            Map::Dense => self.weight.nrows(),
            Map::Convolution(geometry) => geometry.fine.size(),
            Map::Transposed(geometry) => geometry.coarse.size(),
        }
    }

    /// Number of its outputs.
    pub fn outputs(&self) -> usize {
        match &self.map {
            Map::Dense => self.weight.ncols(),
            Map::Convolution(geometry) => geometry.coarse.size(),
            Map::Transposed(geometry) => geometry.fine.size(),
        }
    }

    /// Number of weights and biases.
    pub fn parameter_count(&self) -> usize {
        self.weight.len() + self.bias.len()
    }

    /// Values of scratch that each row needs in the operations below.
    pub(super) fn scratch_per_row(&self) -> usize {
        match &self.map {
            Map::Dense => 0,
            Map::Convolution(geometry) | Map::Transposed(geometry) => {
                geometry.coarse.positions() * geometry.taps() * geometry.fine.channels
            }
        }
    }

    /// The linear map without bias, `[rows, inputs]` -> `[rows, outputs]`, all row-major.
    pub(super) fn apply(&self, input: ArrayView2<'_, F>, mut output: ArrayViewMut2<'_, F>, scratch: &mut [F]) {
        match &self.map {
            Map::Dense => multiply(input, self.weight.view(), output, false),
            Map::Convolution(geometry) => {
                let patches = geometry.gather(input, scratch);
                multiply(patches, self.weight.view(), geometry.per_position(output), false);
            }
            Map::Transposed(geometry) => {
                let mut patches = geometry.patches(input.nrows(), scratch);
                multiply(geometry.per_position_of(input), self.weight.view(), patches.view_mut(), false);
                geometry.scatter(patches.view(), output.view_mut());
            }
        }
    }

    /// The transposed map, `[rows, outputs]` -> `[rows, inputs]`, all row-major.
    pub(super) fn adjoint(&self, delta: ArrayView2<'_, F>, mut input: ArrayViewMut2<'_, F>, scratch: &mut [F]) {
        match &self.map {
            Map::Dense => multiply(delta, self.weight.t(), input, false),
            Map::Convolution(geometry) => {
                let mut patches = geometry.patches(delta.nrows(), scratch);
                multiply(geometry.per_position_of(delta), self.weight.t(), patches.view_mut(), false);
                geometry.scatter(patches.view(), input.view_mut());
            }
            Map::Transposed(geometry) => {
                let patches = geometry.gather(delta, scratch);
                multiply(patches, self.weight.t(), geometry.per_position(input), false);
            }
        }
    }

    /// The gradient of the weight from an input `[rows, inputs]` and the gradient `[rows, outputs]` of what the map made of it.
    pub(super) fn weight_gradient(
        &self,
        (input, delta): (ArrayView2<'_, F>, ArrayView2<'_, F>),
        gradient: ArrayViewMut2<'_, F>,
        scratch: &mut [F],
        accumulate: bool,
    ) {
        match &self.map {
            Map::Dense => multiply(input.t(), delta, gradient, accumulate),
            Map::Convolution(geometry) => {
                let patches = geometry.gather(input, scratch);
                multiply(patches.t(), geometry.per_position_of(delta), gradient, accumulate);
            }
            Map::Transposed(geometry) => {
                let patches = geometry.gather(delta, scratch);
                multiply(geometry.per_position_of(input).t(), patches, gradient, accumulate);
            }
        }
    }
}

fn bound(activation: Activation, inputs: usize, outputs: usize) -> f64 {
    let variance = match activation {
        Activation::Relu | Activation::Elu | Activation::Gelu | Activation::Silu => 2.0 / inputs as f64,
        Activation::LeakyRelu => 2.0 / ((1.0 + LEAK * LEAK) * inputs as f64),
        Activation::Identity | Activation::Tanh | Activation::Sigmoid => 2.0 / (inputs + outputs) as f64,
    };
    (3.0 * variance).sqrt()
}
