//! `record.format` as written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::units::WrittenDuration;
use crate::record::grid::CellType;

/// `record.format`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(extend("x-expected" = "json, messagepack, avro, {avro_schema: FILE}, protobuf, {protobuf_schema: {file: FILE, message: NAME}}, {csv: {columns: [NAME, ...], separator: CHARACTER}} or {raw: {shape: [ROWS, COLUMNS], type: TYPE, big_endian: BOOL}}"))]
pub enum RawFormat {
    /// A JSON object.
    Json,
    /// A MessagePack map.
    #[serde(rename = "messagepack")]
    MessagePack,
    /// An Avro datum behind the id of its schema, which record.schema_registry knows.
    Avro,
    /// An Avro datum of the schema in this file.
    AvroSchema(PathBuf),
    /// A Protobuf message behind the id of its schema, which record.schema_registry knows.
    Protobuf,
    /// A Protobuf message of the schema in a file.
    ProtobufSchema(RawProtobuf),
    /// A line of CSV without a header.
    Csv(RawCsv),
    /// The bytes of one grid, row by row.
    Raw(RawGridWritten),
}

/// `record.schema_registry.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSchemaRegistry {
    /// Where the registry serves Confluent's API, such as http://registry:8081. Needed by the formats avro and protobuf, and by `kafka.output_format: avro`.
    #[schemars(extend("x-expected" = "http://HOST:PORT or https://HOST:PORT, with a path if it has one"))]
    pub url: Option<String>,
    /// User who asks, with the password of password_file.
    pub user: Option<String>,
    /// File with the user's password, read anew for each request.
    pub password_file: Option<PathBuf>,
    /// File with a bearer token instead of a user, read anew for each request.
    pub token_file: Option<PathBuf>,
    /// File with the certificates (PEM) of those who sign the registry's; without it, whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// How long an answer may take.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "1m"))]
    pub timeout: WrittenDuration,
}

/// `record.format.protobuf_schema`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawProtobuf {
    /// A .proto file, whose imports lie in its folder, or descriptors as protoc writes them.
    pub file: PathBuf,
    /// Full name of the message that a record is, such as acme.Reading.
    pub message: String,
}

/// `record.format.csv`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawCsv {
    /// What the cells of a line are called, from left to right.
    pub columns: Vec<String>,
    /// What stands between two cells.
    #[serde(default = "comma")]
    pub separator: char,
}

fn comma() -> char {
    ','
}

/// `record.format.raw`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawGridWritten {
    /// Rows and columns.
    #[schemars(inner(range(min = 1, max = 1024)))]
    #[schemars(extend("x-expected" = "[ROWS, COLUMNS], each in 1..1024"))]
    pub shape: [usize; 2],
    /// How a cell is written.
    #[serde(rename = "type")]
    pub cell: CellType,
    /// Whether a cell's most significant byte comes first.
    #[serde(default)]
    pub big_endian: bool,
}
