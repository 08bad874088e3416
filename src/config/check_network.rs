//! What hangs on several settings of the network.

use super::{
    error::Problems,
    raw::{RawNoise, RawSparsity, RawTraining},
    settings::{
        Activation, FeatureSelection, Loss, NetworkKind, NetworkSettings, Noise, Scaling, Sparsity, TrainingSettings,
    },
};
use crate::record::features::FeatureKind;

pub(super) fn training(raw: RawTraining, features: &FeatureSelection, problems: &mut Problems) -> TrainingSettings {
    rows(&raw, problems);
    network(&raw, problems);
    code_fits(&raw, features, problems);
    TrainingSettings {
        rows: raw.rows,
        max_rows: raw.max_rows,
        window: raw.window,
        held_back: raw.held_back,
        network: NetworkSettings {
            kind: raw.kind,
            hidden: raw.hidden,
            code_size: raw.code_size,
            activation: raw.activation,
            loss: raw.loss,
            noise: noise(&raw.noise),
            sparsity: sparsity(&raw.sparsity),
            scaling: raw.scaling,
            members: raw.members,
            epochs: raw.epochs,
            batch_size: raw.batch_size,
            learning_rate: raw.learning_rate,
            patience: raw.patience,
        },
        seed: raw.seed,
    }
}

fn noise(raw: &RawNoise) -> Noise {
    Noise { gaussian: raw.gaussian, masking: raw.masking, swap: raw.swap }
}

fn sparsity(raw: &RawSparsity) -> Sparsity {
    Sparsity { l1: raw.l1, kl: raw.kl, target: raw.target }
}

fn rows(raw: &RawTraining, problems: &mut Problems) {
    if raw.held_back == 0.0 {
        let problem = "0 leaves no rows to calibrate the alarm budget on";
        problems.push("training.held_back", problem, "a share above 0, such as 0.2");
    }
    if raw.window >= raw.rows {
        let problem = format!("{} rows don't fill a window", raw.rows);
        problems.push("training.rows", problem, format!("more than training.window = {}", raw.window));
    }
}

fn network(raw: &RawTraining, problems: &mut Problems) {
    if raw.loss == Loss::BinaryCrossEntropy && raw.scaling != Scaling::RobustMinMax {
        let problem = "binary_cross_entropy needs values scaled to 0..1";
        problems.push("training.loss", problem, "training.scaling: robust_min_max, or another loss");
    }
    if matches!(raw.kind, None | Some(NetworkKind::Denoising)) {
        let noise = &raw.noise;
        if !(noise.gaussian > 0.0 || noise.masking > 0.0 || noise.swap > 0.0) {
            let expected = "gaussian, masking or swap above 0, or another kind";
            problems.push("training.noise", "kind denoising has nothing to remove", expected);
        }
    }
    if raw.kind == Some(NetworkKind::Sparse) {
        if !(raw.sparsity.l1 > 0.0 || raw.sparsity.kl > 0.0) {
            problems.push("training.sparsity", "kind sparse has no penalty", "l1 or kl above 0, or another kind");
        }
        if raw.sparsity.kl > 0.0 && raw.activation != Activation::Sigmoid {
            let problem = "the divergence is defined for activities in 0..1 only";
            problems.push("training.sparsity.kl", problem, "training.activation: sigmoid, or kl: 0");
        }
    }
}

/// An undercomplete or linear network needs a code smaller than its input. The input is known beforehand only if the
/// features are listed and no vocabulary is still to be learned; otherwise the trainer finds out.
fn code_fits(raw: &RawTraining, features: &FeatureSelection, problems: &mut Problems) {
    let (Some(code), Some(columns)) = (raw.code_size, columns(features)) else { return };
    let input = columns * raw.window;
    let narrow = matches!(raw.kind, Some(NetworkKind::Undercomplete | NetworkKind::Pca));
    if narrow && code >= input {
        let problem = format!("{code} is not smaller than the input of {columns} columns * {} rows", raw.window);
        problems.push("training.code_size", problem, format!("less than {input}, or another kind"));
    }
}

fn columns(features: &FeatureSelection) -> Option<usize> {
    let FeatureSelection::Listed(listed) = features else { return None };
    listed
        .iter()
        .map(|feature| match &feature.kind {
            FeatureKind::Categorical { vocabulary } if vocabulary.is_empty() => None,
            FeatureKind::Categorical { vocabulary } => Some(vocabulary.len()),
            FeatureKind::HourOfDay | FeatureKind::DayOfWeek => Some(2),
            FeatureKind::Numeric { .. } | FeatureKind::Boolean | FeatureKind::Counter => Some(1),
        })
        .sum()
}
