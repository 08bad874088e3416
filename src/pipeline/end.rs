//! How a record's way through the scoring ends.

use crate::{detect::gates::Suppression, record::RecordError};

/// A record's end, as the run loop has to act on it.
#[derive(Debug)]
pub enum End {
    /// Nothing more to do.
    Normal,
    /// The window isn't full yet.
    WarmingUp,
    /// Its event time lies too far behind its entity's newest.
    Late,
    /// It says what the record before it said, of the same time.
    Duplicate,
    /// An event has to be published before the record is done.
    Anomalous {
        /// Message key.
        entity: String,
        /// The encoded event.
        json: Vec<u8>,
    },
    /// An anomaly that is no alarm.
    Suppressed {
        /// What held it back.
        reason: Suppression,
        /// Message key and encoded event, where it has to be published all the same before the record is done.
        event: Option<(String, Vec<u8>)>,
    },
    /// The record goes to the dead-letter topic.
    DeadLetter(RecordError),
    /// The message has no value: in a compacted topic it says that its key is gone, which is nothing to be scored.
    Tombstone,
}

impl From<RecordError> for End {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Empty => Self::Tombstone,
            error => Self::DeadLetter(error),
        }
    }
}
