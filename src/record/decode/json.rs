//! Payloads of JSON, and the definition of what is right: `serde_json` writing straight into the slots.

use serde::de::{DeserializeSeed, IgnoredAny};

use super::{Decoder, fields::Fields, scan::scan, walk::ValueSeed};
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

/// The JSON of a payload and how many bytes stand before it: a serializer of a schema registry puts a zero, which never
/// begins JSON, and four bytes that name its schema.
pub(crate) fn json_of(payload: &[u8]) -> (usize, &[u8]) {
    match payload {
        [0, _, _, _, _, json @ ..] => (payload.len() - json.len(), json),
        json => (0, json),
    }
}

/// The payload as text; JSON is UTF-8 (RFC 8259, section 8.1).
pub(crate) fn utf8(payload: &[u8]) -> Result<&str, RecordError> {
    std::str::from_utf8(payload).map_err(|cause| {
        let at = cause.valid_up_to();
        undecodable(at, format!("byte 0x{:02x} is not UTF-8", payload[at]))
    })
}

fn undecodable(at: usize, what: String) -> RecordError {
    RecordError::Undecodable { format: "JSON", at, what }
}

/// Reads the whole text by `serde_json`.
fn parse(text: &str, mut fields: Fields<'_>) -> Result<(), RecordError> {
    let start = text.trim_start_matches([' ', '\t', '\n', '\r']);
    if !start.starts_with('{') {
        let what = format!("found {}, expected an object", found(start));
        return Err(undecodable(text.len() - start.len(), what));
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
        return undecodable(text.len(), format!("the record is cut off ({words})"));
    }
    let lines_before = text.split_inclusive('\n').take(cause.line().saturating_sub(1));
    let at = lines_before.map(str::len).sum::<usize>() + cause.column().saturating_sub(1);
    let rest = text.get(at..).unwrap_or_default();
    undecodable(at.min(text.len()), format!("{words}, found {}", found(rest)))
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

#[cfg(test)]
mod tests;
