//! How well scores rank labelled rows above the others, with no limit involved.
//!
//! AUROC is the chance that a labelled row scores higher than another, where a tie counts half (Mann-Whitney U over the
//! number of pairs; Hanley and McNeil, *Radiology* 143, 1982). AUCPR is average precision: the sum over the distinct
//! scores, from the highest down, of the gain in recall times the precision there, without interpolation (Davis and
//! Goadrich, ICML 2006, say why). F1 is the harmonic mean of precision and recall of rows; the best one is what somebody
//! would have who knew the labels beforehand, so it bounds what any limit can give.

use super::{EvaluateError, comparable, count};

/// What the order of the rows is worth. `None` where a figure is not defined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranking {
    /// Area under the receiver operating characteristic, 0..=1; needs labelled rows and others.
    pub auroc: Option<f64>,
    /// Average precision, 0..=1; needs labelled rows.
    pub aucpr: Option<f64>,
    /// The best of all limits; needs a labelled row with a score.
    pub best_f1: Option<BestF1>,
}

/// The limit that agrees best with the labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BestF1 {
    /// The lowest score that is still taken for anomalous; of several limits as good, the highest.
    pub limit: f64,
    /// 2 * precision * recall / (precision + recall), 0..=1.
    pub f1: f64,
    /// Share of the rows taken for anomalous that are labelled.
    pub precision: f64,
    /// Share of labelled rows that are taken for anomalous.
    pub recall: f64,
}

/// Ranks rows by their scores, highest first, rows of the same score taken together; rows without a score come last.
///
/// # Errors
/// Scores that are NaN, and labels of another length.
pub fn rank(scores: &[Option<f64>], labels: &[bool]) -> Result<Ranking, EvaluateError> {
    comparable(scores, labels)?;
    let positives = count(labels);
    let negatives = labels.len() - positives;
    // Twice U is a whole number, so nothing is rounded before the end.
    let (mut twice_u, mut average_precision) = (0u128, 0.0);
    let (mut hits, mut misses) = (0, 0);
    let mut best: Option<BestF1> = None;
    for tied in descending(scores, labels).chunk_by(|a, b| a.0 == b.0) {
        let tied_hits = tied.iter().filter(|row| row.1).count();
        let tied_misses = tied.len() - tied_hits;
        let below = negatives - misses - tied_misses;
        twice_u += tied_hits as u128 * (2 * below + tied_misses) as u128;
        hits += tied_hits;
        misses += tied_misses;
        let (precision, recall) = (hits as f64 / (hits + misses) as f64, hits as f64 / positives.max(1) as f64);
        average_precision += tied_hits as f64 / positives.max(1) as f64 * precision;
        // No limit makes an anomaly of a row that has no score.
        let Some(limit) = tied[0].0.filter(|_| hits > 0) else { continue };
        let f1 = 2.0 * hits as f64 / (hits + misses + positives) as f64;
        if best.is_none_or(|best| f1 > best.f1) {
            best = Some(BestF1 { limit, f1, precision, recall });
        }
    }
    let pairs = positives as f64 * negatives as f64;
    Ok(Ranking {
        auroc: if pairs > 0.0 { Some(twice_u as f64 / 2.0 / pairs) } else { None },
        aucpr: if positives > 0 { Some(average_precision) } else { None },
        best_f1: best,
    })
}

/// Scores and labels, the highest score first. Minus infinity stays above "no score", so the order is that of the options.
fn descending(scores: &[Option<f64>], labels: &[bool]) -> Vec<(Option<f64>, bool)> {
    // The added zero makes one of the two zeros.
    let mut ranked: Vec<_> =
        scores.iter().zip(labels).map(|(score, label)| (score.map(|score| score + 0.0), *label)).collect();
    ranked.sort_unstable_by(|a: &(Option<f64>, bool), b| match (a.0, b.0) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    ranked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tests::flags, *};

    fn ranked(scores: &[f64], labels: &[bool]) -> Ranking {
        let scores: Vec<_> = scores.iter().copied().map(Some).collect();
        rank(&scores, labels).unwrap()
    }

    fn ranks(scores: &[f64], labels: &str) -> (f64, f64) {
        let Ranking { auroc, aucpr, .. } = ranked(scores, &flags(labels));
        (auroc.unwrap(), aucpr.unwrap())
    }

    /// By the definitions, pair by pair and threshold by threshold: AUROC, AUCPR, best F1.
    fn naive(scores: &[f64], labels: &[bool]) -> (f64, f64, f64) {
        let rows: Vec<_> = scores.iter().copied().zip(labels.iter().copied()).collect();
        let (positives, negatives): (Vec<_>, Vec<_>) = rows.iter().copied().partition(|row| row.1);
        let (mut wins, mut average_precision, mut best) = (0.0, 0.0, 0.0_f64);
        for (high, _) in &positives {
            for (low, _) in &negatives {
                wins += if high > low {
                    1.0
                } else if high == low {
                    0.5
                } else {
                    0.0
                };
            }
            // Each positive adds 1 / positives of recall, at the precision of its own score as threshold.
            let taken: Vec<_> = rows.iter().filter(|row| row.0 >= *high).collect();
            let hits = taken.iter().filter(|row| row.1).count() as f64;
            let (precision, recall) = (hits / taken.len() as f64, hits / positives.len() as f64);
            average_precision += precision / positives.len() as f64;
            best = best.max(2.0 * precision * recall / (precision + recall));
        }
        (wins / (positives.len() * negatives.len()) as f64, average_precision, best)
    }

    #[test]
    fn ranking_agrees_with_published_examples() {
        // The examples in scikit-learn's documentation of roc_auc_score and average_precision_score.
        let (auroc, aucpr) = ranks(&[0.1, 0.4, 0.35, 0.8], "0011");
        assert!((auroc - 0.75).abs() < 1e-15 && (aucpr - 0.833_333_333_333_333_3).abs() < 1e-15, "{auroc} {aucpr}");
    }

    #[test]
    fn a_perfect_ranking_is_one_an_inverse_zero_and_a_constant_half() {
        assert_eq!(ranks(&[1.0, 2.0, 3.0, 4.0], "0011"), (1.0, 1.0));
        assert_eq!(ranks(&[4.0, 3.0, 2.0, 1.0], "0011").0, 0.0);
        assert_eq!(ranks(&[7.0; 8], "00100001"), (0.5, 0.25));
        assert_eq!(ranks(&[0.0, -0.0], "01").0, 0.5);
    }

    #[test]
    fn the_best_limit_is_the_lowest_score_that_pays() {
        // From 5 down: 1 of 1 (F1 1/2), 1 of 2 (2/5), 2 of 3 (2/3), 3 of 5 (3/4), all (2/3).
        let best = ranked(&[5.0, 4.0, 3.0, 2.0, 2.0, 1.0], &flags("101100")).best_f1.unwrap();
        assert_eq!(best, BestF1 { limit: 2.0, f1: 0.75, precision: 0.6, recall: 1.0 });
        // 1 of 1 and 2 of 4 are as good as each other: the limit of fewer alarms is told.
        let best = ranked(&[4.0, 3.0, 2.0, 1.0], &flags("1001")).best_f1.unwrap();
        assert_eq!((best.limit, best.f1), (4.0, 2.0 / 3.0));
        let best = rank(&[Some(1.0), None], &[false, true]).unwrap().best_f1;
        assert_eq!(best, None, "no limit finds what has no score");
    }

    #[test]
    fn rows_without_a_score_rank_below_all_others() {
        let labels = flags("1010");
        let auroc = |scores: [Option<f64>; 4]| rank(&scores, &labels).unwrap().auroc;
        // Pairs: -inf over none 1, -inf and -inf 1/2, none and none 1/2, none under -inf 0.
        assert_eq!(auroc([Some(f64::NEG_INFINITY), None, None, Some(f64::NEG_INFINITY)]), Some(0.5));
        assert_eq!(auroc([Some(f64::NEG_INFINITY), None, Some(f64::INFINITY), None]), Some(1.0));
    }

    #[test]
    fn figures_that_are_not_defined_are_none_and_scores_that_are_no_numbers_are_refused() {
        let none = Ranking { auroc: None, aucpr: None, best_f1: None };
        assert_eq!(ranked(&[1.0], &[false]), none);
        let all = ranked(&[1.0], &[true]);
        assert_eq!((all.auroc, all.aucpr, all.best_f1.unwrap().f1), (None, Some(1.0), 1.0));
        assert_eq!(rank(&[Some(1.0), Some(f64::NAN)], &[true; 2]), Err(EvaluateError::NotANumber { row: 1 }));
        assert_eq!(rank(&[None], &[]), Err(EvaluateError::Length { what: "scores", found: 1, rows: 0 }));
    }

    proptest! {
        #[test]
        fn ranking_equals_the_definition_by_pairs(
            rows in proptest::collection::vec((prop_oneof![0..6i32, any::<i32>()], any::<bool>()), 2..120)
        ) {
            let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
            let labels: Vec<bool> = rows.iter().map(|row| row.1).collect();
            prop_assume!(labels.contains(&true) && labels.contains(&false));
            let found = ranked(&scores, &labels);
            let (auroc, aucpr, best) = naive(&scores, &labels);
            prop_assert!((found.auroc.unwrap() - auroc).abs() < 1e-12, "{:?} and {}", found, auroc);
            prop_assert!((found.aucpr.unwrap() - aucpr).abs() < 1e-12, "{:?} and {}", found, aucpr);
            prop_assert!((found.best_f1.unwrap().f1 - best).abs() < 1e-12, "{:?} and {}", found, best);
        }
    }
}
