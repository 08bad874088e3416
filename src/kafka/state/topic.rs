//! Whether the state topic can be used: there, compacted, with as many partitions as the input topic.

use std::time::Duration;

use rdkafka::{
    ClientContext,
    admin::{AdminClient, AdminOptions, ConfigResource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication},
    client::{Client, DefaultClientContext},
    error::RDKafkaErrorCode,
};

/// How long the broker may take for each answer.
const WAIT: Duration = Duration::from_secs(5);
/// Snapshots younger than this are never compacted away: far longer than a commit can lag behind.
const COMPACTION_LAG: &str = "3600000";

/// What looks after the topic.
pub(super) struct Admin<'a> {
    pub(super) client: &'a AdminClient<DefaultClientContext>,
    pub(super) runtime: &'a tokio::runtime::Runtime,
    pub(super) topic: &'a str,
}

impl Admin<'_> {
    /// Makes the topic, or adds the partitions that it lacks.
    ///
    /// # Errors
    /// What is wrong with the topic, and what would be right.
    pub(super) fn prepare(
        &self,
        input: &str,
        partitions: &dyn Fn(&str) -> Result<Option<usize>, String>,
    ) -> Result<(), String> {
        let wanted = partitions(input)?.filter(|count| *count > 0);
        let Some(wanted) = wanted else { return Err(format!("the topic `{input}` does not exist (yet)")) };
        match partitions(self.topic)? {
            None | Some(0) => self.create(wanted),
            Some(there) if there < wanted => self.add(wanted),
            Some(_) => self.check(),
        }
    }

    fn create(&self, partitions: usize) -> Result<(), String> {
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        let topic = NewTopic::new(self.topic, count, TopicReplication::Fixed(-1))
            .set("cleanup.policy", "compact")
            .set("min.compaction.lag.ms", COMPACTION_LAG);
        let created = self.runtime.block_on(self.client.create_topics([&topic], &options()));
        let failed = match created {
            Ok(results) => results.into_iter().find_map(Result::err).map(|(_, code)| code),
            Err(error) => error.rdkafka_error_code(),
        };
        match failed {
            None => {
                tracing::info!(topic = self.topic, partitions, "the state topic is made");
                Ok(())
            }
            Some(RDKafkaErrorCode::TopicAlreadyExists) => Ok(()),
            // No broker of Apache Kafka lacks it: it is one for tests, which makes topics on its own.
            Some(RDKafkaErrorCode::UnsupportedFeature) => {
                tracing::warn!(
                    topic = self.topic,
                    "the broker can't be asked to make a topic: it has to do so by itself"
                );
                Ok(())
            }
            Some(code) => Err(format!(
                "the topic `{0}` does not exist and can't be made: {code}; expected one with {partitions} partitions and \
                 cleanup.policy=compact, min.compaction.lag.ms={COMPACTION_LAG}, or the right to make it, or kafka.state_topic: null",
                self.topic
            )),
        }
    }

    fn add(&self, wanted: usize) -> Result<(), String> {
        let more = NewPartitions::new(self.topic, wanted);
        let added = self.runtime.block_on(self.client.create_partitions([&more], &options()));
        let failed = match added {
            Ok(results) => results.into_iter().find_map(Result::err).map(|(_, code)| code),
            Err(error) => error.rdkafka_error_code(),
        };
        match failed {
            None => Ok(()),
            Some(code) => Err(format!(
                "the topic `{}` has fewer partitions than the input topic, which has {wanted}, and they can't be added: {code}",
                self.topic
            )),
        }
    }

    /// Whether the topic is compacted, as far as we may know.
    fn check(&self) -> Result<(), String> {
        let asked = [ResourceSpecifier::Topic(self.topic)];
        let told = self.runtime.block_on(self.client.describe_configs(&asked, &options()));
        let resource = match told.map(|resources| resources.into_iter().next()) {
            Ok(Some(Ok(resource))) => resource,
            other => {
                let why = other.err().map(|error| error.to_string());
                tracing::debug!(topic = self.topic, ?why, "whether the state topic is compacted is not known");
                return Ok(());
            }
        };
        match value(&resource, "cleanup.policy") {
            Some(policy) if !policy.split(',').any(|word| word.trim() == "compact") => Err(format!(
                "the topic `{}` has cleanup.policy={policy}, so that snapshots are deleted; expected compact",
                self.topic
            )),
            _ => Ok(()),
        }
    }
}

/// Partitions of a topic; `None` where there is none of this name.
pub(super) fn partitions<C: ClientContext>(client: &Client<C>, topic: &str) -> Result<Option<usize>, String> {
    let metadata = client.fetch_metadata(Some(topic), WAIT).map_err(|error| error.to_string())?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    match found.map(|found| (found.error(), found.partitions().len())) {
        None => Ok(None),
        Some((None, count)) => Ok(Some(count)),
        Some((Some(error), _)) => match RDKafkaErrorCode::from(error) {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => Ok(None),
            RDKafkaErrorCode::TopicAuthorizationFailed => Err(format!(
                "the broker forbids the topic `{topic}`: its ACLs must allow this user Read, Write and Describe, and Create where it is \
                 to be made; or kafka.state_topic: null"
            )),
            code => Err(format!("the topic `{topic}` can't be looked at: {code}")),
        },
    }
}

fn value<'a>(resource: &'a ConfigResource, name: &str) -> Option<&'a str> {
    resource.get(name).and_then(|entry| entry.value.as_deref())
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(WAIT)).operation_timeout(Some(WAIT))
}
