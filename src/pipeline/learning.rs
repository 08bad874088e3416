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
    lesson::{Learned, Lesson, LessonError},
    run::{Parts, now, now_ms},
    schedule::Schedule,
    scoring::Scoring,
    training::{self, Training, TrainingState},
};
use crate::{
    config::settings::Settings,
    model::{Model, registry::Registry},
    record::timestamp,
    telemetry::board::LearningStatus,
    train::{
        gate::Check,
        recent::{Bounds, KeptOut, RecentSample},
        recipe::{Recipe, TrainError},
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

struct Run {
    training: Training<Result<Learned, LessonError>>,
    since: Instant,
}

/// The learning loop of one run.
pub(super) struct Learner {
    learning: Learning,
    schedule: Schedule,
    due_ms: Option<i64>,
    need: usize,
    /// Rows kept out of the sample that the metrics know of.
    told: [u64; KeptOut::ALL.len()],
    /// Whether it was told that a training is due and waits for rows.
    told_waiting: bool,
    run: Option<Run>,
    looked: Instant,
}

impl Learner {
    /// Begins with the model in use.
    pub(super) fn new(learning: Learning, settings: &Settings, parts: &Parts<'_>, scoring: &mut Scoring) -> Self {
        let training = &settings.training;
        scoring.keep_sample(Bounds::new(training.sample_rows, training.window));
        let mut learner = Self {
            schedule: Schedule::new(training.schedule.clone(), learning.seed),
            due_ms: None,
            // A full sample gives way by whole chunks, so it holds a little less than its bound.
            need: training.rows.min(training.sample_rows / 4 * 3),
            told: [0; KeptOut::ALL.len()],
            told_waiting: false,
            run: None,
            looked: Instant::now(),
            learning,
        };
        let made = timestamp::milliseconds_of_rfc3339(&scoring.model().metadata.provenance.created);
        let first = learner.schedule.first(now_ms(), made);
        learner.set_due(parts, first);
        learner
    }

    /// Another model is in use: the next one is due an interval after it was taken up.
    pub(super) fn swapped(&mut self, parts: &Parts<'_>) {
        // What is being trained would be weighed against a model that is no longer in use.
        self.run.iter().for_each(|run| run.training.cancel());
        self.put_off(parts);
    }

    /// The next training is due an interval from now.
    fn put_off(&mut self, parts: &Parts<'_>) {
        let now = now_ms();
        let next = self.schedule.next(now, Some(now));
        self.set_due(parts, next);
    }

    fn set_due(&mut self, parts: &Parts<'_>, due_ms: Option<i64>) {
        self.due_ms = due_ms;
        parts.metrics.training_due(self.due_ms.map(|due| due.div_euclid(1000)));
    }

    /// Looks whether a training is due, asked for, or over.
    pub(super) fn tend(&mut self, parts: &mut Parts<'_>, scoring: &mut Scoring) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        self.look_at_training(parts);
        let Some(sample) = scoring.sample() else { return };
        self.tell_sample(parts, sample);
        while let Ok(request) = self.learning.requests.try_recv() {
            // Whoever has stopped waiting was told so, and must not find a training that nobody asked for.
            if !request.reply.is_closed() {
                let answer = self.answer(parts, sample);
                let _ = request.reply.send(answer);
            }
        }
        if self.run.is_none() && self.due_ms.is_some_and(|due| now_ms() >= due) {
            self.begin_if_enough(parts, sample);
        }
    }

    /// Whether the sample is worth a training: rows enough, or no room for more because they are so large.
    fn is_enough(&self, sample: &RecentSample) -> bool {
        let rows = sample.counts().rows;
        rows >= self.need || (sample.is_out_of_room() && rows >= self.need / 10)
    }

    /// A training is due: it begins, or waits for rows.
    fn begin_if_enough(&mut self, parts: &mut Parts<'_>, sample: &RecentSample) {
        let (rows, need) = (sample.counts().rows, self.need);
        if !self.is_enough(sample) {
            if !std::mem::replace(&mut self.told_waiting, true) {
                tracing::info!(rows, need, "a training is due and waits for rows judged normal");
            }
            return;
        }
        self.told_waiting = false;
        if let Err(error) = self.begin(parts, sample) {
            parts.metrics.training_failed(&error.to_string());
            self.put_off(parts);
        }
    }

    fn tell_sample(&mut self, parts: &Parts<'_>, sample: &RecentSample) {
        let counts = sample.counts();
        parts.metrics.training_sample(counts.rows, counts.entities);
        for (reason, (now, told)) in KeptOut::ALL.into_iter().zip(counts.kept_out.into_iter().zip(&mut self.told)) {
            parts.metrics.kept_out(reason, now - *told);
            *told = now;
        }
        parts.board.set_learning(LearningStatus {
            training: self.run.is_some(),
            sample_rows: counts.rows,
            rows_needed: self.need,
            sample_entities: counts.entities,
            next: self.due_ms.map(|due| timestamp::to_rfc3339(due.div_euclid(1000) * 1_000_000)),
        });
    }

    fn answer(&mut self, parts: &mut Parts<'_>, sample: &RecentSample) -> Answer {
        let (rows, need) = (sample.counts().rows, self.need);
        if self.run.is_some() {
            return Answer::Busy;
        }
        if !self.is_enough(sample) {
            return Answer::TooFewRows { rows, need };
        }
        match self.begin(parts, sample) {
            Ok(()) => Answer::Started { rows, entities: sample.counts().entities },
            Err(error) => Answer::Failed { error: error.to_string() },
        }
    }

    fn begin(&mut self, parts: &mut Parts<'_>, sample: &RecentSample) -> std::io::Result<()> {
        let lesson = Lesson {
            recipe: Recipe { created: now(), ..self.learning.recipe.clone() },
            registry: self.learning.registry.clone(),
            sample: sample.copy(),
            missing: sample.missing(),
        };
        let (rows, epochs) = (lesson.sample.len(), lesson.recipe.settings.training.network.epochs);
        let training = Training::start(move |progress| lesson.learn(progress))?;
        training::tell_started(parts, rows, epochs);
        self.run = Some(Run { training, since: Instant::now() });
        Ok(())
    }

    fn look_at_training(&mut self, parts: &mut Parts<'_>) {
        let Some(run) = &mut self.run else { return };
        let result = match run.training.state() {
            TrainingState::Running(epochs) => {
                epochs.iter().for_each(|epoch| training::tell_epoch(parts, epoch));
                return;
            }
            TrainingState::Done(result) => result.unwrap_or(Err(LessonError::Train(TrainError::Panicked))),
        };
        let took = run.since.elapsed();
        self.run = None;
        parts.board.set_training(None);
        match result {
            Ok(Learned::Model(model)) => learned(parts, &model, took),
            Ok(Learned::Components(model, why)) => {
                parts.metrics.gate_refused(&[Check::WorseThanPca], &why);
                learned(parts, &model, took);
            }
            Ok(Learned::Refused(model, report)) => {
                let why = format!("{} (model {}, kept in the registry)", report.explanation(), model.version);
                parts.metrics.training_refused(&report.reasons(), &why);
                parts.board.set_last_error(format!("the gate refused a new model: {why}"));
            }
            Err(error) if error.is_no_fault() => {
                parts.metrics.training_stopped();
                parts.board.set_last_error(format!("no new model: {error}"));
                tracing::warn!("no new model this time: {error}");
            }
            Err(error) => {
                parts.metrics.training_failed(&error.to_string());
                parts.board.set_last_error(error.to_string());
            }
        }
        // A model that was stored puts it off once more when it is taken up.
        self.put_off(parts);
    }
}

fn learned(parts: &Parts<'_>, model: &Model, took: Duration) {
    training::tell_finished(parts, model, took);
    parts.board.clear_last_error();
    tracing::info!(model = model.version, "model stored; it is taken up at the next look at the registry");
}
