//! What a person on call meets: events found and how late, false alarms, and alarms per day.
//!
//! An event is a run of labelled rows of one entity. It is found when at least one anomaly lies inside it, and its delay is
//! the time from its first row to that anomaly. An alarm is an incident: the person on call is called once for it. A false
//! alarm is an incident none of whose anomalies lies in an event. Days are those of an entity: rows times the usual
//! distance of two rows, so that gaps in the data are no quiet days.

use super::{EvaluateError, Labelled, Series, count, share};
use crate::detect::calibrate::SECONDS_PER_DAY;

const US_PER_SECOND: f64 = 1e6;

/// Rows from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRange {
    /// The first row.
    pub first: usize,
    /// The last row, not before the first.
    pub last: usize,
}

/// Events and false alarms. `None` where a figure is not defined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Events {
    /// Runs of labelled rows.
    pub labelled: usize,
    /// Those with an anomaly inside.
    pub found: usize,
    /// Incidents none of whose anomalies is labelled.
    pub false_alarms: usize,
    /// Events found / (events found + false alarms).
    pub precision: Option<f64>,
    /// Events found / events.
    pub recall: Option<f64>,
    /// False alarms per entity and day of rows that are not labelled.
    pub false_alarms_per_day: Option<f64>,
    /// Median delay of the events found, seconds.
    pub median_delay: Option<f64>,
    /// Longest delay of the events found, seconds.
    pub longest_delay: Option<f64>,
}

/// Events and false alarms as they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Runs of labelled rows.
    pub labelled: usize,
    /// Those with an anomaly inside.
    pub found: usize,
    /// Incidents none of whose anomalies is labelled.
    pub false_alarms: usize,
}

impl Counts {
    /// Harmonic mean of the share of events that were found and the share of alarms that were right, 0..=1: twice the events
    /// found / (events + events found + false alarms).
    pub fn f1(&self) -> Option<f64> {
        share(2 * self.found, self.labelled + self.found + self.false_alarms)
    }

    /// Events missed and false alarms.
    pub fn errors(&self) -> usize {
        self.labelled - self.found + self.false_alarms
    }
}

/// Counts events and false alarms, and gives the delays of the events found to `delays`.
fn count_events(all: &[Labelled<'_>], delays: &mut Vec<f64>) -> Result<Counts, EvaluateError> {
    let mut counts = Counts::default();
    for Labelled { series, labels } in all {
        series.check()?;
        super::length("labels", labels.len(), series.anomalies.len())?;
        for event in runs(labels) {
            counts.labelled += 1;
            let Some(hit) = (event.first..=event.last).find(|row| series.anomalies[*row]) else { continue };
            counts.found += 1;
            delays.extend(delay(series.times_us, event.first, hit));
        }
        let is_false = |incident: &RowRange| is_false(incident, series.anomalies, labels);
        counts.false_alarms += incidents(series.opened, series.anomalies).filter(is_false).count();
    }
    Ok(counts)
}

/// Counts events and false alarms.
///
/// # Errors
/// Slices that don't belong together.
pub fn counts(all: &[Labelled<'_>]) -> Result<Counts, EvaluateError> {
    count_events(all, &mut Vec::new())
}

/// Days of an entity that the rows labelled 0 make up; `None` where rows have no time.
pub fn normal_days(all: &[Labelled<'_>]) -> Option<f64> {
    let normal = all.iter().map(|one| one.labels.len() - count(one.labels)).sum();
    step_seconds(all.iter().map(|one| one.series.times_us)).map(|step| days(normal, step))
}

/// Judges incidents by events.
///
/// # Errors
/// Slices that don't belong together.
pub fn events(all: &[Labelled<'_>]) -> Result<Events, EvaluateError> {
    let mut delays = Vec::new();
    let Counts { labelled, found, false_alarms } = count_events(all, &mut delays)?;
    delays.sort_unstable_by(f64::total_cmp);
    Ok(Events {
        labelled,
        found,
        false_alarms,
        precision: share(found, found + false_alarms),
        recall: share(found, labelled),
        false_alarms_per_day: normal_days(all).and_then(|days| per(false_alarms, days)),
        median_delay: median(&delays),
        longest_delay: delays.last().copied(),
    })
}

/// How many alarms were raised, whether right or wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alarms {
    /// Rows taken for anomalous.
    pub anomalies: usize,
    /// Incidents opened.
    pub incidents: usize,
    /// Usual distance of two rows of an entity, seconds; `None` where rows have no time.
    pub step_seconds: Option<f64>,
    /// Incidents per entity and day.
    pub per_entity_and_day: Option<f64>,
    /// Incidents of all entities per day between the first and the last row.
    pub per_day: Option<f64>,
}

/// Counts the alarms of all series.
///
/// # Errors
/// Slices that don't belong together.
pub fn alarms(all: &[Series<'_>]) -> Result<Alarms, EvaluateError> {
    all.iter().try_for_each(Series::check)?;
    let incidents = all.iter().map(|series| series.opened.len()).sum();
    let rows = all.iter().map(|series| series.anomalies.len()).sum();
    let step_seconds = step_seconds(all.iter().map(|series| series.times_us));
    let times = || all.iter().flat_map(|series| series.times_us).flatten().copied();
    let span = times().max().zip(times().min()).map(|(last, first)| seconds(first, last));
    Ok(Alarms {
        anomalies: all.iter().map(|series| count(series.anomalies)).sum(),
        incidents,
        step_seconds,
        per_entity_and_day: step_seconds.and_then(|step| per(incidents, days(rows, step))),
        per_day: step_seconds.zip(span).and_then(|(step, span)| per(incidents, (span + step) / SECONDS_PER_DAY)),
    })
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

/// Whether no anomaly of an incident is labelled.
pub fn is_false(incident: &RowRange, anomalies: &[bool], labels: &[bool]) -> bool {
    !(incident.first..=incident.last).any(|row| anomalies[row] && labels[row])
}

/// Incidents from where each opened to its last anomaly: what follows until the next one opens belongs to it.
pub fn incidents<'a>(opened: &'a [usize], anomalies: &'a [bool]) -> impl Iterator<Item = RowRange> + 'a {
    opened.iter().enumerate().map(move |(index, &first)| {
        let next = opened.get(index + 1).copied().unwrap_or(anomalies.len());
        let last = (first..next).rev().find(|row| anomalies[*row]).unwrap_or(first);
        RowRange { first, last }
    })
}

/// Seconds from an event's first row to the anomaly that found it. Where times go backwards it was found at once.
fn delay(times_us: &[Option<i64>], first: usize, hit: usize) -> Option<f64> {
    Some(seconds(times_us[first]?, times_us[hit]?).max(0.0))
}

fn seconds(first_us: i64, last_us: i64) -> f64 {
    (i128::from(last_us) - i128::from(first_us)) as f64 / US_PER_SECOND
}

/// Median distance of two rows that follow each other in their series. Rows at the same time, and those that go back in
/// time, tell nothing of it.
fn step_seconds<'a>(all: impl Iterator<Item = &'a [Option<i64>]>) -> Option<f64> {
    let mut steps: Vec<f64> = Vec::new();
    for times_us in all {
        let known = times_us.iter().flatten();
        steps.extend(
            known.clone().zip(known.skip(1)).map(|(one, next)| seconds(*one, *next)).filter(|step| *step > 0.0),
        );
    }
    steps.sort_unstable_by(f64::total_cmp);
    median(&steps)
}

/// The median of sorted numbers.
fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.get(sorted.len() / 2)?;
    Some(if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[sorted.len() / 2 - 1], *middle) } else { *middle })
}

fn days(rows: usize, step_seconds: f64) -> f64 {
    rows as f64 * step_seconds / SECONDS_PER_DAY
}

fn per(count: usize, days: f64) -> Option<f64> {
    if days > 0.0 { Some(count as f64 / days) } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tests::flags, *};

    const HOUR: i64 = 3_600_000_000;

    /// A series with a row an hour; its scores play no part.
    struct Made {
        scores: Vec<Option<f64>>,
        anomalies: Vec<bool>,
        opened: Vec<usize>,
        times_us: Vec<Option<i64>>,
        labels: Vec<bool>,
    }

    fn made(labels: &str, anomalies: &str, opened: &[usize]) -> Made {
        Made {
            scores: vec![None; labels.len()],
            anomalies: flags(anomalies),
            opened: opened.to_vec(),
            times_us: (0..labels.len() as i64).map(|row| Some(row * HOUR)).collect(),
            labels: flags(labels),
        }
    }

    impl Made {
        fn series(&self) -> Series<'_> {
            let Self { scores, anomalies, opened, times_us, .. } = self;
            Series { scores, anomalies, opened, times_us }
        }

        fn lend(&self) -> Labelled<'_> {
            Labelled { series: self.series(), labels: &self.labels }
        }
    }

    #[test]
    fn an_event_is_found_by_an_anomaly_inside_and_an_incident_without_one_is_a_false_alarm() {
        let made = made("0011001110000000", "0101000000110010", &[1, 10, 14]);
        let found = events(&[made.lend()]).unwrap();
        assert_eq!((found.labelled, found.found, found.false_alarms), (2, 1, 2));
        assert_eq!((found.precision, found.recall), (Some(1.0 / 3.0), Some(0.5)));
        // 11 normal rows of an hour each.
        assert!((found.false_alarms_per_day.unwrap() - 2.0 / (11.0 / 24.0)).abs() < 1e-12);
        assert_eq!((found.median_delay, found.longest_delay), (Some(3600.0), Some(3600.0)));
    }

    #[test]
    fn an_incident_that_spans_an_event_without_an_anomaly_in_it_is_a_false_alarm() {
        let found = events(&[made("00100", "01010", &[1]).lend()]).unwrap();
        assert_eq!((found.found, found.false_alarms, found.median_delay), (0, 1, None));
        assert_eq!((found.precision, found.recall), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn events_of_two_entities_are_two_even_where_their_rows_meet() {
        let (one, other) = (made("0011", "0001", &[3]), made("1100", "0000", &[]));
        let found = events(&[one.lend(), other.lend()]).unwrap();
        assert_eq!((found.labelled, found.found, found.false_alarms), (2, 1, 0));
        assert_eq!(found.false_alarms_per_day, Some(0.0));
        let one = made("00111100", "00010000", &[3]);
        assert_eq!(events(&[one.lend()]).unwrap().labelled, 1);
    }

    #[test]
    fn delays_are_told_in_time_and_by_median_and_longest() {
        let first = made("1110111101", "0010000101", &[2, 7, 9]);
        let mut found = events(&[first.lend()]).unwrap();
        assert_eq!((found.median_delay, found.longest_delay), (Some(7200.0), Some(10_800.0)));
        let other = made("011111", "000001", &[5]);
        found = events(&[first.lend(), other.lend()]).unwrap();
        assert_eq!((found.median_delay, found.longest_delay), (Some(9000.0), Some(14_400.0)));
    }

    #[test]
    fn without_times_and_where_they_go_backwards_there_is_still_a_count() {
        let mut backwards = made("0110", "0010", &[2]);
        backwards.times_us = [5, 4, 3, 6].map(|hour| Some(hour * HOUR)).to_vec();
        let found = events(&[backwards.lend()]).unwrap();
        assert_eq!((found.found, found.median_delay), (1, Some(0.0)));
        assert_eq!(alarms(&[backwards.series()]).unwrap().step_seconds, Some(10_800.0), "the one step forward");
        let mut untimed = made("0110", "1010", &[0]);
        untimed.times_us = vec![None; 4];
        let found = events(&[untimed.lend()]).unwrap();
        assert_eq!((found.found, found.false_alarms_per_day, found.longest_delay), (1, None, None));
        let told = alarms(&[untimed.series()]).unwrap();
        assert_eq!((told.incidents, told.per_entity_and_day, told.per_day), (1, None, None));
    }

    #[test]
    fn alarms_are_counted_per_entity_and_day_and_per_day() {
        let (one, other) = (made("000000", "010110", &[1, 3]), made("000000", "000000", &[]));
        let told = alarms(&[one.series(), other.series()]).unwrap();
        assert_eq!((told.anomalies, told.incidents, told.step_seconds), (3, 2, Some(3600.0)));
        // Two entities of six hours each are half a day, and both together saw a quarter of one.
        assert_eq!((told.per_entity_and_day, told.per_day), (Some(4.0), Some(8.0)));
        let nothing = alarms(&[]).unwrap();
        assert_eq!((nothing.incidents, nothing.per_day), (0, None));
    }

    #[test]
    fn without_events_or_alarms_there_are_no_shares() {
        let calm = events(&[made("0000", "0000", &[]).lend()]).unwrap();
        assert_eq!((calm.precision, calm.recall, calm.false_alarms_per_day), (None, None, Some(0.0)));
        let all = events(&[made("1111", "0000", &[]).lend()]).unwrap();
        assert_eq!((all.recall, all.false_alarms_per_day), (Some(0.0), None), "no normal row, no normal day");
        let short = made("11", "00", &[]);
        let wrong = Labelled { labels: &[true], ..short.lend() };
        assert_eq!(events(&[wrong]), Err(EvaluateError::Length { what: "labels", found: 1, rows: 2 }));
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

    proptest! {
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
