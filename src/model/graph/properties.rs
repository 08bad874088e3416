//! Named texts of a model file, read and added without touching its graph.

use prost::Message;

use crate::model::proto::{ModelProto, StringStringEntryProto};

use super::GraphError;

/// A model of which only the named texts are decoded; weights are skipped.
#[derive(Clone, PartialEq, prost::Message)]
struct PropertiesOnly {
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<StringStringEntryProto>,
}

/// Adds a named text to an encoded model.
///
/// Protobuf merges concatenated messages and joins their repeated fields, so the model's bytes stay as they are. Where the
/// key is there already, the added text counts: [`read_metadata`] and ONNX Runtime take the last one.
pub fn append_metadata(bytes: &mut Vec<u8>, key: &str, value: &str) {
    let entry = StringStringEntryProto { key: key.to_owned(), value: value.to_owned() };
    let addition = ModelProto { metadata_props: vec![entry], ..ModelProto::default() };
    bytes.extend_from_slice(&addition.encode_to_vec());
}

/// The text under `key` of an encoded model; the last one where there are several.
///
/// # Errors
/// The bytes are no protobuf message of a model's shape.
pub fn read_metadata(bytes: &[u8], key: &str) -> Result<Option<String>, GraphError> {
    let model = PropertiesOnly::decode(bytes)?;
    Ok(model.metadata_props.into_iter().rev().find(|entry| entry.key == key).map(|entry| entry.value))
}
