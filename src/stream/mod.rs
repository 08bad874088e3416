//! What is kept per entity and per partition: windows, rhythms and silences, and the ledger of finished offsets.

pub mod ledger;
pub mod rhythm;
pub mod silence;
pub mod window;
