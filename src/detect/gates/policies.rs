//! What holds of an entity: found once when it is entered, and kept as a number.

use super::{maintenance::Watch, pattern::Pattern, persistence::Persistence};
use crate::config::settings::JudgingSettings;

/// What holds of some entities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// 0 for what holds in general, else the number of the override that comes first for them, from 1: which limit and
    /// which gates of columns are theirs.
    pub rule: usize,
    /// Anomalies that make an alarm.
    pub persistence: Persistence,
    /// First judged rows that raise no alarm.
    pub cold_start_rows: u32,
    /// Which hours of maintenance are theirs.
    pub maintenance: Box<[usize]>,
}

/// The policies of all entities met so far. There are no more than settings distinguish, however many entities there are.
#[derive(Debug, Clone)]
pub struct Policies {
    /// What holds in general, then the overrides.
    rules: Vec<(Pattern, Persistence, u32)>,
    maintenance: Vec<(Pattern, Watch)>,
    met: Vec<Policy>,
}

impl Policies {
    /// Policies by these settings.
    pub fn new(settings: &JudgingSettings) -> Self {
        let JudgingSettings { persistence, cold_start_rows, .. } = *settings;
        let general = (Pattern::any(), persistence, cold_start_rows);
        let overrides = settings.overrides.iter().map(|own| {
            let rows = own.cold_start_rows.unwrap_or(cold_start_rows);
            (own.entities.clone(), own.persistence.unwrap_or(persistence), rows)
        });
        let maintenance = settings.maintenance.iter();
        Self {
            rules: std::iter::once(general).chain(overrides).collect(),
            maintenance: maintenance.map(|one| (one.entities.clone(), Watch::new(one.hours.clone()))).collect(),
            met: Vec::new(),
        }
    }

    /// The number of the entity's policy.
    pub fn enter(&mut self, entity: &str) -> u32 {
        let own = self.rules.iter().skip(1).position(|(pattern, ..)| pattern.matches(entity));
        let rule = own.map_or(0, |at| at + 1);
        let (_, persistence, cold_start_rows) = self.rules[rule];
        let theirs = self.maintenance.iter().enumerate().filter(|(_, (pattern, _))| pattern.matches(entity));
        let policy = Policy { rule, persistence, cold_start_rows, maintenance: theirs.map(|(at, _)| at).collect() };
        let number = self.met.iter().position(|met| *met == policy).unwrap_or_else(|| {
            self.met.push(policy);
            self.met.len() - 1
        });
        number as u32
    }

    /// The policy with a number that [`Policies::enter`] gave.
    pub fn get(&self, number: u32) -> &Policy {
        &self.met[number as usize]
    }

    /// Whether entities of the policy are in maintenance at an event time, microseconds since the epoch.
    pub fn in_maintenance(&mut self, number: u32, time_us: i64) -> bool {
        let Self { maintenance, met, .. } = self;
        met[number as usize].maintenance.iter().any(|at| maintenance[*at].1.contains(time_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::settings::Override,
        config::settings::{Preset, Settings},
        detect::gates::maintenance::{Hours, Maintenance},
    };

    fn own(entities: &str, cold_start_rows: Option<u32>, persistence: Option<(u32, u32)>) -> Override {
        Override {
            entities: Pattern::new(entities).unwrap(),
            budget: None,
            persistence: persistence.map(|(anomalies, rows)| Persistence::new(anomalies, rows).unwrap()),
            cold_start_rows,
            features: Vec::new(),
        }
    }

    fn once(entities: &str, from_us: i64, to_us: i64) -> Maintenance {
        Maintenance { entities: Pattern::new(entities).unwrap(), hours: Hours::Once { from_us, to_us } }
    }

    #[test]
    fn the_first_override_that_matches_is_the_entitys_and_what_it_leaves_open_is_general() {
        let mut settings = Settings::defaults(Preset::Timeseries).judging;
        settings.overrides = vec![own("pump-*", Some(3), None), own("*", None, Some((2, 4)))];
        let mut policies = Policies::new(&settings);
        let mut of = |entity: &str| {
            let number = policies.enter(entity);
            policies.get(number).clone()
        };
        let (pump, other) = (of("pump-7"), of("fan"));
        assert_eq!((pump.rule, pump.cold_start_rows, pump.persistence), (1, 3, Persistence::ONE));
        assert_eq!((other.rule, other.cold_start_rows), (2, settings.cold_start_rows));
        assert_eq!(other.persistence, Persistence::new(2, 4).unwrap());
    }

    #[test]
    fn entities_of_which_the_same_holds_have_one_policy() {
        let mut settings = Settings::defaults(Preset::Timeseries).judging;
        settings.overrides = vec![own("pump-*", Some(3), None)];
        settings.maintenance = vec![once("*-7", 0, 10)];
        let mut policies = Policies::new(&settings);
        let numbers = ["pump-1", "pump-2", "pump-7", "fan-7", "fan", "", "pump-7"].map(|entity| policies.enter(entity));
        assert_eq!(numbers, [0, 0, 1, 2, 3, 3, 1]);
    }

    #[test]
    fn maintenance_holds_of_the_entities_that_its_pattern_matches() {
        let mut settings = Settings::defaults(Preset::Timeseries).judging;
        settings.maintenance = vec![once("a*", 0, 10), once("*b", 5, 20)];
        let mut policies = Policies::new(&settings);
        let [a, b, ab, c] = ["a", "b", "ab", "c"].map(|entity| policies.enter(entity));
        let inside = |policies: &mut Policies, number| [0, 5, 10, 20].map(|at| policies.in_maintenance(number, at));
        assert_eq!(inside(&mut policies, a), [true, true, false, false]);
        assert_eq!(inside(&mut policies, b), [false, true, true, false]);
        assert_eq!(inside(&mut policies, ab), [true, true, true, false]);
        assert_eq!(inside(&mut policies, c), [false; 4]);
    }
}
