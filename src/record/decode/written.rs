//! Which schema a payload was written with.

use std::sync::Arc;

use super::bytes::Fault;
use crate::schemas::{HEADER_BYTES, Lookup, SchemaSource};

/// Finds the schema of one payload after the other; it is nearly always that of the last one.
#[derive(Debug)]
pub(crate) struct Written<T> {
    source: SchemaSource<T>,
    last: Option<(u32, Arc<T>)>,
}

/// The id of the schema, where the payload begins with one.
fn id_of(payload: &[u8]) -> Option<u32> {
    match *payload {
        [0, a, b, c, d, ..] => Some(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    }
}

impl<T: Send + Sync + 'static> Written<T> {
    pub(super) fn new(source: &SchemaSource<T>) -> Self {
        Self { source: source.clone(), last: None }
    }

    /// Whether the schema is still to come from the registry, which is asked for it.
    pub(super) fn awaits(&mut self, payload: &[u8]) -> bool {
        let SchemaSource::Registry(schemas) = &self.source else { return false };
        let Some(id) = id_of(payload) else { return false };
        if self.last.as_ref().is_some_and(|(last, _)| *last == id) {
            return false;
        }
        match schemas.lookup(id) {
            Lookup::Known(schema) => self.last = Some((id, schema)),
            Lookup::Awaited => return true,
            Lookup::Unusable(_) => {}
        }
        false
    }

    /// The schema, and how many bytes name it before the record.
    pub(super) fn schema(&mut self, payload: &[u8]) -> Result<(&T, usize), Fault> {
        let schemas = match &self.source {
            SchemaSource::File(schema) => return Ok((schema, 0)),
            SchemaSource::Registry(schemas) => schemas,
        };
        let Some(id) = id_of(payload) else {
            let found = payload.first().map_or_else(|| "nothing".to_owned(), |byte| format!("byte 0x{byte:02x}"));
            return Err(Fault::new(format!("found {found}, expected a zero and the four bytes of a schema's id")));
        };
        if self.last.as_ref().is_none_or(|(last, _)| *last != id) {
            match schemas.lookup(id) {
                Lookup::Known(schema) => self.last = Some((id, schema)),
                Lookup::Awaited => return Err(Fault::new(format!("schema {id} did not come from the registry yet"))),
                Lookup::Unusable(why) => return Err(Fault::new(why.to_string())),
            }
        }
        let (_, schema) = self.last.as_ref().expect("it was found or set above");
        Ok((schema, HEADER_BYTES))
    }
}
