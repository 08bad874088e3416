//! What a recent sample holds of one entity.

use std::{collections::VecDeque, sync::Arc};

use crate::train::sample::SampleRecord;

/// Consecutive rows of an entity.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Event time, never falling, and record. Shared with copies of the sample, so that making one costs next to nothing.
    pub(super) rows: Arc<Vec<(i64, SampleRecord)>>,
    /// Whether the row before the first one is the last one of the chunk before.
    pub(super) follows: bool,
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Entity {
    pub(super) name: Arc<str>,
    pub(super) hash: u64,
    pub(super) chunks: VecDeque<Chunk>,
    /// Whether the last chunk takes the next row.
    pub(super) open: bool,
    /// Whether the entity's last row was kept.
    pub(super) unbroken: bool,
    /// Whether the entity's last row belonged to an incident.
    in_incident: bool,
    /// No chunk begins before this event time.
    next_us: i64,
    /// Event time between the beginnings of chunks.
    pub(super) stride_us: i64,
    /// Event time of the last row.
    pub(super) last_us: i64,
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Entity {
    pub(super) fn new(name: Arc<str>, hash: u64, time_us: i64) -> Self {
        Self {
            name,
            hash,
            chunks: VecDeque::new(),
            open: false,
            unbroken: false,
            in_incident: false,
            next_us: i64::MIN,
            stride_us: 0,
            last_us: time_us,
            rows: 0,
            bytes: 0,
        }
    }

    /// Notes whether the last row belongs to an incident, and says whether one began with it.
    pub(super) fn note(&mut self, in_incident: bool) -> bool {
        let before = std::mem::replace(&mut self.in_incident, in_incident);
        in_incident && !before
    }

    /// Whether the last row may begin a chunk. A clock that was put back never shuts an entity out.
    pub(super) fn is_due(&self) -> bool {
        self.last_us >= self.next_us || self.last_us < self.next_us.saturating_sub(self.stride_us)
    }

    /// Begins a chunk with the last row.
    pub(super) fn begin(&mut self, rows: usize) {
        self.next_us = self.last_us.saturating_add(self.stride_us);
        let before = self.chunks.back().and_then(|chunk| chunk.rows.last());
        let follows = self.unbroken && before.is_some_and(|(time_us, _)| *time_us <= self.last_us);
        self.chunks.push_back(Chunk { rows: Arc::new(Vec::with_capacity(rows)), follows, bytes: 0 });
        self.open = true;
    }

    /// Adds a row to the last chunk, and gives its bytes.
    pub(super) fn push(&mut self, record: SampleRecord, chunk_rows: usize) -> usize {
        let bytes = size(&record);
        let last = self.chunks.len() - 1;
        let chunk = &mut self.chunks[last];
        let time_us = chunk.rows.last().map_or(self.last_us, |(before, _)| self.last_us.max(*before));
        Arc::make_mut(&mut chunk.rows).push((time_us, record));
        chunk.bytes += bytes;
        (self.rows, self.bytes) = (self.rows + 1, self.bytes + bytes);
        self.open = chunk.rows.len() < chunk_rows;
        self.unbroken = true;
        bytes
    }

    /// Event time from the first chunk's beginning to the last one's.
    pub(super) fn span_us(&self) -> i64 {
        let (Some(first), Some(last)) = (self.chunks.front(), self.chunks.back()) else { return 0 };
        last.start_us().saturating_sub(first.start_us())
    }

    /// The chunk that can be spared best: beyond the horizon the oldest, before that the one whose neighbours are closest;
    /// the newest only where it is the only one.
    pub(super) fn spare_chunk(&self, horizon_us: i64) -> usize {
        if self.chunks.len() < 3 || !(0..horizon_us).contains(&self.span_us()) {
            return 0;
        }
        let start = |at: usize| self.chunks[at].start_us();
        let gap = |at: &usize| start(at + 1).saturating_sub(start(at - 1));
        (1..self.chunks.len() - 1).min_by_key(gap).unwrap_or(0)
    }
}

impl Entity {
    /// Gives up one chunk, or of the only one its older half, and gives the rows and bytes that were dropped.
    pub(super) fn give_way(&mut self, horizon_us: i64) -> (usize, usize) {
        if self.chunks.len() == 1 && self.chunks[0].rows.len() > 1 {
            let only = &mut self.chunks[0];
            let half = only.rows.len() / 2;
            let dropped = Arc::make_mut(&mut only.rows).drain(..half);
            let (rows, bytes) = dropped.fold((0, 0), |(rows, bytes), (_, record)| (rows + 1, bytes + size(&record)));
            (self.rows, self.bytes, only.bytes) = (self.rows - rows, self.bytes - bytes, only.bytes - bytes);
            return (rows, bytes);
        }
        let dropped = self.drop_chunk(self.spare_chunk(horizon_us));
        if let (Some(last), chunks @ 2..) = (self.chunks.back(), self.chunks.len()) {
            self.stride_us = self.span_us().max(0) / (chunks as i64 - 1);
            self.next_us = last.start_us().saturating_add(self.stride_us);
        }
        dropped
    }

    /// Drops a chunk, and gives the rows and bytes that it had.
    pub(super) fn drop_chunk(&mut self, chunk: usize) -> (usize, usize) {
        let Some(dropped) = self.chunks.remove(chunk) else { return (0, 0) };
        match self.chunks.get_mut(chunk) {
            Some(next) => next.follows = false,
            None => (self.open, self.unbroken) = (false, false),
        }
        let (rows, bytes) = (dropped.rows.len(), dropped.bytes);
        (self.rows, self.bytes) = (self.rows - rows, self.bytes - bytes);
        (rows, bytes)
    }
}

/// Bytes of key and payload.
fn size(record: &SampleRecord) -> usize {
    record.payload.len() + record.key.as_ref().map_or(0, |key| key.len())
}

impl Chunk {
    /// These rows. `follows` says whether the row before them is the last one of the chunk before.
    pub(super) fn of(rows: &[(i64, SampleRecord)], follows: bool) -> Self {
        let bytes = rows.iter().map(|(_, record)| size(record)).sum();
        Self { rows: Arc::new(rows.to_vec()), follows, bytes }
    }

    fn start_us(&self) -> i64 {
        self.rows.first().map_or(0, |(time, _)| *time)
    }
}

/// FNV-1a with a last mix: the same in every process.
pub(super) fn hash(name: &str) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}
