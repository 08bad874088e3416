//! Plants that last: each row is planted in some of several passes over the same rows, and between two plants of a pass
//! three times as many rows stay as they came, in which a judge comes to rest.

use std::{collections::BTreeMap, ops::Range};

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{PlantKind, Scored};
use crate::train::{
    gate::plants::{SWAPPED, is_number, parts, usual_range},
    sample::SampleRows,
};

/// Rows that a plant lasts; half of the plants end after a quarter of them. Where the longest run has fewer than
/// [`BLOCKS`] times the most, so many of it: incidents that last hours can't be planted in few rows.
const LEAST_BLOCK: usize = 20;
const MOST_BLOCK: usize = 120;
const BLOCKS: usize = 12;
/// Blocks from one plant of a pass to its next, and so passes in which every row is planted once.
const STRIDE: usize = 4;
/// How often every row is planted, each time with something else.
const ROUNDS: usize = 5;
const PASSES: usize = STRIDE * ROUNDS;
/// One in so many planted rows counts as normal where it comes somewhere after another plant, the others as they came.
/// Incidents are rare, so that few normal rows stand in what a smoothing has not yet forgotten.
const AFTER: usize = 5;
/// A shifted feature is off by this share of its usual range.
const SHIFTED: f32 = 0.3;
/// A drifting feature ends so far off.
const DRIFTED: f32 = 0.6;
/// Incidents come and go: in one row after the other a plant that may rest begins to rest, or ends it, with this probability.
/// All its rows count as planted, as all rows of an incident do.
const TURNS: f64 = 0.2;
/// What is planted, by turns.
const KINDS: [PlantKind; 5] =
    [PlantKind::LastingSwap, PlantKind::Shift, PlantKind::Drift, PlantKind::Stuck, PlantKind::Surge];

/// One planted row, and where its scores are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plant {
    row: usize,
    kind: PlantKind,
    /// The pass in which it is planted.
    pass: usize,
    /// The pass in which it counts as normal; `None` is the rows as they came.
    normal: Option<usize>,
}

/// Rows with plants.
pub(super) struct Lasting {
    passes: Vec<SampleRows>,
    /// In the order of the rows.
    plants: Vec<Plant>,
}

impl Lasting {
    /// Plants in `ends`, rows in their order, drawn by `seed`.
    pub(super) fn draw(rows: &SampleRows, ends: &[usize], seed: u64) -> Self {
        let mut planter = Planter::new(rows, seed);
        let mut runs: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
        ends.iter().for_each(|row| runs.entry((rows.entities[*row], rows.runs[*row])).or_default().push(*row));
        if planter.parts.is_empty() {
            runs.clear();
        }
        let longest = runs.values().map(Vec::len).max().unwrap_or(0);
        let length = (longest / BLOCKS).clamp(LEAST_BLOCK, MOST_BLOCK);
        planter.length = length;
        for round in 0..ROUNDS {
            // Plants of another round begin elsewhere.
            let offset = round * length / ROUNDS;
            let blocks = runs.values().flat_map(|run| {
                let count = run.len().saturating_sub(offset) / length;
                (0..count).map(move |at| (run, offset + at * length))
            });
            for (block, (run, first)) in blocks.enumerate() {
                planter.plant(run, first, (round, block));
            }
        }
        let Planter { passes, mut plants, .. } = planter;
        plants.sort_by_key(|plant| plant.row);
        Self { passes, plants }
    }

    /// The rows of each pass.
    pub(super) fn passes(&self) -> &[SampleRows] {
        &self.passes
    }

    /// The scores of each planted row, with its plant and without, of those of all rows as they came and in each pass.
    pub(super) fn pair(&self, clean: &[f64], planted: &[Vec<f64>]) -> Vec<(PlantKind, Scored)> {
        let pair = |plant: &Plant| {
            let own = plant.normal.map_or(clean, |pass| &planted[pass])[plant.row];
            (plant.kind, Scored { own, planted: planted[plant.pass][plant.row] })
        };
        self.plants.iter().map(pair).collect()
    }
}

/// Plants in progress.
struct Planter<'a> {
    rows: &'a SampleRows,
    random: Xoshiro256PlusPlus,
    /// Columns of the parts that vary, how far these usually reach, and whether they are numbers.
    parts: Vec<(Range<usize>, f32, bool)>,
    /// Rows of a block.
    length: usize,
    passes: Vec<SampleRows>,
    plants: Vec<Plant>,
}

impl<'a> Planter<'a> {
    fn new(rows: &'a SampleRows, seed: u64) -> Self {
        let found = parts(rows).into_iter().map(|(part, columns)| {
            let range = usual_range(rows, columns.clone());
            (columns, range, is_number(&part.feature.kind))
        });
        Self {
            rows,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            parts: found.filter(|(_, range, _)| *range > 0.0).collect(),
            length: MOST_BLOCK,
            passes: vec![rows.clone(); PASSES],
            plants: Vec::new(),
        }
    }

    /// Plants in the block that begins at the `first` row of a run.
    fn plant(&mut self, run: &[usize], first: usize, (round, block): (usize, usize)) {
        let (stride, turn) = (block % STRIDE, block / STRIDE);
        let pass = round * STRIDE + stride;
        let kind = KINDS[(block + turn + round) % KINDS.len()];
        let short = self.random.r#gen::<bool>() && kind != PlantKind::Drift;
        let planted = &run[first..first + if short { self.length / 4 } else { self.length }];
        let length = self.length as f32;
        let rests = !matches!(kind, PlantKind::Drift | PlantKind::Stuck);
        let changed = self.changed(planted, rests);
        let done = match kind {
            PlantKind::Shift => self.shift(&changed, pass, |_| SHIFTED),
            PlantKind::Drift => self.shift(&changed, pass, |at| DRIFTED * (at + 1) as f32 / length),
            PlantKind::Surge => self.surge(&changed, pass, run),
            PlantKind::Stuck => {
                let still = run[first.saturating_sub(1)];
                self.copy(&changed, pass, |_| still)
            }
            PlantKind::LastingSwap | PlantKind::Swap | PlantKind::Spike => match self.elsewhere(run.len(), first) {
                Some(from) => self.copy(&changed, pass, |at| run[from + at]),
                None => false,
            },
        };
        if done {
            let after = round * STRIDE + (stride + 1 + turn / AFTER % (STRIDE - 1)) % STRIDE;
            let normal = (turn % AFTER == 0).then_some(after);
            self.plants.extend(planted.iter().map(|row| Plant { row: *row, kind, pass, normal }));
        }
    }

    /// The rows of a plant in which something changes, each with its place: all, or all but those in which it rests.
    fn changed(&mut self, planted: &[usize], rests: bool) -> Vec<(usize, usize)> {
        let mut resting = false;
        let mut changed = Vec::with_capacity(planted.len());
        for (at, row) in planted.iter().enumerate() {
            resting ^= rests && at > 0 && self.random.gen_bool(TURNS);
            if !resting {
                changed.push((at, *row));
            }
        }
        changed
    }

    /// Moves one feature by shares of its usual range. Gives whether there is one that can be moved.
    fn shift(&mut self, changed: &[(usize, usize)], pass: usize, share: impl Fn(usize) -> f32) -> bool {
        let numbers: Vec<usize> = (0..self.parts.len()).filter(|at| self.parts[*at].2).collect();
        let Some(part) = numbers.choose(&mut self.random) else { return false };
        let sign = if self.random.r#gen::<bool>() { 1.0 } else { -1.0 };
        let (columns, range, _) = self.parts[*part].clone();
        let rows = &mut self.passes[pass];
        for (at, row) in changed {
            for column in columns.clone().map(|column| row * self.rows.width() + column) {
                rows.values[column] += sign * share(*at) * range;
                // A value that moved is there.
                rows.imputed[column] = false;
            }
        }
        true
    }

    /// All numbers move at once, by as much as they differ between two rows of the run: together, as they usually do.
    /// Gives true.
    fn surge(&mut self, changed: &[(usize, usize)], pass: usize, run: &[usize]) -> bool {
        let mut any = || run[self.random.gen_range(0..run.len())];
        let (one, other, width) = (any(), any(), self.rows.width());
        for columns in self.parts.iter().filter(|part| part.2).map(|part| part.0.clone()) {
            for column in columns {
                let by = self.rows.row(one)[column] - self.rows.row(other)[column];
                changed.iter().for_each(|(_, row)| self.passes[pass].values[row * width + column] += by);
            }
        }
        true
    }

    /// Some features take the values of other rows. Gives true.
    fn copy(&mut self, changed: &[(usize, usize)], pass: usize, from: impl Fn(usize) -> usize) -> bool {
        let count = ((self.parts.len() as f64 * SWAPPED).ceil() as usize).max(1);
        let chosen: Vec<Range<usize>> =
            self.parts.choose_multiple(&mut self.random, count).map(|(columns, ..)| columns.clone()).collect();
        let (rows, width) = (&mut self.passes[pass], self.rows.width());
        for (at, row) in changed {
            for columns in &chosen {
                let (from, to) = (from(*at) * width + columns.start, row * width + columns.start);
                rows.values[to..to + columns.len()].copy_from_slice(&self.rows.values[from..from + columns.len()]);
                rows.imputed[to..to + columns.len()].copy_from_slice(&self.rows.imputed[from..from + columns.len()]);
            }
        }
        true
    }

    /// Where in the run other values are taken from: no row of the block itself. `None` where the run is too short.
    fn elsewhere(&mut self, rows: usize, first: usize) -> Option<usize> {
        let before = (first + 1).saturating_sub(self.length);
        let after = (rows + 1).saturating_sub(first + 2 * self.length);
        let choice = self.random.gen_range(0..(before + after).max(1));
        (before + after > 0).then(|| if choice < before { choice } else { first + self.length + choice - before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::sample::fixture;

    fn rows(count: usize, entities: u32) -> SampleRows {
        let value = |row: usize, column: usize| ((row * (column + 3)) as f32 * 0.1).sin() + row as f32 * 1e-3;
        let mut values: Vec<Vec<f32>> =
            (0..count).map(|row| (0..8).map(|column| value(row, column)).collect()).collect();
        values.iter_mut().for_each(|row| row[5] = 7.0);
        fixture::rows(&values, entities)
    }

    fn drawn(rows: &SampleRows, seed: u64) -> Lasting {
        Lasting::draw(rows, &(0..rows.len()).collect::<Vec<_>>(), seed)
    }

    #[test]
    fn each_plant_changes_its_rows_in_its_own_pass_and_nothing_else_is_changed() {
        let rows = rows(2_000, 2);
        let lasting = drawn(&rows, 3);
        let width = rows.width();
        let mut planted = vec![vec![false; rows.len()]; PASSES];
        lasting.plants.iter().for_each(|plant| planted[plant.pass][plant.row] = true);
        let mut changed = 0;
        for (pass, of_pass) in lasting.passes().iter().zip(&planted) {
            for (row, is_planted) in of_pass.iter().enumerate() {
                let same = pass.row(row) == rows.row(row);
                assert!(same || *is_planted, "row {row} was changed without a plant");
                assert_eq!(pass.values[row * width + 5], 7.0, "what never varies is left alone");
                changed += usize::from(!same);
            }
        }
        // Plants rest in some of their rows, and what stands still for a moment is the same.
        assert!((50..85).contains(&(100 * changed / lasting.plants.len())), "{changed} of {}", lasting.plants.len());
        for plant in &lasting.plants {
            assert!(plant.normal.is_none_or(|normal| !planted[normal][plant.row]), "{plant:?} is normal nowhere");
        }
        for kind in KINDS {
            let count = lasting.plants.iter().filter(|plant| plant.kind == kind).count();
            assert!(count > 400, "{count} rows of {kind:?}");
        }
    }

    #[test]
    fn the_same_seed_plants_the_same_and_another_one_something_else() {
        let rows = rows(1_000, 1);
        let values = |seed: u64| drawn(&rows, seed).passes.iter().map(|pass| pass.values.clone()).collect::<Vec<_>>();
        assert_eq!(values(1), values(1));
        assert_ne!(values(1), values(2));
    }

    #[test]
    fn runs_that_are_too_short_for_a_plant_get_none() {
        assert!(drawn(&rows(380, 20), 1).plants.is_empty());
        let lasting = drawn(&rows(30, 1), 1);
        assert!(lasting.plants.iter().all(|plant| plant.kind != PlantKind::LastingSwap), "nowhere to take values from");
    }

    #[test]
    fn scores_are_paired_by_row_from_the_passes_of_plant_and_of_normal() {
        let rows = rows(1_500, 1);
        let lasting = drawn(&rows, 1);
        let clean: Vec<f64> = (0..rows.len()).map(|row| row as f64).collect();
        let planted: Vec<Vec<f64>> =
            (1..=PASSES).map(|pass| clean.iter().map(|row| row + 10_000.0 * pass as f64).collect()).collect();
        for ((kind, pair), plant) in lasting.pair(&clean, &planted).into_iter().zip(&lasting.plants) {
            let expected = |pass: Option<usize>| plant.row as f64 + pass.map_or(0.0, |p| 10_000.0 * (p + 1) as f64);
            assert_eq!(
                (kind, pair.own, pair.planted),
                (plant.kind, expected(plant.normal), expected(Some(plant.pass)))
            );
        }
    }
}
