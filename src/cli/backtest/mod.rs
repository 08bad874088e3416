//! `strayd backtest`: what the daemon would have done with a file, against its labels where it has them.

pub mod report;
mod sum;
mod table;
mod training;
mod watch;

use std::path::PathBuf;

use clap::Args;

use self::{
    report::Report,
    sum::Scored,
    training::{Source, Trained},
    watch::Watch,
};
use super::{
    ConfigArgs, Failure,
    files::{self, names, names_in, require_json, require_time},
    output,
};
use crate::{
    config::{Loaded, Problems, settings::FeatureSelection},
    file::{FileReader, FileSource, labels::read_labels},
    record::path::FieldPath,
    telemetry::log,
};

/// What is trained on where nothing is said: the first half.
const TRAIN_SHARE: f64 = 0.5;

/// Arguments of `strayd backtest`.
#[derive(Debug, Args)]
pub struct BacktestArgs {
    /// The configuration; without one, settings come from the data
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Files to score, in time order: .csv, .jsonl, .parquet, also .gz
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Column that holds the truth, 0 or 1 in each row; it is never a feature
    #[arg(long, value_name = "COLUMN")]
    pub labels: Option<String>,
    /// Train on this share of the rows, the first ones, and score the rest [default: 0.5]
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with_all = ["train_data", "model"])]
    pub train_share: Option<f64>,
    /// Train on these files and score all of --data
    #[arg(long, num_args = 1.., value_name = "FILE", conflicts_with = "model")]
    pub train_data: Option<Vec<PathBuf>>,
    /// Score all of --data with this model, and train nothing
    #[arg(long, value_name = "FILE.onnx")]
    pub model: Option<PathBuf>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// A share of which something is left on both sides.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("expected a number above 0 and below 1, such as 0.5".to_owned()),
    }
}

/// Trains or reads the model, scores, and reports.
pub fn run(args: &BacktestArgs) -> Result<(), Failure> {
    let training_files = args.train_data.iter().flatten();
    let all: Vec<PathBuf> = training_files.chain(&args.data).cloned().collect();
    let mut loaded = args.config.load_for_files(&all)?;
    // Metrics of what happened long ago would only stand in the way of a daemon's.
    loaded.settings.http.listen = None;
    log::init(&loaded.settings.log)?;
    require_json(&loaded.settings)?;
    if let Some(column) = &args.labels {
        leave_out(column, &mut loaded)?;
    }
    let labels = args.labels.as_ref().map(|column| read_labels(&args.data, column)).transpose()?;
    let rows = match &labels {
        Some(labels) => labels.len(),
        // Where nothing is trained, no more counts than that there are some.
        None if args.model.is_some() => count(&args.data, 1)?,
        None => count(&args.data, usize::MAX)?,
    };
    let source = Source::of(args, rows)?;
    let trained = training::train(args, &source, (&loaded, labels.as_deref()))?;
    let scored = score(args, &source, (&mut loaded, labels), &trained)?;
    let report = Report::new(args, &loaded, (&trained, &scored)).map_err(|error| Failure::other(&error))?;
    report.warnings.iter().for_each(|warning| eprintln!("strayd: {warning}"));
    output::print(&if args.json { report.to_json_line() } else { table::of(&report) })
}

/// A label that is learned from would be found in every row that it marks.
fn leave_out(column: &str, loaded: &mut Loaded) -> Result<(), Failure> {
    let label = FieldPath::key(column);
    match &mut loaded.settings.record.features {
        FeatureSelection::AllNumeric { exclude, .. } => exclude.push(label),
        FeatureSelection::Listed(features) => {
            if let Some(feature) = features.iter().find(|feature| feature.path == label) {
                let mut problems = Problems::default();
                let found = format!("the feature `{}` is the column of --labels", feature.name);
                problems.push("record.features", found, "features without it: a label is never learned from");
                return Err(Failure::config(&problems));
            }
        }
    }
    Ok(())
}

/// Rows of files that are read as one, as far as `most`.
fn count(files: &[PathBuf], most: usize) -> Result<usize, Failure> {
    let (mut rows, mut payload) = (0, Vec::new());
    for file in files {
        let mut reader = FileReader::open(file)?;
        while rows < most && reader.next(&mut payload)? {
            rows += 1;
        }
    }
    Ok(rows)
}

/// Scores what is to be scored, in order.
fn score(
    args: &BacktestArgs,
    source: &Source,
    (loaded, labels): (&mut Loaded, Option<Vec<Option<bool>>>),
    trained: &Trained,
) -> Result<Scored, Failure> {
    let metadata = &trained.model.metadata;
    require_time(&metadata.features, &loaded.settings)?;
    if let Some(label) = args.labels.as_deref().map(FieldPath::key)
        && metadata.features.iter().any(|feature| feature.path == label)
    {
        return Err(Failure::config(&format!(
            "--labels {label} is a feature of the model {}; expected a model that was trained without it",
            trained.model.version
        )));
    }
    files::follow(&trained.model, loaded);
    let texts = names_in(&metadata.features, &loaded.settings.record);
    let first = source.first_scored();
    let mut files = FileSource::open(args.data.clone())?.keep_text(texts).skip(first as i64)?;
    let mut watch = Watch::new(first, loaded.settings.record.timestamp.is_some());
    files::score(loaded, trained.model.clone(), &mut files, &mut watch)?;
    let labels = labels.map(|labels| labels[first..].to_vec());
    Ok(watch.finish(names(&args.data), labels))
}
