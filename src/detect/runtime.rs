//! Finding and loading the ONNX Runtime shared library.
//!
//! The library is loaded at run time, so one binary serves every device. It is looked for in, first hit wins: the
//! setting `runtime.library`, the variable `ORT_DYLIB_PATH`, `lib/` beside the executable, the folder `.local` that
//! `make` fills (beside the working directory or above the executable), the system's own search path. A place that was
//! named explicitly and doesn't work is an error: another library is never taken in its stead.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use ort::environment::Environment;

const FILE: &str = "libonnxruntime.so";
const FILLED_BY_MAKE: &str = ".local/onnxruntime/lib/libonnxruntime.so";

/// The loaded library; cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub(super) environment: Environment,
    library: PathBuf,
}

/// Why there is no ONNX Runtime.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// No library in any place.
    #[error(
        "ONNX Runtime was not found; looked in: {}; fetch it with `make onnxruntime`, or set runtime.library or ORT_DYLIB_PATH",
        .places.join(", ")
    )]
    NotFound {
        /// Where it was looked for.
        places: Vec<String>,
    },
    /// A library is there but can't be used.
    #[error("ONNX Runtime at {} can't be used: {cause}; version 1.17 or newer is needed, `make onnxruntime` fetches one", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        cause: String,
    },
}

static LOADED: OnceLock<Result<Runtime, RuntimeError>> = OnceLock::new();

impl Runtime {
    /// Loads the library, once per process: later calls give what the first one found.
    pub fn load(setting: Option<&Path>) -> Result<Self, RuntimeError> {
        LOADED.get_or_init(|| find_and_load(setting)).clone()
    }

    /// The library's file.
    pub fn library(&self) -> &Path {
        &self.library
    }
}

fn find_and_load(setting: Option<&Path>) -> Result<Runtime, RuntimeError> {
    let mut places = Vec::new();
    let named = [
        ("runtime.library", setting.map(Path::to_path_buf)),
        ("ORT_DYLIB_PATH", std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from)),
    ];
    for (what, path) in named {
        match path {
            Some(path) => return open(&path),
            None => places.push(format!("{what} (not set)")),
        }
    }
    for path in filled_places() {
        if path.is_file() {
            return open(&path);
        }
        places.push(path.display().to_string());
    }
    places.push(format!("the system's library path ({FILE})"));
    open(Path::new(FILE)).map_err(|_| RuntimeError::NotFound { places })
}

fn filled_places() -> Vec<PathBuf> {
    let executable = std::env::current_exe().ok();
    let beside = executable.as_deref().and_then(Path::parent).map(|folder| folder.join("lib").join(FILE));
    let here = std::env::current_dir().ok().map(|folder| folder.join(FILLED_BY_MAKE));
    let above = executable.as_deref().and_then(|path| {
        path.ancestors().skip(1).map(|folder| folder.join(FILLED_BY_MAKE)).find(|path| path.is_file())
    });
    beside.into_iter().chain(here).chain(above).collect()
}

fn open(path: &Path) -> Result<Runtime, RuntimeError> {
    let unusable = |cause: String| RuntimeError::Unusable { path: path.to_path_buf(), cause };
    let environment = ort::init_from(path)
        .map_err(|error| unusable(error.to_string()))?
        .with_name("strayd")
        .with_telemetry(false)
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    Ok(Runtime { environment, library: path.to_path_buf() })
}
