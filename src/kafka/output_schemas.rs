//! The schemas of events that are written in Avro: each topic's stands under its own subject of the registry.

use crate::{
    config::settings::{KafkaSettings, OutputFormat},
    detect::avro::EventKind,
};

/// The subject of a topic's values, as Confluent's serializers name it by default.
pub(super) fn subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// Registers the schemas of all events that are written, where they need any. To be called before a sink is made.
///
/// # Errors
/// What the registry says, or that it says nothing; it may say another thing later.
pub fn register(settings: &KafkaSettings) -> Result<(), String> {
    let OutputFormat::Avro(schemas) = &settings.output_format else { return Ok(()) };
    let anomalies = (EventKind::Anomaly, Some(settings.anomaly_topic.as_str()));
    for (kind, topic) in [anomalies, (EventKind::Incident, settings.incident_topic.as_deref())] {
        if let Some(topic) = topic {
            schemas.register(&subject(topic), kind.schema_text())?;
        }
    }
    Ok(())
}
