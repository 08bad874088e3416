//! What hangs on several settings of the network.

use super::{
    check_kinds::{self, Written},
    check_schedule,
    error::Problems,
    raw_model::{RawConvolution, RawModel, RawSkip, RawVariational},
    raw_training::{RawContraction, RawNoise, RawSparsity, RawTraining},
    settings::{
        Contraction, Convolution, FeatureSelection, GateSettings, Kinds, NetworkKind, NetworkSettings, Noise,
        Optimiser, Preset, Sparsity, TrainingSettings, Variational,
    },
};
use crate::{
    record::features::grid_of,
    train::size::{Oversize, check_size},
};

pub(super) fn training(
    raw: RawTraining,
    model: &RawModel,
    (preset, features): (Preset, &FeatureSelection),
    problems: &mut Problems,
) -> TrainingSettings {
    rows(&raw, preset, problems);
    shares_of_noise(&raw.noise, problems);
    batches(&raw, model, problems);
    check_kinds::kinds(Written { model, training: &raw, features, preset }, problems);
    TrainingSettings {
        rows: raw.rows,
        max_rows: raw.max_rows,
        sample_rows: raw.sample_rows,
        schedule: check_schedule::schedule(&raw.schedule, problems),
        window: raw.window_rows(),
        window_is_open: raw.window.is_none(),
        held_back: raw.held_back,
        network: network(&raw, model),
        seed: raw.seed,
        gate: GateSettings { withheld: raw.gate.withheld, tolerance: raw.gate.tolerance },
    }
}

/// Refuses networks that no model file can hold. Where the columns are not known yet, one is the least that there can be.
pub(super) fn size(training: &TrainingSettings, features: &FeatureSelection, problems: &mut Problems) {
    let columns = check_kinds::columns(features).unwrap_or(1);
    let grid = match features {
        FeatureSelection::Listed(listed) => grid_of(listed),
        FeatureSelection::AllNumeric { .. } => None,
    };
    let network = &training.network;
    if let Err(oversize) = check_size(training, grid, columns) {
        let written = [("model.hidden", network.hidden.is_some()), ("model.code_size", network.code_size.is_some())];
        let key = written.into_iter().find(|(_, written)| *written).map_or("training.window", |(key, _)| key);
        problems.push(key, oversize.to_string(), Oversize::CURE);
    }
}

fn network(raw: &RawTraining, model: &RawModel) -> NetworkSettings {
    NetworkSettings {
        kinds: model.kind.as_ref().and_then(|kinds| Kinds::new(kinds.as_slice())),
        layers: model.layers,
        hidden: model.hidden.clone(),
        code_size: model.code_size,
        activation: model.activation,
        members: model.members,
        skip: model.skip.map(|skip| skip == RawSkip::Pca),
        convolution: convolution(&model.convolution),
        variational: variational(&model.variational),
        predicted_rows: model.sequence.rows,
        loss: raw.loss,
        noise: noise(&raw.noise),
        sparsity: sparsity(&raw.sparsity),
        contraction: contraction(&raw.contraction),
        scaling: raw.scaling,
        input_clip: raw.input_clip.map(|clip| clip as f32),
        epochs: raw.epochs,
        batch_size: raw.batch_size,
        optimiser: optimiser(raw),
        patience: raw.patience,
        trim: raw.trim,
        threads: raw.threads,
    }
}

fn convolution(raw: &RawConvolution) -> Convolution {
    Convolution { channels: raw.channels.clone(), kernel: raw.kernel, stride: raw.stride, dilation: raw.dilation }
}

fn variational(raw: &RawVariational) -> Variational {
    Variational { beta: raw.beta, warm_up: raw.warm_up, score: raw.score, draws: raw.draws }
}

fn contraction(raw: &RawContraction) -> Contraction {
    Contraction { weight: raw.weight, projections: raw.projections }
}

fn optimiser(raw: &RawTraining) -> Optimiser {
    Optimiser {
        rule: raw.optimiser,
        learning_rate: raw.learning_rate,
        schedule: raw.learning_rate_schedule,
        weight_decay: raw.weight_decay,
        clip_norm: raw.clip_norm,
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
    let window = raw.window_rows();
    if window >= raw.rows {
        let problem = format!("{} rows don't fill a window", raw.rows);
        problems.push("training.rows", problem, format!("more than training.window = {window}"));
    }
    // Every n-th row is held back, and with windows it would stand in fitted ones too.
    if preset == Preset::Tabular && window > 1 {
        let problem = format!("{window} rows that are independent of each other make no window");
        problems.push("training.window", problem, "1, or preset: timeseries");
    }
}

fn shares_of_noise(noise: &RawNoise, problems: &mut Problems) {
    let sum = noise.masking + noise.swap;
    if sum > 1.0 {
        problems.push("training.noise", format!("masking and swap take {sum} of the values"), "at most 1 together");
    }
}

/// What is done within a batch needs a batch of enough rows.
fn batches(raw: &RawTraining, model: &RawModel, problems: &mut Problems) {
    let RawTraining { trim, batch_size: rows, .. } = *raw;
    if ["training.trim", "training.noise.swap", "training.batch_size"].iter().any(|key| problems.concerns(key)) {
        return;
    }
    let kinds = model.kind.as_ref().map(|kinds| kinds.as_slice());
    let has = |kind: NetworkKind| kinds.is_some_and(|kinds| kinds.contains(&kind));
    if trim > 0.0 && trim * (rows as f64) < 1.0 && !has(NetworkKind::Pca) {
        let problem =
            format!("{trim} of batches of {rows} rows is less than one row, so that nothing would be trimmed");
        let least = (1.0 / trim).ceil();
        let expected = format!("0, at least 1/{rows}, or a training.batch_size of at least {least}");
        problems.push("training.trim", problem, expected);
    }
    if raw.noise.swap > 0.0 && rows == 1 && (kinds.is_none() || has(NetworkKind::Denoising)) {
        let problem = "batches of 1 row have no other row to take values from";
        problems.push("training.noise.swap", problem, "0, or a training.batch_size of at least 2");
    }
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
    fn independent_rows_make_no_windows() {
        refuses(&["preset=tabular", "training.window=3"], "training.window", "expected 1, or preset: timeseries");
    }

    #[test]
    fn masking_and_swap_together_replace_at_most_every_value() {
        assert_eq!(told(&["training.noise.masking=0.5", "training.noise.swap=0.5"]), "");
        refuses(&["training.noise.masking=0.75", "training.noise.swap=0.5"], "training.noise", "1.25");
    }

    #[test]
    fn a_batch_has_rows_to_trim_and_to_swap_with() {
        assert_eq!(told(&["training.trim=0.0078125"]), "");
        refuses(
            &["training.trim=0.007"],
            "training.trim",
            "expected 0, at least 1/128, or a training.batch_size of at least 143",
        );
        assert_eq!(told(&["training.trim=0.007", "training.batch_size=143"]), "");
        let alone = ["training.noise.swap=0.1", "training.batch_size=1"];
        refuses(&alone, "training.noise.swap", "a training.batch_size of at least 2");
        assert_eq!(told(&["training.noise.swap=0.1", "training.batch_size=2"]), "");
    }

    #[test]
    fn networks_that_no_model_file_holds_are_refused_as_far_as_the_columns_are_known() {
        refuses(&["model.hidden=65536,65536"], "model.hidden", "are 34");
        let grid = |side: usize| format!(r#"record.features=[{{"path":"f","kind":"grid","shape":[{side},{side}]}}]"#);
        let wide = |side: usize| told(&[&grid(side), "training.window=16", "model.hidden=1024"]);
        assert_eq!(wide(64), "");
        assert!(wide(256).starts_with("model.hidden: 2148542468 parameters"), "{}", wide(256));
        assert!(wide(256).contains("expected fewer or narrower layers"), "{}", wide(256));
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
}
