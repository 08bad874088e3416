//! Events in Avro: the same fields and values as in JSON, by a schema for each kind, behind the schema's id in a registry
//! (Confluent's wire format: a zero, and the id in four bytes).

use std::sync::LazyLock;

use apache_avro::{
    Schema, reader::datum::GenericDatumReader, types::Value as Datum, writer::datum::GenericDatumWriter,
};
use serde_json::{Map, Number, Value as Json};

use crate::schemas::HEADER_BYTES;

/// What an event is about, and with it its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// An anomaly.
    Anomaly,
    /// News of an incident.
    Incident,
}

static ANOMALY: LazyLock<Schema> = LazyLock::new(|| parsed(EventKind::Anomaly));
static INCIDENT: LazyLock<Schema> = LazyLock::new(|| parsed(EventKind::Incident));

fn parsed(kind: EventKind) -> Schema {
    Schema::parse_str(kind.schema_text()).expect("a test reads both schemas")
}

impl EventKind {
    /// The schema as it is registered and kept in `docs/`.
    pub fn schema_text(self) -> &'static str {
        match self {
            Self::Anomaly => include_str!("avro/anomaly-event.avsc"),
            Self::Incident => include_str!("avro/incident-event.avsc"),
        }
    }

    fn schema(self) -> &'static Schema {
        match self {
            Self::Anomaly => &ANOMALY,
            Self::Incident => &INCIDENT,
        }
    }
}

/// The event, written as JSON, in Avro behind the id of its schema.
///
/// # Errors
/// The event is not one of this kind.
pub fn encode(kind: EventKind, id: u32, json: &[u8]) -> Result<Vec<u8>, String> {
    let event: Json = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let datum = datum(kind.schema(), &event)?;
    let mut framed = vec![0];
    framed.extend(id.to_be_bytes());
    let writer = GenericDatumWriter::builder(kind.schema()).build().map_err(|error| error.to_string())?;
    framed.extend(writer.write_value_to_vec(datum).map_err(|error| error.to_string())?);
    Ok(framed)
}

/// The event in a message that [`encode`] made, as its JSON.
///
/// # Errors
/// It is no such message.
pub fn decode(kind: EventKind, framed: &[u8]) -> Result<Json, String> {
    let mut datum = match framed.split_at_checked(HEADER_BYTES) {
        Some(([0, ..], datum)) => datum,
        _ => return Err("no schema's id stands before the event".to_owned()),
    };
    let reader = GenericDatumReader::builder(kind.schema()).build().map_err(|error| error.to_string())?;
    json(reader.read_value(&mut datum).map_err(|error| error.to_string())?)
}

/// JSON as a datum of this schema.
fn datum(schema: &Schema, json: &Json) -> Result<Datum, String> {
    Ok(match (schema, json) {
        (Schema::Record(record), Json::Object(event)) => {
            if let Some(other) = event.keys().find(|key| record.fields.iter().all(|field| field.name != **key)) {
                return Err(format!("its schema has no field `{other}`"));
            }
            let fields = record.fields.iter().map(|field| {
                let value = event.get(&field.name).ok_or_else(|| format!("it has no field `{}`", field.name))?;
                let value = datum(&field.schema, value).map_err(|error| format!("{}: {error}", field.name))?;
                Ok((field.name.clone(), value))
            });
            Datum::Record(fields.collect::<Result<_, String>>()?)
        }
        (Schema::Array(array), Json::Array(list)) => {
            Datum::Array(list.iter().map(|entry| datum(&array.items, entry)).collect::<Result<_, _>>()?)
        }
        // Null stands first in each of our unions.
        (Schema::Union(_), Json::Null) => Datum::Union(0, Box::new(Datum::Null)),
        (Schema::Union(union), json) => {
            let value = union.variants().last().map(|variant| datum(variant, json));
            Datum::Union(1, Box::new(value.unwrap_or_else(|| Err("a union of nothing".to_owned()))?))
        }
        (Schema::String, Json::String(text)) => Datum::String(text.clone()),
        (Schema::Boolean, Json::Bool(yes)) => Datum::Boolean(*yes),
        (Schema::Int, Json::Number(number)) => {
            let number = number.as_i64().and_then(|number| i32::try_from(number).ok());
            Datum::Int(number.ok_or_else(|| format!("{json} is no int"))?)
        }
        (Schema::Long, Json::Number(number)) => {
            Datum::Long(number.as_i64().ok_or_else(|| format!("{json} is no long"))?)
        }
        (Schema::Double, Json::Number(number)) => {
            Datum::Double(number.as_f64().ok_or_else(|| format!("{json} is no double"))?)
        }
        // What JSON has no number for.
        (Schema::Double, Json::Null) => Datum::Double(f64::NAN),
        _ => return Err(format!("{json} is not what its schema says")),
    })
}

/// A datum as JSON.
fn json(datum: Datum) -> Result<Json, String> {
    Ok(match datum {
        Datum::Null => Json::Null,
        Datum::Boolean(yes) => Json::Bool(yes),
        Datum::Int(number) => number.into(),
        Datum::Long(number) => number.into(),
        Datum::Double(number) => Number::from_f64(number).map_or(Json::Null, Json::Number),
        Datum::String(text) => Json::String(text),
        Datum::Union(_, value) => json(*value)?,
        Datum::Array(list) => Json::Array(list.into_iter().map(json).collect::<Result<_, _>>()?),
        Datum::Record(fields) => {
            let fields = fields.into_iter().map(|(name, value)| Ok((name, json(value)?)));
            Json::Object(fields.collect::<Result<Map<String, Json>, String>>()?)
        }
        other => return Err(format!("{other:?} is in no event")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANOMALY: &str = include_str!("../../tests/golden/event.json");
    const INCIDENTS: &str = include_str!("../../tests/golden/incident-events.jsonl");

    /// Every event that is pinned, with its kind.
    fn pinned() -> Vec<(EventKind, Json)> {
        let anomaly = (EventKind::Anomaly, serde_json::from_str(ANOMALY).unwrap());
        let incidents = INCIDENTS.lines().map(|line| (EventKind::Incident, serde_json::from_str(line).unwrap()));
        [anomaly].into_iter().chain(incidents).collect()
    }

    fn there_and_back(kind: EventKind, event: &Json) -> Result<Json, String> {
        decode(kind, &encode(kind, 7, event.to_string().as_bytes())?)
    }

    #[test]
    fn every_pinned_event_comes_back_from_avro_as_it_went() {
        assert_eq!(pinned().len(), 4);
        for (kind, event) in pinned() {
            let framed = encode(kind, 0x0102_0304, event.to_string().as_bytes()).unwrap();
            assert_eq!(framed[..HEADER_BYTES], [0, 1, 2, 3, 4]);
            assert_eq!(decode(kind, &framed).unwrap(), event);
        }
    }

    #[test]
    fn what_is_no_event_of_its_kind_is_refused_by_the_field() {
        let told = |change: fn(&mut Json)| {
            let (kind, mut event) = pinned().remove(0);
            change(&mut event);
            there_and_back(kind, &event).unwrap_err()
        };
        assert_eq!(told(|event| event["more"] = 1.into()), "its schema has no field `more`");
        assert_eq!(told(|event| drop(event.as_object_mut().unwrap().remove("score"))), "it has no field `score`");
        assert_eq!(told(|event| event["offset"] = 1.5.into()), "offset: 1.5 is no long");
        assert_eq!(told(|event| event["partition"] = (1_i64 << 40).into()), "partition: 1099511627776 is no int");
        assert_eq!(told(|event| event["topic"] = Json::Null), "topic: null is not what its schema says");
        assert!(decode(EventKind::Anomaly, b"{\"id\":1}").is_err() && decode(EventKind::Anomaly, b"").is_err());
    }

    proptest! {
        #[test]
        fn numbers_and_texts_of_any_kind_come_back_to_the_bit(
            score in prop::num::f64::ANY, values in prop::collection::vec(prop::num::f64::ANY, 0..5), offset in any::<i64>(),
            entity in ".*", onsets in prop::collection::vec(prop::option::of(any::<u8>()), 0..5),
            top in prop::option::of(prop::num::f64::ANY),
        ) {
            let (kind, mut event) = pinned().remove(0);
            // As an event writes them: what is no finite number is null.
            event["score"] = score.into();
            event["feature_values"] = values.into();
            event["offset"] = offset.into();
            event["entity"] = entity.into();
            event["feature_onsets"] = onsets.into();
            event["top_feature_value"] = top.into();
            prop_assert_eq!(there_and_back(kind, &event).unwrap(), event);
        }
    }
}
