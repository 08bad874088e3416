//! The model file: one ONNX graph that holds the whole scoring computation, and metadata for the rest.

pub mod graph;
pub mod metadata;
pub mod proto;
