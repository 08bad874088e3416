//! The learning loop: rows judged normal are kept, and when it is time or somebody asks, a new model is trained on them on
//! a thread of its own, weighed against the one in use, and stored. Who follows the registry takes it up from there; this
//! process does so too, and in no other way.

use std::{
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::oneshot;

use super::{
    run::{Parts, now, now_ms},
    schedule::Schedule,
    scoring::Scoring,
    training::{Training, TrainingState},
};
use crate::{
    config::settings::Settings,
    model::{Model, ModelError, registry::Registry},
    record::timestamp,
    telemetry::metrics::TrainingOutcome,
    train::{
        gate::{self, GateReport},
        recent::RecentSample,
        recipe::{Recipe, TrainError},
        sample::SampleRecord,
    },
};

/// Time between two looks at the clock, the requests and the training.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the learning loop needs.
pub struct Learning {
    /// How to train.
    pub recipe: Recipe,
    /// Where models are kept.
    pub registry: Registry,
    /// Who asks for a model.
    pub requests: Receiver<Request>,
    /// Seed of the schedule's jitter.
    pub seed: u64,
}

/// Somebody wants a new model now.
pub struct Request {
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Training began.
    Started {
        /// Rows in the sample.
        rows: usize,
        /// Entities in it.
        entities: usize,
    },
    /// A training is under way.
    Busy,
    /// The sample is too small.
    TooFewRows {
        /// Rows in it.
        rows: usize,
        /// Rows needed.
        need: usize,
    },
    /// The training thread could not be started.
    Failed {
        /// Why.
        error: String,
    },
}

/// Why a retraining gave no model.
#[derive(Debug, thiserror::Error)]
enum LearnError {
    #[error("{0}")]
    Train(#[from] TrainError),
    #[error("{0}")]
    Registry(#[from] ModelError),
    #[error("another process that shares the registry is training")]
    Elsewhere,
}

/// How a retraining ended.
enum Lesson {
    /// The new model is stored and in use.
    Learned(Box<Model>),
    /// It is stored, but the one in use is kept.
    Refused(Box<Model>, GateReport),
}

struct Run {
    training: Training<Result<Lesson, LearnError>>,
    since: Instant,
}

/// The learning loop of one run.
pub(super) struct Learner {
    learning: Learning,
    schedule: Schedule,
    due_ms: Option<i64>,
    need: usize,
    run: Option<Run>,
    looked: Instant,
}

impl Learner {
    /// Begins with the model in use.
    pub(super) fn new(learning: Learning, settings: &Settings, parts: &Parts<'_>, model: &Model) -> Self {
        let training = &settings.training;
        let mut learner = Self {
            schedule: Schedule::new(training.schedule.clone(), learning.seed),
            due_ms: None,
            need: training.rows.min(training.sample_rows),
            run: None,
            looked: Instant::now(),
            learning,
        };
        learner.put_off(parts, created_ms(model));
        learner
    }

    /// Another model is in use: the next one is due an interval after it was taken up.
    pub(super) fn swapped(&mut self, parts: &Parts<'_>) {
        self.put_off(parts, Some(now_ms()));
    }

    fn put_off(&mut self, parts: &Parts<'_>, last_ms: Option<i64>) {
        self.due_ms = self.schedule.next(now_ms(), last_ms);
        parts.metrics.training_due(self.due_ms);
    }

    /// Looks whether a training is due, asked for, or over.
    pub(super) fn tend(&mut self, parts: &mut Parts<'_>, scoring: &mut Scoring) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        self.look_at_training(parts);
        let Some(sample) = scoring.sample() else { return };
        parts.metrics.training_sample(&sample.counts());
        while let Ok(request) = self.learning.requests.try_recv() {
            // Whoever has stopped waiting was told so, and must not find a training that nobody asked for.
            if !request.reply.is_closed() {
                let answer = self.answer(parts, sample);
                let _ = request.reply.send(answer);
            }
        }
        let due = self.due_ms.is_some_and(|due| now_ms() >= due);
        if due && self.run.is_none() && sample.rows() >= self.need
            && let Err(error) = self.begin(parts, sample)
        {
            parts.metrics.training_failed(&error.to_string());
            self.put_off(parts, Some(now_ms()));
        }
    }

    fn answer(&mut self, parts: &mut Parts<'_>, sample: &RecentSample) -> Answer {
        let (rows, need) = (sample.rows(), self.need);
        if self.run.is_some() {
            return Answer::Busy;
        }
        if rows < need {
            return Answer::TooFewRows { rows, need };
        }
        match self.begin(parts, sample) {
            Ok(()) => Answer::Started { rows, entities: sample.counts().entities },
            Err(error) => Answer::Failed { error: error.to_string() },
        }
    }

    fn begin(&mut self, parts: &mut Parts<'_>, sample: &RecentSample) -> std::io::Result<()> {
        let recipe = Recipe { created: now(), ..self.learning.recipe.clone() };
        let registry = self.learning.registry.clone();
        let sample = sample.snapshot();
        parts.metrics.training_started(sample.len());
        let training = Training::start(move |progress| learn(&recipe, &registry, &sample, progress))?;
        self.run = Some(Run { training, since: Instant::now() });
        Ok(())
    }

    fn look_at_training(&mut self, parts: &mut Parts<'_>) {
        let Some(run) = &mut self.run else { return };
        let result = match run.training.state() {
            TrainingState::Running(reports) => {
                for report in &reports {
                    parts.metrics.training_epoch(report.epoch, report.training_loss, report.validation_loss);
                    (parts.progress)(report);
                }
                return;
            }
            TrainingState::Done(result) => result.unwrap_or(Err(LearnError::Train(TrainError::Panicked))),
        };
        let took = run.since.elapsed();
        self.run = None;
        match result {
            Ok(Lesson::Learned(model)) => {
                parts.metrics.training_finished(&TrainingOutcome::of(&model, took));
                tracing::info!(model = model.version, "model stored and in use from the next look at the registry");
            }
            Ok(Lesson::Refused(model, report)) => parts.metrics.training_refused(&model.version, &report, took),
            Err(error) => {
                parts.metrics.training_failed(&error.to_string());
                parts.board.set_last_error(error.to_string());
            }
        }
        // A model that was stored puts it off once more when it is taken up.
        self.put_off(parts, Some(now_ms()));
    }
}

/// Trains, weighs, stores: everything that happens on the trainer's thread.
fn learn(
    recipe: &Recipe,
    registry: &Registry,
    sample: &[SampleRecord],
    progress: &mut super::training::Progress<'_>,
) -> Result<Lesson, LearnError> {
    todo!()
}

/// When a model was made, milliseconds since the epoch.
fn created_ms(model: &Model) -> Option<i64> {
    timestamp::from_rfc3339(&model.metadata.provenance.created).map(|us| us / 1000)
}
