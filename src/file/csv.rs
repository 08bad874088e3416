//! CSV rows as JSON records: comma-separated, a header row, quoting as in RFC 4180.
//!
//! A cell becomes
//! - a JSON number where it is a decimal number. The digits stay as they are (no rounding), only the form is brought to
//!   JSON's: `+3` is `3`, `.5` is `0.5`, `5.` is `5`, `007` is `7`. A number beyond the range of a double stays text;
//! - `null` where it is empty or blank: the field is missing;
//! - the string `"NaN"`, `"inf"` or `"-inf"` where it spells one in any case: the field is there but unusable;
//! - `true` or `false` in any case;
//! - else a JSON string, spaces kept. Quotes don't matter: `"1"` is the number 1.
//!
//! In columns of names ([`CsvRows::keep_text`]) a number stays the text that it is, without blanks around it: `007` and
//! `7` are two entities.
//!
//! A blank line is a row like any other: with one column its value is missing; with several it ends as a dead letter,
//! for it has too few cells. Only at the end of a file of several columns are blank lines no rows, and before the header.

use std::{io, path::Path, path::PathBuf};

use super::{Bytes, FileError, blank_lines::BlankLines, write_non_finite, write_string};

/// Longest plain integer part or fraction that can't leave the range of a double.
const SAFE_DIGITS: usize = 300;

/// The rows of one CSV file.
pub struct CsvRows {
    path: PathBuf,
    reader: ::csv::Reader<BlankLines>,
    names: Vec<String>,
    /// Per column `"name":` in JSON; `None` where the column is left out.
    keys: Vec<Option<Vec<u8>>>,
    /// Per column: whether it holds names, so that numbers stay text.
    texts: Vec<bool>,
    record: ::csv::ByteRecord,
    row: u64,
    /// Blank lines before `record` that are still to be given.
    blanks: u64,
    /// Whether `record` is still to be given.
    held: bool,
}

impl CsvRows {
    /// Reads the header row. Fails where the file is empty or the header is not usable: unnamed or repeated columns,
    /// not UTF-8, or a first row that holds data.
    pub fn new(path: &Path, bytes: Bytes) -> Result<Self, FileError> {
        let mut reader =
            ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(BlankLines::new(bytes));
        let mut record = ::csv::ByteRecord::new();
        while is_blank(&record) {
            let read = reader.read_byte_record(&mut record);
            if !read.map_err(|error| FileError::Open { path: path.to_owned(), cause: io::Error::other(error) })? {
                return Err(FileError::Empty { path: path.to_owned(), expected: "a header row with column names" });
            }
        }
        let names = header(&record).map_err(|what| FileError::Header { path: path.to_owned(), what })?;
        let keys = names.iter().map(|name| Some(key(name))).collect();
        let texts = vec![false; names.len()];
        Ok(Self { path: path.to_owned(), reader, names, keys, texts, record, row: 0, blanks: 0, held: false })
    }

    /// Column names in order, without blanks around them.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Leaves these columns out of the records. Their cells can still be read with [`CsvRows::cell`].
    pub fn leave_out(&mut self, names: &[&str]) {
        for (name, key) in self.names.iter().zip(&mut self.keys) {
            if names.contains(&name.as_str()) {
                *key = None;
            }
        }
    }

    /// Says that these columns hold names of entities or categories: numbers in them stay text.
    pub fn keep_text(&mut self, names: &[&str]) {
        for (name, text) in self.names.iter().zip(&mut self.texts) {
            *text |= names.contains(&name.as_str());
        }
    }

    /// A cell of the row that [`CsvRows::next`] gave last, as it stands in the file.
    pub fn cell(&self, name: &str) -> Option<&[u8]> {
        if self.held {
            return None; // the row given last was a blank line
        }
        self.record.get(self.names.iter().position(|known| known == name)?)
    }

    /// Replaces `payload` by the next row; `false` at the end. A row that doesn't fit the header or is not UTF-8 gives
    /// a text that is no JSON and says what is wrong with it.
    pub fn next(&mut self, payload: &mut Vec<u8>) -> Result<bool, FileError> {
        payload.clear();
        if !self.held && !self.advance()? {
            return Ok(false);
        }
        self.row += 1;
        self.held = self.blanks > 0;
        if self.held {
            let line = self.line() - self.blanks;
            self.blanks -= 1;
            payload
                .extend_from_slice(format!("line {line} is blank, but the header has {}", self.names.len()).as_bytes());
            return Ok(true);
        }
        self.write_row(payload);
        Ok(true)
    }

    /// Reads the next row and counts the blank lines before it; `false` at the end, where they are no rows.
    fn advance(&mut self) -> Result<bool, FileError> {
        loop {
            let more = self.reader.read_byte_record(&mut self.record).map_err(|error| FileError::Read {
                path: self.path.clone(),
                row: self.row + self.blanks,
                cause: error.to_string(),
            })?;
            if more && self.names.len() > 1 && is_blank(&self.record) {
                self.blanks += 1;
                continue;
            }
            return Ok(more);
        }
    }

    fn line(&self) -> u64 {
        self.record.position().map_or(0, ::csv::Position::line)
    }

    fn write_row(&self, payload: &mut Vec<u8>) {
        if self.record.len() != self.names.len() {
            let what = format!("{} cells, but the header has {}", self.record.len(), self.names.len());
            return self.write_unreadable(&what, payload);
        }
        payload.push(b'{');
        for ((key, text), cell) in self.keys.iter().zip(&self.texts).zip(&self.record) {
            let Some(key) = key else { continue };
            if payload.len() > 1 {
                payload.push(b',');
            }
            payload.extend_from_slice(key);
            let written = if *text { write_text(cell, payload) } else { write_cell(cell, payload) };
            if written.is_err() {
                let what = format!("bytes that are not UTF-8 in the column {}", String::from_utf8_lossy(key));
                return self.write_unreadable(what.trim_end_matches(':'), payload);
            }
        }
        payload.push(b'}');
    }

    /// Starts with a letter that no JSON text starts with.
    fn write_unreadable(&self, what: &str, payload: &mut Vec<u8>) {
        payload.clear();
        payload.extend_from_slice(format!("line {} has {what}: ", self.line()).as_bytes());
        for (index, cell) in self.record.iter().enumerate() {
            if index > 0 {
                payload.push(b',');
            }
            payload.extend_from_slice(cell);
        }
    }
}

/// Nothing, or a single cell without content: a blank line as [`BlankLines`] passes it on.
fn is_blank(record: &::csv::ByteRecord) -> bool {
    record.len() < 2 && record.iter().all(|cell| cell.trim_ascii().is_empty())
}

/// The column names, or what is wrong with them.
fn header(record: &::csv::ByteRecord) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::with_capacity(record.len());
    for (index, cell) in record.iter().enumerate() {
        let name = std::str::from_utf8(cell)
            .map_err(|_| format!("column {} is not UTF-8; save the file as UTF-8", index + 1))?
            .trim();
        if name.is_empty() {
            return Err(format!("column {} has no name; name it or leave it out", index + 1));
        }
        if let Some(first) = names.iter().position(|known| known == name) {
            return Err(format!("`{name}` names both column {} and {}; names must differ", first + 1, index + 1));
        }
        names.push(name.to_owned());
    }
    if let [single] = names.as_slice()
        && single.contains([';', '\t'])
    {
        return Err(format!("`{single}` is one column; columns must be separated by commas"));
    }
    if let Some(cell) = data_in_header(&names) {
        return Err(format!("the first row holds data (`{cell}`), expected column names"));
    }
    Ok(names)
}

/// A cell that shows that the first row is data: a moment in time, or nothing but numbers. Counted-up integers are
/// names: data frames without names are written that way.
fn data_in_header(names: &[String]) -> Option<&str> {
    // Civil times are refused where they end in `Z`, points in time where they have no zone.
    let moment = |name: &&String| {
        name.len() >= "2024-01-01".len()
            && (name.parse::<jiff::civil::Date>().is_ok() || name.parse::<jiff::Timestamp>().is_ok())
    };
    if let Some(name) = names.iter().find(moment) {
        return Some(name);
    }
    let numbers: Vec<f64> = names.iter().map_while(|name| name.parse().ok()).collect();
    let counted = numbers.len() > 1 && numbers.windows(2).all(|pair| pair[1] - pair[0] == 1.0);
    if numbers.len() == names.len() && !counted { names.first().map(String::as_str) } else { None }
}

fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 3);
    write_string(name, &mut key);
    key.push(b':');
    key
}

/// Writes one cell as a JSON value; fails where it is not UTF-8.
fn write_cell(cell: &[u8], out: &mut Vec<u8>) -> Result<(), std::str::Utf8Error> {
    let trimmed = cell.trim_ascii();
    if trimmed.is_empty() {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    if write_number(trimmed, out) {
        return Ok(());
    }
    if trimmed.eq_ignore_ascii_case(b"true") || trimmed.eq_ignore_ascii_case(b"false") {
        out.extend(trimmed.iter().map(u8::to_ascii_lowercase));
        return Ok(());
    }
    let text = std::str::from_utf8(cell)?;
    // Past `write_number`, what still parses as a float spells NaN or infinity, or lies beyond the range of a double.
    match text.trim().parse::<f64>() {
        Ok(value) if !value.is_finite() && !trimmed.iter().any(u8::is_ascii_digit) => write_non_finite(value, out),
        _ => write_string(text, out),
    }
    Ok(())
}

/// Writes one cell of a column of names, where only truth values and missing ones are no text.
fn write_text(cell: &[u8], out: &mut Vec<u8>) -> Result<(), std::str::Utf8Error> {
    let trimmed = cell.trim_ascii();
    if trimmed.is_empty() || trimmed.eq_ignore_ascii_case(b"true") || trimmed.eq_ignore_ascii_case(b"false") {
        return write_cell(cell, out);
    }
    write_string(std::str::from_utf8(trimmed)?, out);
    Ok(())
}

/// Writes `text` as a JSON number with the same digits; `false` (and nothing written) where it is no finite number.
fn write_number(text: &[u8], out: &mut Vec<u8>) -> bool {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (integer, rest) = digits(rest);
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => digits(rest),
        rest => (&[][..], rest),
    };
    if integer.is_empty() && fraction.is_empty() {
        return false;
    }
    let exponent = match rest {
        [] => None,
        [b'e' | b'E', rest @ ..] => Some(rest),
        _ => return false,
    };
    if exponent.is_some_and(|exponent| !is_exponent(exponent)) {
        return false;
    }
    if (exponent.is_some() || integer.len() > SAFE_DIGITS) && !is_finite(text) {
        return false;
    }
    if negative {
        out.push(b'-');
    }
    let leading_zeros = integer.iter().take_while(|digit| **digit == b'0').count();
    match &integer[leading_zeros..] {
        [] => out.push(b'0'),
        significant => out.extend_from_slice(significant),
    }
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
    if let Some(exponent) = exponent {
        out.push(b'e');
        out.extend_from_slice(exponent);
    }
    true
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

fn is_exponent(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    !unsigned.is_empty() && unsigned.iter().all(u8::is_ascii_digit)
}

fn is_finite(text: &[u8]) -> bool {
    std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok()).is_some_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn open(text: &[u8]) -> Result<CsvRows, FileError> {
        CsvRows::new(Path::new("x.csv"), Box::new(Cursor::new(text.to_vec())))
    }

    fn rows(text: &[u8]) -> Vec<String> {
        let (mut rows, mut payload, mut all) = (open(text).unwrap(), Vec::new(), Vec::new());
        while rows.next(&mut payload).unwrap() {
            all.push(String::from_utf8_lossy(&payload).into_owned());
        }
        all
    }

    fn cell(text: &str) -> String {
        let mut out = Vec::new();
        write_cell(text.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn refused(text: &[u8]) -> String {
        open(text).err().unwrap().to_string()
    }

    #[test]
    fn a_cell_becomes_the_json_value_that_it_means() {
        for (text, json) in [
            ("1", "1"),
            ("-0", "-0"),
            ("+3", "3"),
            ("007", "7"),
            ("000", "0"),
            ("-00.50", "-0.50"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e5", "1e5"),
            ("1E+05", "1e+05"),
            (" 2.5 ", "2.5"),
            ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("", "null"),
            ("  ", "null"),
            ("nan", "\"NaN\""),
            ("NaN", "\"NaN\""),
            ("-NAN", "\"NaN\""),
            ("inf", "\"inf\""),
            ("+Infinity", "\"inf\""),
            ("-inf", "\"-inf\""),
            ("1e999", "\"1e999\""),
            ("true", "true"),
            ("False", "false"),
            (" yes ", "\" yes \""),
            ("1,000", "\"1,000\""),
            ("1_000", "\"1_000\""),
            ("0x10", "\"0x10\""),
            ("1e", "\"1e\""),
            ("--1", "\"--1\""),
            (".", "\".\""),
            ("-", "\"-\""),
            ("e5", "\"e5\""),
            ("2024-01-01T00:00:00Z", "\"2024-01-01T00:00:00Z\""),
            ("say \"hi\"\n", "\"say \\\"hi\\\"\\n\""),
        ] {
            assert_eq!(cell(text), json, "cell {text:?}");
        }
    }

    #[test]
    fn an_integer_too_long_for_a_double_stays_text() {
        let long = "9".repeat(400);
        assert_eq!(cell(&long), format!("\"{long}\""));
        let zeros = format!("{}1", "0".repeat(400));
        assert_eq!(cell(&zeros), "1");
    }

    #[test]
    fn quoted_cells_may_hold_commas_quotes_and_line_breaks() {
        let text = b"\"a,1\",b\n\"x \"\"y\"\"\",\"two\nlines\"\n\"4\",5\n";
        assert_eq!(rows(text), [r#"{"a,1":"x \"y\"","b":"two\nlines"}"#, r#"{"a,1":4,"b":5}"#]);
    }

    #[test]
    fn a_byte_order_mark_windows_line_ends_and_blanks_in_the_header_do_no_harm() {
        assert_eq!(rows(b"\xEF\xBB\xBFa, b\r\n1, 2\r\n"), [r#"{"a":1,"b":2}"#]);
    }

    #[test]
    fn a_ragged_row_becomes_text_that_is_no_json_and_the_rows_after_it_keep_their_numbers() {
        let found = rows(b"a,b\n1,2\n3\n4,5,6\n7,8\n");
        assert_eq!(
            found,
            [
                r#"{"a":1,"b":2}"#,
                "line 3 has 1 cells, but the header has 2: 3",
                "line 4 has 3 cells, but the header has 2: 4,5,6",
                r#"{"a":7,"b":8}"#
            ]
        );
        assert!(serde_json::from_str::<serde_json::Value>(&found[1]).is_err());
    }

    #[test]
    fn a_row_that_is_not_utf8_becomes_text_that_names_the_column() {
        let found = rows(b"a,b\n1,caf\xE9\n2,ok\n");
        assert!(found[0].starts_with("line 2 has bytes that are not UTF-8 in the column \"b\": 1,caf"), "{}", found[0]);
        assert_eq!(found[1], r#"{"a":2,"b":"ok"}"#);
    }

    #[test]
    fn columns_left_out_are_not_in_the_record_but_can_be_read() {
        let mut rows = open(b"label,a,b\n1,2,3\n").unwrap();
        rows.leave_out(&["label", "b"]);
        let mut payload = Vec::new();
        assert!(rows.next(&mut payload).unwrap());
        assert_eq!(payload, br#"{"a":2}"#);
        assert_eq!((rows.cell("label"), rows.cell("none")), (Some(&b"1"[..]), None));
    }

    #[test]
    fn numbers_in_a_column_of_names_stay_the_text_that_they_are() {
        let mut rows = open(b"id,kind,a\n007,01,007\n 1e2 ,nan,1e2\n7,True,\n,,2\n").unwrap();
        rows.keep_text(&["id", "kind", "none"]);
        let (mut payload, mut found) = (Vec::new(), Vec::new());
        while rows.next(&mut payload).unwrap() {
            found.push(String::from_utf8(payload.clone()).unwrap());
        }
        assert_eq!(
            found,
            [
                r#"{"id":"007","kind":"01","a":7}"#,
                r#"{"id":"1e2","kind":"nan","a":1e2}"#,
                r#"{"id":"7","kind":true,"a":null}"#,
                r#"{"id":null,"kind":null,"a":2}"#,
            ]
        );
    }

    #[test]
    fn a_blank_line_is_a_row_so_that_later_ones_keep_their_numbers() {
        assert_eq!(rows(b"\n\nx\n1\n\n2\n\n"), [r#"{"x":1}"#, r#"{"x":null}"#, r#"{"x":2}"#, r#"{"x":null}"#]);
        assert_eq!(
            rows(b"a,b\n1,2\n\n  \n3,4\n\n\n"),
            [
                r#"{"a":1,"b":2}"#,
                "line 3 is blank, but the header has 2",
                "line 4 is blank, but the header has 2",
                r#"{"a":3,"b":4}"#
            ]
        );
        assert_eq!(rows(b"a,b\n\n"), Vec::<String>::new());
    }

    #[test]
    fn an_unusable_header_is_refused_with_what_would_be_right() {
        assert_eq!(refused(b""), "x.csv is empty, expected a header row with column names");
        for (text, what) in [
            (&b"a,b,a\n1,2,3\n"[..], "`a` names both column 1 and 3; names must differ"),
            (b"a,,c\n", "column 2 has no name; name it or leave it out"),
            (b"a,caf\xE9\n", "column 2 is not UTF-8; save the file as UTF-8"),
            (b"a;b\n1;2\n", "`a;b` is one column; columns must be separated by commas"),
            (b"0.5,0.25\n1,2\n", "the first row holds data (`0.5`), expected column names"),
            (b"7\n8\n", "the first row holds data (`7`), expected column names"),
            (b"a,2024-01-01T00:00:00Z\n", "the first row holds data (`2024-01-01T00:00:00Z`), expected column names"),
            (b"2024-01-01 00:00:00,a\n", "the first row holds data (`2024-01-01 00:00:00`), expected column names"),
        ] {
            assert_eq!(refused(text), format!("x.csv has no usable header: {what}"));
        }
    }

    #[test]
    fn counted_up_column_names_and_numbers_among_words_are_a_header() {
        assert_eq!(open(b"0,1,2\n5,6,7\n").unwrap().names(), ["0", "1", "2"]);
        assert_eq!(open(b"timestamp,0.5,0.99\n").unwrap().names(), ["timestamp", "0.5", "0.99"]);
    }

    proptest! {
        #[test]
        fn every_finite_number_survives_to_the_bit(bits in any::<u64>(), form in 0..3) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = match form { 0 => format!("{value}"), 1 => format!("{value:e}"), _ => format!("{value:?}") };
            let json = cell(&text);
            let read: f64 = json.parse().unwrap();
            prop_assert_eq!(read.to_bits(), value.to_bits(), "{} as {}", text, json);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&json).unwrap().is_number());
        }

        #[test]
        fn any_row_of_the_right_length_becomes_a_json_object(cells in proptest::collection::vec(".*", 3)) {
            let mut writer = ::csv::Writer::from_writer(Vec::new());
            writer.write_record(["a", "b", "c"]).unwrap();
            writer.write_record(&cells).unwrap();
            let found = rows(&writer.into_inner().unwrap());
            prop_assert_eq!(found.len(), 1);
            let object: serde_json::Value = serde_json::from_str(&found[0]).unwrap();
            prop_assert_eq!(object.as_object().unwrap().len(), 3);
        }
    }
}
