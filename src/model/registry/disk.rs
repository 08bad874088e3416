//! The registry's files: how they are called, and how they are locked, written, and cleared away.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{error::RegistryError, index};
use crate::{model, record::timestamp};

/// Names the model in use.
pub(super) const POINTER: &str = "current";
/// Whoever writes holds a lock on it. It stays when the lock is given back: a lock file that goes away excludes nobody.
pub(super) const LOCK: &str = ".lock";
/// Written and removed to see whether the folder can be written.
pub(super) const PROBE: &str = ".writable";
/// Hexadecimal digits of a version.
const VERSION_DIGITS: usize = 12;
/// Time between two tries to get the lock; writers hold it for milliseconds.
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

/// The file of a stored model.
pub(super) fn file_of(version: &str) -> String {
    format!("{version}.onnx")
}

/// The file of a refused model: its name tells so without the index, and a folder that holds one other model is not in
/// doubt about which one to use.
pub(super) fn refused_file_of(version: &str) -> String {
    format!("{version}.refused.onnx")
}

/// Whether the name is one of a refused model.
pub(super) fn is_refused_file(name: &str) -> bool {
    name.ends_with(".refused.onnx") && version_in(name).is_some()
}

/// The version in the name of a file that the registry stored; files with other names were put there by hand.
pub(super) fn version_in(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".onnx")?;
    let stem = stem.strip_suffix(".refused").unwrap_or(stem);
    let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (stem.len() == VERSION_DIGITS && stem.bytes().all(digits)).then_some(stem)
}

/// Whether this is the plain name of a model file.
pub(super) fn is_model_file(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|file| file == name) && name.ends_with(".onnx")
}

/// The lock of those who write, or of one who looks on while nobody writes. It ends with this value, also when the
/// process is killed.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it is held, not read")] File);

impl Lock {
    /// Waits for the lock of one who writes, at most so long.
    pub(super) fn to_write(folder: &Path, patience: Duration) -> Result<Self, RegistryError> {
        fs::create_dir_all(folder).map_err(|cause| RegistryError::Io { path: folder.to_path_buf(), cause })?;
        let path = folder.join(LOCK);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|cause| RegistryError::Io { path: path.clone(), cause })?;
        wait(&path, patience, || file.try_lock())?;
        Ok(Self(file))
    }

    /// Waits until nobody writes. `None` where no lock can be had because nobody ever wrote.
    pub(super) fn to_read(folder: &Path, patience: Duration) -> Result<Option<Self>, RegistryError> {
        let path = folder.join(LOCK);
        match File::open(&path) {
            Ok(file) => wait(&path, patience, || file.try_lock_shared()).map(|()| Some(Self(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(RegistryError::Io { path, cause }),
        }
    }
}

fn wait(path: &Path, patience: Duration, attempt: impl Fn() -> Result<(), TryLockError>) -> Result<(), RegistryError> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(cause)) => return Err(RegistryError::Io { path: path.to_path_buf(), cause }),
            Err(TryLockError::WouldBlock) if start.elapsed() >= patience => {
                return Err(RegistryError::Locked { path: path.to_path_buf(), seconds: patience.as_secs_f64() });
            }
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_INTERVAL),
        }
    }
}

/// Writes a file of the registry so that after a crash there is either the whole new one or the old one.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
    model::write_atomically(path, bytes).map_err(|cause| RegistryError::Io { path: path.to_path_buf(), cause })
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> Result<(), RegistryError> {
    model::crash_point();
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => Err(RegistryError::Io { path: path.to_path_buf(), cause }),
        _ => Ok(()),
    }
}

/// The names in the folder in order; none where there is no folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, RegistryError> {
    let io = |cause| RegistryError::Io { path: folder.to_path_buf(), cause };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(io(cause)),
    };
    let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = entries.map(name).collect::<io::Result<_>>().map_err(io)?;
    names.sort();
    Ok(names)
}

/// Whether this is a draft that a writer left when it was killed. Drafts under these names are only ever made by who
/// holds the lock, so to the next one who holds it they are surely stale.
pub(super) fn is_leftover(name: &str) -> bool {
    let Some((target, _)) = name.strip_suffix(".tmp").and_then(|draft| draft.rsplit_once('.')) else {
        return name == PROBE;
    };
    [POINTER, PROBE, index::FILE].contains(&target) || version_in(target).is_some()
}

/// Removes what killed writers left; only for who holds the lock.
pub(super) fn clear_leftovers(folder: &Path) -> Result<Vec<String>, RegistryError> {
    let leftovers: Vec<String> = names(folder)?.into_iter().filter(|name| is_leftover(name)).collect();
    leftovers.iter().try_for_each(|name| remove(&folder.join(name)))?;
    Ok(leftovers)
}

/// What the pointer names; `None` where there is no pointer.
pub(super) fn read_pointer(folder: &Path) -> Result<Option<String>, RegistryError> {
    let path = folder.join(POINTER);
    match fs::read_to_string(&path) {
        Ok(name) if is_model_file(name.trim()) => Ok(Some(name.trim().to_owned())),
        Ok(name) => Err(RegistryError::BadPointer { path, name: name.trim().to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(RegistryError::BadPointer { path, name: "bytes that are no text".to_owned() })
        }
        Err(cause) => Err(RegistryError::Io { path, cause }),
    }
}

/// When the file was last written, RFC 3339; now where nobody knows.
pub(super) fn written_at(path: &Path) -> String {
    rfc3339(fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or_else(|_| SystemTime::now()))
}

/// Now, RFC 3339, whole seconds.
pub(super) fn now() -> String {
    rfc3339(SystemTime::now())
}

fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    timestamp::to_rfc3339(i64::try_from(seconds).map_or(i64::MAX, |seconds| seconds.saturating_mul(1_000_000)))
}

/// The path of a file beside the index that doesn't exist yet: `NAME.damaged`, `NAME.damaged.2`, and so on.
pub(super) fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let numbered = (2..).map(|number| format!("{name}.damaged.{number}"));
    let mut candidates =
        std::iter::once(format!("{name}.damaged")).chain(numbered).map(|name| path.with_file_name(name));
    candidates.find(|candidate| !candidate.exists()).unwrap_or_else(|| path.to_path_buf())
}
