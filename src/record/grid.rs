//! Grids: fields of `height` rows by `width` columns, such as a thermal camera's frame, a spectrogram or a small image.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most rows, and most columns, of a grid.
pub const MAX_SIDE: usize = 1024;
/// Most cells of a grid.
pub const MAX_CELLS: usize = 65_536;

/// Rows and columns of a grid, written as `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[usize; 2]", into = "[usize; 2]")]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Cells of each row.
    pub width: usize,
}

impl Shape {
    /// Number of cells; of a shape that is not [sound](Self::is_sound), as many as can be counted.
    pub fn cells(self) -> usize {
        self.height.saturating_mul(self.width)
    }

    /// Whether both sides are in 1..=[`MAX_SIDE`] and the cells at most [`MAX_CELLS`].
    pub fn is_sound(self) -> bool {
        let side = 1..=MAX_SIDE;
        side.contains(&self.height) && side.contains(&self.width) && self.cells() <= MAX_CELLS
    }
}

impl From<[usize; 2]> for Shape {
    fn from([height, width]: [usize; 2]) -> Self {
        Self { height, width }
    }
}

impl From<Shape> for [usize; 2] {
    fn from(shape: Shape) -> Self {
        [shape.height, shape.width]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |count: usize| if count == 1 { "" } else { "s" };
        let Self { height, width } = *self;
        write!(f, "{height} row{} of {width} cell{}", s(height), s(width))?;
        f.write_str(if height == 1 { "" } else { " each" })
    }
}

/// Why what stands in a grid's field is no grid of its shape. Rows and columns are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Neither a list nor null.
    NoList,
    /// So many rows.
    Rows(usize),
    /// This row is no list.
    RowNoList(usize),
    /// This row has so many cells.
    Cells {
        /// The row.
        row: usize,
        /// Its cells.
        cells: usize,
    },
    /// This cell is a list.
    CellIsList {
        /// Its row.
        row: usize,
        /// Its column.
        column: usize,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoList => f.write_str("is no list of rows"),
            Self::Rows(1) => f.write_str("has 1 row"),
            Self::Rows(rows) => write!(f, "has {rows} rows"),
            Self::RowNoList(row) => write!(f, "holds no list at [{row}]"),
            Self::Cells { row, cells: 1 } => write!(f, "has 1 cell in row [{row}]"),
            Self::Cells { row, cells } => write!(f, "has {cells} cells in row [{row}]"),
            Self::CellIsList { row, column } => write!(f, "holds a list at [{row}][{column}] where a number should be"),
        }
    }
}

/// How the cells of a grid of raw bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CellType {
    /// Integers of 8 bits, 0..=255.
    Uint8,
    /// Integers of 16 bits, 0..=65,535.
    Uint16,
    /// Integers of 16 bits, two's complement.
    Int16,
    /// IEEE 754 numbers of 32 bits.
    Float32,
    /// IEEE 754 numbers of 64 bits.
    Float64,
}

impl CellType {
    /// Bytes per cell.
    pub fn bytes(self) -> usize {
        match self {
            Self::Uint8 => 1,
            Self::Uint16 | Self::Int16 => 2,
            Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }
}

impl fmt::Display for CellType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Int16 => "int16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_told_in_words_and_written_as_two_numbers() {
        let told = |height, width| Shape { height, width }.to_string();
        assert_eq!(told(24, 32), "24 rows of 32 cells each");
        assert_eq!(told(1, 1), "1 row of 1 cell");
        assert_eq!(serde_json::to_string(&Shape { height: 24, width: 32 }).unwrap(), "[24,32]");
        assert_eq!(serde_json::from_str::<Shape>("[24,32]").unwrap(), Shape { height: 24, width: 32 });
    }

    #[test]
    fn a_sound_shape_has_no_side_of_0_and_cells_that_can_be_kept() {
        for (height, width, sound) in [
            (1, 1, true),
            (256, 256, true),
            (1024, 64, true),
            (64, 1024, true),
            (0, 1, false),
            (1, 0, false),
            (1025, 1, false),
            (1, 1025, false),
            (257, 256, false),
            (usize::MAX, usize::MAX, false),
        ] {
            assert_eq!(Shape { height, width }.is_sound(), sound, "{height} {width}");
        }
    }
}
