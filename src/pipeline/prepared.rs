//! A model made ready for work: loaded, its golden rows run, its limit derived. Made on any thread, so that the record's
//! way has only to take it up.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{
    observed::{Context, ModelRule},
    scoring::ScoringError,
};
use crate::{
    config::settings::{AlarmBudget, JudgingSettings, Settings},
    detect::{
        Scorer, Scorers,
        calibrate::CalibrationError,
        explain::Explainer,
        gates::{
            columns::{ColumnGates, FeatureRule},
            pattern::closest,
        },
        judge::Judge,
        limit::Limit,
    },
    model::{Model, metadata::Metadata},
    record::{
        decode::{Decoder, Schema, check_format},
        features::FeatureEncoder,
    },
};

/// A model made ready for work, and all that belongs to it alone.
pub struct Prepared {
    pub(super) context: Context,
    pub(super) scorer: Box<dyn Scorer>,
    pub(super) decoder: Decoder,
    pub(super) encoder: FeatureEncoder,
    /// What the columns of its rows mean: two models with the same number have the same ones.
    pub(super) columns: u64,
}

impl Prepared {
    /// Loads `model`, runs its golden rows, and derives the limit from the configured budget.
    pub fn new(model: Arc<Model>, settings: &Settings, scorers: &dyn Scorers) -> Result<Self, ScoringError> {
        let metadata = &model.metadata;
        let scorer = scorers.scorer(&model)?;
        let rules = rules(metadata, &settings.judging)?;
        warn_of_unmatched(metadata, &settings.judging);
        let impute = metadata.columns.iter().map(|column| column.impute).collect();
        check_format(&metadata.features, &settings.record.format)?;
        let encoder = FeatureEncoder::new(&metadata.features, impute, settings.record.max_missing)?;
        let decoder = Decoder::new(Schema::new(&metadata.features, &settings.record));
        let context = Context {
            judge: Judge::new(metadata, rules[0].limit),
            explainer: Explainer::new(metadata),
            topic: settings.kafka.input_topic.clone(),
            top_features: settings.judging.top_features,
            severity: settings.judging.severity,
            recalibration: settings.judging.recalibration,
            rules,
            publish_suppressed: settings.judging.publish_suppressed,
            model,
        };
        let columns = columns_number(&context.model.metadata);
        Ok(Self { context, scorer, decoder, encoder, columns })
    }

    /// Shares budgets of all entities out among those that there are, `entities` by the number of their rule.
    ///
    /// # Errors
    /// The calibration gives no limit for a budget.
    pub(super) fn share_out(&mut self, entities: &dyn Fn(usize) -> f64) -> Result<(), CalibrationError> {
        let Context { model, rules, recalibration, .. } = &mut self.context;
        let mut numbered = rules.iter_mut().enumerate();
        numbered.try_for_each(|(at, rule)| rule.share_out(entities(at), &model.metadata.calibration, *recalibration))
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.context.model
    }

    /// Columns of a row.
    pub(super) fn width(&self) -> usize {
        self.context.model.metadata.columns.len()
    }

    /// Rows of a window.
    pub(super) fn window(&self) -> usize {
        self.context.model.metadata.window
    }

    /// Whether rows of the other model mean the same here: the same features in the same columns.
    pub(super) fn has_the_rows_of(&self, other: &Self) -> bool {
        self.columns == other.columns
    }
}

/// A number of the features and the names of the columns, the same in every build of the program.
fn columns_number(metadata: &Metadata) -> u64 {
    let names: Vec<&str> = metadata.columns.iter().map(|column| column.name.as_str()).collect();
    let text = serde_json::to_vec(&(&metadata.features, names)).expect("features and names can be written into memory");
    let hash = Sha256::digest(text);
    u64::from_be_bytes(std::array::from_fn(|at| hash[at]))
}

/// What holds in general and of each override, by this model.
fn rules(metadata: &Metadata, judging: &JudgingSettings) -> Result<Vec<ModelRule>, CalibrationError> {
    let rule = |budget: AlarmBudget, own: &[FeatureRule]| {
        let columns = ColumnGates::resolve(judging.features.iter().chain(own), metadata);
        let (calibration, entities) = (&metadata.calibration, 1.0);
        let limit = Limit::for_budget(budget.of_one_among(entities), calibration, judging.recalibration)?;
        Ok(ModelRule { budget, limit, entities, columns })
    };
    let overrides = judging.overrides.iter().map(|own| (own.budget.unwrap_or(judging.budget), &own.features[..]));
    std::iter::once((judging.budget, &[][..])).chain(overrides).map(|(budget, own)| rule(budget, own)).collect()
}

/// Where features are found by training, the configuration can't be checked against them before a model is there.
fn warn_of_unmatched(metadata: &Metadata, judging: &JudgingSettings) {
    let names = || {
        metadata.columns.iter().map(|column| (metadata.features[column.feature].name.as_str(), column.name.as_str()))
    };
    let all = judging.overrides.iter().flat_map(|own| &own.features).chain(&judging.features);
    for rule in all.filter(|rule| !names().any(|(feature, column)| rule.matches(feature, column))) {
        let likely = closest(rule.name.as_str(), names().map(|(feature, _)| feature));
        let likely = likely.map_or_else(String::new, |name| format!(" (did you mean {name}?)"));
        tracing::warn!("judging.features: `{}` matches no feature of the model{likely}", rule.name);
    }
}
