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

/// How long the broker may take to tell what is committed.
const COMMITTED_WAIT: Duration = Duration::from_secs(5);

/// What the group has committed of these partitions, as far as it has.
pub(super) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
) -> KafkaResult<BTreeMap<i32, i64>> {
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(topic, *partition);
    }
    let found = consumer.committed_offsets(list, COMMITTED_WAIT)?;
    let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
    let elements = found.elements();
    Ok(elements.iter().filter_map(|one| Some((one.partition(), offset(one.offset())?))).collect())
}
