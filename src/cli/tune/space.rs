//! What is tried of each setting.

use serde_json::{Value, json};

use super::search::Changes;
use crate::config::settings::Preset;

/// Rows of a window.
pub(super) const WINDOWS: [usize; 5] = [1, 2, 4, 8, 16];
/// Spans of the smoothing, rows.
const SPANS: [u32; 5] = [1, 5, 15, 30, 60];
/// Widths of the code as shares of the network's input. No wider ones: what rebuilds nearly all of a row rebuilds incidents
/// that no plant looks like, and plants would still speak for it.
const CODES: [f64; 3] = [1.0 / 32.0, 1.0 / 16.0, 1.0 / 8.0];
/// Half-life of running statistics, rows. None that is shorter: it would forget incidents longer than any plant.
const HALF_LIFE: f64 = 5_000.0;
/// The largest errors that make a score.
const TOP: usize = 3;

/// What the best candidate so far says of those that may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    /// Rows of its window.
    pub(super) window: usize,
    /// Values that go into its network and vary.
    pub(super) inputs: usize,
    /// Columns of a row that vary.
    pub(super) columns: usize,
}

/// One dimension of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// `model.kind` with `model.skip`, and the recipe that suits few rows.
    Kind,
    /// `training.scaling`
    Scaling,
    /// `training.window`
    Window,
    /// `model.code_size`
    CodeSize,
    /// `judging.aggregation`
    Aggregation,
    /// `judging.residuals`
    Residuals,
    /// `judging.smoothing_span`
    Smoothing,
}

impl Setting {
    /// Of rows that follow each other in time, in the order in which they are tried: what says most first.
    pub(super) const ALL_OF_A_TIMESERIES: &'static [Self] =
        &[Self::Kind, Self::Scaling, Self::Window, Self::CodeSize, Self::Aggregation, Self::Residuals, Self::Smoothing];
    /// Of independent rows, which make no windows and have no time to smooth over or to drift in.
    const ALL_OF_A_TABLE: &'static [Self] = &[Self::Kind, Self::Scaling, Self::CodeSize, Self::Aggregation];

    /// All that can be tried.
    pub(super) fn all(preset: Preset) -> &'static [Self] {
        match preset {
            Preset::Timeseries => Self::ALL_OF_A_TIMESERIES,
            Preset::Tabular => Self::ALL_OF_A_TABLE,
        }
    }

    /// The values of this setting, beside those of the best so far.
    pub(super) fn values(self, best: &Facts) -> Vec<Changes> {
        let one = |key: &'static str, value: Value| Changes::from([(key, value)]);
        match self {
            Self::Kind => kinds(),
            // Not quantile: plants speak for it where labels speak against it, see `docs/tune.md`.
            Self::Scaling => ["robust_min_max", "standard"].map(|value| one("training.scaling", json!(value))).into(),
            Self::Window => WINDOWS.map(|rows| one("training.window", json!(rows))).into(),
            Self::CodeSize => codes(best.inputs).into_iter().map(|code| one("model.code_size", json!(code))).collect(),
            Self::Aggregation => aggregations(best.columns).map(|value| one("judging.aggregation", value)).collect(),
            Self::Residuals => {
                let running = json!({ "running": { "half_life": HALF_LIFE } });
                [json!("held_back"), running].map(|value| one("judging.residuals", value)).into()
            }
            Self::Smoothing => SPANS.map(|rows| one("judging.smoothing_span", json!(rows))).into(),
        }
    }
}

fn kinds() -> Vec<Changes> {
    let kind = |kind: &str, skip: &str| Changes::from([("model.kind", json!(kind)), ("model.skip", json!(skip))]);
    let mut whitened = kind("pca", "none");
    whitened.extend([("training.scaling", json!("standard")), ("judging.aggregation", json!("mahalanobis"))]);
    let networks = ["undercomplete", "denoising"].into_iter().flat_map(|name| [kind(name, "none"), kind(name, "pca")]);
    [kind("pca", "none"), whitened].into_iter().chain(networks).collect()
}

fn codes(inputs: usize) -> Vec<usize> {
    let mut codes: Vec<usize> = CODES.iter().map(|share| ((inputs as f64 * share).round() as usize).max(1)).collect();
    codes.dedup();
    codes
}

fn aggregations(columns: usize) -> impl Iterator<Item = Value> {
    let top = (columns > TOP).then(|| json!({ "top": TOP }));
    [json!("mean"), json!("max")].into_iter().chain(top).chain([json!("mahalanobis")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Sources};

    /// A pair as `--set` takes it.
    fn refused(preset: &str, changes: &Changes) -> Option<String> {
        let pairs = changes.iter().map(|(key, value)| super::super::session::pair(key, value));
        let set = [format!("preset={preset}")].into_iter().chain(pairs).collect();
        Settings::load(&Sources { set, ..Sources::default() }).err().map(|error| error.to_string())
    }

    #[test]
    fn every_value_is_one_that_the_settings_take() {
        let facts = Facts { window: 4, inputs: 152, columns: 38 };
        for (preset, name) in [(Preset::Timeseries, "timeseries"), (Preset::Tabular, "tabular")] {
            for setting in Setting::all(preset) {
                let values = setting.values(&facts);
                assert!(values.len() > 1, "{setting:?}");
                for changes in values {
                    assert_eq!(refused(name, &changes), None, "{name}: {changes:?}");
                }
            }
        }
    }

    #[test]
    fn codes_are_shares_of_the_input_and_never_nothing() {
        assert_eq!(codes(152), [5, 10, 19]);
        assert_eq!(codes(3), [1]);
        assert_eq!(codes(1), [1]);
        assert_eq!(aggregations(3).count(), 3);
    }
}
