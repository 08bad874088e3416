//! The networks of a model: parameters out of settings, several members fitted side by side.

use std::ops::ControlFlow;

use linfa::ParamGuard;

use super::{
    AutoencoderParams, EpochReport,
    assemble::architecture,
    fit::fit_members,
    recipe::{Draft, Recipe, TrainError, constant_columns, disconnect},
    rows::{Rows, Sets},
    sample::SampleRows,
    split::Split,
};
use crate::{
    config::settings::{NetworkKind, Noise, Sparsity},
    model::metadata::{Column, GraphOrigin},
};

impl Recipe {
    pub(super) fn fit_members(
        &self,
        draft: &mut Draft,
        code_size: usize,
        (rows, split): (&SampleRows, &Split),
        progress: &mut dyn FnMut(&EpochReport) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        let network = &self.settings.training.network;
        let constant = constant_columns(&draft.columns);
        let width = draft.columns.len() * self.settings.training.window;
        let members = (0..network.members).map(|member| self.params(width, code_size, member).check());
        let members = members.collect::<Result<Vec<_>, _>>()?;
        let scaling = (&draft.columns[..], self.input_clip());
        let training = split.scaled(rows, scaling, &split.fitted);
        let validation = split.scaled(rows, scaling, &split.validation);
        let sets = Sets {
            training: Rows { len: split.fitted.len(), width, copy: &training },
            validation: Rows { len: split.validation.len(), width, copy: &validation },
        };
        let mut cancelled = false;
        let fitted = fit_members(&members, sets, 1, &mut |report| {
            let flow = progress(report);
            cancelled |= flow.is_break();
            flow
        })?;
        if cancelled {
            return Err(TrainError::Cancelled);
        }
        let count = fitted.len() as f64;
        draft.epochs = fitted.iter().map(|fit| fit.epochs).sum();
        draft.losses = (
            fitted.iter().map(|fit| fit.training_loss).sum::<f64>() / count,
            fitted.iter().map(|fit| fit.validation_loss).sum::<f64>() / count,
        );
        draft.networks = fitted.into_iter().map(|fit| fit.network).collect();
        let columns = draft.columns.len();
        draft.networks.iter_mut().for_each(|network| disconnect(network, &constant, columns));
        draft.origin = GraphOrigin::Strayd { architecture: architecture(network, &draft.networks) };
        Ok(())
    }

    fn params(&self, inputs: usize, code_size: usize, member: usize) -> AutoencoderParams<f32> {
        let network = &self.settings.training.network;
        let hidden =
            network.hidden.clone().unwrap_or_else(|| vec![(inputs / 4).clamp(16, 128), (inputs / 8).clamp(8, 32)]);
        // The settings carry noise and penalties for the kinds that know them; the others must not be given any.
        let kind = network.kinds.as_ref().and_then(|kinds| kinds.iter().next()).unwrap_or(NetworkKind::Denoising);
        let hidden: &[usize] = if kind == NetworkKind::Pca { &[] } else { &hidden };
        AutoencoderParams::new(inputs, code_size)
            .hidden(hidden)
            .kinds(kind)
            .activation(network.activation)
            .loss(network.loss)
            .noise(if kind == NetworkKind::Denoising { network.noise } else { Noise::default() })
            .sparsity(if kind == NetworkKind::Sparse { network.sparsity } else { Sparsity::default() })
            .epochs(network.epochs)
            .batch_size(network.batch_size)
            .learning_rate(network.optimiser.learning_rate)
            .patience(network.patience)
            .seed(self.settings.training.seed.wrapping_add(member as u64))
    }

    /// The configured code size, or an eighth of the row's columns between 2 and 4, as small codes measured best, and
    /// smaller than the input. Constant columns are no input.
    ///
    /// # Errors
    /// A code of the pca or undercomplete kind is as wide as the input or wider, or there is no smaller one.
    pub(super) fn code_size(&self, columns: &[Column]) -> Result<usize, TrainError> {
        let network = &self.settings.training.network;
        let varying = columns.len() - constant_columns(columns).len();
        let inputs = varying * self.settings.training.window;
        let derived = (columns.len() / 8).clamp(2, 4).min(inputs.saturating_sub(1)).max(1);
        let code = network.code_size.unwrap_or(derived);
        let narrow = [NetworkKind::Pca, NetworkKind::Undercomplete].into_iter().find(|kind| network.has(*kind));
        let Some(kind) = narrow.map(NetworkKind::name) else { return Ok(code) };
        // Where nothing varied there is nothing to rebuild: any change will be one of a constant column.
        if code < inputs || varying == 0 {
            return Ok(code);
        }
        let cure = match inputs {
            1 => "raise training.window, or set model.kind to denoising".to_owned(),
            _ => format!("set model.code_size below {inputs}, or raise training.window"),
        };
        Err(TrainError::WideCode { kind, code, inputs, cure })
    }
}
