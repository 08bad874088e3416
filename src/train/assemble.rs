//! Making a model file out of what was fitted: residual statistics, calibration, golden rows, metadata.

use super::{
    Network,
    recipe::{Draft, Recipe, TrainError},
    sample::{SampleRecord, SampleRows},
    split::Split,
};
use crate::{
    config::settings::{NetworkSettings, Residuals},
    detect::{
        Scorer,
        calibrate::Calibration,
        judge::{EntityJudgement, Judge},
    },
    model::{
        Model,
        graph::{self, GraphSpec},
        metadata::{Column, FORMAT, GoldenRow, Metadata, Provenance, Scoring},
    },
    record::timestamp,
};

/// Windows per call of the scorer.
const CHUNK: usize = 512;
/// Golden rows in a model file.
const GOLDEN_ROWS: usize = 4;
/// Smallest residual variance of a column, scaled units: a column that was rebuilt almost exactly on held-back rows must not
/// turn the next rounding difference into an alarm.
const VARIANCE_FLOOR: f32 = 1e-4;
/// What a change of a constant column counts: its residual is capped at one range, over this variance.
const CONSTANT_VARIANCE: f32 = 1e-2;

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
            })
            .map_err(|error| TrainError::Graph(error.to_string()))?,
        };
        Ok(Model::assemble(graph, metadata))
    }

    /// Metadata without calibration and golden rows, which need the draft's own scores.
    pub(super) fn metadata(&self, draft: &Draft, rows: &SampleRows, sample: &[SampleRecord]) -> Metadata {
        let settings = &self.settings;
        let half_life = match settings.judging.residuals {
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
                half_life,
                incident_quiet_rows: settings.judging.incident_quiet_rows,
            },
            calibration: Calibration::unknown(),
            provenance: Provenance {
                source: self.source.clone(),
                ranges: ranges(sample),
                fitted_rows: 0,
                held_back_rows: 0,
                unusable_records: rows.unusable,
                span: span(&rows.times),
                seed: settings.training.seed,
                config_sha256: self.config_sha256.clone(),
                created: self.created.clone(),
                training_loss: draft.losses.0,
                validation_loss: draft.losses.1,
                epochs: draft.epochs,
            },
            golden: Vec::new(),
        }
    }

    /// Residuals of all held-back windows, `held_back * columns`, from the scorer that production would use.
    pub(super) fn residuals(
        &self,
        scorer: &mut dyn Scorer,
        rows: &SampleRows,
        split: &Split,
    ) -> Result<Vec<f32>, TrainError> {
        let mut all = Vec::with_capacity(split.held_back.len() * rows.width());
        let (mut windows, mut residuals) = (Vec::new(), Vec::new());
        for chunk in split.held_back.chunks(CHUNK) {
            windows.clear();
            chunk.iter().for_each(|index| split.append_window(rows, *index, &mut windows));
            scorer.score(&windows, chunk.len(), &mut residuals)?;
            all.extend_from_slice(&residuals);
        }
        Ok(all)
    }

    /// Writes mean and variance of the held-back residuals into the columns, where residuals are standardised at all.
    pub(super) fn standardise(&self, columns: &mut [Column], residuals: &[f32]) {
        let width = columns.len();
        if matches!(self.settings.judging.residuals, Residuals::Raw) {
            return;
        }
        for (c, column) in columns.iter_mut().enumerate() {
            let of_column = || residuals.iter().skip(c).step_by(width).map(|r| f64::from(*r));
            let count = of_column().count() as f64;
            let mean = of_column().sum::<f64>() / count;
            let variance = of_column().map(|r| (r - mean) * (r - mean)).sum::<f64>() / count;
            let constant = column.residual_cap.is_finite();
            column.residual_mean = if constant { 0.0 } else { mean as f32 };
            column.residual_variance = if constant { CONSTANT_VARIANCE } else { (variance as f32).max(VARIANCE_FLOOR) };
        }
    }

    pub(super) fn calibrate(
        &self,
        metadata: &Metadata,
        rows: &SampleRows,
        split: &Split,
        residuals: &[f32],
    ) -> Result<Calibration, TrainError> {
        let width = rows.width();
        // The limit plays no part in scores; whatever is above it is of no interest here.
        let judge = Judge::new(metadata, f64::INFINITY);
        let mut entities: Vec<(EntityJudgement, Vec<f64>)> = Vec::new();
        for (index, residuals) in split.held_back.iter().zip(residuals.chunks_exact(width)) {
            let newest = split.newest(*index);
            let entity = rows.entities[newest] as usize;
            if entities.len() <= entity {
                entities.resize_with(entity + 1, Default::default);
            }
            let (memory, scores) = &mut entities[entity];
            let imputed = &rows.imputed[newest * width..(newest + 1) * width];
            scores.push(judge.judge(residuals, imputed, memory).score);
        }
        let sequences: Vec<Vec<f64>> = entities.into_iter().map(|(_, scores)| scores).collect();
        let quiet = self.settings.judging.incident_quiet_rows;
        Ok(Calibration::fit(&sequences, quiet, rows.interval_seconds())?)
    }
}

/// Kind and widths, such as `denoising 152-76-25-4-25-76-152 x 3`.
pub(super) fn architecture(settings: &NetworkSettings, networks: &[Network<f32>]) -> String {
    let layers = &networks[0].layers;
    let mut widths = vec![layers[0].inputs().to_string()];
    widths.extend(layers.iter().map(|layer| layer.outputs().to_string()));
    let kind = serde_json::to_value(settings.kind).ok();
    let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or_default();
    format!("{kind} {} x {}", widths.join("-"), networks.len())
}

pub(super) fn golden(columns: &[Column], rows: &SampleRows, split: &Split, residuals: &[f32]) -> Vec<GoldenRow> {
    let width = columns.len();
    let every = (split.held_back.len() / GOLDEN_ROWS).max(1);
    (0..split.held_back.len())
        .step_by(every)
        .take(GOLDEN_ROWS)
        .map(|at| {
            let mut window = Vec::new();
            split.append_window(rows, split.held_back[at], &mut window);
            let errors = residuals[at * width..(at + 1) * width].iter().zip(columns);
            let sum: f32 = errors.map(|(r, column)| r * r / column.residual_variance).sum();
            GoldenRow { window, score: sum / width as f32 }
        })
        .collect()
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
