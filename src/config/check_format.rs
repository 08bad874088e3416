//! What hangs on `record.format`.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use super::{
    error::Problems,
    raw::Raw,
    raw_format::{RawCsv, RawFormat, RawProtobuf, RawSchemaRegistry},
    settings::{EntityFrom, EventFormat, FeatureSelection, RecordSettings},
};
use crate::{
    record::{
        decode::{AvroSchema, CsvFormat, ProtobufSchema},
        features::FeatureKind,
        path::FieldPath,
    },
    schemas::{Definition, SchemaRegistrySettings, SchemaSource, Schemas},
};

/// The registry, where records or outputs need one. Where something is wrong, nothing will be asked of what this gives.
pub(super) fn needed_registry(raw: &Raw, problems: &mut Problems) -> Option<SchemaRegistrySettings> {
    let reason = match (&raw.record.format, raw.kafka.output_format) {
        (RawFormat::Avro | RawFormat::Protobuf, _) => "record.format names no schema",
        (_, EventFormat::Avro) => "kafka.output_format is avro",
        _ => return None,
    };
    Some(registry(&raw.record.schema_registry, reason, problems))
}

/// Schemas that the registry gives by their ids. Without one, problems were told.
pub(super) fn of_registry<T: Send + Sync + 'static>(
    registry: Option<&SchemaRegistrySettings>,
    compile: fn(&Definition) -> Result<T, String>,
) -> SchemaSource<T> {
    SchemaSource::Registry(Schemas::new(registry.cloned().unwrap_or_default(), compile))
}

fn registry(written: &RawSchemaRegistry, reason: &str, problems: &mut Problems) -> SchemaRegistrySettings {
    let key = |name: &str| format!("record.schema_registry.{name}");
    match &written.url {
        None => problems.push(key("url"), format!("is not set, but {reason}"), "http://HOST:PORT"),
        Some(url) if !is_url(url) => {
            // It may hold a password.
            let problem = "is no address that can be asked";
            let expected = "http://HOST:PORT or https://HOST:PORT, with a path if it has one; a user goes to user and password_file";
            problems.push(key("url"), problem, expected);
        }
        Some(_) => {}
    }
    match (&written.user, &written.password_file, &written.token_file) {
        (Some(_), None, _) => problems.push(key("password_file"), "is not set, but user is", "a file, or no user"),
        (None, Some(_), _) => problems.push(key("user"), "is not set, but password_file is", "a name, or no password"),
        (Some(_), Some(_), Some(_)) => {
            problems.push(key("token_file"), "is set beside a user", "a user and password, or a token");
        }
        _ => {}
    }
    let https = written.url.as_ref().is_some_and(|url| url.starts_with("https://"));
    if written.ca_file.is_some() && !https {
        problems.push(key("ca_file"), "has no effect without TLS", "an https:// address, or no such key");
    }
    let url = written.url.as_deref().unwrap_or_default().trim_end_matches('/').to_owned();
    let RawSchemaRegistry { user, password_file, token_file, ca_file, timeout, .. } = written.clone();
    SchemaRegistrySettings { url, user, password_file, token_file, ca_file, timeout: timeout.0 }
}

fn is_url(text: &str) -> bool {
    let Ok(url) = text.parse::<hyper::Uri>() else { return false };
    let authority = url.authority().filter(|authority| !authority.as_str().contains('@'));
    matches!(url.scheme_str(), Some("http" | "https")) && authority.is_some() && url.query().is_none()
}

/// The schema in a file.
pub(super) fn avro_file(file: &Path, problems: &mut Problems) -> SchemaSource<AvroSchema> {
    let key = "record.format.avro_schema";
    let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
    let schema = read.and_then(|text| AvroSchema::new(&text, &[])).unwrap_or_else(|error| {
        problems.push(key, format!("{}: {error}", file.display()), "a file with the schema of a record (JSON)");
        AvroSchema::default()
    });
    SchemaSource::File(Arc::new(schema))
}

/// The message of a schema in a file.
pub(super) fn protobuf_file(written: &RawProtobuf, problems: &mut Problems) -> SchemaSource<ProtobufSchema> {
    let schema = ProtobufSchema::read(&written.file, &written.message).unwrap_or_else(|error| {
        let problem = format!("{}: {error}", written.file.display());
        let expected = "a .proto file or a set of descriptors, and the full name of a message in it";
        problems.push("record.format.protobuf_schema", problem, expected);
        ProtobufSchema::default()
    });
    SchemaSource::File(Arc::new(schema))
}

/// Columns and separator of lines of CSV.
pub(super) fn csv(written: &RawCsv, problems: &mut Problems) -> CsvFormat {
    if written.columns.is_empty() {
        problems.push("record.format.csv.columns", "names no column", "a name for each cell of a line");
    }
    let mut seen = BTreeSet::new();
    for (index, name) in written.columns.iter().enumerate() {
        let key = format!("record.format.csv.columns[{index}]");
        if name.trim().is_empty() {
            problems.push(key, "is empty", "a name");
        } else if !seen.insert(name) {
            problems.push(key, format!("`{name}` names two columns"), "names that differ");
        }
    }
    let separator = written.separator;
    let stands_apart = separator.is_ascii() && !separator.is_ascii_alphanumeric() && !"\"\r\n+-._".contains(separator);
    if !stands_apart {
        let problem = format!("{separator:?} can't stand between cells");
        let expected = r#"one character such as ",", ";", "|" or "\t" that no number holds"#;
        problems.push("record.format.csv.separator", problem, expected);
    }
    CsvFormat {
        columns: written.columns.iter().map(|name| name.as_str().into()).collect(),
        separator: u8::try_from(separator).unwrap_or(b','),
    }
}

/// A line of CSV has its columns and nothing below them.
pub(super) fn only_columns(csv: &CsvFormat, record: &RecordSettings, problems: &mut Problems) {
    let mut named: Vec<(String, &FieldPath)> = Vec::new();
    if let EntityFrom::Field(path) = &record.entity {
        named.push(("record.entity".to_owned(), path));
    }
    named.extend(record.timestamp.iter().map(|field| ("record.timestamp.field".to_owned(), &field.path)));
    if let FeatureSelection::Listed(features) = &record.features {
        for (index, feature) in features.iter().enumerate().filter(|(_, feature)| feature.kind.needs_field()) {
            named.push((format!("record.features[{index}]"), &feature.path));
            if let FeatureKind::Grid { .. } = feature.kind {
                let problem = "a cell of CSV holds no grid";
                problems.push(format!("record.features[{index}].kind"), problem, "another kind, or another format");
            }
        }
    }
    let is_column =
        |path: &FieldPath| path.name().is_some_and(|name| csv.columns.iter().any(|column| **column == *name));
    for (key, path) in named.into_iter().filter(|(_, path)| !is_column(path)) {
        let problem = format!("`{path}` is none of the columns of record.format.csv");
        problems.push(key, problem, format!("one of {}", csv.columns.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Loaded, Settings, Sources, settings::RecordFormat};

    fn load(sets: &[&str]) -> Result<Loaded, String> {
        let sources = Sources { set: sets.iter().map(|set| (*set).to_owned()).collect(), ..Sources::default() };
        Settings::load(&sources).map_err(|error| error.to_string())
    }

    fn refuses(sets: &[&str], key: &str, words: &str) {
        let told = load(sets).expect_err(key);
        assert!(told.contains(key) && told.contains(words), "{sets:?}: {told}");
    }

    const CSV: &str = r#"record.format={"csv":{"columns":["ts","host","load"],"separator":";"}}"#;

    #[test]
    fn a_format_is_a_word_or_a_table_with_its_keys() {
        let format = |sets: &[&str]| load(sets).unwrap().settings.record.format;
        assert_eq!(format(&["record.format=messagepack"]), RecordFormat::MessagePack);
        let RecordFormat::Csv(csv) = format(&[CSV]) else { panic!() };
        assert_eq!((&*csv.columns, csv.separator), (&["ts".into(), "host".into(), "load".into()][..], b';'));
        let RecordFormat::Csv(csv) = format(&["record.format.csv.columns=a,b"]) else { panic!() };
        assert_eq!((csv.columns.len(), csv.separator), (2, b','));
    }

    #[test]
    fn lines_of_csv_that_can_not_be_read_are_refused_by_name() {
        for (written, key, words) in [
            (r#"{"csv":{"columns":[]}}"#, "record.format.csv.columns", "a name for each cell"),
            (r#"{"csv":{"columns":["a",""]}}"#, "record.format.csv.columns[1]", "is empty"),
            (r#"{"csv":{"columns":["a","b","a"]}}"#, "record.format.csv.columns[2]", "`a` names two columns"),
            (r#"{"csv":{"columns":["a"],"separator":"\""}}"#, "record.format.csv.separator", "can't stand between"),
            (r#"{"csv":{"columns":["a"],"separator":"."}}"#, "record.format.csv.separator", "no number holds"),
            (r#"{"csv":{"columns":["a"],"separator":"ab"}}"#, "record.format", "separator"),
            (r#"{"csv":{"separator":";"}}"#, "record.format", "columns"),
            (r#"{"csv":{"columns":["a"],"header":true}}"#, "record.format", "header"),
        ] {
            refuses(&[&format!("record.format={written}")], key, words);
        }
    }

    #[test]
    fn what_a_line_of_csv_does_not_hold_is_refused_with_its_columns() {
        refuses(&[CSV, r#"record.entity={"field":"hots"}"#], "record.entity", "one of ts, host, load");
        refuses(&[CSV, "record.timestamp.field=time"], "record.timestamp.field", "one of ts, host, load");
        refuses(&[CSV, r#"record.features=["load","v.x"]"#], "record.features[1]", "`v.x` is none of the columns");
        let grid = r#"record.features=[{"path":"load","kind":"grid","shape":[2,2]}]"#;
        refuses(&[CSV, grid], "record.features[0].kind", "a cell of CSV holds no grid");
        let sound = [
            CSV,
            r#"record.entity={"field":"host"}"#,
            "record.timestamp.field=ts",
            r#"record.features=["load",{"kind":"hour_of_day"}]"#,
        ];
        load(&sound).unwrap();
    }
}
