//! The registry: a folder with one `.onnx` file per model and a file `current` that names the one in use.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Model, ModelError, write_atomically};

const POINTER: &str = "current";

/// A folder of models.
#[derive(Debug, Clone)]
pub struct Registry {
    folder: PathBuf,
}

impl Registry {
    /// The registry in `folder`, which need not exist yet.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    /// Makes sure that models can be stored here, so that nobody learns of it only after a training.
    pub fn probe(&self) -> Result<(), ModelError> {
        let probe = self.folder.join(".writable");
        write_atomically(&probe, b"")?;
        fs::remove_file(&probe).map_err(|cause| ModelError::Io { path: probe, cause })
    }

    /// The model in use. Without `current`, a single `.onnx` file is it (as put there by hand); none is `None`.
    pub fn current(&self) -> Result<Option<Model>, ModelError> {
        let pointer = self.folder.join(POINTER);
        match fs::read_to_string(&pointer) {
            Ok(name) => stored(&self.named(name.trim())?).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.only_model(),
            Err(cause) => Err(ModelError::Io { path: pointer, cause }),
        }
    }

    /// Stores the model and makes it the current one: first the file, then the pointer, each atomically.
    pub fn publish(&self, model: &Model) -> Result<PathBuf, ModelError> {
        let name = format!("{}.onnx", model.version);
        let path = self.folder.join(&name);
        model.write(&path)?;
        write_atomically(&self.folder.join(POINTER), name.as_bytes())?;
        Ok(path)
    }

    fn named(&self, name: &str) -> Result<PathBuf, ModelError> {
        let plain = Path::new(name).file_name().is_some_and(|file| file == name) && name.ends_with(".onnx");
        if plain {
            Ok(self.folder.join(name))
        } else {
            Err(ModelError::BadPointer { path: self.folder.clone(), name: name.to_owned() })
        }
    }

    fn only_model(&self) -> Result<Option<Model>, ModelError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(ModelError::Io { path: self.folder.clone(), cause }),
        };
        let models: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "onnx"))
            .collect();
        match models.as_slice() {
            [] => Ok(None),
            [one] => Model::read(one).map(Some),
            several => Err(ModelError::Ambiguous { path: self.folder.clone(), count: several.len() }),
        }
    }
}

/// Reads a model that [`Registry::publish`] stored: its name is the version of its content. Files with other names were
/// put there by hand.
fn stored(path: &Path) -> Result<Model, ModelError> {
    let model = Model::read(path)?;
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let is_version = name.len() == model.version.len() && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_version && name != model.version {
        let altered = ModelError::Altered { stored: name.to_owned(), found: model.version };
        return Err(altered.of_file(path));
    }
    Ok(model)
}
