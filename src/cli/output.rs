//! Standard output. Whoever reads it may have seen enough before its end, as in `strayd model list | head -1`, which is no
//! failure: the command ends as if all had been read.

use std::io::{self, ErrorKind, Write};

use super::Failure;

/// Prints a command's answer.
///
/// # Errors
/// It can't be written for any other reason than that its reader is gone.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    is_read(out.write_all(text.as_bytes()).and_then(|()| out.flush())).map(drop)
}

/// Whether what was written still has a reader.
///
/// # Errors
/// It could not be written for any other reason.
pub(crate) fn is_read(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::other(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_gone_is_no_failure_and_a_full_disk_is() {
        assert!(is_read(Ok(())).unwrap());
        assert!(!is_read(Err(ErrorKind::BrokenPipe.into())).unwrap());
        let full = is_read(Err(ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(full.exit_code(), 1);
    }
}
