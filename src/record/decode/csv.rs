//! Lines of CSV without a header: each payload is one row, whose columns the settings name.
//!
//! A cell is what it is in a CSV file (see [`crate::file::csv`]): missing where it is empty or blank, else a decimal number,
//! `true` or `false` in any case, of no use where it spells NaN or infinity, else a text. In columns of names numbers stay
//! text.

use std::sync::Arc;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use serde::{
    Deserializer,
    de::{DeserializeSeed, MapAccess, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};

use super::bytes::Fault;
use crate::{
    config::settings::{EntityFrom, RecordSettings},
    record::{
        features::{FeatureKind, FeatureSetting},
        path::FieldPath,
    },
};

/// What a line of CSV holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvFormat {
    /// What the cells are called, from left to right; no two alike.
    pub columns: Arc<[Box<str>]>,
    /// What stands between two cells.
    pub separator: u8,
}

/// Reads lines, and keeps its buffers from one to the next.
#[derive(Debug)]
pub(crate) struct Lines {
    columns: Arc<[Box<str>]>,
    /// Per column: whether it holds names, so that numbers stay text.
    texts: Vec<bool>,
    parser: Reader,
    /// The cells without quotes, one behind the other.
    cells: Vec<u8>,
    /// Where each cell ends.
    ends: Vec<usize>,
}

impl Lines {
    /// Numbers stay text in the columns of `names`.
    pub(super) fn new(format: &CsvFormat, names: &[FieldPath]) -> Self {
        let is_name = |column: &str| names.iter().any(|name| name.name() == Some(column));
        Self {
            columns: Arc::clone(&format.columns),
            texts: format.columns.iter().map(|column| is_name(column)).collect(),
            parser: ReaderBuilder::new().delimiter(format.separator).build(),
            cells: Vec::new(),
            ends: vec![0; format.columns.len() + 1],
        }
    }

    /// Reads a payload as a map from columns to cells.
    pub(super) fn read<'p, S: DeserializeSeed<'p>>(&mut self, payload: &'p [u8], seed: S) -> Result<S::Value, Fault> {
        self.split(payload)?;
        seed.deserialize(Row { lines: self, column: 0 })
    }

    /// Finds the cells of the one row that the payload holds.
    fn split(&mut self, payload: &[u8]) -> Result<(), Fault> {
        self.parser.reset();
        // What is written is never longer than what is read.
        self.cells.resize(self.cells.len().max(payload.len() + 1), 0);
        let (mut read, mut written, mut found) = (0, 0, 0);
        loop {
            let (result, took, gave, ended) =
                self.parser.read_record(&payload[read..], &mut self.cells[written..], &mut self.ends[found..]);
            (read, written, found) = (read + took, written + gave, found + ended);
            match result {
                // The next call, without input, ends the row.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record => break,
                ReadRecordResult::End => {
                    return Err(Fault::at(0, format!("the line is empty, expected {}", self.wanted())));
                }
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    return Err(Fault::at(read, format!("more than {}", self.wanted())));
                }
            }
        }
        let rest = &payload[read..];
        if rest.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
            return Err(Fault::at(read, "a second line follows, expected one line a record"));
        }
        match found {
            found if found == self.columns.len() => Ok(()),
            found if found > self.columns.len() => Err(Fault::at(read, format!("more than {}", self.wanted()))),
            found => Err(Fault::at(read, format!("the line has {found} cells, expected {}", self.wanted()))),
        }
    }

    fn wanted(&self) -> String {
        format!("{} cells as in record.format.csv.columns", self.columns.len())
    }

    fn cell(&self, column: usize) -> &[u8] {
        let start = column.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.cells[start..self.ends[column]]
    }
}

/// A row whose cells are given from left to right.
struct Row<'l> {
    lines: &'l Lines,
    column: usize,
}

impl<'de> Deserializer<'de> for Row<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Row<'_> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some(name) = self.lines.columns.get(self.column) else { return Ok(None) };
        self.column += 1;
        seed.deserialize(StrDeserializer::<Fault>::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let column = self.column - 1;
        seed.deserialize(Cell {
            name: &self.lines.columns[column],
            bytes: self.lines.cell(column),
            is_text: self.lines.texts[column],
        })
    }
}

struct Cell<'l> {
    name: &'l str,
    bytes: &'l [u8],
    is_text: bool,
}

impl<'de> Deserializer<'de> for Cell<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let trimmed = self.bytes.trim_ascii();
        if trimmed.is_empty() {
            return visitor.visit_unit();
        }
        let boolean = [(&b"true"[..], true), (b"false", false)];
        if let Some((_, is)) = boolean.into_iter().find(|(word, _)| trimmed.eq_ignore_ascii_case(word)) {
            return visitor.visit_bool(is);
        }
        let not_text = |_| Fault::new(format!("bytes that are not UTF-8 in the column `{}`", self.name));
        if self.is_text {
            return visitor.visit_str(std::str::from_utf8(trimmed).map_err(not_text)?);
        }
        let text = std::str::from_utf8(self.bytes).map_err(not_text)?;
        match number(text.trim_ascii()) {
            Some(CellNumber::Unsigned(number)) => visitor.visit_u64(number),
            Some(CellNumber::Signed(number)) => visitor.visit_i64(number),
            Some(CellNumber::Float(number)) => visitor.visit_f64(number),
            None => visitor.visit_str(not_finite(text).unwrap_or(text)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}

/// A number as it is written in a cell.
enum CellNumber {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

/// The one text for what spells NaN or infinity, which is of no use as a number.
fn not_finite(text: &str) -> Option<&'static str> {
    let spelled = text.trim().parse::<f64>().ok().filter(|value| !value.is_finite())?;
    let word = if spelled.is_nan() {
        "NaN"
    } else if spelled > 0.0 {
        "inf"
    } else {
        "-inf"
    };
    // With digits it is a number beyond the range of a double, and stays as it is.
    (!text.bytes().any(|byte| byte.is_ascii_digit())).then_some(word)
}

/// The number of a text; `None` where it is none, or one beyond the range of a double.
fn number(text: &str) -> Option<CellNumber> {
    if !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
        return None;
    }
    // Minus zero is a double.
    match (text.parse::<u64>(), text.parse::<i64>()) {
        (Ok(number), _) => return Some(CellNumber::Unsigned(number)),
        (_, Ok(number)) if number < 0 => return Some(CellNumber::Signed(number)),
        _ => {}
    }
    fast_float2::parse(text).ok().filter(|number: &f64| number.is_finite()).map(CellNumber::Float)
}

/// Where names stand, of entities and of categories, unless the field is a number for something else too.
pub fn names_in(features: &[FeatureSetting], record: &RecordSettings) -> Vec<FieldPath> {
    let is_name = |feature: &&FeatureSetting| matches!(feature.kind, FeatureKind::Categorical { .. });
    let mut names: Vec<FieldPath> = features.iter().filter(is_name).map(|feature| feature.path.clone()).collect();
    if let EntityFrom::Field(path) = &record.entity {
        names.push(path.clone());
    }
    let others = features.iter().filter(|feature| !is_name(feature)).map(|feature| &feature.path);
    let numbers: Vec<&FieldPath> = others.chain(record.timestamp.iter().map(|field| &field.path)).collect();
    names.retain(|name| !numbers.contains(&name));
    names
}
