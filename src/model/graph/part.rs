//! The part of a graph that one of its outputs needs.

use std::collections::HashSet;

use prost::Message;

use crate::model::proto::ModelProto;

use super::GraphError;

/// The model with this output alone and the nodes that it needs. ONNX Runtime computes every node of a file, whichever
/// outputs it is asked for; the daemon asks for one. A model without such an output stays as it is.
///
/// # Errors
/// The bytes are no ONNX model.
pub fn only(model: &[u8], output: &str) -> Result<Vec<u8>, GraphError> {
    let mut decoded = ModelProto::decode(model)?;
    let Some(graph) = decoded.graph.as_mut().filter(|graph| graph.output.iter().any(|value| value.name == output))
    else {
        return Ok(model.to_vec());
    };
    graph.output.retain(|value| value.name == output);
    // ONNX demands that a node stands after those whose values it takes, so one pass from the end finds all.
    let mut needed = HashSet::from([output.to_owned()]);
    let mut nodes = std::mem::take(&mut graph.node);
    nodes.reverse();
    nodes.retain(|node| {
        let kept = node.output.iter().any(|name| needed.contains(name));
        if kept {
            needed.extend(node.input.iter().cloned());
        }
        kept
    });
    nodes.reverse();
    graph.node = nodes;
    graph.initializer.retain(|tensor| needed.contains(&tensor.name));
    Ok(decoded.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2};

    use super::*;
    use crate::{
        config::settings::Activation,
        model::{
            graph::{GraphSpec, RESIDUAL, write},
            metadata::Column,
        },
        train::{Layer, Network},
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
            doc: "a test",
            metadata: &[],
        };
        write(&spec).unwrap()
    }

    #[test]
    fn what_is_left_is_whole_and_holds_nothing_that_the_output_does_not_need() {
        let whole = ModelProto::decode(&model()[..]).unwrap().graph.unwrap();
        let part = ModelProto::decode(&only(&model(), RESIDUAL).unwrap()[..]).unwrap().graph.unwrap();
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
        assert_eq!(only(&model(), "nothing").unwrap(), model());
        assert!(only(&model()[..100], RESIDUAL).is_err());
    }
}
