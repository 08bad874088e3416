//! What is fitted and how: unchecked, then checked.

use std::fmt::Debug;

use linfa::{Float, ParamGuard};

use super::{backprop::Objective, error::AutoencoderError, geometry::Shape};
use crate::config::settings::{
    Activation, Contraction, Convolution, Kinds, Loss, NetworkKind, Noise, Optimiser, OptimiserRule, RateSchedule,
    Sparsity, Variational,
};

/// Checked parameters of an autoencoder; only they can fit.
#[derive(Debug, Clone, PartialEq)]
pub struct AutoencoderValidParams<F> {
    pub(super) row_width: usize,
    pub(super) predicted: usize,
    pub(super) code_size: usize,
    pub(super) hidden: Vec<usize>,
    pub(super) kinds: Kinds,
    pub(super) activation: Activation,
    pub(super) code_activation: Option<Activation>,
    pub(super) loss: Loss,
    pub(super) noise: Noise,
    pub(super) sparsity: Sparsity,
    pub(super) contraction: Contraction,
    pub(super) convolution: Option<(Shape, Convolution)>,
    pub(super) variational: Option<Variational>,
    pub(super) skip: bool,
    pub(super) epochs: usize,
    pub(super) batch_size: usize,
    pub(super) optimiser: Optimiser,
    pub(super) patience: usize,
    pub(super) trim: f64,
    pub(super) validation_share: f64,
    pub(super) seed: u64,
    float: std::marker::PhantomData<F>,
}

/// Parameters of an autoencoder before they are checked.
///
/// | parameter | default |
/// |---|---|
/// | [`kinds`](Self::kinds) | undercomplete |
/// | [`hidden`](Self::hidden) | none |
/// | [`activation`](Self::activation) | rectifier |
/// | [`code_activation`](Self::code_activation) | identity; sigmoid with a KL penalty |
/// | [`loss`](Self::loss) | mean squared error |
/// | [`noise`](Self::noise), [`sparsity`](Self::sparsity), [`contraction`](Self::contraction) | none |
/// | [`convolution`](Self::convolution), [`variational`](Self::variational), [`predicted`](Self::predicted) | none |
/// | [`skip`](Self::skip) | no |
/// | [`epochs`](Self::epochs), [`patience`](Self::patience) | 100, 10 |
/// | [`batch_size`](Self::batch_size), [`trim`](Self::trim) | 128, 0 |
/// | [`optimiser`](Self::optimiser) | Adam, constant rate of 0.001, no decay, no clipping |
/// | [`validation_share`](Self::validation_share) | 0.2 |
/// | [`seed`](Self::seed) | 0 |
#[derive(Debug, Clone, PartialEq)]
pub struct AutoencoderParams<F>(AutoencoderValidParams<F>);

impl<F: Float> AutoencoderParams<F> {
    /// Parameters with their defaults for rows of `row_width` values and a latent code of `code_size` values.
    pub fn new(row_width: usize, code_size: usize) -> Self {
        Self(AutoencoderValidParams {
            row_width,
            predicted: 0,
            code_size,
            hidden: Vec::new(),
            kinds: NetworkKind::Undercomplete.into(),
            activation: Activation::Relu,
            code_activation: None,
            loss: Loss::MeanSquaredError,
            noise: Noise::default(),
            sparsity: Sparsity::default(),
            contraction: Contraction::default(),
            convolution: None,
            variational: None,
            skip: false,
            epochs: 100,
            batch_size: 128,
            optimiser: Optimiser {
                rule: OptimiserRule::Adam,
                learning_rate: 1e-3,
                schedule: RateSchedule::Constant,
                weight_decay: 0.0,
                clip_norm: None,
            },
            patience: 10,
            trim: 0.0,
            validation_share: 0.2,
            seed: 0,
            float: std::marker::PhantomData,
        })
    }

    /// The kinds of autoencoder, one or several at once. `Pca` is solved exactly and uses of the other parameters only
    /// `code_size`, `validation_share` and (for the report) the loss, which must be the mean squared error.
    pub fn kinds(mut self, kinds: impl Into<Kinds>) -> Self {
        self.0.kinds = kinds.into();
        self
    }

    /// Widths of the encoder's dense hidden layers from input to code; the decoder mirrors them.
    pub fn hidden(mut self, widths: &[usize]) -> Self {
        self.0.hidden = widths.to_vec();
        self
    }

    /// Activation of the hidden layers.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.0.activation = activation;
        self
    }

    /// Activation of the code layer; a variational code has none.
    pub fn code_activation(mut self, activation: Activation) -> Self {
        self.0.code_activation = Some(activation);
        self
    }

    /// What is minimised. The output layer is linear, but for the binary cross-entropy, where it is a sigmoid.
    pub fn loss(mut self, loss: Loss) -> Self {
        self.0.loss = loss;
        self
    }

    /// Corruption of the input, for the denoising kind.
    pub fn noise(mut self, noise: Noise) -> Self {
        self.0.noise = noise;
        self
    }

    /// Penalties on the code, for the sparse kind.
    pub fn sparsity(mut self, sparsity: Sparsity) -> Self {
        self.0.sparsity = sparsity;
        self
    }

    /// Penalty on the encoder's Jacobian, for the contractive kind.
    pub fn contraction(mut self, contraction: Contraction) -> Self {
        self.0.contraction = contraction;
        self
    }

    /// Convolutional layers before the hidden ones, for the convolutional kind, and the shape of a whole row: a window of L
    /// rows of D columns is `L x 1` positions of D channels.
    pub fn convolution(mut self, row: Shape, layers: Convolution) -> Self {
        self.0.convolution = Some((row, layers));
        self
    }

    /// The variational kind's settings.
    pub fn variational(mut self, variational: Variational) -> Self {
        self.0.variational = Some(variational);
        self
    }

    /// How many values at the end of a row the sequence kind predicts from those before them.
    pub fn predicted(mut self, values: usize) -> Self {
        self.0.predicted = values;
        self
    }

    /// Whether the network only corrects principal components, as many as the code has values.
    pub fn skip(mut self, skip: bool) -> Self {
        self.0.skip = skip;
        self
    }

    /// Upper bound of passes over the training rows, >= 1.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.0.epochs = epochs;
        self
    }

    /// Rows per step, >= 1; the last batch of an epoch may have fewer.
    pub fn batch_size(mut self, rows: usize) -> Self {
        self.0.batch_size = rows;
        self
    }

    /// How the optimiser steps.
    pub fn optimiser(mut self, optimiser: Optimiser) -> Self {
        self.0.optimiser = optimiser;
        self
    }

    /// The optimiser's (largest) step size, > 0 and at most 1.
    pub fn learning_rate(mut self, rate: f64) -> Self {
        self.0.optimiser.learning_rate = rate;
        self
    }

    /// Epochs without improvement on the validation rows before fitting stops, >= 1.
    pub fn patience(mut self, epochs: usize) -> Self {
        self.0.patience = epochs;
        self
    }

    /// Share of each batch's rows, those with the largest losses, that are not learned from, 0..=0.5.
    pub fn trim(mut self, share: f64) -> Self {
        self.0.trim = share;
        self
    }

    /// Share of the newest (last) rows that [`Fit`](linfa::traits::Fit) keeps for validation, between 0 and 1.
    pub fn validation_share(mut self, share: f64) -> Self {
        self.0.validation_share = share;
        self
    }

    /// Seed of the initial weights, the order of rows and the noise.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl<F: Float> ParamGuard for AutoencoderParams<F> {
    type Checked = AutoencoderValidParams<F>;
    type Error = AutoencoderError;

    fn check_ref(&self) -> Result<&Self::Checked, Self::Error> {
        self.0.check_everything()?;
        Ok(&self.0)
    }

    fn check(self) -> Result<Self::Checked, Self::Error> {
        self.check_ref()?;
        Ok(self.0)
    }
}

impl<F: Float> AutoencoderValidParams<F> {
    /// The activation of the code layer: the given one, else a sigmoid where a KL penalty needs activities between 0 and
    /// 1, else none.
    pub fn code_activation(&self) -> Activation {
        let default = if self.sparsity.kl > 0.0 { Activation::Sigmoid } else { Activation::Identity };
        self.code_activation.unwrap_or(default)
    }

    /// Values of a row.
    pub fn row_width(&self) -> usize {
        self.row_width
    }

    /// Values that the network takes: those of a row but for the predicted ones.
    pub fn input_width(&self) -> usize {
        self.row_width - self.predicted
    }

    /// Values that the network gives.
    pub fn output_width(&self) -> usize {
        if self.predicted > 0 { self.predicted } else { self.row_width }
    }

    /// Width of the latent code.
    pub fn code_size(&self) -> usize {
        self.code_size
    }

    /// The kinds of autoencoder.
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    pub(super) fn objective(&self) -> Objective {
        Objective { loss: self.loss, sparsity: self.sparsity, contraction: self.contraction }
    }

    /// The first epoch, from 1, in which a variational code's divergence has its whole weight; 1 without such a code.
    pub(super) fn warm_epoch(&self) -> usize {
        self.variational.map_or(1, |variational| variational.warm_up.max(1))
    }

    /// Weight of a variational code's divergence in this epoch, from 1.
    pub(super) fn divergence_weight(&self, epoch: usize) -> f64 {
        self.variational.map_or(0.0, |variational| {
            let warm = if variational.warm_up == 0 { 1.0 } else { epoch as f64 / variational.warm_up as f64 };
            variational.beta * warm.min(1.0)
        })
    }
}
