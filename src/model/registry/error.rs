//! Why the registry can't be read or written. Each message names the file and says what to do.

use std::{io, path::PathBuf};

/// Why the registry can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A file of the registry can't be read or written.
    #[error("registry file {}: {cause}", .path.display())]
    Io {
        /// The file, or the folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The index can't be used.
    #[error(
        "registry index {}: {problem}; `strayd model verify --repair` writes it anew from the model files and keeps this one beside it",
        .path.display()
    )]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file's content is not the one that its name promises.
    #[error(
        "model file {}: its name says version {stored}, but its content is version {found}: it was altered or torn; restore it, or put another model to use with `strayd model promote`",
        .path.display()
    )]
    AlteredByName {
        /// The file.
        path: PathBuf,
        /// The version in the file's name.
        stored: String,
        /// The version of its content.
        found: String,
    },
    /// The file's content is not the one that the index knows.
    #[error(
        "model file {}: its SHA-256 is {found}, but the index says {stored}: it was altered or torn since it was stored; restore it, or put another model to use with `strayd model promote`",
        .path.display()
    )]
    AlteredSinceStored {
        /// The file.
        path: PathBuf,
        /// The SHA-256 in the index.
        stored: String,
        /// The SHA-256 of its content.
        found: String,
    },
    /// The registry holds several models and doesn't say which one to use.
    #[error(
        "registry {} holds {count} models and no file `current`; choose one of them with `strayd model promote`",
        .path.display()
    )]
    Ambiguous {
        /// The folder.
        path: PathBuf,
        /// Models in it.
        count: usize,
    },
    /// The pointer names something odd.
    #[error(
        "registry file {}: it names `{name}`, expected the name of an .onnx file in the same folder; `strayd model promote` writes it anew",
        .path.display()
    )]
    BadPointer {
        /// The pointer.
        path: PathBuf,
        /// Its content.
        name: String,
    },
    /// The pointer names a file that is not there.
    #[error(
        "registry file {}: it names `{name}`, which is not there; restore it, or put another model to use with `strayd model promote`",
        .path.display()
    )]
    PointsNowhere {
        /// The pointer.
        path: PathBuf,
        /// Its content.
        name: String,
    },
    /// Another process writes.
    #[error(
        "registry lock {}: another process has held it for {seconds:.1} s; it is given back when that process is done or dies, so try again",
        .path.display()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long was waited, in seconds.
        seconds: f64,
    },
    /// No model of this version.
    #[error("registry {} holds no model of version `{asked}`; `strayd model list` tells which ones it holds", .path.display())]
    NoSuchVersion {
        /// The folder.
        path: PathBuf,
        /// The version, or its beginning.
        asked: String,
    },
    /// Several models whose versions begin like this.
    #[error("registry {} holds several models whose version begins with `{asked}`: {}", .path.display(), .versions.join(", "))]
    SeveralVersions {
        /// The folder.
        path: PathBuf,
        /// The beginning.
        asked: String,
        /// Their versions.
        versions: Vec<String>,
    },
    /// The model was refused, and may not be put to use by mistake.
    #[error("model {version} was refused: {}; --force puts it to use all the same", .reasons.join("; "))]
    Refused {
        /// The model.
        version: String,
        /// Why.
        reasons: Vec<String>,
    },
    /// No model to go back to.
    #[error("registry {} knows no model that was in use before; `strayd model promote` puts any other one to use", .path.display())]
    NothingBefore {
        /// The folder.
        path: PathBuf,
    },
}
