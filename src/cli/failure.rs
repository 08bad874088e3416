//! How a command ends when it doesn't end well.

use std::fmt;

use super::EXIT_CONFIG;
use crate::{
    app::AppError, config::ConfigError, file::FileError, generate::feed::FeedError, kafka::KafkaError, model::ModelError,
    telemetry::log::LogError, train::recipe::TrainError,
};

/// A message for people and an exit code for programs.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// A failure that has nothing to do with the configuration: exit code 1.
    pub fn other(error: &dyn std::error::Error) -> Self {
        Self { code: 1, message: format!("strayd: {error}") }
    }

    /// A configuration that can't be used: exit code 64.
    pub fn config(error: &dyn fmt::Display) -> Self {
        Self { code: EXIT_CONFIG, message: format!("strayd: {error}") }
    }

    /// A failure whose message was already written.
    pub fn told(code: u8) -> Self {
        Self { code, message: String::new() }
    }

    /// The program's exit code.
    pub fn exit_code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::config(&error)
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::config(&error)
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Self::other(&error)
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self::other(&error)
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::other(&error)
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        Self::other(&error)
    }
}

impl From<FeedError> for Failure {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Kafka(error) => error.into(),
            other => Self::other(&other),
        }
    }
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        if error.is_config() { Self::config(&error) } else { Self::other(&error) }
    }
}
