//! How the run is: told now and then, in metrics and on the board.

use std::time::{Duration, Instant};

use super::Flow;
use crate::{
    detect::calibrate::SECONDS_PER_DAY,
    pipeline::{
        incidents,
        run::{Parts, RunError},
        scoring::Scoring,
    },
    telemetry::End as Side,
};

/// Time between two looks at what is held in memory: entities and their open incidents.
const POPULATION_INTERVAL: Duration = Duration::from_secs(1);

impl Flow {
    /// Tells, about once a second, how many entities are held and which incidents are open.
    ///
    /// # Errors
    /// The model has no limit for the share of a budget.
    pub(in crate::pipeline) fn population(&mut self, parts: &Parts<'_>, scoring: &mut Scoring) -> Result<(), RunError> {
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

    /// What changes slowly and is looked at once per commit.
    pub(super) fn gauges(&self, parts: &Parts<'_>) {
        if let Some(lag) = parts.source.lag().and_then(|lag| u64::try_from(lag).ok()) {
            parts.metrics.consumer_lag(lag);
        }
        parts.metrics.ready(parts.board.readiness().is_ok());
        if let (Some(interval), (rows @ 1.., incidents)) = (self.interval_seconds, self.judged) {
            parts.metrics.alarm_rate_measured(incidents as f64 / (rows as f64 * interval / SECONDS_PER_DAY));
        }
    }

    pub(super) fn sink_health(&mut self, parts: &Parts<'_>) {
        let health = parts.sink.health();
        if self.sink_told.as_ref() != Some(&health) {
            match &health {
                Ok(()) => parts.metrics.connected(Side::Sink),
                Err(why) => parts.metrics.disconnected(Side::Sink, why),
            }
            parts.board.set_sink(health.clone());
            self.sink_told = Some(health);
        }
    }
}
