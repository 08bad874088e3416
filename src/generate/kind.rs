//! The kinds of anomalies that can be planted.

use std::ops::RangeInclusive;

use serde::Serialize;

/// A kind of anomaly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// One to three records far off.
    Spike,
    /// A feature lies higher or lower for a while.
    LevelShift,
    /// A feature tells the same value again and again.
    Stuck,
    /// A feature leaves its course little by little.
    Drift,
    /// A field is missing.
    Dropout,
    /// A feature has values as ever, but no longer in step with the others.
    CorrelationBreak,
    /// Nothing comes from the entity.
    Silence,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Spike, Self::LevelShift, Self::Stuck, Self::Drift, Self::Dropout, Self::CorrelationBreak, Self::Silence];

    /// How many records of its entity it lasts.
    pub(super) fn records(self) -> RangeInclusive<u64> {
        match self {
            Self::Spike => 1..=3,
            Self::LevelShift => 20..=60,
            Self::Stuck => 120..=240,
            Self::CorrelationBreak => 40..=90,
            Self::Drift => 60..=120,
            Self::Dropout => 10..=40,
            Self::Silence => 20..=60,
        }
    }

    /// How far it moves a feature, as a share of what it moves in a normal day.
    pub(super) fn strength(self) -> RangeInclusive<f64> {
        match self {
            Self::Spike => 0.7..=1.5,
            Self::LevelShift => 0.3..=0.8,
            Self::Drift => 0.5..=1.0,
            Self::Stuck | Self::CorrelationBreak | Self::Dropout | Self::Silence => 0.0..=0.0,
        }
    }
}
