//! Single objects: two marker bytes and the schema's fingerprint before a datum (Avro 1.12, "Single-object encoding").

use super::AvroSchema;

const MARKER: [u8; 2] = [0xc3, 0x01];

/// How many bytes stand before the datum: those of a single object of this schema, or none. A datum that happened to begin
/// like that would have to match 80 bits.
pub(in super::super) fn datum_of(schema: &AvroSchema, payload: &[u8]) -> usize {
    let rest = payload.strip_prefix(&MARKER).and_then(|rest| rest.strip_prefix(&schema.fingerprint));
    rest.map_or(0, |rest| payload.len() - rest.len())
}
