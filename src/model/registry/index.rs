//! The index: what the registry knows of each model beside its file, and which models were put to use, in order.
//!
//! It holds copies of what the files say, so that a table of models needs no reading of all of them, and what no file can
//! say: the full SHA-256, why a model was refused, and what was in use before. It never says which model is in use: that
//! is the pointer's word alone, so that the two can't contradict each other for longer than a kill between two writes.

use std::{fs, io::ErrorKind, path::Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{disk, error::RegistryError};
use crate::model::{Model, ModelError, metadata::Provenance, version_of};

/// The index's name in the folder.
pub(super) const FILE: &str = "index.json";
/// The only shape known so far.
const FORMAT: u32 = 1;
/// Promotions remembered; the oldest go first.
const MAX_PROMOTIONS: usize = 500;
/// What is said of a refused model when nobody said why.
const NO_REASON: &str = "no reason is known";

/// What a model is to the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// In use.
    Current,
    /// Was in use.
    Retired,
    /// Judged not fit for use; only force puts it to use.
    Refused,
    /// Was never in use.
    #[default]
    Candidate,
}

impl State {
    /// One word, as in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Retired => "retired",
            Self::Refused => "refused",
            Self::Candidate => "candidate",
        }
    }
}

/// A model in the registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// First 12 hexadecimal digits of the SHA-256.
    pub version: String,
    /// What it is to the registry; follows from the pointer and is not written into the index.
    #[serde(skip)]
    pub state: State,
    /// Its file in the registry's folder.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Length of the file.
    pub bytes: u64,
    /// Kind of network, or `foreign`.
    pub kind: String,
    /// The program that made it, with its version.
    pub program: String,
    /// The model that was in use when this one was made.
    pub parent: Option<String>,
    /// When it was stored, RFC 3339.
    pub stored: String,
    /// When it was last put to use, RFC 3339; follows from the promotions.
    #[serde(skip)]
    pub promoted: Option<String>,
    /// Why it was refused; empty if it was not.
    pub reasons: Vec<String>,
    /// Where it comes from, as its file says.
    pub provenance: Provenance,
}

impl Entry {
    /// What is known of a model whose file lies in no registry: all but its state and when it was stored and put to use.
    pub fn of_file(model: &Model, path: &Path) -> Self {
        Self { reasons: Vec::new(), ..Self::new(model, path.display().to_string(), String::new()) }
    }

    /// What is known of a model that lies in this file.
    pub(super) fn new(model: &Model, file: String, stored: String) -> Self {
        let refused = disk::is_refused_file(&file);
        let metadata = &model.metadata;
        Self {
            version: model.version.clone(),
            state: State::default(),
            file,
            sha256: sha256(&model.bytes),
            bytes: model.bytes.len() as u64,
            kind: metadata.graph.kind().to_owned(),
            program: metadata.program.clone(),
            parent: metadata.provenance.parent.clone(),
            stored,
            promoted: None,
            reasons: if refused { vec![NO_REASON.to_owned()] } else { Vec::new() },
            provenance: metadata.provenance.clone(),
        }
    }

    /// The same with these reasons for its refusal.
    pub(super) fn refused_for(mut self, reasons: &[String]) -> Self {
        self.reasons = if reasons.is_empty() { vec![NO_REASON.to_owned()] } else { reasons.to_vec() };
        self
    }

    /// Whether it was refused, in use or not.
    pub fn is_refused(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// How a model came to be in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It was made and put to use.
    Published,
    /// A person chose it.
    Promoted,
    /// It was in use before, and the one after it was taken back.
    RolledBack,
    /// Somebody else than this program wrote the pointer, or the index was lost.
    Found,
}

/// A model was put to use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    /// Counts up.
    pub number: u64,
    /// The model.
    pub version: String,
    /// When, RFC 3339.
    pub at: String,
    /// How it came about.
    pub how: How,
    /// Number of the promotion that a rollback goes back to.
    pub back_to: Option<u64>,
}

/// The document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    format: u32,
    /// In the order in which they were stored.
    pub(super) models: Vec<Entry>,
    /// Oldest first.
    pub(super) promotions: Vec<Promotion>,
    /// Files that are no longer models of this registry and are about to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) dropped: Vec<String>,
}

impl Default for Index {
    fn default() -> Self {
        Self { format: FORMAT, models: Vec::new(), promotions: Vec::new(), dropped: Vec::new() }
    }
}

impl Index {
    /// Reads the index; `None` where there is none.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, RegistryError> {
        let path = folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(RegistryError::Io { path, cause }),
        };
        Self::parse(&bytes).map(Some).map_err(|problem| RegistryError::Index { path, problem })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Shape {
            format: u32,
        }
        let shape: Shape = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if shape.format != FORMAT {
            return Err(format!("format {} is unknown to this program, expected {FORMAT}", shape.format));
        }
        let index: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        for (at, entry) in index.models.iter().enumerate() {
            let twice = |other: &Entry| other.version == entry.version || other.file == entry.file;
            if index.models[..at].iter().any(twice) {
                return Err(format!("it holds model {} in {} twice", entry.version, entry.file));
            }
        }
        let files = index.models.iter().map(|entry| &entry.file).chain(&index.dropped);
        match files.into_iter().find(|file| !disk::is_model_file(file)) {
            Some(file) => Err(format!("it names the file `{file}`, expected the name of an .onnx file in its folder")),
            None => Ok(index),
        }
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), RegistryError> {
        let mut text = serde_json::to_vec_pretty(self).expect("an index holds text and numbers only");
        text.push(b'\n');
        disk::write(&folder.join(FILE), &text)
    }

    pub(super) fn of_version(&self, version: &str) -> Option<&Entry> {
        self.models.iter().find(|entry| entry.version == version)
    }

    pub(super) fn of_file(&self, file: &str) -> Option<&Entry> {
        self.models.iter().find(|entry| entry.file == file)
    }

    /// Enters a promotion after which a rollback goes to `back_to`.
    pub(super) fn promote(&mut self, version: &str, how: How, at: String, back_to: Option<u64>) {
        let number = self.promotions.last().map_or(1, |last| last.number + 1);
        self.promotions.push(Promotion { number, version: version.to_owned(), at, how, back_to });
        let excess = self.promotions.len().saturating_sub(MAX_PROMOTIONS);
        self.promotions.drain(..excess);
    }

    /// Makes the promotions end with the model that the pointer names. A promotion is entered before the pointer moves, so
    /// after a kill in between the last one never came about; else somebody wrote the pointer by hand.
    pub(super) fn settle(&mut self, current: Option<&str>, written: impl FnOnce() -> String) {
        let Some(current) = current else { return };
        let of = |promotion: Option<&Promotion>| promotion.is_some_and(|promotion| promotion.version == current);
        if of(self.promotions.last()) {
            return;
        }
        if of(self.promotions.iter().rev().nth(1)) {
            self.promotions.pop();
        } else {
            let back_to = self.promotions.last().map(|last| last.number);
            self.promote(current, How::Found, written(), back_to);
        }
    }

    /// The models that rollbacks would put to use, the next one first, each with its promotion.
    pub(super) fn before(&self) -> Vec<&Promotion> {
        let Some(last) = self.promotions.last() else { return Vec::new() };
        let (mut at, mut seen, mut before) = (last, vec![&last.version], Vec::new());
        while let Some(back_to) = at.back_to.filter(|back_to| *back_to < at.number) {
            let Some(earlier) = self.promotions.iter().find(|promotion| promotion.number == back_to) else { break };
            if !seen.contains(&&earlier.version) && self.of_version(&earlier.version).is_some() {
                before.push(earlier);
                seen.push(&earlier.version);
            }
            at = earlier;
        }
        before
    }

    /// Fills in what follows from pointer and promotions.
    pub(super) fn derive_states(&mut self, current: Option<&str>) {
        for entry in &mut self.models {
            let last = self.promotions.iter().rev().find(|promotion| promotion.version == entry.version);
            entry.promoted = last.map(|promotion| promotion.at.clone());
            entry.state = match (Some(entry.file.as_str()) == current, entry.is_refused(), last) {
                (true, _, _) => State::Current,
                (_, true, _) => State::Refused,
                (_, _, Some(_)) => State::Retired,
                (_, _, None) => State::Candidate,
            };
        }
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes apart what a model file holds, once it is known to be what was stored.
pub(super) fn check(path: &Path, bytes: Vec<u8>, entry: Option<&Entry>) -> Result<Model, ModelError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let named = disk::version_in(name);
    if let Some(stored) = named {
        let found = version_of(&bytes);
        if found != stored {
            let (path, stored) = (path.to_path_buf(), stored.to_owned());
            return Err(RegistryError::AlteredByName { path, stored, found }.into());
        }
    }
    if let Some(entry) = entry {
        let (found, stored) = (sha256(&bytes), entry.sha256.clone());
        if found != stored && named.is_some() {
            let problem =
                format!("it says that the SHA-256 of {name} is {stored}, but the file, whose name agrees, has {found}");
            return Err(RegistryError::Index { path: path.with_file_name(FILE), problem }.into());
        }
        if found != stored {
            return Err(RegistryError::AlteredSinceStored { path: path.to_path_buf(), stored, found }.into());
        }
    }
    Model::from_bytes(bytes).map_err(|cause| cause.of_file(path))
}
