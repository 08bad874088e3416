//! Files as a [`Source`]: one partition, the row as offset.

use std::{collections::VecDeque, path::PathBuf, thread, time::Duration};

use super::{FileError, FileReader};
use crate::{
    pipeline::{Polled, Source, SourceError, SourceEvent},
    record::{Position, RawRecord, path::FieldPath},
};

/// The only partition of files.
const PARTITION: i32 = 0;

/// How long a paused source sleeps at most in one poll: long enough not to spin, short enough not to be felt.
const PAUSED_NAP: Duration = Duration::from_millis(1);

/// Several files in order, as one partition. The offset is the row, counted from 0 through all files; records have
/// neither a key nor a timestamp of their own.
pub struct FileSource {
    files: VecDeque<PathBuf>,
    reader: Option<FileReader>,
    /// Row that comes next, which is also the number of rows lent or skipped.
    row: i64,
    /// No row from this one on is lent.
    end: i64,
    /// Every row before this one has come to its end.
    finished: i64,
    paused: bool,
    announced: bool,
    payload: Vec<u8>,
    /// Columns that hold names, see [`FileReader::keep_text`].
    texts: Vec<FieldPath>,
}

impl FileSource {
    /// Opens the files once, so that one that can't be read is found before the first row is scored.
    pub fn open(files: Vec<PathBuf>) -> Result<Self, FileError> {
        if files.is_empty() {
            return Err(FileError::NoFiles);
        }
        for file in &files {
            FileReader::open(file)?;
        }
        Ok(Self {
            files: files.into(),
            reader: None,
            row: 0,
            end: i64::MAX,
            finished: 0,
            paused: false,
            announced: false,
            payload: Vec::new(),
            texts: Vec::new(),
        })
    }

    /// The same source, with names of entities and categories at these paths.
    pub fn keep_text(self, texts: Vec<FieldPath>) -> Self {
        Self { texts, ..self }
    }

    /// The same source without its next `rows` rows, or as many as there are; the others keep their numbers. To be called
    /// before anything is lent, and after [`FileSource::keep_text`].
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn skip(mut self, rows: i64) -> Result<Self, FileError> {
        let until = self.row + rows;
        while self.row < until && self.read()? {
            self.row += 1;
        }
        self.finished = self.row;
        Ok(self)
    }

    /// The same source with an end before the row of this number.
    pub fn until(self, row: i64) -> Self {
        Self { end: row, ..self }
    }

    /// Rows lent or skipped so far.
    pub fn rows(&self) -> u64 {
        self.row.unsigned_abs()
    }

    /// Every row before this one has come to its end.
    pub fn frontier(&self) -> u64 {
        self.finished.unsigned_abs()
    }

    /// Reads the next row of this or a following file into the payload.
    fn read(&mut self) -> Result<bool, FileError> {
        loop {
            if let Some(reader) = &mut self.reader
                && reader.next(&mut self.payload)?
            {
                return Ok(true);
            }
            let Some(file) = self.files.pop_front() else {
                self.reader = None;
                return Ok(false);
            };
            let mut reader = FileReader::open(file)?;
            reader.keep_text(&self.texts);
            self.reader = Some(reader);
        }
    }
}

impl Source for FileSource {
    fn poll(
        &mut self,
        max: usize,
        wait: Duration,
        visit: &mut dyn FnMut(RawRecord<'_>),
    ) -> Result<Polled, SourceError> {
        if self.paused {
            thread::sleep(wait.min(PAUSED_NAP));
            return Ok(Polled::Idle);
        }
        if max == 0 {
            return Ok(Polled::Idle);
        }
        let mut lent = 0;
        while lent < max && self.row < self.end && self.read().map_err(|error| SourceError::Fatal(error.to_string()))? {
            visit(RawRecord {
                position: Position { partition: PARTITION, offset: self.row },
                // A file's row has no time but what its fields say; without such a field time stands still.
                timestamp_ms: Some(0),
                key: None,
                payload: Some(&self.payload),
                headers: None,
            });
            self.row += 1;
            lent += 1;
        }
        Ok(if lent == 0 { Polled::End } else { Polled::Records(lent) })
    }

    fn events(&mut self) -> Vec<SourceEvent> {
        if std::mem::replace(&mut self.announced, true) {
            return Vec::new();
        }
        vec![SourceEvent::Up, SourceEvent::Assigned(vec![PARTITION])]
    }

    fn finished(&mut self, next: Position, _: Option<i64>) -> Result<(), SourceError> {
        if next.partition == PARTITION && (self.finished..=self.row).contains(&next.offset) {
            self.finished = next.offset;
            return Ok(());
        }
        Err(SourceError::Fatal(format!(
            "rows before {} of partition {} were said to be finished, expected partition {PARTITION} and {} to {}",
            next.offset, next.partition, self.finished, self.row
        )))
    }

    fn pause(&mut self, paused: bool) -> Result<(), SourceError> {
        self.paused = paused;
        Ok(())
    }

    /// Files keep no offsets: nothing to do.
    fn commit(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn commit_last(&mut self, _: Duration) -> Result<(), SourceError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn source(texts: &[(&str, &str)]) -> (TempDir, FileSource) {
        let folder = TempDir::new().unwrap();
        let files = texts.iter().map(|(name, text)| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        });
        let source = FileSource::open(files.collect()).unwrap();
        (folder, source)
    }

    fn poll(source: &mut FileSource, max: usize) -> (Polled, Vec<(i64, String)>) {
        let mut rows = Vec::new();
        let polled = source.poll(max, Duration::ZERO, &mut |record| {
            assert_eq!((record.position.partition, record.timestamp_ms, record.key), (0, Some(0), None));
            rows.push((record.position.offset, String::from_utf8(record.payload.unwrap().to_vec()).unwrap()));
        });
        (polled.unwrap(), rows)
    }

    #[test]
    fn rows_of_all_files_are_numbered_through_in_order() {
        let (_folder, mut source) = source(&[("a.csv", "x\n1\n2\n"), ("b.csv", "x\n"), ("c.jsonl", "{\"x\":3}\n")]);
        assert_eq!(
            poll(&mut source, 2),
            (Polled::Records(2), vec![(0, r#"{"x":1}"#.to_owned()), (1, r#"{"x":2}"#.to_owned())])
        );
        assert_eq!(poll(&mut source, 2), (Polled::Records(1), vec![(2, r#"{"x":3}"#.to_owned())]));
        assert_eq!(poll(&mut source, 2), (Polled::End, vec![]));
        assert_eq!(poll(&mut source, 2), (Polled::End, vec![]));
        assert_eq!(source.rows(), 3);
    }

    #[test]
    fn names_stay_text_in_every_file() {
        let (_folder, source) = source(&[("a.csv", "id,x\n01,01\n"), ("b.csv", "x,id\n02,02\n")]);
        let rows = poll(&mut source.keep_text(vec![FieldPath::key("id")]), 9).1;
        assert_eq!(rows[0].1, r#"{"id":"01","x":1}"#);
        assert_eq!(rows[1].1, r#"{"x":2,"id":"02"}"#);
    }

    #[test]
    fn rows_after_those_skipped_keep_their_numbers() {
        let (_folder, source) = source(&[("a.csv", "x\n1\n2\n"), ("b.csv", "x\n3\n4\n")]);
        let mut source = source.skip(3).unwrap();
        assert_eq!((source.rows(), source.frontier()), (3, 3));
        assert_eq!(poll(&mut source, 9), (Polled::Records(1), vec![(3, r#"{"x":4}"#.to_owned())]));
        source.finished(Position { partition: 0, offset: 4 }, None).unwrap();
        let (_folder, source) = self::source(&[("a.csv", "x\n1\n2\n3\n")]);
        let mut source = source.until(2);
        assert_eq!((poll(&mut source, 9).0, poll(&mut source, 9)), (Polled::Records(2), (Polled::End, vec![])));
        let (_folder, short) = self::source(&[("a.csv", "x\n1\n")]);
        let mut short = short.skip(5).unwrap();
        assert_eq!((short.rows(), poll(&mut short, 1)), (1, (Polled::End, vec![])));
    }

    #[test]
    fn the_partition_is_announced_once() {
        let (_folder, mut source) = source(&[("a.csv", "x\n1\n")]);
        assert_eq!(source.events(), [SourceEvent::Up, SourceEvent::Assigned(vec![0])]);
        assert_eq!(source.events(), []);
    }

    #[test]
    fn a_paused_source_lends_nothing_and_goes_on_where_it_was() {
        let (_folder, mut source) = source(&[("a.csv", "x\n1\n2\n")]);
        poll(&mut source, 1);
        source.pause(true).unwrap();
        assert_eq!(poll(&mut source, 1), (Polled::Idle, vec![]));
        source.pause(false).unwrap();
        assert_eq!(poll(&mut source, 1).1[0].0, 1);
    }

    #[test]
    fn the_frontier_moves_forward_and_never_past_the_rows_lent() {
        let (_folder, mut source) = source(&[("a.csv", "x\n1\n2\n")]);
        poll(&mut source, 2);
        source.finished(Position { partition: 0, offset: 2 }, None).unwrap();
        assert_eq!(source.frontier(), 2);
        for (partition, offset) in [(0, 1), (0, 3), (1, 2)] {
            source.finished(Position { partition, offset }, None).unwrap_err();
        }
        assert_eq!(source.frontier(), 2);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_found_before_the_first_row() {
        let folder = TempDir::new().unwrap();
        let good = folder.path().join("a.csv");
        std::fs::write(&good, "x\n1\n").unwrap();
        let missing = folder.path().join("b.csv");
        assert!(matches!(FileSource::open(vec![good, missing]), Err(FileError::Open { .. })));
        assert!(matches!(FileSource::open(vec![]), Err(FileError::NoFiles)));
    }
}
