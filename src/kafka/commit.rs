//! Committing an explicit list of offsets in the background, with an answer, and what a group has committed.
//!
//! librdkafka answers a background commit only where a callback is set in C, which rdkafka doesn't do, or where the
//! commit names a queue for its answer, which rdkafka doesn't offer. Without an answer nobody could say in time whether
//! the last commit before the end arrived, nor count what was committed.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    bindings::{rd_kafka_commit_queue, rd_kafka_queue_destroy, rd_kafka_queue_get_consumer},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{IsError, KafkaError, KafkaResult},
    topic_partition_list::TopicPartitionListElem,
};

/// Sends the offsets on their way. The answer comes to the context's `commit_callback` in a later poll.
pub(super) fn in_background<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    offsets: &TopicPartitionList,
) -> KafkaResult<()> {
    let client = consumer.client().native_ptr();
    // SAFETY: the client lives as long as `consumer` is borrowed. librdkafka copies the list, and keeps a reference of
    // its own to the queue for the answer, so that ours is given back at once. No callback is named, so the answer
    // becomes an event of that queue, which is the one that `BaseConsumer::poll` reads.
    let code = unsafe {
        let queue = rd_kafka_queue_get_consumer(client);
        if queue.is_null() {
            return Err(KafkaError::ClientCreation("the consumer has no queue".to_owned()));
        }
        let code = rd_kafka_commit_queue(client, offsets.ptr(), queue, None, std::ptr::null_mut());
        rd_kafka_queue_destroy(queue);
        code
    };
    if code.is_error() { Err(KafkaError::ConsumerCommit(code.into())) } else { Ok(()) }
}

/// How far a partition is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The next offset.
    pub(super) next: i64,
    /// From where on the partition has to be read to fill windows again; it stands in the commit's metadata. `None` where
    /// nothing is to be filled.
    pub(super) oldest: Option<i64>,
}

/// What the metadata of our commits begins with; the offset follows.
const OLDEST: &str = "strayd/1 oldest=";

impl Mark {
    fn metadata(self) -> Option<String> {
        self.oldest.map(|oldest| format!("{OLDEST}{oldest}"))
    }

    /// Another program, or a person, may have committed whatever they like.
    fn of(next: i64, metadata: &[u8]) -> Self {
        let text = std::str::from_utf8(metadata).unwrap_or_default();
        let oldest = text.strip_prefix(OLDEST).and_then(|oldest| oldest.parse().ok());
        Self { next, oldest: oldest.filter(|oldest| (0..=next).contains(oldest)) }
    }
}

/// The marks as a list for the broker.
pub(super) fn list(topic: &str, marks: &BTreeMap<i32, Mark>) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, mark) in marks {
        let mut element = list.add_partition(topic, *partition);
        element.set_offset(Offset::Offset(mark.next))?;
        if let Some(metadata) = mark.metadata() {
            element.set_metadata(metadata);
        }
    }
    Ok(list)
}

/// What the group has committed of these partitions, as far as it has; the broker has `wait` to tell.
pub(super) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    wait: Duration,
) -> KafkaResult<BTreeMap<i32, Mark>> {
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(topic, *partition);
    }
    Ok(marks(&consumer.committed_offsets(list, wait)?))
}

/// The marks of a list that a client gave, as far as it has any.
pub(super) fn marks(list: &TopicPartitionList) -> BTreeMap<i32, Mark> {
    let mark = |(at, element): (usize, &TopicPartitionListElem<'_>)| match element.offset() {
        Offset::Offset(next) => Some((element.partition(), Mark::of(next, metadata(list, at)))),
        _ => None,
    };
    list.elements().iter().enumerate().filter_map(mark).collect()
}

/// Metadata of the element at this place of the list. rdkafka's own accessor ends the program on bytes that are no text.
fn metadata(list: &TopicPartitionList, at: usize) -> &[u8] {
    assert!(at < list.count(), "{at} is the place of none of {} elements", list.count());
    // SAFETY: the list has `count` elements in a row, and lives for as long as it is borrowed. Its metadata is a block of
    // `metadata_size` bytes, or null.
    unsafe {
        let element = &*(*list.ptr()).elems.add(at);
        match element.metadata.is_null() {
            true => &[],
            false => std::slice::from_raw_parts(element.metadata.cast(), element.metadata_size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_a_commit_says_from_where_on_windows_are_filled_and_that_of_others_says_nothing() {
        let mark = Mark { next: 90, oldest: Some(17) };
        let list = list("t", &BTreeMap::from([(0, mark), (3, Mark { next: 5, oldest: None })])).unwrap();
        let read: Vec<Mark> =
            [90, 5].into_iter().enumerate().map(|(at, next)| Mark::of(next, metadata(&list, at))).collect();
        assert_eq!(read, [mark, Mark { next: 5, oldest: None }]);
        for foreign in [&b"\xff\xfe"[..], b"", b"strayd/1 oldest=", b"strayd/1 oldest=91", b"strayd/1 oldest=-4", b"17"]
        {
            assert_eq!(Mark::of(90, foreign), Mark { next: 90, oldest: None }, "{foreign:?}");
        }
    }
}
