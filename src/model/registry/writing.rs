//! Changes of the registry. Each is made under the lock, in single steps that a kill may part anywhere.

use std::path::{Path, PathBuf};

use super::{
    Registry,
    contents::{self, Contents},
    disk::{self, Lock},
    error::RegistryError,
    index::{Entry, How},
};
use crate::model::{Model, ModelError};

/// Another model was put to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The model in use before.
    pub from: Option<String>,
    /// The model in use now; the same if it was in use already.
    pub to: String,
}

impl Registry {
    /// Makes sure that models can be stored here, so that nobody learns of it only after a training.
    pub fn probe(&self) -> Result<(), ModelError> {
        let _lock = Lock::to_write(&self.folder, self.patience)?;
        let probe = self.folder.join(disk::PROBE);
        disk::write(&probe, b"")?;
        Ok(disk::remove(&probe)?)
    }

    /// Stores the model, puts it to use, and drops old models. `parent` is the model that was in use when this one was
    /// made; left out, it is what the model itself says.
    ///
    /// # Errors
    /// The model can't be read back or stored. The one in use before stays in use.
    pub fn publish(&self, model: &Model, parent: Option<&str>) -> Result<PathBuf, ModelError> {
        Writing::begin(self)?.publish(model, parent)
    }

    /// The same, but only while the model `before` is in use (`None`: while none is): what was trained and weighed against
    /// one model must not push out another that somebody put to use meanwhile. `None` where another one is.
    ///
    /// # Errors
    /// As [`Registry::publish`].
    pub fn publish_after(&self, model: &Model, before: Option<&str>) -> Result<Option<PathBuf>, ModelError> {
        let writing = Writing::begin(self)?;
        if writing.contents.current_version() == before { writing.publish(model, before).map(Some) } else { Ok(None) }
    }

    /// Stores a model that was judged unfit, with the reasons. It stays out of use unless it is promoted by force. A model
    /// that is stored already and was not refused stays what it is.
    ///
    /// # Errors
    /// The model can't be read back or stored.
    pub fn keep_refused(&self, model: &Model, parent: Option<&str>, reasons: &[String]) -> Result<PathBuf, ModelError> {
        let mut writing = Writing::begin(self)?;
        if let Some(known) = writing.contents.index.of_version(&model.version).filter(|known| !known.is_refused()) {
            return Ok(self.folder.join(&known.file));
        }
        let file = disk::refused_file_of(&model.version);
        let mut entry = Entry::new(model, file.clone(), disk::now()).refused_for(reasons);
        entry.parent = parent.map(str::to_owned).or(entry.parent);
        writing.store(model, entry)?;
        writing.prune_what_is_too_much();
        Ok(self.folder.join(file))
    }

    /// Puts a model to use that is stored already; a refused one only by `force`. A version's beginning will do where
    /// only one version begins like it.
    ///
    /// # Errors
    /// There is no such model, it was refused, or its file is not the one that was stored.
    pub fn promote(&self, version: &str, force: bool) -> Result<Change, ModelError> {
        let mut writing = Writing::begin(self)?;
        let entry = writing.contents.find(&self.folder, version)?.clone();
        if entry.is_refused() && !force && Some(&entry.file) != writing.contents.current.as_ref() {
            return Err(RegistryError::Refused { version: entry.version, reasons: entry.reasons }.into());
        }
        contents::read_file(&self.folder, &entry.file, Some(&entry))?;
        writing.put_to_use(&entry.version, How::Promoted, None)
    }

    /// Puts the model to use that was in use before. Two rollbacks go two models back; models that were dropped since
    /// are passed over.
    ///
    /// # Errors
    /// No model was in use before, or its file is not the one that was stored.
    pub fn rollback(&self) -> Result<Change, ModelError> {
        let mut writing = Writing::begin(self)?;
        let before = writing.contents.index.before().first().map(|&earlier| earlier.clone());
        let earlier = before.ok_or_else(|| RegistryError::NothingBefore { path: self.folder.clone() })?;
        let entry = writing.contents.find(&self.folder, &earlier.version)?.clone();
        contents::read_file(&self.folder, &entry.file, Some(&entry))?;
        writing.put_to_use(&entry.version, How::RolledBack, Some(earlier.back_to))
    }

    /// Drops the models stored first until `keep` are left, and gives them. Never dropped are the model in use, those
    /// that rollbacks would put to use (so many that they and the one in use are half of `keep`, at least one: refused
    /// candidates must not push out what can be gone back to), the model stored last, and files that somebody put there
    /// under a name of their own.
    pub fn prune(&self, keep: usize) -> Result<Vec<Entry>, ModelError> {
        Writing::begin(self)?.prune(keep)
    }
}

/// A change under way.
pub(super) struct Writing<'a> {
    registry: &'a Registry,
    pub(super) contents: Contents,
    _lock: Lock,
}

impl<'a> Writing<'a> {
    /// Takes the lock and puts in order what a killed writer may have left.
    pub(super) fn begin(registry: &'a Registry) -> Result<Self, ModelError> {
        let lock = Lock::to_write(&registry.folder, registry.patience)?;
        disk::clear_leftovers(&registry.folder)?;
        let contents = Contents::load(&registry.folder)?;
        let mut writing = Self { registry, contents, _lock: lock };
        writing.remove_dropped()?;
        Ok(writing)
    }

    fn publish(mut self, model: &Model, parent: Option<&str>) -> Result<PathBuf, ModelError> {
        let file = disk::file_of(&model.version);
        let mut entry = Entry::new(model, file.clone(), disk::now());
        entry.parent = parent.map(str::to_owned).or(entry.parent);
        self.store(model, entry)?;
        self.put_to_use(&model.version, How::Published, None)?;
        self.prune_what_is_too_much();
        Ok(self.folder().join(file))
    }

    fn folder(&self) -> &'a Path {
        &self.registry.folder
    }

    /// Stores the model's file, and then enters it into the index.
    fn store(&mut self, model: &Model, entry: Entry) -> Result<(), ModelError> {
        let path = self.folder().join(&entry.file);
        // What can't be read back would be found out only when it is needed.
        Model::from_bytes(model.bytes.to_vec()).map_err(|cause| cause.of_file(&path))?;
        self.point_to_the_only_model()?;
        let is_new = !path.exists();
        disk::write(&path, &model.bytes)?;
        let index = &mut self.contents.index;
        if let Some(at) = index.models.iter().position(|known| known.version == entry.version) {
            let known = index.models.remove(at);
            let is_ours = disk::version_in(&known.file).is_some();
            if is_ours && known.file != entry.file && self.contents.current.as_ref() != Some(&known.file) {
                index.dropped.push(known.file);
            }
        }
        index.models.push(entry);
        let entered = self.contents.index.write(self.folder());
        if entered.is_err() && is_new {
            // Best effort: on a full disk the space is needed, and the error is what matters.
            let _ = disk::remove(&path);
        }
        entered?;
        self.remove_dropped()
    }

    /// A model that is in use because it is the only one must stay in use when it no longer is.
    fn point_to_the_only_model(&mut self) -> Result<(), ModelError> {
        if let (Ok(None), Some(current)) = (&self.contents.pointer, &self.contents.current) {
            disk::write(&self.folder().join(disk::POINTER), current.as_bytes())?;
            self.contents.pointer = Ok(Some(current.clone()));
        }
        Ok(())
    }

    /// Enters the promotion, and then moves the pointer. `back_to` is where the next rollback goes; left out, it is the
    /// promotion before this one.
    fn put_to_use(&mut self, version: &str, how: How, back_to: Option<Option<u64>>) -> Result<Change, ModelError> {
        let from = self.contents.current_version().map(str::to_owned);
        let folder = self.folder();
        let entry = self.contents.find(folder, version)?;
        let (file, version) = (entry.file.clone(), entry.version.clone());
        if from.as_ref() != Some(&version) {
            let index = &mut self.contents.index;
            let back_to = back_to.unwrap_or_else(|| index.promotions.last().map(|last| last.number));
            index.promote(&version, how, disk::now(), back_to);
        }
        self.contents.index.write(folder)?;
        if !self.contents.has_pointer() || self.contents.current.as_ref() != Some(&file) {
            disk::write(&folder.join(disk::POINTER), file.as_bytes())?;
        }
        self.contents.pointer = Ok(Some(file.clone()));
        self.contents.current = Some(file);
        self.contents.index.derive_states(self.contents.current.as_deref());
        Ok(Change { from, to: version })
    }

    /// The model is stored and in use: that an old one can't be dropped is no reason to say that this failed.
    fn prune_what_is_too_much(&mut self) {
        match self.prune(self.registry.keep) {
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "old models could not be dropped; the next one stored tries again"),
        }
    }

    fn prune(&mut self, keep: usize) -> Result<Vec<Entry>, ModelError> {
        let index = &self.contents.index;
        let before = index.before();
        let spared = before.iter().take((keep / 2).saturating_sub(1).max(1)).map(|promotion| &promotion.version);
        let newest = index.models.last().map(|entry| &entry.version);
        let spared: Vec<&String> = spared.chain(newest).collect();
        let may_go = |entry: &&Entry| {
            let is_ours = disk::version_in(&entry.file).is_some();
            is_ours && Some(&entry.file) != self.contents.current.as_ref() && !spared.contains(&&entry.version)
        };
        let excess = index.models.len().saturating_sub(keep);
        let dropped: Vec<Entry> = index.models.iter().filter(may_go).take(excess).cloned().collect();
        if dropped.is_empty() {
            return Ok(dropped);
        }
        let index = &mut self.contents.index;
        index.models.retain(|entry| !dropped.contains(entry));
        index.dropped.extend(dropped.iter().map(|entry| entry.file.clone()));
        self.contents.index.write(self.folder())?;
        self.remove_dropped()?;
        for entry in &dropped {
            let (model, state, stored) = (&entry.version, entry.state.as_str(), &entry.stored);
            tracing::info!(
                model,
                state,
                stored,
                keep,
                "model dropped from the registry, which holds more than it keeps"
            );
        }
        Ok(dropped)
    }

    /// Removes the files that the index no longer counts as models, and then forgets them: a file that somebody restores
    /// later is a model again.
    fn remove_dropped(&mut self) -> Result<(), ModelError> {
        let dropped = std::mem::take(&mut self.contents.index.dropped);
        if dropped.is_empty() {
            return Ok(());
        }
        dropped.iter().try_for_each(|file| disk::remove(&self.folder().join(file)))?;
        Ok(self.contents.index.write(self.folder())?)
    }
}
