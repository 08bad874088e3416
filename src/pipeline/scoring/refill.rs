//! A partition that came is read again from where its windows begin: entities are put back as they were kept, and what came
//! after that is judged again. Nobody is told of it: whoever had the partition before has told.

use std::sync::Arc;

use super::Scoring;
use crate::{
    pipeline::{
        NoObserver,
        batch_report::BatchReport,
        entities::Kept,
        state::{Restored, Snapshot, Stage},
    },
    record::{Position, RawRecord, RecordError},
    stream::{order::Arrival, window::Window},
};

impl Scoring {
    /// Whether the record stands before the place where the group goes on, so that it has ended before.
    pub(in crate::pipeline) fn is_refill(&self, position: Position) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.is_refill(position))
    }

    /// Takes a record that has ended before. There must be [`Scoring::room`] for it.
    pub(in crate::pipeline) fn refill(&mut self, raw: &RawRecord<'_>) {
        let Position { partition, offset } = raw.position;
        self.restore(raw.position);
        if let Some(keeping) = &mut self.keeping {
            keeping.took(raw.position);
            keeping.refill(partition).into_iter().for_each(|refill| refill.records += 1);
        }
        let said = self.incidents.said();
        self.again = true;
        if let Err(error) = self.refill_with(raw) {
            tracing::trace!(partition, offset, %error, "it was a dead letter");
        }
        self.fall_silent(raw.position);
        self.again = false;
        self.incidents.unsay(said);
        self.finish_refill(Position { partition, offset: offset + 1 });
    }

    fn refill_with(&mut self, raw: &RawRecord<'_>) -> Result<(), RecordError> {
        let Position { partition, offset } = raw.position;
        self.model.decoder.decode(raw, &mut self.decoded)?;
        let refill = self.keeping.as_mut().and_then(|keeping| keeping.refill(partition));
        let known = refill.map(|refill| (refill.stage(&self.decoded.entity, offset), refill.has_clock));
        let (stage, has_clock) = known.unwrap_or((Stage::Judge, true));
        if stage == Stage::Judge {
            return self.join(raw).map(drop);
        }
        if has_clock {
            self.incidents.tick(partition, self.decoded.time_us);
        }
        if stage == Stage::Fill {
            let place = self.enter_decoded();
            let marks = self.batch.imputed.len();
            self.encode(place, raw.position, Arrival::InOrder)?;
            self.batch.imputed.truncate(marks);
        }
        Ok(())
    }

    /// A record came that has not ended before.
    pub(super) fn arrived(&mut self, position: Position) {
        if self.keeping.is_none() {
            return;
        }
        self.finish_refill(position);
        if let Some(keeping) = &mut self.keeping {
            keeping.took(position);
        }
    }

    /// Ends refills that no record will end, since there is none to be read again.
    pub(in crate::pipeline) fn finish_refills(&mut self) {
        let next = self.keeping.as_ref().map(|keeping| keeping.refilling()).unwrap_or_default();
        next.into_iter().for_each(|next| self.finish_refill(next));
    }

    /// Ends the partition's refill, if all records before the place where the group goes on were taken.
    fn finish_refill(&mut self, next: Position) {
        let Some(until) = self.keeping.as_ref().and_then(|keeping| keeping.refilled(next)) else { return };
        self.restore(until);
        let Some(refill) = self.keeping.as_mut().and_then(|keeping| keeping.end_refill(next.partition)) else { return };
        tracing::info!(
            partition = next.partition,
            from = refill.from,
            until = refill.until,
            records = refill.records,
            entities = self.entities.len(),
            "the partition's windows are filled again"
        );
    }

    /// Puts back the entities whose snapshots hold all records of the partition before this one.
    fn restore(&mut self, Position { partition, offset }: Position) {
        loop {
            let refill = self.keeping.as_mut().and_then(|keeping| keeping.refill(partition));
            let Some(restored) = refill.and_then(|refill| {
                let restored = refill.restored(offset)?;
                let is_first = !std::mem::replace(&mut refill.has_clock, true);
                Some((restored, is_first))
            }) else {
                return;
            };
            let (restored, is_first) = restored;
            if let Some(clock) = restored.snapshot.clock.filter(|_| is_first) {
                self.incidents.set_clock(partition, clock);
            }
            self.put_back(partition, restored);
        }
    }

    fn put_back(&mut self, partition: i32, Restored { entity, as_of, snapshot }: Restored) {
        if !self.batch.is_empty() {
            // One more might make an entity of the open batch give way. There are too many for all of them to be kept.
            if self.taken >= self.max_entities {
                return;
            }
            self.taken += 1;
        }
        let place = self.enter(&entity);
        self.move_to(partition, place);
        let (columns, version) = (self.model.columns, self.model().version.clone());
        let shape = (self.model.window(), self.row.len());
        let Some(state) = self.entities.get_mut(place) else { return };
        let before = state.gates.cold_start.state();
        if state.generation != self.generation {
            // Another model took over while its window was filled.
            let judgement = self.model.context.judge.enter(&entity);
            state.renew(shape, (self.generation, judgement), state.generation >= self.rows_since);
        }
        let Snapshot { oldest, model, judgement, incident, gates, reporting, rows, silence, mut open, .. } = *snapshot;
        let means_the_same = snapshot.columns == columns;
        if let Some(rows) = rows.filter(|_| means_the_same) {
            state.window = Window::of_rows(shape, &rows.values, &rows.marks);
        }
        if means_the_same {
            state.counters = snapshot.counters;
        } else {
            open.iter_mut().for_each(crate::detect::incident::Incident::forget_columns);
        }
        if model == version {
            state.judgement = judgement;
        }
        (state.generation, state.incident, state.gates, state.reporting) =
            (self.generation, incident, gates, reporting);
        (state.order, state.seen_s) = (snapshot.order, snapshot.seen_s);
        if !state.window.is_full() {
            state.gates.cold_start.window_emptied();
        }
        self.population.moved(before, state.gates.cold_start.state());
        state.kept = Kept::Same;
        if let Some(keeping) = self.keeping.as_mut().filter(|_| state.life == 0) {
            state.life = keeping.begin_life();
            keeping.horizon.enter(partition, (state.life, place), oldest.min(as_of));
        }
        if let Some(name) = self.entities.name(place).map(Arc::clone) {
            self.incidents.restore((place, &name), (open, silence), &self.entities);
        }
    }

    /// Judges a row of the batch that was scored once more: its entity remembers it, and nobody is told.
    pub(super) fn judge_again(&mut self, index: usize) -> Result<(), super::ScoringError> {
        let (said, ratios) = (self.incidents.said(), self.scores_to_limits.len());
        self.judge(index, &mut NoObserver, &mut BatchReport::default())?;
        self.incidents.unsay(said);
        self.scores_to_limits.truncate(ratios);
        Ok(())
    }
}
