//! Fields that come several times: lists and maps, whose values may lie anywhere in their message.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};

use super::{
    super::bytes::{Bytes, Fault},
    Field, Form, Kind, ProtobufSchema,
    read::{Value, last, scalar, tag, value, zero},
};

/// Key or value of an entry of a map: how it is written, and its bytes where it came.
type Part<'s, 'p> = (&'s Field, Option<Bytes<'p>>);

/// All values of a field that may come several times, the rest of its message among them.
pub(super) struct Several<'s, 'c, 'p> {
    schema: &'s ProtobufSchema,
    field: &'s Field,
    /// The message, from the next value on.
    bytes: Bytes<'p>,
    /// Numbers that are left of those that came in one piece.
    packed: Option<Bytes<'p>>,
    /// The value whose key was given last.
    value: Option<Part<'s, 'p>>,
    seen: &'c mut Vec<u64>,
    depth: u32,
}

impl<'s, 'c, 'p> Several<'s, 'c, 'p> {
    /// Those that stand in the rest of their message.
    pub(super) fn new(
        (schema, field): (&'s ProtobufSchema, &'s Field),
        bytes: Bytes<'p>,
        seen: &'c mut Vec<u64>,
        depth: u32,
    ) -> Self {
        Self { schema, field, bytes, packed: None, value: None, seen, depth }
    }

    /// The next value.
    fn advance(&mut self) -> Result<Option<Bytes<'p>>, Fault> {
        let own = self.field.kind.wire();
        loop {
            if let Some(packed) = self.packed.as_mut().filter(|packed| packed.left() > 0) {
                return value(own, packed).map(Some);
            }
            if self.bytes.left() == 0 {
                return Ok(None);
            }
            let (number, wire) = tag(&mut self.bytes)?;
            let found = value(wire, &mut self.bytes)?;
            match number == self.field.number {
                true if wire == own => return Ok(Some(found)),
                true if self.field.takes_several(wire) => self.packed = Some(found),
                _ => {}
            }
        }
    }

    /// Key and value of the next entry of a map.
    fn entry(&mut self) -> Result<Option<[Part<'s, 'p>; 2]>, Fault> {
        let Some(entry) = self.advance()? else { return Ok(None) };
        let Kind::Message(message) = self.field.kind else { return Ok(None) };
        let [key, value] = &self.schema.message(message).fields[..] else { return Ok(None) };
        let read = |field: &'s Field| Ok((field, last(field.number, field.kind.wire(), entry.clone())?));
        Ok(Some([read(key)?, read(value)?]))
    }
}

impl<'de> Deserializer<'de> for Several<'_, '_, 'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.field.form == Form::Map { visitor.visit_map(self) } else { visitor.visit_seq(self) }
    }

    /// Its message goes on behind it by itself.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}

impl<'p> SeqAccess<'p> for Several<'_, '_, 'p> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'p>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some(bytes) = self.advance()? else { return Ok(None) };
        let Self { schema, field, depth, .. } = *self;
        let value = Value { schema, kind: &field.kind, bytes: Some(bytes), seen: self.seen, depth };
        seed.deserialize(value).map(Some)
    }
}

impl<'p> MapAccess<'p> for Several<'_, '_, 'p> {
    type Error = Fault;

    /// A key that is no text is known by its digits, or by `true` and `false`.
    fn next_key_seed<S: DeserializeSeed<'p>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some([(key, bytes), value]) = self.entry()? else { return Ok(None) };
        self.value = Some(value);
        let name = match (&key.kind, bytes) {
            (Kind::Text, None) => return seed.deserialize(StrDeserializer::<Fault>::new("")).map(Some),
            (Kind::Text, Some(mut bytes)) => {
                let name = bytes.text(bytes.left())?;
                return seed.deserialize(StrDeserializer::<Fault>::new(name)).map(Some);
            }
            (kind, bytes) => scalar(kind, bytes.unwrap_or_else(zero), Digits)?,
        };
        seed.deserialize(StrDeserializer::<Fault>::new(&name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'p>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some((field, bytes)) = self.value.take() else { return Err(self.bytes.fault("a value without its key")) };
        seed.deserialize(Value { schema: self.schema, kind: &field.kind, bytes, seen: self.seen, depth: self.depth })
    }
}

/// Writes a key of a map that is no text.
struct Digits;

impl Visitor<'_> for Digits {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer or a boolean")
    }

    fn visit_bool<E>(self, is: bool) -> Result<String, E> {
        Ok(is.to_string())
    }

    fn visit_i64<E>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }
}
