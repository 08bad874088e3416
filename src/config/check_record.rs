//! What hangs on several settings of the record, and its features.

use std::collections::{BTreeSet, HashMap};

use super::{
    check_format,
    error::Problems,
    raw::{RawEntity, RawRecordSection},
    raw_features::{RawFeature, RawFeatureKind, RawFeatureObject, RawFeatures},
    raw_format::{RawFormat, RawGridWritten},
    settings::{EntityFrom, FeatureSelection, RawGrid, RecordFormat, RecordSettings, TimestampField},
    units::ByteSize,
};
use crate::{
    record::{
        decode::{AvroSchema, ProtobufSchema},
        features::{FeatureKind, FeatureSetting, Transform, columns_of},
        grid::{MAX_CELLS, Shape},
        path::FieldPath,
    },
    schemas::SchemaRegistrySettings,
};

/// What the only feature of raw bytes is called.
const RAW_FEATURE: &str = "grid";

pub(super) fn record(
    raw: RawRecordSection,
    registry: Option<&SchemaRegistrySettings>,
    problems: &mut Problems,
) -> RecordSettings {
    let format = match raw.format {
        RawFormat::Json => RecordFormat::Json,
        RawFormat::MessagePack => RecordFormat::MessagePack,
        RawFormat::Avro => RecordFormat::Avro(check_format::of_registry(registry, AvroSchema::of)),
        RawFormat::AvroSchema(ref file) => RecordFormat::Avro(check_format::avro_file(file, problems)),
        RawFormat::Protobuf => RecordFormat::Protobuf(check_format::of_registry(registry, ProtobufSchema::of)),
        RawFormat::ProtobufSchema(ref written) => {
            RecordFormat::Protobuf(check_format::protobuf_file(written, problems))
        }
        RawFormat::Csv(ref written) => RecordFormat::Csv(check_format::csv(written, problems)),
        RawFormat::Raw(ref written) => RecordFormat::Raw(raw_grid(written, &raw, problems)),
    };
    let features = match raw.features {
        _ if let RecordFormat::Raw(grid) = format => {
            FeatureSelection::Listed(vec![feature_of_bytes(grid.shape, raw.transform)])
        }
        RawFeatures::Word(_) => FeatureSelection::AllNumeric { exclude: raw.exclude, transform: raw.transform },
        RawFeatures::Listed(listed) => {
            if !raw.exclude.is_empty() {
                problems.push("record.exclude", "has no effect on a list of features", "features: all_numeric");
            }
            if raw.transform != Transform::None {
                let expected = "features: all_numeric, or a transform in each entry of the list";
                problems.push("record.transform", "has no effect on a list of features", expected);
            }
            FeatureSelection::Listed(listed_features(listed, problems))
        }
    };
    let settings = RecordSettings {
        entity: match raw.entity {
            RawEntity::Key => EntityFrom::Key,
            RawEntity::Nothing => EntityFrom::Nothing,
            RawEntity::Field(path) => EntityFrom::Field(path),
        },
        timestamp: raw.timestamp.map(|written| TimestampField { path: written.field, format: written.format }),
        format,
        features,
        lateness: raw.lateness.map(|lateness| lateness.0),
        duplicates: raw.duplicates,
        max_bytes: max_bytes(raw.max_bytes),
        max_missing: raw.max_missing,
    };
    match &settings.format {
        RecordFormat::Raw(_) => {}
        RecordFormat::Csv(csv) => check_format::only_columns(csv, &settings, problems),
        _ => grids_stand_alone(&settings, problems),
    }
    settings
}

fn max_bytes(written: ByteSize) -> usize {
    usize::try_from(written.0).unwrap_or(usize::MAX)
}

/// Raw bytes have no fields, so whatever names one is wrong.
fn raw_grid(written: &RawGridWritten, record: &RawRecordSection, problems: &mut Problems) -> RawGrid {
    let shape = Shape::from(written.shape);
    check_shape(shape, "record.format.raw.shape", problems);
    if let RawEntity::Field(path) = &record.entity {
        let problem = format!("raw bytes have no field `{path}`");
        problems.push("record.entity", problem, "key or nothing, or record.format: json");
    }
    if let Some(timestamp) = &record.timestamp {
        let problem = format!("raw bytes have no field `{}`", timestamp.field);
        let expected = "null, so that the message's own timestamp counts, or record.format: json";
        problems.push("record.timestamp", problem, expected);
    }
    if matches!(record.features, RawFeatures::Listed(_)) {
        let expected = "all_numeric (the grid is the only feature), or record.format: json with a feature of kind grid";
        problems.push("record.features", "raw bytes have no fields", expected);
    }
    if !record.exclude.is_empty() {
        problems.push("record.exclude", "raw bytes have no fields", "an empty list, or record.format: json");
    }
    let bytes = shape.cells().saturating_mul(written.cell.bytes());
    if shape.is_sound() && bytes > max_bytes(record.max_bytes) {
        let problem = format!("a grid of {shape} of type {} takes {bytes} bytes", written.cell);
        problems.push("record.max_bytes", problem, format!("at least {bytes}, or a smaller grid"));
    }
    RawGrid { shape, cell: written.cell, big_endian: written.big_endian }
}

/// The feature that raw bytes are. Its path lets the same model score JSON records of one field with that name.
fn feature_of_bytes(shape: Shape, transform: Transform) -> FeatureSetting {
    let kind = FeatureKind::Grid { shape, transform };
    FeatureSetting { name: RAW_FEATURE.to_owned(), path: FieldPath::key(RAW_FEATURE), kind }
}

/// Each side is checked by the schema.
fn check_shape(shape: Shape, key: &str, problems: &mut Problems) {
    if shape.cells() > MAX_CELLS {
        problems.push(key, format!("{shape} are {} cells", shape.cells()), format!("at most {MAX_CELLS} cells"));
    }
}

/// A grid is read as a whole: no other feature, nor entity or event time, can be taken from within or above it.
fn grids_stand_alone(record: &RecordSettings, problems: &mut Problems) {
    let FeatureSelection::Listed(features) = &record.features else { return };
    let overlaps = |one: &FieldPath, other: &FieldPath| one.contains(other) || other.contains(one);
    for (index, feature) in features.iter().enumerate() {
        let FeatureKind::Grid { .. } = feature.kind else { continue };
        let grid = &feature.path;
        let others = features.iter().enumerate().filter(|(at, other)| *at != index && other.kind.needs_field());
        let mut taken: Vec<(String, &FieldPath)> = others
            // Of two grids the later one is told.
            .filter(|(at, other)| !(*at < index && matches!(other.kind, FeatureKind::Grid { .. })))
            .map(|(at, other)| (format!("record.features[{at}].path"), &other.path))
            .collect();
        if let EntityFrom::Field(path) = &record.entity {
            taken.push(("record.entity".to_owned(), path));
        }
        taken.extend(record.timestamp.iter().map(|field| ("record.timestamp.field".to_owned(), &field.path)));
        for (key, path) in taken.into_iter().filter(|(_, path)| overlaps(grid, path)) {
            let problem = format!("`{path}` and the grid `{grid}` overlap");
            problems.push(key, problem, "another field: that of a grid is for nothing else");
        }
    }
}

fn listed_features(listed: Vec<RawFeature>, problems: &mut Problems) -> Vec<FeatureSetting> {
    if listed.is_empty() {
        problems.push("record.features", "the list is empty", "at least one feature, or all_numeric");
    }
    let nested: BTreeSet<String> = listed.iter().filter_map(nested_path).collect();
    let mut names = BTreeSet::new();
    let mut features = Vec::new();
    let mut keys = Vec::new();
    for (index, entry) in listed.into_iter().enumerate() {
        let key = format!("record.features[{index}]");
        let named = matches!(&entry, RawFeature::Full(RawFeatureObject { name: Some(_), .. }));
        let Some(mut feature) = feature(entry, &key, problems) else { continue };
        if !named {
            feature.name = feature.path.label(|name| nested.contains(name));
        }
        if !names.insert(feature.name.clone()) {
            problems.push(&key, format!("the name `{}` is taken", feature.name), "a name of its own");
        }
        features.push(feature);
        keys.push(key);
    }
    if names.len() == features.len() {
        columns_are_told_apart(&features, &keys, problems);
    }
    features
}

/// A feature may be called like a cell, a category or a half of another one. Of two such features the later one is told.
fn columns_are_told_apart(features: &[FeatureSetting], keys: &[String], problems: &mut Problems) {
    let mut owners = HashMap::new();
    for (column, index) in columns_of(features) {
        let owner = *owners.entry(column.clone()).or_insert(index);
        if owner != index && !problems.concerns(&keys[index]) {
            let problem = format!("the column `{column}` is also one of `{}`", features[owner].name);
            problems.push(&keys[index], problem, "another name");
        }
    }
}

/// The text of a path of several segments, which no shorter path may take for its name.
fn nested_path(entry: &RawFeature) -> Option<String> {
    let path = match entry {
        RawFeature::Path(path) => path,
        RawFeature::Full(written) => written.path.as_ref()?,
    };
    path.name().is_none().then(|| path.to_string())
}

fn feature(entry: RawFeature, key: &str, problems: &mut Problems) -> Option<FeatureSetting> {
    let written = match entry {
        RawFeature::Path(path) => RawFeatureObject {
            path: Some(path),
            name: None,
            kind: RawFeatureKind::Numeric,
            transform: None,
            vocabulary: None,
            shape: None,
        },
        RawFeature::Full(written) => written,
    };
    only_with_its_kind(&written, key, problems);
    // The event time has no path in the record; its word stands for both path and name.
    let clock = match written.kind {
        RawFeatureKind::HourOfDay => Some("hour_of_day"),
        RawFeatureKind::DayOfWeek => Some("day_of_week"),
        _ => None,
    };
    let path = match (written.path, clock) {
        (Some(path), None) => path,
        (None, Some(word)) => word.parse().expect("a plain word is a path"),
        (None, None) => {
            problems.push(format!("{key}.path"), "is not set", "the path of a field");
            return None;
        }
        (Some(path), Some(word)) => {
            problems.push(format!("{key}.path"), format!("`{path}` has no effect with kind {word}"), "no path");
            return None;
        }
    };
    let transform = written.transform.unwrap_or_default();
    let kind = match written.kind {
        RawFeatureKind::Numeric => FeatureKind::Numeric { transform },
        RawFeatureKind::Grid => {
            let Some(shape) = written.shape.map(Shape::from) else {
                let expected = "[ROWS, COLUMNS], such as [24, 32]";
                problems.push(format!("{key}.shape"), "is not set, but the kind is grid", expected);
                return None;
            };
            check_shape(shape, &format!("{key}.shape"), problems);
            FeatureKind::Grid { shape, transform }
        }
        RawFeatureKind::Boolean => FeatureKind::Boolean,
        RawFeatureKind::Categorical => {
            let vocabulary = written.vocabulary.unwrap_or_default();
            let distinct: BTreeSet<_> = vocabulary.iter().collect();
            if distinct.len() < vocabulary.len() {
                problems.push(format!("{key}.vocabulary"), "names a category twice", "each category once");
            }
            FeatureKind::Categorical { vocabulary }
        }
        RawFeatureKind::Counter => FeatureKind::Counter,
        RawFeatureKind::HourOfDay => FeatureKind::HourOfDay,
        RawFeatureKind::DayOfWeek => FeatureKind::DayOfWeek,
    };
    Some(FeatureSetting { name: written.name.unwrap_or_else(|| path.to_string()), path, kind })
}

/// Keys that say nothing about other kinds.
fn only_with_its_kind(written: &RawFeatureObject, key: &str, problems: &mut Problems) {
    if written.transform.is_some() && !matches!(written.kind, RawFeatureKind::Numeric | RawFeatureKind::Grid) {
        let expected = "kind: numeric or grid, or no transform";
        problems.push(format!("{key}.transform"), "only numbers can be transformed", expected);
    }
    if written.vocabulary.is_some() && written.kind != RawFeatureKind::Categorical {
        let expected = "kind: categorical, or no vocabulary";
        problems.push(format!("{key}.vocabulary"), "only categories have a vocabulary", expected);
    }
    if written.shape.is_some() && written.kind != RawFeatureKind::Grid {
        problems.push(format!("{key}.shape"), "only grids have a shape", "kind: grid, or no shape");
    }
    if written.name.as_deref().is_some_and(|name| name.trim().is_empty()) {
        problems.push(format!("{key}.name"), "is empty", "a name, or no such key");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Loaded, Settings, Sources},
        record::{features::grid_of, grid::CellType},
    };

    fn load(sets: &[&str]) -> Result<Loaded, String> {
        let sources = Sources { set: sets.iter().map(|set| (*set).to_owned()).collect(), ..Sources::default() };
        Settings::load(&sources).map_err(|error| error.to_string())
    }

    fn listed(sets: &[&str]) -> Vec<FeatureSetting> {
        match load(sets).unwrap().settings.record.features {
            FeatureSelection::Listed(features) => features,
            other => panic!("{other:?}"),
        }
    }

    fn refuses(sets: &[&str], key: &str, words: &str) {
        let told = load(sets).expect_err(key);
        assert!(told.contains(key) && told.contains(words), "{sets:?}: {told}");
    }

    const FRAME: &str = r#"record.features=[{"path":"v.frame","kind":"grid","shape":[24,32]}]"#;

    #[test]
    fn a_grid_has_a_shape_and_may_have_a_transform() {
        let features = listed(&[FRAME]);
        assert_eq!((features[0].name.as_str(), grid_of(&features)), ("v.frame", Some([24, 32])));
        let log = r#"record.features=[{"path":"f","kind":"grid","shape":[1,2],"transform":"log1p","name":"n"}]"#;
        let shape = Shape { height: 1, width: 2 };
        assert_eq!(listed(&[log])[0].kind, FeatureKind::Grid { shape, transform: Transform::Log1p });
    }

    #[test]
    fn a_grid_that_can_not_be_is_refused_by_name() {
        let features = |entry: &str| format!("record.features=[{entry}]");
        for (entry, key, words) in [
            (r#"{"path":"f","kind":"grid"}"#, "record.features[0].shape", "[ROWS, COLUMNS]"),
            (r#"{"path":"f","kind":"grid","shape":[0,2]}"#, "record.features[0].shape[0]", "in 1..1024"),
            (r#"{"path":"f","kind":"grid","shape":[2,1025]}"#, "record.features[0].shape[1]", "1025 is out of range"),
            (r#"{"path":"f","kind":"grid","shape":[257,256]}"#, "record.features[0].shape", "at most 65536 cells"),
            (r#"{"path":"f","kind":"grid","shape":[2]}"#, "record.features[0].shape", "2"),
            (r#"{"path":"f","kind":"grid","shape":[2,2,3]}"#, "record.features[0]", "3"),
            (r#"{"path":"f","shape":[2,2]}"#, "record.features[0].shape", "kind: grid, or no shape"),
            (r#"{"path":"f","kind":"counter","transform":"log1p"}"#, "record.features[0].transform", "numeric or grid"),
            (
                r#"{"path":"f","kind":"grid","shape":[2,2],"vocabulary":["a"]}"#,
                "record.features[0].vocabulary",
                "kind: categorical",
            ),
            (r#"{"kind":"grid","shape":[2,2]}"#, "record.features[0].path", "the path of a field"),
        ] {
            refuses(&[&features(entry)], key, words);
        }
    }

    #[test]
    fn no_two_columns_have_one_name() {
        let grid = r#"{"path":"f","kind":"grid","shape":[2,2]}"#;
        let category = r#"{"path":"c","kind":"categorical","vocabulary":["x","y"]}"#;
        let clock = r#"{"kind":"hour_of_day"}"#;
        for (owner, name) in [(grid, "f[1][0]"), (category, "c=y"), (clock, "hour_of_day.sin")] {
            let named = format!(r#"{{"path":"other","name":"{name}"}}"#);
            let told = format!("the column `{name}` is also one of `");
            refuses(&[&format!("record.features=[{owner},{named}]")], "record.features[1]", &told);
            refuses(&[&format!("record.features=[{named},{owner}]")], "record.features[1]", &told);
            let apart = format!(r#"record.features=[{owner},{{"path":"other","name":"{name}x"}}]"#);
            assert_eq!(listed(&[&apart]).len(), 2);
        }
    }

    #[test]
    fn the_field_of_a_grid_is_for_nothing_else() {
        let words = "and the grid `v.frame` overlap";
        let with = |other: &str| FRAME.replace("]}]", &format!("]}},{other}]"));
        refuses(&[&with(r#""v.frame.0.1""#)], "record.features[1].path", words);
        refuses(&[&with(r#"{"path":"v","name":"x"}"#)], "record.features[1].path", words);
        refuses(
            &[&with(r#"{"path":"v.frame","name":"x","kind":"grid","shape":[2,2]}"#)],
            "record.features[1].path",
            words,
        );
        refuses(&[FRAME, r#"record.entity={"field":"v.frame.0.0"}"#], "record.entity", words);
        refuses(&[FRAME, "record.timestamp.field=v.frame"], "record.timestamp.field", words);
        let beside = with(r#""v.frames",{"kind":"hour_of_day"}"#);
        assert_eq!(listed(&[&beside, "record.timestamp.field=v.time"]).len(), 3);
    }

    #[test]
    fn raw_bytes_are_one_grid_and_nothing_else() {
        let raw = r#"record.format={"raw":{"shape":[24,32],"type":"uint16","big_endian":true}}"#;
        let record = load(&[raw, "record.entity=nothing", "record.transform=log1p"]).unwrap().settings.record;
        let shape = Shape { height: 24, width: 32 };
        assert_eq!(record.format, RecordFormat::Raw(RawGrid { shape, cell: CellType::Uint16, big_endian: true }));
        let FeatureSelection::Listed(features) = record.features else { panic!("{:?}", record.features) };
        assert_eq!((features[0].name.as_str(), features[0].path.to_string().as_str()), ("grid", "grid"));
        assert_eq!(features[0].kind, FeatureKind::Grid { shape, transform: Transform::Log1p });
        assert_eq!(load(&[]).unwrap().settings.record.format, RecordFormat::Json);
        let levels = ["record.format.raw.shape=24,32", "record.format.raw.type=uint8"];
        let RecordFormat::Raw(grid) = load(&levels).unwrap().settings.record.format else { panic!("{levels:?}") };
        assert_eq!(grid, RawGrid { shape, cell: CellType::Uint8, big_endian: false });
    }

    #[test]
    fn what_can_not_go_with_raw_bytes_is_refused_by_name() {
        let raw = r#"record.format={"raw":{"shape":[24,32],"type":"uint8"}}"#;
        refuses(&[raw, r#"record.entity={"field":"id"}"#], "record.entity", "key or nothing, or record.format: json");
        refuses(&[raw, "record.timestamp.field=ts"], "record.timestamp", "the message's own timestamp");
        refuses(&[raw, r#"record.features=["a"]"#], "record.features", "all_numeric");
        refuses(&[raw, r#"record.exclude=["a"]"#], "record.exclude", "an empty list");
        refuses(&[raw, "record.max_bytes=767"], "record.max_bytes", "at least 768");
        for (written, key, words) in [
            (r#"{"raw":{"shape":[24,32]}}"#, "record.format", "type"),
            (r#"{"raw":{"shape":[24,32],"type":"int32"}}"#, "record.format", "int32"),
            (r#"{"raw":{"shape":[24,1025],"type":"uint8"}}"#, "record.format.raw.shape[1]", "in 1..1024"),
            (r#"{"raw":{"shape":[1024,65],"type":"uint8"}}"#, "record.format.raw.shape", "at most 65536 cells"),
            (r#"{"raw":{"shape":[24,32],"type":"uint8","channels":3}}"#, "record.format", "channels"),
            ("raw", "record.format: raw needs keys of its own", "such as {raw: {shape: [24, 32], type: uint16}}"),
            (
                "xml",
                "record.format",
                "expected one of json, messagepack, avro, avro_schema, protobuf, protobuf_schema, csv, raw",
            ),
        ] {
            refuses(&[&format!("record.format={written}")], key, words);
        }
    }

    #[test]
    fn what_follows_from_files_says_nothing_about_raw_bytes() {
        let derived = serde_json::json!({ "record": { "timestamp": { "field": "ts" }, "exclude": ["label"] } });
        let set = vec![r#"record.format={"raw":{"shape":[24,32],"type":"uint8"}}"#.to_owned()];
        Settings::load(&Sources { derived: Some(derived), set, ..Sources::default() }).unwrap();
    }
}
