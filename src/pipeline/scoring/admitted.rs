//! What became of a record that was decoded, and entities that no record comes of any more.

use super::Scoring;
use crate::{
    pipeline::End,
    stream::{order::Arrival, window::Window},
};

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted {
    /// Its window stands in the open batch.
    Scored,
    /// Its row has joined a window that is not full yet.
    WarmingUp,
    /// It came too late.
    Late,
    /// It came before.
    Duplicate,
}

impl Admitted {
    /// Why it has no score.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Scored => "scored",
            Self::WarmingUp => "warming_up",
            Self::Late => "late",
            Self::Duplicate => "duplicate",
        }
    }

    /// How it has ended; `None` where it has not.
    pub(super) fn end(self) -> Option<End> {
        match self {
            Self::Scored => None,
            Self::WarmingUp => Some(End::WarmingUp),
            Self::Late => Some(End::Late),
            Self::Duplicate => Some(End::Duplicate),
        }
    }
}

impl Scoring {
    /// How the record that was decoded last comes behind those of its entity before it.
    pub(super) fn arrive(&mut self, index: u32) -> Arrival {
        let Some(state) = self.entities.get_mut(index).filter(|_| self.decoded.timed) else { return Arrival::InOrder };
        let arrival = state.order.arrive(self.decoded.time_us, self.lateness_us);
        self.out_of_order += u64::from(arrival == Arrival::Behind && !self.again);
        arrival
    }

    /// It is so late by the wall clock, milliseconds since the epoch. Entities that were idle for too long are forgotten, unless
    /// rows wait to be scored.
    pub fn tick(&mut self, now_ms: i64) {
        self.now_s = u32::try_from(now_ms / 1000).unwrap_or_default();
        let Some(most) = self.evict_after_s.filter(|_| self.batch.is_empty()) else { return };
        while let Some((place, _)) =
            self.entities.longest_idle().filter(|(_, state)| u64::from(self.now_s.saturating_sub(state.seen_s)) > most)
        {
            let Some((name, gone)) = self.entities.take_longest_idle() else { return };
            self.left((place, name, gone));
        }
    }
}

/// Whether a row says what the newest one of the window says, as far as its values came.
pub(super) fn is_newest(window: &Window, row: &[f32], imputed: &[bool]) -> bool {
    let same = |newest: &[f32]| {
        let mut cells = newest.iter().zip(row).zip(imputed);
        cells.all(|((before, now), imputed)| *imputed || before.to_bits() == now.to_bits())
    };
    window.newest().is_some_and(same)
}
