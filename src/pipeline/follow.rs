//! Following the registry's pointer: a thread of its own looks for another model, loads it, runs its golden rows, and
//! hands it over ready for work. The record's way is never held up by a disk or by ONNX Runtime.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel},
    },
    thread::Scope,
};

use super::{prepared::Prepared, run::RunError};
use crate::{config::settings::Settings, detect::Scorers, model::registry::Registry};

/// What the follower found.
pub(super) enum News {
    /// Another model is in use from now on.
    Model(Box<Prepared>),
    /// The registry names a model that can't be used, or can't be read; told once until that changes.
    Failed(String),
}

/// The other end of the follower's thread; it stops when this is dropped.
pub(super) struct Follower {
    news: Receiver<News>,
    /// Whether it was told that the thread has died.
    gone: bool,
    /// Never sends: that it goes away is the signal.
    #[expect(dead_code, reason = "kept for its end")]
    stop: Sender<()>,
}

impl Follower {
    /// Starts to follow `registry` from the model `version`, which is in use now; `None` where none is.
    pub(super) fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        registry: Registry,
        version: Option<String>,
        (settings, scorers): (&'env Settings, &'env dyn Scorers),
    ) -> Result<Self, RunError> {
        let (stop, stopped) = channel();
        // One model waits at most: whoever is late shall not find a queue of old ones.
        let (sender, news) = sync_channel(1);
        let mut watch = Watch { registry, version, told: None, settings, scorers };
        let follow = move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(settings.model.poll_interval) {
                if !watch.look(&sender) {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("registry".to_owned())
            .spawn_scoped(scope, follow)
            .map_err(RunError::Thread)?;
        Ok(Self { news, gone: false, stop })
    }

    /// What was found since the last look.
    pub(super) fn news(&mut self) -> Option<News> {
        match self.news.try_recv() {
            Ok(news) => Some(news),
            Err(TryRecvError::Disconnected) if !std::mem::replace(&mut self.gone, true) => Some(News::Failed(
                "the thread that looks for other models has died; its message stands above".to_owned(),
            )),
            Err(_) => None,
        }
    }
}

/// The follower's own side.
struct Watch<'a> {
    registry: Registry,
    /// The model that was handed over last.
    version: Option<String>,
    /// The failure that was told last.
    told: Option<String>,
    settings: &'a Settings,
    scorers: &'a dyn Scorers,
}

impl Watch<'_> {
    /// Looks once; false when nobody listens any more.
    fn look(&mut self, news: &SyncSender<News>) -> bool {
        match self.another() {
            Ok(None) => {
                self.told = None;
                true
            }
            Ok(Some(prepared)) => {
                self.told = None;
                self.version = Some(prepared.model().version.clone());
                news.send(News::Model(Box::new(prepared))).is_ok()
            }
            Err(error) if self.told.as_ref() == Some(&error) => true,
            Err(error) => {
                self.told = Some(error.clone());
                news.send(News::Failed(error)).is_ok()
            }
        }
    }

    /// The model that the registry points to, if it is another one than that in use.
    fn another(&self) -> Result<Option<Prepared>, String> {
        let named = self.registry.current_version().map_err(|error| error.to_string())?;
        // A registry that was emptied is no reason to stop scoring.
        if named.is_none() || named == self.version {
            return Ok(None);
        }
        let prepared = prepare_current(&self.registry, self.settings, self.scorers)?;
        Ok(prepared.filter(|prepared| Some(&prepared.model().version) != self.version.as_ref()))
    }
}

/// The model that the registry points to, made ready for work.
pub(super) fn prepare_current(
    registry: &Registry,
    settings: &Settings,
    scorers: &dyn Scorers,
) -> Result<Option<Prepared>, String> {
    let Some(model) = registry.current().map_err(|error| error.to_string())? else { return Ok(None) };
    let version = model.version.clone();
    let prepared = Prepared::new(Arc::new(model), settings, scorers);
    prepared.map(Some).map_err(|error| format!("model {version}: {error}"))
}
