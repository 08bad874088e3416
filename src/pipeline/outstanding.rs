//! Outputs on their way: a record is done when it has ended and each output that it caused was delivered or refused.

use std::collections::HashMap;

use crate::record::Position;

/// What a record still waits for.
#[derive(Debug, Default)]
struct Waiting {
    outputs: usize,
    /// Bytes that its outputs hold.
    bytes: usize,
    /// Whether it ended itself; an incident may be told before that.
    ended: bool,
    /// Whether its partition was revoked since: what comes back of it ends nothing, also where the record is read again.
    orphaned: bool,
}

/// The books of what was sent.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    records: HashMap<Position, Waiting>,
    outputs: usize,
    bytes: usize,
}

impl Outstanding {
    /// An output of so many bytes is sent for a record that has not ended yet.
    pub(super) fn sent(&mut self, position: Position, bytes: usize) {
        let record = self.records.entry(position).or_default();
        record.outputs += 1;
        record.bytes += bytes;
        // It may be there from before its partition was revoked and came back: then it waits for both.
        (record.ended, record.orphaned) = (false, false);
        self.outputs += 1;
        self.bytes += bytes;
    }

    /// A record has ended. Whether it is done: nothing of it is on its way.
    pub(super) fn ended(&mut self, position: Position) -> bool {
        if self.records.is_empty() {
            return true;
        }
        let waiting = self.records.get_mut(&position).filter(|record| !record.orphaned);
        let is_done = waiting.is_none();
        waiting.into_iter().for_each(|record| record.ended = true);
        is_done
    }

    /// An output has come to its end. `None` if it is unknown; else whether its record is done with it.
    pub(super) fn delivered(&mut self, position: Position) -> Option<bool> {
        let record = self.records.get_mut(&position)?;
        record.outputs -= 1;
        self.outputs -= 1;
        if record.outputs > 0 {
            return Some(false);
        }
        // How much each output held is not kept: all of a record's go at once.
        self.bytes -= std::mem::take(&mut record.bytes);
        let is_done = record.ended && !record.orphaned;
        self.records.remove(&position);
        Some(is_done)
    }

    /// Records of these partitions will not end here any more.
    pub(super) fn revoked(&mut self, partitions: &[i32]) {
        let of_them = self.records.iter_mut().filter(|(position, _)| partitions.contains(&position.partition));
        of_them.for_each(|(_, record)| record.orphaned = true);
    }

    /// Outputs of these partitions' records will never come to their end.
    pub(super) fn forget(&mut self, partitions: &[i32]) {
        self.records.retain(|position, record| {
            let gone = partitions.contains(&position.partition);
            if gone {
                self.outputs -= record.outputs;
                self.bytes -= record.bytes;
            }
            !gone
        });
    }

    /// Whether an output of the record is on its way.
    pub(super) fn contains(&self, position: Position) -> bool {
        self.records.contains_key(&position)
    }

    /// Outputs on their way.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes that they hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(offset: i64) -> Position {
        Position { partition: 0, offset }
    }

    #[test]
    fn a_record_is_done_when_it_has_ended_and_all_its_outputs_have() {
        let mut outstanding = Outstanding::default();
        assert!(outstanding.ended(at(1)), "without outputs at once");
        outstanding.sent(at(2), 10);
        outstanding.sent(at(2), 20);
        assert!(!outstanding.ended(at(2)));
        assert_eq!((outstanding.outputs(), outstanding.bytes()), (2, 30));
        assert_eq!(outstanding.delivered(at(2)), Some(false));
        assert_eq!(outstanding.delivered(at(2)), Some(true));
        assert_eq!(outstanding.delivered(at(2)), None, "twice");
        assert_eq!((outstanding.outputs(), outstanding.bytes()), (0, 0));
    }

    #[test]
    fn a_record_whose_output_was_delivered_before_it_ended_is_done_by_its_end() {
        let mut outstanding = Outstanding::default();
        outstanding.sent(at(2), 10);
        assert_eq!(outstanding.delivered(at(2)), Some(false));
        assert!(!outstanding.contains(at(2)));
        assert!(outstanding.ended(at(2)));
    }

    #[test]
    fn what_was_revoked_is_done_for_nobody_though_its_outputs_are_waited_for() {
        let mut outstanding = Outstanding::default();
        outstanding.sent(at(2), 10);
        outstanding.revoked(&[0]);
        assert_eq!(outstanding.outputs(), 1);
        assert_eq!(outstanding.delivered(at(2)), Some(false));
        assert!(!outstanding.contains(at(2)));
    }

    #[test]
    fn what_is_forgotten_is_waited_for_by_nobody() {
        let mut outstanding = Outstanding::default();
        outstanding.sent(at(2), 10);
        outstanding.sent(Position { partition: 1, offset: 2 }, 5);
        outstanding.forget(&[0]);
        assert_eq!((outstanding.outputs(), outstanding.bytes()), (1, 5));
        assert_eq!(outstanding.delivered(at(2)), None);
        outstanding.sent(at(2), 10);
        assert!(!outstanding.ended(at(2)), "read again, it waits for its own output");
    }

    #[test]
    fn a_record_that_is_read_again_after_a_revocation_is_done_by_its_own_end_and_outputs() {
        let mut outstanding = Outstanding::default();
        let revoked = |outstanding: &mut Outstanding| {
            outstanding.sent(at(2), 10);
            outstanding.revoked(&[0]);
        };
        revoked(&mut outstanding);
        assert!(outstanding.ended(at(2)), "it has no outputs of its own this time");
        assert_eq!(outstanding.delivered(at(2)), Some(false), "and is done but once");
        revoked(&mut outstanding);
        outstanding.sent(at(2), 10);
        assert_eq!(outstanding.delivered(at(2)), Some(false), "whichever of the two it was");
        assert!(!outstanding.ended(at(2)));
        assert_eq!(outstanding.delivered(at(2)), Some(true));
    }

    proptest! {
        #[test]
        fn each_record_is_done_exactly_once_and_after_its_last_output(
            outputs in prop::collection::vec(0_usize..4, 1..20),
            early in prop::collection::vec(any::<bool>(), 80),
        ) {
            let mut outstanding = Outstanding::default();
            let mut early = early.into_iter();
            let mut done = vec![0; outputs.len()];
            let mut late = Vec::new();
            for (offset, count) in outputs.iter().enumerate() {
                let position = at(offset as i64);
                for _ in 0..*count {
                    outstanding.sent(position, 1);
                    if early.next().unwrap_or_default() {
                        done[offset] += usize::from(outstanding.delivered(position) == Some(true));
                    } else {
                        late.push(offset);
                    }
                }
                done[offset] += usize::from(outstanding.ended(position));
            }
            prop_assert_eq!(outstanding.outputs(), late.len());
            for offset in late {
                prop_assert_eq!(done[offset], 0);
                let position = at(offset as i64);
                let last = outstanding.records[&position].outputs == 1;
                let told = outstanding.delivered(position);
                prop_assert_eq!(told, Some(last));
                done[offset] += usize::from(last);
                if !last { done[offset] = 0; }
            }
            prop_assert!(done.iter().all(|times| *times == 1));
            prop_assert_eq!((outstanding.outputs(), outstanding.bytes(), outstanding.records.len()), (0, 0, 0));
        }
    }
}
