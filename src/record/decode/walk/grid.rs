//! Grids: lists of rows that are lists of cells.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::{
    Grid,
    fields::{Fields, Number},
};
use crate::record::grid::Fault;

/// Reads the rows of the grid at `node`. The first fault is told, and the rest is read all the same: it may be
/// worse.
pub(super) fn rows<'de, A: SeqAccess<'de>>(
    fields: &mut Fields<'_>,
    node: u32,
    grid: &Grid,
    mut elements: A,
) -> Result<(), A::Error> {
    fields.enter_grid(node);
    let (mut count, mut fault) = (0, None);
    while count < grid.shape.height {
        let row = Place { fields: &mut *fields, fault: &mut fault, grid, row: count, column: None };
        if elements.next_element_seed(row)?.is_none() {
            break;
        }
        count += 1;
    }
    while elements.next_element::<IgnoredAny>()?.is_some() {
        count += 1;
    }
    if count != grid.shape.height {
        fault.get_or_insert(Fault::Rows(count));
    }
    fields.tell_fault(node, fault);
    Ok(())
}

/// A row of a grid, or a cell of that row.
struct Place<'f, 'a> {
    fields: &'f mut Fields<'a>,
    /// The first fault of the grid.
    fault: &'f mut Option<Fault>,
    grid: &'f Grid,
    row: usize,
    /// `None` is the whole row.
    column: Option<usize>,
}

impl Place<'_, '_> {
    /// The slot of the cell; for a row, which is no cell, a fault.
    fn slot(&mut self) -> Option<u32> {
        if self.column.is_none() {
            self.fault.get_or_insert(Fault::RowNoList(self.row));
        }
        self.column.map(|column| self.grid.slot + (self.row * self.grid.shape.width + column) as u32)
    }

    fn number(mut self, number: Number) {
        if let Some(slot) = self.slot() {
            self.fields.write_number(slot, number);
        }
    }

    fn no_number(mut self, is_null: bool) {
        if let Some(slot) = self.slot() {
            self.fields.write_no_number(slot, is_null);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.no_number(true);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.no_number(false);
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

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.no_number(false);
        Ok(())
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<(), E> {
        self.no_number(false);
        Ok(())
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        self.no_number(false);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.no_number(false);
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { fields, fault, grid, row, column } = self;
        let width = grid.shape.width;
        let mut cells = 0;
        if let Some(column) = column {
            fault.get_or_insert(Fault::CellIsList { row, column });
        } else {
            while cells < width {
                let cell = Place { fields: &mut *fields, fault: &mut *fault, grid, row, column: Some(cells) };
                if elements.next_element_seed(cell)?.is_none() {
                    break;
                }
                cells += 1;
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {
            cells += 1;
        }
        if column.is_none() && cells != width {
            fault.get_or_insert(Fault::Cells { row, cells });
        }
        Ok(())
    }
}
