//! Candidates are trained with several seeds side by side.

use std::ops::ControlFlow;

use crate::train::{
    recipe::TrainError,
    tune::{Decided, Figures, Measured, Study, StudyError},
};

/// Seeds that each candidate is trained with.
pub(super) const SEEDS: usize = 3;

/// A candidate's models.
pub(super) struct Runs {
    models: Vec<Measured>,
}

impl Runs {
    /// Trains and examines with [`SEEDS`] seeds from this one on, until `is_due` says that it is time to stop.
    ///
    /// # Errors
    /// What refuses any of them.
    pub(super) fn of(
        study: &Study,
        decided: &Decided,
        seed: u64,
        is_due: &(dyn Fn() -> bool + Sync),
    ) -> Result<Self, StudyError> {
        let measure = |seed: u64| {
            // What every candidate says of the same rows is not worth a line each.
            let quiet = tracing::subscriber::NoSubscriber::default();
            let flow = &mut |_: &_| if is_due() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            tracing::subscriber::with_default(quiet, || study.measure(decided, seed, flow))
        };
        let models = std::thread::scope(|scope| {
            let seeds = (0..SEEDS as u64).map(|more| seed.wrapping_add(more));
            let runs: Vec<_> = seeds.map(|seed| scope.spawn(move || measure(seed))).collect();
            let panicked = |_| Err(StudyError::Train(TrainError::Panicked));
            runs.into_iter().map(|run| run.join().unwrap_or_else(panicked)).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(Self { models })
    }

    /// The model of the first seed.
    pub(super) fn first(&self) -> &Measured {
        &self.models[0]
    }

    /// The mean over seeds.
    pub(super) fn figures(&self) -> Figures {
        Figures::mean(&self.models.iter().map(|model| &model.figures).collect::<Vec<_>>())
    }

    /// Standard deviation of the area over seeds.
    pub(super) fn spread(&self) -> f64 {
        let areas: Vec<f64> = self.models.iter().map(|model| model.figures.area()).collect();
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        let squares: f64 = areas.iter().map(|area| (area - mean).powi(2)).sum();
        (squares / (areas.len() - 1) as f64).sqrt()
    }

    /// Mean loss on held-back rows.
    pub(super) fn held_back_loss(&self) -> f64 {
        self.models.iter().map(|model| model.held_back_loss).sum::<f64>() / self.models.len() as f64
    }
}
