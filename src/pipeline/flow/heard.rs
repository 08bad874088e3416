//! What both ends tell between two polls: how outputs ended, and what befell the source.

use std::time::Duration;

use super::Flow;
use crate::{
    pipeline::{
        Delivery, SourceEvent,
        run::{Parts, RunError},
        state::Keeping,
    },
    record::Position,
    telemetry::{End as Side, OutputKind},
};

impl Flow {
    pub(super) fn take_deliveries(
        &mut self,
        parts: &mut Parts<'_>,
        mut keeping: Option<&mut Keeping>,
        wait: Duration,
    ) -> Result<(), RunError> {
        let Self { ledger, outstanding, summary, .. } = self;
        let metrics = parts.metrics;
        parts.sink.deliveries(wait, &mut |Delivery { position, kind, result }| {
            if kind == OutputKind::Snapshot {
                metrics.delivered(kind, position, &result);
                let horizon = keeping.as_deref_mut().map(|keeping| &mut keeping.horizon);
                let as_of = position.offset + 1;
                horizon.into_iter().for_each(|known| known.ended(position.partition, as_of, result.is_ok()));
                return;
            }
            let Some(is_done) = outstanding.delivered(position) else { return };
            match (&result, kind) {
                (Ok(()), OutputKind::Anomaly) => summary.anomalies += 1,
                (Ok(()), OutputKind::Incident) => summary.incidents += 1,
                (Ok(()), OutputKind::DeadLetter) => summary.dead_letters += 1,
                (Ok(()), OutputKind::Snapshot) => {}
                (Err(_), _) => summary.refused += 1,
            }
            metrics.delivered(kind, position, &result);
            if is_done {
                ledger.done(position);
            }
        })?;
        Ok(())
    }

    pub(super) fn source_event(&mut self, event: SourceEvent, parts: &mut Parts<'_>, revoked: &mut Vec<i32>) {
        match event {
            SourceEvent::Assigned(partitions) => tracing::info!(?partitions, "partitions assigned"),
            SourceEvent::Resumes { next, from } => {
                let Position { partition, offset } = next;
                tracing::debug!(partition, offset, from, "reading begins before the place where the group goes on");
            }
            SourceEvent::Revoked(partitions) => {
                tracing::info!(?partitions, "partitions revoked");
                partitions.iter().for_each(|partition| {
                    self.ledger.revoke(*partition);
                });
                self.let_go(&partitions);
                revoked.extend(partitions);
            }
            SourceEvent::Lost { from, records } => parts.metrics.records_lost(from, records.unsigned_abs()),
            SourceEvent::Transaction(result) => parts.metrics.transaction(&result),
            SourceEvent::Committed(partitions) => parts.metrics.offsets_committed(partitions as u64),
            SourceEvent::Renewed(result) => parts.metrics.credentials(&result),
            SourceEvent::Certificates(expiries) => parts.metrics.certificates(&expiries),
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
}
