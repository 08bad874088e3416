//! What the stage is asked by those who tell of it.

use super::{Scoring, ScoringError};
use crate::{
    config::settings::EntityBudget,
    detect::group::GroupIncident,
    pipeline::{
        incidents::{Announcement, Incidents, OpenNow, SilentNow},
        population::Population,
    },
    telemetry::Metrics,
};

impl Scoring {
    /// The limit in use where an entity has none of its own.
    pub fn limit(&self) -> f64 {
        self.model.context.rules[0].limit.calibrated()
    }

    /// Entities known.
    pub fn entities(&self) -> usize {
        self.entities.len()
    }

    /// How many of them are known how well.
    pub fn population(&self) -> &Population {
        &self.population
    }

    /// This share of the topic's partitions is read here, 0..=1: what a budget of all entities leaves to those held here.
    ///
    /// # Errors
    /// The model has no limit for it.
    pub fn set_share(&mut self, share: f64) -> Result<(), ScoringError> {
        self.population.set_share(share);
        self.share_out()
    }

    /// Shares budgets of all entities out among those that there are by now.
    pub(super) fn share_out(&mut self) -> Result<(), ScoringError> {
        Ok(self.model.share_out(&|rule| self.population.in_all(rule))?)
    }

    /// Alarms per entity and day that normal data is expected to raise where no override holds; `None` without a time order.
    pub fn promised(&self) -> Option<f64> {
        match self.model.context.rules[0].of_one() {
            EntityBudget::PerDay(alarms) => Some(alarms),
            EntityBudget::Quantile(_) => self.model().metadata.calibration.alarms_per_entity_and_day(self.limit()),
        }
    }

    /// Scores of the rows of the last batch, each divided by its entity's limit, where that is above 0.
    pub fn scores_to_limits(&self) -> &[f64] {
        &self.scores_to_limits
    }

    /// Incidents that are open.
    pub fn open_incidents(&self) -> impl Iterator<Item = OpenNow<'_>> {
        self.incidents.open(&self.entities)
    }

    /// Those of them that are part of none of a group.
    pub fn alone_incidents(&self) -> impl Iterator<Item = OpenNow<'_>> {
        self.incidents.alone(&self.entities)
    }

    /// Incidents of groups that are open.
    pub fn open_groups(&self) -> impl Iterator<Item = &GroupIncident> {
        self.incidents.open_groups()
    }

    /// Entities that stopped reporting.
    pub fn silent_entities(&self) -> impl Iterator<Item = SilentNow<'_>> {
        self.incidents.silent(&self.entities)
    }

    /// Events of incidents that records caused which have been taken since the last call. Whoever publishes them takes them
    /// before those records end.
    pub fn announcements(&mut self) -> &mut Vec<Announcement> {
        self.incidents.announcements()
    }

    /// The books of incidents.
    pub(in crate::pipeline) fn incidents(&self) -> &Incidents {
        &self.incidents
    }

    /// Tells what happened to incidents since the last call; `None` tells nobody.
    pub fn tell_incidents(&mut self, metrics: Option<&Metrics>) {
        self.incidents.tell(metrics);
    }
}
