//! A model with what it takes to test it: the trainer's own network, and principal components of the same rows.

use std::ops::ControlFlow;

use linfa::ParamGuard;
use ndarray::Array2;

use super::{
    AutoencoderParams, EpochReport, Network,
    held_back::{HeldBack, score_windows},
    recipe::{Draft, Recipe, TrainError, varying_columns},
    sample::{SampleRecord, SampleRows},
    split::Split,
    whitening::whitening,
};
use crate::{
    config::settings::{Aggregation, NetworkKind, Settings},
    detect::calibrate::Missing,
    model::Model,
};

/// Principal components of more values would take minutes and gigabytes: their time grows with the third power.
pub(super) const MOST_INPUTS: usize = 2048;
/// Windows that correlations are told by, at most.
const MOST_WHITENED: usize = 20_000;

/// What a network must not do worse than.
#[derive(Debug, Clone)]
pub enum Yardstick {
    /// Principal components of the same fitted rows with the same scaling, window, code size, residual statistics and
    /// calibration: a whole candidate, which may take the network's place where it does better.
    Components(Box<Candidate>),
    /// There is none, because of this.
    None(&'static str),
}

/// A model that a [gate](super::gate) has to let through.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The model.
    pub model: Model,
    /// The networks that its graph was written from; none where another tool made the graph.
    pub networks: Vec<Network<f32>>,
    /// What its graph multiplies residuals with, `[columns, columns]`, where it frees them of their correlations.
    pub whitening: Option<Array2<f32>>,
    /// Smallest and largest value that the networks are given, in scaled units.
    pub input_clip: Option<(f32, f32)>,
    /// What the model is compared with.
    pub yardstick: Yardstick,
}

impl Recipe {
    /// Trains on `sample` as [`Recipe::train`] does, and keeps what the gate needs. `missing` says what a model in use kept
    /// out of the sample.
    pub fn train_candidate(
        &self,
        sample: &[SampleRecord],
        missing: Missing,
        progress: &mut dyn FnMut(&EpochReport) -> ControlFlow<()>,
    ) -> Result<Candidate, TrainError> {
        let rows = SampleRows::decode(sample, &self.settings.record)?;
        let (decided, split) = self.decided(&rows)?;
        let (model, draft) = decided.train_on(sample, missing, (&rows, &split), progress)?;
        let yardstick = decided.yardstick(&draft, (sample, missing), (&rows, &split))?;
        let (networks, whitening) = (draft.networks, draft.whitening);
        Ok(Candidate { model, networks, whitening, input_clip: decided.input_clip(), yardstick })
    }

    /// The finished model, and what was fitted.
    pub(super) fn train_on(
        &self,
        sample: &[SampleRecord],
        missing: Missing,
        (rows, split): (&SampleRows, &Split),
        progress: &mut dyn FnMut(&EpochReport) -> ControlFlow<()>,
    ) -> Result<(Model, Draft), TrainError> {
        let mut draft = self.draft(rows, split, progress)?;
        self.whiten(&mut draft, sample, (rows, split))?;
        let model = self.finish(&draft, (sample, missing), (rows, split))?;
        Ok((model, draft))
    }

    /// Lets the draft's graph free residuals of the correlations that they have on the fitted rows, where it shall.
    fn whiten(
        &self,
        draft: &mut Draft,
        sample: &[SampleRecord],
        (rows, split): (&SampleRows, &Split),
    ) -> Result<(), TrainError> {
        if self.aggregation() != Aggregation::Mahalanobis {
            return Ok(());
        }
        let mut scorer = self.scorers.scorer(&self.assemble(draft, self.metadata(draft, rows, sample))?)?;
        let every = split.fitted.len().div_ceil(MOST_WHITENED);
        let fitted: Vec<usize> = split.fitted.iter().step_by(every).copied().collect();
        let append = &mut |at: usize, windows: &mut Vec<f32>| split.append_window(rows, fitted[at], windows);
        let residuals = score_windows(scorer.as_mut(), fitted.len(), append)?;
        let vary: Vec<bool> = draft.columns.iter().map(|column| column.residual_cap.is_infinite()).collect();
        draft.whitening = Some(whitening(&residuals, &vary)?);
        Ok(())
    }

    /// Describes a draft by its held-back rows.
    fn finish(
        &self,
        draft: &Draft,
        (sample, missing): (&[SampleRecord], Missing),
        (rows, split): (&SampleRows, &Split),
    ) -> Result<Model, TrainError> {
        let mut metadata = self.metadata(draft, rows, sample);
        metadata.provenance.fitted_rows = split.fitted.len();
        metadata.provenance.held_back_rows = split.held_back.len();
        let budget = self.settings.judging.budget.of_one_among(rows.names.len() as f64);
        let missing = missing.within(budget, rows.interval_seconds());
        let mut scorer = self.scorers.scorer(&self.assemble(draft, metadata.clone())?)?;
        HeldBack::score(scorer.as_mut(), rows, split)?.describe(&mut metadata, self.residuals(), missing)?;
        self.assemble(draft, metadata)
    }

    fn yardstick(
        &self,
        draft: &Draft,
        (sample, missing): (&[SampleRecord], Missing),
        (rows, split): (&SampleRows, &Split),
    ) -> Result<Yardstick, TrainError> {
        let none = |why| Ok(Yardstick::None(why));
        let Some(network) = draft.networks.first() else {
            return none("the graph comes from another tool, so principal components can't cure it");
        };
        if self.settings.training.network.has(NetworkKind::Pca) {
            return none("the model consists of principal components itself");
        }
        let inputs = varying_columns(&draft.columns) * self.settings.training.window;
        if inputs < 2 {
            return none("fewer than two values of a window vary, so that no code of principal components is smaller");
        }
        if inputs > MOST_INPUTS {
            return none("more than 2,048 values of a window vary, of which principal components take too long");
        }
        // A linear code as wide as the input would rebuild every row, so that none could stand out.
        let code = if network.code_size() < inputs { network.code_size() } else { inputs / 2 };
        let width = draft.columns.len() * self.settings.training.window;
        let params = AutoencoderParams::new(width, code).kinds(NetworkKind::Pca).check()?;
        let mut settings = Settings::clone(&self.settings);
        (settings.training.network.kinds, settings.training.network.members) = (Some(NetworkKind::Pca.into()), 1);
        let recipe = Self { settings: settings.into(), ..self.clone() };
        let mut pca = Draft::unfitted(draft.columns.clone(), draft.origin.clone());
        recipe.fit_members(&mut pca, &[params], (rows, split), &mut |_| ControlFlow::Continue(()))?;
        recipe.whiten(&mut pca, sample, (rows, split))?;
        let model = recipe.finish(&pca, (sample, missing), (rows, split))?;
        let input_clip = self.input_clip();
        let yardstick = Yardstick::None("the model consists of principal components itself");
        Ok(Yardstick::Components(Box::new(Candidate {
            model,
            networks: pca.networks,
            whitening: pca.whitening,
            input_clip,
            yardstick,
        })))
    }
}
