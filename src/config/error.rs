//! What is wrong with a configuration, all of it at once.

use std::{fmt, io, path::PathBuf};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, levels separated by dots.
    pub key: String,
    /// What is wrong, with the bad value.
    pub problem: String,
    /// What would be right.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, expected {}", self.key, self.problem, self.expected)
    }
}

/// Everything that is wrong, in the order in which it was found. Displayed with one problem a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds a problem.
    pub fn push(&mut self, key: impl Into<String>, problem: impl Into<String>, expected: impl Into<String>) {
        self.0.push(Problem { key: key.into(), problem: problem.into(), expected: expected.into() });
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether anything is wrong with a key in this table, such as `model.convolution`.
    pub fn concern_table(&self, table: &str) -> bool {
        let in_table = |key: &str| key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'));
        self.0.iter().any(|problem| in_table(&problem.key))
    }

    /// Whether anything is wrong with this entry of a list, such as `judging.features[0]`, or within it.
    pub fn concern_entry(&self, entry: &str) -> bool {
        self.concerns(entry) || self.concern_table(entry)
    }

    /// Whether anything is wrong with `key` itself.
    pub fn concerns(&self, key: &str) -> bool {
        self.0.iter().any(|problem| problem.key == key)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration file {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The file's name doesn't tell its format.
    #[error("the configuration file {0} has no known extension, expected .yaml, .yml, .toml or .json")]
    UnknownFormat(PathBuf),
    /// The file is not what its name says.
    #[error("the configuration file {path} is malformed: {cause}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says, with the place.
        cause: String,
    },
    /// Keys or values are wrong.
    #[error("{0}")]
    Problems(#[from] Problems),
}

impl ConfigError {
    /// The process's exit code: `EX_USAGE` of sysexits.h.
    pub const EXIT_CODE: u8 = 64;
}
