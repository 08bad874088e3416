//! Where all ways of reading a payload write to: the slots of the decoded record, its entity and its time.

use std::fmt::Write as _;

use super::{Grid, Schema, SlotKind, Target};
use crate::record::{DecodedRecord, RecordError, SlotState, grid::Fault, timestamp};

/// A value that is neither an object nor an array, or a mark for one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Null,
    Boolean(bool),
    Number(Number),
    Text(&'a str),
    /// `NaN`, `Infinity`, `-Infinity`, which Python's `json` writes.
    NotANumber,
    /// What by its type is a time: microseconds since the epoch.
    Moment(i64),
    /// An object or an array, where neither is of use; bytes, which never are.
    Container,
}

/// A number: integers of 64 bits are kept exact, everything else is the nearest double.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    /// An integer of at least 0.
    Unsigned(u64),
    /// An integer below 0.
    Signed(i64),
    /// With fraction or exponent, minus zero, or too large for 64 bits; infinite where it is too large for a double.
    Float(f64),
}

impl Number {
    pub(crate) fn to_f64(self) -> f64 {
        match self {
            Self::Unsigned(number) => number as f64,
            Self::Signed(number) => number as f64,
            Self::Float(number) => number,
        }
    }
}

/// Writes the number's shortest decimal text, by which entities and categories know it: `1.0` and `1` are both `1`.
pub(crate) fn write_number(number: Number, text: &mut String) {
    let written = match number {
        Number::Unsigned(number) => write!(text, "{number}"),
        Number::Signed(number) => write!(text, "{number}"),
        Number::Float(number) => write!(text, "{number}"),
    };
    written.expect("writing to a String can't fail");
}

/// What the decoder keeps from record to record, so that nothing is allocated.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Which record is being read.
    record: u64,
    /// Per node: the last record in which it was met.
    met: Vec<u64>,
    /// Per child, and after those per node (its first): the child that came next the last time.
    next: Vec<u32>,
    /// Text of a number that is a category.
    text: String,
    /// Per grid: why what the record holds is no grid of its shape.
    faults: Vec<Option<Fault>>,
    pub(super) entity: EntityState,
    pub(super) time: TimeState,
}

/// What the entity's field holds; the name itself is in the decoded record.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntityState {
    #[default]
    Missing,
    Named,
    Unusable,
}

/// What the event time's field holds.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) enum TimeState {
    #[default]
    Missing,
    Known(i64),
    Bad(timestamp::TimestampError),
    Unusable,
}

/// How far the walk through an object's expected keys has come.
pub(super) struct Cursor(usize);

/// The fields of one record while they are read.
pub(super) struct Fields<'a> {
    pub(super) schema: &'a Schema,
    scratch: &'a mut Scratch,
    out: &'a mut DecodedRecord,
}

impl Scratch {
    pub(super) fn new(schema: &Schema) -> Self {
        let after_children = (1..=schema.children.len() as u32).collect::<Vec<_>>();
        let firsts = schema.nodes.iter().map(|node| node.children.0 as u32);
        Self {
            met: vec![0; schema.nodes.len()],
            next: after_children.into_iter().chain(firsts).collect(),
            faults: vec![None; schema.grids.len()],
            ..Self::default()
        }
    }

    /// Why the first grid of the record that was read is none of its shape.
    pub(super) fn check_shapes(&self, schema: &Schema) -> Result<(), RecordError> {
        let faulty = schema.grids.iter().zip(&self.faults).find_map(|(grid, fault)| Some((grid, (*fault)?)));
        faulty.map_or(Ok(()), |(grid, fault)| {
            Err(RecordError::WrongShape { field: grid.path.to_string(), fault, shape: grid.shape })
        })
    }
}

impl<'a> Fields<'a> {
    /// Empties `out` for a new record.
    pub(super) fn begin(schema: &'a Schema, scratch: &'a mut Scratch, out: &'a mut DecodedRecord) -> Self {
        scratch.record += 1;
        scratch.entity = EntityState::Missing;
        scratch.time = TimeState::Missing;
        scratch.faults.fill(None);
        out.entity.clear();
        out.values.clear();
        out.values.resize(schema.slots, f64::NAN);
        out.states.clear();
        out.states.resize(schema.slots, SlotState::Missing);
        Self { schema, scratch, out }
    }

    /// The start of the walk through the keys of the object at `node`.
    pub(super) fn cursor(&self, node: u32) -> Cursor {
        Cursor(self.schema.children.len() + node as usize)
    }

    /// The key, with its closing quote, that came next in the last record; empty where there is no guess.
    #[inline(always)]
    pub(super) fn expected(&self, cursor: &Cursor) -> (u32, &'a [u8]) {
        let child = self.scratch.next[cursor.0];
        let quoted = self.schema.children.get(child as usize).map_or(&[][..], |child| &child.quoted);
        (child, quoted)
    }

    /// Takes the expected child, whose key was just met in the object at `node`. `None` if it belongs to another
    /// object.
    #[inline(always)]
    pub(super) fn take_expected(&self, node: u32, cursor: &mut Cursor, child: u32) -> Option<u32> {
        let (start, end) = self.schema.node(node).children;
        let own = (start..end).contains(&(child as usize));
        own.then(|| {
            cursor.0 = child as usize;
            self.schema.children[child as usize].node
        })
    }

    /// The node of `key` in the object at `node`; `None` if nobody wants it. The order in which keys come is learned,
    /// so that the next record finds them without hashing.
    pub(super) fn child(&mut self, node: u32, cursor: &mut Cursor, key: &str) -> Option<u32> {
        let expected = self.scratch.next[cursor.0];
        let matches = self.schema.children.get(expected as usize).is_some_and(|child| *child.key == *key);
        if matches && let Some(found) = self.take_expected(node, cursor, expected) {
            return Some(found);
        }
        let child = *self.schema.node(node).by_key.get(key)?;
        self.scratch.next[cursor.0] = child;
        cursor.0 = child as usize;
        Some(self.schema.children[child as usize].node)
    }

    /// Says that an object or array begins at `node`, whose fields are to be read.
    pub(super) fn enter(&mut self, node: u32) {
        self.meet(node);
        self.put(node, Value::Container);
    }

    /// Writes the value at `node` to whatever it is for.
    pub(super) fn write(&mut self, node: u32, value: Value<'_>) {
        if !self.schema.is_leaf(node) {
            self.meet(node);
        }
        self.put(node, value);
    }

    /// Writes a number to a node's [`Node::number_slot`](super::Node).
    #[inline(always)]
    pub(super) fn write_number(&mut self, slot: u32, number: Number) {
        let number = number.to_f64();
        let finite = number.is_finite();
        self.out.values[slot as usize] = if finite { number } else { f64::NAN };
        self.out.states[slot as usize] = if finite { SlotState::Present } else { SlotState::Unusable };
    }

    /// The grid that the node is for.
    pub(super) fn grid(&self, node: u32) -> Option<&'a Grid> {
        self.schema.node(node).grid.map(|grid| &self.schema.grids[grid as usize])
    }

    /// Says that the list of the grid at `node` begins. Its cells are to be written each, or a fault to be told.
    pub(super) fn enter_grid(&mut self, node: u32) {
        self.enter(node);
        self.tell_fault(node, None);
    }

    /// Says what is wrong with the shape of the grid at `node`.
    pub(super) fn tell_fault(&mut self, node: u32, fault: Option<Fault>) {
        if let Some(grid) = self.schema.node(node).grid {
            self.scratch.faults[grid as usize] = fault;
        }
    }

    /// Writes a cell of a grid that is no number: what came instead of one is missing or of no use.
    pub(super) fn write_no_number(&mut self, slot: u32, is_null: bool) {
        self.out.values[slot as usize] = f64::NAN;
        self.out.states[slot as usize] = if is_null { SlotState::Missing } else { SlotState::Unusable };
    }

    /// The last of several equal keys wins: if `node` was met in this record already, what came from it is forgotten.
    fn meet(&mut self, node: u32) {
        let met = &mut self.scratch.met[node as usize];
        if *met == self.scratch.record {
            self.forget(node);
        } else {
            *met = self.scratch.record;
        }
    }

    fn forget(&mut self, node: u32) {
        let schema = self.schema;
        self.put(node, Value::Null);
        let (start, end) = schema.node(node).children;
        for child in &schema.children[start..end] {
            self.forget(child.node);
        }
    }

    fn put(&mut self, node: u32, value: Value<'_>) {
        let schema = self.schema;
        for target in schema.targets(node) {
            match *target {
                Target::Slot { slot, kind } => {
                    let (number, state) = self.slot(kind, value);
                    self.out.values[slot as usize] = number;
                    self.out.states[slot as usize] = state;
                }
                Target::Grid(grid) => self.put_grid(grid, value),
                Target::Entity => self.scratch.entity = entity(value, &mut self.out.entity),
                Target::Time(format) => {
                    self.scratch.time = match value {
                        Value::Null => TimeState::Missing,
                        Value::Number(number) if number.to_f64().is_finite() => {
                            timestamp::from_number(number.to_f64(), format).into()
                        }
                        Value::Text(text) => timestamp::from_text(text, format).into(),
                        Value::Moment(time_us) => timestamp::from_moment(time_us).into(),
                        Value::Number(_) | Value::Boolean(_) | Value::NotANumber | Value::Container => {
                            TimeState::Unusable
                        }
                    }
                }
            }
        }
    }

    /// What is no list: null is a grid of missing cells, and all else is wrong.
    fn put_grid(&mut self, grid: u32, value: Value<'_>) {
        let null = matches!(value, Value::Null);
        self.scratch.faults[grid as usize] = (!null).then_some(Fault::NoList);
        if null {
            let Grid { slot, shape, .. } = self.schema.grids[grid as usize];
            let cells = slot as usize..slot as usize + shape.cells();
            self.out.values[cells.clone()].fill(f64::NAN);
            self.out.states[cells].fill(SlotState::Missing);
        }
    }

    fn slot(&mut self, kind: SlotKind, value: Value<'_>) -> (f64, SlotState) {
        const UNUSABLE: (f64, SlotState) = (f64::NAN, SlotState::Unusable);
        let usable = match (kind, value) {
            (_, Value::Null) => return (f64::NAN, SlotState::Missing),
            (_, Value::NotANumber | Value::Moment(_) | Value::Container) => return UNUSABLE,
            (SlotKind::Number, Value::Number(number)) => number.to_f64(),
            (SlotKind::Number, _) => return UNUSABLE,
            (SlotKind::Boolean, Value::Boolean(is)) => f64::from(u8::from(is)),
            (SlotKind::Boolean, Value::Number(number)) if number.to_f64() == 0.0 => 0.0,
            (SlotKind::Boolean, Value::Number(number)) if number.to_f64() == 1.0 => 1.0,
            (SlotKind::Boolean, Value::Text("true")) => 1.0,
            (SlotKind::Boolean, Value::Text("false")) => 0.0,
            (SlotKind::Boolean, _) => return UNUSABLE,
            (SlotKind::Category(vocabulary), value) => return self.category(vocabulary, value),
        };
        if usable.is_finite() { (usable, SlotState::Present) } else { UNUSABLE }
    }

    fn category(&mut self, vocabulary: u32, value: Value<'_>) -> (f64, SlotState) {
        let vocabulary = &self.schema.vocabularies[vocabulary as usize];
        let column = match value {
            Value::Text(text) => vocabulary.get(text),
            Value::Boolean(is) => vocabulary.get(if is { "true" } else { "false" }),
            Value::Number(number) if number.to_f64().is_finite() => {
                self.scratch.text.clear();
                write_number(number, &mut self.scratch.text);
                vocabulary.get(&*self.scratch.text)
            }
            _ => return (f64::NAN, SlotState::Unusable),
        };
        match column {
            Some(column) => (f64::from(*column), SlotState::Present),
            None => (f64::NAN, SlotState::UnknownCategory),
        }
    }
}

impl From<Result<i64, timestamp::TimestampError>> for TimeState {
    fn from(result: Result<i64, timestamp::TimestampError>) -> Self {
        result.map_or_else(Self::Bad, Self::Known)
    }
}

fn entity(value: Value<'_>, name: &mut String) -> EntityState {
    name.clear();
    match value {
        Value::Null => return EntityState::Missing,
        Value::Text(text) => name.push_str(text),
        Value::Boolean(is) => name.push_str(if is { "true" } else { "false" }),
        Value::Number(number) if number.to_f64().is_finite() => write_number(number, name),
        Value::Number(_) | Value::NotANumber | Value::Moment(_) | Value::Container => return EntityState::Unusable,
    }
    EntityState::Named
}
