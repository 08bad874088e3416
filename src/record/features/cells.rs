//! What is particular to grids among the features.

use super::{
    EncoderError, FeatureKind, FeatureSetting, Transform,
    encode::{fits, plain, put},
};
use crate::record::DecodedRecord;

/// The cells of one grid of a record, to be encoded.
pub(super) struct Cells<'a> {
    pub(super) decoded: &'a DecodedRecord,
    /// Slot of the first cell.
    pub(super) slot: usize,
    pub(super) transform: Transform,
}

impl Cells<'_> {
    /// Fills the grid's columns; `usual` says that every slot holds a value that an `f32` can hold.
    pub(super) fn encode(&self, usual: bool, row: &mut [f32], imputed: &mut [bool], impute: &[f32]) {
        if usual && self.transform == Transform::None {
            let values = &self.decoded.values[self.slot..self.slot + row.len()];
            row.iter_mut().zip(values).for_each(|(column, value)| *column = *value as f32);
            imputed.fill(false);
            return;
        }
        for (cell, column) in row.iter_mut().enumerate() {
            let value = plain(self.decoded, self.slot + cell, self.transform);
            let known = value.is_some_and(|value| put(value, std::slice::from_mut(column)));
            imputed[cell] = !known;
            if !known {
                *column = impute[cell];
            }
        }
    }

    /// The cells, of `count`, that hold no value that an `f32` can hold, row by row.
    pub(super) fn missing(&self, count: usize) -> impl Iterator<Item = usize> {
        (0..count).filter(|cell| !plain(self.decoded, self.slot + cell, self.transform).is_some_and(fits))
    }
}

/// Refuses grids that nothing can be made of: of no sound shape, or whose field is for something else too.
pub(crate) fn check(features: &[FeatureSetting]) -> Result<(), EncoderError> {
    for (index, grid) in features.iter().enumerate() {
        let FeatureKind::Grid { shape, .. } = grid.kind else { continue };
        if !shape.is_sound() {
            return Err(EncoderError::GridShape { feature: grid.name.clone(), shape });
        }
        let others = features.iter().enumerate().filter(|(at, other)| *at != index && other.kind.needs_field());
        let overlaps = |other: &FeatureSetting| other.path.contains(&grid.path) || grid.path.contains(&other.path);
        if let Some((_, other)) = others.into_iter().find(|(_, other)| overlaps(other)) {
            return Err(EncoderError::GridShared { path: other.path.clone(), grid: grid.path.clone() });
        }
    }
    Ok(())
}
