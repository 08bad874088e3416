//! Scoring: a record becomes a row, its entity's window joins the batch, and the batch is scored and judged as one.

mod admitted;
mod asked;
mod heed;
mod judging;
mod keeping;
mod refill;
mod revoked;
mod what_if;

use admitted::{Admitted, is_newest};
pub use heed::Heard;
use what_if::WhatIf;

use std::{sync::Arc, time::Instant};

use super::{
    End, Observer, Unscored,
    batch_report::BatchReport,
    entities::EntityState,
    incidents::{Announcement, Incidents},
    open_batch::OpenBatch,
    population::Population,
    prepared::Prepared,
    scored::Scored,
    state::Keeping,
};
use crate::{
    config::settings::{Duplicates, Settings},
    detect::{LoadError, ScoreError, calibrate::CalibrationError, gates::policies::Policies},
    feedback::Book,
    model::Model,
    record::{DecodedRecord, Position, RawRecord, RecordError, features::EncoderError},
    stream::{order::Arrival, silence, window::Entities},
    train::recent::{Bounds, RecentSample},
};

/// Why a model can't be put to work.
#[derive(Debug, thiserror::Error)]
pub enum ScoringError {
    /// The model file can't be loaded.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// The calibration gives no limit for the budget.
    #[error("{0}")]
    Calibration(#[from] CalibrationError),
    /// The features contradict each other.
    #[error("{0}")]
    Features(#[from] EncoderError),
    /// The model failed on a batch.
    #[error("{0}")]
    Score(#[from] ScoreError),
}

/// The scoring stage: one owner, one thread, one session.
pub struct Scoring {
    model: Prepared,
    /// Counts the models; an entity that was last seen under an older one is renewed when it comes again.
    generation: u32,
    /// The oldest generation whose rows mean the same as today's.
    rows_since: u32,
    entities: Entities<EntityState>,
    population: Population,
    policies: Policies,
    feedback: Book,
    /// Rows judged normal, for the next model; `None` where none is trained.
    sample: Option<RecentSample>,
    decoded: DecodedRecord,
    row: Vec<f32>,
    batch: OpenBatch,
    scored: Scored,
    what_if: WhatIf,
    /// Scores of the last batch, each divided by its entity's limit.
    scores_to_limits: Vec<f64>,
    capacity: usize,
    max_entities: usize,
    /// Records taken since the open batch got its first row.
    taken: usize,
    imputed_values: u64,
    evicted: u64,
    incidents: Incidents,
    /// What is kept of the entities over restarts; `None` keeps nothing.
    keeping: Option<Keeping>,
    /// Whether the records that come now were judged before, by a process that is gone.
    again: bool,
    /// How far behind the newest of its entity a record may be, microseconds.
    lateness_us: Option<i64>,
    drops_duplicates: bool,
    /// After how many seconds without records an entity is forgotten.
    evict_after_s: Option<u64>,
    out_of_order: u64,
    /// Now, seconds of the wall clock since the epoch.
    now_s: u32,
}

impl Scoring {
    /// Puts `model` to work.
    pub fn new(model: Prepared, settings: &Settings) -> Self {
        let (width, rows) = (model.width(), settings.pipeline.batch_rows);
        Self {
            generation: 0,
            rows_since: 0,
            entities: Entities::new(settings.pipeline.max_entities),
            population: Population::default(),
            policies: Policies::new(&settings.judging),
            feedback: Book::new(&settings.judging.feedback),
            sample: None,
            decoded: DecodedRecord::default(),
            row: vec![0.0; width],
            batch: OpenBatch::new(rows, width, width * model.window()),
            scored: Scored::default(),
            what_if: WhatIf::default(),
            scores_to_limits: Vec::with_capacity(rows),
            capacity: rows,
            max_entities: settings.pipeline.max_entities,
            taken: 0,
            imputed_values: 0,
            evicted: 0,
            incidents: Incidents::new(settings),
            keeping: None,
            again: false,
            lateness_us: settings
                .record
                .lateness
                .map(|lateness| i64::try_from(lateness.as_micros()).unwrap_or(i64::MAX)),
            drops_duplicates: settings.record.duplicates == Duplicates::Drop,
            evict_after_s: settings.pipeline.evict_after.map(|after| after.as_secs()),
            out_of_order: 0,
            now_s: 0,
            model,
        }
    }

    /// Keeps rows judged normal from now on.
    pub fn keep_sample(&mut self, bounds: Bounds) {
        self.sample = Some(RecentSample::new(bounds));
    }

    /// The rows kept; `None` where none are.
    pub fn sample(&self) -> Option<&RecentSample> {
        self.sample.as_ref()
    }

    /// Takes up another model and gives the old one back; the open batch must be empty. Windows are kept where rows mean
    /// the same; running statistics begin anew, as they are in the old model's units; incidents stay open.
    pub fn swap(&mut self, model: Prepared) -> Prepared {
        assert!(self.batch.is_empty(), "rows of the open batch belong to the old model");
        self.generation += 1;
        if !model.has_the_rows_of(&self.model) {
            self.rows_since = self.generation;
            self.incidents.forget_columns();
        }
        self.row.resize(model.width(), 0.0);
        std::mem::replace(&mut self.model, model)
    }

    /// The model in use.
    pub fn model(&self) -> &Model {
        self.model.model()
    }

    /// Rows in the open batch.
    pub fn pending(&self) -> usize {
        self.batch.len()
    }

    /// How many more records may be taken before the open batch has to be flushed. Not more than there may be entities:
    /// so many others can make an entity give way, and one of the open batch must not.
    pub fn room(&self) -> usize {
        let taken = if self.batch.is_empty() { 0 } else { self.taken };
        (self.capacity - self.batch.len()).min(self.max_entities.saturating_sub(taken))
    }

    /// Whether the record can't be taken before its schema has come from a registry, which is asked for it, or before what was
    /// kept of its partition has been read.
    pub fn awaits(&mut self, raw: &RawRecord<'_>) -> bool {
        let is_loading = self.keeping.as_ref().is_some_and(|keeping| keeping.awaits(raw.position.partition));
        is_loading || self.model.decoder.awaits(raw)
    }

    /// Takes one record: `None` when it joined the batch, else how it ended. There must be [`Scoring::room`] for it.
    pub fn take(&mut self, raw: &RawRecord<'_>, observer: &mut dyn Observer) -> Option<End> {
        self.arrived(raw.position);
        let admitted = self.admit(raw);
        self.fall_silent(raw.position);
        match admitted {
            Ok((_, Admitted::Scored)) => None,
            Ok((_, other)) => {
                observer.unscored(&self.unscored(raw, other.as_str()));
                other.end()
            }
            Err(error) => {
                let why = if error == RecordError::Empty { "tombstone" } else { error.reason().as_str() };
                observer.unscored(&self.unscored(raw, why));
                Some(End::from(error))
            }
        }
    }

    /// Fills windows from a record without scoring it: the sample that the model was trained on, at a cold start. Its
    /// entities need no time to become known.
    pub fn prime(&mut self, raw: &RawRecord<'_>) -> Result<(), RecordError> {
        self.arrived(raw.position);
        let (index, _) = self.admit(raw)?;
        if let Some(state) = self.entities.get_mut(index) {
            let before = state.gates.cold_start.state();
            state.gates.cold_start.trained_on();
            self.population.moved(before, state.gates.cold_start.state());
        }
        self.batch.clear();
        self.imputed_values = 0;
        Ok(())
    }

    /// Scores and judges the open batch in the order in which its rows came; `ends` gets the end of each record, and what is
    /// to be said of incidents before it.
    pub fn flush(
        &mut self,
        observer: &mut dyn Observer,
        ends: &mut dyn FnMut(&RawRecord<'_>, End, &mut Vec<Announcement>),
    ) -> Result<BatchReport, ScoringError> {
        let rows = self.batch.len();
        let mut report = BatchReport {
            rows: self.batch.pending.iter().filter(|pending| !pending.again).count(),
            imputed_values: std::mem::take(&mut self.imputed_values),
            evicted: std::mem::take(&mut self.evicted),
            out_of_order: std::mem::take(&mut self.out_of_order),
            ..BatchReport::default()
        };
        if rows == 0 {
            return Ok(report);
        }
        self.share_out()?;
        self.scores_to_limits.clear();
        let started = Instant::now();
        self.scored.score(&mut *self.model.scorer, &self.batch.windows, rows)?;
        self.what_if.forget();
        report.score_seconds = started.elapsed().as_secs_f64();
        for index in 0..rows {
            if self.batch.pending[index].again {
                self.judge_again(index)?;
                continue;
            }
            let end = self.judge(index, observer, &mut report)?;
            ends(&self.batch.lend(index), end, self.incidents.announcements());
            // Whoever left them has no use for them.
            self.incidents.announcements().clear();
        }
        report.judge_seconds = started.elapsed().as_secs_f64() - report.score_seconds;
        self.batch.clear();
        Ok(report)
    }

    /// Decodes the record into its entity's window. Gives the entity's place, and what became of the record.
    fn admit(&mut self, raw: &RawRecord<'_>) -> Result<(u32, Admitted), RecordError> {
        self.model.decoder.decode(raw, &mut self.decoded)?;
        self.join(raw)
    }

    /// The same with the record that was decoded last.
    fn join(&mut self, raw: &RawRecord<'_>) -> Result<(u32, Admitted), RecordError> {
        let (rows, width) = (self.model.window(), self.row.len());
        let index = self.enter_decoded();
        let Position { partition, offset } = raw.position;
        let heard = silence::Heard { partition, offset, time_us: self.decoded.time_us, place: index };
        self.incidents.heard(&heard, &mut self.entities);
        let arrival = self.arrive(index);
        if arrival == Arrival::Late {
            return Ok((index, Admitted::Late));
        }
        let Some(marks) = self.encode(index, raw.position, arrival)? else { return Ok((index, Admitted::Duplicate)) };
        let state = self.entities.get_mut(index).expect("the entity was entered above");
        if !state.window.is_full() {
            if let (Some(sample), Some(name)) = (&mut self.sample, self.entities.name(index)) {
                sample.interrupt(index, name);
            }
            self.batch.imputed.truncate(marks);
            return Ok((index, Admitted::WarmingUp));
        }
        let before = state.gates.cold_start.state();
        state.gates.cold_start.window_filled(self.policies.get(state.policy).cold_start_rows);
        self.population.moved(before, state.gates.cold_start.state());
        if !self.again {
            self.imputed_values += self.batch.imputed[marks..].iter().filter(|mark| **mark).count() as u64;
        }
        let start = self.batch.windows.len();
        self.batch.windows.resize(start + rows * width, 0.0);
        state.window.copy_into(&mut self.batch.windows[start..]);
        self.batch.push(raw, index, (self.decoded.time_us, self.again));
        Ok((index, Admitted::Scored))
    }

    /// Adds the row of the record that was decoded last to its entity's window. Gives where its marks begin in those of the
    /// open batch, to which they are appended; `None` where it is the row before it once more, and such are dropped.
    fn encode(&mut self, index: u32, position: Position, arrival: Arrival) -> Result<Option<usize>, RecordError> {
        let (rows, width) = (self.model.window(), self.row.len());
        let marks = self.batch.imputed.len();
        self.batch.imputed.resize(marks + width, false);
        self.move_to(position.partition, index);
        let state = self.entities.get_mut(index).expect("the caller entered it");
        // Also where the record turns out to have no row: that it came is remembered.
        keeping::changed(&mut self.keeping, index, state, position.offset);
        let before = state.gates.cold_start.state();
        if state.generation != self.generation {
            let judgement = self.model.context.judge.enter(&self.decoded.entity);
            state.renew((rows, width), (self.generation, judgement), state.generation >= self.rows_since);
            self.population.moved(before, state.gates.cold_start.state());
        }
        let encoded = self.model.encoder.encode(
            &self.decoded,
            &mut state.counters,
            &mut self.row,
            &mut self.batch.imputed[marks..],
        );
        if let Err(error) = encoded {
            self.batch.imputed.truncate(marks);
            return Err(error);
        }
        if arrival == Arrival::Same
            && self.drops_duplicates
            && is_newest(&state.window, &self.row, &self.batch.imputed[marks..])
        {
            self.batch.imputed.truncate(marks);
            return Ok(None);
        }
        state.window.push(&self.row, &self.batch.imputed[marks..], position.offset);
        Ok(Some(marks))
    }

    /// The place of the entity of the record that was decoded last, which may have to be made.
    fn enter_decoded(&mut self) -> u32 {
        self.taken = if self.batch.is_empty() { 1 } else { self.taken + 1 };
        let entity = std::mem::take(&mut self.decoded.entity);
        let index = self.enter(&entity);
        self.decoded.entity = entity;
        index
    }

    /// The place of the entity, which may have to be made.
    fn enter(&mut self, entity: &str) -> u32 {
        let (shape, generation) = ((self.model.window(), self.row.len()), self.generation);
        let Self { model, entities, policies, population, .. } = self;
        let touched = entities.touch(entity, || {
            let known = (policies.enter(entity), model.context.judge.enter(entity));
            EntityState::new(shape, generation, known)
        });
        // Whoever made room stood in this place.
        let evicted = touched.evicted.map(|(name, gone)| (touched.index, name, gone));
        if touched.is_new
            && let Some(state) = entities.get_mut(touched.index)
        {
            population.came(policies.get(state.policy).rule);
        }
        if let Some(state) = entities.get_mut(touched.index) {
            state.seen_s = self.now_s;
        }
        evicted.into_iter().for_each(|gone| self.left(gone));
        touched.index
    }

    /// The entity that stood at this place is gone.
    fn left(&mut self, (place, name, gone): (u32, Arc<str>, EntityState)) {
        self.evicted += 1;
        self.population.left(gone.gates.cold_start.state(), self.policies.get(gone.policy).rule);
        keeping::evicted(&mut self.keeping, (place, name), &gone);
        self.incidents.gone(place);
    }

    /// Finds the entities that are silent by what the record at `cause` says of the time.
    fn fall_silent(&mut self, cause: Position) {
        let silent = self.incidents.fall_silent(cause, &mut self.entities);
        silent.into_iter().for_each(|place| self.touch(place));
    }

    fn unscored<'a>(&'a self, raw: &RawRecord<'_>, why: &'a str) -> Unscored<'a> {
        Unscored { position: raw.position, entity: &self.decoded.entity, time_us: self.decoded.known_time_us(), why }
    }
}
