//! Forward and backward pass of one batch, in buffers that are made once.

use linfa::Float;
use ndarray::{Array1, Array2, ArrayView2, s};
use rand::RngCore;
use rand_distr::{Distribution, StandardNormal};

use super::{
    activation::{activate, multiply_by_slope, needs_sums},
    contraction::ContractionPenalty,
    latent,
    layer::Layer,
    loss,
    network::{Latent, Network, Output, contiguous, contiguous_mut},
    sparsity::SparsityPenalty,
};
use crate::config::settings::{Contraction, Loss, Sparsity};

/// Gradients of the objective, shaped like the network's layers.
#[derive(Debug)]
pub(super) struct Gradients<F> {
    pub(super) weights: Vec<Array2<F>>,
    pub(super) biases: Vec<Array1<F>>,
}

/// What is minimised beside the divergence of a variational code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Objective {
    pub(super) loss: Loss,
    pub(super) sparsity: Sparsity,
    pub(super) contraction: Contraction,
}

/// A batch: what the network is given `[rows, input_width]`, and what it shall give `[rows, output_width]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch<'a, F> {
    pub(super) input: ArrayView2<'a, F>,
    pub(super) target: ArrayView2<'a, F>,
}

/// Buffers for batches of at most `batch_size` rows, and the objective.
#[derive(Debug)]
pub(super) struct Backprop<F> {
    loss: Loss,
    sparsity: Option<SparsityPenalty<F>>,
    contraction: Option<ContractionPenalty<F>>,
    /// Weight of a variational code's divergence, per output value.
    pub(super) divergence_weight: f64,
    /// Output of each layer `[batch_size, outputs]`; of the last one before its activation.
    outputs: Vec<Array2<F>>,
    /// Sums of the layers whose activation is not told by its output; empty for others.
    sums: Vec<Array2<F>>,
    /// Gradient with respect to each layer's sums `[batch_size, outputs]`.
    deltas: Vec<Array2<F>>,
    /// The variational code `[batch_size, code_size]`, its noise, and the gradient with respect to it.
    draws: Option<[Array2<F>; 3]>,
    /// Codes and reconstructions of the linear skip.
    skip: Option<[Array2<F>; 2]>,
    gradients: Gradients<F>,
    scratch: Vec<F>,
}

impl<F: Float> Backprop<F> {
    pub(super) fn new(network: &Network<F>, objective: Objective, batch_size: usize) -> Self {
        let layers = network.layers();
        let buffer = |width: usize| Array2::zeros((batch_size, width));
        let outputs = |layer: &Layer<F>| buffer(layer.outputs());
        let sums = |layer: &Layer<F>| buffer(if needs_sums(layer.activation()) { layer.outputs() } else { 0 });
        let scratch = layers.iter().map(Layer::scratch_per_row).max().unwrap_or(0) * batch_size;
        Self {
            loss: objective.loss,
            sparsity: SparsityPenalty::new(objective.sparsity, network.code_size()),
            contraction: ContractionPenalty::new(objective.contraction, network, batch_size),
            divergence_weight: 0.0,
            outputs: layers.iter().map(outputs).collect(),
            sums: layers.iter().map(sums).collect(),
            deltas: layers.iter().map(outputs).collect(),
            draws: (network.latent() == Latent::Gaussian).then(|| [(); 3].map(|()| buffer(network.code_size()))),
            skip: network.skip().map(|skip| [buffer(skip.encoder.outputs()), buffer(skip.decoder.outputs())]),
            gradients: Gradients {
                weights: layers.iter().map(|layer| Array2::zeros(layer.weight.dim())).collect(),
                biases: layers.iter().map(|layer| Array1::zeros(layer.bias.len())).collect(),
            },
            scratch: vec![F::zero(); scratch],
        }
    }

    /// The gradients of the last [`Self::differentiate`].
    pub(super) fn gradients(&self) -> &Gradients<F> {
        &self.gradients
    }

    /// Draws the noise of a variational code and the projections of the contractive penalty for the next batch.
    pub(super) fn draw<R: RngCore>(&mut self, rng: &mut R) {
        if let Some([_, noise, _]) = &mut self.draws {
            for value in noise {
                let normal: f64 = StandardNormal.sample(rng);
                *value = F::cast(normal);
            }
        }
        if let Some(contraction) = &mut self.contraction {
            contraction.draw(rng);
        }
    }

    /// Sum of the reconstruction loss over all values of at most `batch_size` rows, from the means of a variational code and
    /// without penalties.
    pub(super) fn loss_sum(&mut self, network: &Network<F>, batch: Batch<'_, F>) -> F {
        self.forward(network, batch.input, false);
        let (output, target) = (self.output(network, batch.input.nrows()), contiguous(batch.target.to_slice()));
        match network.output() {
            Output::Values => loss::sum(self.loss, output, target),
            Output::Gaussian(_) => loss::likelihood_sum(output, target, network.output_width()),
        }
    }

    /// Writes the reconstruction loss of each row, summed over its values, into `losses`.
    pub(super) fn row_losses(&mut self, network: &Network<F>, batch: Batch<'_, F>, losses: &mut Vec<F>) {
        self.forward(network, batch.input, true);
        let (output, target) = (self.output(network, batch.input.nrows()), contiguous(batch.target.to_slice()));
        let width = network.output_width();
        losses.clear();
        let rows = output.chunks_exact(output.len() / batch.input.nrows()).zip(target.chunks_exact(width));
        losses.extend(rows.map(|(output, target)| match network.output() {
            Output::Values => loss::sum(self.loss, output, target),
            Output::Gaussian(_) => loss::likelihood_sum(output, target, width),
        }));
    }

    /// Mean objective of a batch; its gradients are then found in [`Self::gradients`].
    pub(super) fn differentiate(&mut self, network: &Network<F>, batch: Batch<'_, F>) -> F {
        let rows = batch.input.nrows();
        self.forward(network, batch.input, true);
        let mut objective = self.differentiate_loss(network, batch);
        objective += self.differentiate_contraction(network, rows);
        for index in (0..self.outputs.len()).rev() {
            self.differentiate_layer(network, index, batch.input);
            if index > 0 {
                objective += self.pass_back(network, index, rows);
            }
        }
        objective
    }

    fn output(&self, network: &Network<F>, rows: usize) -> &[F] {
        let last = network.layers().len() - 1;
        &contiguous(self.outputs[last].as_slice())[..rows * network.layers()[last].outputs()]
    }

    fn forward(&mut self, network: &Network<F>, input: ArrayView2<'_, F>, draw: bool) {
        let rows = input.nrows();
        let last = self.outputs.len() - 1;
        for (index, layer) in network.layers().iter().enumerate() {
            let (before, rest) = self.outputs.split_at_mut(index);
            let given = match (&self.draws, before.last()) {
                (Some([codes, ..]), _) if index == network.code_layer() + 1 => codes.slice(s![..rows, ..]),
                (_, Some(output)) => output.slice(s![..rows, ..]),
                (_, None) => input.reborrow(),
            };
            let mut output = rest[0].slice_mut(s![..rows, ..]);
            layer.apply(given, output.view_mut(), &mut self.scratch);
            let values = contiguous_mut(output.into_slice());
            layer.add_bias(values);
            if index < last {
                if needs_sums(layer.activation()) {
                    contiguous_mut(self.sums[index].as_slice_mut())[..values.len()].copy_from_slice(values);
                }
                activate(layer.activation(), values);
            }
            if let Some([codes, noise, _]) = self.draws.as_mut().filter(|_| index == network.code_layer()) {
                let noise = draw.then(|| contiguous(noise.as_slice()));
                latent::draw(values, noise, network.code_size(), contiguous_mut(codes.as_slice_mut()));
            }
        }
        self.add_skip(network, input);
    }

    /// Adds what the linear skip makes of the input to the last layer's output.
    fn add_skip(&mut self, network: &Network<F>, input: ArrayView2<'_, F>) {
        let (Some(skip), Some([codes, rebuilt])) = (network.skip(), &mut self.skip) else { return };
        let rows = s![..input.nrows(), ..];
        let (mut codes, mut rebuilt) = (codes.slice_mut(rows), rebuilt.slice_mut(rows));
        skip.encoder.apply(input, codes.view_mut(), &mut self.scratch);
        skip.encoder.add_bias(contiguous_mut(codes.as_slice_mut()));
        skip.decoder.apply(codes.view(), rebuilt.view_mut(), &mut self.scratch);
        skip.decoder.add_bias(contiguous_mut(rebuilt.as_slice_mut()));
        let last = self.outputs.len() - 1;
        self.outputs[last].slice_mut(rows).zip_mut_with(&rebuilt, |sum, &value| *sum += value);
    }

    /// The loss, and its gradient with respect to the last layer's sums.
    fn differentiate_loss(&mut self, network: &Network<F>, batch: Batch<'_, F>) -> F {
        let last = self.outputs.len() - 1;
        let values = batch.input.nrows() * network.layers()[last].outputs();
        let output = &contiguous(self.outputs[last].as_slice())[..values];
        let delta = &mut contiguous_mut(self.deltas[last].as_slice_mut())[..values];
        let target = contiguous(batch.target.to_slice());
        match network.output() {
            Output::Values => loss::mean_and_gradient(self.loss, output, target, delta),
            Output::Gaussian(_) => loss::likelihood_and_gradient(output, target, network.output_width(), delta),
        }
    }

    /// The contractive penalty; its gradients wait in the weights' gradients and in the penalty.
    fn differentiate_contraction(&mut self, network: &Network<F>, rows: usize) -> F {
        let Some(contraction) = &mut self.contraction else { return F::zero() };
        for index in 0..contraction.layers() {
            self.gradients.weights[index].fill(F::zero());
            let layer = &network.layers()[index];
            let known = if needs_sums(layer.activation()) { &self.sums[index] } else { &self.outputs[index] };
            contraction.know(index, layer, &contiguous(known.as_slice())[..rows * layer.outputs()]);
        }
        contraction.differentiate(network, rows, &mut self.gradients)
    }

    /// From the delta of layer `index` to the gradients of its weight and bias.
    fn differentiate_layer(&mut self, network: &Network<F>, index: usize, input: ArrayView2<'_, F>) {
        let rows = input.nrows();
        let given = match &self.draws {
            _ if index == 0 => input.reborrow(),
            Some([codes, ..]) if index == network.code_layer() + 1 => codes.slice(s![..rows, ..]),
            Some(_) | None => self.outputs[index - 1].slice(s![..rows, ..]),
        };
        let delta = self.deltas[index].slice(s![..rows, ..]);
        let accumulate = self.contraction.is_some() && index <= network.code_layer();
        let gradient = self.gradients.weights[index].view_mut();
        network.layers()[index].weight_gradient((given, delta), gradient, &mut self.scratch, accumulate);
        let bias = contiguous_mut(self.gradients.biases[index].as_slice_mut());
        bias.fill(F::zero());
        for position in contiguous(delta.to_slice()).chunks_exact(bias.len()) {
            bias.iter_mut().zip(position).for_each(|(sum, &value)| *sum += value);
        }
    }

    /// From the delta of layer `index` to the delta of the layer before it; returns the penalties of that layer's output.
    fn pass_back(&mut self, network: &Network<F>, index: usize, rows: usize) -> F {
        let (before, rest) = self.deltas.split_at_mut(index);
        let delta = rest[0].slice(s![..rows, ..]);
        let mut target = before[index - 1].slice_mut(s![..rows, ..]);
        let (layer, of_code) = (&network.layers()[index - 1], index - 1 == network.code_layer());
        if let Some([_, noise, codes]) = self.draws.as_mut().filter(|_| of_code) {
            let mut codes = codes.slice_mut(s![..rows, ..]);
            network.layers()[index].adjoint(delta, codes.view_mut(), &mut self.scratch);
            let weight = self.divergence_weight / (rows * network.output_width()) as f64;
            let heads = self.outputs[index - 1].slice(s![..rows, ..]);
            return latent::pass_back(
                (contiguous(heads.to_slice()), contiguous(noise.as_slice())),
                contiguous(codes.as_slice()),
                contiguous_mut(target.as_slice_mut()),
                (network.code_size(), F::cast(weight)),
            );
        }
        network.layers()[index].adjoint(delta, target.view_mut(), &mut self.scratch);
        let values = rows * layer.outputs();
        let outputs = &contiguous(self.outputs[index - 1].as_slice())[..values];
        let delta = contiguous_mut(target.into_slice());
        let penalty = match &mut self.sparsity {
            Some(penalty) if of_code => penalty.add(outputs, delta),
            Some(_) | None => F::zero(),
        };
        let sums = contiguous(self.sums[index - 1].as_slice());
        let known = if needs_sums(layer.activation()) { &sums[..values] } else { outputs };
        multiply_by_slope(layer.activation(), known, delta);
        if let Some(contraction) = self.contraction.as_ref().filter(|_| index <= network.code_layer() + 1) {
            delta.iter_mut().zip(contraction.through_slopes(index - 1)).for_each(|(sum, &value)| *sum += value);
        }
        penalty
    }
}

#[cfg(test)]
mod tests {
    use linfa::ParamGuard;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;
    use crate::{
        config::settings::{Activation, Convolution, Kinds, NetworkKind, Variational, VariationalScore},
        train::{AutoencoderParams, Rows, Shape, rows::of_matrix},
    };

    const WIDTHS: [usize; 5] = [5, 4, 3, 4, 5];
    const CODE: usize = 1;

    /// A network of 5 values in and out.
    fn network(hidden: Activation, code: Activation, rng: &mut Xoshiro256PlusPlus) -> Network<f64> {
        let layers = WIDTHS.windows(2).enumerate().map(|(index, pair)| {
            let activation = match index {
                CODE => code,
                3 => Activation::Identity,
                _ => hidden,
            };
            let mut layer = Layer::random((pair[0], pair[1]), activation, rng);
            layer.bias.mapv_inplace(|_| rng.gen_range(-0.3..0.3));
            layer
        });
        Network::new(layers.collect(), CODE).unwrap()
    }

    fn objective(loss: Loss) -> Objective {
        Objective { loss, sparsity: Sparsity::default(), contraction: Contraction::default() }
    }

    fn random(shape: (usize, usize), rng: &mut Xoshiro256PlusPlus) -> Array2<f64> {
        Array2::from_shape_simple_fn(shape, || rng.gen_range(0.05..0.95))
    }

    /// Largest difference between the gradients and central finite differences, relative to the largest gradient.
    fn gradient_error(mut network: Network<f64>, objective: Objective, rng: &mut Xoshiro256PlusPlus) -> f64 {
        let target = random((7, network.output_width()), rng);
        let input = random((7, network.input_width()), rng);
        let batch = Batch { input: input.view(), target: target.view() };
        let mut backprop = Backprop::new(&network, objective, 8);
        backprop.divergence_weight = 0.7;
        backprop.draw(rng);
        backprop.differentiate(&network, batch);
        let layers = network.layers.len();
        let analytic: Vec<Vec<f64>> = (0..layers)
            .map(|layer| {
                let gradients = backprop.gradients();
                gradients.weights[layer].iter().chain(&gradients.biases[layer]).copied().collect()
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
                    backprop.differentiate(&network, batch)
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
        let losses = [Loss::MeanSquaredError, Loss::BinaryCrossEntropy, Loss::Huber { delta: 0.2 }];
        let penalties = [(0.0, 0.0), (0.7, 0.0), (0.0, 0.9), (0.4, 0.6)];
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
        for hidden in Activation::ALL {
            for code in Activation::ALL {
                for loss in losses {
                    for (l1, kl) in penalties {
                        // Activities outside of 0..1 have no divergence.
                        let kl = if code == Activation::Sigmoid { kl } else { 0.0 };
                        let sparsity = Sparsity { l1, kl, target: 0.2 };
                        let network = network(hidden, code, &mut rng);
                        let error = gradient_error(network, Objective { sparsity, ..objective(loss) }, &mut rng);
                        assert!(error < 1e-6, "{hidden:?} {code:?} {loss:?} {sparsity:?}: {error:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn gradients_of_the_contractive_penalty_equal_finite_differences() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(12);
        for activation in Activation::ALL {
            let contraction = Contraction { weight: 0.8, projections: 2 };
            let objective = Objective { contraction, ..objective(Loss::MeanSquaredError) };
            let deep = network(activation, activation, &mut rng);
            let error = gradient_error(deep, objective, &mut rng);
            assert!(error < 1e-6, "{activation:?}, two layers: {error:e}");
            let layer = |shape, activation, rng: &mut _| Layer::random(shape, activation, rng);
            let layers = vec![layer((5, 3), activation, &mut rng), layer((3, 5), Activation::Identity, &mut rng)];
            let error = gradient_error(Network::new(layers, 0).unwrap(), objective, &mut rng);
            assert!(error < 1e-6, "{activation:?}, one layer: {error:e}");
        }
    }

    /// A network as the parameters make it, with biases that aren't 0.
    fn made(params: AutoencoderParams<f64>, rng: &mut Xoshiro256PlusPlus) -> (Network<f64>, Objective) {
        let params = params.check().unwrap();
        let matrix = random((20, params.row_width()), rng);
        let copy = of_matrix(matrix.view());
        let rows = Rows { len: 20, width: params.row_width(), copy: &copy };
        let mut network = params.initial_network(rows, rng).unwrap();
        for layer in &mut network.layers {
            layer.bias.mapv_inplace(|_| rng.gen_range(-0.3..0.3));
            layer.weight.mapv_inplace(|weight| if weight == 0.0 { rng.gen_range(-0.3..0.3) } else { weight });
        }
        (network, params.objective())
    }

    #[test]
    fn gradients_equal_finite_differences_for_every_kind_and_their_combinations() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(13);
        let window = Shape { height: 6, width: 1, channels: 2 };
        let grid = Shape { height: 5, width: 4, channels: 1 };
        let layers = |channels: &[usize], kernel, stride, dilation| Convolution {
            channels: channels.to_vec(),
            kernel,
            stride,
            dilation,
        };
        let by = |score| Variational { beta: 0.5, warm_up: 0, score, draws: 3 };
        let (error, probability) = (by(VariationalScore::Error), by(VariationalScore::Probability));
        let contraction = Contraction { weight: 0.6, projections: 2 };
        let sparsity = Sparsity { l1: 0.3, ..Sparsity::default() };
        use NetworkKind::{Contractive, Convolutional, Sequence, Sparse, Variational as Vae};
        let of = |width: usize, kinds: &[NetworkKind]| {
            AutoencoderParams::new(width, 3).kinds(Kinds::new(kinds).unwrap()).activation(Activation::Gelu)
        };
        let all = [
            of(12, &[Convolutional]).convolution(window, layers(&[3, 2], 3, 2, 1)),
            of(12, &[Convolutional]).convolution(window, layers(&[3, 2], 2, 1, 2)).hidden(&[4]),
            of(12, &[Convolutional]).convolution(window, layers(&[2], 1, 3, 1)).activation(Activation::Tanh),
            of(20, &[Convolutional]).convolution(grid, layers(&[2, 3], 3, 2, 1)),
            of(20, &[Convolutional]).convolution(grid, layers(&[2], 2, 1, 2)).loss(Loss::BinaryCrossEntropy),
            of(5, &[Vae]).variational(error).hidden(&[4]),
            of(5, &[Vae]).variational(probability).hidden(&[4]),
            of(12, &[Vae, Convolutional]).variational(error).convolution(window, layers(&[3], 3, 2, 1)),
            of(12, &[Sequence]).predicted(4).hidden(&[5]),
            of(12, &[Sequence, Convolutional]).predicted(2).convolution(window, layers(&[3, 2], 3, 2, 1)),
            of(12, &[Sequence, Vae]).predicted(2).variational(probability),
            of(12, &[Convolutional, Contractive, Sparse])
                .convolution(window, layers(&[3], 3, 2, 1))
                .contraction(contraction)
                .sparsity(sparsity),
            of(5, &[NetworkKind::Undercomplete]).skip(true).hidden(&[4]),
            of(5, &[Vae]).variational(error).skip(true),
        ];
        for params in all {
            let (network, objective) = made(params.clone(), &mut rng);
            let error = gradient_error(network, objective, &mut rng);
            assert!(error < 1e-6, "{params:?}: {error:e}");
        }
    }

    #[test]
    fn over_all_signs_the_estimated_norm_is_that_of_the_exact_jacobian() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(14);
        let network = network(Activation::Silu, Activation::Tanh, &mut rng);
        let input = random((4, 5), &mut rng);
        let step = 1e-5;
        let mut exact = 0.0;
        for column in 0..5 {
            let moved = |by: f64| {
                let mut input = input.clone();
                input.column_mut(column).mapv_inplace(|value| value + by);
                network.encode(input.view())
            };
            let slope = (moved(step) - moved(-step)) / (2.0 * step);
            exact += slope.mapv(|value| value * value).sum() / 4.0;
        }
        // The 8 rows of signs of a code of 3 units, one after another: their mean is the expectation.
        let contraction = Contraction { weight: 3.0, projections: 1 };
        let objective = Objective { contraction, ..objective(Loss::MeanSquaredError) };
        let mut estimate = 0.0;
        for signs in 0..8 {
            let mut backprop = Backprop::new(&network, objective, 4);
            let batch = Batch { input: input.view(), target: input.view() };
            backprop.contraction.as_mut().unwrap().set_signs(|unit| if signs >> unit & 1 == 0 { 1.0 } else { -1.0 });
            let with = backprop.differentiate(&network, batch);
            backprop.contraction = None;
            estimate += (with - backprop.differentiate(&network, batch)) / 8.0;
        }
        assert!((estimate - exact).abs() < 1e-8 * exact, "{estimate} {exact}");
        // Of a single layer it is exact without signs.
        let layers = vec![network.layers[0].clone(), Layer::random((4, 5), Activation::Identity, &mut rng)];
        let shallow = Network::new(layers, 0).unwrap();
        let mut penalty = ContractionPenalty::new(Contraction { weight: 4.0, projections: 1 }, &shallow, 1).unwrap();
        let row = random((1, 5), &mut rng);
        let mut backprop = Backprop::new(&shallow, objective, 1);
        backprop.forward(&shallow, row.view(), false);
        penalty.know(0, &shallow.layers[0], backprop.sums[0].as_slice().unwrap());
        let told = penalty.differentiate(&shallow, 1, &mut backprop.gradients);
        let jacobian: f64 = (0..5)
            .map(|column| {
                let moved = |by: f64| {
                    let mut row = row.clone();
                    row[[0, column]] += by;
                    shallow.encode(row.view())
                };
                ((moved(step) - moved(-step)) / (2.0 * step)).mapv(|value| value * value).sum()
            })
            .sum();
        assert!((told - jacobian).abs() < 1e-8 * jacobian, "{told} {jacobian}");
    }

    #[test]
    fn rows_left_in_the_buffers_by_a_larger_batch_do_not_count() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let network = network(Activation::Tanh, Activation::Sigmoid, &mut rng);
        let rows = random((8, WIDTHS[0]), &mut rng);
        let sparsity = Sparsity { l1: 0.1, kl: 0.1, target: 0.1 };
        let objective = Objective {
            sparsity,
            contraction: Contraction { weight: 0.5, projections: 1 },
            ..objective(Loss::MeanSquaredError)
        };
        let (mut used, mut fresh) = (Backprop::new(&network, objective, 8), Backprop::new(&network, objective, 3));
        for backprop in [&mut used, &mut fresh] {
            backprop.contraction.as_mut().unwrap().set_signs(|unit| if unit == 1 { -1.0 } else { 1.0 });
        }
        used.differentiate(&network, Batch { input: rows.view(), target: rows.view() });
        let few = rows.slice(s![..3, ..]);
        let batch = Batch { input: few, target: few };
        assert_eq!(used.differentiate(&network, batch), fresh.differentiate(&network, batch));
        assert_eq!(used.gradients().weights, fresh.gradients().weights);
        assert_eq!(used.gradients().biases, fresh.gradients().biases);
    }
}
