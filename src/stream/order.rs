//! In which order the records of an entity come, in event time.

use serde::{Deserialize, Serialize};

/// Late records in a row before the newest time is set back to them: it was a broken clock that put it there, or the clock
/// itself was set back.
const SET_BACK_AFTER: u32 = 20;

/// No time.
const NEVER: i64 = i64::MIN;

/// How far the records of one entity have come. Pure: times are those of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The latest event time, microseconds since the epoch; [`NEVER`] before the first record.
    newest_us: i64,
    /// Late records in a row.
    late: u32,
}

/// How a record comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// After all before it.
    InOrder,
    /// At the same time as the newest before it.
    Same,
    /// Behind another one, by no more than it may be.
    Behind,
    /// Further behind than it may be.
    Late,
}

impl Default for Order {
    fn default() -> Self {
        Self { newest_us: NEVER, late: 0 }
    }
}

impl Order {
    /// A record of this event time came; `lateness_us` is how far behind the newest it may be, `None` any time.
    pub fn arrive(&mut self, time_us: i64, lateness_us: Option<i64>) -> Arrival {
        let behind = self.newest_us.saturating_sub(time_us);
        if self.newest_us == NEVER || behind <= 0 {
            let arrival = if behind == 0 { Arrival::Same } else { Arrival::InOrder };
            *self = Self { newest_us: time_us, late: 0 };
            return arrival;
        }
        if lateness_us.is_none_or(|lateness| behind <= lateness) {
            self.late = 0;
            return Arrival::Behind;
        }
        self.late += 1;
        if self.late < SET_BACK_AFTER {
            return Arrival::Late;
        }
        *self = Self { newest_us: time_us, late: 0 };
        Arrival::InOrder
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LATENESS: Option<i64> = Some(10);

    fn arrivals(times: impl IntoIterator<Item = i64>, lateness: Option<i64>) -> Vec<Arrival> {
        let mut order = Order::default();
        times.into_iter().map(|time| order.arrive(time, lateness)).collect()
    }

    #[test]
    fn a_record_may_be_behind_the_newest_by_its_lateness_and_no_more() {
        use Arrival::{Behind, InOrder, Late, Same};
        let expected = [InOrder, InOrder, Behind, Late, Same, InOrder, Late];
        assert_eq!(arrivals([100, 120, 110, 109, 120, 130, 110], LATENESS), expected);
        assert_eq!(
            arrivals([100, 1, 100], None),
            [InOrder, Behind, Same],
            "whatever the order, where none is asked for"
        );
    }

    #[test]
    fn one_record_from_a_clock_that_is_ahead_costs_a_few_and_not_all_that_follow() {
        let times = std::iter::once(1_000_000).chain((0..100).map(|step| 100 + step));
        let late = arrivals(times, LATENESS).iter().filter(|arrival| **arrival == Arrival::Late).count();
        assert_eq!(late, SET_BACK_AFTER as usize - 1);
    }

    #[test]
    fn a_clock_that_was_set_back_is_followed() {
        let times = (0..50).map(|step| 5_000 + step).chain((0..50).map(|step| 1_000 + step));
        let found = arrivals(times, LATENESS);
        assert!(found[50..69].iter().all(|arrival| *arrival == Arrival::Late));
        assert!(found[69..].iter().all(|arrival| *arrival == Arrival::InOrder));
    }

    proptest! {
        #[test]
        fn what_is_taken_is_never_further_behind_than_it_may_be(times in prop::collection::vec(0i64..40, 1..19)) {
            // Fewer than would set the clock back.
            let mut newest = i64::MIN;
            for (time, arrival) in times.iter().zip(arrivals(times.clone(), LATENESS)) {
                let behind = newest.saturating_sub(*time);
                prop_assert_eq!(arrival == Arrival::Late, newest != i64::MIN && behind > 10);
                newest = newest.max(*time);
            }
        }
    }
}
