//! One network being fitted: batches, steps, and the best weights so far.

use linfa::Float;
use ndarray::{Array2, s};
use rand::{SeedableRng, seq::SliceRandom};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{
    activation::to_f64,
    backprop::{Backprop, Batch},
    corruption::Corruption,
    error::AutoencoderError,
    fit::{EpochReport, FitEnd, Fitted},
    network::{Network, contiguous, contiguous_mut},
    optimiser::Steps,
    params::AutoencoderValidParams,
    rows::{Rows, Sets},
};
use crate::config::settings::NetworkKind;

/// A code's value counts as active where it is larger than this share of the largest one.
const ACTIVE: f64 = 0.1;

/// Everything that one run of fitting owns; batches allocate nothing more.
pub(super) struct Fitting<'a, F> {
    params: &'a AutoencoderValidParams<F>,
    rows: Sets<'a, F>,
    rng: Xoshiro256PlusPlus,
    network: Network<F>,
    steps: Steps<F>,
    backprop: Backprop<F>,
    corruption: Option<Corruption<F>>,
    /// Training rows in this epoch's order.
    order: Vec<usize>,
    batch: BatchRows<F>,
    /// Loss of each row of the batch, and its rows by their losses, where some are trimmed.
    losses: Vec<F>,
    ranks: Vec<usize>,
    best: Network<F>,
    best_report: Option<EpochReport>,
    run: usize,
    end: Option<FitEnd>,
}

/// Rows gathered for one batch.
struct BatchRows<F> {
    /// What the network shall give, `[batch_size, output_width]`.
    target: Array2<F>,
    /// What it is given where that isn't what it shall give, `[batch_size, input_width]`; else empty.
    given: Array2<F>,
    /// What it is given with noise, where there is any, `[batch_size, input_width]`; else empty.
    noisy: Array2<F>,
    /// A whole row, where beginning and end go different ways.
    row: Vec<F>,
}

impl<F: Float> BatchRows<F> {
    /// Copies the chosen rows: their ends to the target, their beginnings to what is given if that is something else.
    fn gather(&mut self, source: Rows<'_, F>, rows: impl Iterator<Item = usize>) {
        let (outputs, inputs) = (self.target.ncols(), self.given.ncols());
        let targets = contiguous_mut(self.target.as_slice_mut());
        let given = contiguous_mut(self.given.as_slice_mut());
        for (at, row) in rows.enumerate() {
            let target = &mut targets[at * outputs..][..outputs];
            if given.is_empty() {
                (source.copy)(row, target);
            } else {
                (source.copy)(row, &mut self.row);
                target.copy_from_slice(&self.row[source.width - outputs..]);
                given[at * inputs..][..inputs].copy_from_slice(&self.row[..inputs]);
            }
        }
    }

    /// The first rows of the batch, without noise.
    fn clean(&self, rows: usize) -> Batch<'_, F> {
        let given = if self.given.is_empty() { &self.target } else { &self.given };
        Batch { input: given.slice(s![..rows, ..]), target: self.target.slice(s![..rows, ..]) }
    }

    /// The same with noise, if there is any.
    fn first(&self, rows: usize) -> Batch<'_, F> {
        let clean = self.clean(rows);
        if self.noisy.is_empty() { clean } else { Batch { input: self.noisy.slice(s![..rows, ..]), ..clean } }
    }

    fn corrupt(&mut self, rows: usize, corruption: &Corruption<F>, rng: &mut Xoshiro256PlusPlus) {
        let clean = if self.given.is_empty() { &self.target } else { &self.given };
        let values = rows * clean.ncols();
        let noisy = contiguous_mut(self.noisy.as_slice_mut());
        corruption.apply(&contiguous(clean.as_slice())[..values], &mut noisy[..values], rng);
    }

    /// Moves row `from` to `to`.
    fn put(&mut self, from: usize, to: usize) {
        for rows in [&mut self.target, &mut self.given, &mut self.noisy].into_iter().filter(|rows| !rows.is_empty()) {
            let width = rows.ncols();
            contiguous_mut(rows.as_slice_mut()).copy_within(from * width..(from + 1) * width, to * width);
        }
    }
}

impl<'a, F: Float> Fitting<'a, F> {
    pub(super) fn new(params: &'a AutoencoderValidParams<F>, rows: Sets<'a, F>) -> Result<Self, AutoencoderError> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(params.seed);
        let network = params.initial_network(rows.training, &mut rng)?;
        let corruption = Corruption::new(params.noise, rows.training, network.input_width());
        // More rows than there are would only be memory.
        let batch_size = params.batch_size.min(rows.training.len);
        let predicts = network.input_width() != rows.training.width;
        let buffer = |needed: bool, width: usize| Array2::zeros((if needed { batch_size } else { 0 }, width));
        let batch = BatchRows {
            target: buffer(true, network.output_width()),
            given: buffer(predicts, network.input_width()),
            noisy: buffer(corruption.is_some(), network.input_width()),
            row: vec![F::zero(); if predicts { rows.training.width } else { 0 }],
        };
        let steps = params.epochs.saturating_mul(rows.training.len.div_ceil(batch_size));
        let mut fitting = Self {
            steps: Steps::new(&network, params.optimiser, steps),
            backprop: Backprop::new(&network, params.objective(), batch_size),
            order: (0..rows.training.len).collect(),
            batch,
            losses: Vec::with_capacity(batch_size),
            ranks: Vec::with_capacity(batch_size),
            best: network.clone(),
            best_report: None,
            run: 0,
            end: None,
            params,
            rows,
            rng,
            network,
            corruption,
        };
        if fitting.network.skip().is_some() {
            // Before its first step the network adds nothing to the linear skip, which may be the best there is.
            let loss = fitting.mean_loss(fitting.rows.validation);
            let training_loss = fitting.mean_loss(fitting.rows.training);
            fitting.best_report = Some(fitting.report(0, training_loss, loss));
        }
        Ok(fitting)
    }

    pub(super) fn goes_on(&self) -> bool {
        self.end.is_none()
    }

    pub(super) fn cancel(&mut self) {
        self.end.get_or_insert(FitEnd::Cancelled);
    }

    /// One epoch (from 1), and what it came to.
    pub(super) fn advance(&mut self, epoch: usize) -> Result<EpochReport, AutoencoderError> {
        if self.params.kinds.has(NetworkKind::Pca) {
            return Ok(self.solved());
        }
        self.backprop.divergence_weight = self.params.divergence_weight(epoch);
        let training_loss = self.epoch(epoch)?;
        let validation_loss = self.mean_loss(self.rows.validation);
        if !validation_loss.is_finite() {
            return Err(AutoencoderError::ValidationLoss { loss: validation_loss, epoch });
        }
        self.run = epoch;
        let mut report = self.report(epoch, training_loss, validation_loss);
        let warm = self.params.warm_epoch();
        match &self.best_report {
            // Before the divergence has its whole weight, rows are easier rebuilt than after: such epochs are forgotten then.
            Some(best) if best.validation_loss <= validation_loss && !(epoch == warm && best.epoch > 0) => {
                report.best_epoch = best.epoch;
            }
            Some(_) | None => {
                self.best.copy_from(&self.network);
                self.best_report = Some(report);
            }
        }
        if epoch >= warm && epoch - report.best_epoch.max(warm.saturating_sub(1)) >= self.params.patience {
            self.end = Some(FitEnd::Patience);
        } else if epoch == self.params.epochs {
            self.end = Some(FitEnd::Finished);
        }
        Ok(report)
    }

    /// The network with the best weights.
    pub(super) fn finish(self) -> Fitted<F> {
        let best = self.best_report.expect("the first epoch, or a linear skip before it, left a report");
        let active_units = self.active_units();
        Fitted {
            network: self.best,
            training_loss: best.training_loss,
            validation_loss: best.validation_loss,
            epochs: self.run,
            best_epoch: best.epoch,
            active_units,
            end: self.end.unwrap_or(FitEnd::Finished),
        }
    }

    fn report(&self, epoch: usize, training_loss: f64, validation_loss: f64) -> EpochReport {
        let (epochs, rows) = (self.params.epochs, self.rows.training.len);
        EpochReport { epoch, epochs, rows, training_loss, validation_loss, best_epoch: epoch }
    }

    /// Principal components are solved before the first epoch.
    fn solved(&mut self) -> EpochReport {
        let training_loss = self.mean_loss(self.rows.training);
        let validation_loss = self.mean_loss(self.rows.validation);
        let report = EpochReport { epochs: 1, ..self.report(1, training_loss, validation_loss) };
        (self.best_report, self.run, self.end) = (Some(report), 1, Some(FitEnd::Finished));
        report
    }

    /// One pass over the training rows; the mean of the objective over rows.
    fn epoch(&mut self, epoch: usize) -> Result<f64, AutoencoderError> {
        let mut order = std::mem::take(&mut self.order);
        order.shuffle(&mut self.rng);
        let (mut total, mut learned) = (0.0, 0);
        for (batch, rows) in order.chunks(self.batch.target.nrows()).enumerate() {
            let (loss, rows) = self.step(rows);
            if !loss.is_finite() {
                return Err(AutoencoderError::TrainingLoss { loss, epoch, batch: batch + 1 });
            }
            total += loss * rows as f64;
            learned += rows;
        }
        self.order = order;
        Ok(total / learned as f64)
    }

    /// One batch of these training rows: gather, corrupt, trim, differentiate, step. The objective before the step, and of
    /// how many rows.
    fn step(&mut self, rows: &[usize]) -> (f64, usize) {
        self.batch.gather(self.rows.training, rows.iter().copied());
        let mut count = rows.len();
        if let Some(corruption) = &self.corruption {
            self.batch.corrupt(count, corruption, &mut self.rng);
        }
        self.backprop.draw(&mut self.rng);
        if self.params.trim > 0.0 {
            count = self.trim(count);
        }
        let loss = self.backprop.differentiate(&self.network, self.batch.first(count));
        self.steps.step(&mut self.network, self.backprop.gradients());
        (to_f64(loss), count)
    }

    /// Keeps the rows with the smaller losses, in their order, at the front of the batch; gives how many. Of equal losses the
    /// later row goes. A loss that isn't a number stays, to be told.
    fn trim(&mut self, count: usize) -> usize {
        // A product next to a whole number is meant to be one.
        let kept = count - (count as f64 * self.params.trim + 1e-9) as usize;
        if kept == count {
            return count;
        }
        self.backprop.row_losses(&self.network, self.batch.first(count), &mut self.losses);
        let size = |row: usize| if self.losses[row].is_finite() { to_f64(self.losses[row]) } else { f64::NEG_INFINITY };
        self.ranks.clear();
        self.ranks.extend(0..count);
        self.ranks.select_nth_unstable_by(kept, |&a, &b| size(a).total_cmp(&size(b)).then(a.cmp(&b)));
        self.ranks.truncate(kept);
        self.ranks.sort_unstable();
        for to in 0..kept {
            self.batch.put(self.ranks[to], to);
        }
        kept
    }

    /// Mean reconstruction loss over all values that the network shall give, without noise.
    fn mean_loss(&mut self, rows: Rows<'_, F>) -> f64 {
        let mut total = 0.0;
        for first in (0..rows.len).step_by(self.batch.target.nrows()) {
            let end = rows.len.min(first + self.batch.target.nrows());
            self.batch.gather(rows, first..end);
            total += to_f64(self.backprop.loss_sum(&self.network, self.batch.clean(end - first)));
        }
        total / (rows.len * self.network.output_width()) as f64
    }

    /// Share of active values of the validation rows' codes, with the best weights.
    fn active_units(&self) -> f64 {
        let codes = |look: &mut dyn FnMut(f64)| {
            self.rows.validation.blocks(self.batch.target.nrows(), |_, block| {
                let codes = self.best.encode(block.slice(s![.., ..self.best.input_width()]));
                codes.iter().for_each(|&code| look(to_f64(code).abs()));
            });
        };
        let (mut largest, mut active) = (0.0_f64, 0_usize);
        codes(&mut |size| largest = largest.max(size));
        codes(&mut |size| active += usize::from(size > ACTIVE * largest));
        active as f64 / (self.rows.validation.len * self.best.code_size()) as f64
    }
}
