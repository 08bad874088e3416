//! What came and what was expected around the worst incidents. Which ones these are is known only when all rows are judged,
//! so the rows pass by once more, to the same scores, and nothing has to be kept for incidents that are not told.

use std::collections::HashMap;

use super::trace::{Place, Worst};
use crate::pipeline::{Observer, Unscored, observed::Observed};

/// Rows of the entity before and after an incident: half its own length, but not fewer or more than these.
const MARGIN: (u64, u64) = (20, 200);
/// Points of a line at most; each is one or several rows.
const POINTS: u64 = 240;

/// The observer.
pub(super) struct Closeup {
    views: Vec<View>,
    /// Judged rows so far, of the entities that are looked at.
    judged: HashMap<String, u64>,
}

/// One incident with its surroundings.
pub(super) struct View {
    entity: String,
    /// Numbers of the first and last row among the judged ones of its entity.
    judged: (u64, u64),
    /// Rows per point.
    size: u64,
    columns: Vec<usize>,
    pub(super) points: Vec<Point>,
}

/// Rows next to each other.
pub(super) struct Point {
    pub(super) first: Place,
    /// Per column lowest and highest value that came, and that was expected; not numbers where none came.
    pub(super) ranges: Vec<Ranges>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Ranges {
    pub(super) actual: (f64, f64),
    pub(super) expected: (f64, f64),
}

impl Closeup {
    /// Looks at these incidents of entities with these names.
    pub(super) fn new(worst: &[Worst], entities: &[String]) -> Self {
        let view = |worst: &Worst| {
            let (first, last) = worst.judged;
            let margin = ((last - first) / 2).clamp(MARGIN.0, MARGIN.1);
            let judged = (first.saturating_sub(margin), last + margin);
            View {
                entity: entities[worst.entity].clone(),
                judged,
                size: (judged.1 - judged.0 + 1).div_ceil(POINTS),
                columns: worst.columns.iter().map(|named| named.column).collect(),
                points: Vec::new(),
            }
        };
        let views: Vec<View> = worst.iter().map(view).collect();
        let judged = views.iter().map(|view| (view.entity.clone(), 0)).collect();
        Self { views, judged }
    }

    /// The views, in the order of the incidents.
    pub(super) fn finish(self) -> Vec<View> {
        self.views
    }
}

impl Observer for Closeup {
    fn judged(&mut self, record: &Observed<'_>) {
        let Some(judged) = self.judged.get_mut(record.entity) else { return };
        *judged += 1;
        let place = Place { row: record.position.offset as usize, time_us: record.time_us };
        let seen = |view: &&mut View| view.entity == record.entity && (view.judged.0..=view.judged.1).contains(judged);
        for view in self.views.iter_mut().filter(seen) {
            let ranges = view.columns.iter().map(|column| {
                let (value, expected) = record.value_and_expected(*column);
                let value = if record.imputed()[*column] { f64::NAN } else { value };
                Ranges { actual: (value, value), expected: (expected, expected) }
            });
            let ranges: Vec<Ranges> = ranges.collect();
            match view.points.last_mut().filter(|_| (*judged - view.judged.0) % view.size != 0) {
                Some(point) => point.ranges.iter_mut().zip(ranges).for_each(|(range, other)| range.join(&other)),
                None => view.points.push(Point { first: place, ranges }),
            }
        }
    }

    fn unscored(&mut self, _: &Unscored<'_>) {}
}

impl Ranges {
    /// What is not a number gives way to what is.
    fn join(&mut self, other: &Self) {
        let joined = |one: (f64, f64), other: (f64, f64)| (one.0.min(other.0), one.1.max(other.1));
        self.actual = joined(self.actual, other.actual);
        self.expected = joined(self.expected, other.expected);
    }
}
