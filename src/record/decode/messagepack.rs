//! MessagePack, as its specification has it (github.com/msgpack/msgpack/blob/master/spec.md), timestamps included.

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, MapAccess, SeqAccess, Visitor,
        value::{BorrowedStrDeserializer, I64Deserializer},
    },
    forward_to_deserialize_any,
};

use super::bytes::{Bytes, Fault, MAX_DEPTH, too_deep};

/// The type of an extension that is a timestamp.
const TIMESTAMP: i8 = -1;

/// Reads the whole payload.
pub(super) fn read<'p, S: DeserializeSeed<'p>>(bytes: &mut Bytes<'p>, seed: S) -> Result<S::Value, Fault> {
    let value = seed.deserialize(Value { bytes, depth: 0 })?;
    bytes.end().map(|()| value)
}

/// What a value begins with: itself, where it is small.
enum Head {
    Nil,
    Boolean(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// A text of so many bytes.
    Text(usize),
    /// So many bytes.
    Binary(usize),
    /// The type of an extension, and its bytes.
    Extension(i8, usize),
    /// A list of so many elements.
    List(usize),
    /// A map of so many pairs.
    Map(usize),
}

impl Head {
    #[inline]
    fn read(bytes: &mut Bytes<'_>) -> Result<Self, Fault> {
        let marker = bytes.byte()?;
        Ok(match marker {
            0x00..=0x7f => Self::Unsigned(u64::from(marker)),
            0x80..=0x8f => Self::Map(usize::from(marker & 0x0f)),
            0x90..=0x9f => Self::List(usize::from(marker & 0x0f)),
            0xa0..=0xbf => Self::Text(usize::from(marker & 0x1f)),
            0xc0 => Self::Nil,
            0xc1 => return Err(Fault::new("byte 0xc1 begins no value")),
            0xc2 | 0xc3 => Self::Boolean(marker == 0xc3),
            0xc4..=0xc6 => Self::Binary(length(bytes, marker - 0xc4)?),
            0xc7..=0xc9 => extension(length(bytes, marker - 0xc7)?, bytes)?,
            0xca => Self::Float(f32::from_be_bytes(bytes.array()?).into()),
            0xcb => Self::Float(f64::from_be_bytes(bytes.array()?)),
            0xcc => Self::Unsigned(u64::from(bytes.byte()?)),
            0xcd => Self::Unsigned(u16::from_be_bytes(bytes.array()?).into()),
            0xce => Self::Unsigned(u32::from_be_bytes(bytes.array()?).into()),
            0xcf => Self::Unsigned(u64::from_be_bytes(bytes.array()?)),
            0xd0 => Self::Signed(i8::from_be_bytes(bytes.array()?).into()),
            0xd1 => Self::Signed(i16::from_be_bytes(bytes.array()?).into()),
            0xd2 => Self::Signed(i32::from_be_bytes(bytes.array()?).into()),
            0xd3 => Self::Signed(i64::from_be_bytes(bytes.array()?)),
            0xd4..=0xd8 => extension(1 << (marker - 0xd4), bytes)?,
            0xd9..=0xdb => Self::Text(length(bytes, marker - 0xd9)?),
            0xdc | 0xdd => Self::List(length(bytes, marker - 0xdc + 1)?),
            0xde | 0xdf => Self::Map(length(bytes, marker - 0xde + 1)?),
            0xe0.. => Self::Signed(i64::from(marker as i8)),
        })
    }
}

/// A length of 1, 2 or 4 bytes, which are 2 to the power of `size`.
fn length(bytes: &mut Bytes<'_>, size: u8) -> Result<usize, Fault> {
    let length = match size {
        0 => u32::from(bytes.byte()?),
        1 => u16::from_be_bytes(bytes.array()?).into(),
        _ => u32::from_be_bytes(bytes.array()?),
    };
    Ok(length as usize)
}

fn extension(length: usize, bytes: &mut Bytes<'_>) -> Result<Head, Fault> {
    Ok(Head::Extension(bytes.byte()? as i8, length))
}

/// Microseconds since the epoch of a timestamp of 4, 8 or 12 bytes; `None` for another length.
fn timestamp(bytes: &[u8]) -> Option<i64> {
    let (seconds, nanoseconds) = match *bytes {
        [a, b, c, d] => (i64::from(u32::from_be_bytes([a, b, c, d])), 0),
        [a, b, c, d, e, f, g, h] => {
            let both = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            ((both & 0x3_ffff_ffff) as i64, (both >> 34) as u32)
        }
        [a, b, c, d, ref seconds @ ..] => {
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes([a, b, c, d]))
        }
        _ => return None,
    };
    Some(seconds.saturating_mul(1_000_000).saturating_add(i64::from(nanoseconds / 1_000)))
}

/// Passes over one value, however deep.
fn skip(bytes: &mut Bytes<'_>) -> Result<(), Fault> {
    let mut values = 1_u64;
    while values > 0 {
        values -= 1;
        match Head::read(bytes)? {
            Head::Text(length) | Head::Binary(length) | Head::Extension(_, length) => drop(bytes.take(length)?),
            Head::List(elements) => values += elements as u64,
            Head::Map(pairs) => values += 2 * pairs as u64,
            Head::Nil | Head::Boolean(_) | Head::Unsigned(_) | Head::Signed(_) | Head::Float(_) => {}
        }
    }
    Ok(())
}

/// A value that is to be read.
struct Value<'b, 'p> {
    bytes: &'b mut Bytes<'p>,
    depth: u32,
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Self { bytes, depth } = self;
        let inner = |left: usize, bytes| {
            if depth < MAX_DEPTH { Ok(Inner { bytes, depth: depth + 1, left }) } else { Err(too_deep()) }
        };
        match Head::read(bytes)? {
            Head::Nil => visitor.visit_unit(),
            Head::Boolean(is) => visitor.visit_bool(is),
            Head::Unsigned(number) => visitor.visit_u64(number),
            Head::Signed(number) => visitor.visit_i64(number),
            Head::Float(number) => visitor.visit_f64(number),
            Head::Text(length) => visitor.visit_borrowed_str(bytes.text(length)?),
            Head::Binary(length) => visitor.visit_borrowed_bytes(bytes.take(length)?),
            Head::Extension(TIMESTAMP, length) => {
                let Some(time_us) = timestamp(bytes.take(length)?) else {
                    return Err(Fault::new(format!("a timestamp of {length} bytes, expected 4, 8 or 12")));
                };
                visitor.visit_newtype_struct(I64Deserializer::new(time_us))
            }
            Head::Extension(_, length) => visitor.visit_borrowed_bytes(bytes.take(length)?),
            Head::List(elements) => visitor.visit_seq(inner(elements, bytes)?),
            Head::Map(pairs) => visitor.visit_map(inner(pairs, bytes)?),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        skip(self.bytes)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}

/// What is left of a list or a map.
struct Inner<'b, 'p> {
    bytes: &'b mut Bytes<'p>,
    depth: u32,
    left: usize,
}

impl Inner<'_, '_> {
    fn next(&mut self) -> bool {
        let more = self.left > 0;
        self.left -= usize::from(more);
        more
    }
}

impl<'p> SeqAccess<'p> for Inner<'_, 'p> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'p>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if !self.next() {
            return Ok(None);
        }
        seed.deserialize(Value { bytes: self.bytes, depth: self.depth }).map(Some)
    }
}

impl<'p> MapAccess<'p> for Inner<'_, 'p> {
    type Error = Fault;

    /// A key that is an integer is known by its digits; a pair whose key is neither that nor a text can't be named in a
    /// path and is passed over.
    fn next_key_seed<S: DeserializeSeed<'p>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        while self.next() {
            let start = self.bytes.clone();
            let digits = match Head::read(self.bytes)? {
                Head::Text(length) => {
                    let key = self.bytes.text(length)?;
                    return seed.deserialize(BorrowedStrDeserializer::<Fault>::new(key)).map(Some);
                }
                Head::Unsigned(number) => number.to_string(),
                Head::Signed(number) => number.to_string(),
                _ => {
                    *self.bytes = start;
                    skip(self.bytes)?;
                    skip(self.bytes)?;
                    continue;
                }
            };
            let key = serde::de::value::StrDeserializer::<Fault>::new(&digits);
            return seed.deserialize(key).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'p>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(Value { bytes: self.bytes, depth: self.depth })
    }
}
