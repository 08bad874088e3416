//! What a training sample holds: its numeric fields, where no features are configured, and the categories of features
//! whose vocabulary is empty.

mod walk;

use std::collections::{HashMap, HashSet};

use serde::de::Deserializer;
use walk::Walk;

use super::{
    RecordError,
    decode::{Reader, json_of, mask_not_a_number, syntax_fault, utf8},
    features::{FeatureKind, FeatureSetting, Transform},
    path::FieldPath,
};
use crate::config::settings::RecordFormat;

/// Elements of an array beyond this are not looked at.
pub const MAX_ELEMENTS: usize = 64;
/// A vocabulary holds at most this many categories, each of which becomes a column.
pub const MAX_CATEGORIES: usize = 64;
/// A sample with more different fields than this has data for keys.
pub const MAX_FIELDS: usize = 16_384;

/// Why a sample gives no features.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// No record could be read.
    #[error("the sample holds no readable record ({unreadable} unreadable ones), expected what record.format says")]
    NoRecords {
        /// Records that could not be read.
        unreadable: usize,
    },
    /// No field is a number often enough.
    #[error("none of the {fields} fields is a number in at least half of the {records} records; list record.features")]
    NoNumericFields {
        /// Different fields met, without the excluded ones.
        fields: usize,
        /// Records read.
        records: usize,
    },
    /// The records' keys are data.
    #[error("the sample holds more than {MAX_FIELDS} different fields; list record.features")]
    TooManyFields,
    /// The field holds no category in any record.
    #[error("field `{0}` holds no category in any record of the sample; list its vocabulary or remove the feature")]
    NoCategories(FieldPath),
    /// The field is more of an identifier than a category.
    #[error(
        "field `{0}` holds more than {MAX_CATEGORIES} categories; list the vocabulary of those that matter \
         (the others all look alike then) or remove the feature"
    )]
    TooManyCategories(FieldPath),
}

/// Gathers what the records of a sample hold.
#[derive(Debug)]
pub struct Discovery {
    reader: Reader,
    records: usize,
    unreadable: usize,
    /// Scalar fields in order of first appearance.
    fields: Vec<Field>,
    by_path: HashMap<FieldPath, usize>,
    /// The only fields that are looked at, for their categories; `None` looks at all, for which are numbers.
    categorical: Option<Vec<FieldPath>>,
    overflowed: bool,
}

#[derive(Debug)]
struct Field {
    path: FieldPath,
    /// Records in which it is not null.
    present: usize,
    /// Records in which it is a finite number.
    numeric: usize,
    /// The last record that counted it: equal keys of one record count once.
    counted: usize,
    /// Category to number of records; holds at most one more than [`MAX_CATEGORIES`]. Empty unless wanted.
    categories: HashMap<String, usize>,
}

/// A scalar by its text, as categories know it.
struct Leaf {
    text: String,
    numeric: bool,
}

impl Discovery {
    /// A discovery that counts the categories of those of `features` whose vocabulary is empty, and looks at nothing else:
    /// if there is none, payloads are not even read.
    pub fn of_categories(features: &[FeatureSetting], format: &RecordFormat) -> Self {
        let categorical = features.iter().filter(|feature| lacks_vocabulary(&feature.kind));
        let categorical: Vec<FieldPath> = categorical.map(|feature| feature.path.clone()).collect();
        Self::new(Reader::new(format, &categorical), Some(categorical))
    }

    /// A discovery that finds numeric fields.
    pub fn of_numbers(format: &RecordFormat) -> Self {
        Self::new(Reader::new(format, &[]), None)
    }

    fn new(reader: Reader, categorical: Option<Vec<FieldPath>>) -> Self {
        Self {
            reader,
            records: 0,
            unreadable: 0,
            fields: Vec::new(),
            by_path: HashMap::new(),
            categorical,
            overflowed: false,
        }
    }

    /// Looks at a whole sample; unreadable payloads are counted, see [`Discovery::unreadable`].
    pub fn observe_all<'a>(&mut self, payloads: impl Iterator<Item = &'a [u8]>) {
        for payload in payloads {
            // The count tells of it; the pipeline says why when the record comes up again.
            let _ = self.observe(payload);
        }
    }

    /// Looks at one payload.
    ///
    /// # Errors
    /// [`RecordError::Undecodable`] if it is no record of the format; nothing of it is counted then.
    pub fn observe(&mut self, payload: &[u8]) -> Result<(), RecordError> {
        let wanted = self.categorical.as_deref();
        if wanted.is_some_and(<[_]>::is_empty) {
            return Ok(());
        }
        let mut leaves = Vec::new();
        let top = Walk { leaves: &mut leaves, wanted, path: None };
        let read = match &mut self.reader {
            // A grid is known, and has neither names nor fields.
            Reader::Raw(_) => return Ok(()),
            Reader::Json => {
                let (before, json) = json_of(payload);
                let read = utf8(json).and_then(|text| {
                    // What is not finite says as little about its field as null.
                    let masked = mask_not_a_number(text, |masked, _| masked.push_str("null"));
                    walk(masked.as_deref().unwrap_or(text), top)
                });
                read.map_err(|fault| fault.behind(before))
            }
            other => other.walk(payload, top),
        };
        if let Err(fault) = read {
            self.unreadable += 1;
            return Err(fault);
        }
        self.records += 1;
        for (path, leaf) in leaves {
            self.count(path, &leaf);
        }
        Ok(())
    }

    /// Number of payloads read.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Number of payloads that could not be read.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    fn count(&mut self, path: FieldPath, leaf: &Leaf) {
        let index = match self.by_path.get(&path) {
            Some(index) => *index,
            None if self.fields.len() == MAX_FIELDS => {
                self.overflowed = true;
                return;
            }
            None => {
                self.by_path.insert(path.clone(), self.fields.len());
                let categories = HashMap::new();
                self.fields.push(Field { path, present: 0, numeric: 0, counted: 0, categories });
                self.fields.len() - 1
            }
        };
        let field = &mut self.fields[index];
        if field.counted == self.records {
            return;
        }
        field.counted = self.records;
        field.present += 1;
        field.numeric += usize::from(leaf.numeric);
        if self.categorical.is_some() {
            let room = field.categories.len() <= MAX_CATEGORIES;
            match field.categories.get_mut(&leaf.text) {
                Some(count) => *count += 1,
                None if room => _ = field.categories.insert(leaf.text.clone(), 1),
                None => {}
            }
        }
    }

    /// The fields that are numbers, in order of first appearance: present (not null, not NaN) in at least half of the
    /// records, and a number in at least half of those. Each is named by its path's [`FieldPath::label`]. The paths of
    /// `exclude`, and all that stands beneath them, are left out; entity and event time belong there. One that leaves
    /// out nothing is warned of: it may be a slip.
    ///
    /// # Errors
    /// [`DiscoveryError::NoRecords`], [`DiscoveryError::NoNumericFields`] or [`DiscoveryError::TooManyFields`].
    pub fn numeric_features(&self, exclude: &[FieldPath]) -> Result<Vec<FeatureSetting>, DiscoveryError> {
        self.check()?;
        for path in self.without_effect(exclude) {
            tracing::warn!(%path, "no record holds a value at a path that is to be left out of the features");
        }
        let wanted = |field: &&Field| !exclude.iter().any(|path| path.contains(&field.path));
        let fields = self.fields.iter().filter(wanted).collect::<Vec<_>>();
        let often = |field: &&&Field| 2 * field.present >= self.records && 2 * field.numeric >= field.present;
        let nested: HashSet<String> =
            fields.iter().filter(|field| field.path.name().is_none()).map(|field| field.path.to_string()).collect();
        let numeric = fields.iter().filter(often).map(|field| FeatureSetting {
            name: field.path.label(|name| nested.contains(name)),
            path: field.path.clone(),
            kind: FeatureKind::Numeric { transform: Transform::None },
        });
        let features = numeric.collect::<Vec<_>>();
        if features.is_empty() {
            return Err(DiscoveryError::NoNumericFields { fields: fields.len(), records: self.records });
        }
        Ok(features)
    }

    /// Those of the paths at and beneath which no record holds a value.
    fn without_effect<'p>(&self, paths: &'p [FieldPath]) -> Vec<&'p FieldPath> {
        paths.iter().filter(|path| !self.fields.iter().any(|field| path.contains(&field.path))).collect()
    }

    /// The categories of the field at `path`, the most frequent first, equally frequent ones by name.
    ///
    /// # Errors
    /// [`DiscoveryError::NoCategories`] (also for a field that this was not told of when it was made) or
    /// [`DiscoveryError::TooManyCategories`].
    pub fn vocabulary(&self, path: &FieldPath) -> Result<Vec<String>, DiscoveryError> {
        self.check()?;
        let field = self.by_path.get(path).map(|index| &self.fields[*index]);
        let mut counted = field.map(|field| field.categories.iter().collect::<Vec<_>>()).unwrap_or_default();
        if counted.is_empty() {
            return Err(DiscoveryError::NoCategories(path.clone()));
        }
        if counted.len() > MAX_CATEGORIES {
            return Err(DiscoveryError::TooManyCategories(path.clone()));
        }
        counted.sort_unstable_by(|one, other| other.1.cmp(one.1).then_with(|| one.0.cmp(other.0)));
        Ok(counted.into_iter().map(|(category, _)| category.clone()).collect())
    }

    /// Fills the empty vocabularies of `features` by [`Discovery::vocabulary`].
    ///
    /// # Errors
    /// The same.
    pub fn fill_vocabularies(&self, features: &mut [FeatureSetting]) -> Result<(), DiscoveryError> {
        for feature in features.iter_mut().filter(|feature| lacks_vocabulary(&feature.kind)) {
            feature.kind = FeatureKind::Categorical { vocabulary: self.vocabulary(&feature.path)? };
        }
        Ok(())
    }

    fn check(&self) -> Result<(), DiscoveryError> {
        match (self.records, self.overflowed) {
            (0, _) => Err(DiscoveryError::NoRecords { unreadable: self.unreadable }),
            (_, true) => Err(DiscoveryError::TooManyFields),
            _ => Ok(()),
        }
    }
}

fn lacks_vocabulary(kind: &FeatureKind) -> bool {
    matches!(kind, FeatureKind::Categorical { vocabulary } if vocabulary.is_empty())
}

/// Reads an object of JSON.
fn walk(text: &str, top: Walk<'_>) -> Result<(), RecordError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(top).and_then(|()| deserializer.end()).map_err(|cause| syntax_fault(text, &cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discover(features: &[FeatureSetting], payloads: &[&str]) -> Discovery {
        let json = &RecordFormat::Json;
        let mut discovery =
            if features.is_empty() { Discovery::of_numbers(json) } else { Discovery::of_categories(features, json) };
        discovery.observe_all(payloads.iter().map(|payload| payload.as_bytes()));
        discovery
    }

    fn names(payloads: &[&str], exclude: &[&str]) -> Vec<String> {
        let exclude = exclude.iter().map(|path| path.parse().unwrap()).collect::<Vec<_>>();
        let features = discover(&[], payloads).numeric_features(&exclude).unwrap();
        features.into_iter().map(|feature| feature.name).collect()
    }

    fn categorical(path: &str) -> FeatureSetting {
        let kind = FeatureKind::Categorical { vocabulary: Vec::new() };
        FeatureSetting { name: path.to_owned(), path: path.parse().unwrap(), kind }
    }

    #[test]
    fn numeric_fields_come_in_order_of_first_appearance() {
        let payloads = [r#"{"z":1,"s":"x","v":{"b":2.5,"a":[1,2]}}"#, r#"{"a.b":1,"z":2,"v":{"b":1,"a":[1,2]}}"#];
        assert_eq!(names(&payloads, &[]), ["z", "v.b", "v.a.0", "v.a.1", "a.b"]);
        assert_eq!(names(&[r#"{"a.b":1,"a":{"b":2}}"#], &[]), [r"a\.b", "a.b"], "two fields, two names");
    }

    #[test]
    fn a_field_must_be_a_number_in_half_of_the_records_that_hold_it_and_be_held_by_half() {
        let payloads = [
            r#"{"a":1,"b":"x","c":1,"e":1,"f":1}"#,
            r#"{"a":1,"b":"x","c":null,"e":"x","f":true}"#,
            r#"{"a":1,"b":1,"c":NaN,"d":1}"#,
            r#"{"a":1,"c":-1e999,"d":1}"#,
        ];
        assert_eq!(names(&payloads, &[]), ["a", "e", "f", "d"]);
    }

    #[test]
    fn excluded_paths_and_what_stands_beneath_are_left_out() {
        let payloads = [r#"{"ts":1,"v":{"a":1,"b":1},"w":{"a":1}}"#];
        assert_eq!(names(&payloads, &["ts", "v.b", "w"]), ["v.a"]);
        let paths = ["ts", "w", "tss", "v.c", "v.a.x"].map(|path| path.parse::<FieldPath>().unwrap());
        assert_eq!(discover(&[], &payloads).without_effect(&paths), [&paths[2], &paths[3], &paths[4]]);
    }

    #[test]
    fn equal_keys_of_one_record_count_once() {
        assert_eq!(names(&[r#"{"a":1,"b":2,"b":2}"#, r#"{"a":1}"#, r#"{"a":1}"#], &[]), ["a"]);
    }

    #[test]
    fn elements_past_the_64th_are_not_looked_at() {
        let payload = format!(r#"{{"a":[{}]}}"#, vec!["1"; 70].join(","));
        let names = names(&[&payload], &[]);
        assert_eq!((names.len(), names[63].as_str()), (MAX_ELEMENTS, "a.63"));
    }

    #[test]
    fn unreadable_payloads_are_counted_and_explained() {
        let mut discovery = discover(&[], &["[1]", "{", r#"{"a":1}"#, r#"{"a":1} x"#, "\u{1}"]);
        assert_eq!((discovery.records(), discovery.unreadable()), (1, 4));
        assert!(matches!(discovery.observe(b"{\"a\":\xff}"), Err(RecordError::Undecodable { at: 5, .. })));
        let message = discovery.observe(b"[1]").unwrap_err().to_string();
        assert!(message.contains("byte 0"), "{message}");
        let empty = discover(&[], &["["]).numeric_features(&[]);
        assert_eq!(empty, Err(DiscoveryError::NoRecords { unreadable: 1 }));
        let text = discover(&[], &[r#"{"a":"x"}"#]).numeric_features(&[]);
        assert_eq!(text, Err(DiscoveryError::NoNumericFields { fields: 1, records: 1 }));
    }

    #[test]
    fn keys_that_are_data_are_told_not_kept() {
        let mut discovery = Discovery::of_numbers(&RecordFormat::Json);
        for record in 0..=MAX_FIELDS {
            discovery.observe(format!(r#"{{"id-{record}":1}}"#).as_bytes()).unwrap();
        }
        assert_eq!(discovery.numeric_features(&[]), Err(DiscoveryError::TooManyFields));
        assert_eq!(discovery.fields.len(), MAX_FIELDS);
    }

    #[test]
    fn beside_categories_to_be_learned_nothing_is_looked_at() {
        let payload = r#"{"x":1,"c":"a","v":{"d":[0,"b","c"],"e":2}}"#;
        let found = discover(&[categorical("c"), categorical("v.d.1")], &[payload]);
        let paths: Vec<String> = found.fields.iter().map(|field| field.path.to_string()).collect();
        assert_eq!(paths, ["c", "v.d.1"]);
        let numeric = FeatureKind::Numeric { transform: Transform::None };
        let none = discover(&[FeatureSetting { kind: numeric, ..categorical("x") }], &[payload, "{"]);
        assert_eq!((none.fields.len(), none.records(), none.unreadable()), (0, 0, 0));
    }

    #[test]
    fn a_vocabulary_is_ordered_by_frequency_then_name() {
        let mut features = [categorical("c"), categorical("d.e")];
        let payloads = [
            r#"{"c":"b","d":{"e":1}}"#,
            r#"{"c":"c","d":{"e":1.0}}"#,
            r#"{"c":"a","d":{"e":true}}"#,
            r#"{"c":"c","d":{"e":null}}"#,
        ];
        discover(&features, &payloads).fill_vocabularies(&mut features).unwrap();
        let vocabulary = |feature: &FeatureSetting| match &feature.kind {
            FeatureKind::Categorical { vocabulary } => vocabulary.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(vocabulary(&features[0]), ["c", "a", "b"]);
        assert_eq!(vocabulary(&features[1]), ["1", "true"]);
    }

    #[test]
    fn a_vocabulary_of_more_than_64_categories_is_refused() {
        let payloads = (0..65).map(|category| format!(r#"{{"c":"{category}"}}"#)).collect::<Vec<_>>();
        let payloads = payloads.iter().map(String::as_str).collect::<Vec<_>>();
        let feature = categorical("c");
        let all = discover(std::slice::from_ref(&feature), &payloads).vocabulary(&feature.path);
        assert_eq!(all, Err(DiscoveryError::TooManyCategories(feature.path.clone())));
        let fewer = discover(std::slice::from_ref(&feature), &payloads[1..]).vocabulary(&feature.path);
        assert_eq!(fewer.unwrap().len(), MAX_CATEGORIES);
        let none = discover(std::slice::from_ref(&feature), &[r#"{"d":1}"#]).vocabulary(&feature.path);
        assert_eq!(none, Err(DiscoveryError::NoCategories(feature.path)));
    }
}
