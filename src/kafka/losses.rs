//! Records that nobody will read any more: they were deleted, by retention or by somebody, before they were read.
//!
//! librdkafka goes on with what is left and says nothing. Offsets also jump where a topic is compacted or written in
//! transactions, so a jump alone is no loss: it is one where the log now begins behind the offset that was to come.

use std::{collections::BTreeMap, ffi::CString, ptr};

use rdkafka::{
    bindings::rd_kafka_get_watermark_offsets,
    consumer::{BaseConsumer, Consumer},
    error::IsError,
};

use super::membership::Context;
use crate::{
    config::settings::{KafkaSettings, OnLoss, StartAt},
    pipeline::{SourceError, SourceEvent},
    record::Position,
};

/// Looks whether records were lost, and what follows from it.
#[derive(Debug)]
pub(super) struct Losses {
    expected: Expected,
    on_loss: OnLoss,
    /// Whether reading goes on at the log's end wherever its place is gone.
    skips: bool,
}

impl Losses {
    pub(super) fn new(settings: &KafkaSettings) -> Self {
        let skips = settings.start == StartAt::Latest;
        Self { expected: Expected::default(), on_loss: settings.on_loss, skips }
    }

    /// Looks at the place of a record that came.
    ///
    /// # Errors
    /// Records before it were lost, and nothing shall be read after that.
    #[inline(always)]
    pub(super) fn look(&mut self, consumer: &BaseConsumer<Context>, position: Position) -> Result<(), SourceError> {
        if consumer.context().has_changed() {
            consumer.context().tell(&mut self.expected);
        }
        match self.expected.take(position) {
            None => Ok(()),
            Some(expected) => self.jumped(consumer, expected, position),
        }
    }

    #[cold]
    fn jumped(
        &self,
        consumer: &BaseConsumer<Context>,
        expected: i64,
        Position { partition, offset }: Position,
    ) -> Result<(), SourceError> {
        let Some(low) = low_watermark(consumer, partition) else { return Ok(()) };
        let records = lost(expected, offset, low, self.skips);
        if records == 0 {
            return Ok(());
        }
        if self.on_loss == OnLoss::Stop {
            return Err(SourceError::Fatal(format!(
                "{records} records of partition {partition}, from offset {expected} on, were deleted before they were read; \
                 with kafka.on_loss: stop nothing is read after that, expected the group's offset to be moved, or continue"
            )));
        }
        let from = Position { partition, offset: expected };
        consumer.context().mail().events.push(SourceEvent::Lost { from, records });
        Ok(())
    }
}

/// Which offset comes next, per partition.
#[derive(Debug, Default)]
pub(super) struct Expected {
    next: BTreeMap<i32, i64>,
    /// The partition read last, and its next offset: records come in runs of one partition.
    last: Option<(i32, i64)>,
}

impl Expected {
    /// The partition goes on from here: what the group has committed.
    pub(super) fn begin(&mut self, Position { partition, offset }: Position) {
        self.forget(partition);
        self.next.insert(partition, offset);
    }

    /// Nothing is expected of the partition, until its next record.
    pub(super) fn forget(&mut self, partition: i32) {
        self.next.remove(&partition);
        self.last = self.last.filter(|(last, _)| *last != partition);
    }

    /// Takes the next record; gives the offset that was expected in its place, where it jumps ahead of that.
    #[inline(always)]
    pub(super) fn take(&mut self, position: Position) -> Option<i64> {
        let Position { partition, offset } = position;
        match &mut self.last {
            Some((last, next)) if *last == partition => {
                let expected = std::mem::replace(next, offset + 1);
                (expected < offset).then_some(expected)
            }
            _ => self.take_of_other(position),
        }
    }

    #[cold]
    fn take_of_other(&mut self, Position { partition, offset }: Position) -> Option<i64> {
        if let Some((last, next)) = self.last.replace((partition, offset + 1)) {
            self.next.insert(last, next);
        }
        self.next.remove(&partition).filter(|expected| *expected < offset)
    }
}

/// How many records between the offset that was expected and that of the record that came were deleted, `low` being the
/// first offset of the log. `skips` says that reading goes on at the log's end wherever its place is gone.
fn lost(expected: i64, came: i64, low: i64, skips: bool) -> i64 {
    match low > expected {
        true if skips => came - expected,
        true => low.min(came) - expected,
        false => 0,
    }
}

/// The partition's first offset, as the last answer to a fetch said.
fn low_watermark(consumer: &BaseConsumer<Context>, partition: i32) -> Option<i64> {
    let topic = CString::new(consumer.context().topic()).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client lives as long as `consumer` is borrowed, the name as long as this call, and librdkafka writes
    // nothing but the two numbers. It asks no broker.
    let code = unsafe {
        let client = consumer.client().native_ptr();
        rd_kafka_get_watermark_offsets(
            client,
            topic.as_ptr(),
            partition,
            ptr::from_mut(&mut low),
            ptr::from_mut(&mut high),
        )
    };
    (!code.is_error() && low >= 0).then_some(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32, offset: i64) -> Position {
        Position { partition, offset }
    }

    #[test]
    fn a_jump_is_told_with_the_offset_that_was_expected() {
        let mut expected = Expected::default();
        assert_eq!(expected.take(at(0, 7)), None, "nothing is known of a group's first record");
        assert_eq!(expected.take(at(0, 8)), None);
        assert_eq!(expected.take(at(1, 3)), None);
        assert_eq!(expected.take(at(0, 12)), Some(9), "also after another partition's turn");
        assert_eq!(expected.take(at(0, 15)), Some(13));
        assert_eq!(expected.take(at(0, 2)), None, "going back is another matter");
        assert_eq!(expected.take(at(0, 3)), None);
        assert_eq!(expected.take(at(1, 4)), None);
    }

    #[test]
    fn a_partition_that_comes_begins_where_the_group_left_it_and_one_that_goes_is_forgotten() {
        let mut expected = Expected::default();
        expected.begin(at(0, 100));
        assert_eq!(expected.take(at(0, 150)), Some(100));
        expected.forget(0);
        assert_eq!(expected.take(at(0, 900)), None);
        expected.begin(at(0, 500));
        assert_eq!(expected.take(at(0, 500)), None);
    }

    #[test]
    fn only_what_lies_before_the_log_is_lost() {
        assert_eq!(lost(10, 30, 0, false), 0, "compaction or a transaction's mark");
        assert_eq!(lost(10, 30, 10, false), 0);
        assert_eq!(lost(10, 30, 25, false), 15);
        assert_eq!(lost(10, 30, 40, false), 20, "the log was cut once more since");
        assert_eq!(lost(10, 30, 25, true), 20, "what lies between was not read either");
    }
}
