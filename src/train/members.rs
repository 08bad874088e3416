//! The networks of a model: parameters out of settings, several members fitted side by side.

use std::ops::ControlFlow;

use linfa::ParamGuard;

use super::{
    AutoencoderParams, AutoencoderValidParams, EpochReport, Fitted, Shape,
    architecture::coarsest,
    assemble::architecture,
    fit::fit_members,
    recipe::{Draft, Recipe, TrainError, constant_columns, disconnect, varying_columns},
    rows::{Rows, Sets},
    sample::SampleRows,
    size::Oversize,
    split::Split,
};
use crate::{
    config::settings::{Kinds, NetworkKind, NetworkSettings, Preset, TrainingSettings},
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
        let training = &self.settings.training;
        let row = row_shape(grid_of(&rows.features), training.window, columns.len());
        let params = |member: u64| params(training, row, code_size).seed(training.seed.wrapping_add(member)).check();
        Oversize::check(members(&training.network), params(0)?.parameters())?;
        (0..members(&training.network) as u64).map(|member| Ok(params(member)?)).collect()
    }

    /// The configured code size, or the derived one. Constant columns are no input.
    ///
    /// # Errors
    /// A code that has to be smaller than the input isn't, or there is no smaller one.
    fn code_size(&self, columns: &[Column]) -> Result<usize, TrainError> {
        let training = &self.settings.training;
        let network = &training.network;
        let varying = varying_columns(columns);
        let inputs = varying * given_rows(training);
        let code = network.code_size.unwrap_or_else(|| derived_code(columns.len(), inputs));
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

/// Members that are fitted. Principal components hang on no seed: all of them would be the same.
fn members(network: &NetworkSettings) -> usize {
    if network.has(NetworkKind::Pca) { 1 } else { network.members }
}

/// Refuses settings whose networks no model file can hold, where a row has `columns`, none of them constant, or is the
/// grid. What the trainer refuses for other reasons is let through.
///
/// # Errors
/// More than 2 GiB.
pub fn check_size(training: &TrainingSettings, grid: Option<[usize; 2]>, columns: usize) -> Result<(), Oversize> {
    let row = row_shape(grid, training.window, columns);
    let derived = || derived_code(columns, columns * given_rows(training));
    let code_size = training.network.code_size.unwrap_or_else(derived);
    match params(training, row, code_size).check() {
        Ok(params) => Oversize::check(members(&training.network), params.parameters()),
        Err(_) => Ok(()),
    }
}

fn row_shape(grid: Option<[usize; 2]>, window: usize, columns: usize) -> Shape {
    match grid {
        Some([height, width]) if window == 1 => Shape { height, width, channels: 1 },
        Some(_) | None => Shape { height: window, width: 1, channels: columns },
    }
}

/// Rows of the window that the network takes.
fn given_rows(training: &TrainingSettings) -> usize {
    let sequence = training.network.has(NetworkKind::Sequence);
    training.window.saturating_sub(if sequence { training.network.predicted_rows } else { 0 })
}

/// An eighth of the row's columns between 2 and 4, as small codes measured best, and smaller than the input.
fn derived_code(columns: usize, inputs: usize) -> usize {
    (columns / 8).clamp(2, 4).min(inputs.saturating_sub(1)).max(1)
}

/// What networks of these settings are fitted by, for rows of a shape. The settings hold values for all kinds; those of
/// kinds that aren't there must not be given.
fn params(training: &TrainingSettings, row: Shape, code_size: usize) -> AutoencoderParams<f32> {
    let network = &training.network;
    let kinds = network.kinds.clone().unwrap_or_else(|| NetworkKind::Denoising.into());
    let of = |kind: NetworkKind| kinds.has(kind);
    let predicted_rows = if of(NetworkKind::Sequence) { network.predicted_rows } else { 0 };
    let given = Shape { height: row.height.saturating_sub(predicted_rows), ..row };
    let inputs =
        if of(NetworkKind::Convolutional) { coarsest(given, &network.convolution).size() } else { given.size() };
    let mut params = AutoencoderParams::new(row.size(), code_size)
        .hidden(&hidden(network, &kinds, (inputs, code_size)))
        .kinds(kinds.clone())
        .activation(network.activation)
        .loss(network.loss)
        .predicted(predicted_rows * row.width * row.channels)
        .skip(network.skip == Some(true))
        .epochs(network.epochs)
        .batch_size(network.batch_size)
        .optimiser(network.optimiser)
        .patience(network.patience)
        .trim(network.trim);
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

/// Widths of the dense hidden layers from input to code: the given ones, or as many as given, each smaller than the one before
/// by the same factor. The input is that of these layers: what convolutions give, where there are any. If nothing is
/// given, two that measured well; but none between convolutions and code.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Sources};

    fn training(sets: &[&str]) -> TrainingSettings {
        let sources = Sources { set: sets.iter().map(|set| (*set).to_owned()).collect(), ..Sources::default() };
        Settings::load(&sources).unwrap().settings.training
    }

    fn widths(sets: &[&str], row: Shape) -> Vec<usize> {
        params(&training(sets), row, 3).check().unwrap().hidden
    }

    #[test]
    fn counted_layers_fall_from_the_input_by_the_same_factor() {
        let row = Shape { height: 4, width: 1, channels: 48 };
        assert_eq!(widths(&["model.kind=denoising", "model.layers=2"], row), [48, 12]);
        let sequence = ["model.kind=sequence", "model.layers=1"];
        assert_eq!(widths(&sequence, Shape { channels: 16, ..row }), [12], "predicted rows are no input");
    }

    #[test]
    fn after_convolutions_counted_layers_fall_from_what_those_give() {
        // Two convolutions make 2 x 2 positions of 12 channels of it, 48 values.
        let row = Shape { height: 8, width: 8, channels: 1 };
        let grid = r#"record.features=[{"path":"f","kind":"grid","shape":[8,8]}]"#;
        let sets = ["model.kind=convolutional,denoising", "training.window=1", grid, "model.convolution.channels=4,12"];
        assert_eq!(widths(&[&sets[..], &["model.layers=1"]].concat(), row), [12]);
        assert_eq!(widths(&sets, row), [0; 0]);
    }

    #[test]
    fn principal_components_are_solved_once() {
        assert_eq!(members(&training(&["model.members=3"]).network), 3);
        let mut decided = training(&["model.members=3"]).network;
        decided.kinds = Some(NetworkKind::Pca.into());
        assert_eq!(members(&decided), 1);
    }

    #[test]
    fn networks_that_no_file_holds_are_refused_before_they_are_made() {
        let mut wide = training(&["model.kind=denoising"]);
        assert_eq!(check_size(&wide, None, 38), Ok(()));
        wide.network.hidden = Some(vec![16384, 16384]);
        wide.network.members = 2;
        let error = check_size(&wide, None, 38).unwrap_err();
        assert!(error.parameters > 4 * 16384 * 16384 && error.members == 2, "{error}");
        // A grid of this size is 65,536 values, and a window of four such rows four times as many.
        let mut wide = training(&["model.kind=denoising", "model.hidden=4000"]);
        assert_eq!(check_size(&wide, Some([256, 256]), 65536).unwrap_err().parameters, 2_097_454_148);
        wide.window = 1;
        assert!(check_size(&wide, Some([256, 256]), 65536).is_ok());
    }
}
