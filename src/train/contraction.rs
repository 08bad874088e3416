//! The contractive penalty: the squared Frobenius norm of the Jacobian of the code with respect to the input (Rifai et al.
//! 2011, "Contractive auto-encoders"), mean over the rows, divided by the code size.
//!
//! Where the encoder is one dense layer the norm is a sum over its units. Of a deeper encoder it is estimated: for random
//! signs `u`, the expectation of `|u' J|^2` is the norm (Hutchinson 1990; Hoffman et al. 2019, "Robust learning with
//! Jacobian regularization"). `u' J` is a backward pass, and the gradient of its square a pass backward through that.

use linfa::Float;
use ndarray::{Array2, ArrayView2, s};
use rand::RngCore;

use super::{
    activation::derivatives,
    backprop::Gradients,
    layer::{Layer, Map},
    network::{Latent, Network, contiguous, contiguous_mut},
};
use crate::config::settings::Contraction;

/// Buffers of one layer of the encoder, all `[batch_size, outputs]`.
#[derive(Debug)]
struct Stage<F> {
    slopes: Array2<F>,
    curvatures: Array2<F>,
    /// The projected Jacobian down to this layer's outputs.
    pulled: Array2<F>,
    /// The same down to its sums.
    at_sums: Array2<F>,
    /// Gradient of the penalty with respect to `at_sums`.
    pushed: Array2<F>,
    /// Gradient of the penalty with respect to this layer's sums, by way of its slopes.
    through_slopes: Array2<F>,
}

/// The penalty and its gradient for one network's encoder.
#[derive(Debug)]
pub(super) struct ContractionPenalty<F> {
    /// Weight over code size.
    weight: F,
    projections: usize,
    /// Random signs per projection, `[batch_size, code_size]`; none where the norm is exact.
    signs: Vec<Array2<F>>,
    stages: Vec<Stage<F>>,
    /// The projected Jacobian, `[batch_size, inputs]`, then what is pushed forward through each layer.
    forward: Vec<Array2<F>>,
    scratch: Vec<F>,
}

impl<F: Float> ContractionPenalty<F> {
    /// `None` where the weight is 0.
    pub(super) fn new(contraction: Contraction, network: &Network<F>, batch_size: usize) -> Option<Self> {
        if contraction.weight <= 0.0 || network.latent() == Latent::Gaussian {
            return None;
        }
        let encoder = &network.layers()[..=network.code_layer()];
        let exact = encoder.len() == 1 && *encoder[0].map() == Map::Dense;
        let buffer = |width: usize| Array2::zeros((batch_size, width));
        let stage = |layer: &Layer<F>| Stage {
            slopes: buffer(layer.outputs()),
            curvatures: buffer(layer.outputs()),
            pulled: buffer(layer.outputs()),
            at_sums: buffer(layer.outputs()),
            pushed: buffer(layer.outputs()),
            through_slopes: buffer(layer.outputs()),
        };
        let code_size = network.code_size();
        let scratch = encoder.iter().map(Layer::scratch_per_row).max().unwrap_or(0) * batch_size;
        Some(Self {
            weight: F::cast(contraction.weight / code_size as f64),
            projections: contraction.projections,
            signs: if exact { Vec::new() } else { (0..contraction.projections).map(|_| buffer(code_size)).collect() },
            stages: encoder.iter().map(stage).collect(),
            forward: encoder.iter().map(|layer| buffer(layer.inputs())).collect(),
            scratch: vec![F::zero(); scratch],
        })
    }

    /// Draws the signs of the next batch.
    pub(super) fn draw<R: RngCore>(&mut self, rng: &mut R) {
        for sign in self.signs.iter_mut().flatten() {
            *sign = if rng.next_u32() >> 31 == 0 { F::one() } else { -F::one() };
        }
    }

    /// Sets the signs of every row.
    #[cfg(test)]
    pub(super) fn set_signs(&mut self, sign: impl Fn(usize) -> F) {
        self.signs.iter_mut().for_each(|signs| signs.indexed_iter_mut().for_each(|((_, unit), to)| *to = sign(unit)));
    }

    /// Takes over the slopes of layer `index` of the encoder at its known values `[rows, outputs]` (see [`derivatives`]).
    pub(super) fn know(&mut self, index: usize, layer: &Layer<F>, known: &[F]) {
        let stage = &mut self.stages[index];
        let slopes = &mut contiguous_mut(stage.slopes.as_slice_mut())[..known.len()];
        let curvatures = &mut contiguous_mut(stage.curvatures.as_slice_mut())[..known.len()];
        derivatives(layer.activation(), known, slopes, curvatures);
        contiguous_mut(stage.through_slopes.as_slice_mut()).fill(F::zero());
    }

    /// The penalty of a batch of so many rows whose slopes are known. Adds its gradient to that of the weights; the one
    /// with respect to each layer's sums is then told by [`Self::through_slopes`].
    pub(super) fn differentiate(&mut self, network: &Network<F>, rows: usize, gradients: &mut Gradients<F>) -> F {
        if self.signs.is_empty() {
            return self.exactly(&network.layers()[0], rows, &mut gradients.weights[0]);
        }
        let share = self.weight / F::cast(rows * self.projections);
        let mut penalty = F::zero();
        for projection in 0..self.projections {
            self.pull(network, projection, rows);
            let jacobian = &mut contiguous_mut(self.forward[0].as_slice_mut())[..rows * network.input_width()];
            penalty += jacobian.iter().fold(F::zero(), |sum, &value| sum + value * value) * share;
            jacobian.iter_mut().for_each(|value| *value *= share + share);
            self.push(network, rows, gradients);
        }
        penalty
    }

    /// Gradient of the penalty with respect to the sums of an encoder's layer, `[batch_size, outputs]`, row-major.
    pub(super) fn through_slopes(&self, index: usize) -> &[F] {
        contiguous(self.stages[index].through_slopes.as_slice())
    }

    /// Number of layers of the encoder.
    pub(super) fn layers(&self) -> usize {
        self.stages.len()
    }

    /// Backward from the signs to the input.
    fn pull(&mut self, network: &Network<F>, projection: usize, rows: usize) {
        let last = self.stages.len() - 1;
        self.stages[last].pulled.assign(&self.signs[projection]);
        for index in (0..=last).rev() {
            let (before, rest) = self.stages.split_at_mut(index);
            let stage = &mut rest[0];
            multiply_into(&stage.slopes, &stage.pulled, &mut stage.at_sums);
            let target = match before.last_mut() {
                Some(before) => &mut before.pulled,
                None => &mut self.forward[0],
            };
            let at_sums = stage.at_sums.slice(s![..rows, ..]);
            network.layers()[index].adjoint(at_sums, target.slice_mut(s![..rows, ..]), &mut self.scratch);
        }
    }

    /// Forward through the backward pass: from the gradient with respect to the projected Jacobian, which stands in
    /// `forward[0]`, to those with respect to weights and slopes.
    fn push(&mut self, network: &Network<F>, rows: usize, gradients: &mut Gradients<F>) {
        for (index, stage) in self.stages.iter_mut().enumerate() {
            let layer = &network.layers()[index];
            let input: ArrayView2<'_, F> = self.forward[index].slice(s![..rows, ..]);
            let at_sums = stage.at_sums.slice(s![..rows, ..]);
            let gradient = gradients.weights[index].view_mut();
            layer.weight_gradient((input, at_sums), gradient, &mut self.scratch, true);
            layer.apply(input, stage.pushed.slice_mut(s![..rows, ..]), &mut self.scratch);
            let values = rows * layer.outputs();
            let through = &mut contiguous_mut(stage.through_slopes.as_slice_mut())[..values];
            let curvatures = contiguous(stage.curvatures.as_slice());
            let both = contiguous(stage.pulled.as_slice()).iter().zip(contiguous(stage.pushed.as_slice()));
            for ((sum, &curvature), (&pulled, &pushed)) in through.iter_mut().zip(curvatures).zip(both) {
                *sum += curvature * pulled * pushed;
            }
            if let Some(next) = self.forward.get_mut(index + 1) {
                multiply_into(&stage.slopes, &stage.pushed, next);
            }
        }
    }

    /// The norm of a single dense layer: each unit's squared slope times its weights' squares.
    fn exactly(&mut self, layer: &Layer<F>, rows: usize, gradient: &mut Array2<F>) -> F {
        let stage = &mut self.stages[0];
        let share = self.weight / F::cast(rows);
        let mut penalty = F::zero();
        for unit in 0..layer.outputs() {
            let weights = layer.weight.column(unit);
            let squares = weights.iter().fold(F::zero(), |sum, &weight| sum + weight * weight);
            let mut slopes = F::zero();
            for row in 0..rows {
                let slope = stage.slopes[[row, unit]];
                slopes += slope * slope;
                stage.through_slopes[[row, unit]] = (share + share) * slope * stage.curvatures[[row, unit]] * squares;
            }
            penalty += share * slopes * squares;
            gradient.column_mut(unit).scaled_add((share + share) * slopes, &weights);
        }
        penalty
    }
}

fn multiply_into<F: Float>(a: &Array2<F>, b: &Array2<F>, product: &mut Array2<F>) {
    let pairs = contiguous(a.as_slice()).iter().zip(contiguous(b.as_slice()));
    for (product, (&a, &b)) in contiguous_mut(product.as_slice_mut()).iter_mut().zip(pairs) {
        *product = a * b;
    }
}
