//! How fast a training goes. The clock is the caller's: nothing here reads one.

use std::time::Duration;

use super::EpochReport;

/// An epoch with what the clock said of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimedEpoch {
    /// What it came to.
    pub report: EpochReport,
    /// Rows per second in this epoch, each counted once per member.
    pub rows_per_second: f64,
    /// Seconds until the last epoch that is allowed: an upper bound, as training may stop early.
    pub seconds_left: f64,
}

/// The clock's readings of one training so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// The first epoch and when it ended.
    first: Option<(usize, Duration)>,
    /// When the last epoch ended.
    last: Duration,
}

impl Pace {
    /// An epoch ended so long after the training began. The first one counts what was done before it too, as nobody is
    /// told when it begins; from the second on, the time left stands on all epochs but the first.
    pub fn epoch(&mut self, report: EpochReport, elapsed: Duration) -> TimedEpoch {
        let took = elapsed.saturating_sub(self.last).as_secs_f64();
        self.last = elapsed;
        let seconds_per_epoch = match self.first {
            Some((first, at)) if report.epoch > first => {
                elapsed.saturating_sub(at).as_secs_f64() / (report.epoch - first) as f64
            }
            Some(_) | None => {
                self.first = Some((report.epoch, elapsed));
                took
            }
        };
        TimedEpoch {
            report,
            // A clock that stands still between two epochs is too coarse for them.
            rows_per_second: report.rows as f64 / took.max(f64::EPSILON),
            seconds_left: report.epochs.saturating_sub(report.epoch) as f64 * seconds_per_epoch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_stands_on_the_epochs_after_the_first_which_counts_all_that_went_before() {
        let mut pace = Pace::default();
        let mut timed = |epoch: usize, elapsed_ms: u64| {
            let report =
                EpochReport { epoch, epochs: 10, rows: 500, training_loss: 0.1, validation_loss: 0.2, best_epoch: 1 };
            let timed = pace.epoch(report, Duration::from_millis(elapsed_ms));
            (timed.rows_per_second.round(), timed.seconds_left)
        };
        assert_eq!(timed(1, 5_000), (100.0, 45.0));
        assert_eq!(timed(2, 6_000), (500.0, 8.0));
        assert_eq!(timed(3, 6_500), (1_000.0, 5.25));
        assert_eq!(timed(10, 10_000).1, 0.0);
        assert_eq!(timed(1, 11_000), (500.0, 9.0), "another training begins anew");
    }
}
