//! Records on their way into the scoring and out of it: lent by the source, or released after they had to wait; scored and
//! judged in batches; and what is kept of them over restarts.

use std::time::{Duration, Instant};

use super::{
    Polled,
    flow::{Flow, Outside},
    run::{Parts, RunError, now_ms},
    scoring::Scoring,
};

/// The longest that one poll waits: the loop looks at shutdown, deliveries and commits at least so often.
pub(super) const LONGEST_POLL: Duration = Duration::from_millis(100);

/// The same while records wait for their schema, which comes from another thread.
const HELD_POLL: Duration = Duration::from_millis(10);

/// The longest that one poll waits now.
pub(super) fn longest_poll(flow: &Flow) -> Duration {
    if flow.holds() { HELD_POLL } else { LONGEST_POLL }
}

/// Goes on with records that had to wait, as far as what they waited for came.
pub(super) fn release(parts: &mut Parts<'_>, flow: &mut Flow, scoring: &mut Scoring) -> Result<(), RunError> {
    let Parts { sink, observer, metrics, .. } = parts;
    let mut outside = Outside { sink: &mut **sink, metrics };
    while scoring.room() > 0
        && let Some(record) = flow.release(|raw| scoring.awaits(raw))
    {
        let record = record.lend();
        if scoring.is_refill(record.position) {
            scoring.refill(&record);
            metrics.records_reread(1);
            continue;
        }
        let end = scoring.take(&record, &mut **observer);
        flow.announce(scoring.announcements(), &mut outside)?;
        if let Some(end) = end {
            flow.end(&record, end, &mut outside)?;
        }
    }
    Ok(())
}

/// Takes what the source lends, as far as there is room.
pub(super) fn poll(
    parts: &mut Parts<'_>,
    flow: &mut Flow,
    scoring: &mut Scoring,
    wait: Duration,
) -> Result<Polled, RunError> {
    let Parts { source, sink, observer, metrics, .. } = parts;
    let mut outside = Outside { sink: &mut **sink, metrics };
    let mut failed = None;
    let mut first: Option<Instant> = None;
    let (now, mut reread) = (now_ms(), 0);
    let polled = source.poll(scoring.room(), wait, &mut |raw| {
        first.get_or_insert_with(Instant::now);
        let is_refill = scoring.is_refill(raw.position);
        if !is_refill {
            flow.open(&raw, now, outside.sink);
        }
        // Entities that were put back may have taken the room that there was.
        if flow.holds() || scoring.awaits(&raw) || scoring.room() == 0 {
            flow.hold(&raw);
            return;
        }
        if is_refill {
            scoring.refill(&raw);
            reread += 1;
            return;
        }
        let end = scoring.take(&raw, &mut **observer);
        failed = failed.take().or(flow.announce(scoring.announcements(), &mut outside).err());
        if let Some(end) = end {
            failed = failed.take().or(flow.end(&raw, end, &mut outside).err());
        }
    })?;
    if let Some(first) = first {
        flow.received(first.elapsed());
        metrics.records_reread(reread);
    }
    failed.map_or(Ok(polled), Err)
}

/// Looks after what is kept over restarts: reads it where partitions came, and writes what has changed.
pub(super) fn keep(parts: &mut Parts<'_>, flow: &mut Flow, scoring: &mut Scoring) -> Result<(), RunError> {
    let Some(keeping) = scoring.keeping() else { return Ok(()) };
    match keeping.read(parts.metrics) {
        None => {}
        Some(Ok(())) => parts.board.set_state(Ok(())),
        Some(Err(why)) => {
            tracing::warn!("what was kept of entities can't be read, and records wait for it: {why}");
            parts.board.set_state(Err(why));
        }
    }
    if scoring.pending() > 0 {
        return Ok(());
    }
    scoring.finish_refills();
    let mut sent = Ok(());
    scoring.snapshots(&mut |position, output| {
        if sent.is_ok() {
            sent = flow.send_beside(position, output, &mut *parts.sink);
        }
    });
    sent
}

/// Scores and judges the open batch.
pub(super) fn flush(parts: &mut Parts<'_>, flow: &mut Flow, scoring: &mut Scoring) -> Result<(), RunError> {
    let Parts { sink, observer, metrics, .. } = parts;
    let mut outside = Outside { sink: &mut **sink, metrics };
    let mut failed = None;
    let report = scoring.flush(&mut **observer, &mut |raw, end, announcements| {
        failed = failed.take().or(flow.announce(announcements, &mut outside).err());
        failed = failed.take().or(flow.end(raw, end, &mut outside).err());
    })?;
    scoring.tell_incidents((!flow.is_mute()).then_some(*metrics));
    if report.rows > 0 {
        flow.batch(&report, scoring);
    }
    failed.map_or(Ok(()), Err)
}
