//! The demo's configuration file and the words around the show.

use std::{fmt::Write, net::SocketAddr, path::Path};

use super::{Options, data::DemoData};
use crate::{
    cli::Failure,
    config::{Loaded, Sources, settings::Settings},
    kafka::embedded::EmbeddedBroker,
    model::registry::Registry,
};

/// Writes the configuration that `strayd run` would use for these data, and clears what an earlier demo left.
pub(super) fn write_config(options: &Options, rows: usize, brokers: &str) -> Result<std::path::PathBuf, Failure> {
    let models = options.folder.join("models");
    let io = |error: std::io::Error| {
        Failure::other(&std::io::Error::new(error.kind(), format!("{}: {error}", options.folder.display())))
    };
    // A model of an earlier demo would make this one score what it is meant to train on.
    match std::fs::remove_dir_all(&models) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => std::fs::create_dir_all(&options.folder).map_err(io)?,
    }
    let file = options.folder.join("strayd.yaml");
    std::fs::write(&file, yaml(options, rows, brokers)).map_err(io)?;
    Ok(file)
}

fn yaml(options: &Options, rows: usize, brokers: &str) -> String {
    let transform = if options.data.is_counts() { "log1p" } else { "none" };
    let mut text = format!(
        "# Written by `strayd demo`. Against a real broker: change kafka.brokers and drop kafka.properties.\n\
         preset: timeseries\n\
         kafka:\n  brokers: {brokers}\n  input_topic: strayd.demo.{name}\n  group: strayd-demo\n  properties:\n",
        name = options.data.name(),
    );
    for (key, value) in EmbeddedBroker::properties() {
        // Writing to a String can't fail.
        let _ = writeln!(text, "    {key}: \"{value}\"");
    }
    let models = options.folder.join("models");
    let _ = write!(
        text,
        "record:\n  entity: key\n  timestamp: {{field: timestamp}}\n  transform: {transform}\n\
         training:\n  rows: {rows}\n\
         model:\n  registry: {models}\n\
         http:\n  listen: 127.0.0.1:0\n\
         log:\n  level: warn\n",
        models = serde_json::Value::from(models.display().to_string()),
    );
    text
}

/// Loads the file as `strayd run` would.
pub(super) fn load(file: &Path) -> Result<Loaded, Failure> {
    Ok(Settings::load(&Sources { file: Some(file.to_path_buf()), ..Sources::default() })?)
}

/// The topics that have to exist.
pub(super) fn topics(settings: &Settings) -> [&str; 3] {
    [&settings.kafka.input_topic, &settings.kafka.anomaly_topic, &settings.kafka.dead_letter_topic]
}

/// The model that the demo made.
pub(super) fn model_file(settings: &Settings) -> String {
    let model = Registry::new(&settings.model.registry).current().ok().flatten();
    model
        .map(|model| settings.model.registry.join(format!("{}.onnx", model.version)).display().to_string())
        .unwrap_or_default()
}

/// What is said before the show.
pub(super) fn opening(options: &Options, loaded: &Loaded, brokers: &str, http: Option<SocketAddr>) -> String {
    let kafka = &loaded.settings.kafka;
    let mut text = format!(
        "data      {}\nbroker    {brokers} (embedded; join with: kcat -b {brokers} -t {} -C)\n",
        options.data.title(),
        kafka.anomaly_topic,
    );
    if let Some(address) = http {
        let _ = writeln!(text, "metrics   http://{address}/metrics (also /readyz, /status)");
    }
    let _ =
        writeln!(text, "sample    {} records, then every record is scored as it comes", loaded.settings.training.rows);
    text
}

/// What is said after the summary.
pub(super) fn closing(options: &Options, file: &Path) -> String {
    let again = match options.data {
        DemoData::Server => "make demo ARGS=\"--data mentions\" shows user engagement",
        DemoData::Mentions => "make demo shows a server's metrics",
    };
    let stay = if options.keep_running { "\nEverything stays up until Ctrl-C." } else { "" };
    format!(
        "The same against a real broker: set kafka.brokers and drop kafka.properties in the file, then\n  \
         strayd run --config {}\n{again}.{stay}",
        file.display()
    )
}
