//! `scores.csv`: one row per record of the input, in the input's order.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};

use super::{FileError, partial::Partial};

/// The header row.
pub const COLUMNS: [&str; 10] = [
    "row",
    "entity",
    "timestamp",
    "raw_score",
    "score",
    "p_value",
    "verdict",
    "top_feature",
    "top_feature_value",
    "top_feature_expected",
];

/// The end of one record's way, as a row of `scores.csv`. What is `None` or no finite number is an empty cell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScoreRow {
    /// Row of the input, from 0.
    pub row: u64,
    /// Entity; empty where there is none or it could not be told.
    pub entity: String,
    /// Event time, RFC 3339.
    pub timestamp: Option<String>,
    /// The model's score before smoothing.
    pub raw_score: Option<f64>,
    /// The judged score.
    pub score: Option<f64>,
    /// Chance of such a score on normal rows.
    pub p_value: Option<f64>,
    /// How the record ended, such as `normal`, `anomalous`, `suppressed:cold_start`, `warming_up`, `dead_letter`.
    pub verdict: String,
    /// The feature with the largest share of the error: name, value and expected value in the feature's own unit.
    pub top: Option<(String, f64, f64)>,
}

/// Writes scores in the input's order, however they arrive. The file appears under its name only when it is complete;
/// before that it is written beside it with `.partial` at the end of its name, which is removed if
/// [`ScoresWriter::finish`] is never reached.
pub struct ScoresWriter {
    partial: Partial,
    /// `None` once finished.
    csv: Option<csv::Writer<Out>>,
    next: u64,
    /// Rows that wait for an earlier one.
    waiting: BTreeMap<u64, ScoreRow>,
}

enum Out {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
        }
    }
}

impl ScoresWriter {
    /// Begins a file; gzip-compressed where `path` ends in `.gz`. Fails where its folder can't be written to.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        let (partial, file) = Partial::create(path)?;
        let file = BufWriter::with_capacity(1 << 16, file);
        let gzip = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        let out = if gzip { Out::Gzip(GzEncoder::new(file, Compression::default())) } else { Out::Plain(file) };
        let mut writer = Self { partial, csv: Some(csv::Writer::from_writer(out)), next: 0, waiting: BTreeMap::new() };
        writer.write_record(&COLUMNS)?;
        Ok(writer)
    }

    /// Takes one row; it is written as soon as all rows before it came. Fails where the row came before.
    pub fn write(&mut self, row: ScoreRow) -> Result<(), FileError> {
        let number = row.row;
        if number < self.next || self.waiting.insert(number, row).is_some() {
            return Err(FileError::RowUnexpected { path: self.path(), row: number });
        }
        while let Some(row) = self.waiting.remove(&self.next) {
            self.write_row(&row)?;
            self.next += 1;
        }
        Ok(())
    }

    /// Completes the file: all `rows` rows came, it is on the disk, and under its name. Fails, and leaves no file,
    /// where a row never came.
    pub fn finish(mut self, rows: u64) -> Result<(), FileError> {
        if self.next < rows {
            return Err(FileError::RowMissing { path: self.path(), row: self.next, rows });
        }
        if self.next > rows || !self.waiting.is_empty() {
            return Err(FileError::RowUnexpected { path: self.path(), row: rows });
        }
        self.complete().map_err(|cause| FileError::Write { path: self.path(), cause })
    }

    fn complete(&mut self) -> io::Result<()> {
        let csv = self.csv.take().expect("the writer is only taken here, and `finish` consumes it");
        let file = match csv.into_inner().map_err(|error| io::Error::other(error.to_string()))? {
            Out::Plain(out) => out,
            Out::Gzip(out) => out.finish()?,
        };
        self.partial.complete(&file.into_inner().map_err(io::IntoInnerError::into_error)?)
    }

    fn path(&self) -> PathBuf {
        self.partial.path().to_owned()
    }

    fn write_row(&mut self, row: &ScoreRow) -> Result<(), FileError> {
        let top = row.top.as_ref();
        self.write_record(&[
            &row.row.to_string(),
            &row.entity,
            row.timestamp.as_deref().unwrap_or(""),
            &row.raw_score.map(double).unwrap_or_default(),
            &row.score.map(double).unwrap_or_default(),
            &row.p_value.map(double).unwrap_or_default(),
            &row.verdict,
            top.map_or("", |top| &top.0),
            &top.map(|top| double(top.1)).unwrap_or_default(),
            &top.map(|top| double(top.2)).unwrap_or_default(),
        ])
    }

    fn write_record(&mut self, cells: &[&str; COLUMNS.len()]) -> Result<(), FileError> {
        let csv = self.csv.as_mut().expect("the writer is only taken by `finish`, which consumes it");
        csv.write_record(cells).map_err(|error| FileError::Write { path: self.path(), cause: io::Error::other(error) })
    }
}

/// The shortest text that reads back as the same number; empty where it is not finite.
fn double(value: f64) -> String {
    let plain = value == 0.0 || (1e-5..1e16).contains(&value.abs());
    match value {
        value if !value.is_finite() => String::new(),
        value if plain => value.to_string(),
        value => format!("{value:e}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read};

    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn row(row: u64) -> ScoreRow {
        ScoreRow { row, entity: "e".to_owned(), verdict: "normal".to_owned(), ..ScoreRow::default() }
    }

    const HEADER: &str =
        "row,entity,timestamp,raw_score,score,p_value,verdict,top_feature,top_feature_value,top_feature_expected\n";

    #[test]
    fn a_complete_file_has_this_shape() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("scores.csv");
        let mut writer = ScoresWriter::create(&path).unwrap();
        let full = ScoreRow {
            row: 1,
            entity: "pump, \"east\"".to_owned(),
            timestamp: Some("2024-01-01T00:00:00Z".to_owned()),
            raw_score: Some(0.1),
            score: Some(14.25),
            p_value: Some(1.5e-300),
            verdict: "anomalous".to_owned(),
            top: Some(("m03".to_owned(), 0.91, -0.0)),
        };
        let broken = ScoreRow {
            raw_score: Some(f64::NAN),
            score: Some(f64::INFINITY),
            p_value: Some(f64::NAN),
            top: Some(("x".to_owned(), f64::NAN, f64::NEG_INFINITY)),
            verdict: "dead_letter".to_owned(),
            ..row(0)
        };
        writer.write(full).unwrap();
        writer.write(broken).unwrap();
        writer.finish(2).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!(
                "{HEADER}0,e,,,,,dead_letter,x,,\n\
                 1,\"pump, \"\"east\"\"\",2024-01-01T00:00:00Z,0.1,14.25,1.5e-300,anomalous,m03,0.91,-0\n"
            )
        );
    }

    #[test]
    fn a_name_ending_in_gz_is_compressed() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("scores.csv.gz");
        let mut writer = ScoresWriter::create(&path).unwrap();
        writer.write(row(0)).unwrap();
        writer.finish(1).unwrap();
        let mut text = String::new();
        GzDecoder::new(File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("{HEADER}0,e,,,,,normal,,,\n"));
    }

    #[test]
    fn a_row_that_never_came_is_an_error_and_leaves_no_file() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("scores.csv");
        for (given, rows) in [(vec![0, 2], 3), (vec![0, 1], 3), (vec![], 1)] {
            let mut writer = ScoresWriter::create(&path).unwrap();
            let missing = given.first().map_or(0, |_| if given.contains(&1) { 2 } else { 1 });
            given.into_iter().for_each(|number| writer.write(row(number)).unwrap());
            let error = writer.finish(rows).unwrap_err().to_string();
            assert!(error.ends_with(&format!("row {missing} of {rows} never came to its end")), "{error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_row_that_comes_twice_or_beyond_the_end_is_an_error() {
        let folder = TempDir::new().unwrap();
        let mut writer = ScoresWriter::create(folder.path().join("scores.csv")).unwrap();
        writer.write(row(0)).unwrap();
        writer.write(row(2)).unwrap();
        for twice in [0, 2] {
            assert!(matches!(writer.write(row(twice)), Err(FileError::RowUnexpected { row, .. }) if row == twice));
        }
        assert!(matches!(writer.finish(1), Err(FileError::RowUnexpected { row: 1, .. })));
    }

    #[test]
    fn an_older_file_stays_until_the_new_one_is_complete() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("scores.csv");
        fs::write(&path, "old").unwrap();
        let mut writer = ScoresWriter::create(&path).unwrap();
        writer.write(row(0)).unwrap();
        drop(writer);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_in_the_error() {
        let error = ScoresWriter::create("/nowhere/scores.csv").err().unwrap().to_string();
        assert!(error.starts_with("cannot write /nowhere/scores.csv: "), "{error}");
    }

    proptest! {
        #[test]
        fn numbers_read_back_to_the_bit(bits in any::<u64>()) {
            let wide = f64::from_bits(bits);
            prop_assert_eq!(double(wide).parse::<f64>().ok().map(f64::to_bits), wide.is_finite().then_some(bits));
        }

        #[test]
        fn rows_are_written_in_the_order_of_the_input(order in Just((0..40u64).collect::<Vec<_>>()).prop_shuffle()) {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("scores.csv");
            let mut writer = ScoresWriter::create(&path).unwrap();
            for number in &order {
                writer.write(row(*number)).unwrap();
            }
            writer.finish(40).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let number = |line: &str| line.split(',').next().unwrap().parse::<u64>().unwrap();
            let found: Vec<u64> = text.lines().skip(1).map(number).collect();
            prop_assert_eq!(found, (0..40).collect::<Vec<_>>());
        }
    }
}
