//! `strayd model generate`: rows like those that a variational model was fitted on.

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::super::{ConfigArgs, Failure, output::is_read};
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

/// Writes rows to standard output, until there are enough or its reader has seen enough.
pub(super) fn run(args: &GenerateArgs) -> Result<(), Failure> {
    let model = Model::read(&args.model)?;
    let runtime = Runtime::of(&args.config.load()?.settings).map_err(AppError::from)?;
    let mut generator = runtime.row_generator(&model, args.seed).map_err(|error| Failure::other(&error))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut goes_on = args.format != RowFormat::Csv || is_read(csv(&mut out, generator.names()))?;
    let mut left = args.rows;
    while goes_on && left > 0 {
        let rows = left.min(BATCH);
        let values = generator.generate(rows).map_err(|error| Failure::other(&error))?;
        goes_on = is_read(write(&mut out, args.format, &generator, &values))?;
        left -= rows;
    }
    is_read(out.flush()).map(drop)
}

fn write(out: &mut dyn Write, format: RowFormat, generator: &RowGenerator, values: &[f64]) -> io::Result<()> {
    for row in values.chunks_exact(generator.names().len()) {
        match format {
            RowFormat::Csv => csv(out, row.iter().map(f64::to_string))?,
            RowFormat::Jsonl => {
                let fields = generator.names().iter().cloned().zip(row.iter().map(|value| Value::from(*value)));
                writeln!(out, "{}", Value::Object(fields.collect::<Map<String, Value>>()))?;
            }
        }
    }
    Ok(())
}

fn csv(out: &mut dyn Write, cells: impl IntoIterator<Item = impl AsRef<[u8]>>) -> io::Result<()> {
    let mut line = csv::Writer::from_writer(Vec::new());
    line.write_record(cells)?;
    let line = line.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    out.write_all(&line)
}
