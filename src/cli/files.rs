//! What the commands on files share: reading a sample, training on it, and scoring as the daemon does.

use std::{
    io::IsTerminal,
    ops::ControlFlow,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use super::Failure;
use crate::{
    app::{self, App, AppError, Ends},
    config::{
        Loaded, Problems, Settings,
        settings::{AlarmBudget, FeatureSelection, Preset, RawGrid, RecordFormat},
    },
    demo::display::TrainingProgress,
    detect::runtime::Runtime,
    file::FileSource,
    model::Model,
    pipeline::{
        Discard, Observer, Polled, Source,
        run::{self, RunSummary, Start},
        training::Progress,
    },
    record::{RawRecord, decode::names_in, features::FeatureSetting, grid::Shape, path::FieldPath},
    train::{
        Pace,
        recipe::{Recipe, TrainError},
        sample::SampleRecord,
    },
};

/// Rows that are read at a time.
const CHUNK: usize = 4096;

/// How a model is trained on files, with the graph of another tool where the settings name one.
pub(super) fn recipe(runtime: Runtime, loaded: &Loaded, source: String) -> Result<Recipe, Failure> {
    let foreign = match &loaded.settings.model.file {
        Some(file) => match Model::read(file) {
            Err(error) if error.is_foreign() => Some(app::foreign(&runtime, file, &loaded.settings)?),
            Err(error) => return Err(AppError::from(error).into()),
            Ok(_) => None,
        },
        None => None,
    };
    Ok(Recipe {
        settings: Arc::new(loaded.settings.clone()),
        scorers: Arc::new(runtime),
        foreign,
        source,
        config_sha256: loaded.training_sha256.clone(),
        created: run::now(),
        parent: None,
    })
}

/// Reads the rows that `keep` makes a record of; of more than `training.max_rows` only the newest.
pub(super) fn read_sample(
    source: &mut FileSource,
    settings: &Settings,
    keep: &mut dyn FnMut(&RawRecord<'_>) -> Option<SampleRecord>,
) -> Result<Vec<SampleRecord>, Failure> {
    let most = settings.training.max_rows;
    let mut sample = std::collections::VecDeque::new();
    let mut seen = 0;
    loop {
        let polled = source
            .poll(CHUNK, Duration::ZERO, &mut |raw| {
                let Some(record) = keep(&raw) else { return };
                seen += 1;
                sample.push_back(record);
                if sample.len() > most {
                    sample.pop_front();
                }
            })
            .map_err(|error| Failure::other(&error))?;
        if polled == Polled::End {
            break;
        }
    }
    if seen > most {
        tracing::warn!(seen, kept = sample.len(), "more rows than training.max_rows: only the newest are trained on");
    }
    Ok(sample.into())
}

/// A budget that nobody wrote follows the model, where that was trained on independent rows.
pub(super) fn follow(model: &Model, loaded: &mut Loaded) {
    let by_day = !matches!(loaded.settings.judging.budget, AlarmBudget::Quantile(_));
    if model.metadata.calibration.interval_seconds.is_none() && by_day && !loaded.budget_is_written {
        loaded.settings.judging.budget = Settings::defaults(Preset::Tabular).judging.budget;
        tracing::info!("the model knows no time between rows: the budget is {}", loaded.settings.judging.budget);
    }
}

/// Scores and judges all rows of `source` as the daemon does.
pub(super) fn score(
    loaded: &Loaded,
    model: Model,
    source: &mut FileSource,
    observer: &mut dyn Observer,
) -> Result<RunSummary, Failure> {
    let app = App::build(loaded)?;
    let mut sink = Discard::default();
    let ends = Ends { source, sink: &mut sink, observer, progress: &mut |_| {} };
    Ok(app.run(Start::Model(Arc::new(model)), ends, &AtomicBool::new(false))?)
}

/// Where names stand in rows to be trained on.
pub(super) fn names_to_learn(settings: &Settings) -> Vec<FieldPath> {
    let features = match &settings.record.features {
        FeatureSelection::Listed(features) => &features[..],
        FeatureSelection::AllNumeric { .. } => &[],
    };
    names_in(features, &settings.record)
}

/// Trains and shows how far it is.
pub(super) fn fit(train: impl FnOnce(&mut Progress<'_>) -> Result<Model, TrainError>) -> Result<Model, TrainError> {
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

pub(super) fn names(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Rows of files are passed on as JSON objects, whatever the file's format.
pub(super) fn require_json(settings: &Settings) -> Result<(), Failure> {
    let mut problems = Problems::default();
    match settings.record.format {
        RecordFormat::Json => return Ok(()),
        RecordFormat::Raw(RawGrid { shape: Shape { height, width }, .. }) => {
            let expected = format!(
                "json, and in record.features {{path: grid, kind: grid, shape: [{height}, {width}]}} for rows such as \
                 {{\"grid\": [[...], ...]}}"
            );
            problems.push("record.format", "raw bytes come from Kafka only, not from files", expected);
        }
        _ => {
            let problem = "is what messages of Kafka are; the rows of a file are told by its name";
            problems.push("record.format", problem, "json for files, such as --set record.format=json");
        }
    }
    Err(Failure::config(&problems))
}

/// Rows of files have no time but what a field says. Without one time would stand still: hours would be the same for
/// all rows, and counters would never have a rate.
pub(super) fn require_time(features: &[FeatureSetting], settings: &Settings) -> Result<(), Failure> {
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
