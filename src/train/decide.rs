//! What the settings leave open and the rows decide: the kind of network, its window, its skip, and how a score is made of
//! residuals. What is decided here measured best on series of many kinds; see `docs/quality.md`.

use std::sync::Arc;

use super::{
    candidate::MOST_INPUTS,
    recipe::{Recipe, TrainError},
    sample::SampleRows,
    scaling,
    split::Split,
};
use crate::{
    config::settings::{Aggregation, Kinds, Loss, NetworkKind, NetworkSettings, Preset, Scaling, Settings},
    record::features::grid_of,
};

/// Fewer windows than this to be fitted, and a kind left open becomes principal components.
const FEW_WINDOWS: usize = 1_000;
/// Rows of a window of few, where `training.window` is left open: what a network learns of time from many windows, principal
/// components have to be shown in longer ones.
const LONG_WINDOW: usize = 8;

impl Recipe {
    /// The recipe with all that the settings leave open decided by these rows, and how their windows are dealt out.
    ///
    /// # Errors
    /// Too few windows.
    pub(super) fn decided(&self, rows: &SampleRows) -> Result<(Self, Split), TrainError> {
        let (settings, split) = decide(&self.settings, rows, self.foreign.is_some())?;
        Ok((Self { settings: Arc::new(settings), ..self.clone() }, split))
    }
}

fn decide(settings: &Settings, rows: &SampleRows, foreign: bool) -> Result<(Settings, Split), TrainError> {
    let mut settings = settings.clone();
    let mut split = Split::new(rows, settings.preset, &settings.training)?;
    let network = &mut settings.training.network;
    if network.kinds.is_none() && settings.preset == Preset::Timeseries && !foreign {
        let newest: Vec<usize> = split.fitted.iter().map(|index| split.newest(*index)).collect();
        let varying = scaling::varying(rows, &newest);
        let (windows, inputs) = (split.fitted.len(), varying * settings.training.window);
        if windows < FEW_WINDOWS && suits_components(network, inputs) {
            tracing::info!(windows, "few windows to fit, and no model.kind: taking pca");
            split = components(&mut settings, rows, varying)?.unwrap_or(split);
        } else {
            let skip = suits_skip(network, inputs) && grid_of(&rows.features).is_none();
            network.skip.get_or_insert(skip);
        }
    }
    settings.training.network.kinds.get_or_insert_with(|| Kinds::from(NetworkKind::Denoising));
    Ok((settings, split))
}

/// What suits few windows: principal components of longer windows, whose residuals are freed of their correlations. Gives how
/// the longer windows are dealt out, where there are enough of them.
fn components(settings: &mut Settings, rows: &SampleRows, varying: usize) -> Result<Option<Split>, TrainError> {
    let training = &mut settings.training;
    training.network.kinds = Some(NetworkKind::Pca.into());
    training.network.scaling.get_or_insert(Scaling::Standard);
    settings.judging.aggregation.get_or_insert(Aggregation::Mahalanobis);
    let mut longer = None;
    if training.window_is_open {
        let short = std::mem::replace(&mut training.window, LONG_WINDOW);
        match Split::new(rows, settings.preset, training) {
            Ok(split) => longer = Some(split),
            Err(TrainError::TooFewRows { .. }) => training.window = short,
            Err(error) => return Err(error),
        }
    }
    training.network.code_size.get_or_insert(varying.min(varying * training.window / 2));
    Ok(longer)
}

/// Whether all that is written of a network holds of principal components of so many inputs too: they know no other loss,
/// no hidden layers and no skip, their code is smaller than the input, and a single value has none but itself.
pub(super) fn suits_components(network: &NetworkSettings, inputs: usize) -> bool {
    let layered = network.layers.is_some_and(|layers| layers > 0) || network.hidden.is_some();
    let squeezes = inputs > 1 && network.code_size.is_none_or(|code| code < inputs);
    network.loss == Loss::MeanSquaredError && !layered && network.skip != Some(true) && squeezes
}

/// Whether principal components can run beside a network of so many inputs that vary: there are no more of them than inputs,
/// their values have no bounds, and those of very many inputs take too long.
fn suits_skip(network: &NetworkSettings, inputs: usize) -> bool {
    let narrow = network.code_size.is_none_or(|code| code < inputs);
    network.loss != Loss::BinaryCrossEntropy && narrow && (2..=MOST_INPUTS).contains(&inputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Sources, train::sample::fixture};

    fn settings(sets: &[&str]) -> Settings {
        let sources = Sources { set: sets.iter().map(|set| (*set).to_owned()).collect(), ..Sources::default() };
        Settings::load(&sources).unwrap().settings
    }

    #[test]
    fn a_kind_left_open_becomes_pca_only_where_all_that_is_written_goes_with_it() {
        let suits = |sets: &[&str]| suits_components(&settings(sets).training.network, 160);
        for sound in ["model.layers=0", "model.code_size=159", "model.members=3", "model.activation=relu"] {
            assert!(suits(&[]) && suits(&[sound]), "{sound}");
        }
        for other in ["model.layers=2", "model.hidden=9", "model.code_size=160", "model.skip=pca"] {
            assert!(!suits(&[other]), "{other}");
        }
        assert!(!suits(&["training.loss=binary_cross_entropy"]));
        assert!(!suits_components(&Settings::defaults(Preset::Timeseries).training.network, 1));
    }

    #[test]
    fn a_skip_runs_beside_what_it_can_run_beside() {
        let suits = |sets: &[&str], inputs| suits_skip(&settings(sets).training.network, inputs);
        assert!(suits(&[], 2) && suits(&[], 2048) && suits(&["model.hidden=9"], 40));
        assert!(!suits(&[], 1) && !suits(&[], 2049));
        assert!(!suits(&["model.code_size=40"], 40) && !suits(&["training.loss=binary_cross_entropy"], 40));
    }

    #[test]
    fn few_windows_become_longer_ones_of_principal_components_and_many_get_a_skip() {
        let decided = |rows: usize, sets: &[&str]| {
            let values: Vec<Vec<f32>> =
                (0..rows).map(|row| (0..3).map(|at| ((row * (at + 2)) as f32).sin()).collect()).collect();
            let (Settings { training, judging, .. }, split) =
                decide(&settings(sets), &fixture::rows(&values, 1), false).unwrap();
            let network = &training.network;
            assert_eq!(split.newest(0) + 1, training.window);
            (network.kinds.clone().unwrap().to_string(), training.window, network.skip, judging.aggregation)
        };
        let pca = |window, aggregation| ("pca".to_owned(), window, None, Some(aggregation));
        assert_eq!(decided(400, &[]), pca(8, Aggregation::Mahalanobis));
        assert_eq!(decided(55, &[]), pca(4, Aggregation::Mahalanobis));
        let written = ["training.window=5", "judging.aggregation=max"];
        assert_eq!(decided(400, &written), pca(5, Aggregation::Max));
        let denoising = |skip| ("denoising".to_owned(), 4, skip, None);
        assert_eq!(decided(2000, &[]), denoising(Some(true)));
        assert_eq!(decided(2000, &["model.skip=none"]), denoising(Some(false)));
        assert_eq!(decided(2000, &["model.kind=denoising"]), denoising(None));
        assert_eq!(decided(2000, &["preset=tabular", "training.window=1"]).2, None);
    }
}
