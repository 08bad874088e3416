//! Settings that are written for a kind of network that isn't there.

use serde_json::Value;

use super::{
    error::Problems,
    settings::{Kinds, NetworkKind},
};

/// Tables of settings, each with the kind that alone heeds it.
const OF_A_KIND: [(NetworkKind, &str); 6] = [
    (NetworkKind::Denoising, "training.noise"),
    (NetworkKind::Sparse, "training.sparsity"),
    (NetworkKind::Contractive, "training.contraction"),
    (NetworkKind::Convolutional, "model.convolution"),
    (NetworkKind::Variational, "model.variational"),
    (NetworkKind::Sequence, "model.sequence"),
];

/// How a network is fitted step by step, which says nothing of what is solved exactly.
const OF_FITTING: [&str; 6] = [
    "training.trim",
    "training.clip_norm",
    "training.optimiser",
    "training.learning_rate",
    "training.learning_rate_schedule",
    "training.weight_decay",
];

/// Adds what is written but heeded by no kind. `None` for a kind left open, which may become denoising. What is the same as
/// the default counts as not written, so that a file with every key is as good as an empty one; 0 says that there shall
/// be none, and is right without the kind.
pub(super) fn unused(kinds: Option<&Kinds>, (merged, defaults): (&Value, &Value), problems: &mut Problems) {
    if problems.concerns("model.kind") {
        return;
    }
    let has = |kind| kinds.map_or(kind == NetworkKind::Denoising, |kinds| kinds.has(kind));
    let written = |key: &str| {
        let value = at(merged, key).filter(|value| !value.is_null() && value.as_f64() != Some(0.0));
        value.is_some_and(|value| !at(defaults, key).is_some_and(|default| same(value, default)))
    };
    let mut found = Vec::new();
    for (kind, table) in OF_A_KIND.into_iter().filter(|(kind, _)| !has(*kind)) {
        let names = at(merged, table).and_then(Value::as_object).into_iter().flat_map(|settings| settings.keys());
        for key in names.map(|name| format!("{table}.{name}")).filter(|key| written(key)) {
            let kinds = kinds.map_or("left open".to_owned(), Kinds::to_string);
            let problem = format!("has no effect without kind {}, and model.kind is {kinds}", kind.name());
            found.push((key, problem, format!("model.kind with {} in it, or no such key", kind.name())));
        }
    }
    for key in OF_FITTING.into_iter().filter(|key| has(NetworkKind::Pca) && written(key)) {
        let problem = "has no effect on principal components, which are solved exactly".to_owned();
        found.push((key.to_owned(), problem, "another model.kind, or no such key".to_owned()));
    }
    for (key, problem, expected) in found {
        if !problems.concerns(&key) {
            problems.push(key, problem, expected);
        }
    }
}

fn at<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(value, |value, level| value.get(level))
}

/// A number may be written with and without a point.
fn same(one: &Value, other: &Value) -> bool {
    one == other || (one.is_number() && one.as_f64() == other.as_f64())
}

#[cfg(test)]
mod tests {
    use crate::config::{Settings, Sources};

    /// What is told of these settings; empty if they are sound.
    fn told(sets: &[&str]) -> String {
        let sources = Sources { set: sets.iter().map(|set| (*set).to_owned()).collect(), ..Sources::default() };
        Settings::load(&sources).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_is_written_for_a_kind_needs_that_kind() {
        for (kind, setting) in [
            ("denoising", "training.noise.swap=0.1"),
            ("sparse", "training.sparsity.kl=0.5"),
            ("contractive", "training.contraction.weight=5"),
            ("convolutional", "model.convolution.channels=8"),
            ("variational", "model.variational.score=probability"),
            ("sequence", "model.sequence.rows=2"),
        ] {
            let other = if kind == "denoising" { "sparse" } else { "denoising" };
            let key = setting.split('=').next().unwrap();
            for preset in ["preset=timeseries", "preset=tabular"] {
                let expected = format!(
                    "{key}: has no effect without kind {kind}, and model.kind is {other}, expected model.kind with {kind} in \
                     it, or no such key"
                );
                assert_eq!(told(&[preset, &format!("model.kind={other}"), setting]), expected);
            }
            assert_eq!(told(&[&format!("model.kind={kind}"), setting]), "");
            let open = told(&[setting]);
            assert_eq!(open.contains("model.kind is left open"), kind != "denoising", "{open}");
        }
    }

    #[test]
    fn what_is_solved_exactly_heeds_nothing_of_how_networks_are_fitted() {
        let told = told(&[
            "model.kind=pca",
            "training.trim=0.3",
            "training.clip_norm=1",
            "training.optimiser=adamw",
            "training.learning_rate=0.01",
            "training.learning_rate_schedule=cosine",
            "training.weight_decay=0.1",
            "training.sparsity.kl=1",
            "model.sequence.rows=900",
        ]);
        assert_eq!(told.lines().count(), 8, "{told}");
        let line = "training.trim: has no effect on principal components, which are solved exactly, expected another \
                    model.kind, or no such key";
        assert!(told.lines().any(|told| told == line), "{told}");
    }

    #[test]
    fn defaults_and_zeros_are_right_with_every_kind() {
        for kind in ["pca", "undercomplete", "sparse", "denoising"] {
            for preset in ["preset=timeseries", "preset=tabular"] {
                let kind = format!("model.kind={kind}");
                assert_eq!(told(&[preset, &kind]), "");
                let same = ["training.sparsity.l1=1e-3", "training.trim=0", "model.convolution.channels=16,32"];
                assert_eq!(told(&[&[preset, kind.as_str()], &same[..]].concat()), "");
            }
        }
        assert_eq!(told(&["model.kind=undercomplete", "training.noise.gaussian=0"]), "");
    }
}
