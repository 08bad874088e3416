//! The state topic: compacted, with one message per entity, in the partition of the same number as that of the input topic
//! that the entity's records come from.
//!
//! A message's key is the consumer group and the entity, its value a snapshot, or nothing where the entity was evicted; a
//! header says up to which offset of the input partition it holds. Compaction must leave what is younger than any commit,
//! since a snapshot that was taken after the offset from which a partition is read again is of no use: the one before it is
//! needed then.

mod reader;
mod topic;

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel},
};

use self::reader::Reader;
use super::KafkaError;
use crate::{
    config::settings::KafkaSettings,
    pipeline::state::{Kept, NOT_LOOKED, StateStore},
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

/// One time that a partition is read from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Load {
    partition: i32,
    /// Differs from that of every other time: a partition may go and come back while it is read.
    number: u64,
}

/// What the thread tells.
#[derive(Debug)]
enum News {
    Snapshot {
        of: Load,
        entity: String,
        as_of: i64,
        body: Option<Vec<u8>>,
    },
    All(Load),
    /// Whether the topic can be used.
    State(Result<(), String>),
}

/// The state topic, read by a thread of its own.
pub struct KafkaState {
    wanted: Sender<Load>,
    news: Receiver<News>,
    state: Result<(), String>,
    /// The last load of each partition; of those before it nobody wants to hear any more.
    loads: BTreeMap<i32, Load>,
    next: u64,
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
        let state = Err(NOT_LOOKED.to_owned());
        Ok(Self { wanted, news, state, loads: BTreeMap::new(), next: 0 })
    }
}

impl StateStore for KafkaState {
    fn load(&mut self, partition: i32) {
        let load = Load { partition, number: self.next };
        self.next += 1;
        self.loads.insert(partition, load);
        // Where the thread is gone, the next read says so.
        let _ = self.wanted.send(load);
    }

    fn read(&mut self, visit: &mut dyn FnMut(Kept<'_>)) -> Result<(), String> {
        for _ in 0..MOST_AT_ONCE {
            match self.news.try_recv() {
                Ok(News::State(state)) => self.state = state,
                Ok(News::Snapshot { of, .. } | News::All(of)) if self.loads.get(&of.partition) != Some(&of) => {}
                Ok(News::Snapshot { of, entity, as_of, body }) => {
                    let (partition, body) = (of.partition, body.as_deref());
                    visit(Kept::Snapshot { partition, entity: &entity, as_of, body });
                }
                Ok(News::All(of)) => visit(Kept::All(of.partition)),
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
    fn what_was_read_before_a_partition_went_and_came_back_is_not_taken_for_what_is_read_now() {
        let ((wanted, jobs), (sender, news)) = (channel(), sync_channel(9));
        let mut state = KafkaState { wanted, news, state: Ok(()), loads: BTreeMap::new(), next: 0 };
        state.load(3);
        state.load(3);
        let loads: Vec<Load> = jobs.try_iter().collect();
        for load in &loads {
            let entity = format!("of load {}", load.number);
            sender.send(News::Snapshot { of: *load, entity, as_of: 5, body: None }).unwrap();
            sender.send(News::All(*load)).unwrap();
        }
        let mut told = Vec::new();
        state.read(&mut |kept| told.push(format!("{kept:?}"))).unwrap();
        let expected = ["Snapshot { partition: 3, entity: \"of load 1\", as_of: 5, body: None }", "All(3)"];
        assert_eq!(told, expected);
        drop(sender);
        assert!(state.read(&mut |_| {}).unwrap_err().contains("died"));
    }

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
