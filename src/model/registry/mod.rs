//! The registry: a folder with one `.onnx` file per model, an index of them, and a file `current` that names the one in
//! use.
//!
//! Writers exclude each other by a lock. Each change is a row of single steps (write, sync, rename), and in whatever step
//! a writer is killed, the folder has a model in use that is whole: first the model's file, then the index, then the
//! pointer. What a killed writer left is taken in or cleared away by the next one. Readers need no lock and write
//! nothing, so a registry may be read-only to them.

mod contents;
mod disk;
mod error;
mod index;
mod verify;
mod writing;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use contents::Contents;
pub use error::RegistryError;
pub use index::{Entry, How, Promotion, State};
pub use verify::{Finding, Report, Severity};
pub use writing::Change;

use super::{Model, ModelError, version_of};

/// How long a writer waits for another one. They hold the lock for milliseconds; on a slow network disk for longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a reader begins anew because the pointer moved while it read.
const READS: usize = 5;

/// A folder of models.
#[derive(Debug, Clone)]
pub struct Registry {
    folder: PathBuf,
    keep: usize,
    patience: Duration,
}

impl Registry {
    /// The registry in `folder`, which need not exist yet. It drops no model.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), keep: usize::MAX, patience: PATIENCE }
    }

    /// The same, but it drops old models when a new one is stored, as [`Registry::prune`] does.
    #[must_use]
    pub fn keeping(self, models: usize) -> Self {
        Self { keep: models, ..self }
    }

    /// The same, but it waits for another writer at most so long.
    #[must_use]
    pub fn waiting(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The model in use. Without `current`, a single `.onnx` file is it (as put there by hand); none is `None`.
    ///
    /// # Errors
    /// The file is not the one that was stored, or can't be used; the index or the pointer can't be used.
    pub fn current(&self) -> Result<Option<Model>, ModelError> {
        for read in 1.. {
            let Some(name) = self.current_file()? else { return Ok(None) };
            // The index second: it knows a model before the pointer names it.
            let index = index::Index::read(&self.folder)?;
            let entry = index.as_ref().and_then(|index| index.of_file(&name));
            match contents::read_file(&self.folder, &name, entry) {
                Ok(model) => return Ok(Some(model)),
                // While this one was read, another one was put to use, and this one may be gone.
                Err(_) if read < READS && self.current_file()?.as_ref() != Some(&name) => {}
                Err(ModelError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => {
                    let path = self.folder.join(disk::POINTER);
                    return Err(RegistryError::PointsNowhere { path, name }.into());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Version of the model in use, without a look at the model: the pointer names it. Only a file that was put there by
    /// hand under a name of its own is read, and its content tells the version.
    pub fn current_version(&self) -> Result<Option<String>, ModelError> {
        let Some(name) = self.current_file()? else { return Ok(None) };
        if let Some(version) = disk::version_in(&name) {
            return Ok(Some(version.to_owned()));
        }
        let path = self.folder.join(&name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(version_of(&bytes))),
            Err(cause) => Err(ModelError::Io { path, cause }),
        }
    }

    /// Reads a model, whether in use or not, and makes sure that it is the one that was stored. A version's beginning
    /// will do where only one version begins like it.
    pub fn read(&self, version: &str) -> Result<Model, ModelError> {
        let entry = self.find(version)?;
        contents::read_file(&self.folder, &entry.file, Some(&entry))
    }

    /// What is known of a model. A version's beginning will do where only one version begins like it.
    pub fn find(&self, version: &str) -> Result<Entry, ModelError> {
        Ok(Contents::load(&self.folder)?.find(&self.folder, version)?.clone())
    }

    /// All models, the one stored last first.
    pub fn list(&self) -> Result<Vec<Entry>, ModelError> {
        let mut models = Contents::load(&self.folder)?.index.models;
        models.reverse();
        Ok(models)
    }

    /// Which models were put to use, the last one first.
    pub fn promotions(&self) -> Result<Vec<Promotion>, ModelError> {
        let mut promotions = Contents::load(&self.folder)?.index.promotions;
        promotions.reverse();
        Ok(promotions)
    }

    /// The file in use: the one that the pointer names, or the only one.
    fn current_file(&self) -> Result<Option<String>, RegistryError> {
        if let Some(name) = disk::read_pointer(&self.folder)? {
            return Ok(Some(name));
        }
        let files: Vec<String> =
            disk::names(&self.folder)?.into_iter().filter(|name| disk::is_model_file(name)).collect();
        contents::sole(&files).map_err(|count| RegistryError::Ambiguous { path: self.folder.clone(), count })
    }
}

#[cfg(test)]
mod tests;
