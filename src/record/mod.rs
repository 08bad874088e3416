//! From the bytes of one Kafka message to one row of numbers.
//!
//! [`RawRecord`] is what a source hands over, borrowed; [`decode`] takes the configured fields out of it into a
//! [`DecodedRecord`]; [`features`] turns those into an `f32` row and a mask of imputed columns.

pub mod decode;
pub mod discover;
pub mod features;
pub mod grid;
pub mod headers;
mod kept;
pub mod path;
pub mod timestamp;

use serde::{Deserialize, Serialize};

use grid::{CellType, Fault, Shape};
use headers::Headers;
pub use kept::KeptRecord;

/// Where a record stands in its source. For files the partition is 0 and the offset is the row, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Kafka partition.
    pub partition: i32,
    /// Kafka offset.
    pub offset: i64,
}

/// A message as its source lends it: nothing is copied before it is decoded.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// Where the record stands in its source.
    pub position: Position,
    /// The broker's or producer's timestamp, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// The message key.
    pub key: Option<&'a [u8]>,
    /// The message value; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// What stands beside them; `None` where there is nothing or it was not kept.
    pub headers: Option<&'a dyn Headers>,
}

/// Why a record can't be scored and goes to the dead-letter topic.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// The payload is not what the decoder expects.
    #[error("not valid {format} at byte {at}: {what}")]
    Undecodable {
        /// What the payload should be.
        format: &'static str,
        /// Byte offset of the fault in the payload.
        at: usize,
        /// What was found and what would be right.
        what: String,
    },
    /// The message has no value.
    #[error("the record has no value (a tombstone)")]
    Empty,
    /// A field that holds no grid of the configured shape.
    #[error("the grid `{field}` {fault}, expected {shape}")]
    WrongShape {
        /// The field's path.
        field: String,
        /// What was found, and where.
        fault: Fault,
        /// The configured shape.
        shape: Shape,
    },
    /// Raw bytes that are not as many as the grid's cells take.
    #[error("the record has {bytes} bytes, expected {expected}: {shape} of type {cell}")]
    WrongLength {
        /// Size of the payload.
        bytes: usize,
        /// Size of the grid.
        expected: usize,
        /// Shape of the grid.
        shape: Shape,
        /// Type of its cells.
        cell: CellType,
    },
    /// The payload is larger than the configured limit.
    #[error("the record has {bytes} bytes, more than record.max_bytes = {limit}")]
    TooLarge {
        /// Size of the payload.
        bytes: usize,
        /// The limit from the configuration.
        limit: usize,
    },
    /// The entity can't be told.
    #[error("the entity is missing: {0}")]
    NoEntity(String),
    /// The event time can't be told.
    #[error("the event time is not usable: {0}")]
    BadTimestamp(String),
    /// Too many features are missing or not finite.
    #[error(
        "{missing} of {features} features are missing or not finite (first: `{first}`), more than record.max_missing allows"
    )]
    TooManyMissing {
        /// Count of features without a usable value.
        missing: usize,
        /// Count of features of the model.
        features: usize,
        /// Name of the first feature without a value.
        first: String,
    },
    /// The model gave a score that is not finite.
    #[error("the model's score is not finite")]
    NonFiniteScore,
}

impl RecordError {
    /// The same fault of a payload that so many bytes stand before.
    pub(crate) fn behind(self, bytes: usize) -> Self {
        match self {
            Self::Undecodable { format, at, what } => Self::Undecodable { format, at: at + bytes, what },
            other => other,
        }
    }

    /// A short stable word for metric labels and message headers.
    pub fn reason(&self) -> DeadLetterReason {
        match self {
            Self::Undecodable { .. } | Self::Empty | Self::WrongShape { .. } | Self::WrongLength { .. } => {
                DeadLetterReason::Undecodable
            }
            Self::TooLarge { .. } => DeadLetterReason::TooLarge,
            Self::NoEntity(_) => DeadLetterReason::NoEntity,
            Self::BadTimestamp(_) => DeadLetterReason::BadTimestamp,
            Self::TooManyMissing { .. } => DeadLetterReason::TooManyMissing,
            Self::NonFiniteScore => DeadLetterReason::NonFiniteScore,
        }
    }
}

/// The reasons for a dead letter, as metric label and header value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterReason {
    /// Not the configured format, or a grid of another shape.
    Undecodable,
    /// Larger than `record.max_bytes`.
    TooLarge,
    /// No entity.
    NoEntity,
    /// No usable event time.
    BadTimestamp,
    /// Too many features without a value.
    TooManyMissing,
    /// The score is NaN or infinite.
    NonFiniteScore,
}

impl DeadLetterReason {
    /// Every reason, in the order of the table of metrics.
    pub const ALL: [Self; 6] = [
        Self::Undecodable,
        Self::TooLarge,
        Self::NoEntity,
        Self::BadTimestamp,
        Self::TooManyMissing,
        Self::NonFiniteScore,
    ];

    /// The word used in labels and headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::TooLarge => "too_large",
            Self::NoEntity => "no_entity",
            Self::BadTimestamp => "bad_timestamp",
            Self::TooManyMissing => "too_many_missing",
            Self::NonFiniteScore => "non_finite_score",
        }
    }
}

/// What a slot of a decoded record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// A finite number (booleans are 0 and 1, categories their index in the vocabulary).
    Present,
    /// The field is absent or null.
    Missing,
    /// NaN, infinite, or of a type that the feature can't use.
    Unusable,
    /// A category that the vocabulary doesn't hold.
    UnknownCategory,
}

/// The configured fields of one record. Reused from record to record, so decoding allocates nothing.
#[derive(Debug, Default, Clone)]
pub struct DecodedRecord {
    /// One number per slot of the decoder's schema; NaN where the state isn't `Present`.
    pub values: Vec<f64>,
    /// One state per slot.
    pub states: Vec<SlotState>,
    /// Entity name; empty when records have no entity.
    pub entity: String,
    /// Event time, microseconds since the epoch; 0 where [`DecodedRecord::timed`] is false.
    pub time_us: i64,
    /// Whether the event time could be told.
    pub timed: bool,
}

impl DecodedRecord {
    /// The event time as far as it could be told.
    pub fn known_time_us(&self) -> Option<i64> {
        self.timed.then_some(self.time_us)
    }
}
