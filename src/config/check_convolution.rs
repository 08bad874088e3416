//! What the convolutional kind needs: something to slide over, and layers that fit into it.

use std::collections::BTreeSet;

use super::{
    check_kinds::Written,
    error::Problems,
    raw_model::RawConvolution,
    settings::{FeatureSelection, Kinds},
};
use crate::record::features::grid_of;

/// Adds every contradiction to `problems`.
pub(super) fn convolutional(written: &Written<'_>, kinds: &Kinds, problems: &mut Problems) {
    let convolution = &written.model.convolution;
    // Nothing can be reckoned with numbers that are out of their range.
    if problems.concern_table("model.convolution") {
        return;
    }
    steps(convolution, problems);
    let given = written.given_rows(kinds);
    match lone_grid(written.features) {
        Some(_) if written.training.window_rows() != 1 || given != 1 => {
            let window = written.training.window_rows();
            let problem = format!("kind convolutional slides over the grid alone, not over windows of {window} rows");
            problems.push("training.window", problem, "1, without the kind sequence");
        }
        Some([1, 1]) => {
            let problem = "kind convolutional has nothing to slide over in a grid of a single cell";
            problems.push("model.kind", problem, "no kind convolutional, or a larger grid");
        }
        Some([height, width]) => {
            let over = Extent { length: height.max(width), what: "the grid's longer side", longer: "a larger grid" };
            layers(convolution, &over, problems);
        }
        None if given < 2 => too_short(written, given, problems),
        None => {
            let over = Extent { length: given, what: "the window", longer: "a longer training.window" };
            layers(convolution, &over, problems);
        }
    }
}

/// Height and width of the grid, if that is the only feature. It is known beforehand, because a grid is always listed.
fn lone_grid(features: &FeatureSelection) -> Option<[usize; 2]> {
    match features {
        FeatureSelection::AllNumeric { .. } => None,
        FeatureSelection::Listed(listed) => grid_of(listed),
    }
}

/// Every row (or cell) is looked at by some output.
fn steps(convolution: &RawConvolution, problems: &mut Problems) {
    let RawConvolution { kernel, stride, dilation, .. } = *convolution;
    let taps: BTreeSet<usize> = (0..kernel).map(|tap| tap * dilation % stride).collect();
    if taps.len() < stride {
        let problem = format!(
            "a kernel of {kernel} in steps of {stride} with dilation {dilation} never looks at some of the rows"
        );
        let expected = "a stride of at most the kernel that has no divisor in common with the dilation, such as 1";
        problems.push("model.convolution.stride", problem, expected);
    }
}

fn too_short(written: &Written<'_>, given: usize, problems: &mut Problems) {
    let window = written.training.window_rows();
    let predicted = window - given;
    let rows = if predicted == 0 { window.to_string() } else { format!("{window} - {predicted} predicted") };
    let problem = format!("kind convolutional has nothing to slide over in windows of {rows} rows");
    if written.makes_windows() {
        let expected = format!("at least {}, or a window of 1 row with a feature of kind grid only", predicted + 2);
        problems.push("training.window", problem, expected);
    } else {
        let expected = "another kind, a feature of kind grid only, or preset: timeseries and a longer window";
        problems.push("model.kind", problem, expected);
    }
}

/// What convolutions slide over: its positions along the longer side, at least 2, and what would make them more.
struct Extent {
    length: usize,
    what: &'static str,
    longer: &'static str,
}

/// The trainer refuses what is refused here: a kernel that reaches beyond everything, and layers that are left with a
/// single position.
fn layers(convolution: &RawConvolution, over: &Extent, problems: &mut Problems) {
    let RawConvolution { kernel, stride, dilation, .. } = *convolution;
    let Extent { length, what, longer } = *over;
    let reach = (kernel - 1) * dilation + 1;
    if reach > length {
        let problem = format!(
            "a kernel of {kernel} with dilation {dilation} reaches over {reach} positions, and {what} has {length}"
        );
        let most = (length - 1) / dilation + 1;
        problems.push("model.convolution.kernel", problem, format!("at most {most}, or {longer}"));
    }
    let layers = convolution.channels.len();
    let mut left = length;
    for layer in 0..layers {
        if left < 2 {
            let problem = format!(
                "{layers} layers with a stride of {stride} are too many: {layer} leave a single one of the {length} positions"
            );
            let expected = format!("at most {layer} layers, a smaller model.convolution.stride, or {longer}");
            problems.push("model.convolution.channels", problem, expected);
            return;
        }
        left = left.div_ceil(stride);
    }
}

#[cfg(test)]
mod tests {
    use linfa::ParamGuard;

    use crate::{
        config::{
            Settings, Sources,
            settings::{Convolution, Kinds, NetworkKind},
        },
        train::{AutoencoderParams, Shape},
    };

    /// What is told of these settings; empty if they are sound.
    fn told(sets: &[&str]) -> String {
        let sources = Sources { set: sets.iter().map(|set| (*set).to_owned()).collect(), ..Sources::default() };
        Settings::load(&sources).err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn refuses(sets: &[&str], key: &str, words: &str) {
        let told = told(&[&["model.kind=convolutional"], sets].concat());
        let line = told.lines().any(|line| line.starts_with(&format!("{key}: ")) && line.contains(words));
        assert!(line, "{sets:?}: {told}");
    }

    #[test]
    fn a_convolution_needs_rows_to_slide_over_and_looks_at_all_of_them() {
        assert_eq!(told(&["model.kind=convolutional"]), "");
        refuses(&["training.window=1"], "training.window", "expected at least 2");
        let predicting = ["model.kind=convolutional,sequence", "training.window=2"];
        refuses(&predicting, "training.window", "2 - 1 predicted rows, expected at least 3");
        refuses(&["model.convolution.kernel=1"], "model.convolution.stride", "never looks");
        refuses(&["model.convolution.dilation=2"], "model.convolution.stride", "dilation 2");
        let apart = ["model.kind=convolutional", "model.convolution.dilation=2", "model.convolution.stride=1"];
        assert_eq!(told(&[&apart[..], &["training.window=5"]].concat()), "");
        refuses(&["model.convolution.channels=[]"], "model.convolution.channels", "0 entries are too few");
        refuses(&["preset=tabular"], "model.kind", "expected another kind");
    }

    #[test]
    fn a_grid_is_slid_over_as_it_is() {
        let grid = r#"record.features=[{"path":"frame","kind":"grid","shape":[2,8]}]"#;
        assert_eq!(told(&["model.kind=convolutional", "training.window=1", grid]), "");
        assert_eq!(told(&["model.kind=convolutional", "preset=tabular", grid]), "");
        let predicting = ["model.kind=convolutional,sequence", "training.window=1", grid];
        refuses(&predicting, "training.window", "leave none");
        refuses(&[grid], "training.window", "not over windows of 4 rows");
        let kernel = ["training.window=1", grid, "model.convolution.kernel=9"];
        refuses(
            &kernel,
            "model.convolution.kernel",
            "the grid's longer side has 8, expected at most 8, or a larger grid",
        );
        let cell = r#"record.features=[{"path":"frame","kind":"grid","shape":[1,1]}]"#;
        refuses(&["training.window=1", cell], "model.kind", "a single cell");
    }

    #[test]
    fn a_kernel_reaches_no_further_than_the_window() {
        let (key, longer) = ("model.convolution.kernel", "or a longer training.window");
        refuses(
            &["training.window=2"],
            key,
            &format!("reaches over 3 positions, and the window has 2, expected at most 2, {longer}"),
        );
        refuses(&["model.convolution.kernel=9"], key, "expected at most 4");
        let apart = ["model.convolution.kernel=3", "model.convolution.dilation=3", "model.convolution.stride=1"];
        refuses(&apart, key, "reaches over 7 positions, and the window has 4, expected at most 2");
        let predicting = ["model.kind=convolutional,sequence", "training.window=5", "model.sequence.rows=3"];
        refuses(&predicting, key, "the window has 2");
    }

    #[test]
    fn layers_are_not_strided_down_to_a_single_position() {
        let four = ["model.convolution.channels=4,4,4,4"];
        let words = "4 layers with a stride of 2 are too many: 2 leave a single one of the 4 positions, expected at most 2 layers";
        refuses(&four, "model.convolution.channels", words);
        assert_eq!(told(&["model.kind=convolutional", four[0], "training.window=16"]), "");
        assert_eq!(told(&["model.kind=convolutional", four[0], "model.convolution.stride=1"]), "");
    }

    #[test]
    fn what_is_accepted_is_what_the_trainer_takes() {
        let kinds = Kinds::new(&[NetworkKind::Convolutional, NetworkKind::Undercomplete]).unwrap();
        for (window, kernel, layers) in (2..8).flat_map(|w| (2..6).flat_map(move |k| (1..4).map(move |l| (w, k, l)))) {
            let channels = vec![2; layers];
            let accepted = told(&[
                "model.kind=convolutional,undercomplete",
                &format!("training.window={window}"),
                &format!("model.convolution.kernel={kernel}"),
                &format!("model.convolution.channels={channels:?}"),
            ]);
            let row = Shape { height: window, width: 1, channels: 2 };
            let convolution = Convolution { channels, kernel, stride: 2, dilation: 1 };
            let params =
                AutoencoderParams::<f32>::new(row.size(), 1).kinds(kinds.clone()).convolution(row, convolution);
            assert_eq!(accepted.is_empty(), params.check().is_ok(), "{window} {kernel} {layers}: {accepted}");
        }
    }
}
