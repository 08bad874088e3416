//! JSON lines: each line is a record and is passed on as it stands, without its line end. A blank line is a record
//! without content, so it ends as a dead letter and the numbering of the rows is that of the lines.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use super::{Bytes, FileError};

/// Longest line, bytes: a file without line ends must not fill the memory.
const MAX_LINE: u64 = 64 << 20;

/// The lines of one file.
pub struct JsonLines {
    path: PathBuf,
    reader: BufReader<Bytes>,
    row: u64,
}

impl JsonLines {
    /// Looks at the first bytes. Fails where there are none, or where they begin a JSON array.
    pub fn new(path: &Path, bytes: Bytes) -> Result<Self, FileError> {
        let mut reader = BufReader::with_capacity(64 << 10, bytes);
        let start = reader.fill_buf().map_err(|cause| FileError::Open { path: path.to_owned(), cause })?;
        if start.is_empty() {
            return Err(FileError::Empty { path: path.to_owned(), expected: "one JSON object a line" });
        }
        let mark = if start.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        if start[mark..].trim_ascii_start().starts_with(b"[") {
            return Err(FileError::Header {
                path: path.to_owned(),
                what: "it begins with a JSON array, expected one JSON object a line".to_owned(),
            });
        }
        reader.consume(mark);
        Ok(Self { path: path.to_owned(), reader, row: 0 })
    }

    /// Replaces `payload` by the next line; `false` at the end.
    pub fn next(&mut self, payload: &mut Vec<u8>) -> Result<bool, FileError> {
        payload.clear();
        let failed = |cause: String| FileError::Read { path: self.path.clone(), row: self.row, cause };
        let mut line = (&mut self.reader).take(MAX_LINE + 1);
        let read = line.read_until(b'\n', payload).map_err(|error| failed(error.to_string()))?;
        if read == 0 {
            return Ok(false);
        }
        if payload.last() == Some(&b'\n') {
            payload.pop();
        } else if payload.len() as u64 > MAX_LINE {
            return Err(failed(format!("the line is longer than {MAX_LINE} bytes, expected one JSON object a line")));
        }
        if payload.last() == Some(&b'\r') {
            payload.pop();
        }
        self.row += 1;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor};

    use super::*;

    fn open(bytes: Bytes) -> Result<JsonLines, FileError> {
        JsonLines::new(Path::new("x.jsonl"), bytes)
    }

    fn lines(text: &[u8]) -> Vec<Vec<u8>> {
        let (mut rows, mut payload, mut all) =
            (open(Box::new(Cursor::new(text.to_vec()))).unwrap(), Vec::new(), Vec::new());
        while rows.next(&mut payload).unwrap() {
            all.push(payload.clone());
        }
        all
    }

    #[test]
    fn lines_are_passed_on_untouched_and_blank_or_broken_ones_keep_their_place() {
        let found = lines(b"{\"a\": 1.0e2}\n\n{broken\n\xFF\xFE\r\n {\"b\":[1]} ");
        assert_eq!(found, [&b"{\"a\": 1.0e2}"[..], b"", b"{broken", b"\xFF\xFE", b" {\"b\":[1]} "]);
    }

    #[test]
    fn a_line_end_at_the_end_makes_no_row() {
        assert_eq!(lines(b"{}\n").len(), 1);
        assert_eq!(lines(b"{}").len(), 1);
    }

    #[test]
    fn a_byte_order_mark_is_dropped() {
        assert_eq!(lines(b"\xEF\xBB\xBF{}\n"), [b"{}"]);
    }

    #[test]
    fn an_empty_file_and_an_array_are_refused() {
        let error = |text: &'static [u8]| open(Box::new(text)).err().unwrap().to_string();
        assert_eq!(error(b""), "x.jsonl is empty, expected one JSON object a line");
        let array = "x.jsonl has no usable header: it begins with a JSON array, expected one JSON object a line";
        assert_eq!(error(b" \n[{}]"), array);
    }

    #[test]
    fn a_line_without_end_is_an_error_and_does_not_fill_the_memory() {
        let mut rows = open(Box::new(io::repeat(b'x'))).unwrap();
        let mut payload = Vec::new();
        let error = rows.next(&mut payload).unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot read x.jsonl at row 0 (rows are counted from 0): the line is longer than 67108864 bytes, expected \
             one JSON object a line"
        );
    }
}
