//! The last rows of each entity, and the store that finds an entity by name and forgets the longest idle one.

use std::{collections::HashMap, sync::Arc};

/// The offset of a row that stands in another partition than the newest one: reading back doesn't bring it again.
const ELSEWHERE: i64 = -1;

/// The last L rows of one entity, each of D columns, as a ring of `L * D` `f32`, and where each row's record stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    values: Box<[f32]>,
    /// Offsets of the rows' records in their partition, or [`ELSEWHERE`].
    offsets: Box<[i64]>,
    /// One bit per column of the newest row.
    imputed: Box<[u64]>,
    width: u32,
    /// The row that is written next: the oldest one when the window is full.
    next: u32,
    /// Rows held, at most L.
    held: u32,
}

impl Window {
    /// An empty window of `rows` rows (L >= 1) with `width` columns (D >= 1) each.
    pub fn new(rows: usize, width: usize) -> Self {
        assert!(rows > 0 && width > 0, "a window has at least one row and one column, got {rows} x {width}");
        Self {
            values: vec![0.0; rows * width].into(),
            offsets: vec![ELSEWHERE; rows].into(),
            imputed: vec![0; width.div_ceil(64)].into(),
            width: width as u32,
            next: 0,
            held: 0,
        }
    }

    /// Rows of a full window, L.
    pub fn rows(&self) -> usize {
        self.values.len() / self.width()
    }

    /// Columns of a row, D.
    pub fn width(&self) -> usize {
        self.width as usize
    }

    /// Rows held.
    pub fn len(&self) -> usize {
        self.held as usize
    }

    /// Whether it holds no row.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Whether it holds L rows, so that it can be scored.
    pub fn is_full(&self) -> bool {
        self.len() == self.rows()
    }

    /// Adds the newest row (D values), its flags (D) and the offset of its record; in a full window it takes the oldest row's
    /// place.
    pub fn push(&mut self, row: &[f32], imputed: &[bool], offset: i64) {
        let start = self.next as usize * self.width();
        let end = start + self.width();
        self.values[start..end].copy_from_slice(row);
        for (word, flags) in self.imputed.iter_mut().zip(imputed.chunks(64)) {
            *word = flags.iter().rev().fold(0, |bits, flag| bits << 1 | u64::from(*flag));
        }
        self.offsets[self.next as usize] = offset;
        let rows = self.rows() as u32;
        self.next = if self.next + 1 == rows { 0 } else { self.next + 1 };
        self.held = (self.held + 1).min(rows);
    }

    /// A window of `rows` rows (>= 1) with the newest of those held here.
    pub fn resized(&self, rows: usize) -> Self {
        let mut resized = Self::new(rows, self.width());
        let mut held = vec![0.0; self.values.len()];
        let values = self.copy_into(&mut held);
        let no_flags = vec![false; self.width()];
        let rows_held = held[..values].chunks(self.width()).zip(self.offsets());
        for (row, offset) in rows_held.skip(self.len().saturating_sub(rows)) {
            resized.push(row, &no_flags, offset);
        }
        resized.imputed.copy_from_slice(&self.imputed);
        resized
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        (self.next, self.held) = (0, 0);
        self.imputed.fill(0);
    }

    /// The rows that it holds stand in another partition than those that come from now on.
    pub fn moved(&mut self) {
        self.offsets.fill(ELSEWHERE);
    }

    /// Offset of the oldest row's record: whoever reads the partition from there has all rows. `None` without rows, and
    /// where some of them stand in another partition.
    pub fn oldest(&self) -> Option<i64> {
        self.offsets().next().filter(|offset| *offset != ELSEWHERE)
    }

    /// Offsets of the rows held, oldest first.
    fn offsets(&self) -> impl Iterator<Item = i64> {
        let (newer, older) = self.offsets[..self.len()].split_at(if self.is_full() { self.next as usize } else { 0 });
        older.iter().chain(newer).copied()
    }

    /// Marks of the newest row's columns: 64 to a word, the first in the lowest bit.
    pub fn marks(&self) -> &[u64] {
        &self.imputed
    }

    /// A window of `rows` rows with these, oldest first (a multiple of `width` values), and the [`Window::marks`] of the newest
    /// one. Their records stand nowhere that could be read again.
    pub fn of_rows((rows, width): (usize, usize), values: &[f32], marks: &[u64]) -> Self {
        let mut window = Self::new(rows, width);
        let no_flags = vec![false; width];
        values.chunks_exact(width).for_each(|row| window.push(row, &no_flags, ELSEWHERE));
        window.imputed.iter_mut().zip(marks).for_each(|(word, mark)| *word = *mark);
        window
    }

    /// The newest row (D values); `None` without rows.
    pub fn newest(&self) -> Option<&[f32]> {
        let row = if self.next == 0 { self.rows() } else { self.next as usize } - 1;
        (!self.is_empty()).then(|| &self.values[row * self.width()..(row + 1) * self.width()])
    }

    /// Whether the newest row's value in this column is imputed.
    pub fn is_imputed(&self, column: usize) -> bool {
        self.imputed[column / 64] >> (column % 64) & 1 == 1
    }

    /// Writes the rows held, oldest first, to the start of `target`, and returns how many values that were: `L * D` for
    /// a full window.
    pub fn copy_into(&self, target: &mut [f32]) -> usize {
        let held = self.len() * self.width();
        // Until it is full the oldest row is row 0; from then on it is the one that is written next.
        let oldest = if self.is_full() { self.next as usize * self.width() } else { 0 };
        let (newer, older) = self.values[..held].split_at(oldest);
        target[..older.len()].copy_from_slice(older);
        target[older.len()..held].copy_from_slice(newer);
        held
    }
}

/// Finds a `T` by the name of its entity. At most `max` are kept: the longest idle one makes room.
///
/// Owned by one thread. Entities stand in slabs and are addressed by index, which stays valid until the entity is
/// evicted or removed; a list through the slabs keeps them in order of last use, so that every step takes constant
/// time.
#[derive(Debug)]
pub struct Entities<T> {
    index: HashMap<Arc<str>, u32>,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    max: usize,
    /// Most recently used; [`NONE`] if empty.
    newest: u32,
    /// Longest idle.
    oldest: u32,
}

/// No slot.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot<T> {
    /// `None` while the slot is free.
    entity: Option<(Arc<str>, T)>,
    newer: u32,
    older: u32,
}

/// What [`Entities::touch`] found or made.
#[derive(Debug, PartialEq, Eq)]
pub struct Touched<T> {
    /// For [`Entities::get_mut`] and [`Entities::name`].
    pub index: u32,
    /// Whether the entity was unknown.
    pub is_new: bool,
    /// The entity that had to make room.
    pub evicted: Option<(Arc<str>, T)>,
}

impl<T> Entities<T> {
    /// An empty store for at most `max` entities, `1..u32::MAX`.
    pub fn new(max: usize) -> Self {
        assert!(max > 0 && max < NONE as usize, "a store holds from 1 to {} entities, got {max}", NONE - 1);
        Self { index: HashMap::new(), slots: Vec::new(), free: Vec::new(), max, newest: NONE, oldest: NONE }
    }

    /// Number of entities.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Finds the entity or makes it, and counts it as used now. A known name costs no allocation.
    pub fn touch(&mut self, name: &str, make: impl FnOnce() -> T) -> Touched<T> {
        if let Some(&index) = self.index.get(name) {
            if index != self.newest {
                self.unlink(index);
                self.link_newest(index);
            }
            return Touched { index, is_new: false, evicted: None };
        }
        let evicted = if self.len() == self.max { self.take(self.oldest) } else { None };
        let name = Arc::<str>::from(name);
        let slot = Slot { entity: Some((Arc::clone(&name), make())), newer: NONE, older: NONE };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        self.index.insert(name, index);
        self.link_newest(index);
        Touched { index, is_new: true, evicted }
    }

    /// The entity at an index that [`Entities::touch`] gave; `None` if it is gone.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.entity.as_mut().map(|(_, value)| value)
    }

    /// The same, to read.
    pub fn get(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)?.entity.as_ref().map(|(_, value)| value)
    }

    /// The longest idle entity and its index.
    pub fn longest_idle(&self) -> Option<(u32, &T)> {
        self.get(self.oldest).map(|value| (self.oldest, value))
    }

    /// Takes out the longest idle entity.
    pub fn take_longest_idle(&mut self) -> Option<(Arc<str>, T)> {
        self.take(self.oldest)
    }

    /// The entity's name.
    pub fn name(&self, index: u32) -> Option<&Arc<str>> {
        self.slots.get(index as usize)?.entity.as_ref().map(|(name, _)| name)
    }

    /// The index of a known entity, which doesn't count as use.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.index.get(name).copied()
    }

    /// Takes an entity out.
    pub fn remove(&mut self, name: &str) -> Option<T> {
        let index = self.find(name)?;
        self.take(index).map(|(_, value)| value)
    }

    /// Drops the entities for which `keep` says no, such as those of a partition that was revoked.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut T) -> bool) {
        for index in 0..self.slots.len() {
            let entity = self.slots[index].entity.as_mut();
            if entity.is_some_and(|(name, value)| !keep(name, value)) {
                self.take(index as u32);
            }
        }
    }

    /// Names and values, the longest idle entity first.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &T)> {
        let slot = |index: u32| self.slots.get(index as usize); // NONE is past the end
        std::iter::successors(slot(self.oldest), move |previous| slot(previous.newer))
            .filter_map(|slot| slot.entity.as_ref().map(|(name, value)| (name, value)))
    }

    fn take(&mut self, index: u32) -> Option<(Arc<str>, T)> {
        let entity = self.slots.get_mut(index as usize)?.entity.take()?;
        self.unlink(index);
        self.index.remove(&entity.0);
        self.free.push(index);
        Some(entity)
    }

    fn unlink(&mut self, index: u32) {
        let Slot { newer, older, .. } = self.slots[index as usize];
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, index: u32) {
        let before = std::mem::replace(&mut self.newest, index);
        let slot = &mut self.slots[index as usize];
        (slot.newer, slot.older) = (NONE, before);
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.newer = index,
            None => self.oldest = index,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_is_full_after_its_rows_and_copies_them_oldest_first() {
        let mut window = Window::new(2, 2);
        let mut copy = [0.0; 4];
        assert!(window.is_empty() && window.newest().is_none());
        window.push(&[1.0, 2.0], &[false, true], 4);
        assert!(!window.is_full() && window.copy_into(&mut copy) == 2);
        assert_eq!(window.oldest(), Some(4));
        window.push(&[3.0, 4.0], &[false, false], 7);
        assert!(window.is_full() && window.copy_into(&mut copy) == 4);
        assert_eq!(copy, [1.0, 2.0, 3.0, 4.0]);
        window.push(&[5.0, 6.0], &[true, false], 9);
        assert_eq!(window.oldest(), Some(7));
        window.copy_into(&mut copy);
        assert_eq!(copy, [3.0, 4.0, 5.0, 6.0]);
        assert_eq!(window.newest(), Some(&[5.0, 6.0][..]));
        assert!(window.is_imputed(0) && !window.is_imputed(1));
        window.clear();
        assert!(window.is_empty() && !window.is_imputed(0));
    }

    #[test]
    fn a_resized_window_holds_the_newest_rows() {
        let mut window = Window::new(3, 1);
        for value in [1.0, 2.0, 3.0, 4.0] {
            window.push(&[value], &[value == 4.0], value as i64);
        }
        let mut copy = [0.0; 5];
        let shorter = window.resized(2);
        assert_eq!(shorter.copy_into(&mut copy), 2);
        assert_eq!(copy[..2], [3.0, 4.0]);
        let longer = window.resized(5);
        assert_eq!(longer.copy_into(&mut copy), 3);
        assert_eq!(copy[..3], [2.0, 3.0, 4.0]);
        assert!(!longer.is_full() && longer.is_imputed(0) && window.resized(3) != Window::new(3, 1));
        assert_eq!((shorter.oldest(), longer.oldest()), (Some(3), Some(2)));
    }

    #[test]
    fn rows_of_another_partition_are_read_back_from_nowhere_until_they_have_left_the_window() {
        let mut window = Window::new(2, 1);
        window.push(&[1.0], &[false], 10);
        window.moved();
        window.push(&[2.0], &[false], 3);
        assert_eq!(window.oldest(), None);
        window.push(&[3.0], &[true], 4);
        assert_eq!(window.oldest(), Some(3));
        let mut copy = [0.0; 2];
        window.copy_into(&mut copy);
        let again = Window::of_rows((2, 1), &copy, window.marks());
        assert_eq!((again.newest(), again.is_imputed(0), again.oldest()), (Some(&[3.0][..]), true, None));
    }

    #[test]
    fn an_idle_entity_is_found_again_without_a_new_name() {
        let mut entities = Entities::new(2);
        let first = entities.touch("a", || 1);
        assert_eq!(first, Touched { index: 0, is_new: true, evicted: None });
        assert_eq!(entities.touch("a", || unreachable!()), Touched { index: 0, is_new: false, evicted: None });
        assert_eq!(entities.get_mut(0), Some(&mut 1));
        assert_eq!((entities.find("a"), entities.find("b"), entities.get(7)), (Some(0), None, None));
        assert_eq!(Arc::strong_count(entities.name(0).unwrap()), 2);
    }

    #[test]
    fn the_longest_idle_entity_makes_room() {
        let mut entities = Entities::new(2);
        entities.touch("a", || 1);
        entities.touch("b", || 2);
        entities.touch("a", || 0);
        assert_eq!(entities.touch("c", || 3).evicted, Some(("b".into(), 2)));
        assert_eq!(entities.len(), 2);
        assert_eq!(entities.longest_idle(), Some((0, &1)));
        assert_eq!(entities.touch("b", || 4).evicted, Some(("a".into(), 1)));
        assert_eq!(entities.take_longest_idle(), Some(("c".into(), 3)));
        assert_eq!((entities.take_longest_idle(), entities.longest_idle()), (Some(("b".into(), 4)), None));
    }

    #[test]
    fn a_thousand_windows_of_4_x_38_take_less_than_a_megabyte() {
        let window = Window::new(4, 38);
        let rows = window.values.len() * 4 + window.offsets.len() * 8;
        let bytes = size_of::<Slot<Window>>() + rows + window.imputed.len() * 8;
        assert!(bytes < 1_000, "{bytes}");
    }

    proptest! {
        #[test]
        fn a_window_holds_the_last_rows(rows in 1usize..5, width in 1usize..130, pushes in 0usize..12) {
            let mut window = Window::new(rows, width);
            let row = |number: usize| (0..width).map(|column| (number * 1000 + column) as f32).collect::<Vec<_>>();
            let flag = |number: usize, column: usize| (number + column).is_multiple_of(3);
            let flags = |number: usize| (0..width).map(|column| flag(number, column)).collect::<Vec<_>>();
            for number in 0..pushes {
                window.push(&row(number), &flags(number), number as i64);
            }
            let expected = (pushes.saturating_sub(rows)..pushes).flat_map(row).collect::<Vec<_>>();
            let mut copy = vec![f32::NAN; rows * width];
            let copied = window.copy_into(&mut copy);
            prop_assert_eq!(&copy[..copied], &expected[..]);
            prop_assert_eq!(window.is_full(), pushes >= rows);
            prop_assert_eq!(window.oldest(), (pushes > 0).then(|| pushes.saturating_sub(rows) as i64));
            if let Some(newest) = pushes.checked_sub(1) {
                let got = (0..width).map(|column| window.is_imputed(column)).collect::<Vec<_>>();
                prop_assert_eq!(got, flags(newest));
                let newest = row(newest);
                prop_assert_eq!(window.newest(), Some(&newest[..]));
            }
        }

        #[test]
        fn entities_are_kept_like_in_a_plain_list(
            max in 1usize..5,
            steps in prop::collection::vec((0u8..4, 0u8..8), 0..60),
        ) {
            let mut entities = Entities::new(max);
            let mut model = Vec::<(String, u8)>::new(); // longest idle first
            for (step, name) in steps {
                let text = name.to_string();
                let known = model.iter().position(|(known, _)| *known == text);
                match step {
                    0 => {
                        let removed = known.map(|position| model.remove(position).1);
                        prop_assert_eq!(entities.remove(&text), removed);
                    }
                    1 => {
                        model.retain(|(_, value)| value % 2 == name % 2);
                        entities.retain(|_, value| *value % 2 == name % 2);
                    }
                    _ => {
                        let full = known.is_none() && model.len() == max;
                        let evicted = full.then(|| model.remove(0)).map(|(name, value)| (Arc::from(name), value));
                        let entry = known.map_or((text.clone(), name), |position| model.remove(position));
                        model.push(entry);
                        let touched = entities.touch(&text, || name);
                        prop_assert_eq!(touched.is_new, known.is_none());
                        prop_assert_eq!(touched.evicted, evicted);
                        prop_assert_eq!(entities.get(touched.index), Some(&name));
                        prop_assert_eq!(entities.name(touched.index).map(|name| &**name), Some(&*text));
                    }
                }
                let listed = entities.iter().map(|(name, value)| (name.to_string(), *value)).collect::<Vec<_>>();
                prop_assert_eq!(&listed, &model);
                prop_assert_eq!(entities.len(), model.len());
            }
        }
    }
}
