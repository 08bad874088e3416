//! Remembers how each row of a backtest ended.

use std::collections::HashMap;

use super::sum::Scored;
use crate::{
    detect::incident::IncidentChange,
    pipeline::{Observer, Unscored, observed::Observed},
};

/// The observer. Rows end in any order, so they are kept by their number.
pub(super) struct Watch {
    first: usize,
    timed: bool,
    rows: Vec<Option<Ended>>,
    entities: HashMap<String, usize>,
}

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ended {
    /// Number of its entity; rows of which it can't be told have one together.
    pub(super) entity: usize,
    /// Event time, microseconds since the epoch.
    pub(super) time_us: Option<i64>,
    pub(super) end: End,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    Judged { score: f64, anomalous: bool, opened: bool },
    WarmingUp,
    Unusable,
}

impl Watch {
    /// A watch over the rows from `first` on. Where rows are not `timed`, what they have for a time says nothing.
    pub(super) fn new(first: usize, timed: bool) -> Self {
        Self { first, timed, rows: Vec::new(), entities: HashMap::new() }
    }

    fn note(&mut self, offset: i64, entity: &str, (time_us, end): (Option<i64>, End)) {
        let row = offset as usize - self.first;
        if self.rows.len() <= row {
            self.rows.resize(row + 1, None);
        }
        let new = self.entities.len();
        let entity = match self.entities.get(entity) {
            Some(number) => *number,
            None => *self.entities.entry(entity.to_owned()).or_insert(new),
        };
        self.rows[row] = Some(Ended { entity, time_us: time_us.filter(|_| self.timed), end });
    }

    /// All rows, in order.
    pub(super) fn finish(self, data: String, labels: Option<Vec<Option<bool>>>) -> Scored {
        // The pipeline ends every record that it is lent, before it ends itself.
        let rows = self.rows.into_iter().flatten().collect();
        let mut entities = vec![String::new(); self.entities.len()];
        self.entities.into_iter().for_each(|(name, number)| entities[number] = name);
        Scored { data, rows, entities, labels }
    }
}

impl Observer for Watch {
    fn judged(&mut self, record: &Observed<'_>) {
        let opened = matches!(record.incident, IncidentChange::Opened(_));
        let end = End::Judged { score: record.judged.score, anomalous: record.judged.anomalous, opened };
        self.note(record.position.offset, record.entity, (Some(record.time_us), end));
    }

    fn unscored(&mut self, record: &Unscored<'_>) {
        let end = if record.why == "warming_up" { End::WarmingUp } else { End::Unusable };
        self.note(record.position.offset, record.entity, (record.time_us, end));
    }
}
