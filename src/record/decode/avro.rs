//! Avro: the schema that a record was written with, as flat types to read datums by.

mod read;
mod single_object;

use std::collections::HashMap;

use apache_avro::{
    Schema,
    schema::{DecimalSchema, InnerDecimalSchema, Name, NamespaceRef, UuidSchema},
};

pub(super) use read::read;
pub(super) use single_object::datum_of;

use crate::schemas::Definition;

/// The schema of a record.
#[derive(Debug, PartialEq)]
pub struct AvroSchema {
    types: Vec<Type>,
    /// Index in `types` of the record itself.
    top: u32,
    /// CRC-64-AVRO of its canonical form, as it stands before single objects.
    fingerprint: [u8; 8],
}

/// How a value is written; others stand in it by their index in [`AvroSchema::types`].
#[derive(Debug, PartialEq)]
enum Type {
    Null,
    Boolean,
    /// `int` and `long`, which are written alike.
    Integer,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<Box<str>>),
    Record(Vec<(Box<str>, u32)>),
    Array(u32),
    Map(u32),
    Union(Vec<u32>),
    /// A number of so many digits behind the point, in so many bytes; `None`: as many as are told.
    Decimal {
        scale: usize,
        bytes: Option<usize>,
    },
    /// A time, in such a unit since the epoch.
    Moment(Unit),
}

/// What a time is counted in.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    Days,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Unit {
    /// Microseconds since the epoch; what no time can be stays far away.
    fn to_us(self, number: i64) -> i64 {
        match self {
            Self::Days => number.saturating_mul(86_400_000_000),
            Self::Milliseconds => number.saturating_mul(1_000),
            Self::Microseconds => number,
            Self::Nanoseconds => number.div_euclid(1_000),
        }
    }
}

/// The schema of a record without fields.
impl Default for AvroSchema {
    fn default() -> Self {
        Self { types: vec![Type::Record(Vec::new())], top: 0, fingerprint: [0; 8] }
    }
}

impl AvroSchema {
    /// Reads the schema of a record, with those that it refers to.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str, references: &[&str]) -> Result<Self, String> {
        let (schema, others) =
            Schema::parse_str_with_list(text, references.iter().copied()).map_err(|error| error.to_string())?;
        let mut compiler = Compiler::default();
        for other in &others {
            compiler.compile(other, None)?;
        }
        let top = compiler.compile(&schema, None)?;
        let Type::Record(_) = compiler.types[top as usize] else {
            return Err("its top is no record, and records have fields".to_owned());
        };
        let fingerprint = schema.fingerprint::<apache_avro::rabin::Rabin>().bytes;
        let fingerprint = fingerprint.try_into().map_err(|_| "its fingerprint has not 64 bits".to_owned())?;
        Ok(Self { types: compiler.types, top, fingerprint })
    }

    /// The schema that a registry gave.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(definition: &Definition) -> Result<Self, String> {
        definition.require("AVRO")?;
        let references: Vec<&str> = definition.references.iter().map(|reference| reference.text.as_str()).collect();
        Self::new(&definition.text, &references)
    }

    fn kind(&self, kind: u32) -> &Type {
        &self.types[kind as usize]
    }
}

/// Gathers the types of a schema.
#[derive(Default)]
struct Compiler {
    types: Vec<Type>,
    /// Types by their full names.
    names: HashMap<String, u32>,
}

impl Compiler {
    fn push(&mut self, kind: Type) -> u32 {
        self.types.push(kind);
        (self.types.len() - 1) as u32
    }

    /// A type that may refer to itself gets its place before it is known.
    fn named(&mut self, name: &Name, namespace: NamespaceRef<'_>, kind: Type) -> u32 {
        let place = self.push(kind);
        self.names.insert(name.fullname(namespace), place);
        place
    }

    fn compile(&mut self, schema: &Schema, namespace: NamespaceRef<'_>) -> Result<u32, String> {
        let kind = match schema {
            Schema::Null => Type::Null,
            Schema::Boolean => Type::Boolean,
            Schema::Int | Schema::Long | Schema::TimeMillis | Schema::TimeMicros => Type::Integer,
            Schema::Float => Type::Float,
            Schema::Double => Type::Double,
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Type::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Type::Text,
            Schema::Date => Type::Moment(Unit::Days),
            Schema::TimestampMillis | Schema::LocalTimestampMillis => Type::Moment(Unit::Milliseconds),
            Schema::TimestampMicros | Schema::LocalTimestampMicros => Type::Moment(Unit::Microseconds),
            Schema::TimestampNanos | Schema::LocalTimestampNanos => Type::Moment(Unit::Nanoseconds),
            Schema::Array(array) => Type::Array(self.compile(&array.items, namespace)?),
            Schema::Map(map) => Type::Map(self.compile(&map.types, namespace)?),
            Schema::Union(union) => {
                let variants = union.variants().iter().map(|variant| self.compile(variant, namespace));
                Type::Union(variants.collect::<Result<_, _>>()?)
            }
            Schema::Enum(written) => {
                let symbols = written.symbols.iter().map(|symbol| symbol.as_str().into()).collect();
                return Ok(self.named(&written.name, namespace, Type::Enum(symbols)));
            }
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                return Ok(self.named(&fixed.name, namespace, Type::Fixed(fixed.size)));
            }
            Schema::Decimal(DecimalSchema { scale, inner: InnerDecimalSchema::Bytes, .. }) => {
                Type::Decimal { scale: *scale, bytes: None }
            }
            Schema::Decimal(DecimalSchema { scale, inner: InnerDecimalSchema::Fixed(fixed), .. }) => {
                let kind = Type::Decimal { scale: *scale, bytes: Some(fixed.size) };
                return Ok(self.named(&fixed.name, namespace, kind));
            }
            Schema::Record(record) => {
                let place = self.named(&record.name, namespace, Type::Null);
                let inner = record.name.namespace().or(namespace);
                let fields = record
                    .fields
                    .iter()
                    .map(|field| Ok((field.name.as_str().into(), self.compile(&field.schema, inner)?)));
                self.types[place as usize] = Type::Record(fields.collect::<Result<_, String>>()?);
                return Ok(place);
            }
            Schema::Ref { name } => {
                let full = name.fullname(namespace);
                return self.names.get(&full).copied().ok_or_else(|| format!("nothing says what `{full}` is"));
            }
        };
        Ok(self.push(kind))
    }
}
