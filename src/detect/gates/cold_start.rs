//! How well an entity is known: before its window is full there are no scores, and from its first ones no alarm follows.

use serde::{Deserialize, Serialize};

/// What may be expected of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WatchState {
    /// Its window is not full yet: its rows have no score.
    #[default]
    WarmingUp,
    /// Its rows are judged and raise no alarm yet.
    Cold,
    /// Its anomalies raise alarms.
    Watched,
}

impl WatchState {
    /// Every state, in the order in which an entity passes through them.
    pub const ALL: [Self; 3] = [Self::WarmingUp, Self::Cold, Self::Watched];

    /// The state in metrics and `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WarmingUp => "warming_up",
            Self::Cold => "cold",
            Self::Watched => "watched",
        }
    }
}

/// An entity's way from unknown to watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ColdStart {
    state: WatchState,
    /// Rows judged while it was cold.
    rows: u32,
}

impl ColdStart {
    /// How well the entity is known.
    pub fn state(self) -> WatchState {
        self.state
    }

    /// The entity's window is full, so that its rows are judged from now on. It is watched at once where it has been judged
    /// `rows` times before.
    pub fn window_filled(&mut self, rows: u32) {
        if self.state == WatchState::WarmingUp {
            self.state = if self.rows >= rows { WatchState::Watched } else { WatchState::Cold };
        }
    }

    /// The entity's window is empty again. What was seen of it before still counts.
    pub fn window_emptied(&mut self) {
        self.state = WatchState::WarmingUp;
    }

    /// The model was trained on rows of the entity, so that it needs no time to become known.
    pub fn trained_on(&mut self) {
        self.rows = u32::MAX;
        if self.state == WatchState::Cold {
            self.state = WatchState::Watched;
        }
    }

    /// A row was judged: whether it is one of the entity's first `rows`, which raise no alarm.
    pub fn judged(&mut self, rows: u32) -> bool {
        if self.state != WatchState::Cold {
            return false;
        }
        self.rows = self.rows.saturating_add(1);
        if self.rows >= rows {
            self.state = WatchState::Watched;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_is_cold_for_its_first_judged_rows_and_then_watched() {
        let mut entity = ColdStart::default();
        assert_eq!(entity.state(), WatchState::WarmingUp);
        entity.window_filled(3);
        let cold: Vec<bool> = (0..5).map(|_| entity.judged(3)).collect();
        assert_eq!(cold, [true, true, true, false, false]);
        assert_eq!(entity.state(), WatchState::Watched);
    }

    #[test]
    fn no_rows_ask_for_alarms_at_once() {
        let mut entity = ColdStart::default();
        entity.window_filled(0);
        assert!(!entity.judged(0));
        assert_eq!(entity.state(), WatchState::Watched);
    }

    #[test]
    fn an_entity_that_was_trained_on_is_watched_as_soon_as_its_window_is_full() {
        let mut entity = ColdStart::default();
        entity.trained_on();
        assert_eq!(entity.state(), WatchState::WarmingUp);
        entity.window_filled(15);
        assert_eq!(entity.state(), WatchState::Watched);
        let mut full = ColdStart::default();
        full.window_filled(15);
        full.trained_on();
        assert_eq!(full.state(), WatchState::Watched);
    }

    #[test]
    fn a_window_that_begins_anew_leaves_what_was_seen_before() {
        let mut entity = ColdStart::default();
        entity.window_filled(2);
        entity.judged(2);
        entity.window_emptied();
        assert_eq!((entity.state(), entity.judged(2)), (WatchState::WarmingUp, false));
        entity.window_filled(2);
        assert!(entity.judged(2), "the second row");
        assert!(!entity.judged(2));
        entity.window_emptied();
        entity.window_filled(2);
        assert_eq!(entity.state(), WatchState::Watched);
    }
}
