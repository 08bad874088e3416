//! The model: one ONNX file with the whole scoring graph, and everything else in its metadata.

mod check;
pub mod graph;
pub mod knots;
pub mod metadata;
pub mod proto;
pub mod registry;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use metadata::Metadata;
use sha2::{Digest, Sha256};

pub use check::MOST_TOP;

use crate::file::folder_of;

/// Key of the metadata document in the ONNX file.
const KEY: &str = "strayd";

/// A model file in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The whole file.
    pub bytes: Arc<[u8]>,
    /// Its metadata document.
    pub metadata: Metadata,
    /// Version: the first 12 hexadecimal digits of the file's SHA-256.
    pub version: String,
}

/// Why a model file can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file can't be read or written.
    #[error("model file {}: {cause}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file's content can't be used.
    #[error("model file {}: {cause}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: Box<ModelError>,
    },
    /// Not an ONNX file.
    #[error("not a readable ONNX file: {0}")]
    NotOnnx(String),
    /// An ONNX file without strayd's metadata.
    #[error(
        "it has no strayd metadata: it was made by another tool; start `strayd run` or `strayd train` with it as model.file to fit scaler and limit"
    )]
    NoMetadata,
    /// The metadata document is damaged.
    #[error("the metadata of the model file can't be used: {0}")]
    BadMetadata(String),
    /// The registry can't be used.
    #[error(transparent)]
    Registry(#[from] registry::RegistryError),
}

impl ModelError {
    /// Whether the file is a sound ONNX file that another tool made.
    pub fn is_foreign(&self) -> bool {
        match self {
            Self::NoMetadata => true,
            Self::Content { cause, .. } => cause.is_foreign(),
            _ => false,
        }
    }

    fn of_file(self, path: &Path) -> Self {
        Self::Content { path: path.to_path_buf(), cause: Box::new(self) }
    }
}

impl Model {
    /// Puts metadata onto a graph.
    pub fn assemble(mut graph: Vec<u8>, metadata: Metadata) -> Self {
        let document = serde_json::to_string(&metadata).expect("metadata holds finite numbers and strings only");
        graph::append_metadata(&mut graph, KEY, &document);
        let version = version_of(&graph);
        Self { bytes: graph.into(), metadata, version }
    }

    /// Takes apart the bytes of a model file.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, ModelError> {
        let document = graph::read_metadata(&bytes, KEY)
            .map_err(|error| ModelError::NotOnnx(error.to_string()))?
            .ok_or(ModelError::NoMetadata)?;
        let metadata = check::read(&document).map_err(ModelError::BadMetadata)?;
        let version = version_of(&bytes);
        Ok(Self { bytes: bytes.into(), metadata, version })
    }

    /// Reads a model file.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let bytes = fs::read(path).map_err(|cause| ModelError::Io { path: path.to_path_buf(), cause })?;
        Self::from_bytes(bytes).map_err(|cause| cause.of_file(path))
    }

    /// Writes the file so that after a crash there is either the whole new file or the old one.
    pub fn write(&self, path: &Path) -> Result<(), ModelError> {
        write_atomically(path, &self.bytes).map_err(|cause| ModelError::Io { path: path.to_path_buf(), cause })
    }
}

fn version_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Writes beside the target, syncs, renames, and syncs the folder.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    fs::create_dir_all(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let draft = folder.join(name);
    crash_point();
    let written = fs::File::create(&draft).and_then(|mut file| {
        crash_point();
        file.write_all(bytes)?;
        file.sync_all()?;
        crash_point();
        fs::rename(&draft, path)?;
        crash_point();
        fs::File::open(folder)?.sync_all()
    });
    if written.is_err() {
        // Best effort: the draft is ours, and the error is what matters.
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(not(test))]
fn crash_point() {}

#[cfg(test)]
use crash::crash_point;

/// A place to die at, so that tests can end a writer between any two changes of its files.
#[cfg(test)]
pub(crate) mod crash {
    use std::cell::Cell;

    thread_local! {
        static POINTS_LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Runs `work` until it has passed this many points, and says whether it came to its end. Dying is a panic, after
    /// which nothing is cleared away but what the system gives back of a dead process: its locks.
    pub(crate) fn dies_after(points: usize, work: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        POINTS_LEFT.set(Some(points));
        let ended = std::panic::catch_unwind(work);
        POINTS_LEFT.set(None);
        match ended {
            Ok(()) => true,
            Err(cause) if cause.is::<Died>() => false,
            Err(cause) => std::panic::resume_unwind(cause),
        }
    }

    struct Died;

    pub(super) fn crash_point() {
        match POINTS_LEFT.get() {
            Some(0) => std::panic::resume_unwind(Box::new(Died)),
            Some(left) => POINTS_LEFT.set(Some(left - 1)),
            None => {}
        }
    }
}
