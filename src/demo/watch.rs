//! What the demo sees of the daemon's work, and what it makes of it.

use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::Sender,
    },
    time::Instant,
};

use super::display::{IncidentLine, TopFeature};
use crate::{
    detect::{explain::Blame, incident::IncidentChange},
    evaluate::{EvaluateError, Evaluation, Labelled, Series, evaluate},
    pipeline::{Observer, Unscored, observed::Observed},
    train::TimedEpoch,
};

/// Features named in an incident's line.
const NAMED: usize = 3;

/// What the daemon's thread tells the show.
pub(super) enum News {
    /// An epoch of the training ended.
    Epoch(TimedEpoch),
    /// A record ended.
    Ended(Told),
}

/// The end of one record, as the watch tells it.
pub(super) struct Told {
    offset: usize,
    end: Ended,
}

enum Ended {
    Collected,
    WarmingUp,
    DeadLetter,
    Judged { score: f64, anomalous: bool, opened: Option<Box<Opened>> },
}

/// An incident that just opened.
pub(super) struct Opened {
    time_us: i64,
    entity: String,
    score: f64,
    limit: f64,
    p_value: f64,
    blames: Vec<Blame>,
}

/// The observer: sends each record's end to the show.
pub(super) struct Watch<'a> {
    teller: Sender<News>,
    ended: &'a AtomicU64,
}

impl<'a> Watch<'a> {
    pub(super) fn new(teller: Sender<News>, ended: &'a AtomicU64) -> Self {
        Self { teller, ended }
    }

    fn tell(&self, offset: i64, end: Ended) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        // The show is over before the daemon when everything stays up; nobody listens then.
        let _ = self.teller.send(News::Ended(Told { offset: offset as usize, end }));
    }
}

impl Observer for Watch<'_> {
    fn judged(&mut self, record: &Observed<'_>) {
        let opened = (record.incident == IncidentChange::Opened).then(|| {
            Box::new(Opened {
                time_us: record.time_us,
                entity: record.entity.to_owned(),
                score: record.judged.score,
                limit: record.limit(),
                p_value: record.p_value(),
                blames: record.blames(NAMED),
            })
        });
        let (score, anomalous) = (record.judged.score, record.is_anomalous());
        self.tell(record.position.offset, Ended::Judged { score, anomalous, opened });
    }

    fn unscored(&mut self, record: &Unscored<'_>) {
        let end = match record.why {
            "collected" => Ended::Collected,
            "warming_up" => Ended::WarmingUp,
            _ => Ended::DeadLetter,
        };
        self.tell(record.position.offset, end);
    }
}

impl Told {
    /// Whether the model is at work, so that the training is over.
    pub(super) fn is_scored(&self) -> bool {
        !matches!(self.end, Ended::Collected)
    }
}

impl Opened {
    /// The line that tells of it.
    pub(super) fn write(&self, line: impl FnOnce(&IncidentLine<'_>) -> String) -> String {
        let top: Vec<TopFeature<'_>> = self
            .blames
            .iter()
            .map(|blame| TopFeature {
                name: &blame.name,
                value: blame.value,
                expected: blame.expected,
                share: blame.share,
            })
            .collect();
        line(&IncidentLine {
            time_us: self.time_us,
            entity: &self.entity,
            score: self.score,
            limit: self.limit,
            p_value: self.p_value,
            top: &top,
        })
    }
}

/// Everything that was told, kept for the summary.
pub(super) struct Tally {
    expected: usize,
    trained: usize,
    seen: usize,
    scores: Vec<Option<f64>>,
    flags: Vec<bool>,
    opened: Vec<usize>,
    dead_letters: u64,
    started: Instant,
    first_scored: Option<Instant>,
    last: Instant,
}

impl Tally {
    /// A tally of `expected` records, the first `trained` of which are the sample.
    pub(super) fn new(expected: usize, trained: usize) -> Self {
        let now = Instant::now();
        Self {
            expected,
            trained,
            seen: 0,
            scores: vec![None; expected - trained],
            flags: vec![false; expected - trained],
            opened: Vec::new(),
            dead_letters: 0,
            started: now,
            first_scored: None,
            last: now,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.seen >= self.expected
    }

    /// Takes one record's end; gives the incident that it opened.
    pub(super) fn take(&mut self, told: Told) -> Option<Box<Opened>> {
        self.seen += 1;
        self.last = Instant::now();
        match told.end {
            Ended::Collected | Ended::WarmingUp => None,
            Ended::DeadLetter => {
                self.dead_letters += 1;
                None
            }
            Ended::Judged { score, anomalous, opened } => {
                self.first_scored.get_or_insert(self.last);
                let row = told.offset.checked_sub(self.trained)?;
                *self.scores.get_mut(row)? = Some(score);
                self.flags[row] = anomalous;
                self.opened.extend(opened.is_some().then_some(row));
                opened
            }
        }
    }

    pub(super) fn records(&self) -> u64 {
        self.seen as u64
    }

    pub(super) fn anomalies(&self) -> u64 {
        self.flags.iter().filter(|flag| **flag).count() as u64
    }

    pub(super) fn dead_letters(&self) -> u64 {
        self.dead_letters
    }

    pub(super) fn incidents(&self) -> u64 {
        self.opened.len() as u64
    }

    /// Seconds since the show began.
    pub(super) fn seconds(&self) -> f64 {
        self.last.duration_since(self.started).as_secs_f64()
    }

    /// Records scored per second, from the first scored one to the last.
    pub(super) fn records_per_second(&self) -> Option<f64> {
        let seconds = self.last.duration_since(self.first_scored?).as_secs_f64();
        let scored = self.scores.iter().flatten().count();
        (seconds > 0.0).then(|| scored as f64 / seconds)
    }

    /// Judges the verdicts by the labels.
    pub(super) fn evaluate(&self, labels: &[bool], times_us: &[Option<i64>]) -> Result<Evaluation, EvaluateError> {
        let series = Series { scores: &self.scores, anomalies: &self.flags, opened: &self.opened, times_us };
        evaluate(&[Labelled { series, labels }])
    }
}
