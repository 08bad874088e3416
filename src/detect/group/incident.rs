//! An incident of a group: all that strayed in it, and whose it was.

use std::{collections::BTreeMap, sync::Arc};

use super::{GroupRule, Key};
use crate::{
    detect::{
        incident::{Incident, is_worse},
        leading::keep_first,
    },
    record::Position,
};

/// One entity's part in an incident of its group.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The entity.
    pub entity: Arc<str>,
    /// First anomalous record of its worst incident in it, which is that one's id.
    pub first: Position,
    /// P-value of its worst row.
    pub p_value: f64,
    /// Score of that row.
    pub score: f64,
    /// Whether its incident is open.
    pub is_open: bool,
}

/// An incident of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupIncident {
    /// The group: its pattern with the group's part of the name filled in.
    pub name: Arc<str>,
    /// The record that made it one, which is its id.
    pub made_by: Position,
    /// All that strayed in it, as if it were one entity.
    pub whole: Incident,
    rule: usize,
    /// By the places of the entities.
    members: BTreeMap<u32, Member>,
    /// Entities that were in it and are not known any more.
    gone: usize,
    open: usize,
    /// When the incident began that joined it last, in event time.
    joined_us: i64,
}

impl GroupIncident {
    /// One without members yet.
    pub(super) fn new((rule, name): Key, made_by: Position, whole: Incident) -> Self {
        let members = BTreeMap::new();
        Self { name, made_by, whole, rule, members, gone: 0, open: 0, joined_us: i64::MIN }
    }

    /// Entities that strayed in it so far.
    pub fn entities(&self) -> usize {
        self.members.len() + self.gone
    }

    /// Entities whose incident is open in it.
    pub fn open_entities(&self) -> usize {
        self.open
    }

    /// The entity at this place, if it was in it.
    pub fn entity(&self, place: u32) -> Option<&str> {
        self.members.get(&place).map(|member| &*member.entity)
    }

    /// The `count` entities with the worst rows of those that are still known, the worst first.
    pub fn worst(&self, count: usize) -> Vec<&Member> {
        let mut members: Vec<&Member> = self.members.values().collect();
        let worst_first = |a: &&Member, b: &&Member| {
            a.p_value.total_cmp(&b.p_value).then(b.score.total_cmp(&a.score)).then_with(|| a.entity.cmp(&b.entity))
        };
        keep_first(&mut members, count, worst_first);
        members
    }

    /// Whether an incident that begins now joins it: so many are still open as made it one, or it begins soon after the last
    /// one that joined. What is left of it, one entity that strays for days, says nothing of others that stray then.
    pub(super) fn takes_in(&self, opened_us: i64, rule: &GroupRule) -> bool {
        // Near it, and not merely after it: the last one's clock may have been broken.
        let is_soon = opened_us.abs_diff(self.joined_us) <= rule.within_us.unsigned_abs();
        let is_before = opened_us < self.whole.first.time_us.saturating_sub(rule.within_us);
        !is_before && (is_soon || self.open >= rule.least)
    }

    pub(super) fn enter(&mut self, place: u32, entity: &Arc<str>, incident: &Incident) {
        self.joined_us = incident.first.time_us;
        self.open += 1;
        let joined = Member {
            entity: Arc::clone(entity),
            first: incident.first.position,
            p_value: incident.peak.p_value,
            score: incident.peak.score,
            is_open: true,
        };
        let member = self.members.entry(place).or_insert(joined);
        member.is_open = true;
        member.worsen(incident);
    }

    pub(super) fn close(&mut self, place: u32) {
        if let Some(member) = self.members.get_mut(&place) {
            self.open -= usize::from(std::mem::take(&mut member.is_open));
        }
    }

    pub(super) fn worsen(&mut self, place: u32, incident: &Incident) {
        self.members.get_mut(&place).into_iter().for_each(|member| member.worsen(incident));
    }

    /// The entity at this place is not known any more.
    pub(super) fn lose(&mut self, place: u32) {
        if let Some(member) = self.members.remove(&place) {
            self.gone += 1;
            self.open -= usize::from(member.is_open);
        }
    }

    pub(super) fn lose_unknown(&mut self, is_known: impl Fn(u32) -> bool) {
        let lost: Vec<u32> = self.members.keys().copied().filter(|place| !is_known(*place)).collect();
        lost.into_iter().for_each(|place| self.lose(place));
    }

    pub(super) fn open_places(&self) -> impl Iterator<Item = u32> {
        self.members.iter().filter(|(_, member)| member.is_open).map(|(place, _)| *place)
    }

    pub(super) fn key(&self) -> Key {
        (self.rule, Arc::clone(&self.name))
    }
}

impl Member {
    fn worsen(&mut self, incident: &Incident) {
        let (p_value, score) = (incident.peak.p_value, incident.peak.score);
        if is_worse((score, p_value), (self.score, self.p_value)) {
            (self.p_value, self.score, self.first) = (p_value, score, incident.first.position);
        }
    }
}
