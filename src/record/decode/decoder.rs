//! What is the same of all payloads, whatever their format: limits, the entity and the event time.

use super::{
    Schema,
    fields::{EntityState, Fields, Scratch, TimeState},
    json::{json_of, utf8},
    raw,
    reader::Reader,
    walk::ValueSeed,
};
use crate::{
    config::settings::EntityFrom,
    record::{DecodedRecord, RawRecord, RecordError, timestamp},
};

/// Takes the fields of a [`Schema`] out of payloads. In steady state it allocates nothing. Of all formats:
///
/// - The last of several equal keys wins.
/// - Numbers that are not finite make their field unusable, not the record undecodable. In JSON these are `NaN`, `Infinity` and
///   `-Infinity`, which are not JSON but written by Python's `json`, and numbers too large for a double (`1e999`).
/// - Integers beyond 2^53 become the nearest double.
/// - Booleans may be written as `true`, `1` or `"true"`. A text never is a number.
/// - A grid is a list of rows that are lists of cells. Null is a grid of missing cells, and a cell that is neither a number nor
///   a list has no value.
/// - Categories and entities may be numbers and booleans too; they are known by their shortest text (`1.0` is `1`).
#[derive(Debug)]
pub struct Decoder {
    pub(super) schema: Schema,
    pub(super) scratch: Scratch,
    reader: Reader,
}

impl Decoder {
    /// A decoder for the fields of `schema`.
    pub fn new(schema: Schema) -> Self {
        let (scratch, reader) = (Scratch::new(&schema), Reader::new(&schema.format, &schema.names));
        Self { schema, scratch, reader }
    }

    /// Which fields are taken.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Whether the record can't be read before its schema has come from a registry, which is asked for it.
    pub fn awaits(&mut self, raw: &RawRecord<'_>) -> bool {
        raw.payload.is_some_and(|payload| payload.len() <= self.schema.max_bytes && self.reader.awaits(payload))
    }

    /// Reads one record into `out`: one value and one state per slot, entity and event time.
    ///
    /// # Errors
    /// [`RecordError::Empty`], [`RecordError::TooLarge`], [`RecordError::Undecodable`], [`RecordError::WrongShape`] (of raw
    /// bytes: [`RecordError::WrongLength`]), [`RecordError::NoEntity`] or [`RecordError::BadTimestamp`], looked for in this
    /// order. After an error `out` holds the entity and the event time as far as they could be told of this record, and
    /// nothing else of use.
    pub fn decode(&mut self, raw: &RawRecord<'_>, out: &mut DecodedRecord) -> Result<(), RecordError> {
        // Whoever writes down a record that fails must not find the last one's.
        out.entity.clear();
        (out.time_us, out.timed) = (0, false);
        let payload = raw.payload.ok_or(RecordError::Empty)?;
        if payload.len() > self.schema.max_bytes {
            return Err(RecordError::TooLarge { bytes: payload.len(), limit: self.schema.max_bytes });
        }
        let shaped = if let Reader::Raw(grid) = self.reader {
            raw::read(grid, payload, out)
        } else {
            if let Err(fault) = self.read(payload, out) {
                // What was read before the fault may be half of a name.
                out.entity.clear();
                return Err(fault);
            }
            self.scratch.check_shapes(&self.schema)
        };
        let named = self.take_entity(raw, out);
        let time = self.time(raw);
        if let Ok(time_us) = time {
            (out.time_us, out.timed) = (time_us, true);
        }
        shaped.and(named).and(time.map(drop))
    }

    fn read(&mut self, payload: &[u8], out: &mut DecodedRecord) -> Result<(), RecordError> {
        if let Reader::Json = self.reader {
            let (before, json) = json_of(payload);
            return utf8(json).and_then(|text| self.read_json(text, out)).map_err(|fault| fault.behind(before));
        }
        let Self { schema, scratch, reader } = self;
        let mut fields = Fields::begin(schema, scratch, out);
        reader.walk(payload, ValueSeed { fields: &mut fields, node: 0 })
    }

    fn take_entity(&self, raw: &RawRecord<'_>, out: &mut DecodedRecord) -> Result<(), RecordError> {
        let fail = |what: String| Err(RecordError::NoEntity(what));
        match (&self.schema.entity, self.scratch.entity) {
            (EntityFrom::Nothing, _) => Ok(()),
            (EntityFrom::Key, _) => match std::str::from_utf8(raw.key.unwrap_or_default()) {
                Ok(key) => {
                    out.entity.push_str(key);
                    Ok(())
                }
                Err(cause) => fail(format!("the message key is not UTF-8 ({cause})")),
            },
            (EntityFrom::Field(_), EntityState::Named) if !out.entity.is_empty() => Ok(()),
            (EntityFrom::Field(path), EntityState::Named) => fail(format!("field `{path}` is an empty text")),
            (EntityFrom::Field(path), EntityState::Missing) => fail(format!("field `{path}` is absent or null")),
            (EntityFrom::Field(path), EntityState::Unusable) => {
                fail(format!("field `{path}` is neither a text nor a finite number nor a boolean"))
            }
        }
    }

    fn time(&self, raw: &RawRecord<'_>) -> Result<i64, RecordError> {
        let fail = |what: String| Err(RecordError::BadTimestamp(what));
        let Some(path) = &self.schema.timestamp else {
            return match raw.timestamp_ms.map(timestamp::from_message) {
                Some(Ok(time_us)) => Ok(time_us),
                Some(Err(cause)) => fail(format!("the message's timestamp: {cause}")),
                None => fail("the message has no timestamp and record.timestamp is not set".to_owned()),
            };
        };
        match &self.scratch.time {
            TimeState::Known(time_us) => Ok(*time_us),
            TimeState::Missing => fail(format!("field `{path}` is absent or null")),
            TimeState::Bad(cause) => fail(format!("field `{path}`: {cause}")),
            TimeState::Unusable => fail(format!("field `{path}` is neither a text nor a finite number")),
        }
    }
}
