//! A record that is kept for a while, and so owns its bytes.

use super::{
    Position, RawRecord,
    headers::{Headers, KeptHeaders},
};

/// A copy of a lent record, whole: it still has to come to its end.
#[derive(Debug)]
pub struct KeptRecord {
    /// Where it stands.
    pub position: Position,
    timestamp_ms: Option<i64>,
    key: Option<Box<[u8]>>,
    payload: Option<Box<[u8]>>,
    headers: Option<KeptHeaders>,
}

impl KeptRecord {
    /// Copies it.
    pub fn copy(raw: &RawRecord<'_>) -> Self {
        Self {
            position: raw.position,
            timestamp_ms: raw.timestamp_ms,
            key: raw.key.map(Into::into),
            payload: raw.payload.map(Into::into),
            headers: raw.headers.map(KeptHeaders::copy).filter(|headers| !headers.is_empty()),
        }
    }

    /// As it came.
    pub fn lend(&self) -> RawRecord<'_> {
        RawRecord {
            position: self.position,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            payload: self.payload.as_deref(),
            headers: self.headers.as_ref().map(|headers| headers as &dyn Headers),
        }
    }
}
