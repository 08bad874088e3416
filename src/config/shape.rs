//! Keys, types and ranges: everything about single values that the schema knows.

use serde_json::Value;
use serde_path_to_error::Segment;

use super::{
    error::Problems,
    raw::Raw,
    schema,
    units::{parse_duration, parse_size},
};

/// Keys that stood elsewhere once, where they stand now, and what is to be written there.
const MOVED: [(&str, &str, &str); 6] = [
    ("training.kind", "model.kind", "the value there"),
    ("training.hidden", "model.hidden", "the value there"),
    ("training.code_size", "model.code_size", "the value there"),
    ("training.activation", "model.activation", "the value there"),
    ("training.members", "model.members", "the value there"),
    ("judging.budget.alarms_per_entity_and_day", "judging.budget.alarms", "such as 1 per entity per day"),
];

/// How the forms of one-of values are written that have keys of their own.
const EXAMPLES: [(&str, &str); 7] = [
    ("huber", "{huber: {delta: 1.0}}"),
    ("avro_schema", "{avro_schema: sensor.avsc}"),
    ("protobuf_schema", "{protobuf_schema: {file: sensor.proto, message: acme.Reading}}"),
    ("csv", "{csv: {columns: [time, pressure], separator: \",\"}}"),
    ("raw", "{raw: {shape: [24, 32], type: uint16}}"),
    ("running", "{running: {half_life: 5000.0}}"),
    ("field", "{field: sensor.id}"),
];

/// Reports and removes the keys that no section knows. What stands inside one-of values is left to the type check.
pub(super) fn remove_unknown_keys(layer: &mut Value, problems: &mut Problems) {
    remove_unknown(layer, schema::root(), "", problems);
}

fn remove_unknown(value: &mut Value, node: &Value, path: &str, problems: &mut Problems) {
    let (Some(table), Some(known)) = (value.as_object_mut(), schema::properties(node)) else { return };
    table.retain(|name, value| {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match known.get(name) {
            Some(child) => {
                remove_unknown(value, child, &key, problems);
                true
            }
            None => {
                let (problem, expected) = unknown(&key);
                problems.push(key, problem, expected);
                false
            }
        }
    });
}

/// Problem and expectation for a key that is not known: where it stands now, or the nearest known one where a slip is
/// likely.
pub(super) fn unknown(key: &str) -> (String, String) {
    if let Some((_, now, written)) = MOVED.into_iter().find(|(old, ..)| *old == key) {
        return (format!("is now {now}"), written.to_owned());
    }
    let known = known_keys();
    let nearest = known.iter().map(|known| (strsim::normalized_damerau_levenshtein(known, key), known));
    let nearest = nearest.filter(|(likeness, _)| *likeness >= 0.75).max_by(|a, b| a.0.total_cmp(&b.0));
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let same_name = known.iter().find(|known| last(known) == last(key));
    let problem = match nearest.map(|(_, known)| known).or(same_name) {
        Some(likely) => format!("unknown key (did you mean {likely}?)"),
        None => "unknown key".to_owned(),
    };
    (problem, siblings(key))
}

/// The keys that the deepest known section above `key` holds.
fn siblings(key: &str) -> String {
    let mut node = schema::root();
    for level in key.split('.') {
        match schema::properties(node).and_then(|properties| properties.get(level)) {
            Some(child) if schema::is_section(child) => node = child,
            _ => break,
        }
    }
    let names: Vec<_> = schema::properties(node).into_iter().flat_map(|p| p.keys()).map(String::as_str).collect();
    format!("one of {}", names.join(", "))
}

fn known_keys() -> Vec<String> {
    fn walk(node: &Value, path: &str, keys: &mut Vec<String>) {
        for (name, child) in schema::properties(node).into_iter().flatten() {
            let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(child, &key, keys);
            keys.push(key);
        }
    }
    let mut keys = Vec::new();
    walk(schema::root(), "", &mut keys);
    keys
}

/// Reports every number, duration, size and list that is out of its range. Values of a wrong type are left to
/// [`typed`].
pub(super) fn check_ranges(merged: &Value, problems: &mut Problems) {
    check_range(merged, schema::root(), "", problems);
}

fn check_range(value: &Value, node: &Value, key: &str, problems: &mut Problems) {
    if let Some(shown) = out_of_range(value, node) {
        problems.push(key, format!("{shown} is out of range"), schema::expected(node));
    }
    match value {
        Value::Object(table) => {
            for (name, value) in table {
                let below = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                if let Some(child) = schema::child(node, name) {
                    check_range(value, child, &below, problems);
                }
            }
        }
        Value::Array(list) => {
            let most = node.get("maxItems").and_then(Value::as_u64);
            if let Some(most) = most.filter(|most| list.len() as u64 > *most) {
                problems.push(key, format!("{} entries are too many", list.len()), format!("at most {most}"));
            }
            let least = node.get("minItems").and_then(Value::as_u64);
            if let Some(least) = least.filter(|least| (list.len() as u64) < *least) {
                problems.push(key, format!("{} entries are too few", list.len()), format!("at least {least}"));
            }
            let Some(entries) = schema::items(node) else { return };
            for (index, entry) in list.iter().enumerate() {
                check_range(entry, entries, &format!("{key}[{index}]"), problems);
            }
        }
        _ => {}
    }
}

/// The value as text if it is out of the node's range.
fn out_of_range(value: &Value, node: &Value) -> Option<String> {
    let inside = match (node.get("x-unit").and_then(Value::as_str), value) {
        (Some("duration"), Value::String(text)) => within(node, text, |text| parse_duration(text).ok()),
        (Some("size"), Value::String(text)) => within(node, text, |text| parse_size(text).ok()),
        (Some("size"), Value::Number(number)) => within(node, &number.to_string(), |text| parse_size(text).ok()),
        (None, Value::Number(number)) => number.as_f64().is_none_or(|number| {
            let bound = |word: &str| node.get(word).and_then(Value::as_f64);
            bound("minimum").is_none_or(|least| number >= least)
                && bound("maximum").is_none_or(|most| number <= most)
                && bound("exclusiveMinimum").is_none_or(|above| number > above)
                && bound("exclusiveMaximum").is_none_or(|below| number < below)
        }),
        _ => true,
    };
    (!inside).then(|| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn within<T: PartialOrd>(node: &Value, text: &str, parse: impl Fn(&str) -> Option<T>) -> bool {
    let bound = |word: &str| node.get(word).and_then(Value::as_str).and_then(&parse);
    parse(text).is_none_or(|value| {
        bound("x-minimum").is_none_or(|least| value >= least) && bound("x-maximum").is_none_or(|most| value <= most)
    })
}

/// Reads the merged value. Each value of a wrong type is reported and replaced by its default, an entry of a list by a
/// stand-in, until the rest can be read; so all of them are found, and what hangs on several values can still be
/// checked. `None` if it can't be mended.
pub(super) fn typed(mut merged: Value, defaults: &Value, problems: &mut Problems) -> Option<Raw> {
    loop {
        let error = match serde_path_to_error::deserialize::<_, Raw>(&merged) {
            Ok(raw) => return Some(raw),
            Err(error) => error,
        };
        let mut place = Place::of(error.path());
        let message = error.inner().to_string();
        // A word that is the name of a table: what is wrong is the setting, and not a key of the table.
        let bare = message.starts_with("invalid type: unit variant").then(|| std::mem::take(&mut place.below));
        let key = place.key();
        let (mut problem, expected) = match bare {
            Some(below) => needs_keys(below.trim_start_matches('.'), &key),
            None => describe(&message, &key),
        };
        if is_private(&key) {
            problem = "has the wrong type (the value may be a secret and is not shown)".to_owned();
        }
        if !problems.concerns(&key) {
            problems.push(key, problem, expected);
        }
        if !place.mend(&mut merged, defaults) {
            return None;
        }
    }
}

/// Whether a value at this key may be a secret, so that no text may quote it.
pub(super) fn is_private(key: &str) -> bool {
    ["kafka.properties", "kafka.secrets"].iter().any(|table| key.starts_with(table))
}

/// Where a type error is.
struct Place {
    /// The key down to the setting itself.
    setting: Vec<String>,
    /// Index of the entry, where the setting is a list.
    entry: Option<usize>,
    /// What stands below the setting or its entry, as it is shown.
    below: String,
}

impl Place {
    fn of(path: &serde_path_to_error::Path) -> Self {
        let mut place = Self { setting: Vec::new(), entry: None, below: String::new() };
        let mut section = Some(schema::root());
        for segment in path.iter() {
            let level = match segment {
                Segment::Map { key } => key,
                Segment::Enum { variant } => variant,
                Segment::Seq { index } if place.entry.is_none() && place.below.is_empty() => {
                    place.entry = Some(*index);
                    continue;
                }
                Segment::Seq { index } => {
                    place.below.push_str(&format!("[{index}]"));
                    continue;
                }
                Segment::Unknown => continue,
            };
            match section {
                Some(node) => {
                    place.setting.push(level.clone());
                    section = schema::child(node, level).filter(|child| schema::is_section(child));
                }
                None => place.below.push_str(&format!(".{level}")),
            }
        }
        place
    }

    fn key(&self) -> String {
        let entry = self.entry.map_or_else(String::new, |entry| format!("[{entry}]"));
        format!("{}{entry}{}", self.setting.join("."), self.below)
    }

    /// Puts what can be read in the place of the bad value; `false` if that changes nothing.
    fn mend(&self, merged: &mut Value, defaults: &Value) -> bool {
        let Some((last, above)) = self.setting.split_last() else { return false };
        let pointer: String = above.iter().map(|level| format!("/{level}")).collect();
        let Some(table) = merged.pointer_mut(&pointer).and_then(Value::as_object_mut) else { return false };
        let entry = self.entry.and_then(|index| Some((index, table.get_mut(last)?.get_mut(index)?)));
        if let Some((index, entry)) = entry {
            let stand_in = stand_in(&self.setting.join("."), index);
            let changes = *entry != stand_in;
            *entry = stand_in;
            return changes;
        }
        match defaults.pointer(&pointer).and_then(|defaults| defaults.get(last)) {
            Some(default) => table.insert(last.clone(), default.clone()).as_ref() != Some(default),
            None => table.remove(last).is_some(),
        }
    }
}

/// An entry that the list at `key` takes and that clashes with no other.
fn stand_in(key: &str, index: usize) -> Value {
    let items = schema::resolve(key).and_then(|(_, node)| schema::items(node));
    let text = Value::from(format!("stand-in-{index}"));
    let takes = |kind: &str| items.is_some_and(|items| schema::accepts(items, kind));
    if takes("number") || takes("integer") {
        return Value::from(1);
    }
    match items.and_then(|items| items.get("required")).and_then(Value::as_array) {
        // What an object in a list has to have is text.
        Some(required) => required.iter().filter_map(Value::as_str).map(|key| (key, text.clone())).collect(),
        None => text,
    }
}

/// What is told of a word that needs keys of its own.
fn needs_keys(word: &str, key: &str) -> (String, String) {
    let expected = schema::resolve(key).map_or_else(|| "a table".to_owned(), |(_, node)| schema::expected(node));
    let example = EXAMPLES.into_iter().find(|(name, _)| *name == word).map(|(_, example)| example);
    let example = example.map_or_else(String::new, |example| format!(", such as {example}"));
    (format!("{word} needs keys of its own"), format!("{expected}{example}"))
}

/// Turns serde's message into a problem and what was expected instead.
fn describe(message: &str, key: &str) -> (String, String) {
    let node = schema::resolve(&without_indices(key)).map(|(_, node)| node);
    let entry_node = node.filter(|_| key.ends_with(']')).and_then(schema::items);
    let told = entry_node.or(node).map(schema::expected);
    let (problem, wanted) = message.split_once(", expected ").unwrap_or((message, ""));
    if let Some(what) = problem.strip_prefix("invalid type: ") {
        return (format!("{what} has the wrong type"), told.unwrap_or_else(|| wanted.to_owned()));
    }
    if let Some(what) = problem.strip_prefix("invalid value: ") {
        return (format!("{what} is not valid"), told.unwrap_or_else(|| wanted.to_owned()));
    }
    if let Some(what) = problem.strip_prefix("missing field ") {
        return (format!("{what} is missing"), told.unwrap_or_else(|| "it".to_owned()));
    }
    for kind in ["unknown variant ", "unknown field "] {
        if let Some(what) = problem.strip_prefix(kind) {
            return (format!("{what} is not known"), wanted.replace('`', ""));
        }
    }
    let expected =
        if wanted.is_empty() { told.unwrap_or_else(|| "a valid value".to_owned()) } else { wanted.to_owned() };
    (problem.to_owned(), expected)
}

fn without_indices(key: &str) -> String {
    key.split('[').map(|part| part.rsplit(']').next().unwrap_or(part)).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::{Settings, Sources};

    fn told(file: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("strayd.yaml");
        std::fs::write(&path, file).unwrap();
        let loaded = Settings::load(&Sources { file: Some(path), ..Sources::default() });
        loaded.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_word_that_needs_keys_is_told_with_an_example_that_loads() {
        for (section, name, word) in [
            ("training", "loss", "huber"),
            ("record", "format", "raw"),
            ("record", "format", "csv"),
            ("judging", "residuals", "running"),
            ("record", "entity", "field"),
        ] {
            let line = told(&format!("{section}: {{{name}: {word}}}"));
            let begin = format!("{section}.{name}: {word} needs keys of its own, expected ");
            assert!(line.starts_with(&begin), "{line}");
            let (_, example) = line.split_once(", such as ").unwrap();
            let loads = format!("{section}: {{{name}: {example}}}");
            assert_eq!(told(&loads), "", "{loads}");
        }
        let two = told("training: {loss: huber, epochs: 0}");
        assert_eq!(two.lines().count(), 2, "nothing else is hidden by it: {two}");
    }
}
