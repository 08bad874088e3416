//! A graph that shows whether a device works at all.

use ndarray::{Array1, Array2};

use super::{GraphSpec, write};
use crate::{
    config::settings::Activation,
    model::metadata::Column,
    train::{Layer, Network},
};

/// A model of one column, one row and two layers of one unit: the operators that every model of ours has, and no more.
pub fn smallest() -> Vec<u8> {
    let layer = |activation| Layer::dense(Array2::eye(1), Array1::zeros(1), activation);
    let layers = [Activation::Tanh, Activation::Identity].map(layer).into_iter().collect::<Result<_, _>>();
    let network = Network::new(layers.expect("a bias fits its weight"), 0).expect("a layer fits the next");
    let (networks, columns) = ([network], [Column::unscaled("", 0)]);
    let spec = GraphSpec {
        networks: &networks,
        columns: &columns,
        window: 1,
        input_clip: Some((-1.0, 1.0)),
        whitening: None,
        doc: "",
        metadata: &[],
    };
    write(&spec).expect("its numbers are finite")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{graph::only, proto::ModelProto};
    use prost::Message;

    #[test]
    fn the_smallest_graph_multiplies_a_matrix() {
        let part = only(&smallest(), &[crate::model::graph::RESIDUAL]).unwrap();
        let graph = ModelProto::decode(&part[..]).unwrap().graph.unwrap();
        assert!(graph.node.iter().any(|node| node.op_type == "Gemm"), "{graph:?}");
    }
}
