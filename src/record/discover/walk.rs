//! The walk through a record of which all fields may be of interest.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Leaf, MAX_ELEMENTS};
use crate::record::{
    decode::{Number, write_number},
    path::FieldPath,
};

/// Gives the scalars of a record, but for null, with their paths, in their order; only those at `wanted` paths where such are
/// given.
pub(super) struct Walk<'w> {
    pub(super) leaves: &'w mut Vec<(FieldPath, Leaf)>,
    pub(super) wanted: Option<&'w [FieldPath]>,
    /// `None` is the top of the record.
    pub(super) path: Option<&'w FieldPath>,
}

impl Walk<'_> {
    fn leaf(self, text: String, numeric: bool) {
        if let Some(path) = self.path
            && self.wanted.is_none_or(|wanted| wanted.contains(path))
        {
            self.leaves.push((path.clone(), Leaf { text, numeric }));
        }
    }

    /// What is not finite says as little about its field as null.
    fn number(self, number: Number) {
        if !number.to_f64().is_finite() {
            return;
        }
        let mut text = String::new();
        write_number(number, &mut text);
        self.leaf(text, true);
    }

    fn below(&self, key: &str) -> FieldPath {
        self.path.map_or_else(|| FieldPath::key(key), |path| path.join(key))
    }

    /// Whether nothing at and beneath the path is wanted.
    fn skips(&self, path: &FieldPath) -> bool {
        self.wanted.is_some_and(|wanted| !wanted.iter().any(|wanted| path.contains(wanted)))
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, is: bool) -> Result<(), E> {
        self.leaf(is.to_string(), false);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.number(Number::Unsigned(number));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.number(Number::Signed(number));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.number(Number::Float(number));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.leaf(text.to_owned(), false);
        Ok(())
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<(), E> {
        Ok(())
    }

    /// What by its type is a time is no measurement.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let path = self.below(&key);
            if self.skips(&path) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            map.next_value_seed(Walk { leaves: &mut *self.leaves, path: Some(&path), ..self })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        for index in 0..MAX_ELEMENTS {
            let path = self.below(&index.to_string());
            let there = if self.skips(&path) {
                elements.next_element::<IgnoredAny>()?.is_some()
            } else {
                let element = Walk { leaves: &mut *self.leaves, path: Some(&path), ..self };
                elements.next_element_seed(element)?.is_some()
            };
            if !there {
                return Ok(());
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}
