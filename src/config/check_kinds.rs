//! Which kinds of autoencoder hold at once, and what each of them needs of the other settings.

use super::{
    check_convolution,
    error::Problems,
    raw_model::{RawModel, RawSkip},
    raw_training::RawTraining,
    settings::{FeatureSelection, Kinds, Loss, NetworkKind, Preset, Scaling, VariationalScore},
};
use crate::record::features::FeatureKind;

/// What is written of a network, and of the rows that it is to learn.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) model: &'a RawModel,
    pub(super) training: &'a RawTraining,
    pub(super) features: &'a FeatureSelection,
    pub(super) preset: Preset,
}

impl Written<'_> {
    /// Whether rows follow each other, so that a longer window is a way out.
    pub(super) fn makes_windows(&self) -> bool {
        self.preset == Preset::Timeseries
    }

    /// Rows of the window that a network of these kinds takes: all but the predicted ones.
    pub(super) fn given_rows(&self, kinds: &Kinds) -> usize {
        let predicted = if kinds.has(NetworkKind::Sequence) { self.model.sequence.rows } else { 0 };
        self.training.window_rows().saturating_sub(predicted)
    }
}

/// Adds every contradiction to `problems`.
pub(super) fn kinds(written: Written<'_>, problems: &mut Problems) {
    if written.training.loss == Loss::BinaryCrossEntropy && !written.training.scaling.is_none_or(Scaling::is_to_range) {
        let problem = "binary_cross_entropy needs values scaled to 0..1";
        problems.push("training.loss", problem, "training.scaling: robust_min_max or min_max, or another loss");
    }
    if written.model.layers.is_some() && written.model.hidden.is_some() {
        problems.push("model.layers", "is set, and model.hidden too", "a number of layers, or the width of each");
    }
    skip(&written, problems);
    let kinds = written.model.kind.as_ref().and_then(|kinds| Kinds::new(kinds.as_slice()));
    let Some(kinds) = kinds else {
        // A kind left open is denoising where it doesn't turn out to be pca.
        return denoising(&written, problems);
    };
    for kind in kinds.iter() {
        match kind {
            NetworkKind::Pca => principal_components(&written, &kinds, problems),
            NetworkKind::Undercomplete => {}
            NetworkKind::Denoising => denoising(&written, problems),
            NetworkKind::Sparse => sparse(&written, problems),
            NetworkKind::Contractive => contractive(&written, problems),
            NetworkKind::Convolutional => check_convolution::convolutional(&written, &kinds, problems),
            NetworkKind::Variational => variational(&written, &kinds, problems),
            NetworkKind::Sequence => sequence(&written, problems),
        }
    }
    if kinds.need_narrow_code() {
        code_fits(&written, &kinds, problems);
    }
}

fn skip(written: &Written<'_>, problems: &mut Problems) {
    if written.model.skip == Some(RawSkip::Pca) && written.training.loss == Loss::BinaryCrossEntropy {
        let problem = "a network that corrects principal components gives values beyond 0..1, which binary_cross_entropy \
                       doesn't know";
        problems.push("model.skip", problem, "none, or training.loss: mean_squared_error or huber");
    }
}

fn principal_components(written: &Written<'_>, kinds: &Kinds, problems: &mut Problems) {
    let Written { model, training, .. } = written;
    if kinds.iter().count() > 1 {
        let problem = format!("{kinds}: principal components are solved exactly and take no other kind");
        problems.push("model.kind", problem, "pca alone, or the other kinds without it");
    }
    if training.loss != Loss::MeanSquaredError {
        let problem = "principal components minimise the mean squared error";
        problems.push("training.loss", problem, "mean_squared_error, or another model.kind");
    }
    let hidden = model.hidden.as_ref().map_or(0, Vec::len);
    for (key, layers) in [("model.layers", model.layers.unwrap_or(0)), ("model.hidden", hidden)] {
        if layers > 0 {
            let problem = format!("principal components have no hidden layers, and here are {layers}");
            problems.push(key, problem, "null, or another model.kind");
        }
    }
    if model.skip == Some(RawSkip::Pca) {
        let problem = "principal components can't correct themselves";
        problems.push("model.skip", problem, "none, or another model.kind");
    }
    if model.members > 1 {
        let problem = format!("principal components hang on no seed, so that all {} would be the same", model.members);
        problems.push("model.members", problem, "1, or another model.kind");
    }
}

fn denoising(written: &Written<'_>, problems: &mut Problems) {
    let noise = &written.training.noise;
    if !(noise.gaussian > 0.0 || noise.masking > 0.0 || noise.swap > 0.0) {
        let expected = "gaussian, masking or swap above 0, or another kind";
        problems.push("training.noise", "kind denoising has nothing to remove", expected);
    }
}

fn sparse(written: &Written<'_>, problems: &mut Problems) {
    let sparsity = &written.training.sparsity;
    if !(sparsity.l1 > 0.0 || sparsity.kl > 0.0) {
        problems.push("training.sparsity", "kind sparse has no penalty", "l1 or kl above 0, or another kind");
    }
}

fn contractive(written: &Written<'_>, problems: &mut Problems) {
    let weight = written.training.contraction.weight;
    if weight <= 0.0 {
        let problem = format!("kind contractive has no penalty with {weight}");
        problems.push("training.contraction.weight", problem, "above 0, or another kind");
    }
}

fn variational(written: &Written<'_>, kinds: &Kinds, problems: &mut Problems) {
    for other in [NetworkKind::Sparse, NetworkKind::Contractive].into_iter().filter(|other| kinds.has(*other)) {
        let problem = format!("the variational code is a distribution, which kind {} can't penalise", other.name());
        problems.push("model.kind", problem, format!("variational or {}, not both", other.name()));
    }
    if written.model.variational.score != VariationalScore::Probability {
        return;
    }
    if written.training.loss != Loss::MeanSquaredError {
        let problem = "the probability is that of a normal distribution, which is fitted by its own likelihood";
        problems.push("model.variational.score", problem, "training.loss: mean_squared_error, or score: error");
    }
    if written.model.skip == Some(RawSkip::Pca) {
        let problem = "principal components give no probability";
        problems.push("model.variational.score", problem, "model.skip: none, or score: error");
    }
    if kinds.has(NetworkKind::Convolutional) {
        let problem = "transposed convolutions give values, not a mean and a variance for each";
        problems.push("model.variational.score", problem, "score: error, or no kind convolutional");
    }
}

fn sequence(written: &Written<'_>, problems: &mut Problems) {
    let (window, predicted) = (written.training.window_rows(), written.model.sequence.rows);
    if window <= predicted {
        let problem = format!("windows of {window} rows leave none to predict {predicted} from");
        if written.makes_windows() {
            let expected = format!("more than model.sequence.rows = {predicted}, or no kind sequence");
            problems.push("training.window", problem, expected);
        } else {
            problems.push("model.kind", problem, "no kind sequence, or preset: timeseries and a longer window");
        }
    }
    if written.model.skip == Some(RawSkip::Pca) {
        let problem = "principal components rebuild rows and predict none";
        problems.push("model.skip", problem, "none, or no kind sequence");
    }
}

/// Where only the code's width keeps a network from copying, it is smaller than the input. The input is known beforehand only
/// if the features are listed and no vocabulary is still to be learned; otherwise the trainer finds out.
fn code_fits(written: &Written<'_>, kinds: &Kinds, problems: &mut Problems) {
    let Some(columns) = columns(written.features) else { return };
    let rows = written.given_rows(kinds);
    let input = columns.saturating_mul(rows);
    if input == 1 && written.makes_windows() {
        let problem = "one column in windows of 1 row leaves nothing to squeeze, and every row would be rebuilt";
        problems.push("training.window", problem, "at least 2, or model.kind: denoising");
        return;
    }
    if input == 1 {
        let problem = "one column leaves nothing to squeeze, and every row would be rebuilt";
        problems.push("model.kind", problem, "denoising, or more features");
        return;
    }
    // A window that holds no row but those to be predicted is told elsewhere.
    if let Some(code) = written.model.code_size.filter(|code| *code >= input && input > 0) {
        let problem = format!("{code} is not smaller than the input of {columns} columns * {rows} rows");
        problems.push("model.code_size", problem, format!("less than {input}, or another kind"));
    }
}

/// The row's columns, where they are known beforehand.
pub(super) fn columns(features: &FeatureSelection) -> Option<usize> {
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
    use crate::config::{
        Settings, Sources,
        settings::{Kinds, NetworkKind},
    };

    fn load(sets: &[&str]) -> Result<Settings, String> {
        let sources = Sources { set: sets.iter().map(|set| (*set).to_owned()).collect(), ..Sources::default() };
        Settings::load(&sources).map(|loaded| loaded.settings).map_err(|error| error.to_string())
    }

    /// What is told of these settings; empty if they are sound.
    fn told(sets: &[&str]) -> String {
        load(sets).err().unwrap_or_default()
    }

    fn refuses(sets: &[&str], key: &str, words: &str) {
        let told = told(sets);
        let line = told.lines().any(|line| line.starts_with(&format!("{key}: ")) && line.contains(words));
        assert!(line, "{sets:?}: {told}");
    }

    #[test]
    fn cross_entropy_goes_with_scaling_to_0_to_1_only() {
        assert_eq!(told(&["training.loss=binary_cross_entropy"]), "");
        let standard = ["training.loss=binary_cross_entropy", "training.scaling=standard"];
        refuses(&standard, "training.loss", "training.scaling: robust_min_max");
        let quantile = ["training.loss=binary_cross_entropy", "training.scaling=quantile"];
        refuses(&quantile, "training.loss", "training.scaling: robust_min_max");
        refuses(&["preset=tabular", "training.loss=binary_cross_entropy"], "training.loss", "robust_min_max");
    }

    #[test]
    fn one_column_in_windows_of_one_row_can_not_be_squeezed() {
        let lone = ["record.features=[\"x\"]", "training.window=1", "model.kind=pca"];
        refuses(&lone, "training.window", "at least 2, or model.kind: denoising");
        assert_eq!(told(&["record.features=[\"x\"]", "training.window=2", "model.kind=pca"]), "");
        let wide = ["record.features=[\"x\",\"y\"]", "training.window=1", "model.kind=pca", "model.code_size=2"];
        refuses(&wide, "model.code_size", "less than 2");
    }

    #[test]
    fn principal_components_know_no_other_loss() {
        refuses(&["model.kind=pca", "training.loss={\"huber\":{\"delta\":1}}"], "training.loss", "mean_squared_error");
    }

    #[test]
    fn a_kind_is_one_name_or_a_list_of_names_in_any_order() {
        assert_eq!(load(&[]).unwrap().training.network.kinds, None);
        let one = load(&["model.kind=sparse"]).unwrap().training.network.kinds;
        assert_eq!(one, Some(Kinds::from(NetworkKind::Sparse)));
        let several = load(&["model.kind=sparse, denoising,convolutional"]).unwrap().training.network.kinds;
        assert_eq!(several.unwrap().to_string(), "denoising + sparse + convolutional");
        assert_eq!(load(&["preset=tabular", "model.kind=null"]).unwrap().training.network.kinds, None);
        refuses(
            &["model.kind=recurrent"],
            "model.kind",
            "\"recurrent\" is not valid, expected pca, or one or several of",
        );
        refuses(&["model.kind=[]"], "model.kind", "an empty list is not valid");
        let both = told(&["model.kind=denoising,recurrent", "training.epochs=0"]);
        assert_eq!(both.lines().count(), 2, "a wrong kind hides no other problem: {both}");
    }

    #[test]
    fn principal_components_stand_alone() {
        refuses(&["model.kind=pca,denoising"], "model.kind", "expected pca alone, or the other kinds without it");
        refuses(&["model.kind=pca", "model.layers=2"], "model.layers", "no hidden layers, and here are 2");
        refuses(&["model.kind=pca", "model.hidden=8"], "model.hidden", "expected null, or another model.kind");
        refuses(&["model.kind=pca", "model.skip=pca"], "model.skip", "expected none");
        assert_eq!(told(&["model.kind=pca", "model.layers=0"]), "");
        assert_eq!(told(&["preset=tabular", "model.kind=pca"]), "", "the preset's hidden layers are for its own kind");
        refuses(&["model.kind=pca", "model.members=5"], "model.members", "all 5 would be the same, expected 1");
        let network = load(&["preset=tabular", "model.kind=pca"]).unwrap().training.network;
        assert_eq!(network.members, 1, "the preset's members are for its own kind");
    }

    #[test]
    fn layers_are_counted_or_given_by_width_and_what_is_written_last_holds() {
        let counted = load(&["preset=tabular", "model.layers=3"]).unwrap().training.network;
        assert_eq!((counted.layers, counted.hidden), (Some(3), None), "a count replaces the preset's widths");
        refuses(&["model.layers=3", "model.hidden=8,4"], "model.layers", "the width of each");
    }

    #[test]
    fn an_undercomplete_code_is_smaller_than_its_input_with_every_other_kind_too() {
        let listed = "record.features=[\"x\",\"y\"]";
        let sound = |kinds: &str| [listed.to_owned(), format!("model.kind={kinds}"), "model.code_size=8".to_owned()];
        let told = |sets: [String; 3]| told(&sets.each_ref().map(String::as_str));
        assert_eq!(told(sound("denoising,sparse")), "");
        assert!(told(sound("denoising,undercomplete")).contains("model.code_size: 8 is not smaller"));
        let sequence =
            told([listed.to_owned(), "model.kind=undercomplete,sequence".into(), "model.code_size=6".into()]);
        assert!(sequence.contains("2 columns * 3 rows"), "predicted rows are no input: {sequence}");
    }

    #[test]
    fn convolutions_alone_need_a_code_smaller_than_their_input() {
        let sets = |kinds: &'static str| ["record.features=[\"x\",\"y\"]", kinds, "model.code_size=8"];
        refuses(&sets("model.kind=convolutional"), "model.code_size", "8 is not smaller than the input");
        for other in ["denoising", "sparse", "contractive", "variational"] {
            assert_eq!(told(&sets(format!("model.kind=convolutional,{other}").leak())), "");
        }
        let predicting = [&sets("model.kind=convolutional,sequence")[..], &["training.window=5"]].concat();
        assert_eq!(told(&predicting), "");
    }

    #[test]
    fn the_code_of_a_preset_is_for_its_own_kind() {
        let code = |sets: &[&str]| {
            let grid = r#"record.features=[{"path":"f","kind":"grid","shape":[2,19]}]"#;
            load(&[&["preset=tabular", grid], sets].concat()).unwrap().training.network.code_size
        };
        assert_eq!(code(&[]), Some(64));
        assert_eq!(code(&["model.kind=sparse"]), Some(64));
        for other in
            ["model.kind=pca", "model.kind=undercomplete,denoising", "model.kind=convolutional", "model.skip=pca"]
        {
            assert_eq!(code(&[other]), None, "{other}");
            assert_eq!(code(&[other, "model.code_size=9"]), Some(9), "{other}");
        }
    }

    #[test]
    fn independent_rows_are_not_told_to_take_longer_windows() {
        let lone = ["preset=tabular", "record.features=[\"x\"]", "model.kind=undercomplete"];
        assert_eq!(
            told(&lone),
            "model.kind: one column leaves nothing to squeeze, and every row would be rebuilt, expected denoising, or more \
             features"
        );
        refuses(&["preset=tabular", "model.kind=sequence"], "model.kind", "expected no kind sequence");
    }

    #[test]
    fn a_variational_code_is_not_penalised_otherwise() {
        refuses(&["model.kind=variational,sparse"], "model.kind", "variational or sparse, not both");
        refuses(&["model.kind=variational,contractive"], "model.kind", "variational or contractive, not both");
        assert_eq!(told(&["model.kind=variational,denoising,convolutional"]), "");
    }

    #[test]
    fn a_probability_is_that_of_a_normal_distribution_of_the_whole_row() {
        let probable = ["model.kind=variational", "model.variational.score=probability"];
        let and = |more: &'static str| [probable[0], probable[1], more];
        assert_eq!(told(&probable), "");
        let key = "model.variational.score";
        refuses(&and("training.loss=binary_cross_entropy"), key, "training.loss: mean_squared_error");
        refuses(&and("model.skip=pca"), key, "model.skip: none");
        let kinds = ["model.kind=variational,convolutional", "model.variational.score=probability"];
        refuses(&kinds, "model.variational.score", "no kind convolutional");
    }

    #[test]
    fn a_sequence_needs_rows_to_predict_from_and_no_skip() {
        assert_eq!(told(&["model.kind=sequence", "training.window=2"]), "");
        refuses(&["model.kind=sequence", "training.window=1"], "training.window", "more than model.sequence.rows = 1");
        refuses(
            &["model.kind=sequence", "model.sequence.rows=4"],
            "training.window",
            "more than model.sequence.rows = 4",
        );
        refuses(&["model.kind=sequence", "model.skip=pca"], "model.skip", "expected none, or no kind sequence");
    }

    #[test]
    fn each_penalty_needs_a_weight() {
        refuses(&["model.kind=contractive", "training.contraction.weight=0"], "training.contraction.weight", "above 0");
        refuses(&["model.kind=sparse", "training.sparsity.l1=0"], "training.sparsity", "l1 or kl above 0");
        let by_divergence = ["model.kind=sparse", "training.sparsity.kl=0.5", "model.activation=relu"];
        assert_eq!(told(&by_divergence), "", "the code has a sigmoid of its own");
        refuses(&["model.kind=denoising,sparse", "training.noise.gaussian=0"], "training.noise", "nothing to remove");
        assert_eq!(told(&["model.kind=undercomplete", "training.noise.gaussian=0"]), "");
    }

    #[test]
    fn a_skip_goes_with_losses_of_unbounded_values() {
        assert_eq!(told(&["model.skip=pca", "training.loss={\"huber\":{\"delta\":1}}"]), "");
        refuses(&["model.skip=pca", "training.loss=binary_cross_entropy"], "model.skip", "mean_squared_error or huber");
    }

    #[test]
    fn all_contradictions_of_a_network_are_told_at_once() {
        let told = told(&[
            "model.kind=pca,variational,sparse",
            "model.layers=1",
            "model.skip=pca",
            "training.loss=binary_cross_entropy",
            "training.scaling=standard",
            "training.sparsity.l1=0",
        ]);
        assert_eq!(told.lines().count(), 8, "{told}");
    }
}
