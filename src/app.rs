//! The only place that knows every part: puts them together and runs them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    config::{Loaded, settings::Settings},
    detect::{LoadError, Scorers, runtime::Runtime, runtime::RuntimeError},
    http::{HttpError, HttpServer},
    model::{Model, ModelError, metadata::GraphOrigin, registry::Registry},
    pipeline::{
        Observer, Sink, Source, device,
        run::{self, Parts, RunError, RunSummary, Start},
    },
    telemetry::{board::Board, metrics::Metrics},
    train::{
        EpochReport,
        recipe::{Foreign, Recipe},
    },
};

/// How much longer than the shutdown deadline a stuck part may take before the program ends without it.
const GRACE: Duration = Duration::from_secs(3);

/// Why the program can't start or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// No ONNX Runtime.
    #[error("{0}")]
    Runtime(#[from] RuntimeError),
    /// No metrics and probes.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// The model file can't be used.
    #[error("{0}")]
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
    #[error("{0}")]
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
    pub progress: &'a mut dyn FnMut(&EpochReport),
}

impl App {
    /// Loads ONNX Runtime and starts metrics and probes.
    pub fn build(loaded: &Loaded) -> Result<Self, AppError> {
        let settings = Arc::new(loaded.settings.clone());
        let metrics = Arc::new(Metrics::new());
        let board = Arc::new(Board::new(std::time::Instant::now()));
        // Probes answer first: whatever fails after this can be seen from outside.
        let http = settings
            .http
            .listen
            .map(|listen| HttpServer::start(listen, Arc::clone(&metrics), Arc::clone(&board)))
            .transpose()?;
        let runtime = Runtime::of(&settings)?;
        tracing::debug!(library = %runtime.library().display(), "ONNX Runtime loaded");
        Ok(Self { settings, config_sha256: loaded.training_sha256.clone(), runtime, metrics, board, http })
    }

    /// Where metrics and probes can be read.
    pub fn http_address(&self) -> Option<std::net::SocketAddr> {
        self.http.as_ref().map(HttpServer::address)
    }

    /// The metrics of this run.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The model to begin with: the named file, else the registry's, else a cold start.
    pub fn start(&self) -> Result<Start, AppError> {
        let registry = Registry::new(&self.settings.model.registry);
        let Some(file) = &self.settings.model.file else {
            return match registry.current()? {
                Some(model) => Ok(Start::Model(Arc::new(model))),
                None => self.cold_start(None, registry),
            };
        };
        match Model::read(file) {
            Ok(model) => Ok(Start::Model(Arc::new(model))),
            Err(error) if error.is_foreign() => self.adopt(file, registry),
            Err(error) => Err(error.into()),
        }
    }

    /// A graph from another tool: use what was fitted for it before, else fit scaler and limit from a cold start.
    fn adopt(&self, file: &std::path::Path, registry: Registry) -> Result<Start, AppError> {
        let foreign = foreign(&self.runtime, file, &self.settings)?;
        let adopted = registry.current()?.filter(|model| {
            matches!(model.metadata.graph, GraphOrigin::Foreign { .. }) && model.bytes.starts_with(&foreign.bytes)
        });
        match adopted {
            Some(model) => Ok(Start::Model(Arc::new(model))),
            None => self.cold_start(Some(foreign), registry),
        }
    }

    fn cold_start(&self, foreign: Option<Foreign>, registry: Registry) -> Result<Start, AppError> {
        registry.probe()?;
        let recipe = Recipe {
            settings: Arc::clone(&self.settings),
            scorers: Arc::new(self.runtime.clone()),
            foreign,
            source: self.settings.kafka.input_topic.clone(),
            config_sha256: self.config_sha256.clone(),
            created: run::now(),
        };
        Ok(Start::ColdStart { recipe: Box::new(recipe), registry })
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

    /// Runs until the source ends or `stop` is set.
    pub fn run(&self, start: Start, ends: Ends<'_>, stop: &AtomicBool) -> Result<RunSummary, AppError> {
        let Ends { source, sink, observer, progress } = ends;
        let parts = Parts { source, sink, observer, progress, metrics: &self.metrics, board: &self.board, stop };
        Ok(run::run(parts, start, &self.settings, &self.runtime)?)
    }
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
