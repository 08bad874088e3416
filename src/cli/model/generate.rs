//! `strayd model generate`: rows like those that a variational model was fitted on.

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::super::{ConfigArgs, Failure};
use crate::{
    app::AppError,
    detect::{generate::RowGenerator, runtime::Runtime},
    model::Model,
};

/// Rows that are made and written at once.
const BATCH: usize = 1_024;

/// Arguments of `strayd model generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// The model file, of the variational kind and of one member
    #[arg(value_name = "FILE")]
    pub model: PathBuf,
    /// How many rows
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub rows: usize,
    /// Same seed, same rows
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    pub seed: u64,
    /// How they are written to standard output
    #[arg(long, value_enum, default_value_t = RowFormat::Jsonl)]
    pub format: RowFormat,
    /// Where ONNX Runtime is, and on which device it runs: runtime.library, runtime.device.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// A format of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RowFormat {
    /// A JSON object per line
    Jsonl,
    /// A line of names, then comma-separated values
    Csv,
}

/// Writes rows to standard output.
pub(super) fn run(args: &GenerateArgs) -> Result<(), Failure> {
    let model = Model::read(&args.model)?;
    let runtime = Runtime::of(&args.config.load()?.settings).map_err(AppError::from)?;
    let mut generator = runtime.row_generator(&model, args.seed).map_err(|error| Failure::other(&error))?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.format == RowFormat::Csv {
        csv(&mut out, |line| line.write_record(generator.names()))?;
    }
    let mut left = args.rows;
    while left > 0 {
        let rows = left.min(BATCH);
        let values = generator.generate(rows).map_err(|error| Failure::other(&error))?;
        write(&mut out, args.format, &generator, &values)?;
        left -= rows;
    }
    out.flush().map_err(|error| Failure::other(&error))
}

fn write(out: &mut dyn Write, format: RowFormat, generator: &RowGenerator, values: &[f64]) -> Result<(), Failure> {
    for row in values.chunks_exact(generator.names().len()) {
        match format {
            RowFormat::Csv => csv(out, |line| line.write_record(row.iter().map(f64::to_string)))?,
            RowFormat::Jsonl => {
                let fields = generator.names().iter().cloned().zip(row.iter().map(|value| Value::from(*value)));
                let object = Value::Object(fields.collect::<Map<String, Value>>());
                writeln!(out, "{object}").map_err(|error| Failure::other(&error))?;
            }
        }
    }
    Ok(())
}

fn csv(
    out: &mut dyn Write,
    write: impl FnOnce(&mut csv::Writer<&mut dyn Write>) -> Result<(), csv::Error>,
) -> Result<(), Failure> {
    let mut line = csv::Writer::from_writer(out);
    write(&mut line).map_err(|error| Failure::other(&error))?;
    line.flush().map_err(|error| Failure::other(&error))
}
