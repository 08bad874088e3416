//! The sample of a cold start while it grows.

use std::collections::VecDeque;

use crate::{
    config::settings::{FeatureSelection, RecordSettings},
    record::{
        DecodedRecord, Position, RawRecord, RecordError,
        decode::{Decoder, Schema},
    },
    train::sample::SampleRecord,
};

/// A sample is not kept beyond this many bytes of values and headers, whatever its count of records.
const MAX_SAMPLE_BYTES: usize = 512 << 20;
/// Nor beyond this many times `training.rows`, when training failed again and again.
const MAX_SAMPLE_TIMES: usize = 4;
/// After a failed training the first new attempt is made when so much of `training.rows` came in anew.
const FIRST_RETRY: usize = 4;

/// Collects records until there are enough to train on.
#[derive(Debug)]
pub struct Collection {
    records: VecDeque<SampleRecord>,
    bytes: usize,
    /// Records taken since the last training, and records at which the next one begins.
    taken: usize,
    need: usize,
    /// `training.rows`.
    rows: usize,
    failures: u32,
    decoder: Decoder,
    decoded: DecodedRecord,
}

impl Collection {
    /// A collection that is complete with `rows` records.
    pub fn new(rows: usize, settings: &RecordSettings) -> Self {
        // Which features there are may be known only when the sample is whole, but not what every record needs: to be
        // JSON of a sensible size with an entity and an event time.
        let features = match &settings.features {
            FeatureSelection::Listed(listed) => listed.as_slice(),
            FeatureSelection::AllNumeric { .. } => &[],
        };
        Self {
            records: VecDeque::new(),
            bytes: 0,
            taken: 0,
            need: rows,
            rows,
            failures: 0,
            decoder: Decoder::new(Schema::new(features, settings)),
            decoded: DecodedRecord::default(),
        }
    }

    /// Whether the record can't be taken before its schema has come from a registry, which is asked for it.
    pub fn awaits(&mut self, raw: &RawRecord<'_>) -> bool {
        self.decoder.awaits(raw)
    }

    /// Takes one record, or says why nothing can be learned from it.
    pub fn take(&mut self, raw: &RawRecord<'_>) -> Result<(), RecordError> {
        self.decoder.decode(raw, &mut self.decoded)?;
        let record = SampleRecord::copy_whole(raw).ok_or(RecordError::Empty)?;
        self.bytes += record.bytes();
        self.records.push_back(record);
        self.taken += 1;
        Ok(())
    }

    /// Records taken towards the next training, and records needed for it.
    pub fn progress(&self) -> (usize, usize) {
        (self.taken, self.need)
    }

    /// Whether training can begin.
    pub fn is_complete(&self) -> bool {
        self.taken >= self.need || (self.failures == 0 && self.bytes >= MAX_SAMPLE_BYTES)
    }

    /// The sample, for training; [`Collection::give_back`] returns it where that fails.
    pub fn lend(&mut self) -> Vec<SampleRecord> {
        self.bytes = 0;
        std::mem::take(&mut self.records).into()
    }

    /// Training on the sample failed: it is kept, and another attempt is made when more records came in.
    pub fn give_back(&mut self, sample: Vec<SampleRecord>) {
        self.bytes += sample.iter().map(|record| record.bytes()).sum::<usize>();
        let newer = std::mem::replace(&mut self.records, sample.into());
        self.records.extend(newer);
        self.taken = 0;
        self.need = ((self.rows / FIRST_RETRY).max(1) << self.failures.min(16)).min(self.rows);
        self.failures += 1;
    }

    /// The oldest record, where there are more than are kept.
    pub fn overflow(&mut self) -> Option<SampleRecord> {
        let most = self.rows.saturating_mul(MAX_SAMPLE_TIMES);
        if self.records.len() <= most && self.bytes <= MAX_SAMPLE_BYTES {
            return None;
        }
        let oldest = self.records.pop_front()?;
        self.bytes -= oldest.bytes();
        Some(oldest)
    }

    /// Forgets the records of partitions that are no longer ours: whoever has them now reads them too.
    pub fn forget(&mut self, partitions: &[i32]) {
        let before = self.records.len();
        self.records.retain(|record| !partitions.contains(&record.position.partition));
        self.bytes = self.records.iter().map(|record| record.bytes()).sum();
        self.taken = self.taken.saturating_sub(before - self.records.len());
    }

    /// Where the records stand.
    pub fn positions(&self) -> impl Iterator<Item = Position> + '_ {
        self.records.iter().map(|record| record.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, settings::Preset};

    fn collection(rows: usize) -> Collection {
        Collection::new(rows, &Settings::defaults(Preset::Timeseries).record)
    }

    fn take(collection: &mut Collection, offsets: std::ops::Range<i64>) {
        for offset in offsets {
            let position = Position { partition: (offset % 2) as i32, offset };
            let raw = RawRecord {
                position,
                timestamp_ms: Some(offset),
                key: Some(b"a"),
                payload: Some(b"{\"x\":1}"),
                headers: None,
            };
            collection.take(&raw).unwrap();
        }
    }

    #[test]
    fn what_can_not_be_decoded_is_not_taken() {
        let mut collection = collection(10);
        let position = Position { partition: 0, offset: 0 };
        for payload in [None, Some(&b"{\"x\":"[..]), Some(&b"[1]"[..])] {
            let raw = RawRecord { position, timestamp_ms: Some(0), key: Some(b"a"), payload, headers: None };
            assert!(collection.take(&raw).is_err(), "{payload:?}");
        }
        assert_eq!(collection.progress(), (0, 10));
    }

    #[test]
    fn after_a_failure_the_sample_is_kept_and_more_is_asked_for() {
        let mut collection = collection(100);
        take(&mut collection, 0..100);
        assert!(collection.is_complete());
        let mut offset = 100;
        for need in [25, 50, 100, 100] {
            let sample = collection.lend();
            collection.give_back(sample);
            assert_eq!((collection.is_complete(), collection.progress()), (false, (0, need)));
            take(&mut collection, offset..offset + need as i64);
            offset += need as i64;
            assert!(collection.is_complete());
        }
        assert!(collection.overflow().is_none(), "400 rows at most, and {offset} are there");
        take(&mut collection, offset..offset + 26);
        assert_eq!(collection.overflow().unwrap().position.offset, 0);
    }

    #[test]
    fn records_of_a_revoked_partition_are_forgotten_and_asked_for_anew() {
        let mut collection = collection(100);
        take(&mut collection, 0..60);
        collection.forget(&[1]);
        assert_eq!(collection.progress(), (30, 100));
        assert!(collection.positions().all(|position| position.partition == 0));
    }
}
