//! Where a backtest's model comes from, and the rows that it is trained on.

use std::{collections::HashMap, path::Path, path::PathBuf};

use super::{
    super::{
        Failure,
        files::{self, fit, names, names_to_learn, require_time},
    },
    BacktestArgs, TRAIN_SHARE,
    marks::Marks,
};
use crate::{
    app::AppError,
    config::{
        Loaded,
        settings::{FeatureSelection, RecordSettings},
    },
    demo::display::counted,
    detect::runtime::Runtime,
    file::{
        FileSource,
        labels::{has_column, read_labels},
    },
    model::Model,
    record::{
        DecodedRecord, RawRecord,
        decode::{Decoder, Schema},
        path::FieldPath,
    },
    train::{recipe::TrainError, sample::SampleRecord},
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
    let mut normal = Normal::new(source, labels.unwrap_or_default(), &loaded.settings.record);
    let mut rows_of = FileSource::open(files.to_vec())?.keep_text(names_to_learn(&loaded.settings));
    rows_of = rows_of.until(i64::try_from(source.end()).unwrap_or(i64::MAX));
    let sample = files::read_sample(&mut rows_of, &loaded.settings, &mut |raw| normal.keep(raw))?;
    let told = Told { source, files };
    if sample.is_empty() && normal.left_out > 0 {
        let (rows, place, cure) = (normal.left_out, told.place(), source.cure());
        return Err(Failure::other(&BacktestError::NoNormalRows { rows, place, cure }));
    }
    let recipe = files::recipe(runtime, loaded, told.place())?;
    let model = fit(|progress| recipe.train(&sample, progress)).map_err(|cause| told.refused(cause))?;
    Ok(Trained { model, left_out: Some(normal.left_out) })
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

/// Keeps labelled rows out of a sample, and those that are not to be trained on. What followed such a row in its entity did
/// not follow what stood before it, so it begins a run of its own, and no window reaches across the gap.
struct Normal<'a> {
    source: &'a Source<'a>,
    /// By row; empty where nothing is labelled.
    labels: &'a [Option<bool>],
    decoder: Decoder,
    decoded: DecodedRecord,
    runs: HashMap<String, Run>,
    left_out: usize,
}

/// The run that an entity is in.
#[derive(Default)]
struct Run {
    number: u32,
    /// Whether a row was left out since its last one.
    broken: bool,
}

impl<'a> Normal<'a> {
    fn new(source: &'a Source<'a>, labels: &'a [Option<bool>], record: &RecordSettings) -> Self {
        let decoder = Decoder::new(Schema::new(&[], record));
        Self { source, labels, decoder, decoded: DecodedRecord::default(), runs: HashMap::new(), left_out: 0 }
    }

    fn keep(&mut self, raw: &RawRecord<'_>) -> Option<SampleRecord> {
        let row = raw.position.offset as usize;
        let wanted = matches!(self.source, Source::Files(_)) || self.source.trains_on(row);
        let labelled = wanted && self.labels.get(row).copied().flatten().unwrap_or(false);
        let left_out = labelled || !wanted;
        if !left_out && self.runs.is_empty() {
            return SampleRecord::copy(raw);
        }
        // Whose row it is can't be told of a row that can't be used, and need not be.
        let _ = self.decoder.decode(raw, &mut self.decoded);
        if left_out {
            self.left_out += usize::from(labelled);
            self.runs.entry(self.decoded.entity.clone()).or_default().broken = true;
            return None;
        }
        let run = self.runs.get_mut(&self.decoded.entity).map_or(0, |run| {
            run.number += u32::from(std::mem::take(&mut run.broken));
            run.number
        });
        Some(SampleRecord { run, ..SampleRecord::copy(raw)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Settings, Sources},
        record::Position,
    };

    #[test]
    fn a_labelled_row_is_left_out_and_parts_the_runs_of_its_entity_only() {
        let set = vec![r#"record.entity={"field":"id"}"#.to_owned()];
        let settings = Settings::load(&Sources { set, ..Sources::default() }).unwrap().settings;
        let rows = [("a", 0), ("b", 0), ("a", 1), ("b", 0), ("a", 1), ("a", 0), ("b", 0), ("a", 0), ("b", 1), ("b", 0)];
        let labels: Vec<Option<bool>> = rows.iter().map(|row| Some(row.1 == 1)).collect();
        let source = Source::First { rows: rows.len() };
        let mut normal = Normal::new(&source, &labels, &settings.record);
        let mut kept = Vec::new();
        for (offset, (id, _)) in rows.iter().enumerate() {
            let payload = format!("{{\"id\":\"{id}\",\"x\":1}}");
            let raw = RawRecord {
                position: Position { partition: 0, offset: offset as i64 },
                timestamp_ms: Some(0),
                key: None,
                payload: Some(payload.as_bytes()),
            };
            kept.extend(normal.keep(&raw).map(|record| (record.position.offset, record.run)));
        }
        assert_eq!(kept, [(0, 0), (1, 0), (3, 0), (5, 1), (6, 0), (7, 1), (9, 1)]);
        assert_eq!(normal.left_out, 3);
    }
}
