//! The layers of a configuration, each read into the same shape, and laid over each other.

use std::{collections::BTreeMap, fs, path::Path};

use ::config::{Config, Environment, File, FileFormat, Map as ConfigMap, Source, Value as ConfigValue, ValueKind};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    coerce,
    error::{ConfigError, Problems},
    raw_model::RawKinds,
    schema,
    settings::{Kinds, NetworkKind, Preset},
    shape,
};

/// What every environment variable of strayd begins with.
const PREFIX: &str = "STRAYD__";

/// Keys whose value is one of several forms: a layer that names one replaces it whole, and never mixes two forms.
const REPLACED_WHOLE: [&str; 6] =
    ["/record/entity", "/record/format", "/record/features", "/training/loss", "/judging/budget", "/judging/residuals"];

/// Keys that say the same in two ways: a layer that sets one takes back what lower layers say of the other.
const EITHER_OR: [(&str, &str); 2] = [("/model/layers", "/model/hidden"), ("/model/hidden", "/model/layers")];

/// Reads a file; its extension says the format.
pub(super) fn file(path: &Path, problems: &mut Problems) -> Result<Value, ConfigError> {
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => FileFormat::Yaml,
        Some("toml") => FileFormat::Toml,
        Some("json") => FileFormat::Json,
        _ => return Err(ConfigError::UnknownFormat(path.to_owned())),
    };
    let text = fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?;
    let table = File::from_str(&text, format)
        .collect()
        .map_err(|error| ConfigError::Malformed { path: path.to_owned(), cause: explain(&error.to_string(), &text) })?;
    let mut layer = Value::Object(table_to_json(table, "", problems));
    flatten_free_tables(&mut layer);
    drop_empty_sections(&mut layer, schema::root());
    shape::remove_unknown_keys(&mut layer, problems);
    Ok(layer)
}

/// What the parser says, without the excerpt of the file that TOML's adds: a secret may stand in it. YAML's refuses what
/// is not finite, but doesn't say where it stands.
fn explain(cause: &str, text: &str) -> String {
    let is_excerpt =
        |line: &&str| line.trim_start_matches(|c: char| c.is_whitespace() || c.is_ascii_digit()).starts_with('|');
    let told: Vec<&str> = cause.lines().filter(|line| !is_excerpt(line) && !line.trim().is_empty()).collect();
    let cause = told.join(": ");
    if !cause.contains("floating point") {
        return cause;
    }
    let infinite = |line: &str| {
        let words = line.split(|c: char| c.is_whitespace() || ",:[]{}".contains(c)).map(str::to_lowercase);
        words.map(|word| word.trim_start_matches(['+', '-']).to_owned()).any(|word| word == ".nan" || word == ".inf")
    };
    let lines: Vec<_> =
        (1..).zip(text.lines()).filter(|(_, line)| infinite(line)).map(|(n, _)| n.to_string()).collect();
    format!("{cause}, expected finite numbers (line {})", lines.join(", "))
}

/// Reads the variables that begin with `STRAYD__`.
pub(super) fn environment(variables: &[(String, String)], problems: &mut Problems) -> Value {
    let ours = variables.iter().filter(|(name, _)| name.starts_with(PREFIX)).cloned().collect();
    let source = Environment::with_prefix("STRAYD").prefix_separator("__").separator("__").source(Some(ours));
    let found: BTreeMap<String, String> = match source.collect() {
        Ok(found) => found.into_iter().map(|(key, value)| (key, text_of(value))).collect(),
        Err(error) => {
            problems.push(PREFIX, error.to_string(), "variables that hold Unicode");
            return Value::Object(Map::new());
        }
    };
    let entries = found.into_iter().map(|(key, text)| {
        let origin = format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"));
        Entry { key, text, origin }
    });
    layer_of(entries, problems)
}

/// Reads `key=value` pairs; a later one wins.
pub(super) fn command_line(pairs: &[String], problems: &mut Problems) -> Value {
    let mut entries = Vec::new();
    for pair in pairs {
        match pair.split_once('=') {
            Some((key, text)) => entries.push(Entry {
                key: key.trim().to_owned(),
                text: text.to_owned(),
                origin: format!("--set {}", key.trim()),
            }),
            None if shape::is_private(pair.trim_start()) => problems.push("--set", "a pair has no `=`", "key=value"),
            None => problems.push("--set", format!("`{pair}` has no `=`"), "key=value"),
        }
    }
    layer_of(entries.into_iter(), problems)
}

/// The layer of what follows from the data, without what the `written` ones make pointless: paths to leave out say
/// nothing beside a list of features, and raw bytes have no fields at all.
pub(super) fn derived(derived: Option<&Value>, written: &[Value]) -> Option<Value> {
    let mut layer = derived?.clone();
    let features = written.iter().rev().find_map(|layer| layer.pointer("/record/features"));
    if features.is_some_and(Value::is_array) {
        remove(&mut layer, "/record/exclude");
    }
    if written.iter().rev().find_map(|layer| layer.pointer("/record/format")).is_some_and(Value::is_object) {
        remove(&mut layer, "/record");
    }
    Some(layer)
}

/// Whether any of the layers says something at the place.
pub(super) fn any_names(layers: &[Value], pointer: &str) -> bool {
    layers.iter().any(|layer| layer.pointer(pointer).is_some())
}

/// One value written as text.
struct Entry {
    key: String,
    text: String,
    /// Where it was written, for problems.
    origin: String,
}

fn layer_of(entries: impl Iterator<Item = Entry>, problems: &mut Problems) -> Value {
    let mut layer = Value::Object(Map::new());
    for Entry { key, text, origin } in entries {
        let Some((levels, node)) = schema::resolve(&key) else {
            let (problem, expected) = shape::unknown(&key);
            problems.push(&key, format!("{problem} (from {origin})"), expected);
            continue;
        };
        match coerce::value(node, &text) {
            Ok(value) => insert(&mut layer, &levels, value),
            Err(error) => {
                problems.push(&key, format!("is not valid JSON: {error} (from {origin})"), schema::expected(node));
            }
        }
    }
    flatten_free_tables(&mut layer);
    shape::remove_unknown_keys(&mut layer, problems);
    layer
}

fn insert(layer: &mut Value, levels: &[&str], value: Value) {
    let Some((last, above)) = levels.split_last() else { return };
    let mut place = layer;
    for level in above {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[*level];
    }
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    place[*last] = value;
}

/// The preset that the topmost layer names; `timeseries` where none does. A wrong name is left to the type check.
pub(super) fn preset(layers: &[Value]) -> Preset {
    let written = layers.iter().rev().find_map(|layer| layer.get("preset"));
    written.and_then(|name| serde_json::from_value(name.clone()).ok()).unwrap_or(Preset::Timeseries)
}

/// Takes back what a preset says of its own kind of network where another one is written: its code is wider than the
/// input of many, and principal components have no hidden layers and are all alike.
pub(super) fn fit_defaults(defaults: &mut Value, written: &[Value]) {
    let top = |pointer: &str| written.iter().rev().find_map(|layer| layer.pointer(pointer));
    let kinds = top("/model/kind").and_then(|kinds| RawKinds::deserialize(kinds).ok());
    let kinds = kinds.and_then(|kinds| Kinds::new(kinds.as_slice()));
    let skip = top("/model/skip").is_some_and(|skip| skip == "pca");
    if skip || kinds.as_ref().is_some_and(Kinds::need_narrow_code) {
        remove(defaults, "/model/code_size");
    }
    if kinds == Some(NetworkKind::Pca.into()) {
        remove(defaults, "/model/hidden");
        defaults["model"]["members"] = Value::from(1);
    }
}

/// Lays the layers over the defaults, the last on top.
pub(super) fn merge(defaults: Value, layers: Vec<Value>, problems: &mut Problems) -> Result<Value, ConfigError> {
    let mut all = vec![defaults];
    for layer in layers {
        for pointer in REPLACED_WHOLE.into_iter().filter(|pointer| layer.pointer(pointer).is_some()) {
            all.iter_mut().for_each(|lower| remove(lower, pointer));
        }
        let sets = |pointer: &str| layer.pointer(pointer).is_some_and(|value| !value.is_null());
        for (_, other) in EITHER_OR.into_iter().filter(|(set, _)| sets(set)) {
            all.iter_mut().for_each(|lower| remove(lower, other));
        }
        all.push(layer);
    }
    let builder = all.into_iter().fold(Config::builder(), |builder, layer| builder.add_source(Layer(layer)));
    let merged = builder.build().map_err(|error| {
        let mut found = Problems::default();
        found.push("configuration", error.to_string(), "layers that can be merged");
        found
    })?;
    Ok(to_json(merged.cache, "", problems))
}

fn remove(layer: &mut Value, pointer: &str) {
    let Some((above, key)) = pointer.rsplit_once('/') else { return };
    if let Some(table) = layer.pointer_mut(above).and_then(Value::as_object_mut) {
        table.remove(key);
    }
}

/// A layer as the merger takes it.
#[derive(Debug, Clone)]
struct Layer(Value);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<ConfigMap<String, ConfigValue>, ::config::ConfigError> {
        let table = self.0.as_object().cloned().unwrap_or_default();
        Ok(table.into_iter().map(|(key, value)| (key, from_json(value))).collect())
    }
}

fn from_json(value: Value) -> ConfigValue {
    let kind = match value {
        Value::Null => ValueKind::Nil,
        Value::Bool(yes) => ValueKind::Boolean(yes),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => ValueKind::I64(integer),
            (None, Some(integer)) => ValueKind::U64(integer),
            (None, None) => ValueKind::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => ValueKind::String(text),
        Value::Array(list) => ValueKind::Array(list.into_iter().map(from_json).collect()),
        Value::Object(table) => {
            ValueKind::Table(table.into_iter().map(|(key, value)| (key, from_json(value))).collect())
        }
    };
    ConfigValue::new(None, kind)
}

/// JSON can't hold what is not finite, so that is found here, with its key; nothing takes its place.
fn to_json(value: ConfigValue, key: &str, problems: &mut Problems) -> Value {
    match value.kind {
        ValueKind::Nil => Value::Null,
        ValueKind::Boolean(yes) => Value::Bool(yes),
        ValueKind::I64(integer) => integer.into(),
        ValueKind::U64(integer) => integer.into(),
        ValueKind::I128(integer) => Value::String(integer.to_string()),
        ValueKind::U128(integer) => Value::String(integer.to_string()),
        ValueKind::Float(number) if number.is_finite() => number.into(),
        ValueKind::Float(number) => {
            let number_node = schema::resolve(key).map(|(_, node)| node).filter(|node| schema::accepts(node, "number"));
            problems.push(
                key,
                format!("{number} is not finite"),
                number_node.map_or("a finite number".into(), schema::expected),
            );
            Value::Null
        }
        ValueKind::String(text) => Value::String(text),
        ValueKind::Array(list) => {
            let entries = list.into_iter().enumerate();
            Value::Array(entries.map(|(index, entry)| to_json(entry, &format!("{key}[{index}]"), problems)).collect())
        }
        ValueKind::Table(table) => Value::Object(table_to_json(table, key, problems)),
    }
}

fn table_to_json(table: ConfigMap<String, ConfigValue>, key: &str, problems: &mut Problems) -> Map<String, Value> {
    // Sorted, so that problems come in the same order from run to run.
    let sorted: BTreeMap<String, ConfigValue> = table.into_iter().collect();
    let mut json = Map::new();
    for (name, value) in sorted {
        let below = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        let before = problems.0.len();
        let value = to_json(value, &below, problems);
        // A number that was refused is left out, or the type check would report it once more.
        let refused = value.is_null() && problems.0.len() > before;
        if !refused {
            json.insert(name, value);
        }
    }
    json
}

fn text_of(value: ConfigValue) -> String {
    match value.kind {
        ValueKind::String(text) => text,
        other => other.to_string(),
    }
}

/// `kafka.properties` may be written nested (`ssl: {ca: {location: ...}}`) or flat, and with numbers.
fn flatten_free_tables(layer: &mut Value) {
    for name in ["properties", "secrets"] {
        if let Some(free) = layer.pointer_mut(&format!("/kafka/{name}")).filter(|free| free.is_object()) {
            let mut flat = Map::new();
            flatten(std::mem::take(free), String::new(), &mut flat);
            *free = Value::Object(flat);
        }
    }
}

fn flatten(value: Value, key: String, flat: &mut Map<String, Value>) {
    match value {
        Value::Object(table) => {
            for (name, value) in table {
                let below = if key.is_empty() { name } else { format!("{key}.{name}") };
                flatten(value, below, flat);
            }
        }
        Value::Number(number) => drop(flat.insert(key, Value::String(number.to_string()))),
        Value::Bool(yes) => drop(flat.insert(key, Value::String(yes.to_string()))),
        other => drop(flat.insert(key, other)),
    }
}

/// A section whose keys are all commented out reads as null.
fn drop_empty_sections(layer: &mut Value, node: &Value) {
    let (Some(table), Some(properties)) = (layer.as_object_mut(), schema::properties(node)) else { return };
    for (key, child) in properties.iter().filter(|(_, child)| schema::is_section(child) || schema::is_free_table(child))
    {
        match table.get_mut(key) {
            Some(Value::Null) if !schema::accepts(child, "null") => drop(table.remove(key)),
            Some(section) => drop_empty_sections(section, child),
            None => {}
        }
    }
}
