//! Incidents that begin together in several entities of a group are one incident of the group, and one alarm.
//!
//! [`Groups`] knows which entities of a group are in an incident, and holds the [`GroupIncident`]s that are open. Nothing is
//! kept of a group in which nothing strays. It is pure: time is that of the records, and places are numbers that the caller
//! gives entities.

mod incident;
pub mod pattern;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use self::incident::{GroupIncident, Member};
use self::pattern::GroupPattern;
use super::{
    explain::Compared,
    incident::{Evidence, Incident, Retelling, Update},
    severity::SeverityBounds,
};
use crate::{
    feedback::{Subject, SubjectKind, Verdict},
    record::Position,
};

/// Which entities are a group, and when they stray together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRule {
    /// Whose group it is.
    pub entities: GroupPattern,
    /// So many entities make an incident of the group, >= 2.
    pub least: usize,
    /// Where theirs opened within this event time of each other, microseconds, > 0.
    pub within_us: i64,
}

/// What a row did to its entity's group.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupChange {
    /// The entity has no group, or its incident stands alone.
    Alone,
    /// The entity's incident was in that of the group before.
    Continued(Update),
    /// It joined that of the group.
    Joined(Update),
    /// With it, the incidents of the entities at these places became one of the group.
    Formed(Vec<u32>),
}

/// What the end of a member left of the group's incident.
#[derive(Debug, Clone, PartialEq)]
pub enum Left {
    /// Others are open.
    Open(Position),
    /// It was the last one: the group's incident is over.
    Over(Box<GroupIncident>),
}

/// A group, by the number of its rule and its name.
type Key = (usize, Arc<str>);

/// A group of which something strays.
#[derive(Debug, Clone, Default)]
struct Group {
    /// Incidents that are in none of the group: when each began, and the place of its entity.
    alone: BTreeSet<(i64, u32)>,
    /// Number of the group's incident that began last, while it is open.
    newest: Option<u64>,
}

/// An entity that has a group and is in an incident.
#[derive(Debug, Clone)]
struct Spot {
    key: Key,
    entity: Arc<str>,
    opened_us: i64,
    /// Number of the group's incident that it is in.
    number: Option<u64>,
    /// Whether its next row shall see if it is to be in one; not where it is.
    is_due: bool,
}

/// Who strays together.
#[derive(Debug, Clone)]
pub struct Groups {
    rules: Vec<GroupRule>,
    bounds: SeverityBounds,
    retelling: Retelling,
    groups: BTreeMap<Key, Group>,
    /// Incidents of groups by their number.
    open: BTreeMap<u64, GroupIncident>,
    next: u64,
    /// By the places of the entities.
    spots: BTreeMap<u32, Spot>,
}

impl Groups {
    /// No incident is open yet. The level of a group is never offered as a new normal: that is said of each entity.
    pub fn new(rules: Vec<GroupRule>, bounds: SeverityBounds, retelling: Retelling) -> Self {
        let retelling = Retelling { new_normal_after_us: None, ..retelling };
        let (groups, open, spots) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { rules, bounds, retelling, groups, open, next: 0, spots }
    }

    /// The entity at this place is in an incident from now on.
    pub fn opened(&mut self, place: u32, entity: &Arc<str>, incident: &Incident) {
        let found = self.rules.iter().enumerate().find_map(|(at, rule)| Some((at, rule.entities.group_of(entity)?)));
        let Some((rule, name)) = found else { return };
        let (key, opened_us) = ((rule, Arc::from(name)), incident.first.time_us);
        self.groups.entry(Key::clone(&key)).or_default().alone.insert((opened_us, place));
        self.spots.insert(place, Spot { key, entity: Arc::clone(entity), opened_us, number: None, is_due: true });
    }

    /// Takes in an anomalous row of the entity at a place, after its own incident has. `incidents` are those of all entities;
    /// `columns` is asked for where the row is the group's worst.
    pub fn strayed(
        &mut self,
        (place, row): (u32, &Evidence<'_>),
        incidents: &BTreeMap<u32, Incident>,
        columns: impl FnOnce() -> Vec<Compared>,
    ) -> GroupChange {
        let number = self.spots.get(&place).and_then(|spot| spot.number);
        let Some(group) = number.and_then(|number| self.open.get_mut(&number)) else {
            return self.settle(place, row.mark.position, incidents);
        };
        incidents.get(&place).into_iter().for_each(|incident| group.worsen(place, incident));
        GroupChange::Continued(group.whole.add(row, &self.bounds, &self.retelling, columns))
    }

    /// Sees whether the incident of the entity at a place is one of its group. `cause` is the record of the row that asks.
    pub fn settle(&mut self, place: u32, cause: Position, incidents: &BTreeMap<u32, Incident>) -> GroupChange {
        let Some(spot) = self.spots.get_mut(&place) else { return GroupChange::Alone };
        if !std::mem::take(&mut spot.is_due) {
            return GroupChange::Alone;
        }
        let (key, opened_us) = (Key::clone(&spot.key), spot.opened_us);
        let rule = &self.rules[key.0];
        let Some(group) = self.groups.get(&key) else { return GroupChange::Alone };
        if let Some(number) = group.newest
            && self.open.get(&number).is_some_and(|newest| newest.takes_in(opened_us, rule))
        {
            return self.join(place, number, incidents);
        }
        let (from, until) = (opened_us.saturating_sub(rule.within_us), opened_us.saturating_add(rule.within_us));
        let near: Vec<(i64, u32)> = group.alone.range((from, 0)..=(until, u32::MAX)).copied().collect();
        let places: Vec<u32> = together(&near, rule).iter().map(|(_, place)| *place).collect();
        match Incident::of_all(places.iter().filter_map(|place| incidents.get(place))) {
            Some(whole) => self.form((key, cause), whole, &places, incidents),
            None => GroupChange::Alone,
        }
    }

    /// The incident of the entity at this place is over; `None` where it was in none of a group.
    pub fn resolved(&mut self, place: u32) -> Option<Left> {
        let spot = self.spots.remove(&place)?;
        self.leave_alone(&spot.key, (spot.opened_us, place));
        let number = spot.number?;
        let group = self.open.get_mut(&number)?;
        group.close(place);
        if group.open_entities() > 0 {
            return Some(Left::Open(group.made_by));
        }
        self.remove(number).map(|group| Left::Over(Box::new(group)))
    }

    /// The entity at this place is not known any more. A group's incident whose other members are over is then not over, but
    /// forgotten, as that of an entity is.
    pub fn gone(&mut self, place: u32) {
        if self.spots.is_empty() {
            return;
        }
        if let Some(spot) = self.spots.remove(&place) {
            self.leave_alone(&spot.key, (spot.opened_us, place));
        }
        self.open.values_mut().for_each(|group| group.lose(place));
        self.dissolve(|group| group.open_entities() == 0);
    }

    /// These partitions are not ours any more, and of the entities only some are still known. An incident of a group whose id
    /// is a record of such a partition is dropped too, for whoever reads that record again may find one there: what is left
    /// of it may become another one, under another id.
    pub fn forget(&mut self, partitions: &[i32], is_known: impl Fn(u32) -> bool) {
        self.open.values_mut().for_each(|group| group.lose_unknown(&is_known));
        self.spots.retain(|place, _| is_known(*place));
        self.groups.values_mut().for_each(|group| group.alone.retain(|(_, place)| is_known(*place)));
        self.dissolve(|group| group.open_entities() == 0 || partitions.contains(&group.made_by.partition));
        self.groups.retain(|_, group| !group.is_calm());
    }

    /// Columns mean something else from now on.
    pub fn forget_columns(&mut self) {
        self.open.values_mut().for_each(|group| group.whole.forget_columns());
    }

    /// A person said this of what may be a group's incident; `None` takes it back. Gives the places of the entities whose
    /// incidents are open in it.
    pub fn told(&mut self, subject: &Subject, verdict: Option<Verdict>) -> Vec<u32> {
        let is_meant =
            |group: &&mut GroupIncident| subject.kind() == SubjectKind::Group && group.made_by == subject.position();
        let Some(group) = self.open.values_mut().find(is_meant) else { return Vec::new() };
        group.whole.heed(subject, verdict);
        group.open_places().collect()
    }

    /// The group's incident that the entity at this place is in.
    pub fn of(&self, place: u32) -> Option<&GroupIncident> {
        self.open.get(&self.spots.get(&place)?.number?)
    }

    /// All that are open.
    pub fn open(&self) -> impl Iterator<Item = &GroupIncident> {
        self.open.values()
    }

    fn join(&mut self, place: u32, number: u64, incidents: &BTreeMap<u32, Incident>) -> GroupChange {
        let (Some(spot), Some(incident)) = (self.spots.get_mut(&place), incidents.get(&place)) else {
            return GroupChange::Alone;
        };
        let Some(group) = self.open.get_mut(&number) else { return GroupChange::Alone };
        spot.number = Some(number);
        group.enter(place, &spot.entity, incident);
        let (key, entry) = (Key::clone(&spot.key), (spot.opened_us, place));
        let update = group.whole.absorb(incident, &self.retelling);
        self.leave_alone(&key, entry);
        GroupChange::Joined(update)
    }

    fn form(
        &mut self,
        (key, made_by): (Key, Position),
        whole: Incident,
        places: &[u32],
        incidents: &BTreeMap<u32, Incident>,
    ) -> GroupChange {
        let number = self.next;
        self.next += 1;
        let (rule, name) = Key::clone(&key);
        let mut formed = GroupIncident::new((rule, name), made_by, whole);
        let group = self.groups.entry(key).or_default();
        group.newest = Some(number);
        for place in places {
            let (Some(spot), Some(incident)) = (self.spots.get_mut(place), incidents.get(place)) else { continue };
            group.alone.remove(&(spot.opened_us, *place));
            (spot.number, spot.is_due) = (Some(number), false);
            formed.enter(*place, &spot.entity, incident);
        }
        self.open.insert(number, formed);
        GroupChange::Formed(places.to_vec())
    }

    fn leave_alone(&mut self, key: &Key, entry: (i64, u32)) {
        let Some(group) = self.groups.get_mut(key) else { return };
        group.alone.remove(&entry);
        if group.is_calm() {
            self.groups.remove(key);
        }
    }

    /// Drops incidents of groups; what is open of them stands alone until its next row.
    fn dissolve(&mut self, is_lost: impl Fn(&GroupIncident) -> bool) {
        let lost: Vec<u64> = self.open.iter().filter(|(_, group)| is_lost(group)).map(|(number, _)| *number).collect();
        for number in lost {
            let Some(dropped) = self.remove(number) else { continue };
            for place in dropped.open_places() {
                let Some(spot) = self.spots.get_mut(&place) else { continue };
                (spot.number, spot.is_due) = (None, true);
                self.groups.entry(Key::clone(&spot.key)).or_default().alone.insert((spot.opened_us, place));
            }
        }
    }

    fn remove(&mut self, number: u64) -> Option<GroupIncident> {
        let removed = self.open.remove(&number)?;
        let key = removed.key();
        if let Some(group) = self.groups.get_mut(&key) {
            group.newest = group.newest.filter(|newest| *newest != number);
            if group.is_calm() {
                self.groups.remove(&key);
            }
        }
        Some(removed)
    }
}

impl Group {
    /// Whether nothing strays in it.
    fn is_calm(&self) -> bool {
        self.alone.is_empty() && self.newest.is_none()
    }
}

/// Of incidents in the order in which they began, with their places, those that are one of their group: the first `least`
/// or more that began within `within` of each other, or none.
fn together<'a>(opened: &'a [(i64, u32)], rule: &GroupRule) -> &'a [(i64, u32)] {
    let found = opened.iter().enumerate().find_map(|(start, (first_us, _))| {
        let from = &opened[start..];
        let near = from.partition_point(|(time_us, _)| time_us.saturating_sub(*first_us) <= rule.within_us);
        (near >= rule.least).then(|| &from[..near])
    });
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests;
