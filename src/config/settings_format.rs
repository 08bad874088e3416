//! What the payload of a record may be.

use crate::{
    record::{
        decode::{AvroSchema, CsvFormat, ProtobufSchema},
        grid::{CellType, Shape},
    },
    schemas::SchemaSource,
};

/// What the payload of a record is.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordFormat {
    /// A JSON object.
    Json,
    /// A MessagePack map.
    MessagePack,
    /// A line of CSV.
    Csv(CsvFormat),
    /// An Avro datum of a record.
    Avro(SchemaSource<AvroSchema>),
    /// A Protobuf message.
    Protobuf(SchemaSource<ProtobufSchema>),
    /// The bytes of one grid.
    Raw(RawGrid),
}

impl RecordFormat {
    /// Why the schema registry gives no answer, where one is asked.
    pub fn registry_fault(&self) -> Option<String> {
        match self {
            Self::Avro(source) => source.fault(),
            Self::Protobuf(source) => source.fault(),
            Self::Json | Self::MessagePack | Self::Csv(_) | Self::Raw(_) => None,
        }
    }
}

/// A payload that is one grid: its cells row by row, without anything before, between or behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawGrid {
    /// Rows and columns.
    pub shape: Shape,
    /// How a cell is written.
    pub cell: CellType,
    /// Whether a cell's most significant byte comes first.
    pub big_endian: bool,
}
