//! What a search found, as one document: `docs/tune.md` says what each figure means.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    measure::SEEDS,
    search::{Changes, Found, Tried},
    session::Session,
};
use crate::{
    config::settings::Scaling,
    train::tune::{Parts, PlantKind},
};

/// The outcome of a search. What is not known is null.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// The files.
    pub data: String,
    /// Seed of the plants and of each candidate's first model.
    pub seed: u64,
    /// Models that each candidate was trained to, with seeds that follow each other.
    pub seeds: usize,
    /// What rows were for.
    pub rows: Rows,
    /// Why the search ended.
    pub ended: Ended,
    /// Every candidate, in the order in which they were tried; the first one is the given configuration.
    pub tried: Vec<Candidate>,
    /// The best one of the search, an index into `tried`.
    pub best: usize,
    /// The best one beside the given configuration, on rows that had no part in the search.
    pub kept_out: Comparison,
    /// The settings that the written configuration changes: those of the best one, or none where it isn't better beyond chance.
    pub changes: BTreeMap<String, Value>,
    /// The configuration, as YAML.
    pub config: String,
}

/// Rows by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Rows {
    /// Rows labelled 1, which have no part in anything.
    pub labelled_left_out: usize,
    /// Candidates were trained on these.
    pub training: usize,
    /// Candidates were chosen by these.
    pub judging: usize,
    /// These had no part in the search.
    pub kept_out: usize,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All was tried.
    Complete,
    /// No more candidates were allowed.
    Trials,
    /// No more time was.
    Time,
    /// Somebody asked to stop.
    Interrupted,
}

/// A candidate.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Candidate {
    /// Settings that differ from the given configuration.
    pub changes: BTreeMap<String, Value>,
    /// Why it can't be; null where it was measured.
    pub left_out: Option<String>,
    /// Probability that a planted row scores above a normal one: mean over kinds of plants and over seeds.
    pub auroc: Option<f64>,
    /// Standard deviation of that over seeds.
    pub spread: Option<f64>,
    /// What the search makes large: the first less the second.
    pub objective: Option<f64>,
    /// The same probability by kind of plant.
    pub by_plant: BTreeMap<PlantKind, f64>,
    /// Loss on held-back rows, in the units of the scaling; those of two scalings can't be compared.
    pub held_back_loss: Option<f64>,
    /// How columns were scaled.
    pub scaling: Option<Scaling>,
    /// Kind and layer widths of the network.
    pub network: Option<String>,
    /// Time that training and examining took.
    pub seconds: Option<f64>,
}

/// What a configuration came to on the rows that were kept out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Figure {
    /// Probability that a planted row scores above a normal one.
    #[serde(rename = "auroc")]
    pub area: f64,
    /// Standard deviation of that over seeds.
    pub spread: f64,
    /// The same probability by kind of plant.
    pub by_plant: BTreeMap<PlantKind, f64>,
}

/// The last comparison.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Comparison {
    /// The given configuration.
    pub given: Figure,
    /// The best one of the search; null where that is the given one.
    pub winner: Option<Figure>,
    /// By how much the winner's is larger.
    pub difference: Option<f64>,
    /// Standard error of the difference, of rows and seeds.
    pub standard_error: Option<f64>,
    /// Whether the difference is larger than 1.645 standard errors, so that the winner is taken.
    pub better: bool,
}

/// The JSON Schema of [`Report`].
pub fn json_schema() -> Value {
    // As it is written: a figure that can't be had is there too, as null.
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<Report>().to_value()
}

impl Rows {
    pub(super) fn of(parts: &Parts, labelled_left_out: usize) -> Self {
        let Parts { training, judging, kept_out } = parts;
        Self { labelled_left_out, training: training.len(), judging: judging.len(), kept_out: kept_out.len() }
    }
}

impl Comparison {
    /// The search found nothing better.
    pub(super) fn of_given(given: Figure) -> Self {
        Self { given, winner: None, difference: None, standard_error: None, better: false }
    }
}

impl Report {
    pub(super) fn of(
        data: String,
        (rows, ended): (Rows, Ended),
        (found, session): (&Found, &Session<'_>),
        kept_out: Comparison,
    ) -> Self {
        let tried = found.tried.iter().enumerate().map(|(at, tried)| Candidate::of(tried, at, session)).collect();
        let best = &found.tried[found.best].changes;
        let changes = if kept_out.better { named(best) } else { BTreeMap::new() };
        let (seed, best) = (session.seed(), found.best);
        Self { data, seed, seeds: SEEDS, rows, ended, tried, best, kept_out, changes, config: String::new() }
    }

    /// One line of JSON.
    pub fn to_json_line(&self) -> String {
        serde_json::to_string(self).expect("maps of strings and finite or absent numbers are JSON") + "\n"
    }
}

impl Candidate {
    fn of(tried: &Tried, number: usize, session: &Session<'_>) -> Self {
        let worth = tried.found.as_ref().ok();
        let detail = session.detail(number).filter(|_| worth.is_some());
        Self {
            changes: named(&tried.changes),
            left_out: tried.found.as_ref().err().cloned(),
            auroc: worth.map(|worth| worth.area),
            spread: worth.map(|worth| worth.spread),
            objective: worth.map(super::search::Worth::objective),
            by_plant: detail.map(|detail| detail.by_plant.clone()).unwrap_or_default(),
            held_back_loss: worth.map(|worth| worth.held_back_loss).filter(|loss| loss.is_finite()),
            scaling: worth.map(|worth| worth.scaling),
            network: detail.map(|detail| detail.network.clone()),
            seconds: detail.map(|detail| detail.seconds),
        }
    }
}

fn named(changes: &Changes) -> BTreeMap<String, Value> {
    changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}
