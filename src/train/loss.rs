//! Reconstruction losses: means over all values of a batch, and their gradients.
//!
//! A loss takes the sums of the output layer *before* its activation. That is the output itself for a linear output
//! layer; for the binary cross-entropy it is the logit, from which the loss is computed without overflow.

use linfa::Float;

use crate::config::settings::{Activation, Loss};

use super::{
    activation::sigmoid,
    network::{LEAST_LOG_VARIANCE, log_variance},
};

/// Independent partial sums, so that the loop needs no strict order of additions and can use vector registers.
const LANES: usize = 16;

/// The output layer's activation that belongs to a loss.
pub(super) fn output_activation(loss: Loss) -> Activation {
    match loss {
        Loss::MeanSquaredError | Loss::Huber { .. } => Activation::Identity,
        Loss::BinaryCrossEntropy => Activation::Sigmoid,
    }
}

/// Sum of the loss over all values; divide by their number for the mean.
pub(super) fn sum<F: Float>(loss: Loss, output: &[F], target: &[F]) -> F {
    match loss {
        Loss::MeanSquaredError => add_up(output, target, |y, t| squared(y, t).0),
        Loss::BinaryCrossEntropy => add_up(output, target, |z, t| cross_entropy(z, t).0),
        Loss::Huber { delta } => {
            let delta = F::cast(delta);
            add_up(output, target, |y, t| huber(y, t, delta).0)
        }
    }
}

/// Mean loss over all values; writes the gradient of that mean into `gradient`. All slices have the same length, > 0.
pub(super) fn mean_and_gradient<F: Float>(loss: Loss, output: &[F], target: &[F], gradient: &mut [F]) -> F {
    let share = F::one() / F::cast(output.len());
    let sum = match loss {
        Loss::MeanSquaredError => derive((output, target), gradient, share, squared),
        Loss::BinaryCrossEntropy => derive((output, target), gradient, share, cross_entropy),
        Loss::Huber { delta } => {
            let delta = F::cast(delta);
            derive((output, target), gradient, share, |y, t| huber(y, t, delta))
        }
    };
    sum * share
}

fn squared<F: Float>(output: F, target: F) -> (F, F) {
    let difference = output - target;
    (difference * difference, difference + difference)
}

/// Huber 1964, "Robust estimation of a location parameter": half the square, beyond `delta` a line.
fn huber<F: Float>(output: F, target: F, delta: F) -> (F, F) {
    let difference = output - target;
    let size = difference.max(-difference);
    let half = F::cast(0.5);
    // A NaN takes the first branch and stays one.
    if size > delta {
        (delta * (size - half * delta), if difference > F::zero() { delta } else { -delta })
    } else {
        (half * difference * difference, difference)
    }
}

/// Cross-entropy of sigmoid(logit) and target, as max(z, 0) - z t + ln(1 + exp(-|z|)).
fn cross_entropy<F: Float>(logit: F, target: F) -> (F, F) {
    let size = logit.max(-logit);
    (logit.max(F::zero()) - logit * target + (-size).exp().ln_1p(), sigmoid(logit) - target)
}

/// Negative logarithm of a normal distribution's density but for its constant, of one value: half of `(target - mean)^2 /
/// variance + ln(variance)`; and its slopes by mean and raw log-variance (see [`log_variance`]).
fn likelihood<F: Float>(mean: F, raw: F, target: F) -> (F, F, F) {
    let half = F::cast(0.5);
    let logarithm = log_variance(raw);
    let precision = (-logarithm).exp();
    let difference = mean - target;
    let square = difference * difference * precision;
    let slope = sigmoid(raw - F::cast(LEAST_LOG_VARIANCE));
    (half * (square + logarithm), difference * precision, half * (F::one() - square) * slope)
}

/// Sum over all values of the negative log-likelihood; `output` holds per row `width` means, then `width` raw log-variances.
pub(super) fn likelihood_sum<F: Float>(output: &[F], target: &[F], width: usize) -> F {
    let mut sum = F::zero();
    for (output, target) in output.chunks_exact(2 * width).zip(target.chunks_exact(width)) {
        let (means, raw) = output.split_at(width);
        for at in 0..width {
            sum += likelihood(means[at], raw[at], target[at]).0;
        }
    }
    sum
}

/// Mean of the same over all values; writes the gradient of that mean into `gradient`, laid out as `output`.
pub(super) fn likelihood_and_gradient<F: Float>(output: &[F], target: &[F], width: usize, gradient: &mut [F]) -> F {
    let share = F::one() / F::cast(target.len());
    let mut sum = F::zero();
    let rows = output.chunks_exact(2 * width).zip(gradient.chunks_exact_mut(2 * width));
    for ((output, gradient), target) in rows.zip(target.chunks_exact(width)) {
        let (means, raw) = output.split_at(width);
        for at in 0..width {
            let (loss, by_mean, by_raw) = likelihood(means[at], raw[at], target[at]);
            sum += loss;
            gradient[at] = by_mean * share;
            gradient[width + at] = by_raw * share;
        }
    }
    sum * share
}

/// Writes `share` times each gradient and returns the sum of the losses.
fn derive<F: Float>((output, target): (&[F], &[F]), gradient: &mut [F], share: F, each: impl Fn(F, F) -> (F, F)) -> F {
    let mut lanes = [F::zero(); LANES];
    let (outputs, last_outputs) = output.as_chunks::<LANES>();
    let (targets, last_targets) = target.as_chunks::<LANES>();
    let (gradients, last_gradients) = gradient.as_chunks_mut::<LANES>();
    for ((outputs, targets), gradients) in outputs.iter().zip(targets).zip(gradients) {
        for lane in 0..LANES {
            let (loss, slope) = each(outputs[lane], targets[lane]);
            lanes[lane] += loss;
            gradients[lane] = slope * share;
        }
    }
    let mut sum = total(lanes);
    for ((&y, &t), gradient) in last_outputs.iter().zip(last_targets).zip(last_gradients) {
        let (loss, slope) = each(y, t);
        sum += loss;
        *gradient = slope * share;
    }
    sum
}

fn total<F: Float>(lanes: [F; LANES]) -> F {
    lanes.into_iter().fold(F::zero(), |sum, lane| sum + lane)
}

fn add_up<F: Float>(output: &[F], target: &[F], each: impl Fn(F, F) -> F) -> F {
    let mut lanes = [F::zero(); LANES];
    let (outputs, last_outputs) = output.as_chunks::<LANES>();
    let (targets, last_targets) = target.as_chunks::<LANES>();
    for (outputs, targets) in outputs.iter().zip(targets) {
        for lane in 0..LANES {
            lanes[lane] += each(outputs[lane], targets[lane]);
        }
    }
    let mut sum = total(lanes);
    for (&y, &t) in last_outputs.iter().zip(last_targets) {
        sum += each(y, t);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_equal_values_worked_out_by_hand() {
        let (output, target) = ([1.0, 2.0, -1.0], [0.5, 2.0, 1.0]);
        assert_eq!(sum(Loss::MeanSquaredError, &output, &target), 0.25 + 4.0);
        assert_eq!(sum(Loss::Huber { delta: 1.0 }, &output, &target), 0.125 + 1.5);
        let expected = -(0.25 * 0.5f64.ln() + 0.75 * 0.5f64.ln());
        assert!((sum(Loss::BinaryCrossEntropy, &[0.0], &[0.25]) - expected).abs() < 1e-12);
    }

    #[test]
    fn cross_entropy_of_extreme_logits_is_finite() {
        let loss = sum(Loss::BinaryCrossEntropy, &[1000.0f32, -1000.0], &[1.0, 1.0]);
        assert_eq!(loss, 1000.0);
    }

    #[test]
    fn every_value_counts_once_whatever_the_length() {
        for len in 0..70 {
            let output: Vec<f64> = (0..len).map(f64::from).collect();
            let mut gradient = vec![0.0; output.len()];
            let expected: f64 = output.iter().map(|value| value * value).sum();
            assert_eq!(sum(Loss::MeanSquaredError, &output, &vec![0.0; output.len()]), expected);
            let share = 1.0 / output.len().max(1) as f64;
            let mean = mean_and_gradient(Loss::MeanSquaredError, &output, &vec![0.0; output.len()], &mut gradient);
            assert!(len == 0 || mean == expected * share);
            assert!(gradient.iter().zip(&output).all(|(g, y)| *g == 2.0 * y * share));
        }
    }

    #[test]
    fn a_nan_in_the_output_is_a_nan_in_the_loss() {
        for loss in [Loss::MeanSquaredError, Loss::BinaryCrossEntropy, Loss::Huber { delta: 1.0 }] {
            assert!(sum(loss, &[f32::NAN, 0.0], &[0.0, 0.0]).is_nan());
        }
    }
}
