//! Entities of groups that stray and mend, one step after the other.

use proptest::prelude::*;

use super::*;
use crate::detect::{incident::Mark, severity::Severity};

const MINUTE: i64 = 60_000_000;
const RETELLING: Retelling = Retelling { update_interval_us: 10 * MINUTE, new_normal_after_us: Some(MINUTE) };

fn bounds() -> SeverityBounds {
    SeverityBounds::new(1e-4, 1e-6).unwrap()
}

/// Groups with the incidents that they are about. Places are numbers of entities, and records have an offset for each step.
struct Crowd {
    groups: Groups,
    incidents: BTreeMap<u32, Incident>,
    names: Vec<Arc<str>>,
    offset: i64,
}

impl Crowd {
    /// Entities that are two racks of pumps, so many each, at places 0, 1, ...; the first rack has the even ones.
    fn new(each: u32, (least, within): (usize, i64)) -> Self {
        let entities = GroupPattern::new("rack-{group}-*").unwrap();
        let rule = GroupRule { entities, least, within_us: within * MINUTE };
        let names = (0..2 * each).map(|place| Arc::from(format!("rack-{}-pump-{place}", place % 2)));
        let groups = Groups::new(vec![rule], bounds(), RETELLING);
        Self { groups, incidents: BTreeMap::new(), names: names.collect(), offset: 0 }
    }

    fn evidence(&mut self, partition: i32, minute: i64, p_value: f64) -> Evidence<'static> {
        self.offset += 1;
        let mark = Mark { position: Position { partition, offset: self.offset }, time_us: minute * MINUTE };
        Evidence { mark, score: -p_value.log10(), limit: 1.0, p_value, shares: &[0.25, 0.75] }
    }

    /// An anomalous row of the entity at a place, in the partition of that number.
    fn stray(&mut self, place: u32, minute: i64, p_value: f64) -> GroupChange {
        let row = self.evidence(place as i32 % 3, minute, p_value);
        match self.incidents.get_mut(&place) {
            Some(incident) => drop(incident.add(&row, &bounds(), &RETELLING, Vec::new)),
            None => {
                let incident = Incident::open(&row, bounds().of(p_value), Vec::new());
                self.groups.opened(place, &self.names[place as usize], &incident);
                self.incidents.insert(place, incident);
            }
        }
        self.groups.strayed((place, &row), &self.incidents, Vec::new)
    }

    fn mend(&mut self, place: u32) -> Option<Left> {
        self.incidents.remove(&place);
        self.groups.resolved(place)
    }

    /// All of these stray at minute 0.
    fn stray_all(&mut self, places: &[u32]) {
        places.iter().for_each(|place| drop(self.stray(*place, 0, 1e-3)));
    }

    fn mend_all(&mut self, places: &[u32]) {
        places.iter().for_each(|place| drop(self.mend(*place)));
    }

    /// The entities that were in the group incident of the one at a place, and how many of them still stray.
    fn of(&self, place: u32) -> Option<(usize, usize)> {
        self.groups.of(place).map(|group| (group.entities(), group.open_entities()))
    }

    /// Partition 0 goes, with the entities whose records come from there.
    fn revoke(&mut self) {
        self.incidents.retain(|place, _| place % 3 != 0);
        self.groups.forget(&[0], |place| place % 3 != 0);
    }
}

#[test]
fn three_that_begin_within_five_minutes_are_one_and_those_that_follow_join_it() {
    let mut crowd = Crowd::new(20, (3, 5));
    assert_eq!(crowd.stray(0, 0, 1e-3), GroupChange::Alone);
    assert_eq!(crowd.stray(1, 1, 1e-3), GroupChange::Alone, "the other rack");
    assert_eq!(crowd.stray(2, 3, 1e-5), GroupChange::Alone);
    assert_eq!(crowd.stray(0, 4, 1e-3), GroupChange::Alone, "an entity is one however often it strays");
    assert_eq!(crowd.stray(4, 5, 1e-3), GroupChange::Formed(vec![0, 2, 4]));
    let group = crowd.groups.of(0).unwrap();
    assert_eq!((&*group.name, group.made_by), ("rack-0-*", Position { partition: 1, offset: 5 }));
    assert_eq!((group.whole.anomalies, group.whole.severity), (4, Severity::Warning));
    assert_eq!((group.whole.first.time_us, group.whole.last.time_us), (0, 5 * MINUTE));
    assert_eq!(crowd.stray(6, 6, 1e-3), GroupChange::Joined(Update::None));
    assert_eq!((crowd.of(6), crowd.of(1)), (Some((4, 4)), None));
}

#[test]
fn two_are_chance_and_so_are_three_that_are_far_apart_or_over_before_the_next_begins() {
    let mut crowd = Crowd::new(20, (3, 5));
    for (place, minute) in [(0, 0), (2, 3), (4, 6), (6, 9), (8, 12)] {
        assert_eq!(crowd.stray(place, minute, 1e-3), GroupChange::Alone, "three in six minutes are no three in five");
        if place > 2 {
            crowd.mend(place - 4);
        }
    }
    let mut crowd = Crowd::new(20, (3, 5));
    for place in [0, 2, 4, 6] {
        assert_eq!(crowd.stray(place, 0, 1e-3), GroupChange::Alone);
        assert_eq!(crowd.mend(place), None);
    }
}

#[test]
fn partitions_whose_times_differ_make_the_same_group_in_either_order() {
    for order in [[0, 2, 4], [4, 2, 0], [2, 4, 0]] {
        let mut crowd = Crowd::new(20, (3, 5));
        let changes = order.map(|place| crowd.stray(place, i64::from(place), 1e-3));
        assert_eq!(changes[2], GroupChange::Formed(vec![0, 2, 4]), "{order:?}");
        assert_eq!(crowd.groups.of(0).unwrap().whole.first.time_us, 0);
    }
}

#[test]
fn news_of_a_group_comes_at_most_every_interval_or_at_once_where_severity_rises() {
    let mut crowd = Crowd::new(20, (2, 5));
    crowd.stray(0, 0, 1e-3);
    crowd.stray(2, 1, 1e-3);
    let continued = |update| GroupChange::Continued(update);
    assert_eq!(crowd.stray(0, 9, 1e-3), continued(Update::None));
    assert_eq!(crowd.stray(2, 11, 1e-3), continued(Update::Due));
    assert_eq!(crowd.stray(0, 12, 1e-5), continued(Update::Due), "it is worse");
    assert_eq!(crowd.stray(2, 13, 1e-5), continued(Update::None), "another one is as bad");
    assert_eq!(crowd.stray(4, 14, 1e-9), GroupChange::Joined(Update::Due), "the one that joins is worse");
    let worst: Vec<&str> = crowd.groups.of(0).unwrap().worst(2).iter().map(|member| &*member.entity).collect();
    assert_eq!(worst, ["rack-0-pump-4", "rack-0-pump-0"]);
    assert_eq!(crowd.groups.of(0).unwrap().whole.top(1), [(1, 0.75)]);
    assert!(!crowd.groups.of(0).unwrap().whole.level_shift, "that is said of each entity");
}

#[test]
fn a_group_is_over_when_the_last_of_it_is() {
    let mut crowd = Crowd::new(20, (3, 5));
    crowd.stray_all(&[0, 2, 4]);
    let made_by = crowd.groups.of(0).unwrap().made_by;
    assert_eq!(crowd.mend(2), Some(Left::Open(made_by)));
    assert_eq!(crowd.mend(0), Some(Left::Open(made_by)));
    let Some(Left::Over(group)) = crowd.mend(4) else { panic!("it is not over") };
    assert_eq!((group.made_by, group.entities(), group.open_entities(), group.whole.anomalies), (made_by, 3, 0, 3));
    assert!(crowd.groups.spots.is_empty() && crowd.groups.groups.is_empty() && crowd.groups.open.is_empty());
}

#[test]
fn an_entity_that_strays_again_is_counted_once() {
    let mut crowd = Crowd::new(20, (3, 5));
    crowd.stray_all(&[0, 2, 4]);
    crowd.mend(4);
    assert_eq!(crowd.of(0), Some((3, 2)));
    crowd.stray(4, 2, 1e-3);
    assert_eq!(crowd.of(0), Some((3, 3)));
}

#[test]
fn what_is_left_of_a_group_after_days_takes_in_nothing_and_the_next_group_is_another() {
    let mut crowd = Crowd::new(20, (3, 5));
    crowd.stray_all(&[0, 2, 4, 6]);
    assert_eq!(crowd.stray(8, 4000, 1e-3), GroupChange::Joined(Update::Due), "four are still open");
    crowd.mend_all(&[2, 4, 6]);
    assert_eq!(crowd.stray(2, 4005, 1e-3), GroupChange::Joined(Update::None), "two, but soon after the last one");
    crowd.mend_all(&[2, 8]);
    assert_eq!(crowd.stray(10, 4011, 1e-3), GroupChange::Alone, "one is left, and nobody joined for long");
    assert_eq!(crowd.stray(12, 4012, 1e-3), GroupChange::Alone);
    assert_eq!(crowd.stray(14, 4013, 1e-3), GroupChange::Formed(vec![10, 12, 14]));
    assert_eq!((crowd.of(0), crowd.of(10)), (Some((5, 1)), Some((3, 3))));
    assert!(matches!(crowd.mend(0), Some(Left::Over(_))));
    assert_eq!(crowd.stray(0, 4014, 1e-3), GroupChange::Joined(Update::None), "the newer one takes it in");
}

#[test]
fn an_entity_that_strayed_long_before_its_group_did_stands_alone() {
    let mut crowd = Crowd::new(20, (3, 5));
    crowd.stray(0, -600, 1e-3);
    assert_eq!([2, 4, 6].map(|place| crowd.stray(place, 0, 1e-3))[2], GroupChange::Formed(vec![2, 4, 6]));
    assert_eq!(crowd.of(0), None);
    assert_eq!(crowd.stray(8, -60, 1e-3), GroupChange::Alone, "its partition lags an hour behind");
}

#[test]
fn an_entity_whose_clock_is_broken_does_not_keep_a_group_open_to_all() {
    let mut crowd = Crowd::new(20, (3, 5));
    crowd.stray_all(&[0, 2, 4]);
    assert_eq!(crowd.stray(6, 50_000_000, 1e-3), GroupChange::Joined(Update::Due), "three are open");
    crowd.mend_all(&[2, 4, 6]);
    assert_eq!(crowd.stray(8, 600, 1e-3), GroupChange::Alone, "one is left, and no other joined near it");
}

#[test]
fn a_group_whose_id_went_with_its_partition_becomes_another_one_with_an_id_that_is_ours() {
    let mut crowd = Crowd::new(20, (3, 5));
    // Places that 3 divides read partition 0, which the record that makes the group comes from.
    crowd.stray_all(&[2, 4, 8, 10, 6]);
    assert_eq!((crowd.of(2), crowd.groups.of(2).unwrap().made_by.partition), (Some((5, 5)), 2));
    crowd.revoke();
    assert_eq!(crowd.of(2), Some((5, 4)), "the id is ours, and one of it is elsewhere");
    let mut crowd = Crowd::new(20, (3, 5));
    crowd.stray_all(&[2, 4, 6, 8, 10]);
    assert_eq!(crowd.groups.of(2).unwrap().made_by.partition, 0);
    crowd.revoke();
    assert_eq!((crowd.of(2), crowd.groups.open().count()), (None, 0));
    let quiet = Position { partition: 1, offset: 99 };
    assert_eq!(crowd.groups.settle(4, quiet, &crowd.incidents), GroupChange::Formed(vec![2, 4, 8, 10]));
    assert_eq!(crowd.groups.of(2).unwrap().made_by, quiet);
    assert_eq!(crowd.groups.settle(4, quiet, &crowd.incidents), GroupChange::Alone, "once");
}

#[test]
fn who_is_forgotten_is_in_no_group_and_a_group_without_any_is_gone_but_not_over() {
    let mut crowd = Crowd::new(20, (3, 5));
    crowd.stray_all(&[0, 2, 4]);
    crowd.mend(4);
    crowd.groups.gone(2);
    crowd.groups.gone(4);
    assert_eq!(crowd.of(0), Some((3, 1)));
    assert_eq!(crowd.groups.of(0).unwrap().worst(9).len(), 1, "names of others are not known any more");
    crowd.groups.gone(0);
    assert!(crowd.groups.spots.is_empty() && crowd.groups.groups.is_empty() && crowd.groups.open.is_empty());
    assert_eq!(crowd.mend(0), None);
}

#[test]
fn the_first_rule_that_matches_is_the_entitys_own() {
    let rule = |entities, least| GroupRule { entities: GroupPattern::new(entities).unwrap(), least, within_us: MINUTE };
    let mut crowd = Crowd::new(20, (3, 5));
    crowd.groups = Groups::new(vec![rule("rack-0-*", 4), rule("rack-*", 2)], bounds(), RETELLING);
    assert_eq!([0, 2, 4].map(|place| crowd.stray(place, 0, 1e-3)), [const { GroupChange::Alone }; 3]);
    assert_eq!([1, 3].map(|place| crowd.stray(place, 0, 1e-3))[1], GroupChange::Formed(vec![1, 3]));
    assert_eq!(crowd.stray(6, 0, 1e-3), GroupChange::Formed(vec![0, 2, 4, 6]));
    assert_eq!((&*crowd.groups.of(1).unwrap().name, &*crowd.groups.of(0).unwrap().name), ("rack-*", "rack-0-*"));
}

#[test]
fn a_verdict_on_a_group_reaches_those_of_it_that_still_stray() {
    let mut crowd = Crowd::new(20, (3, 5));
    crowd.stray_all(&[0, 2, 4]);
    crowd.mend(2);
    let Position { partition, offset } = crowd.groups.of(0).unwrap().made_by;
    let subject = |end: &str| Subject::incident(&format!("s-{partition}-{end}")).unwrap();
    assert_eq!(crowd.groups.told(&subject(&format!("{offset}-group")), Some(Verdict::ExpectedChange)), [0, 4]);
    for other in [format!("{}-group", offset + 1), offset.to_string(), format!("{offset}-silence")] {
        assert_eq!(crowd.groups.told(&subject(&other), Some(Verdict::True)), Vec::<u32>::new(), "{other}");
    }
    assert_eq!(crowd.groups.of(0).unwrap().whole.verdict, Some(Verdict::ExpectedChange));
}

/// What may happen to an entity.
#[derive(Debug, Clone)]
enum Step {
    Strays { place: u32, minutes: i64, exponent: i32 },
    IsQuiet(u32),
    Mends(u32),
    Gone(u32),
    Revoked,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let strays =
        (0..12u32, -3..4i64, 1..9i32).prop_map(|(place, minutes, exponent)| Step::Strays { place, minutes, exponent });
    let quiet = (0..12u32).prop_map(Step::IsQuiet);
    let mends = (0..12u32).prop_map(Step::Mends);
    let gone = (0..12u32).prop_map(Step::Gone);
    prop::collection::vec(
        prop_oneof![12 => strays, 4 => quiet, 4 => mends, 1 => gone, 1 => Just(Step::Revoked)],
        0..120,
    )
}

impl Crowd {
    fn take(&mut self, step: &Step, minute: &mut i64) {
        match *step {
            Step::Strays { place, minutes, exponent } => {
                *minute += minutes;
                self.stray(place, *minute, 10_f64.powi(-exponent));
            }
            Step::IsQuiet(place) => {
                let cause = Position { partition: place as i32 % 3, offset: self.offset };
                self.groups.settle(place, cause, &self.incidents);
            }
            Step::Mends(place) => drop(self.mend(place)),
            Step::Gone(place) => {
                self.incidents.remove(&place);
                self.groups.gone(place);
            }
            Step::Revoked => self.revoke(),
        }
    }

    /// What holds at any time, whatever happened.
    fn check(&self) -> Result<(), TestCaseError> {
        let Groups { groups, open, spots, .. } = &self.groups;
        prop_assert!(spots.keys().eq(self.incidents.keys()), "who strays is known, and nobody else");
        let alone: usize = groups.values().map(|group| group.alone.len()).sum();
        let members: usize = open.values().map(GroupIncident::open_entities).sum();
        prop_assert_eq!(alone + members, spots.len(), "each stands alone or is in one");
        for group in open.values() {
            prop_assert_eq!(group.open_places().count(), group.open_entities());
            prop_assert!(group.open_entities() >= 1 && group.entities() >= group.open_entities());
            for place in group.open_places() {
                prop_assert_eq!(self.groups.of(place).map(|of| of.made_by), Some(group.made_by));
                let incident = &self.incidents[&place];
                prop_assert!(incident.peak.p_value >= group.whole.peak.p_value, "the peak is that of the worst");
                prop_assert!(
                    incident.severity <= group.whole.severity && incident.last.time_us <= group.whole.last.time_us
                );
                prop_assert!(incident.first.time_us >= group.whole.first.time_us);
            }
        }
        for group in groups.values() {
            prop_assert!(!group.is_calm(), "nothing is kept of a group in which nothing strays");
            prop_assert!(group.newest.is_none_or(|newest| open.contains_key(&newest)));
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_each_entity_is_in_one_incident_at_most_and_nothing_is_left_in_the_end(steps in steps()) {
        let (mut crowd, mut minute) = (Crowd::new(6, (3, 5)), 0);
        for step in &steps {
            crowd.take(step, &mut minute);
            crowd.check()?;
        }
        (0..12).for_each(|place| drop(crowd.mend(place)));
        let Groups { groups, open, spots, .. } = &crowd.groups;
        prop_assert!(groups.is_empty() && open.is_empty() && spots.is_empty());
    }

    #[test]
    fn the_same_steps_tell_the_same(steps in steps()) {
        let run = || {
            let (mut crowd, mut minute) = (Crowd::new(6, (3, 5)), 0);
            steps.iter().for_each(|step| crowd.take(step, &mut minute));
            crowd.groups.open().cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }

    /// Beside a plain count: of one group, without ends, the first time that so many are near each other makes the group.
    #[test]
    fn a_group_is_formed_as_soon_as_so_many_began_within_so_long(
        times in prop::collection::vec(0..40i64, 1..12),
        least in 2..5usize,
        within in 1..8i64,
    ) {
        let mut crowd = Crowd::new(12, (least, within));
        for (number, minute) in times.iter().enumerate() {
            let change = crowd.stray(2 * number as u32, *minute, 1e-3);
            let so_far = &times[..=number];
            let near = |start: i64| so_far.iter().filter(|time| (start..=start + within).contains(*time)).count();
            let is_formed = so_far.iter().any(|start| near(*start) >= least);
            prop_assert_eq!(matches!(change, GroupChange::Formed(_)), is_formed, "{:?}", so_far);
            if is_formed {
                break;
            }
        }
    }

    #[test]
    fn a_groups_anomalies_and_shares_are_those_of_all_its_entities(exponents in prop::collection::vec(1..9i32, 4..20)) {
        let mut crowd = Crowd::new(6, (3, 5));
        for (number, exponent) in exponents.iter().enumerate() {
            crowd.stray(2 * (number as u32 % 4), 0, 10_f64.powi(-exponent));
        }
        let group = crowd.groups.of(0).unwrap();
        prop_assert_eq!(group.whole.anomalies, exponents.len() as u64);
        let worst = exponents.iter().max().unwrap();
        prop_assert!((group.whole.peak.score - f64::from(*worst)).abs() < 1e-9);
        let top = group.whole.top(2);
        prop_assert!((top[0].1 - 0.75).abs() < 1e-9 && (top[1].1 - 0.25).abs() < 1e-9);
    }
}
