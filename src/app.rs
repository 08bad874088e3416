//! The only place that knows every part: puts them together and runs them.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use crate::{
    config::{
        Loaded,
        settings::{KafkaSettings, Role, Settings},
    },
    detect::{LoadError, Scorers, device::DeviceError, runtime::Runtime, runtime::RuntimeError},
    http::{
        HttpError, HttpServer,
        admin::{Admin, TokenError},
    },
    kafka::output_schemas,
    model::{Model, ModelError, metadata::GraphOrigin, registry::Registry},
    pipeline::{
        Observer, Sink, Source, device,
        learning::{Learning, Request},
        registered,
        run::{self, Parts, Plan, RunError, RunSummary, Start},
    },
    telemetry::{
        board::{Board, Phase},
        metrics::Metrics,
    },
    train::{
        TimedEpoch,
        recipe::{Foreign, Recipe},
    },
};

/// How much longer than the shutdown deadline a stuck part may take before the program ends without it.
const GRACE: Duration = Duration::from_secs(3);
/// The longest that a waiting process takes to see that it shall stop.
const LONGEST_NAP: Duration = Duration::from_millis(500);

/// Why the program can't start or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// No ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The device can't be had.
    #[error("runtime.device: {0}")]
    Device(#[from] DeviceError),
    /// No metrics and probes.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The admin token can't be read.
    #[error("http.admin_token_file: {0}")]
    Token(#[from] TokenError),
    /// The model file can't be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The foreign graph can't be used.
    #[error("model.file {file}: {cause}")]
    Foreign {
        /// The file.
        file: String,
        /// What is wrong with it.
        cause: LoadError,
    },
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A thread of the demo died.
    #[error("{0} was lost on the way")]
    Lost(String),
    /// The thread that waits for signals can't be started.
    #[error("signals can't be waited for: {0}")]
    Signals(std::io::Error),
}

/// The parts of a daemon, ready to run.
pub struct App {
    settings: Arc<Settings>,
    config_sha256: String,
    runtime: Runtime,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    http: Option<HttpServer>,
    /// Where requests for a new model come in; taken by the run that trains. `None` in a process that never does.
    requests: Mutex<Option<Receiver<Request>>>,
}

/// What a run reads from, writes to, and who watches.
pub struct Ends<'a> {
    /// Where records come from.
    pub source: &'a mut dyn Source,
    /// Where outputs go.
    pub sink: &'a mut dyn Sink,
    /// Who watches the records end.
    pub observer: &'a mut dyn Observer,
    /// Who hears of training epochs.
    pub progress: &'a mut dyn FnMut(&TimedEpoch),
}

impl App {
    /// Loads ONNX Runtime and starts metrics and probes.
    pub fn build(loaded: &Loaded) -> Result<Self, AppError> {
        let settings = Arc::new(loaded.settings.clone());
        let metrics = Arc::new(Metrics::new());
        metrics.role(settings.role.as_str());
        let board = Arc::new(Board::new(std::time::Instant::now()));
        let (sender, receiver) = channel();
        let trains = settings.role != Role::Scorer;
        let token_file = settings.http.admin_token_file.as_deref();
        let admin = token_file.map(|file| Admin::new(file, trains.then_some(sender))).transpose()?;
        // Probes answer first: whatever fails after this can be seen from outside.
        let http = settings
            .http
            .listen
            .map(|listen| HttpServer::start(listen, Arc::clone(&metrics), Arc::clone(&board), admin))
            .transpose()?;
        let runtime = Runtime::of(&settings)?;
        tracing::debug!(library = %runtime.library().display(), "ONNX Runtime loaded");
        Ok(Self {
            settings,
            config_sha256: loaded.training_sha256.clone(),
            runtime,
            metrics,
            board,
            http,
            requests: Mutex::new(trains.then_some(receiver)),
        })
    }

    /// Where metrics and probes can be read.
    pub fn http_address(&self) -> Option<std::net::SocketAddr> {
        self.http.as_ref().map(HttpServer::address)
    }

    /// The metrics of this run.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The model to begin with (the named file, else the registry's, else a cold start), and what goes on beside the
    /// scoring. A scorer waits for the registry to have one; `None` when it was told to stop before.
    pub fn plan(&self, stop: &AtomicBool) -> Result<Option<Plan>, AppError> {
        let registry = Registry::new(&self.settings.model.registry).keeping(self.settings.model.keep);
        let (start, recipe) = match &self.settings.model.file {
            None => (registry.current()?, self.recipe(None)),
            Some(file) => match Model::read(file) {
                // Somebody chose this model, so nobody else shall choose another.
                Ok(model) => {
                    tracing::info!(file = %file.display(), "model.file is set: no other model is trained or taken up");
                    // Whoever asks for a training is told that there is nobody to ask.
                    drop(self.take_requests());
                    return Ok(Some(Start::Model(Arc::new(model)).into()));
                }
                Err(error) if error.is_foreign() => {
                    let foreign = foreign(&self.runtime, file, &self.settings)?;
                    let adopted = registry.current()?.filter(|model| is_adoption_of(model, &foreign));
                    (adopted, self.recipe(Some(foreign)))
                }
                Err(error) => return Err(error.into()),
            },
        };
        let start = match start {
            Some(model) => {
                if self.settings.role != Role::Scorer
                    && let Err(error) = registry.probe()
                {
                    tracing::warn!("new models can't be stored as things are, and each training will try: {error}");
                }
                Start::Model(Arc::new(model))
            }
            None if self.settings.role == Role::Scorer => {
                match self.wait_for_model(&registry, recipe.foreign.as_ref(), stop) {
                    Some(model) => Start::Model(Arc::new(model)),
                    None => return Ok(None),
                }
            }
            None => {
                registry.probe()?;
                Start::ColdStart { recipe: Box::new(recipe.clone()), registry: registry.clone() }
            }
        };
        let learning = self.take_requests().map(|requests| Learning {
            recipe,
            registry: registry.clone(),
            requests,
            // Differs between processes and hosts, which is all that it is for.
            seed: RandomState::new().hash_one(std::process::id()),
        });
        Ok(Some(Plan { start, follow: Some(registry), learning, feedback: None, state: None }))
    }

    fn take_requests(&self) -> Option<Receiver<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn recipe(&self, foreign: Option<Foreign>) -> Recipe {
        Recipe {
            settings: Arc::clone(&self.settings),
            scorers: Arc::new(self.runtime.clone()),
            foreign,
            source: self.settings.kafka.input_topic.clone(),
            config_sha256: self.config_sha256.clone(),
            created: run::now(),
            parent: None,
        }
    }

    /// A scorer without a model isn't ready, and no member of its group: its partitions go to those who can score.
    /// What is wrong with the registry meanwhile is told and waited for too. With another tool's graph, only what was fitted
    /// for it will do.
    fn wait_for_model(&self, registry: &Registry, foreign: Option<&Foreign>, stop: &AtomicBool) -> Option<Model> {
        let folder = self.settings.model.registry.display();
        tracing::info!(registry = %folder, "no model yet: waiting for a trainer to store one");
        self.board.set_phase(Phase::WaitingForModel);
        let mut told = String::new();
        while !stop.load(Ordering::Relaxed) {
            match registry.current() {
                Ok(Some(model)) if foreign.is_none_or(|foreign| is_adoption_of(&model, foreign)) => {
                    self.board.clear_last_error();
                    return Some(model);
                }
                Ok(_) => {}
                Err(error) if error.to_string() == told => {}
                Err(error) => {
                    told = error.to_string();
                    self.board.set_last_error(told.as_str());
                    tracing::warn!("the registry can't be read, trying again: {told}");
                }
            }
            self.board.beat();
            std::thread::sleep(self.settings.model.poll_interval.min(LONGEST_NAP));
        }
        None
    }

    /// Waits, not ready, until the device of `runtime.device` can be had. To be called before anything is read. `false`
    /// where `stop` was set first.
    pub fn wait_for_device(&self, start: &Start, stop: &AtomicBool) -> bool {
        let model = match start {
            Start::Model(model) => Some(&**model),
            Start::ColdStart { .. } => None,
        };
        let there = device::wait_for_device(|| self.runtime.try_device(model), &self.board, stop);
        if there {
            self.metrics.device(&self.runtime.device().to_string(), self.runtime.fell_back());
        }
        there
    }

    /// Waits, not ready, until the schemas of what is written are registered, where they have to be. To be called before the sink
    /// is made and anything is read. `false` where `stop` was set first.
    pub fn wait_for_schemas(&self, kafka: &KafkaSettings, stop: &AtomicBool) -> bool {
        let kafka = kafka.clone();
        registered::wait_for_schemas(move || output_schemas::register(&kafka), &self.board, stop)
    }

    /// Runs until the source ends or `stop` is set.
    pub fn run(&self, plan: impl Into<Plan>, ends: Ends<'_>, stop: &AtomicBool) -> Result<RunSummary, AppError> {
        let Ends { source, sink, observer, progress } = ends;
        let parts = Parts { source, sink, observer, progress, metrics: &self.metrics, board: &self.board, stop };
        Ok(run::run(parts, plan, &self.settings, &self.runtime)?)
    }
}

/// Whether the model is this graph with scaler and limit fitted for it.
fn is_adoption_of(model: &Model, foreign: &Foreign) -> bool {
    matches!(model.metadata.graph, GraphOrigin::Foreign { .. }) && model.bytes.starts_with(&foreign.bytes)
}

/// Reads a graph that another tool exported, with the scaler from the configuration.
pub fn foreign(runtime: &Runtime, file: &std::path::Path, settings: &Settings) -> Result<Foreign, AppError> {
    let bytes = std::fs::read(file).map_err(|cause| ModelError::Io { path: file.to_path_buf(), cause })?;
    let ports =
        runtime.foreign_ports(&bytes).map_err(|cause| AppError::Foreign { file: file.display().to_string(), cause })?;
    let scaler = settings.model.foreign.as_ref().and_then(|given| Some((given.center.clone()?, given.scale.clone()?)));
    Ok(Foreign { name: file.display().to_string(), bytes: bytes.into(), ports, scaler })
}

/// Sets `stop` on SIGTERM or SIGINT, and ends the program when draining takes much longer than its deadline.
pub fn stop_on_signals(stop: Arc<AtomicBool>, deadline: Duration) -> Result<(), AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AppError::Signals)?;
    let mut terminate = {
        let _guard = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(AppError::Signals)?
    };
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
                _ = tokio::signal::ctrl_c() => tracing::info!("SIGINT: draining"),
            }
            stop.store(true, Ordering::SeqCst);
            tokio::time::sleep(deadline + GRACE).await;
            tracing::error!("the data path did not drain by the deadline; uncommitted records will be read again");
            std::process::exit(1);
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(AppError::Signals)?;
    Ok(())
}
