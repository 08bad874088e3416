//! The run loop: collect and train where there is no model, then score until the source ends or the program is told to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use super::{
    Observer, Polled, Sink, SinkError, Source, SourceError, Unscored,
    cold_start::{Collection, Training, TrainingState},
    flow::{Flow, Outside},
    scoring::{End, Scoring, ScoringError},
};
use crate::{
    config::settings::{AlarmBudget, Settings},
    detect::Scorers,
    model::{Model, ModelError, registry::Registry},
    record::RecordError,
    telemetry::{
        board::{Board, ModelStatus, Phase},
        metrics::{Metrics, TrainingOutcome},
    },
    train::{
        EpochReport,
        recipe::{Recipe, TrainError},
        sample::SampleRecord,
    },
};

/// The longest that one poll waits: the loop looks at shutdown, deliveries and commits at least so often.
const LONGEST_POLL: Duration = Duration::from_millis(100);

/// The outside of a run.
pub struct Parts<'a> {
    /// Where records come from.
    pub source: &'a mut dyn Source,
    /// Where outputs go.
    pub sink: &'a mut dyn Sink,
    /// Who watches the records end.
    pub observer: &'a mut dyn Observer,
    /// Who hears of training epochs.
    pub progress: &'a mut dyn FnMut(&EpochReport),
    /// Metrics.
    pub metrics: &'a Metrics,
    /// Readiness and status.
    pub board: &'a Board,
    /// Set when the program shall stop.
    pub stop: &'a AtomicBool,
}

/// What a run begins with.
pub enum Start {
    /// Score with this model from the first record on.
    Model(Arc<Model>),
    /// Collect, train, store the model, then score.
    ColdStart {
        /// How to train.
        recipe: Box<Recipe>,
        /// Where the model is kept.
        registry: Registry,
    },
}

/// Why a run ended badly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The source failed for good.
    #[error("the source failed: {0}")]
    Source(#[from] SourceError),
    /// The sink failed for good.
    #[error("the sink failed: {0}")]
    Sink(#[from] SinkError),
    /// The model can't be put to work.
    #[error("{0}")]
    Scoring(#[from] ScoringError),
    /// Training gave no model.
    #[error("training failed: {0}")]
    Train(#[from] TrainError),
    /// The model can't be stored.
    #[error("{0}")]
    Model(#[from] ModelError),
    /// The training thread can't be started.
    #[error("the training thread can't be started: {0}")]
    Thread(std::io::Error),
    /// The source ended before there was a model.
    #[error("the source ended after {have} records, the cold start needs {need} (training.rows)")]
    TooShort {
        /// Records collected.
        have: usize,
        /// Records needed.
        need: usize,
    },
    /// Not everything was done by the deadline.
    #[error("the shutdown deadline passed with {outputs} outputs unacknowledged; their records will be read again")]
    Deadline {
        /// Outputs without acknowledgement.
        outputs: usize,
    },
}

/// What a run did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RunSummary {
    /// Records received.
    pub records: u64,
    /// Anomalies acknowledged by the sink.
    pub anomalies: u64,
    /// Dead letters acknowledged by the sink.
    pub dead_letters: u64,
    /// Outputs that the sink refused for good.
    pub refused: u64,
}

/// Runs until the source ends or `parts.stop` is set, then drains.
pub fn run(
    mut parts: Parts<'_>,
    start: Start,
    settings: &Settings,
    scorers: &dyn Scorers,
) -> Result<RunSummary, RunError> {
    let mut flow = Flow::new(settings, parts.metrics);
    let scoring = match start {
        Start::Model(model) => Some(Scoring::new(model, settings, scorers)?),
        Start::ColdStart { recipe, registry } => {
            let trained = cold_start(&mut parts, &mut flow, *recipe, settings)?;
            trained
                .map(|trained| {
                    hand_over(&mut parts, &mut flow, trained, &Handover { registry: &registry, settings, scorers })
                })
                .transpose()?
        }
    };
    if let Some(mut scoring) = scoring {
        announce(&parts, &scoring, settings);
        score(&mut parts, &mut flow, &mut scoring, settings)?;
    }
    parts.board.set_phase(Phase::Draining);
    flow.drain(&mut parts, settings.pipeline.shutdown_deadline)
}

/// Stores the new model, fills the windows from its sample, and takes up what came in meanwhile.
fn hand_over(
    parts: &mut Parts<'_>,
    flow: &mut Flow,
    trained: Trained,
    handover: &Handover<'_>,
) -> Result<Scoring, RunError> {
    let path = handover.registry.publish(&trained.model)?;
    tracing::info!(model = trained.model.version, path = %path.display(), "model stored");
    let mut scoring = Scoring::new(Arc::new(trained.model), handover.settings, handover.scorers)?;
    let mut outside = Outside { sink: &mut *parts.sink, metrics: parts.metrics };
    for record in trained.sample.iter() {
        if let Err(error) = scoring.prime(&record.lend()) {
            flow.end(&record.lend(), End::DeadLetter(error), &mut outside)?;
        }
    }
    flow.release_collected();
    for record in &trained.strays {
        if let Some(end) = scoring.take(&record.lend(), &mut *parts.observer) {
            flow.end(&record.lend(), end, &mut outside)?;
        }
    }
    Ok(scoring)
}

fn announce(parts: &Parts<'_>, scoring: &Scoring, settings: &Settings) {
    let Model { metadata, version, .. } = scoring.model();
    let status = ModelStatus {
        version: version.clone(),
        kind: metadata.graph.kind().to_owned(),
        created: metadata.provenance.created.clone(),
        device: "cpu".to_owned(),
        limit: scoring.limit(),
        verified: true,
    };
    parts.metrics.model_loaded(&status);
    let promised = match settings.judging.budget {
        AlarmBudget::PerEntityAndDay(alarms) => Some(alarms),
        AlarmBudget::Quantile(_) => metadata.calibration.alarms_per_entity_and_day(scoring.limit()),
    };
    if let Some(alarms) = promised {
        parts.metrics.alarm_rate_promised(alarms);
    }
    parts.board.set_model(Some(status));
    parts.board.set_phase(Phase::Scoring);
}

/// Scores until the source ends or the program shall stop; the open batch is finished in either case.
fn score(parts: &mut Parts<'_>, flow: &mut Flow, scoring: &mut Scoring, settings: &Settings) -> Result<(), RunError> {
    let mut opened: Option<Instant> = None;
    while !parts.stop.load(Ordering::Relaxed) {
        let room = settings.pipeline.batch_rows - scoring.pending();
        let wait = opened.map_or(LONGEST_POLL, |since| settings.pipeline.batch_wait.saturating_sub(since.elapsed()));
        let polled = poll(parts, flow, scoring, room, wait)?;
        if scoring.pending() > 0 {
            opened.get_or_insert_with(Instant::now);
        }
        let due = opened.is_some_and(|since| since.elapsed() >= settings.pipeline.batch_wait);
        if scoring.is_full() || due || polled == Polled::End {
            flush(parts, flow, scoring)?;
            opened = None;
        }
        flow.tend(parts, Duration::ZERO)?;
        if polled == Polled::End {
            break;
        }
    }
    flush(parts, flow, scoring)
}

fn poll(
    parts: &mut Parts<'_>,
    flow: &mut Flow,
    scoring: &mut Scoring,
    room: usize,
    wait: Duration,
) -> Result<Polled, RunError> {
    let Parts { source, sink, observer, metrics, .. } = parts;
    let mut outside = Outside { sink: &mut **sink, metrics };
    let mut failed = None;
    let now = now_ms();
    let polled = source.poll(room, wait, &mut |raw| {
        flow.open(&raw, now);
        if let Some(end) = scoring.take(&raw, &mut **observer) {
            failed = failed.take().or(flow.end(&raw, end, &mut outside).err());
        }
    })?;
    failed.map_or(Ok(polled), Err)
}

fn flush(parts: &mut Parts<'_>, flow: &mut Flow, scoring: &mut Scoring) -> Result<(), RunError> {
    let Parts { sink, observer, metrics, .. } = parts;
    let mut outside = Outside { sink: &mut **sink, metrics };
    let mut failed = None;
    let report = scoring.flush(&mut **observer, &mut |raw, end| {
        failed = failed.take().or(flow.end(raw, end, &mut outside).err());
    })?;
    if report.rows > 0 {
        flow.batch(&report, scoring);
    }
    failed.map_or(Ok(()), Err)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// What a cold start made.
struct Trained {
    model: Model,
    sample: Arc<Vec<SampleRecord>>,
    /// Records that were already on their way when the source was paused.
    strays: Vec<SampleRecord>,
}

/// Where a new model goes and what it works with.
struct Handover<'a> {
    registry: &'a Registry,
    settings: &'a Settings,
    scorers: &'a dyn Scorers,
}

/// Collects and trains. `None` when the program was told to stop before there was a model.
fn cold_start(
    parts: &mut Parts<'_>,
    flow: &mut Flow,
    recipe: Recipe,
    settings: &Settings,
) -> Result<Option<Trained>, RunError> {
    let Some(sample) = collect(parts, flow, settings)? else { return Ok(None) };
    parts.source.pause(true)?;
    let started = Instant::now();
    parts.metrics.training_started(sample.len());
    parts.board.set_phase(Phase::Training { epoch: 0, epochs: recipe.settings.training.network.epochs });
    let mut training = Training::start(recipe, Arc::clone(&sample)).map_err(RunError::Thread)?;
    let mut strays = Vec::new();
    loop {
        match training.state() {
            TrainingState::Running(reports) => reports.iter().for_each(|report| tell_epoch(parts, report)),
            TrainingState::Done(result) => {
                let Some(model) = finish(parts, *result, started)? else { return Ok(None) };
                parts.source.pause(false)?;
                return Ok(Some(Trained { model, sample, strays }));
            }
        }
        if parts.stop.load(Ordering::Relaxed) {
            training.cancel();
        }
        // A paused source lends nothing, but being polled is what keeps it in its group.
        let Parts { source, sink, metrics, .. } = &mut *parts;
        let mut outside = Outside { sink: &mut **sink, metrics };
        let mut failed = None;
        let now = now_ms();
        source.poll(1, LONGEST_POLL, &mut |raw| {
            flow.open(&raw, now);
            match SampleRecord::copy(&raw) {
                Some(record) => strays.push(record),
                None => failed = flow.end(&raw, End::DeadLetter(RecordError::Empty), &mut outside).err(),
            }
        })?;
        failed.map_or(Ok(()), Err)?;
        flow.tend(parts, Duration::ZERO)?;
    }
}

fn tell_epoch(parts: &mut Parts<'_>, report: &EpochReport) {
    parts.metrics.training_epoch(report.epoch, report.training_loss, report.validation_loss);
    parts.board.set_phase(Phase::Training { epoch: report.epoch, epochs: report.epochs });
    (parts.progress)(report);
}

/// The model that training made; `None` when it was cancelled.
fn finish(parts: &Parts<'_>, result: Result<Model, TrainError>, started: Instant) -> Result<Option<Model>, RunError> {
    match result {
        Ok(model) => {
            let provenance = &model.metadata.provenance;
            parts.metrics.training_finished(&TrainingOutcome {
                epochs: provenance.epochs,
                training_loss: provenance.training_loss,
                validation_loss: provenance.validation_loss,
                took: started.elapsed(),
            });
            Ok(Some(model))
        }
        Err(TrainError::Cancelled) => Ok(None),
        Err(error) => {
            parts.metrics.training_failed(&error.to_string());
            Err(error.into())
        }
    }
}

fn collect(
    parts: &mut Parts<'_>,
    flow: &mut Flow,
    settings: &Settings,
) -> Result<Option<Arc<Vec<SampleRecord>>>, RunError> {
    let mut collection = Collection::new(settings.training.rows);
    let mut told = 0;
    tracing::info!(rows = settings.training.rows, "no model yet: collecting records to train on");
    while !collection.is_complete() {
        if parts.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (have, need) = collection.progress();
        let Parts { source, sink, observer, metrics, .. } = &mut *parts;
        let mut outside = Outside { sink: &mut **sink, metrics };
        let mut failed = None;
        let now = now_ms();
        let polled = source.poll((need - have).min(settings.pipeline.batch_rows), LONGEST_POLL, &mut |raw| {
            flow.open(&raw, now);
            if collection.take(&raw) {
                flow.collect(raw.position);
                observer.unscored(&Unscored { position: raw.position, entity: "", time_us: None, why: "collected" });
            } else {
                failed = failed.take().or(flow.end(&raw, End::DeadLetter(RecordError::Empty), &mut outside).err());
            }
        })?;
        failed.map_or(Ok(()), Err)?;
        let (have, need) = collection.progress();
        parts.metrics.cold_start_remaining(need.saturating_sub(have));
        parts.board.set_phase(Phase::Collecting { have, need });
        if have * 10 / need.max(1) > told {
            told = have * 10 / need.max(1);
            tracing::info!(have, need, "collecting");
        }
        flow.tend(parts, Duration::ZERO)?;
        if polled == Polled::End && !collection.is_complete() {
            return Err(RunError::TooShort { have, need });
        }
    }
    Ok(Some(Arc::new(collection.into_records())))
}
