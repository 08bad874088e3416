//! What is kept per entity and per partition: windows, batches, and the ledger of finished offsets.

pub mod ledger;
pub mod window;
