//! The training sample: records as they came, and the rows that the frozen features make of them.

use std::{collections::HashMap, sync::Arc};

use crate::{
    config::settings::{EntityFrom, FeatureSelection, RecordSettings},
    record::{
        DecodedRecord, Position, RawRecord,
        decode::{Decoder, Schema},
        discover::{Discovery, DiscoveryError},
        features::{CounterState, EncoderError, FeatureEncoder, FeatureKind, FeatureSetting, columns_of},
        headers::{Headers, KeptHeaders},
    },
};

/// Characters of a record that an error shows.
const EXCERPT: usize = 80;

/// One record, kept as it came: which features there are is known only when the sample is whole. Copies share its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleRecord {
    /// Where it stands in its source.
    pub position: Position,
    /// The message's timestamp, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// The message key.
    pub key: Option<Arc<[u8]>>,
    /// The message value.
    pub payload: Arc<[u8]>,
    /// The message's headers, for those that may yet become dead letters; `None` where there are none.
    pub headers: Option<Arc<KeptHeaders>>,
    /// Number of the run that the record belongs to. Records of one entity with the same number followed each other
    /// directly; between two numbers others were left out, and no window may reach across.
    pub run: u32,
}

impl SampleRecord {
    /// A copy of a lent record without its headers, which nothing can be learned from; `None` for a tombstone, which neither
    /// can.
    pub fn copy(raw: &RawRecord<'_>) -> Option<Self> {
        Some(Self {
            position: raw.position,
            timestamp_ms: raw.timestamp_ms,
            key: raw.key.map(Into::into),
            payload: raw.payload?.into(),
            headers: None,
            run: 0,
        })
    }

    /// The same with its headers, of a record that still has to come to its end.
    pub fn copy_whole(raw: &RawRecord<'_>) -> Option<Self> {
        let headers = raw.headers.map(KeptHeaders::copy).filter(|headers| !headers.is_empty()).map(Arc::new);
        Some(Self { headers, ..Self::copy(raw)? })
    }

    /// Bytes of its value and its headers.
    pub fn bytes(&self) -> usize {
        self.payload.len() + self.headers.as_ref().map_or(0, |headers| headers.bytes())
    }

    /// Lends the record again.
    pub fn lend(&self) -> RawRecord<'_> {
        RawRecord {
            position: self.position,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            payload: Some(&self.payload),
            headers: self.headers.as_deref().map(|headers| headers as &dyn Headers),
        }
    }
}

/// The usable rows of a sample, in the order in which they came.
#[derive(Debug, Clone)]
pub struct SampleRows {
    /// Features, vocabularies frozen.
    pub features: Vec<FeatureSetting>,
    /// Name and feature of each column.
    pub columns: Vec<(String, usize)>,
    /// Row-major values, `rows * columns`; imputed ones hold their column's median.
    pub values: Vec<f32>,
    /// Which values were imputed, same layout.
    pub imputed: Vec<bool>,
    /// What stands for a missing value, per column.
    pub impute: Vec<f32>,
    /// Names of the entities, by their number.
    pub names: Vec<String>,
    /// Entity of each row, numbered from 0 in order of appearance.
    pub entities: Vec<u32>,
    /// Run of each row, see [`SampleRecord::run`].
    pub runs: Vec<u32>,
    /// Event time of each row, microseconds since the epoch.
    pub times: Vec<i64>,
    /// Where each row's record stands in its source.
    pub positions: Vec<Position>,
    /// Records that could not be used, and why the first one could not.
    pub unusable: usize,
    /// Error of the first unusable record.
    pub first_error: Option<String>,
}

/// What is remembered of an entity while its records are decoded.
struct Known {
    entity: u32,
    run: u32,
    counters: CounterState,
}

impl Known {
    /// A counter's last reading says nothing where rows were left out since.
    fn enter(&mut self, run: u32) {
        if self.run != run {
            self.run = run;
            self.counters = CounterState::default();
        }
    }
}

/// Why a sample gives no rows.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// No record can be used.
    #[error("none of {records} records can be used; the first one: {first}")]
    NoRows {
        /// Records in the sample.
        records: usize,
        /// Error of the first one.
        first: String,
    },
    /// A feature that no record has.
    #[error(
        "`{column}` has no usable value in any of {records} records; check its path in record.features, or leave it out"
    )]
    NeverThere {
        /// The column.
        column: String,
        /// Usable records in the sample.
        records: usize,
    },
    /// The features can't be told.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The features contradict each other.
    #[error(transparent)]
    Features(#[from] EncoderError),
}

impl SampleRows {
    /// Decodes `records` with the configured features, or with all numeric fields that they hold.
    pub fn decode(records: &[SampleRecord], settings: &RecordSettings) -> Result<Self, SampleError> {
        let features = freeze(records, settings)?;
        let width = columns_of(&features).len();
        let mut rows = Self::read(records, settings, (features, vec![0.0; width]))?;
        rows.fill_imputed()?;
        Ok(rows)
    }

    /// Decodes `records` with these features, as production does for a model: `impute` stands for missing values.
    pub(super) fn read(
        records: &[SampleRecord],
        settings: &RecordSettings,
        (features, impute): (Vec<FeatureSetting>, Vec<f32>),
    ) -> Result<Self, SampleError> {
        let columns = columns_of(&features);
        let width = columns.len();
        let encoder = FeatureEncoder::new(&features, impute.clone(), settings.max_missing)?;
        let mut decoder = Decoder::new(Schema::new(&features, settings));
        let mut rows = Self {
            values: Vec::with_capacity(records.len() * width),
            imputed: Vec::with_capacity(records.len() * width),
            names: Vec::new(),
            entities: Vec::with_capacity(records.len()),
            runs: Vec::with_capacity(records.len()),
            times: Vec::with_capacity(records.len()),
            positions: Vec::with_capacity(records.len()),
            impute,
            unusable: 0,
            first_error: None,
            features,
            columns,
        };
        let mut known: HashMap<String, Known> = HashMap::new();
        let (mut decoded, mut row, mut imputed) = (DecodedRecord::default(), vec![0.0; width], vec![false; width]);
        for record in records {
            let read = decoder.decode(&record.lend(), &mut decoded).and_then(|()| {
                let new = Known { entity: known.len() as u32, run: record.run, counters: CounterState::default() };
                let entity = known.entry(decoded.entity.clone()).or_insert(new);
                entity.enter(record.run);
                encoder.encode(&decoded, &mut entity.counters, &mut row, &mut imputed).map(|()| entity.entity)
            });
            match read {
                Ok(entity) => {
                    rows.values.extend_from_slice(&row);
                    rows.imputed.extend_from_slice(&imputed);
                    rows.entities.push(entity);
                    rows.runs.push(record.run);
                    rows.times.push(decoded.time_us);
                    rows.positions.push(record.position);
                }
                Err(error) => {
                    rows.unusable += 1;
                    rows.first_error.get_or_insert_with(|| format!("{error}, in {}", excerpt(&record.payload)));
                }
            }
        }
        let mut names: Vec<_> = known.into_iter().map(|(name, known)| (known.entity, name)).collect();
        names.sort_unstable();
        rows.names = names.into_iter().map(|(_, name)| name).collect();
        if rows.entities.is_empty() {
            let first = rows.first_error.unwrap_or_else(|| "there are no records".to_owned());
            return Err(SampleError::NoRows { records: records.len(), first });
        }
        Ok(rows)
    }

    /// Count of rows.
    pub fn len(&self) -> usize {
        self.entities.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// Columns per row.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// The values of one row.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width()..(index + 1) * self.width()]
    }

    /// Appends the values of these rows, one after the other.
    pub(super) fn append(&self, rows: &[usize], values: &mut Vec<f32>) {
        rows.iter().for_each(|row| values.extend_from_slice(self.row(*row)));
    }

    /// Median distance between two rows of one run in seconds; `None` where time stands still or there is none.
    pub fn interval_seconds(&self) -> Option<f64> {
        let mut last: HashMap<u32, (u32, i64)> = HashMap::new();
        let rows = self.entities.iter().zip(&self.runs).zip(&self.times);
        let step = |((entity, run), time): ((&u32, &u32), &i64)| {
            let (before, since) = last.insert(*entity, (*run, *time))?;
            (before == *run).then_some(time - since)
        };
        let mut steps: Vec<i64> = rows.filter_map(step).collect();
        let middle = steps.len() / 2;
        let (_, median, _) = (!steps.is_empty()).then(|| steps.select_nth_unstable(middle))?;
        (*median > 0).then(|| *median as f64 / 1e6)
    }

    /// What tells of the records that could not be used, for errors: empty if all could.
    pub fn unusable_note(&self) -> String {
        let first = self.first_error.as_deref().unwrap_or_default();
        if self.unusable == 0 {
            String::new()
        } else {
            format!(" ({} records could not be used; the first one: {first})", self.unusable)
        }
    }

    /// Puts the median of the values that came in place of those that did not.
    fn fill_imputed(&mut self) -> Result<(), SampleError> {
        let width = self.width();
        self.impute = (0..width).map(|c| self.median(c)).collect::<Result<_, _>>()?;
        for (at, value) in self.values.iter_mut().enumerate() {
            if self.imputed[at] {
                *value = self.impute[at % width];
            }
        }
        Ok(())
    }

    fn median(&self, column: usize) -> Result<f32, SampleError> {
        let width = self.width();
        let at = (0..self.len()).map(|row| row * width + column);
        let mut present: Vec<f32> = at.filter(|&at| !self.imputed[at]).map(|at| self.values[at]).collect();
        if present.is_empty() {
            return Err(SampleError::NeverThere { column: self.columns[column].0.clone(), records: self.len() });
        }
        let middle = present.len() / 2;
        Ok(*present.select_nth_unstable_by(middle, f32::total_cmp).1)
    }
}

/// The beginning of a payload: its text, or its bytes where it is none.
fn excerpt(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) if !text.contains(|c: char| c.is_control() && !c.is_whitespace()) => {
            format!("`{}`", text.chars().take(EXCERPT).collect::<String>())
        }
        Ok(_) | Err(_) => {
            let shown: Vec<String> = payload.iter().take(EXCERPT / 4).map(|byte| format!("{byte:02x}")).collect();
            let rest = if payload.len() > shown.len() { " ..." } else { "" };
            format!("{} bytes: {}{rest}", payload.len(), shown.join(" "))
        }
    }
}

/// The features with everything learned that the configuration left open.
fn freeze(records: &[SampleRecord], settings: &RecordSettings) -> Result<Vec<FeatureSetting>, SampleError> {
    let payloads = records.iter().map(|record| &*record.payload);
    match &settings.features {
        FeatureSelection::Listed(listed) => {
            let mut features = listed.clone();
            let mut discovery = Discovery::of_categories(listed, &settings.format);
            discovery.observe_all(payloads);
            discovery.fill_vocabularies(&mut features)?;
            Ok(features)
        }
        FeatureSelection::AllNumeric { exclude, transform } => {
            let mut discovery = Discovery::of_numbers(&settings.format);
            discovery.observe_all(payloads);
            let mut left_out = exclude.clone();
            left_out.extend(settings.timestamp.as_ref().map(|field| field.path.clone()));
            if let EntityFrom::Field(path) = &settings.entity {
                left_out.push(path.clone());
            }
            let mut features = discovery.numeric_features(&left_out)?;
            for feature in &mut features {
                feature.kind = FeatureKind::Numeric { transform: *transform };
            }
            Ok(features)
        }
    }
}

/// Rows for tests of what is made of them.
#[cfg(test)]
pub(super) mod fixture {
    use super::SampleRows;
    use crate::{
        model::metadata::fixture::metadata,
        record::{Position, features::columns_of},
    };

    /// Rows of these values, all there, a minute apart, dealt to `entities` entities by turns.
    pub(in crate::train) fn rows(values: &[Vec<f32>], entities: u32) -> SampleRows {
        let width = values[0].len();
        let features = metadata(width).features;
        SampleRows {
            columns: columns_of(&features),
            features,
            values: values.concat(),
            imputed: vec![false; values.len() * width],
            impute: vec![0.0; width],
            names: (0..entities).map(|entity| format!("e{entity}")).collect(),
            entities: (0..values.len()).map(|row| row as u32 % entities).collect(),
            runs: vec![0; values.len()],
            times: (0..values.len()).map(|row| row as i64 * 60_000_000).collect(),
            positions: (0..values.len()).map(|row| Position { partition: 0, offset: row as i64 }).collect(),
            unusable: 0,
            first_error: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_text_or_bytes_and_never_both() {
        assert_eq!(excerpt(b"{\"a\": 1}"), "`{\"a\": 1}`");
        assert_eq!(excerpt(&[b'x'; 200]).len(), EXCERPT + 2);
        assert_eq!(excerpt(&[0, 0, 128, 63]), "4 bytes: 00 00 80 3f");
        assert_eq!(excerpt(&[0; 4]), "4 bytes: 00 00 00 00");
        let long = excerpt(&[255; 100]);
        assert!(long.starts_with("100 bytes: ff ff") && long.ends_with("ff ...") && long.len() < EXCERPT, "{long}");
        assert_eq!(excerpt(b""), "``");
    }
}
