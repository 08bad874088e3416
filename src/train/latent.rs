//! The variational code (Kingma and Welling 2014, "Auto-encoding variational Bayes"): reparameterised draws, and the
//! divergence that keeps them near the standard normal distribution.

use linfa::Float;

/// A row of the code layer, `[2 * K]`: means, then log-variances.
fn halves<F>(heads: &[F]) -> (&[F], &[F]) {
    heads.split_at(heads.len() / 2)
}

/// Writes `mean + deviation * noise` of each row, or the means alone where there is no noise.
pub(super) fn draw<F: Float>(heads: &[F], noise: Option<&[F]>, code_size: usize, codes: &mut [F]) {
    let rows = heads.chunks_exact(2 * code_size).zip(codes.chunks_exact_mut(code_size));
    match noise {
        None => rows.for_each(|(heads, code)| code.copy_from_slice(halves(heads).0)),
        Some(noise) => rows.zip(noise.chunks_exact(code_size)).for_each(|((heads, code), noise)| {
            let (means, log_variances) = halves(heads);
            for (at, code) in code.iter_mut().enumerate() {
                *code = means[at] + (log_variances[at] * F::cast(0.5)).exp() * noise[at];
            }
        }),
    }
}

/// From the gradient with respect to the codes to the one with respect to the code layer, with that of the divergence, of
/// which each row counts `weight` times. Gives the divergence of all rows, weighted.
pub(super) fn pass_back<F: Float>(
    (heads, noise): (&[F], &[F]),
    codes: &[F],
    gradient: &mut [F],
    (code_size, weight): (usize, F),
) -> F {
    let mut divergence = F::zero();
    let half = F::cast(0.5);
    let rows = heads.chunks_exact(2 * code_size).zip(gradient.chunks_exact_mut(2 * code_size));
    let rows = rows.zip(noise.chunks_exact(code_size).zip(codes.chunks_exact(code_size)));
    for ((heads, gradient), (noise, codes)) in rows {
        let (means, log_variances) = halves(heads);
        let (of_means, of_log_variances) = gradient.split_at_mut(code_size);
        for at in 0..code_size {
            let variance = log_variances[at].exp();
            let deviation = (log_variances[at] * half).exp();
            divergence += half * (means[at] * means[at] + variance - F::one() - log_variances[at]);
            of_means[at] = codes[at] + weight * means[at];
            of_log_variances[at] = half * (codes[at] * noise[at] * deviation + weight * (variance - F::one()));
        }
    }
    divergence * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_noise_the_code_is_the_mean_and_with_noise_it_is_a_deviation_off() {
        let heads = [1.0, -2.0, 0.0, 4f64.ln()];
        let mut code = [0.0; 2];
        draw(&heads, None, 2, &mut code);
        assert_eq!(code, [1.0, -2.0]);
        draw(&heads, Some(&[0.5, -1.0]), 2, &mut code);
        assert_eq!(code, [1.5, -4.0]);
    }

    #[test]
    fn the_divergence_of_the_standard_normal_distribution_from_itself_is_0() {
        let (mut gradient, heads, zeros) = ([1.0; 4], [0.0; 4], [0.0; 2]);
        assert_eq!(pass_back((&heads, &zeros), &zeros, &mut gradient, (2, 1.0)), 0.0);
        assert_eq!(gradient, [0.0; 4]);
        // Mean 3 and deviation 2: (9 + 4 - 1 - ln 4) / 2.
        let heads = [3.0, 4f64.ln()];
        let told = pass_back((&heads, &[0.0]), &[0.0], &mut gradient[..2], (1, 1.0));
        assert!((told - 0.5 * (9.0 + 4.0 - 1.0 - 4f64.ln())).abs() < 1e-12);
    }
}
