//! A sample as it was at one moment, for a training.

use std::sync::Arc;

use crate::train::sample::SampleRecord;

/// Rows that followed each other, with their event times.
type Rows = Arc<Vec<(i64, SampleRecord)>>;

/// A sample as it was at one moment. It shares its rows with the sample.
#[derive(Debug)]
pub struct SampleCopy {
    /// Chunks, entity by entity, and whether each follows the one before without a gap.
    chunks: Vec<(bool, Rows)>,
}

impl SampleCopy {
    pub(super) fn new(chunks: Vec<(bool, Rows)>) -> Self {
        Self { chunks }
    }

    /// Count of records.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|(_, rows)| rows.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The records, in time order; each entity's in the order in which they came.
    pub fn in_time_order(self) -> Vec<SampleRecord> {
        let mut run = 0;
        let mut dated = Vec::with_capacity(self.len());
        for (follows, rows) in &self.chunks {
            run += u32::from(!follows);
            dated.extend(rows.iter().map(|(time, record)| (*time, SampleRecord { run, ..record.clone() })));
        }
        dated.sort_by_key(|(time, _)| *time);
        dated.into_iter().map(|(_, record)| record).collect()
    }
}
