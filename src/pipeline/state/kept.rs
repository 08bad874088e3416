//! Where snapshots are read from.

/// What a store says that has not been looked at yet: no news, and no fault.
pub const NOT_LOOKED: &str = "nobody has looked yet";

/// One thing that a store hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept<'a> {
    /// A snapshot; of those of one entity the later ones come later.
    Snapshot {
        /// The partition of the input topic that the entity's records come from.
        partition: i32,
        /// The entity.
        entity: &'a str,
        /// It holds the records of the partition before this offset.
        as_of: i64,
        /// As it was written; `None` where the entity was evicted.
        body: Option<&'a [u8]>,
    },
    /// All of this partition was handed over.
    All(i32),
}

/// Snapshots of entities, by the partition that their records come from.
pub trait StateStore {
    /// Begins to read what was kept of a partition, anew where that had begun before.
    fn load(&mut self, partition: i32);

    /// Hands over what has been read since the last call, without waiting.
    ///
    /// # Errors
    /// Why nothing can be read at present; the next call tries again.
    fn read(&mut self, visit: &mut dyn FnMut(Kept<'_>)) -> Result<(), String>;
}
