//! `strayd train` and `strayd score`: the same pipeline with files as source.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    ConfigArgs, Failure, explain,
    files::{self, fit, names, require_json, require_time},
};
use crate::{
    app,
    config::{Loaded, Settings, settings::FeatureSelection},
    detect::runtime::Runtime,
    file::{
        FileSource, folder_of,
        plot::ScorePlot,
        scores::{ScoreRow, ScoresWriter},
    },
    model::{Model, metadata::GraphOrigin},
    pipeline::{Observer, Unscored, observed::Observed},
    record::{decode::names_in, timestamp},
    telemetry::log,
    train::sample::SampleRecord,
};

/// Arguments of `strayd train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The configuration; without one, settings come from the data
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Files to train on, in time order: .csv, .jsonl, .parquet, also .gz
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Where the model goes; required unless --dry-run is given
    #[arg(long, value_name = "FILE.onnx", required_unless_present = "dry_run")]
    pub out: Option<PathBuf>,
    /// Show layers, number of parameters, size and estimated time before training starts
    #[arg(long)]
    pub explain: bool,
    /// Show the same and don't train
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `strayd score`.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// The configuration; without one, settings come from the data
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The model file
    #[arg(long, value_name = "FILE.onnx")]
    pub model: PathBuf,
    /// Files to score: .csv, .jsonl, .parquet, also .gz
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Where the scores go, one row per input row
    #[arg(long, value_name = "FILE.csv")]
    pub out: PathBuf,
    /// A picture of the scores, beside the limit; always SVG
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

/// Trains on files.
pub fn train(args: &TrainArgs) -> Result<(), Failure> {
    let loaded = args.config.load_for_files(&args.data)?;
    log::init(&loaded.settings.log)?;
    require_json(&loaded.settings)?;
    if let FeatureSelection::Listed(features) = &loaded.settings.record.features {
        require_time(features, &loaded.settings)?;
    }
    let runtime = Runtime::of(&loaded.settings).map_err(app::AppError::from)?;
    // The model is run at the end, but nobody wants to wait for that to hear of it.
    runtime.try_device(None).map_err(app::AppError::from)?;
    let mut source = FileSource::open(args.data.clone())?.keep_text(files::names_to_learn(&loaded.settings));
    let sample = files::read_sample(&mut source, &loaded.settings, &mut |raw| SampleRecord::copy(raw))?;
    let recipe = files::recipe(runtime, &loaded, names(&args.data))?;
    let plan = if args.explain || args.dry_run { Some(recipe.plan(&sample)?) } else { None };
    if let Some(plan) = &plan {
        explain::print(plan)?;
    }
    // Only a dry run has nowhere to go.
    let Some(out) = args.out.as_deref().filter(|_| !args.dry_run) else { return Ok(()) };
    let model = fit(|progress| match &plan {
        // What was decided and decoded for it need not be once more.
        Some(plan) => plan.train(&sample, progress),
        None => recipe.train(&sample, progress),
    })?;
    model.write(out).map_err(app::AppError::from)?;
    tell(&model, out, &loaded);
    Ok(())
}

fn tell(model: &Model, out: &Path, loaded: &Loaded) {
    let metadata = &model.metadata;
    let provenance = &metadata.provenance;
    eprintln!(
        "{}: model {} of {} rows ({} held back, {} unusable), {} columns, window {}, loss {:.3e}, held-back loss {:.3e}",
        out.display(),
        model.version,
        provenance.fitted_rows,
        provenance.held_back_rows,
        provenance.unusable_records,
        metadata.columns.len(),
        metadata.window,
        provenance.training_loss,
        provenance.validation_loss,
    );
    let budget = loaded.settings.judging.budget;
    match metadata.calibration.limit_of(budget) {
        Ok(limit) => eprintln!("limit {limit:.4} for a budget of {budget}"),
        Err(error) => eprintln!("no limit for a budget of {budget}: {error}"),
    }
}

/// Scores files.
pub fn score(args: &ScoreArgs) -> Result<(), Failure> {
    if let Some(plot) = args.plot.as_deref().filter(|plot| is_same_file(plot, &args.out)) {
        let told = format!("--plot and --out both name {}, expected two files", plot.display());
        return Err(Failure::config(&told));
    }
    let mut loaded = args.config.load_for_files(&args.data)?;
    loaded.settings.http.listen = None;
    log::init(&loaded.settings.log)?;
    require_json(&loaded.settings)?;
    let model = Model::read(&args.model).map_err(app::AppError::from)?;
    require_time(&model.metadata.features, &loaded.settings)?;
    files::follow(&model, &mut loaded);
    let timed = loaded.settings.record.timestamp.is_some();
    let names = names_in(&model.metadata.features, &loaded.settings.record);
    let mut source = FileSource::open(args.data.clone())?.keep_text(names);
    let writer = ScoresWriter::create(&args.out)?;
    let plot = args.plot.as_ref().map(|path| plot(path, &model, &loaded.settings)).transpose()?;
    let mut scores = Scores { writer, plot, timed, anomalous: 0, failed: None };
    let summary = files::score(&loaded, model, &mut source, &mut scores)?;
    if let Some(error) = scores.failed {
        return Err(error);
    }
    scores.writer.finish(summary.records)?;
    scores.plot.map_or(Ok(()), ScorePlot::finish)?;
    eprintln!(
        "{}: {} rows, {} anomalous, {} could not be used",
        args.out.display(),
        summary.records,
        scores.anomalous,
        summary.dead_letters
    );
    Ok(())
}

/// The picture to be drawn of a model's scores.
fn plot(path: &Path, model: &Model, settings: &Settings) -> Result<ScorePlot, Failure> {
    let limit = model.metadata.calibration.limit_of(settings.judging.budget).map_err(|error| Failure::other(&error))?;
    let title = match &model.metadata.graph {
        GraphOrigin::Strayd { architecture } => architecture.clone(),
        GraphOrigin::Foreign { .. } => "a graph of another tool".to_owned(),
    };
    Ok(ScorePlot::create(path, format!("{title}, budget {}", settings.judging.budget), limit)?)
}

/// Whether two paths lead to one file, which need not be there yet.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let folder = folder_of(path);
        let whole = path.canonicalize().ok();
        whole.or_else(|| Some(folder.canonicalize().ok()?.join(path.file_name()?))).unwrap_or_else(|| path.to_owned())
    };
    place(one) == place(other)
}

/// Writes each record's end as one row.
struct Scores {
    writer: ScoresWriter,
    plot: Option<ScorePlot>,
    timed: bool,
    anomalous: u64,
    failed: Option<Failure>,
}

impl Scores {
    fn write(&mut self, row: ScoreRow) {
        if self.failed.is_none() {
            self.failed = self.writer.write(row).err().map(Failure::from);
        }
    }

    fn draw(&mut self, score: Option<(f64, bool)>) {
        if let Some(plot) = &mut self.plot {
            plot.push(score);
        }
    }

    fn time(&self, time_us: i64) -> Option<String> {
        self.timed.then(|| timestamp::to_rfc3339(time_us))
    }
}

impl Observer for Scores {
    fn judged(&mut self, record: &Observed<'_>) {
        let top = record.blames(1).pop().map(|blame| (blame.name, blame.value, blame.expected));
        let row = ScoreRow {
            row: record.position.offset as u64,
            entity: record.entity.to_owned(),
            timestamp: self.time(record.time_us),
            raw_score: Some(record.judged.raw_score),
            score: Some(record.judged.score),
            p_value: Some(record.p_value()),
            verdict: match record.suppressed {
                Some(reason) => format!("suppressed:{}", reason.as_str()),
                None => if record.judged.anomalous { "anomalous" } else { "normal" }.to_owned(),
            },
            top,
        };
        self.draw(Some((record.judged.score, record.is_anomalous())));
        self.anomalous += u64::from(record.is_anomalous());
        self.write(row);
    }

    fn unscored(&mut self, record: &Unscored<'_>) {
        let row = ScoreRow {
            row: record.position.offset as u64,
            entity: record.entity.to_owned(),
            timestamp: record.time_us.and_then(|time| self.time(time)),
            raw_score: None,
            score: None,
            p_value: None,
            verdict: record.why.to_owned(),
            top: None,
        };
        self.draw(None);
        self.write(row);
    }
}
