//! The open batch: windows that wait to be scored together, and the records that they end with.

use std::ops::Range;

use crate::record::{Position, RawRecord};

/// One row of the open batch.
pub(super) struct Pending {
    pub(super) position: Position,
    pub(super) entity: u32,
    pub(super) time_us: i64,
    /// Whether it was judged before, by a process that is gone: nobody is told of it again.
    pub(super) again: bool,
    timestamp_ms: Option<i64>,
    /// Where key and payload stand in [`OpenBatch::raw`]: a record that turns out unscorable goes on as it came.
    key: Option<Range<usize>>,
    payload: Range<usize>,
}

/// The rows that were taken since the last batch was scored.
pub(super) struct OpenBatch {
    /// Windows, `rows * window * columns`.
    pub(super) windows: Vec<f32>,
    /// Marks of the newest rows, `rows * columns`.
    pub(super) imputed: Vec<bool>,
    pub(super) pending: Vec<Pending>,
    /// Keys and payloads.
    raw: Vec<u8>,
}

impl OpenBatch {
    /// An empty batch with room for `rows` rows of `columns` columns in windows of `window` values.
    pub(super) fn new(rows: usize, columns: usize, window: usize) -> Self {
        Self {
            windows: Vec::with_capacity(rows * window),
            imputed: Vec::with_capacity(rows * columns),
            pending: Vec::with_capacity(rows),
            raw: Vec::new(),
        }
    }

    /// Rows.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether it holds no row.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The window of a row: its values in the columns' own units, the row itself last.
    pub(super) fn window(&self, index: usize) -> &[f32] {
        let values = self.windows.len() / self.len();
        &self.windows[index * values..(index + 1) * values]
    }

    /// Enters the record whose window and marks were appended last. `again` says whether it was judged before.
    pub(super) fn push(&mut self, raw: &RawRecord<'_>, entity: u32, (time_us, again): (i64, bool)) {
        let key = raw.key.map(|key| self.keep(key));
        let payload = self.keep(raw.payload.unwrap_or_default());
        let (position, timestamp_ms) = (raw.position, raw.timestamp_ms);
        self.pending.push(Pending { position, entity, time_us, again, timestamp_ms, key, payload });
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.raw.len();
        self.raw.extend_from_slice(bytes);
        start..self.raw.len()
    }

    /// The record of a row, as it came.
    pub(super) fn lend(&self, index: usize) -> RawRecord<'_> {
        let pending = &self.pending[index];
        RawRecord {
            position: pending.position,
            timestamp_ms: pending.timestamp_ms,
            key: pending.key.clone().map(|key| &self.raw[key]),
            payload: Some(&self.raw[pending.payload.clone()]),
            // To keep them would cost each record something, for the sake of those whose score is no number.
            headers: None,
        }
    }

    /// Takes out the rows of these partitions, as if they had not come. `columns` and `window` are values per row and per
    /// window.
    pub(super) fn drop_partitions(&mut self, partitions: &[i32], (columns, window): (usize, usize)) {
        let gone = |pending: &Pending| partitions.contains(&pending.position.partition);
        let kept: Vec<usize> = (0..self.len()).filter(|index| !gone(&self.pending[*index])).collect();
        for (to, from) in kept.iter().enumerate() {
            self.windows.copy_within(from * window..(from + 1) * window, to * window);
            self.imputed.copy_within(from * columns..(from + 1) * columns, to * columns);
        }
        self.windows.truncate(kept.len() * window);
        self.imputed.truncate(kept.len() * columns);
        self.pending.retain(|pending| !gone(pending));
    }

    /// Forgets all rows.
    pub(super) fn clear(&mut self) {
        self.windows.clear();
        self.imputed.clear();
        self.pending.clear();
        self.raw.clear();
    }
}
