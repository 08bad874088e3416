//! Remembers how each row of a backtest ended.

use std::collections::HashMap;

use super::{rejudge::Rejudge, sum::Scored, trace::Trace, training::Source};
use crate::{
    detect::{gates::Suppression, incident::IncidentChange},
    pipeline::{Observer, Unscored, incidents::Alarm, observed::Observed},
};

/// The observer. Rows end in any order, so they are kept by their number.
pub(super) struct Watch<'a> {
    source: &'a Source<'a>,
    first: usize,
    timed: bool,
    rows: Vec<Option<Ended>>,
    /// Incidents of groups that began with a row that counts.
    groups: usize,
    entities: HashMap<String, usize>,
    /// Other settings of judging, where better ones are looked for.
    rejudge: Option<Rejudge>,
    /// What the page shows, where one is written.
    trace: Option<Trace>,
}

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ended {
    /// Its number in the files.
    pub(super) row: usize,
    /// Number of its entity; rows of which it can't be told have one together.
    pub(super) entity: usize,
    /// Event time, microseconds since the epoch.
    pub(super) time_us: Option<i64>,
    pub(super) end: End,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    /// With the limit of the entity at that row.
    Judged {
        score: f64,
        limit: f64,
        anomalous: bool,
        opened: bool,
        /// Whether it would not have been anomalous with its top features as expected; of a row that opened an incident.
        is_explained: Option<bool>,
        suppressed: Option<Suppression>,
    },
    WarmingUp,
    Unusable,
}

impl End {
    /// The judged score.
    pub(super) fn score(&self) -> Option<f64> {
        match *self {
            Self::Judged { score, .. } => Some(score),
            Self::WarmingUp | Self::Unusable => None,
        }
    }

    /// The limit that it was compared with.
    pub(super) fn limit(&self) -> Option<f64> {
        match *self {
            Self::Judged { limit, .. } => Some(limit),
            Self::WarmingUp | Self::Unusable => None,
        }
    }
}

impl<'a> Watch<'a> {
    /// A watch over the rows that are not trained on. Where rows are not `timed`, what they have for a time says nothing.
    pub(super) fn new(source: &'a Source<'a>, timed: bool) -> Self {
        let (rows, entities) = (Vec::new(), HashMap::new());
        Self { source, first: source.first_scored(), timed, rows, groups: 0, entities, rejudge: None, trace: None }
    }

    /// The same, which also judges by other settings and traces what a page shows.
    pub(super) fn with(self, rejudge: Option<Rejudge>, trace: Option<Trace>) -> Self {
        Self { rejudge, trace, ..self }
    }

    /// Keeps a row's end, and gives its entity's number and its own from the first scored one on. A row that was trained on
    /// is passed through, so that windows stay whole, but it has no number and counts in no figure.
    fn note(&mut self, offset: i64, entity: &str, (time_us, end): (Option<i64>, End)) -> (usize, Option<usize>) {
        let new = self.entities.len();
        let entity = match self.entities.get(entity) {
            Some(number) => *number,
            None => *self.entities.entry(entity.to_owned()).or_insert(new),
        };
        let row = offset as usize;
        if self.source.trains_on(row) {
            return (entity, None);
        }
        let at = row - self.first;
        if self.rows.len() <= at {
            self.rows.resize(at + 1, None);
        }
        self.rows[at] = Some(Ended { row, entity, time_us: time_us.filter(|_| self.timed), end });
        (entity, Some(at))
    }

    /// All rows, in order, and what was traced.
    pub(super) fn finish(self, data: String, labels: Option<Vec<Option<bool>>>) -> (Scored, Option<Trace>) {
        // The pipeline ends every record that it is lent, before it ends itself.
        let kept: Vec<bool> = self.rows.iter().map(Option::is_some).collect();
        let rejudged = self.rejudge.and_then(|rejudge| rejudge.finish(&kept));
        let rows = self.rows.into_iter().flatten().collect();
        let mut entities = vec![String::new(); self.entities.len()];
        self.entities.into_iter().for_each(|(name, number)| entities[number] = name);
        (Scored { data, rows, groups: self.groups, entities, labels, rejudged }, self.trace)
    }
}

impl Observer for Watch<'_> {
    fn judged(&mut self, record: &Observed<'_>) {
        let opened = record.incident == IncidentChange::Opened;
        let (score, suppressed) = (record.judged.score, record.suppressed);
        let (limit, anomalous) = (record.limit(), record.is_anomalous());
        let is_explained = record.counterfactual.map(|told| told.under_limit);
        let end = End::Judged { score, limit, anomalous, opened, is_explained, suppressed };
        let (entity, row) = self.note(record.position.offset, record.entity, (Some(record.time_us), end));
        self.groups += usize::from(row.is_some() && record.alarm == Some(Alarm::Group));
        self.rejudge.iter_mut().for_each(|rejudge| rejudge.judge(record, entity, row));
        self.trace.iter_mut().for_each(|trace| trace.judged(record, entity, row));
    }

    fn unscored(&mut self, record: &Unscored<'_>) {
        let end = if record.why == "warming_up" { End::WarmingUp } else { End::Unusable };
        self.note(record.position.offset, record.entity, (record.time_us, end));
    }
}
