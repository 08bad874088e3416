//! Entities that stopped reporting.

use std::collections::BTreeMap;

use crate::{
    config::settings::SilenceSettings,
    detect::{incident::Mark, incident_event::Silence},
    pipeline::entities::EntityState,
    record::Position,
    stream::{
        rhythm::SilenceRule,
        silence::{ClockState, Heard, SilenceWatch},
        window::Entities,
    },
};

/// Who is silent, and who may become so.
#[derive(Debug)]
pub(super) struct Silences {
    watch: SilenceWatch,
    /// By the places of the entities.
    open: BTreeMap<u32, Silence>,
}

impl Silences {
    pub(super) fn new(settings: &SilenceSettings) -> Self {
        let rule =
            SilenceRule { after_intervals: settings.after_intervals as f32, least: settings.least.as_secs_f32() };
        Self { watch: SilenceWatch::new(rule), open: BTreeMap::new() }
    }

    /// A record came; gives the silence that it ended.
    pub(super) fn heard(&mut self, heard: &Heard, entities: &mut Entities<EntityState>) -> Option<Silence> {
        let state = entities.get_mut(heard.place)?;
        if state.partition != heard.partition {
            state.reporting.moved();
            if self.watch.is_crowded(heard.partition, entities.len()) {
                let here = |state: &&EntityState| state.partition == heard.partition;
                self.watch
                    .tidy(heard.partition, |place| entities.get(place).filter(here).map(|state| &state.reporting));
            }
        }
        let state = entities.get_mut(heard.place)?;
        if !self.watch.heard(heard, &mut state.reporting) {
            return None;
        }
        let silence = self.open.remove(&heard.place)?;
        let position = Position { partition: heard.partition, offset: heard.offset };
        Some(Silence { last: Mark { position, time_us: heard.time_us }, ..silence })
    }

    /// The next entity of the partition that is silent by now; to be asked until there is none.
    pub(super) fn next_silent(
        &mut self,
        partition: i32,
        entities: &mut Entities<EntityState>,
    ) -> Option<(u32, Silence)> {
        while let Some(due) = self.watch.due(partition) {
            let Some(state) = entities.get_mut(due.place).filter(|state| state.partition == partition) else {
                continue;
            };
            if self.watch.falls_silent(&due, &mut state.reporting) {
                let (time_us, offset) = state.reporting.last();
                let first = Mark { position: Position { partition, offset }, time_us };
                let now_us = self.watch.watermark_us(partition).unwrap_or(time_us).max(time_us);
                let interval_seconds = state.reporting.interval_seconds();
                let silence = Silence { first, last: Mark { time_us: now_us, ..first }, interval_seconds };
                self.open.insert(due.place, silence);
                return Some((due.place, silence));
            }
        }
        None
    }

    /// The entity at this place is gone.
    pub(super) fn gone(&mut self, place: u32) {
        self.open.remove(&place);
    }

    /// Forgets partitions that are no longer ours, and the silences of entities that went with them.
    pub(super) fn forget(&mut self, partitions: &[i32], entities: &Entities<EntityState>) {
        self.watch.forget(partitions);
        self.open.retain(|place, _| entities.get(*place).is_some());
    }

    /// The silence of the entity at this place.
    pub(super) fn of(&self, place: u32) -> Option<&Silence> {
        self.open.get(&place)
    }

    /// Where the partition's clock stands.
    pub(super) fn clock(&self, partition: i32) -> Option<ClockState> {
        self.watch.clock(partition)
    }

    /// Sets the partition's clock to where it stood.
    pub(super) fn set_clock(&mut self, partition: i32, state: ClockState) {
        self.watch.set_clock(partition, state);
    }

    /// A record came of which nothing matters but its time.
    pub(super) fn tick(&mut self, partition: i32, time_us: i64) {
        self.watch.tick(partition, time_us);
    }

    /// The entity at this place reports as it did, and is silent if it was.
    pub(super) fn restore(&mut self, place: u32, state: &EntityState, silence: Option<Silence>) {
        self.watch.restore(state.partition, place, &state.reporting);
        self.open.extend(silence.map(|silence| (place, silence)));
    }

    /// Who is silent, by place.
    pub(super) fn open(&self) -> impl Iterator<Item = (&u32, &Silence)> {
        self.open.iter()
    }
}
