//! Normal rows of files: without those that a column labels, which is never a feature.

use std::collections::HashMap;

use super::Failure;
use crate::{
    config::{
        Loaded, Problems,
        settings::{FeatureSelection, RecordSettings},
    },
    record::{
        DecodedRecord, RawRecord,
        decode::{Decoder, Schema},
        path::FieldPath,
    },
    train::sample::SampleRecord,
};

/// A label that is learned from would be found in every row that it marks, and a mark says nothing of the row.
pub(super) fn leave_out(option: &str, column: &FieldPath, loaded: &mut Loaded) -> Result<(), Failure> {
    match &mut loaded.settings.record.features {
        FeatureSelection::AllNumeric { exclude, .. } => exclude.push(column.clone()),
        FeatureSelection::Listed(features) => {
            if let Some(feature) = features.iter().find(|feature| column.contains(&feature.path)) {
                let mut problems = Problems::default();
                let found = format!("the feature `{}` is the column of {option}", feature.name);
                problems.push("record.features", found, "features without it: it is never learned from");
                return Err(Failure::config(&problems));
            }
        }
    }
    Ok(())
}

/// Keeps labelled rows out of a sample, and those that are not wanted. What followed such a row in its entity did not follow
/// what stood before it, so it begins a run of its own, and no window reaches across the gap.
pub(super) struct Normal<'a> {
    /// By row; empty where nothing is labelled.
    labels: &'a [Option<bool>],
    decoder: Decoder,
    decoded: DecodedRecord,
    runs: HashMap<String, Run>,
    left_out: usize,
}

/// The run that an entity is in.
#[derive(Default)]
struct Run {
    number: u32,
    /// Whether a row was left out since its last one.
    broken: bool,
}

impl<'a> Normal<'a> {
    pub(super) fn new(labels: &'a [Option<bool>], record: &RecordSettings) -> Self {
        let decoder = Decoder::new(Schema::new(&[], record));
        Self { labels, decoder, decoded: DecodedRecord::default(), runs: HashMap::new(), left_out: 0 }
    }

    /// Wanted rows left out because they are labelled 1.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    /// A row that is wanted and not labelled 1.
    pub(super) fn keep(&mut self, raw: &RawRecord<'_>, wanted: bool) -> Option<SampleRecord> {
        let row = raw.position.offset as usize;
        let labelled = wanted && self.labels.get(row).copied().flatten().unwrap_or(false);
        let left_out = labelled || !wanted;
        if !left_out && self.runs.is_empty() {
            return SampleRecord::copy(raw);
        }
        // Whose row it is can't be told of a row that can't be used, and need not be.
        let _ = self.decoder.decode(raw, &mut self.decoded);
        if left_out {
            self.left_out += usize::from(labelled);
            self.runs.entry(self.decoded.entity.clone()).or_default().broken = true;
            return None;
        }
        let run = self.runs.get_mut(&self.decoded.entity).map_or(0, |run| {
            run.number += u32::from(std::mem::take(&mut run.broken));
            run.number
        });
        Some(SampleRecord { run, ..SampleRecord::copy(raw)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Settings, Sources},
        record::Position,
    };

    #[test]
    fn a_labelled_row_is_left_out_and_parts_the_runs_of_its_entity_only() {
        let set = vec![r#"record.entity={"field":"id"}"#.to_owned()];
        let settings = Settings::load(&Sources { set, ..Sources::default() }).unwrap().settings;
        let rows = [("a", 0), ("b", 0), ("a", 1), ("b", 0), ("a", 1), ("a", 0), ("b", 0), ("a", 0), ("b", 1), ("b", 0)];
        let labels: Vec<Option<bool>> = rows.iter().map(|row| Some(row.1 == 1)).collect();
        let mut normal = Normal::new(&labels, &settings.record);
        let mut kept = Vec::new();
        for (offset, (id, _)) in rows.iter().enumerate() {
            let payload = format!("{{\"id\":\"{id}\",\"x\":1}}");
            let raw = RawRecord {
                position: Position { partition: 0, offset: offset as i64 },
                timestamp_ms: Some(0),
                key: None,
                payload: Some(payload.as_bytes()),
                headers: None,
            };
            kept.extend(normal.keep(&raw, true).map(|record| (record.position.offset, record.run)));
        }
        assert_eq!(kept, [(0, 0), (1, 0), (3, 0), (5, 1), (6, 0), (7, 1), (9, 1)]);
        assert_eq!(normal.left_out(), 3);
    }
}
