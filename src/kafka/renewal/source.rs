//! A source whose consumer is made anew when its files change.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{Look, Watch};
use crate::{
    config::settings::KafkaSettings,
    kafka::{KafkaError, certificates, source::KafkaSource},
    pipeline::{Polled, Source, SourceError, SourceEvent},
    record::{Position, RawRecord},
};

/// How long nothing is read so that what was read may end. Outputs are acknowledged within milliseconds.
const DRAIN_WAIT: Duration = Duration::from_secs(5);
/// Time before the next such pause where it did not end: a cold start ends nothing before it has its model.
const DRAIN_AGAIN: Duration = Duration::from_secs(60);
/// How long partitions that the old consumer left are waited for.
const JOIN_WAIT: Duration = Duration::from_secs(60);
/// How long the last commit before the change may take.
const COMMIT_WAIT: Duration = Duration::from_secs(5);

/// The input topic, read with what the files hold now.
pub struct RenewingSource {
    inner: KafkaSource,
    settings: KafkaSettings,
    watch: Watch,
    state: State,
    /// Offset after the last record lent, per partition that is ours.
    lent: BTreeMap<i32, i64>,
    /// Offset up to which all records have ended, per partition that is ours.
    ended: BTreeMap<i32, i64>,
    /// Partitions that are ours.
    assigned: BTreeSet<i32>,
    /// Partitions that the old consumer left to the new one, which still joins the group, with the offset of the next record.
    /// Where it finds one as it was left, windows and scores go on as if nothing had happened.
    left: BTreeMap<i32, i64>,
    /// When a new consumer took the old one's place.
    replaced: Instant,
    /// Whether the pipeline wants nothing to be lent.
    paused: bool,
    /// Whether the broker can't be reached.
    down: bool,
    /// The share that the old consumer had.
    share: f64,
    /// Partitions whose records are read again before these offsets, of which nobody needs to know.
    known: BTreeMap<i32, i64>,
    /// The most records that are read again of partitions that come; `None` before it was said.
    rewind: Option<i64>,
    /// What is to be told at the next look.
    news: Vec<SourceEvent>,
}

#[derive(Debug)]
enum State {
    /// The files hold what the consumer was made of.
    Steady,
    /// Nothing is lent until what was lent has ended.
    Draining { since: Instant },
    /// It did not end; read on with the old consumer for a while.
    Waiting { since: Instant },
}

impl RenewingSource {
    /// Subscribes; a broker that is away is waited for.
    ///
    /// # Errors
    /// The settings can't be used.
    pub fn connect(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let watch = Watch::new(settings);
        Ok(Self {
            inner: KafkaSource::connect(settings)?,
            settings: settings.clone(),
            watch,
            state: State::Steady,
            lent: BTreeMap::new(),
            ended: BTreeMap::new(),
            assigned: BTreeSet::new(),
            left: BTreeMap::new(),
            replaced: Instant::now(),
            paused: false,
            down: false,
            share: 1.0,
            known: BTreeMap::new(),
            rewind: None,
            news: Vec::new(),
        })
    }

    /// Looks at the files, and goes on with what they ask for.
    fn renew(&mut self) -> Result<(), SourceError> {
        match self.watch.look() {
            Look::Same => {}
            Look::New => {
                tracing::info!("certificates or passwords of Kafka have changed: making a new connection");
                self.drain()?;
            }
            Look::Unfit(why) => self.news.push(SourceEvent::Renewed(Err(why))),
        }
        match self.state {
            // Whoever can't be reached acknowledges nothing: there is nothing to wait for.
            State::Draining { .. } | State::Waiting { .. } if self.down => self.replace(),
            State::Draining { .. } if self.is_drained() => self.replace(),
            State::Draining { since } if since.elapsed() >= DRAIN_WAIT => {
                self.state = State::Waiting { since: Instant::now() };
                self.inner.pause(self.paused)
            }
            State::Waiting { since } if since.elapsed() >= DRAIN_AGAIN => self.drain(),
            State::Steady if !self.left.is_empty() && !self.down && self.replaced.elapsed() >= JOIN_WAIT => {
                // They went to another member of the group.
                let gone = std::mem::take(&mut self.left).into_keys().collect();
                self.news.push(SourceEvent::Revoked(gone));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn drain(&mut self) -> Result<(), SourceError> {
        self.state = State::Draining { since: Instant::now() };
        self.inner.pause(true)
    }

    /// Whether every record that was lent has ended.
    fn is_drained(&self) -> bool {
        self.lent.iter().all(|(partition, next)| self.ended.get(partition) == Some(next))
    }

    /// Puts a new consumer in the old one's place.
    fn replace(&mut self) -> Result<(), SourceError> {
        self.state = State::Steady;
        let mut new = match KafkaSource::unsubscribed(&self.settings, None) {
            Ok(new) => new,
            // The files have changed once more since they were looked at.
            Err(error) => {
                self.news.push(SourceEvent::Renewed(Err(error.to_string())));
                return self.inner.pause(self.paused);
            }
        };
        self.share = self.share();
        self.rewind.into_iter().for_each(|most| new.rewind(most));
        self.inner.commit_last(if self.down { Duration::ZERO } else { COMMIT_WAIT })?;
        self.news.extend(self.inner.events().into_iter().filter(|event| matches!(event, SourceEvent::Committed(_))));
        // The old member leaves the group before the new one joins, so that its partitions are free.
        drop(std::mem::replace(&mut self.inner, new));
        self.inner.subscribe().map_err(|error| SourceError::Fatal(error.to_string()))?;
        self.inner.pause(self.paused)?;
        self.down = false;
        let ended = std::mem::take(&mut self.ended);
        let (left, open): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.lent)
            .into_iter()
            .partition(|(partition, next)| ended.get(partition) == Some(next));
        // What has not ended is read again; so is what nobody has read of yet, which costs nothing.
        let forgotten: Vec<i32> =
            self.assigned.iter().copied().filter(|partition| !left.contains_key(partition)).collect();
        if !open.is_empty() {
            tracing::warn!(partitions = ?open.keys(), "records that have not ended are read again by the new connection");
        }
        if !forgotten.is_empty() {
            self.news.push(SourceEvent::Revoked(forgotten));
        }
        self.assigned.clear();
        self.known.clear();
        self.left.extend(left);
        self.replaced = Instant::now();
        let expiries = certificates::expiries(&self.settings);
        self.news.extend([SourceEvent::Renewed(Ok(())), SourceEvent::Certificates(expiries)]);
        Ok(())
    }

    /// The new consumer has these partitions. Gives those that go on as if nothing had happened.
    fn settle(&mut self, partitions: &[i32]) -> Vec<i32> {
        let left: BTreeMap<i32, i64> =
            partitions.iter().filter_map(|partition| self.left.remove_entry(partition)).collect();
        let ours: Vec<i32> = left.keys().copied().collect();
        let committed = self.inner.committed(&ours).unwrap_or_else(|error| {
            tracing::warn!(%error, "committed offsets can't be had, so windows fill anew");
            BTreeMap::new()
        });
        let (kept, gone): (Vec<i32>, Vec<i32>) =
            ours.into_iter().partition(|partition| committed.get(partition) == left.get(partition));
        self.lent.extend(kept.iter().map(|partition| (*partition, left[partition])));
        self.ended.extend(kept.iter().map(|partition| (*partition, left[partition])));
        if !gone.is_empty() {
            self.news.push(SourceEvent::Revoked(gone));
        }
        kept
    }

    fn book(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Assigned(partitions) => {
                let kept = self.settle(&partitions);
                self.assigned.extend(&partitions);
                let new = partitions.into_iter().filter(|partition| !kept.contains(partition)).collect();
                self.news.push(SourceEvent::Assigned(new));
            }
            // It goes on as if nothing had happened: its windows are as they were.
            SourceEvent::Resumes { next, .. } if self.lent.get(&next.partition) == Some(&next.offset) => {
                self.known.insert(next.partition, next.offset);
            }
            SourceEvent::Resumes { next, from } => {
                // What is read again has ended before: a partition without new records must not be waited for.
                self.ended.insert(next.partition, next.offset);
                self.news.push(SourceEvent::Resumes { next, from });
            }
            SourceEvent::Revoked(partitions) => {
                for partition in &partitions {
                    self.known.remove(partition);
                    self.lent.remove(partition);
                    self.ended.remove(partition);
                    self.assigned.remove(partition);
                }
                self.news.push(SourceEvent::Revoked(partitions));
            }
            other => {
                match other {
                    SourceEvent::Up => self.down = false,
                    SourceEvent::Down(_) => self.down = true,
                    _ => {}
                }
                self.news.push(other);
            }
        }
    }
}

/// Whether the record was lent before. The first one of its partition that was not ends that.
fn is_known(known: &mut BTreeMap<i32, i64>, Position { partition, offset }: Position) -> bool {
    let is_known = known.get(&partition).is_some_and(|next| offset < *next);
    if !is_known {
        known.remove(&partition);
    }
    is_known
}

impl Source for RenewingSource {
    fn poll(
        &mut self,
        max: usize,
        wait: Duration,
        visit: &mut dyn FnMut(RawRecord<'_>),
    ) -> Result<Polled, SourceError> {
        let Self { inner, lent, known, .. } = self;
        // Records come in runs of one partition.
        let mut last: Option<Position> = None;
        let polled = inner.poll(max, wait, &mut |record| {
            let Position { partition, offset } = record.position;
            if !known.is_empty() && is_known(known, record.position) {
                return;
            }
            if let Some(before) = last.filter(|before| before.partition != partition) {
                lent.insert(before.partition, before.offset);
            }
            last = Some(Position { partition, offset: offset + 1 });
            visit(record);
        });
        if let Some(Position { partition, offset }) = last {
            lent.insert(partition, offset);
        }
        polled
    }

    fn events(&mut self) -> Vec<SourceEvent> {
        for event in self.inner.events() {
            self.book(event);
        }
        std::mem::take(&mut self.news)
    }

    fn finished(&mut self, next: Position, oldest: Option<i64>) -> Result<(), SourceError> {
        self.ended.insert(next.partition, next.offset);
        self.inner.finished(next, oldest)
    }

    fn rewind(&mut self, most: i64) {
        self.rewind = Some(most);
        self.inner.rewind(most);
    }

    fn pause(&mut self, paused: bool) -> Result<(), SourceError> {
        self.paused = paused;
        self.inner.pause(paused || matches!(self.state, State::Draining { .. }))
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        self.inner.commit()?;
        self.renew()
    }

    fn commit_last(&mut self, wait: Duration) -> Result<(), SourceError> {
        self.inner.commit_last(wait)
    }

    fn lag(&self) -> Option<i64> {
        self.inner.lag()
    }

    fn share(&self) -> f64 {
        if self.left.is_empty() { self.inner.share() } else { self.share }
    }
}
