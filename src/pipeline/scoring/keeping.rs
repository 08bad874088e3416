//! What is kept of the entities: which have changed, and the snapshots that are taken of them between two batches.

use std::sync::Arc;

use super::Scoring;
use crate::{
    pipeline::{
        Output,
        entities::{EntityState, Kept},
        state::{Due, Gone, Keeping, Rows, Snapshot},
    },
    record::Position,
};

/// The entity's row of the record at this offset has joined its window.
pub(super) fn changed(keeping: &mut Option<Keeping>, place: u32, state: &mut EntityState, offset: i64) {
    let Some(keeping) = keeping else { return };
    if state.life == 0 {
        state.life = keeping.begin_life();
        keeping.horizon.enter(state.partition, (state.life, place), offset);
        keeping.changed(Due { place, life: state.life });
    } else {
        touched(keeping, place, state);
    }
}

/// What is remembered of the entity is not what its snapshot says any more.
fn touched(keeping: &mut Keeping, place: u32, state: &mut EntityState) {
    if state.kept == Kept::Same {
        keeping.changed(Due { place, life: state.life });
        state.kept = Kept::Changed;
    }
}

/// The entity that stood at this place made room for another one.
pub(super) fn evicted(keeping: &mut Option<Keeping>, (place, entity): (u32, Arc<str>), gone: &EntityState) {
    let Some(keeping) = keeping.as_mut().filter(|_| gone.life > 0) else { return };
    if gone.kept == Kept::Never {
        keeping.horizon.leave(gone.partition, gone.life);
    } else {
        keeping.evicted(gone.partition, entity, Due { place, life: gone.life });
    }
}

impl Scoring {
    /// Keeps what is remembered of entities from now on, and restores what was kept.
    pub(in crate::pipeline) fn keep(&mut self, keeping: Option<Keeping>) {
        self.keeping = keeping;
    }

    /// The books of what is kept.
    pub(in crate::pipeline) fn keeping(&mut self) -> Option<&mut Keeping> {
        self.keeping.as_mut()
    }

    /// Gives back the books of what is kept.
    pub(in crate::pipeline) fn take_keeping(&mut self) -> Option<Keeping> {
        self.keeping.take()
    }

    /// What is remembered of the entity at this place has changed without a record of it.
    pub(super) fn touch(&mut self, place: u32) {
        if let (Some(keeping), Some(state)) = (&mut self.keeping, self.entities.get_mut(place)) {
            touched(keeping, place, state);
        }
    }

    /// Records of the entity at this place come from this partition from now on.
    pub(super) fn move_to(&mut self, partition: i32, place: u32) {
        let Some(state) = self.entities.get_mut(place).filter(|state| state.partition != partition) else { return };
        let left = std::mem::replace(&mut state.partition, partition);
        state.window.moved();
        let (life, kept) = (std::mem::take(&mut state.life), std::mem::take(&mut state.kept));
        let (Some(keeping), Some(name)) = (&mut self.keeping, self.entities.name(place)) else { return };
        match kept {
            _ if life == 0 => {}
            Kept::Never => keeping.horizon.leave(left, life),
            _ => keeping.evicted(left, Arc::clone(name), Due { place, life }),
        }
    }

    /// Takes the snapshots that are due. The open batch must be empty: a snapshot holds all records that were taken.
    pub(in crate::pipeline) fn snapshots(&mut self, send: &mut dyn FnMut(Position, Output)) {
        assert!(self.batch.is_empty(), "records of the open batch have not been judged");
        let Some(mut keeping) = self.keeping.take() else { return };
        for Gone { partition, entity, place, life, as_of } in keeping.take_gone() {
            keeping.horizon.sent(partition, as_of, (life, place), None);
            send(before(partition, as_of), Output::Snapshot { entity: entity.as_ref().into(), as_of, body: None });
        }
        // What is on its way already is sent once more at worst.
        let far = keeping.take_far();
        for due in keeping.take_due() {
            self.snapshot(due, false, &mut keeping, send);
        }
        for due in far {
            self.snapshot(due, true, &mut keeping, send);
        }
        self.keeping = Some(keeping);
    }

    /// Takes a snapshot of an entity, if it is still there and has changed. `is_far` says that its window reaches back so far
    /// that the snapshot has to hold it.
    fn snapshot(&mut self, due: Due, is_far: bool, keeping: &mut Keeping, send: &mut dyn FnMut(Position, Output)) {
        let is_due = |state: &&EntityState| state.life == due.life && (is_far || state.kept != Kept::Same);
        let Some(state) = self.entities.get(due.place).filter(is_due) else { return };
        let partition = state.partition;
        if keeping.is_refilling(partition) {
            // What it was before is safe, and what it is now will be known when its partition has caught up.
            keeping.changed(due);
            return;
        }
        let as_of = keeping.next(partition);
        let snapshot = self.snapshot_of(due.place, state, as_of, is_far);
        let Some(entity) = self.entities.name(due.place).map(|name| name.as_ref().to_owned()) else { return };
        self.entities.get_mut(due.place).into_iter().for_each(|state| state.kept = Kept::Same);
        keeping.horizon.sent(partition, as_of, (due.life, due.place), Some(snapshot.oldest));
        let body = Some(snapshot.to_bytes());
        send(before(partition, as_of), Output::Snapshot { entity, as_of, body });
    }

    fn snapshot_of(&self, place: u32, state: &EntityState, as_of: i64, is_far: bool) -> Snapshot {
        let means_the_same = state.generation >= self.rows_since;
        let has_rows = means_the_same && !state.window.is_empty();
        // What counters made of a row hangs on records before it, and so does which records have a row at all.
        let hangs_on_more = self.model.encoder.has_counters() || self.lateness_us.is_some() || self.drops_duplicates;
        let read_again = state.window.oldest().filter(|_| !is_far && !hangs_on_more);
        let rows = (has_rows && read_again.is_none()).then(|| {
            let mut values = vec![0.0; state.window.len() * state.window.width()];
            state.window.copy_into(&mut values);
            Rows { values, marks: state.window.marks().to_vec() }
        });
        let (open, silence) = self.incidents.of(place);
        let is_current = state.generation == self.generation;
        Snapshot {
            oldest: read_again.filter(|_| has_rows).unwrap_or(as_of),
            model: if is_current { self.model().version.clone() } else { String::new() },
            columns: if means_the_same { self.model.columns } else { 0 },
            judgement: state.judgement.clone(),
            incident: state.incident,
            gates: state.gates,
            reporting: state.reporting,
            counters: state.counters.clone(),
            rows,
            open: open.cloned(),
            silence: silence.copied(),
            clock: self.incidents.clock(state.partition),
            order: state.order,
            seen_s: state.seen_s,
        }
    }
}

/// The last record that a snapshot holds.
fn before(partition: i32, as_of: i64) -> Position {
    Position { partition, offset: as_of - 1 }
}
