//! A column that holds the truth: 0 for a normal row, 1 for an anomalous one.

use std::{fmt, path::Path, path::PathBuf};

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::{FileError, FileReader};
use crate::record::decode::mask_not_a_number;

/// Columns that an error names at most.
const NAMED: usize = 20;

/// The label of each row of files that are read as one, in order: whether it is anomalous. A label is 0 or 1, or `false` or
/// `true`. `None` where a row can't be read as one, so that nobody knows its label; such a row can't be scored either.
///
/// # Errors
/// A file that can't be read or has no such column, and a label that is anything else.
pub fn read_labels(files: &[PathBuf], column: &str) -> Result<Vec<Option<bool>>, FileError> {
    let mut labels = Vec::new();
    let mut payload = Vec::new();
    for path in files {
        let mut reader = FileReader::open(path)?;
        let columns = reader.columns()?;
        if !columns.iter().any(|known| known.name == column) {
            let names: Vec<&str> = columns.iter().map(|known| known.name.as_str()).collect();
            return Err(FileError::NoColumn { path: path.clone(), column: column.to_owned(), columns: listed(&names) });
        }
        let mut row = 0;
        while reader.next(&mut payload)? {
            labels.push(label(&payload, column).map_err(|found| wrong(path, row, (column, found)))?);
            row += 1;
        }
    }
    Ok(labels)
}

/// Whether each of these files has the column.
///
/// # Errors
/// A file that can't be read.
pub fn has_column(files: &[PathBuf], column: &str) -> Result<bool, FileError> {
    for path in files {
        if !FileReader::open(path)?.columns()?.iter().any(|known| known.name == column) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn wrong(path: &Path, row: u64, (column, found): (&str, String)) -> FileError {
    FileError::Label { path: path.to_owned(), row, column: column.to_owned(), found }
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
fn label(payload: &[u8], column: &str) -> Result<Option<bool>, String> {
    let Ok(text) = std::str::from_utf8(payload) else { return Ok(None) };
    let masked = mask_not_a_number(text, |masked, _| masked.push_str("null"));
    let mut json = serde_json::Deserializer::from_str(masked.as_deref().unwrap_or(text));
    // What is no JSON object has no columns at all.
    let Ok(value) = json.deserialize_map(Cell(column)) else { return Ok(None) };
    match value {
        Some(Value::Bool(label)) => Ok(Some(label)),
        Some(Value::Number(number)) if number.as_f64() == Some(0.0) => Ok(Some(false)),
        Some(Value::Number(number)) if number.as_f64() == Some(1.0) => Ok(Some(true)),
        Some(Value::Null) | None => Err("nothing".to_owned()),
        Some(other) => Err(other.to_string()),
    }
}

/// Takes one field out of a JSON object; of several of that name the last, as the decoder does.
struct Cell<'a>(&'a str);

impl<'de> Visitor<'de> for Cell<'_> {
    type Value = Option<Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
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
        assert_eq!(read_labels(&files, "label").unwrap(), expected);
        assert!(has_column(&files, "label").unwrap() && !has_column(&files, "truth").unwrap());
    }

    #[test]
    fn a_row_that_can_not_be_read_has_a_label_that_nobody_knows() {
        let folder = TempDir::new().unwrap();
        let ragged = file(&folder, "a.csv", "x,label\n1,0\n2\n3,1\n");
        assert_eq!(read_labels(&[ragged], "label").unwrap(), [Some(false), None, Some(true)]);
        let broken = file(&folder, "a.jsonl", "{\"label\":1}\n[1]\n{\"label\n");
        assert_eq!(read_labels(&[broken], "label").unwrap(), [Some(true), None, None]);
    }

    #[test]
    fn what_is_no_label_is_named_with_its_row() {
        let folder = TempDir::new().unwrap();
        for (cell, found) in [("2", "2"), ("", "nothing"), ("yes", "\"yes\""), ("-1", "-1"), ("nan", "\"NaN\"")] {
            let path = file(&folder, "a.csv", &format!("x,label\n1,0\n2,{cell}\n"));
            let told = read_labels(&[path], "label").unwrap_err().to_string();
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
        let told = read_labels(std::slice::from_ref(&path), "label").unwrap_err().to_string();
        assert!(told.ends_with("a.csv has no column `label`, it has `x`, `y`"), "{told}");
        let names: Vec<String> = (0..23).map(|at| format!("c{at}")).collect();
        let wide = file(&folder, "b.csv", &format!("{}\n", names.join(",")));
        let told = read_labels(&[wide], "label").unwrap_err().to_string();
        assert!(told.ends_with("`c19` and 3 more"), "{told}");
    }
}
