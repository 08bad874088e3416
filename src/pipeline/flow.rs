//! Delivery: which outputs wait for their acknowledgement, which records are done, and what may be committed.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    Delivery, Output, Sink, SourceEvent,
    run::{Parts, RunError, RunSummary},
    scoring::{BatchReport, End, Scoring},
};
use crate::{
    config::settings::Settings,
    record::{Position, RawRecord, RecordError},
    stream::ledger::Ledger,
    telemetry::{
        End as Side, OutputKind,
        metrics::{BatchCounts, LocalDelay, Metrics},
    },
};

/// Polling stops while so many outputs wait for their acknowledgement, so that a sink that is away can't fill the memory.
const MOST_OUTSTANDING: usize = 10_000;
const SECONDS_PER_DAY: f64 = 86_400.0;

/// The books of a run.
pub(super) struct Flow {
    ledger: Ledger,
    outstanding: HashMap<Position, OutputKind>,
    collected: Vec<Position>,
    commit_interval: Duration,
    last_commit: Instant,
    paused: bool,
    counts: BatchCounts,
    delay: LocalDelay,
    /// Rows judged and incidents opened since the start: the measured alarm rate.
    judged: (u64, u64),
    /// Seconds between two rows of an entity, as the model was trained; `None` without a time order.
    interval_seconds: Option<f64>,
    /// What was last told of the sink's health.
    sink_told: Option<Result<(), String>>,
    summary: RunSummary,
}

impl Flow {
    pub(super) fn new(settings: &Settings, metrics: &Metrics) -> Self {
        Self {
            ledger: Ledger::default(),
            outstanding: HashMap::new(),
            collected: Vec::new(),
            commit_interval: settings.pipeline.commit_interval,
            last_commit: Instant::now(),
            paused: false,
            counts: BatchCounts::default(),
            delay: metrics.local_delay(),
            judged: (0, 0),
            interval_seconds: None,
            sink_told: None,
            summary: RunSummary::default(),
        }
    }

    /// A record came in, at `now_ms` of the wall clock.
    pub(super) fn open(&mut self, raw: &RawRecord<'_>, now_ms: i64) {
        self.ledger.open(raw.position);
        self.summary.records += 1;
        if let Some(sent) = raw.timestamp_ms {
            self.delay.observe((now_ms - sent) as f64 / 1000.0);
        }
    }

    /// A batch was scored.
    pub(super) fn batch(&mut self, report: &BatchReport, scoring: &Scoring) {
        self.judged.0 += report.rows as u64;
        self.judged.1 += report.incidents_opened;
        self.interval_seconds = scoring.model().metadata.calibration.interval_seconds;
        self.counts.rows += report.rows as u64;
        self.counts.imputed_values += report.imputed_values;
        self.counts.incidents_opened += report.incidents_opened;
        self.counts.incidents_open = scoring.open_incidents().max(0) as u64;
        self.counts.entities = scoring.entities() as u64;
        self.counts.entities_evicted += report.evicted;
        self.counts.last_score = report.last_score.or(self.counts.last_score);
        self.counts.score += Duration::from_secs_f64(report.score_seconds);
        self.counts.judge += Duration::from_secs_f64(report.judge_seconds);
    }

    /// A record joined the sample: it stays open until the model that it made is stored.
    pub(super) fn collect(&mut self, position: Position) {
        self.collected.push(position);
    }

    /// The model is stored; what it was made of is done, but for records that became dead letters.
    pub(super) fn release_collected(&mut self) {
        for position in self.collected.drain(..) {
            if !self.outstanding.contains_key(&position) {
                self.counts.collected += 1;
                self.ledger.done(position);
            }
        }
    }

    /// A record came to its end, or to its last step before it: the delivery of its output.
    pub(super) fn end(&mut self, raw: &RawRecord<'_>, end: End, outside: &mut Outside<'_>) -> Result<(), RunError> {
        match end {
            End::Normal => {
                self.counts.normal += 1;
                self.ledger.done(raw.position);
            }
            End::WarmingUp => {
                self.counts.warming_up += 1;
                self.ledger.done(raw.position);
            }
            End::Anomalous { entity, json } => {
                self.counts.anomalous += 1;
                self.outstanding.insert(raw.position, OutputKind::Anomaly);
                outside.sink.send(raw.position, Output::Anomaly { entity, json })?;
            }
            End::DeadLetter(error) => self.dead_letter(raw, &error, outside)?,
        }
        Ok(())
    }

    fn dead_letter(
        &mut self,
        raw: &RawRecord<'_>,
        error: &RecordError,
        outside: &mut Outside<'_>,
    ) -> Result<(), RunError> {
        let text = error.to_string();
        outside.metrics.dead_letter(error.reason(), raw.position, &text);
        self.outstanding.insert(raw.position, OutputKind::DeadLetter);
        let output = Output::DeadLetter {
            key: raw.key.map(<[u8]>::to_vec),
            payload: raw.payload.map(<[u8]>::to_vec),
            position: raw.position,
            reason: error.reason(),
            error: text,
        };
        Ok(outside.sink.send(raw.position, output)?)
    }

    /// What happens between two polls: deliveries, events of the source, offsets, commits, health.
    pub(super) fn tend(&mut self, parts: &mut Parts<'_>, wait: Duration) -> Result<(), RunError> {
        self.take_deliveries(parts, wait);
        for event in parts.source.events() {
            self.source_event(event, parts);
        }
        self.sink_health(parts);
        if self.counts != BatchCounts::default() {
            parts.metrics.batch(&std::mem::take(&mut self.counts));
            self.delay.flush();
        }
        let mut moved = Ok(());
        self.ledger.changed(|next| {
            if moved.is_ok() {
                moved = parts.source.finished(next);
            }
        });
        moved?;
        if self.last_commit.elapsed() >= self.commit_interval {
            parts.source.commit(false)?;
            self.last_commit = Instant::now();
            self.gauges(parts);
        }
        parts.board.beat();
        self.hold_back(parts)
    }

    /// What changes slowly and is looked at once per commit.
    fn gauges(&self, parts: &Parts<'_>) {
        if let Some(lag) = parts.source.lag().and_then(|lag| u64::try_from(lag).ok()) {
            parts.metrics.consumer_lag(lag);
        }
        parts.metrics.ready(parts.board.readiness().is_ok());
        if let (Some(interval), (rows @ 1.., incidents)) = (self.interval_seconds, self.judged) {
            parts.metrics.alarm_rate_measured(incidents as f64 / (rows as f64 * interval / SECONDS_PER_DAY));
        }
    }

    fn sink_health(&mut self, parts: &Parts<'_>) {
        let health = parts.sink.health();
        if self.sink_told.as_ref() != Some(&health) {
            match &health {
                Ok(()) => parts.metrics.connected(Side::Sink),
                // A sink that starts is not connected yet, which is no news.
                Err(_) if self.sink_told.is_none() => {}
                Err(why) => parts.metrics.disconnected(Side::Sink, why),
            }
            parts.board.set_sink(health.clone());
            self.sink_told = Some(health);
        }
    }

    /// Stops and resumes the source, so that outputs that nobody takes can't pile up while its group is kept.
    fn hold_back(&mut self, parts: &mut Parts<'_>) -> Result<(), RunError> {
        let full = self.outstanding.len() >= MOST_OUTSTANDING;
        let drained = self.outstanding.len() <= MOST_OUTSTANDING / 2;
        if (full && !self.paused) || (drained && self.paused) {
            self.paused = full;
            parts.source.pause(self.paused)?;
            tracing::warn!(paused = self.paused, outstanding = self.outstanding.len(), "outputs wait for the sink");
        }
        Ok(())
    }

    fn take_deliveries(&mut self, parts: &mut Parts<'_>, wait: Duration) {
        let Self { ledger, outstanding, summary, .. } = self;
        let metrics = parts.metrics;
        parts.sink.deliveries(wait, &mut |Delivery { position, result }| {
            let Some(kind) = outstanding.remove(&position) else { return };
            match (&result, kind) {
                (Ok(()), OutputKind::Anomaly) => summary.anomalies += 1,
                (Ok(()), OutputKind::DeadLetter) => summary.dead_letters += 1,
                (Err(_), _) => summary.refused += 1,
            }
            metrics.delivered(kind, position, &result);
            ledger.done(position);
        });
    }

    fn source_event(&mut self, event: SourceEvent, parts: &mut Parts<'_>) {
        match event {
            SourceEvent::Assigned(partitions) => tracing::info!(?partitions, "partitions assigned"),
            SourceEvent::Revoked(partitions) => {
                tracing::info!(?partitions, "partitions revoked");
                for partition in partitions {
                    self.ledger.revoke(partition);
                }
            }
            SourceEvent::Up => {
                parts.metrics.connected(Side::Source);
                parts.board.set_source(Ok(()));
            }
            SourceEvent::Down(why) => {
                parts.metrics.disconnected(Side::Source, &why);
                parts.board.set_source(Err(why));
            }
        }
    }

    /// Waits for the outstanding deliveries, commits, and sums up. Called once, at the end.
    pub(super) fn drain(mut self, parts: &mut Parts<'_>, deadline: Duration) -> Result<RunSummary, RunError> {
        let until = Instant::now() + deadline;
        while !self.outstanding.is_empty() && Instant::now() < until {
            self.tend(parts, Duration::from_millis(50))?;
        }
        self.tend(parts, Duration::ZERO)?;
        parts.source.commit(true)?;
        match self.outstanding.len() {
            0 => Ok(self.summary),
            outputs => Err(RunError::Deadline { outputs }),
        }
    }
}

/// The part of the outside that an ending record needs.
pub(super) struct Outside<'a> {
    pub(super) sink: &'a mut dyn Sink,
    pub(super) metrics: &'a Metrics,
}
