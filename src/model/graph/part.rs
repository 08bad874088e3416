//! The part of a graph that one of its outputs needs.

use std::collections::HashSet;

use prost::Message;

use crate::model::proto::{DimensionValue, GraphProto, ModelProto, NodeProto, ValueInfoProto};

use super::{
    GraphError, LATENT, LATENT_DEVIATION, RECONSTRUCTION, WINDOW,
    builder::value,
    member::{DRAWN_CODES, DRAWN_MEANS},
    score::SCALED_RECONSTRUCTION,
};

/// The model with these outputs alone, as far as it has them, and the nodes that they need. ONNX Runtime computes every node
/// of a file, whichever outputs it is asked for; the daemon asks for one or two. A model without the first one stays as it
/// is.
///
/// # Errors
/// The bytes are no ONNX model.
pub fn only(model: &[u8], outputs: &[&str]) -> Result<Vec<u8>, GraphError> {
    let mut decoded = ModelProto::decode(model)?;
    let there = |graph: &GraphProto, name: &str| graph.output.iter().any(|value| value.name == name);
    let Some(graph) = decoded.graph.as_mut().filter(|graph| outputs.first().is_some_and(|name| there(graph, name)))
    else {
        return Ok(model.to_vec());
    };
    graph.output.retain(|value| outputs.contains(&value.name.as_str()));
    strip(graph, &[]);
    Ok(decoded.encode_to_vec())
}

/// A model that takes latent codes `[batch, K]` as [`LATENT`] and gives what the decoder of `model` makes of them as
/// [`RECONSTRUCTION`], `[batch, D]`: a window's newest row in the columns' own units; of a Gaussian output the means.
/// Codes from the standard normal distribution become rows like those that the model was fitted on.
///
/// # Errors
/// The bytes are no ONNX model of one member with a Gaussian code, or a linear skip needs a row to start with.
pub fn decoder(model: &[u8]) -> Result<Vec<u8>, GraphError> {
    let mut decoded = ModelProto::decode(model)?;
    let graph = decoded.graph.get_or_insert_default();
    let output = |name: &str| graph.output.iter().find(|value| value.name == name);
    let code = output(LATENT).filter(|_| output(LATENT_DEVIATION).is_some());
    let size =
        code.and_then(width).ok_or(GraphError::NotGenerative { why: "it has no code that is told to be normal" })?;
    graph.output.retain(|value| value.name == RECONSTRUCTION);
    // Where the file decodes several draws per row, its decoder is given one code per row, and what it gives is no more
    // averaged.
    for node in &mut graph.node {
        for input in node.input.iter_mut().filter(|name| *name == DRAWN_CODES) {
            LATENT.clone_into(input);
        }
    }
    if graph.node.iter().any(|node| node.output.iter().any(|name| name == DRAWN_MEANS)) {
        let node = gives(&graph.node, SCALED_RECONSTRUCTION).expect("a file with draws averages them");
        let same = NodeProto {
            input: vec![DRAWN_MEANS.to_owned()],
            output: vec![SCALED_RECONSTRUCTION.to_owned()],
            name: SCALED_RECONSTRUCTION.to_owned(),
            op_type: "Identity".to_owned(),
            ..NodeProto::default()
        };
        graph.node[node] = same;
    }
    graph.input = vec![value(LATENT, Some(size), "codes, standard normal")];
    let needed = strip(graph, &[LATENT]);
    if needed.contains(WINDOW) {
        return Err(GraphError::NotGenerative { why: "its linear skip needs a row to start with" });
    }
    Ok(decoded.encode_to_vec())
}

/// Which node gives this value.
fn gives(nodes: &[NodeProto], name: &str) -> Option<usize> {
    nodes.iter().position(|node| node.output.iter().any(|output| output == name))
}

/// Values per row of a value `[batch, values]`.
fn width(value: &ValueInfoProto) -> Option<usize> {
    let shape = value.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()?;
    match shape.dim.get(1)?.value {
        Some(DimensionValue::DimValue(width)) => usize::try_from(width).ok(),
        Some(DimensionValue::DimParam(_)) | None => None,
    }
}

/// Drops what no output needs, where the values `given` are known. Gives the names of all values that are needed.
fn strip(graph: &mut GraphProto, given: &[&str]) -> HashSet<String> {
    // ONNX demands that a node stands after those whose values it takes, so one pass from the end finds all.
    let mut needed: HashSet<String> = graph.output.iter().map(|value| value.name.clone()).collect();
    let mut nodes = std::mem::take(&mut graph.node);
    nodes.reverse();
    nodes.retain(|node| {
        let kept = node.output.iter().any(|name| needed.contains(name) && !given.contains(&name.as_str()));
        if kept {
            needed.extend(node.input.iter().cloned());
        }
        kept
    });
    nodes.reverse();
    graph.node = nodes;
    graph.initializer.retain(|tensor| needed.contains(&tensor.name));
    needed
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use linfa::ParamGuard;
    use ndarray::{Array1, Array2};

    use super::*;
    use crate::{
        config::settings::{Activation, NetworkKind, Variational, VariationalScore},
        model::{
            graph::{GraphSpec, RESIDUAL, write},
            metadata::Column,
        },
        train::{AutoencoderParams, Layer, Network},
    };

    fn model() -> Vec<u8> {
        let layer = |activation| Layer::dense(Array2::eye(2), Array1::zeros(2), activation).unwrap();
        let network = Network::new(vec![layer(Activation::Tanh), layer(Activation::Identity)], 0).unwrap();
        let column = |name: &str| Column {
            name: name.to_owned(),
            feature: 0,
            impute: 0.0,
            center: 1.0,
            scale: 2.0,
            knots: None,
            residual_cap: f32::INFINITY,
            residual_mean: 0.0,
            residual_variance: 1.0,
        };
        let columns = [column("a"), column("b")];
        let networks = [network];
        let spec = GraphSpec {
            networks: &networks,
            columns: &columns,
            window: 1,
            input_clip: None,
            whitening: None,
            doc: "a test",
            metadata: &[],
        };
        write(&spec).unwrap()
    }

    #[test]
    fn what_is_left_is_whole_and_holds_nothing_that_the_output_does_not_need() {
        let whole = ModelProto::decode(&model()[..]).unwrap().graph.unwrap();
        let part = ModelProto::decode(&only(&model(), &[RESIDUAL]).unwrap()[..]).unwrap().graph.unwrap();
        let names = |graph: &crate::model::proto::GraphProto| {
            graph.output.iter().map(|value| value.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!((names(&whole).len(), names(&part)), (5, vec![RESIDUAL.to_owned()]));
        assert!(whole.node.iter().any(|node| node.op_type == "ReduceMean"));
        assert!(part.node.iter().all(|node| node.op_type != "ReduceMean") && part.node.len() < whole.node.len());
        let mut known: HashSet<String> = part.initializer.iter().map(|tensor| tensor.name.clone()).collect();
        known.extend(part.input.iter().map(|value| value.name.clone()));
        for node in &part.node {
            assert!(node.input.iter().all(|name| known.contains(name)), "{node:?}");
            known.extend(node.output.iter().cloned());
        }
        assert!(known.contains(RESIDUAL));
    }

    #[test]
    fn a_model_without_the_output_stays_as_it_is_and_torn_bytes_are_an_error() {
        assert_eq!(only(&model(), &["nothing"]).unwrap(), model());
        assert!(only(&model()[..100], &[RESIDUAL]).is_err());
    }

    fn of(network: Network<f32>) -> Vec<u8> {
        let columns = [Column::unscaled("a", 0), Column::unscaled("b", 1)];
        let networks = [network];
        let spec = GraphSpec {
            networks: &networks,
            columns: &columns,
            window: 2,
            input_clip: None,
            whitening: None,
            doc: "",
            metadata: &[],
        };
        write(&spec).unwrap()
    }

    fn variational(score: VariationalScore, skip: bool) -> Vec<u8> {
        let variational = Variational { beta: 0.1, warm_up: 0, score, draws: 3 };
        let params = AutoencoderParams::new(4, 2).kinds(NetworkKind::Variational).variational(variational);
        let params = params.skip(skip).epochs(1).check().unwrap();
        let rows = Array2::from_shape_fn((20, 4), |(row, column)| ((row * 3 + column * column) as f32).sin());
        let fit = params.fit_with_validation(rows.view(), rows.view(), &mut |_| ControlFlow::Continue(()));
        of(fit.unwrap().network)
    }

    #[test]
    fn a_decoder_takes_codes_alone_and_gives_rows_alone() {
        for score in [VariationalScore::Error, VariationalScore::Probability] {
            let part = decoder(&variational(score, false)).unwrap();
            let graph = ModelProto::decode(&part[..]).unwrap().graph.unwrap();
            let names = |values: &[ValueInfoProto]| values.iter().map(|value| value.name.clone()).collect::<Vec<_>>();
            assert_eq!((names(&graph.input), names(&graph.output)), (vec![LATENT.into()], vec![RECONSTRUCTION.into()]));
            assert_eq!(width(&graph.input[0]), Some(2));
            let mut known: HashSet<String> = graph.initializer.iter().map(|tensor| tensor.name.clone()).collect();
            known.insert(LATENT.to_owned());
            for node in &graph.node {
                assert!(node.input.iter().all(|name| known.contains(name)), "{node:?}");
                known.extend(node.output.iter().cloned());
            }
            assert!(graph.node.iter().all(|node| node.op_type != "Split" && node.op_type != "Exp"));
        }
    }

    #[test]
    fn of_models_that_can_not_make_rows_no_decoder_is_cut() {
        let told = decoder(&model()).unwrap_err().to_string();
        assert!(told.contains("no code that is told to be normal") && told.contains("variational"), "{told}");
        let told = decoder(&variational(VariationalScore::Error, true)).unwrap_err().to_string();
        assert!(told.contains("its linear skip needs a row"), "{told}");
    }
}
