//! How well scores and verdicts agree with labels. Nothing is point-adjusted.
//!
//! Ranking (no limit involved): AUROC is the chance that a labelled row scores higher than another, where a tie counts
//! half (Mann-Whitney U over the number of pairs). AUCPR is average precision: the sum over the distinct scores, from
//! the highest down, of the gain in recall times the precision there, without interpolation. A row without a score
//! (warming up, dead letter) or with NaN counts as the lowest score, below all others and tied with its like: what was
//! not scored was not found.
//!
//! At the limit: an event is a run of labelled rows; it is found when at least one anomaly lies inside it. A false
//! alarm is an incident none of whose anomalies lies in an event: the person on call was called for nothing, once.

use serde::Serialize;

use crate::detect::calibrate::SECONDS_PER_DAY;

/// Rows from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRange {
    /// The first row.
    pub first: usize,
    /// The last row, not before the first.
    pub last: usize,
}

/// What came out, row by row, and the truth. All slices have the same length.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// Judged scores, higher is more anomalous; `None` where a row has none.
    pub scores: &'a [Option<f64>],
    /// The truth.
    pub labels: &'a [bool],
    /// Whether the verdict was "anomalous".
    pub anomalies: &'a [bool],
    /// Incidents, each from its first to its last anomaly. Incidents of several entities may overlap.
    pub incidents: &'a [RowRange],
    /// Seconds of one row (of one entity); `None` where rows have no time: then there are no false alarms per day.
    pub step_seconds: Option<f64>,
}

/// The figures. `None` where one is not defined: no labelled rows, no anomalies, no time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluation {
    /// Area under the receiver operating characteristic, 0..=1.
    pub auroc: Option<f64>,
    /// Average precision, 0..=1; the share of labelled rows is what chance gives.
    pub aucpr: Option<f64>,
    /// Runs of labelled rows.
    pub events_labelled: usize,
    /// Those with an anomaly inside.
    pub events_found: usize,
    /// Share of anomalies that are labelled.
    pub precision: Option<f64>,
    /// Share of labelled rows that are anomalies.
    pub recall: Option<f64>,
    /// Events found / (events found + false alarms).
    pub event_precision: Option<f64>,
    /// Incidents none of whose anomalies is labelled.
    pub false_alarms: usize,
    /// The same per day of rows that are not labelled.
    pub false_alarms_per_day: Option<f64>,
}

/// Why nothing can be evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvaluateError {
    /// The slices don't belong together.
    #[error("{scores} scores, {labels} labels and {anomalies} verdicts, expected one of each per row")]
    Lengths {
        /// Length of the scores.
        scores: usize,
        /// Length of the labels.
        labels: usize,
        /// Length of the verdicts.
        anomalies: usize,
    },
    /// An incident lies outside of the rows.
    #[error("an incident goes from row {first} to row {last}, expected rows in order and below {rows}")]
    Incident {
        /// Its first row.
        first: usize,
        /// Its last row.
        last: usize,
        /// Rows that there are.
        rows: usize,
    },
    /// The step is not usable.
    #[error("the step is {0} seconds, expected a number above 0")]
    Step(f64),
}

/// Evaluates scores and verdicts against labels.
pub fn evaluate(judged: &Judged<'_>) -> Result<Evaluation, EvaluateError> {
    check(judged)?;
    let anomalies = count(judged.anomalies.iter().copied());
    let labelled = count(judged.labels.iter().copied());
    let hits = count(judged.anomalies.iter().zip(judged.labels).map(|(anomaly, label)| *anomaly && *label));
    let holds_hit =
        |range: &RowRange| (range.first..=range.last).any(|row| judged.anomalies[row] && judged.labels[row]);
    let events_found = runs(judged.labels).filter(holds_hit).count();
    let false_alarms = judged.incidents.iter().filter(|incident| !holds_hit(incident)).count();
    let normal_days =
        judged.step_seconds.map_or(0.0, |step| (judged.labels.len() - labelled) as f64 * step / SECONDS_PER_DAY);
    let (auroc, aucpr) = ranking(judged.scores, judged.labels);
    Ok(Evaluation {
        auroc,
        aucpr,
        events_labelled: runs(judged.labels).count(),
        events_found,
        precision: share(hits, anomalies),
        recall: share(hits, labelled),
        event_precision: share(events_found, events_found + false_alarms),
        false_alarms,
        false_alarms_per_day: if normal_days > 0.0 { Some(false_alarms as f64 / normal_days) } else { None },
    })
}

fn check(judged: &Judged<'_>) -> Result<(), EvaluateError> {
    let rows = judged.labels.len();
    if judged.scores.len() != rows || judged.anomalies.len() != rows {
        return Err(EvaluateError::Lengths {
            scores: judged.scores.len(),
            labels: rows,
            anomalies: judged.anomalies.len(),
        });
    }
    let outside = |incident: &&RowRange| !(incident.first <= incident.last && incident.last < rows);
    if let Some(RowRange { first, last }) = judged.incidents.iter().find(outside).copied() {
        return Err(EvaluateError::Incident { first, last, rows });
    }
    match judged.step_seconds {
        Some(step) if !(step > 0.0 && step.is_finite()) => Err(EvaluateError::Step(step)),
        _ => Ok(()),
    }
}

fn count(flags: impl Iterator<Item = bool>) -> usize {
    flags.filter(|flag| *flag).count()
}

fn share(part: usize, whole: usize) -> Option<f64> {
    if whole > 0 { Some(part as f64 / whole as f64) } else { None }
}

/// The runs of `true`, in order.
pub fn runs(flags: &[bool]) -> impl Iterator<Item = RowRange> {
    let mut row = 0;
    std::iter::from_fn(move || {
        let first = row + flags.get(row..)?.iter().position(|flag| *flag)?;
        row = flags[first..].iter().position(|flag| !flag).map_or(flags.len(), |length| first + length);
        Some(RowRange { first, last: row - 1 })
    })
}

/// AUROC and AUCPR in one pass over the rows, highest score first, rows of the same score taken together.
fn ranking(scores: &[Option<f64>], labels: &[bool]) -> (Option<f64>, Option<f64>) {
    let positives = count(labels.iter().copied());
    let negatives = labels.len() - positives;
    // Minus infinity must stay above "no score", so the order is that of the options: `None` is the lowest. The added
    // zero makes one of the two zeros.
    let mut ranked: Vec<(Option<f64>, bool)> = scores
        .iter()
        .zip(labels)
        .map(|(score, label)| (score.filter(|s| !s.is_nan()).map(|s| s + 0.0), *label))
        .collect();
    ranked.sort_unstable_by(|a, b| match (a.0, b.0) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    // Twice U is a whole number, so nothing is rounded before the end.
    let (mut twice_u, mut average_precision) = (0u128, 0.0);
    let (mut hits, mut misses) = (0, 0);
    for tied in ranked.chunk_by(|a, b| a.0 == b.0) {
        let tied_hits = count(tied.iter().map(|row| row.1));
        let tied_misses = tied.len() - tied_hits;
        let below = negatives - misses - tied_misses;
        twice_u += tied_hits as u128 * (2 * below + tied_misses) as u128;
        hits += tied_hits;
        misses += tied_misses;
        average_precision += tied_hits as f64 / positives.max(1) as f64 * (hits as f64 / (hits + misses) as f64);
    }
    let pairs = positives as f64 * negatives as f64;
    (
        if pairs > 0.0 { Some(twice_u as f64 / 2.0 / pairs) } else { None },
        if positives > 0 { Some(average_precision) } else { None },
    )
}

/// The outcome of a demo or backtest, as one line of JSON for machines. Keys are fixed; what is not defined is null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Records read.
    pub records_in: u64,
    /// Anomalies published.
    pub anomalies_out: u64,
    /// Records that could not be scored.
    pub dead_letters: u64,
    /// Runs of labelled rows.
    pub events_labelled: usize,
    /// Those with an anomaly inside.
    pub events_found: usize,
    /// Share of anomalies that are labelled.
    pub precision: Option<f64>,
    /// Share of labelled rows that are anomalies.
    pub recall: Option<f64>,
    /// Area under the receiver operating characteristic.
    pub auroc: Option<f64>,
    /// Average precision.
    pub aucpr: Option<f64>,
    /// Alarms per entity and day that the budget allows on normal data.
    pub alarm_rate_promised: Option<f64>,
    /// False alarms per day of rows that are not labelled.
    pub alarm_rate_measured: Option<f64>,
    /// Records read per second.
    pub records_per_second: Option<f64>,
    /// Seconds from the first record to the end of the last one.
    pub seconds: f64,
    /// Incidents opened.
    pub incidents: u64,
    /// The model file.
    pub model: String,
    /// The broker that the records came from.
    pub broker: String,
    /// The configuration file that repeats this outside of the demo.
    pub config_file: Option<String>,
}

impl Summary {
    /// One line of JSON without line end; numbers that are not finite are null.
    pub fn to_json_line(&self) -> String {
        serde_json::to_string(self).expect("a structure of numbers and text can always be written as JSON")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flags(text: &str) -> Vec<bool> {
        text.bytes().map(|byte| byte == b'1').collect()
    }

    fn ranks(scores: &[f64], labels: &str) -> (f64, f64) {
        let scores: Vec<_> = scores.iter().copied().map(Some).collect();
        let (auroc, aucpr) = ranking(&scores, &flags(labels));
        (auroc.unwrap(), aucpr.unwrap())
    }

    /// By the definitions, pair by pair and threshold by threshold.
    fn naive(scores: &[f64], labels: &[bool]) -> (f64, f64) {
        let rows: Vec<_> = scores.iter().copied().zip(labels.iter().copied()).collect();
        let (positives, negatives): (Vec<_>, Vec<_>) = rows.iter().copied().partition(|row| row.1);
        let (mut wins, mut average_precision) = (0.0, 0.0);
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
            let hits = taken.iter().filter(|row| row.1).count();
            average_precision += hits as f64 / taken.len() as f64 / positives.len() as f64;
        }
        (wins / (positives.len() * negatives.len()) as f64, average_precision)
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
    fn rows_without_a_score_rank_below_all_others() {
        let labels = flags("1010");
        let (auroc, _) = ranking(&[Some(f64::NEG_INFINITY), None, Some(f64::NAN), Some(f64::NEG_INFINITY)], &labels);
        // Pairs: -inf over none 1, -inf and -inf 1/2, NaN and none 1/2, NaN under -inf 0.
        assert_eq!(auroc, Some(0.5));
        let (auroc, _) = ranking(&[Some(f64::NEG_INFINITY), None, Some(f64::INFINITY), None], &labels);
        assert_eq!(auroc, Some(1.0));
    }

    #[test]
    fn figures_that_are_not_defined_are_none() {
        assert_eq!(ranking(&[Some(1.0)], &[false]), (None, None));
        assert_eq!(ranking(&[Some(1.0)], &[true]), (None, Some(1.0)));
        let nothing =
            evaluate(&Judged { scores: &[], labels: &[], anomalies: &[], incidents: &[], step_seconds: None }).unwrap();
        assert_eq!((nothing.precision, nothing.recall, nothing.event_precision), (None, None, None));
        assert_eq!((nothing.events_labelled, nothing.false_alarms_per_day), (0, None));
    }

    #[test]
    fn runs_are_found_at_both_ends() {
        let found = |text: &str| runs(&flags(text)).map(|run| (run.first, run.last)).collect::<Vec<_>>();
        assert_eq!(found("1100101"), [(0, 1), (4, 4), (6, 6)]);
        assert_eq!(found("0110"), [(1, 2)]);
        assert_eq!(found("111"), [(0, 2)]);
        assert_eq!(found("000"), []);
        assert_eq!(found(""), []);
    }

    #[test]
    fn an_event_is_found_by_an_anomaly_inside_and_an_incident_without_one_is_a_false_alarm() {
        let labels = flags("0011001110000000");
        let anomalies = flags("0101000000110010");
        let range = |first, last| RowRange { first, last };
        let incidents = [range(1, 3), range(10, 11), range(14, 14)];
        let scores = vec![Some(0.0); 16];
        let judged = Judged {
            scores: &scores,
            labels: &labels,
            anomalies: &anomalies,
            incidents: &incidents,
            step_seconds: Some(3600.0),
        };
        let found = evaluate(&judged).unwrap();
        assert_eq!((found.events_labelled, found.events_found, found.false_alarms), (2, 1, 2));
        assert_eq!((found.precision, found.recall), (Some(1.0 / 5.0), Some(1.0 / 5.0)));
        assert_eq!(found.event_precision, Some(1.0 / 3.0));
        // 11 normal rows of an hour each.
        assert!((found.false_alarms_per_day.unwrap() - 2.0 / (11.0 / 24.0)).abs() < 1e-12);
    }

    #[test]
    fn an_incident_that_spans_an_event_without_an_anomaly_in_it_is_a_false_alarm() {
        let (labels, anomalies) = (flags("00100"), flags("01010"));
        let incidents = [RowRange { first: 1, last: 3 }];
        let judged = Judged {
            scores: &[None; 5],
            labels: &labels,
            anomalies: &anomalies,
            incidents: &incidents,
            step_seconds: None,
        };
        let found = evaluate(&judged).unwrap();
        assert_eq!((found.events_found, found.false_alarms), (0, 1));
    }

    #[test]
    fn inputs_that_do_not_belong_together_are_refused() {
        let judged =
            Judged { scores: &[None], labels: &[true], anomalies: &[true], incidents: &[], step_seconds: None };
        let wrong = Judged { scores: &[], ..judged };
        assert_eq!(evaluate(&wrong), Err(EvaluateError::Lengths { scores: 0, labels: 1, anomalies: 1 }));
        let incidents = [RowRange { first: 0, last: 1 }];
        let wrong = Judged { incidents: &incidents, ..judged };
        assert_eq!(evaluate(&wrong), Err(EvaluateError::Incident { first: 0, last: 1, rows: 1 }));
        for step in [0.0, -1.0, f64::INFINITY] {
            assert_eq!(evaluate(&Judged { step_seconds: Some(step), ..judged }), Err(EvaluateError::Step(step)));
        }
        assert!(matches!(evaluate(&Judged { step_seconds: Some(f64::NAN), ..judged }), Err(EvaluateError::Step(_))));
    }

    #[test]
    fn the_summary_is_one_line_with_fixed_keys_and_null_for_what_is_no_number() {
        let summary = Summary {
            records_in: 10_080,
            anomalies_out: 12,
            dead_letters: 0,
            events_labelled: 6,
            events_found: 5,
            precision: Some(0.5),
            recall: None,
            auroc: Some(f64::NAN),
            aucpr: Some(0.75),
            alarm_rate_promised: Some(1.0),
            alarm_rate_measured: Some(0.25),
            records_per_second: Some(f64::INFINITY),
            seconds: 1.5,
            incidents: 7,
            model: "m.onnx".to_owned(),
            broker: "embedded".to_owned(),
            config_file: Some("a\nb".to_owned()),
        };
        assert_eq!(
            summary.to_json_line(),
            concat!(
                r#"{"records_in":10080,"anomalies_out":12,"dead_letters":0,"events_labelled":6,"events_found":5,"#,
                r#""precision":0.5,"recall":null,"auroc":null,"aucpr":0.75,"alarm_rate_promised":1.0,"#,
                r#""alarm_rate_measured":0.25,"records_per_second":null,"seconds":1.5,"incidents":7,"model":"m.onnx","#,
                r#""broker":"embedded","config_file":"a\nb"}"#
            )
        );
    }

    proptest! {
        #[test]
        fn ranking_equals_the_definition_by_pairs(
            rows in proptest::collection::vec((prop_oneof![0..6i32, any::<i32>()], any::<bool>()), 2..120)
        ) {
            let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
            let labels: Vec<bool> = rows.iter().map(|row| row.1).collect();
            prop_assume!(labels.contains(&true) && labels.contains(&false));
            let options: Vec<_> = scores.iter().copied().map(Some).collect();
            let (auroc, aucpr) = ranking(&options, &labels);
            let (naive_auroc, naive_aucpr) = naive(&scores, &labels);
            prop_assert!((auroc.unwrap() - naive_auroc).abs() < 1e-12, "{:?} and {}", auroc, naive_auroc);
            prop_assert!((aucpr.unwrap() - naive_aucpr).abs() < 1e-12, "{:?} and {}", aucpr, naive_aucpr);
        }

        #[test]
        fn every_labelled_row_lies_in_exactly_one_run(labels in proptest::collection::vec(any::<bool>(), 0..60)) {
            let mut covered = vec![false; labels.len()];
            for run in runs(&labels) {
                let rows = &mut covered[run.first..=run.last];
                prop_assert!(rows.iter().all(|covered| !covered));
                rows.fill(true);
            }
            prop_assert_eq!(covered, labels);
        }
    }
}
