//! Cold start: collect a sample, train on it, hand over the model.
//!
//! Offsets of collected records stay uncommitted until the model is stored, so a restart in between reads them again and
//! nothing that was collected is lost. Training runs on its own thread; meanwhile the source is paused but polled, so
//! the consumer never leaves its group.

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
    record::RawRecord,
    train::{
        EpochReport,
        recipe::{Recipe, TrainError},
        sample::SampleRecord,
    },
};

/// A sample is not kept beyond this many bytes of payload, whatever its count of records.
const MAX_SAMPLE_BYTES: usize = 512 << 20;

/// Collects records until there are enough.
#[derive(Debug, Default)]
pub struct Collection {
    records: Vec<SampleRecord>,
    bytes: usize,
    need: usize,
}

impl Collection {
    /// A collection that is done with `need` records.
    pub fn new(need: usize) -> Self {
        Self { records: Vec::new(), bytes: 0, need }
    }

    /// Takes one record; false for a tombstone, which teaches nothing and is not taken.
    pub fn take(&mut self, raw: &RawRecord<'_>) -> bool {
        let record = SampleRecord::copy(raw);
        let taken = record.is_some();
        self.bytes += record.as_ref().map_or(0, |record| record.payload.len());
        self.records.extend(record);
        taken
    }

    /// Records collected so far, and records needed.
    pub fn progress(&self) -> (usize, usize) {
        (self.records.len(), self.need)
    }

    /// Whether training can begin.
    pub fn is_complete(&self) -> bool {
        self.records.len() >= self.need || self.bytes >= MAX_SAMPLE_BYTES
    }

    /// The sample.
    pub fn into_records(self) -> Vec<SampleRecord> {
        self.records
    }
}

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
