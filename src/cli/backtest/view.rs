//! Puts together what the page shows, from what was watched.

use super::{
    closeup::View,
    report::Report,
    suggest::CAUTION,
    sum::{Scored, Track},
    table,
    trace::{Bucket, Named, Place, Trace, Worst},
};
use crate::{
    evaluate::{EvaluateError, events},
    model::metadata::Metadata,
    report::{
        DRAWN_ENTITIES, EntityScores, FeatureLine, FeaturePoint, HEAT_FEATURES, Heat, Incident, LISTED_ENTITIES, Page,
        Table,
    },
};

const US_PER_SECOND: f64 = 1e6;
/// Rows that have no time, or one before that of a row before them, in every so many at most, where rows are laid out by
/// their times.
const ODD: usize = 20;

/// What was watched.
pub(super) struct Seen<'a> {
    pub(super) scored: &'a Scored,
    pub(super) trace: &'a Trace,
    pub(super) worst: &'a [Worst],
    pub(super) views: &'a [View],
    pub(super) metadata: &'a Metadata,
}

impl Seen<'_> {
    /// The page.
    ///
    /// # Errors
    /// Labels that are not those of the rows.
    pub(super) fn page(&self, report: &Report) -> Result<Page, EvaluateError> {
        let tracks = self.scored.tracks()?;
        let timed = self.is_timed();
        let (normal, labelled) = self.scores(&tracks);
        let mut p_values: Vec<f64> = normal.iter().map(|score| self.metadata.calibration.p_value(*score)).collect();
        p_values.sort_unstable_by(f64::total_cmp);
        let suggestion = |one: &super::suggest::Suggestion| (one.assignment(), one.why.clone());
        Ok(Page {
            data: report.data.clone(),
            figures: table::figures(report),
            warnings: report.warnings.clone(),
            suggestions: report.suggestions.iter().map(suggestion).collect(),
            caution: if report.labels.is_some() { CAUTION } else { "" },
            timed,
            labelled: report.labels.is_some(),
            limit: report.alarms.limit,
            entities: self.entities(&tracks, timed),
            table: entity_table(report),
            incidents: self
                .worst
                .iter()
                .zip(self.views)
                .map(|(worst, view)| self.incident(worst, view, timed))
                .collect(),
            all_incidents: report.alarms.incidents,
            heat: self.heat(timed),
            p_values,
            normal_scores: normal,
            labelled_scores: labelled,
        })
    }

    /// Whether rows can be laid out by their times: nearly all have one, and nearly all go forward.
    fn is_timed(&self) -> bool {
        let (mut latest, mut odd) = (i64::MIN, 0);
        for row in &self.scored.rows {
            match row.time_us {
                Some(time_us) if time_us >= latest => latest = time_us,
                _ => odd += 1,
            }
        }
        latest > i64::MIN && odd * ODD <= self.scored.rows.len()
    }

    /// Scores of rows that are not labelled and of those that are, ascending.
    fn scores(&self, tracks: &[Track]) -> (Vec<f64>, Vec<f64>) {
        let (mut normal, mut labelled) = (Vec::new(), Vec::new());
        for track in tracks {
            for (score, label) in track.scores.iter().zip(&track.labels) {
                if *label { &mut labelled } else { &mut normal }.extend(*score);
            }
        }
        normal.sort_unstable_by(f64::total_cmp);
        labelled.sort_unstable_by(f64::total_cmp);
        (normal, labelled)
    }

    /// The entities with the highest scores.
    fn entities(&self, tracks: &[Track], timed: bool) -> Vec<EntityScores> {
        let highest = |track: &Track| track.scores.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut order: Vec<(f64, usize)> = tracks
            .iter()
            .enumerate()
            .map(|(at, track)| (highest(track), at))
            .filter(|(score, _)| score.is_finite())
            .collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let drawn = order.into_iter().take(DRAWN_ENTITIES);
        drawn.map(|(_, at)| self.entity(&self.scored.entities[at], &tracks[at], timed)).collect()
    }

    fn entity(&self, name: &str, track: &Track, timed: bool) -> EntityScores {
        let at = |row: usize| {
            let row = &self.scored.rows[track.rows[row]];
            if timed { row.time_us.map_or(f64::NAN, |time_us| time_us as f64 / US_PER_SECOND) } else { row.row as f64 }
        };
        let scores = (0..track.scores.len()).map(|row| (at(row), track.scores[row]));
        let limits = track.rows.iter().enumerate().map(|(row, place)| (at(row), self.scored.rows[*place].end.limit()));
        let opened = events::incidents(&track.opened, &track.anomalies).map(|incident| {
            let is_false = self.scored.labels.is_some() && events::is_false(&incident, &track.anomalies, &track.labels);
            (at(incident.first), is_false)
        });
        EntityScores {
            name: name.to_owned(),
            scores: scores.filter(|(at, _)| at.is_finite()).collect(),
            limits: limits.filter(|(at, _)| at.is_finite()).collect(),
            events: events::runs(&track.labels).map(|event| (at(event.first), at(event.last))).collect(),
            opened: opened.collect(),
        }
    }

    fn incident(&self, worst: &Worst, view: &View, timed: bool) -> Incident {
        let line = |(number, named): (usize, &Named)| FeatureLine {
            name: self.metadata.columns[named.column].name.clone(),
            share: named.share,
            error: named.error,
            onset: worst.onset(named.column),
            points: view
                .points
                .iter()
                .map(|point| FeaturePoint {
                    at: along(point.first, timed),
                    actual: point.ranges[number].actual,
                    expected: point.ranges[number].expected,
                })
                .collect(),
        };
        Incident {
            entity: self.scored.entities[worst.entity].clone(),
            span: (along(worst.first, timed), along(worst.last, timed)),
            anomalies: worst.anomalies,
            peak: worst.peak,
            limit: worst.limit,
            p_value: worst.p_value,
            counterfactual: worst.counterfactual().map(|told| (told.score, told.under_limit)),
            features: worst.columns.iter().enumerate().map(line).collect(),
        }
    }

    fn heat(&self, timed: bool) -> Heat {
        let buckets: Vec<&Bucket> = self.trace.buckets.iter().flatten().collect();
        let mut order: Vec<usize> = (0..self.trace.totals.len()).collect();
        order.sort_by(|a, b| self.trace.totals[*b].total_cmp(&self.trace.totals[*a]).then(a.cmp(b)));
        let more = order.len().saturating_sub(HEAT_FEATURES);
        order.truncate(HEAT_FEATURES);
        let parts = |feature: usize| buckets.iter().map(|bucket| bucket.highest[feature]).collect();
        let name = |feature: usize| self.metadata.features[feature].name.clone();
        let features =
            if buckets.is_empty() { Vec::new() } else { order.into_iter().map(|at| (name(at), parts(at))).collect() };
        Heat { buckets: spans(&buckets, timed), features, more }
    }
}

/// First and last place of each bucket. A bucket reaches up to the next one, unless something is missing between them.
fn spans(buckets: &[&Bucket], timed: bool) -> Vec<(f64, f64)> {
    let mut spans: Vec<(f64, f64)> =
        buckets.iter().map(|bucket| (along(bucket.first, timed), along(bucket.last, timed))).collect();
    for at in 1..spans.len() {
        // Rows a little out of order must not lay one bucket over another.
        spans[at].0 = spans[at].0.max(spans[at - 1].0);
        spans[at].1 = spans[at].1.max(spans[at].0);
        let (before, next) = (spans[at - 1], spans[at].0);
        if next - before.1 <= (before.1 - before.0).max(spans[at].1 - next) || before.1 > next {
            spans[at - 1].1 = next;
        }
    }
    // Without a width there is nothing to see.
    if let (Some(first), Some(last)) = (spans.first().copied(), spans.last_mut()) {
        last.1 = last.1.max(last.0 + (last.0 - first.0) * 1e-3);
    }
    spans
}

fn along(place: Place, timed: bool) -> f64 {
    if timed { place.time_us as f64 / US_PER_SECOND } else { place.row as f64 }
}

/// The entities, where there are several.
fn entity_table(report: &Report) -> Option<Table> {
    if report.per_entity.len() < 2 {
        return None;
    }
    let (head, rows) = table::entity_rows(&report.per_entity, LISTED_ENTITIES);
    let more = report.per_entity.len() - rows.len();
    Some(Table { head: head.into_iter().map(|name| name.to_lowercase()).collect(), rows, more })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(first: i64, last: i64) -> Bucket {
        let place = |second: i64| Place { row: second as usize, time_us: second * 1_000_000 };
        Bucket { first: place(first), last: place(last), highest: Vec::new() }
    }

    #[test]
    fn buckets_meet_but_where_rows_are_missing_and_never_overlap() {
        let made = [bucket(0, 9), bucket(10, 19), bucket(100, 109), bucket(105, 119)];
        let found = spans(&made.iter().collect::<Vec<_>>(), true);
        assert_eq!(found, [(0.0, 10.0), (10.0, 19.0), (100.0, 105.0), (105.0, 119.0)]);
        let one = spans(&[&bucket(5, 5)], false);
        assert_eq!(one, [(5.0, 5.0)]);
    }
}
