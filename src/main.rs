//! The `strayd` program: parse the command, hand over, map the result to an exit code.

use std::process::ExitCode;

use clap::Parser;
use strayd::cli::{self, Cli, Command};

// Messages are allocated on Kafka's threads and freed on ours, which is what mimalloc is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => cli::demo::run(&args),
        Command::Run(args) => cli::run::run(&args),
        Command::Retrain(args) => cli::retrain::run(&args),
        Command::Feedback(args) => cli::feedback::run(&args),
        Command::Train(args) => cli::offline::train(&args),
        Command::Score(args) => cli::offline::score(&args),
        Command::Backtest(args) => cli::backtest::run(&args),
        Command::Tune(args) => cli::tune::run(&args),
        Command::Model(command) => cli::model::run(&command),
        Command::Gen(args) => cli::generate::run(&args),
        Command::Healthcheck(args) => cli::healthcheck::run(&args),
        Command::Config(command) => cli::configure(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let message = failure.to_string();
            if !message.is_empty() {
                eprintln!("{message}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
