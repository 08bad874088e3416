//! `strayd tune`: settings that suit a file, found without labels.

mod measure;
mod progress;
pub mod report;
mod search;
mod session;
mod space;
mod stop;
mod table;
mod written;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use self::{
    report::{Ended, Report, Rows},
    search::{Found, search},
    session::Session,
    space::Setting,
    stop::Stop,
};
use super::{
    ConfigArgs, Failure, FileSources,
    files::{self, names, names_to_learn, require_json, require_time},
    normal::{Normal, leave_out},
    output,
};
use crate::{
    app::AppError,
    config::{Loaded, settings::FeatureSelection},
    detect::runtime::Runtime,
    file::{
        FileSource,
        labels::{find_column, read_labels},
        partial::Partial,
    },
    record::path::FieldPath,
    telemetry::log,
    train::{
        sample::SampleRecord,
        tune::{Parts, StudyError},
    },
};

/// Candidates that are measured where nothing is said: with 10,000 rows of 38 columns some minutes on two cores.
const TRIALS: usize = 100;

/// Arguments of `strayd tune`.
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// The configuration to start from; without one, settings come from the data
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Files of mostly normal rows, in time order: .csv, .jsonl, .parquet, also .gz
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Column of 0 and 1: rows with 1 are left out. Nothing is chosen by it, and it is never a feature
    #[arg(long, value_name = "COLUMN")]
    pub labels: Option<String>,
    /// Where the configuration goes; without it, standard output
    #[arg(long, value_name = "FILE.yaml", value_parser = yaml_file)]
    pub out: Option<PathBuf>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Candidates to train and examine at most [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), conflicts_with = "minutes")]
    pub trials: Option<u32>,
    /// End the search after this time, whatever it has found; the last comparison comes after it
    #[arg(long, value_name = "N", value_parser = minutes)]
    pub minutes: Option<f64>,
}

fn yaml_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => Ok(path),
        _ => Err("expected a name that ends in .yaml or .yml".to_owned()),
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if minutes > 0.0 && minutes <= 10_000.0 => Ok(minutes),
        _ => Err("expected a number above 0, at most 10000, such as 5".to_owned()),
    }
}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
enum TuneError {
    #[error("--out {} is the configuration to start from, expected another file", .0.display())]
    OutIsConfig(PathBuf),
    #[error("model.file is a graph of another tool, expected none: tuning looks for networks of strayd's own")]
    Foreign,
    #[error("tuning on {data}: {cause}")]
    Study { data: String, cause: StudyError },
    #[error("tuning on {data}: no model can be trained with the given configuration: {why}")]
    Given { data: String, why: String },
    #[error("all {rows} rows of {data} are labelled 1, expected normal rows")]
    NoNormalRows { rows: usize, data: String },
    #[error("stopped before the given configuration was measured, expected more time (--minutes)")]
    Stopped,
}

/// Searches, compares and writes.
pub fn run(args: &TuneArgs) -> Result<(), Failure> {
    if let Some(out) = args.out.as_deref().filter(|out| is_config(out, args)) {
        return Err(Failure::config(&TuneError::OutIsConfig(out.to_owned())));
    }
    let sources = args.config.sources_for_files(&args.data)?;
    let label = args.labels.as_ref().map(|column| find_column(&args.data, column)).transpose()?;
    let loaded = load(&sources, label.as_ref())?;
    log::init(&loaded.settings.log)?;
    require_json(&loaded.settings)?;
    if let FeatureSelection::Listed(features) = &loaded.settings.record.features {
        require_time(features, &loaded.settings)?;
    }
    let written = sources.sources.written()?;
    // Nobody wants to wait for a search to hear that its outcome can't be written, or that no model can be run.
    let out = args.out.as_deref().map(Partial::create).transpose()?;
    let runtime = Runtime::of(&loaded.settings).map_err(AppError::from)?;
    runtime.try_device(None).map_err(AppError::from)?;
    let (sample, left_out) = read(args, &loaded, label.as_ref())?;
    let recipe = files::recipe(runtime, &loaded, names(&args.data))?;
    if recipe.foreign.is_some() {
        return Err(Failure::config(&TuneError::Foreign));
    }
    let failed = |cause| Failure::other(&TuneError::Study { data: names(&args.data), cause });
    let parts = Parts::split(sample, loaded.settings.preset).map_err(failed)?;
    let rows = Rows::of(&parts, left_out);
    let stop = Stop::on_signals(args.minutes)?;
    let load = |set: &[String]| load(&sources.with(set), label.as_ref());
    let mut session = Session::new(recipe, &parts, (&load, &stop)).map_err(failed)?;
    let found = look(args, &mut session)?;
    let comparison = session.compare(&found, &parts).map_err(failed)?;
    let ended = if found.whole { Ended::Complete } else { stop.why().unwrap_or(Ended::Trials) };
    let report = Report::of(names(&args.data), (rows, ended), (&found, &session), comparison);
    tell(args, report, (written, out))
}

/// The configuration with these pairs on top, and the labels left out.
fn load(sources: &FileSources, label: Option<&FieldPath>) -> Result<Loaded, Failure> {
    let mut loaded = sources.load()?;
    // Metrics of what is only tried would stand in the way of a daemon's.
    loaded.settings.http.listen = None;
    label.map_or(Ok(()), |column| leave_out("--labels", column, &mut loaded))?;
    Ok(loaded)
}

impl FileSources {
    fn with(&self, set: &[String]) -> Self {
        let mut sources = self.clone();
        sources.sources.set.extend_from_slice(set);
        sources
    }
}

/// The rows that are not labelled 1, and how many are.
fn read(args: &TuneArgs, loaded: &Loaded, label: Option<&FieldPath>) -> Result<(Vec<SampleRecord>, usize), Failure> {
    let labels = label.map(|column| read_labels(&args.data, column)).transpose()?.unwrap_or_default();
    let mut normal = Normal::new(&labels, &loaded.settings.record);
    let mut source = FileSource::open(args.data.clone())?.keep_text(names_to_learn(&loaded.settings));
    let sample = files::read_sample(&mut source, &loaded.settings, &mut |raw| normal.keep(raw, true))?;
    let left_out = normal.left_out();
    if sample.is_empty() && left_out > 0 {
        return Err(Failure::other(&TuneError::NoNormalRows { rows: left_out, data: names(&args.data) }));
    }
    Ok((sample, left_out))
}

fn look(args: &TuneArgs, session: &mut Session<'_>) -> Result<Found, Failure> {
    // A search that ends with the time is not to end before.
    let trials = args.trials.map_or(if args.minutes.is_some() { usize::MAX } else { TRIALS }, |trials| trials as usize);
    let settings = Setting::all(session.preset());
    session.begin(trials);
    let found = search(settings, trials, &mut |number, changes| session.try_out(number, changes));
    session.end();
    let found = found.map_err(|why| Failure::other(&TuneError::Given { data: names(&args.data), why }))?;
    found.ok_or_else(|| Failure::other(&TuneError::Stopped))
}

/// Writes the configuration and prints what was found.
fn tell(
    args: &TuneArgs,
    mut report: Report,
    (written, out): (serde_json::Value, Option<(Partial, std::fs::File)>),
) -> Result<(), Failure> {
    report.config = written::yaml(written, &report).map_err(|error| Failure::other(&error))?;
    if let Some((mut partial, file)) = out {
        // To be read by nobody who may not read what it comes from.
        if let Some(config) = &args.config.config {
            let mode = fs::metadata(config).and_then(|from| file.set_permissions(from.permissions()));
            mode.map_err(|error| Failure::other(&error))?;
        }
        partial.write(&file, report.config.as_bytes())?;
    }
    match (args.json, &args.out) {
        (true, _) => output::print(&report.to_json_line()),
        (false, Some(path)) => output::print(&format!("{}\nwritten to {}\n", table::of(&report), path.display())),
        (false, None) => {
            eprint!("{}", table::of(&report));
            output::print(&report.config)
        }
    }
}

fn is_config(out: &Path, args: &TuneArgs) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    args.config
        .config
        .as_deref()
        .is_some_and(|config| config == out || (real(out).is_some() && real(out) == real(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_names_are_good_or_told() {
        assert_eq!(minutes("0.5"), Ok(0.5));
        for bad in ["0", "-1", "nan", "inf", "soon", "10001"] {
            assert!(minutes(bad).unwrap_err().contains("above 0"), "{bad}");
        }
        assert!(yaml_file("a.yml").is_ok() && yaml_file("a.json").is_err() && yaml_file("yaml").is_err());
    }
}
