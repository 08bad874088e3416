//! Files as a source, and scores as a file. Every row of a file becomes the JSON record that production would have read
//! from Kafka, so that training, scoring and backtests on files go the very same way as live records.
//!
//! | extension | read as |
//! |---|---|
//! | `.csv`, `.csv.gz` | a header row, then one record per row: see [`csv`] |
//! | `.jsonl`, `.ndjson`, `.json`, each also with `.gz` | one JSON object a line, untouched: see [`json_lines`] |
//! | `.parquet` | one record per row, nested columns as JSON objects: see [`parquet`] |
//!
//! A row that can't be read as a row (another number of cells than the header, bytes that are not UTF-8) is not an
//! error of the file: it is passed on as text that no decoder takes for JSON, so it ends as a dead letter like any
//! other undecodable record, and the numbering of the rows stays whole. [`FileError`] is for files that can't be read
//! at all.

mod blank_lines;
pub mod csv;
pub mod json_lines;
pub mod labels;
pub mod layout;
pub mod parquet;
pub(crate) mod partial;
pub mod plot;
pub mod scores;
pub mod source;

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use self::{csv::CsvRows, json_lines::JsonLines, layout::Census, parquet::ParquetRows};
use crate::record::path::FieldPath;

pub use self::{
    layout::{ColumnInfo, Derived, Layout, derive},
    scores::{ScoreRow, ScoresWriter},
    source::FileSource,
};

/// Rows that [`FileReader::columns`] looks at.
const PEEKED_ROWS: usize = 1000;

/// Why a file can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file can't be opened.
    #[error("cannot open {path}: {cause}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// It is a folder, a pipe, a device or a socket.
    #[error("{path} is {found}, expected a regular file; write what it gives into one")]
    NotRegular {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The extension says nothing.
    #[error("{path} has no known extension, expected .csv, .jsonl, .ndjson, .json (each also with .gz) or .parquet")]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// The kind of file needs random access.
    #[error("{path} can only be read from a regular file, not from a stream")]
    NotSeekable {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("{path} is empty, expected {expected}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What should stand there.
        expected: &'static str,
    },
    /// The header row or the schema is not usable.
    #[error("{path} has no usable header: {what}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What was found and what would be right.
        what: String,
    },
    /// Reading failed midway.
    #[error("cannot read {path} at row {row} (rows are counted from 0): {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Row from 0 that could not be read.
        row: u64,
        /// What went wrong and, where it can be told, what would be right.
        cause: String,
    },
    /// No file was named.
    #[error("no file was named, expected at least one")]
    NoFiles,
    /// Files that are read as one don't agree on the event time.
    #[error(
        "the event time of {first} is {first_column} but that of {other} is {other_column}; files that are read \
         together need the same one"
    )]
    TimestampDiffers {
        /// The first file.
        first: PathBuf,
        /// Its column, quoted, or words for none.
        first_column: String,
        /// The file that differs.
        other: PathBuf,
        /// Its column, quoted, or words for none.
        other_column: String,
    },
    /// A column that is needed is not there.
    #[error("{path} has no column `{column}`, it has {columns}")]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Those that there are, quoted.
        columns: String,
    },
    /// A label that says neither yes nor no.
    #[error(
        "{path}: the label of row {row} (rows are counted from 0) in the column `{column}` is {found}, expected 0 or 1"
    )]
    Label {
        /// The file.
        path: PathBuf,
        /// The row from 0.
        row: u64,
        /// The column.
        column: String,
        /// What stands there.
        found: String,
    },
    /// A picture under a name that promises another format.
    #[error("{path} can't be a picture of scores, which is SVG; expected a name that ends in .svg")]
    NotSvg {
        /// The file.
        path: PathBuf,
    },
    /// Writing failed.
    #[error("cannot write {path}: {cause}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A row of scores never came.
    #[error("{path} is incomplete: row {row} of {rows} never came to its end")]
    RowMissing {
        /// The file.
        path: PathBuf,
        /// The first row from 0 that is missing.
        row: u64,
        /// Rows that were expected.
        rows: u64,
    },
    /// A row of scores came twice, or beyond the last one.
    #[error("{path} got row {row} a second time or beyond the end, expected each row once")]
    RowUnexpected {
        /// The file.
        path: PathBuf,
        /// The row from 0.
        row: u64,
    },
}

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Comma-separated values with a header row.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// Apache Parquet.
    Parquet,
}

impl FileKind {
    /// Tells the kind, and whether it is gzip-compressed, by the file's extension (in upper or lower case).
    pub fn of(path: &Path) -> Result<(Self, bool), FileError> {
        let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let (stem, gzip) = match name.strip_suffix(".gz") {
            Some(stem) => (stem, true),
            None => (name.as_str(), false),
        };
        match stem.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv") => Ok((Self::Csv, gzip)),
            Some("jsonl" | "ndjson" | "json") => Ok((Self::JsonLines, gzip)),
            Some("parquet") if !gzip => Ok((Self::Parquet, false)),
            _ => Err(FileError::Extension { path: path.to_owned() }),
        }
    }
}

/// The bytes that a reader is fed with.
pub type Bytes = Box<dyn Read + Send>;

/// Reads a file row by row, each as one JSON record.
pub struct FileReader {
    rows: Rows,
    /// Rows that [`FileReader::columns`] read ahead of [`FileReader::next`].
    peeked: VecDeque<Vec<u8>>,
}

/// The reader of one kind of file; a closed set, so no trait.
enum Rows {
    Csv(Box<CsvRows>),
    JsonLines(JsonLines),
    Parquet(Box<ParquetRows>),
}

impl FileReader {
    /// Opens a file; the extension tells its kind. Fails where it can't be opened, is empty or has no usable header.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        // Files are read more than once, which a pipe can't be: opening it would wait for ever.
        if let Some(found) = irregular(path) {
            return Err(FileError::NotRegular { path: path.to_owned(), found });
        }
        let (kind, _) = FileKind::of(path)?;
        let file = File::open(path).map_err(|cause| FileError::Open { path: path.to_owned(), cause })?;
        match kind {
            FileKind::Parquet => Ok(Self::over(Rows::Parquet(Box::new(ParquetRows::new(path, file)?)))),
            FileKind::Csv | FileKind::JsonLines => Self::from_read(path, Box::new(file)),
        }
    }

    /// Reads rows from any bytes; the extension of `name` tells their kind and whether they are compressed, and errors
    /// name it. Parquet needs random access: [`FileError::NotSeekable`].
    pub fn from_read(name: impl AsRef<Path>, bytes: Bytes) -> Result<Self, FileError> {
        let name = name.as_ref();
        let (kind, gzip) = FileKind::of(name)?;
        let bytes = if gzip { Box::new(MultiGzDecoder::new(bytes)) } else { bytes };
        match kind {
            FileKind::Csv => Ok(Self::over(Rows::Csv(Box::new(CsvRows::new(name, bytes)?)))),
            FileKind::JsonLines => Ok(Self::over(Rows::JsonLines(JsonLines::new(name, bytes)?))),
            FileKind::Parquet => Err(FileError::NotSeekable { path: name.to_owned() }),
        }
    }

    fn over(rows: Rows) -> Self {
        Self { rows, peeked: VecDeque::new() }
    }

    /// Says that the columns at these paths hold names of entities or categories, of which CSV can't tell whether they
    /// are numbers; in the other kinds of file a text is a text.
    pub fn keep_text(&mut self, paths: &[FieldPath]) {
        if let Rows::Csv(rows) = &mut self.rows {
            let names: Vec<&str> = paths.iter().filter_map(FieldPath::name).collect();
            rows.keep_text(&names);
        }
    }

    /// Replaces `payload` by the next row as a record; `false` at the end, with `payload` empty.
    pub fn next(&mut self, payload: &mut Vec<u8>) -> Result<bool, FileError> {
        if let Some(row) = self.peeked.pop_front() {
            *payload = row;
            return Ok(true);
        }
        self.rows.next(payload)
    }

    /// The columns: names of the header or schema, then the top-level keys of up to 1000 rows in order of appearance.
    /// Reads ahead only; [`FileReader::next`] still gives every row.
    pub fn columns(&mut self) -> Result<Vec<ColumnInfo>, FileError> {
        while self.peeked.len() < PEEKED_ROWS {
            let mut payload = Vec::new();
            if !self.rows.next(&mut payload)? {
                break;
            }
            self.peeked.push_back(payload);
        }
        let mut census = Census::of(self.rows.names());
        for payload in self.peeked.iter().take(PEEKED_ROWS) {
            census.count(payload);
        }
        Ok(census.columns())
    }
}

impl Rows {
    fn next(&mut self, payload: &mut Vec<u8>) -> Result<bool, FileError> {
        match self {
            Self::Csv(rows) => rows.next(payload),
            Self::JsonLines(rows) => rows.next(payload),
            Self::Parquet(rows) => rows.next(payload),
        }
    }

    /// Names that are known before any row is read.
    fn names(&self) -> Vec<String> {
        match self {
            Self::Csv(rows) => rows.names().to_vec(),
            Self::JsonLines(_) => Vec::new(),
            Self::Parquet(rows) => rows.names(),
        }
    }
}

/// The folder that a file lies in; that of a mere name is the one that the program works in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What `path` is, if it is there and no regular file.
fn irregular(path: &Path) -> Option<&'static str> {
    let kind = std::fs::metadata(path).ok()?.file_type();
    let found = match kind {
        kind if kind.is_file() => return None,
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Some(found)
}

/// Writes a value that JSON has no number for as a string, so that the decoder sees a value that is there but unusable.
fn write_non_finite(value: f64, out: &mut Vec<u8>) {
    let text = match value {
        value if value.is_nan() => "\"NaN\"",
        value if value > 0.0 => "\"inf\"",
        _ => "\"-inf\"",
    };
    out.extend_from_slice(text.as_bytes());
}

/// Writes `text` as a JSON string.
fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("text can always be written as JSON into memory");
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use tempfile::TempDir;

    use super::*;

    /// All rows that are left, as text.
    pub(crate) fn rest(reader: &mut FileReader) -> Vec<String> {
        let (mut rows, mut payload) = (Vec::new(), Vec::new());
        while reader.next(&mut payload).unwrap() {
            rows.push(String::from_utf8_lossy(&payload).into_owned());
        }
        rows
    }

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn file(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn extension_tells_kind_and_compression() {
        let kinds = [
            ("a.csv", FileKind::Csv, false),
            ("a.b.CSV.GZ", FileKind::Csv, true),
            ("a.jsonl", FileKind::JsonLines, false),
            ("a.ndjson.gz", FileKind::JsonLines, true),
            ("a.json", FileKind::JsonLines, false),
            ("a.parquet", FileKind::Parquet, false),
        ];
        for (name, kind, gzip) in kinds {
            assert_eq!(FileKind::of(Path::new(name)).unwrap(), (kind, gzip), "{name}");
        }
        for name in ["a.txt", "a", "csv", "a.gz", "a.parquet.gz", "a.csv/"] {
            let found = FileKind::of(Path::new(name));
            assert_eq!(found.is_err(), name != "a.csv/", "{name}");
        }
    }

    #[test]
    fn the_same_rows_come_out_of_plain_and_compressed_files() {
        let folder = TempDir::new().unwrap();
        let csv = b"a,b\n1,x\n2,\n".as_slice();
        let lines = b"{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":null}\n".as_slice();
        for path in [
            file(&folder, "p.csv", csv),
            file(&folder, "c.csv.gz", &gzip(csv)),
            file(&folder, "p.jsonl", lines),
            file(&folder, "c.json.gz", &gzip(lines)),
        ] {
            let rows = rest(&mut FileReader::open(&path).unwrap());
            assert_eq!(rows, [r#"{"a":1,"b":"x"}"#, r#"{"a":2,"b":null}"#], "{}", path.display());
        }
    }

    #[test]
    fn a_file_of_several_compressed_members_is_read_to_its_end() {
        let mut bytes = gzip(b"a\n1\n");
        bytes.extend(gzip(b"2\n"));
        let mut reader = FileReader::from_read("x.csv.gz", Box::new(io::Cursor::new(bytes))).unwrap();
        assert_eq!(rest(&mut reader), [r#"{"a":1}"#, r#"{"a":2}"#]);
    }

    #[test]
    fn a_truncated_compressed_file_is_an_error_that_names_the_row() {
        // Noise, so that the compressed text is long enough to be cut after some rows.
        let text: String =
            (0..40_000u64).map(|row| format!("{}\n", row.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20)).collect();
        let mut bytes = gzip(format!("a\n{text}").as_bytes());
        bytes.truncate(bytes.len() / 2);
        let mut reader = FileReader::from_read("x.csv.gz", Box::new(io::Cursor::new(bytes))).unwrap();
        let mut payload = Vec::new();
        let error = loop {
            match reader.next(&mut payload) {
                Ok(true) => {}
                Ok(false) => panic!("the end of a truncated file passed for the end of its rows"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, FileError::Read { row: 1.., .. }), "{error}");
        assert!(error.to_string().starts_with("cannot read x.csv.gz at row "), "{error}");
    }

    #[test]
    fn a_missing_file_is_named_in_the_error() {
        let error = FileReader::open("/nowhere/x.csv").err().unwrap().to_string();
        assert!(error.starts_with("cannot open /nowhere/x.csv: "), "{error}");
    }

    #[test]
    fn what_is_no_regular_file_is_refused_by_name_and_never_waited_for() {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("x.csv");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let refused = |path: &Path| FileReader::open(path).err().unwrap().to_string();
        let expected = "expected a regular file; write what it gives into one";
        assert_eq!(refused(folder.path()), format!("{} is a folder, {expected}", folder.path().display()));
        assert_eq!(refused(&socket), format!("{} is a socket, {expected}", socket.display()));
        assert_eq!(refused(Path::new("/dev/null")), format!("/dev/null is a device, {expected}"));
        let pipe = folder.path().join("pipe.csv");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(refused(&pipe), format!("{} is a pipe, {expected}", pipe.display()));
    }

    #[test]
    fn looking_at_columns_takes_no_row_away() {
        let text: String = (0..1500).map(|row| format!("{row},x\n")).collect();
        let bytes = format!("n,s\n{text}").into_bytes();
        let mut reader = FileReader::from_read("x.csv", Box::new(io::Cursor::new(bytes))).unwrap();
        let mut payload = Vec::new();
        assert!(reader.next(&mut payload).unwrap());
        let columns = reader.columns().unwrap();
        assert_eq!(columns, reader.columns().unwrap());
        assert_eq!(
            columns.iter().map(|c| (c.name.as_str(), c.numeric)).collect::<Vec<_>>(),
            [("n", true), ("s", false)]
        );
        let rows = rest(&mut reader);
        assert_eq!((rows.len(), rows[0].as_str()), (1499, r#"{"n":1,"s":"x"}"#));
        assert_eq!(rows[1498], r#"{"n":1499,"s":"x"}"#);
    }
}
