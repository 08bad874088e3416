//! The reader of one format: what it keeps from payload to payload, and how a payload is walked.

use serde::de::Visitor;

use super::{
    avro::{self, AvroSchema},
    bytes::{Bytes, Fault},
    csv::Lines,
    messagepack,
    protobuf::{self, ProtobufSchema},
    walk::Top,
    written::Written,
};
use crate::{
    config::settings::{RawGrid, RecordFormat},
    record::{RecordError, path::FieldPath},
};

/// Reads payloads of one format.
#[derive(Debug)]
pub(crate) enum Reader {
    /// JSON has ways of its own, see [`super::scan`] and [`super::json`].
    Json,
    MessagePack,
    Csv(Box<Lines>),
    Avro(Written<AvroSchema>),
    /// With room to work in.
    Protobuf(Written<ProtobufSchema>, Vec<u64>),
    /// The bytes of a grid are no fields and can't be walked.
    Raw(RawGrid),
}

impl Reader {
    /// A reader of `format`. At the paths of `names` stand names, so that numbers there stay text where the format does not
    /// tell the two apart.
    pub(crate) fn new(format: &RecordFormat, names: &[FieldPath]) -> Self {
        match format {
            RecordFormat::Json => Self::Json,
            RecordFormat::MessagePack => Self::MessagePack,
            RecordFormat::Csv(csv) => Self::Csv(Box::new(Lines::new(csv, names))),
            RecordFormat::Avro(source) => Self::Avro(Written::new(source)),
            RecordFormat::Protobuf(source) => Self::Protobuf(Written::new(source), Vec::new()),
            RecordFormat::Raw(grid) => Self::Raw(*grid),
        }
    }

    /// Whether the payload can't be read before its schema has come from the registry, which is asked for it.
    pub(crate) fn awaits(&mut self, payload: &[u8]) -> bool {
        match self {
            Self::Avro(written) => written.awaits(payload),
            Self::Protobuf(written, _) => written.awaits(payload),
            Self::Json | Self::MessagePack | Self::Csv(_) | Self::Raw(_) => false,
        }
    }

    /// Shows the payload, which has to be a map, to `visitor`. Of no use for JSON and grids.
    ///
    /// # Errors
    /// [`RecordError::Undecodable`].
    pub(crate) fn walk<'p, V: Visitor<'p, Value = ()>>(
        &mut self,
        payload: &'p [u8],
        visitor: V,
    ) -> Result<(), RecordError> {
        match self {
            Self::MessagePack => {
                let mut bytes = Bytes::after(payload, 0);
                let read = messagepack::read(&mut bytes, Top(visitor));
                read.map_err(|fault| undecodable("MessagePack", bytes.at(), fault))
            }
            Self::Csv(lines) => lines.read(payload, Top(visitor)).map_err(|fault| undecodable("CSV", 0, fault)),
            Self::Avro(written) => {
                let (schema, start) = written.schema(payload).map_err(|fault| undecodable("Avro", 0, fault))?;
                // A schema from a file may be named before the record, as that of a single object.
                let start = if start == 0 { avro::datum_of(schema, payload) } else { start };
                let mut bytes = Bytes::after(payload, start);
                let read = avro::read(schema, &mut bytes, Top(visitor));
                read.map_err(|fault| undecodable("Avro", bytes.at(), fault))
            }
            Self::Protobuf(written, room) => {
                let wrong = |fault| undecodable("Protobuf", 0, fault);
                let (schema, start) = written.schema(payload).map_err(wrong)?;
                let mut bytes = Bytes::after(payload, start);
                let message = protobuf::message_of(schema, &mut bytes).map_err(wrong)?;
                protobuf::read((schema, message), bytes, room, Top(visitor)).map_err(wrong)
            }
            Self::Json | Self::Raw(_) => unreachable!("they are read in their own way"),
        }
    }
}

/// What is wrong at the byte that was reached, unless the fault knows better.
fn undecodable(format: &'static str, reached: usize, fault: Fault) -> RecordError {
    let (at, what) = fault.told(reached);
    RecordError::Undecodable { format, at, what }
}
