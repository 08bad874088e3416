//! The run loop over the seams: a [`Source`] lends records, the pipeline scores and judges them, a [`Sink`] takes what
//! comes out. `demo`, `score` and `run` use the very same loop; only source and sink differ.

pub mod batch_report;
pub mod cold_start;
pub mod collection;
pub mod device;
pub mod end;
pub mod entities;
pub mod feedback;
mod flow;
mod follow;
pub mod incidents;
mod intake;
pub mod learning;
mod lesson;
pub mod observed;
mod open_batch;
mod outstanding;
mod patience;
mod pause;
pub mod population;
pub mod prepared;
pub mod registered;
mod ruling;
pub mod run;
pub mod schedule;
mod scored;
pub mod scoring;
pub mod state;
pub mod training;

pub use end::End;

use std::time::Duration;

use crate::{
    record::{DeadLetterReason, Position, RawRecord, headers::KeptHeaders},
    telemetry::{Certificate, OutputKind},
};

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
    /// Reading of a partition that is ours now begins at `from`, so that windows are filled again; the group goes on at `next`.
    Resumes {
        /// Where the group goes on: what stands before it has ended.
        next: Position,
        /// Where reading begins, at most that.
        from: i64,
    },
    /// The broker acknowledged the offsets of so many partitions.
    Committed(usize),
    /// So many records, from this place on, were deleted before they were read.
    Lost {
        /// The first of them.
        from: Position,
        /// Their number.
        records: i64,
    },
    /// A transaction of outputs and offsets ended: it was committed, or aborted for this reason and will be tried again.
    Transaction(Result<(), String>),
    /// The connection is up.
    Up,
    /// The connection is down; the text says why.
    Down(String),
    /// Certificates, keys or passwords have changed: there is a new connection that shows them, or it can't be made of them,
    /// for this reason, and the old one goes on.
    Renewed(Result<(), String>),
    /// The certificates in use are valid until then, epoch seconds.
    Certificates(Vec<(Certificate, i64)>),
}

/// Where records come from.
pub trait Source {
    /// Lends up to `max` records to `visit`, waiting at most `wait` for the first one. Retryable faults (broker away)
    /// are events, not errors: an error here ends the program.
    fn poll(&mut self, max: usize, wait: Duration, visit: &mut dyn FnMut(RawRecord<'_>))
    -> Result<Polled, SourceError>;
    /// Takes the events since the last call.
    fn events(&mut self) -> Vec<SourceEvent>;
    /// Says that every record before `next` (exclusive) of its partition has come to its end. Windows are rebuilt by reading
    /// from `oldest` on, which is committed too; `None` where nothing is to be rebuilt.
    fn finished(&mut self, next: Position, oldest: Option<i64>) -> Result<(), SourceError>;
    /// From now on partitions that come are read from where their windows begin, but at most so many records before the place
    /// where the group goes on; [`SourceEvent::Resumes`] tells it. Without a call, no partition is.
    fn rewind(&mut self, most: i64) {
        let _ = most;
    }
    /// Stops (`true`) or goes on (`false`) with delivery while staying a member of the group.
    fn pause(&mut self, paused: bool) -> Result<(), SourceError>;
    /// Commits what [`Source::finished`] was told, in the background.
    fn commit(&mut self) -> Result<(), SourceError>;
    /// Commits it for the last time and waits for the broker to have it, at most this long; nothing is lent after it.
    fn commit_last(&mut self, wait: Duration) -> Result<(), SourceError>;
    /// Records of the assigned partitions that were not lent yet; `None` when it can't tell.
    fn lag(&self) -> Option<i64> {
        None
    }
    /// Which share of all partitions is assigned here, 0..=1; 1 where nobody else reads any, or it can't tell.
    fn share(&self) -> f64 {
        1.0
    }
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
    /// News of an incident, already encoded.
    Incident {
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
        /// Headers of the record as they came, as far as they are kept.
        headers: KeptHeaders,
        /// Where it came from.
        position: Position,
        /// The word for headers and metrics.
        reason: DeadLetterReason,
        /// The whole error message.
        error: String,
    },
    /// What is remembered of an entity, for whoever has its partition next.
    Snapshot {
        /// Entity.
        entity: String,
        /// It holds the records of the partition before this offset.
        as_of: i64,
        /// Its bytes; `None` where the entity was evicted.
        body: Option<Vec<u8>>,
    },
}

impl Output {
    /// What it is.
    pub fn kind(&self) -> OutputKind {
        match self {
            Self::Anomaly { .. } => OutputKind::Anomaly,
            Self::Incident { .. } => OutputKind::Incident,
            Self::DeadLetter { .. } => OutputKind::DeadLetter,
            Self::Snapshot { .. } => OutputKind::Snapshot,
        }
    }

    /// Bytes that it holds while it waits.
    pub fn size(&self) -> usize {
        match self {
            Self::Anomaly { json, .. } | Self::Incident { json, .. } => json.len(),
            Self::DeadLetter { payload, headers, .. } => payload.as_ref().map_or(0, Vec::len) + headers.bytes(),
            Self::Snapshot { body, .. } => body.as_ref().map_or(0, Vec::len),
        }
    }
}

/// The end of one [`Output`]'s way: the broker has it, or it never will.
#[derive(Debug)]
pub struct Delivery {
    /// The record that the output belongs to, which may have several; the last one that a snapshot holds.
    pub position: Position,
    /// What the output was.
    pub kind: OutputKind,
    /// `Err` only where no retry can help (message too large for the broker, topic not authorised ...).
    pub result: Result<(), String>,
}

/// Where outputs go. Delivery is asynchronous: `send` takes the message, `deliveries` later says how it ended.
pub trait Sink {
    /// Takes one output for the record at `position`. Blocks while the sink's buffer is full.
    fn send(&mut self, position: Position, output: Output) -> Result<(), SinkError>;
    /// Hands over the deliveries that ended since the last call, waiting at most `wait` for them.
    fn deliveries(&mut self, wait: Duration, visit: &mut dyn FnMut(Delivery)) -> Result<(), SinkError>;
    /// Whether the receiving end is connected; `Err` says why not.
    fn health(&self) -> Result<(), String>;
    /// Whether outputs are delivered together with the offsets of their records, and not before. Then a record is done
    /// when it has ended, and the source's commit brings the deliveries.
    fn delivers_with_offsets(&self) -> bool {
        false
    }
    /// Forgets the outputs that wait for offsets of these partitions, whose records will be read again.
    fn forget(&mut self, partitions: &[i32]) {
        let _ = partitions;
    }
}

/// A fault of a sink that can't be mended by waiting.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Writing failed for good.
    #[error("{0}")]
    Fatal(String),
}

/// Watches where each record ends: the scores file, the demo's evaluation, tests.
pub trait Observer {
    /// The record was scored and judged.
    fn judged(&mut self, record: &observed::Observed<'_>);
    /// The record came to its end without a score.
    fn unscored(&mut self, record: &Unscored<'_>);
}

/// A record that has no score.
#[derive(Debug, Clone, Copy)]
pub struct Unscored<'a> {
    /// Where it stands.
    pub position: Position,
    /// Whose record it is, as far as could be told.
    pub entity: &'a str,
    /// Event time in microseconds, as far as could be told.
    pub time_us: Option<i64>,
    /// `warming_up`, `collected`, `tombstone`, or the reason of the dead letter.
    pub why: &'a str,
}

/// Watches nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn judged(&mut self, _: &observed::Observed<'_>) {}
    fn unscored(&mut self, _: &Unscored<'_>) {}
}

/// Takes every output and keeps none: for runs whose result is what the observer saw.
#[derive(Debug, Default)]
pub struct Discard {
    taken: Vec<(Position, OutputKind)>,
}

impl Sink for Discard {
    fn send(&mut self, position: Position, output: Output) -> Result<(), SinkError> {
        self.taken.push((position, output.kind()));
        Ok(())
    }

    fn deliveries(&mut self, _: Duration, visit: &mut dyn FnMut(Delivery)) -> Result<(), SinkError> {
        self.taken.drain(..).for_each(|(position, kind)| visit(Delivery { position, kind, result: Ok(()) }));
        Ok(())
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }
}
