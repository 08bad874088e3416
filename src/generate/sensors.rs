//! A machine under a load that follows the day; everything that its sensors tell follows the load.

use std::{f64::consts::TAU, time::Duration};

use rand::Rng;
use rand_distr::StandardNormal;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Entity, Readings};

pub(super) const FEATURES: [&str; 6] = ["temperature", "vibration", "pressure", "flow", "current", "speed"];

const DAY: f64 = 86_400.0;

/// Per feature: value without load, what full load adds, deviation of the noise, wear per day as a share of the second.
const COURSE: [(f64, f64, f64, f64); FEATURES.len()] = [
    (38.0, 26.0, 0.25, 0.000_5),
    (1.1, 1.6, 0.05, 0.001),
    (2.2, 2.4, 0.04, 0.000_5),
    (18.0, 62.0, 0.9, -0.000_5),
    (6.0, 24.0, 0.4, 0.000_2),
    (1_380.0, 140.0, 2.0, 0.0),
];

/// How fast the temperature follows the load.
const HEATING: f64 = 1_200.0;
/// How long a deviation of the load from its day lasts.
const MEMORY: f64 = 1_800.0;

pub(super) struct Machine {
    random: Xoshiro256PlusPlus,
    interval: f64,
    /// The load's mean, daily swing and the time of its noon.
    load: (f64, f64, f64),
    /// Per feature, how much this machine differs from the others.
    gain: Vec<f64>,
    /// Deviation of the load from its day.
    deviation: f64,
    /// The load as the temperature has felt it.
    warmth: Option<f64>,
    /// Seconds since the epoch at the first reading.
    since: Option<f64>,
}

impl Machine {
    pub(super) fn new(seed: u64, index: usize, interval: Duration) -> Self {
        let mut random = super::stream(seed, index);
        let load = (random.gen_range(0.45..0.55), random.gen_range(0.25..0.32), random.gen_range(-0.05..0.05) * DAY);
        let gain = (0..FEATURES.len()).map(|_| random.gen_range(0.92..1.08)).collect();
        Self { random, interval: interval.as_secs_f64(), load, gain, deviation: 0.0, warmth: None, since: None }
    }

    fn normal(&mut self) -> f64 {
        self.random.sample(StandardNormal)
    }

    /// The load's course through the day: low at night, a dip at noon.
    fn course(&self, seconds: f64) -> f64 {
        let (mean, swing, noon) = self.load;
        let phase = TAU * (seconds - noon) / DAY;
        mean - swing * phase.cos() - 0.25 * swing * (2.0 * phase).cos()
    }
}

impl Entity for Machine {
    fn read(&mut self, seconds: f64) -> Readings {
        let kept = (-self.interval / MEMORY).exp();
        self.deviation = kept * self.deviation + (1.0 - kept * kept).sqrt() * 0.05 * self.normal();
        let load = (self.course(seconds) + self.deviation).clamp(0.02, 1.0);
        // What another machine, half a day away, would feel.
        let elsewhere = (self.course(seconds + DAY / 2.0) - self.deviation).clamp(0.02, 1.0);
        let slowness = (-self.interval / HEATING).exp();
        let warmth = self.warmth.map_or(load, |warmth| slowness * warmth + (1.0 - slowness) * load);
        self.warmth = Some(warmth);
        let days = (seconds - *self.since.get_or_insert(seconds)) / DAY;
        let mut readings = Readings { values: Vec::new(), apart: Vec::new() };
        for (feature, (base, swing, noise, wear)) in COURSE.into_iter().enumerate() {
            let noise = noise * self.normal();
            let value = |felt: f64| self.gain[feature] * (base + swing * (felt + wear * days)) + noise;
            // Vibration grows with the square of the speed.
            let felt = |load: f64| if feature == 1 { load * load } else { load };
            readings.values.push(value(if feature == 0 { warmth } else { felt(load) }));
            readings.apart.push(value(felt(elsewhere)));
        }
        readings
    }

    fn moved(&self, feature: usize, value: f64, strength: f64) -> f64 {
        // A normal day goes from about a fifth of the load to four fifths.
        (value + strength * 0.6 * COURSE[feature].1).max(0.0)
    }

    fn decimals(&self, feature: usize) -> usize {
        [2, 3, 3, 2, 2, 1][feature]
    }
}
