//! Environment and command line hold only text; the schema says what it means.

use serde_json::Value;

use super::schema;

/// Turns text into the kind of value that the node takes. Text that fits nothing stays text, so that the type check
/// names it.
///
/// # Errors
/// Text that begins like JSON but isn't.
pub(super) fn value(node: &Value, text: &str) -> Result<Value, serde_json::Error> {
    let trimmed = text.trim();
    if node.get("x-unit").is_some() || schema::words(node).contains(&trimmed) {
        return Ok(Value::String(trimmed.to_owned()));
    }
    if trimmed == "null" && schema::accepts(node, "null") {
        return Ok(Value::Null);
    }
    let takes_list = schema::accepts(node, "array");
    let looks_like_list = takes_list && trimmed.starts_with('[');
    let looks_like_table = schema::accepts(node, "object") && trimmed.starts_with('{');
    if looks_like_list || looks_like_table {
        // A list without quotes, as YAML has it: what a list of names or numbers looks like to people.
        let inner = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let plain = inner.filter(|inner| takes_list && !inner.contains(['[', ']', '{', '}', '"']));
        return serde_json::from_str(trimmed).or_else(|error| plain.map_or(Err(error), |inner| list(node, inner)));
    }
    if takes_list {
        return list(node, trimmed);
    }
    Ok(scalar(node, trimmed).unwrap_or_else(|| Value::String(text.to_owned())))
}

fn list(node: &Value, text: &str) -> Result<Value, serde_json::Error> {
    let entries = text.split(',').filter(|entry| !entry.trim().is_empty());
    let entry_node = schema::items(node).unwrap_or(&Value::Null);
    entries.map(|entry| value(entry_node, entry).map(trim)).collect::<Result<_, _>>().map(Value::Array)
}

/// Blanks after a comma are not part of an entry.
fn trim(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.trim().to_owned()),
        other => other,
    }
}

fn scalar(node: &Value, text: &str) -> Option<Value> {
    if schema::accepts(node, "boolean")
        && let Ok(yes) = text.parse::<bool>()
    {
        return Some(Value::Bool(yes));
    }
    if schema::accepts(node, "integer") || schema::accepts(node, "number") {
        let integer = text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from));
        if let Ok(integer) = integer {
            return Some(integer);
        }
    }
    if schema::accepts(node, "number") {
        // `from` turns what is not finite into null; as text it is refused by name.
        return text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from);
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(key: &str, text: &str) -> Value {
        value(schema::resolve(key).unwrap().1, text).unwrap()
    }

    #[test]
    fn text_becomes_what_the_key_takes() {
        assert_eq!(read("training.epochs", "12"), json!(12));
        assert_eq!(read("training.held_back", "0.25"), json!(0.25));
        assert_eq!(read("kafka.group", "12"), json!("12"), "a group of digits stays text");
        assert_eq!(read("model.hidden", "64, 32"), json!([64, 32]));
        assert_eq!(read("record.features", "all_numeric"), json!("all_numeric"));
        assert_eq!(read("record.features", "a,b.c"), json!(["a", "b.c"]));
        assert_eq!(read("record.exclude", ""), json!([]));
        assert_eq!(read("record.entity", r#"{"field": "host"}"#), json!({"field": "host"}));
        assert_eq!(read("model.hidden", "null"), Value::Null);
        assert_eq!(read("model.kind", "sparse"), json!("sparse"));
        assert_eq!(read("model.kind", "denoising, sparse"), json!(["denoising", "sparse"]));
        assert_eq!(read("model.kind", "[denoising, sparse]"), json!(["denoising", "sparse"]));
        assert_eq!(read("model.kind", r#"["denoising", "sparse"]"#), json!(["denoising", "sparse"]));
        assert_eq!(read("model.hidden", "[64, 32]"), json!([64, 32]));
        let torn = value(schema::resolve("model.kind").unwrap().1, "[\"denoising\", sparse]");
        assert!(torn.is_err(), "{torn:?}");
        assert_eq!(read("model.kind", "null"), Value::Null);
        assert_eq!(read("pipeline.batch_wait", "5ms"), json!("5ms"));
        assert_eq!(read("kafka.properties.linger.ms", "5"), json!("5"));
    }

    #[test]
    fn what_fits_nothing_stays_text_for_the_type_check() {
        assert_eq!(read("training.epochs", "many"), json!("many"));
        assert_eq!(read("training.held_back", "NaN"), json!("NaN"));
        assert_eq!(read("training.held_back", "inf"), json!("inf"));
    }
}
