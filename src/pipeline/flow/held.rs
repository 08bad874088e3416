//! Records that wait for the schema that they were written with, or for what was kept of their partition, and all that came in
//! after them: none overtakes another.
//!
//! While any wait, the source is paused but polled, as while a model is trained; so nothing is lost, the group is kept, and no
//! more wait than were already on their way.

use std::collections::VecDeque;

use super::{super::run::Parts, Flow};
use crate::{
    config::settings::RecordFormat,
    record::{KeptRecord, RawRecord},
};

/// The records, and what was told of them.
#[derive(Debug)]
pub(super) struct Held {
    records: VecDeque<KeptRecord>,
    format: RecordFormat,
    told: (usize, Option<String>),
}

impl Held {
    pub(super) fn new(format: &RecordFormat) -> Self {
        Self { records: VecDeque::new(), format: format.clone(), told: (0, None) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Forgets records of partitions that are no longer ours, and tells how many wait and why, where that has changed.
    pub(super) fn tend(&mut self, parts: &Parts<'_>, revoked: &[i32]) {
        self.records.retain(|record| !revoked.contains(&record.position.partition));
        let fault = if self.records.is_empty() { None } else { self.format.registry_fault() };
        let now = (self.records.len(), fault);
        if self.told != now {
            parts.metrics.records_held(now.0);
            parts.board.set_schemas(now.1.clone().map_or(Ok(()), Err));
            self.told = now;
        }
    }
}

impl Flow {
    /// Whether records wait, so that those that come in have to wait behind them.
    pub(in super::super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Lets the record wait.
    pub(in super::super) fn hold(&mut self, raw: &RawRecord<'_>) {
        self.held.records.push_back(KeptRecord::copy(raw));
    }

    /// The record that waits for longest, unless what it waits for is still `awaited`; it waits no more.
    pub(in super::super) fn release(&mut self, mut awaited: impl FnMut(&RawRecord<'_>) -> bool) -> Option<KeptRecord> {
        let first = self.held.records.front()?;
        if awaited(&first.lend()) { None } else { self.held.records.pop_front() }
    }
}
