//! Taking rows out of a sample again: somebody said later what they are.

use std::{collections::VecDeque, ops::RangeInclusive};

use super::{
    RecentSample,
    held::{Chunk, Entity},
};
use crate::record::Position;

impl RecentSample {
    /// Takes out the rows of an entity with these offsets of a partition, which were taken for normal: an accepted level, or
    /// what a gate of columns held back.
    pub fn mask(&mut self, entity: &str, partition: i32, offsets: &RangeInclusive<i64>) {
        let Some(at) = self.by_name.get(entity).map(|at| *at as usize) else { return };
        let window = self.bounds.window;
        let is_masked = |position: Position| position.partition == partition && offsets.contains(&position.offset);
        if !self.entities[at].mask(window, is_masked) {
            return;
        }
        if self.entities[at].chunks.is_empty() {
            self.remove(at);
        }
        self.rows = self.entities.iter().map(|entity| entity.rows).sum();
        self.bytes = self.entities.iter().map(|entity| entity.bytes).sum();
    }
}

impl Entity {
    /// Takes rows out, and what is left too short for a window beside them. Says whether there were any.
    fn mask(&mut self, window: usize, is_masked: impl Fn(Position) -> bool) -> bool {
        let has_any = |chunk: &Chunk| chunk.rows.iter().any(|(_, record)| is_masked(record.position));
        if !self.chunks.iter().any(has_any) {
            return false;
        }
        let ends_whole = !self.chunks.back().is_some_and(has_any);
        let mut kept: VecDeque<Chunk> = VecDeque::with_capacity(self.chunks.len() + 1);
        // Whether the row before the next chunk is kept.
        let mut unbroken = true;
        for chunk in std::mem::take(&mut self.chunks) {
            let follows = chunk.follows && unbroken;
            if !has_any(&chunk) {
                unbroken = follows || !chunk.follows || chunk.rows.len() >= window;
                if unbroken {
                    kept.push_back(Chunk { follows, ..chunk });
                }
                continue;
            }
            for (piece, rows) in chunk.rows.split(|(_, record)| is_masked(record.position)).enumerate() {
                let follows = follows && piece == 0;
                unbroken = !rows.is_empty() && (follows || rows.len() >= window);
                if unbroken {
                    kept.push_back(Chunk::of(rows, follows));
                }
            }
        }
        self.chunks = kept;
        self.rows = self.chunks.iter().map(|chunk| chunk.rows.len()).sum();
        self.bytes = self.chunks.iter().map(|chunk| chunk.bytes).sum();
        if !(ends_whole && unbroken) {
            // The next row begins anew.
            (self.open, self.unbroken) = (false, false);
        }
        true
    }
}
