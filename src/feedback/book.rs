//! The verdicts that hold: the last one of each id, and what it holds back.

use std::collections::{BTreeMap, HashMap};

use super::{Feedback, Subject, SubjectKind, Told, Verdict};
use crate::{config::settings::FeedbackSettings, detect::gates::pattern::Pattern};

/// Features of two anomalies that are compared, those with the largest shares of the error.
pub const LEADING: usize = 3;
/// So many of them must be the same, where both have as many.
const COMMON: usize = 2;

/// What a message changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What it is about.
    pub subject: Subject,
    /// Whose it is, if that was said; of a group, a pattern of its entities.
    pub entity: Option<String>,
    /// Offset of the last anomalous record that the verdict knows of, if it says.
    pub last_offset: Option<i64>,
    /// The verdict before.
    pub before: Option<Verdict>,
    /// Steps by which that one moved the entity's limit.
    pub moved: f64,
    /// The verdict now.
    pub now: Option<Verdict>,
}

impl Change {
    /// Whether it is not the same verdict said again.
    pub fn is_news(&self) -> bool {
        self.now != self.before
    }

    /// Steps by which the entity's limit goes up for the verdict now; down where they are below 0.
    pub fn steps(&self) -> f64 {
        self.now.map_or(0.0, |verdict| f64::from(verdict.steps()))
    }
}

/// The last verdict of an id.
#[derive(Debug, Clone)]
struct Kept {
    subject: Subject,
    verdict: Verdict,
    entity: Option<String>,
    /// When it was written, milliseconds since the epoch.
    at_ms: i64,
    /// Steps by which it moved the entity's limit.
    moved: f64,
}

/// What a verdict holds back of its entity.
#[derive(Debug, Clone)]
struct Hold {
    id: String,
    verdict: Verdict,
    /// Event times from the first one to before the second one.
    from_us: i64,
    until_us: i64,
    features: Vec<String>,
}

impl Hold {
    fn of(feedback: Feedback, at_ms: i64, suppress_for_us: i64) -> Self {
        // Somebody who wrote the message by hand, without the times of the incident, did so not long after it.
        let last_us = feedback.last_time_us.unwrap_or_else(|| at_ms.saturating_mul(1000));
        Self {
            id: feedback.subject.id().to_owned(),
            verdict: feedback.verdict,
            from_us: feedback.first_time_us.unwrap_or(i64::MIN),
            until_us: feedback.until_us.unwrap_or_else(|| last_us.saturating_add(suppress_for_us)),
            features: feedback.features,
        }
    }

    /// Whether an anomaly with these leading features is alike. A false alarm says no more than that one just like it is
    /// false too; a change that was expected moves all that it moves, in whatever order.
    fn is_alike(&self, leading: &[String]) -> bool {
        let Some(first) = leading.first() else { return false };
        if self.verdict == Verdict::ExpectedChange {
            return self.features.contains(first);
        }
        let ours = &self.features[..self.features.len().min(LEADING)];
        let common = ours.iter().filter(|name| leading.contains(name)).count();
        ours.first() == Some(first) && common >= COMMON.min(ours.len()).min(leading.len())
    }
}

/// The verdicts that hold.
#[derive(Debug, Clone)]
pub struct Book {
    suppress_for_us: i64,
    keep_ms: i64,
    by_id: BTreeMap<String, Kept>,
    by_entity: HashMap<String, Vec<Hold>>,
    /// What verdicts on groups hold back of all entities that match.
    by_group: Vec<(Pattern, Hold)>,
    /// When the newest message was written.
    newest_ms: i64,
    /// No verdict was written before.
    oldest_ms: i64,
    counts: [usize; Verdict::ALL.len()],
}

impl Book {
    /// An empty book.
    pub fn new(settings: &FeedbackSettings) -> Self {
        let suppress_for_us = i64::try_from(settings.suppress_for.as_micros()).unwrap_or(i64::MAX);
        let keep_ms = i64::try_from(settings.keep.as_millis()).unwrap_or(i64::MAX);
        Self {
            suppress_for_us,
            keep_ms,
            by_id: BTreeMap::new(),
            by_entity: HashMap::new(),
            by_group: Vec::new(),
            newest_ms: i64::MIN,
            oldest_ms: i64::MAX,
            counts: [0; Verdict::ALL.len()],
        }
    }

    /// Takes a message that was written at `at_ms`, milliseconds since the epoch. `None` where it takes back what nobody
    /// said. Verdicts that are older than the newest by more than they are kept for go.
    pub fn heed(&mut self, told: Told, at_ms: i64) -> Option<Change> {
        let before = self.remove(told.id());
        let change = match told {
            Told::TakenBack(_) => before.map(|Kept { subject, verdict, entity, moved, .. }| Change {
                subject,
                entity,
                last_offset: None,
                before: Some(verdict),
                moved,
                now: None,
            }),
            Told::Verdict(mut feedback) => {
                let (verdict, moved) = before.as_ref().map_or((None, 0.0), |kept| (Some(kept.verdict), kept.moved));
                // Whoever corrects a verdict need not say again whose it is.
                feedback.entity = feedback.entity.or(before.and_then(|kept| kept.entity));
                let change = Change {
                    subject: feedback.subject.clone(),
                    entity: feedback.entity.clone(),
                    last_offset: feedback.last_offset,
                    before: verdict,
                    moved,
                    now: Some(feedback.verdict),
                };
                self.enter(*feedback, at_ms);
                self.moved(change.subject.id(), moved);
                Some(change)
            }
        };
        self.newest_ms = self.newest_ms.max(at_ms);
        self.forget_old();
        change
    }

    /// The verdict that holds of this id moved the entity's limit by so many steps.
    pub fn moved(&mut self, id: &str, steps: f64) {
        if let Some(kept) = self.by_id.get_mut(id) {
            kept.moved = steps;
        }
    }

    /// The verdict for which an anomaly of the entity at an event time (microseconds since the epoch) is held back. Asks
    /// for the names of its [`LEADING`] features, those with the largest shares first, only where there may be one.
    pub fn hold_back(&self, entity: &str, time_us: i64, leading: impl FnOnce() -> Vec<String>) -> Option<Verdict> {
        let of_groups = self.by_group.iter().filter(|(entities, _)| entities.matches(entity)).map(|(_, hold)| hold);
        let holds = self.by_entity.get(entity).into_iter().flatten().chain(of_groups);
        let mut open = holds.filter(|hold| (hold.from_us..hold.until_us).contains(&time_us)).peekable();
        open.peek()?;
        let leading = leading();
        let alike = open.filter(|hold| hold.is_alike(&leading)).map(|hold| hold.verdict);
        // What is normal by now is no false alarm any more.
        alike.max_by_key(|verdict| *verdict == Verdict::ExpectedChange)
    }

    /// How many verdicts hold, in the order of [`Verdict::ALL`].
    pub fn counts(&self) -> [usize; Verdict::ALL.len()] {
        self.counts
    }

    fn enter(&mut self, feedback: Feedback, at_ms: i64) {
        let (subject, verdict, entity) = (feedback.subject.clone(), feedback.verdict, feedback.entity.clone());
        let holds_back = verdict != Verdict::True && subject.kind() != SubjectKind::Silence;
        if let Some(entity) = entity.clone().filter(|_| holds_back) {
            let hold = Hold::of(feedback, at_ms, self.suppress_for_us);
            match Pattern::new(&entity) {
                Ok(entities) if subject.kind() == SubjectKind::Group => self.by_group.push((entities, hold)),
                _ => self.by_entity.entry(entity).or_default().push(hold),
            }
        }
        self.counts[verdict as usize] += 1;
        self.oldest_ms = self.oldest_ms.min(at_ms);
        self.by_id.insert(subject.id().to_owned(), Kept { subject, verdict, entity, at_ms, moved: 0.0 });
    }

    fn remove(&mut self, id: &str) -> Option<Kept> {
        let kept = self.by_id.remove(id)?;
        self.counts[kept.verdict as usize] -= 1;
        self.by_group.retain(|(_, hold)| hold.id != id);
        if let Some(entity) = &kept.entity
            && let Some(holds) = self.by_entity.get_mut(entity)
        {
            holds.retain(|hold| hold.id != id);
            if holds.is_empty() {
                self.by_entity.remove(entity);
            }
        }
        Some(kept)
    }

    fn forget_old(&mut self) {
        let since_ms = self.newest_ms.saturating_sub(self.keep_ms);
        if self.oldest_ms >= since_ms {
            return;
        }
        let old: Vec<String> =
            self.by_id.iter().filter(|(_, kept)| kept.at_ms < since_ms).map(|(id, _)| id.clone()).collect();
        old.iter().for_each(|id| {
            self.remove(id);
        });
        self.oldest_ms = self.by_id.values().map(|kept| kept.at_ms).min().unwrap_or(i64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR_US: i64 = 3_600_000_000;
    const DAY_MS: i64 = 86_400_000;

    fn book() -> Book {
        let day = |days: u64| Duration::from_secs(days * 86_400);
        Book::new(&FeedbackSettings { suppress_for: day(1), keep: day(30) })
    }

    /// A verdict on the incident at this offset of entity `a`, which lasted from 10 to 11 o'clock.
    fn said(offset: i64, verdict: Verdict, features: &[&str]) -> Feedback {
        let subject = Subject::incident(&format!("sensors-0-{offset}")).unwrap();
        Feedback {
            entity: Some("a".into()),
            features: features.iter().map(|name| (*name).to_owned()).collect(),
            first_time_us: Some(10 * HOUR_US),
            last_time_us: Some(11 * HOUR_US),
            ..Feedback::new(subject, verdict)
        }
    }

    fn heed(book: &mut Book, feedback: Feedback) -> Change {
        book.heed(Told::Verdict(Box::new(feedback)), 0).unwrap()
    }

    fn held(book: &Book, entity: &str, hour: i64, leading: &[&str]) -> Option<Verdict> {
        book.hold_back(entity, hour * HOUR_US, || leading.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_false_alarm_holds_back_those_of_its_entity_with_the_same_top_feature_and_two_of_three_in_common() {
        let mut book = book();
        heed(&mut book, said(5, Verdict::False, &["x", "y", "z", "u"]));
        for alike in [&["x", "y", "z"][..], &["x", "z", "w"], &["x", "y"], &["x"]] {
            assert_eq!(held(&book, "a", 12, alike), Some(Verdict::False), "{alike:?}");
        }
        for other in [&["y", "x", "z"][..], &["x", "v", "w"], &["x", "u", "w"], &["w"], &[]] {
            assert_eq!(held(&book, "a", 12, other), None, "{other:?}");
        }
        assert_eq!(held(&book, "b", 12, &["x", "y", "z"]), None);
        let mut single = self::book();
        heed(&mut single, said(5, Verdict::False, &["x"]));
        assert_eq!(
            held(&single, "a", 12, &["x", "v", "w"]),
            Some(Verdict::False),
            "one feature can have but one in common"
        );
    }

    #[test]
    fn an_expected_change_holds_back_whatever_leads_with_one_of_its_features() {
        let mut book = book();
        heed(&mut book, said(5, Verdict::ExpectedChange, &["x", "y", "z", "u"]));
        assert_eq!(held(&book, "a", 12, &["u", "v", "w"]), Some(Verdict::ExpectedChange));
        assert_eq!(held(&book, "a", 12, &["v", "x", "y"]), None);
        heed(&mut book, said(6, Verdict::False, &["x", "y"]));
        assert_eq!(held(&book, "a", 12, &["x", "y"]), Some(Verdict::ExpectedChange), "it is learned from");
    }

    #[test]
    fn what_is_held_back_begins_with_the_incident_and_ends_in_event_time() {
        let mut book = book();
        heed(&mut book, said(5, Verdict::False, &["x"]));
        let hours = |book: &Book| [9, 10, 34, 35].map(|hour| held(book, "a", hour, &["x"]).is_some());
        assert_eq!(hours(&book), [false, true, true, false]);
        heed(&mut book, Feedback { until_us: Some(12 * HOUR_US), ..said(5, Verdict::False, &["x"]) });
        assert_eq!(held(&book, "a", 11, &["x"]), Some(Verdict::False));
        assert_eq!(held(&book, "a", 12, &["x"]), None);
        let by_hand = Feedback { first_time_us: None, last_time_us: None, ..said(5, Verdict::False, &["x"]) };
        book.heed(Told::Verdict(Box::new(by_hand)), DAY_MS);
        assert_eq!([0, 47, 48].map(|hour| held(&book, "a", hour, &["x"]).is_some()), [true, true, false]);
    }

    #[test]
    fn nothing_is_asked_of_an_anomaly_whose_entity_has_no_verdict_that_holds() {
        let mut book = book();
        heed(&mut book, said(5, Verdict::False, &["x"]));
        heed(&mut book, Feedback { entity: Some("b".into()), ..said(6, Verdict::True, &["x"]) });
        for (entity, hour) in [("a", 50), ("b", 12), ("c", 12)] {
            assert_eq!(book.hold_back(entity, hour * HOUR_US, || panic!("{entity} is asked")), None);
        }
    }

    #[test]
    fn the_last_verdict_of_an_id_counts_and_can_be_taken_back() {
        let mut book = book();
        let first = heed(&mut book, said(5, Verdict::False, &["x"]));
        assert_eq!((first.before, first.now, first.steps(), first.moved), (None, Some(Verdict::False), 1.0, 0.0));
        book.moved("sensors-0-5", 0.5);
        let again = heed(&mut book, said(5, Verdict::False, &["x"]));
        assert!(!again.is_news() && again.moved == 0.5, "the same again: {again:?}");
        let by_hand = Feedback { entity: None, ..said(5, Verdict::True, &["x"]) };
        let other = heed(&mut book, by_hand);
        assert_eq!((other.before, other.steps(), other.moved), (Some(Verdict::False), -1.0, 0.5));
        assert_eq!((other.entity.as_deref(), book.counts()), (Some("a"), [1, 0, 0]), "it was said before whose it is");
        assert_eq!(held(&book, "a", 12, &["x"]), None);
        heed(&mut book, said(5, Verdict::False, &["x"]));
        let back = book.heed(Told::TakenBack("sensors-0-5".into()), 0).unwrap();
        assert_eq!((back.entity.as_deref(), back.now, back.steps()), (Some("a"), None, 0.0));
        assert_eq!((held(&book, "a", 12, &["x"]), book.counts()), (None, [0, 0, 0]));
        assert_eq!(book.heed(Told::TakenBack("sensors-0-5".into()), 0), None);
    }

    #[test]
    fn verdicts_are_forgotten_when_they_are_older_than_they_are_kept_for() {
        let mut book = book();
        book.heed(Told::Verdict(Box::new(said(5, Verdict::False, &["x"]))), 0);
        book.heed(Told::Verdict(Box::new(said(6, Verdict::True, &["x"]))), 30 * DAY_MS);
        assert_eq!(book.counts(), [1, 1, 0]);
        book.heed(Told::Verdict(Box::new(said(7, Verdict::True, &["x"]))), 30 * DAY_MS + 1);
        assert_eq!((book.counts(), held(&book, "a", 12, &["x"])), ([2, 0, 0], None));
    }

    #[test]
    fn a_verdict_on_a_group_holds_back_what_is_alike_of_all_its_entities() {
        let mut book = book();
        let group = |verdict| Feedback {
            subject: Subject::incident("sensors-0-5-group").unwrap(),
            entity: Some("rack-7-*".into()),
            ..said(5, verdict, &["x"])
        };
        heed(&mut book, group(Verdict::False));
        let held = |book: &Book| ["rack-7-a", "rack-7-b", "rack-8-a"].map(|name| held(book, name, 12, &["x"]));
        assert_eq!(held(&book), [Some(Verdict::False), Some(Verdict::False), None]);
        heed(&mut book, Feedback { entity: Some("rack-7-a".into()), ..said(6, Verdict::ExpectedChange, &["x"]) });
        assert_eq!(held(&book), [Some(Verdict::ExpectedChange), Some(Verdict::False), None]);
        heed(&mut book, group(Verdict::True));
        assert_eq!(held(&book), [Some(Verdict::ExpectedChange), None, None], "the last one of an id counts");
    }

    #[test]
    fn a_silence_holds_nothing_back() {
        let mut book = book();
        let silence = Subject::incident("sensors-0-5-silence").unwrap();
        heed(&mut book, Feedback { subject: silence, ..said(5, Verdict::False, &["x"]) });
        assert_eq!((held(&book, "a", 12, &["x"]), book.counts()), (None, [0, 1, 0]));
    }
}
