//! When the next model is trained. Pure: the time and the seed of the jitter are arguments.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::config::settings::{ScheduleSettings, When};

/// The longest that a training which is overdue at the start waits for its sample to grow.
const GATHERING: Duration = Duration::from_secs(12 * 60 * 60);

/// Times of training, each put off by a random part of the jitter.
#[derive(Debug)]
pub struct Schedule {
    settings: ScheduleSettings,
    random: Xoshiro256PlusPlus,
}

impl Schedule {
    /// A schedule whose jitter hangs on `seed`; two daemons need two seeds, or they train at once.
    pub fn new(settings: ScheduleSettings, seed: u64) -> Self {
        Self { settings, random: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// The first time of a process whose model was made at `last_ms`. The sample begins anew with the process, and a model of
    /// its first minutes would push out one of many days: what is overdue by then waits for half an interval, or half a
    /// day.
    pub fn first(&mut self, now_ms: i64, last_ms: Option<i64>) -> Option<i64> {
        let last_ms = match (&self.settings.when, last_ms) {
            (When::Every(every), Some(last)) => {
                let gathered = every.saturating_sub(GATHERING.min(*every / 2));
                Some(last.max(now_ms.saturating_sub(milliseconds(gathered))))
            }
            (_, last_ms) => last_ms,
        };
        self.next(now_ms, last_ms)
    }

    /// The next time of training in milliseconds since the epoch, not before `now_ms`. `last_ms` is when the model in use
    /// was made; one that is overdue is trained after the jitter. `None`: only on request.
    pub fn next(&mut self, now_ms: i64, last_ms: Option<i64>) -> Option<i64> {
        let due = match &self.settings.when {
            When::Never => return None,
            When::Every(every) => last_ms.unwrap_or(now_ms).saturating_add(milliseconds(*every)).max(now_ms),
            When::Cron(cron) => {
                let now: DateTime<Utc> = DateTime::from_timestamp_millis(now_ms)?;
                // An expression that never comes true again, such as the 30th of February, is never due.
                cron.find_next_occurrence(&now, false).ok()?.timestamp_millis()
            }
        };
        let jitter = milliseconds(self.settings.jitter);
        Some(due.saturating_add(self.random.gen_range(0..=jitter)))
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    /// 2026-03-02T10:00:00Z, a Monday.
    const NOW: i64 = 1_772_445_600_000;

    fn schedule(when: When, jitter: Duration) -> Schedule {
        Schedule::new(ScheduleSettings { when, jitter }, 1)
    }

    fn every(hours: u64) -> When {
        When::Every(Duration::from_secs(hours * 3600))
    }

    #[test]
    fn an_interval_counts_from_the_last_model_and_an_overdue_one_is_due_now() {
        let mut schedule = schedule(every(24), Duration::ZERO);
        assert_eq!(schedule.next(NOW, Some(NOW - 20 * HOUR)), Some(NOW + 4 * HOUR));
        assert_eq!(schedule.next(NOW, Some(NOW - 30 * HOUR)), Some(NOW));
        assert_eq!(schedule.next(NOW, None), Some(NOW + 24 * HOUR));
    }

    #[test]
    fn what_is_overdue_at_the_start_waits_for_its_sample() {
        let mut daily = schedule(every(24), Duration::ZERO);
        assert_eq!(daily.first(NOW, Some(NOW - 90 * HOUR)), Some(NOW + 12 * HOUR));
        assert_eq!(daily.first(NOW, Some(NOW - 20 * HOUR)), Some(NOW + 12 * HOUR));
        assert_eq!(daily.first(NOW, Some(NOW - 2 * HOUR)), Some(NOW + 22 * HOUR), "not due before long");
        assert_eq!(schedule(every(2), Duration::ZERO).first(NOW, Some(NOW - 9 * HOUR)), Some(NOW + HOUR));
        assert_eq!(schedule(every(96), Duration::ZERO).first(NOW, Some(NOW - 99 * HOUR)), Some(NOW + 12 * HOUR));
    }

    #[test]
    fn a_cron_expression_is_read_in_utc_whatever_the_last_model() {
        let cron = When::Cron(Box::new("30 2 * * 1-5".parse().unwrap()));
        let mut schedule = schedule(cron, Duration::ZERO);
        // Tuesday, half past two.
        let next = NOW + 16 * HOUR + HOUR / 2;
        assert_eq!(schedule.next(NOW, None), Some(next));
        assert_eq!(schedule.next(NOW, Some(NOW - 90 * HOUR)), Some(next));
        assert_eq!(schedule.next(next, None), Some(next + 24 * HOUR), "strictly after");
    }

    #[test]
    fn a_day_that_never_comes_is_never_due() {
        let cron = When::Cron(Box::new("0 0 30 2 *".parse().unwrap()));
        assert_eq!(schedule(cron, Duration::ZERO).next(NOW, None), None);
        assert_eq!(schedule(When::Never, Duration::ZERO).next(NOW, None), None);
    }

    #[test]
    fn the_jitter_puts_off_by_at_most_itself_and_differs_between_seeds() {
        let jitter = Duration::from_secs(600);
        let next =
            |seed| Schedule::new(ScheduleSettings { when: every(24), jitter }, seed).next(NOW, Some(NOW)).unwrap();
        let times: std::collections::BTreeSet<i64> = (0..100).map(next).collect();
        assert!(times.len() > 90, "{times:?}");
        let bounds = NOW + 24 * HOUR..=NOW + 24 * HOUR + 600_000;
        assert!(times.iter().all(|time| bounds.contains(time)), "{times:?}");
    }
}
