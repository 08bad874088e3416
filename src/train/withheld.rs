//! What a gate judges by: the newest rows of a sample, which neither the new model nor the one in use has seen.

use super::sample::SampleRecord;
use crate::{
    config::settings::TimestampFormat,
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
    /// All between two positions, per partition.
    Ranges(&'a [(i32, i64, i64)]),
    /// It came from elsewhere: all up to a time, milliseconds since the epoch.
    Until(Option<i64>),
}

impl<'a> Seen<'a> {
    fn new(provenance: &'a Provenance, source: &str) -> Self {
        if provenance.source == source {
            return Self::Ranges(&provenance.ranges);
        }
        let end =
            provenance.span.as_ref().and_then(|(_, last)| timestamp::from_text(last, TimestampFormat::Rfc3339).ok());
        Self::Until(end.map(|us| us.div_euclid(1000)))
    }

    fn holds(&self, record: &SampleRecord) -> bool {
        let Position { partition, offset } = record.position;
        match self {
            Self::Ranges(ranges) => {
                ranges.iter().any(|(of, first, last)| *of == partition && (*first..=*last).contains(&offset))
            }
            Self::Until(end) => matches!((end, record.timestamp_ms), (Some(end), Some(time)) if time <= *end),
        }
    }
}
