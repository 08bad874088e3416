//! One retraining, from the sample to the registry: train, weigh, store. All of it happens on the trainer's thread.

use super::training::Progress;
use crate::{
    detect::calibrate::Missing,
    model::{Model, ModelError, registry::Registry},
    train::{
        gate::{self, Contest, GateError, GateReport},
        recent::SampleCopy,
        recipe::{Recipe, TrainError},
        withheld::Withheld,
    },
};

/// What a retraining needs.
pub(super) struct Lesson {
    pub(super) recipe: Recipe,
    pub(super) registry: Registry,
    /// Rows judged normal.
    pub(super) sample: SampleCopy,
    /// What the models in use kept out of it.
    pub(super) missing: Missing,
}

/// Why a retraining gave no model to weigh.
#[derive(Debug, thiserror::Error)]
pub(super) enum LessonError {
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Gate(#[from] GateError),
    #[error(transparent)]
    Registry(#[from] ModelError),
    #[error("another model was put to use while this one was trained: it was weighed against the one before")]
    Overtaken,
}

impl LessonError {
    /// Whether nothing went wrong: there is just no new model this time.
    pub(super) fn is_no_fault(&self) -> bool {
        matches!(self, Self::Overtaken | Self::Gate(GateError::TooFew { .. }) | Self::Train(TrainError::Cancelled))
    }
}

/// How a retraining ended.
pub(super) enum Learned {
    /// The new model is stored and in use from now on.
    Model(Box<Model>),
    /// Principal components are, because they did better than the network that was trained; the text says by how much.
    Components(Box<Model>, String),
    /// The new model is stored, but the one in use is kept.
    Refused(Box<Model>, GateReport),
}

impl Lesson {
    /// Trains, weighs, stores.
    pub(super) fn learn(self, progress: &mut Progress<'_>) -> Result<Learned, LessonError> {
        // Nobody shall learn only after hours of training that the model can't be stored.
        self.registry.probe()?;
        let in_use = self.registry.current()?;
        let parent = in_use.as_ref().map(|model| model.version.clone());
        let recipe = Recipe { parent, ..self.recipe };
        let origin = in_use.as_ref().map(|model| &model.metadata.provenance);
        let share = recipe.settings.training.gate.withheld;
        let Withheld { training, withheld } =
            Withheld::split(self.sample.in_time_order(), share, &recipe.source, origin);
        if withheld.len() < gate::MIN_WINDOWS {
            return Err(GateError::TooFew { windows: withheld.len(), least: gate::MIN_WINDOWS }.into());
        }
        let candidate = recipe.train_candidate(&training, self.missing, progress)?;
        let (settings, scorers) = (&*recipe.settings, &*recipe.scorers);
        let contest =
            Contest { candidate: &candidate, current: in_use.as_ref(), withheld: &withheld, settings, scorers };
        let (chosen, report) = contest.choose()?;
        report.checks.iter().for_each(|check| tracing::info!(passed = check.passed, "gate: {}", check.sentence));
        let (registry, parent, model) = (&self.registry, recipe.parent.as_deref(), Box::new(chosen.model.clone()));
        if !report.passed() {
            registry.keep_refused(&model, parent, &report.sentences())?;
            return Ok(Learned::Refused(model, report));
        }
        let replaced = (!std::ptr::eq(chosen, &candidate)).then(|| {
            let version = &model.version;
            format!("principal components of the same rows did better and take its place: model {version}")
        });
        if let Some(why) = &replaced
            && let Err(error) = registry.keep_refused(&candidate.model, parent, std::slice::from_ref(why))
        {
            tracing::warn!("the network that lost is not kept: {error}");
        }
        if registry.publish_after(&model, parent)?.is_none() {
            registry.keep_refused(&model, parent, &[LessonError::Overtaken.to_string()])?;
            return Err(LessonError::Overtaken);
        }
        Ok(match replaced {
            None => Learned::Model(model),
            Some(why) => Learned::Components(model, why),
        })
    }
}
