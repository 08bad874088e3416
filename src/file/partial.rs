//! A file that appears under its name only when it is complete.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{FileError, folder_of};

/// A file in the making, written beside its place with `.partial` at the end of its name. That is removed again unless
/// [`Partial::complete`] is reached, and an older file under the name itself stays until then.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    partial: PathBuf,
    complete: bool,
}

impl Partial {
    /// Begins a file.
    ///
    /// # Errors
    /// Its folder can't be written to, or a folder has its name.
    pub(crate) fn create(path: &Path) -> Result<(Self, File), FileError> {
        let failed = |cause| FileError::Write { path: path.to_owned(), cause };
        if path.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let partial = PathBuf::from([path.as_os_str(), ".partial".as_ref()].into_iter().collect::<OsString>());
        let file = File::create(&partial).map_err(failed)?;
        Ok((Self { path: path.to_owned(), partial, complete: false }, file))
    }

    /// What the file will be called.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of a file that is small enough to be held.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn write(&mut self, mut file: &File, bytes: &[u8]) -> Result<(), FileError> {
        let written = file.write_all(bytes).and_then(|()| self.complete(file));
        written.map_err(|cause| FileError::Write { path: self.path.clone(), cause })
    }

    /// All of `file` is written: puts it on the disk and under its name.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn complete(&mut self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        self.complete = true;
        // The new name lasts only when its folder is on the disk too.
        let folder = folder_of(&self.path);
        File::open(folder)?.sync_all()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.complete {
            return;
        }
        if let Err(cause) = fs::remove_file(&self.partial) {
            tracing::warn!(path = %self.partial.display(), %cause, "cannot remove an incomplete file");
        }
    }
}
