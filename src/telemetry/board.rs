//! The status board: what the data path last said about itself, read by the probes and by `/status`.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    detect::{gates::cold_start::WatchState, incident_event::Kind, severity::Severity},
    feedback::Verdict,
    train::TimedEpoch,
};

/// A data path whose last beat is older than this hangs.
pub const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(60);

/// What the daemon is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// Connecting and loading.
    Starting,
    /// A scorer waits for a trainer to store the first model.
    WaitingForModel,
    /// Gathering rows for the cold start.
    Collecting {
        /// Rows at hand.
        have: usize,
        /// Rows that training starts at.
        need: usize,
    },
    /// Fitting a model.
    Training {
        /// Epochs done.
        epoch: usize,
        /// Epochs at most.
        epochs: usize,
    },
    /// Scoring records.
    Scoring,
    /// Finishing what was begun before the end.
    Draining,
}

/// The model in use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelStatus {
    /// Its version in the registry, or its file's name.
    pub version: String,
    /// Kind of network, as `model.kind` writes it, or `foreign`.
    pub kind: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Device that it runs on, such as `cpu`.
    pub device: String,
    /// Score above which a row is anomalous.
    pub limit: f64,
    /// Share of the code's values that were active on held-back rows, where it is known.
    pub active_units: Option<f64>,
    /// Whether it was run once and gave its golden scores.
    pub verified: bool,
}

/// Open incidents that `/status` names at most.
pub const MOST_INCIDENTS: usize = 20;

/// An incident that is open. Entities are no labels of metrics, so this is where their names can be read at once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpenIncident {
    /// The incident, as its events name it.
    pub id: String,
    /// What it is about.
    pub kind: Kind,
    /// How bad it was so far.
    pub severity: Severity,
    /// Whose; of a group, a pattern of its entities.
    pub entity: String,
    /// Event time of its first anomaly, or of the last record before the silence. RFC 3339.
    pub since: String,
    /// Anomalous records so far.
    pub anomalies: u64,
    /// Score of its worst anomaly so far; `None` of a silence.
    pub peak_score: Option<f64>,
    /// The limit that this score was above; `None` of a silence.
    pub limit: Option<f64>,
    /// The feature to blame for its first anomaly.
    pub top_feature: Option<String>,
    /// Whether it lasted so long at one level that what is normal may have changed.
    pub level_shift: bool,
    /// Entities of the group that strayed in it so far; `None` but of a group.
    pub members: Option<usize>,
    /// Entities of the group whose own incident is open in it; `None` but of a group.
    pub members_open: Option<usize>,
    /// The entities of the group with the worst anomalies, the worst first; empty but of a group.
    pub worst_members: Vec<String>,
}

/// What the learning loop is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LearningStatus {
    /// Whether a model is being trained.
    pub training: bool,
    /// Rows judged normal that are at hand.
    pub sample_rows: usize,
    /// Rows that a training needs.
    pub rows_needed: usize,
    /// Entities in the sample.
    pub sample_entities: usize,
    /// When the next training is due, RFC 3339; `None`: only on request.
    pub next: Option<String>,
}

/// How far a training is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TrainingStatus {
    /// Epochs done.
    pub epoch: usize,
    /// Epochs at most.
    pub epochs: usize,
    /// Rows per second in the last epoch, each counted once per member; `None` before the first one ended.
    pub rows_per_second: Option<f64>,
    /// Seconds until the last epoch that is allowed, which is at most how long training goes on; `None` before the first
    /// one ended.
    pub seconds_left: Option<f64>,
}

impl TrainingStatus {
    /// A training of so many epochs at most begins.
    pub fn begun(epochs: usize) -> Self {
        Self { epoch: 0, epochs, rows_per_second: None, seconds_left: None }
    }
}

impl From<&TimedEpoch> for TrainingStatus {
    fn from(timed: &TimedEpoch) -> Self {
        let TimedEpoch { report, rows_per_second, seconds_left } = *timed;
        Self {
            epoch: report.epoch,
            epochs: report.epochs,
            rows_per_second: Some(rows_per_second),
            seconds_left: Some(seconds_left),
        }
    }
}

#[derive(Debug, Clone)]
struct State {
    source: Result<(), String>,
    sink: Result<(), String>,
    device: Result<(), String>,
    schemas: Result<(), String>,
    state: Result<(), String>,
    model: Option<ModelStatus>,
    phase: Phase,
    last_error: Option<String>,
    learning: Option<LearningStatus>,
    training: Option<TrainingStatus>,
    /// Entities in each state, in the order of [`WatchState::ALL`].
    entities: [usize; WatchState::ALL.len()],
    /// How many incidents are open, and the newest of them.
    incidents: (usize, Vec<OpenIncident>),
    /// Verdicts that hold, in the order of [`Verdict::ALL`]; `None` where none are read.
    feedback: Option<[usize; Verdict::ALL.len()]>,
}

/// Shared between the data path, which writes, and the HTTP server, which reads.
#[derive(Debug)]
pub struct Board {
    started: Instant,
    /// Milliseconds from `started` to the last beat; apart from the state, so that a beat takes no lock.
    last_beat_ms: AtomicU64,
    state: Mutex<State>,
}

impl Default for Board {
    fn default() -> Self {
        Self::new(Instant::now())
    }
}

impl Board {
    /// A board of a process that started at `started`, which counts as the first beat.
    pub fn new(started: Instant) -> Self {
        let not_yet = || Err("not connected yet".to_owned());
        let state = State {
            source: not_yet(),
            sink: not_yet(),
            device: Ok(()),
            schemas: Ok(()),
            state: Ok(()),
            model: None,
            phase: Phase::Starting,
            last_error: None,
            learning: None,
            training: None,
            entities: [0; WatchState::ALL.len()],
            incidents: (0, Vec::new()),
            feedback: None,
        };
        Self { started, last_beat_ms: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// Notes whether the source is connected, and if not, why.
    pub fn set_source(&self, state: Result<(), String>) {
        self.state().source = state;
    }

    /// Notes whether the sink is connected, and if not, why.
    pub fn set_sink(&self, state: Result<(), String>) {
        self.state().sink = state;
    }

    /// Notes whether the device that models shall run on can be had, and if not, why.
    pub fn set_device(&self, state: Result<(), String>) {
        self.state().device = state;
    }

    /// Notes whether records wait for a schema that its registry doesn't give, and if so, why not.
    pub fn set_schemas(&self, state: Result<(), String>) {
        self.state().schemas = state;
    }

    /// Notes whether what was kept of entities can be read, and if not, why.
    pub fn set_state(&self, state: Result<(), String>) {
        self.state().state = state;
    }

    /// Notes the model in use.
    pub fn set_model(&self, model: Option<ModelStatus>) {
        self.state().model = model;
    }

    /// The limit of the model in use is now this one: a budget of all entities is shared out among more or fewer of them.
    pub fn set_limit(&self, limit: f64) {
        if let Some(model) = &mut self.state().model {
            model.limit = limit;
        }
    }

    /// Notes what the daemon is doing.
    pub fn set_phase(&self, phase: Phase) {
        self.state().phase = phase;
    }

    /// The latest fault is mended.
    pub fn clear_last_error(&self) {
        self.state().last_error = None;
    }

    /// Notes what the learning loop is at.
    pub fn set_learning(&self, learning: LearningStatus) {
        self.state().learning = Some(learning);
    }

    /// Notes how far the training is that is under way; `None`: none is.
    pub fn set_training(&self, training: Option<TrainingStatus>) {
        self.state().training = training;
    }

    /// What the daemon is doing.
    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    /// Notes the latest fault, for `/status`.
    pub fn set_last_error(&self, error: impl Into<String>) {
        self.state().last_error = Some(error.into());
    }

    /// Notes how many incidents are open that are part of none of a group, and the newest [`MOST_INCIDENTS`] of them, newest first.
    pub fn set_incidents(&self, open: usize, newest: Vec<OpenIncident>) {
        self.state().incidents = (open, newest);
    }

    /// Notes how many verdicts hold, in the order of [`Verdict::ALL`].
    pub fn set_feedback(&self, verdicts: [usize; Verdict::ALL.len()]) {
        self.state().feedback = Some(verdicts);
    }

    /// Notes how many entities are in each state.
    pub fn set_entities(&self, of: impl Fn(WatchState) -> usize) {
        self.state().entities = WatchState::ALL.map(of);
    }

    /// Says that the data path moves. To be called at least every few seconds, idle or not.
    pub fn beat(&self) {
        self.beat_at(Instant::now());
    }

    fn beat_at(&self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.started);
        self.last_beat_ms.fetch_max(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Time from the last beat to `now`.
    pub fn heartbeat_age(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.last_beat_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.started).saturating_sub(last)
    }

    /// Whether the data path moved within the last [`HEARTBEAT_DEADLINE`].
    pub fn is_alive(&self, now: Instant) -> bool {
        self.heartbeat_age(now) < HEARTBEAT_DEADLINE
    }

    /// Whether records can be scored: both ends are connected, and a model is loaded and was run once.
    ///
    /// # Errors
    /// Every reason why not.
    pub fn readiness(&self) -> Result<(), Vec<String>> {
        readiness(&self.state())
    }

    /// Everything on the board, for `/status`.
    pub fn status(&self) -> Value {
        let state = self.state().clone();
        let now = Instant::now();
        let entities: serde_json::Map<String, Value> = WatchState::ALL
            .into_iter()
            .map(|of| (of.as_str().to_owned(), json!(state.entities[of as usize])))
            .collect();
        let feedback = state.feedback.map(|verdicts| {
            let count = |verdict: Verdict| (verdict.as_str().to_owned(), json!(verdicts[verdict as usize]));
            Value::Object(Verdict::ALL.into_iter().map(count).collect())
        });
        let end = |end: &Result<(), String>| json!({ "connected": end.is_ok(), "error": end.as_ref().err() });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": now.saturating_duration_since(self.started).as_secs(),
            "heartbeat_age_seconds": self.heartbeat_age(now).as_secs_f64(),
            "ready": readiness(&state).is_ok(),
            "not_ready_because": readiness(&state).err().unwrap_or_default(),
            "phase": state.phase,
            "source": end(&state.source),
            "sink": end(&state.sink),
            "device": { "error": state.device.as_ref().err() },
            "schema_registry": { "error": state.schemas.as_ref().err() },
            "state": { "error": state.state.as_ref().err() },
            "model": state.model,
            "entities": entities,
            "incidents": { "open": state.incidents.0, "newest": state.incidents.1 },
            "feedback": feedback,
            "learning": state.learning,
            "training": state.training,
            "last_error": state.last_error,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each write is one assignment, so the state is whole even if a thread panicked while it held the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn readiness(state: &State) -> Result<(), Vec<String>> {
    let mut reasons = Vec::new();
    if let Err(why) = &state.source {
        reasons.push(format!("source: {why}"));
    }
    if let Err(why) = &state.sink {
        reasons.push(format!("sink: {why}"));
    }
    if let Err(why) = &state.device {
        reasons.push(format!("device: {why}"));
    }
    for (what, faults) in [("schema registry", &state.schemas), ("state", &state.state)] {
        reasons.extend(faults.as_ref().err().map(|why| format!("{what}: {why}")));
    }
    match (&state.model, state.phase) {
        (Some(model), _) if model.verified => {}
        (Some(model), _) => reasons.push(format!("model: {} was not run yet", model.version)),
        (None, Phase::Collecting { have, need }) => {
            reasons.push(format!("model: none yet, {have} of {need} rows collected"))
        }
        (None, Phase::WaitingForModel) => {
            reasons.push("model: none yet, waiting for a trainer to store one in the registry".to_owned());
        }
        (None, Phase::Training { epoch, epochs }) => {
            reasons.push(format!("model: none yet, epoch {epoch} of at most {epochs}"));
        }
        (None, _) => reasons.push("model: none is loaded".to_owned()),
    }
    if let (None, Some(error)) = (&state.model, &state.last_error) {
        reasons.push(format!("last error: {error}"));
    }
    if state.phase == Phase::Draining {
        reasons.push("draining before the end".to_owned());
    }
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::EpochReport;

    fn model(verified: bool) -> ModelStatus {
        ModelStatus {
            version: "v7".into(),
            kind: "denoising".into(),
            created: "2026-01-02T03:04:05Z".into(),
            device: "cpu".into(),
            limit: 4.5,
            active_units: None,
            verified,
        }
    }

    #[test]
    fn ready_needs_both_ends_and_a_model_that_was_run() {
        let board = Board::default();
        assert_eq!(board.readiness().unwrap_err().len(), 3);
        board.set_source(Ok(()));
        board.set_sink(Ok(()));
        board.set_model(Some(model(false)));
        assert_eq!(board.readiness(), Err(vec!["model: v7 was not run yet".to_owned()]));
        board.set_model(Some(model(true)));
        assert_eq!(board.readiness(), Ok(()));
        board.set_sink(Err("all brokers are down".into()));
        assert_eq!(board.readiness(), Err(vec!["sink: all brokers are down".to_owned()]));
    }

    #[test]
    fn a_daemon_without_its_device_is_not_ready() {
        let board = Board::default();
        board.set_source(Ok(()));
        board.set_sink(Ok(()));
        board.set_model(Some(model(true)));
        board.set_device(Err("there is no GPU".into()));
        assert_eq!(board.readiness(), Err(vec!["device: there is no GPU".to_owned()]));
        assert_eq!(board.status()["device"]["error"], "there is no GPU");
        board.set_device(Ok(()));
        assert_eq!(board.readiness(), Ok(()));
        board.set_schemas(Err("http://registry: no answer".into()));
        assert_eq!(board.readiness(), Err(vec!["schema registry: http://registry: no answer".to_owned()]));
        assert_eq!(board.status()["schema_registry"]["error"], "http://registry: no answer");
        board.set_schemas(Ok(()));
        assert_eq!(board.readiness(), Ok(()));
    }

    #[test]
    fn a_draining_daemon_is_not_ready() {
        let board = Board::default();
        board.set_source(Ok(()));
        board.set_sink(Ok(()));
        board.set_model(Some(model(true)));
        board.set_phase(Phase::Draining);
        assert_eq!(board.readiness(), Err(vec!["draining before the end".to_owned()]));
    }

    #[test]
    fn a_collecting_daemon_says_how_far_it_is() {
        let board = Board::default();
        board.set_phase(Phase::Collecting { have: 3, need: 10 });
        assert!(board.readiness().unwrap_err().contains(&"model: none yet, 3 of 10 rows collected".to_owned()));
        assert_eq!(board.status()["phase"], json!({"name": "collecting", "have": 3, "need": 10}));
    }

    #[test]
    fn the_data_path_is_alive_until_its_last_beat_is_a_minute_old() {
        let start = Instant::now();
        let board = Board::new(start);
        assert!(board.is_alive(start + Duration::from_secs(59)));
        assert!(!board.is_alive(start + Duration::from_secs(60)));
        board.beat_at(start + Duration::from_secs(50));
        assert!(board.is_alive(start + Duration::from_secs(109)));
        assert!(!board.is_alive(start + Duration::from_secs(110)));
        board.beat_at(start + Duration::from_secs(10));
        assert!(board.is_alive(start + Duration::from_secs(109)), "an older beat doesn't undo a newer one");
    }

    #[test]
    fn status_names_the_entities_of_open_incidents() {
        let board = Board::default();
        assert_eq!(board.status()["incidents"], json!({"open": 0, "newest": []}));
        let incident = OpenIncident {
            id: "sensors-0-7".into(),
            kind: Kind::Anomaly,
            severity: Severity::Critical,
            entity: "pump-7".into(),
            since: "2026-01-02T03:04:05Z".into(),
            anomalies: 3,
            peak_score: Some(9.5),
            limit: Some(4.5),
            top_feature: Some("pressure".into()),
            level_shift: false,
            members: None,
            members_open: None,
            worst_members: Vec::new(),
        };
        board.set_incidents(41, vec![incident]);
        let told = &board.status()["incidents"];
        assert_eq!((&told["open"], &told["newest"][0]["entity"]), (&json!(41), &json!("pump-7")));
        assert_eq!(
            (&told["newest"][0]["top_feature"], &told["newest"][0]["peak_score"]),
            (&json!("pressure"), &json!(9.5))
        );
    }

    #[test]
    fn status_counts_verdicts_where_feedback_is_read() {
        let board = Board::default();
        assert_eq!(board.status()["feedback"], Value::Null);
        board.set_feedback([3, 2, 1]);
        assert_eq!(board.status()["feedback"], json!({"true": 3, "false": 2, "expected_change": 1}));
    }

    #[test]
    fn status_counts_entities_by_how_well_they_are_known() {
        let board = Board::default();
        assert_eq!(board.status()["entities"], json!({"warming_up": 0, "cold": 0, "watched": 0}));
        board.set_entities(|state| state as usize + 4);
        assert_eq!(board.status()["entities"], json!({"warming_up": 4, "cold": 5, "watched": 6}));
    }

    #[test]
    fn status_tells_how_far_a_training_is_and_how_long_it_takes_at_most() {
        let board = Board::default();
        assert_eq!(board.status()["training"], Value::Null);
        board.set_training(Some(TrainingStatus::begun(50)));
        let begun = json!({"epoch": 0, "epochs": 50, "rows_per_second": null, "seconds_left": null});
        assert_eq!(board.status()["training"], begun);
        let report =
            EpochReport { epoch: 3, epochs: 50, rows: 9, training_loss: 0.5, validation_loss: 0.6, best_epoch: 3 };
        let timed = TimedEpoch { report, rows_per_second: 1_500.0, seconds_left: 94.0 };
        board.set_training(Some(TrainingStatus::from(&timed)));
        let told = json!({"epoch": 3, "epochs": 50, "rows_per_second": 1500.0, "seconds_left": 94.0});
        assert_eq!(board.status()["training"], told);
        board.set_training(None);
        assert_eq!(board.status()["training"], Value::Null);
    }

    #[test]
    fn status_tells_why_it_is_not_ready() {
        let board = Board::default();
        board.set_last_error("the disk is full");
        let status = board.status();
        assert_eq!(status["ready"], false);
        assert_eq!(status["source"]["error"], "not connected yet");
        assert_eq!(status["last_error"], "the disk is full");
        assert_eq!(status["model"], Value::Null);
    }
}
