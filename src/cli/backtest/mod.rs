//! `strayd backtest`: what the daemon would have done with a file, against its labels where it has them.

mod closeup;
mod folder;
mod marks;
mod rejudge;
pub mod report;
mod suggest;
mod sum;
mod table;
mod trace;
mod training;
mod view;
mod watch;

use std::path::PathBuf;

use clap::Args;

use self::{
    closeup::Closeup,
    folder::ReportFolder,
    marks::Marks,
    rejudge::Rejudge,
    report::Report,
    sum::Scored,
    trace::Trace,
    training::{Labels, Source, Trained},
    view::Seen,
    watch::Watch,
};
use super::{
    ConfigArgs, Failure,
    files::{self, names, require_json, require_time},
    normal::leave_out,
    output,
};
use crate::{
    config::{Loaded, settings::TimestampFormat},
    file::{
        FileReader, FileSource,
        labels::{find_column, read_labels},
    },
    pipeline::Observer,
    record::{decode::names_in, timestamp},
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
    /// Column that holds the truth, 0 or 1 in each row, or a path such as meta.truth; it is never a feature
    #[arg(long, value_name = "COLUMN")]
    pub labels: Option<String>,
    /// Train on this share of the rows, the first ones, and score the rest [default: 0.5]
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with_all = ["train_data", "model"])]
    pub train_share: Option<f64>,
    /// Train on the rows with 1 in this column, which is never a feature, and score the others
    #[arg(long, value_name = "COLUMN", conflicts_with_all = ["train_share", "train_until", "train_data", "model"])]
    pub train_column: Option<String>,
    /// Train on the rows before this time (RFC 3339, or since the epoch) and score the others
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with_all = ["train_share", "train_data", "model"])]
    pub train_until: Option<i64>,
    /// Train on these files and score all of --data
    #[arg(long, num_args = 1.., value_name = "FILE", conflicts_with = "model")]
    pub train_data: Option<Vec<PathBuf>>,
    /// Score all of --data with this model, and train nothing
    #[arg(long, value_name = "FILE.onnx")]
    pub model: Option<PathBuf>,
    /// Write a page with plots into this folder, report.html, and the figures beside it, report.json
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Look for no better settings
    #[arg(long)]
    pub no_suggest: bool,
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

/// A time in microseconds since the epoch, written as event times may be.
fn time(text: &str) -> Result<i64, String> {
    timestamp::from_text(text, TimestampFormat::Auto).map_err(|error| error.to_string())
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
    let folder = args.report.as_deref().map(ReportFolder::create).transpose()?;
    let label = args.labels.as_ref().map(|column| find_column(&args.data, column)).transpose()?;
    let mark = Marks::column(args)?;
    for (option, column) in [("--labels", &label), ("--train-column", &mark)] {
        column.iter().try_for_each(|column| leave_out(option, column, &mut loaded))?;
    }
    let labels = label.as_ref().map(|column| read_labels(&args.data, column)).transpose()?;
    let marks = Marks::of(args, mark.as_ref(), &loaded.settings.record)?;
    let rows = match (&labels, &marks) {
        (Some(labels), _) => labels.len(),
        (None, Some(marks)) => marks.rows.len(),
        // Where nothing is trained, no more counts than that there are some.
        (None, None) if args.model.is_some() => count(&args.data, 1)?,
        (None, None) => count(&args.data, usize::MAX)?,
    };
    let source = Source::of(args, rows, marks)?;
    let known = label.as_ref().zip(labels.as_deref()).map(|(column, rows)| Labels { column, rows });
    let trained = training::train(args, &source, (&loaded, known))?;
    let job = Job { args, source: &source, trained: &trained };
    let (scored, trace) = job.score(&mut loaded, known)?;
    let report = Report::new(args, &loaded, (&trained, &scored)).map_err(|error| Failure::other(&error))?;
    if let Some((folder, trace)) = folder.zip(trace) {
        folder.write(&job.page(&loaded, &report, (&scored, trace))?, &report.to_json_line())?;
    }
    report.warnings.iter().for_each(|warning| eprintln!("strayd: {warning}"));
    output::print(&if args.json { report.to_json_line() } else { table::of(&report) })
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

/// A model and the rows that it is to score.
struct Job<'a> {
    args: &'a BacktestArgs,
    source: &'a Source<'a>,
    trained: &'a Trained,
}

impl Job<'_> {
    /// Scores what is to be scored, in order.
    fn score(&self, loaded: &mut Loaded, labels: Option<Labels<'_>>) -> Result<(Scored, Option<Trace>), Failure> {
        let model = &self.trained.model;
        let metadata = &model.metadata;
        require_time(&metadata.features, &loaded.settings)?;
        if let Some(label) = labels.map(|labels| labels.column)
            && metadata.features.iter().any(|feature| label.contains(&feature.path))
        {
            return Err(Failure::config(&format!(
                "--labels {label} is a feature of the model {}; expected a model that was trained without it",
                model.version
            )));
        }
        files::follow(model, loaded);
        let rejudge = (!self.args.no_suggest).then(|| Rejudge::new(metadata, labels.is_some()));
        let trace = self.args.report.is_some().then(|| Trace::new(metadata));
        let mut watch = Watch::new(self.source, loaded.settings.record.timestamp.is_some()).with(rejudge, trace);
        self.pass(loaded, &mut watch)?;
        let is_scored = |(row, _): &(usize, &Option<bool>)| !self.source.trains_on(*row);
        let scored =
            |labels: Labels<'_>| labels.rows.iter().enumerate().filter(is_scored).map(|(_, label)| *label).collect();
        Ok(watch.finish(names(&self.args.data), labels.map(scored)))
    }

    /// Pushes the rows through the pipeline.
    fn pass(&self, loaded: &Loaded, observer: &mut dyn Observer) -> Result<(), Failure> {
        let texts = names_in(&self.trained.model.metadata.features, &loaded.settings.record);
        let first = self.source.first_scored() as i64;
        let mut files = FileSource::open(self.args.data.clone())?.keep_text(texts).skip(first)?;
        files::score(loaded, self.trained.model.clone(), &mut files, observer)?;
        Ok(())
    }

    /// The page, for which the worst incidents are looked at once more.
    fn page(&self, loaded: &Loaded, report: &Report, (scored, mut trace): (&Scored, Trace)) -> Result<String, Failure> {
        let worst = trace.worst().to_vec();
        let mut closeup = Closeup::new(&worst, &scored.entities);
        if !worst.is_empty() {
            // What happens is the same once more, and was logged already.
            let quiet = tracing::subscriber::NoSubscriber::default();
            tracing::subscriber::with_default(quiet, || self.pass(loaded, &mut closeup))?;
        }
        let (views, metadata) = (closeup.finish(), &self.trained.model.metadata);
        let seen = Seen { scored, trace: &trace, worst: &worst, views: &views, metadata };
        Ok(seen.page(report).map_err(|error| Failure::other(&error))?.to_html())
    }
}
