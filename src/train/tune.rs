//! Which settings suit rows that nobody labelled: how well models tell changes that are planted in rows that they have not
//! seen, and how much of that is chance.
//!
//! A [`Study`] trains on one part of the rows and examines on another. Both parts are the same for every candidate, and so are
//! the planted changes; what a row scores is said by the scorer and the judge that production uses. Ranks alone count
//! (the area under the ROC curve), so candidates with other scalings, windows and residual statistics can be compared,
//! which their losses can't.
//!
//! Where rows follow each other in time most plants last: smoothing, running statistics and windows are judged by what goes
//! on for a while, as incidents do. What is normal is taken from rows after a plant, too, so that a long smoothing pays for
//! the rows in which it forgets. See `docs/tune.md`.

mod figures;
mod lasting;

use std::ops::ControlFlow;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::figures::Figures;
use self::lasting::Lasting;
use super::{
    EpochReport,
    gate::{
        MIN_WINDOWS, TrialError,
        plants::{Plants, Scored, Separation},
        trial::Trial,
    },
    recipe::{Recipe, TrainError, varying_columns},
    sample::{SampleError, SampleRecord, SampleRows},
    split::{self, Split},
};
use crate::{
    config::settings::{Aggregation, Kinds, Preset, RecordSettings, Scaling, Settings},
    detect::{Scorers, calibrate::Missing},
    model::Model,
};

/// Rows that a study needs, from training to what is kept out of it.
pub const MIN_ROWS: usize = 5 * MIN_WINDOWS;
/// Of so many parts of the rows one is for judging candidates, and one is kept out of the search.
const PARTS: usize = 5;

/// What is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlantKind {
    /// One row takes some values of another row of its entity.
    Swap,
    /// One feature is off in one row.
    Spike,
    /// Some features take the values of another time, for a while.
    LastingSwap,
    /// One feature is off for a while.
    Shift,
    /// One feature moves off, step by step.
    Drift,
    /// Some features stay as they are.
    Stuck,
    /// All features move at once, as they do together at other times, from where they are.
    Surge,
}

/// Why settings can't be studied.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// Too few rows.
    #[error(
        "{rows} rows are too few to tell settings apart by, expected at least {MIN_ROWS}, of which a fifth judges candidates and a fifth is kept out of the search"
    )]
    TooFewRows {
        /// Rows there are.
        rows: usize,
    },
    /// Too few rows in which changes can be planted.
    #[error(
        "changes can be planted in {planted} of {rows} rows, expected at least {least}: no feature varies in the others, or they end no window of {window} rows"
    )]
    NothingToPlant {
        /// Rows with a plant.
        planted: usize,
        /// Rows there are.
        rows: usize,
        /// Plants needed.
        least: usize,
        /// Rows of the longest window.
        window: usize,
    },
    /// The rows can't be used.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// A model can't be trained.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A model can't be tried.
    #[error(transparent)]
    Trial(#[from] TrialError),
}

/// The rows of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// What candidates are trained on: three fifths.
    pub training: Vec<SampleRecord>,
    /// What candidates are chosen by: a fifth.
    pub judging: Vec<SampleRecord>,
    /// What no choice may hang on: a fifth.
    pub kept_out: Vec<SampleRecord>,
}

impl Parts {
    /// Deals rows out: those of a time series in their order, the newest are kept out; independent ones by turns, because a
    /// file of them may be sorted.
    ///
    /// # Errors
    /// Fewer than [`MIN_ROWS`].
    pub fn split(mut sample: Vec<SampleRecord>, preset: Preset) -> Result<Self, StudyError> {
        let rows = sample.len();
        if rows < MIN_ROWS {
            return Err(StudyError::TooFewRows { rows });
        }
        if preset == Preset::Tabular {
            let mut parts = Self { training: Vec::new(), judging: Vec::new(), kept_out: Vec::new() };
            for (row, record) in sample.into_iter().enumerate() {
                match row % PARTS {
                    1 => parts.judging.push(record),
                    3 => parts.kept_out.push(record),
                    _ => parts.training.push(record),
                }
            }
            return Ok(parts);
        }
        let kept_out = sample.split_off(rows - rows / PARTS);
        let judging = sample.split_off(sample.len() - rows / PARTS);
        Ok(Self { training: sample, judging, kept_out })
    }

    /// What the last comparison trains on: all that is not kept out, in its order.
    pub fn searched(&self) -> Vec<SampleRecord> {
        let mut rows: Vec<SampleRecord> = self.training.iter().chain(&self.judging).cloned().collect();
        rows.sort_by_key(|record| (record.position.partition, record.position.offset));
        rows
    }
}

/// Settings with all decided that they leave open.
#[derive(Clone)]
pub struct Decided {
    recipe: Recipe,
    split: std::sync::Arc<Split>,
}

impl Decided {
    /// Rows of a window.
    pub fn window(&self) -> usize {
        self.recipe.settings.training.window
    }

    /// How columns are scaled.
    pub fn scaling(&self) -> Scaling {
        self.recipe.settings.training.network.scaling.unwrap_or(Scaling::RobustMinMax)
    }

    /// The kinds of the network.
    pub fn kinds(&self) -> Option<&Kinds> {
        self.recipe.settings.training.network.kinds.as_ref()
    }

    /// All that a model becomes by, in words: the same for settings that mean the same, written or left open.
    pub fn fingerprint(&self) -> String {
        let Settings { mut training, mut judging, .. } = (*self.recipe.settings).clone();
        training.window_is_open = false;
        training.network.scaling = Some(self.scaling());
        training.network.skip.get_or_insert(false);
        judging.aggregation.get_or_insert(Aggregation::Mean);
        judging.residuals = Some(self.recipe.residuals());
        format!("{training:?} {judging:?}")
    }
}

/// What is known of one trained model.
#[derive(Debug, Clone)]
pub struct Measured {
    /// How well planted changes are told from normal rows.
    pub figures: Figures,
    /// Loss on the rows that stopped the training, in scaled units.
    pub held_back_loss: f64,
    /// The model.
    pub model: Model,
}

impl Measured {
    /// Columns of a row that vary.
    pub fn varying_columns(&self) -> usize {
        varying_columns(&self.model.metadata.columns)
    }
}

/// Rows to train on, and others to examine with planted changes.
pub struct Study {
    sample: Vec<SampleRecord>,
    rows: SampleRows,
    examined: SampleRows,
    plants: Plants,
    lasting: Option<Lasting>,
    longest: usize,
}

impl Study {
    /// Plants changes in `examined`, drawn by `seed`. Only rows count that end a window of each length: of `windows` the
    /// longest ones are given up, all but the first, where they would leave less than half of the rows.
    ///
    /// # Errors
    /// Records that can't be used, and rows in which next to nothing can be planted.
    pub fn new(
        sample: Vec<SampleRecord>,
        examined: &[SampleRecord],
        (settings, windows): (&Settings, &[usize]),
        seed: u64,
    ) -> Result<Self, StudyError> {
        let rows = SampleRows::decode(&sample, &settings.record)?;
        let examined = read(examined, &settings.record, &rows)?;
        let ends = |window: usize| -> Vec<usize> {
            let (windows, owners) = split::windows(&examined, window);
            (0..owners.len()).map(|at| windows[(at + 1) * window - 1]).collect()
        };
        let first = windows.first().copied().unwrap_or(1);
        let possible = windows.iter().copied().filter(|window| 2 * ends(*window).len() >= examined.len());
        let longest = possible.max().unwrap_or(first).max(first);
        let ends = ends(longest);
        let plants = Plants::draw(&examined, &ends, None);
        if plants.len() < MIN_WINDOWS {
            let (planted, rows) = (plants.len(), examined.len());
            return Err(StudyError::NothingToPlant { planted, rows, least: MIN_WINDOWS, window: longest });
        }
        let lasting = (settings.preset == Preset::Timeseries).then(|| Lasting::draw(&examined, &ends, seed));
        Ok(Self { sample, rows, examined, plants, lasting, longest })
    }

    /// The longest window that may be tried.
    pub fn longest_window(&self) -> usize {
        self.longest
    }

    /// What settings come to with the rows of this study.
    ///
    /// # Errors
    /// Rows that are too few for these settings.
    pub fn decide(&self, recipe: &Recipe) -> Result<Decided, TrainError> {
        let (recipe, split) = recipe.decided(&self.rows)?;
        Ok(Decided { recipe, split: split.into() })
    }

    /// Trains with this seed and examines the model.
    ///
    /// # Errors
    /// A network that can't be trained on these rows, or not be tried; [`TrainError::Cancelled`] where `progress` says so.
    pub fn measure(
        &self,
        decided: &Decided,
        seed: u64,
        progress: &mut dyn FnMut(&EpochReport) -> ControlFlow<()>,
    ) -> Result<Measured, StudyError> {
        let mut recipe = decided.recipe.clone();
        let mut settings = (*recipe.settings).clone();
        settings.training.seed = seed;
        recipe.settings = settings.into();
        let (model, _) = recipe.train_on(&self.sample, Missing::default(), (&self.rows, &decided.split), progress)?;
        let figures = self.examine(&model, &*recipe.scorers)?;
        Ok(Measured { figures, held_back_loss: model.metadata.provenance.validation_loss, model })
    }

    fn examine(&self, model: &Model, scorers: &dyn Scorers) -> Result<Figures, TrialError> {
        let mut trial = Trial::on(model, self.examined.clone(), scorers)?;
        let mut scored: Vec<(PlantKind, Scored)> = Vec::new();
        for (plant, pair) in trial.plant(&self.plants)?.into_iter().enumerate() {
            let kind = if self.plants.swaps(plant) { PlantKind::Swap } else { PlantKind::Spike };
            scored.extend(pair.map(|pair| (kind, pair)));
        }
        if let Some(lasting) = &self.lasting {
            let clean = trial.judged();
            let planted = lasting.passes().iter().map(|rows| Ok(Trial::on(model, rows.clone(), scorers)?.judged()));
            scored.extend(lasting.pair(&clean, &planted.collect::<Result<Vec<_>, TrialError>>()?));
        }
        Ok(Figures::of(&scored))
    }
}

/// Decodes records as production does for a model of these rows.
fn read(records: &[SampleRecord], settings: &RecordSettings, rows: &SampleRows) -> Result<SampleRows, SampleError> {
    SampleRows::read(records, settings, (rows.features.clone(), rows.impute.clone()))
}
