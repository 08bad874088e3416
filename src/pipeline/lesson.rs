//! One retraining, from the sample to the registry: train, weigh, store. All of it happens on the trainer's thread.

use super::training::Progress;
use crate::{
    detect::calibrate::Missing,
    model::{Model, ModelError, registry::Registry},
    train::{
        Candidate,
        gate::{Check, Contest, GateError, GateReport},
        recipe::{Recipe, TrainError},
        sample::SampleRecord,
        withheld::Withheld,
    },
};

/// What a retraining needs.
pub(super) struct Lesson {
    pub(super) recipe: Recipe,
    pub(super) registry: Registry,
    /// Rows judged normal, in time order.
    pub(super) sample: Vec<SampleRecord>,
    /// What the models in use kept out of it.
    pub(super) missing: Missing,
}

/// Why a retraining gave no model to weigh.
#[derive(Debug, thiserror::Error)]
pub(super) enum LessonError {
    #[error("{0}")]
    Train(#[from] TrainError),
    #[error("{0}")]
    Gate(#[from] GateError),
    #[error("{0}")]
    Registry(#[from] ModelError),
}

/// How a retraining ended.
pub(super) enum Learned {
    /// The new model is stored and in use from now on.
    Model(Box<Model>),
    /// Principal components are, because they did better than the network that the report is about.
    Components(Box<Model>, GateReport),
    /// The new model is stored, but the one in use is kept.
    Refused(Box<Model>, GateReport),
}

impl Lesson {
    /// Trains, weighs, stores.
    pub(super) fn learn(self, progress: &mut Progress<'_>) -> Result<Learned, LessonError> {
        let in_use = self.registry.current()?;
        let parent = in_use.as_ref().map(|model| model.version.clone());
        let recipe = Recipe { parent, ..self.recipe };
        let origin = in_use.as_ref().map(|model| &model.metadata.provenance);
        let share = recipe.settings.training.gate.withheld;
        let Withheld { training, withheld } = Withheld::split(self.sample, share, &recipe.source, origin);
        let mut candidate = recipe.train_candidate(&training, self.missing, progress)?;
        let gate = |candidate: &Candidate| -> Result<GateReport, GateError> {
            let (settings, scorers) = (&*recipe.settings, &*recipe.scorers);
            let report =
                Contest { candidate, current: in_use.as_ref(), withheld: &withheld, settings, scorers }.judge()?;
            report.checks.iter().for_each(|check| tracing::info!(passed = check.passed, "gate: {}", check.sentence));
            Ok(report)
        };
        let report = gate(&candidate)?;
        if report.passed() {
            self.registry.publish(&candidate.model, recipe.parent.as_deref())?;
            return Ok(Learned::Model(Box::new(candidate.model)));
        }
        let reasons: Vec<String> =
            report.checks.iter().filter(|check| !check.passed).map(|check| check.sentence.clone()).collect();
        self.registry.keep_refused(&candidate.model, recipe.parent.as_deref(), &reasons)?;
        // Where nobody asked for a kind of network, the better kind is what was asked for.
        let kind_is_open = recipe.settings.training.network.kind.is_none();
        if kind_is_open
            && report.reasons() == [Check::WorseThanPca]
            && let Some(components) = candidate.yardstick.take()
            && gate(&components)?.passed()
        {
            self.registry.publish(&components.model, recipe.parent.as_deref())?;
            return Ok(Learned::Components(Box::new(components.model), report));
        }
        Ok(Learned::Refused(Box::new(candidate.model), report))
    }
}
