//! From checked settings to librdkafka's.

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, DefaultConsumerContext},
    error::{KafkaError as ClientError, KafkaResult},
    producer::BaseProducer,
    types::RDKafkaConfRes,
};

use super::KafkaError;
use crate::config::{
    secret,
    settings::{DeliveryGuarantee, KafkaSettings, StartAt},
};

/// What strayd sets itself, and why nobody else may.
const OWNED: [(&str, &str); 13] = [
    ("bootstrap.servers", "kafka.brokers"),
    ("metadata.broker.list", "kafka.brokers"),
    ("group.id", "kafka.group"),
    ("group.instance.id", "kafka.group_instance_id"),
    ("auto.offset.reset", "kafka.start"),
    ("enable.auto.commit", "an offset moves only after its record has ended"),
    ("enable.auto.offset.store", "an offset moves only after its record has ended"),
    ("enable.partition.eof", "the source never ends"),
    ("delivery.timeout.ms", "an anomaly waits for its broker as long as it takes"),
    ("message.timeout.ms", "an anomaly waits for its broker as long as it takes"),
    ("transactional.id", "kafka.transactional_id"),
    ("enable.sasl.oauthbearer.unsecure.jwt", "kafka.oauth_token_file"),
    ("sasl.oauthbearer.config", "kafka.oauth_token_file"),
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
    if let Some(id) = &settings.group_instance_id {
        config.set("group.instance.id", id);
    }
    overlay(&mut config, settings, Side::Consumer)?;
    Ok(config)
}

/// librdkafka's settings of the producer.
pub(super) fn producer(settings: &KafkaSettings) -> Result<ClientConfig, KafkaError> {
    let mut config = any_producer(settings);
    // For ever: a broker that is away costs time, never an anomaly. What waits is bounded by the pipeline.
    config.set("message.timeout.ms", "0");
    overlay(&mut config, settings, Side::Producer)?;
    Ok(config)
}

/// librdkafka's settings of the producer that writes in transactions. A message that can't be sent within the
/// transaction's timeout fails with it, and both are tried again.
pub(super) fn transactional_producer(settings: &KafkaSettings) -> Result<ClientConfig, KafkaError> {
    let mut config = any_producer(settings);
    let of_host = || format!("{}-{}", settings.group, rustix::system::uname().nodename().to_string_lossy());
    config
        .set("transactional.id", settings.transactional_id.clone().unwrap_or_else(of_host))
        // What a process that was killed left open keeps consumers waiting until the broker aborts it.
        .set("transaction.timeout.ms", "30000");
    overlay(&mut config, settings, Side::Producer)?;
    Ok(config)
}

/// librdkafka's settings of the client that makes topics.
pub(super) fn admin(settings: &KafkaSettings) -> Result<ClientConfig, KafkaError> {
    let mut config = common(settings);
    overlay(&mut config, settings, Side::Producer)?;
    Ok(config)
}

fn any_producer(settings: &KafkaSettings) -> ClientConfig {
    let mut config = common(settings);
    config
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        // What is too large is the broker's to say: a dead letter may be as large as the record that it holds.
        .set("message.max.bytes", "1000000000");
    config
}

/// One thing that is wrong with `kafka.properties` or `kafka.secrets`. No text holds a value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaProblem {
    /// The whole key, such as `kafka.properties.linger.ms`.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub expected: &'static str,
}

/// Every key that strayd owns, that librdkafka doesn't know, or whose value librdkafka refuses. Looks at nothing but
/// the settings.
pub fn check(settings: &KafkaSettings) -> Vec<KafkaProblem> {
    let properties = settings.properties.iter().map(|(key, value)| ("properties", key, Some(value.as_str())));
    let secrets = settings.secrets.keys().map(|key| ("secrets", key, None));
    let keys = properties.chain(secrets).filter_map(|(table, key, value)| check_key(table, key, value));
    keys.chain(check_token(settings)).collect()
}

/// A token that no broker asks for, or none where they do.
fn check_token(settings: &KafkaSettings) -> Option<KafkaProblem> {
    let value = |key: &str| settings.properties.iter().find(|(given, _)| without_side(given) == key).map(|(_, v)| v);
    let mechanism = value("sasl.mechanism").or_else(|| value("sasl.mechanisms"));
    let is_bearer = mechanism.is_some_and(|mechanism| mechanism == "OAUTHBEARER");
    // librdkafka's own client of identity providers takes no file; where it isn't built in, its keys are refused.
    let is_oidc = value("sasl.oauthbearer.method").is_some();
    let (problem, expected) = match (&settings.oauth_token_file, is_bearer) {
        (None, true) if !is_oidc => {
            ("is not set, but kafka.properties.sasl.mechanism is OAUTHBEARER", "a file with a token")
        }
        (Some(_), false) => ("is shown to nobody", "kafka.properties.sasl.mechanism: OAUTHBEARER, or no such file"),
        _ => return None,
    };
    Some(KafkaProblem { key: "kafka.oauth_token_file".into(), problem: problem.into(), expected })
}

/// The key without the prefix that says which client it is for.
pub(super) fn without_side(key: &str) -> &str {
    key.strip_prefix("consumer.").or_else(|| key.strip_prefix("producer.")).unwrap_or(key)
}

/// `value` is `None` where it stands in a file.
fn check_key(table: &str, key: &str, value: Option<&str>) -> Option<KafkaProblem> {
    let told =
        |problem: String, expected| Some(KafkaProblem { key: format!("kafka.{table}.{key}"), problem, expected });
    for side in [Side::Consumer, Side::Producer] {
        let plain = match of_side(key, side) {
            Ok(Some(plain)) => plain,
            Ok(None) => continue,
            Err(KafkaError::Owned { why, .. }) => {
                let is_key = why.starts_with("kafka.");
                let expected = if is_key { "that key, which strayd has for it" } else { "no such key" };
                return told(format!("is set by strayd itself ({why})"), expected);
            }
            Err(other) => return told(other.to_string(), "another key"),
        };
        let given = value.unwrap_or_default();
        match ClientConfig::new().set(plain, given).create_native_config() {
            Err(ClientError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
                return told("is not known to librdkafka".to_owned(), "a key of librdkafka's CONFIGURATION.md");
            }
            Err(ClientError::ClientConfig(_, what, ..)) if value.is_some() => {
                return told(format!("is refused: {}", hidden(&what, given)), "a value that librdkafka takes");
            }
            _ => {}
        }
    }
    None
}

/// Every secret that can't be read, or is none.
pub fn check_secrets(settings: &KafkaSettings) -> Vec<KafkaProblem> {
    let unreadable = settings.secrets.iter().filter_map(|(key, file)| {
        let problem = secret::unreadable(file)?;
        Some(KafkaProblem { key: format!("kafka.secrets.{key}"), problem, expected: "a file with the secret" })
    });
    unreadable.collect()
}

/// What is told only when both clients are made: files that are not there, settings that contradict each other. Nothing
/// is sent to any broker.
pub fn check_clients(settings: &KafkaSettings) -> Vec<KafkaProblem> {
    let consumer = consumer(settings).and_then(|config| {
        made(&config, |config| config.create_with_context::<_, BaseConsumer>(DefaultConsumerContext).map(drop))
    });
    let producer = match settings.delivery {
        DeliveryGuarantee::AtLeastOnce => producer(settings),
        DeliveryGuarantee::ExactlyOnce => transactional_producer(settings),
    };
    let producer = producer.and_then(|config| made(&config, |config| config.create::<BaseProducer>().map(drop)));
    let mut problems: Vec<KafkaProblem> = Vec::new();
    for problem in [consumer, producer].into_iter().filter_map(Result::err).map(|error| error.to_string()) {
        // What is wrong for both clients is told once.
        if problems.iter().all(|known| known.problem != problem) {
            problems.push(KafkaProblem { key: "kafka".into(), problem, expected: "settings that librdkafka takes" });
        }
    }
    problems
}

/// Makes the client without an address, so that it connects to nothing.
fn made(config: &ClientConfig, make: impl Fn(&ClientConfig) -> KafkaResult<()>) -> Result<(), KafkaError> {
    let mut config = config.clone();
    config.remove("bootstrap.servers");
    Ok(make(&config)?)
}

/// The text without the value, which may be a secret.
pub(super) fn hidden(what: &str, value: &str) -> String {
    if value.is_empty() { what.to_owned() } else { what.replace(value, "***") }
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
    use crate::config::settings::{OnLoss, OutputFormat};

    fn settings(properties: &[(&str, &str)]) -> KafkaSettings {
        KafkaSettings {
            brokers: "localhost:1".into(),
            input_topic: "in".into(),
            group: "g".into(),
            group_instance_id: None,
            start: StartAt::Earliest,
            on_loss: OnLoss::Continue,
            delivery: DeliveryGuarantee::AtLeastOnce,
            transactional_id: None,
            anomaly_topic: "a".into(),
            incident_topic: Some("i".into()),
            feedback_topic: None,
            dead_letter_topic: "d".into(),
            output_format: OutputFormat::Json,
            state_topic: None,
            properties: properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            secrets: BTreeMap::new(),
            oauth_token_file: None,
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
    fn a_member_with_a_name_of_its_own_is_named_to_the_consumer_alone() {
        let named = KafkaSettings { group_instance_id: Some("pump-0".into()), ..settings(&[]) };
        assert_eq!(consumer(&named).unwrap().get("group.instance.id"), Some("pump-0"));
        assert_eq!(producer(&named).unwrap().get("group.instance.id"), None);
        assert_eq!(consumer(&settings(&[])).unwrap().get("group.instance.id"), None);
        let told = check(&settings(&[("consumer.group.instance.id", "pump-0")]));
        assert_eq!(
            (told[0].problem.as_str(), told[0].expected),
            ("is set by strayd itself (kafka.group_instance_id)", "that key, which strayd has for it")
        );
    }

    #[test]
    fn every_key_that_can_not_be_used_is_told_and_no_value() {
        let mut settings = settings(&[
            ("group.id", "x"),
            ("lingr.ms", "hunter2"),
            ("producer.linger.ms", "hunter3"),
            ("consumer.bootstrap.servers", "x"),
            ("sasl.password", "hunter4"),
            ("security.protocol", "SASL_SSL"),
        ]);
        settings.secrets.insert("sasl.pasword".into(), "/nonexistent/file".into());
        settings.secrets.insert("ssl.key.password".into(), "/nonexistent/file".into());
        let problems = check(&settings);
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "kafka.properties.consumer.bootstrap.servers",
                "kafka.properties.group.id",
                "kafka.properties.lingr.ms",
                "kafka.properties.producer.linger.ms",
                "kafka.secrets.sasl.pasword",
            ]
        );
        assert!(!format!("{problems:?}").contains("hunter"), "{problems:?}");
        let error = KafkaError::from(
            producer(&settings_with("linger.ms", "hunter3")).unwrap().create_native_config().err().unwrap(),
        );
        assert!(error.to_string().contains("linger.ms") && !error.to_string().contains("hunter"), "{error}");
    }

    fn settings_with(key: &str, value: &str) -> KafkaSettings {
        settings(&[(key, value)])
    }

    #[test]
    fn what_only_a_client_can_tell_is_told_without_a_broker() {
        assert_eq!(check_clients(&settings(&[])), []);
        let mut missing = settings(&[]);
        missing.secrets.insert("sasl.password".into(), "/nonexistent/one".into());
        missing.secrets.insert("ssl.key.password".into(), "/nonexistent/other".into());
        let problems = check_secrets(&missing);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].problem.starts_with("the file that it names can't be read: No such"), "{problems:?}");
        assert!(!format!("{problems:?}").contains("nonexistent"), "{problems:?}");
        let absent = check_clients(&settings(&[("security.protocol", "SSL"), ("ssl.ca.location", "/nonexistent/ca")]));
        assert_eq!(absent.len(), 1, "{absent:?}");
        assert!(absent[0].problem.contains("ssl.ca.location"), "{absent:?}");
    }

    #[test]
    fn a_token_goes_with_the_mechanism_that_shows_it() {
        let told = |settings: &KafkaSettings| -> Vec<String> {
            check(settings).into_iter().map(|problem| format!("{}: {}", problem.key, problem.problem)).collect()
        };
        let mut bearer = settings(&[("sasl.mechanism", "OAUTHBEARER"), ("security.protocol", "SASL_SSL")]);
        let missing = told(&bearer);
        assert!(missing.len() == 1 && missing[0].starts_with("kafka.oauth_token_file: is not set"), "{missing:?}");
        bearer.oauth_token_file = Some("/run/token".into());
        assert_eq!(told(&bearer), [""; 0]);
        bearer.properties.insert("sasl.mechanism".into(), "PLAIN".into());
        assert_eq!(told(&bearer), ["kafka.oauth_token_file: is shown to nobody"]);
        let unsecured = told(&settings(&[("enable.sasl.oauthbearer.unsecure.jwt", "true")]));
        assert!(unsecured[0].contains("set by strayd itself (kafka.oauth_token_file)"), "{unsecured:?}");
        // This build has no libcurl.
        let oidc = told(&settings(&[("sasl.mechanisms", "OAUTHBEARER"), ("sasl.oauthbearer.method", "oidc")]));
        assert!(oidc.len() == 1 && oidc[0].contains("sasl.oauthbearer.method: is refused"), "{oidc:?}");
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
