//! Whether a registry is whole: every file against its hash, its name and its metadata, the index against the files, the
//! pointer, and what killed writers left.

use std::{fs, io::ErrorKind};

use super::{
    Registry,
    contents::{self, Contents},
    disk::{self, Lock},
    error::RegistryError,
    index::{self, Entry, Index},
    writing::Writing,
};
use crate::model::{Model, ModelError};

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// A model, the index or the pointer can't be used.
    Error,
    /// Worth knowing; nothing is wrong.
    Note,
}

impl Severity {
    /// One word, as in texts and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Note => "note",
        }
    }
}

/// Something about a file of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// The file in the registry's folder.
    pub file: String,
    /// What is to be said, with the file's name and what to do.
    pub problem: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Models that the index knows, or that lie in the folder and can be used.
    pub models: usize,
    /// Findings in the order of the look: index, models, pointer, leftovers.
    pub findings: Vec<Finding>,
    /// What was repaired, one sentence each.
    pub repairs: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Note)
    }

    fn find(&mut self, severity: Severity, file: &str, problem: impl std::fmt::Display) {
        self.findings.push(Finding { severity, file: file.to_owned(), problem: problem.to_string() });
    }
}

impl Registry {
    /// Looks at everything, and changes nothing.
    ///
    /// # Errors
    /// The folder can't be read. Whatever is wrong in it is a finding.
    pub fn verify(&self) -> Result<Report, ModelError> {
        let _lock = Lock::to_read(&self.folder, self.patience)?;
        self.inspect()
    }

    /// Makes the index agree with the files: sets a damaged one aside and writes it anew, forgets models whose files are
    /// gone, and takes in files that it doesn't know. A file that isn't what was stored can't be repaired and stays known,
    /// so that it goes on being refused; and which model is in use is left to `promote`. Then looks at everything.
    pub fn repair(&self) -> Result<Report, ModelError> {
        let mut repairs = self.clear()?;
        let mut writing = Writing::begin(self)?;
        let found = std::mem::take(&mut writing.contents.found);
        repairs.extend(found.iter().map(|file| format!("{file}: taken into the index")));
        let entries = std::mem::take(&mut writing.contents.index.models);
        for entry in entries {
            if let Some(entry) = self.mended(entry, &mut repairs) {
                writing.contents.index.models.push(entry);
            }
        }
        writing.contents.index.write(&self.folder)?;
        // A model that was forgotten under one name may lie there under another one.
        Contents::load(&self.folder)?.index.write(&self.folder)?;
        drop(writing);
        Ok(Report { repairs, ..self.verify()? })
    }

    /// Clears leftovers away and sets a damaged index aside.
    fn clear(&self) -> Result<Vec<String>, ModelError> {
        let _lock = Lock::to_write(&self.folder, self.patience)?;
        let leftovers = disk::clear_leftovers(&self.folder)?;
        let mut repairs: Vec<String> =
            leftovers.iter().map(|name| format!("{name}: removed, a killed writer left it")).collect();
        if let Err(RegistryError::Index { path, problem }) = Index::read(&self.folder) {
            let aside = disk::aside(&path);
            fs::rename(&path, &aside).map_err(|cause| RegistryError::Io { path, cause })?;
            let aside = aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
            repairs.push(format!("{}: set aside as {aside} and written anew; {problem}", index::FILE));
        }
        Ok(repairs)
    }

    /// The entry as its file has it; `None` without a file.
    fn mended(&self, entry: Entry, repairs: &mut Vec<String>) -> Option<Entry> {
        let (name, path) = (entry.file.clone(), self.folder.join(&entry.file));
        let model = match contents::read_file(&self.folder, &name, Some(&entry)) {
            Ok(model) => model,
            Err(ModelError::Io { cause, .. }) if cause.kind() == ErrorKind::NotFound => {
                repairs.push(format!("{name}: forgotten, it is not there"));
                return None;
            }
            // The file's own name agrees with its content.
            Err(ModelError::Registry(RegistryError::Index { .. })) => match Model::read(&path) {
                Ok(model) => model,
                Err(_) => return Some(entry),
            },
            Err(_) => return Some(entry),
        };
        let mended = as_its_file_has_it(&entry, &model);
        if differences(&entry, &mended).is_empty() {
            return Some(entry);
        }
        repairs.push(format!("{name}: entered into the index anew"));
        Some(mended)
    }

    fn inspect(&self) -> Result<Report, ModelError> {
        let mut report = Report::default();
        let index = match Index::read(&self.folder) {
            Ok(index) => index,
            Err(error @ RegistryError::Index { .. }) => {
                report.find(Severity::Error, index::FILE, error);
                None
            }
            Err(error) => return Err(error.into()),
        };
        let known = index.as_ref().map(|index| index.models.clone()).unwrap_or_default();
        let contents = Contents::with_index(&self.folder, index)?;
        report.models = contents.index.models.len();
        known.iter().for_each(|entry| self.inspect_known(entry, &mut report));
        self.inspect_unknown(&contents, &mut report);
        self.inspect_pointer(&contents, &mut report);
        self.inspect_leftovers(&contents, &mut report)?;
        Ok(report)
    }

    /// A model that the index knows.
    fn inspect_known(&self, entry: &Entry, report: &mut Report) {
        match contents::read_file(&self.folder, &entry.file, Some(entry)) {
            Ok(model) => {
                let differences = differences(entry, &as_its_file_has_it(entry, &model));
                if !differences.is_empty() {
                    let problem = format!(
                        "what it says of {} differs from the file itself: {}",
                        entry.file,
                        differences.join(", ")
                    );
                    let path = self.folder.join(index::FILE);
                    report.find(Severity::Error, index::FILE, RegistryError::Index { path, problem });
                }
            }
            Err(ModelError::Io { path, cause }) if cause.kind() == ErrorKind::NotFound => {
                let problem = format!(
                    "model file {}: the index knows it, but it is not there; restore it, or let `strayd model verify --repair` forget it",
                    path.display()
                );
                report.find(Severity::Error, &entry.file, problem);
            }
            Err(error @ ModelError::Registry(RegistryError::Index { .. })) => {
                report.find(Severity::Error, index::FILE, error);
            }
            Err(error) => report.find(Severity::Error, &entry.file, error),
        }
    }

    /// Files that the index doesn't know.
    fn inspect_unknown(&self, contents: &Contents, report: &mut Report) {
        for (file, error) in &contents.unreadable {
            report.find(Severity::Error, file, error);
        }
        for file in &contents.found {
            let problem = match contents.index.of_file(file) {
                Some(_) => "the index doesn't know it yet; the next change of the registry takes it in",
                None => "it has the same content as another file; one of the two can go",
            };
            report.find(Severity::Note, file, format!("model file {}: {problem}", self.folder.join(file).display()));
        }
    }

    fn inspect_pointer(&self, contents: &Contents, report: &mut Report) {
        match &contents.pointer {
            Err(error) => report.find(Severity::Error, disk::POINTER, error),
            Ok(Some(name)) if !self.folder.join(name).exists() => {
                let (path, name) = (self.folder.join(disk::POINTER), name.clone());
                report.find(Severity::Error, disk::POINTER, RegistryError::PointsNowhere { path, name });
            }
            Ok(_) => {
                if let Err(error) = self.current_file() {
                    report.find(Severity::Error, disk::POINTER, error);
                }
            }
        }
        let current = contents.current.as_ref().and_then(|file| contents.index.of_file(file));
        if let Some(refused) = current.filter(|entry| entry.is_refused()) {
            let reasons = refused.reasons.join("; ");
            let problem = format!("model {} is in use although it was refused: {reasons}", refused.version);
            report.find(Severity::Note, &refused.file, problem);
        }
    }

    fn inspect_leftovers(&self, contents: &Contents, report: &mut Report) -> Result<(), ModelError> {
        for name in disk::names(&self.folder)? {
            let path = self.folder.join(&name);
            if disk::is_leftover(&name) || contents.index.dropped.contains(&name) {
                let problem = "a killed writer left it; the next change of the registry removes it";
                report.find(Severity::Note, &name, format!("file {}: {problem}", path.display()));
            } else if path.extension().is_some_and(|extension| extension == "tmp") {
                let problem = "a draft that is none of the registry's own; it stays until somebody removes it";
                report.find(Severity::Note, &name, format!("file {}: {problem}", path.display()));
            }
        }
        if !contents.indexed && !contents.index.models.is_empty() && report.is_sound() {
            let problem = format!("registry {}: it has no index; its next change writes one", self.folder.display());
            report.find(Severity::Note, index::FILE, problem);
        }
        Ok(())
    }
}

/// What the index should say: what the file says, and what only the index can know.
fn as_its_file_has_it(entry: &Entry, model: &Model) -> Entry {
    let fresh = Entry::new(model, entry.file.clone(), entry.stored.clone());
    let parent = entry.parent.clone().or_else(|| fresh.parent.clone());
    Entry { parent, reasons: entry.reasons.clone(), state: entry.state, promoted: entry.promoted.clone(), ..fresh }
}

/// Names of what differs.
fn differences(entry: &Entry, file: &Entry) -> Vec<&'static str> {
    let equal = [
        ("version", entry.version == file.version),
        ("sha256", entry.sha256 == file.sha256),
        ("bytes", entry.bytes == file.bytes),
        ("kind", entry.kind == file.kind),
        ("program", entry.program == file.program),
        ("parent", entry.parent == file.parent),
        ("provenance", entry.provenance == file.provenance),
    ];
    equal.into_iter().filter(|(_, equal)| !equal).map(|(name, _)| name).collect()
}
