//! Protobuf: the messages of a file, as flat types to read records by.

mod compile;
mod read;
mod several;

use std::collections::HashMap;

pub(super) use read::{message_of, read};

/// The messages that a file defines and all that stand in them.
#[derive(Debug, PartialEq)]
pub struct ProtobufSchema {
    messages: Vec<Message>,
    /// The file's messages, by their index in `messages`, in the order in which they are written.
    top: Vec<u32>,
    /// Index of the message that records are, where that is said.
    record: Option<u32>,
}

/// A message.
#[derive(Debug, Default, PartialEq)]
struct Message {
    fields: Vec<Field>,
    /// Index in `fields` by the field's number.
    by_number: HashMap<u32, u32>,
    /// Messages that are defined within this one, in the order in which they are written.
    nested: Vec<u32>,
    /// What it stands for, where that is more than its fields.
    meaning: Meaning,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Meaning {
    #[default]
    Fields,
    /// `google.protobuf.Timestamp`.
    Moment,
    /// One of the wrappers (`google.protobuf.DoubleValue`, ...), which stand for the value within.
    Wrapper,
}

/// A field of a message.
#[derive(Debug, PartialEq)]
struct Field {
    number: u32,
    name: Box<str>,
    kind: Kind,
    form: Form,
}

/// How often a field's value comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// At most once; it is missing where it does not come.
    Optional,
    /// At most once; where it does not come it is zero, empty or false (proto3 without `optional`).
    Implicit,
    /// Any number of times.
    List,
    /// Any number of times, each an entry of a map: a message of key (1) and value (2).
    Map,
}

/// How a value is written.
#[derive(Debug, PartialEq)]
enum Kind {
    Double,
    Float,
    /// `int32` and `int64`.
    Signed,
    /// `uint32` and `uint64`.
    Unsigned,
    /// `sint32` and `sint64`.
    ZigZag,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Boolean,
    Text,
    Bytes,
    /// Names by their numbers.
    Enum(HashMap<i32, Box<str>>),
    /// Index in [`ProtobufSchema::messages`].
    Message(u32),
    /// The same, between two tags instead of behind a length (proto2).
    Group(u32),
}

/// How the bytes of a value are found without knowing what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Varint,
    Bytes8,
    Length,
    GroupStart,
    GroupEnd,
    Bytes4,
}

impl Kind {
    fn wire(&self) -> Wire {
        match self {
            Self::Signed | Self::Unsigned | Self::ZigZag | Self::Boolean | Self::Enum(_) => Wire::Varint,
            Self::Double | Self::Fixed64 | Self::Sfixed64 => Wire::Bytes8,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => Wire::Bytes4,
            Self::Text | Self::Bytes | Self::Message(_) => Wire::Length,
            Self::Group(_) => Wire::GroupStart,
        }
    }
}

impl Field {
    /// Whether values of a list or a map may be written so: each alone, or numbers in one piece behind their length.
    fn takes_several(&self, wire: Wire) -> bool {
        let own = self.kind.wire();
        wire == own || (wire == Wire::Length && matches!(own, Wire::Varint | Wire::Bytes8 | Wire::Bytes4))
    }
}

impl ProtobufSchema {
    fn message(&self, message: u32) -> &Message {
        &self.messages[message as usize]
    }
}

/// A file without messages.
impl Default for ProtobufSchema {
    fn default() -> Self {
        Self { messages: vec![Message::default()], top: Vec::new(), record: Some(0) }
    }
}
