//! Making a model file out of what was fitted: the graph and its metadata.

use super::{
    Network,
    recipe::{Draft, Recipe, TrainError},
    sample::{SampleRecord, SampleRows},
    scaling::ColumnScale,
};
use crate::{
    config::settings::{NetworkSettings, Residuals},
    detect::calibrate::Calibration,
    model::{
        Model,
        graph::{self, GraphSpec},
        metadata::{Column, FORMAT, Metadata, Provenance, Scoring},
    },
    record::timestamp,
};

impl Recipe {
    pub(super) fn assemble(&self, draft: &Draft, metadata: Metadata) -> Result<Model, TrainError> {
        let graph = match &self.foreign {
            Some(foreign) => foreign.bytes.to_vec(),
            None => graph::write(&GraphSpec {
                networks: &draft.networks,
                columns: &metadata.columns,
                window: metadata.window,
                input_clip: self.input_clip(),
                doc: "Anomaly score by reconstruction error; see the output `score`.",
                metadata: &[],
            })?,
        };
        Ok(Model::assemble(graph, metadata))
    }

    /// Metadata without what held-back rows tell, which needs the draft's own scores.
    pub(super) fn metadata(&self, draft: &Draft, rows: &SampleRows, sample: &[SampleRecord]) -> Metadata {
        let settings = &self.settings;
        let half_life = match self.residuals() {
            Residuals::Running { half_life } => Some(half_life),
            Residuals::Raw | Residuals::HeldBack => None,
        };
        Metadata {
            format: FORMAT,
            program: concat!("strayd ", env!("CARGO_PKG_VERSION")).to_owned(),
            features: rows.features.clone(),
            columns: draft.columns.clone(),
            window: settings.training.window,
            graph: draft.origin.clone(),
            scoring: Scoring {
                smoothing_span: settings.judging.smoothing_span,
                smoothing_start: 0.0,
                score_knee: f64::MAX,
                half_life,
                incident_quiet_rows: settings.judging.incident_quiet_rows,
            },
            calibration: Calibration::unknown(),
            provenance: Provenance {
                source: self.source.clone(),
                ranges: ranges(sample),
                fitted_rows: 0,
                held_back_rows: 0,
                left_out_rows: 0,
                unusable_records: rows.unusable,
                span: span(&rows.times),
                seed: settings.training.seed,
                config_sha256: self.config_sha256.clone(),
                created: self.created.clone(),
                training_loss: draft.losses.0,
                validation_loss: draft.losses.1,
                epochs: draft.epochs,
                active_units: draft.active_units,
                parent: self.parent.clone(),
            },
            golden: Vec::new(),
        }
    }
}

/// The row's columns with their scaling; what held-back rows tell of their residuals comes later.
pub(super) fn columns(rows: &SampleRows, scales: &[ColumnScale]) -> Vec<Column> {
    rows.columns
        .iter()
        .zip(scales)
        .zip(&rows.impute)
        .map(|(((name, feature), scale), impute)| Column {
            impute: *impute,
            center: scale.center,
            scale: scale.scale,
            residual_cap: if scale.constant { 1.0 } else { f32::INFINITY },
            ..Column::unscaled(name, *feature)
        })
        .collect()
}

/// Kinds and widths, such as `denoising + sparse 152-76-25-4-25-76-152 x 3`.
pub(super) fn architecture(settings: &NetworkSettings, networks: &[Network<f32>]) -> String {
    let layers = &networks[0].layers;
    let mut widths = vec![layers[0].inputs().to_string()];
    widths.extend(layers.iter().map(|layer| layer.outputs().to_string()));
    let kinds = settings.kinds.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("{kinds} {} x {}", widths.join("-"), networks.len())
}

fn ranges(sample: &[SampleRecord]) -> Vec<(i32, i64, i64)> {
    let mut ranges: std::collections::BTreeMap<i32, (i64, i64)> = std::collections::BTreeMap::new();
    for record in sample {
        let offset = record.position.offset;
        let range = ranges.entry(record.position.partition).or_insert((offset, offset));
        *range = (range.0.min(offset), range.1.max(offset));
    }
    ranges.into_iter().map(|(partition, (first, last))| (partition, first, last)).collect()
}

fn span(times: &[i64]) -> Option<(String, String)> {
    let (first, last) = (times.iter().min()?, times.iter().max()?);
    (first < last).then(|| (timestamp::to_rfc3339(*first), timestamp::to_rfc3339(*last)))
}
