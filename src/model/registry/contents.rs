//! What lies in a registry's folder, seen as a whole: the index, brought up to date with the files and the pointer.

use std::{fs, path::Path};

use super::{
    disk,
    error::RegistryError,
    index::{self, Entry, Index},
};
use crate::model::{Model, ModelError};

/// The folder as it was found.
pub(super) struct Contents {
    /// The index, with sound files that it did not know and with the pointer's word on what is in use.
    pub(super) index: Index,
    /// Whether there was an index.
    pub(super) indexed: bool,
    /// What the pointer says.
    pub(super) pointer: Result<Option<String>, RegistryError>,
    /// The file in use: the pointer's, or the only one.
    pub(super) current: Option<String>,
    /// Files that the index did not know.
    pub(super) found: Vec<String>,
    /// Files that it did not know and that can't be read.
    pub(super) unreadable: Vec<(String, ModelError)>,
}

impl Contents {
    /// Looks at the folder, which need not exist; a damaged index is an error.
    pub(super) fn load(folder: &Path) -> Result<Self, ModelError> {
        let index = Index::read(folder)?;
        Self::with_index(folder, index)
    }

    /// The same with this index in place of the one in the folder.
    pub(super) fn with_index(folder: &Path, index: Option<Index>) -> Result<Self, ModelError> {
        let pointer = disk::read_pointer(folder);
        let files: Vec<String> = disk::names(folder)?.into_iter().filter(|name| disk::is_model_file(name)).collect();
        let current = match &pointer {
            Ok(None) => sole(&files).ok().flatten(),
            Ok(Some(name)) => Some(name.clone()),
            Err(_) => None,
        };
        let (found, unreadable) = (Vec::new(), Vec::new());
        let indexed = index.is_some();
        let mut contents = Self { index: index.unwrap_or_default(), indexed, pointer, current, found, unreadable };
        contents.take_in(folder, &files);
        contents.settle(folder);
        Ok(contents)
    }

    /// Enters the files that the index doesn't know: put there by hand, or by a writer that was killed before it could
    /// enter them.
    fn take_in(&mut self, folder: &Path, files: &[String]) {
        let mut entries = Vec::new();
        for name in files {
            if self.index.of_file(name).is_some() || self.index.dropped.contains(name) {
                continue;
            }
            match read_file(folder, name, None) {
                Ok(model) => entries.push(Entry::new(&model, name.clone(), disk::written_at(&folder.join(name)))),
                Err(ModelError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => self.unreadable.push((name.clone(), error)),
            }
        }
        entries.sort_by(|one, other| {
            (&one.provenance.created, &one.stored, &one.file).cmp(&(
                &other.provenance.created,
                &other.stored,
                &other.file,
            ))
        });
        for entry in entries {
            self.found.push(entry.file.clone());
            // Of two files with the same content the first one stands for both.
            if self.index.of_version(&entry.version).is_none() {
                self.index.models.push(entry);
            }
        }
    }

    /// Brings promotions and states up to date with the file in use.
    pub(super) fn settle(&mut self, folder: &Path) {
        let version = self.current_version().map(str::to_owned);
        let pointer = if self.has_pointer() { Some(disk::POINTER) } else { self.current.as_deref() };
        let at = folder.join(pointer.unwrap_or_default());
        self.index.settle(version.as_deref(), || disk::written_at(&at));
        self.index.derive_states(self.current.as_deref());
    }

    /// Whether the pointer names a file.
    pub(super) fn has_pointer(&self) -> bool {
        matches!(self.pointer, Ok(Some(_)))
    }

    /// Version of the file in use, where it is known.
    pub(super) fn current_version(&self) -> Option<&str> {
        let file = self.current.as_deref()?;
        self.index.of_file(file).map(|entry| entry.version.as_str()).or_else(|| disk::version_in(file))
    }

    /// The model of this version, or of the only version that begins like this.
    pub(super) fn find(&self, folder: &Path, asked: &str) -> Result<&Entry, RegistryError> {
        if let Some(entry) = self.index.of_version(asked) {
            return Ok(entry);
        }
        let begins = |entry: &&Entry| !asked.is_empty() && entry.version.starts_with(asked);
        let candidates: Vec<&Entry> = self.index.models.iter().filter(begins).collect();
        let (path, asked) = (folder.to_path_buf(), asked.to_owned());
        match candidates.as_slice() {
            [one] => Ok(one),
            [] => Err(RegistryError::NoSuchVersion { path, asked }),
            several => {
                let versions = several.iter().map(|entry| entry.version.clone()).collect();
                Err(RegistryError::SeveralVersions { path, asked, versions })
            }
        }
    }
}

/// Without a pointer, the only model is the one in use, as put there by hand. `Err` with their number if there are
/// several; refused ones don't count.
pub(super) fn sole(files: &[String]) -> Result<Option<String>, usize> {
    let usable: Vec<&String> = files.iter().filter(|name| !disk::is_refused_file(name)).collect();
    match usable.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some((*one).clone())),
        several => Err(several.len()),
    }
}

/// Reads a file of the registry and makes sure that it is what was stored.
pub(super) fn read_file(folder: &Path, name: &str, entry: Option<&Entry>) -> Result<Model, ModelError> {
    let path = folder.join(name);
    let bytes = fs::read(&path).map_err(|cause| ModelError::Io { path: path.clone(), cause })?;
    index::check(&path, bytes, entry)
}
