//! Finding and loading the ONNX Runtime shared library.
//!
//! The library is loaded at run time, so one binary serves every device. It is looked for in, first hit wins: the
//! setting `runtime.library`, the variable `ORT_DYLIB_PATH`, `lib/` beside the executable, the folder `.local` that
//! `make` fills (beside the working directory or above the executable; for a GPU its build for GPUs first), the system's
//! own search path. A place that was named explicitly and doesn't work is an error: another library is never taken in its
//! stead. Nor is the CPU taken in the place of a GPU, unless `runtime.device` is `auto`.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use ort::environment::Environment;

use super::{
    LoadError,
    device::{Device, DeviceError},
};
use crate::config::settings::{DeviceChoice, RuntimeSettings, Settings};

const FILE: &str = "libonnxruntime.so";
const FILLED_BY_MAKE: &str = ".local/onnxruntime/lib/libonnxruntime.so";
const FILLED_FOR_CUDA: &str = ".local/onnxruntime-cuda/lib/libonnxruntime.so";

/// The loaded library and the device that models shall run on; cheap to clone, and all clones are on the same device.
#[derive(Clone)]
pub struct Runtime {
    pub(super) environment: Environment,
    library: PathBuf,
    pub(super) wish: Wish,
    /// Where `auto` found itself the first time that it was tried.
    found: Arc<OnceLock<Device>>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    choice: DeviceChoice,
    id: u32,
    /// Bytes that a model's arena may take on a GPU.
    pub(super) memory: Option<u64>,
    /// Rows of the largest batch: a GPU has to have room for it before a model is put to work.
    pub(super) batch_rows: usize,
}

const ON_THE_CPU: Wish = Wish { choice: DeviceChoice::Cpu, id: 0, memory: None, batch_rows: 1 };

/// Why there is no ONNX Runtime.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// No library in any place.
    #[error(
        "ONNX Runtime was not found; looked in: {}; fetch it with `make fetch-onnxruntime`, or set runtime.library or ORT_DYLIB_PATH",
        .places.join(", ")
    )]
    NotFound {
        /// Where it was looked for.
        places: Vec<String>,
    },
    /// A library is there but can't be used.
    #[error("ONNX Runtime at {} can't be used: {cause}; version 1.17 or newer is needed, `make fetch-onnxruntime` fetches one", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        cause: String,
    },
}

static LOADED: OnceLock<Result<(Environment, PathBuf), RuntimeError>> = OnceLock::new();

impl Runtime {
    /// Loads the library, once per process: later calls give what the first one found. Models run on the CPU.
    pub fn load(library: Option<&Path>) -> Result<Self, RuntimeError> {
        Self::with_wish(library, ON_THE_CPU)
    }

    /// Loads the library, once per process, for models on the device that the settings name. Whether that device can be
    /// had shows at the first model, or before by [`Runtime::try_device`].
    pub fn of(settings: &Settings) -> Result<Self, RuntimeError> {
        let RuntimeSettings { library, device, device_id, device_memory } = &settings.runtime;
        let batch_rows = settings.pipeline.batch_rows;
        Self::with_wish(
            library.as_deref(),
            Wish { choice: *device, id: *device_id, memory: *device_memory, batch_rows },
        )
    }

    fn with_wish(library: Option<&Path>, wish: Wish) -> Result<Self, RuntimeError> {
        let (environment, library) = LOADED.get_or_init(|| find_and_load(library, wish.choice)).clone()?;
        Ok(Self { environment, library, wish, found: Arc::default() })
    }

    /// The library's file.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// The device that models run on, as far as it is known: `auto` hopes for a GPU until it was tried.
    pub(super) fn current(&self) -> Device {
        match (self.wish.choice, self.found.get()) {
            (DeviceChoice::Cpu, _) => Device::Cpu,
            (DeviceChoice::Cuda, _) | (DeviceChoice::Auto, None) => Device::Cuda(self.wish.id),
            (DeviceChoice::Auto, Some(found)) => *found,
        }
    }

    /// Whether `auto` gave the GPU up for the CPU.
    pub fn fell_back(&self) -> bool {
        self.wish.choice == DeviceChoice::Auto && self.found.get() == Some(&Device::Cpu)
    }

    /// Does something on the device. The first time decides for `auto` whether that is the GPU or the CPU: models don't
    /// move later, and what goes wrong on a GPU that worked is an error.
    pub(super) fn on_device<T>(&self, work: impl Fn(Device) -> Result<T, LoadError>) -> Result<T, LoadError> {
        let undecided = self.wish.choice == DeviceChoice::Auto && self.found.get().is_none();
        match work(self.current()) {
            Err(LoadError::Device(why)) if undecided => {
                self.fall_back(&why);
                work(self.current())
            }
            Ok(done) => {
                self.found.get_or_init(|| self.current());
                Ok(done)
            }
            Err(error) => Err(error),
        }
    }

    fn fall_back(&self, why: &DeviceError) {
        if self.found.set(Device::Cpu).is_ok() {
            tracing::warn!("runtime.device is auto, and models run on the CPU, because {why}");
        }
    }
}

fn find_and_load(setting: Option<&Path>, device: DeviceChoice) -> Result<(Environment, PathBuf), RuntimeError> {
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
    for path in filled_places(device) {
        if path.is_file() {
            return open(&path);
        }
        places.push(path.display().to_string());
    }
    places.push(format!("the system's library path ({FILE})"));
    open(Path::new(FILE)).map_err(|_| RuntimeError::NotFound { places })
}

fn filled_places(device: DeviceChoice) -> Vec<PathBuf> {
    let executable = std::env::current_exe().ok();
    let beside = executable.as_deref().and_then(Path::parent).map(|folder| folder.join("lib").join(FILE));
    let by_make: &[&str] =
        if device == DeviceChoice::Cpu { &[FILLED_BY_MAKE] } else { &[FILLED_FOR_CUDA, FILLED_BY_MAKE] };
    let here = std::env::current_dir().ok();
    let filled = by_make.iter().flat_map(|file| {
        let here = here.as_deref().map(|folder| folder.join(file));
        let above = executable
            .as_deref()
            .and_then(|path| path.ancestors().skip(1).map(|folder| folder.join(file)).find(|path| path.is_file()));
        here.into_iter().chain(above)
    });
    beside.into_iter().chain(filled).collect()
}

fn open(path: &Path) -> Result<(Environment, PathBuf), RuntimeError> {
    let unusable = |cause: String| RuntimeError::Unusable { path: path.to_path_buf(), cause };
    let environment = ort::init_from(path)
        .map_err(|error| unusable(error.to_string()))?
        .with_name("strayd")
        .with_telemetry(false)
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    Ok((environment, path.to_path_buf()))
}
