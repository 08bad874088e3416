//! `record.format` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::record::grid::CellType;

/// `record.format`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(extend("x-expected" = "json or {raw: {shape: [ROWS, COLUMNS], type: TYPE, big_endian: BOOL}}"))]
pub enum RawFormat {
    /// A JSON object.
    Json,
    /// The bytes of one grid, row by row.
    Raw(RawGridWritten),
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
