//! How large a recent sample may grow, and how it is cut.

/// A sample is not kept beyond this many bytes of keys and payloads, whatever its count of records.
const MAX_BYTES: usize = 512 << 20;
/// Seven days: every hour of the day and every day of the week has been seen, and nothing much older.
const HORIZON_US: i64 = 7 * 86_400 * 1_000_000;
/// Rows of a chunk, unless there are so many entities that their shares are small.
const CHUNK_ROWS: usize = 64;
/// A chunk has at least so many windows' rows, and an entity's share is worth so many chunks where it can be.
const CHUNK_WINDOWS: usize = 4;

/// How large a sample may grow, and how it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Rows, all entities together.
    pub rows: usize,
    /// Bytes of keys and payloads, all entities together.
    pub bytes: usize,
    /// Rows of a model's window.
    pub window: usize,
    /// An entity's rows are thinned until they span this event time in microseconds; beyond it the oldest go.
    pub horizon_us: i64,
}

impl Bounds {
    /// Bounds for a sample of `rows` rows for a model with windows of `window` rows.
    pub fn new(rows: usize, window: usize) -> Self {
        Self { rows, bytes: MAX_BYTES, window, horizon_us: HORIZON_US }
    }

    /// Fewest rows that a chunk is meant to have.
    pub(super) fn least_chunk(&self) -> usize {
        (CHUNK_WINDOWS * self.window).min(self.rows / 2).max(1)
    }

    /// Entities that there is room for, each with two chunks: one that ages and one that is new.
    pub(super) fn entities(&self) -> usize {
        (self.rows / (2 * self.least_chunk())).max(1)
    }

    /// Rows of a chunk among so many entities.
    pub(super) fn chunk_rows(&self, entities: usize) -> usize {
        let least = self.least_chunk();
        (self.rows / entities.max(1) / CHUNK_WINDOWS).clamp(least, CHUNK_ROWS.max(least))
    }
}
