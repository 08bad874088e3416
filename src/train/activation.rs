//! Activations, and what back-propagation needs of them.

use linfa::Float;

use super::vector;
use crate::config::settings::Activation;

/// Slope of the leaky rectifier below 0 (Maas et al. 2013).
pub(crate) const LEAK: f64 = 0.01;

/// Applies the activation to every value. A NaN stays one: the loss must see it.
pub(super) fn activate<F: Float>(activation: Activation, values: &mut [F]) {
    let each = values.iter_mut();
    match activation {
        Activation::Identity => {}
        Activation::Relu => each.for_each(|x| *x = if *x < F::zero() { F::zero() } else { *x }),
        Activation::LeakyRelu => each.for_each(|x| *x = if *x < F::zero() { *x * F::cast(LEAK) } else { *x }),
        Activation::Tanh => vector::tanh(values),
        Activation::Sigmoid => vector::sigmoid(values),
        Activation::Elu => vector::elu(values),
        Activation::Gelu => each.for_each(|x| *x = *x * normal_distribution(*x)),
        Activation::Silu => vector::silu(values),
    }
}

/// Whether slopes are told by the sums; those of the other activations are told by the outputs.
pub(super) fn needs_sums(activation: Activation) -> bool {
    matches!(activation, Activation::Gelu | Activation::Silu)
}

/// Multiplies each gradient by the slope at `known`: the sums where the activation [needs them](needs_sums), else the
/// outputs.
pub(super) fn multiply_by_slope<F: Float>(activation: Activation, known: &[F], gradients: &mut [F]) {
    fn each<F: Float>(known: &[F], gradients: &mut [F], slope: impl Fn(F) -> F) {
        gradients.iter_mut().zip(known).for_each(|(gradient, &known)| *gradient *= slope(known));
    }
    match activation {
        Activation::Identity => {}
        // A gradient that isn't finite must not come back as NaN from a unit that is off.
        Activation::Relu => gradients
            .iter_mut()
            .zip(known)
            .for_each(|(gradient, &y)| *gradient = if y > F::zero() { *gradient } else { F::zero() }),
        Activation::LeakyRelu => each(known, gradients, leaky_slope),
        Activation::Tanh => each(known, gradients, |y| F::one() - y * y),
        Activation::Sigmoid => each(known, gradients, |y| y * (F::one() - y)),
        Activation::Elu => each(known, gradients, elu_slope),
        Activation::Gelu => each(known, gradients, |a| normal_distribution(a) + a * normal_density(a)),
        Activation::Silu => each(known, gradients, silu_slope),
    }
}

/// Writes slope and second derivative at each known value (see [`multiply_by_slope`]).
pub(super) fn derivatives<F: Float>(activation: Activation, known: &[F], slopes: &mut [F], curvatures: &mut [F]) {
    slopes.fill(F::one());
    multiply_by_slope(activation, known, slopes);
    let curvature = |each: fn(F) -> F, curvatures: &mut [F]| {
        curvatures.iter_mut().zip(known).for_each(|(curvature, &known)| *curvature = each(known));
    };
    match activation {
        Activation::Identity | Activation::Relu | Activation::LeakyRelu => curvatures.fill(F::zero()),
        Activation::Tanh => curvature(|y| -(y + y) * (F::one() - y * y), curvatures),
        Activation::Sigmoid => curvature(|y| y * (F::one() - y) * (F::one() - y - y), curvatures),
        Activation::Elu => curvature(|y| if y > F::zero() { F::zero() } else { y + F::one() }, curvatures),
        Activation::Gelu => curvature(|a| normal_density(a) * (F::cast(2) - a * a), curvatures),
        Activation::Silu => curvature(silu_curvature, curvatures),
    }
}

/// 1 / (1 + exp(-x)); exp may overflow to infinity, which gives the right 0.
pub(super) fn sigmoid<F: Float>(x: F) -> F {
    F::one() / (F::one() + (-x).exp())
}

/// ln(1 + exp(x)) without overflow.
pub(super) fn softplus<F: Float>(x: F) -> F {
    x.max(F::zero()) + (-x.max(-x)).exp().ln_1p()
}

fn leaky_slope<F: Float>(y: F) -> F {
    if y > F::zero() { F::one() } else { F::cast(LEAK) }
}

fn elu_slope<F: Float>(y: F) -> F {
    if y > F::zero() { F::one() } else { y + F::one() }
}

fn silu_slope<F: Float>(a: F) -> F {
    let s = sigmoid(a);
    s + a * s * (F::one() - s)
}

fn silu_curvature<F: Float>(a: F) -> F {
    let s = sigmoid(a);
    s * (F::one() - s) * (F::cast(2) + a * (F::one() - s - s))
}

/// The standard normal distribution function. In double precision: single precision would cancel in the lower tail.
pub(super) fn normal_distribution<F: Float>(x: F) -> F {
    F::cast(0.5 * libm::erfc(-to_f64(x) * std::f64::consts::FRAC_1_SQRT_2))
}

fn normal_density<F: Float>(x: F) -> F {
    let x = to_f64(x);
    F::cast((-0.5 * x * x).exp() * 0.5 * std::f64::consts::FRAC_1_SQRT_2 * std::f64::consts::FRAC_2_SQRT_PI)
}

/// The same number in double precision.
pub(super) fn to_f64<F: Float>(x: F) -> f64 {
    x.to_f64().expect("linfa's floats are f32 and f64")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(activation: Activation, sum: f64) -> f64 {
        let mut value = [sum];
        activate(activation, &mut value);
        value[0]
    }

    #[test]
    fn activations_of_extreme_sums_are_finite_and_nan_stays() {
        for activation in Activation::ALL {
            let mut values = [-1e30f32, 1e30, f32::NAN];
            activate(activation, &mut values);
            assert!(values[0].is_finite() && values[1].is_finite() && values[2].is_nan(), "{activation:?}");
        }
        assert!([-1e30f32, 0.0, 1e30].into_iter().all(|x| (0.0..=1.0).contains(&sigmoid(x))));
        assert_eq!((softplus(1e30f32), softplus(-1e30f32)), (1e30, 0.0));
    }

    #[test]
    fn activations_equal_values_worked_out_elsewhere() {
        // By Python's math.erf, math.exp and math.expm1.
        let expected = [
            (Activation::Gelu, 0.5306254434438489, -0.1693745565561511),
            (Activation::Silu, 0.46773144051771626, -0.2322685594822837),
            (Activation::Elu, 0.7, -0.5034146962085905),
            (Activation::LeakyRelu, 0.7, -0.007),
        ];
        for (activation, above, below) in expected {
            assert!((at(activation, 0.7) - above).abs() < 1e-12, "{activation:?}: {}", at(activation, 0.7));
            assert!((at(activation, -0.7) - below).abs() < 1e-12, "{activation:?}: {}", at(activation, -0.7));
        }
    }

    #[test]
    fn slopes_and_curvatures_equal_finite_differences() {
        for activation in Activation::ALL {
            for sum in [-3.0, -1.1, -0.2, 0.3, 0.9, 2.5] {
                let output = at(activation, sum);
                let known = [if needs_sums(activation) { sum } else { output }];
                let (mut slope, mut curvature) = ([0.0], [0.0]);
                derivatives(activation, &known, &mut slope, &mut curvature);
                let step = 1e-4;
                let (up, down) = (at(activation, sum + step), at(activation, sum - step));
                assert!((slope[0] - (up - down) / (2.0 * step)).abs() < 1e-6, "{activation:?} at {sum}");
                let second = (up - 2.0 * output + down) / (step * step);
                assert!((curvature[0] - second).abs() < 1e-5, "{activation:?} at {sum}: {} {second}", curvature[0]);
            }
        }
    }
}
