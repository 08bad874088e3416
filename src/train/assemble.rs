//! Making a model file out of what was fitted: the graph and its metadata.

use super::{
    Layer, Map, Network,
    recipe::{Draft, Recipe, TrainError},
    sample::{SampleRecord, SampleRows},
    scaling::ColumnScale,
};
use crate::{
    config::settings::{Aggregation, NetworkSettings, Residuals},
    detect::calibrate::Calibration,
    model::{
        Model,
        graph::{self, GraphSpec},
        metadata::{Column, Metadata, Provenance, Scoring, format_of},
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
                whitening: draft.whitening.as_ref(),
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
        let top = match self.aggregation() {
            Aggregation::Max => Some(1),
            Aggregation::Top(count) => Some(count),
            Aggregation::Mean | Aggregation::Mahalanobis => None,
        };
        Metadata {
            format: format_of(&draft.columns),
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
                top,
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
            knots: scale.knots.clone(),
            residual_cap: if scale.constant { 1.0 } else { f32::INFINITY },
            ..Column::unscaled(name, *feature)
        })
        .collect()
}

/// Kinds and widths, such as `denoising + sparse 152-76-25-4-25-76-152 x 3`. What convolutions take and give is written as its
/// shape, such as `4x16`, a Gaussian code or output as its number of means, and principal components beside the network as
/// `+ pca` after the widths, since what stands before them are the kinds.
pub(super) fn architecture(settings: &NetworkSettings, networks: &[Network<f32>]) -> String {
    let network = &networks[0];
    let widths: Vec<String> = (0..=network.layers.len()).map(|before| width(network, before)).collect();
    let kinds = settings.kinds.as_ref().map(ToString::to_string).unwrap_or_default();
    let skip = if network.skip.is_some() { " + pca" } else { "" };
    format!("{kinds} {}{skip} x {}", widths.join("-"), networks.len())
}

/// What the network holds before this layer, from 0; before the one after the last, what it gives.
fn width(network: &Network<f32>, before: usize) -> String {
    let map = |layer: Option<usize>| layer.and_then(|layer| network.layers.get(layer)).map(Layer::map);
    let last = before.checked_sub(1);
    let shape = match (map(last), map(Some(before))) {
        (Some(Map::Convolution(geometry)), _) | (_, Some(Map::Transposed(geometry))) => Some(geometry.coarse),
        (Some(Map::Transposed(geometry)), _) | (_, Some(Map::Convolution(geometry))) => Some(geometry.fine),
        _ => None,
    };
    match (shape, last) {
        (Some(shape), _) => shape.to_string().replace(' ', ""),
        (None, None) => network.input_width().to_string(),
        (None, Some(code)) if code == network.code => network.code_size().to_string(),
        (None, Some(last)) if last + 1 == network.layers.len() => network.output_width().to_string(),
        (None, Some(last)) => network.layers[last].outputs().to_string(),
    }
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

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use linfa::ParamGuard;
    use ndarray::Array2;

    use super::*;
    use crate::{
        config::{
            Settings,
            settings::{Convolution, Kinds, NetworkKind, Noise, Preset, Variational, VariationalScore},
        },
        model::metadata::GraphOrigin,
        train::{AutoencoderParams, Shape},
    };

    fn told(params: AutoencoderParams<f32>, width: usize, kinds: Kinds) -> String {
        let rows = Array2::from_shape_fn((60, width), |(row, at)| ((row * (at + 1)) as f32 * 0.1).sin());
        let params = params.epochs(1).kinds(kinds.clone()).check().unwrap();
        let fitted = params.fit_with_validation(rows.view(), rows.view(), &mut |_| ControlFlow::Continue(())).unwrap();
        let settings = Settings::defaults(Preset::Tabular).training.network;
        architecture(&NetworkSettings { kinds: Some(kinds), ..settings }, &[fitted.network.clone(), fitted.network])
    }

    #[test]
    fn an_architecture_tells_codes_shapes_and_what_goes_around_the_network_and_its_kinds_can_be_read_back() {
        let variational = |score| Variational { beta: 0.1, warm_up: 0, score, draws: 2 };
        let dense = || AutoencoderParams::new(6, 2).hidden(&[5]);
        let window = Shape { height: 8, width: 1, channels: 3 };
        let grid = Shape { height: 8, width: 4, channels: 1 };
        let convolution = || Convolution { channels: vec![4], kernel: 3, stride: 2, dilation: 1 };
        let probable = dense().variational(variational(VariationalScore::Probability));
        let both = Kinds::new(&[NetworkKind::Denoising, NetworkKind::Convolutional]).unwrap();
        let noise = Noise { gaussian: 0.1, ..Noise::default() };
        for (params, width, kinds, expected) in [
            (dense(), 6, NetworkKind::Undercomplete.into(), "undercomplete 6-5-2-5-6 x 2"),
            (dense().skip(true), 6, NetworkKind::Undercomplete.into(), "undercomplete 6-5-2-5-6 + pca x 2"),
            (probable, 6, NetworkKind::Variational.into(), "variational 6-5-2-5-6 x 2"),
            (dense().predicted(2), 6, NetworkKind::Sequence.into(), "sequence 4-5-2-5-2 x 2"),
            (AutoencoderParams::new(6, 2), 6, NetworkKind::Pca.into(), "pca 6-2-6 x 2"),
            (
                AutoencoderParams::new(24, 2).noise(noise).convolution(window, convolution()),
                24,
                both,
                "denoising + convolutional 8x3-4x4-2-4x4-8x3 x 2",
            ),
            (
                AutoencoderParams::new(32, 3).hidden(&[7]).convolution(grid, convolution()),
                32,
                NetworkKind::Convolutional.into(),
                "convolutional 8x4x1-4x2x4-7-3-7-4x2x4-8x4x1 x 2",
            ),
        ] {
            let name = kinds.to_string();
            let architecture = told(params, width, kinds);
            assert_eq!(architecture, expected);
            assert_eq!(GraphOrigin::Strayd { architecture }.kind(), name);
        }
    }
}
