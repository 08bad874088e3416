//! The fitting loop: mini-batches, Adam, early stopping on held-out rows.

use std::ops::ControlFlow;

use linfa::{DatasetBase, Float, traits::Fit};
use ndarray::{Array2, ArrayView2, Axis, s};
use rand::{SeedableRng, seq::SliceRandom};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::config::settings::{Loss, NetworkKind};

use super::{
    adam::Adam,
    backprop::Backprop,
    corruption::Corruption,
    error::AutoencoderError,
    loss::output_activation,
    network::{Dense, Network, contiguous, contiguous_mut},
    params::AutoencoderValidParams,
    pca::principal_components,
};

/// What one epoch came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochReport {
    /// The epoch just ended, from 1.
    pub epoch: usize,
    /// Upper bound of epochs.
    pub epochs: usize,
    /// Rows seen in this epoch.
    pub rows: usize,
    /// Mean over the epoch's batches of what was minimised: reconstruction loss of the (corrupted) rows plus penalty.
    pub training_loss: f64,
    /// Reconstruction loss of the clean validation rows, without penalty.
    pub validation_loss: f64,
    /// The epoch with the smallest validation loss so far.
    pub best_epoch: usize,
}

/// Why fitting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FitEnd {
    /// All epochs were run, or the solution is exact.
    Finished,
    /// The validation loss did not improve for as many epochs as the patience allows.
    Patience,
    /// The progress callback asked to stop.
    Cancelled,
}

/// A fitted network and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted<F> {
    /// The network with the weights of the best epoch.
    pub network: Network<F>,
    /// [`EpochReport::training_loss`] of the best epoch.
    pub training_loss: f64,
    /// [`EpochReport::validation_loss`] of the best epoch.
    pub validation_loss: f64,
    /// Epochs run.
    pub epochs: usize,
    /// The epoch whose weights the network has, from 1.
    pub best_epoch: usize,
    /// Why fitting ended.
    pub end: FitEnd,
}

/// Called after each epoch; `Break` ends fitting with the best weights so far.
type Progress<'a> = &'a mut dyn FnMut(&EpochReport) -> ControlFlow<()>;

impl<F: Float> AutoencoderValidParams<F> {
    /// Fits on `training` rows and stops early on `validation` rows, both `[rows, input_width]` and already scaled.
    ///
    /// `progress` is called after each epoch. Time is the caller's to measure.
    ///
    /// # Errors
    /// Fewer than two training rows or no validation row, rows of another width, a value that is not finite (or not
    /// in 0..=1 for the binary cross-entropy), or a loss that ceases to be finite.
    pub fn fit_with_validation(
        &self,
        training: ArrayView2<'_, F>,
        validation: ArrayView2<'_, F>,
        progress: Progress<'_>,
    ) -> Result<Fitted<F>, AutoencoderError> {
        self.check_rows("training", training, 2)?;
        self.check_rows("validation", validation, 1)?;
        let (training, validation) = (training.as_standard_layout(), validation.as_standard_layout());
        if self.kind == NetworkKind::Pca {
            return self.fit_exactly(training.view(), validation.view(), progress);
        }
        Fitting::new(self, training.view())?.run(validation.view(), progress)
    }

    fn check_rows(&self, set: &'static str, rows: ArrayView2<'_, F>, needed: usize) -> Result<(), AutoencoderError> {
        if rows.ncols() != self.input_width {
            return Err(AutoencoderError::Columns { set, got: rows.ncols(), expected: self.input_width });
        }
        if rows.nrows() < needed {
            return Err(AutoencoderError::TooFewRows { set, got: rows.nrows(), needed });
        }
        let unit = self.loss == Loss::BinaryCrossEntropy;
        let expected = if unit { "a value in 0..=1 for the binary cross-entropy" } else { "a finite value" };
        let good = |value: F| if unit { value >= F::zero() && value <= F::one() } else { value.is_finite() };
        match rows.indexed_iter().find(|&(_, &value)| !good(value)) {
            Some(((row, column), &value)) => {
                Err(AutoencoderError::Value { set, row, column, value: to_f64(value), expected })
            }
            None => Ok(()),
        }
    }

    fn fit_exactly(
        &self,
        training: ArrayView2<'_, F>,
        validation: ArrayView2<'_, F>,
        progress: Progress<'_>,
    ) -> Result<Fitted<F>, AutoencoderError> {
        let network = principal_components(training, self.code_size)?;
        let mut backprop = Backprop::new(&network, (self.loss, self.sparsity), self.batch_size);
        let training_loss = mean_loss(&mut backprop, &network, training, self.batch_size);
        let validation_loss = mean_loss(&mut backprop, &network, validation, self.batch_size);
        let rows = training.nrows();
        let report = EpochReport { epoch: 1, epochs: 1, rows, training_loss, validation_loss, best_epoch: 1 };
        let end = if progress(&report).is_break() { FitEnd::Cancelled } else { FitEnd::Finished };
        Ok(Fitted { network, training_loss, validation_loss, epochs: 1, best_epoch: 1, end })
    }

    /// The network before fitting: input, hidden layers, code, mirrored hidden layers, output.
    fn initial_network(&self, rng: &mut Xoshiro256PlusPlus) -> Result<Network<F>, AutoencoderError> {
        let mut widths = vec![self.input_width];
        widths.extend(&self.hidden);
        widths.push(self.code_size);
        widths.extend(self.hidden.iter().rev());
        widths.push(self.input_width);
        let (code, last) = (self.hidden.len(), widths.len() - 2);
        let activation = |layer: usize| match layer {
            _ if layer == code => self.code_activation(),
            _ if layer == last => output_activation(self.loss),
            _ => self.activation,
        };
        let layers = widths.windows(2).enumerate().map(|(layer, pair)| {
            let shape = (pair[0], pair[1]);
            Dense::random(shape, activation(layer), rng)
        });
        Ok(Network::new(layers.collect(), code)?)
    }
}

/// Records only; the last [`validation_share`](super::AutoencoderParams::validation_share) of the rows, taken to be the
/// newest, is held out for early stopping.
impl<F: Float, T> Fit<Array2<F>, T, AutoencoderError> for AutoencoderValidParams<F> {
    type Object = Network<F>;

    fn fit(&self, dataset: &DatasetBase<Array2<F>, T>) -> Result<Network<F>, AutoencoderError> {
        let rows = dataset.records().view();
        let held_out = (rows.nrows() as f64 * self.validation_share).ceil() as usize;
        let (training, validation) = rows.split_at(Axis(0), rows.nrows() - held_out.min(rows.nrows()));
        let fitted = self.fit_with_validation(training, validation, &mut |_| ControlFlow::Continue(()))?;
        Ok(fitted.network)
    }
}

/// Everything that one run of fitting owns; batches allocate nothing more.
struct Fitting<'a, F> {
    params: &'a AutoencoderValidParams<F>,
    training: ArrayView2<'a, F>,
    rng: Xoshiro256PlusPlus,
    network: Network<F>,
    adam: Adam<F>,
    backprop: Backprop<F>,
    corruption: Option<Corruption<F>>,
    /// Training rows in this epoch's order.
    order: Vec<usize>,
    clean: Array2<F>,
    /// The batch as the network sees it; empty where there is no noise.
    noisy: Array2<F>,
}

impl<'a, F: Float> Fitting<'a, F> {
    fn new(params: &'a AutoencoderValidParams<F>, training: ArrayView2<'a, F>) -> Result<Self, AutoencoderError> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(params.seed);
        let network = params.initial_network(&mut rng)?;
        let corruption = Corruption::new(params.noise, training);
        // More rows than there are would only be memory.
        let batch_size = params.batch_size.min(training.nrows());
        let noisy_rows = if corruption.is_some() { batch_size } else { 0 };
        Ok(Self {
            adam: Adam::new(&network, params.learning_rate),
            backprop: Backprop::new(&network, (params.loss, params.sparsity), batch_size),
            order: (0..training.nrows()).collect(),
            clean: Array2::zeros((batch_size, params.input_width)),
            noisy: Array2::zeros((noisy_rows, params.input_width)),
            params,
            training,
            rng,
            network,
            corruption,
        })
    }

    fn run(mut self, validation: ArrayView2<'_, F>, progress: Progress<'_>) -> Result<Fitted<F>, AutoencoderError> {
        let epochs = self.params.epochs;
        let mut best = self.network.clone();
        let mut best_report: Option<EpochReport> = None;
        let mut end = FitEnd::Finished;
        let mut run = 0;
        for epoch in 1..=epochs {
            let training_loss = self.epoch(epoch)?;
            let validation_loss = mean_loss(&mut self.backprop, &self.network, validation, self.clean.nrows());
            if !validation_loss.is_finite() {
                return Err(AutoencoderError::ValidationLoss { loss: validation_loss, epoch });
            }
            run = epoch;
            let rows = self.training.nrows();
            let mut report = EpochReport { epoch, epochs, rows, training_loss, validation_loss, best_epoch: epoch };
            match &best_report {
                Some(best) if best.validation_loss <= validation_loss => report.best_epoch = best.epoch,
                Some(_) | None => {
                    best.copy_from(&self.network);
                    best_report = Some(report);
                }
            }
            if progress(&report).is_break() {
                end = FitEnd::Cancelled;
                break;
            }
            if epoch - report.best_epoch >= self.params.patience {
                end = FitEnd::Patience;
                break;
            }
        }
        let EpochReport { training_loss, validation_loss, epoch: best_epoch, .. } =
            best_report.expect("checked parameters have at least one epoch");
        Ok(Fitted { network: best, training_loss, validation_loss, epochs: run, best_epoch, end })
    }

    /// One pass over the training rows; the mean of the objective over rows.
    fn epoch(&mut self, epoch: usize) -> Result<f64, AutoencoderError> {
        let mut order = std::mem::take(&mut self.order);
        order.shuffle(&mut self.rng);
        let mut total = 0.0;
        for (batch, rows) in order.chunks(self.clean.nrows()).enumerate() {
            let loss = to_f64(self.step(rows));
            if !loss.is_finite() {
                return Err(AutoencoderError::TrainingLoss { loss, epoch, batch: batch + 1 });
            }
            total += loss * rows.len() as f64;
        }
        let mean = total / order.len() as f64;
        self.order = order;
        Ok(mean)
    }

    /// One batch of these training rows: gather, corrupt, differentiate, step. The objective before the step.
    fn step(&mut self, rows: &[usize]) -> F {
        let width = self.params.input_width;
        let source = contiguous(self.training.as_slice());
        let clean = &mut contiguous_mut(self.clean.as_slice_mut())[..rows.len() * width];
        for (target, &row) in clean.chunks_exact_mut(width).zip(rows) {
            target.copy_from_slice(&source[row * width..][..width]);
        }
        if let Some(corruption) = &self.corruption {
            let noisy = &mut contiguous_mut(self.noisy.as_slice_mut())[..rows.len() * width];
            corruption.apply(clean, noisy, &mut self.rng);
        }
        let clean = self.clean.slice(s![..rows.len(), ..]);
        let input = match &self.corruption {
            Some(_) => self.noisy.slice(s![..rows.len(), ..]),
            None => clean,
        };
        let loss = self.backprop.differentiate(&self.network, input, clean);
        self.adam.step(&mut self.network, self.backprop.gradients());
        loss
    }
}

/// Mean reconstruction loss over all values of row-major `rows`, in batches that `backprop` has room for.
fn mean_loss<F: Float>(
    backprop: &mut Backprop<F>,
    network: &Network<F>,
    rows: ArrayView2<'_, F>,
    batch_size: usize,
) -> f64 {
    let batches = rows.axis_chunks_iter(Axis(0), batch_size);
    batches.map(|batch| to_f64(backprop.loss_sum(network, batch))).sum::<f64>() / rows.len() as f64
}

fn to_f64<F: Float>(value: F) -> f64 {
    value.to_f64().expect("linfa's floats are f32 and f64")
}

#[cfg(test)]
mod tests {
    use linfa::{Dataset, ParamGuard, traits::Predict};
    use rand::Rng;

    use super::*;
    use crate::{
        config::settings::{Activation, Noise, Sparsity},
        train::AutoencoderParams,
    };

    /// Rows of 6 columns in 0..=1 that depend on two hidden variables.
    fn rows(count: usize, seed: u64) -> Array2<f32> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut rows = Array2::zeros((count, 6));
        for mut row in rows.rows_mut() {
            let (a, b): (f32, f32) = (rng.gen_range(-1.0..1.0), rng.gen_range(-1.0..1.0));
            for (index, value) in row.iter_mut().enumerate() {
                let phase = index as f32;
                *value = 0.5 + 0.2 * (a * phase.cos() + b * phase.sin()) + 0.15 * (a * b * phase).sin();
                assert!((0.0..=1.0).contains(value));
            }
        }
        rows
    }

    fn params() -> AutoencoderParams<f32> {
        AutoencoderParams::new(6, 2).hidden(&[16]).batch_size(32).epochs(40).learning_rate(5e-3).seed(1)
    }

    fn fit(params: AutoencoderParams<f32>) -> (Fitted<f32>, Vec<EpochReport>) {
        let (training, validation) = (rows(600, 2), rows(200, 3));
        let mut reports = Vec::new();
        let mut keep = |report: &EpochReport| {
            reports.push(*report);
            ControlFlow::Continue(())
        };
        let valid = params.check().unwrap();
        let fitted = valid.fit_with_validation(training.view(), validation.view(), &mut keep).unwrap();
        (fitted, reports)
    }

    fn every_kind() -> Vec<AutoencoderParams<f32>> {
        let noise = Noise { gaussian: 0.1, masking: 0.05, swap: 0.05 };
        let wide = || AutoencoderParams::new(6, 12).epochs(40).batch_size(32).learning_rate(5e-3);
        let l1 = Sparsity { l1: 1e-3, ..Sparsity::default() };
        let kl = Sparsity { kl: 1e-3, target: 0.1, ..Sparsity::default() };
        vec![
            params(),
            params().activation(Activation::Tanh).loss(Loss::Huber { delta: 0.1 }),
            params().loss(Loss::BinaryCrossEntropy),
            params().kind(NetworkKind::Denoising).noise(noise),
            wide().kind(NetworkKind::Denoising).noise(noise).sparsity(l1),
            wide().kind(NetworkKind::Sparse).sparsity(l1),
            wide().kind(NetworkKind::Sparse).sparsity(kl),
            AutoencoderParams::new(6, 2).kind(NetworkKind::Pca),
        ]
    }

    /// Mean squared error of the reconstruction over the rows' variance.
    fn unexplained(network: &Network<f32>) -> f32 {
        let rows = rows(200, 3);
        let centred = &rows - &rows.mean_axis(Axis(0)).unwrap();
        let error = network.predict(&rows) - &rows;
        error.mapv(|e| e * e).sum() / centred.mapv(|e| e * e).sum()
    }

    #[test]
    fn every_kind_fits_and_its_losses_fall() {
        for params in every_kind() {
            let (fitted, reports) = fit(params.clone());
            let share = unexplained(&fitted.network);
            assert!(share < 0.3, "{params:?} leaves {share}");
            let (first, last) = (reports[0], reports[reports.len() - 1]);
            assert!(reports.len() == 1 || last.training_loss < first.training_loss, "{params:?}");
            assert!(reports.len() == 1 || fitted.validation_loss < first.validation_loss, "{params:?}");
        }
    }

    #[test]
    fn a_hidden_layer_rebuilds_curved_rows_better_than_principal_components() {
        let pca = fit(AutoencoderParams::new(6, 2).kind(NetworkKind::Pca)).0;
        let deep = fit(params().epochs(150).patience(30)).0;
        let (linear, curved) = (unexplained(&pca.network), unexplained(&deep.network));
        assert!(curved < 0.75 * linear, "{curved} against {linear}");
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_and_another_seed_others() {
        for params in every_kind() {
            let (one, again) = (fit(params.clone().epochs(3)).0, fit(params.clone().epochs(3)).0);
            assert_eq!(one, again);
        }
        assert_ne!(fit(params().epochs(3)).0.network, fit(params().epochs(3).seed(2)).0.network);
    }

    #[test]
    fn early_stopping_restores_the_weights_of_the_best_epoch() {
        // Few training rows and a high rate: the validation loss must rise again.
        let (training, validation) = (rows(20, 2), rows(100, 3));
        let params = params().epochs(400).patience(7).hidden(&[64]).learning_rate(0.03);
        let valid = params.clone().check().unwrap();
        let mut reports = Vec::new();
        let mut keep = |report: &EpochReport| {
            reports.push(*report);
            ControlFlow::Continue(())
        };
        let fitted = valid.fit_with_validation(training.view(), validation.view(), &mut keep).unwrap();
        assert_eq!((fitted.end, fitted.epochs), (FitEnd::Patience, fitted.best_epoch + 7));
        let best = reports.iter().min_by(|a, b| a.validation_loss.total_cmp(&b.validation_loss)).unwrap();
        assert_eq!((best.epoch, best.validation_loss), (fitted.best_epoch, fitted.validation_loss));
        assert_eq!(reports.last().unwrap().best_epoch, fitted.best_epoch);

        let until_best = params.epochs(fitted.best_epoch).check().unwrap();
        let mut go_on = |_: &EpochReport| ControlFlow::Continue(());
        let short = until_best.fit_with_validation(training.view(), validation.view(), &mut go_on).unwrap();
        assert_eq!(short.network, fitted.network);
        let error = fitted.network.predict(&validation) - &validation;
        let loss = f64::from(error.mapv(|e| e * e).mean().unwrap());
        assert!((loss - fitted.validation_loss).abs() < 1e-6 * loss.max(1.0));
    }

    #[test]
    fn the_callback_can_stop_fitting_and_keeps_the_best_so_far() {
        let valid = params().check().unwrap();
        let (training, validation) = (rows(100, 2), rows(50, 3));
        let mut stop_at_two = |report: &EpochReport| match report.epoch {
            2 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let fitted = valid.fit_with_validation(training.view(), validation.view(), &mut stop_at_two).unwrap();
        assert_eq!((fitted.end, fitted.epochs), (FitEnd::Cancelled, 2));
    }

    #[test]
    fn a_loss_that_is_not_finite_stops_and_names_epoch_and_batch() {
        let mut huge = rows(64, 2);
        huge.mapv_inplace(|value| value * 1e30);
        let valid = params().check().unwrap();
        let error = valid.fit_with_validation(huge.view(), huge.view(), &mut |_| ControlFlow::Continue(()));
        assert!(matches!(error, Err(AutoencoderError::TrainingLoss { epoch: 1, batch: 1, .. })), "{error:?}");
    }

    #[test]
    fn rows_that_can_not_be_learned_from_are_refused() {
        let valid = params().check().unwrap();
        let good = rows(10, 1);
        let refusal = |training: ArrayView2<'_, f32>, validation: ArrayView2<'_, f32>| {
            let refused = valid.fit_with_validation(training, validation, &mut |_| ControlFlow::Continue(()));
            refused.unwrap_err().to_string()
        };
        assert_eq!(refusal(good.slice(s![..1, ..]), good.view()), "got 1 training rows, expected at least 2");
        assert_eq!(refusal(good.view(), good.slice(s![..0, ..])), "got 0 validation rows, expected at least 1");
        let narrow = good.slice(s![.., ..5]);
        assert_eq!(refusal(narrow, good.view()), "the training rows have 5 columns, expected 6");
        let mut bad = good.clone();
        bad[[3, 2]] = f32::NAN;
        let expected = "value NaN in column 2 of validation row 3, expected a finite value";
        assert_eq!(refusal(good.view(), bad.view()), expected);
        bad[[3, 2]] = 1.5;
        let valid = params().loss(Loss::BinaryCrossEntropy).check().unwrap();
        let error = valid.fit_with_validation(bad.view(), good.view(), &mut |_| ControlFlow::Continue(()));
        assert!(matches!(error, Err(AutoencoderError::Value { row: 3, column: 2, .. })), "{error:?}");
    }

    #[test]
    fn fit_holds_out_the_last_rows_and_takes_any_memory_order() {
        let all = rows(500, 2);
        let valid = params().epochs(4).validation_share(0.3).check().unwrap();
        let (training, validation) = all.view().split_at(Axis(0), 350);
        let mut go_on = |_: &EpochReport| ControlFlow::Continue(());
        let expected = valid.fit_with_validation(training, validation, &mut go_on).unwrap().network;
        assert_eq!(valid.fit(&Dataset::from(all.clone())).unwrap(), expected);
        let mut columns_first = Array2::zeros((6, 500)).reversed_axes();
        columns_first.assign(&all);
        assert_eq!(valid.fit(&Dataset::from(columns_first)).unwrap(), expected);
    }
}
