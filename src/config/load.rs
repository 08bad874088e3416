//! From the layers to checked settings.

use std::{env, path::PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    check, check_unused,
    error::{ConfigError, Problems},
    layers, presets, secret,
    settings::{Preset, Settings},
    shape,
};
use crate::{
    kafka::{self, KafkaProblem},
    schemas::{RegistryProblem, SchemaRegistrySettings},
};

/// Where values come from. The environment is an argument, so that tests need not touch the process's own.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// YAML, TOML or JSON, told by its extension.
    pub file: Option<PathBuf>,
    /// Variables, names with values; those that don't begin with `STRAYD__` are ignored.
    pub environment: Vec<(String, String)>,
    /// `key=value` pairs from the command line.
    pub set: Vec<String>,
    /// What follows from the data, in the file's shape: above the defaults and below all that somebody wrote.
    pub derived: Option<Value>,
}

impl Sources {
    /// A file, the environment of this process, and pairs from the command line.
    pub fn of_process(file: Option<PathBuf>, set: Vec<String>) -> Self {
        let variables = env::vars_os().map(|(name, value)| {
            // A name or value that is no Unicode can't be a good setting, and its replacement characters will show
            // that.
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        });
        Self { file, environment: variables.collect(), set, derived: None }
    }

    /// What is written in the file and on the command line, over what follows from the data, in the shape of a
    /// configuration file: without defaults, and without the environment, which belongs to a machine.
    ///
    /// # Errors
    /// A file that can't be read or parsed, and what can't be read past its problems.
    pub fn written(&self) -> Result<Value, ConfigError> {
        let mut problems = Problems::default();
        let file = self.file.as_deref().map(|path| layers::file(path, &mut problems)).transpose()?;
        let mut written: Vec<Value> = file.into_iter().collect();
        written.push(layers::command_line(&self.set, &mut problems));
        written.splice(..0, layers::derived(self.derived.as_ref(), &written));
        let value = layers::merge(Value::Object(Map::new()), written, &mut problems)?;
        if problems.is_empty() { Ok(value) } else { Err(problems.into()) }
    }
}

/// A configuration that was read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the program uses.
    pub settings: Settings,
    /// All layers merged, as it would be written in one file; secrets are shown as `***`.
    pub merged: Value,
    /// SHA-256 (hexadecimal) of all that shapes a model: `record`, `training`, `judging`, and of `model` what describes the
    /// network.
    pub training_sha256: String,
    /// Whether somebody wrote `judging.budget`, so that nothing else may take its place.
    pub budget_is_written: bool,
}

impl Settings {
    /// Reads, merges and checks all layers.
    ///
    /// # Errors
    /// A file that can't be read or parsed; or all problems with keys and values at once.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        let mut problems = Problems::default();
        let (settings, merged) = read(sources, &mut problems)?;
        finish(settings, merged, problems)
    }

    /// The same for a run against Kafka: secrets are read, and both clients are made (but not connected), so that what
    /// is wrong with them is told together with everything else.
    ///
    /// # Errors
    /// The same, and what librdkafka or the system says about `kafka.properties`, `kafka.secrets` and the files of
    /// `record.schema_registry`.
    pub fn load_with_clients(sources: &Sources) -> Result<Loaded, ConfigError> {
        let mut problems = Problems::default();
        let (settings, merged) = read(sources, &mut problems)?;
        settings.iter().for_each(|settings| settings.check_clients(&mut problems));
        finish(settings, merged, problems)
    }

    /// The same for `strayd run`, which also needs brokers and an input topic.
    ///
    /// # Errors
    /// The same, and one problem for each of the two that is not set.
    pub fn load_for_run(sources: &Sources) -> Result<Loaded, ConfigError> {
        let mut problems = Problems::default();
        let (settings, merged) = read(sources, &mut problems)?;
        if let Some(settings) = &settings {
            settings.check_clients(&mut problems);
            settings.check_kafka(&mut problems);
        }
        finish(settings, merged, problems)
    }

    fn check_clients(&self, problems: &mut Problems) {
        let registry = self.schema_registry.iter().flat_map(SchemaRegistrySettings::check_secrets);
        let registry: Vec<RegistryProblem> = registry.filter(|found| !problems.concerns(found.key)).collect();
        registry.into_iter().for_each(|found| problems.push(found.key, found.problem, found.expected));
        let mut add = |found: Vec<KafkaProblem>| {
            for found in found {
                if !problems.concerns(&found.key) {
                    problems.push(found.key, found.problem, found.expected);
                }
            }
            problems.concern_table("kafka")
        };
        // A client would only refuse once more what was refused before.
        let is_wrong = add(kafka::check_secrets(&self.kafka));
        if !is_wrong {
            add(kafka::check_clients(&self.kafka));
        }
    }

    fn check_kafka(&self, problems: &mut Problems) {
        if self.kafka.brokers.is_empty() && !problems.concerns("kafka.brokers") {
            problems.push("kafka.brokers", "is not set", "host:port, comma separated");
        }
        if self.kafka.input_topic.is_empty() && !problems.concerns("kafka.input_topic") {
            problems.push("kafka.input_topic", "is not set", "the name of a topic");
        }
    }

    /// The settings of a preset where nothing is written.
    pub fn defaults(preset: Preset) -> Self {
        let name = match preset {
            Preset::Timeseries => "timeseries",
            Preset::Tabular => "tabular",
        };
        let sources = Sources { set: vec![format!("preset={name}")], ..Sources::default() };
        Self::load(&sources).expect("a test loads the defaults of every preset").settings
    }

    /// What `strayd run` needs beyond the defaults: brokers and an input topic.
    ///
    /// # Errors
    /// One problem for each that is not set.
    pub fn require_kafka(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        self.check_kafka(&mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems.into()) }
    }
}

/// What of `judging` stands between a score and an alarm, and so says nothing of a model.
const OF_ALARMS: [&str; 11] = [
    "features",
    "persistence",
    "cold_start_rows",
    "maintenance",
    "overrides",
    "publish_suppressed",
    "recalibration",
    "incidents",
    "severity",
    "silence",
    "feedback",
];

/// All layers, merged.
struct Merged {
    value: Value,
    budget_is_written: bool,
}

/// `None` for settings that can't even be read past their problems.
fn read(sources: &Sources, problems: &mut Problems) -> Result<(Option<Settings>, Merged), ConfigError> {
    let mut written = Vec::new();
    if let Some(path) = &sources.file {
        written.push(layers::file(path, problems)?);
        secret::refuse(&written[0], "the configuration file", problems);
    }
    written.push(layers::environment(&sources.environment, problems));
    let command_line = layers::command_line(&sources.set, problems);
    secret::refuse(&command_line, "the command line", problems);
    written.push(command_line);
    let budget_is_written = layers::any_names(&written, "/judging/budget");
    written.splice(..0, layers::derived(sources.derived.as_ref(), &written));
    let mut defaults = presets::defaults(layers::preset(&written));
    layers::fit_defaults(&mut defaults, &written);
    let value = layers::merge(defaults.clone(), written, problems)?;
    shape::check_ranges(&value, problems);
    let raw = shape::typed(value.clone(), &defaults, problems);
    let settings = raw.map(|raw| check::settings(raw, problems));
    if let Some(settings) = &settings {
        let kinds = settings.training.network.kinds.as_ref();
        check_unused::unused(kinds, (&value, &defaults), problems);
    }
    Ok((settings, Merged { value, budget_is_written }))
}

fn finish(settings: Option<Settings>, merged: Merged, problems: Problems) -> Result<Loaded, ConfigError> {
    match settings {
        Some(settings) if problems.is_empty() => {
            let Merged { value: mut merged, budget_is_written } = merged;
            let training_sha256 = training_sha256(&merged);
            secret::hide(&mut merged);
            Ok(Loaded { settings, merged, training_sha256, budget_is_written })
        }
        _ => Err(problems.into()),
    }
}

fn training_sha256(merged: &Value) -> String {
    let mut text = String::new();
    for section in ["record", "model", "training", "judging"] {
        let mut value = merged[section].clone();
        // When a model is trained, how fast, what decides about a finished one, where it is kept and how people are told of what
        // it finds say nothing of what it becomes.
        if let Some(table) = value.as_object_mut() {
            let elsewhere = ["schedule", "threads", "gate", "registry", "keep", "file", "poll_interval", "foreign"];
            let of_alarms: &[&str] = if section == "judging" { &OF_ALARMS } else { &[] };
            table.retain(|key, _| !elsewhere.iter().chain(of_alarms).any(|left_out| left_out == key));
        }
        text.push_str(section);
        canonical(&value, &mut text);
    }
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// JSON with sorted keys and one way to write each number, so that the order and form of writing don't matter.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(table) => {
            let mut entries: Vec<_> = table.iter().filter(|(_, value)| !value.is_null()).collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            text.push('{');
            for (key, value) in entries {
                text.push_str(&format!("{}:", Value::from(key.as_str())));
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(list) => {
            text.push('[');
            for entry in list {
                canonical(entry, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) if float.fract() == 0.0 => text.push_str(&format!("{float:.0}")),
            _ => text.push_str(&number.to_string()),
        },
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_defaults_of_every_preset_are_good() {
        assert_eq!(Settings::defaults(Preset::Timeseries).training.window, 4);
        assert_eq!(Settings::defaults(Preset::Tabular).training.network.members, 3);
    }

    #[test]
    fn the_fingerprint_hangs_on_meaning_and_not_on_writing() {
        let one =
            json!({"training": {"epochs": 5, "noise": {"swap": 0, "gaussian": 1.0}, "clip_norm": null}, "record": {}});
        let same = json!({"record": {}, "training": {"noise": {"gaussian": 1, "swap": 0.0}, "epochs": 5}});
        let other = json!({"record": {}, "training": {"noise": {"gaussian": 1, "swap": 0.5}, "epochs": 5}});
        assert_eq!(training_sha256(&one), training_sha256(&same));
        assert_ne!(training_sha256(&one), training_sha256(&other));
        assert_eq!(training_sha256(&one).len(), 64);
        let deeper = json!({"training": {"epochs": 5}, "model": {"layers": 3, "registry": "a"}});
        let elsewhere = json!({"training": {"epochs": 5}, "model": {"layers": 3, "registry": "b", "keep": 2}});
        let shallower = json!({"training": {"epochs": 5}, "model": {"layers": 1, "registry": "a"}});
        assert_eq!(training_sha256(&deeper), training_sha256(&elsewhere));
        assert_ne!(training_sha256(&deeper), training_sha256(&shallower));
        let gated = json!({"training": {"epochs": 5}, "judging": {"cold_start_rows": 7, "features": [{"name": "a"}]}});
        assert_eq!(training_sha256(&gated), training_sha256(&json!({"training": {"epochs": 5}, "judging": {}})));
        let others = json!({"training": {"epochs": 5}, "record": {"features": ["a"]}});
        assert_ne!(training_sha256(&others), training_sha256(&json!({"training": {"epochs": 5}, "record": {}})));
        let rarely = json!({"training": {"epochs": 5, "threads": 8, "schedule": {"every": "30d"}}});
        assert_eq!(training_sha256(&rarely), training_sha256(&json!({"training": {"epochs": 5}})));
    }
}
