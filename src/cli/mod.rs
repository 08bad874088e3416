//! The commands: one file each, a few lines over the library.

pub mod backtest;
pub mod config;
pub mod demo;
mod explain;
mod failure;
pub mod feedback;
mod files;
pub mod generate;
pub mod healthcheck;
pub mod model;
mod normal;
pub mod offline;
pub(crate) mod output;
pub mod retrain;
pub mod run;
pub mod tune;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
pub use failure::Failure;

use crate::{
    config::{ConfigError, Loaded, Settings, Sources, settings::FeatureSelection},
    file,
    record::path::FieldPath,
};

/// Exit code of a configuration that can't be used (EX_USAGE of sysexits.h).
pub const EXIT_CONFIG: u8 = 64;

/// Streaming anomaly detection: Kafka in, autoencoder reconstruction error, anomalies out.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the whole way on shipped data with an embedded Kafka broker; needs nothing else
    Demo(demo::DemoArgs),
    /// Run the daemon: read from Kafka, score, publish anomalies
    Run(run::RunArgs),
    /// Ask a running daemon to train a new model now
    Retrain(retrain::RetrainArgs),
    /// Say of an incident that it was true, false, or an expected change
    Feedback(feedback::FeedbackArgs),
    /// Train a model on files and write it as one ONNX file
    Train(offline::TrainArgs),
    /// Score files with a model through the same pipeline as the daemon
    Score(offline::ScoreArgs),
    /// Push a file through training and scoring as production would, and report what that is worth
    Backtest(backtest::BacktestArgs),
    /// Search settings that suit a file, without labels, and write them as a configuration
    Tune(tune::TuneArgs),
    /// List, show and check the models of a registry, choose which one is in use, make rows with one
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Make records with planted anomalies, into Kafka or a file
    Gen(generate::GenArgs),
    /// Ask the daemon on this machine whether it is well; exit code 1 where it is not
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Check, print or describe the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// The configuration commands.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Tell every problem at once, each with its key and what would be right
    Check(ConfigArgs),
    /// Print the merged settings as YAML, secrets hidden
    Print(ConfigArgs),
    /// Print the JSON Schema of the configuration file
    Schema,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file (YAML, TOML or JSON)
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, over file and environment; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    fn sources(&self) -> Sources {
        Sources::of_process(self.config.clone(), self.set.clone())
    }

    /// What needs no Kafka.
    pub(crate) fn load(&self) -> Result<Loaded, ConfigError> {
        Settings::load(&self.sources())
    }

    /// What `strayd run` needs.
    pub(crate) fn load_for_run(&self) -> Result<Loaded, ConfigError> {
        Settings::load_for_run(&self.sources())
    }

    /// For commands on files: without a configuration file, what the data say stands below what is set otherwise.
    pub(crate) fn load_for_files(&self, files: &[PathBuf]) -> Result<Loaded, Failure> {
        Ok(self.sources_for_files(files)?.load()?)
    }

    /// The same, not read yet.
    fn sources_for_files(&self, files: &[PathBuf]) -> Result<FileSources, Failure> {
        let mut sources = self.sources();
        if self.config.is_some() {
            return Ok(FileSources { sources, labels: Vec::new() });
        }
        let derived = file::derive(files)?;
        sources.derived = Some(derived.layer());
        Ok(FileSources { sources, labels: derived.exclude })
    }
}

/// Where the configuration of a command on files comes from.
#[derive(Debug, Clone)]
struct FileSources {
    sources: Sources,
    /// Columns of the files that are no features.
    labels: Vec<FieldPath>,
}

impl FileSources {
    fn load(&self) -> Result<Loaded, ConfigError> {
        let mut loaded = Settings::load(&self.sources)?;
        // Whatever else is to be left out, a label is never learned.
        if let FeatureSelection::AllNumeric { exclude, .. } = &mut loaded.settings.record.features {
            let labels = self.labels.iter().filter(|label| !exclude.contains(label)).cloned().collect::<Vec<_>>();
            exclude.extend(labels);
        }
        Ok(loaded)
    }
}

/// Runs a configuration command.
pub fn configure(command: &ConfigCommand) -> Result<(), Failure> {
    let (what, sources) = match command {
        ConfigCommand::Check(args) => (config::ConfigCommand::Check, args.sources()),
        ConfigCommand::Print(args) => (config::ConfigCommand::Print, args.sources()),
        ConfigCommand::Schema => (config::ConfigCommand::Schema, Sources::default()),
    };
    let mut out = Vec::new();
    let code = config::run(what, &sources, &mut out);
    output::print(&String::from_utf8_lossy(&out))?;
    if code == 0 { Ok(()) } else { Err(Failure::told(code)) }
}
