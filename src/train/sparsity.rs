//! Penalties on the activations of the code.

use linfa::Float;

use crate::config::settings::Sparsity;

/// The penalty of one batch and its gradient.
///
/// With code activations `h` of `B` rows and `K` units:
/// - L1: `l1 * mean(|h|)` over all `B * K` values;
/// - KL: `kl * mean over units of KL(target || activity)`, where a unit's activity is its mean over the batch (Ng 2011,
///   "Sparse autoencoder", CS294A; the mean over units keeps the weight's meaning when the code size changes).
#[derive(Debug, Clone)]
pub(super) struct SparsityPenalty<F> {
    l1: F,
    kl: F,
    target: F,
    /// Mean activation per unit, then the slope of the KL penalty; kept to not allocate per batch.
    units: Vec<F>,
}

impl<F: Float> SparsityPenalty<F> {
    /// `None` where both weights are 0.
    pub(super) fn new(sparsity: Sparsity, code_size: usize) -> Option<Self> {
        (sparsity.l1 > 0.0 || sparsity.kl > 0.0).then(|| Self {
            l1: F::cast(sparsity.l1),
            kl: F::cast(sparsity.kl),
            target: F::cast(sparsity.target),
            units: vec![F::zero(); code_size],
        })
    }

    /// Adds the penalty's gradient with respect to `code` (`[rows, code_size]`, row-major) to `gradient` and returns the
    /// penalty.
    pub(super) fn add(&mut self, code: &[F], gradient: &mut [F]) -> F {
        let mut penalty = F::zero();
        if self.l1 > F::zero() {
            penalty += self.add_l1(code, gradient);
        }
        if self.kl > F::zero() {
            penalty += self.add_kl(code, gradient);
        }
        penalty
    }

    fn add_l1(&self, code: &[F], gradient: &mut [F]) -> F {
        let slope = self.l1 / F::cast(code.len());
        let mut sum = F::zero();
        for (gradient, &h) in gradient.iter_mut().zip(code) {
            sum += h.max(-h);
            if h > F::zero() {
                *gradient += slope;
            } else if h < F::zero() {
                *gradient -= slope;
            }
        }
        sum * slope
    }

    fn add_kl(&mut self, code: &[F], gradient: &mut [F]) -> F {
        let code_size = self.units.len();
        let rows = F::cast(code.len() / code_size);
        self.units.fill(F::zero());
        for row in code.chunks_exact(code_size) {
            for (sum, &h) in self.units.iter_mut().zip(row) {
                *sum += h;
            }
        }
        let (target, weight) = (self.target, self.kl / F::cast(code_size));
        let mut divergence = F::zero();
        for unit in &mut self.units {
            // A saturated unit would make the divergence infinite.
            let activity = (*unit / rows).max(F::epsilon()).min(F::one() - F::epsilon());
            let (on, off) = (target / activity, (F::one() - target) / (F::one() - activity));
            divergence += target * on.ln() + (F::one() - target) * off.ln();
            *unit = weight * (off - on) / rows;
        }
        for row in gradient.chunks_exact_mut(code_size) {
            for (gradient, &slope) in row.iter_mut().zip(&self.units) {
                *gradient += slope;
            }
        }
        divergence * weight
    }
}
