//! Scoring: a record becomes a row, its entity's window joins the batch, and the batch is scored and judged as one.

use std::{ops::Range, sync::Arc, time::Instant};

use super::{
    Observer, Unscored,
    batch_report::BatchReport,
    entities::EntityState,
    incidents::{Began, Incidents, OpenNow},
    observed::{Context, Observed},
};
use crate::{
    config::settings::Settings,
    detect::{
        LoadError, ScoreError, Scorer, Scorers,
        calibrate::CalibrationError,
        explain::{Explainer, JudgedRow},
        incident::IncidentChange,
        judge::Judge,
    },
    model::Model,
    record::{
        DecodedRecord, Position, RawRecord, RecordError,
        decode::{JsonDecoder, Schema},
        features::{EncoderError, FeatureEncoder},
    },
    stream::window::Entities,
    telemetry::Metrics,
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

/// A record's end, as the run loop has to act on it.
#[derive(Debug)]
pub enum End {
    /// Nothing more to do.
    Normal,
    /// The window isn't full yet.
    WarmingUp,
    /// An event has to be published before the record is done.
    Anomalous {
        /// Message key.
        entity: String,
        /// The encoded event.
        json: Vec<u8>,
    },
    /// The record goes to the dead-letter topic.
    DeadLetter(RecordError),
}

/// One row of the open batch.
struct Pending {
    position: Position,
    entity: u32,
    time_us: i64,
    timestamp_ms: Option<i64>,
    /// Where key and payload stand in [`Scoring::raw`]: a record that turns out unscorable goes on as it came.
    key: Option<Range<usize>>,
    payload: Range<usize>,
}

/// The scoring stage: one owner, one thread, one session.
pub struct Scoring {
    context: Context,
    scorer: Box<dyn Scorer>,
    decoder: JsonDecoder,
    encoder: FeatureEncoder,
    entities: Entities<EntityState>,
    decoded: DecodedRecord,
    row: Vec<f32>,
    /// Windows of the open batch, `rows * window * columns`.
    windows: Vec<f32>,
    /// Marks of the newest rows of the open batch, `rows * columns`.
    imputed: Vec<bool>,
    pending: Vec<Pending>,
    /// Keys and payloads of the open batch.
    raw: Vec<u8>,
    residuals: Vec<f32>,
    /// Scores of the last batch.
    scores: Vec<f64>,
    capacity: usize,
    max_entities: usize,
    /// Records taken since the open batch got its first row.
    taken: usize,
    imputed_values: u64,
    evicted: u64,
    incidents: Incidents,
}

impl Scoring {
    /// Puts `model` to work: loads it, runs its golden rows, and derives the limit from the configured budget.
    pub fn new(model: Arc<Model>, settings: &Settings, scorers: &dyn Scorers) -> Result<Self, ScoringError> {
        let metadata = &model.metadata;
        let scorer = scorers.scorer(&model)?;
        let limit = metadata.calibration.limit(&settings.judging.budget)?;
        let impute = metadata.columns.iter().map(|column| column.impute).collect();
        let encoder = FeatureEncoder::new(&metadata.features, impute, settings.record.max_missing)?;
        let decoder = JsonDecoder::new(Schema::new(&metadata.features, &settings.record));
        let width = metadata.columns.len();
        let context = Context {
            judge: Judge::new(metadata, limit),
            explainer: Explainer::new(metadata),
            topic: settings.kafka.input_topic.clone(),
            top_features: settings.judging.top_features,
            model: Arc::clone(&model),
        };
        Ok(Self {
            context,
            scorer,
            decoder,
            encoder,
            entities: Entities::new(settings.pipeline.max_entities),
            decoded: DecodedRecord::default(),
            row: vec![0.0; width],
            windows: Vec::with_capacity(settings.pipeline.batch_rows * width * metadata.window),
            imputed: Vec::with_capacity(settings.pipeline.batch_rows * width),
            pending: Vec::with_capacity(settings.pipeline.batch_rows),
            raw: Vec::new(),
            residuals: Vec::new(),
            scores: Vec::with_capacity(settings.pipeline.batch_rows),
            capacity: settings.pipeline.batch_rows,
            max_entities: settings.pipeline.max_entities,
            taken: 0,
            imputed_values: 0,
            evicted: 0,
            incidents: Incidents::default(),
        })
    }

    /// The model in use.
    pub fn model(&self) -> &Model {
        &self.context.model
    }

    /// The limit in use.
    pub fn limit(&self) -> f64 {
        self.context.judge.limit()
    }

    /// Rows in the open batch.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// How many more records may be taken before the open batch has to be flushed. Not more than there may be entities:
    /// so many others can make an entity give way, and one of the open batch must not.
    pub fn room(&self) -> usize {
        let taken = if self.pending.is_empty() { 0 } else { self.taken };
        (self.capacity - self.pending.len()).min(self.max_entities - taken)
    }

    /// Entities known.
    pub fn entities(&self) -> usize {
        self.entities.len()
    }

    /// Scores of the rows of the last batch.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// Incidents that are open.
    pub fn open_incidents(&self) -> impl Iterator<Item = OpenNow<'_>> {
        self.incidents.open(&self.entities)
    }

    /// Tells of the incidents that began since the last call.
    pub fn tell_incidents(&mut self, metrics: &Metrics) {
        self.incidents.tell(metrics, self.context.judge.limit());
    }

    /// Takes one record: `None` when it joined the batch, else how it ended. There must be [`Scoring::room`] for it.
    pub fn take(&mut self, raw: &RawRecord<'_>, observer: &mut dyn Observer) -> Option<End> {
        match self.admit(raw) {
            Ok(true) => None,
            Ok(false) => {
                observer.unscored(&self.unscored(raw, "warming_up"));
                Some(End::WarmingUp)
            }
            Err(error) => {
                observer.unscored(&self.unscored(raw, error.reason().as_str()));
                Some(End::DeadLetter(error))
            }
        }
    }

    /// Fills windows from a record without scoring it: the sample that the model was trained on, at a cold start.
    pub fn prime(&mut self, raw: &RawRecord<'_>) -> Result<(), RecordError> {
        self.admit(raw)?;
        self.clear();
        self.imputed_values = 0;
        Ok(())
    }

    /// Scores and judges the open batch in the order in which its rows came; `ends` gets the end of each record.
    pub fn flush(
        &mut self,
        observer: &mut dyn Observer,
        ends: &mut dyn FnMut(&RawRecord<'_>, End),
    ) -> Result<BatchReport, ScoringError> {
        let rows = self.pending.len();
        let mut report = BatchReport {
            rows,
            imputed_values: std::mem::take(&mut self.imputed_values),
            evicted: std::mem::take(&mut self.evicted),
            ..BatchReport::default()
        };
        if rows == 0 {
            return Ok(report);
        }
        self.scores.clear();
        let started = Instant::now();
        self.scorer.score(&self.windows, rows, &mut self.residuals)?;
        report.score_seconds = started.elapsed().as_secs_f64();
        for index in 0..rows {
            let end = self.judge(index, observer, &mut report);
            ends(&self.lend(index), end);
        }
        report.judge_seconds = started.elapsed().as_secs_f64() - report.score_seconds;
        self.clear();
        Ok(report)
    }

    /// Decodes the record into its entity's window; true when the window is full and now stands in the batch.
    fn admit(&mut self, raw: &RawRecord<'_>) -> Result<bool, RecordError> {
        self.decoder.decode(raw, &mut self.decoded)?;
        let (rows, width) = (self.context.model.metadata.window, self.row.len());
        self.taken = if self.pending.is_empty() { 1 } else { self.taken + 1 };
        let touched = self.entities.touch(&self.decoded.entity, || EntityState::new(rows, width));
        let index = touched.index;
        if touched.evicted.is_some() {
            self.evicted += 1;
            // Whoever made room stood in this place.
            self.incidents.ended(index);
        }
        let marks = self.imputed.len();
        self.imputed.resize(marks + width, false);
        let state = self.entities.get_mut(index).expect("the entity was entered above");
        state.partition = raw.position.partition;
        let encoded =
            self.encoder.encode(&self.decoded, &mut state.counters, &mut self.row, &mut self.imputed[marks..]);
        if let Err(error) = encoded {
            self.imputed.truncate(marks);
            return Err(error);
        }
        state.window.push(&self.row, &self.imputed[marks..]);
        if !state.window.is_full() {
            self.imputed.truncate(marks);
            return Ok(false);
        }
        self.imputed_values += self.imputed[marks..].iter().filter(|mark| **mark).count() as u64;
        let start = self.windows.len();
        self.windows.resize(start + rows * width, 0.0);
        state.window.copy_into(&mut self.windows[start..]);
        let key = raw.key.map(|key| append(&mut self.raw, key));
        let payload = append(&mut self.raw, raw.payload.unwrap_or_default());
        self.pending.push(Pending {
            position: raw.position,
            entity: index,
            time_us: self.decoded.time_us,
            timestamp_ms: raw.timestamp_ms,
            key,
            payload,
        });
        Ok(true)
    }

    /// The record of a row of the open batch, as it came.
    fn lend(&self, index: usize) -> RawRecord<'_> {
        let pending = &self.pending[index];
        RawRecord {
            position: pending.position,
            timestamp_ms: pending.timestamp_ms,
            key: pending.key.clone().map(|key| &self.raw[key]),
            payload: Some(&self.raw[pending.payload.clone()]),
        }
    }

    fn judge(&mut self, index: usize, observer: &mut dyn Observer, report: &mut BatchReport) -> End {
        let width = self.row.len();
        let context = &self.context;
        let pending = &self.pending[index];
        let newest = (index + 1) * width * context.model.metadata.window;
        let row = JudgedRow {
            row: &self.windows[newest - width..newest],
            residuals: &self.residuals[index * width..(index + 1) * width],
            imputed: &self.imputed[index * width..(index + 1) * width],
        };
        let entity = self.entities.name(pending.entity).map(Arc::clone).unwrap_or_default();
        let state =
            self.entities.get_mut(pending.entity).expect("`room` keeps entities of the open batch from giving way");
        let judged = context.judge.judge(row.residuals, row.imputed, &mut state.judgement);
        if !judged.score.is_finite() {
            let why = RecordError::NonFiniteScore;
            observer.unscored(&Unscored {
                position: pending.position,
                entity: &entity,
                time_us: Some(pending.time_us),
                why: why.reason().as_str(),
            });
            return End::DeadLetter(why);
        }
        report.last_score = Some(judged.score);
        self.scores.push(judged.score);
        let quiet = context.model.metadata.scoring.incident_quiet_rows;
        let incident = state.incident.advance(judged.anomalous, judged.score, pending.time_us, quiet);
        match incident {
            IncidentChange::Opened(_) => {
                let top_column = context.explainer.top_column(&row, &context.judge, &state.judgement);
                state.incident.blame(top_column);
                let began = Began { entity: Arc::clone(&entity), score: judged.score, top_column };
                self.incidents.began(pending.entity, began);
                report.incidents_opened += 1;
            }
            IncidentChange::Resolved(_) => self.incidents.ended(pending.entity),
            IncidentChange::None => {}
        }
        let observed = Observed {
            position: pending.position,
            entity: &entity,
            time_us: pending.time_us,
            judged,
            incident,
            context,
            row,
            memory: &state.judgement,
        };
        observer.judged(&observed);
        if judged.anomalous {
            End::Anomalous { entity: observed.entity.to_owned(), json: context.event(&observed).to_json() }
        } else {
            End::Normal
        }
    }

    fn unscored<'a>(&'a self, raw: &RawRecord<'_>, why: &'a str) -> Unscored<'a> {
        Unscored { position: raw.position, entity: &self.decoded.entity, time_us: self.decoded.known_time_us(), why }
    }

    /// Takes the rows of these partitions out of the open batch, as if they had not come.
    pub fn drop_pending(&mut self, partitions: &[i32]) {
        let width = self.row.len();
        let window = width * self.context.model.metadata.window;
        let gone = |pending: &Pending| partitions.contains(&pending.position.partition);
        let kept: Vec<usize> = (0..self.pending.len()).filter(|index| !gone(&self.pending[*index])).collect();
        for (to, from) in kept.iter().enumerate() {
            self.windows.copy_within(from * window..(from + 1) * window, to * window);
            self.imputed.copy_within(from * width..(from + 1) * width, to * width);
        }
        self.windows.truncate(kept.len() * window);
        self.imputed.truncate(kept.len() * width);
        self.pending.retain(|pending| !gone(pending));
    }

    /// Forgets the entities whose records come from these partitions. The open batch must be empty.
    pub fn forget(&mut self, partitions: &[i32]) {
        assert!(self.pending.is_empty(), "an entity of the open batch can't be forgotten");
        self.entities.retain(|_, state| !partitions.contains(&state.partition));
        self.incidents.retain(&self.entities);
    }

    fn clear(&mut self) {
        self.windows.clear();
        self.imputed.clear();
        self.pending.clear();
        self.raw.clear();
    }
}

/// Appends bytes and says where they stand.
fn append(arena: &mut Vec<u8>, bytes: &[u8]) -> Range<usize> {
    let start = arena.len();
    arena.extend_from_slice(bytes);
    start..arena.len()
}
