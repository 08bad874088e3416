//! Made-up records with planted anomalies, for trying strayd out and for tests: sensors of machines, and engagement on
//! pages.
//!
//! A pure stream: the same [`Plan`] gives the same records and [`Label`]s, byte for byte, with no clock and no other
//! randomness than its seed. Every entity draws from a stream of its own, and an anomaly changes what is told of a
//! reading, never the reading itself: outside the labelled spans the records are those of the same plan without
//! anomalies.

mod engagement;
pub mod feed;
pub mod kind;
mod schedule;
mod sensors;

use std::{collections::VecDeque, fmt::Write as _, time::Duration};

pub use kind::Kind;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use schedule::{Incident, Schedule};
use serde::Serialize;

use crate::record::timestamp;

/// Microseconds.
const SECOND: i64 = 1_000_000;

/// What the records are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// Machines with temperature, vibration, pressure, flow, current and speed, which follow the machine's load
    Sensors,
    /// Pages with counts of views, visitors, clicks, sign-ups and shares, and the seconds that a visit lasts
    Engagement,
}

/// What is made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the records are about.
    pub family: Family,
    /// How many machines or pages; they take turns.
    pub entities: usize,
    /// Event time of the first record, microseconds since the epoch.
    pub start_us: i64,
    /// Event time between two records of an entity.
    pub interval: Duration,
    /// Seed of all randomness.
    pub seed: u64,
    /// Mean event time between the beginnings of two anomalies, over all entities.
    pub anomaly_every: Duration,
    /// Kinds to plant, in turn; none means no anomalies.
    pub kinds: Vec<Kind>,
    /// So many records at the beginning are normal.
    pub quiet_start: u64,
    /// A field of this name tells 1 in records of an anomaly and 0 in all others.
    pub label_field: Option<String>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The entity's name, which goes as message key.
    pub entity: String,
    /// Event time, microseconds since the epoch.
    pub time_us: i64,
    /// A JSON object.
    pub payload: String,
}

/// Where an anomaly was planted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// The machine or page.
    pub entity: String,
    /// What was planted.
    pub kind: Kind,
    /// The fields that it changed; none for silence.
    pub features: Vec<&'static str>,
    /// Event time of its first record (for silence, of the first that is missing).
    pub first: String,
    /// Event time of its last record.
    pub last: String,
}

/// The readings of one entity at one time.
struct Readings {
    /// As they are.
    values: Vec<f64>,
    /// The same as if each had nothing to do with the others.
    apart: Vec<f64>,
}

/// One machine or page, from reading to reading.
trait Entity {
    /// The next readings; the time is in seconds since the epoch.
    fn read(&mut self, seconds: f64) -> Readings;
    /// The value of a feature under an anomaly of this strength, -1 to 1.
    fn moved(&self, feature: usize, value: f64, strength: f64) -> f64;
    /// Decimals that a feature is told with.
    fn decimals(&self, feature: usize) -> usize;
}

/// An entity with what happens to it.
struct Actor {
    name: String,
    entity: Box<dyn Entity>,
    /// What was told last, for a sensor that is stuck.
    told: Vec<f64>,
    /// What is wrong with it now.
    incident: Option<Running>,
}

/// An anomaly under way.
struct Running {
    incident: Incident,
    /// Records of the entity since it began.
    age: u64,
    first_us: i64,
    last_us: i64,
}

/// The random numbers of one entity, and of nothing else.
fn stream(seed: u64, index: usize) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(index as u64))
}

/// The stream of records.
pub struct Generator {
    plan: Plan,
    actors: Vec<Actor>,
    schedule: Schedule,
    /// Turns so far; a turn gives a record, or none while an entity is silent.
    turn: u64,
    ended: VecDeque<Label>,
}

impl Generator {
    /// Readies the entities.
    pub fn new(plan: Plan) -> Self {
        let entity = |index: usize| -> Actor {
            let (noun, entity): (&str, Box<dyn Entity>) = match plan.family {
                Family::Sensors => ("machine", Box::new(sensors::Machine::new(plan.seed, index, plan.interval))),
                Family::Engagement => ("page", Box::new(engagement::Page::new(plan.seed, index, plan.interval))),
            };
            Actor { name: format!("{noun}-{:02}", index + 1), entity, told: Vec::new(), incident: None }
        };
        let actors = (0..plan.entities.max(1)).map(entity).collect();
        let schedule = Schedule::new(&plan);
        Self { plan, actors, schedule, turn: 0, ended: VecDeque::new() }
    }

    /// The names of the fields with numbers.
    pub fn features(family: Family) -> &'static [&'static str] {
        match family {
            Family::Sensors => &sensors::FEATURES,
            Family::Engagement => &engagement::FEATURES,
        }
    }

    /// Event time of a turn.
    fn time_us(&self, turn: u64) -> i64 {
        let interval = self.plan.interval.as_micros() as i64;
        let (entities, index) = (self.actors.len() as i64, (turn % self.actors.len() as u64) as i64);
        let round = (turn / self.actors.len() as u64) as i64;
        self.plan.start_us.saturating_add(round.saturating_mul(interval)).saturating_add(interval / entities * index)
    }

    /// The labels of anomalies that ended since the last call.
    pub fn ended(&mut self) -> impl Iterator<Item = Label> + '_ {
        self.ended.drain(..)
    }

    /// The labels of anomalies under way, as far as they came. For the end of the stream.
    pub fn cut(&mut self) -> Vec<Label> {
        let family = self.plan.family;
        let cut = |actor: &mut Actor| actor.incident.take().map(|running| running.label(&actor.name, family));
        self.actors.iter_mut().filter_map(cut).collect()
    }

    /// The next turn's record; `None` where its entity is silent.
    fn turn(&mut self) -> Option<Made> {
        let (turn, time_us) = (self.turn, self.time_us(self.turn));
        self.turn += 1;
        let index = (turn % self.actors.len() as u64) as usize;
        let is_busy = |actor: &Actor| actor.incident.is_some();
        if turn >= self.plan.quiet_start
            && !is_busy(&self.actors[index])
            && let Some(incident) = self.schedule.begins(time_us, index)
        {
            self.actors[index].incident = Some(Running { incident, age: 0, first_us: time_us, last_us: time_us });
        }
        let (family, actor) = (self.plan.family, &mut self.actors[index]);
        let readings = actor.entity.read(time_us as f64 / SECOND as f64);
        let told = actor.tell(readings, time_us);
        let is_odd = actor.incident.is_some();
        let made = told.map(|values| Made {
            entity: actor.name.clone(),
            time_us,
            payload: actor.payload(
                family,
                time_us,
                &values,
                self.plan.label_field.as_deref().map(|name| (name, is_odd)),
            ),
        });
        if let Some(running) = actor.incident.take_if(|running| running.age >= running.incident.records) {
            self.ended.push_back(running.label(&actor.name, family));
            self.schedule.ended(index, time_us);
        }
        made
    }
}

impl Iterator for Generator {
    type Item = Made;

    fn next(&mut self) -> Option<Made> {
        // Silence is bounded, so a record comes.
        loop {
            if let Some(made) = self.turn() {
                return Some(made);
            }
        }
    }
}

impl Actor {
    /// What is told of the readings: nothing, or a value a feature, or none for it.
    fn tell(&mut self, readings: Readings, time_us: i64) -> Option<Vec<Option<f64>>> {
        let mut told: Vec<Option<f64>> = readings.values.iter().copied().map(Some).collect();
        if let Some(running) = &mut self.incident {
            let incident = &running.incident;
            // 0 to 1 on the way to its end.
            let way = (running.age + 1) as f64 / incident.records as f64;
            for &feature in &incident.features {
                let value = readings.values[feature];
                told[feature] = match incident.kind {
                    Kind::Spike | Kind::LevelShift => Some(self.entity.moved(feature, value, incident.strength)),
                    Kind::Drift => Some(self.entity.moved(feature, value, incident.strength * way)),
                    Kind::Stuck => Some(self.told.get(feature).copied().unwrap_or(value)),
                    Kind::CorrelationBreak => Some(readings.apart[feature]),
                    Kind::Dropout => None,
                    Kind::Silence => Some(value),
                };
            }
            running.age += 1;
            running.last_us = time_us;
            if incident.kind == Kind::Silence {
                return None;
            }
        }
        self.told = told.iter().zip(&readings.values).map(|(told, value)| told.unwrap_or(*value)).collect();
        Some(told)
    }

    fn payload(&self, family: Family, time_us: i64, values: &[Option<f64>], label: Option<(&str, bool)>) -> String {
        let noun = match family {
            Family::Sensors => "machine",
            Family::Engagement => "page",
        };
        let mut text = format!("{{\"timestamp\":\"{}\",\"{noun}\":\"{}\"", timestamp::to_rfc3339(time_us), self.name);
        for (index, (name, value)) in Generator::features(family).iter().zip(values).enumerate() {
            if let Some(value) = value {
                let decimals = self.entity.decimals(index);
                // Writing to a text can't fail.
                let _ = write!(text, ",\"{name}\":{value:.decimals$}");
            }
        }
        if let Some((name, is_odd)) = label {
            let _ = write!(text, ",{}:{}", serde_json::Value::from(name), u8::from(is_odd));
        }
        text.push('}');
        text
    }
}

impl Running {
    fn label(&self, entity: &str, family: Family) -> Label {
        let names = Generator::features(family);
        let features = match self.incident.kind {
            Kind::Silence => Vec::new(),
            _ => self.incident.features.iter().map(|feature| names[*feature]).collect(),
        };
        Label {
            entity: entity.to_owned(),
            kind: self.incident.kind,
            features,
            first: timestamp::to_rfc3339(self.first_us),
            last: timestamp::to_rfc3339(self.last_us),
        }
    }
}

#[cfg(test)]
mod tests;
