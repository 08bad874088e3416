//! Waiting for the schemas of what is written: while their registry doesn't take them, the daemon stays up, not ready, and reads
//! no records, so that no output can be lost.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use super::patience::{LOOK, Patience};
use crate::telemetry::board::Board;

/// Time to the second try; it doubles from try to try.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Tries until the registry has the schemas or `stop` is set. Meanwhile the board says why it has them not; the log says it
/// again only when it has changed. `false` where `stop` came first.
pub fn wait_for_schemas(
    attempt: impl Fn() -> Result<(), String> + Clone + Send + 'static,
    board: &Board,
    stop: &AtomicBool,
) -> bool {
    let mut patience = Patience::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut told = None;
    loop {
        let Some(result) = attended(attempt.clone(), board, stop) else { return false };
        let Err(why) = result else { break };
        if told.as_ref() != Some(&why) {
            tracing::error!(
                "not ready, no record is read: the schema registry has not the schemas of what is written: {why}"
            );
            board.set_schemas(Err(why.clone()));
            told = Some(why);
        }
        if !patience.pause(board, stop) {
            return false;
        }
    }
    board.set_schemas(Ok(()));
    true
}

/// The attempt's result; it may take as long as the registry takes to answer, or never does. `None` where `stop` came first.
fn attended(
    attempt: impl FnOnce() -> Result<(), String> + Send + 'static,
    board: &Board,
    stop: &AtomicBool,
) -> Option<Result<(), String>> {
    let (sender, result) = channel();
    let started = thread::Builder::new().name("schema-registry".to_owned()).spawn(move || {
        // Nobody waits any more where the program ends.
        drop(sender.send(attempt()));
    });
    if let Err(error) = started {
        return Some(Err(format!("no thread to ask it can be started: {error}")));
    }
    while !stop.load(Ordering::Relaxed) {
        board.beat();
        match result.recv_timeout(LOOK) {
            Ok(result) => return Some(result),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Some(Err("the thread that asks it has died".to_owned())),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn a_registry_that_comes_later_is_waited_for_and_the_board_says_why() {
        let (board, stop, tries) = (Arc::new(Board::default()), AtomicBool::new(false), Arc::new(AtomicUsize::new(0)));
        let (seen, count) = (Arc::clone(&board), Arc::clone(&tries));
        let attempt = move || match count.fetch_add(1, Ordering::SeqCst) {
            0 => Err("nobody answers".to_owned()),
            _ => {
                assert_eq!(seen.status()["schema_registry"]["error"], "nobody answers");
                Ok(())
            }
        };
        assert!(wait_for_schemas(attempt, &board, &stop));
        assert_eq!(board.status()["schema_registry"]["error"], serde_json::Value::Null);
        assert_eq!(tries.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_stop_ends_the_waiting_though_the_registry_never_answers() {
        let (board, stop) = (Board::default(), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&stop);
        let attempt = move || {
            told.store(true, Ordering::SeqCst);
            thread::park();
            Ok(())
        };
        assert!(!wait_for_schemas(attempt, &board, &stop));
    }
}
