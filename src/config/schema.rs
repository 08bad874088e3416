//! The JSON schema of the configuration, and the way through it by key.
//!
//! Beside JSON Schema's own words it knows three: `x-expected` (words for people), `x-unit` (`duration` or `size`: the
//! text holds a unit) and `x-minimum` / `x-maximum` (bounds in that unit).

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::{presets, raw::Raw, settings::Preset};

/// The JSON schema (draft 2020-12) of a configuration file, with the defaults of the preset `timeseries`. Editors and
/// `helm lint` can use it.
pub fn schema() -> Value {
    root().clone()
}

/// The schema, made once.
pub(super) fn root() -> &'static Value {
    static ROOT: OnceLock<Value> = OnceLock::new();
    ROOT.get_or_init(|| {
        let generator = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true).into_generator();
        let mut schema = generator.into_root_schema_for::<Raw>().to_value();
        join_description_lines(&mut schema);
        add_defaults(&mut schema, &presets::defaults(Preset::Timeseries));
        schema
    })
}

/// Doc comments are wrapped; their line breaks mean nothing.
fn join_description_lines(node: &mut Value) {
    match node {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == "description" => *text = text.replace('\n', " "),
                    other => join_description_lines(other),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(join_description_lines),
        _ => {}
    }
}

/// A key with a default need not be written.
fn add_defaults(node: &mut Value, defaults: &Value) {
    let Some(defaults) = defaults.as_object() else { return };
    if let Some(required) = node.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|key| key.as_str().is_none_or(|key| !defaults.contains_key(key)));
    }
    for (key, default) in defaults {
        let Some(child) = node.get_mut("properties").and_then(|p| p.get_mut(key)) else { continue };
        if is_section(child) {
            add_defaults(child, default);
        } else {
            child["default"] = default.clone();
        }
    }
}

/// Whether the node is a table of known keys, each a setting of its own.
pub(super) fn is_section(node: &Value) -> bool {
    node.get("properties").is_some()
}

/// The settings below a section, by name.
pub(super) fn properties(node: &Value) -> Option<&Map<String, Value>> {
    node.get("properties").and_then(Value::as_object)
}

/// The alternatives of a one-of node.
pub(super) fn alternatives(node: &Value) -> impl Iterator<Item = &Value> {
    ["oneOf", "anyOf"].into_iter().filter_map(|word| node.get(word)?.as_array()).flatten()
}

/// The node below `node` for one more level of a key.
pub(super) fn child<'a>(node: &'a Value, key: &str) -> Option<&'a Value> {
    if let Some(found) = properties(node).and_then(|p| p.get(key)) {
        return Some(found);
    }
    if let Some(free) = node.get("additionalProperties").filter(|free| free.is_object()) {
        return Some(free);
    }
    alternatives(node).find_map(|alternative| child(alternative, key))
}

/// Whether the node is a table with free keys, such as `kafka.properties`.
pub(super) fn is_free_table(node: &Value) -> bool {
    node.get("additionalProperties").is_some_and(Value::is_object)
}

/// The levels of a key and its node. A free table takes the rest of the key as one level, dots included.
pub(super) fn resolve(key: &str) -> Option<(Vec<&str>, &'static Value)> {
    let mut node = root();
    let mut levels = Vec::new();
    let mut rest = key;
    loop {
        let (level, below) = match rest.split_once('.') {
            Some((level, below)) if !is_free_table(node) => (level, Some(below)),
            _ => (rest, None),
        };
        node = child(node, level)?;
        levels.push(level);
        match below {
            Some(below) => rest = below,
            None => return Some((levels, node)),
        }
    }
}

/// Whether a value of this JSON type (`null`, `string`, `array` ...) can be right.
pub(super) fn accepts(node: &Value, kind: &str) -> bool {
    let own = match node.get("type") {
        Some(Value::String(one)) => one == kind,
        Some(Value::Array(several)) => several.iter().any(|one| one == kind),
        _ => false,
    };
    own || alternatives(node).any(|alternative| accepts(alternative, kind))
}

/// The words that a one-of node allows.
pub(super) fn words(node: &Value) -> Vec<&str> {
    let own = node.get("const").and_then(Value::as_str);
    own.into_iter().chain(alternatives(node).flat_map(words)).collect()
}

/// The node of a list's entries.
pub(super) fn items(node: &Value) -> Option<&Value> {
    node.get("items").or_else(|| alternatives(node).find_map(items))
}

/// Says what would be right, for people.
pub(super) fn expected(node: &Value) -> String {
    if let Some(text) = node.get("x-expected").and_then(Value::as_str) {
        return text.to_owned();
    }
    if let Some(unit) = node.get("x-unit").and_then(Value::as_str) {
        let what = if unit == "size" { "a size" } else { "a duration" };
        let bounds = [node.get("x-minimum"), node.get("x-maximum")].map(|b| b.and_then(Value::as_str).unwrap_or("..."));
        return format!("{what} in {}..{}", bounds[0], bounds[1]);
    }
    let words = words(node);
    if !words.is_empty() {
        return format!("one of {}", words.join(", "));
    }
    if let Some(properties) = properties(node) {
        let keys: Vec<_> = properties.keys().map(String::as_str).collect();
        let noun = if keys.len() == 1 { "key" } else { "keys" };
        return format!("a table with the {noun} {}", keys.join(", "));
    }
    match ["boolean", "integer", "number", "array", "object", "string"].into_iter().find(|kind| accepts(node, kind)) {
        Some("boolean") => "true or false".to_owned(),
        Some("integer") => format!("an integer{}", bounds(node)),
        Some("number") => format!("a number{}", bounds(node)),
        Some("array") => format!("a list, each entry {}", items(node).map_or("any value".to_owned(), expected)),
        Some("object") => "a table".to_owned(),
        _ => "a text".to_owned(),
    }
}

fn bounds(node: &Value) -> String {
    let bound = |word: &str| node.get(word).and_then(Value::as_f64);
    match (bound("minimum"), bound("exclusiveMinimum"), bound("maximum"), bound("exclusiveMaximum")) {
        (Some(least), _, Some(most), _) => format!(" in {least}..{most}"),
        (Some(least), _, _, Some(below)) => format!(" of at least {least} and below {below}"),
        (_, Some(above), Some(most), _) => format!(" above {above} and at most {most}"),
        (_, Some(above), _, Some(below)) => format!(" above {above} and below {below}"),
        (Some(least), ..) => format!(" of at least {least}"),
        (_, Some(above), ..) => format!(" above {above}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_table_takes_the_rest_of_the_key_as_one_level() {
        let (levels, node) = resolve("kafka.properties.security.protocol").unwrap();
        assert_eq!(levels, ["kafka", "properties", "security.protocol"]);
        assert!(accepts(node, "string"));
        assert!(resolve("kafka.broker").is_none());
        assert!(resolve("").is_none());
    }

    #[test]
    fn one_of_values_are_reached_by_key() {
        assert!(accepts(resolve("judging.residuals.running.half_life").unwrap().1, "number"));
        assert!(accepts(resolve("record.entity.field").unwrap().1, "string"));
    }

    #[test]
    fn a_key_with_a_default_is_not_required() {
        let schema = schema();
        assert_eq!(schema["required"], serde_json::json!([]));
        assert_eq!(schema["properties"]["training"]["required"], serde_json::json!([]));
        assert_eq!(schema["properties"]["record"]["properties"]["timestamp"]["required"], serde_json::json!(["field"]));
    }

    #[test]
    fn expectations_come_from_the_schema() {
        let say = |key: &str| expected(resolve(key).unwrap().1);
        assert_eq!(say("training.held_back"), "a number in 0..0.9");
        assert_eq!(say("training.learning_rate"), "a number above 0 and at most 1");
        assert_eq!(say("training.scaling"), "one of robust_min_max, min_max, standard, robust, quantile, none");
        assert_eq!(say("model.hidden"), "a list, each entry an integer in 1..65536");
        assert_eq!(say("pipeline.batch_wait"), "a duration in 0ms..1m");
    }
}
