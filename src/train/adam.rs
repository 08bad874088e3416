//! Adam (Kingma and Ba 2015, "Adam: a method for stochastic optimization").

use linfa::Float;

use super::{
    backprop::Gradients,
    network::{Network, contiguous, contiguous_mut},
};

const FIRST_DECAY: f64 = 0.9;
const SECOND_DECAY: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Moments below this count as 0. Those of units that ceased to learn would otherwise decay into subnormal numbers, and
/// arithmetic on these is many times slower.
const TINY: f64 = 1e-30;

/// The optimiser's state for one network.
#[derive(Debug)]
pub(super) struct Adam<F> {
    learning_rate: f64,
    /// Powers of the decays after the steps so far: what the moments still lack because they started from 0.
    first_lack: f64,
    second_lack: f64,
    /// Per layer, weight then bias.
    moments: Vec<Moments<F>>,
}

#[derive(Debug)]
struct Moments<F> {
    first: Vec<F>,
    second: Vec<F>,
}

impl<F: Float> Moments<F> {
    fn zeros(len: usize) -> Self {
        Self { first: vec![F::zero(); len], second: vec![F::zero(); len] }
    }

    fn step(&mut self, parameters: &mut [F], gradients: &[F], (rate, epsilon): (F, F)) {
        let (first_decay, second_decay) = (F::cast(FIRST_DECAY), F::cast(SECOND_DECAY));
        let (first_gain, second_gain) = (F::one() - first_decay, F::one() - second_decay);
        let tiny = F::cast(TINY);
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((parameter, &gradient), (first, second)) in parameters.iter_mut().zip(gradients).zip(moments) {
            *first = flush(*first * first_decay + gradient * first_gain, tiny);
            *second = flush(*second * second_decay + gradient * gradient * second_gain, tiny);
            *parameter -= rate * *first / (second.sqrt() + epsilon);
        }
    }
}

impl<F: Float> Adam<F> {
    pub(super) fn new(network: &Network<F>, learning_rate: f64) -> Self {
        let lengths = network.layers().iter().flat_map(|layer| [layer.weight.len(), layer.bias.len()]);
        Self { learning_rate, first_lack: 1.0, second_lack: 1.0, moments: lengths.map(Moments::zeros).collect() }
    }

    /// One step against the gradients. The correction of both moments' start from 0 goes into rate and epsilon.
    pub(super) fn step(&mut self, network: &mut Network<F>, gradients: &Gradients<F>) {
        self.first_lack *= FIRST_DECAY;
        self.second_lack *= SECOND_DECAY;
        let correction = (1.0 - self.second_lack).sqrt();
        let rate = F::cast(self.learning_rate * correction / (1.0 - self.first_lack));
        let scales = (rate, F::cast(EPSILON * correction));
        for (index, layer) in network.layers.iter_mut().enumerate() {
            let weight = contiguous_mut(layer.weight.as_slice_mut());
            self.moments[2 * index].step(weight, contiguous(gradients.weights[index].as_slice()), scales);
            let bias = contiguous_mut(layer.bias.as_slice_mut());
            self.moments[2 * index + 1].step(bias, contiguous(gradients.biases[index].as_slice()), scales);
        }
    }
}

fn flush<F: Float>(moment: F, tiny: F) -> F {
    if moment.max(-moment) < tiny { F::zero() } else { moment }
}
