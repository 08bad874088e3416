//! Cold start: collect a sample, train on it, put the model to work.
//!
//! Offsets of collected records stay uncommitted until the model is stored, so a restart in between reads them again and
//! nothing that was collected is lost. Training runs on its own thread; meanwhile the source is paused but polled, so
//! the consumer never leaves its group. A sample that gives no model doesn't end the daemon, which would only read the
//! same records again: it says why, collects more, and tries again.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    End, Polled, Unscored,
    collection::Collection,
    flow::{Flow, Outside},
    follow::{self, Follower, News},
    intake::{LONGEST_POLL, flush, longest_poll},
    prepared::Prepared,
    run::{Parts, RunError, now, now_ms},
    scoring::Scoring,
    state::Keeping,
    training::{self, Training, TrainingState},
};
use crate::{
    config::settings::Settings,
    detect::Scorers,
    model::{Model, registry::Registry},
    record::RawRecord,
    telemetry::board::Phase,
    train::{
        TimedEpoch,
        recipe::{Recipe, TrainError},
        sample::SampleRecord,
    },
};

/// Everything that a cold start needs beside the outside.
pub(super) struct ColdStart<'a> {
    pub(super) recipe: Recipe,
    pub(super) registry: Registry,
    pub(super) settings: &'a Settings,
    pub(super) scorers: &'a dyn Scorers,
    /// Looks whether another replica has stored a model; `None` where only a model of our own will do.
    pub(super) others: Option<Follower>,
}

/// What came while a model was trained.
#[derive(Default)]
struct Meanwhile {
    /// Records that were already on their way when the source was paused.
    strays: Vec<SampleRecord>,
    /// Partitions that were taken from us, if only for a while.
    revoked: Vec<i32>,
}

/// How collecting ended.
enum Collected {
    /// There are enough records to train on.
    Enough,
    /// Another replica was faster: its model is ready for work.
    Scoring(Box<Scoring>),
    /// The program was told to stop.
    Stopped,
}

/// How a training run ended.
enum Trained {
    /// With a model, after so long.
    Model(Box<Model>, Duration),
    /// Without one.
    Failed(RunError),
    /// The program was told to stop.
    Stopped,
}

impl ColdStart<'_> {
    /// Collects and trains until there is a model at work, which `ready` sees before it judges anything. `None` when the program
    /// was told to stop before.
    pub(super) fn run(
        mut self,
        parts: &mut Parts<'_>,
        flow: &mut Flow,
        ready: &mut dyn FnMut(&Parts<'_>, &mut Scoring),
    ) -> Result<Option<Scoring>, RunError> {
        let mut collection = Collection::new(self.settings.training.rows, &self.settings.record);
        let mut failed = None;
        // Where another tool's graph is to be adopted, a model may be in use that was not fitted for it.
        let before = self.registry.current_version()?;
        tracing::info!(rows = self.settings.training.rows, "no model yet: collecting records to train on");
        loop {
            match self.collect(parts, flow, &mut collection, failed.take())? {
                Collected::Enough => {}
                Collected::Stopped => return Ok(None),
                Collected::Scoring(mut scoring) => {
                    ready(parts, &mut scoring);
                    score(parts, flow, &mut scoring, collection.lend().iter())?;
                    return Ok(Some(*scoring));
                }
            }
            let sample = Arc::new(collection.lend());
            let mut meanwhile = Meanwhile::default();
            let trained = match self.train(parts, flow, &sample, &mut meanwhile)? {
                Trained::Stopped => {
                    parts.metrics.training_stopped();
                    return Ok(None);
                }
                Trained::Model(model, took) => self.put_to_work(*model, before.as_deref(), parts, took),
                Trained::Failed(error) => Err(error),
            };
            match trained {
                Ok((mut scoring, is_ours)) => {
                    ready(parts, &mut scoring);
                    let still_ours = still_ours(&sample, &meanwhile.revoked);
                    if is_ours {
                        prime(parts, flow, &mut scoring, still_ours)?;
                        flow.collected(sample.iter().map(|record| record.position));
                    } else {
                        score(parts, flow, &mut scoring, still_ours)?;
                    }
                    score(parts, flow, &mut scoring, meanwhile.strays.iter())?;
                    flow.pause_for_training(parts, false)?;
                    return Ok(Some(scoring));
                }
                Err(error) => {
                    parts.metrics.training_failed(&error.to_string());
                    parts.board.set_last_error(error.to_string());
                    failed = Some(error);
                }
            }
            collection.give_back(Arc::unwrap_or_clone(sample));
            collection.forget(&meanwhile.revoked);
            take_up(parts, flow, &mut collection, &meanwhile.strays)?;
            flow.pause_for_training(parts, false)?;
        }
    }

    /// Collects until training can begin, or another replica has stored a model. `failed` is why the last
    /// training gave no model, should the source have no more records.
    fn collect(
        &mut self,
        parts: &mut Parts<'_>,
        flow: &mut Flow,
        collection: &mut Collection,
        failed: Option<RunError>,
    ) -> Result<Collected, RunError> {
        let mut told = 0;
        while !collection.is_complete() {
            if parts.stop.load(Ordering::Relaxed) {
                return Ok(Collected::Stopped);
            }
            match self.others.as_mut().and_then(Follower::news) {
                None => {}
                Some(News::Model(prepared)) => return Ok(Collected::Scoring(Box::new(self.instead(*prepared)))),
                Some(News::Failed(error)) => {
                    tracing::warn!("another replica's model can't be taken, going on alone: {error}");
                }
            }
            release(parts, flow, collection)?;
            let polled = self.poll(parts, flow, collection)?;
            let (have, need) = collection.progress();
            parts.metrics.cold_start_remaining(need.saturating_sub(have));
            parts.board.set_phase(Phase::Collecting { have, need });
            if have * 10 / need.max(1) > told {
                told = have * 10 / need.max(1);
                tracing::info!(have, need, "collecting");
            }
            while let Some(oldest) = collection.overflow() {
                flow.collected(std::iter::once(oldest.position));
            }
            if flow.has_many_waiting() {
                // Dead letters between rows of the sample would wait for its end: rather, a start anew collects anew.
                flow.collected(collection.positions());
            }
            let revoked = flow.tend(parts, None, Duration::ZERO)?;
            if !revoked.is_empty() {
                collection.forget(&revoked);
            }
            if polled == Polled::End && !collection.is_complete() {
                return Err(failed.unwrap_or(RunError::TooShort { have, need }));
            }
        }
        Ok(Collected::Enough)
    }

    /// Puts another replica's model to work.
    fn instead(&self, prepared: Prepared) -> Scoring {
        tracing::info!(model = prepared.model().version, "another replica has stored a model: taking it");
        Scoring::new(prepared, self.settings)
    }

    fn poll(&self, parts: &mut Parts<'_>, flow: &mut Flow, collection: &mut Collection) -> Result<Polled, RunError> {
        let (have, need) = collection.progress();
        let Parts { source, sink, observer, metrics, .. } = &mut *parts;
        let mut outside = Outside { sink: &mut **sink, metrics };
        let mut failed = None;
        let now = now_ms();
        let most = need.saturating_sub(have).min(self.settings.pipeline.batch_rows);
        let polled = source.poll(most, longest_poll(flow), &mut |raw| {
            flow.open(&raw, now, outside.sink);
            if flow.holds() || collection.awaits(&raw) {
                flow.hold(&raw);
                return;
            }
            let unscored = |why| Unscored { position: raw.position, entity: "", time_us: None, why };
            match collection.take(&raw) {
                Ok(()) => observer.unscored(&unscored("collected")),
                Err(error) => {
                    observer.unscored(&unscored(error.reason().as_str()));
                    failed = failed.take().or(flow.end(&raw, End::from(error), &mut outside).err());
                }
            }
        })?;
        failed.map_or(Ok(polled), Err)
    }

    /// Trains while the source is paused; records that were already on their way become `strays`.
    fn train(
        &self,
        parts: &mut Parts<'_>,
        flow: &mut Flow,
        sample: &Arc<Vec<SampleRecord>>,
        meanwhile: &mut Meanwhile,
    ) -> Result<Trained, RunError> {
        flow.pause_for_training(parts, true)?;
        let started = Instant::now();
        let epochs = self.settings.training.network.epochs;
        training::tell_started(parts, sample.len(), epochs);
        parts.board.set_phase(Phase::Training { epoch: 0, epochs });
        let recipe = Recipe { created: now(), ..self.recipe.clone() };
        let records = Arc::clone(sample);
        let mut training =
            Training::start(move |progress| recipe.train(&records, progress)).map_err(RunError::Thread)?;
        loop {
            match training.state() {
                TrainingState::Running(epochs) => epochs.iter().for_each(|epoch| tell_epoch(parts, epoch)),
                TrainingState::Done(result) => {
                    parts.board.set_training(None);
                    return Ok(end_of_training(result.unwrap_or(Err(TrainError::Panicked)), started));
                }
            }
            if parts.stop.load(Ordering::Relaxed) {
                training.cancel();
            }
            stray(parts, flow, &mut meanwhile.strays)?;
            let revoked = flow.tend(parts, None, Duration::ZERO)?;
            meanwhile.strays.retain(|record| !revoked.contains(&record.position.partition));
            meanwhile.revoked.extend(revoked);
        }
    }

    /// Runs the model once before it is stored: a registry never points to a model that can't be put to work.
    /// Where another replica was faster, its model is put to work instead, and false goes with it.
    fn put_to_work(
        &self,
        model: Model,
        before: Option<&str>,
        parts: &Parts<'_>,
        took: Duration,
    ) -> Result<(Scoring, bool), RunError> {
        let model = Arc::new(model);
        let scoring = Scoring::new(Prepared::new(Arc::clone(&model), self.settings, self.scorers)?, self.settings);
        let Some(path) = self.registry.publish_after(&model, before)? else {
            parts.metrics.training_stopped();
            let stored = self.others.as_ref().and_then(|_| {
                let prepared = follow::prepare_current(&self.registry, self.settings, self.scorers);
                prepared.inspect_err(|error| tracing::warn!("another replica's model can't be taken: {error}")).ok()?
            });
            return stored.map(|prepared| (self.instead(prepared), false)).ok_or(RunError::Overtaken);
        };
        tracing::info!(model = model.version, path = %path.display(), "model stored");
        training::tell_finished(parts, &model, took);
        Ok((scoring, true))
    }
}

/// Fills the windows from the sample that the model was trained on.
fn prime<'r>(
    parts: &mut Parts<'_>,
    flow: &mut Flow,
    scoring: &mut Scoring,
    records: impl Iterator<Item = &'r SampleRecord>,
) -> Result<(), RunError> {
    let mut outside = Outside { sink: &mut *parts.sink, metrics: parts.metrics };
    for record in records {
        if let Err(error) = scoring.prime(&record.lend()) {
            flow.end(&record.lend(), End::from(error), &mut outside)?;
        }
    }
    scoring.keeping().into_iter().for_each(Keeping::hurry);
    Ok(())
}

/// Scores records that came in before there was a model.
fn score<'r>(
    parts: &mut Parts<'_>,
    flow: &mut Flow,
    scoring: &mut Scoring,
    records: impl Iterator<Item = &'r SampleRecord>,
) -> Result<(), RunError> {
    for record in records {
        if flow.holds() || scoring.awaits(&record.lend()) {
            flow.hold(&record.lend());
            continue;
        }
        if scoring.room() == 0 {
            flush(parts, flow, scoring)?;
        }
        let mut outside = Outside { sink: &mut *parts.sink, metrics: parts.metrics };
        let end = scoring.take(&record.lend(), &mut *parts.observer);
        flow.announce(scoring.announcements(), &mut outside)?;
        if let Some(end) = end {
            flow.end(&record.lend(), end, &mut outside)?;
        }
    }
    Ok(())
}

/// Records of the sample whose partitions are still ours.
fn still_ours<'r>(sample: &'r [SampleRecord], revoked: &'r [i32]) -> impl Iterator<Item = &'r SampleRecord> {
    sample.iter().filter(|record| !revoked.contains(&record.position.partition))
}

/// Training failed: what came in meanwhile joins the sample.
fn take_up(
    parts: &mut Parts<'_>,
    flow: &mut Flow,
    collection: &mut Collection,
    strays: &[SampleRecord],
) -> Result<(), RunError> {
    let mut outside = Outside { sink: &mut *parts.sink, metrics: parts.metrics };
    for record in strays {
        if flow.holds() || collection.awaits(&record.lend()) {
            flow.hold(&record.lend());
            continue;
        }
        if let Err(error) = collection.take(&record.lend()) {
            flow.end(&record.lend(), End::from(error), &mut outside)?;
        }
    }
    Ok(())
}

/// Goes on with records that waited for their schema, as far as it came.
fn release(parts: &mut Parts<'_>, flow: &mut Flow, collection: &mut Collection) -> Result<(), RunError> {
    let mut outside = Outside { sink: &mut *parts.sink, metrics: parts.metrics };
    while !collection.is_complete()
        && let Some(record) = flow.release(|raw| collection.awaits(raw))
    {
        if let Err(error) = collection.take(&record.lend()) {
            flow.end(&record.lend(), End::from(error), &mut outside)?;
        }
    }
    Ok(())
}

/// A paused source lends nothing new, but being polled is what keeps it in its group.
fn stray(parts: &mut Parts<'_>, flow: &mut Flow, strays: &mut Vec<SampleRecord>) -> Result<(), RunError> {
    let Parts { source, sink, metrics, .. } = parts;
    let mut outside = Outside { sink: &mut **sink, metrics };
    let mut failed = None;
    let now = now_ms();
    source.poll(1, LONGEST_POLL, &mut |raw: RawRecord<'_>| {
        flow.open(&raw, now, outside.sink);
        match SampleRecord::copy_whole(&raw) {
            Some(record) => strays.push(record),
            None => failed = flow.end(&raw, End::Tombstone, &mut outside).err(),
        }
    })?;
    failed.map_or(Ok(()), Err)
}

fn tell_epoch(parts: &mut Parts<'_>, timed: &TimedEpoch) {
    training::tell_epoch(parts, timed);
    let report = &timed.report;
    parts.board.set_phase(Phase::Training { epoch: report.epoch, epochs: report.epochs });
}

fn end_of_training(result: Result<Model, TrainError>, started: Instant) -> Trained {
    match result {
        Ok(model) => Trained::Model(Box::new(model), started.elapsed()),
        Err(TrainError::Cancelled) => Trained::Stopped,
        Err(error) => Trained::Failed(error.into()),
    }
}
