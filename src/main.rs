//! The `strayd` program: parse the command, hand over, map the result to an exit code.

use std::io::Write;

use clap::Parser;
use strayd::cli::{self, Cli, Command};

// Messages are allocated on Kafka's threads and freed on ours, which is what mimalloc is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ! {
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
    leave(match result {
        Ok(()) => 0,
        Err(failure) => {
            let message = failure.to_string();
            if !message.is_empty() {
                eprintln!("{message}");
            }
            failure.exit_code()
        }
    })
}

/// Ends the program with this code, without the exit handlers of the libraries that it loaded. Those of ONNX Runtime tear
/// down what others of its threads may hold, and turn a run that has done all its work into an abort now and then
/// (microsoft/onnxruntime#24579, pykeio/ort#609). All of ours has been closed by its owners when it comes to this.
fn leave(code: u8) -> ! {
    // Whoever reads it may be gone, which is told where it matters: by whoever wrote.
    drop(std::io::stdout().flush());
    // SAFETY: it takes no pointers and doesn't return; no destructor of ours is left to be run.
    unsafe { libc::_exit(code.into()) }
}
