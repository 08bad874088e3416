//! The state topic: compacted, with one message per entity, in the partition of the same number as that of the input topic
//! that the entity's records come from.
//!
//! A message's key is the consumer group and the entity, its value a snapshot, or nothing where the entity was evicted; a
//! header says up to which offset of the input partition it holds. Compaction must leave what is younger than any commit,
//! since a snapshot that was taken after the offset from which a partition is read again is of no use: the one before it is
//! needed then.

mod reader;
mod topic;

use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};

use self::reader::Reader;
use super::KafkaError;
use crate::{
    config::settings::KafkaSettings,
    pipeline::state::{Kept, StateStore},
};

/// The header that says up to which offset a snapshot holds.
pub(super) const AS_OF: &str = "strayd.as_of";
/// What stands between group and entity: no name has it.
const SEPARATOR: u8 = 0;
/// Snapshots that wait to be taken by the pipeline.
const MOST_READ: usize = 4_096;
/// So many are handed over at once: the pipeline has other things to do in between.
const MOST_AT_ONCE: usize = 2_048;

/// The message key of an entity's snapshot.
pub(super) fn key(group: &str, entity: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(group.len() + 1 + entity.len());
    key.extend_from_slice(group.as_bytes());
    key.push(SEPARATOR);
    key.extend_from_slice(entity.as_bytes());
    key
}

/// The entity of a message key; `None` where it is another group's.
fn entity_of<'a>(group: &str, key: &'a [u8]) -> Option<&'a str> {
    let rest = key.strip_prefix(group.as_bytes())?.strip_prefix(&[SEPARATOR])?;
    std::str::from_utf8(rest).ok()
}

/// What the thread tells.
#[derive(Debug)]
enum News {
    Snapshot {
        partition: i32,
        entity: String,
        as_of: i64,
        body: Option<Vec<u8>>,
    },
    All(i32),
    /// Whether the topic can be used.
    State(Result<(), String>),
}

/// The state topic, read by a thread of its own.
pub struct KafkaState {
    wanted: Sender<i32>,
    news: Receiver<News>,
    state: Result<(), String>,
}

impl KafkaState {
    /// Makes the topic where it is missing, and reads what it is asked for.
    ///
    /// # Errors
    /// The settings can't be used, or there is no thread to be had.
    pub fn connect(settings: &KafkaSettings, topic: &str) -> Result<Self, KafkaError> {
        let (wanted, jobs) = channel();
        let (sender, news): (SyncSender<News>, _) = sync_channel(MOST_READ);
        let reader = Reader::new(settings, topic)?;
        // Nobody waits for it to end: it may be waiting for a broker that is away, and holds nothing that could be lost.
        std::thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || reader.run(&jobs, &sender))
            .map_err(|cause| KafkaError::Broker(format!("no thread for the state topic can be started: {cause}")))?;
        let state = Err(format!("the topic `{topic}` has not been looked for yet"));
        Ok(Self { wanted, news, state })
    }
}

impl StateStore for KafkaState {
    fn load(&mut self, partition: i32) {
        // Where the thread is gone, the next read says so.
        let _ = self.wanted.send(partition);
    }

    fn read(&mut self, visit: &mut dyn FnMut(Kept<'_>)) -> Result<(), String> {
        for _ in 0..MOST_AT_ONCE {
            match self.news.try_recv() {
                Ok(News::Snapshot { partition, entity, as_of, body }) => {
                    visit(Kept::Snapshot { partition, entity: &entity, as_of, body: body.as_deref() });
                }
                Ok(News::All(partition)) => visit(Kept::All(partition)),
                Ok(News::State(state)) => self.state = state,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err("the thread of the state topic has died, its message stands above".to_owned());
                }
            }
        }
        self.state.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_its_entity_back_to_its_own_group_alone() {
        let written = key("strayd", "pump/1");
        assert_eq!(entity_of("strayd", &written), Some("pump/1"));
        assert_eq!(entity_of("stray", &written), None);
        assert_eq!(entity_of("strayd-b", &written), None);
        assert_eq!(entity_of("strayd", &key("strayd", "")), Some(""), "records without an entity have one too");
        assert_eq!(entity_of("strayd", b"strayd\0\xff"), None);
    }
}
