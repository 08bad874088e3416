//! What people say of alarms, between two batches.

use super::Scoring;
use crate::{
    feedback::{Change, Subject, SubjectKind, Told, Verdict},
    record::Position,
};

/// A message of the feedback topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What it says.
    pub told: Told,
    /// When it was written, milliseconds since the epoch.
    pub at_ms: i64,
    /// Whether it was written after this process began to read: what is older has already moved the limits of entities that
    /// were known then.
    pub is_new: bool,
}

impl Scoring {
    /// Takes what somebody said. `false` where it is about records of another topic.
    pub fn heed(&mut self, heard: Heard) -> bool {
        let Heard { told, at_ms, is_new } = heard;
        if !is_of(&told, &self.model.context.topic) {
            return false;
        }
        let Some(change) = self.feedback.heed(told, at_ms) else { return true };
        if change.subject.kind() == SubjectKind::Group {
            self.heed_of_group(&change);
            return true;
        }
        let Some(entity) = &change.entity else { return true };
        let place = self.entities.find(entity);
        let last = place.and_then(|place| self.incidents.told(place, &change.subject, change.now));
        if let Some(place) = place.filter(|_| is_new && change.is_news()) {
            // What the verdict before did to the limit is undone, as far as it did.
            self.move_limit(place, -change.moved);
            let moved = self.move_limit(place, change.steps());
            self.feedback.moved(change.subject.id(), moved);
        }
        self.mask(entity, &change, last);
        true
    }

    /// Verdicts that hold, in the order of [`Verdict::ALL`].
    pub fn verdicts(&self) -> [usize; Verdict::ALL.len()] {
        self.feedback.counts()
    }

    /// What is said of a group holds of each of its entities whose incident is open in it. Limits stay: one verdict on forty
    /// entities says little of each.
    fn heed_of_group(&mut self, change: &Change) {
        let told = self.incidents.told_of_group(&change.subject, change.now);
        let (Some(Verdict::True | Verdict::False), Some(sample)) = (change.now, &mut self.sample) else { return };
        for (place, first, last) in told {
            let entity = self.entities.name(place).filter(|_| first.partition == last.partition);
            let offsets = first.offset..=last.offset;
            entity.into_iter().for_each(|entity| sample.mask(entity, first.partition, &offsets));
        }
    }

    /// Moves the limit of the entity at this place, and gives the steps that it moved.
    fn move_limit(&mut self, place: u32, steps: f64) -> f64 {
        let Some(state) = self.entities.get_mut(place) else { return 0.0 };
        let context = &self.model.context;
        let rule = &context.rules[self.policies.get(state.policy).rule];
        let moved = state.judgement.step_limit(&rule.limit, steps);
        self.touch(place);
        moved
    }

    /// Rows of an incident that somebody judged are not for the next model, whether it was right or false, also where they
    /// were taken for normal. `last` is its last record so far, if it is still open.
    fn mask(&mut self, entity: &str, change: &Change, last: Option<Position>) {
        let (Some(Verdict::True | Verdict::False), Some(sample)) = (change.now, &mut self.sample) else { return };
        if change.subject.kind() == SubjectKind::Silence {
            return;
        }
        let Position { partition, offset } = change.subject.position();
        let open = last.filter(|last| last.partition == partition).map(|last| last.offset);
        let until = open.max(change.last_offset).unwrap_or(offset);
        sample.mask(entity, partition, &(offset..=until));
    }
}

/// Several daemons may share a topic of feedback.
fn is_of(told: &Told, topic: &str) -> bool {
    match told {
        Told::Verdict(feedback) => feedback.subject.topic() == topic,
        Told::TakenBack(id) => Subject::of_topic(id, topic).is_ok(),
    }
}
