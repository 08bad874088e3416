//! What would be trained, told before it is: layers, rows, the size of the file, and batches to measure the speed by.

use std::ops::ControlFlow;

use linfa::Float;
use ndarray::{Array1, Array2};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{
    AutoencoderValidParams, EpochReport, Layer, Map, Network,
    fit::fit_members,
    held_back::GOLDEN_ROWS,
    network::{Latent, Output, Skip},
    recipe::{Draft, Recipe, TrainError},
    rows::{Rows, Sets},
    sample::{SampleRecord, SampleRows},
    split::Split,
};
use crate::{
    config::settings::{Activation, NetworkKind},
    detect::calibrate::{BODY_POINTS, Missing},
    model::{
        Model,
        metadata::{Column, GraphOrigin},
    },
    record::features::grid_of,
};

/// Batches of an epoch that the speed is measured by.
const TRIAL_BATCHES: usize = 4;
/// Bytes of a recorded value, and of a score, as a model file's document writes them: digits and a comma.
const VALUE_BYTES: usize = 8;
const SCORE_BYTES: usize = 19;

/// One layer of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerLine {
    /// `encoder`, `code`, `decoder`, or `skip` for principal components beside the network.
    pub part: &'static str,
    /// `dense`, `convolution` or `transposed convolution`.
    pub kind: &'static str,
    /// Shape of what it gives for one row: the number of values, or height, width (where there is one) and channels.
    pub output: String,
    /// What is applied to its sums.
    pub activation: Activation,
    /// Numbers that are fitted: weights and biases.
    pub parameters: usize,
}

impl<F: Float> AutoencoderValidParams<F> {
    /// The layers of the network that these parameters fit, from input to output, then those beside it.
    pub fn describe(&self) -> Vec<LayerLine> {
        let network = self.sketch();
        let part = |index: usize| match index.cmp(&network.code) {
            std::cmp::Ordering::Less => "encoder",
            std::cmp::Ordering::Equal => "code",
            std::cmp::Ordering::Greater => "decoder",
        };
        let last = network.layers.len() - 1;
        let pairs = |index: usize| {
            (index == network.code && network.latent == Latent::Gaussian)
                || (index == last && matches!(network.output, Output::Gaussian(_)))
        };
        let mut lines: Vec<_> =
            network.layers.iter().enumerate().map(|(index, layer)| line(part(index), layer, pairs(index))).collect();
        let beside = network.skip.iter().flat_map(|skip| [&skip.encoder, &skip.decoder]);
        lines.extend(beside.map(|layer| line("skip", layer, false)));
        lines
    }

    /// A network of these layers that has learned nothing.
    fn sketch(&self) -> Network<F> {
        let linear = |inputs: usize, outputs: usize| {
            Layer::dense(Array2::zeros((inputs, outputs)), Array1::zeros(outputs), Activation::Identity)
                .expect("checked parameters have widths of at least 1")
        };
        let components = || (linear(self.input_width(), self.code_size), linear(self.code_size, self.input_width()));
        if self.kinds.has(NetworkKind::Pca) {
            let (encoder, decoder) = components();
            let layers = vec![encoder, decoder];
            return Network { layers, code: 0, latent: Latent::Plain, output: Output::Values, skip: None };
        }
        let (layers, code) = self.random_layers(&mut Xoshiro256PlusPlus::seed_from_u64(self.seed));
        let latent = if self.variational.is_some() { Latent::Gaussian } else { Latent::Plain };
        let skip = self.skip.then(components).map(|(encoder, decoder)| Skip { encoder, decoder });
        Network { layers, code, latent, output: self.output(), skip }
    }
}

fn line<F: Float>(part: &'static str, layer: &Layer<F>, pairs: bool) -> LayerLine {
    let (kind, shape) = match layer.map() {
        Map::Dense => ("dense", None),
        Map::Convolution(geometry) => ("convolution", Some(geometry.coarse)),
        Map::Transposed(geometry) => ("transposed convolution", Some(geometry.fine)),
    };
    let output = match (shape, pairs) {
        (Some(shape), false) => shape.to_string(),
        (None, false) => layer.outputs().to_string(),
        (_, true) => format!("{} means, {0} log-variances", layer.outputs() / 2),
    };
    let parameters = layer.parameter_count();
    LayerLine { part, kind, output, activation: layer.activation(), parameters }
}

/// What a recipe would train on a sample.
pub struct Plan {
    recipe: Recipe,
    rows: SampleRows,
    split: Split,
    columns: Vec<Column>,
    /// None where another tool's graph is adopted.
    members: Vec<AutoencoderValidParams<f32>>,
    /// Bytes of the model file, about: what held-back rows will tell is not known yet.
    pub file_bytes: usize,
}

impl Recipe {
    /// Decides all that [`Recipe::train`] does before it fits.
    ///
    /// # Errors
    /// As for [`Recipe::train`], as far as they can be known beforehand.
    pub fn plan(&self, sample: &[SampleRecord]) -> Result<Plan, TrainError> {
        let rows = SampleRows::decode(sample, &self.settings.record)?;
        let (recipe, split) = self.decided(&rows)?;
        let columns = recipe.columns(&rows, &split)?;
        let mut draft = Draft::unfitted(columns.clone(), GraphOrigin::Strayd { architecture: String::new() });
        let members = if self.foreign.is_some() { Vec::new() } else { recipe.members(&rows, &columns)? };
        draft.networks = members.iter().map(AutoencoderValidParams::sketch).collect();
        let unfitted = recipe.assemble(&draft, recipe.metadata(&draft, &rows, sample))?;
        let golden = GOLDEN_ROWS * columns.len() * recipe.settings.training.window * VALUE_BYTES;
        let calibration = split.held_back.len().min(BODY_POINTS) * SCORE_BYTES;
        let file_bytes = unfitted.bytes.len() + golden + calibration;
        Ok(Plan { recipe, rows, split, columns, members, file_bytes })
    }
}

impl Plan {
    /// The kinds that hold, such as `denoising + sparse`; `None` where another tool's graph is adopted.
    pub fn kinds(&self) -> Option<String> {
        self.members.first().map(|member| member.kinds().to_string())
    }

    /// Layers of each member.
    pub fn layers(&self) -> Vec<LayerLine> {
        self.members.first().map(AutoencoderValidParams::describe).unwrap_or_default()
    }

    /// Networks that are fitted and averaged.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Values per row.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Rows per window.
    pub fn window(&self) -> usize {
        self.recipe.settings.training.window
    }

    /// Height and width, where each window is one row and all its columns are the cells of one grid.
    pub fn grid(&self) -> Option<[usize; 2]> {
        grid_of(&self.rows.features).filter(|_| self.window() == 1)
    }

    /// Rows at the end of each window that a sequence network predicts out of those before; else 0.
    pub fn predicted_rows(&self) -> usize {
        let network = &self.recipe.settings.training.network;
        if self.members.is_empty() || !network.has(NetworkKind::Sequence) { 0 } else { network.predicted_rows }
    }

    /// Windows to fit on.
    pub fn fitted_rows(&self) -> usize {
        self.split.fitted.len()
    }

    /// Windows that stop the fitting early.
    pub fn validation_rows(&self) -> usize {
        self.split.validation.len()
    }

    /// Windows held back from fitting: those, and more that the limit is calibrated on.
    pub fn held_back_rows(&self) -> usize {
        self.split.held_back.len()
    }

    /// Upper bound of epochs; `None` where the solution is exact or nothing is fitted.
    pub fn epochs(&self) -> Option<usize> {
        let member = self.members.first()?;
        (!member.kinds().has(NetworkKind::Pca)).then_some(member.epochs)
    }

    /// Seconds that all epochs take if each member learns from as many rows a second as the trial told, over all members.
    pub fn seconds(&self, rows_per_second: f64) -> Option<f64> {
        let rows = self.epochs()? * self.split.fitted.len() * self.members.len();
        Some(rows as f64 / rows_per_second)
    }

    /// Trains what was planned and gives the finished model, the same as [`Recipe::train`] on this `sample`, which must be the
    /// one that was planned with.
    ///
    /// # Errors
    /// As for [`Recipe::train`].
    pub fn train(
        &self,
        sample: &[SampleRecord],
        progress: &mut dyn FnMut(&EpochReport) -> ControlFlow<()>,
    ) -> Result<Model, TrainError> {
        let (model, _) = self.recipe.train_on(sample, Missing::default(), (&self.rows, &self.split), progress)?;
        Ok(model)
    }

    /// Fits for a try on a few batches, epoch by epoch, until `progress` breaks. All epochs are alike and hold as many rows to
    /// validate per row to fit as those of the training itself. Nothing of it is kept.
    ///
    /// # Errors
    /// As for [`Recipe::train`], of fitting.
    pub fn try_out(&self, progress: &mut dyn FnMut(&EpochReport) -> ControlFlow<()>) -> Result<(), TrainError> {
        let mut members = self.members.clone();
        for member in &mut members {
            (member.epochs, member.patience) = (usize::MAX, usize::MAX);
        }
        let settings = &self.recipe.settings.training;
        let (all, validation) = (self.split.fitted.len(), self.split.validation.len());
        let some = all.min(TRIAL_BATCHES * settings.network.batch_size);
        let scaling = (&self.columns[..], self.recipe.input_clip());
        let to_fit = self.split.scaled(&self.rows, scaling, &self.split.fitted);
        let to_validate = self.split.scaled(&self.rows, scaling, &self.split.validation);
        let width = self.columns.len() * settings.window;
        let sets = Sets {
            training: Rows { len: some, width, copy: &to_fit },
            validation: Rows { len: (validation * some).div_ceil(all), width, copy: &to_validate },
        };
        fit_members(&members, sets, settings.network.threads, progress)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use linfa::Dataset;
    use linfa::{ParamGuard, prelude::Fit};

    use super::*;
    use crate::{
        config::settings::{Convolution, Kinds, Variational, VariationalScore},
        train::{AutoencoderParams, Shape},
    };

    fn lines(params: AutoencoderParams<f32>) -> Vec<LayerLine> {
        params.check().unwrap().describe()
    }

    fn convolution() -> Convolution {
        Convolution { channels: vec![4, 8], kernel: 3, stride: 2, dilation: 1 }
    }

    fn kinds(kinds: &[NetworkKind]) -> Kinds {
        Kinds::new(kinds).unwrap()
    }

    fn window() -> Shape {
        Shape { height: 6, width: 1, channels: 3 }
    }

    #[test]
    fn a_dense_network_is_told_layer_by_layer() {
        let lines = lines(AutoencoderParams::new(12, 3).hidden(&[8]).activation(Activation::Tanh));
        let told: Vec<_> =
            lines.iter().map(|line| (line.part, line.kind, line.output.as_str(), line.parameters)).collect();
        assert_eq!(
            told,
            [
                ("encoder", "dense", "8", 12 * 8 + 8),
                ("code", "dense", "3", 8 * 3 + 3),
                ("decoder", "dense", "8", 3 * 8 + 8),
                ("decoder", "dense", "12", 8 * 12 + 12)
            ]
        );
        assert_eq!(lines[0].activation, Activation::Tanh);
        assert_eq!(lines[3].activation, Activation::Identity);
    }

    #[test]
    fn convolutions_are_told_by_the_grids_that_they_give() {
        let kinds = kinds(&[NetworkKind::Convolutional, NetworkKind::Undercomplete]);
        let lines = lines(AutoencoderParams::new(18, 2).kinds(kinds).convolution(window(), convolution()));
        let told: Vec<_> = lines.iter().map(|line| (line.kind, line.output.as_str())).collect();
        assert_eq!(
            told,
            [
                ("convolution", "3 x 4"),
                ("convolution", "2 x 8"),
                ("dense", "2"),
                ("dense", "16"),
                ("transposed convolution", "3 x 4"),
                ("transposed convolution", "6 x 3")
            ]
        );
    }

    #[test]
    fn as_many_parameters_are_told_as_the_fitted_network_has() {
        let probable = Variational { beta: 0.1, warm_up: 1, score: VariationalScore::Probability, draws: 2 };
        let dense = || AutoencoderParams::<f32>::new(18, 2).hidden(&[5]).epochs(1);
        let convolutional = || AutoencoderParams::new(18, 2).epochs(1).convolution(window(), convolution());
        for params in [
            dense(),
            dense().skip(true),
            dense().kinds(NetworkKind::Variational).variational(probable),
            dense().kinds(NetworkKind::Sequence).predicted(3),
            convolutional().kinds(NetworkKind::Convolutional),
            convolutional().kinds(kinds(&[NetworkKind::Convolutional, NetworkKind::Sequence])).predicted(3),
            AutoencoderParams::new(18, 2).kinds(NetworkKind::Pca),
        ] {
            let rows = Array2::from_shape_fn((60, 18), |(row, column)| ((row * (column + 1)) as f32 * 0.1).sin());
            let told: usize = lines(params.clone()).iter().map(|line| line.parameters).sum();
            assert_eq!(params.check_ref().unwrap().parameters(), told, "what is reckoned beforehand");
            let network = params.check().unwrap().fit(&Dataset::from(rows)).unwrap();
            let beside = network.skip.iter().flat_map(|skip| [&skip.encoder, &skip.decoder]);
            let sizes = network.layers().iter().chain(beside).map(|layer| layer.weight().len() + layer.bias().len());
            assert_eq!(told, sizes.sum::<usize>());
        }
    }

    #[test]
    fn means_and_log_variances_are_told_apart() {
        let probable = Variational { beta: 0.1, warm_up: 1, score: VariationalScore::Probability, draws: 2 };
        let params = AutoencoderParams::new(6, 2).kinds(NetworkKind::Variational).variational(probable);
        let outputs: Vec<_> = lines(params).into_iter().map(|line| line.output).collect();
        assert_eq!(outputs, ["2 means, 2 log-variances", "6 means, 6 log-variances"]);
    }
}
