//! A seeded stream of sensor records: several entities, four features that hang together, and incidents planted at
//! known rows.

use std::f64::consts::TAU;

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Rows that one planted incident lasts.
pub const INCIDENT_ROWS: usize = 12;

/// Seconds between two rows of an entity.
const INTERVAL: usize = 60;

/// The first row's time: 2026-01-01T00:00:00Z, seconds since the epoch.
const START: usize = 1_767_225_600;

/// One record to be fed.
#[derive(Debug, Clone)]
pub struct Record {
    /// Message key: the entity.
    pub key: String,
    /// JSON.
    pub payload: String,
    /// Whether it belongs to a planted incident.
    pub planted: bool,
}

/// `rows` records, entities taking turns. From each row in `incidents` on, for [`INCIDENT_ROWS`] rows of that row's
/// entity, the feature `pressure` leaves its course; it follows from the other features, so every record shows it.
pub fn stream(seed: u64, rows: usize, entities: usize, incidents: &[usize]) -> Vec<Record> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..rows)
        .map(|row| {
            let (entity, step) = (row % entities, row / entities);
            let planted = incidents.iter().any(|incident| {
                incident % entities == entity
                    && (incident / entities..incident / entities + INCIDENT_ROWS).contains(&step)
            });
            let mut noise = |size: f64| size * (random.r#gen::<f64>() - 0.5);
            let phase = TAU * (step as f64 / 97.0 + entity as f64 / entities as f64);
            let load = 50.0 + 30.0 * phase.sin() + noise(2.0);
            let temperature = 20.0 + 0.4 * load + noise(0.5);
            let pressure = 3.0 + 0.02 * load + noise(0.05) + if planted { 4.0 } else { 0.0 };
            let flow = 7.0 + 5.0 * phase.cos() + noise(0.3);
            let payload = format!(
                "{{\"time\":{},\"load\":{load:.4},\"temperature\":{temperature:.4},\"pressure\":{pressure:.5},\
                 \"flow\":{flow:.4},\"note\":\"é\"}}",
                START + step * INTERVAL
            );
            Record { key: format!("machine-{entity}"), payload, planted }
        })
        .collect()
}
