//! What hangs on several settings of the network.

use super::{
    check_schedule,
    error::Problems,
    raw::{RawNoise, RawSparsity, RawTraining},
    settings::{
        Activation, FeatureSelection, GateSettings, Loss, NetworkKind, NetworkSettings, Noise, Preset, Scaling,
        Sparsity, TrainingSettings,
    },
};
use crate::record::features::FeatureKind;

pub(super) fn training(
    raw: RawTraining,
    (preset, features): (Preset, &FeatureSelection),
    problems: &mut Problems,
) -> TrainingSettings {
    rows(&raw, preset, problems);
    network(&raw, problems);
    shares_of_noise(&raw.noise, problems);
    code_fits(&raw, features, problems);
    TrainingSettings {
        rows: raw.rows,
        max_rows: raw.max_rows,
        sample_rows: raw.sample_rows,
        schedule: check_schedule::schedule(&raw.schedule, problems),
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
        gate: GateSettings { withheld: raw.gate.withheld, tolerance: raw.gate.tolerance },
    }
}

fn noise(raw: &RawNoise) -> Noise {
    Noise { gaussian: raw.gaussian, masking: raw.masking, swap: raw.swap }
}

fn sparsity(raw: &RawSparsity) -> Sparsity {
    Sparsity { l1: raw.l1, kl: raw.kl, target: raw.target }
}

fn rows(raw: &RawTraining, preset: Preset, problems: &mut Problems) {
    if raw.held_back == 0.0 {
        let problem = "0 leaves no rows to calibrate the alarm budget on";
        problems.push("training.held_back", problem, "a share above 0, such as 0.2");
    }
    if raw.window >= raw.rows {
        let problem = format!("{} rows don't fill a window", raw.rows);
        problems.push("training.rows", problem, format!("more than training.window = {}", raw.window));
    }
    // Every n-th row is held back, and with windows it would stand in fitted ones too.
    if preset == Preset::Tabular && raw.window > 1 {
        let problem = format!("{} rows that are independent of each other make no window", raw.window);
        problems.push("training.window", problem, "1, or preset: timeseries");
    }
}

fn network(raw: &RawTraining, problems: &mut Problems) {
    if raw.loss == Loss::BinaryCrossEntropy && raw.scaling == Some(Scaling::Standard) {
        let problem = "binary_cross_entropy needs values scaled to 0..1";
        problems.push("training.loss", problem, "training.scaling: robust_min_max, or another loss");
    }
    if raw.kind == Some(NetworkKind::Pca) && raw.loss != Loss::MeanSquaredError {
        let problem = "principal components minimise the mean squared error";
        problems.push("training.loss", problem, "mean_squared_error, or another training.kind");
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

fn shares_of_noise(noise: &RawNoise, problems: &mut Problems) {
    let sum = noise.masking + noise.swap;
    if sum > 1.0 {
        problems.push("training.noise", format!("masking and swap take {sum} of the values"), "at most 1 together");
    }
}

/// An undercomplete or linear network needs a code smaller than its input. The input is known beforehand only if the
/// features are listed and no vocabulary is still to be learned; otherwise the trainer finds out.
fn code_fits(raw: &RawTraining, features: &FeatureSelection, problems: &mut Problems) {
    let (Some(columns), Some(NetworkKind::Undercomplete | NetworkKind::Pca)) = (columns(features), raw.kind) else {
        return;
    };
    let input = columns * raw.window;
    if input == 1 {
        let problem = "one column in windows of 1 row leaves nothing to squeeze, and every row would be rebuilt";
        problems.push("training.window", problem, "at least 2, or training.kind: denoising");
        return;
    }
    if let Some(code) = raw.code_size.filter(|code| *code >= input) {
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
            kind => Some(kind.width()),
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use crate::config::{Settings, Sources};

    /// What is told of these settings; empty if they are sound.
    fn told(sets: &[&str]) -> String {
        let sources = Sources { set: sets.iter().map(|set| (*set).to_owned()).collect(), ..Sources::default() };
        Settings::load(&sources).err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn refuses(sets: &[&str], key: &str, words: &str) {
        let told = told(sets);
        assert!(told.contains(key) && told.contains(words), "{sets:?}: {told}");
    }

    #[test]
    fn cross_entropy_goes_with_scaling_to_0_to_1_only() {
        assert_eq!(told(&["training.loss=binary_cross_entropy"]), "");
        let standard = ["training.loss=binary_cross_entropy", "training.scaling=standard"];
        refuses(&standard, "training.loss", "training.scaling: robust_min_max");
        refuses(&["preset=tabular", "training.loss=binary_cross_entropy"], "training.loss", "robust_min_max");
    }

    #[test]
    fn independent_rows_make_no_windows() {
        refuses(&["preset=tabular", "training.window=3"], "training.window", "expected 1, or preset: timeseries");
    }

    #[test]
    fn masking_and_swap_together_replace_at_most_every_value() {
        assert_eq!(told(&["training.noise.masking=0.5", "training.noise.swap=0.5"]), "");
        refuses(&["training.noise.masking=0.75", "training.noise.swap=0.5"], "training.noise", "1.25");
    }

    #[test]
    fn every_accepted_learning_rate_is_one_that_the_trainer_takes() {
        use linfa::ParamGuard;
        for (rate, good) in [(1.0, true), (0.5, true), (1.5, false), (0.0, false)] {
            let accepted = told(&[&format!("training.learning_rate={rate}")]).is_empty();
            let taken = crate::train::AutoencoderParams::<f32>::new(4, 2).learning_rate(rate).check().is_ok();
            assert_eq!((accepted, taken), (good, good), "{rate}");
        }
    }

    #[test]
    fn one_column_in_windows_of_one_row_can_not_be_squeezed() {
        let lone = ["record.features=[\"x\"]", "training.window=1", "training.kind=pca"];
        refuses(&lone, "training.window", "at least 2, or training.kind: denoising");
        assert_eq!(told(&["record.features=[\"x\"]", "training.window=2", "training.kind=pca"]), "");
        let wide = ["record.features=[\"x\",\"y\"]", "training.window=1", "training.kind=pca", "training.code_size=2"];
        refuses(&wide, "training.code_size", "less than 2");
    }

    #[test]
    fn principal_components_know_no_other_loss() {
        refuses(
            &["training.kind=pca", "training.loss={\"huber\":{\"delta\":1}}"],
            "training.loss",
            "mean_squared_error",
        );
    }
}
