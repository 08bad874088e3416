//! Axes: from values to places on a picture, and the values to name beside it.

use super::words::{figure, grouped, moment};

/// Round steps of time, seconds: from a second to ten years.
const TIME_STEPS: [f64; 26] = [
    1.0,
    2.0,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1_800.0,
    3_600.0,
    7_200.0,
    10_800.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    432_000.0,
    604_800.0,
    1_209_600.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_536_000.0,
    63_072_000.0,
    315_360_000.0,
];
const DAY: f64 = 86_400.0;

/// How values are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm; what is below the lowest value lies on it.
    Log,
    /// Evenly, in seconds since the epoch.
    Time,
    /// Evenly, whole numbers.
    Count,
}

/// One axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis of values from `low` to `high` over the pixels from `from` to `to`. A range that is none is made one.
    pub(super) fn new(scale: Scale, (low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        let (low, high) = if low.is_finite() && high.is_finite() { (low.min(high), high.max(low)) } else { (0.0, 1.0) };
        let (low, high) = match scale {
            Scale::Log => (low.max(f64::MIN_POSITIVE), high.max(low.max(f64::MIN_POSITIVE) * 1.001)),
            _ if high - low > low.abs() * 1e-12 => (low, high),
            Scale::Time | Scale::Count => (low, low + low.abs().max(1e9) * 1e-9),
            Scale::Linear => (low - low.abs().max(1.0) * 0.1, high + high.abs().max(1.0) * 0.1),
        };
        Self { scale, low, high, from, to }
    }

    /// The pixel of a value, on the axis.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = match self.scale {
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
            _ => (value - self.low) / (self.high - self.low),
        };
        self.from + (self.to - self.from) * share
    }

    /// Pixels that it is long.
    pub(super) fn length(&self) -> f64 {
        (self.to - self.from).abs()
    }

    /// Its ends in pixels.
    pub(super) fn ends(&self) -> (f64, f64) {
        (self.from, self.to)
    }

    /// About so many values to name, with their names.
    pub(super) fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Log => self.log_ticks(most),
            Scale::Time => self.time_ticks(most),
            Scale::Linear => self.steps(round_step((self.high - self.low) / most as f64), figure),
            Scale::Count => {
                let step = round_step((self.high - self.low) / most as f64).max(1.0);
                self.steps(step, |value| grouped(value.max(0.0) as u64))
            }
        }
    }

    /// The multiples of a step.
    fn steps(&self, step: f64, name: impl Fn(f64) -> String) -> Vec<(f64, String)> {
        let (first, last) = ((self.low / step).ceil(), (self.high / step).floor());
        let count = (last - first).max(-1.0) as usize + 1;
        // The added zero makes one of the two zeros.
        (0..count).map(|at| (first + at as f64) * step + 0.0).map(|value| (value, name(value))).collect()
    }

    fn log_ticks(&self, most: usize) -> Vec<(f64, String)> {
        let (first, last) = (self.low.log10().ceil() as i32, self.high.log10().floor() as i32);
        if last - first < 1 {
            let all = (first - 1..=last + 1).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
            let inside = all.filter(|value| (self.low..=self.high).contains(value));
            return inside.map(|value| (value, figure(value))).collect();
        }
        let every = ((last - first) as usize).div_ceil(most).max(1);
        (first..=last).step_by(every).map(|power| 10f64.powi(power)).map(|value| (value, figure(value))).collect()
    }

    fn time_ticks(&self, most: usize) -> Vec<(f64, String)> {
        let least = (self.high - self.low) / most as f64;
        let step = TIME_STEPS.into_iter().find(|step| *step >= least).unwrap_or_else(|| round_step(least));
        self.steps(step, |seconds| {
            let text = moment(seconds);
            match step {
                months if months >= 20.0 * DAY && self.high - self.low > 300.0 * DAY => text[..10].to_owned(),
                days if days >= DAY => text[5..10].to_owned(),
                _ if seconds.rem_euclid(DAY) == 0.0 => text[5..10].to_owned(),
                minutes if minutes >= 60.0 => text[11..16].to_owned(),
                _ => text[11..19].to_owned(),
            }
        })
    }
}

/// The least of 1, 2 or 5 times a power of ten that is no less.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].map(|digit| digit * power).into_iter().find(|step| *step >= least).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(scale: Scale, range: (f64, f64)) -> Vec<String> {
        Axis::new(scale, range, (0.0, 100.0)).ticks(5).into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn ticks_are_round_values_inside_the_range() {
        assert_eq!(names(Scale::Linear, (-0.3, 1.1)), ["0", "0.5", "1"]);
        assert_eq!(names(Scale::Count, (0.0, 10_080.0)), ["0", "5,000", "10,000"]);
        assert_eq!(names(Scale::Count, (0.0, 2.0)), ["0", "1", "2"]);
        assert_eq!(names(Scale::Log, (0.03, 400.0)), ["0.1", "1", "10", "100"]);
        assert_eq!(names(Scale::Log, (1.1, 6.0)), ["2", "5"]);
        assert_eq!(names(Scale::Log, (1e-12, 1.0)).len(), 5);
        let start = 1_767_225_600.0;
        assert_eq!(names(Scale::Time, (start - 60.0, start + 190.0)), ["23:59", "01-01", "00:01", "00:02", "00:03"]);
        assert_eq!(names(Scale::Time, (start, start + 3.0 * DAY)), ["01-01", "01-02", "01-03", "01-04"]);
        assert_eq!(names(Scale::Time, (start, start + 900.0 * DAY)).last().unwrap().len(), 10);
    }

    #[test]
    fn a_value_has_its_place_and_one_beyond_the_ends_lies_on_them() {
        let axis = Axis::new(Scale::Log, (0.1, 1000.0), (0.0, 400.0));
        assert!((axis.place(10.0) - 200.0).abs() < 1e-9);
        assert_eq!((axis.place(0.0), axis.place(1e9)), (0.0, 400.0));
        for scale in [Scale::Linear, Scale::Log, Scale::Time, Scale::Count] {
            for range in [(0.0, 0.0), (f64::NAN, 1.0), (f64::INFINITY, f64::NEG_INFINITY), (1e300, 1e300), (5.0, 5.0)] {
                let axis = Axis::new(scale, range, (0.0, 10.0));
                assert!(axis.place(1.0).is_finite() && axis.ticks(5).len() < 40, "{scale:?} {range:?}");
            }
        }
    }
}
