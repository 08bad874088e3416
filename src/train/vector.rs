//! Loops over many values on the CPU's widest vectors: activations that need the exponential function, and Adam's step.
//!
//! exp(x) - 1 is calculated as 2^k (exp(r) - 1) + (2^k - 1) with x = k ln 2 + r, |r| <= ln(2) / 2 and a Taylor series for r;
//! tanh, the logistic function and ELU follow from it. Measured against `libm` in double precision, results in single
//! precision are at most 2 units in the last place off, those in double precision 3. CPUs with fused multiply-add all
//! give the same bits, those without may differ in the last ones; Adam's step gives the same bits on every CPU. A value's
//! result doesn't hang on its place among the others.

use fearless_simd::{Select, Simd, SimdBase, SimdFloat, SimdFloatElement};
use linfa::Float;

use super::lanes::{Kind, Work, kind, kind_mut, on_widest};

/// Values of the widest vector.
const WIDEST: usize = 16;

/// Replaces each value by its hyperbolic tangent.
pub(super) fn tanh<F: Float>(values: &mut [F]) {
    map(Function::Tanh, values);
}

/// Replaces each value x by 1 / (1 + exp(-x)).
pub(super) fn sigmoid<F: Float>(values: &mut [F]) {
    map(Function::Sigmoid, values);
}

/// Replaces each value x below 0 by exp(x) - 1.
pub(super) fn elu<F: Float>(values: &mut [F]) {
    map(Function::Elu, values);
}

/// Replaces each value x by x / (1 + exp(-x)).
pub(super) fn silu<F: Float>(values: &mut [F]) {
    map(Function::Silu, values);
}

/// Numbers of one step of Adam that hold for many parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdamStep<F> {
    /// Step size, with both moments' start from 0 corrected.
    pub(super) rate: F,
    /// What is added to the root of the second moment, corrected likewise.
    pub(super) epsilon: F,
    /// What gradients are multiplied by, to clip them.
    pub(super) clip: F,
    /// Share of the parameter that is added to its gradient.
    pub(super) penalty: F,
    /// Share of the parameter that is left, decoupled from the gradient.
    pub(super) keep: F,
    /// Shares of both moments that are left.
    pub(super) decays: [F; 2],
    /// Moments smaller than this become 0.
    pub(super) tiny: F,
}

/// Parameters, their gradients and both moments, all of the same length.
pub(super) struct AdamState<'a, F> {
    pub(super) parameters: &'a mut [F],
    pub(super) gradients: &'a [F],
    pub(super) first: &'a mut [F],
    pub(super) second: &'a mut [F],
}

/// One step of Adam (Kingma and Ba 2015) or AdamW.
pub(super) fn adam<F: Float>(state: AdamState<'_, F>, step: AdamStep<F>) {
    let AdamState { parameters, gradients, first, second } = state;
    assert!([gradients.len(), first.len(), second.len()] == [parameters.len(); 3], "the lengths are equal");
    match (kind_mut(parameters), kind(gradients), kind_mut(first), kind_mut(second)) {
        (Kind::Single(parameters), Kind::Single(gradients), Kind::Single(first), Kind::Single(second)) => {
            on_widest(Adam { state: AdamState { parameters, gradients, first, second }, step: step.cast() });
        }
        (Kind::Double(parameters), Kind::Double(gradients), Kind::Double(first), Kind::Double(second)) => {
            on_widest(Adam { state: AdamState { parameters, gradients, first, second }, step: step.cast() });
        }
        _ => unreachable!("all are of the same kind"),
    }
}

impl<F: Float> AdamStep<F> {
    fn cast<E: Float>(self) -> AdamStep<E> {
        let Self { rate, epsilon, clip, penalty, keep, decays, tiny } = self;
        // Between the same kinds nothing is rounded.
        let cast = |value: F| E::cast(value);
        AdamStep {
            rate: cast(rate),
            epsilon: cast(epsilon),
            clip: cast(clip),
            penalty: cast(penalty),
            keep: cast(keep),
            decays: decays.map(cast),
            tiny: cast(tiny),
        }
    }
}

struct Adam<'a, E> {
    state: AdamState<'a, E>,
    step: AdamStep<E>,
}

impl<E: Lane> Work for Adam<'_, E> {
    type Result = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { state: AdamState { parameters, gradients, first, second }, step } = self;
        let whole = parameters.len() / E::Native::<S>::LEN * E::Native::<S>::LEN;
        let (parameters, last_parameters) = parameters.split_at_mut(whole);
        let (gradients, last_gradients) = gradients.split_at(whole);
        let (first, last_first) = first.split_at_mut(whole);
        let (second, last_second) = second.split_at_mut(whole);
        adam_of::<S, E>(simd, AdamState { parameters, gradients, first, second }, step);
        let count = last_parameters.len();
        let [mut parameters, mut gradients, mut first, mut second] = [[E::zero(); WIDEST]; 4];
        parameters[..count].copy_from_slice(last_parameters);
        gradients[..count].copy_from_slice(last_gradients);
        first[..count].copy_from_slice(last_first);
        second[..count].copy_from_slice(last_second);
        let state =
            AdamState { parameters: &mut parameters, gradients: &gradients, first: &mut first, second: &mut second };
        adam_of::<S, E>(simd, state, step);
        last_parameters.copy_from_slice(&parameters[..count]);
        last_first.copy_from_slice(&first[..count]);
        last_second.copy_from_slice(&second[..count]);
    }
}

/// The step of as many parameters as some vectors hold. Nothing is fused, so that every CPU rounds alike.
#[inline(always)]
fn adam_of<S: Simd, E: Lane>(simd: S, state: AdamState<'_, E>, step: AdamStep<E>) {
    let lanes = E::Native::<S>::LEN;
    let gains = step.decays.map(|decay| E::one() - decay);
    let parameters = state.parameters.chunks_exact_mut(lanes).zip(state.gradients.chunks_exact(lanes));
    let moments = state.first.chunks_exact_mut(lanes).zip(state.second.chunks_exact_mut(lanes));
    for ((parameters, gradients), (first, second)) in parameters.zip(moments) {
        let parameter = read::<S, E>(simd, parameters);
        let gradient = read::<S, E>(simd, gradients) * step.clip + parameter * step.penalty;
        let one = flush::<S, E>(simd, step.tiny, read::<S, E>(simd, first) * step.decays[0] + gradient * gains[0]);
        let two = flush::<S, E>(
            simd,
            step.tiny,
            read::<S, E>(simd, second) * step.decays[1] + gradient * gradient * gains[1],
        );
        let parameter = parameter * step.keep - one * step.rate / (two.sqrt() + step.epsilon);
        parameter.store_slice(parameters);
        one.store_slice(first);
        two.store_slice(second);
    }
}

#[inline(always)]
fn read<S: Simd, E: Lane>(simd: S, values: &[E]) -> E::Native<S> {
    E::Native::<S>::from_slice(simd, values)
}

#[inline(always)]
fn flush<S: Simd, E: Lane>(simd: S, tiny: E, moment: E::Native<S>) -> E::Native<S> {
    moment.abs().simd_lt(splat::<S, E>(simd, tiny)).select(splat::<S, E>(simd, E::zero()), moment)
}

#[inline(always)]
fn splat<S: Simd, E: Lane>(simd: S, value: E) -> E::Native<S> {
    E::Native::<S>::splat(simd, value)
}

#[derive(Debug, Clone, Copy)]
enum Function {
    Tanh,
    Sigmoid,
    Elu,
    Silu,
}

fn map<F: Float>(function: Function, values: &mut [F]) {
    match kind_mut(values) {
        Kind::Single(values) => on_widest(Map { function, values }),
        Kind::Double(values) => on_widest(Map { function, values }),
    }
}

struct Map<'a, E> {
    function: Function,
    values: &'a mut [E],
}

impl<E: Lane> Map<'_, E> {
    #[inline(always)]
    fn each<S: Simd>(self, simd: S, function: impl Fn(E::Native<S>) -> E::Native<S>) {
        let mut vectors = self.values.chunks_exact_mut(E::Native::<S>::LEN);
        for values in &mut vectors {
            replace::<S, E>(simd, values, &function);
        }
        let last = vectors.into_remainder();
        let mut padded = [E::zero(); WIDEST];
        padded[..last.len()].copy_from_slice(last);
        replace::<S, E>(simd, &mut padded[..E::Native::<S>::LEN], &function);
        last.copy_from_slice(&padded[..last.len()]);
    }
}

/// Replaces the values of one vector.
#[inline(always)]
fn replace<S: Simd, E: Lane>(simd: S, values: &mut [E], function: &impl Fn(E::Native<S>) -> E::Native<S>) {
    let x = E::Native::<S>::from_slice(simd, values);
    // NaN equals nothing, not even itself, and is put back.
    x.simd_eq(x).select(function(x), x).store_slice(values);
}

impl<E: Lane> Work for Map<'_, E> {
    type Result = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.function {
            Function::Tanh => self.each(
                simd,
                #[inline(always)]
                |x| tanh_of::<S, E>(simd, x),
            ),
            Function::Sigmoid => self.each(
                simd,
                #[inline(always)]
                |x| sigmoid_of::<S, E>(simd, x),
            ),
            Function::Elu => self.each(
                simd,
                #[inline(always)]
                |x| {
                    let zero = splat::<S, E>(simd, E::zero());
                    x.simd_lt(zero).select(exp_m1_of::<S, E>(simd, x.min(zero)), x)
                },
            ),
            // At minus infinity the logistic function is 0, and so is the limit of the product.
            Function::Silu => self.each(
                simd,
                #[inline(always)]
                |x| {
                    let lowest = splat::<S, E>(simd, -E::LARGEST);
                    x.max(lowest) * sigmoid_of::<S, E>(simd, x)
                },
            ),
        }
    }
}

/// What the exponential function needs to know of a kind of number.
trait Lane: Float + SimdFloatElement {
    /// 1.5 times the smallest number whose last bit is worth 1: what is added to it is rounded to an integer, which
    /// stands in the last bits.
    const MAGIC: Self;
    /// Where the exponent's bits begin, and what 2^0 has there.
    const EXPONENT: u32;
    const BIAS: Self::Bits;
    const LOG2_E: Self;
    /// ln 2 in two parts, the first of few bits, so that its multiples are exact.
    const LN_2: [Self; 2];
    /// Beyond this exp is infinite, and 0 below its negative.
    const LARGEST: Self;
    /// 1/n! from the last to 1/2!.
    const SERIES: &'static [Self];
}

impl Lane for f32 {
    const MAGIC: Self = 12_582_912.0;
    const EXPONENT: u32 = 23;
    const BIAS: u32 = 127 << 23;
    const LOG2_E: Self = std::f32::consts::LOG2_E;
    const LN_2: [Self; 2] = [0.693_359_4, -2.121_944_4e-4];
    const LARGEST: Self = 120.0;
    const SERIES: &'static [Self] = &[1.0 / 5_040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];
}

impl Lane for f64 {
    const MAGIC: Self = 6_755_399_441_055_744.0;
    const EXPONENT: u32 = 52;
    const BIAS: u64 = 1_023 << 52;
    const LOG2_E: Self = std::f64::consts::LOG2_E;
    const LN_2: [Self; 2] = [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10];
    const LARGEST: Self = 800.0;
    const SERIES: &'static [Self] = &[
        1.0 / 87_178_291_200.0,
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
    ];
}

/// 2^k of an integer k + MAGIC, where it is a normal number.
#[inline(always)]
fn power_of_two<S: Simd, E: Lane>(simd: S, k: E::Native<S>) -> E::Native<S> {
    type Bits<S, E> = <<E as SimdFloatElement>::Native<S> as SimdFloat<S>>::Bits;
    E::Native::<S>::from_bits((k.to_bits() << E::EXPONENT) + Bits::<S, E>::splat(simd, E::BIAS))
}

/// exp(r) - 1 of what is left of x, and 2^k in two factors, which together may be too large or too small.
#[inline(always)]
fn reduced<S: Simd, E: Lane>(simd: S, x: E::Native<S>) -> (E::Native<S>, [E::Native<S>; 2]) {
    let magic = splat::<S, E>(simd, E::MAGIC);
    let k = x.mul_add(splat::<S, E>(simd, E::LOG2_E), magic) - magic;
    let r = k.mul_add(splat::<S, E>(simd, -E::LN_2[1]), k.mul_add(splat::<S, E>(simd, -E::LN_2[0]), x));
    let mut sum = splat::<S, E>(simd, E::SERIES[0]);
    for &term in &E::SERIES[1..] {
        sum = sum.mul_add(r, splat::<S, E>(simd, term));
    }
    let exp_m1 = (r * r).mul_add(sum, r);
    let half = k.mul_add(splat::<S, E>(simd, E::one() / (E::one() + E::one())), magic);
    let rest = k - (half - magic) + magic;
    (exp_m1, [power_of_two::<S, E>(simd, half), power_of_two::<S, E>(simd, rest)])
}

/// exp(x) - 1 for x up to ln(2) times the largest exponent, above which it may be infinite too soon.
#[inline(always)]
fn exp_m1_of<S: Simd, E: Lane>(simd: S, x: E::Native<S>) -> E::Native<S> {
    let (exp_m1, [one, two]) = reduced::<S, E>(simd, x.max(splat::<S, E>(simd, -E::LARGEST)));
    let scale = one * two;
    exp_m1.mul_add(scale, scale - E::one())
}

#[inline(always)]
fn tanh_of<S: Simd, E: Lane>(simd: S, x: E::Native<S>) -> E::Native<S> {
    // From about 20 on it is 1.
    let twice = (x.abs() * E::cast(2)).min(splat::<S, E>(simd, E::cast(50)));
    let exp_m1 = exp_m1_of::<S, E>(simd, twice);
    (exp_m1 / (exp_m1 + E::cast(2))).copysign(x)
}

#[inline(always)]
fn sigmoid_of<S: Simd, E: Lane>(simd: S, x: E::Native<S>) -> E::Native<S> {
    let (exp_m1, [one, two]) =
        reduced::<S, E>(simd, (-x).min(splat::<S, E>(simd, E::LARGEST)).max(splat::<S, E>(simd, -E::LARGEST)));
    let exp = (exp_m1 * one + one) * two;
    splat::<S, E>(simd, E::one()) / (exp + E::one())
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    type Case = (fn(&mut [f32]), fn(&mut [f64]), fn(f64) -> f64);

    fn elu_by_libm(x: f64) -> f64 {
        if x < 0.0 { libm::expm1(x) } else { x }
    }

    fn sigmoid_by_libm(x: f64) -> f64 {
        1.0 / (1.0 + libm::exp(-x))
    }

    fn silu_by_libm(x: f64) -> f64 {
        x / (1.0 + libm::exp(-x))
    }

    const CASES: [Case; 4] = [
        (tanh, tanh, libm::tanh),
        (sigmoid, sigmoid, sigmoid_by_libm),
        (elu, elu, elu_by_libm),
        (silu, silu, silu_by_libm),
    ];

    /// Values of every size, both signs, in any order; none so large that results would be subnormal.
    fn arguments(rng: &mut Xoshiro256PlusPlus) -> Vec<f64> {
        let mut draw = || {
            let size = if rng.r#gen() { rng.gen_range(0.0..80.0) } else { 10f64.powf(rng.gen_range(-30.0..1.5)) };
            f64::from(if rng.r#gen() { size } else { -size } as f32)
        };
        (0..200_001).map(|_| draw()).collect()
    }

    #[test]
    fn activations_are_within_two_units_of_the_last_place_and_three_in_double_precision() {
        let arguments = arguments(&mut Xoshiro256PlusPlus::seed_from_u64(1));
        for (index, (single, double, exact)) in CASES.into_iter().enumerate() {
            let mut singles: Vec<f32> = arguments.iter().map(|&x| x as f32).collect();
            let mut doubles = arguments.clone();
            single(&mut singles);
            double(&mut doubles);
            let (mut worst_single, mut worst_double) = (0.0f64, 0.0f64);
            for ((&x, &single), &double) in arguments.iter().zip(&singles).zip(&doubles) {
                let exact = exact(x);
                let off = |value: f64, digits: i32| (value - exact).abs() / exact.abs() * 2f64.powi(digits);
                worst_single = worst_single.max(off(f64::from(single), 23));
                worst_double = worst_double.max(off(double, 52));
            }
            println!("{index}: {worst_single:.2} {worst_double:.2}");
            assert!(worst_single <= 2.0, "{index}: {worst_single}");
            assert!(worst_double <= 3.0, "{index}: {worst_double}");
        }
    }

    #[test]
    fn nan_stays_nan_and_the_ends_are_right() {
        let ends = |function: fn(&mut [f32])| {
            let mut values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, f32::MAX, f32::MIN];
            function(&mut values);
            assert!(values[0].is_nan());
            values[1..].to_vec()
        };
        assert_eq!(ends(tanh), [1.0, -1.0, 0.0, -0.0, 1.0, -1.0]);
        assert_eq!(ends(sigmoid), [1.0, 0.0, 0.5, 0.5, 1.0, 0.0]);
        assert_eq!(ends(elu), [f32::INFINITY, -1.0, 0.0, -0.0, f32::MAX, -1.0]);
        assert_eq!(ends(silu), [f32::INFINITY, 0.0, 0.0, -0.0, f32::MAX, 0.0]);
        assert!(ends(tanh)[3].is_sign_negative());
    }

    #[test]
    fn a_result_does_not_hang_on_its_place() {
        let arguments: Vec<f32> =
            arguments(&mut Xoshiro256PlusPlus::seed_from_u64(2)).iter().take(40).map(|&x| x as f32).collect();
        for (function, ..) in CASES {
            let mut together = arguments.clone();
            function(&mut together);
            for (&x, &expected) in arguments.iter().zip(&together) {
                let mut alone = [x];
                function(&mut alone);
                assert_eq!(alone[0].to_bits(), expected.to_bits());
            }
        }
    }

    #[test]
    fn adam_gives_the_bits_of_the_formulas_written_out() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let mut draw = |low: f32, high: f32| -> Vec<f32> { (0..77).map(|_| rng.gen_range(low..high)).collect() };
        let step = AdamStep {
            rate: 1e-3,
            epsilon: 1e-8,
            clip: 0.7,
            penalty: 0.01,
            keep: 0.99,
            decays: [0.9, 0.999],
            tiny: 1e-30,
        };
        let (mut parameters, gradients) = (draw(-1.0, 1.0), draw(-1.0, 1.0));
        let (mut first, mut second) = (draw(-1.0, 1.0), draw(0.0, 1.0));
        (first[5], second[5]) = (1e-35, 1e-35);
        let mut expected = parameters.clone();
        let (mut one, mut two) = (first.clone(), second.clone());
        for index in 0..expected.len() {
            let flush = |moment: f32| if moment.abs() < step.tiny { 0.0 } else { moment };
            let gradient = gradients[index] * step.clip + expected[index] * step.penalty;
            one[index] = flush(one[index] * 0.9 + gradient * (1.0 - 0.9));
            two[index] = flush(two[index] * 0.999 + gradient * gradient * (1.0 - 0.999));
            expected[index] = expected[index] * step.keep - step.rate * one[index] / (two[index].sqrt() + step.epsilon);
        }
        let state =
            AdamState { parameters: &mut parameters, gradients: &gradients, first: &mut first, second: &mut second };
        adam(state, step);
        assert_eq!((parameters, first, second), (expected, one, two));
    }
}
