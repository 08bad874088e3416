//! A training run on its own thread.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError, channel},
    },
    thread::JoinHandle,
};

use crate::{
    model::Model,
    train::{
        EpochReport,
        recipe::{Recipe, TrainError},
        sample::SampleRecord,
    },
};

/// A training run on its own thread.
pub struct Training {
    epochs: Receiver<EpochReport>,
    cancelled: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Model, TrainError>>>,
}

/// How a training run stands.
pub enum TrainingState {
    /// It goes on; the epochs since the last look.
    Running(Vec<EpochReport>),
    /// It is over.
    Done(Box<Result<Model, TrainError>>),
}

impl Training {
    /// Starts training on `sample`.
    pub fn start(recipe: Recipe, sample: Arc<Vec<SampleRecord>>) -> std::io::Result<Self> {
        let (sender, epochs) = channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let watch = Arc::clone(&cancelled);
        let thread = std::thread::Builder::new().name("trainer".to_owned()).spawn(move || {
            recipe.train(&sample, &mut |report| {
                // Nobody may be listening any more when the program shuts down; the run is cancelled then.
                let _ = sender.send(*report);
                if watch.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        })?;
        Ok(Self { epochs, cancelled, thread: Some(thread) })
    }

    /// Looks at the run without waiting.
    pub fn state(&mut self) -> TrainingState {
        let mut reports = Vec::new();
        loop {
            match self.epochs.try_recv() {
                Ok(report) => reports.push(report),
                Err(TryRecvError::Empty) => return TrainingState::Running(reports),
                Err(TryRecvError::Disconnected) if reports.is_empty() => break,
                Err(TryRecvError::Disconnected) => return TrainingState::Running(reports),
            }
        }
        let result = match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(TrainError::Panicked),
        };
        TrainingState::Done(Box::new(result))
    }

    /// Asks the run to end at the next epoch.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}
