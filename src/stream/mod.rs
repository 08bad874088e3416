//! What is kept per entity and per partition: windows, the order of records, rhythms and silences, the ledger of finished
//! offsets, and how far back a restart has to read.

pub mod horizon;
pub mod ledger;
pub mod order;
pub mod rhythm;
pub mod silence;
pub mod window;
