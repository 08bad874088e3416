//! Listening to what people say of alarms: a thread of its own reads the topic from its beginning, and what it read is
//! taken up between two batches. The record's way never waits for it, but for a moment at the start: alarms that somebody
//! has called false are not to be raised again because a process was restarted.

use std::{
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel},
    },
    thread::Scope,
    time::{Duration, Instant},
};

use super::{
    run::{Parts, RunError, now_ms},
    scoring::{Heard, Scoring},
};
use crate::{feedback::Told, record::Position, telemetry::Part};

/// Messages that wait to be taken up; while there are so many, no more are read.
const MOST_WAITING: usize = 1024;
/// Messages that are taken up between two batches at most.
const MOST_AT_ONCE: usize = 256;
/// The longest that one look for a message takes, and with it the end of the thread.
const LOOK: Duration = Duration::from_millis(200);
/// Time before a topic that can't be read is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// The longest that scoring waits at the start for the verdicts that are there.
const HEAD_START: Duration = Duration::from_secs(10);

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it stands in the topic.
    pub position: Position,
    /// When it was written, milliseconds since the epoch; `None` where the broker doesn't know.
    pub timestamp_ms: Option<i64>,
    /// Message key.
    pub key: Option<Vec<u8>>,
    /// Message value; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Whether it came after the end of the topic was reached for the first time.
    pub is_new: bool,
}

/// What a look into the topic gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// The next message.
    Message(Message),
    /// All that was there at the beginning has been read.
    CaughtUp,
    /// Nothing came.
    Nothing,
}

/// Where verdicts come from: a whole topic, from its beginning on. Lives on a thread of its own.
pub trait VerdictSource: Send {
    /// The next message, waiting at most `wait` for it. An error, for people, is tried again after a while.
    fn look(&mut self, wait: Duration) -> Result<Look, String>;
}

/// What the thread has to say.
enum News {
    Heard(Heard),
    /// A message that is no verdict, and why.
    Invalid(Position, String),
    CaughtUp,
    /// The topic can't be read; told once until that changes.
    Failed(String),
}

/// The other end of the listening thread; it stops when this is dropped.
pub(super) struct Listener {
    news: Receiver<News>,
    /// Whether it was told that the thread has died.
    gone: bool,
    /// Never sends: that it goes away is the signal.
    #[expect(dead_code, reason = "kept for its end")]
    stop: Sender<()>,
}

impl Listener {
    /// Starts to listen. Verdicts that were written longer ago than `keep` are left out.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        source: Box<dyn VerdictSource>,
        keep: Duration,
    ) -> Result<Self, RunError> {
        let (stop, stopped) = channel();
        let (sender, news) = sync_channel(MOST_WAITING);
        let mut ear = Ear { source, keep_ms: i64::try_from(keep.as_millis()).unwrap_or(i64::MAX), told: None };
        let listen = move || {
            while let Some(pause) = ear.listen(&sender) {
                if !matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("feedback".to_owned())
            .spawn_scoped(scope, listen)
            .map_err(RunError::Thread)?;
        Ok(Self { news, gone: false, stop })
    }

    /// Takes up what was said before the start, waiting a moment for it: also where the topic can't be read at first, as its
    /// broker may be slow.
    pub(super) fn catch_up(&mut self, parts: &Parts<'_>, scoring: &mut Scoring) {
        let until = Instant::now() + HEAD_START;
        while !parts.stop.load(Ordering::Relaxed) {
            parts.board.beat();
            match self.news.recv_timeout(LOOK) {
                Ok(news) => {
                    let is_over = matches!(news, News::CaughtUp);
                    take_up(news, parts, scoring);
                    if is_over {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= until {
                tracing::warn!("the topic of feedback is not read to its end yet: scoring begins without the rest");
                break;
            }
        }
        tell(parts, scoring);
    }

    /// Takes up what was said since the last look.
    pub(super) fn tend(&mut self, parts: &Parts<'_>, scoring: &mut Scoring) {
        for taken in 0..MOST_AT_ONCE {
            match self.news.try_recv() {
                Ok(news) => take_up(news, parts, scoring),
                Err(TryRecvError::Disconnected) if !std::mem::replace(&mut self.gone, true) => {
                    let why = "the thread that reads feedback has died; its message stands above";
                    parts.metrics.error(Part::Feedback, why);
                }
                Err(_) if taken == 0 => return,
                Err(_) => break,
            }
        }
        tell(parts, scoring);
    }
}

fn take_up(news: News, parts: &Parts<'_>, scoring: &mut Scoring) {
    match news {
        News::Heard(heard) => {
            let said = heard.is_new.then(|| heard.told.clone());
            if scoring.heed(heard) {
                said.iter().for_each(|told| parts.metrics.feedback(told));
            }
        }
        News::Invalid(position, cause) => parts.metrics.feedback_invalid(position, &cause),
        News::CaughtUp => tracing::info!(verdicts = scoring.verdicts().iter().sum::<usize>(), "feedback was read"),
        News::Failed(why) => parts.metrics.error(Part::Feedback, &why),
    }
}

fn tell(parts: &Parts<'_>, scoring: &Scoring) {
    parts.metrics.feedback_in_force(scoring.verdicts());
    parts.board.set_feedback(scoring.verdicts());
}

/// The thread's own side.
struct Ear {
    source: Box<dyn VerdictSource>,
    keep_ms: i64,
    /// The failure that was told last.
    told: Option<String>,
}

impl Ear {
    /// Looks once and passes on what there is. Gives the time until the next look; `None` when nobody listens any more.
    fn listen(&mut self, news: &SyncSender<News>) -> Option<Duration> {
        let said = match self.source.look(LOOK) {
            Ok(look) => {
                self.told = None;
                self.understand(look)
            }
            Err(error) if self.told.as_ref() == Some(&error) => return Some(RETRY),
            Err(error) => {
                self.told = Some(error.clone());
                news.send(News::Failed(format!("feedback can't be read, trying again: {error}"))).ok()?;
                return Some(RETRY);
            }
        };
        said.map_or(Some(()), |said| news.send(said).ok())?;
        Some(Duration::ZERO)
    }

    fn understand(&self, look: Look) -> Option<News> {
        let message = match look {
            Look::Nothing => return None,
            Look::CaughtUp => return Some(News::CaughtUp),
            Look::Message(message) => message,
        };
        let now = now_ms();
        let Message { position, timestamp_ms, key, payload, is_new } = message;
        // A clock that is ahead must not make all that others said look old.
        let at_ms = timestamp_ms.map_or(now, |at_ms| at_ms.min(now));
        if at_ms < now.saturating_sub(self.keep_ms) {
            return None;
        }
        Some(match Told::read(key.as_deref(), payload.as_deref()) {
            Ok(told) => News::Heard(Heard { told, at_ms, is_new }),
            Err(error) => News::Invalid(position, error.to_string()),
        })
    }
}
