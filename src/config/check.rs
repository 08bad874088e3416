//! From what is written to what is meant. Types and ranges of single values were checked by [`super::shape`]; here is
//! what needs a parser of its own or hangs on several values.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    check_format, check_judging, check_network, check_record,
    error::Problems,
    raw::{Raw, RawHttp, RawKafka, RawLog, RawPipeline, RawRuntime},
    raw_model::{RawForeign, RawModel},
    settings::{
        DeviceChoice, EventFormat, ForeignSettings, HttpSettings, KafkaSettings, LogSettings, ModelSettings,
        OutputFormat, PipelineSettings, RuntimeSettings, Settings,
    },
};
use crate::{
    kafka,
    schemas::{OutputSchemas, SchemaRegistrySettings},
    telemetry::log,
};

/// Checks everything and adds to `problems`; the settings may only be used if there are none.
pub(super) fn settings(raw: Raw, problems: &mut Problems) -> Settings {
    let schema_registry = check_format::needed_registry(&raw, problems);
    let kafka = kafka_settings((raw.kafka, schema_registry.as_ref()), problems);
    let record = check_record::record(raw.record, schema_registry.as_ref(), problems);
    let training = check_network::training(raw.training, &raw.model, (raw.preset, &record.features), problems);
    // Nothing can be reckoned with what is wrong.
    if !["record", "model", "training"].iter().any(|section| problems.concern_table(section)) {
        check_network::size(&training, &record.features, problems);
    }
    let judging = check_judging::judging(raw.judging, &record.features, problems);
    Settings {
        preset: raw.preset,
        role: raw.role,
        kafka,
        record,
        schema_registry,
        model: model(raw.model, problems),
        training,
        judging,
        pipeline: pipeline(&raw.pipeline),
        http: http(raw.http, problems),
        log: logging(raw.log, problems),
        runtime: runtime(raw.runtime, problems),
    }
}

/// An empty name would be taken for a file that is not there, or for the working directory.
fn file(written: Option<PathBuf>, key: &str, problems: &mut Problems) -> Option<PathBuf> {
    if written.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
        problems.push(key, "is empty", "the name of a file, or null");
    }
    written
}

fn kafka_settings(
    (raw, registry): (RawKafka, Option<&SchemaRegistrySettings>),
    problems: &mut Problems,
) -> KafkaSettings {
    for broker in raw.brokers.iter().flat_map(|brokers| brokers.split(',')) {
        if !is_broker(broker.trim()) {
            problems.push("kafka.brokers", format!("`{broker}` is no address"), "host:port, comma separated");
        }
    }
    topics(&raw, problems);
    if raw.group.trim().is_empty() {
        problems.push("kafka.group", "is empty", "a name");
    }
    if let Some(problem) = raw.group_instance_id.as_deref().and_then(instance_problem) {
        let expected = "1 to 249 of letters, digits, `.`, `_`, `-`, of this process alone, or null";
        problems.push("kafka.group_instance_id", problem, expected);
    }
    for key in raw.secrets.keys().filter(|key| raw.properties.contains_key(*key)) {
        let problem = "is also set in kafka.properties";
        problems.push(format!("kafka.secrets.{key}"), problem, "the key in one of the two");
    }
    for (key, _) in raw.secrets.iter().filter(|(_, file)| file.as_os_str().is_empty()) {
        problems.push(format!("kafka.secrets.{key}"), "names no file", "a file with the secret");
    }
    if raw.transactional_id.as_ref().is_some_and(|id| id.trim().is_empty()) {
        problems.push("kafka.transactional_id", "is empty", "a name of this process alone, or null");
    }
    group_protocol(&raw, problems);
    let settings = KafkaSettings {
        brokers: raw.brokers.unwrap_or_default(),
        input_topic: raw.input_topic.unwrap_or_default(),
        group: raw.group,
        group_instance_id: raw.group_instance_id,
        start: raw.start,
        on_loss: raw.on_loss,
        delivery: raw.delivery,
        transactional_id: raw.transactional_id,
        anomaly_topic: raw.anomaly_topic,
        incident_topic: raw.incident_topic,
        feedback_topic: raw.feedback_topic,
        dead_letter_topic: raw.dead_letter_topic,
        output_format: match (raw.output_format, registry) {
            (EventFormat::Avro, Some(registry)) => OutputFormat::Avro(OutputSchemas::new(registry.clone())),
            _ => OutputFormat::Json,
        },
        state_topic: raw.state_topic,
        properties: raw.properties,
        secrets: raw.secrets,
        oauth_token_file: file(raw.oauth_token_file, "kafka.oauth_token_file", problems),
    };
    for found in kafka::check(&settings) {
        problems.push(found.key, found.problem, found.expected);
    }
    settings
}

/// What a broker would refuse when the group is joined, long after the start.
fn instance_problem(id: &str) -> Option<String> {
    match id {
        "" => Some("is empty".to_owned()),
        _ if !is_kafka_name(id) => Some(format!("`{id}` is no name of a member")),
        _ => None,
    }
}

/// Whether Kafka takes it as the name of a topic or of a member of a group.
fn is_kafka_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.chars().all(legal)
}

/// `host:port`, `[v6]:port`, with an optional `scheme://` as librdkafka takes it.
fn is_broker(text: &str) -> bool {
    let address = text.split_once("://").map_or(text, |(_, address)| address);
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let plain = !host.is_empty() && !host.contains([':', '/', ' ', '[', ']']);
    (bracketed || plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn topics(raw: &RawKafka, problems: &mut Problems) {
    let named = [
        ("kafka.input_topic", raw.input_topic.as_deref()),
        ("kafka.anomaly_topic", Some(raw.anomaly_topic.as_str())),
        ("kafka.incident_topic", raw.incident_topic.as_deref()),
        ("kafka.feedback_topic", raw.feedback_topic.as_deref()),
        ("kafka.dead_letter_topic", Some(raw.dead_letter_topic.as_str())),
        ("kafka.state_topic", raw.state_topic.as_deref()),
    ];
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (key, topic) in named.into_iter().filter_map(|(key, topic)| Some((key, topic?))) {
        if !is_kafka_name(topic) {
            problems.push(key, format!("`{topic}` is no topic name"), "1 to 249 of letters, digits, `.`, `_`, `-`");
        } else if let Some((other, _)) = seen.iter().find(|(_, name)| *name == topic) {
            problems.push(key, format!("`{topic}` is also {other}"), "a topic of its own");
        }
        seen.push((key, topic));
    }
}

/// With the broker-side protocol of KIP-848 the broker owns these; librdkafka would refuse to start.
fn group_protocol(raw: &RawKafka, problems: &mut Problems) {
    // A key may be meant for the consumer alone; the producer has no group.
    let plain = |key: &str| key.strip_prefix("consumer.").unwrap_or(key).to_owned();
    let by_broker =
        |(key, value): (&String, &String)| plain(key) == "group.protocol" && value.eq_ignore_ascii_case("consumer");
    if !raw.properties.iter().any(by_broker) {
        return;
    }
    let owned = ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy", "group.protocol.type"];
    for key in raw.properties.keys().filter(|key| owned.contains(&plain(key).as_str())) {
        let problem = "can't be set with group.protocol=consumer, where the broker decides";
        problems.push(format!("kafka.properties.{key}"), problem, "no such key, or group.protocol=classic");
    }
}

fn model(raw: RawModel, problems: &mut Problems) -> ModelSettings {
    if raw.registry.as_os_str().is_empty() {
        problems.push("model.registry", "is empty", "a directory");
    }
    ModelSettings {
        registry: raw.registry,
        keep: raw.keep,
        file: file(raw.file, "model.file", problems),
        poll_interval: raw.poll_interval.0,
        // A table of nothing but nulls says no more than no table.
        foreign: raw.foreign.map(|written| foreign(written, problems)).filter(|given| given.center.is_some()),
    }
}

fn foreign(raw: RawForeign, problems: &mut Problems) -> ForeignSettings {
    match (&raw.center, &raw.scale) {
        (Some(center), Some(scale)) if center.len() != scale.len() => {
            let problem = format!("has {} entries where model.foreign.center has {}", scale.len(), center.len());
            problems.push("model.foreign.scale", problem, "one number per column in both");
        }
        (Some(center), Some(_)) if center.is_empty() => {
            problems.push("model.foreign.center", "is empty", "one number per column, or neither center nor scale");
        }
        (Some(_), None) => problems.push("model.foreign.scale", "is not set", "both center and scale, or neither"),
        (None, Some(_)) => problems.push("model.foreign.center", "is not set", "both center and scale, or neither"),
        _ => {}
    }
    // A number that JSON holds may still be too large for 32 bits and so infinite here.
    for (index, center) in raw.center.iter().flatten().enumerate() {
        if !center.is_finite() {
            problems.push(format!("model.foreign.center[{index}]"), "is too large for 32 bits", "a finite number");
        }
    }
    for (index, scale) in raw.scale.iter().flatten().enumerate() {
        if !(scale.is_finite() && *scale > 0.0) {
            let key = format!("model.foreign.scale[{index}]");
            problems.push(key, format!("{scale} can't divide in 32 bits"), "a finite number above 0");
        }
    }
    ForeignSettings { center: raw.center, scale: raw.scale }
}

fn pipeline(raw: &RawPipeline) -> PipelineSettings {
    PipelineSettings {
        batch_rows: raw.batch_rows,
        batch_wait: raw.batch_wait.0,
        commit_interval: raw.commit_interval.0,
        max_entities: raw.max_entities,
        snapshot_interval: raw.snapshot_interval.0,
        max_rewind: raw.max_rewind,
        evict_after: raw.evict_after.map(|after| after.0),
        shutdown_deadline: raw.shutdown_deadline.0,
    }
}

fn http(raw: RawHttp, problems: &mut Problems) -> HttpSettings {
    let listen = match raw.listen.as_str() {
        "none" => None,
        text => match text.parse::<SocketAddr>() {
            Ok(address) => Some(address),
            Err(_) => {
                problems.push(
                    "http.listen",
                    format!("`{text}` is no address"),
                    "IP:PORT such as 0.0.0.0:9464, or none",
                );
                None
            }
        },
    };
    HttpSettings { listen, admin_token_file: file(raw.admin_token_file, "http.admin_token_file", problems) }
}

fn logging(raw: RawLog, problems: &mut Problems) -> LogSettings {
    if let Err(error) = log::parse_filter(&raw.level) {
        let expected = "off, error, warn, info, debug, trace, or such levels per module: info,strayd::kafka=debug";
        problems.push("log.level", error.to_string(), expected);
    }
    LogSettings { level: raw.level, format: raw.format }
}

fn runtime(raw: RawRuntime, problems: &mut Problems) -> RuntimeSettings {
    if raw.device == DeviceChoice::Cpu {
        // Whoever wrote one of these meant a GPU, and would not have it.
        let expected = "runtime.device: cuda or auto, or no such key";
        if raw.device_memory.is_some() {
            problems.push("runtime.device_memory", "limits the memory of a GPU, but runtime.device is cpu", expected);
        }
        if raw.device_id != 0 {
            problems.push("runtime.device_id", "names a GPU, but runtime.device is cpu", expected);
        }
    }
    RuntimeSettings {
        library: file(raw.library, "runtime.library", problems),
        device: raw.device,
        device_id: raw.device_id,
        device_memory: raw.device_memory.map(|size| size.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_host_and_port() {
        for good in ["localhost:9092", "kafka-0.kafka:9092", "[::1]:9092", "SSL://broker:9093", "10.0.0.1:1"] {
            assert!(is_broker(good), "{good}");
        }
        for bad in ["", "localhost", "localhost:", ":9092", "localhost:0", "localhost:70000", "::1:9092", "a b:1"] {
            assert!(!is_broker(bad), "{bad}");
        }
    }
}
