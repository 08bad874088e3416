//! The walk through a datum by the schema that it was written with.

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, MapAccess, SeqAccess, Visitor,
        value::{BorrowedStrDeserializer, I64Deserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};

use super::{
    super::bytes::{Bytes, Fault, MAX_DEPTH, too_deep},
    AvroSchema, Type,
};

/// Reads the whole datum.
pub(in super::super) fn read<'p, S: DeserializeSeed<'p>>(
    schema: &AvroSchema,
    bytes: &mut Bytes<'p>,
    seed: S,
) -> Result<S::Value, Fault> {
    let value = seed.deserialize(Datum { schema, kind: schema.top, bytes, depth: 0 })?;
    bytes.end().map(|()| value)
}

/// A value that is to be read.
struct Datum<'s, 'b, 'p> {
    schema: &'s AvroSchema,
    kind: u32,
    bytes: &'b mut Bytes<'p>,
    depth: u32,
}

fn boolean(bytes: &mut Bytes<'_>) -> Result<bool, Fault> {
    match bytes.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Fault::new(format!("byte 0x{other:02x} is no boolean"))),
    }
}

fn length(bytes: &mut Bytes<'_>) -> Result<usize, Fault> {
    let length = bytes.zigzag()?;
    usize::try_from(length).map_err(|_| Fault::new(format!("a length of {length}")))
}

/// Which of so many it is, of an enum's symbols or a union's types.
fn choice<'c, T>(choices: &'c [T], bytes: &mut Bytes<'_>) -> Result<&'c T, Fault> {
    let index = length(bytes)?;
    choices.get(index).ok_or_else(|| Fault::new(format!("choice {index} of {}", choices.len())))
}

/// How many items the next block of an array or a map has, and, where it is told, its bytes. None end it.
fn block(bytes: &mut Bytes<'_>) -> Result<(usize, Option<usize>), Fault> {
    let count = bytes.zigzag()?;
    let size = if count < 0 { Some(length(bytes)?) } else { None };
    let items = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    // Items that take no bytes could be without end.
    if items > bytes.left() {
        return Err(Fault::new(format!("a block of {items} items in {} bytes", bytes.left())));
    }
    Ok((items, size))
}

/// A number in two's complement, the highest byte first, with so many digits behind the point.
fn decimal(bytes: &[u8], scale: usize) -> f64 {
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    if bytes.len() > 16 {
        // Beyond what any integer holds; its digits past the first 16 bytes are beyond a double's anyway.
        let (head, tail) = bytes.split_at(16);
        let unscaled = decimal(head, 0) * 256_f64.powi(tail.len().min(1_000) as i32);
        return unscaled / 10_f64.powi(scale.min(1_000) as i32);
    }
    let mut whole = [if negative { 0xff } else { 0 }; 16];
    whole[16 - bytes.len()..].copy_from_slice(bytes);
    let unscaled = i128::from_be_bytes(whole);
    // Both are exact up to here, so the quotient is the nearest double; beyond it the decimal text is.
    if unscaled.unsigned_abs() < 1 << 53 && scale <= 22 {
        return unscaled as f64 / 10_f64.powi(scale as i32);
    }
    fast_float2::parse(format!("{unscaled}e-{scale}")).unwrap_or(f64::NAN)
}

/// Passes over a value.
fn skip(schema: &AvroSchema, kind: u32, bytes: &mut Bytes<'_>, depth: u32) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    let count = match schema.kind(kind) {
        Type::Null => 0,
        Type::Boolean => return boolean(bytes).map(drop),
        Type::Integer | Type::Moment(_) => return bytes.varint().map(drop),
        Type::Enum(symbols) => return choice(symbols, bytes).map(drop),
        Type::Float => 4,
        Type::Double => 8,
        Type::Fixed(size) | Type::Decimal { bytes: Some(size), .. } => *size,
        Type::Bytes | Type::Text | Type::Decimal { bytes: None, .. } => length(bytes)?,
        Type::Record(fields) => {
            return fields.iter().try_for_each(|(_, kind)| skip(schema, *kind, bytes, depth + 1));
        }
        Type::Union(variants) => {
            let kind = *choice(variants, bytes)?;
            return skip(schema, kind, bytes, depth + 1);
        }
        Type::Array(items) => return skip_blocks(bytes, |bytes| skip(schema, *items, bytes, depth + 1)),
        Type::Map(values) => {
            return skip_blocks(bytes, |bytes| {
                let key = length(bytes)?;
                bytes.take(key)?;
                skip(schema, *values, bytes, depth + 1)
            });
        }
    };
    bytes.take(count).map(drop)
}

fn skip_blocks(bytes: &mut Bytes<'_>, mut item: impl FnMut(&mut Bytes<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
    loop {
        match block(bytes)? {
            (0, _) => return Ok(()),
            (_, Some(size)) => drop(bytes.take(size)?),
            (items, None) => (0..items).try_for_each(|_| item(bytes))?,
        }
    }
}

impl<'de> Deserializer<'de> for Datum<'_, '_, 'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Self { schema, kind, bytes, depth } = self;
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        match schema.kind(kind) {
            Type::Null => visitor.visit_unit(),
            Type::Boolean => visitor.visit_bool(boolean(bytes)?),
            Type::Integer => visitor.visit_i64(bytes.zigzag()?),
            Type::Float => visitor.visit_f64(f32::from_le_bytes(bytes.array()?).into()),
            Type::Double => visitor.visit_f64(f64::from_le_bytes(bytes.array()?)),
            Type::Bytes => {
                let length = length(bytes)?;
                visitor.visit_borrowed_bytes(bytes.take(length)?)
            }
            Type::Text => {
                let length = length(bytes)?;
                visitor.visit_borrowed_str(bytes.text(length)?)
            }
            Type::Fixed(size) => visitor.visit_borrowed_bytes(bytes.take(*size)?),
            Type::Enum(symbols) => visitor.visit_str(choice(symbols, bytes)?),
            Type::Decimal { scale, bytes: size } => {
                let size = size.map_or_else(|| length(bytes), Ok)?;
                visitor.visit_f64(decimal(bytes.take(size)?, *scale))
            }
            Type::Moment(unit) => visitor.visit_newtype_struct(I64Deserializer::new(unit.to_us(bytes.zigzag()?))),
            Type::Union(variants) => {
                let kind = *choice(variants, bytes)?;
                Datum { schema, kind, bytes, depth: depth + 1 }.deserialize_any(visitor)
            }
            Type::Record(fields) => visitor.visit_map(Record { schema, fields, value: 0, bytes, depth: depth + 1 }),
            Type::Array(kind) | Type::Map(kind) => {
                let blocks = Blocks { schema, kind: *kind, bytes, depth: depth + 1, left: Some(0) };
                match schema.kind(self.kind) {
                    Type::Array(_) => visitor.visit_seq(blocks),
                    _ => visitor.visit_map(blocks),
                }
            }
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        skip(self.schema, self.kind, self.bytes, self.depth)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}

/// The fields of a record that are still to be read, in the order of its schema.
struct Record<'s, 'b, 'p> {
    schema: &'s AvroSchema,
    fields: &'s [(Box<str>, u32)],
    /// The type of the value whose name was given last.
    value: u32,
    bytes: &'b mut Bytes<'p>,
    depth: u32,
}

impl<'p> MapAccess<'p> for Record<'_, '_, 'p> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'p>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some(((name, kind), rest)) = self.fields.split_first() else { return Ok(None) };
        (self.fields, self.value) = (rest, *kind);
        seed.deserialize(StrDeserializer::<Fault>::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'p>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(Datum { schema: self.schema, kind: self.value, bytes: self.bytes, depth: self.depth })
    }
}

/// What is left of an array or a map, which come in blocks.
struct Blocks<'s, 'b, 'p> {
    schema: &'s AvroSchema,
    kind: u32,
    bytes: &'b mut Bytes<'p>,
    depth: u32,
    /// Items left in this block; `None` after the last one.
    left: Option<usize>,
}

impl Blocks<'_, '_, '_> {
    /// Whether another item follows.
    fn next(&mut self) -> Result<bool, Fault> {
        if self.left == Some(0) {
            let (items, _) = block(self.bytes)?;
            self.left = (items > 0).then_some(items);
        }
        self.left = self.left.map(|left| left - 1);
        // The count of the block that was just entered is already one less.
        Ok(self.left.is_some())
    }
}

impl<'p> SeqAccess<'p> for Blocks<'_, '_, 'p> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'p>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if !self.next()? {
            return Ok(None);
        }
        seed.deserialize(Datum { schema: self.schema, kind: self.kind, bytes: self.bytes, depth: self.depth }).map(Some)
    }
}

impl<'p> MapAccess<'p> for Blocks<'_, '_, 'p> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'p>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if !self.next()? {
            return Ok(None);
        }
        let key = length(self.bytes)?;
        seed.deserialize(BorrowedStrDeserializer::<Fault>::new(self.bytes.text(key)?)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'p>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(Datum { schema: self.schema, kind: self.kind, bytes: self.bytes, depth: self.depth })
    }
}
