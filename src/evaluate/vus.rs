//! VUS-PR: the volume under the precision-recall surface of ranges (Paparrizos et al., "Volume Under the Surface: A New
//! Accuracy Evaluation Measure for Time-Series Anomaly Detection", PVLDB 15, 2022).
//!
//! Nobody knows an event's borders to the row, so a score that rises a little early or late is worth something too. For a
//! buffer of w rows each event gets soft borders of half of them on either side, whose labels fall as
//! sqrt(1 - distance / w). With soft labels true positives are a sum, and the positives are the labelled rows and half of
//! the softly labelled ones that are found. Recall is weighted by the share of the events (with their borders, those that
//! touch taken together) that hold an alarm. The area under precision over recall is taken at 250 thresholds, evenly
//! spaced in rank, and the volume is the mean of the areas for buffers of 0 to 100 rows.

use std::ops::Range;

use super::{
    EvaluateError, comparable, count,
    events::{RowRange, runs},
};

/// The widest buffer, rows.
pub const BUFFER: usize = 100;
/// Thresholds at which precision and recall are taken.
const THRESHOLDS: usize = 250;

/// VUS-PR, 0..=1, of rows that lie in time order within each of `bounds`, which follow each other and cover all rows. No
/// border reaches beyond its bounds. `None` without labelled rows.
///
/// # Errors
/// Scores that are NaN, and labels of another length.
pub fn vus_pr(scores: &[Option<f64>], labels: &[bool], bounds: &[Range<usize>]) -> Result<Option<f64>, EvaluateError> {
    comparable(scores, labels)?;
    length_of(bounds, labels.len())?;
    if count(labels) == 0 {
        return Ok(None);
    }
    let surface = Surface::new(scores, labels, bounds);
    let mut soft = vec![0.0; labels.len()];
    let areas = (0..=BUFFER).map(|width| surface.area(width, &mut soft));
    Ok(Some(areas.sum::<f64>() / (BUFFER + 1) as f64))
}

fn length_of(bounds: &[Range<usize>], rows: usize) -> Result<(), EvaluateError> {
    let covered = bounds.iter().try_fold(0, |end, range| (range.start == end).then_some(range.end));
    super::length("bounded rows", covered.unwrap_or(0), rows)
}

/// What doesn't depend on the buffer.
struct Surface<'a> {
    labels: &'a [bool],
    /// The events of each series, and its rows.
    events: Vec<(Vec<RowRange>, Range<usize>)>,
    /// Per row the first threshold at which it is an alarm, from the highest down.
    since: Vec<usize>,
    /// Per threshold the alarms, and those of them that are labelled.
    alarms: Vec<f64>,
    core: Vec<f64>,
    positives: f64,
}

impl<'a> Surface<'a> {
    fn new(scores: &[Option<f64>], labels: &'a [bool], bounds: &[Range<usize>]) -> Self {
        let since = since(scores);
        let of = |rows: &mut dyn Iterator<Item = usize>| upto(rows.map(|row| (since[row], 1.0)));
        let alarms = of(&mut (0..labels.len()));
        let core = of(&mut (0..labels.len()).filter(|row| labels[*row]));
        let events = bounds.iter().map(|rows| {
            let shifted = |run: RowRange| RowRange { first: run.first + rows.start, last: run.last + rows.start };
            (runs(&labels[rows.clone()]).map(shifted).collect(), rows.clone())
        });
        Self { labels, events: events.collect(), alarms, core, since, positives: count(labels) as f64 }
    }

    /// The area for one width of the buffer. `soft` is zero for all rows, before and after.
    fn area(&self, width: usize, soft: &mut [f64]) -> f64 {
        let groups = self.soften(width, soft);
        let border = groups.iter().flat_map(|group| group.first..=group.last);
        let border = border.filter(|row| soft[*row] > 0.0 && !self.labels[*row]);
        let borders = upto(border.map(|row| (self.since[row], soft[row].min(1.0))));
        let first_alarm = |group: &RowRange| self.since[group.first..=group.last].iter().min().copied();
        let seen = upto(groups.iter().filter_map(first_alarm).map(|at| (at, 1.0)));
        groups.iter().for_each(|group| soft[group.first..=group.last].fill(0.0));
        let (mut area, mut before) = (0.0, 0.0);
        for at in 0..THRESHOLDS {
            let found = self.core[at] + borders[at];
            let existence = seen[at] / groups.len() as f64;
            let recall = (found / (self.positives + borders[at] / 2.0)).min(1.0) * existence;
            area += (recall - before) * found / self.alarms[at];
            before = recall;
        }
        area
    }

    /// Adds the borders' labels to `soft`, and gives the events with their borders, those that touch taken together.
    fn soften(&self, width: usize, soft: &mut [f64]) -> Vec<RowRange> {
        let half = width / 2;
        let weight = |distance: usize| (1.0 - distance as f64 / width as f64).sqrt();
        let mut groups: Vec<RowRange> = Vec::new();
        for (events, rows) in &self.events {
            let before = groups.len();
            for event in events {
                let first = event.first.saturating_sub(half).max(rows.start);
                let last = (event.last + half).min(rows.end - 1);
                (event.last + 1..=last).for_each(|row| soft[row] += weight(row - event.last));
                (first..event.first).for_each(|row| soft[row] += weight(event.first - row));
                match groups[before..].last_mut() {
                    Some(group) if first <= group.last => group.last = last,
                    _ => groups.push(RowRange { first, last }),
                }
            }
        }
        groups
    }
}

/// Per row how many of the thresholds lie above its score: the scores at 250 ranks, evenly spaced from the highest to the
/// lowest one. A row without a score counts as the lowest.
fn since(scores: &[Option<f64>]) -> Vec<usize> {
    let rank = |score: &Option<f64>| score.map_or(f64::NEG_INFINITY, |score| score + 0.0);
    // Minus infinity as a score must stay above "no score".
    let key = |score: &Option<f64>| (score.is_some(), rank(score));
    let ascending = |a: &(bool, f64), b: &(bool, f64)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
    let mut sorted: Vec<(bool, f64)> = scores.iter().map(key).collect();
    sorted.sort_unstable_by(|a, b| ascending(b, a));
    let last = scores.len() - 1;
    let step = last as f64 / (THRESHOLDS - 1) as f64;
    let place = |at: usize| if at == THRESHOLDS - 1 { last } else { (at as f64 * step) as usize };
    let cuts: Vec<(bool, f64)> = (0..THRESHOLDS).map(|at| sorted[place(at)]).collect();
    let above = |score: (bool, f64)| cuts.partition_point(|cut| ascending(cut, &score).is_gt());
    scores.iter().map(|score| above(key(score))).collect()
}

/// Sums the weights of what is there from some threshold on, for each threshold.
fn upto(weights: impl Iterator<Item = (usize, f64)>) -> Vec<f64> {
    let mut sums = vec![0.0; THRESHOLDS];
    // Whatever there is counts at the lowest threshold, the lowest score, at the latest.
    weights.for_each(|(at, weight)| sums[at] += weight);
    let mut sum = 0.0;
    for entry in &mut sums {
        sum += *entry;
        *entry = sum;
    }
    sums
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tests::flags, *};

    fn some(scores: &[f64]) -> Vec<Option<f64>> {
        scores.iter().copied().map(Some).collect()
    }

    /// The bounds of a single series.
    fn whole(rows: usize) -> [Range<usize>; 1] {
        let all = 0..rows;
        [all]
    }

    fn volume(scores: &[f64], labels: &str) -> f64 {
        vus_pr(&some(scores), &flags(labels), &whole(scores.len())).unwrap().unwrap()
    }

    #[test]
    fn without_a_buffer_the_area_is_worked_by_hand() {
        // Thresholds 4, 3, 2, 1: one of two events is found by the first alarm, the second by the fourth row.
        let (scores, labels) = (some(&[4.0, 3.0, 2.0, 1.0]), flags("1001"));
        let surface = Surface::new(&scores, &labels, &whole(4));
        let area = surface.area(0, &mut [0.0; 4]);
        // Recall 1/2 * 1/2 at precision 1, the same at 1/2 and 1/3, and 1 at 1/2: 1/4 + 3/4 * 1/2.
        assert!((area - 0.625).abs() < 1e-12, "{area}");
    }

    #[test]
    fn a_border_is_worth_the_root_of_its_nearness() {
        // A buffer of 2 rows: a border row at distance 1 counts sqrt(1/2). Row 1, just before the event, alarms first.
        let (scores, labels) = (some(&[0.0, 9.0, 8.0, 0.0, 0.0]), flags("00100"));
        let mut soft = [0.0; 5];
        let area = Surface::new(&scores, &labels, &whole(5)).area(2, &mut soft);
        let root = 0.5_f64.sqrt();
        let recall = |found: f64, core: f64| (found / (1.0 + (found - core) / 2.0)).min(1.0);
        let (first, second) = (recall(root, 0.0), recall(1.0 + root, 1.0));
        // The last threshold takes all rows, with the other border in them.
        let third = recall(1.0 + 2.0 * root, 1.0);
        let expected =
            first * root + (second - first) * (1.0 + root) / 2.0 + (third - second) * (1.0 + 2.0 * root) / 5.0;
        assert!((area - expected).abs() < 1e-12, "{area} {expected}");
        assert_eq!(soft, [0.0; 5], "what was laid on the rows is taken off again");
    }

    #[test]
    fn no_border_reaches_into_another_series() {
        let (scores, labels) = (some(&[0.0, 0.0, 1.0, 9.0, 0.0, 0.0]), flags("001000"));
        let areas = |bounds: &[Range<usize>]| {
            let surface = Surface::new(&scores, &labels, bounds);
            surface.soften(4, &mut [0.0; 6])
        };
        assert_eq!(areas(&whole(6)), [RowRange { first: 0, last: 4 }]);
        assert_eq!(areas(&[0..3, 3..6]), [RowRange { first: 0, last: 2 }]);
        let together = vus_pr(&scores, &labels, &whole(6)).unwrap().unwrap();
        let apart = vus_pr(&scores, &labels, &[0..3, 3..6]).unwrap().unwrap();
        assert!(apart < together, "the score in the other series is no early hit: {apart} {together}");
    }

    #[test]
    fn a_perfect_ranking_is_worth_more_than_a_constant_and_all_rows_labelled_are_one() {
        let steps: Vec<f64> = (0..300).map(|row| if (100..120).contains(&row) { 2.0 } else { 1.0 }).collect();
        let labels: String = (0..300).map(|row| if (100..120).contains(&row) { '1' } else { '0' }).collect();
        let (perfect, constant) = (volume(&steps, &labels), volume(&[1.0; 300], &labels));
        assert!(perfect > 0.8 && constant < 0.3, "{perfect} {constant}");
        assert_eq!(volume(&[3.0, 1.0, 2.0], "111"), 1.0);
        assert_eq!(volume(&[1.0], "1"), 1.0);
    }

    #[test]
    fn without_labelled_rows_there_is_none_and_what_does_not_fit_is_refused() {
        let two = whole(2);
        assert_eq!(vus_pr(&some(&[1.0, 2.0]), &flags("00"), &two), Ok(None));
        assert_eq!(vus_pr(&[], &[], &[]), Ok(None));
        let nan = vus_pr(&some(&[1.0, f64::NAN]), &flags("01"), &two);
        assert_eq!(nan, Err(EvaluateError::NotANumber { row: 1 }));
        let short = vus_pr(&some(&[1.0]), &flags("01"), &two);
        assert_eq!(short, Err(EvaluateError::Length { what: "scores", found: 1, rows: 2 }));
        let gap = vus_pr(&some(&[1.0, 2.0]), &flags("01"), std::slice::from_ref(&(1..2)));
        assert_eq!(gap, Err(EvaluateError::Length { what: "bounded rows", found: 0, rows: 2 }));
    }

    proptest! {
        #[test]
        fn it_depends_on_the_order_of_the_scores_only_and_stays_between_nothing_and_one(
            rows in proptest::collection::vec((0..9i32, any::<bool>()), 1..200)
        ) {
            let labels: Vec<bool> = rows.iter().map(|row| row.1).collect();
            prop_assume!(labels.contains(&true));
            let bounds = whole(rows.len());
            let plain: Vec<_> = rows.iter().map(|row| Some(f64::from(row.0))).collect();
            let moved: Vec<_> = rows.iter().map(|row| (row.0 > 0).then(|| f64::from(row.0).exp() - 7.0)).collect();
            let (plain, moved) = (vus_pr(&plain, &labels, &bounds).unwrap(), vus_pr(&moved, &labels, &bounds).unwrap());
            prop_assert_eq!(plain, moved, "a row without a score is tied with its like, below all others");
            prop_assert!((0.0..=1.0 + 1e-12).contains(&plain.unwrap()), "{:?}", plain);
        }
    }
}
