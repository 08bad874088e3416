//! How well scores and verdicts agree with labels, and how many alarms were raised. Pure functions on slices; nothing is
//! point-adjusted.
//!
//! - [`ranking`]: AUROC, average precision and the best F1, by the scores alone.
//! - [`vus`]: VUS-PR, the same for events of which the borders are not certain.
//! - [`limits`]: what another limit would have made of it, and whether that is clearly better.
//! - [`events`]: what a person on call meets: events found, how late, and false alarms.
//!
//! A row without a score (warming up, unusable) counts as the least anomalous one: what was not scored was not found.
//! Rows of several entities are told apart by [`Series`]: no event, incident or border reaches from one into another.

pub mod events;
pub mod limits;
pub mod ranking;
pub mod vus;

use std::ops::Range;

use self::{
    events::Events,
    ranking::{BestF1, Ranking},
};

/// What came out for the rows of one entity, in order. All slices but `opened` have one entry per row.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    /// Judged scores, higher is more anomalous; `None` where a row has none.
    pub scores: &'a [Option<f64>],
    /// Whether the verdict was "anomalous".
    pub anomalies: &'a [bool],
    /// The rows whose anomaly opened an incident, ascending.
    pub opened: &'a [usize],
    /// Event times, microseconds since the epoch; `None` where a row has none.
    pub times_us: &'a [Option<i64>],
}

/// A series and the truth about each of its rows.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    /// What came out.
    pub series: Series<'a>,
    /// Whether the row is anomalous indeed.
    pub labels: &'a [bool],
}

/// The figures. `None` where one is not defined: no labelled rows, no anomalies, no time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Labelled rows.
    pub positives: usize,
    /// Area under the receiver operating characteristic, 0..=1.
    pub auroc: Option<f64>,
    /// Average precision, 0..=1; the share of labelled rows is what chance gives.
    pub aucpr: Option<f64>,
    /// Volume under the range-aware precision-recall surface, 0..=1; only where rows have times.
    pub vus_pr: Option<f64>,
    /// What the best of all limits would give.
    pub best_f1: Option<BestF1>,
    /// Share of anomalies that are labelled.
    pub precision: Option<f64>,
    /// Share of labelled rows that are anomalies.
    pub recall: Option<f64>,
    /// Events and false alarms at the limit.
    pub events: Events,
}

/// Why nothing can be evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvaluateError {
    /// The slices don't belong together.
    #[error("{found} {what} for {rows} rows, expected one per row")]
    Length {
        /// What there are too many or too few of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// Rows that there are.
        rows: usize,
    },
    /// A score that nothing can be compared with.
    #[error("the score of row {row} is NaN, expected a number, or none for a row without a score")]
    NotANumber {
        /// The first such row.
        row: usize,
    },
    /// An incident opens where it can't.
    #[error("an incident opens at row {row}, expected an anomalous row below {rows} and after the last one's")]
    Incident {
        /// Where it opens.
        row: usize,
        /// Rows that there are.
        rows: usize,
    },
}

/// Evaluates scores and verdicts against labels. Figures on rows pool those of all series.
///
/// # Errors
/// Slices that don't belong together, and scores that are not numbers.
pub fn evaluate(all: &[Labelled<'_>]) -> Result<Evaluation, EvaluateError> {
    for one in all {
        one.series.check()?;
        length("labels", one.labels.len(), one.series.anomalies.len())?;
    }
    let pool = Pool::of(all);
    let Ranking { auroc, aucpr, best_f1 } = ranking::rank(&pool.scores, &pool.labels)?;
    let timed = all.iter().flat_map(|one| one.series.times_us).flatten().nth(1).is_some();
    let vus_pr = if timed { vus::vus_pr(&pool.scores, &pool.labels, &pool.bounds)? } else { None };
    let (positives, anomalies) = (count(&pool.labels), count(&pool.anomalies));
    let hits = pool.anomalies.iter().zip(&pool.labels).filter(|(anomaly, label)| **anomaly && **label).count();
    Ok(Evaluation {
        positives,
        auroc,
        aucpr,
        vus_pr,
        best_f1,
        precision: share(hits, anomalies),
        recall: share(hits, positives),
        events: events::events(all)?,
    })
}

impl Series<'_> {
    /// Whether its slices belong together.
    fn check(&self) -> Result<(), EvaluateError> {
        let rows = self.anomalies.len();
        length("scores", self.scores.len(), rows)?;
        length("times", self.times_us.len(), rows)?;
        let mut least = 0;
        for &row in self.opened {
            if row < least || !self.anomalies.get(row).is_some_and(|anomaly| *anomaly) {
                return Err(EvaluateError::Incident { row, rows });
            }
            least = row + 1;
        }
        Ok(())
    }
}

/// The rows of all series, one after the other.
struct Pool {
    scores: Vec<Option<f64>>,
    labels: Vec<bool>,
    anomalies: Vec<bool>,
    /// Where the rows of each series lie.
    bounds: Vec<Range<usize>>,
}

impl Pool {
    fn of(all: &[Labelled<'_>]) -> Self {
        let mut pool = Self { scores: Vec::new(), labels: Vec::new(), anomalies: Vec::new(), bounds: Vec::new() };
        for one in all {
            let first = pool.labels.len();
            pool.scores.extend_from_slice(one.series.scores);
            pool.labels.extend_from_slice(one.labels);
            pool.anomalies.extend_from_slice(one.series.anomalies);
            pool.bounds.push(first..pool.labels.len());
        }
        pool
    }
}

fn length(what: &'static str, found: usize, rows: usize) -> Result<(), EvaluateError> {
    if found == rows { Ok(()) } else { Err(EvaluateError::Length { what, found, rows }) }
}

/// Scores that can be ranked against labels: one each, and no NaN.
fn comparable(scores: &[Option<f64>], labels: &[bool]) -> Result<(), EvaluateError> {
    length("scores", scores.len(), labels.len())?;
    match scores.iter().position(|score| score.is_some_and(f64::is_nan)) {
        Some(row) => Err(EvaluateError::NotANumber { row }),
        None => Ok(()),
    }
}

fn count(flags: &[bool]) -> usize {
    flags.iter().filter(|flag| **flag).count()
}

fn share(part: usize, whole: usize) -> Option<f64> {
    if whole > 0 { Some(part as f64 / whole as f64) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One flag per character.
    pub(super) fn flags(text: &str) -> Vec<bool> {
        text.bytes().map(|byte| byte == b'1').collect()
    }

    #[test]
    fn figures_that_are_not_defined_are_none() {
        let nothing = evaluate(&[]).unwrap();
        assert_eq!((nothing.auroc, nothing.aucpr, nothing.vus_pr, nothing.best_f1), (None, None, None, None));
        assert_eq!((nothing.precision, nothing.recall, nothing.positives), (None, None, 0));
        let series =
            Series { scores: &[Some(1.0), Some(2.0)], anomalies: &[false; 2], opened: &[], times_us: &[None; 2] };
        let untimed = evaluate(&[Labelled { series, labels: &[false, true] }]).unwrap();
        assert_eq!((untimed.auroc, untimed.vus_pr), (Some(1.0), None), "without a time there are no ranges");
    }

    #[test]
    fn rows_of_all_series_are_pooled() {
        let (low, high) = ([Some(1.0), Some(2.0)], [Some(3.0), None]);
        let times = [Some(0), Some(60_000_000)];
        let series = |scores, opened| Series { scores, anomalies: &[false, true], opened, times_us: &times };
        let labelled = |series, labels| Labelled { series, labels };
        let found =
            evaluate(&[labelled(series(&low, &[1]), &[false, true]), labelled(series(&high, &[1]), &[true, false])])
                .unwrap();
        assert_eq!((found.positives, found.auroc, found.aucpr), (2, Some(1.0), Some(1.0)));
        assert_eq!((found.precision, found.recall), (Some(0.5), Some(0.5)));
        assert_eq!((found.events.labelled, found.events.found, found.events.false_alarms), (2, 1, 1));
    }

    #[test]
    fn inputs_that_do_not_belong_together_are_refused() {
        let series = Series { scores: &[None], anomalies: &[true], opened: &[0], times_us: &[None] };
        let refusal = |series, labels| evaluate(&[Labelled { series, labels }]).unwrap_err();
        let wrong = |what, found| EvaluateError::Length { what, found, rows: 1 };
        assert_eq!(refusal(Series { scores: &[], ..series }, &[true]), wrong("scores", 0));
        assert_eq!(refusal(Series { times_us: &[None; 2], ..series }, &[true]), wrong("times", 2));
        assert_eq!(refusal(series, &[true, false]), wrong("labels", 2));
        let nan = refusal(Series { scores: &[Some(f64::NAN)], ..series }, &[true]);
        assert_eq!(nan, EvaluateError::NotANumber { row: 0 });
        assert_eq!(nan.to_string(), "the score of row 0 is NaN, expected a number, or none for a row without a score");
        for opened in [&[1][..], &[0, 0]] {
            let row = opened[opened.len() - 1];
            assert_eq!(refusal(Series { opened, ..series }, &[true]), EvaluateError::Incident { row, rows: 1 });
        }
        let calm = Series { anomalies: &[false], ..series };
        assert_eq!(refusal(calm, &[true]), EvaluateError::Incident { row: 0, rows: 1 });
    }
}
