//! `strayd train` and `strayd score`: the same pipeline with files as source.

use std::{
    io::IsTerminal,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use clap::Args;

use super::{ConfigArgs, Failure, explain};
use crate::{
    app::{self, App, Ends},
    config::{
        Loaded, Problems, Settings,
        settings::{AlarmBudget, EntityFrom, FeatureSelection, Preset, RawGrid, RecordFormat, RecordSettings},
    },
    demo::display::TrainingProgress,
    detect::runtime::Runtime,
    file::{
        self,
        plot::ScorePlot,
        scores::{ScoreRow, ScoresWriter},
    },
    model::{Model, metadata::GraphOrigin},
    pipeline::{
        Discard, Observer, Polled, Source, Unscored,
        observed::Observed,
        run::{self, Start},
        training::Progress,
    },
    record::{
        features::{FeatureKind, FeatureSetting},
        grid::Shape,
        path::FieldPath,
        timestamp,
    },
    telemetry::log,
    train::{
        Pace,
        recipe::{Recipe, TrainError},
        sample::SampleRecord,
    },
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
    let (sample, seen) = read_sample(args, &loaded)?;
    if seen > sample.len() {
        tracing::warn!(seen, kept = sample.len(), "more rows than training.max_rows: only the newest are trained on");
    }
    let foreign = match &loaded.settings.model.file {
        Some(file) => match Model::read(file) {
            Err(error) if error.is_foreign() => Some(app::foreign(&runtime, file, &loaded.settings)?),
            Err(error) => return Err(app::AppError::from(error).into()),
            Ok(_) => None,
        },
        None => None,
    };
    let recipe = Recipe {
        settings: Arc::new(loaded.settings.clone()),
        scorers: Arc::new(runtime),
        foreign,
        source: names(&args.data),
        config_sha256: loaded.training_sha256.clone(),
        created: run::now(),
        parent: None,
    };
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

/// Trains and shows how far it is.
fn fit(train: impl FnOnce(&mut Progress<'_>) -> Result<Model, TrainError>) -> Result<Model, TrainError> {
    let mut bar = TrainingProgress::new(std::io::stderr().is_terminal(), Box::new(std::io::stderr()));
    let (mut pace, began) = (Pace::default(), Instant::now());
    let trained = train(&mut |report| {
        // A terminal that can't be written to is no reason to stop training.
        let _ = bar.epoch(&pace.epoch(*report, began.elapsed()));
        ControlFlow::Continue(())
    });
    let _ = bar.finish();
    trained
}

fn names(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Rows of files are passed on as JSON objects, whatever the file's format.
fn require_json(settings: &Settings) -> Result<(), Failure> {
    let RecordFormat::Raw(RawGrid { shape: Shape { height, width }, .. }) = settings.record.format else {
        return Ok(());
    };
    let mut problems = Problems::default();
    let expected = format!(
        "json, and in record.features {{path: grid, kind: grid, shape: [{height}, {width}]}} for rows such as \
         {{\"grid\": [[...], ...]}}"
    );
    problems.push("record.format", "raw bytes come from Kafka only, not from files", expected);
    Err(Failure::config(&problems))
}

/// Rows of files have no time but what a field says. Without one time would stand still: hours would be the same for
/// all rows, and counters would never have a rate.
fn require_time(features: &[FeatureSetting], settings: &Settings) -> Result<(), Failure> {
    if settings.record.timestamp.is_some() {
        return Ok(());
    }
    let mut problems = Problems::default();
    for feature in features.iter().filter(|feature| feature.kind.needs_time()) {
        let problem =
            format!("is not set, but the feature `{}` needs the event time and rows of files have none", feature.name);
        problems.push("record.timestamp", problem, "{field: PATH}, such as --set record.timestamp.field=time");
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::config(&problems)) }
}

/// Where names stand, of entities and of categories, unless the field is a number for something else too.
fn names_in(features: &[FeatureSetting], record: &RecordSettings) -> Vec<FieldPath> {
    let is_name = |feature: &&FeatureSetting| matches!(feature.kind, FeatureKind::Categorical { .. });
    let mut names: Vec<FieldPath> = features.iter().filter(is_name).map(|feature| feature.path.clone()).collect();
    if let EntityFrom::Field(path) = &record.entity {
        names.push(path.clone());
    }
    let others = features.iter().filter(|feature| !is_name(feature)).map(|feature| &feature.path);
    let numbers: Vec<&FieldPath> = others.chain(record.timestamp.iter().map(|field| &field.path)).collect();
    names.retain(|name| !numbers.contains(&name));
    names
}

fn read_sample(args: &TrainArgs, loaded: &Loaded) -> Result<(Vec<SampleRecord>, usize), Failure> {
    let features = match &loaded.settings.record.features {
        FeatureSelection::Listed(features) => &features[..],
        FeatureSelection::AllNumeric { .. } => &[],
    };
    let mut source = file::FileSource::open(args.data.clone())?.keep_text(names_in(features, &loaded.settings.record));
    let most = loaded.settings.training.max_rows;
    let mut sample = std::collections::VecDeque::new();
    let mut seen = 0;
    loop {
        let polled = source
            .poll(4096, std::time::Duration::ZERO, &mut |raw| {
                seen += 1;
                sample.extend(SampleRecord::copy(&raw));
                if sample.len() > most {
                    sample.pop_front();
                }
            })
            .map_err(|error| Failure::other(&error))?;
        if polled == Polled::End {
            return Ok((sample.into(), seen));
        }
    }
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
    let budget = words(&loaded.settings);
    match metadata.calibration.limit(&loaded.settings.judging.budget) {
        Ok(limit) => eprintln!("limit {limit:.4} for a budget of {budget}"),
        Err(error) => eprintln!("no limit for a budget of {budget}: {error}"),
    }
}

/// The budget in words.
fn words(settings: &Settings) -> String {
    match settings.judging.budget {
        AlarmBudget::PerEntityAndDay(alarms) => {
            format!("{alarms} alarm{} per entity and day", if alarms == 1.0 { "" } else { "s" })
        }
        AlarmBudget::Quantile(share) => format!("{share} of normal rows"),
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
    let by_day = matches!(loaded.settings.judging.budget, AlarmBudget::PerEntityAndDay(_));
    if model.metadata.calibration.interval_seconds.is_none() && by_day && !loaded.budget_is_written {
        // A budget that nobody wrote follows the model, which was trained on independent rows.
        loaded.settings.judging.budget = Settings::defaults(Preset::Tabular).judging.budget;
        tracing::info!("the model knows no time between rows: the budget is {}", words(&loaded.settings));
    }
    let timed = loaded.settings.record.timestamp.is_some();
    let app = App::build(&loaded)?;
    let names = names_in(&model.metadata.features, &loaded.settings.record);
    let mut source = file::FileSource::open(args.data.clone())?.keep_text(names);
    let writer = ScoresWriter::create(&args.out)?;
    let plot = args.plot.as_ref().map(|path| plot(path, &model, &loaded.settings)).transpose()?;
    let mut scores = Scores { writer, plot, timed, failed: None };
    let mut sink = Discard::default();
    let ends = Ends { source: &mut source, sink: &mut sink, observer: &mut scores, progress: &mut |_| {} };
    let summary = app.run(Start::Model(Arc::new(model)), ends, &AtomicBool::new(false))?;
    if let Some(error) = scores.failed {
        return Err(error);
    }
    scores.writer.finish(summary.records)?;
    scores.plot.map_or(Ok(()), ScorePlot::finish)?;
    eprintln!(
        "{}: {} rows, {} anomalous, {} could not be used",
        args.out.display(),
        summary.records,
        summary.anomalies,
        summary.dead_letters
    );
    Ok(())
}

/// The picture to be drawn of a model's scores.
fn plot(path: &Path, model: &Model, settings: &Settings) -> Result<ScorePlot, Failure> {
    let limit = model.metadata.calibration.limit(&settings.judging.budget).map_err(|error| Failure::other(&error))?;
    let title = match &model.metadata.graph {
        GraphOrigin::Strayd { architecture } => architecture.clone(),
        GraphOrigin::Foreign { .. } => "a graph of another tool".to_owned(),
    };
    Ok(ScorePlot::create(path, format!("{title}, budget {}", words(settings)), limit)?)
}

/// Whether two paths lead to one file, which need not be there yet.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
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
            verdict: if record.judged.anomalous { "anomalous" } else { "normal" }.to_owned(),
            top,
        };
        self.draw(Some((record.judged.score, record.judged.anomalous)));
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
