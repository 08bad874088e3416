//! A training run on a thread of its own, which gives way to all others.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::run::Parts;
use crate::{
    model::{Model, metadata::Provenance},
    telemetry::{TrainingOutcome, board::TrainingStatus},
    train::{EpochReport, Pace, TimedEpoch},
};

/// How nice the thread is: with others to run, it gets about a tenth of a core, and a whole one without.
const NICENESS: i32 = 10;

/// A training run on a thread of its own. Dropping it cancels it and doesn't wait.
pub struct Training<T> {
    epochs: Receiver<TimedEpoch>,
    cancelled: Arc<AtomicBool>,
    thread: Option<JoinHandle<T>>,
}

/// How a training run stands.
pub enum TrainingState<T> {
    /// It goes on; the epochs since the last look.
    Running(Vec<TimedEpoch>),
    /// It is over; `None` if its thread panicked.
    Done(Option<T>),
}

/// Training began on so many rows, for so many epochs at most.
pub(super) fn tell_started(parts: &Parts<'_>, rows: usize, epochs: usize) {
    parts.metrics.training_started(rows, epochs);
    parts.board.set_training(Some(TrainingStatus::begun(epochs)));
}

/// An epoch is done.
pub(super) fn tell_epoch(parts: &mut Parts<'_>, epoch: &TimedEpoch) {
    parts.metrics.training_epoch(epoch);
    parts.board.set_training(Some(TrainingStatus::from(epoch)));
    (parts.progress)(epoch);
}

/// Training ended with a model that is stored.
pub(super) fn tell_finished(parts: &Parts<'_>, model: &Model, took: Duration) {
    let Provenance { epochs, training_loss, validation_loss, .. } = model.metadata.provenance;
    parts.metrics.training_finished(&TrainingOutcome { epochs, training_loss, validation_loss, took });
}

/// Who hears of each epoch and says whether to go on.
pub type Progress<'a> = dyn FnMut(&EpochReport) -> ControlFlow<()> + 'a;

impl<T: Send + 'static> Training<T> {
    /// Runs `work` on its own thread.
    pub fn start(work: impl FnOnce(&mut Progress<'_>) -> T + Send + 'static) -> std::io::Result<Self> {
        let (sender, epochs) = channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let watch = Arc::clone(&cancelled);
        let thread = std::thread::Builder::new().name("trainer".to_owned()).spawn(move || {
            // On Linux this is the thread's own priority. A system that refuses it only trains a little less politely.
            if let Err(error) = rustix::process::nice(NICENESS) {
                tracing::debug!(%error, "the training thread keeps its priority");
            }
            let (mut pace, began) = (Pace::default(), Instant::now());
            work(&mut |report| {
                // Nobody may be listening any more when the program shuts down; the run is cancelled then.
                let _ = sender.send(pace.epoch(*report, began.elapsed()));
                if watch.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        })?;
        Ok(Self { epochs, cancelled, thread: Some(thread) })
    }

    /// Looks at the run without waiting.
    pub fn state(&mut self) -> TrainingState<T> {
        let mut reports = Vec::new();
        loop {
            match self.epochs.try_recv() {
                Ok(report) => reports.push(report),
                Err(TryRecvError::Empty) => return TrainingState::Running(reports),
                Err(TryRecvError::Disconnected) if reports.is_empty() => break,
                Err(TryRecvError::Disconnected) => return TrainingState::Running(reports),
            }
        }
        TrainingState::Done(self.thread.take().and_then(|thread| thread.join().ok()))
    }

    /// Asks the run to end at the next epoch.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl<T> Drop for Training<T> {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}
