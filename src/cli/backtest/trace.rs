//! What the page shows beside the figures: errors per feature along the data, and the worst incidents. Residuals are not
//! kept: they are summed up into buckets while rows pass by, which pair up where there get to be too many.

use std::collections::HashMap;

use crate::{
    detect::{
        counterfactual::Counterfactual,
        incident::{IncidentChange, Opening},
        leading::leading,
    },
    model::metadata::Metadata,
    pipeline::observed::Observed,
};

/// Most buckets; half as many at least, where there are as many rows.
const BUCKETS: usize = 120;
/// Incidents that are told.
pub(super) const WORST: usize = 10;
/// Features that each is told with.
pub(super) const TOP: usize = 4;

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) row: usize,
    pub(super) time_us: i64,
}

/// An incident, while it is open and after.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Worst {
    pub(super) entity: usize,
    /// Numbers of its first and last anomaly among the judged rows of its entity.
    pub(super) judged: (u64, u64),
    pub(super) first: Place,
    pub(super) last: Place,
    pub(super) anomalies: u64,
    pub(super) peak: f64,
    /// The limit at the peak.
    pub(super) limit: f64,
    pub(super) p_value: f64,
    /// Columns with the largest shares of the error at the peak.
    pub(super) columns: Vec<Named>,
    /// What is known of its first row alone.
    pub(super) opening: Opening,
}

/// A column's part in the peak of an incident.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Named {
    pub(super) column: usize,
    /// Share of the error, 0..=1.
    pub(super) share: f64,
    /// Standardised error, standard deviations.
    pub(super) error: f64,
}

impl Worst {
    /// How many rows before its first one a column began to stray, if it did.
    pub(super) fn onset(&self, column: usize) -> Option<u8> {
        self.opening.onsets.get(column).copied().flatten()
    }

    /// What its first row would have scored with its top features as expected.
    pub(super) fn counterfactual(&self) -> Option<Counterfactual> {
        self.opening.counterfactual
    }
}

/// Rows next to each other in the files.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bucket {
    pub(super) first: Place,
    pub(super) last: Place,
    /// Per feature the highest part in a row's score; not a number where every value was missing.
    pub(super) highest: Vec<f32>,
}

/// Watches judged rows.
pub(super) struct Trace {
    /// Feature of each column.
    features: Vec<usize>,
    /// Per feature the sum of its parts in rows' scores.
    pub(super) totals: Vec<f64>,
    pub(super) buckets: Vec<Option<Bucket>>,
    /// Rows per bucket.
    size: usize,
    /// Judged rows so far, by entity.
    judged: Vec<u64>,
    open: HashMap<usize, Worst>,
    ended: Vec<Worst>,
}

impl Trace {
    /// A trace of the model with `metadata`.
    pub(super) fn new(metadata: &Metadata) -> Self {
        Self {
            features: metadata.columns.iter().map(|column| column.feature).collect(),
            totals: vec![0.0; metadata.features.len()],
            buckets: Vec::new(),
            size: 1,
            judged: Vec::new(),
            open: HashMap::new(),
            ended: Vec::new(),
        }
    }

    /// Takes a row of this entity in; one without a number was trained on, and has no part in what is shown.
    pub(super) fn judged(&mut self, record: &Observed<'_>, entity: usize, row: Option<usize>) {
        if self.judged.len() <= entity {
            self.judged.resize(entity + 1, 0);
        }
        self.judged[entity] += 1;
        if record.incident == IncidentChange::Resolved {
            self.close(entity);
        }
        let Some(row) = row else { return };
        let shares = record.shares();
        let place = Place { row: record.position.offset as usize, time_us: record.time_us };
        let parts = self.parts(&shares, record.imputed(), record.judged.score);
        self.heat(row, place, &parts);
        if record.is_anomalous() {
            self.anomaly(record, (entity, place), &shares);
        }
    }

    /// Each feature's part in a row's score: the parts of all are the score.
    fn parts(&self, shares: &[f32], imputed: &[bool], score: f64) -> Vec<f32> {
        let mut parts = vec![f32::NAN; self.totals.len()];
        for ((share, imputed), feature) in shares.iter().zip(imputed).zip(&self.features) {
            if !imputed {
                let part = &mut parts[*feature];
                *part = if part.is_nan() { 0.0 } else { *part } + (f64::from(*share) * score) as f32;
            }
        }
        parts
    }

    fn heat(&mut self, row: usize, place: Place, parts: &[f32]) {
        while row / self.size >= BUCKETS {
            self.pair_up();
        }
        let at = row / self.size;
        if self.buckets.len() <= at {
            self.buckets.resize(at + 1, None);
        }
        for (total, part) in self.totals.iter_mut().zip(parts).filter(|(_, part)| !part.is_nan()) {
            *total += f64::from(*part);
        }
        let alone = Bucket { first: place, last: place, highest: parts.to_vec() };
        self.buckets[at] = Some(match self.buckets[at].take() {
            Some(bucket) => bucket.join(alone),
            None => alone,
        });
    }

    fn pair_up(&mut self) {
        self.size *= 2;
        let mut buckets = std::mem::take(&mut self.buckets).into_iter();
        while let Some(one) = buckets.next() {
            self.buckets.push(match (one, buckets.next().flatten()) {
                (Some(one), Some(other)) => Some(one.join(other)),
                (one, other) => one.or(other),
            });
        }
    }

    fn anomaly(&mut self, record: &Observed<'_>, (entity, place): (usize, Place), shares: &[f32]) {
        let (judged, score) = (self.judged[entity], record.judged.score);
        let worst = self.open.entry(entity).or_insert_with(|| Worst {
            entity,
            judged: (judged, judged),
            first: place,
            last: place,
            anomalies: 0,
            peak: f64::NEG_INFINITY,
            limit: f64::NAN,
            p_value: 1.0,
            columns: Vec::new(),
            opening: record.opening(),
        });
        (worst.judged.1, worst.last) = (judged, place);
        worst.anomalies += 1;
        if score > worst.peak {
            (worst.peak, worst.limit, worst.p_value) = (score, record.limit(), record.p_value());
            let named = |(column, share)| Named { column, share, error: record.standardised(column) };
            worst.columns = largest(shares).into_iter().map(named).collect();
        }
    }

    fn close(&mut self, entity: usize) {
        self.ended.extend(self.open.remove(&entity));
        if self.ended.len() > 2 * WORST {
            self.keep_worst();
        }
    }

    fn keep_worst(&mut self) {
        // Of equal peaks the earlier one comes first, whatever the order in which they ended.
        self.ended.sort_by(|a, b| b.peak.total_cmp(&a.peak).then(a.first.row.cmp(&b.first.row)));
        self.ended.truncate(WORST);
    }

    /// The worst incidents, the highest peak first.
    pub(super) fn worst(&mut self) -> &[Worst] {
        self.ended.extend(self.open.drain().map(|(_, worst)| worst));
        self.keep_worst();
        &self.ended
    }
}

impl Bucket {
    fn join(mut self, other: Self) -> Self {
        // Of rows that were judged in another order than they stand.
        if other.first.row < self.first.row {
            self.first = other.first;
        }
        if other.last.row > self.last.row {
            self.last = other.last;
        }
        // Whatever is a number is larger than what is none.
        self.highest.iter_mut().zip(other.highest).for_each(|(one, other)| *one = one.max(other));
        self
    }
}

/// The columns with the largest shares.
fn largest(shares: &[f32]) -> Vec<(usize, f64)> {
    let share = |column: usize| f64::from(shares[column]);
    leading(shares.len(), TOP, share).into_iter().map(|column| (column, share(column))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metadata::fixture::metadata;

    fn place(row: usize) -> Place {
        Place { row, time_us: row as i64 }
    }

    #[test]
    fn however_many_rows_there_are_a_few_buckets_hold_the_highest_part_of_each_feature() {
        let mut trace = Trace::new(&metadata(2));
        for row in (0..100_000).rev() {
            trace.heat(row, place(row), &[if row == 77_777 { 9.0 } else { 1.0 }, f32::NAN]);
        }
        assert!((BUCKETS / 2..=BUCKETS).contains(&trace.buckets.len()), "{}", trace.buckets.len());
        let buckets: Vec<&Bucket> = trace.buckets.iter().flatten().collect();
        assert_eq!((buckets[0].first, buckets.last().unwrap().last), (place(0), place(99_999)));
        let hot: Vec<_> = buckets.iter().filter(|bucket| bucket.highest[0] == 9.0).collect();
        assert!(hot.len() == 1 && hot[0].first.row <= 77_777 && hot[0].last.row >= 77_777);
        assert!(buckets.iter().all(|bucket| bucket.highest[1].is_nan()), "what is missing is not zero");
        assert_eq!(trace.totals, [100_008.0, 0.0]);
    }

    #[test]
    fn parts_of_a_feature_with_several_columns_are_one_and_a_missing_one_has_none() {
        let mut metadata = metadata(3);
        metadata.columns[1].feature = 0;
        let trace = Trace::new(&metadata);
        let parts = trace.parts(&[0.25, 0.5, 0.25], &[false, false, true], 8.0);
        assert!(parts[0] == 6.0 && parts[2].is_nan(), "{parts:?}");
        assert_eq!(trace.parts(&[0.25, 0.0, 0.75], &[false, true, false], 8.0)[..1], [2.0]);
        assert_eq!(largest(&[0.1, 0.0, 0.3, 0.2, 0.2, 0.2]).iter().map(|top| top.0).collect::<Vec<_>>(), [2, 3, 4, 5]);
    }

    #[test]
    fn only_the_worst_incidents_are_kept() {
        let mut trace = Trace::new(&metadata(1));
        for entity in 0..50 {
            let peak = (entity * 7 % 50) as f64;
            let (first, last) = (place(entity), place(entity));
            let worst = Worst {
                entity,
                judged: (1, 1),
                first,
                last,
                anomalies: 1,
                peak,
                limit: 1.0,
                p_value: 0.1,
                columns: Vec::new(),
                opening: Opening::default(),
            };
            trace.open.insert(entity, worst);
            if entity != 7 {
                trace.close(entity);
            }
            assert!(trace.ended.len() <= 2 * WORST);
        }
        let peaks: Vec<f64> = trace.worst().iter().map(|worst| worst.peak).collect();
        assert_eq!(peaks, [49.0, 48.0, 47.0, 46.0, 45.0, 44.0, 43.0, 42.0, 41.0, 40.0]);
    }
}
