//! How many alarms chance may give where a limit was estimated, too.

/// A candidate that keeps to its budget is refused this seldom.
const ERROR: f64 = 0.01;
/// Jeffreys' prior for a rate: half an event.
const PRIOR: f64 = 0.5;

/// The most events that may be seen where `expected` are expected, if the rate itself was estimated from a stretch that is
/// `stretch` times as long as the one observed.
///
/// Given what was estimated the rate has a gamma distribution, so the count has a negative binomial one: a Poisson
/// distribution that is wider the shorter the stretch was. Gives its quantile at 1 - [`ERROR`].
pub(super) fn most(expected: f64, stretch: f64) -> u64 {
    let shape = expected * stretch + PRIOR;
    let chance = 1.0 / (1.0 + stretch);
    let mut log_mass = shape * (1.0 - chance).ln();
    let mut sum = log_mass.exp();
    let mut count = 0_u64;
    // The sum reaches 1 but for rounding; far beyond the mean there is nothing left to find.
    let end = ((expected + 10.0) * 1e3) as u64;
    while sum < 1.0 - ERROR && count < end {
        log_mass += ((count as f64 + shape) / (count as f64 + 1.0) * chance).ln();
        sum += log_mass.exp();
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_an_endless_stretch_it_is_the_poisson_quantile() {
        // Quantiles at .99 of the Poisson distributions with these means.
        for (mean, quantile) in [(1.0, 4), (2.8, 7), (10.0, 18), (100.0, 124)] {
            assert_eq!(most(mean, 1e6), quantile, "{mean}");
        }
    }

    #[test]
    fn the_shorter_the_stretch_the_more_is_allowed() {
        let allowed: Vec<u64> = [10.0, 1.0, 0.1].map(|stretch| most(3.0, stretch)).into();
        assert!(allowed.windows(2).all(|pair| pair[0] < pair[1]), "{allowed:?}");
        assert!(most(0.0, 1.0) <= 4);
    }

    #[test]
    fn large_counts_do_not_overflow() {
        let allowed = most(4_000.0, 1.0);
        assert!((4_150..4_300).contains(&allowed), "{allowed}");
    }
}
