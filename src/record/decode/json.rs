//! Payloads of JSON, and the definition of what is right: `serde_json` writing straight into the slots.

mod grid;

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    Decoder,
    fields::{Cursor, Fields, Number, Value},
    scan::scan,
};
use crate::record::{DecodedRecord, RecordError};

impl Decoder {
    /// Reads a payload that is JSON.
    pub(super) fn read_json(&mut self, text: &str, out: &mut DecodedRecord) -> Result<(), RecordError> {
        if scan(text, &mut Fields::begin(&self.schema, &mut self.scratch, out)).is_some() {
            return Ok(());
        }
        self.read_by_serde(text, out)
    }

    fn read_by_serde(&mut self, text: &str, out: &mut DecodedRecord) -> Result<(), RecordError> {
        let Err(fault) = parse(text, Fields::begin(&self.schema, &mut self.scratch, out)) else { return Ok(()) };
        // An empty object is as unusable as NaN, and with spaces it is as long, so byte offsets stay right.
        let empty_object = |masked: &mut String, length: usize| {
            masked.push('{');
            masked.extend(std::iter::repeat_n(' ', length - 2));
            masked.push('}');
        };
        match mask_not_a_number(text, empty_object) {
            Some(masked) => parse(&masked, Fields::begin(&self.schema, &mut self.scratch, out)),
            None => Err(fault),
        }
    }
}

/// The payload as text; JSON is UTF-8 (RFC 8259, section 8.1).
pub(crate) fn utf8(payload: &[u8]) -> Result<&str, RecordError> {
    std::str::from_utf8(payload).map_err(|cause| {
        let at = cause.valid_up_to();
        RecordError::Undecodable { at, what: format!("byte 0x{:02x} is not UTF-8", payload[at]) }
    })
}

/// Reads the whole text by `serde_json`.
fn parse(text: &str, mut fields: Fields<'_>) -> Result<(), RecordError> {
    let start = text.trim_start_matches([' ', '\t', '\n', '\r']);
    if !start.starts_with('{') {
        let what = format!("found {}, expected an object", found(start));
        return Err(RecordError::Undecodable { at: text.len() - start.len(), what });
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    ValueSeed { fields: &mut fields, node: 0 }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|cause| syntax_fault(text, &cause))
}

/// Says for people what `rest` begins with.
fn found(rest: &str) -> String {
    match rest.chars().next() {
        None => "the end".to_owned(),
        Some('[') => "an array".to_owned(),
        Some('"') => "a text".to_owned(),
        Some('-' | '0'..='9') => "a number".to_owned(),
        Some('{') => "an object".to_owned(),
        Some(other) => format!("`{}`", other.escape_debug()),
    }
}

/// The fault of `text` that `serde_json` found, with its byte offset instead of line and column.
pub(crate) fn syntax_fault(text: &str, cause: &serde_json::Error) -> RecordError {
    let message = cause.to_string();
    let words = message.rsplit_once(" at line ").map_or(&*message, |(words, _)| words);
    if cause.is_eof() {
        return RecordError::Undecodable { at: text.len(), what: format!("the record is cut off ({words})") };
    }
    let lines_before = text.split_inclusive('\n').take(cause.line().saturating_sub(1));
    let at = lines_before.map(str::len).sum::<usize>() + cause.column().saturating_sub(1);
    let rest = text.get(at..).unwrap_or_default();
    RecordError::Undecodable { at: at.min(text.len()), what: format!("{words}, found {}", found(rest)) }
}

/// The text with `put(text so far, length)` in place of each `NaN`, `Infinity`, `-Infinity` and number too large for a
/// double, all of at least three characters; `None` if there is none. It only looks outside of strings, where such
/// letters can't stand in JSON and such numbers are of no use.
pub(crate) fn mask_not_a_number(text: &str, mut put: impl FnMut(&mut String, usize)) -> Option<String> {
    let mut masked = String::new();
    let (mut copied, mut at, mut in_string) = (0, 0, false);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'N' | b'I' | b'0'..=b'9' if !in_string => {
                let (length, finite) = token_at(&text[at..]);
                if !finite {
                    masked.push_str(&text[copied..at]);
                    put(&mut masked, length);
                    copied = at + length;
                }
                at += length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return None;
    }
    masked.push_str(&text[copied..]);
    Some(masked)
}

/// Length of the number or word at the start of `rest`, and whether it may stay: it is neither a word for what is no
/// number nor a number too large for a double.
fn token_at(rest: &str) -> (usize, bool) {
    if let Some(word) = ["NaN", "Infinity", "-Infinity"].iter().find(|word| rest.starts_with(**word)) {
        return (word.len(), false);
    }
    let in_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let length = rest.bytes().take_while(|byte| in_number(byte)).count();
    let number = &rest[..length];
    // Below 1e308 without an exponent: nearly all numbers are told by their length.
    let finite = (length <= 308 && !number.contains(['e', 'E']))
        || number.parse::<f64>().is_ok_and(f64::is_finite)
        // What is no number at all stays, to be told by its place.
        || serde_json::from_str::<IgnoredAny>(number).is_err();
    (length.max(1), finite)
}

/// A value that somebody wants.
struct ValueSeed<'f, 'a> {
    fields: &'f mut Fields<'a>,
    node: u32,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.fields.write(self.node, Value::Null);
        Ok(())
    }

    fn visit_bool<E>(self, is: bool) -> Result<(), E> {
        self.fields.write(self.node, Value::Boolean(is));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.fields.write(self.node, Value::Number(Number::Unsigned(number)));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.fields.write(self.node, Value::Number(Number::Signed(number)));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.fields.write(self.node, Value::Number(Number::Float(number)));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.fields.write(self.node, Value::Text(text));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.fields.enter(self.node);
        let mut cursor = self.fields.cursor(self.node);
        loop {
            let key = KeySeed { fields: &mut *self.fields, node: self.node, cursor: &mut cursor };
            match map.next_key_seed(key)? {
                Some(Some(node)) => map.next_value_seed(ValueSeed { fields: &mut *self.fields, node })?,
                Some(None) => {
                    map.next_value::<IgnoredAny>()?;
                }
                None => return Ok(()),
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        if let Some(grid) = self.fields.grid(self.node) {
            return grid::rows(self.fields, self.node, grid, elements);
        }
        self.fields.enter(self.node);
        let schema = self.fields.schema;
        let mut wanted = schema.node(self.node).elements.iter().peekable();
        for index in 0.. {
            let more = match wanted.next_if(|(element, _)| *element == index) {
                Some(&(_, node)) => {
                    elements.next_element_seed(ValueSeed { fields: &mut *self.fields, node })?.is_some()
                }
                None => elements.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }
}

/// A key of a wanted object, to the node of its value.
struct KeySeed<'f, 'a> {
    fields: &'f mut Fields<'a>,
    node: u32,
    cursor: &'f mut Cursor,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_, '_> {
    type Value = Option<u32>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u32>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_, '_> {
    type Value = Option<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<u32>, E> {
        Ok(self.fields.child(self.node, self.cursor, key))
    }
}

#[cfg(test)]
mod tests;
