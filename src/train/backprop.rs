//! Forward and backward pass of one batch, in buffers that are made once.

use linfa::Float;
use ndarray::{Array1, Array2, ArrayView2, linalg::general_mat_mul, s};

use crate::config::settings::{Loss, Sparsity};

use super::{
    loss,
    network::{Dense, Network, activate, contiguous, contiguous_mut, multiply_by_slope},
    sparsity::SparsityPenalty,
};

/// Gradients of the objective, shaped like the network's layers.
#[derive(Debug)]
pub(super) struct Gradients<F> {
    pub(super) weights: Vec<Array2<F>>,
    pub(super) biases: Vec<Array1<F>>,
}

/// Buffers for batches of at most `batch_size` rows, and the objective: reconstruction loss plus sparsity penalty.
#[derive(Debug)]
pub(super) struct Backprop<F> {
    loss: Loss,
    penalty: Option<SparsityPenalty<F>>,
    /// Output of each layer `[batch_size, outputs]`; of the last one before its activation.
    outputs: Vec<Array2<F>>,
    /// Gradient with respect to each layer's sums `[batch_size, outputs]`.
    deltas: Vec<Array2<F>>,
    gradients: Gradients<F>,
}

impl<F: Float> Backprop<F> {
    pub(super) fn new(network: &Network<F>, (loss, sparsity): (Loss, Sparsity), batch_size: usize) -> Self {
        let buffer = |layer: &Dense<F>| Array2::zeros((batch_size, layer.outputs()));
        let layers = network.layers();
        Self {
            loss,
            penalty: SparsityPenalty::new(sparsity, network.code_size()),
            outputs: layers.iter().map(buffer).collect(),
            deltas: layers.iter().map(buffer).collect(),
            gradients: Gradients {
                weights: layers.iter().map(|layer| Array2::zeros(layer.weight.dim())).collect(),
                biases: layers.iter().map(|layer| Array1::zeros(layer.bias.len())).collect(),
            },
        }
    }

    /// The gradients of the last [`Self::differentiate`].
    pub(super) fn gradients(&self) -> &Gradients<F> {
        &self.gradients
    }

    /// Sum of the reconstruction loss over all values of at most `batch_size` rows, without penalty.
    pub(super) fn loss_sum(&mut self, network: &Network<F>, rows: ArrayView2<'_, F>) -> F {
        self.forward(network, rows);
        let values = rows.len();
        let last = self.outputs.len() - 1;
        loss::sum(self.loss, &contiguous(self.outputs[last].as_slice())[..values], contiguous(rows.as_slice()))
    }

    /// Mean objective of a batch that is to rebuild `clean` from `input`, both `[rows, input_width]`; its gradients are
    /// then found in [`Self::gradients`].
    pub(super) fn differentiate(
        &mut self,
        network: &Network<F>,
        input: ArrayView2<'_, F>,
        clean: ArrayView2<'_, F>,
    ) -> F {
        self.forward(network, input);
        let last = self.outputs.len() - 1;
        let values = clean.len();
        let mut objective = loss::mean_and_gradient(
            self.loss,
            &contiguous(self.outputs[last].as_slice())[..values],
            contiguous(clean.as_slice()),
            &mut contiguous_mut(self.deltas[last].as_slice_mut())[..values],
        );
        for index in (0..=last).rev() {
            self.differentiate_layer(index, input);
            if index > 0 {
                objective += self.pass_back(network, index, input.nrows());
            }
        }
        objective
    }

    fn forward(&mut self, network: &Network<F>, input: ArrayView2<'_, F>) {
        let rows = input.nrows();
        let last = self.outputs.len() - 1;
        for (index, layer) in network.layers().iter().enumerate() {
            let (before, rest) = self.outputs.split_at_mut(index);
            let input = match before.last() {
                Some(output) => output.slice(s![..rows, ..]),
                None => input.reborrow(),
            };
            let mut output = rest[0].slice_mut(s![..rows, ..]);
            layer.affine_into(input, output.view_mut());
            if index < last {
                activate(layer.activation, contiguous_mut(output.as_slice_mut()));
            }
        }
    }

    /// From the delta of layer `index` to the gradients of its weight and bias.
    fn differentiate_layer(&mut self, index: usize, input: ArrayView2<'_, F>) {
        let rows = input.nrows();
        let input = if index == 0 { input.reborrow() } else { self.outputs[index - 1].slice(s![..rows, ..]) };
        let delta = self.deltas[index].slice(s![..rows, ..]);
        general_mat_mul(F::one(), &input.t(), &delta, F::zero(), &mut self.gradients.weights[index]);
        let bias = contiguous_mut(self.gradients.biases[index].as_slice_mut());
        bias.fill(F::zero());
        for row in contiguous(delta.as_slice()).chunks_exact(bias.len()) {
            for (sum, &value) in bias.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }

    /// From the delta of layer `index` to the delta of the layer before it; returns the penalty of that layer's output.
    fn pass_back(&mut self, network: &Network<F>, index: usize, rows: usize) -> F {
        let (before, rest) = self.deltas.split_at_mut(index);
        let mut delta = before[index - 1].slice_mut(s![..rows, ..]);
        let weight = &network.layers()[index].weight;
        general_mat_mul(F::one(), &rest[0].slice(s![..rows, ..]), &weight.t(), F::zero(), &mut delta);
        let outputs = self.outputs[index - 1].slice(s![..rows, ..]);
        let (outputs, delta) = (contiguous(outputs.to_slice()), contiguous_mut(delta.into_slice()));
        let penalty = match &mut self.penalty {
            Some(penalty) if index - 1 == network.code_layer() => penalty.add(outputs, delta),
            Some(_) | None => F::zero(),
        };
        multiply_by_slope(network.layers()[index - 1].activation, outputs, delta);
        penalty
    }
}

#[cfg(test)]
mod tests {
    use ndarray::ArrayView1;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;
    use crate::config::settings::Activation;

    const WIDTHS: [usize; 5] = [5, 4, 3, 4, 5];
    const CODE: usize = 1;

    fn network(hidden: Activation, code: Activation, rng: &mut Xoshiro256PlusPlus) -> Network<f64> {
        let layers = WIDTHS.windows(2).enumerate().map(|(index, pair)| {
            let activation = match index {
                CODE => code,
                3 => Activation::Identity,
                _ => hidden,
            };
            let mut layer = Dense::random((pair[0], pair[1]), activation, rng);
            layer.bias.mapv_inplace(|_| rng.gen_range(-0.3..0.3));
            layer
        });
        Network::new(layers.collect(), CODE).unwrap()
    }

    /// Largest difference between the gradients and central finite differences, relative to the largest gradient.
    fn gradient_error(mut network: Network<f64>, objective: (Loss, Sparsity), rng: &mut Xoshiro256PlusPlus) -> f64 {
        let clean = Array2::from_shape_simple_fn((7, WIDTHS[0]), || rng.gen_range(0.05..0.95));
        let input = clean.mapv(|value| value + rng.gen_range(-0.2..0.2));
        let mut backprop = Backprop::new(&network, objective, 8);
        backprop.differentiate(&network, input.view(), clean.view());
        let flat = |view: ArrayView1<'_, f64>| view.to_vec();
        let analytic: Vec<Vec<f64>> = (0..4)
            .map(|layer| {
                let gradients = backprop.gradients();
                let mut all = flat(gradients.weights[layer].flatten().view());
                all.extend(&gradients.biases[layer]);
                all
            })
            .collect();
        let largest = analytic.iter().flatten().fold(0.0, |largest: f64, g| largest.max(g.abs()));
        assert!(largest > 1e-4, "a gradient of nothing proves nothing");
        let mut worst: f64 = 0.0;
        let step = 1e-6;
        for (layer, analytic) in analytic.iter().enumerate() {
            for (index, &expected) in analytic.iter().enumerate() {
                let mut at = |change: f64| {
                    let parameters = &mut network.layers[layer];
                    let mut all = parameters.weight.iter_mut().chain(parameters.bias.iter_mut());
                    *all.nth(index).unwrap() += change;
                    backprop.differentiate(&network, input.view(), clean.view())
                };
                let (up, down) = (at(step), at(-2.0 * step));
                at(step);
                worst = worst.max(((up - down) / (2.0 * step) - expected).abs() / largest);
            }
        }
        worst
    }

    #[test]
    fn gradients_equal_finite_differences_for_every_loss_activation_and_penalty() {
        let activations = [Activation::Identity, Activation::Relu, Activation::Tanh, Activation::Sigmoid];
        let losses = [Loss::MeanSquaredError, Loss::BinaryCrossEntropy, Loss::Huber { delta: 0.2 }];
        let penalties = [(0.0, 0.0), (0.7, 0.0), (0.0, 0.9), (0.4, 0.6)];
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
        for hidden in activations {
            for code in activations {
                for loss in losses {
                    for (l1, kl) in penalties {
                        // Activities outside of 0..1 have no divergence.
                        let kl = if code == Activation::Sigmoid { kl } else { 0.0 };
                        let sparsity = Sparsity { l1, kl, target: 0.2 };
                        let network = network(hidden, code, &mut rng);
                        let error = gradient_error(network, (loss, sparsity), &mut rng);
                        assert!(error < 1e-6, "{hidden:?} {code:?} {loss:?} {sparsity:?}: {error:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn rows_left_in_the_buffers_by_a_larger_batch_do_not_count() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let network = network(Activation::Tanh, Activation::Sigmoid, &mut rng);
        let rows = Array2::from_shape_simple_fn((8, WIDTHS[0]), || rng.gen_range(0.0..1.0));
        let objective = (Loss::MeanSquaredError, Sparsity { l1: 0.1, kl: 0.1, target: 0.1 });
        let (mut used, mut fresh) = (Backprop::new(&network, objective, 8), Backprop::new(&network, objective, 3));
        used.differentiate(&network, rows.view(), rows.view());
        let few = rows.slice(s![..3, ..]);
        assert_eq!(used.differentiate(&network, few, few), fresh.differentiate(&network, few, few));
        assert_eq!(used.gradients().weights, fresh.gradients().weights);
        assert_eq!(used.gradients().biases, fresh.gradients().biases);
    }
}
