//! Why the source stands still.

/// The reasons to pause the source; it goes on when none holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pause {
    /// A model is being trained, and there is none to score with.
    pub(super) training: bool,
    /// Too many outputs wait.
    pub(super) outputs: bool,
    /// Records wait for the schema that they were written with.
    pub(super) schemas: bool,
}

impl Pause {
    pub(super) fn is_on(self) -> bool {
        self.training || self.outputs || self.schemas
    }
}
