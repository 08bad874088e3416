//! The configuration that a search writes.

use std::io;

use serde_json::{Map, Value};

use super::{report::Report, table};
use crate::{
    cli::config::yaml_text,
    demo::display::{counted, grouped},
};

/// The given configuration with the changes of a search, and above it what was measured.
///
/// # Errors
/// What the emitter says.
pub(super) fn yaml(mut written: Value, report: &Report) -> io::Result<String> {
    for (key, value) in &report.changes {
        put(&mut written, key, value.clone());
    }
    let text: String = comments(report).lines().map(|line| format!("# {line}\n")).collect();
    let is_empty = written.as_object().is_none_or(Map::is_empty);
    Ok(if is_empty { text + "{}\n" } else { text + &yaml_text(&written)? })
}

fn comments(report: &Report) -> String {
    let rows = report.rows;
    let measured = report.tried.iter().filter(|one| one.left_out.is_none()).count();
    let text = format!(
        "Written by {}. Variables of the environment are not in here.\n\
         Measured on {} with seed {}: {}, each trained with {} seeds on {} rows and examined on {} others.\n{}\n",
        concat!("strayd tune ", env!("CARGO_PKG_VERSION")),
        report.data,
        report.seed,
        counted(measured, "candidate"),
        report.seeds,
        grouped(rows.training as u64),
        grouped(rows.judging as u64),
        table::verdict(report),
    );
    // A file's name must not end a comment.
    text.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect()
}

/// Sets a key, levels separated by dots.
fn put(table: &mut Value, key: &str, value: Value) {
    let (level, below) = key.split_once('.').map_or((key, None), |(level, below)| (level, Some(below)));
    if !table.is_object() {
        *table = Value::Object(Map::new());
    }
    match below {
        Some(below) => put(&mut table[level], below, value),
        None => table[level] = value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_set_whatever_stood_there() {
        let mut table = json!({ "judging": { "residuals": { "running": { "half_life": 9.0 } }, "smoothing_span": 3 } });
        put(&mut table, "judging.residuals", json!("held_back"));
        put(&mut table, "model.kind", json!("pca"));
        let expected =
            json!({ "judging": { "residuals": "held_back", "smoothing_span": 3 }, "model": { "kind": "pca" } });
        assert_eq!(table, expected);
    }
}
