//! One search over one file: candidates become settings, are trained, examined and remembered.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use serde_json::Value;

use super::{
    measure::{Runs, SEEDS},
    progress::SearchProgress,
    report::{Comparison, Figure},
    search::{Changes, Found, Outcome, Worth},
    space::{Facts, WINDOWS},
    stop::Stop,
};
use crate::{
    cli::{Failure, model::json::architecture},
    config::{Loaded, settings::Preset},
    train::{
        gate::SURE,
        recipe::{Recipe, TrainError},
        tune::{Figures, Parts, PlantKind, Study, StudyError},
    },
};

/// Reads the given configuration with pairs on top.
type Load<'a> = &'a dyn Fn(&[String]) -> Result<Loaded, Failure>;

/// What is told of a candidate beside what it is worth.
#[derive(Debug, Clone)]
pub(super) struct Detail {
    pub(super) network: String,
    pub(super) by_plant: BTreeMap<PlantKind, f64>,
    pub(super) seconds: f64,
}

/// A search in progress.
pub(super) struct Session<'a> {
    recipe: Recipe,
    study: Study,
    load: Load<'a>,
    stop: &'a Stop,
    /// What the candidates so far mean.
    known: HashSet<String>,
    /// By number of the candidate.
    details: HashMap<usize, Detail>,
    progress: SearchProgress,
}

impl<'a> Session<'a> {
    /// Prepares a search from the recipe of the given configuration.
    ///
    /// # Errors
    /// Rows that can't be studied.
    pub(super) fn new(recipe: Recipe, parts: &Parts, (load, stop): (Load<'a>, &'a Stop)) -> Result<Self, StudyError> {
        let settings = &recipe.settings;
        let more = if settings.preset == Preset::Timeseries { &WINDOWS[..] } else { &[] };
        let study = |first: usize| {
            let windows: Vec<usize> = [first].iter().chain(more).copied().collect();
            Study::new(parts.training.clone(), &parts.judging, (settings, &windows), settings.training.seed)
        };
        let mut own = study(settings.training.window)?;
        // The given configuration may leave its window open.
        if let Ok(decided) = own.decide(&recipe)
            && decided.window() > own.longest_window()
        {
            own = study(decided.window())?;
        }
        let (known, details) = (HashSet::new(), HashMap::new());
        let progress = SearchProgress::new();
        Ok(Self { recipe, study: own, load, stop, known, details, progress })
    }

    pub(super) fn preset(&self) -> Preset {
        self.recipe.settings.preset
    }

    pub(super) fn seed(&self) -> u64 {
        self.recipe.settings.training.seed
    }

    pub(super) fn detail(&self, number: usize) -> Option<&Detail> {
        self.details.get(&number)
    }

    pub(super) fn begin(&mut self, trials: usize) {
        self.progress.begin(trials);
    }

    pub(super) fn end(&mut self) {
        self.progress.end();
    }

    /// Trains and examines a candidate, of this number.
    pub(super) fn try_out(&mut self, number: usize, changes: &Changes) -> Outcome {
        if self.stop.is_due() {
            return Outcome::Stopped;
        }
        let decided = match self.recipe(changes).map(|recipe| self.study.decide(&recipe)) {
            Ok(Ok(decided)) => decided,
            Ok(Err(error)) => return Outcome::LeftOut(error.to_string()),
            Err(refused) => return Outcome::LeftOut(refused.to_string().replace("strayd: ", "")),
        };
        let longest = self.study.longest_window();
        if decided.window() > longest {
            return Outcome::LeftOut(format!(
                "training.window: {} rows would leave less than half of the judging rows with a full window, expected at \
                 most {longest}",
                decided.window()
            ));
        }
        if !self.known.insert(decided.fingerprint()) {
            return Outcome::Known;
        }
        self.progress.trial(self.details.len() + 1, changes);
        let began = Instant::now();
        let is_due = || self.stop.is_due();
        let runs = match Runs::of(&self.study, &decided, self.seed(), &is_due) {
            Ok(runs) => runs,
            Err(StudyError::Train(TrainError::Cancelled)) => return Outcome::Stopped,
            Err(error) => return Outcome::LeftOut(error.to_string()),
        };
        let first = runs.first();
        let columns = first.varying_columns();
        let figures = runs.figures();
        let worth = Worth {
            area: figures.area(),
            spread: runs.spread(),
            held_back_loss: runs.held_back_loss(),
            scaling: decided.scaling(),
            facts: Facts { window: decided.window(), inputs: columns * decided.window(), columns },
        };
        let network = architecture(&first.model.metadata.graph);
        let detail = Detail { network, by_plant: figures.areas().collect(), seconds: began.elapsed().as_secs_f64() };
        self.progress.measured(&worth);
        self.details.insert(number, detail);
        Outcome::Measured(worth)
    }

    /// The given configuration and the best one on rows that no choice hung on, both trained on all others. Goes on where the
    /// search was stopped.
    ///
    /// # Errors
    /// What refuses either of them.
    pub(super) fn compare(&self, found: &Found, parts: &Parts) -> Result<Comparison, StudyError> {
        let window = |number: usize| {
            let worth = found.tried[number].found.as_ref();
            worth.map_or(1, |worth| worth.facts.window)
        };
        let settings = &self.recipe.settings;
        let windows = [window(0).max(window(found.best))];
        let study = Study::new(parts.searched(), &parts.kept_out, (settings, &windows), self.seed())?;
        let run = |number: usize| {
            let recipe = self.recipe(&found.tried[number].changes);
            let recipe = recipe.expect("settings that a candidate was measured with were read before");
            Runs::of(&study, &study.decide(&recipe)?, self.seed(), &|| false)
        };
        let given = run(0)?;
        if found.best == 0 {
            return Ok(Comparison::of_given(Figure::of(&given)));
        }
        let winner = run(found.best)?;
        let error = error_of_difference(&winner, &given);
        let difference = winner.figures().area() - given.figures().area();
        Ok(Comparison {
            given: Figure::of(&given),
            winner: Some(Figure::of(&winner)),
            difference: Some(difference),
            standard_error: Some(error),
            better: difference > SURE * error,
        })
    }

    /// The given recipe with these changes.
    fn recipe(&self, changes: &Changes) -> Result<Recipe, Failure> {
        let pairs: Vec<String> = changes.iter().map(|(key, value)| pair(key, value)).collect();
        let Loaded { settings, training_sha256, .. } = (self.load)(&pairs)?;
        Ok(Recipe { settings: Arc::new(settings), config_sha256: training_sha256, ..self.recipe.clone() })
    }
}

impl Figure {
    fn of(runs: &Runs) -> Self {
        let figures: Figures = runs.figures();
        Self { area: figures.area(), spread: runs.spread(), by_plant: figures.areas().collect() }
    }
}

/// What rows and seeds together may move a difference by.
fn error_of_difference(one: &Runs, other: &Runs) -> f64 {
    let of_rows = one.figures().error_of_difference(&other.figures()).powi(2);
    let of_seeds = (one.spread().powi(2) + other.spread().powi(2)) / SEEDS as f64;
    (of_rows + of_seeds).sqrt()
}

/// A setting as `--set` takes it.
pub(super) fn pair(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    }
}
