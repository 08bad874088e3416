//! Delivery: which outputs wait for their acknowledgement, which records are done, and what may be committed.

mod heard;
mod held;
mod vitals;

use std::time::{Duration, Instant};

use held::Held;

use super::{
    End, Output, Sink, SourceEvent,
    batch_report::BatchReport,
    incidents::Announcement,
    outstanding::Outstanding,
    pause::Pause,
    run::{Parts, RunError, RunSummary},
    scoring::Scoring,
    state::Keeping,
};
use crate::{
    config::settings::{Role, Settings},
    record::{Position, RawRecord, RecordError, headers::KeptHeaders},
    stream::ledger::Ledger,
    telemetry::metrics::{BatchCounts, LocalDelay, LocalScores, Metrics},
};

/// Polling stops while so many outputs wait for their acknowledgement, so that a sink that is away can't fill the memory.
const MOST_OUTSTANDING: usize = 10_000;
/// Or while they hold so many bytes: far below what librdkafka's producer takes, so that `send` never has to wait long.
const MOST_OUTSTANDING_BYTES: usize = 64 << 20;
/// Time between two transactions while outputs wait for one: nobody sees them before.
const LONGEST_UNSEEN: Duration = Duration::from_millis(100);

/// The books of a run.
pub(super) struct Flow {
    ledger: Ledger,
    outstanding: Outstanding,
    commit_interval: Duration,
    last_commit: Instant,
    /// Why the source is paused, if it is.
    pause: Pause,
    held: Held,
    /// A trainer reads what scorers read too, and leaves publishing to them.
    mute: bool,
    /// Whether outputs are delivered with the offsets of their records: then a record is done when it has ended.
    with_offsets: bool,
    counts: BatchCounts,
    /// Time that the open batch's outputs took; it lies within the batch's time of judging.
    publishing: Duration,
    delay: LocalDelay,
    scores: LocalScores,
    /// When entities and open incidents were last told.
    population_told: Option<Instant>,
    /// Rows judged and incidents opened since the start: the measured alarm rate.
    judged: (u64, u64),
    /// Seconds between two rows of an entity, as the model was trained; `None` without a time order.
    interval_seconds: Option<f64>,
    /// What was last told of the sink's health.
    sink_told: Option<Result<(), String>>,
    summary: RunSummary,
}

impl Flow {
    pub(super) fn new(settings: &Settings, parts: &Parts<'_>) -> Self {
        parts.metrics.connecting();
        Self {
            ledger: Ledger::default(),
            outstanding: Outstanding::default(),
            commit_interval: settings.pipeline.commit_interval,
            last_commit: Instant::now(),
            pause: Pause::default(),
            held: Held::new(&settings.record.format),
            mute: settings.role == Role::Trainer,
            with_offsets: parts.sink.delivers_with_offsets(),
            counts: BatchCounts::default(),
            publishing: Duration::ZERO,
            delay: parts.metrics.local_delay(),
            scores: parts.metrics.local_scores(),
            population_told: None,
            judged: (0, 0),
            interval_seconds: None,
            // That a sink that starts is not connected yet is no news.
            sink_told: parts.sink.health().err().map(Err),
            summary: RunSummary::default(),
        }
    }

    /// A record came in, at `now_ms` of the wall clock.
    pub(super) fn open(&mut self, raw: &RawRecord<'_>, now_ms: i64, sink: &mut dyn Sink) {
        if !self.ledger.open(raw.position) {
            let Position { partition, offset } = raw.position;
            tracing::warn!(
                partition,
                offset,
                "the partition's offsets went back: its topic was made anew or truncated, or offsets were reset; going on from here"
            );
            self.ledger.revoke(partition);
            self.let_go(&[partition]);
            sink.forget(&[partition]);
            self.ledger.open(raw.position);
        }
        self.summary.records += 1;
        if let Some(sent) = raw.timestamp_ms {
            self.delay.observe((now_ms - sent) as f64 / 1000.0);
        }
    }

    /// Records of these partitions will not end here any more. Outputs that were to go with their offsets don't go.
    fn let_go(&mut self, partitions: &[i32]) {
        if self.with_offsets {
            self.outstanding.forget(partitions);
        } else {
            self.outstanding.revoked(partitions);
        }
    }

    /// Whether many outputs wait for records that have not ended.
    pub(super) fn has_many_waiting(&self) -> bool {
        self.with_offsets && self.outstanding.outputs() >= MOST_OUTSTANDING / 2
    }

    /// Records were received in this time, decoding included.
    pub(super) fn received(&mut self, took: Duration) {
        self.counts.receive += took;
    }

    /// A batch was scored.
    pub(super) fn batch(&mut self, report: &BatchReport, scoring: &Scoring) {
        self.interval_seconds = scoring.model().metadata.calibration.interval_seconds;
        if !self.mute {
            self.judged.0 += report.rows as u64;
            self.judged.1 += report.incidents_opened;
            self.counts.judged_seconds += report.rows as f64 * self.interval_seconds.unwrap_or_default();
        }
        self.scores.observe(scoring.scores_to_limits());
        self.counts.rows += report.rows as u64;
        self.counts.imputed_values += report.imputed_values;
        self.counts.out_of_order += report.out_of_order;
        self.counts.entities_evicted += report.evicted;
        self.counts.last_score = report.last_score.or(self.counts.last_score);
        self.counts.score += Duration::from_secs_f64(report.score_seconds);
        let publishing = std::mem::take(&mut self.publishing);
        self.counts.judge += Duration::from_secs_f64(report.judge_seconds).saturating_sub(publishing);
        self.counts.publish += publishing;
    }

    /// Whether what is found is published and told.
    pub(super) fn is_mute(&self) -> bool {
        self.mute
    }

    /// Another model judges from now on: what its predecessor raised says nothing of its rate.
    pub(super) fn swapped(&mut self) {
        self.judged = (0, 0);
    }

    /// Records of the sample that came to their end: their model is stored, or they made room for newer ones. Those
    /// that became dead letters end when their letter has.
    pub(super) fn collected(&mut self, positions: impl Iterator<Item = Position>) {
        for position in positions {
            if !self.outstanding.contains(position) && self.ledger.done(position) {
                self.counts.collected += 1;
            }
        }
    }

    /// A record came to its end, or to its last step before it: the delivery of its output.
    pub(super) fn end(&mut self, raw: &RawRecord<'_>, end: End, outside: &mut Outside<'_>) -> Result<(), RunError> {
        match end {
            End::Normal => self.end_quietly(raw.position, |counts| &mut counts.normal),
            End::WarmingUp => self.end_quietly(raw.position, |counts| &mut counts.warming_up),
            End::Late => self.end_quietly(raw.position, |counts| &mut counts.late),
            End::Duplicate => self.end_quietly(raw.position, |counts| &mut counts.duplicates),
            End::Tombstone => self.end_quietly(raw.position, |counts| &mut counts.tombstones),
            End::Anomalous { entity, json } => {
                self.counts.anomalous += 1;
                self.send_last(raw.position, Output::Anomaly { entity, json }, outside)
            }
            End::Suppressed { reason, event } => {
                self.counts.suppressed[reason as usize] += 1;
                let Some((entity, json)) = event else {
                    self.finish(raw.position);
                    return Ok(());
                };
                self.send_last(raw.position, Output::Anomaly { entity, json }, outside)
            }
            End::DeadLetter(error) => self.dead_letter(raw, &error, outside),
        }
    }

    /// A record came to its end, of which nothing is to be said but that it did.
    fn end_quietly(&mut self, position: Position, count: fn(&mut BatchCounts) -> &mut u64) -> Result<(), RunError> {
        *count(&mut self.counts) += 1;
        self.finish(position);
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
        let output = Output::DeadLetter {
            key: raw.key.map(<[u8]>::to_vec),
            payload: raw.payload.map(<[u8]>::to_vec),
            headers: raw.headers.map(KeptHeaders::copy).unwrap_or_default(),
            position: raw.position,
            reason: error.reason(),
            error: text,
        };
        self.send_last(raw.position, output, outside)
    }

    /// Tells of incidents. To be called before the records that caused them end, which wait for it.
    pub(super) fn announce(
        &mut self,
        announcements: &mut Vec<Announcement>,
        outside: &mut Outside<'_>,
    ) -> Result<(), RunError> {
        announcements.drain(..).try_for_each(|Announcement { position, entity, json }| {
            self.send(position, Output::Incident { entity, json }, outside)
        })
    }

    /// Sends the last output that a record causes.
    fn send_last(&mut self, position: Position, output: Output, outside: &mut Outside<'_>) -> Result<(), RunError> {
        self.send(position, output, outside)?;
        self.finish(position);
        Ok(())
    }

    /// Sends what no record waits for.
    pub(super) fn send_beside(&self, position: Position, output: Output, sink: &mut dyn Sink) -> Result<(), RunError> {
        if self.mute { Ok(()) } else { Ok(sink.send(position, output)?) }
    }

    fn send(&mut self, position: Position, output: Output, outside: &mut Outside<'_>) -> Result<(), RunError> {
        if self.mute {
            return Ok(());
        }
        let started = Instant::now();
        self.outstanding.sent(position, output.size());
        outside.sink.send(position, output)?;
        self.publishing += started.elapsed();
        Ok(())
    }

    /// A record has ended; it is done once all that it caused is delivered, or will be with its offset.
    fn finish(&mut self, position: Position) {
        if self.outstanding.ended(position) || self.with_offsets {
            self.ledger.done(position);
        }
    }

    /// What happens between two polls: deliveries, events of the source, offsets, commits, health. Gives the partitions
    /// that are no longer ours, whose records must be forgotten.
    pub(super) fn tend(
        &mut self,
        parts: &mut Parts<'_>,
        mut keeping: Option<&mut Keeping>,
        wait: Duration,
    ) -> Result<Vec<i32>, RunError> {
        self.take_deliveries(parts, keeping.as_deref_mut(), wait)?;
        let mut revoked = Vec::new();
        for event in parts.source.events() {
            // In their order: a partition may go and come back between two looks.
            match (&event, keeping.as_deref_mut()) {
                (SourceEvent::Revoked(partitions), Some(keeping)) => keeping.forget(partitions),
                (SourceEvent::Resumes { next, from }, Some(keeping)) => keeping.resume(*next, *from),
                _ => {}
            }
            self.source_event(event, parts, &mut revoked);
        }
        self.sink_health(parts);
        self.held.tend(parts, &revoked);
        if self.counts != BatchCounts::default() {
            parts.metrics.batch(&std::mem::take(&mut self.counts));
            self.delay.flush();
            self.scores.flush();
        }
        self.move_offsets(parts, keeping)?;
        let waiting = self.with_offsets && self.outstanding.outputs() > 0;
        let interval = if waiting { self.commit_interval.min(LONGEST_UNSEEN) } else { self.commit_interval };
        if self.last_commit.elapsed() >= interval {
            parts.source.commit()?;
            self.last_commit = Instant::now();
            self.gauges(parts);
        }
        parts.board.beat();
        self.hold_back(parts)?;
        Ok(revoked)
    }

    fn move_offsets(&mut self, parts: &mut Parts<'_>, mut keeping: Option<&mut Keeping>) -> Result<(), RunError> {
        let mut moved = Ok(());
        self.ledger.changed(|next| {
            let keeping = keeping.as_deref_mut();
            let oldest = keeping.and_then(|keeping| keeping.horizon.oldest(next.partition, next.offset));
            if moved.is_ok() {
                moved = parts.source.finished(next, oldest);
            }
        });
        Ok(moved?)
    }

    /// Stops the source while a model is trained, and resumes it after. It is polled on, so that its group is kept.
    pub(super) fn pause_for_training(&mut self, parts: &mut Parts<'_>, training: bool) -> Result<(), RunError> {
        self.set_pause(parts, Pause { training, ..self.pause })
    }

    /// Stops and resumes the source, so that outputs that nobody takes can't pile up while its group is kept.
    fn hold_back(&mut self, parts: &mut Parts<'_>) -> Result<(), RunError> {
        let (count, bytes) = (self.outstanding.outputs(), self.outstanding.bytes());
        let full = count >= MOST_OUTSTANDING || bytes >= MOST_OUTSTANDING_BYTES;
        let drained = count <= MOST_OUTSTANDING / 2 && bytes <= MOST_OUTSTANDING_BYTES / 2;
        let outputs = full || (self.pause.outputs && !drained);
        if outputs != self.pause.outputs {
            tracing::warn!(paused = outputs, outstanding = count, bytes, "outputs wait for the sink");
        }
        let schemas = !self.held.is_empty();
        self.set_pause(parts, Pause { outputs, schemas, ..self.pause })
    }

    fn set_pause(&mut self, parts: &mut Parts<'_>, pause: Pause) -> Result<(), RunError> {
        let was_on = std::mem::replace(&mut self.pause, pause).is_on();
        if pause.is_on() != was_on {
            parts.source.pause(pause.is_on())?;
        }
        Ok(())
    }

    /// Waits for the outstanding deliveries, commits, and sums up, by the deadline. Called once, at the end.
    pub(super) fn drain(
        mut self,
        parts: &mut Parts<'_>,
        keeping: &mut Option<Keeping>,
        deadline: Duration,
    ) -> Result<RunSummary, RunError> {
        let until = Instant::now() + deadline;
        while self.outstanding.outputs() > 0 && Instant::now() < until {
            self.tend(parts, keeping.as_mut(), Duration::from_millis(50))?;
        }
        self.tend(parts, keeping.as_mut(), Duration::ZERO)?;
        parts.source.commit_last(until.saturating_duration_since(Instant::now()))?;
        self.tend(parts, keeping.as_mut(), Duration::ZERO)?;
        match self.outstanding.outputs() {
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
