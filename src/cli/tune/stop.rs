//! When a search ends before its end: by its time, or because somebody asks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::report::Ended;
use crate::{app::AppError, cli::Failure};

/// Exit code of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Whether to go on.
pub(super) struct Stop {
    asked: Arc<AtomicBool>,
    /// When the time is over.
    until: Option<Instant>,
}

impl Stop {
    /// Listens for SIGINT and SIGTERM: the first ends the search, the second one the program.
    ///
    /// # Errors
    /// The system doesn't let us listen.
    pub(super) fn on_signals(minutes: Option<f64>) -> Result<Self, Failure> {
        let failed = |cause| Failure::from(AppError::Signals(cause));
        let asked = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let mut terminate = {
            let _guard = runtime.enter();
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(failed)?
        };
        let told = Arc::clone(&asked);
        let wait = move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = tokio::signal::ctrl_c() => {}
                    }
                    if told.swap(true, Ordering::SeqCst) {
                        std::process::exit(INTERRUPTED);
                    }
                    eprintln!(
                        "strayd: stopping; the best so far is compared on the rows kept out, once more ends at once"
                    );
                }
            });
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(failed)?;
        let until = minutes.map(|minutes| Instant::now() + Duration::from_secs_f64(60.0 * minutes));
        Ok(Self { asked, until })
    }

    /// Whether the search is to end.
    pub(super) fn is_due(&self) -> bool {
        self.why().is_some()
    }

    /// Why it is to end.
    pub(super) fn why(&self) -> Option<Ended> {
        if self.asked.load(Ordering::SeqCst) {
            return Some(Ended::Interrupted);
        }
        self.until.filter(|until| Instant::now() >= *until).map(|_| Ended::Time)
    }
}
