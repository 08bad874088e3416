//! From checked settings to librdkafka's.

use rdkafka::ClientConfig;

use super::KafkaError;
use crate::config::settings::{KafkaSettings, StartAt};

/// What strayd sets itself, and why nobody else may.
const OWNED: [(&str, &str); 9] = [
    ("bootstrap.servers", "kafka.brokers"),
    ("metadata.broker.list", "kafka.brokers"),
    ("group.id", "kafka.group"),
    ("auto.offset.reset", "kafka.start"),
    ("enable.auto.commit", "an offset moves only after its record has ended"),
    ("enable.auto.offset.store", "an offset moves only after its record has ended"),
    ("enable.partition.eof", "the source never ends"),
    ("delivery.timeout.ms", "an anomaly waits for its broker as long as it takes"),
    ("message.timeout.ms", "an anomaly waits for its broker as long as it takes"),
];

/// Which client a setting is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Consumer,
    Producer,
}

/// librdkafka's settings of the consumer.
pub(super) fn consumer(settings: &KafkaSettings) -> Result<ClientConfig, KafkaError> {
    let mut config = common(settings);
    config
        .set("group.id", &settings.group)
        .set("auto.offset.reset", if settings.start == StartAt::Earliest { "earliest" } else { "latest" })
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // The default of a second stalls a consumer that is slower than the fetcher each time a queue fills.
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.min.messages", "100000")
        .set("fetch.message.max.bytes", "4194304")
        .set("fetch.wait.max.ms", "50")
        // A topic that appears later is noticed within seconds.
        .set("topic.metadata.refresh.interval.ms", "5000");
    let new_protocol = settings.properties.iter().any(|(key, value)| {
        key.trim_start_matches("consumer.") == "group.protocol" && value.eq_ignore_ascii_case("consumer")
    });
    if !new_protocol {
        // Under KIP-848 the broker assigns, and the client must not say how.
        config.set("partition.assignment.strategy", "cooperative-sticky");
    }
    overlay(&mut config, settings, Side::Consumer)?;
    Ok(config)
}

/// librdkafka's settings of the producer.
pub(super) fn producer(settings: &KafkaSettings) -> Result<ClientConfig, KafkaError> {
    let mut config = common(settings);
    config
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        // What is too large is the broker's to say: a dead letter may be as large as the record that it holds.
        .set("message.max.bytes", "1000000000")
        // For ever: a broker that is away costs time, never an anomaly. What waits is bounded by the pipeline.
        .set("message.timeout.ms", "0");
    overlay(&mut config, settings, Side::Producer)?;
    Ok(config)
}

fn common(settings: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("client.id", "strayd")
        .set("statistics.interval.ms", "500")
        .set("reconnect.backoff.max.ms", "5000");
    config
}

/// Puts `kafka.properties` and `kafka.secrets` over our own; keys with the other client's prefix are left out.
fn overlay(config: &mut ClientConfig, settings: &KafkaSettings, side: Side) -> Result<(), KafkaError> {
    for (key, value) in &settings.properties {
        if let Some(key) = of_side(key, side)? {
            config.set(key, value);
        }
    }
    for (key, file) in &settings.secrets {
        let Some(plain) = of_side(key, side)? else { continue };
        let secret = std::fs::read_to_string(file).map_err(|cause| KafkaError::Secret {
            key: key.clone(),
            file: file.display().to_string(),
            cause,
        })?;
        config.set(plain, secret.trim_end_matches(['\r', '\n']));
    }
    Ok(())
}

fn of_side(key: &str, side: Side) -> Result<Option<&str>, KafkaError> {
    let (plain, wanted) = match (key.strip_prefix("consumer."), key.strip_prefix("producer.")) {
        (Some(plain), _) => (plain, side == Side::Consumer),
        (_, Some(plain)) => (plain, side == Side::Producer),
        (None, None) => (key, side == Side::Consumer || !is_consumer_only(key)),
    };
    match OWNED.iter().find(|(owned, _)| *owned == plain) {
        Some((_, why)) => Err(KafkaError::Owned { key: key.to_owned(), why }),
        None => Ok(wanted.then_some(plain)),
    }
}

/// Settings without prefix that only a consumer knows; the producer would warn of them.
fn is_consumer_only(key: &str) -> bool {
    const PREFIXES: [&str; 6] = ["group.", "fetch.", "session.", "heartbeat.", "partition.assignment", "max.poll"];
    PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn settings(properties: &[(&str, &str)]) -> KafkaSettings {
        KafkaSettings {
            brokers: "localhost:1".into(),
            input_topic: "in".into(),
            group: "g".into(),
            start: StartAt::Earliest,
            anomaly_topic: "a".into(),
            dead_letter_topic: "d".into(),
            properties: properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            secrets: BTreeMap::new(),
        }
    }

    #[test]
    fn properties_reach_the_client_that_they_are_for() {
        let settings =
            settings(&[("consumer.client.rack", "r1"), ("producer.linger.ms", "7"), ("fetch.wait.max.ms", "1")]);
        let (consumer, producer) = (consumer(&settings).unwrap(), producer(&settings).unwrap());
        assert_eq!(consumer.get("client.rack"), Some("r1"));
        assert_eq!(consumer.get("fetch.wait.max.ms"), Some("1"));
        assert_eq!((producer.get("client.rack"), producer.get("fetch.wait.max.ms")), (None, None));
        assert_eq!((producer.get("linger.ms"), consumer.get("linger.ms")), (Some("7"), None));
    }

    #[test]
    fn settings_that_strayd_owns_are_refused_by_name_with_any_prefix() {
        for key in ["enable.auto.commit", "consumer.group.id", "producer.message.timeout.ms"] {
            let error = consumer(&settings(&[(key, "x")])).unwrap_err();
            assert!(error.to_string().contains(key) && error.is_config(), "{error}");
        }
    }

    #[test]
    fn the_new_group_protocol_leaves_assignment_to_the_broker() {
        assert_eq!(consumer(&settings(&[])).unwrap().get("partition.assignment.strategy"), Some("cooperative-sticky"));
        assert_eq!(
            consumer(&settings(&[("group.protocol", "consumer")])).unwrap().get("partition.assignment.strategy"),
            None
        );
    }

    #[test]
    fn secrets_come_from_files_without_their_last_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "hunter2\n").unwrap();
        let mut settings = settings(&[]);
        settings.secrets.insert("sasl.password".into(), file);
        assert_eq!(producer(&settings).unwrap().get("sasl.password"), Some("hunter2"));
        settings.secrets.insert("ssl.key.password".into(), "/nonexistent/file".into());
        assert!(producer(&settings).unwrap_err().to_string().contains("/nonexistent/file"));
    }
}
