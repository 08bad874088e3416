//! The walk through a message (protobuf.dev, "Encoding"). Of a field that may come once the last one counts.

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, MapAccess, Visitor,
        value::{I64Deserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};

use super::{
    super::bytes::{Bytes, Fault, MAX_DEPTH, too_deep, unzigzag},
    Field, Form, Kind, Meaning, Message, ProtobufSchema, Wire,
    several::Several,
};

/// Which message the record is. Unless the schema says so, its index stands before it: a count, then one index per level of
/// messages within messages, and a count of 0 for the file's first message (Confluent's wire format).
pub(in super::super) fn message_of(schema: &ProtobufSchema, bytes: &mut Bytes<'_>) -> Result<u32, Fault> {
    if let Some(record) = schema.record {
        return Ok(record);
    }
    let levels = bytes.zigzag()?;
    let (mut among, mut message) = (&schema.top, None);
    for _ in 0..levels.max(1) {
        let index = if levels == 0 { 0 } else { bytes.zigzag()? };
        let found = usize::try_from(index).ok().and_then(|index| among.get(index)).copied();
        let Some(found) = found else { return Err(bytes.fault(format!("message {index} of {}", among.len()))) };
        (among, message) = (&schema.message(found).nested, Some(found));
    }
    message.ok_or_else(|| bytes.fault("no message is named"))
}

/// Reads the message that the rest of the payload is. `seen` is room to work in, and empty between two records.
pub(in super::super) fn read<'p, S: DeserializeSeed<'p>>(
    (schema, message): (&ProtobufSchema, u32),
    bytes: Bytes<'p>,
    seen: &mut Vec<u64>,
    seed: S,
) -> Result<S::Value, Fault> {
    seen.clear();
    let kind = Kind::Message(message);
    seed.deserialize(Value { schema, kind: &kind, bytes: Some(bytes), seen, depth: 0 })
}

/// The number of a field, and how its value is written.
pub(super) fn tag(bytes: &mut Bytes<'_>) -> Result<(u32, Wire), Fault> {
    let tag = bytes.varint()?;
    let wire = match tag & 7 {
        0 => Wire::Varint,
        1 => Wire::Bytes8,
        2 => Wire::Length,
        3 => Wire::GroupStart,
        4 => Wire::GroupEnd,
        5 => Wire::Bytes4,
        other => return Err(bytes.fault(format!("wire type {other} is none"))),
    };
    match u32::try_from(tag >> 3) {
        Ok(number) if number > 0 => Ok((number, wire)),
        _ => Err(bytes.fault(format!("field number {} is none", tag >> 3))),
    }
}

/// The bytes of a value, without the length before them or the tag behind.
pub(super) fn value<'p>(wire: Wire, bytes: &mut Bytes<'p>) -> Result<Bytes<'p>, Fault> {
    let start = bytes.clone();
    match wire {
        Wire::Varint => drop(bytes.varint()?),
        Wire::Bytes8 => drop(bytes.take(8)?),
        Wire::Bytes4 => drop(bytes.take(4)?),
        Wire::Length => {
            let length = usize::try_from(bytes.varint()?).unwrap_or(usize::MAX);
            let start = bytes.clone();
            bytes.take(length)?;
            return Ok(start.until(bytes.at()));
        }
        Wire::GroupStart => {
            let mut open = 1;
            while open > 0 {
                let end = bytes.at();
                match tag(bytes)?.1 {
                    Wire::GroupStart => open += 1,
                    Wire::GroupEnd if open == 1 => return Ok(start.until(end)),
                    Wire::GroupEnd => open -= 1,
                    wire => {
                        value(wire, bytes)?;
                    }
                }
            }
        }
        Wire::GroupEnd => return Err(bytes.fault("a group ends that did not begin")),
    }
    Ok(start.until(bytes.at()))
}

/// A value that is to be read.
pub(super) struct Value<'s, 'c, 'p> {
    pub(super) schema: &'s ProtobufSchema,
    pub(super) kind: &'s Kind,
    /// Its bytes; `None` where it did not come and is zero, empty or false.
    pub(super) bytes: Option<Bytes<'p>>,
    pub(super) seen: &'c mut Vec<u64>,
    pub(super) depth: u32,
}

impl<'de> Deserializer<'de> for Value<'_, '_, 'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Self { schema, kind, bytes, seen, depth } = self;
        match (kind, bytes) {
            (Kind::Text, None) => visitor.visit_str(""),
            (Kind::Text, Some(mut bytes)) => visitor.visit_borrowed_str(bytes.text(bytes.left())?),
            (Kind::Bytes, None) => visitor.visit_bytes(&[]),
            (Kind::Bytes, Some(mut bytes)) => visitor.visit_borrowed_bytes(bytes.take(bytes.left())?),
            (Kind::Message(message) | Kind::Group(message), bytes) => {
                let bytes = bytes.unwrap_or_else(|| Bytes::after(&[], 0));
                let message = schema.message(*message);
                match message.meaning {
                    Meaning::Moment => visitor.visit_newtype_struct(I64Deserializer::new(moment(bytes)?)),
                    Meaning::Wrapper => {
                        let Some(field) = message.fields.first() else { return visitor.visit_unit() };
                        let bytes = last(1, field.kind.wire(), bytes)?;
                        Value { schema, kind: &field.kind, bytes, seen, depth }.deserialize_any(visitor)
                    }
                    Meaning::Fields if depth >= MAX_DEPTH => Err(too_deep()),
                    Meaning::Fields => visitor.visit_map(Fields::new((schema, message), bytes, seen, depth + 1)),
                }
            }
            (kind, bytes) => scalar(kind, bytes.unwrap_or_else(zero), visitor),
        }
    }

    /// Its bytes are known already.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}

/// The bytes of a number that is zero, however it is written.
pub(super) fn zero<'p>() -> Bytes<'p> {
    Bytes::after(&[0; 8], 0)
}

/// A number, a boolean or the name of an enum.
pub(super) fn scalar<'p, V: Visitor<'p>>(kind: &Kind, mut bytes: Bytes<'p>, visitor: V) -> Result<V::Value, Fault> {
    match kind {
        Kind::Double => visitor.visit_f64(f64::from_le_bytes(bytes.array()?)),
        Kind::Float => visitor.visit_f64(f32::from_le_bytes(bytes.array()?).into()),
        Kind::Signed => visitor.visit_i64(bytes.varint()? as i64),
        Kind::Unsigned => visitor.visit_u64(bytes.varint()?),
        Kind::ZigZag => visitor.visit_i64(unzigzag(bytes.varint()?)),
        Kind::Fixed32 => visitor.visit_u64(u32::from_le_bytes(bytes.array()?).into()),
        Kind::Fixed64 => visitor.visit_u64(u64::from_le_bytes(bytes.array()?)),
        Kind::Sfixed32 => visitor.visit_i64(i32::from_le_bytes(bytes.array()?).into()),
        Kind::Sfixed64 => visitor.visit_i64(i64::from_le_bytes(bytes.array()?)),
        Kind::Boolean => visitor.visit_bool(bytes.varint()? != 0),
        Kind::Enum(names) => {
            let number = bytes.varint()? as i32;
            match names.get(&number) {
                Some(name) => visitor.visit_str(name),
                // A value that was added to the enum since.
                None => visitor.visit_i64(number.into()),
            }
        }
        Kind::Text | Kind::Bytes | Kind::Message(_) | Kind::Group(_) => visitor.visit_unit(),
    }
}

/// The last value of this field in a message.
pub(super) fn last<'p>(number: u32, wire: Wire, mut bytes: Bytes<'p>) -> Result<Option<Bytes<'p>>, Fault> {
    let mut found = None;
    while bytes.left() > 0 {
        let (there, how) = tag(&mut bytes)?;
        let value = value(how, &mut bytes)?;
        if (there, how) == (number, wire) {
            found = Some(value);
        }
    }
    Ok(found)
}

/// Microseconds since the epoch of a `google.protobuf.Timestamp`: seconds (1) and nanoseconds (2).
fn moment(bytes: Bytes<'_>) -> Result<i64, Fault> {
    let part = |number| last(number, Wire::Varint, bytes.clone())?.map_or(Ok(0), |mut value| value.varint());
    let (seconds, nanoseconds) = (part(1)? as i64, part(2)? as i64);
    Ok(seconds.saturating_mul(1_000_000).saturating_add(nanoseconds.div_euclid(1_000)))
}

/// The fields of a message, in the order in which they come; then those that did not come and are not missing for that.
struct Fields<'s, 'c, 'p> {
    schema: &'s ProtobufSchema,
    message: &'s Message,
    bytes: Bytes<'p>,
    /// One bit per field that came, behind those of the messages that this one stands in.
    seen: &'c mut Vec<u64>,
    base: usize,
    /// The field that is likely to come next: they are written in their order.
    next: usize,
    /// The field whose name was given last, and its value.
    current: Option<(&'s Field, Found<'p>)>,
    /// Fields that were looked at for their absence.
    absent: usize,
    depth: u32,
}

/// The value of a field.
enum Found<'p> {
    One(Option<Bytes<'p>>),
    /// The message from the first of the values on.
    Several(Bytes<'p>),
}

impl<'s, 'c, 'p> Fields<'s, 'c, 'p> {
    fn new(
        (schema, message): (&'s ProtobufSchema, &'s Message),
        bytes: Bytes<'p>,
        seen: &'c mut Vec<u64>,
        depth: u32,
    ) -> Self {
        let base = seen.len();
        seen.resize(base + message.fields.len().div_ceil(64), 0);
        Self { schema, message, bytes, seen, base, next: 0, current: None, absent: 0, depth }
    }

    /// Index of the field with this number.
    fn index(&mut self, number: u32) -> Option<usize> {
        let likely = self.message.fields.get(self.next).filter(|field| field.number == number);
        let index = match likely {
            Some(_) => self.next,
            None => *self.message.by_number.get(&number)? as usize,
        };
        self.next = index + 1;
        Some(index)
    }

    /// Notes that the field came; whether it had come before.
    fn see(&mut self, index: usize) -> bool {
        let word = &mut self.seen[self.base + index / 64];
        let bit = 1 << (index % 64);
        let before = *word & bit != 0;
        *word |= bit;
        before
    }

    /// The next field that comes.
    fn advance(&mut self) -> Result<Option<(&'s Field, Found<'p>)>, Fault> {
        while self.bytes.left() > 0 {
            let start = self.bytes.clone();
            let (number, wire) = tag(&mut self.bytes)?;
            let value = value(wire, &mut self.bytes)?;
            let Some(index) = self.index(number) else { continue };
            let field = &self.message.fields[index];
            match field.form {
                // Its first value shows all of them.
                Form::List | Form::Map if field.takes_several(wire) && !self.see(index) => {
                    return Ok(Some((field, Found::Several(start))));
                }
                Form::Optional | Form::Implicit if wire == field.kind.wire() => {
                    self.see(index);
                    return Ok(Some((field, Found::One(Some(value)))));
                }
                // Shown already; or written by another schema, and of no use, as if nobody knew the field.
                _ => {}
            }
        }
        Ok(None)
    }

    /// The next field that did not come and is zero, empty or false.
    fn next_absent(&mut self) -> Option<(&'s Field, Found<'p>)> {
        while let Some(field) = self.message.fields.get(self.absent) {
            let index = self.absent;
            self.absent += 1;
            if field.form == Form::Implicit && !self.see(index) {
                return Some((field, Found::One(None)));
            }
        }
        None
    }
}

impl Drop for Fields<'_, '_, '_> {
    fn drop(&mut self) {
        self.seen.truncate(self.base);
    }
}

impl<'p> MapAccess<'p> for Fields<'_, '_, 'p> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'p>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.current = match self.advance()? {
            Some(found) => Some(found),
            None => self.next_absent(),
        };
        let Some((field, _)) = &self.current else { return Ok(None) };
        seed.deserialize(StrDeserializer::<Fault>::new(&field.name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'p>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some((field, found)) = self.current.take() else {
            return Err(self.bytes.fault("a value without its field"));
        };
        let Self { schema, depth, .. } = *self;
        match found {
            Found::One(bytes) => seed.deserialize(Value { schema, kind: &field.kind, bytes, seen: self.seen, depth }),
            Found::Several(bytes) => seed.deserialize(Several::new((schema, field), bytes, self.seen, depth)),
        }
    }
}
