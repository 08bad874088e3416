//! The networks of a model: parameters out of settings, several members fitted side by side.

use std::ops::ControlFlow;

use linfa::ParamGuard;

use super::{
    AutoencoderParams, AutoencoderValidParams, EpochReport, Fitted, Shape,
    assemble::architecture,
    fit::fit_members,
    recipe::{Draft, Recipe, TrainError, constant_columns, disconnect},
    rows::{Rows, Sets},
    sample::SampleRows,
    split::Split,
};
use crate::{
    config::settings::{Kinds, NetworkKind, NetworkSettings, Preset},
    model::metadata::{Column, GraphOrigin},
    record::features::grid_of,
};

impl Recipe {
    pub(super) fn fit_members(
        &self,
        draft: &mut Draft,
        members: &[AutoencoderValidParams<f32>],
        (rows, split): (&SampleRows, &Split),
        progress: &mut dyn FnMut(&EpochReport) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        let network = &self.settings.training.network;
        let constant = constant_columns(&draft.columns);
        let width = draft.columns.len() * self.settings.training.window;
        let scaling = (&draft.columns[..], self.input_clip());
        let training = split.scaled(rows, scaling, &split.fitted);
        let validation = split.scaled(rows, scaling, &split.validation);
        let sets = Sets {
            training: Rows { len: split.fitted.len(), width, copy: &training },
            validation: Rows { len: split.validation.len(), width, copy: &validation },
        };
        let mut cancelled = false;
        let fitted = fit_members(members, sets, network.threads, &mut |report| {
            let flow = progress(report);
            cancelled |= flow.is_break();
            flow
        })?;
        if cancelled {
            return Err(TrainError::Cancelled);
        }
        let mean = |of: fn(&Fitted<f32>) -> f64| fitted.iter().map(of).sum::<f64>() / fitted.len() as f64;
        draft.epochs = fitted.iter().map(|fit| fit.epochs).sum();
        draft.losses = (mean(|fit| fit.training_loss), mean(|fit| fit.validation_loss));
        draft.active_units = Some(mean(|fit| fit.active_units));
        draft.networks = fitted.into_iter().map(|fit| fit.network).collect();
        let columns = draft.columns.len();
        draft.networks.iter_mut().for_each(|network| disconnect(network, &constant, columns));
        draft.origin = GraphOrigin::Strayd { architecture: architecture(network, &draft.networks) };
        Ok(())
    }

    /// What each member is fitted by; they differ in their seeds.
    pub(super) fn members(
        &self,
        rows: &SampleRows,
        columns: &[Column],
    ) -> Result<Vec<AutoencoderValidParams<f32>>, TrainError> {
        let code_size = self.code_size(columns)?;
        let window = self.settings.training.window;
        let shape = match grid_of(&rows.features) {
            Some([height, width]) if window == 1 => Shape { height, width, channels: 1 },
            Some(_) | None => Shape { height: window, width: 1, channels: columns.len() },
        };
        let member = |member: usize| Ok(self.params(shape, code_size, member).check()?);
        let network = &self.settings.training.network;
        // Principal components hang on no seed: all members would be the same.
        let members = if network.has(NetworkKind::Pca) { 1 } else { network.members };
        (0..members).map(member).collect()
    }

    /// The settings hold values for all kinds; those of kinds that aren't there must not be given.
    fn params(&self, row: Shape, code_size: usize, member: usize) -> AutoencoderParams<f32> {
        let network = &self.settings.training.network;
        let kinds = network.kinds.clone().unwrap_or_else(|| NetworkKind::Denoising.into());
        let of = |kind: NetworkKind| kinds.has(kind);
        let predicted = if of(NetworkKind::Sequence) { network.predicted_rows * row.width * row.channels } else { 0 };
        let mut params = AutoencoderParams::new(row.size(), code_size)
            .hidden(&hidden(network, &kinds, (row.size() - predicted.min(row.size()), code_size)))
            .kinds(kinds.clone())
            .activation(network.activation)
            .loss(network.loss)
            .predicted(predicted)
            .skip(network.skip)
            .epochs(network.epochs)
            .batch_size(network.batch_size)
            .optimiser(network.optimiser)
            .patience(network.patience)
            .trim(network.trim)
            .seed(self.settings.training.seed.wrapping_add(member as u64));
        if of(NetworkKind::Denoising) {
            params = params.noise(network.noise);
        }
        if of(NetworkKind::Sparse) {
            params = params.sparsity(network.sparsity);
        }
        if of(NetworkKind::Contractive) {
            params = params.contraction(network.contraction);
        }
        if of(NetworkKind::Convolutional) {
            params = params.convolution(row, network.convolution.clone());
        }
        if of(NetworkKind::Variational) {
            params = params.variational(network.variational);
        }
        params
    }

    /// The configured code size, or an eighth of the row's columns between 2 and 4, as small codes measured best, and
    /// smaller than the input. Constant columns are no input.
    ///
    /// # Errors
    /// A code that has to be smaller than the input isn't, or there is no smaller one.
    fn code_size(&self, columns: &[Column]) -> Result<usize, TrainError> {
        let training = &self.settings.training;
        let network = &training.network;
        let varying = columns.len() - constant_columns(columns).len();
        let predicted = if network.has(NetworkKind::Sequence) { network.predicted_rows } else { 0 };
        let inputs = varying * training.window.saturating_sub(predicted);
        let derived = (columns.len() / 8).clamp(2, 4).min(inputs.saturating_sub(1)).max(1);
        let code = network.code_size.unwrap_or(derived);
        let narrow = network.kinds.as_ref().filter(|kinds| kinds.need_narrow_code());
        let narrow = narrow.and_then(|kinds| {
            let plain = [NetworkKind::Pca, NetworkKind::Undercomplete, NetworkKind::Convolutional];
            plain.into_iter().find(|kind| kinds.has(*kind))
        });
        let Some(kind) = narrow.map(NetworkKind::name) else { return Ok(code) };
        // Where nothing varied there is nothing to rebuild: any change will be one of a constant column.
        if code < inputs || varying == 0 {
            return Ok(code);
        }
        // Independent rows make no longer windows.
        let windows = self.settings.preset == Preset::Timeseries;
        let cure = match inputs {
            1 if windows => "raise training.window, or set model.kind to denoising".to_owned(),
            1 => "set model.kind to denoising, or give more features".to_owned(),
            _ if windows => format!("set model.code_size below {inputs}, or raise training.window"),
            _ => format!("set model.code_size below {inputs}"),
        };
        Err(TrainError::WideCode { kind, code, inputs, cure })
    }
}

/// Widths of the dense hidden layers from input to code: the given ones, or as many as given falling evenly, by the same
/// factor, from input to code. If nothing is given, two that measured well; but none between convolutions and code.
fn hidden(network: &NetworkSettings, kinds: &Kinds, (inputs, code_size): (usize, usize)) -> Vec<usize> {
    if let Some(hidden) = &network.hidden {
        return hidden.clone();
    }
    if let Some(layers) = network.layers {
        let (first, last) = (inputs as f64, code_size as f64);
        let width = |layer: usize| first * (last / first).powf(layer as f64 / (layers + 1) as f64);
        return (1..=layers).map(|layer| (width(layer).round() as usize).max(1)).collect();
    }
    if kinds.has(NetworkKind::Pca) || kinds.has(NetworkKind::Convolutional) {
        return Vec::new();
    }
    vec![(inputs / 4).clamp(16, 128), (inputs / 8).clamp(8, 32)]
}
