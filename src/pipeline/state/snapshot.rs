//! What a snapshot holds of an entity, and its bytes: MessagePack, exact to the bit.

use serde::{Deserialize, Serialize};

use crate::{
    detect::{
        gates::EntityGates,
        incident::{Incident, IncidentState},
        incident_event::Silence,
        judge::EntityJudgement,
    },
    record::features::CounterState,
    stream::{
        order::Order,
        silence::{ClockState, Reporting},
    },
};

/// The layout of snapshots as they are written today, and their first byte. Fields may be added at the end, with a default, under the same number.
const VERSION: u8 = 1;

/// What is remembered of an entity, as of an offset of its partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// From this offset on the partition holds the rows of its window.
    pub oldest: i64,
    /// The model that judged it.
    pub model: String,
    /// What the columns of its rows mean: two models with the same number have the same ones.
    pub columns: u64,
    /// Running residual statistics and smoothing, in units of that model.
    pub judgement: EntityJudgement,
    /// Whether it is in an incident.
    pub incident: IncidentState,
    /// How well it is known, and its last verdicts.
    pub gates: EntityGates,
    /// How often it reports.
    pub reporting: Reporting,
    /// Last counter readings.
    pub counters: CounterState,
    /// Its window, where the partition can't give it back.
    pub rows: Option<Rows>,
    /// The incident that is open.
    pub open: Option<Incident>,
    /// Its silence, if it is silent.
    pub silence: Option<Silence>,
    /// Its partition's clock; `None` where silence is not watched for.
    pub clock: Option<ClockState>,
    /// How far its records have come in event time.
    pub order: Order,
    /// When it was last heard of, seconds of the wall clock since the epoch.
    pub seen_s: u32,
}

/// Rows of a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// Their values, oldest row first.
    pub values: Vec<f32>,
    /// Which values of the newest one were imputed, 64 to a word.
    pub marks: Vec<u64>,
}

/// Why bytes are no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There are none.
    #[error("it has no bytes")]
    Empty,
    /// They are something else.
    #[error("it is no snapshot: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    /// Another version of the program wrote it.
    #[error("it has layout {0}, expected {VERSION}: another version of strayd wrote it")]
    Version(u8),
}

impl Snapshot {
    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        rmp_serde::encode::write(&mut bytes, self)
            .expect("numbers, texts and lists of them can be written into memory");
        bytes
    }

    /// The snapshot of these bytes.
    ///
    /// # Errors
    /// They are none, or one of another layout.
    pub fn read(bytes: &[u8]) -> Result<Self, SnapshotError> {
        match bytes.split_first() {
            None => Err(SnapshotError::Empty),
            Some((&VERSION, body)) => Ok(rmp_serde::from_slice(body)?),
            Some((version, _)) => Err(SnapshotError::Version(*version)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn snapshot(oldest: i64) -> Snapshot {
        Snapshot {
            oldest,
            model: "m".into(),
            columns: 7,
            judgement: EntityJudgement::default(),
            incident: IncidentState::default(),
            gates: EntityGates::default(),
            reporting: Reporting::default(),
            counters: CounterState::default(),
            rows: None,
            open: None,
            silence: None,
            clock: None,
            order: Order::default(),
            seen_s: 0,
        }
    }

    #[test]
    fn a_snapshot_comes_back_to_the_bit() {
        let values = vec![f32::MIN_POSITIVE, 1.0 / 3.0, -0.0, f32::MAX];
        let written = Snapshot { rows: Some(Rows { values, marks: vec![5, u64::MAX] }), ..snapshot(4) };
        let read = Snapshot::read(&written.to_bytes()).unwrap();
        assert_eq!(read, written);
        let bits = |snapshot: &Snapshot| -> Vec<u32> {
            snapshot.rows.iter().flat_map(|rows| &rows.values).map(|value| value.to_bits()).collect()
        };
        assert_eq!(bits(&read), bits(&written));
    }

    #[test]
    fn bytes_of_another_layout_or_kind_are_told_apart() {
        let mut other = snapshot(4).to_bytes();
        other[0] = 9;
        let said = Snapshot::read(&other).unwrap_err().to_string();
        assert_eq!(said, "it has layout 9, expected 1: another version of strayd wrote it");
        let bytes = snapshot(4).to_bytes();
        for end in 0..bytes.len() {
            assert!(Snapshot::read(&bytes[..end]).is_err(), "{end} bytes of {}", bytes.len());
        }
        assert!(Snapshot::read(&[VERSION, 0xc1]).unwrap_err().to_string().starts_with("it is no snapshot"));
    }
}
