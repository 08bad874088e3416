//! The model file's graph: the whole scoring computation as ONNX, from raw rows to the score.
//!
//! ```text
//! window [batch, L*D] -> (x - center) / scale -> clip -> members -> mean = newest reconstruction, scaled [batch, D]
//! residual = cap(newest scaled row - reconstruction) [whitened]      error = residual^2 / variance      score = mean(error)
//! ```
//!
//! A scale may [bend](crate::model::knots::Knots) after the division; the reconstruction then bends back into own units.
//!
//! Only the newest row of the window is reconstructed. The clip holds for the network's input alone: a value far off must
//! not drive the network where it was never fitted, but its residual shall be as large as it is.
//!
//! A network with a Gaussian output tells how probable a value is, by its [deviance](Network::deviance): there
//!
//! ```text
//! surprise = deviance * least variance = mean over draws of ((x - mean) / (deviation / least deviation))^2 + least variance * ln(variance / least variance)
//! residual = cap(sign(x - reconstruction) * sqrt(surprise))
//! ```
//!
//! so that where the network is as sure as it can be, the residual is the distance as everywhere else, and where it is less
//! sure, a distance counts for less. What was not as expected is told by one more output, `difference`.
//!
//! Where residuals are to be freed of their correlations, they are multiplied with a matrix after the cap; `difference` then
//! tells what was not as expected, too.
//!
//! A column that was constant in training is rebuilt as its centre, whatever a network makes of it. Weights of dense layers
//! are cut before; where convolutions share weights, the graph masks such columns.

mod bend;
mod builder;
mod layers;
mod member;
mod part;
mod properties;
mod reference;
mod score;
mod smallest;

use ndarray::Array2;
use prost::Message;

use crate::train::{Network, Output};

use super::{
    metadata::Column,
    proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto},
};
use builder::GraphBuilder;

pub use part::{decoder, only};
pub use properties::{append_metadata, read_metadata};
pub use reference::{GraphOutputs, reference};
pub use smallest::smallest;

/// Version of the ONNX format that is written.
const IR_VERSION: i64 = 8;
/// Version of ONNX's operators that is used.
const OPSET: i64 = 18;

/// Name of the graph's input: raw windows `[batch, L * D]`, oldest row first.
pub const WINDOW: &str = "window";
/// Output `[batch]`: mean over the columns of `error`.
pub const SCORE: &str = "score";
/// Output `[batch, D]`: reconstruction of the newest row in the columns' own units.
pub const RECONSTRUCTION: &str = "reconstruction";
/// Output `[batch, D]`: squared residual divided by its variance.
pub const ERROR: &str = "error";
/// Output `[batch, K]`: the members' codes side by side.
pub const LATENT: &str = "latent";
/// Output `[batch, D]`: newest row minus reconstruction in scaled units, cut at the columns' caps. Of networks with a
/// Gaussian output the root of the surprise with the difference's sign, cut in the same way; then freed of their
/// correlations, where that was asked for.
pub const RESIDUAL: &str = "residual";
/// Output `[batch, D]` where residuals are something else: newest row minus reconstruction in scaled units.
pub const DIFFERENCE: &str = "difference";
/// Output `[batch, K]` of a model of one member with a Gaussian code: the deviations of the code, whose means are
/// [`LATENT`].
pub const LATENT_DEVIATION: &str = "latent_deviation";

/// What a graph is made of.
#[derive(Debug, Clone, Copy)]
pub struct GraphSpec<'a> {
    /// Members whose reconstructions are averaged, at least one; each takes and gives the window's `L * D` values, or takes
    /// its first rows and gives the others.
    pub networks: &'a [Network<f32>],
    /// The row's columns (D).
    pub columns: &'a [Column],
    /// Rows per window (L), at least 1.
    pub window: usize,
    /// Smallest and largest value that a network is given, in scaled units.
    pub input_clip: Option<(f32, f32)>,
    /// What residuals are multiplied with from the right, `[D, D]`, so that they no longer correlate.
    pub whitening: Option<&'a Array2<f32>>,
    /// Words for people, in the graph's documentation.
    pub doc: &'a str,
    /// Named texts beside the graph.
    pub metadata: &'a [(String, String)],
}

/// Why a graph can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// No member, no column or no row per window.
    #[error("the graph has no {what}, expected at least one")]
    Empty {
        /// What is missing.
        what: &'static str,
    },
    /// A member does not take a window.
    #[error("member {member} takes {got} values, expected {expected} (rows per window times columns)")]
    Width {
        /// Index of the member, from 0.
        member: usize,
        /// Its input width.
        got: usize,
        /// `L * D`.
        expected: usize,
    },
    /// A member that predicts does not fit the window.
    #[error(
        "member {member} takes {inputs} values and gives {outputs}, expected whole rows of {columns} values that make {expected} together (rows per window times columns)"
    )]
    Prediction {
        /// Index of the member, from 0.
        member: usize,
        /// Its input width.
        inputs: usize,
        /// Its output width.
        outputs: usize,
        /// Columns of a row (D).
        columns: usize,
        /// `L * D`.
        expected: usize,
    },
    /// Members that can't be averaged.
    #[error("member {member} has {what} and member 0 has another, expected members of one kind")]
    Unlike {
        /// Index of the member, from 0.
        member: usize,
        /// What differs.
        what: String,
    },
    /// A skip would shift means of which a deviance was told.
    #[error("member {member} has a linear skip and a Gaussian output, expected one of them at most")]
    Skip {
        /// Index of the member, from 0.
        member: usize,
    },
    /// A Gaussian output of a network with convolutions.
    #[error(
        "member {member} gives means and variances by a convolution, which the graph has no place for; use an output of values"
    )]
    Shared {
        /// Which member, from 0.
        member: usize,
    },
    /// Rows can't be made of codes.
    #[error(
        "the model can't make rows: {why}; expected a model of one variational member (model.kind: variational, model.members: 1)"
    )]
    NotGenerative {
        /// What stands against it.
        why: &'static str,
    },
    /// A weight or bias is infinite or not a number.
    #[error("member {member} has a weight that is not finite, expected finite weights")]
    Weight {
        /// Index of the member, from 0.
        member: usize,
    },
    /// A number of a column is of no use.
    #[error("{name} of column `{column}` is {value}, expected {expected}")]
    Column {
        /// Name of the column.
        column: String,
        /// Which number.
        name: &'static str,
        /// The refused value.
        value: f32,
        /// What would be right.
        expected: &'static str,
    },
    /// An interval that holds nothing.
    #[error("the input is clipped to {low}..={high}, expected finite ends in rising order")]
    Clip {
        /// Lower end.
        low: f32,
        /// Upper end.
        high: f32,
    },
    /// A matrix for the residuals that is none for these columns.
    #[error(
        "the whitening has the shape {got:?} and finite: {finite}, expected finite numbers and {columns} by {columns}"
    )]
    Whitening {
        /// Its rows and columns.
        got: (usize, usize),
        /// Whether all its numbers are finite.
        finite: bool,
        /// Columns of a row.
        columns: usize,
    },
    /// Windows of another width than the graph takes.
    #[error("the windows have {got} values, expected {expected} (rows per window times columns)")]
    Windows {
        /// Values given per window.
        got: usize,
        /// `L * D`.
        expected: usize,
    },
    /// Not a protobuf message.
    #[error("the file is not an ONNX model")]
    Decode(#[from] prost::DecodeError),
}

/// Writes the ONNX model (IR version 8, operator set 18) with a symbolic batch dimension.
///
/// # Errors
/// Members, columns and window do not fit together, or a number is not finite or out of its range.
pub fn write(spec: &GraphSpec<'_>) -> Result<Vec<u8>, GraphError> {
    spec.check()?;
    let mut builder = GraphBuilder::default();
    builder.whole(spec);
    let entry = |(key, value): &(String, String)| StringStringEntryProto { key: key.clone(), value: value.clone() };
    let model = ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: spec.doc.to_owned(),
        graph: Some(builder.graph),
        metadata_props: spec.metadata.iter().map(entry).collect(),
    };
    Ok(model.encode_to_vec())
}

impl GraphSpec<'_> {
    /// Values per window: `L * D`.
    fn width(&self) -> usize {
        self.window * self.columns.len()
    }

    fn check(&self) -> Result<(), GraphError> {
        let sizes = [("member", self.networks.len()), ("column", self.columns.len()), ("row per window", self.window)];
        if let Some(&(what, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(GraphError::Empty { what });
        }
        (0..self.networks.len()).try_for_each(|member| self.check_member(member))?;
        self.columns.iter().try_for_each(check_column)?;
        self.check_whitening()?;
        match self.input_clip {
            Some((low, high)) if !(low.is_finite() && high.is_finite() && low < high) => {
                Err(GraphError::Clip { low, high })
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl GraphSpec<'_> {
    fn check_member(&self, member: usize) -> Result<(), GraphError> {
        let (network, first) = (&self.networks[member], &self.networks[0]);
        let (inputs, outputs) = (network.input_width(), network.output_width());
        let (columns, expected) = (self.columns.len(), self.width());
        let predicts = inputs + outputs == expected && outputs.is_multiple_of(columns);
        if inputs != outputs && !predicts {
            return Err(GraphError::Prediction { member, inputs, outputs, columns, expected });
        }
        if inputs != expected && !predicts {
            return Err(GraphError::Width { member, got: inputs, expected });
        }
        if inputs != first.input_width() {
            return Err(GraphError::Unlike { member, what: format!("{inputs} inputs") });
        }
        if is_gaussian(network) != is_gaussian(first) {
            let kind = if is_gaussian(network) { "a Gaussian output" } else { "an output of values" };
            return Err(GraphError::Unlike { member, what: kind.to_owned() });
        }
        if is_gaussian(network) && network.skip().is_some() {
            return Err(GraphError::Skip { member });
        }
        if is_gaussian(network) && network.shares_weights() {
            return Err(GraphError::Shared { member });
        }
        if network.is_finite() { Ok(()) } else { Err(GraphError::Weight { member }) }
    }

    fn check_whitening(&self) -> Result<(), GraphError> {
        let columns = self.columns.len();
        let Some(matrix) = self.whitening else { return Ok(()) };
        let (got, finite) = (matrix.dim(), matrix.iter().all(|value| value.is_finite()));
        if got == (columns, columns) && finite { Ok(()) } else { Err(GraphError::Whitening { got, finite, columns }) }
    }

    /// Whether residuals are something else than differences.
    fn has_difference(&self) -> bool {
        self.is_gaussian() || self.whitening.is_some()
    }

    /// Whether residuals are the roots of surprises.
    fn is_gaussian(&self) -> bool {
        is_gaussian(&self.networks[0])
    }

    /// Per column 0 where it was constant and 1 elsewhere; `None` where there is nothing to mask: no column was constant, or
    /// none of its weights can be anything but its own.
    fn mask(&self) -> Option<Vec<f32>> {
        let constant = |column: &Column| column.residual_cap.is_finite();
        let shared = self.networks.iter().any(Network::shares_weights);
        let mask = self.columns.iter().map(|column| if constant(column) { 0.0 } else { 1.0 });
        (shared && self.columns.iter().any(constant)).then(|| mask.collect())
    }
}

fn is_gaussian(network: &Network<f32>) -> bool {
    matches!(network.output(), Output::Gaussian(_))
}

fn check_column(column: &Column) -> Result<(), GraphError> {
    let positive = |value: f32| value > 0.0 && value.is_finite() && value.recip().is_finite();
    let checks = [
        ("center", column.center, column.center.is_finite(), "a finite number"),
        ("scale", column.scale, positive(column.scale), "a finite number above 0"),
        ("residual cap", column.residual_cap, column.residual_cap > 0.0, "a number above 0"),
        ("residual variance", column.residual_variance, positive(column.residual_variance), "a finite number above 0"),
    ];
    match checks.into_iter().find(|(_, _, good, _)| !good) {
        Some((name, value, _, expected)) => {
            Err(GraphError::Column { column: column.name.clone(), name, value, expected })
        }
        None => Ok(()),
    }
}

/// The cap as a number that the graph can hold.
fn finite_cap(column: &Column) -> f32 {
    column.residual_cap.min(f32::MAX)
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use linfa::ParamGuard;
    use ndarray::{Array1, Array2, ArrayView2, s};
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;
    use crate::{
        config::settings::{Activation, NetworkKind, Variational, VariationalScore},
        model::{knots::Knots, proto::data_type},
        train::{AutoencoderParams, Layer},
    };

    fn random_network(widths: &[usize], code: usize, rng: &mut Xoshiro256PlusPlus) -> Network<f32> {
        let layer = |pair: &[usize]| {
            let weight = Array2::from_shape_simple_fn((pair[0], pair[1]), || rng.gen_range(-0.7..0.7));
            let bias = Array1::from_shape_simple_fn(pair[1], || rng.gen_range(-0.7..0.7));
            Layer::dense(weight, bias, Activation::ALL[rng.gen_range(0..8)]).unwrap()
        };
        Network::new(widths.windows(2).map(layer).collect(), code).unwrap()
    }

    fn random_columns(count: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<Column> {
        let column = |index: usize| Column {
            name: format!("column {index}"),
            feature: index,
            impute: 0.0,
            center: rng.gen_range(-50.0..50.0),
            scale: rng.gen_range(0.1..20.0),
            knots: (index % 4 == 2)
                .then(|| Knots::new(vec![(-1.0, -1.5), (0.2, -0.1), (0.5, 1.0), (2.0, 1.5)]).unwrap()),
            residual_cap: if index % 3 == 1 { 0.5 } else { f32::INFINITY },
            residual_mean: 0.0,
            residual_variance: rng.gen_range(0.01..2.0),
        };
        (0..count).map(column).collect()
    }

    fn random_windows(spec: &GraphSpec<'_>, rows: usize, rng: &mut Xoshiro256PlusPlus) -> Array2<f32> {
        Array2::from_shape_fn((rows, spec.width()), |(_, index)| {
            let column = &spec.columns[index % spec.columns.len()];
            column.center + column.scale * rng.gen_range(-3.0..3.0)
        })
    }

    /// Networks, columns and windows of random shape.
    fn random_parts(seed: u64) -> (Vec<Network<f32>>, Vec<Column>, usize, Xoshiro256PlusPlus) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (columns, window) = (rng.gen_range(1..9), rng.gen_range(1..4));
        let width = columns * window;
        let member = |rng: &mut Xoshiro256PlusPlus| {
            let depth = rng.gen_range(0..3);
            let mut widths = vec![width];
            widths.extend((0..=2 * depth).map(|_| rng.gen_range(1..12)));
            widths.push(width);
            random_network(&widths, depth, rng)
        };
        let networks = (0..rng.gen_range(1..4)).map(|_| member(&mut rng)).collect();
        (networks, random_columns(columns, &mut rng), window, rng)
    }

    fn spec<'a>(networks: &'a [Network<f32>], columns: &'a [Column], window: usize) -> GraphSpec<'a> {
        GraphSpec {
            networks,
            columns,
            window,
            input_clip: Some((-2.0, 2.0)),
            whitening: None,
            doc: "a test",
            metadata: &[],
        }
    }

    proptest! {
        #[test]
        fn reference_outputs_are_finite_and_do_not_depend_on_the_batch(seed in any::<u64>(), rows in 1usize..20) {
            let (networks, columns, window, mut rng) = random_parts(seed);
            let spec = spec(&networks, &columns, window);
            let windows = random_windows(&spec, rows, &mut rng);
            let all = reference(&spec, windows.view()).unwrap();
            let finite = |values: ArrayView2<'_, f32>| values.iter().all(|value| value.is_finite());
            prop_assert!(finite(all.reconstruction.view()) && finite(all.error.view()) && finite(all.latent.view()));
            prop_assert!(all.score.iter().all(|score| score.is_finite() && *score >= 0.0));
            for row in 0..rows {
                let alone = reference(&spec, windows.slice(s![row..=row, ..])).unwrap();
                prop_assert_eq!(alone.score[0].to_bits(), all.score[row].to_bits());
                prop_assert_eq!(alone.residual.row(0), all.residual.row(row));
                prop_assert_eq!(alone.latent.row(0), all.latent.row(row));
                prop_assert_eq!(alone.reconstruction.row(0), all.reconstruction.row(row));
            }
        }

        #[test]
        fn a_written_model_decodes_to_the_same_message(seed in any::<u64>()) {
            let (networks, columns, window, _) = random_parts(seed);
            let bytes = write(&spec(&networks, &columns, window)).unwrap();
            let model = ModelProto::decode(bytes.as_slice()).unwrap();
            prop_assert_eq!(model.encode_to_vec(), bytes);
        }
    }

    #[test]
    fn reference_outputs_equal_values_worked_out_by_hand() {
        let encoder = Layer::dense(Array2::from_elem((4, 1), 0.5), Array1::zeros(1), Activation::Identity).unwrap();
        let decoder =
            Layer::dense(Array2::ones((1, 4)), Array1::from(vec![9.0, 9.0, 0.25, -1.0]), Activation::Identity);
        let networks = [Network::new(vec![encoder, decoder.unwrap()], 0).unwrap()];
        let mut columns = random_columns(2, &mut Xoshiro256PlusPlus::seed_from_u64(0));
        let numbers = [(10.0, 2.0, f32::INFINITY, 0.5), (0.0, 4.0, 0.75, 0.25)];
        for (column, (center, scale, cap, variance)) in columns.iter_mut().zip(numbers) {
            (column.center, column.scale, column.residual_cap, column.residual_variance) =
                (center, scale, cap, variance);
        }
        // Scaled (1, -1), (30, 2), clipped to 2: the code is 0.5 * (1 - 1 + 2 + 2) = 2, the newest row 2.25, 1.
        let windows = Array2::from_shape_vec((1, 4), vec![12.0, -4.0, 70.0, 8.0]).unwrap();
        let outputs = reference(&spec(&networks, &columns, 2), windows.view()).unwrap();
        assert_eq!(outputs.latent, Array2::from_elem((1, 1), 2.0));
        assert_eq!(outputs.reconstruction.row(0).to_vec(), [14.5, 4.0]);
        assert_eq!(outputs.residual.row(0).to_vec(), [27.75, 0.75]);
        assert_eq!(outputs.error.row(0).to_vec(), [27.75 * 27.75 * 2.0, 2.25]);
        assert_eq!(outputs.score[0], (27.75 * 27.75 * 2.0 + 2.25) / 2.0);
    }

    #[test]
    fn a_scale_that_bends_is_bent_back_in_the_reconstruction() {
        let layer =
            |factor: f32| Layer::dense(Array2::eye(1) * factor, Array1::zeros(1), Activation::Identity).unwrap();
        let networks = [Network::new(vec![layer(1.0), layer(0.5)], 0).unwrap()];
        let knots = Knots::new(vec![(0.0, 0.0), (1.0, 3.0), (2.0, 4.0)]).unwrap();
        let columns = [Column { center: 10.0, scale: 2.0, knots: Some(knots), ..Column::unscaled("bent", 0) }];
        // Divided 1, 3 and -1 are bent to 3, 5 and -3, clipped to 2, 2 and -2, and rebuilt as half of these.
        let windows = Array2::from_shape_vec((3, 1), vec![12.0, 16.0, 8.0]).unwrap();
        let outputs = reference(&spec(&networks, &columns, 1), windows.view()).unwrap();
        assert_eq!(outputs.latent.column(0).to_vec(), [2.0, 2.0, -2.0]);
        assert_eq!(outputs.residual.column(0).to_vec(), [2.0, 4.0, -2.0]);
        let own: Vec<f32> = outputs.reconstruction.column(0).to_vec();
        let expected = [10.0 + 2.0 / 3.0, 10.0 + 2.0 / 3.0, 10.0 - 2.0 / 3.0];
        assert!(own.iter().zip(expected).all(|(own, expected)| (own - expected).abs() < 1e-6), "{own:?}");
        // Of straight scales the graph knows nothing of it.
        let looks_up = |columns: &[Column]| {
            let bytes = write(&spec(&networks, columns, 1)).unwrap();
            let graph = ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
            graph.node.iter().filter(|node| node.op_type == "GatherElements").count()
        };
        assert_eq!((looks_up(&columns), looks_up(&[Column::unscaled("straight", 0)])), (6, 0));
    }

    #[test]
    fn nodes_take_only_what_stands_before_them_and_every_output_is_made() {
        for seed in 0..40 {
            let (networks, columns, window, _) = random_parts(seed);
            let bytes = write(&spec(&networks, &columns, window)).unwrap();
            let graph = ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
            let mut known: Vec<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
            known.push(WINDOW);
            for node in &graph.node {
                assert!(node.input.iter().all(|name| known.contains(&name.as_str())), "{node:?}");
                assert!(!known.contains(&node.output[0].as_str()), "{} twice", node.output[0]);
                known.push(&node.output[0]);
            }
            let outputs: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
            assert_eq!(outputs, [SCORE, RECONSTRUCTION, ERROR, LATENT, RESIDUAL]);
            assert!(outputs.iter().all(|name| known.contains(name)));
            for tensor in &graph.initializer {
                let values = tensor.dims.iter().product::<i64>() as usize;
                let size = if tensor.data_type == data_type::INT64 { 8 } else { 4 };
                assert_eq!(tensor.raw_data.as_ref().unwrap().len(), values * size, "{}", tensor.name);
            }
        }
    }

    #[test]
    fn metadata_can_be_added_without_touching_the_graph() {
        let (networks, columns, window, _) = random_parts(1);
        let metadata = [("first".to_owned(), "1".to_owned())];
        let spec = GraphSpec { metadata: &metadata, ..spec(&networks, &columns, window) };
        let mut bytes = write(&spec).unwrap();
        let before = ModelProto::decode(bytes.as_slice()).unwrap();
        append_metadata(&mut bytes, "second", "zwei \u{1f986}");
        append_metadata(&mut bytes, "second", "2");
        let after = ModelProto::decode(bytes.as_slice()).unwrap();
        assert_eq!((&after.graph, &after.opset_import), (&before.graph, &before.opset_import));
        assert_eq!(read_metadata(&bytes, "first").unwrap().as_deref(), Some("1"));
        assert_eq!(read_metadata(&bytes, "second").unwrap().as_deref(), Some("2"));
        assert_eq!(read_metadata(&bytes, "third").unwrap(), None);
        assert!(matches!(read_metadata(b"not a model", "first"), Err(GraphError::Decode(_))));
    }

    #[test]
    fn specs_that_can_not_be_a_graph_are_refused() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let networks = [random_network(&[4, 2, 4], 0, &mut rng)];
        let columns = random_columns(2, &mut rng);
        let good = spec(&networks, &columns, 2);
        assert!(write(&good).is_ok());
        let refusal = |spec: GraphSpec<'_>| write(&spec).unwrap_err().to_string();
        assert_eq!(refusal(GraphSpec { networks: &[], ..good }), "the graph has no member, expected at least one");
        assert!(refusal(GraphSpec { window: 0, ..good }).contains("no row per window"));
        let width = "member 0 takes 4 values, expected 6 (rows per window times columns)";
        assert_eq!(refusal(GraphSpec { window: 3, ..good }), width);
        assert!(refusal(GraphSpec { input_clip: Some((1.0, f32::NAN)), ..good }).contains("1..=NaN"));
        for (change, name) in [
            ((|column: &mut Column| column.scale = 0.0) as fn(&mut Column), "scale of column `column 1` is 0"),
            (|column| column.scale = f32::NAN, "scale of column `column 1` is NaN"),
            (|column| column.center = f32::INFINITY, "center of column `column 1` is inf"),
            (|column| column.residual_cap = f32::NAN, "residual cap of column `column 1` is NaN"),
            (|column| column.residual_variance = 0.0, "residual variance of column `column 1` is 0"),
        ] {
            let mut columns = columns.clone();
            change(&mut columns[1]);
            assert!(refusal(GraphSpec { columns: &columns, ..good }).starts_with(name));
        }
        let (four, six) = (random_network(&[4, 2, 4], 0, &mut rng), random_network(&[6, 1, 6], 0, &mut rng));
        let both = [four, six];
        let told = refusal(GraphSpec { networks: &both, ..good });
        assert_eq!(told, "member 1 takes 6 values, expected 4 (rows per window times columns)");
        let predicting = [fitted(3, |params| params.kinds(NetworkKind::Sequence).predicted(1))];
        let told = refusal(GraphSpec { networks: &predicting, ..good });
        assert!(told.starts_with("member 0 takes 2 values and gives 1, expected whole rows of 2 values"), "{told}");
        let mixed = [both[0].clone(), fitted(4, variational)];
        let told = refusal(GraphSpec { networks: &mixed, ..good });
        assert!(told.starts_with("member 1 has a Gaussian output and member 0 has another"), "{told}");
        let windows = Array2::zeros((1, 3));
        assert!(matches!(reference(&good, windows.view()), Err(GraphError::Windows { got: 3, expected: 4 })));
    }

    fn variational(params: AutoencoderParams<f32>) -> AutoencoderParams<f32> {
        let settings = Variational { beta: 0.1, warm_up: 0, score: VariationalScore::Probability, draws: 3 };
        params.kinds(NetworkKind::Variational).variational(settings)
    }

    fn fitted(width: usize, set: impl Fn(AutoencoderParams<f32>) -> AutoencoderParams<f32>) -> Network<f32> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        let rows = Array2::from_shape_simple_fn((64, width), || rng.gen_range(0.0..1.0f32));
        let params = set(AutoencoderParams::new(width, 2).epochs(2)).check().unwrap();
        params.fit_with_validation(rows.view(), rows.view(), &mut |_| ControlFlow::Continue(())).unwrap().network
    }

    fn outputs(networks: &[Network<f32>]) -> Vec<String> {
        let columns = random_columns(4, &mut Xoshiro256PlusPlus::seed_from_u64(2));
        let bytes = write(&GraphSpec { input_clip: None, ..spec(networks, &columns, 1) }).unwrap();
        let graph = ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
        assert!(graph.node.iter().all(|node| node.op_type != "Clip" && node.op_type != "Slice"));
        graph.output.into_iter().map(|output| output.name).collect()
    }

    #[test]
    fn a_fitted_network_becomes_a_model_that_tells_what_it_knows() {
        let always = [SCORE, RECONSTRUCTION, ERROR, LATENT, RESIDUAL];
        assert_eq!(outputs(&[fitted(4, |params| params)]), always);
        let one = fitted(4, variational);
        assert_eq!(outputs(&[one.clone(), one.clone()]), [&always[..], &[DIFFERENCE]].concat());
        assert_eq!(outputs(&[one]), [&always[..], &[DIFFERENCE, LATENT_DEVIATION]].concat());
    }
}
