//! Anomalies of an entity that are close to each other are one incident, and one alarm.
//!
//! [`IncidentState`] is the little that every entity keeps: whether it is in an incident. [`Incident`] is what is known
//! of one that is open, and kept for as long as it is. Both are pure: time is that of the records.

use serde::{Deserialize, Serialize};

use super::{
    counterfactual::Counterfactual,
    explain::Compared,
    leading::leading,
    severity::{Severity, SeverityBounds},
};
use crate::{
    feedback::{Subject, SubjectKind, Verdict},
    record::Position,
};

/// Share of the rows of an incident that has to be anomalous for it to be a level shift.
const SHIFTED: f64 = 0.9;

/// Whether an entity is in an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IncidentState {
    /// Anomalous rows of the incident; 0 where there is none.
    anomalies: u32,
    /// Rows since the last of them.
    quiet: u32,
}

/// What one row did to its entity's incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncidentChange {
    /// The row is not anomalous, and there was no incident.
    None,
    /// This row's anomaly opened an incident.
    Opened,
    /// This row's anomaly belongs to the incident that is open.
    Continued,
    /// The row is not anomalous, and the incident stays open.
    Quiet,
    /// The incident has been quiet long enough and is over.
    Resolved,
}

impl IncidentState {
    /// Takes the verdict of the entity's next row. An incident is over after `quiet_rows` rows without anomaly.
    pub fn advance(&mut self, anomalous: bool, quiet_rows: u32) -> IncidentChange {
        match (self.anomalies, anomalous) {
            (0, false) => IncidentChange::None,
            (before, true) => {
                *self = Self { anomalies: before.saturating_add(1), quiet: 0 };
                if before == 0 { IncidentChange::Opened } else { IncidentChange::Continued }
            }
            (_, false) if self.quiet < quiet_rows => {
                self.quiet += 1;
                IncidentChange::Quiet
            }
            (_, false) => {
                *self = Self::default();
                IncidentChange::Resolved
            }
        }
    }

    /// Ends the incident, if there is one, with a row that belongs to none.
    pub fn end(&mut self) -> IncidentChange {
        let was_open = std::mem::take(self).open().is_some();
        if was_open { IncidentChange::Resolved } else { IncidentChange::None }
    }

    /// Anomalous rows of the incident that the entity is in; `None` where it is in none.
    pub fn open(&self) -> Option<u32> {
        (self.anomalies > 0).then_some(self.anomalies)
    }
}

/// A record and its event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Where the record stands.
    pub position: Position,
    /// Event time, microseconds since the epoch.
    pub time_us: i64,
}

/// One anomalous row, as an incident takes it in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence<'a> {
    /// The record.
    pub mark: Mark,
    /// Judged score, above the limit.
    pub score: f64,
    /// The limit in use.
    pub limit: f64,
    /// Probability that a normal row scores as high, 0..=1.
    pub p_value: f64,
    /// Share of each column in the row's error, 0..=1.
    pub shares: &'a [f32],
}

/// The worst row of an incident: the one with the least p-value, and among equals the one with the highest score. Models
/// that follow each other score in units of their own, p-values have none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// Its score.
    pub score: f64,
    /// Its p-value.
    pub p_value: f64,
    /// The limit that it was above.
    pub limit: f64,
    /// Each column as it came and as it was expected; empty where columns mean something else by now.
    pub columns: Vec<Compared>,
}

/// What is known of the first anomalous row alone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Opening {
    /// Per column how many rows before it began to stray, as
    /// [`EntityJudgement::onset`](super::judge::EntityJudgement::onset) tells it; empty where columns mean something else by
    /// now.
    pub onsets: Vec<Option<u8>>,
    /// What it would have scored with its top features as expected.
    pub counterfactual: Option<Counterfactual>,
}

impl Peak {
    /// Whether a row is worse.
    fn is_below(&self, score: f64, p_value: f64) -> bool {
        is_worse((score, p_value), (self.score, self.p_value))
    }
}

/// Whether a row's score and p-value are worse than another's: rarer, or of as rare ones the higher.
pub(super) fn is_worse((score, p_value): (f64, f64), (than_score, than_p_value): (f64, f64)) -> bool {
    p_value < than_p_value || (p_value <= than_p_value && score > than_score)
}

/// When an open incident is told of again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retelling {
    /// The least event time between two updates, microseconds.
    pub update_interval_us: i64,
    /// Event time after which a level shift is offered as the new normal, microseconds; `None` never offers one.
    pub new_normal_after_us: Option<i64>,
}

/// What a row of an open incident gives reason to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// Nothing, or not yet.
    None,
    /// More anomalies, or a severity that rose.
    Due,
    /// The level has shifted for so long that it is offered as the new normal.
    NewNormal,
}

/// Rows further apart than this are of different ages: 35 days, microseconds; rows may come but once a month.
const LEAP_US: u64 = 35 * 86_400 * 1_000_000;

/// Rows in a run of which nearly all were anomalous.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Stretch {
    start_us: i64,
    rows: u64,
    anomalies: u64,
}

/// An incident so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its first anomalous record.
    pub first: Mark,
    /// Its last anomalous record so far.
    pub last: Mark,
    /// Anomalous rows so far.
    pub anomalies: u64,
    /// What is known of its first anomalous row alone.
    pub opening: Opening,
    /// Its worst row so far.
    pub peak: Peak,
    /// How bad the worst row is.
    pub severity: Severity,
    /// The column to blame for its first anomaly; `None` where it is not known.
    pub top_column: Option<usize>,
    /// Whether nearly all rows were anomalous for so long that they were offered as the new normal.
    pub level_shift: bool,
    /// What a person said of it.
    pub verdict: Option<Verdict>,
    /// Id of what that was said of: the incident, or an anomaly of it.
    said_of: Option<String>,
    /// Scores times shares, summed up per column; with the sum of the scores, the mean of the shares.
    shares: Vec<f64>,
    weight: f64,
    stretch: Option<Stretch>,
    /// Event time and severity when it was last told of.
    told: (i64, Severity),
    /// Time of the row before, if it was from another age.
    leap: Option<i64>,
}

impl Incident {
    /// Opens with its first anomalous row. `columns` are as they came and as they were expected.
    pub fn open(row: &Evidence<'_>, severity: Severity, columns: Vec<Compared>) -> Self {
        let mut incident = Self {
            first: row.mark,
            last: row.mark,
            anomalies: 0,
            opening: Opening::default(),
            peak: Peak { score: row.score, p_value: row.p_value, limit: row.limit, columns },
            severity,
            top_column: None,
            level_shift: false,
            verdict: None,
            said_of: None,
            shares: Vec::new(),
            weight: 0.0,
            stretch: None,
            told: (row.mark.time_us, severity),
            leap: None,
        };
        incident.count(row);
        incident.top_column = incident.top(1).first().map(|(column, _)| *column);
        incident
    }

    /// Takes in a further anomalous row and says what there is to tell. `columns` is asked for where it is the worst.
    pub fn add(
        &mut self,
        row: &Evidence<'_>,
        bounds: &SeverityBounds,
        retelling: &Retelling,
        columns: impl FnOnce() -> Vec<Compared>,
    ) -> Update {
        self.count(row);
        if self.peak.is_below(row.score, row.p_value) {
            self.peak = Peak { score: row.score, p_value: row.p_value, limit: row.limit, columns: columns() };
            // What was told as critical stays so, whatever the bounds of a later configuration.
            self.severity = self.severity.max(bounds.of(row.p_value));
        }
        self.tell(retelling)
    }

    /// Several that are one from now on, which was told of just now; `None` of none. It has the column to blame of the one
    /// that began first.
    pub fn of_all<'a>(incidents: impl Iterator<Item = &'a Self>) -> Option<Self> {
        let mut incidents: Vec<&Self> = incidents.collect();
        incidents.sort_by_key(|incident| incident.first.time_us);
        let (first, others) = incidents.split_first()?;
        let mut whole = Self { level_shift: false, verdict: None, stretch: None, ..(*first).clone() };
        others.iter().for_each(|other| whole.merge(other));
        whole.told = (whole.last.time_us, whole.severity);
        Some(whole)
    }

    /// Takes in all rows of another one and says what there is to tell.
    pub fn absorb(&mut self, other: &Self, retelling: &Retelling) -> Update {
        self.merge(other);
        self.tell(retelling)
    }

    /// Takes in a row that is not anomalous.
    pub fn quiet(&mut self) {
        let Some(stretch) = &mut self.stretch else { return };
        stretch.rows += 1;
        if (stretch.anomalies as f64) < SHIFTED * stretch.rows as f64 {
            self.stretch = None;
        }
    }

    /// Whether it is what a verdict is about, or holds the anomaly that one is about.
    pub fn is_meant_by(&self, subject: &Subject) -> bool {
        let (at, first) = (subject.position(), self.first.position);
        match subject.kind() {
            SubjectKind::Incident => at == first,
            SubjectKind::Anomaly => {
                at.partition == first.partition && (first.offset..=self.last.position.offset).contains(&at.offset)
            }
            SubjectKind::Silence | SubjectKind::Group => false,
        }
    }

    /// A person said this of what it is or holds; `None` takes back what was said of the same id, and of no other.
    pub fn heed(&mut self, subject: &Subject, verdict: Option<Verdict>) {
        if verdict.is_some() || self.said_of.as_deref() == Some(subject.id()) {
            self.said_of = verdict.map(|_| subject.id().to_owned());
            self.verdict = verdict;
        }
    }

    /// Columns mean something else from now on: what is known of them is forgotten.
    pub fn forget_columns(&mut self) {
        (self.top_column, self.weight) = (None, 0.0);
        self.shares.clear();
        self.peak.columns.clear();
        self.opening.onsets.clear();
    }

    /// The `count` columns with the largest share of the incident's error, largest first, each with its share: the mean of
    /// its shares in the anomalous rows, weighted by their scores. Columns without error are left out.
    pub fn top(&self, count: usize) -> Vec<(usize, f64)> {
        let order = leading(self.shares.len(), count, |column| self.shares[column]);
        order.into_iter().map(|column| (column, self.shares[column] / self.weight)).collect()
    }

    fn merge(&mut self, other: &Self) {
        self.anomalies += other.anomalies;
        if other.first.time_us < self.first.time_us {
            (self.first, self.opening) = (other.first, other.opening.clone());
        }
        if other.last.time_us >= self.last.time_us {
            self.last = other.last;
        }
        if self.peak.is_below(other.peak.score, other.peak.p_value) {
            self.peak = other.peak.clone();
        }
        self.severity = self.severity.max(other.severity);
        if self.shares.len() == other.shares.len() {
            self.shares.iter_mut().zip(&other.shares).for_each(|(sum, share)| *sum += share);
            self.weight += other.weight;
        } else if self.shares.is_empty() {
            // What was known of its columns was forgotten, and the other one has seen rows since.
            (self.shares, self.weight) = (other.shares.clone(), other.weight);
        }
    }

    fn count(&mut self, row: &Evidence<'_>) {
        self.anomalies += 1;
        let time_us = self.clock(row.mark.time_us);
        self.last = Mark { position: row.mark.position, time_us };
        if self.shares.len() != row.shares.len() {
            self.shares.clear();
            self.shares.resize(row.shares.len(), 0.0);
            self.weight = 0.0;
        }
        self.shares.iter_mut().zip(row.shares).for_each(|(sum, share)| *sum += row.score * f64::from(*share));
        self.weight += row.score;
        let stretch = self.stretch.get_or_insert(Stretch { start_us: time_us, rows: 0, anomalies: 0 });
        (stretch.rows, stretch.anomalies) = (stretch.rows + 1, stretch.anomalies + 1);
    }

    /// The time of its latest row, given that of the next one. Times may go back, and an incident never lasts less than before;
    /// but a row from another age is of a broken clock, unless the next one agrees with it.
    fn clock(&mut self, time_us: i64) -> i64 {
        let leap = self.leap.take();
        if time_us.abs_diff(self.last.time_us) <= LEAP_US {
            return self.last.time_us.max(time_us);
        }
        if leap.is_none_or(|leap| time_us.abs_diff(leap) > LEAP_US) {
            self.leap = Some(time_us);
            return self.last.time_us;
        }
        if time_us < self.last.time_us {
            // What was reckoned by the broken clock begins anew.
            self.first.time_us = self.first.time_us.min(time_us);
            self.told.0 = self.told.0.min(time_us);
            self.stretch = None;
        }
        time_us
    }

    fn tell(&mut self, retelling: &Retelling) -> Update {
        let update = self.update(retelling);
        if update != Update::None {
            self.told = (self.last.time_us, self.severity);
        }
        update
    }

    fn update(&mut self, retelling: &Retelling) -> Update {
        let Mark { time_us, .. } = self.last;
        let lasted = self.stretch.map(|stretch| time_us.saturating_sub(stretch.start_us));
        if !self.level_shift
            && let (Some(lasted), Some(after)) = (lasted, retelling.new_normal_after_us)
            && lasted >= after
        {
            self.level_shift = true;
            return Update::NewNormal;
        }
        let (told_us, severity) = self.told;
        let due = time_us.saturating_sub(told_us) >= retelling.update_interval_us;
        if due || self.severity > severity { Update::Due } else { Update::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;
    const RETELLING: Retelling = Retelling { update_interval_us: 10 * MINUTE, new_normal_after_us: Some(360 * MINUTE) };

    fn bounds() -> SeverityBounds {
        SeverityBounds::new(1e-4, 1e-6).unwrap()
    }

    fn row(minute: i64, (score, p_value): (f64, f64), shares: &[f32]) -> Evidence<'_> {
        let mark = Mark { position: Position { partition: 0, offset: minute }, time_us: minute * MINUTE };
        Evidence { mark, score, limit: 4.0, p_value, shares }
    }

    fn compared(value: f64, expected: f64) -> Compared {
        Compared { value, expected, error: value - expected }
    }

    fn opened() -> Incident {
        let columns = vec![compared(1.0, 0.5), compared(9.0, 3.0)];
        Incident::open(&row(0, (5.0, 1e-3), &[0.25, 0.75]), Severity::Info, columns)
    }

    fn add(incident: &mut Incident, row: &Evidence<'_>) -> Update {
        incident.add(row, &bounds(), &RETELLING, || vec![compared(row.score, 0.0); row.shares.len()])
    }

    #[test]
    fn anomalies_close_to_each_other_are_one_incident() {
        use IncidentChange::{Continued, Opened, Quiet, Resolved};
        let mut state = IncidentState::default();
        let verdicts = [true, false, false, true, false, false, false, true];
        let changes = verdicts.map(|verdict| state.advance(verdict, 2));
        assert_eq!(changes, [Opened, Quiet, Quiet, Continued, Quiet, Quiet, Resolved, Opened]);
        assert_eq!(state.open(), Some(1));
        assert_eq!(size_of::<IncidentState>(), 8, "every entity has one");
    }

    #[test]
    fn without_quiet_rows_each_run_of_anomalies_is_an_incident() {
        let mut state = IncidentState::default();
        let opened =
            [true, true, false, true].iter().filter(|v| state.advance(**v, 0) == IncidentChange::Opened).count();
        assert_eq!(opened, 2);
    }

    #[test]
    fn an_incident_that_is_ended_is_resolved_once() {
        let mut state = IncidentState::default();
        assert_eq!(state.end(), IncidentChange::None);
        state.advance(true, 2);
        assert_eq!((state.end(), state.open(), state.end()), (IncidentChange::Resolved, None, IncidentChange::None));
    }

    #[test]
    fn a_verdict_means_the_incident_with_its_id_and_that_which_holds_its_anomaly() {
        let mut incident = opened();
        add(&mut incident, &row(9, (5.0, 1e-3), &[0.5, 0.5]));
        let is_meant = |subject: Subject| incident.is_meant_by(&subject);
        assert!(is_meant(Subject::incident("s-0-0").unwrap()));
        assert!(!is_meant(Subject::incident("s-0-9").unwrap()), "it begins elsewhere");
        assert!(!is_meant(Subject::incident("s-0-0-silence").unwrap()));
        let of_anomaly = |place: &str| is_meant(Subject::anomaly(&format!("s-{place}-5c0ffee5a11d")).unwrap());
        assert_eq!(["0-0", "0-9", "0-10", "1-0"].map(of_anomaly), [true, true, false, false]);
    }

    #[test]
    fn what_is_taken_back_is_what_was_said_of_the_same_id() {
        let mut incident = opened();
        let (itself, anomaly) = (Subject::incident("s-0-0").unwrap(), Subject::anomaly("s-0-0-5c0ffee5a11d").unwrap());
        incident.heed(&itself, Some(Verdict::ExpectedChange));
        incident.heed(&anomaly, None);
        assert_eq!(incident.verdict, Some(Verdict::ExpectedChange));
        incident.heed(&itself, None);
        assert_eq!(incident.verdict, None);
    }

    #[test]
    fn a_row_of_a_broken_clock_neither_ends_the_telling_nor_makes_a_level_shift() {
        const CENTURY: i64 = 100 * 365 * 1440;
        let mut incident = opened();
        assert_eq!(add(&mut incident, &row(CENTURY, (5.0, 1e-3), &[1.0, 0.0])), Update::None);
        assert_eq!(add(&mut incident, &row(12, (5.0, 1e-3), &[1.0, 0.0])), Update::Due);
        assert_eq!((incident.last.time_us, incident.level_shift), (12 * MINUTE, false));
        // An incident that began with such a row comes back to the time of the others, and one after an outage goes on.
        let mut ahead = Incident::open(&row(CENTURY, (5.0, 1e-3), &[1.0, 0.0]), Severity::Info, Vec::new());
        for minute in 1..3 {
            add(&mut ahead, &row(minute, (5.0, 1e-3), &[1.0, 0.0]));
        }
        assert_eq!((ahead.first.time_us, ahead.last.time_us), (2 * MINUTE, 2 * MINUTE));
        assert_eq!(add(&mut ahead, &row(12, (5.0, 1e-3), &[1.0, 0.0])), Update::Due);
        for minute in 0..2 {
            add(&mut ahead, &row(60 * 1440 + minute, (5.0, 1e-3), &[1.0, 0.0]));
        }
        assert_eq!(ahead.last.time_us, (60 * 1440 + 1) * MINUTE);
    }

    #[test]
    fn shares_are_weighted_by_the_scores_of_their_rows() {
        let mut incident = opened();
        assert_eq!(incident.top_column, Some(1));
        add(&mut incident, &row(1, (15.0, 1e-3), &[1.0, 0.0]));
        let top = incident.top(5);
        // (5 * 0.25 + 15 * 1) / 20 and (5 * 0.75) / 20.
        assert_eq!(top, [(0, 0.8125), (1, 0.1875)]);
        assert_eq!(incident.top(1), [(0, 0.8125)]);
        assert_eq!(incident.top_column, Some(1), "the blame of the first anomaly stays, as alerts are grouped by it");
    }

    #[test]
    fn the_peak_is_the_rarest_row_whatever_model_scored_it() {
        let mut incident = opened();
        add(&mut incident, &row(1, (900.0, 1e-2), &[0.5, 0.5]));
        assert_eq!((incident.peak.score, incident.peak.columns[0]), (5.0, compared(1.0, 0.5)), "higher, but not rarer");
        add(&mut incident, &row(2, (3.0, 1e-5), &[0.5, 0.5]));
        let value = incident.peak.columns[0].value;
        assert_eq!((incident.peak.score, value, incident.severity), (3.0, 3.0, Severity::Warning));
        add(&mut incident, &row(3, (4.0, 1e-5), &[0.5, 0.5]));
        assert_eq!(incident.peak.score, 4.0, "of equals the highest");
    }

    #[test]
    fn updates_come_after_an_interval_of_event_time_or_at_once_where_severity_rises() {
        let mut incident = opened();
        let mild = |minute| row(minute, (5.0, 1e-3), &[0.5, 0.5]);
        assert_eq!(add(&mut incident, &mild(9)), Update::None);
        assert_eq!(add(&mut incident, &mild(10)), Update::Due);
        assert_eq!(add(&mut incident, &row(11, (9.0, 1e-5), &[0.5, 0.5])), Update::Due);
        assert_eq!(add(&mut incident, &row(12, (9.0, 1e-5), &[0.5, 0.5])), Update::None, "no rise");
        assert_eq!(add(&mut incident, &mild(20)), Update::None, "the interval begins with the last update");
        assert_eq!(add(&mut incident, &mild(21)), Update::Due);
    }

    #[test]
    fn a_level_shift_is_offered_once_and_needs_nine_of_ten_rows() {
        let mild = |minute| row(minute, (5.0, 1e-3), &[0.5, 0.5]);
        let mut offers = Vec::new();
        let mut incident = opened();
        for minute in 1..1000 {
            if minute % 20 == 0 {
                incident.quiet();
            } else if add(&mut incident, &mild(minute)) == Update::NewNormal {
                offers.push(minute);
            }
        }
        assert_eq!(offers, [361], "minute 360 is a quiet one");
        let mut patchy = opened();
        for minute in 1..1000 {
            match minute % 5 {
                0 => patchy.quiet(),
                _ => assert_ne!(add(&mut patchy, &mild(minute)), Update::NewNormal, "{minute}: four of five"),
            }
        }
        let mut never = opened();
        let retelling = Retelling { new_normal_after_us: None, ..RETELLING };
        for minute in 1..1000 {
            assert_ne!(never.add(&mild(minute), &bounds(), &retelling, Vec::new), Update::NewNormal);
        }
    }

    #[test]
    fn what_is_known_of_columns_ends_with_their_meaning_and_the_incident_goes_on() {
        let mut incident = opened();
        let counterfactual = Some(Counterfactual { score: 1.5, under_limit: true });
        incident.opening = Opening { onsets: vec![Some(2), None], counterfactual };
        incident.forget_columns();
        assert_eq!((incident.top_column, incident.top(5).len(), incident.anomalies), (None, 0, 1));
        assert_eq!(incident.opening, Opening { onsets: Vec::new(), counterfactual }, "a score is of no column");
        add(&mut incident, &row(1, (9.0, 1e-5), &[0.0, 0.25, 0.75]));
        assert_eq!(incident.top(1), [(2, 0.75)]);
        assert_eq!((incident.first.time_us, incident.anomalies), (0, 2));
    }

    #[test]
    fn what_is_known_of_the_first_row_of_several_is_that_of_the_one_that_came_first() {
        let explained = Opening {
            onsets: vec![Some(1), None],
            counterfactual: Some(Counterfactual { score: 1.5, under_limit: true }),
        };
        let mut early = Incident::open(&row(-5, (5.0, 1e-3), &[0.5, 0.5]), Severity::Info, Vec::new());
        early.opening = explained.clone();
        let mut late = opened();
        late.absorb(&early, &RETELLING);
        assert_eq!((late.first, &late.opening), (early.first, &explained));
        early.absorb(&opened(), &RETELLING);
        assert_eq!(early.opening, explained);
    }

    #[test]
    fn a_time_that_goes_back_makes_no_incident_shorter() {
        let mut incident = opened();
        add(&mut incident, &row(9, (5.0, 1e-3), &[0.5, 0.5]));
        add(&mut incident, &row(3, (5.0, 1e-3), &[0.5, 0.5]));
        assert_eq!((incident.last.time_us, incident.last.position.offset), (9 * MINUTE, 3));
    }
}
