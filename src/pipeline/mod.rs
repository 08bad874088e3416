//! The run loop over the seams: a [`Source`] lends records, the pipeline scores and judges them, a [`Sink`] takes what
//! comes out. `demo`, `score` and `run` use the very same loop; only source and sink differ.

use std::time::Duration;

use crate::record::{DeadLetterReason, Position, RawRecord};

/// What a source says after one call of [`Source::poll`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// This many records were lent.
    Records(usize),
    /// Nothing came within the time given.
    Idle,
    /// There will never be more (files).
    End,
}

/// A change of what this process may read, told between two polls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEvent {
    /// These partitions are now ours.
    Assigned(Vec<i32>),
    /// These partitions are no longer ours.
    Revoked(Vec<i32>),
    /// The connection is up.
    Up,
    /// The connection is down; the text says why.
    Down(String),
}

/// Where records come from.
pub trait Source {
    /// Lends up to `max` records to `visit`, waiting at most `wait` for the first one. Retryable faults (broker away)
    /// are events, not errors: an error here ends the program.
    fn poll(&mut self, max: usize, wait: Duration, visit: &mut dyn FnMut(RawRecord<'_>)) -> Result<Polled, SourceError>;
    /// Takes the events since the last call.
    fn events(&mut self) -> Vec<SourceEvent>;
    /// Says that every record before `next` (exclusive) of its partition has come to its end.
    fn finished(&mut self, next: Position) -> Result<(), SourceError>;
    /// Stops (`true`) or goes on (`false`) with delivery while staying a member of the group.
    fn pause(&mut self, paused: bool) -> Result<(), SourceError>;
    /// Commits what [`Source::finished`] was told, now.
    fn commit(&mut self) -> Result<(), SourceError>;
}

/// A fault of a source that can't be mended by waiting.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Reading failed for good.
    #[error("{0}")]
    Fatal(String),
}

/// One message for the sink.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// An anomaly event, already encoded.
    Anomaly {
        /// Entity, used as message key.
        entity: String,
        /// Flat JSON.
        json: Vec<u8>,
    },
    /// A record that could not be scored.
    DeadLetter {
        /// Key of the record as it came.
        key: Option<Vec<u8>>,
        /// Value of the record as it came.
        payload: Option<Vec<u8>>,
        /// Where it came from.
        position: Position,
        /// The word for headers and metrics.
        reason: DeadLetterReason,
        /// The whole error message.
        error: String,
    },
}

/// The end of one [`Output`]'s way: the broker has it, or it never will.
#[derive(Debug)]
pub struct Delivery {
    /// The record that the output belongs to.
    pub position: Position,
    /// `Err` only where no retry can help (message too large for the broker, topic not authorised ...).
    pub result: Result<(), String>,
}

/// Where outputs go. Delivery is asynchronous: `send` takes the message, `deliveries` later says how it ended.
pub trait Sink {
    /// Takes one output for the record at `position`. Blocks while the sink's buffer is full.
    fn send(&mut self, position: Position, output: Output) -> Result<(), SinkError>;
    /// Hands over the deliveries that ended since the last call, waiting at most `wait` for the first one.
    fn deliveries(&mut self, wait: Duration, visit: &mut dyn FnMut(Delivery));
    /// Whether the receiving end is connected; `Err` says why not.
    fn health(&self) -> Result<(), String>;
}

/// A fault of a sink that can't be mended by waiting.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Writing failed for good.
    #[error("{0}")]
    Fatal(String),
}
