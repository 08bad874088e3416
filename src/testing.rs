//! Sources, sinks and scorers that live in memory: some work, some fail, some come and go.

use std::{collections::VecDeque, time::Duration};

use crate::{
    detect::{LoadError, ScoreError, Scorer, Scorers},
    model::{Model, metadata::Metadata},
    pipeline::{
        Delivery, Output, Polled, Sink, SinkError, Source, SourceError, SourceEvent,
        feedback::{Look, VerdictSource},
    },
    record::{Position, RawRecord},
    telemetry::OutputKind,
};

/// A record that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Where it stands.
    pub position: Position,
    /// Milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// Message key.
    pub key: Option<Vec<u8>>,
    /// Message value.
    pub payload: Option<Vec<u8>>,
}

/// What a [`VecSource`] does next.
#[derive(Debug)]
enum Step {
    Lend(OwnedRecord),
    Tell(SourceEvent),
}

/// Lends records from memory and keeps the books that Kafka would keep.
#[derive(Debug, Default)]
pub struct VecSource {
    steps: VecDeque<Step>,
    events: Vec<SourceEvent>,
    paused: bool,
    /// Positions that the pipeline called finished, in order.
    pub finished: Vec<Position>,
    /// What was committed so far, per call of `commit` the latest finished position per partition.
    pub committed: std::collections::BTreeMap<i32, i64>,
    /// Polls seen while paused.
    pub polls_while_paused: u64,
    /// Times that it was paused.
    pub pauses: u64,
}

impl VecSource {
    /// Payloads become records of partition 0, one second apart.
    pub fn of_payloads(payloads: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        Self::of_records(payloads.into_iter().enumerate().map(|(offset, payload)| OwnedRecord {
            position: Position { partition: 0, offset: offset as i64 },
            timestamp_ms: Some(offset as i64 * 1000),
            key: None,
            payload: Some(payload.into()),
        }))
    }

    /// These records.
    pub fn of_records(records: impl IntoIterator<Item = OwnedRecord>) -> Self {
        Self::default().then_records(records)
    }

    /// These records after what comes so far.
    #[must_use]
    pub fn then_records(mut self, records: impl IntoIterator<Item = OwnedRecord>) -> Self {
        self.steps.extend(records.into_iter().map(Step::Lend));
        self
    }

    /// This event after what comes so far.
    #[must_use]
    pub fn then_event(mut self, event: SourceEvent) -> Self {
        self.steps.push_back(Step::Tell(event));
        self
    }
}

impl Source for VecSource {
    fn poll(&mut self, max: usize, _: Duration, visit: &mut dyn FnMut(RawRecord<'_>)) -> Result<Polled, SourceError> {
        if self.paused {
            self.polls_while_paused += 1;
            return Ok(Polled::Idle);
        }
        let mut lent = 0;
        while lent < max {
            match self.steps.pop_front() {
                Some(Step::Lend(record)) => visit(RawRecord {
                    position: record.position,
                    timestamp_ms: record.timestamp_ms,
                    key: record.key.as_deref(),
                    payload: record.payload.as_deref(),
                    headers: None,
                }),
                // As with Kafka, an event ends a poll.
                Some(Step::Tell(event)) => {
                    self.events.push(event);
                    return Ok(if lent == 0 { Polled::Idle } else { Polled::Records(lent) });
                }
                None => break,
            }
            lent += 1;
        }
        Ok(if lent == 0 { Polled::End } else { Polled::Records(lent) })
    }

    fn events(&mut self) -> Vec<SourceEvent> {
        std::mem::take(&mut self.events)
    }

    fn finished(&mut self, next: Position, _: Option<i64>) -> Result<(), SourceError> {
        self.finished.push(next);
        Ok(())
    }

    fn pause(&mut self, paused: bool) -> Result<(), SourceError> {
        self.paused = paused;
        self.pauses += u64::from(paused);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        self.committed.extend(self.finished.iter().map(|next| (next.partition, next.offset)));
        Ok(())
    }

    fn commit_last(&mut self, _: Duration) -> Result<(), SourceError> {
        self.commit()
    }
}

/// Gives looks from memory, then nothing more.
#[derive(Debug, Default)]
pub struct VecVerdicts(pub VecDeque<Result<Look, String>>);

impl VerdictSource for VecVerdicts {
    fn look(&mut self, wait: Duration) -> Result<Look, String> {
        self.0.pop_front().unwrap_or_else(|| {
            std::thread::park_timeout(wait);
            Ok(Look::Nothing)
        })
    }
}

/// How a [`MemorySink`] treats what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SinkBehaviour {
    /// Acknowledges at the next look.
    #[default]
    Works,
    /// Acknowledges a few outputs a look.
    Slow,
    /// Takes everything and never acknowledges, like a broker that is away.
    Hangs,
    /// Refuses everything for good.
    Refuses,
    /// Acknowledges all but outputs of this kind, like a broker that lacks one topic.
    Withholds(OutputKind),
    /// Takes everything and then can't go on, like a producer that was fenced.
    Breaks,
}

/// Keeps outputs in memory.
#[derive(Debug, Default)]
pub struct MemorySink {
    /// What it does.
    pub behaviour: SinkBehaviour,
    /// What it was given, in order.
    pub outputs: Vec<(Position, Output)>,
    waiting: Vec<(Position, OutputKind)>,
}

impl MemorySink {
    /// A sink with this behaviour.
    pub fn new(behaviour: SinkBehaviour) -> Self {
        Self { behaviour, ..Self::default() }
    }
}

impl Sink for MemorySink {
    fn send(&mut self, position: Position, output: Output) -> Result<(), SinkError> {
        self.waiting.push((position, output.kind()));
        self.outputs.push((position, output));
        Ok(())
    }

    fn deliveries(&mut self, _: Duration, visit: &mut dyn FnMut(Delivery)) -> Result<(), SinkError> {
        let result = match self.behaviour {
            SinkBehaviour::Works | SinkBehaviour::Slow | SinkBehaviour::Withholds(_) => Ok(()),
            SinkBehaviour::Refuses => Err("refused".to_owned()),
            SinkBehaviour::Hangs => return Ok(()),
            SinkBehaviour::Breaks => return Err(SinkError::Fatal("broken for good".to_owned())),
        };
        if let SinkBehaviour::Withholds(withheld) = self.behaviour {
            let given = self.waiting.extract_if(.., |(_, kind)| *kind != withheld);
            given.for_each(|(position, kind)| visit(Delivery { position, kind, result: Ok(()) }));
            return Ok(());
        }
        let few = if self.behaviour == SinkBehaviour::Slow { 7 } else { usize::MAX };
        self.waiting
            .drain(..few.min(self.waiting.len()))
            .for_each(|(position, kind)| visit(Delivery { position, kind, result: result.clone() }));
        Ok(())
    }

    fn health(&self) -> Result<(), String> {
        match self.behaviour {
            SinkBehaviour::Hangs | SinkBehaviour::Breaks => Err("nobody answers".to_owned()),
            SinkBehaviour::Works | SinkBehaviour::Slow | SinkBehaviour::Refuses | SinkBehaviour::Withholds(_) => Ok(()),
        }
    }
}

/// Scores by the distance from the column's centre, up to its cap: a model that expects every value to stay where it was.
#[derive(Debug, Clone, Copy, Default)]
pub struct CentreScorers;

struct CentreScorer(Metadata);

impl Scorers for CentreScorers {
    fn scorer(&self, model: &Model) -> Result<Box<dyn Scorer>, LoadError> {
        Ok(Box::new(CentreScorer(model.metadata.clone())))
    }
}

impl Scorer for CentreScorer {
    fn score(&mut self, windows: &[f32], rows: usize, residuals: &mut Vec<f32>) -> Result<(), ScoreError> {
        let width = self.0.columns.len();
        let window = width * self.0.window;
        if windows.len() != rows * window {
            return Err(ScoreError::Shape { rows, got: windows.len(), expected: rows * window });
        }
        residuals.clear();
        for newest in windows.chunks_exact(window).map(|values| &values[window - width..]) {
            residuals.extend(newest.iter().zip(&self.0.columns).map(|(x, column)| {
                let cap = column.residual_cap.min(f32::MAX);
                column.scaled(*x).clamp(-cap, cap)
            }));
        }
        Ok(())
    }
}
