//! The walk through a payload of any format, by serde: what somebody wants goes straight into the slots.
//!
//! Beside the values of JSON a format may give bytes, which are of no use, and moments: numbers that by their type are a
//! time, as a newtype around the microseconds since the epoch. A moment is of use as event time alone.

mod grid;

use std::fmt;

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::fields::{Cursor, Fields, Number, Value};

/// A payload, which has to be a map; its visitor is shown nothing else.
pub(super) struct Top<V>(pub(super) V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Top<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Top<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(map)
    }
}

/// A value that somebody wants.
pub(super) struct ValueSeed<'f, 'a> {
    pub(super) fields: &'f mut Fields<'a>,
    pub(super) node: u32,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.fields.write(self.node, Value::Null);
        Ok(())
    }

    fn visit_bool<E>(self, is: bool) -> Result<(), E> {
        self.fields.write(self.node, Value::Boolean(is));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.fields.write(self.node, Value::Number(Number::Unsigned(number)));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.fields.write(self.node, Value::Number(Number::Signed(number)));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.fields.write(self.node, Value::Number(Number::Float(number)));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.fields.write(self.node, Value::Text(text));
        Ok(())
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<(), E> {
        self.fields.write(self.node, Value::Container);
        Ok(())
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, moment: D) -> Result<(), D::Error> {
        let time_us = i64::deserialize(moment)?;
        self.fields.write(self.node, Value::Moment(time_us));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.fields.enter(self.node);
        let mut cursor = self.fields.cursor(self.node);
        loop {
            let key = KeySeed { fields: &mut *self.fields, node: self.node, cursor: &mut cursor };
            match map.next_key_seed(key)? {
                Some(Some(node)) => map.next_value_seed(ValueSeed { fields: &mut *self.fields, node })?,
                Some(None) => {
                    map.next_value::<IgnoredAny>()?;
                }
                None => return Ok(()),
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        if let Some(grid) = self.fields.grid(self.node) {
            return grid::rows(self.fields, self.node, grid, elements);
        }
        self.fields.enter(self.node);
        let schema = self.fields.schema;
        let mut wanted = schema.node(self.node).elements.iter().peekable();
        for index in 0.. {
            let more = match wanted.next_if(|(element, _)| *element == index) {
                Some(&(_, node)) => {
                    elements.next_element_seed(ValueSeed { fields: &mut *self.fields, node })?.is_some()
                }
                None => elements.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }
}

/// A key of a wanted object, to the node of its value.
struct KeySeed<'f, 'a> {
    fields: &'f mut Fields<'a>,
    node: u32,
    cursor: &'f mut Cursor,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_, '_> {
    type Value = Option<u32>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u32>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_, '_> {
    type Value = Option<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<u32>, E> {
        Ok(self.fields.child(self.node, self.cursor, key))
    }
}
