//! What a gate judges by: the newest rows of a sample, which neither the new model nor the one in use has seen.

use super::sample::SampleRecord;
use crate::{
    model::metadata::Provenance,
    record::{Position, timestamp},
};

/// A sample for a retraining, in two parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// What the new model is trained on: the older rows.
    pub training: Vec<SampleRecord>,
    /// What it is judged by: the newest rows, without those that the model in use was trained on.
    pub withheld: Vec<SampleRecord>,
}

impl Withheld {
    /// Withholds the newest `share` of a sample in time order. `source` is where its records come from; `in_use` is the
    /// origin of the model in use, if there is one.
    ///
    /// A run may be cut in two, one part on each side; no window reaches across.
    pub fn split(mut sample: Vec<SampleRecord>, share: f64, source: &str, in_use: Option<&Provenance>) -> Self {
        let newest = (sample.len() as f64 * share.clamp(0.0, 1.0)).round() as usize;
        let mut withheld = sample.split_off(sample.len() - newest.min(sample.len()));
        if let Some(provenance) = in_use {
            let seen = Seen::new(provenance, source);
            withheld.retain(|record| !seen.holds(record));
        }
        Self { training: sample, withheld }
    }
}

/// What a model may have been trained on.
enum Seen<'a> {
    /// All between two positions, per partition, unless it came after the model was made (milliseconds since the epoch): a
    /// topic that is made anew counts from 0 again.
    Ranges(&'a [(i32, i64, i64)], Option<i64>),
    /// It came from elsewhere: all up to a time, milliseconds since the epoch.
    Until(Option<i64>),
}

impl<'a> Seen<'a> {
    fn new(provenance: &'a Provenance, source: &str) -> Self {
        if provenance.source == source {
            return Self::Ranges(&provenance.ranges, timestamp::milliseconds_of_rfc3339(&provenance.created));
        }
        Self::Until(provenance.span.as_ref().and_then(|(_, last)| timestamp::milliseconds_of_rfc3339(last)))
    }

    fn holds(&self, record: &SampleRecord) -> bool {
        let Position { partition, offset } = record.position;
        match self {
            Self::Ranges(ranges, created) => {
                let later = matches!((created, record.timestamp_ms), (Some(made), Some(time)) if time > *made);
                let within = |range: &&(i32, i64, i64)| range.0 == partition && (range.1..=range.2).contains(&offset);
                !later && ranges.iter().any(|range| within(&range))
            }
            Self::Until(end) => matches!((end, record.timestamp_ms), (Some(end), Some(time)) if time <= *end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metadata::fixture::metadata;

    fn sample(rows: i64) -> Vec<SampleRecord> {
        let record = |offset: i64| SampleRecord {
            position: Position { partition: (offset % 2) as i32, offset },
            timestamp_ms: Some(offset * 1000),
            key: None,
            payload: b"{}"[..].into(),
            headers: None,
            run: 0,
        };
        (0..rows).map(record).collect()
    }

    fn offsets(records: &[SampleRecord]) -> Vec<i64> {
        records.iter().map(|record| record.position.offset).collect()
    }

    #[test]
    fn the_newest_rows_are_withheld() {
        let parts = Withheld::split(sample(20), 0.2, "topic", None);
        assert_eq!(offsets(&parts.training), (0..16).collect::<Vec<_>>());
        assert_eq!(offsets(&parts.withheld), [16, 17, 18, 19]);
        assert_eq!(Withheld::split(Vec::new(), 0.2, "topic", None), Withheld { training: vec![], withheld: vec![] });
    }

    #[test]
    fn rows_that_the_model_in_use_was_trained_on_judge_nobody() {
        let mut provenance = metadata(1).provenance;
        (provenance.source, provenance.ranges) = ("topic".to_owned(), vec![(0, 0, 16), (1, 1, 13)]);
        let parts = Withheld::split(sample(20), 0.3, "topic", Some(&provenance));
        assert_eq!((offsets(&parts.training).len(), offsets(&parts.withheld)), (14, vec![15, 17, 18, 19]));
    }

    #[test]
    fn rows_of_a_topic_that_was_made_anew_are_not_taken_for_old_ones() {
        let mut provenance = metadata(1).provenance;
        (provenance.source, provenance.ranges) = ("topic".to_owned(), vec![(0, 0, 100), (1, 0, 100)]);
        provenance.created = timestamp::to_rfc3339(17_500_000);
        let parts = Withheld::split(sample(20), 0.3, "topic", Some(&provenance));
        assert_eq!(offsets(&parts.withheld), [18, 19], "what came after the model was made");
    }

    #[test]
    fn of_a_model_from_elsewhere_the_time_of_its_rows_tells() {
        let mut provenance = metadata(1).provenance;
        (provenance.source, provenance.ranges) = ("files".to_owned(), vec![(0, 0, 1_000), (1, 0, 1_000)]);
        let end = timestamp::to_rfc3339(16_500_000);
        provenance.span = Some(("1970-01-01T00:00:00Z".to_owned(), end));
        let parts = Withheld::split(sample(20), 0.3, "topic", Some(&provenance));
        assert_eq!(offsets(&parts.withheld), [17, 18, 19]);
        provenance.span = None;
        assert_eq!(Withheld::split(sample(20), 0.3, "topic", Some(&provenance)).withheld.len(), 6);
    }
}
