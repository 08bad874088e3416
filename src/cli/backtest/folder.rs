//! The folder of `--report`: the page and its figures, and nothing of others is written over.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use super::super::Failure;
use crate::{
    file::{FileError, partial::Partial},
    report::GENERATOR,
};

const PAGE: &str = "report.html";
const FIGURES: &str = "report.json";
/// How the figures begin.
const FIGURES_BEGIN: &str = "{\"data\":";
/// So far into a file it is looked for what says whose it is, bytes.
const LOOK: u64 = 4096;

/// Why there can't be a report.
#[derive(Debug, thiserror::Error)]
enum FolderError {
    #[error("--report {}: {cause}; expected a folder, or a name for one", .folder.display())]
    Folder { folder: PathBuf, cause: std::io::Error },
    #[error("{} was not written by strayd backtest; expected --report DIR to name a folder without it", .path.display())]
    Foreign { path: PathBuf },
}

/// Files in the making; they appear under their names when all is written.
pub(super) struct ReportFolder {
    page: (Partial, File),
    figures: (Partial, File),
}

impl ReportFolder {
    /// Makes the folder where there is none and takes the files' places, so that nobody waits for a backtest to hear that
    /// its report can't be written.
    ///
    /// # Errors
    /// It can't be written to, or holds files of these names that are not ours.
    pub(super) fn create(folder: &Path) -> Result<Self, Failure> {
        let failed = |cause| Failure::other(&FolderError::Folder { folder: folder.to_owned(), cause });
        fs::create_dir_all(folder).map_err(failed)?;
        let (page, figures) = (folder.join(PAGE), folder.join(FIGURES));
        for (path, is_ours) in [(&page, contains_generator as fn(&str) -> bool), (&figures, begins_as_figures)] {
            if !path.exists() {
                continue;
            }
            let mut start = Vec::new();
            let read = File::open(path).and_then(|file| file.take(LOOK).read_to_end(&mut start));
            if read.is_err() || !is_ours(&String::from_utf8_lossy(&start)) {
                return Err(Failure::other(&FolderError::Foreign { path: path.clone() }));
            }
        }
        Ok(Self { page: Partial::create(&page)?, figures: Partial::create(&figures)? })
    }

    /// Writes both files.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(self, page: &str, figures: &str) -> Result<(), FileError> {
        for ((mut partial, file), text) in [(self.page, page), (self.figures, figures)] {
            partial.write(&file, text.as_bytes())?;
        }
        Ok(())
    }
}

fn contains_generator(start: &str) -> bool {
    start.contains(GENERATOR)
}

fn begins_as_figures(start: &str) -> bool {
    start.starts_with(FIGURES_BEGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_replaces_its_own_files_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("new/report");
        let write = || ReportFolder::create(&place).map(|report| report.write(GENERATOR, "{\"data\":1}\n").unwrap());
        write().unwrap();
        write().unwrap();
        let names = |folder: &Path| fs::read_dir(folder).unwrap().count();
        assert_eq!(names(&place), 2);
        assert!(fs::read_to_string(place.join(PAGE)).unwrap().contains(GENERATOR));
        for (name, text) in [(PAGE, "<html>mine</html>"), (FIGURES, "{\"mine\":1}"), (PAGE, "")] {
            let before = fs::read(place.join(name)).unwrap();
            fs::write(place.join(name), text).unwrap();
            let told = write().unwrap_err().to_string();
            assert!(told.ends_with("expected --report DIR to name a folder without it"), "{told}");
            assert_eq!(fs::read_to_string(place.join(name)).unwrap(), text);
            fs::write(place.join(name), before).unwrap();
        }
        assert_eq!(names(&place), 2, "nothing half-made stays");
    }

    #[test]
    fn a_report_that_is_not_written_leaves_nothing_and_a_file_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        drop(ReportFolder::create(folder.path()).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let told = ReportFolder::create(&file).err().unwrap().to_string();
        assert!(told.contains("file: ") && told.ends_with("expected a folder, or a name for one"), "{told}");
    }
}
