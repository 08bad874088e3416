//! What the columns of files say about themselves: which holds the event time, which are labels, which are numbers.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};

use super::{FileError, FileReader};
use crate::{
    config::settings::Preset,
    record::{decode::mask_not_a_number, path::FieldPath},
};

/// Names of a column with the event time, the first that is met wins.
const TIMESTAMP_NAMES: [&str; 3] = ["timestamp", "ts", "time"];

/// Names of columns that hold the truth and so must never be features.
const LABEL_NAMES: [&str; 2] = ["label", "label_series"];

/// One column of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnInfo {
    /// Its name; a dot in it is part of the name.
    pub name: String,
    /// Whether it holds numbers and nothing else in the rows that were looked at (missing values aside).
    pub numeric: bool,
}

/// The columns of one file that are no features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The event time: the column named `timestamp`, else `ts`, else `time`, in upper or lower case.
    pub timestamp: Option<String>,
    /// The labels: the columns named `label` and `label_series`, in upper or lower case.
    pub labels: Vec<String>,
}

impl Layout {
    /// Tells the layout by the columns' names.
    pub fn of(columns: &[ColumnInfo]) -> Self {
        let named = |wanted: &str| columns.iter().find(|column| column.name.eq_ignore_ascii_case(wanted));
        let is_label = |column: &&ColumnInfo| LABEL_NAMES.iter().any(|label| column.name.eq_ignore_ascii_case(label));
        Self {
            timestamp: TIMESTAMP_NAMES.into_iter().find_map(named).map(|column| column.name.clone()),
            labels: columns.iter().filter(is_label).map(|column| column.name.clone()).collect(),
        }
    }
}

/// Settings that follow from files for which nothing was configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    /// Where the event time stands; `None`: rows have none.
    pub timestamp: Option<FieldPath>,
    /// Label columns of any of the files.
    pub exclude: Vec<FieldPath>,
    /// Rows with an event time follow each other, rows without one are independent.
    pub preset: Preset,
}

impl Derived {
    /// The same in the shape of a configuration file.
    pub fn layer(&self) -> Value {
        let mut record = serde_json::Map::new();
        if let Some(path) = &self.timestamp {
            record.insert("timestamp".to_owned(), json!({ "field": path }));
        }
        if !self.exclude.is_empty() {
            record.insert("exclude".to_owned(), json!(self.exclude));
        }
        json!({ "preset": self.preset, "record": record })
    }
}

/// Derives settings from the columns of files that are read as one. Fails where a file can't be read, or where the
/// files don't agree on the column of the event time.
pub fn derive(files: &[PathBuf]) -> Result<Derived, FileError> {
    let first = files.first().ok_or(FileError::NoFiles)?;
    let timestamp = layout(first)?.timestamp;
    let mut labels: Vec<String> = Vec::new();
    for file in files {
        let found = layout(file)?;
        if found.timestamp != timestamp {
            return Err(FileError::TimestampDiffers {
                first: first.clone(),
                first_column: quoted(timestamp.as_deref()),
                other: file.clone(),
                other_column: quoted(found.timestamp.as_deref()),
            });
        }
        labels.extend(found.labels);
    }
    labels.sort_unstable();
    labels.dedup();
    Ok(Derived {
        preset: if timestamp.is_some() { Preset::Timeseries } else { Preset::Tabular },
        timestamp: timestamp.map(|name| FieldPath::key(&name)),
        exclude: labels.iter().map(|name| FieldPath::key(name)).collect(),
    })
}

fn layout(file: &Path) -> Result<Layout, FileError> {
    Ok(Layout::of(&FileReader::open(file)?.columns()?))
}

fn quoted(column: Option<&str>) -> String {
    column.map_or_else(|| "in no column".to_owned(), |name| format!("`{name}`"))
}

/// Counts what the top-level fields of records hold.
pub(super) struct Census {
    fields: Vec<Field>,
}

struct Field {
    name: String,
    numbers: bool,
    others: bool,
}

impl Census {
    /// Starts with the names that are known.
    pub(super) fn of(names: Vec<String>) -> Self {
        Self { fields: names.into_iter().map(|name| Field { name, numbers: false, others: false }).collect() }
    }

    /// Counts the fields of one record; a payload that is no JSON object adds nothing.
    pub(super) fn count(&mut self, payload: &[u8]) {
        // What can't be decoded is told when the row is read; here it has no columns.
        let Ok(text) = std::str::from_utf8(payload) else { return };
        // What is not finite says as little about its column as null, and must not hide the columns after it.
        let masked = mask_not_a_number(text, |masked, _| masked.push_str("null"));
        let _ = serde_json::Deserializer::from_str(masked.as_deref().unwrap_or(text)).deserialize_map(&mut *self);
    }

    /// The columns, in the order in which they appeared.
    pub(super) fn columns(self) -> Vec<ColumnInfo> {
        let column = |field: Field| ColumnInfo { name: field.name, numeric: field.numbers && !field.others };
        self.fields.into_iter().map(column).collect()
    }

    /// Fields of records mostly come in the same order, so the search begins at the place where the field is expected.
    fn field(&mut self, expected: usize, name: String) -> &mut Field {
        let found = match self.fields.get(expected) {
            Some(field) if field.name == name => Some(expected),
            _ => self.fields.iter().position(|field| field.name == name),
        };
        let index = found.unwrap_or_else(|| {
            self.fields.push(Field { name, numbers: false, others: false });
            self.fields.len() - 1
        });
        &mut self.fields[index]
    }
}

impl<'de> Visitor<'de> for &mut Census {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut position = 0;
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value::<Value>()?;
            let field = self.field(position, name);
            match value {
                Value::Number(_) => field.numbers = true,
                Value::Null => {}
                // How numbers that are not finite are written.
                Value::String(text) if matches!(text.as_str(), "NaN" | "inf" | "-inf") => {}
                _ => field.others = true,
            }
            position += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tempfile::TempDir;

    use super::*;

    fn columns(name: &str, text: &str) -> Vec<(String, bool)> {
        let mut reader = FileReader::from_read(name, Box::new(Cursor::new(text.as_bytes().to_vec()))).unwrap();
        reader.columns().unwrap().into_iter().map(|column| (column.name, column.numeric)).collect()
    }

    fn file(folder: &TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_column_is_numeric_when_it_holds_numbers_and_nothing_else() {
        let found = columns("x.csv", "n,gap,nan,word,mixed,none,flag\n1,,nan,a,1,,true\n2,3,4,b,x,,false\nragged\n");
        let expected = [
            ("n", true),
            ("gap", true),
            ("nan", true),
            ("word", false),
            ("mixed", false),
            ("none", false),
            ("flag", false),
        ];
        assert_eq!(found, expected.map(|(name, numeric)| (name.to_owned(), numeric)));
    }

    #[test]
    fn a_header_without_rows_still_has_columns() {
        assert_eq!(columns("x.csv", "b,a\n"), [("b".to_owned(), false), ("a".to_owned(), false)]);
    }

    #[test]
    fn fields_of_json_lines_stand_in_order_of_appearance() {
        let found = columns("x.jsonl", "{\"z\":1,\"a\":{\"b\":1}}\nbroken\n[1]\n{\"a\":null,\"m\":2.5,\"z\":-1}\n");
        assert_eq!(found, [("z", true), ("a", false), ("m", true)].map(|(name, numeric)| (name.to_owned(), numeric)));
    }

    #[test]
    fn what_is_not_finite_hides_no_column_after_it() {
        let found = columns("x.jsonl", "{\"a\":NaN,\"b\":1e999,\"c\":-Infinity,\"label\":1}\n{\"a\":1}\n");
        let expected = [("a", true), ("b", false), ("c", false), ("label", true)];
        assert_eq!(found, expected.map(|(name, numeric)| (name.to_owned(), numeric)));
    }

    #[test]
    fn timestamp_goes_before_ts_before_time_in_any_case() {
        let of = |names: &[&str]| {
            let columns: Vec<_> =
                names.iter().map(|name| ColumnInfo { name: (*name).to_owned(), numeric: true }).collect();
            Layout::of(&columns)
        };
        assert_eq!(of(&["time", "ts", "Timestamp"]).timestamp.as_deref(), Some("Timestamp"));
        assert_eq!(of(&["TIME", "Ts"]).timestamp.as_deref(), Some("Ts"));
        assert_eq!(of(&["a", "Time"]).timestamp.as_deref(), Some("Time"));
        assert_eq!(of(&["a", "timestamps", "uptime"]).timestamp, None);
        assert_eq!(of(&["Label", "a", "label_series", "labels"]).labels, ["Label", "label_series"]);
    }

    #[test]
    fn settings_follow_from_the_columns_of_all_files() {
        let folder = TempDir::new().unwrap();
        let series = file(&folder, "a.csv", "timestamp,x.y\n0,1\n");
        let labelled = file(&folder, "b.csv", "timestamp,x.y,label\n60,1,0\n");
        assert_eq!(
            derive(&[series.clone(), labelled]).unwrap(),
            Derived {
                timestamp: Some(FieldPath::key("timestamp")),
                exclude: vec![FieldPath::key("label")],
                preset: Preset::Timeseries
            }
        );
        let table = file(&folder, "c.csv", "x,label\n1,0\n");
        let derived = derive(std::slice::from_ref(&table)).unwrap();
        assert_eq!((derived.timestamp, derived.preset), (None, Preset::Tabular));
        let error = derive(&[series, table]).unwrap_err().to_string();
        assert!(
            error.contains("a.csv is `timestamp` but that of ") && error.contains("c.csv is in no column;"),
            "{error}"
        );
        assert!(matches!(derive(&[]), Err(FileError::NoFiles)));
    }
}
