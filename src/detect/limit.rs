//! The limit of an entity: what calibration gave for the budget, and how it follows an entity that no longer is what it
//! was when the model was trained.
//!
//! Each incident of an entity raises its limit by a step, and it falls back with time, so fast that `BALANCE` times the
//! budget would hold it where it is: entities that keep to their budget are hardly touched, and one whose normal behaviour
//! has changed comes back to about its budget within days, whatever its scores look like. The steps are those of adaptive
//! conformal inference (Gibbs and Candès, *NeurIPS* 2021), taken on the logarithm of the limit and counted per incident.
//! Bounded below by the calibrated limit, above by a set multiple of it.

use serde::{Deserialize, Serialize};

use crate::{
    config::settings::{EntityBudget, Recalibration},
    detect::calibrate::{Calibration, CalibrationError, SECONDS_PER_DAY},
};

/// Incidents per allowed incident that hold a raised limit where it is. Above 1, because chance alone gives an entity
/// more than one alarm on every fourth day of a budget of one.
const BALANCE: f64 = 1.5;

/// How much higher than calibrated an entity's limit is: its natural logarithm, >= 0.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Lift(f64);

/// The limit of all entities, and the way each one's own moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    calibrated: f64,
    /// By how much an incident raises the lift.
    rise: f64,
    /// By how much a row lowers it.
    fall: f64,
    /// The largest lift.
    most: f64,
}

impl From<f64> for Limit {
    /// A limit that stays where it is.
    fn from(calibrated: f64) -> Self {
        Self { calibrated, rise: 0.0, fall: 0.0, most: 0.0 }
    }
}

impl Limit {
    /// The limit that keeps normal data to the budget, in steps as set.
    ///
    /// # Errors
    /// The calibration gives none for the budget.
    pub fn for_budget(
        budget: EntityBudget,
        calibration: &Calibration,
        steps: Recalibration,
    ) -> Result<Self, CalibrationError> {
        Ok(Self::new(calibration.limit(budget)?, steps, budget, calibration.interval_seconds))
    }

    /// The limit that calibration gave, in steps as set. A budget of rows has no incidents a day that it could follow.
    pub(super) fn new(
        calibrated: f64,
        steps: Recalibration,
        budget: EntityBudget,
        interval_seconds: Option<f64>,
    ) -> Self {
        let (EntityBudget::PerDay(alarms), Some(interval)) = (budget, interval_seconds) else {
            return calibrated.into();
        };
        let rise = steps.step.ln_1p();
        Self { calibrated, rise, fall: rise * BALANCE * alarms * interval / SECONDS_PER_DAY, most: steps.most.ln() }
    }

    /// What calibration gave.
    pub fn calibrated(&self) -> f64 {
        self.calibrated
    }

    /// The limit of an entity.
    pub fn of(&self, Lift(lift): Lift) -> f64 {
        if lift > 0.0 { self.calibrated * lift.exp() } else { self.calibrated }
    }

    /// Moves by so many steps: up by one for an incident that has begun, down where they are below 0. Gives the steps that it
    /// moved indeed, as it never leaves its bounds.
    pub fn step(&self, steps: f64, lift: &mut Lift) -> f64 {
        let before = lift.0;
        lift.0 = (before + self.rise * steps).min(self.most).max(0.0);
        if self.rise > 0.0 { (lift.0 - before) / self.rise } else { 0.0 }
    }

    /// A row of the entity has come.
    pub fn fall(&self, lift: &mut Lift) {
        lift.0 = (lift.0 - self.fall).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Option<f64> = Some(60.0);
    const ROWS_A_DAY: usize = 1440;

    fn limit(step: f64, most: f64) -> Limit {
        Limit::new(10.0, Recalibration { step, most }, EntityBudget::PerDay(2.0), MINUTE)
    }

    /// The limit after so many days of so many incidents each, evenly spread.
    fn after(limit: &Limit, days: usize, incidents_a_day: usize) -> f64 {
        let mut lift = Lift::default();
        for row in 0..days * ROWS_A_DAY {
            limit.fall(&mut lift);
            if incidents_a_day > 0 && row % (ROWS_A_DAY / incidents_a_day) == 0 {
                limit.step(1.0, &mut lift);
            }
        }
        limit.of(lift)
    }

    #[test]
    fn an_incident_raises_the_limit_by_a_step_and_quiet_rows_bring_it_back() {
        let limit = limit(0.2, 50.0);
        let mut lift = Lift::default();
        limit.step(1.0, &mut lift);
        assert!((limit.of(lift) - 12.0).abs() < 1e-9);
        // A step is used up by the rows in which one and a half times the budget allows one incident.
        (0..ROWS_A_DAY / 3 - 1).for_each(|_| limit.fall(&mut lift));
        assert!(limit.of(lift) > 10.0);
        (0..2).for_each(|_| limit.fall(&mut lift));
        assert_eq!(limit.of(lift), 10.0);
    }

    #[test]
    fn steps_down_give_back_what_steps_up_took_and_end_at_the_calibrated_limit() {
        let limit = limit(0.2, 50.0);
        let mut lift = Lift::default();
        limit.step(2.0, &mut lift);
        assert!((limit.of(lift) - 14.4).abs() < 1e-9);
        limit.step(-1.0, &mut lift);
        assert!((limit.of(lift) - 12.0).abs() < 1e-9);
        let moved = limit.step(-5.0, &mut lift);
        assert!((moved + 1.0).abs() < 1e-9, "{moved}: there was one to give back");
        assert_eq!(limit.of(lift), 10.0);
        limit.step(1000.0, &mut lift);
        assert!((limit.of(lift) - 500.0).abs() < 1e-6);
    }

    #[test]
    fn an_entity_within_its_budget_keeps_its_limit_and_one_far_beyond_gets_a_higher_one() {
        let limit = limit(0.15, 50.0);
        assert!(after(&limit, 30, 2) < 11.6);
        assert!(after(&limit, 10, 6) > 30.0);
    }

    #[test]
    fn the_limit_never_leaves_its_bounds() {
        assert!((after(&limit(0.5, 4.0), 30, 48) - 40.0).abs() < 1.0);
        assert_eq!(after(&limit(0.5, 4.0), 3, 0), 10.0);
    }

    #[test]
    fn without_steps_without_a_time_order_or_with_a_budget_of_rows_it_stays_where_it_is() {
        let steps = Recalibration { step: 0.5, most: 50.0 };
        let still = [
            limit(0.0, 50.0),
            Limit::new(10.0, steps, EntityBudget::PerDay(1.0), None),
            Limit::new(10.0, steps, EntityBudget::Quantile(0.01), MINUTE),
        ];
        assert!(still.iter().all(|limit| after(limit, 10, 48) == 10.0));
    }
}
