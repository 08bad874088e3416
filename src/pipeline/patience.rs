//! Pauses between tries, in which the program lives and can be stopped.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::telemetry::board::Board;

/// How often waiting looks at `stop` and beats, so that the probes see that the program lives.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Pauses that double from one to the next, up to a longest.
#[derive(Debug)]
pub(super) struct Patience {
    next: Duration,
    longest: Duration,
}

impl Patience {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// Pauses. `false` where `stop` was set.
    pub(super) fn pause(&mut self, board: &Board, stop: &AtomicBool) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < self.next && !stop.load(Ordering::Relaxed) {
            board.beat();
            thread::sleep(LOOK.min(self.next.saturating_sub(begun.elapsed())));
        }
        self.next = (self.next * 2).min(self.longest);
        !stop.load(Ordering::Relaxed)
    }
}
