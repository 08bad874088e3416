//! A scale that bends: straight pieces between knots, which rise everywhere and go on beyond the outermost knots.

use std::ops::{Add, Mul, Sub};

use serde::{Deserialize, Serialize};

/// Knots `(from, to)`, ascending in both, and the straight pieces between them. The first and the last piece go on beyond
/// their knots: what lies far outside on one side lies far outside on the other one too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(f32, f32)>", into = "Vec<(f32, f32)>")]
pub struct Knots {
    knots: Vec<(f32, f32)>,
    forward: Vec<Piece>,
    back: Vec<Piece>,
}

/// Knots that no rising line goes through.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum KnotsError {
    /// A line needs two points.
    #[error("{knots} knots make no line, expected at least 2")]
    TooFew {
        /// How many there are.
        knots: usize,
    },
    /// Two knots with no rising piece between them.
    #[error(
        "after knot {:?} comes {:?}, expected finite numbers that both rise, and a slope between them that 32 bits can hold",
        .pair.0, .pair.1
    )]
    NotRising {
        /// The first one, and the one after it.
        pair: ((f32, f32), (f32, f32)),
    },
}

impl Knots {
    /// Joins knots `(from, to)`.
    ///
    /// # Errors
    /// Fewer than two, or two between which no rising line can be computed in single precision.
    pub fn new(knots: Vec<(f32, f32)>) -> Result<Self, KnotsError> {
        if knots.len() < 2 {
            return Err(KnotsError::TooFew { knots: knots.len() });
        }
        let (mut forward, mut back) = (Vec::with_capacity(knots.len() - 1), Vec::with_capacity(knots.len() - 1));
        let turned = |(from, to): (f32, f32)| (to, from);
        for pair in knots.windows(2).map(|pair| (pair[0], pair[1])) {
            let refused = || KnotsError::NotRising { pair };
            forward.push(Piece::between(pair.0, pair.1).ok_or_else(refused)?);
            back.push(Piece::between(turned(pair.0), turned(pair.1)).ok_or_else(refused)?);
        }
        Ok(Self { knots, forward, back })
    }

    /// The pieces from one side to the other, ascending, at least one.
    pub(crate) fn forward(&self) -> &[Piece] {
        &self.forward
    }

    /// The pieces of the way back.
    pub(crate) fn back(&self) -> &[Piece] {
        &self.back
    }
}

impl TryFrom<Vec<(f32, f32)>> for Knots {
    type Error = KnotsError;

    fn try_from(knots: Vec<(f32, f32)>) -> Result<Self, KnotsError> {
        Self::new(knots)
    }
}

impl From<Knots> for Vec<(f32, f32)> {
    fn from(knots: Knots) -> Self {
        knots.knots
    }
}

/// A straight piece, from `from` on up to the next piece.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Piece {
    /// Where it begins.
    pub(crate) from: f32,
    /// What it gives there.
    pub(crate) to: f32,
    /// What it rises by per unit, > 0.
    pub(crate) slope: f32,
}

impl Piece {
    /// A piece that changes nothing.
    pub(crate) const STRAIGHT: Self = Self { from: 0.0, to: 0.0, slope: 1.0 };

    fn between((from, to): (f32, f32), (next_from, next_to): (f32, f32)) -> Option<Self> {
        let (run, rise) = (next_from - from, next_to - to);
        let mut slope = (f64::from(rise) / f64::from(run)) as f32;
        let rises = run > 0.0 && rise > 0.0 && run.is_finite() && rise.is_finite() && slope.is_normal();
        if !rises {
            return None;
        }
        // Rounding must not lift its end above the next one's beginning: more must never become less.
        while to + run * slope > next_to {
            slope = slope.next_down();
        }
        Some(Self { from, to, slope })
    }
}

/// The value on the piece that `value` lies on; in single precision the very steps of the model's graph.
pub(crate) fn along<F>(pieces: &[Piece], value: F) -> F
where
    F: Copy + PartialOrd + From<f32> + Add<Output = F> + Sub<Output = F> + Mul<Output = F>,
{
    let piece = pieces[pieces[1..].partition_point(|piece| value >= F::from(piece.from))];
    (value - F::from(piece.from)) * F::from(piece.slope) + F::from(piece.to)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Knots of random widths and heights, up to a thousand times as steep as flat.
    fn knots() -> impl Strategy<Value = Knots> {
        let steps = prop::collection::vec((1e-3_f32..1.0, 1e-3_f32..1.0), 1..40);
        (-3.0_f32..3.0, -3.0_f32..3.0, steps).prop_map(|(from, to, steps)| {
            let mut at = (from, to);
            let mut all = vec![at];
            all.extend(steps.into_iter().map(|(run, rise)| {
                at = (at.0 + run, at.1 + rise);
                at
            }));
            Knots::new(all).unwrap()
        })
    }

    fn forth(knots: &Knots, value: f32) -> f32 {
        along(knots.forward(), value)
    }

    proptest! {
        #[test]
        fn more_never_becomes_less_and_knots_meet(knots in knots(), mut values in prop::collection::vec(-300.0_f32..300.0, 2..60)) {
            values.extend(knots.knots.iter().flat_map(|(from, _)| [from.next_down(), *from, from.next_up()]));
            values.sort_by(f32::total_cmp);
            for pair in values.windows(2) {
                prop_assert!(forth(&knots, pair[0]) <= forth(&knots, pair[1]), "{pair:?}");
                let (low, high) = (along(knots.back(), pair[0]), along(knots.back(), pair[1]));
                prop_assert!(low <= high, "{pair:?}");
            }
            for (from, to) in &knots.knots {
                prop_assert!((forth(&knots, *from) - to).abs() <= 1e-4, "{from} {to}");
                let jump = forth(&knots, *from) - forth(&knots, from.next_down());
                prop_assert!(jump <= 0.05, "{jump} at {from}");
            }
        }

        #[test]
        fn the_way_back_leads_to_where_it_began(knots in knots(), value in -300.0_f64..300.0) {
            let there = along(knots.forward(), value);
            let steepest = knots.forward.iter().map(|piece| f64::from(piece.slope)).fold(1.0, f64::max);
            let flattest = knots.forward.iter().map(|piece| f64::from(piece.slope)).fold(1.0, f64::min);
            // What the knots' own rounding to single precision can do.
            let rounding = 1e-6 * (1.0 + value.abs() + there.abs()) * steepest / flattest;
            prop_assert!((along(knots.back(), there) - value).abs() <= rounding, "{value} by {there}");
        }

        #[test]
        fn beyond_the_outermost_knots_it_goes_on_by_the_outermost_pieces(knots in knots(), far in 1.0_f64..1e6) {
            let (first, last) = (knots.forward[0], knots.forward[knots.forward.len() - 1]);
            let (low, high) = (f64::from(knots.knots[0].0) - far, f64::from(last.from) + 1.0 + far);
            prop_assert!(along(knots.forward(), low) <= f64::from(first.to) - 0.99 * far * f64::from(first.slope));
            prop_assert!(along(knots.forward(), high) >= f64::from(last.to) + 0.99 * far * f64::from(last.slope));
        }
    }

    #[test]
    fn what_has_no_number_gets_none_and_what_is_infinite_stays_so() {
        let knots = Knots::new(vec![(0.0, 0.0), (1.0, 2.0), (2.0, 3.0)]).unwrap();
        assert!(forth(&knots, f32::NAN).is_nan());
        assert_eq!(
            (forth(&knots, f32::INFINITY), forth(&knots, f32::NEG_INFINITY)),
            (f32::INFINITY, f32::NEG_INFINITY)
        );
        assert_eq!([-1.0, 0.5, 1.0, 1.5, 4.0].map(|value| forth(&knots, value)), [-2.0, 1.0, 2.0, 2.5, 5.0]);
    }

    #[test]
    fn knots_that_no_rising_line_goes_through_are_refused_and_named() {
        let refused = |knots: &[(f32, f32)]| Knots::new(knots.to_vec()).unwrap_err().to_string();
        assert!(refused(&[]).contains("0 knots"));
        assert!(refused(&[(0.0, 0.0)]).contains("1 knots make no line, expected at least 2"));
        for next in [(1.0, 2.0), (2.0, 1.0), (0.0, 3.0), (2.0, f32::NAN), (f32::INFINITY, 3.0), (2.0, f32::INFINITY)] {
            let told = refused(&[(0.0, 0.0), (1.0, 1.0), next]);
            assert!(told.starts_with("after knot (1.0, 1.0) comes (") && told.contains("both rise"), "{told}");
        }
        // A slope that single precision has no number for, on the way there or back.
        assert!(Knots::new(vec![(0.0, 0.0), (1e-30, 1e30)]).is_err());
        assert!(Knots::new(vec![(0.0, 0.0), (1e30, 1e-30)]).is_err());
        assert!(Knots::new(vec![(f32::MIN, 0.0), (f32::MAX, 1.0)]).is_err());
    }

    #[test]
    fn knots_are_written_as_pairs_and_bad_ones_are_not_read() {
        let knots = Knots::new(vec![(-1.5, -2.0), (0.1, 0.0), (3.0, 0.7)]).unwrap();
        let text = serde_json::to_string(&knots).unwrap();
        assert_eq!(text, "[[-1.5,-2.0],[0.1,0.0],[3.0,0.7]]");
        assert_eq!(serde_json::from_str::<Knots>(&text).unwrap(), knots);
        let told = serde_json::from_str::<Knots>("[[0,0],[1,0]]").unwrap_err().to_string();
        assert!(told.contains("after knot (0.0, 0.0) comes (1.0, 0.0)"), "{told}");
    }
}
