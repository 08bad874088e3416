//! Where a backtest's model comes from, and the rows that it is trained on.

use std::path::{Path, PathBuf};

use super::{
    super::{
        Failure,
        files::{self, fit, names, names_to_learn, require_time},
        normal::Normal,
    },
    BacktestArgs, TRAIN_SHARE,
    marks::Marks,
};
use crate::{
    app::AppError,
    config::{Loaded, settings::FeatureSelection},
    demo::display::counted,
    detect::runtime::Runtime,
    file::{
        FileSource,
        labels::{has_column, read_labels},
    },
    model::Model,
    record::{RawRecord, path::FieldPath},
    train::recipe::TrainError,
};

/// What the model is made from.
pub(super) enum Source<'a> {
    /// The first rows of the data.
    First { rows: usize },
    /// Rows of the data that are marked.
    Marked(Marks),
    /// Files of their own.
    Files(&'a [PathBuf]),
    /// It is there already.
    Model(&'a Path),
}

/// A model and what is known of its making.
pub(super) struct Trained {
    pub(super) model: Model,
    /// Rows left out of the training because they are labelled; `None` where nothing was trained.
    pub(super) left_out: Option<usize>,
}

impl<'a> Source<'a> {
    /// What was asked for, of data of so many rows.
    pub(super) fn of(args: &'a BacktestArgs, rows: usize, marks: Option<Marks>) -> Result<Self, Failure> {
        match (&args.train_data, &args.model, marks) {
            (Some(files), _, _) if rows > 0 => Ok(Self::Files(files)),
            (_, Some(model), _) if rows > 0 => Ok(Self::Model(model)),
            (None, None, Some(marks)) if rows > 0 => {
                let marked = marks.rows.iter().filter(|marked| **marked).count();
                if marked > 0 && marked < rows {
                    return Ok(Self::Marked(marks));
                }
                let (data, how) = (names(&args.data), marks.how);
                Err(Failure::other(&BacktestError::NotParted { data, marked, rows, how }))
            }
            (None, None, None) => {
                let share = args.train_share.unwrap_or(TRAIN_SHARE);
                let first = (rows as f64 * share) as usize;
                if first > 0 && first < rows {
                    return Ok(Self::First { rows: first });
                }
                Err(Failure::other(&BacktestError::TooFew { data: names(&args.data), rows, share }))
            }
            _ => Err(Failure::other(&BacktestError::NoRows { data: names(&args.data) })),
        }
    }

    /// The first row of the data that is scored.
    pub(super) fn first_scored(&self) -> usize {
        match self {
            Self::First { rows } => *rows,
            Self::Marked(marks) => marks.rows.iter().position(|marked| !marked).unwrap_or(marks.rows.len()),
            Self::Files(_) | Self::Model(_) => 0,
        }
    }

    /// Whether this row of the data is trained on, and so has no part in the figures.
    pub(super) fn trains_on(&self, row: usize) -> bool {
        match self {
            Self::First { rows } => row < *rows,
            Self::Marked(marks) => marks.rows.get(row).copied().unwrap_or(false),
            Self::Files(_) | Self::Model(_) => false,
        }
    }

    /// The row of the files after the last one that may be trained on.
    fn end(&self) -> usize {
        match self {
            Self::First { rows } => *rows,
            Self::Marked(marks) => marks.rows.iter().rposition(|marked| *marked).map_or(0, |last| last + 1),
            Self::Files(_) | Self::Model(_) => usize::MAX,
        }
    }
}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
enum BacktestError {
    #[error("{data} has no rows, expected some to score")]
    NoRows { data: String },
    #[error(
        "{data} has {rows} rows, of which --train-share {share} leaves none to train on or none to score; expected \
         more rows, or --train-data FILE, or --model FILE"
    )]
    TooFew { data: String, rows: usize, share: f64 },
    #[error(
        "{marked} of {rows} rows of {data} are {how}, expected some of them, to train on, and not all, so that others are \
         left to score"
    )]
    NotParted { data: String, marked: usize, rows: usize, how: String },
    #[error(
        "all {rows} rows to train on, {place}, are labelled 1; expected normal rows there: {cure}, or --model FILE"
    )]
    NoNormalRows { rows: usize, place: String, cure: &'static str },
    #[error("training on {place}: {cause}")]
    Training { place: String, cause: TrainError },
    #[error(
        "training on {place}: {windows} usable windows are too few, expected at least {least}: {cure}, or \
         --model FILE{unusable}"
    )]
    TooFewWindows { place: String, windows: usize, least: usize, cure: &'static str, unusable: String },
}

/// The labels of the data.
#[derive(Clone, Copy)]
pub(super) struct Labels<'a> {
    /// Where they stand.
    pub(super) column: &'a FieldPath,
    /// By row of the data; `None` where it can't be read.
    pub(super) rows: &'a [Option<bool>],
}

/// Reads the model or trains it, on rows that are not labelled.
pub(super) fn train(
    args: &BacktestArgs,
    source: &Source<'_>,
    (loaded, labels): (&Loaded, Option<Labels<'_>>),
) -> Result<Trained, Failure> {
    let files = match source {
        Source::Model(path) => {
            return Ok(Trained { model: Model::read(path).map_err(AppError::from)?, left_out: None });
        }
        Source::First { .. } | Source::Marked(_) => &args.data[..],
        Source::Files(files) => *files,
    };
    let loaded = &without_strangers(loaded, &args.data, files)?;
    if let FeatureSelection::Listed(features) = &loaded.settings.record.features {
        require_time(features, &loaded.settings)?;
    }
    let runtime = Runtime::of(&loaded.settings).map_err(AppError::from)?;
    // The model is run at the end, but nobody wants to wait for that to hear of it.
    runtime.try_device(None).map_err(AppError::from)?;
    let own;
    let labels = match (source, labels) {
        // A history that is known to be normal needs no labels.
        (Source::Files(files), Some(labels)) if has_column(files, labels.column)? => {
            own = read_labels(files, labels.column)?;
            Some(&own[..])
        }
        (Source::Files(_), _) => None,
        (_, labels) => labels.map(|labels| labels.rows),
    };
    let mut normal = Normal::new(labels.unwrap_or_default(), &loaded.settings.record);
    let wanted =
        |raw: &RawRecord<'_>| matches!(source, Source::Files(_)) || source.trains_on(raw.position.offset as usize);
    let mut rows_of = FileSource::open(files.to_vec())?.keep_text(names_to_learn(&loaded.settings));
    rows_of = rows_of.until(i64::try_from(source.end()).unwrap_or(i64::MAX));
    let sample = files::read_sample(&mut rows_of, &loaded.settings, &mut |raw| normal.keep(raw, wanted(raw)))?;
    let told = Told { source, files };
    if sample.is_empty() && normal.left_out() > 0 {
        let (rows, place, cure) = (normal.left_out(), told.place(), source.cure());
        return Err(Failure::other(&BacktestError::NoNormalRows { rows, place, cure }));
    }
    let recipe = files::recipe(runtime, loaded, told.place())?;
    let model = fit(|progress| recipe.train(&sample, progress)).map_err(|cause| told.refused(cause))?;
    Ok(Trained { model, left_out: Some(normal.left_out()) })
}

/// The same settings without what is left out of the features that only the scored files have: it was not misspelt, so
/// that training need not warn of it.
fn without_strangers(loaded: &Loaded, data: &[PathBuf], files: &[PathBuf]) -> Result<Loaded, Failure> {
    let mut loaded = loaded.clone();
    if let FeatureSelection::AllNumeric { exclude, .. } = &mut loaded.settings.record.features
        && data != files
    {
        let mut known = Vec::new();
        for path in exclude.drain(..) {
            if has_column(files, &path)? || !has_column(data, &path)? {
                known.push(path);
            }
        }
        *exclude = known;
    }
    Ok(loaded)
}

impl Source<'_> {
    /// What gives more rows to train on.
    fn cure(&self) -> &'static str {
        match self {
            Self::First { .. } => "a larger --train-share, or --train-data FILE",
            Self::Marked(_) => "other rows marked, or --train-data FILE",
            Self::Files(_) | Self::Model(_) => "other files as --train-data",
        }
    }
}

/// The rows that are trained on, in words.
struct Told<'a> {
    source: &'a Source<'a>,
    files: &'a [PathBuf],
}

impl Told<'_> {
    fn place(&self) -> String {
        match self.source {
            Source::First { rows } => format!("rows 0 to {} of {}", rows - 1, names(self.files)),
            Source::Marked(Marks { rows, how }) => {
                let marked = rows.iter().filter(|marked| **marked).count();
                format!("{} {how} of {}", counted(marked, "row"), names(self.files))
            }
            Source::Files(_) | Source::Model(_) => names(self.files),
        }
    }

    fn refused(&self, cause: TrainError) -> Failure {
        let place = self.place();
        Failure::other(&match cause {
            TrainError::TooFewRows { windows, least, unusable } => {
                BacktestError::TooFewWindows { place, windows, least, cure: self.source.cure(), unusable }
            }
            cause => BacktestError::Training { place, cause },
        })
    }
}
