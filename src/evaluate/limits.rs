//! What another limit would have made of the same scores, and whether that is clearly better.
//!
//! A figure that is the best of many is too good: it was chosen by the very labels that it is measured with. So a change
//! counts as clear only where it is larger than what chance moves such figures by.

use super::Labelled;
use crate::{
    detect::{
        incident::{IncidentChange, IncidentState},
        limit::{Lift, Limit},
    },
    evaluate::events::Counts,
};

/// Fewest events that say anything of a limit.
pub const LEAST_EVENTS: usize = 3;
/// Least gain in the F1 of events.
const LEAST_F1: f64 = 0.05;
/// Least gain in AUCPR.
const LEAST_AUCPR: f64 = 0.03;
/// Fewest errors less.
const LEAST_ERRORS: f64 = 2.0;

/// Verdicts of one entity's rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdicts {
    /// Whether each row is anomalous.
    pub anomalies: Vec<bool>,
    /// The rows whose anomaly opened an incident, ascending.
    pub opened: Vec<usize>,
}

impl Verdicts {
    /// The verdicts on rows with these scores, each the lesser of the smoothed and the row's own one, at a limit, with
    /// incidents that end after `quiet_rows` rows without anomaly. Rows without a score have no part in incidents.
    pub fn at(limit: impl Into<Limit>, scores: &[Option<f64>], quiet_rows: u32) -> Self {
        let (limit, mut lift) = (limit.into(), Lift::default());
        let mut verdicts = Self { anomalies: vec![false; scores.len()], opened: Vec::new() };
        let mut incident = IncidentState::default();
        for (row, score) in scores.iter().enumerate().filter_map(|(row, score)| Some((row, (*score)?))) {
            limit.fall(&mut lift);
            let anomalous = score > limit.of(lift);
            verdicts.anomalies[row] = anomalous;
            if incident.advance(anomalous, quiet_rows) == IncidentChange::Opened {
                limit.step(1.0, &mut lift);
                verdicts.opened.push(row);
            }
        }
        verdicts
    }
}

/// Whether events and false alarms are clearly better: there are at least three events, the F1 of events is larger by at
/// least 0.05, and events missed and false alarms are fewer by at least two and by the square root of their number, which
/// is what chance moves a count by.
pub fn is_clear_gain(before: &Counts, after: &Counts) -> bool {
    let Some((old, new)) = before.f1().zip(after.f1()) else { return false };
    let (errors, less) = (before.errors() as f64, before.errors() as f64 - after.errors() as f64);
    before.labelled >= LEAST_EVENTS && new - old >= LEAST_F1 && less >= errors.sqrt().max(LEAST_ERRORS)
}

/// Whether labelled rows are ranked clearly better: AUCPR of all rows is larger by at least 0.03, and that of each half of the
/// labelled rows by a third of that, so that the gain does not hang on a single event. Each has the figure of all rows, and
/// those of both halves.
pub fn is_clear_ranking_gain(before: [f64; 3], after: [f64; 3]) -> bool {
    let gain = |part: usize| after[part] - before[part];
    gain(0) >= LEAST_AUCPR && gain(1) >= LEAST_AUCPR / 3.0 && gain(2) >= LEAST_AUCPR / 3.0
}

/// Whether so many alarms are clearly more than the ones that were expected: more than twice, and by more than three times
/// the square root of what was expected, and of at least one.
pub fn is_clearly_more(alarms: f64, expected: f64) -> bool {
    alarms > 2.0 * expected && alarms - expected > 3.0 * expected.max(1.0).sqrt()
}

/// Splits rows in two where half of the labelled ones lie before, so that a gain can be asked for in both.
pub fn middle(labels: &[bool]) -> usize {
    let half = super::count(labels) / 2;
    let labelled = labels.iter().enumerate().filter(|(_, label)| **label);
    labelled.map(|(row, _)| row).nth(half).unwrap_or(0)
}

/// The same rows with other verdicts, lent.
pub fn with<'a>(one: &Labelled<'a>, verdicts: &'a Verdicts) -> Labelled<'a> {
    let mut other = *one;
    (other.series.anomalies, other.series.opened) = (&verdicts.anomalies, &verdicts.opened);
    other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(labelled: usize, found: usize, false_alarms: usize) -> Counts {
        Counts { labelled, found, false_alarms }
    }

    #[test]
    fn verdicts_at_a_limit_open_incidents_as_the_daemon_does() {
        let scores = [Some(5.0), None, Some(1.0), Some(6.0), Some(1.0), Some(1.0), Some(1.0), Some(7.0)];
        let verdicts = Verdicts::at(4.0, &scores, 2);
        assert_eq!(verdicts.opened, [0, 7]);
        assert_eq!(verdicts.anomalies.iter().filter(|anomaly| **anomaly).count(), 3);
        assert_eq!(Verdicts::at(4.0, &scores, 0).opened, [0, 3, 7]);
        assert_eq!(Verdicts::at(7.0, &scores, 0), Verdicts { anomalies: vec![false; 8], opened: Vec::new() });
    }

    #[test]
    fn a_gain_is_clear_only_beyond_what_chance_moves_counts_by() {
        assert!(is_clear_gain(&counts(6, 3, 1), &counts(6, 5, 0)), "four errors become one");
        assert!(!is_clear_gain(&counts(6, 5, 1), &counts(6, 6, 1)), "one event more is no more than chance");
        assert!(!is_clear_gain(&counts(6, 4, 14), &counts(6, 4, 11)), "three of sixteen errors are chance");
        assert!(is_clear_gain(&counts(6, 4, 14), &counts(6, 4, 9)));
        assert!(!is_clear_gain(&counts(2, 0, 0), &counts(2, 2, 0)), "two events say nothing");
        assert!(!is_clear_gain(&counts(0, 0, 9), &counts(0, 0, 0)));
        assert!(!is_clear_gain(&counts(6, 3, 1), &counts(6, 3, 1)));
    }

    #[test]
    fn a_ranking_is_clearly_better_only_in_both_halves() {
        assert!(is_clear_ranking_gain([0.5, 0.4, 0.6], [0.55, 0.44, 0.62]));
        assert!(!is_clear_ranking_gain([0.5, 0.4, 0.6], [0.55, 0.6, 0.6]), "one half alone");
        assert!(!is_clear_ranking_gain([0.5, 0.4, 0.6], [0.52, 0.42, 0.62]), "too little");
        assert!(!is_clear_ranking_gain([0.5, f64::NAN, 0.6], [0.9, 0.9, 0.9]));
    }

    #[test]
    fn more_alarms_than_promised_are_told_only_where_they_are_clearly_more() {
        for (alarms, expected, clear) in
            [(3.0, 0.5, false), (4.0, 0.5, true), (9.0, 5.0, false), (12.0, 5.0, true), (190.0, 100.0, false)]
        {
            assert_eq!(is_clearly_more(alarms, expected), clear, "{alarms} of {expected}");
        }
        assert!(!is_clearly_more(f64::NAN, 1.0) && !is_clearly_more(9.0, f64::NAN));
    }

    #[test]
    fn the_middle_has_half_of_the_labelled_rows_on_either_side() {
        let labels = super::super::tests::flags("0110001100");
        assert_eq!(middle(&labels), 6);
        assert_eq!(middle(&[false, false]), 0);
    }
}
