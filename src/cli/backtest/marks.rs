//! Rows of the data that are marked to be trained on: by a column, or by their time.

use std::time::Duration;

use super::{super::Failure, BacktestArgs};
use crate::{
    config::{Problems, settings::RecordSettings},
    file::{
        FileSource,
        labels::{find_column, read_labels},
    },
    pipeline::{Polled, Source as _},
    record::{
        DecodedRecord,
        decode::{Decoder, Schema},
        path::FieldPath,
        timestamp,
    },
};

/// Rows that are read at a time.
const CHUNK: usize = 4096;

/// Which rows are trained on, and how that was said.
pub(super) struct Marks {
    /// By row of the data.
    pub(super) rows: Vec<bool>,
    /// In words, such as "before 2026-01-01T00:00:00Z".
    pub(super) how: String,
}

impl Marks {
    /// What was asked for; `None` where it was something else.
    ///
    /// # Errors
    /// Files that can't be read or lack the column, and rows without a time where one is needed.
    pub(super) fn of(
        args: &BacktestArgs,
        column: Option<&FieldPath>,
        record: &RecordSettings,
    ) -> Result<Option<Self>, Failure> {
        if let Some(column) = column {
            // A row that can't be read can't be trained on either.
            let rows = read_labels(&args.data, column)?.into_iter().map(|mark| mark.unwrap_or(false)).collect();
            return Ok(Some(Self { rows, how: format!("with 1 in the column `{}`", column.label(|_| false)) }));
        }
        let Some(until_us) = args.train_until else { return Ok(None) };
        let how = format!("before {}", timestamp::to_rfc3339(until_us));
        Ok(Some(Self { rows: before(args, until_us, record)?, how }))
    }

    /// Where the column of `--train-column` stands.
    ///
    /// # Errors
    /// Files that can't be read or lack the column.
    pub(super) fn column(args: &BacktestArgs) -> Result<Option<FieldPath>, Failure> {
        let column = args.train_column.as_ref().map(|column| find_column(&args.data, column));
        Ok(column.transpose()?)
    }
}

/// Whether the time of each row lies before this one; a row of which the time can't be told doesn't.
fn before(args: &BacktestArgs, until_us: i64, record: &RecordSettings) -> Result<Vec<bool>, Failure> {
    if record.timestamp.is_none() {
        let mut problems = Problems::default();
        let expected = "{field: PATH}, such as --set record.timestamp.field=time";
        problems.push("record.timestamp", "is not set, but --train-until needs the event time of rows", expected);
        return Err(Failure::config(&problems));
    }
    let mut source = FileSource::open(args.data.clone())?;
    let mut decoder = Decoder::new(Schema::new(&[], record));
    let (mut decoded, mut rows) = (DecodedRecord::default(), Vec::new());
    loop {
        let polled = source.poll(CHUNK, Duration::ZERO, &mut |raw| {
            let time_us = decoder.decode(&raw, &mut decoded).ok().and_then(|()| decoded.known_time_us());
            rows.push(time_us.is_some_and(|time_us| time_us < until_us));
        });
        if polled.map_err(|error| Failure::other(&error))? == Polled::End {
            return Ok(rows);
        }
    }
}
