//! How many entities are held, by how well they are known.

use crate::detect::gates::cold_start::WatchState;

/// Entities in each state, in the order of [`WatchState::ALL`]; kept up to date with each change, as there may be as many
/// entities as records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Population([usize; WatchState::ALL.len()]);

impl Population {
    /// Entities in this state.
    pub fn of(&self, state: WatchState) -> usize {
        self.0[state as usize]
    }

    /// An entity in this state came.
    pub(super) fn came(&mut self, state: WatchState) {
        self.0[state as usize] += 1;
    }

    /// An entity in this state is gone.
    pub(super) fn left(&mut self, state: WatchState) {
        self.0[state as usize] -= 1;
    }

    /// An entity may have changed its state.
    pub(super) fn moved(&mut self, from: WatchState, to: WatchState) {
        if from != to {
            self.left(from);
            self.came(to);
        }
    }
}
