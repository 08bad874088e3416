//! From schema text or descriptors to the types that records are read by.

use std::{collections::HashMap, path::Path};

use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, FileDescriptor, MessageDescriptor};
use protox::{
    Compiler,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver},
};

use super::{Field, Form, Kind, Meaning, Message, ProtobufSchema};
use crate::schemas::{Definition, Reference};

/// What the file that a registry gives is called; no other imports it.
const MAIN: &str = "strayd-record.proto";

/// Files in memory, by the names that imports call them.
struct InMemory {
    files: Vec<Reference>,
}

impl FileResolver for InMemory {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.files.iter().find(|file| file.name == name) {
            Some(file) => File::from_source(name, &file.text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

impl ProtobufSchema {
    /// The schema that a registry gave; which of its messages a record is stands before each.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(definition: &Definition) -> Result<Self, String> {
        definition.require("PROTOBUF")?;
        let mut files = definition.references.clone();
        files.push(Reference { name: MAIN.to_owned(), text: definition.text.clone() });
        let mut resolver = ChainFileResolver::new();
        resolver.add(InMemory { files });
        resolver.add(GoogleFileResolver::new());
        let file = compile(resolver, MAIN)?;
        Ok(Types::default().schema(&file))
    }

    /// The schema in a file, and which message a record is: either text, whose imports lie in its folder, or descriptors as
    /// `protoc --descriptor_set_out` writes them with `--include_imports`.
    ///
    /// # Errors
    /// What is wrong with it, or that it has no such message.
    pub fn read(path: &Path, message: &str) -> Result<Self, String> {
        let pool = if path.extension().is_some_and(|extension| extension == "proto") {
            let name = path.file_name().and_then(|name| name.to_str()).ok_or("its name is no text")?;
            let mut resolver = ChainFileResolver::new();
            resolver.add(IncludeFileResolver::new(path.parent().unwrap_or(Path::new("")).to_owned()));
            resolver.add(GoogleFileResolver::new());
            compile(resolver, name)?.parent_pool().clone()
        } else {
            let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
            DescriptorPool::decode(&bytes[..]).map_err(|error| format!("no set of descriptors: {error}"))?
        };
        let Some(record) = pool.get_message_by_name(message) else {
            let known: Vec<String> = pool.all_messages().map(|message| message.full_name().to_owned()).collect();
            return Err(format!("it has no message `{message}`, but {}", known.join(", ")));
        };
        let mut types = Types::default();
        let record = types.message(&record);
        Ok(Self { messages: types.messages, top: Vec::new(), record: Some(record) })
    }
}

fn compile(resolver: ChainFileResolver, name: &str) -> Result<FileDescriptor, String> {
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_file(name).map_err(|error| error.to_string())?;
    let pool = compiler.descriptor_pool();
    pool.get_file_by_name(name).ok_or_else(|| format!("{name} is not among what was compiled"))
}

/// Gathers messages.
#[derive(Default)]
struct Types {
    messages: Vec<Message>,
    /// Messages by their full names.
    names: HashMap<String, u32>,
}

impl Types {
    fn schema(mut self, file: &FileDescriptor) -> ProtobufSchema {
        let top = file.messages().map(|message| self.message(&message)).collect();
        ProtobufSchema { messages: self.messages, top, record: None }
    }

    fn message(&mut self, descriptor: &MessageDescriptor) -> u32 {
        if let Some(known) = self.names.get(descriptor.full_name()) {
            return *known;
        }
        // It may stand in itself, so it gets its place before it is known.
        let place = self.messages.len() as u32;
        self.messages.push(Message::default());
        self.names.insert(descriptor.full_name().to_owned(), place);
        let fields: Vec<FieldDescriptor> = descriptor.fields().collect();
        let message = Message {
            by_number: fields.iter().map(FieldDescriptor::number).zip(0..).collect(),
            fields: fields.iter().map(|field| self.field(field)).collect(),
            // Entries of maps are messages that nobody wrote.
            nested: descriptor
                .child_messages()
                .filter(|nested| !nested.is_map_entry())
                .map(|nested| self.message(&nested))
                .collect(),
            meaning: meaning(descriptor.full_name()),
        };
        self.messages[place as usize] = message;
        place
    }

    fn field(&mut self, field: &FieldDescriptor) -> Field {
        let form = match field.cardinality() {
            Cardinality::Repeated if field.is_map() => Form::Map,
            Cardinality::Repeated => Form::List,
            _ if field.supports_presence() => Form::Optional,
            _ => Form::Implicit,
        };
        Field { number: field.number(), name: field.name().into(), kind: self.kind(field), form }
    }

    fn kind(&mut self, field: &FieldDescriptor) -> Kind {
        use prost_reflect::Kind as Written;
        match field.kind() {
            Written::Double => Kind::Double,
            Written::Float => Kind::Float,
            Written::Int32 | Written::Int64 => Kind::Signed,
            Written::Uint32 | Written::Uint64 => Kind::Unsigned,
            Written::Sint32 | Written::Sint64 => Kind::ZigZag,
            Written::Fixed32 => Kind::Fixed32,
            Written::Fixed64 => Kind::Fixed64,
            Written::Sfixed32 => Kind::Sfixed32,
            Written::Sfixed64 => Kind::Sfixed64,
            Written::Bool => Kind::Boolean,
            Written::String => Kind::Text,
            Written::Bytes => Kind::Bytes,
            // The first of several names for one number is the one.
            Written::Enum(names) => {
                let mut by_number = HashMap::new();
                names
                    .values()
                    .for_each(|value| _ = by_number.entry(value.number()).or_insert_with(|| value.name().into()));
                Kind::Enum(by_number)
            }
            Written::Message(message) if field.is_group() => Kind::Group(self.message(&message)),
            Written::Message(message) => Kind::Message(self.message(&message)),
        }
    }
}

fn meaning(full_name: &str) -> Meaning {
    let Some(name) = full_name.strip_prefix("google.protobuf.") else { return Meaning::Fields };
    match name {
        "Timestamp" => Meaning::Moment,
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value" | "BoolValue"
        | "StringValue" | "BytesValue" => Meaning::Wrapper,
        _ => Meaning::Fields,
    }
}
