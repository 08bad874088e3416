//! Waiting for the GPU: while it can't be had, the daemon stays up, not ready, and reads no records.

use std::{sync::atomic::AtomicBool, time::Duration};

use super::patience::Patience;
use crate::{detect::device::DeviceError, telemetry::board::Board};

/// Time to the second try; it doubles from try to try, since libraries, memory and a driver may come.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Tries until the device can be had or `stop` is set. Meanwhile the board says what is missing; the log says it again
/// only when it has changed. `false` where `stop` came first.
pub fn wait_for_device(mut attempt: impl FnMut() -> Result<(), DeviceError>, board: &Board, stop: &AtomicBool) -> bool {
    let mut patience = Patience::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut told = None;
    while let Err(error) = attempt() {
        if told.as_ref() != Some(&error) {
            tracing::error!("not ready, no record is read: runtime.device: {error}");
            board.set_device(Err(error.to_string()));
            told = Some(error);
        }
        if !patience.pause(board, stop) {
            return false;
        }
    }
    if told.is_some() {
        tracing::info!("the device can be had now");
    }
    board.set_device(Ok(()));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> DeviceError {
        DeviceError::OutOfMemory { limit: None, cause: "CUDA failure 2: out of memory".into() }
    }

    #[test]
    fn a_device_that_comes_later_is_waited_for() {
        let (board, stop) = (Board::default(), AtomicBool::new(false));
        let mut tries = 0;
        let attempt = || {
            tries += 1;
            if tries == 2 {
                assert_eq!(board.status()["device"]["error"], full().to_string());
            }
            if tries < 2 { Err(full()) } else { Ok(()) }
        };
        assert!(wait_for_device(attempt, &board, &stop));
        assert_eq!(board.status()["device"]["error"], serde_json::Value::Null);
        assert_eq!(tries, 2);
    }

    #[test]
    fn a_stop_ends_the_waiting_and_the_board_still_says_what_is_missing() {
        let (board, stop) = (Board::default(), AtomicBool::new(true));
        assert!(!wait_for_device(|| Err(full()), &board, &stop));
        assert_eq!(board.status()["device"]["error"], full().to_string());
    }
}
