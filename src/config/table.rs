//! The table of settings in the README, from the same schema as everything else.

use serde_json::Value;

use super::{presets, schema, settings::Preset};

/// A Markdown table of all settings: key, values, default and meaning. Where presets differ, both defaults are named.
pub fn settings_table() -> String {
    let mut table = "| Key | Values | Default | Meaning |\n|---|---|---|---|\n".to_owned();
    for section in
        ["preset", "role", "kafka", "record", "model", "training", "judging", "pipeline", "http", "log", "runtime"]
    {
        if let Some(node) = schema::child(schema::root(), section) {
            rows(node, section, &mut table);
        }
    }
    table
}

fn rows(node: &Value, key: &str, table: &mut String) {
    if let Some(properties) = schema::properties(node) {
        for (name, child) in properties {
            rows(child, &format!("{key}.{name}"), table);
        }
        return;
    }
    let meaning = node.get("description").and_then(Value::as_str).unwrap_or_default();
    let values = escape(&schema::expected(node));
    table.push_str(&format!("| `{key}` | {values} | {} | {} |\n", default(key, node), escape(meaning)));
}

fn default(key: &str, node: &Value) -> String {
    let pointer = format!("/{}", key.replace('.', "/"));
    let of = |preset| presets::defaults(preset).pointer(&pointer).map(written);
    let not_set = || "not set".to_owned();
    match (of(Preset::Timeseries), of(Preset::Tabular)) {
        // What counts only inside an optional table has its default there.
        (None, None) => node.get("default").map_or_else(not_set, written),
        (Some(timeseries), Some(tabular)) if key == "preset" || timeseries == tabular => timeseries,
        (timeseries, tabular) => {
            let [timeseries, tabular] = [timeseries, tabular].map(|default| default.unwrap_or_else(not_set));
            format!("timeseries: {timeseries}; tabular: {tabular}")
        }
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        Value::Number(number) => match number.as_f64().filter(|float| float.fract() == 0.0) {
            Some(whole) => format!("`{whole}`"),
            None => format!("`{number}`"),
        },
        other => format!("`{other}`"),
    }
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}
