//! A page whose visits follow the day and the week; all else that is counted follows the visits.

use std::{f64::consts::TAU, time::Duration};

use rand::Rng;
use rand_distr::{Distribution, Gamma, Poisson, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Entity, Readings};

pub(super) const FEATURES: [&str; 6] = ["views", "visitors", "clicks", "signups", "shares", "seconds_on_page"];

const DAY: f64 = 86_400.0;
/// The epoch was a Thursday.
const MONDAY: f64 = 4.0 * DAY;

/// Per count: its mean as a share of the views, and its shape: the smaller, the more its variance exceeds its mean.
const COUNTS: [(f64, f64); 5] = [(1.0, 60.0), (0.62, 150.0), (0.11, 60.0), (0.03, 30.0), (0.045, 25.0)];

/// Mean views an hour of a page of middling popularity.
const VIEWS: f64 = 3_600.0;
/// How long a wave of interest lasts.
const MEMORY: f64 = 7_200.0;

pub(super) struct Page {
    random: Xoshiro256PlusPlus,
    interval: f64,
    /// Mean views per interval.
    popularity: f64,
    /// Growth per day.
    growth: f64,
    /// Interest beyond what day and week explain, as a logarithm.
    interest: f64,
    /// Seconds of a visit.
    stay: f64,
    /// Seconds since the epoch at the first reading.
    since: Option<f64>,
}

impl Page {
    pub(super) fn new(seed: u64, index: usize, interval: Duration) -> Self {
        let mut random = super::stream(seed, index);
        let popularity = VIEWS * interval.as_secs_f64() / 3_600.0 * random.gen_range(0.6_f64..1.6);
        let (growth, stay) = (random.gen_range(-0.001..0.003), random.gen_range(40.0..70.0));
        Self { random, interval: interval.as_secs_f64(), popularity, growth, interest: 0.0, stay, since: None }
    }

    fn normal(&mut self) -> f64 {
        self.random.sample(StandardNormal)
    }

    /// A count of this mean whose variance is larger: Poisson about a mean that is itself drawn (negative binomial).
    fn count(&mut self, mean: f64, shape: f64) -> f64 {
        let mean = mean.max(1e-3);
        let drawn = Gamma::new(shape, mean / shape).map_or(mean, |gamma| gamma.sample(&mut self.random));
        Poisson::new(drawn.max(1e-9)).map_or(0.0, |poisson| poisson.sample(&mut self.random))
    }
}

/// How busy the hour and the weekday are, about 1.
fn season(seconds: f64) -> f64 {
    let hour = TAU * (seconds.rem_euclid(DAY) / DAY - 0.1);
    let weekday = (seconds - MONDAY).rem_euclid(7.0 * DAY) / DAY;
    let week = if weekday < 5.0 { 1.1 } else { 0.75 };
    week * (1.0 - 0.6 * hour.cos() - 0.15 * (2.0 * hour).cos())
}

impl Entity for Page {
    fn read(&mut self, seconds: f64) -> Readings {
        let kept = (-self.interval / MEMORY).exp();
        self.interest = kept * self.interest + (1.0 - kept * kept).sqrt() * 0.15 * self.normal();
        let days = (seconds - *self.since.get_or_insert(seconds)) / DAY;
        let views = |season: f64, interest: f64| {
            self.popularity * season * interest.exp() * (1.0 + self.growth * days).max(0.1)
        };
        let here = views(season(seconds), self.interest);
        // What another page, half a day away, would see.
        let elsewhere = views(season(seconds + DAY / 2.0), -self.interest);
        let mut readings = Readings { values: Vec::new(), apart: Vec::new() };
        for (share, shape) in COUNTS {
            readings.values.push(self.count(here * share, shape));
            readings.apart.push(self.count(elsewhere * share, shape));
        }
        // Who comes at a busy hour stays for less long.
        let noise = 1.5 * self.normal();
        let stay = |season: f64| self.stay * (1.15 - 0.15 * season) + noise;
        readings.values.push(stay(season(seconds)));
        readings.apart.push(stay(season(seconds + DAY / 2.0)));
        readings
    }

    fn moved(&self, feature: usize, value: f64, strength: f64) -> f64 {
        if FEATURES[feature] == "seconds_on_page" {
            return (value + strength * 0.5 * self.stay).max(0.0);
        }
        // Counts grow and shrink by factors: a full strength is one of six, either way.
        (value.max(1.0) * (strength * 6.0_f64.ln()).exp()).round()
    }

    fn decimals(&self, feature: usize) -> usize {
        usize::from(FEATURES[feature] == "seconds_on_page")
    }
}
