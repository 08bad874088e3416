//! A model made ready for work: loaded, its golden rows run, its limit derived. Made on any thread, so that the record's
//! way has only to take it up.

use std::sync::Arc;

use super::{observed::Context, scoring::ScoringError};
use crate::{
    config::settings::Settings,
    detect::{Scorer, Scorers, explain::Explainer, judge::Judge, limit::Limit},
    model::Model,
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
}

impl Prepared {
    /// Loads `model`, runs its golden rows, and derives the limit from the configured budget.
    pub fn new(model: Arc<Model>, settings: &Settings, scorers: &dyn Scorers) -> Result<Self, ScoringError> {
        let metadata = &model.metadata;
        let scorer = scorers.scorer(&model)?;
        let budget = &settings.judging.budget;
        let calibrated = metadata.calibration.limit(budget)?;
        let steps = settings.judging.recalibration;
        let limit = Limit::new(calibrated, steps, budget, metadata.calibration.interval_seconds);
        let impute = metadata.columns.iter().map(|column| column.impute).collect();
        check_format(&metadata.features, &settings.record.format)?;
        let encoder = FeatureEncoder::new(&metadata.features, impute, settings.record.max_missing)?;
        let decoder = Decoder::new(Schema::new(&metadata.features, &settings.record));
        let context = Context {
            judge: Judge::new(metadata, limit),
            explainer: Explainer::new(metadata),
            topic: settings.kafka.input_topic.clone(),
            top_features: settings.judging.top_features,
            severity: settings.judging.severity,
            model,
        };
        Ok(Self { context, scorer, decoder, encoder })
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
        let (ours, theirs) = (&self.context.model.metadata, &other.context.model.metadata);
        ours.features == theirs.features
            && ours.columns.iter().map(|column| &column.name).eq(theirs.columns.iter().map(|column| &column.name))
    }
}
