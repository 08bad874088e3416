//! From gradients to steps: Adam (Kingma and Ba 2015, "Adam: a method for stochastic optimization") and AdamW (Loshchilov
//! and Hutter 2019, "Decoupled weight decay regularization"), with learning-rate schedules and clipping.

use std::f64::consts::PI;

use linfa::Float;

use super::{
    activation::to_f64,
    backprop::Gradients,
    network::{Network, contiguous, contiguous_mut},
    vector::{AdamState, AdamStep, adam},
};
use crate::config::settings::{Optimiser, OptimiserRule, RateSchedule};

const FIRST_DECAY: f64 = 0.9;
const SECOND_DECAY: f64 = 0.999;
const EPSILON: f64 = 1e-8;
/// Moments below this count as 0. Those of units that ceased to learn would otherwise decay into subnormal numbers, and
/// arithmetic on these is many times slower.
const TINY: f64 = 1e-30;

/// One cycle: share of the steps in which the rate rises, and its first and last value as shares of the largest, as
/// PyTorch's scheduler has them.
const RISE: f64 = 0.3;
const FIRST_RATE: f64 = 1.0 / 25.0;
const LAST_RATE: f64 = FIRST_RATE / 1e4;

/// The optimiser's state for one network.
#[derive(Debug)]
pub(super) struct Steps<F> {
    optimiser: Optimiser,
    /// Steps done, and in all.
    done: usize,
    total: usize,
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

    fn step(&mut self, parameters: &mut [F], gradients: &[F], step: AdamStep<F>) {
        let Self { first, second } = self;
        adam(AdamState { parameters, gradients, first, second }, step);
    }
}

impl<F: Float> Steps<F> {
    /// For at most `total` steps, on which the schedule hangs.
    pub(super) fn new(network: &Network<F>, optimiser: Optimiser, total: usize) -> Self {
        let lengths = network.layers().iter().flat_map(|layer| [layer.weight.len(), layer.bias.len()]);
        let moments = lengths.map(Moments::zeros).collect();
        Self { optimiser, done: 0, total, first_lack: 1.0, second_lack: 1.0, moments }
    }

    /// One step against the gradients. The correction of both moments' start from 0 goes into rate and epsilon.
    pub(super) fn step(&mut self, network: &mut Network<F>, gradients: &Gradients<F>) {
        let Optimiser { rule, learning_rate, schedule, weight_decay, clip_norm } = self.optimiser;
        let rate = learning_rate * share_of_rate(schedule, self.done, self.total);
        self.done += 1;
        self.first_lack *= FIRST_DECAY;
        self.second_lack *= SECOND_DECAY;
        let correction = (1.0 - self.second_lack).sqrt();
        let clip = clip_norm.map_or(1.0, |largest| clip(gradients, largest));
        let (penalty, keep) = match rule {
            OptimiserRule::Adam => (weight_decay, 1.0),
            OptimiserRule::AdamW => (0.0, 1.0 - rate * weight_decay),
        };
        let of_weights = AdamStep {
            rate: F::cast(rate * correction / (1.0 - self.first_lack)),
            epsilon: F::cast(EPSILON * correction),
            clip: F::cast(clip),
            penalty: F::cast(penalty),
            keep: F::cast(keep),
            decays: [F::cast(FIRST_DECAY), F::cast(SECOND_DECAY)],
            tiny: F::cast(TINY),
        };
        let of_biases = AdamStep { penalty: F::zero(), keep: F::one(), ..of_weights };
        for (index, layer) in network.layers.iter_mut().enumerate() {
            let weight = contiguous_mut(layer.weight.as_slice_mut());
            self.moments[2 * index].step(weight, contiguous(gradients.weights[index].as_slice()), of_weights);
            let bias = contiguous_mut(layer.bias.as_slice_mut());
            self.moments[2 * index + 1].step(bias, contiguous(gradients.biases[index].as_slice()), of_biases);
        }
    }
}

/// The step size of step `done` (from 0) of `total` as a share of the largest one.
fn share_of_rate(schedule: RateSchedule, done: usize, total: usize) -> f64 {
    let cosine = |from: f64, to: f64, way: f64| to + (from - to) * 0.5 * (1.0 + (PI * way).cos());
    let way = done as f64 / (total.max(2) - 1) as f64;
    match schedule {
        RateSchedule::Constant => 1.0,
        RateSchedule::Cosine => cosine(1.0, 0.0, done as f64 / total.max(1) as f64),
        RateSchedule::OneCycle if way < RISE => cosine(FIRST_RATE, 1.0, way / RISE),
        RateSchedule::OneCycle => cosine(1.0, LAST_RATE, ((way - RISE) / (1.0 - RISE)).min(1.0)),
    }
}

/// What to multiply gradients by so that their norm is at most `largest`.
fn clip<F: Float>(gradients: &Gradients<F>, largest: f64) -> f64 {
    // In double precision: the squares of large gradients overflow single precision, just where clipping is needed.
    let squares = |values: &[F]| values.iter().map(|&value| to_f64(value).powi(2)).sum::<f64>();
    let weights = gradients.weights.iter().map(|weight| squares(contiguous(weight.as_slice())));
    let biases = gradients.biases.iter().map(|bias| squares(contiguous(bias.as_slice())));
    let norm = weights.chain(biases).sum::<f64>().sqrt();
    // A norm that isn't finite is left to the check of the loss.
    if norm > largest && norm.is_finite() { largest / norm } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2};

    use super::*;
    use crate::{config::settings::Activation, train::Layer};

    const PLAIN: Optimiser = Optimiser {
        rule: OptimiserRule::Adam,
        learning_rate: 0.1,
        schedule: RateSchedule::Constant,
        weight_decay: 0.0,
        clip_norm: None,
    };

    fn network() -> Network<f64> {
        let layer = || Layer::dense(Array2::from_elem((1, 1), 2.0), Array1::ones(1), Activation::Identity).unwrap();
        Network::new(vec![layer(), layer()], 0).unwrap()
    }

    fn gradients(value: f64) -> Gradients<f64> {
        let weights = vec![Array2::from_elem((1, 1), value); 2];
        Gradients { weights, biases: vec![Array1::from_elem(1, value); 2] }
    }

    /// Weight and bias after these steps.
    fn after(optimiser: Optimiser, steps: &[f64]) -> (f64, f64) {
        let mut network = network();
        let mut state = Steps::new(&network, optimiser, steps.len());
        steps.iter().for_each(|gradient| state.step(&mut network, &gradients(*gradient)));
        (network.layers[0].weight[[0, 0]], network.layers[0].bias[0])
    }

    /// Two steps of the papers' formulas, written out.
    fn by_hand(weight: f64, decay: f64, decoupled: f64) -> f64 {
        let (mut weight, mut first, mut second) = (weight, 0.0, 0.0);
        for (step, gradient) in [(1, 0.5), (2, -1.5)] {
            let gradient = gradient + decay * weight;
            weight *= 1.0 - 0.1 * decoupled;
            first = 0.9 * first + 0.1 * gradient;
            second = 0.999 * second + 0.001 * gradient * gradient;
            let (first, second) = (first / (1.0 - 0.9f64.powi(step)), second / (1.0 - 0.999f64.powi(step)));
            weight -= 0.1 * first / (second.sqrt() + 1e-8);
        }
        weight
    }

    #[test]
    fn adam_and_adamw_step_as_their_papers_say_and_biases_do_not_decay() {
        let steps = [0.5, -1.5];
        let close = |(weight, bias): (f64, f64), expected: f64| {
            assert!((weight - expected).abs() < 1e-12, "{weight} {expected}");
            assert!((bias - by_hand(1.0, 0.0, 0.0)).abs() < 1e-12);
        };
        close(after(PLAIN, &steps), by_hand(2.0, 0.0, 0.0));
        close(after(Optimiser { weight_decay: 0.3, ..PLAIN }, &steps), by_hand(2.0, 0.3, 0.0));
        let decoupled = Optimiser { rule: OptimiserRule::AdamW, weight_decay: 0.3, ..PLAIN };
        close(after(decoupled, &steps), by_hand(2.0, 0.0, 0.3));
    }

    #[test]
    fn clipping_shortens_gradients_to_the_norm_and_leaves_shorter_ones() {
        // Two layers of a weight and a bias: norm 2 times the value.
        assert_eq!(clip(&gradients(3.0), 1.5), 0.25);
        assert_eq!(clip(&gradients(0.5), 1.5), 1.0);
        let weights = vec![Array2::from_elem((1, 1), 1e25f32); 2];
        let large = Gradients { weights, biases: vec![Array1::zeros(1); 2] };
        assert!((clip(&large, 1.0) * 2f64.sqrt() * 1e25 - 1.0).abs() < 1e-6);
        // Adam doesn't see the size of the first gradient, but that of a later one beside it.
        let clipped = after(Optimiser { clip_norm: Some(1.0), ..PLAIN }, &[0.5, 100.0]);
        assert!(clipped != after(PLAIN, &[0.5, 100.0]));
        assert_eq!(clipped, after(PLAIN, &[0.5, 0.5]));
    }

    #[test]
    fn schedules_begin_peak_and_end_where_they_should() {
        let share = |schedule, done| share_of_rate(schedule, done, 101);
        assert_eq!(share(RateSchedule::Constant, 57), 1.0);
        assert_eq!(share(RateSchedule::Cosine, 0), 1.0);
        assert!((share_of_rate(RateSchedule::Cosine, 50, 100) - 0.5).abs() < 1e-12);
        assert!(share(RateSchedule::Cosine, 100) < 0.001);
        assert!((share(RateSchedule::OneCycle, 0) - 0.04).abs() < 1e-12);
        assert!((share(RateSchedule::OneCycle, 30) - 1.0).abs() < 1e-12);
        assert!(share(RateSchedule::OneCycle, 29) < 1.0 && share(RateSchedule::OneCycle, 31) < 1.0);
        assert!((share(RateSchedule::OneCycle, 100) - 0.04 / 1e4).abs() < 1e-12);
        assert!(share_of_rate(RateSchedule::OneCycle, 0, 1).is_finite());
    }
}
