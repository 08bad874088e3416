//! The run loop: collect and train where there is no model, then score until the source ends or the program is told to
//! stop. Between two batches it takes up another model, if the registry names one, and looks after the learning loop.

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
    feedback::{Listener, VerdictSource},
    flow::Flow,
    follow::{Follower, News},
    intake::{LONGEST_POLL, flush, keep, longest_poll, poll, release},
    learning::{Learner, Learning},
    prepared::Prepared,
    scoring::{Scoring, ScoringError},
    state::{Keeping, StateStore},
};
use crate::{
    config::settings::Settings,
    detect::{Scorers, device::Device},
    model::{Model, ModelError, registry::Registry},
    record::timestamp,
    telemetry::{
        board::{Board, ModelStatus, Phase},
        metrics::Metrics,
    },
    train::{
        TimedEpoch,
        recipe::{Recipe, TrainError},
    },
};

/// The outside of a run.
pub struct Parts<'a> {
    /// Where records come from.
    pub source: &'a mut dyn Source,
    /// Where outputs go.
    pub sink: &'a mut dyn Sink,
    /// Who watches the records end.
    pub observer: &'a mut dyn Observer,
    /// Who hears of training epochs.
    pub progress: &'a mut dyn FnMut(&TimedEpoch),
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

/// What a run does beside scoring.
pub struct Plan {
    /// What it begins with.
    pub start: Start,
    /// The registry whose model is taken up whenever it names another; `None` keeps the first one.
    pub follow: Option<Registry>,
    /// How new models are trained; `None` trains none after the first.
    pub learning: Option<Learning>,
    /// Where people say what they think of alarms; `None` hears nobody.
    pub feedback: Option<Box<dyn VerdictSource>>,
    /// Where what is remembered of entities is kept over restarts; `None` begins anew each time.
    pub state: Option<Box<dyn StateStore>>,
}

impl From<Start> for Plan {
    fn from(start: Start) -> Self {
        Self { start, follow: None, learning: None, feedback: None, state: None }
    }
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
    /// Somebody put another model to use during a cold start, and it can't be put to work here.
    #[error("another model was put to use while the first one was trained, and it can't be put to work here")]
    Overtaken,
    /// A thread can't be started.
    #[error("a thread can't be started: {0}")]
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
    /// Anomalies acknowledged by the sink, those among them that are published although they were held back.
    pub anomalies: u64,
    /// Events of incidents acknowledged by the sink.
    pub incidents: u64,
    /// Dead letters acknowledged by the sink.
    pub dead_letters: u64,
    /// Outputs that the sink refused for good.
    pub refused: u64,
}

/// Runs until the source ends or `parts.stop` is set, then drains.
pub fn run(
    mut parts: Parts<'_>,
    plan: impl Into<Plan>,
    settings: &Settings,
    scorers: &dyn Scorers,
) -> Result<RunSummary, RunError> {
    let Plan { start, follow, learning, feedback, state } = plan.into();
    let mut flow = Flow::new(settings, &parts);
    std::thread::scope(|scope| {
        let following = |version: Option<String>| {
            let start = |registry: &Registry| Follower::start(scope, registry.clone(), version, (settings, scorers));
            follow.as_ref().map(start).transpose()
        };
        let keep = settings.judging.feedback.keep;
        let mut listener = feedback.map(|source| Listener::start(scope, source, keep)).transpose()?;
        let Settings { pipeline, .. } = settings;
        let mut keeping = state.map(|store| Keeping::new(store, (pipeline.snapshot_interval, pipeline.max_rewind)));
        // What people said before is heeded by the first row that is judged, and what it does is kept.
        let mut ready = |parts: &Parts<'_>, scoring: &mut Scoring| {
            scoring.tick(now_ms());
            scoring.keep(keeping.take());
            listener.iter_mut().for_each(|listener| listener.catch_up(parts, scoring));
        };
        let mut kept = None;
        let scoring = match start {
            Start::Model(model) => {
                let mut scoring = Scoring::new(Prepared::new(model, settings, scorers)?, settings);
                ready(&parts, &mut scoring);
                Some(scoring)
            }
            Start::ColdStart { recipe, registry } => {
                // Another tool's graph is waited for by nobody: no model but one that is fitted for it will do.
                let others = if recipe.foreign.is_none() { following(None)? } else { None };
                ColdStart { recipe: *recipe, registry, settings, scorers, others }
                    .run(&mut parts, &mut flow, &mut ready)?
            }
        };
        if let Some(mut scoring) = scoring {
            announce(&parts, &scoring, (scorers.device(), None));
            let follower = following(Some(scoring.model().version.clone()))?;
            let learner = learning.map(|learning| Learner::new(learning, settings, &parts, &mut scoring));
            let work = Work { settings, device: scorers.device(), follower, learner, listener };
            work.score(&mut parts, &mut flow, &mut scoring)?;
            kept = scoring.take_keeping();
        }
        // Within the scope: a registry on a disk that hangs must not keep what is finished from being committed.
        parts.board.set_phase(Phase::Draining);
        flow.drain(&mut parts, &mut kept, pipeline.shutdown_deadline)
    })
}

/// Tells which model is in use from now on and on which device; with it, how long scoring stood still where another one
/// made room.
fn announce(parts: &Parts<'_>, scoring: &Scoring, (device, pause): (Device, Option<Duration>)) {
    let Model { metadata, version, .. } = scoring.model();
    let status = ModelStatus {
        version: version.clone(),
        kind: metadata.graph.kind().to_owned(),
        created: metadata.provenance.created.clone(),
        device: device.to_string(),
        limit: scoring.limit(),
        active_units: metadata.provenance.active_units,
        // Its golden rows were run on that device when the scorer was made.
        verified: true,
    };
    match pause {
        Some(pause) => parts.metrics.model_swapped(&status, pause),
        None => parts.metrics.model_loaded(&status),
    }
    parts.metrics.incident_features(metadata.columns.iter().map(|column| column.name.as_str()));
    parts.metrics.limit(scoring.limit(), scoring.promised());
    parts.board.set_model(Some(status));
    parts.board.set_phase(Phase::Scoring);
}

/// What accompanies the scoring.
struct Work<'a> {
    settings: &'a Settings,
    device: Device,
    follower: Option<Follower>,
    learner: Option<Learner>,
    listener: Option<Listener>,
}

impl Work<'_> {
    /// Scores until the source ends or the program shall stop; the open batch is finished in either case.
    fn score(mut self, parts: &mut Parts<'_>, flow: &mut Flow, scoring: &mut Scoring) -> Result<(), RunError> {
        let batch_wait = self.settings.pipeline.batch_wait;
        let mut opened: Option<Instant> = None;
        scoring.keeping().into_iter().for_each(|keeping| parts.source.rewind(keeping.max_rewind()));
        while !parts.stop.load(Ordering::Relaxed) {
            scoring.tick(now_ms());
            release(parts, flow, scoring)?;
            let wait = opened.map_or(LONGEST_POLL, |since| batch_wait.saturating_sub(since.elapsed()));
            let polled = poll(parts, flow, scoring, wait.min(longest_poll(flow)))?;
            if scoring.pending() > 0 {
                opened.get_or_insert_with(Instant::now);
            }
            let due = opened.is_some_and(|since| since.elapsed() >= batch_wait);
            if scoring.room() == 0 || due || polled == Polled::End {
                flush(parts, flow, scoring)?;
                opened = None;
            }
            let revoked = flow.tend(parts, scoring.keeping(), Duration::ZERO)?;
            if !revoked.is_empty() {
                // Whoever has the partitions now reads from the last commit: what is still open of them is theirs.
                scoring.drop_pending(&revoked);
                flush(parts, flow, scoring)?;
                scoring.forget(&revoked);
                opened = None;
            }
            keep(parts, flow, scoring)?;
            flow.population(parts, scoring)?;
            if polled == Polled::End && !flow.holds() {
                break;
            }
            self.renew(parts, flow, scoring)?;
            opened = opened.filter(|_| scoring.pending() > 0);
        }
        flush(parts, flow, scoring)
    }

    /// Takes up another model and what people said between two batches, and looks after the learning loop.
    fn renew(&mut self, parts: &mut Parts<'_>, flow: &mut Flow, scoring: &mut Scoring) -> Result<(), RunError> {
        match self.follower.as_mut().and_then(Follower::news) {
            None => {}
            Some(News::Failed(error)) => {
                parts.metrics.swap_failed(&error);
                parts.board.set_last_error(format!("the registry's model can't be put to work: {error}"));
            }
            Some(News::Model(prepared)) => {
                let started = Instant::now();
                flush(parts, flow, scoring)?;
                let old = scoring.swap(*prepared);
                let pause = started.elapsed();
                announce(parts, scoring, (self.device, Some(pause)));
                // Given back here and not at the end of some later scope: the session's memory is free from now on.
                drop(old);
                flow.swapped();
                self.learner.iter_mut().for_each(|learner| learner.swapped(parts));
            }
        }
        self.listener.iter_mut().for_each(|listener| listener.tend(parts, scoring));
        self.learner.iter_mut().for_each(|learner| learner.tend(parts, scoring));
        Ok(())
    }
}

/// Now, RFC 3339, UTC, whole seconds.
pub fn now() -> String {
    timestamp::to_rfc3339(now_ms() / 1000 * 1_000_000)
}

/// Now, milliseconds since the epoch.
pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
