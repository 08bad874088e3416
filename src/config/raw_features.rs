//! `record.features` as written: a word, or a list of paths and objects. Read by hand, since serde's untagged enums
//! can't say what is wrong with an entry.

use std::fmt;

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use crate::record::{features::Transform, path::FieldPath};

/// `record.features`
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
#[schemars(extend("x-expected" = "all_numeric or a list of paths and objects"))]
pub enum RawFeatures {
    /// Every numeric field of the training rows.
    Word(AllNumeric),
    /// Exactly these.
    Listed(Vec<RawFeature>),
}

/// The word `all_numeric`.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AllNumeric {
    /// Every numeric field of the training rows.
    AllNumeric,
}

/// One entry of `record.features`.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
#[schemars(extend("x-expected" = "a path or an object with path, name, kind, transform, vocabulary, shape"))]
pub enum RawFeature {
    /// A numeric field.
    Path(FieldPath),
    /// Any field.
    Full(RawFeatureObject),
}

/// One entry of `record.features` with all its keys.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFeatureObject {
    /// Where it stands in the record; not for hour_of_day and day_of_week.
    pub path: Option<FieldPath>,
    /// Name in events; the path by default.
    pub name: Option<String>,
    /// What the field holds; numeric by default.
    #[serde(default)]
    pub kind: RawFeatureKind,
    /// Applied to a numeric field, or to each cell of a grid, before scaling; none by default.
    pub transform: Option<Transform>,
    /// Known categories; learned at training if left out.
    pub vocabulary: Option<Vec<String>>,
    /// Rows and columns of a grid.
    #[schemars(inner(range(min = 1, max = 1024)))]
    #[schemars(extend("x-expected" = "[ROWS, COLUMNS], each in 1..1024"))]
    pub shape: Option<[usize; 2]>,
}

/// `kind` of an entry of `record.features`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawFeatureKind {
    /// A number.
    #[default]
    Numeric,
    /// true or false.
    Boolean,
    /// One of few words.
    Categorical,
    /// A number that only grows; its increase per second counts.
    Counter,
    /// A list of rows that are lists of numbers, all rows of one length. A training takes 4 bytes for each of its cells and
    /// training rows.
    Grid,
    /// Hour of the event time's day (UTC).
    HourOfDay,
    /// Weekday of the event time (UTC).
    DayOfWeek,
}

impl<'de> Deserialize<'de> for RawFeatures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawFeatures;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("all_numeric or a list of paths and objects")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawFeatures, E> {
                if text == "all_numeric" {
                    Ok(RawFeatures::Word(AllNumeric::AllNumeric))
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<RawFeatures, A::Error> {
                let mut listed = Vec::new();
                while let Some(entry) = entries.next_element()? {
                    listed.push(entry);
                }
                Ok(RawFeatures::Listed(listed))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for RawFeature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawFeature;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path or an object with path, name, kind, transform, vocabulary, shape")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawFeature, E> {
                text.parse().map(RawFeature::Path).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<RawFeature, A::Error> {
                RawFeatureObject::deserialize(MapAccessDeserializer::new(entries)).map(RawFeature::Full)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
