//! Blank lines of a CSV file, which its reader would skip without a trace.

use std::io::{self, BufRead, BufReader, Read};

use super::Bytes;

/// What a blank line becomes: a row of one empty cell.
const EMPTY_CELL: &[u8; 2] = b"\"\"";

/// Passes bytes on and writes an empty quoted cell into each line that holds nothing, so that no row is lost.
///
/// It follows quotes as RFC 4180 has them, and so leaves blank lines within a cell alone.
pub(super) struct BlankLines {
    inner: BufReader<Bytes>,
    state: State,
    /// Bytes of [`EMPTY_CELL`] still to be written before the next byte.
    owed: usize,
}

/// Where in a row the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    RowStart,
    /// Behind a carriage return that ended a row; a line feed belongs to it.
    AfterReturn,
    CellStart,
    Plain,
    Quoted,
    /// Behind a quote within a quoted cell: the first of two, or the cell's end.
    AfterQuote,
}

impl BlankLines {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { inner: BufReader::with_capacity(64 << 10, bytes), state: State::RowStart, owed: 0 }
    }
}

impl State {
    fn begins_row(self, byte: u8) -> bool {
        self == Self::RowStart || (self == Self::AfterReturn && byte != b'\n')
    }

    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::AfterQuote,
            (Self::Quoted, _) => Self::Quoted,
            (_, b'\n') => Self::RowStart,
            (_, b'\r') => Self::AfterReturn,
            (_, b',') => Self::CellStart,
            (Self::Plain, _) => Self::Plain,
            (_, b'"') => Self::Quoted,
            (_, _) => Self::Plain,
        }
    }
}

impl Read for BlankLines {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < out.len() {
            // What was written must be told before anything can fail.
            if written > 0 && self.inner.buffer().is_empty() {
                break;
            }
            let Some(&byte) = self.inner.fill_buf()?.first() else { break };
            let blank = self.state.begins_row(byte) && matches!(byte, b'\n' | b'\r');
            if blank && self.owed == 0 {
                self.owed = EMPTY_CELL.len();
            }
            if self.owed > 0 {
                out[written] = EMPTY_CELL[EMPTY_CELL.len() - self.owed];
                self.owed -= 1;
                if self.owed == 0 {
                    // As behind any other quoted cell, so that the line end isn't taken for a blank line again.
                    self.state = State::AfterQuote;
                }
            } else {
                out[written] = byte;
                self.state = self.state.after(byte);
                self.inner.consume(1);
            }
            written += 1;
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str) -> String {
        let mut out = String::new();
        BlankLines::new(Box::new(Cursor::new(text.as_bytes().to_vec()))).read_to_string(&mut out).unwrap();
        out
    }

    #[test]
    fn blank_lines_get_an_empty_cell_whatever_ends_the_lines() {
        for (text, expected) in [
            ("a\n\n1\n", "a\n\"\"\n1\n"),
            ("a\r\n\r\n1\r\n", "a\r\n\"\"\r\n1\r\n"),
            ("a\r\r1", "a\r\"\"\r1"),
            ("\na\n\n\n", "\"\"\na\n\"\"\n\"\"\n"),
            ("a,b\n,\n", "a,b\n,\n"),
            ("\"a\n\nb\"\n", "\"a\n\nb\"\n"),
            ("\"a\"\"\n\n\"\n\n", "\"a\"\"\n\n\"\n\"\"\n"),
            ("5\" pipe\n\n1\n", "5\" pipe\n\"\"\n1\n"),
            ("", ""),
        ] {
            assert_eq!(filled(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_but_blank_lines_is_changed(text in "[a1,\"\\r\\n]{0,40}", sizes in 1usize..5) {
            let read = |bytes: Vec<u8>| {
                let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(Cursor::new(bytes));
                reader.byte_records().map(Result::unwrap).collect::<Vec<_>>()
            };
            let blank = |row: &::csv::ByteRecord| row.len() == 1 && row[0].is_empty();
            let plain: Vec<_> = read(text.clone().into_bytes()).into_iter().filter(|row| !blank(row)).collect();
            let mut source = BlankLines::new(Box::new(Cursor::new(text.clone().into_bytes())));
            let (mut out, mut buffer) = (Vec::new(), vec![0; sizes]);
            loop {
                let count = source.read(&mut buffer).unwrap();
                if count == 0 {
                    break;
                }
                out.extend_from_slice(&buffer[..count]);
            }
            let kept: Vec<_> = read(out).into_iter().filter(|row| !blank(row)).collect();
            prop_assert_eq!(kept, plain);
        }
    }
}
