//! Fitting: epochs over all members side by side, early stopping on held-out rows, the best weights kept.

use std::ops::ControlFlow;

use linfa::{DatasetBase, Float, traits::Fit};
use ndarray::{Array2, ArrayView2, Axis};

use super::{
    activation::to_f64,
    error::AutoencoderError,
    fitting::Fitting,
    network::Network,
    params::AutoencoderValidParams,
    product::Threads,
    rows::{Rows, Sets, of_matrix},
};
use crate::config::settings::{Loss, NetworkKind};

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
    /// The epoch with the smallest validation loss so far; 0 where a linear skip alone is still better.
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
    /// The epoch whose weights the network has, from 1; 0 where no epoch was better than the linear skip alone.
    pub best_epoch: usize,
    /// Share of the code's values, over validation rows and units, that are larger than a tenth of the largest one.
    pub active_units: f64,
    /// Why fitting ended.
    pub end: FitEnd,
}

/// Rows that are looked at together before fitting.
const BLOCK: usize = 256;

/// Called after each epoch; `Break` ends fitting with the best weights so far.
type Progress<'a> = &'a mut dyn FnMut(&EpochReport) -> ControlFlow<()>;

/// Fits several members on the same rows with so many threads, which work on different members and share large matrix
/// products; their number changes no bit. All members finish an epoch before the next one begins, and `progress` hears of
/// their means after each.
///
/// # Errors
/// As for [`AutoencoderValidParams::fit_with_validation`], of the first member that fails.
pub fn fit_members<F: Float>(
    members: &[AutoencoderValidParams<F>],
    sets: Sets<'_, F>,
    threads: usize,
    progress: Progress<'_>,
) -> Result<Vec<Fitted<F>>, AutoencoderError> {
    members.iter().try_for_each(|member| member.check_sets(sets))?;
    let threads = Threads::new(threads);
    let begin = || members.iter().map(|member| Fitting::new(member, sets)).collect::<Result<Vec<_>, _>>();
    let mut fittings = threads.run(begin)?;
    let epochs = members.iter().map(AutoencoderValidParams::epochs_to_run).max().unwrap_or(0);
    for epoch in 1..=epochs {
        let reports = threads.run(|| side_by_side(&mut fittings, epoch))?;
        if reports.is_empty() {
            break;
        }
        if progress(&mean(&reports, epochs)).is_break() {
            fittings.iter_mut().for_each(Fitting::cancel);
            break;
        }
    }
    Ok(fittings.into_iter().map(Fitting::finish).collect())
}

/// One epoch of each member that goes on, on the threads of the pool that this is called in.
fn side_by_side<F: Float>(fittings: &mut [Fitting<'_, F>], epoch: usize) -> Result<Vec<EpochReport>, AutoencoderError> {
    let mut active: Vec<_> = fittings.iter_mut().filter(|fitting| fitting.goes_on()).collect();
    if active.len() < 2 || rayon::current_thread_index().is_none() {
        return active.iter_mut().map(|fitting| fitting.advance(epoch)).collect();
    }
    let mut reports: Vec<_> = active.iter().map(|_| None).collect();
    rayon::scope(|scope| {
        for (fitting, report) in active.iter_mut().zip(&mut reports) {
            scope.spawn(move |_| *report = Some(fitting.advance(epoch)));
        }
    });
    reports.into_iter().flatten().collect()
}

fn mean(reports: &[EpochReport], epochs: usize) -> EpochReport {
    let count = reports.len() as f64;
    EpochReport {
        epochs,
        rows: reports.iter().map(|report| report.rows).sum(),
        training_loss: reports.iter().map(|report| report.training_loss).sum::<f64>() / count,
        validation_loss: reports.iter().map(|report| report.validation_loss).sum::<f64>() / count,
        best_epoch: reports.iter().map(|report| report.best_epoch).max().unwrap_or(0),
        ..reports[0]
    }
}

impl<F: Float> AutoencoderValidParams<F> {
    /// Fits on `training` rows and stops early on `validation` rows, both `[rows, row_width]` and already scaled.
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
        let (of_training, of_validation) = (of_matrix(training.reborrow()), of_matrix(validation.reborrow()));
        let rows = |matrix: &ArrayView2<'_, F>| (matrix.nrows(), matrix.ncols());
        let ((len, width), (others, other_width)) = (rows(&training), rows(&validation));
        let sets = Sets {
            training: Rows { len, width, copy: &of_training },
            validation: Rows { len: others, width: other_width, copy: &of_validation },
        };
        let members = fit_members(std::slice::from_ref(self), sets, 1, progress)?;
        Ok(members.into_iter().next().expect("as many networks are fitted as there are parameters"))
    }

    fn check_sets(&self, sets: Sets<'_, F>) -> Result<(), AutoencoderError> {
        self.check_rows("training", sets.training, 2)?;
        self.check_rows("validation", sets.validation, 1)
    }

    fn check_rows(&self, set: &'static str, rows: Rows<'_, F>, needed: usize) -> Result<(), AutoencoderError> {
        if rows.width != self.row_width {
            return Err(AutoencoderError::Columns { set, got: rows.width, expected: self.row_width });
        }
        if rows.len < needed {
            return Err(AutoencoderError::TooFewRows { set, got: rows.len, needed });
        }
        let unit = self.loss == Loss::BinaryCrossEntropy;
        let expected = if unit { "a value in 0..=1 for the binary cross-entropy" } else { "a finite value" };
        let good = |value: F| if unit { value >= F::zero() && value <= F::one() } else { value.is_finite() };
        let mut found = None;
        rows.blocks(BLOCK, |first, block| {
            let bad = || block.indexed_iter().find(|&(_, &value)| !good(value));
            if let (None, Some(((row, column), &value))) = (&found, bad()) {
                found = Some((first + row, column, to_f64(value)));
            }
        });
        match found {
            Some((row, column, value)) => Err(AutoencoderError::Value { set, row, column, value, expected }),
            None => Ok(()),
        }
    }

    /// Upper bound of epochs; an exact solution takes one.
    fn epochs_to_run(&self) -> usize {
        if self.kinds.has(NetworkKind::Pca) { 1 } else { self.epochs }
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

#[cfg(test)]
mod tests {
    use linfa::{Dataset, ParamGuard, traits::Predict};
    use ndarray::s;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;
    use crate::{
        config::settings::{
            Activation, Contraction, Convolution, Kinds, Noise, Optimiser, OptimiserRule, RateSchedule, Sparsity,
            Variational, VariationalScore,
        },
        train::{AutoencoderParams, Shape},
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

    const CLIPPED: Optimiser = Optimiser {
        rule: OptimiserRule::AdamW,
        learning_rate: 1e-2,
        schedule: RateSchedule::OneCycle,
        weight_decay: 1e-3,
        clip_norm: Some(1.0),
    };

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
        let contraction = Contraction { weight: 1e-3, projections: 1 };
        let window = Shape { height: 3, width: 1, channels: 2 };
        let layers = Convolution { channels: vec![8, 8], kernel: 2, stride: 1, dilation: 1 };
        let by = |score| Variational { beta: 1e-3, warm_up: 3, score, draws: 4 };
        let of = |kinds: &[NetworkKind]| params().kinds(Kinds::new(kinds).unwrap());
        vec![
            params(),
            params().skip(true),
            params().trim(0.05).optimiser(CLIPPED).epochs(80),
            of(&[NetworkKind::Contractive]).contraction(contraction),
            of(&[NetworkKind::Convolutional, NetworkKind::Denoising])
                .noise(Noise { gaussian: 0.1, ..Noise::default() })
                .convolution(window, layers),
            of(&[NetworkKind::Variational]).variational(by(VariationalScore::Error)),
            of(&[NetworkKind::Variational]).variational(by(VariationalScore::Probability)).epochs(150).patience(40),
            params().activation(Activation::Tanh).loss(Loss::Huber { delta: 0.1 }),
            params().loss(Loss::BinaryCrossEntropy),
            params().kinds(NetworkKind::Denoising).noise(noise),
            wide().kinds(Kinds::new(&[NetworkKind::Denoising, NetworkKind::Sparse]).unwrap()).noise(noise).sparsity(l1),
            wide().kinds(NetworkKind::Sparse).sparsity(l1),
            wide().kinds(NetworkKind::Sparse).sparsity(kl),
            AutoencoderParams::new(6, 2).kinds(NetworkKind::Pca),
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
        let pca = fit(AutoencoderParams::new(6, 2).kinds(NetworkKind::Pca)).0;
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
    fn a_linear_skip_is_never_worse_on_the_validation_rows_than_its_principal_components() {
        let pca = fit(AutoencoderParams::new(6, 2).kinds(NetworkKind::Pca)).0;
        let skip = fit(params().skip(true)).0;
        assert!(skip.validation_loss < 0.9 * pca.validation_loss, "{} {}", skip.validation_loss, pca.validation_loss);
        // A rate that ruins every step: what stays is the network that adds nothing.
        let ruined = fit(params().skip(true).learning_rate(1.0).activation(Activation::Tanh).epochs(3)).0;
        assert_eq!(ruined.best_epoch, 0);
        assert!((ruined.validation_loss - pca.validation_loss).abs() < 1e-6 * pca.validation_loss);
        assert_eq!(ruined.network.predict(&rows(5, 9)), pca.network.predict(&rows(5, 9)));
    }

    #[test]
    fn trimmed_rows_are_not_learned_from() {
        // Every twentieth row is an anomaly that always looks the same, so that there is something to learn.
        let mut training = rows(600, 2);
        for mut row in training.rows_mut().into_iter().step_by(20) {
            row.assign(&ndarray::arr1(&[0.0, 1.0, 0.0, 1.0, 0.0, 1.0]));
        }
        let anomaly = training.slice(s![..1, ..]).to_owned();
        let error = |trim: f64| {
            let valid = params().trim(trim).epochs(80).patience(80).check().unwrap();
            let validation = rows(200, 3);
            let fitted =
                valid.fit_with_validation(training.view(), validation.view(), &mut |_| ControlFlow::Continue(()));
            let rebuilt = fitted.unwrap().network.predict(&anomaly);
            (&rebuilt - &anomaly).mapv(|e| e * e).sum()
        };
        // A quarter of 32 rows: more than the anomalies that ever meet in a batch, so that none slips through.
        let (learned, trimmed) = (error(0.0), error(0.25));
        assert!(trimmed > 4.0 * learned, "{trimmed} {learned}");
    }

    #[test]
    fn members_side_by_side_are_those_fitted_one_by_one_whatever_the_number_of_threads() {
        let members: Vec<_> = (1..=5).map(|seed| params().seed(seed).epochs(8).patience(2).check().unwrap()).collect();
        let (training, validation) = (rows(300, 2), rows(100, 3));
        let (of_training, of_validation) = (of_matrix(training.view()), of_matrix(validation.view()));
        let sets = Sets {
            training: Rows { len: 300, width: 6, copy: &of_training },
            validation: Rows { len: 100, width: 6, copy: &of_validation },
        };
        let mut go_on = |_: &EpochReport| ControlFlow::Continue(());
        let alone: Vec<_> = members
            .iter()
            .map(|member| member.fit_with_validation(training.view(), validation.view(), &mut go_on).unwrap())
            .collect();
        for threads in [1, 2, 3, 8] {
            assert_eq!(fit_members(&members, sets, threads, &mut go_on).unwrap(), alone, "{threads} threads");
        }
        assert!(fit_members(&members[..0], sets, 1, &mut go_on).unwrap().is_empty());
    }

    #[test]
    fn a_sequence_is_predicted_from_what_went_before_and_nothing_else() {
        let windows = |count: usize, seed: u64| {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut windows = Array2::<f32>::zeros((count, 8));
            for mut window in windows.rows_mut() {
                let (phase, size): (f32, f32) = (rng.gen_range(0.0..6.0), rng.gen_range(0.5..1.0));
                for (at, value) in window.iter_mut().enumerate() {
                    *value = size * (phase + 0.7 * (at / 2) as f32 + (at % 2) as f32).sin();
                }
            }
            windows
        };
        let params = AutoencoderParams::new(8, 3).kinds(NetworkKind::Sequence).predicted(2).hidden(&[16]);
        let valid = params.learning_rate(1e-2).epochs(60).check().unwrap();
        let (training, validation) = (windows(600, 1), windows(200, 2));
        let fitted =
            valid.fit_with_validation(training.view(), validation.view(), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!((fitted.network.input_width(), fitted.network.output_width()), (6, 2));
        // The variance of a value is about .3.
        assert!(fitted.validation_loss < 0.01, "{}", fitted.validation_loss);
    }

    #[test]
    fn an_l1_penalty_switches_units_of_the_code_off() {
        let active = |l1: f64| {
            let sparsity = Sparsity { l1, ..Sparsity::default() };
            let wide = AutoencoderParams::new(6, 12).epochs(60).batch_size(32).learning_rate(5e-3).seed(1);
            fit(wide.kinds(NetworkKind::Sparse).sparsity(sparsity)).0.active_units
        };
        let (dense, sparse) = (active(1e-6), active(0.03));
        assert!(dense > 0.6 && sparse < 0.75 * dense && sparse > 0.0, "{dense} {sparse}");
    }

    #[test]
    fn the_divergence_warms_up_and_keeps_a_variational_code_near_the_standard_normal_distribution() {
        let variational = |beta| Variational { beta, warm_up: 4, score: VariationalScore::Error, draws: 1 };
        let of = |beta| params().kinds(NetworkKind::Variational).variational(variational(beta));
        let valid = of(1.0).check().unwrap();
        let weights: Vec<f64> = (1..=6).map(|epoch| valid.divergence_weight(epoch)).collect();
        assert_eq!(weights, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        let spread = |beta: f64| {
            let codes = fit(of(beta)).0.network.encode(rows(200, 3).view());
            codes.mapv(|code| code * code).mean().unwrap()
        };
        let (free, held) = (spread(0.0), spread(0.02));
        assert!((0.3..1.6).contains(&held) && !(0.3..=1.6).contains(&free), "{free} {held}");
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
        let short = params().epochs(fitted.best_epoch).check().unwrap();
        let short =
            short.fit_with_validation(training.view(), validation.view(), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(short.network, fitted.network);
    }

    #[test]
    fn epochs_before_the_divergence_has_its_whole_weight_are_never_the_best_of_all() {
        // The lighter the divergence, the better rows are rebuilt: the first epochs would win.
        let warming = |epochs: usize| {
            let variational = Variational { beta: 5.0, warm_up: 60, score: VariationalScore::Error, draws: 1 };
            let params = params().kinds(NetworkKind::Variational).variational(variational);
            let valid = params.learning_rate(0.02).patience(3).epochs(epochs).check().unwrap();
            let (training, validation) = (rows(400, 2), rows(50, 3));
            let mut losses = Vec::new();
            let fitted = valid.fit_with_validation(training.view(), validation.view(), &mut |report| {
                losses.push(report.validation_loss);
                ControlFlow::Continue(())
            });
            (fitted.unwrap(), losses)
        };
        let (fitted, losses) = warming(100);
        let before = losses[..59].iter().copied().fold(f64::INFINITY, f64::min);
        assert!(before < fitted.validation_loss, "{losses:?}");
        assert!(fitted.best_epoch >= 60 && fitted.epochs >= 62, "{} of {}", fitted.best_epoch, fitted.epochs);
        // Where there are fewer epochs, the best of them is what there is.
        assert!((1..=5).contains(&warming(5).0.best_epoch));
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
