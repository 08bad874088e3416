//! Hands the records out at their pace: into Kafka, or as lines of JSON.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Generator, Label, Made};
use crate::kafka::{KafkaError, embedded::Fed, writer::RecordWriter};

/// How long a sleep lasts at most, so that a stop is noticed.
const NAP: Duration = Duration::from_millis(50);
/// Who is later than this doesn't make up for it: a broker that was away shall not be flooded.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the broker may take for what is in the buffer at the end.
pub const FLUSH_WAIT: Duration = Duration::from_secs(10);

/// Why records can't be handed out.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// A file can't be written.
    #[error("{} can't be written: {cause}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The broker can't be used.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The broker didn't take some records.
    #[error("{refused} records were refused, the first one because: {reason}")]
    Refused {
        /// How many.
        refused: u64,
        /// What the broker said.
        reason: String,
    },
}

/// A file of lines, or standard output.
pub struct Lines {
    path: PathBuf,
    writer: BufWriter<Box<dyn Write>>,
}

impl Lines {
    /// Makes the file anew; `-` is standard output.
    ///
    /// # Errors
    /// It can't be made.
    pub fn create(path: &Path) -> Result<Self, FeedError> {
        let writer: Box<dyn Write> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            Box::new(File::create(path).map_err(|cause| FeedError::Write { path: path.to_owned(), cause })?)
        };
        Ok(Self { path: path.to_owned(), writer: BufWriter::new(writer) })
    }

    fn line(&mut self, text: &str) -> Result<(), FeedError> {
        let written = self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.write_all(b"\n"));
        written.map_err(|cause| self.failed(cause))
    }

    fn flush(&mut self) -> Result<(), FeedError> {
        self.writer.flush().map_err(|cause| self.failed(cause))
    }

    fn failed(&self, cause: io::Error) -> FeedError {
        FeedError::Write { path: self.path.clone(), cause }
    }
}

/// Where the records go.
pub enum Outlet {
    /// Lines of JSON.
    Lines(Lines),
    /// The input topic.
    Kafka(RecordWriter),
}

impl Outlet {
    /// `false` where there is no room now.
    fn put(&mut self, made: &Made) -> Result<bool, FeedError> {
        match self {
            Self::Lines(lines) => lines.line(&made.payload).map(|()| true),
            Self::Kafka(writer) => Ok(writer.offer(&Fed {
                key: Some(made.entity.as_bytes()),
                payload: Some(made.payload.as_bytes()),
                // The message says when it was sent, the payload when it happened.
                timestamp_ms: None,
                partition: None,
            })?),
        }
    }

    /// While nothing is due: a reader gets what is there.
    fn idle(&mut self) -> Result<(), FeedError> {
        match self {
            Self::Lines(lines) => lines.flush(),
            Self::Kafka(writer) => {
                writer.written();
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<(), FeedError> {
        match self {
            Self::Lines(lines) => lines.flush(),
            Self::Kafka(writer) => {
                writer.flush(FLUSH_WAIT)?;
                let written = writer.written();
                match written.reason {
                    Some(reason) => Err(FeedError::Refused { refused: written.refused, reason }),
                    None => Ok(()),
                }
            }
        }
    }
}

/// How many, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Records per second of real time; `None` is as fast as possible.
    pub per_second: Option<f64>,
    /// Ends after so many records.
    pub records: Option<u64>,
    /// Ends before the record of this event time, microseconds since the epoch.
    pub until_us: i64,
}

/// Hands out records until they end or a stop is asked for, then sees them safe. Labels are written as their anomalies
/// end. Gives the number of records.
///
/// # Errors
/// Records or labels can't be written.
pub fn feed(
    generator: &mut Generator,
    outlet: &mut Outlet,
    mut labels: Option<Lines>,
    pace: Pace,
    stop: &AtomicBool,
) -> Result<u64, FeedError> {
    let mut clock = Clock { begun: Instant::now(), given: 0, per_second: pace.per_second };
    let mut count = 0;
    while pace.records.is_none_or(|records| count < records) && !stop.load(Ordering::Relaxed) {
        let Some(made) = generator.next().filter(|made| made.time_us < pace.until_us) else {
            break;
        };
        tell(&mut labels, generator.ended())?;
        if !wait_for_turn(&mut clock, outlet, stop)? || !put_patiently(outlet, &made, stop)? {
            break;
        }
        count += 1;
    }
    tell(&mut labels, generator.ended().collect::<Vec<_>>())?;
    tell(&mut labels, generator.cut())?;
    if let Some(labels) = &mut labels {
        labels.flush()?;
    }
    outlet.finish()?;
    Ok(count)
}

fn tell(labels: &mut Option<Lines>, ended: impl IntoIterator<Item = Label>) -> Result<(), FeedError> {
    for label in ended {
        if let Some(lines) = labels {
            lines.line(&serde_json::json!(label).to_string())?;
            lines.flush()?;
        }
    }
    Ok(())
}

/// When a record is due.
struct Clock {
    begun: Instant,
    given: u64,
    per_second: Option<f64>,
}

impl Clock {
    /// How long it is to the next record.
    fn wait(&mut self) -> Option<Duration> {
        let due = self.begun + Duration::from_secs_f64(self.given as f64 / self.per_second?);
        let now = Instant::now();
        if now > due + PATIENCE {
            (self.begun, self.given) = (now, 0);
        }
        (due > now).then(|| due - now)
    }
}

/// `false` where a stop was asked for.
fn wait_for_turn(clock: &mut Clock, outlet: &mut Outlet, stop: &AtomicBool) -> Result<bool, FeedError> {
    while let Some(wait) = clock.wait() {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        outlet.idle()?;
        thread::sleep(wait.min(NAP));
    }
    clock.given += 1;
    Ok(true)
}

/// `false` where a stop was asked for before there was room.
fn put_patiently(outlet: &mut Outlet, made: &Made, stop: &AtomicBool) -> Result<bool, FeedError> {
    while !outlet.put(made)? {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        outlet.idle()?;
        thread::sleep(NAP);
    }
    Ok(true)
}
