//! The run loop: collect and train where there is no model, then score until the source ends or the program is told to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use super::{
    Observer, Polled, Sink, SinkError, Source, SourceError,
    cold_start::ColdStart,
    flow::{Flow, Outside},
    scoring::{Scoring, ScoringError},
};
use crate::{
    config::settings::{AlarmBudget, Settings},
    detect::{Scorers, device::Device},
    model::{Model, ModelError, registry::Registry},
    record::timestamp,
    telemetry::{
        board::{Board, ModelStatus, Phase},
        metrics::Metrics,
    },
    train::{
        EpochReport,
        recipe::{Recipe, TrainError},
    },
};

/// The longest that one poll waits: the loop looks at shutdown, deliveries and commits at least so often.
pub(super) const LONGEST_POLL: Duration = Duration::from_millis(100);

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
            ColdStart { recipe: *recipe, registry, settings, scorers }.run(&mut parts, &mut flow)?
        }
    };
    if let Some(mut scoring) = scoring {
        announce(&parts, &scoring, settings, scorers.device());
        score(&mut parts, &mut flow, &mut scoring, settings)?;
    }
    parts.board.set_phase(Phase::Draining);
    flow.drain(&mut parts, settings.pipeline.shutdown_deadline)
}

fn announce(parts: &Parts<'_>, scoring: &Scoring, settings: &Settings, device: Device) {
    let Model { metadata, version, .. } = scoring.model();
    let status = ModelStatus {
        version: version.clone(),
        kind: metadata.graph.kind().to_owned(),
        created: metadata.provenance.created.clone(),
        device: device.to_string(),
        limit: scoring.limit(),
        // Its golden rows were run on that device when the scorer was made.
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
    let batch_wait = settings.pipeline.batch_wait;
    let mut opened: Option<Instant> = None;
    while !parts.stop.load(Ordering::Relaxed) {
        let wait = opened.map_or(LONGEST_POLL, |since| batch_wait.saturating_sub(since.elapsed())).min(LONGEST_POLL);
        let polled = poll(parts, flow, scoring, wait)?;
        if scoring.pending() > 0 {
            opened.get_or_insert_with(Instant::now);
        }
        let due = opened.is_some_and(|since| since.elapsed() >= batch_wait);
        if scoring.room() == 0 || due || polled == Polled::End {
            flush(parts, flow, scoring)?;
            opened = None;
        }
        let revoked = flow.tend(parts, Duration::ZERO)?;
        if !revoked.is_empty() {
            // Whoever has the partitions now reads from the last commit: what is still open of them is theirs.
            scoring.drop_pending(&revoked);
            flush(parts, flow, scoring)?;
            scoring.forget(&revoked);
            opened = None;
        }
        flow.population(scoring);
        if polled == Polled::End {
            break;
        }
    }
    flush(parts, flow, scoring)
}

fn poll(parts: &mut Parts<'_>, flow: &mut Flow, scoring: &mut Scoring, wait: Duration) -> Result<Polled, RunError> {
    let Parts { source, sink, observer, metrics, .. } = parts;
    let mut outside = Outside { sink: &mut **sink, metrics };
    let mut failed = None;
    let mut first: Option<Instant> = None;
    let now = now_ms();
    let polled = source.poll(scoring.room(), wait, &mut |raw| {
        first.get_or_insert_with(Instant::now);
        flow.open(&raw, now);
        if let Some(end) = scoring.take(&raw, &mut **observer) {
            failed = failed.take().or(flow.end(&raw, end, &mut outside).err());
        }
    })?;
    if let Some(first) = first {
        flow.received(first.elapsed());
    }
    failed.map_or(Ok(polled), Err)
}

/// Scores and judges the open batch.
pub(super) fn flush(parts: &mut Parts<'_>, flow: &mut Flow, scoring: &mut Scoring) -> Result<(), RunError> {
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

/// Now, RFC 3339, UTC, whole seconds.
pub fn now() -> String {
    timestamp::to_rfc3339(now_ms() / 1000 * 1_000_000)
}

/// Now, milliseconds since the epoch.
pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
