//! From payload bytes to the configured fields.
//!
//! A [`Schema`] says which fields are wanted and what becomes of each, and a [`Decoder`] reads payloads by it. Every format
//! is a serde deserializer that one visitor walks, so that a value means the same in all of them. JSON has a second way that
//! agrees with it: a hand-written scanner for the usual shape, and `serde_json` for everything that the scanner gives back.
//! The second is the definition of what is right; a property test holds the first to it.

mod avro;
mod bytes;
mod csv;
mod decoder;
mod fields;
mod json;
mod messagepack;
mod protobuf;
mod raw;
mod reader;
mod scan;
#[cfg(test)]
mod tests;
mod walk;
mod written;

use std::collections::HashMap;

pub use {
    avro::AvroSchema,
    csv::{CsvFormat, names_in},
    decoder::Decoder,
    protobuf::ProtobufSchema,
    raw::check_format,
};
pub(crate) use {
    fields::{Number, write_number},
    json::{json_of, mask_not_a_number, syntax_fault, utf8},
    reader::Reader,
};

use super::{
    features::{FeatureKind, FeatureSetting, grid_of, slots_of},
    grid::Shape,
    path::{FieldPath, array_index},
};
use crate::config::settings::{EntityFrom, RawGrid, RecordFormat, RecordSettings, TimestampFormat};

/// Which fields of a record are wanted, and what becomes of each.
///
/// Slots stand in the order of the features that need a field, one per value; see [`slots_of`]. Paths form a tree, so that nested
/// objects are walked once, and a field may serve several features, the entity and the event time at once.
#[derive(Debug, Clone)]
pub struct Schema {
    /// Index 0 is the top of the record.
    nodes: Vec<Node>,
    /// All nodes' children; those of one node stand side by side, in the order in which the settings name them.
    children: Vec<Child>,
    /// All nodes' targets; those of one node stand side by side.
    targets: Vec<Target>,
    /// Category to column, one map per categorical slot.
    vocabularies: Vec<HashMap<Box<str>, u32>>,
    grids: Vec<Grid>,
    /// Number of slots.
    slots: usize,
    /// What a payload is; the shape of raw bytes is that of the features.
    format: RecordFormat,
    /// Where names stand.
    names: Vec<FieldPath>,
    entity: EntityFrom,
    /// Whether the event time stands in a field; otherwise it is the message's.
    timestamp: Option<FieldPath>,
    max_bytes: usize,
}

/// A place in the record that is wanted, or that leads to one.
#[derive(Debug, Clone, Default)]
struct Node {
    /// Range of [`Schema::children`].
    children: (usize, usize),
    /// Range of [`Schema::targets`].
    targets: (usize, usize),
    /// Key to index in [`Schema::children`].
    by_key: HashMap<Box<str>, u32>,
    /// Array index to node, ascending.
    elements: Vec<(usize, u32)>,
    /// The slot, where the node has no children and serves nothing but one number: the usual case, kept at hand.
    number_slot: Option<u32>,
    /// Index in [`Schema::grids`], where the node is for a grid. It is read as a whole, so its cells have no nodes.
    grid: Option<u32>,
}

/// A field that is a grid.
#[derive(Debug, Clone)]
struct Grid {
    path: FieldPath,
    shape: Shape,
    /// Slot of the first cell; the others follow row by row.
    slot: u32,
}

#[derive(Debug, Clone)]
struct Child {
    key: Box<str>,
    /// The key and its closing quote as they stand in a payload; empty where the key can't be written without escapes.
    quoted: Box<[u8]>,
    node: u32,
}

/// What a field's value is for.
#[derive(Debug, Clone, Copy)]
enum Target {
    Slot {
        slot: u32,
        kind: SlotKind,
    },
    /// Index in [`Schema::grids`].
    Grid(u32),
    Entity,
    Time(TimestampFormat),
}

/// What a slot takes.
#[derive(Debug, Clone, Copy)]
enum SlotKind {
    Number,
    Boolean,
    /// Index in [`Schema::vocabularies`].
    Category(u32),
}

impl Schema {
    /// The schema for these features (vocabularies filled) under these settings.
    pub fn new(features: &[FeatureSetting], record: &RecordSettings) -> Self {
        let (mut vocabularies, mut grids) = (Vec::new(), Vec::new());
        let mut tree = Tree::default();
        let slots = slots_of(features);
        for (feature, slot) in features.iter().zip(&slots) {
            let Some(slot) = *slot else { continue };
            let slot = slot as u32;
            let kind = match &feature.kind {
                FeatureKind::Grid { shape, .. } => {
                    tree.insert(&feature.path, Target::Grid(grids.len() as u32));
                    grids.push(Grid { path: feature.path.clone(), shape: *shape, slot });
                    continue;
                }
                FeatureKind::Boolean => SlotKind::Boolean,
                FeatureKind::Categorical { vocabulary } => {
                    let columns =
                        vocabulary.iter().zip(0..).map(|(category, column)| (category.as_str().into(), column));
                    vocabularies.push(columns.collect());
                    SlotKind::Category(vocabularies.len() as u32 - 1)
                }
                _ => SlotKind::Number,
            };
            tree.insert(&feature.path, Target::Slot { slot, kind });
        }
        if let EntityFrom::Field(path) = &record.entity {
            tree.insert(path, Target::Entity);
        }
        if let Some(field) = &record.timestamp {
            tree.insert(&field.path, Target::Time(field.format));
        }
        let mut schema = Self {
            nodes: Vec::new(),
            children: Vec::new(),
            targets: Vec::new(),
            vocabularies,
            grids,
            slots: features.iter().map(|feature| feature.kind.slots()).sum(),
            format: format_of(features, &record.format),
            names: names_in(features, record),
            entity: record.entity.clone(),
            timestamp: record.timestamp.as_ref().map(|field| field.path.clone()),
            max_bytes: record.max_bytes,
        };
        schema.flatten(&tree);
        schema
    }

    /// Number of slots that a decoded record has.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Lays the tree out in three flat lists, one node after its parent, and returns the node's index.
    fn flatten(&mut self, tree: &Tree) -> u32 {
        let index = self.nodes.len();
        self.nodes.push(Node::default());
        let targets = (self.targets.len(), self.targets.len() + tree.targets.len());
        self.targets.extend_from_slice(&tree.targets);
        let first = self.children.len();
        self.children.extend(tree.children.iter().map(|(key, _)| Child::new(key)));
        let mut elements = Vec::new();
        for (position, (key, subtree)) in tree.children.iter().enumerate() {
            let node = self.flatten(subtree);
            self.children[first + position].node = node;
            elements.extend(array_index(key).map(|element| (element, node)));
        }
        let by_key = tree.by_key.iter().map(|(key, position)| (key.clone(), (first + position) as u32)).collect();
        elements.sort_unstable();
        let number_slot = match tree.targets[..] {
            [Target::Slot { slot, kind: SlotKind::Number }] if tree.children.is_empty() => Some(slot),
            _ => None,
        };
        let grid = tree.targets.iter().find_map(|target| match target {
            Target::Grid(grid) => Some(*grid),
            _ => None,
        });
        let children = (first, first + tree.children.len());
        self.nodes[index] = Node { children, targets, by_key, elements, number_slot, grid };
        index as u32
    }

    fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    fn targets(&self, node: u32) -> &[Target] {
        let (start, end) = self.node(node).targets;
        &self.targets[start..end]
    }

    fn is_leaf(&self, node: u32) -> bool {
        let (start, end) = self.node(node).children;
        start == end
    }
}

impl Child {
    fn new(key: &str) -> Self {
        let escapes = key.chars().any(|character| character < ' ' || matches!(character, '"' | '\\'));
        let quoted = if escapes { Vec::new() } else { [key.as_bytes(), b"\""].concat() };
        Self { key: key.into(), quoted: quoted.into(), node: 0 }
    }
}

/// The paths while they are gathered.
#[derive(Default)]
struct Tree {
    children: Vec<(Box<str>, Tree)>,
    /// Key to index in `children`.
    by_key: HashMap<Box<str>, usize>,
    targets: Vec<Target>,
}

/// What payloads are. Raw bytes have the shape of the features where they are one grid: a model knows its own.
fn format_of(features: &[FeatureSetting], format: &RecordFormat) -> RecordFormat {
    match format {
        RecordFormat::Raw(raw) => {
            RecordFormat::Raw(RawGrid { shape: grid_of(features).map_or(raw.shape, Shape::from), ..*raw })
        }
        other => other.clone(),
    }
}

impl Tree {
    fn insert(&mut self, path: &FieldPath, target: Target) {
        let mut tree = self;
        for segment in path.segments() {
            let known = tree.by_key.get(segment).copied();
            let position = known.unwrap_or_else(|| {
                tree.by_key.insert(segment.into(), tree.children.len());
                tree.children.push((segment.into(), Tree::default()));
                tree.children.len() - 1
            });
            tree = &mut tree.children[position].1;
        }
        tree.targets.push(target);
    }
}
