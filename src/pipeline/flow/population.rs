//! What is held in memory: entities and their open incidents.

use std::time::{Duration, Instant};

use super::{
    super::{
        incidents,
        run::{Parts, RunError},
        scoring::Scoring,
    },
    Flow,
};

/// Time between two looks.
const POPULATION_INTERVAL: Duration = Duration::from_secs(1);

impl Flow {
    /// Tells, about once a second, how many entities are held and which incidents are open.
    ///
    /// # Errors
    /// The model has no limit for the share of a budget.
    pub(in super::super) fn population(&mut self, parts: &Parts<'_>, scoring: &mut Scoring) -> Result<(), RunError> {
        // What a trainer sees stray, scorers see too, and they raise the alarm.
        if self.mute {
            return Ok(());
        }
        if self.population_told.is_none_or(|told| told.elapsed() >= POPULATION_INTERVAL) {
            scoring.set_share(parts.source.share())?;
            parts.metrics.limit(scoring.limit(), scoring.promised());
            parts.board.set_limit(scoring.limit());
            parts.metrics.entities(scoring.entities());
            let population = scoring.population();
            parts.metrics.entity_states(|state| population.of(state));
            parts.board.set_entities(|state| population.of(state));
            incidents::tell_open(scoring, parts.metrics, parts.board);
            self.population_told = Some(Instant::now());
        }
        Ok(())
    }
}
