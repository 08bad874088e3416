//! A column that holds the truth: 0 for a normal row, 1 for an anomalous one.

use std::{fmt, path::Path, path::PathBuf};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::{FileError, FileReader, PEEKED_ROWS};
use crate::record::{decode::mask_not_a_number, path::FieldPath};

/// Columns that an error names at most.
const NAMED: usize = 20;

/// Where the column that is called so stands in the rows of these files: a column of that very name, else what it says
/// as a path into nested objects (`meta.label`).
///
/// # Errors
/// A file that can't be read, and one that has no such column, nor one that the path begins with.
pub fn find_column(files: &[PathBuf], column: &str) -> Result<FieldPath, FileError> {
    let nested: Option<FieldPath> = column.parse().ok();
    let top = nested.as_ref().and_then(|path| path.segments().next());
    let mut is_whole = true;
    for path in files {
        let columns = FileReader::open(path)?.columns()?;
        let has = |name: &str| columns.iter().any(|known| known.name == name);
        is_whole &= has(column);
        if !has(column) && !top.is_some_and(has) {
            let names: Vec<&str> = columns.iter().map(|known| known.name.as_str()).collect();
            return Err(FileError::NoColumn { path: path.clone(), column: column.to_owned(), columns: listed(&names) });
        }
    }
    Ok(nested.filter(|_| !is_whole).unwrap_or_else(|| FieldPath::key(column)))
}

/// The label of each row of files that are read as one, in order: whether it is anomalous. A label is 0 or 1, or `false` or
/// `true`. `None` where a row can't be read as one, so that nobody knows its label; such a row can't be scored either.
///
/// # Errors
/// A file that can't be read, and a label that is anything else.
pub fn read_labels(files: &[PathBuf], column: &FieldPath) -> Result<Vec<Option<bool>>, FileError> {
    let mut labels = Vec::new();
    let mut payload = Vec::new();
    for path in files {
        let mut reader = FileReader::open(path)?;
        let mut row = 0;
        while reader.next(&mut payload)? {
            labels.push(label(&payload, column).map_err(|found| wrong(path, row, (column, found)))?);
            row += 1;
        }
    }
    Ok(labels)
}

/// Whether any of these files has the column: by its name, or in one of its first rows.
///
/// # Errors
/// A file that can't be read.
pub fn has_column(files: &[PathBuf], column: &FieldPath) -> Result<bool, FileError> {
    let mut payload = Vec::new();
    for path in files {
        let mut reader = FileReader::open(path)?;
        if let Some(name) = column.name() {
            if reader.columns()?.iter().any(|known| known.name == name) {
                return Ok(true);
            }
            continue;
        }
        for _ in 0..PEEKED_ROWS {
            if !reader.next(&mut payload)? {
                break;
            }
            if matches!(cell(&payload, column), Some(Some(_))) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn wrong(path: &Path, row: u64, (column, found): (&FieldPath, String)) -> FileError {
    FileError::Label { path: path.to_owned(), row, column: column.label(|_| false), found }
}

fn listed(names: &[&str]) -> String {
    let mut text = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "no columns".clone_into(&mut text),
        more if more > NAMED => text += &format!(" and {} more", more - NAMED),
        _ => {}
    }
    text
}

/// The label of one row, or what stands in its place.
fn label(payload: &[u8], column: &FieldPath) -> Result<Option<bool>, String> {
    // What is no JSON object has no columns at all.
    let Some(value) = cell(payload, column) else { return Ok(None) };
    match value {
        Some(Value::Bool(label)) => Ok(Some(label)),
        Some(Value::Number(number)) if number.as_f64() == Some(0.0) => Ok(Some(false)),
        Some(Value::Number(number)) if number.as_f64() == Some(1.0) => Ok(Some(true)),
        Some(Value::Null) | None => Err("nothing".to_owned()),
        Some(other) => Err(other.to_string()),
    }
}

/// What stands in the column; `None` where the row is no JSON object.
fn cell(payload: &[u8], column: &FieldPath) -> Option<Option<Value>> {
    let text = std::str::from_utf8(payload).ok()?;
    let masked = mask_not_a_number(text, |masked, _| masked.push_str("null"));
    let mut json = serde_json::Deserializer::from_str(masked.as_deref().unwrap_or(text));
    let segments: Vec<&str> = column.segments().collect();
    json.deserialize_map(Cell(&segments)).ok()
}

/// Takes one field out of a JSON object, by the names that lead to it; of several of one name the last, as the decoder
/// does.
struct Cell<'a>(&'a [&'a str]);

impl<'de> Visitor<'de> for Cell<'_> {
    type Value = Option<Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            match self.0 {
                [last] if name == *last => found = Some(map.next_value()?),
                [first, rest @ ..] if name == *first => found = map.next_value_seed(Beneath(rest))?,
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(found)
    }
}

/// The same beneath a field, which need not be an object.
struct Beneath<'a>(&'a [&'a str]);

impl<'de> DeserializeSeed<'de> for Beneath<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let value = <Value as serde::Deserialize>::deserialize(deserializer)?;
        Ok(self.0.iter().try_fold(&value, |value, name| value.get(name)).cloned())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn file(folder: &TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn labels_of_all_files_follow_each_other() {
        let folder = TempDir::new().unwrap();
        let files = [
            file(&folder, "a.csv", "x,label\n1,0\n2,1\n3,1.0\n"),
            file(&folder, "b.jsonl", "{\"label\":true,\"x\":NaN}\n{\"x\":1,\"label\":0}\n"),
        ];
        let expected = [false, true, true, true, false].map(Some);
        assert_eq!(read_labels(&files, &FieldPath::key("label")).unwrap(), expected);
        assert_eq!(find_column(&files, "label").unwrap(), FieldPath::key("label"));
        let has = |name| has_column(&files, &FieldPath::key(name)).unwrap();
        assert!(has("label") && !has("truth"));
    }

    #[test]
    fn a_row_that_can_not_be_read_has_a_label_that_nobody_knows() {
        let folder = TempDir::new().unwrap();
        let ragged = file(&folder, "a.csv", "x,label\n1,0\n2\n3,1\n");
        assert_eq!(read_labels(&[ragged], &FieldPath::key("label")).unwrap(), [Some(false), None, Some(true)]);
        let broken = file(&folder, "a.jsonl", "{\"label\":1}\n[1]\n{\"label\n");
        assert_eq!(read_labels(&[broken], &FieldPath::key("label")).unwrap(), [Some(true), None, None]);
    }

    #[test]
    fn what_is_no_label_is_named_with_its_row() {
        let folder = TempDir::new().unwrap();
        for (cell, found) in [("2", "2"), ("", "nothing"), ("yes", "\"yes\""), ("-1", "-1"), ("nan", "\"NaN\"")] {
            let path = file(&folder, "a.csv", &format!("x,label\n1,0\n2,{cell}\n"));
            let told = read_labels(&[path], &FieldPath::key("label")).unwrap_err().to_string();
            let expected = format!(
                "a.csv: the label of row 1 (rows are counted from 0) in the column `label` is {found}, expected 0 or 1"
            );
            assert!(told.ends_with(&expected), "{told}");
        }
    }

    #[test]
    fn a_column_that_is_not_there_is_told_with_those_that_are() {
        let folder = TempDir::new().unwrap();
        let path = file(&folder, "a.csv", "x,y\n1,0\n");
        let told = find_column(std::slice::from_ref(&path), "label").unwrap_err().to_string();
        assert!(told.ends_with("a.csv has no column `label`, it has `x`, `y`"), "{told}");
        let names: Vec<String> = (0..23).map(|at| format!("c{at}")).collect();
        let wide = file(&folder, "b.csv", &format!("{}\n", names.join(",")));
        let told = find_column(&[wide], "label").unwrap_err().to_string();
        assert!(told.ends_with("`c19` and 3 more"), "{told}");
    }

    #[test]
    fn a_label_in_a_nested_object_is_found_by_its_path_and_a_dot_in_a_name_stays_one() {
        let folder = TempDir::new().unwrap();
        let nested = file(&folder, "a.jsonl", "{\"meta\":{\"truth\":1},\"x\":NaN}\n{\"meta\":{\"truth\":0}}\n");
        let files = std::slice::from_ref(&nested);
        let path = find_column(files, "meta.truth").unwrap();
        assert_eq!(path, "meta.truth".parse().unwrap());
        assert_eq!(read_labels(files, &path).unwrap(), [Some(true), Some(false)]);
        assert!(has_column(files, &path).unwrap() && !has_column(files, &"meta.other".parse().unwrap()).unwrap());
        let gap = file(&folder, "b.jsonl", "{\"meta\":{\"truth\":1}}\n{\"meta\":3}\n");
        let told = read_labels(&[gap], &path).unwrap_err().to_string();
        assert!(
            told.ends_with(
                "the label of row 1 (rows are counted from 0) in the column `meta.truth` is nothing, expected 0 or 1"
            ),
            "{told}"
        );
        let dotted = file(&folder, "c.csv", "meta.truth,meta\n1,5\n");
        let path = find_column(std::slice::from_ref(&dotted), "meta.truth").unwrap();
        assert_eq!(path, FieldPath::key("meta.truth"));
        assert_eq!(read_labels(&[dotted], &path).unwrap(), [Some(true)]);
        assert!(find_column(&[nested], "..").unwrap_err().to_string().contains("no column `..`"));
    }
}
