//! strayd watches a Kafka topic of sensor or user-engagement records, learns with an autoencoder what normal looks
//! like, and says which records stray, by how much, in which features, and how sure it is.
//!
//! The modules stand in the order in which a record meets them:
//!
//! 1. [`record`]: bytes become fields, and fields become one row of numbers with a mark for each missing one.
//!    By which schema, [`schemas`] knows from a registry.
//! 2. [`stream`]: rows join the window of their entity, windows join a batch, and the ledger knows which offsets are done.
//! 3. [`detect`]: ONNX Runtime reconstructs the batch, the judge turns residuals into a score, a p-value and a verdict,
//!    and [`feedback`] holds back what people said of its like.
//! 4. [`model`]: the one ONNX file that holds scaling, network, calibration and provenance.
//! 5. [`train`]: the trainer that makes such a file from rows.
//! 6. [`pipeline`]: the run loop over the seams, from a source to a sink, the same for every command.
//! 7. [`kafka`] and [`mod@file`]: the sources and sinks.
//! 8. [`telemetry`] and [`http`]: what an operator sees.
//! 9. [`evaluate`]: how well verdicts agree with labels, once all is scored, and [`report`]: a page that shows it.
//!
//! [`config`] says what may be set, [`app`] puts the parts together, [`demo`] shows them on shipped data, and
//! [`generate`] makes records to try them on.

pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
pub mod detect;
pub mod evaluate;
pub mod feedback;
pub mod file;
pub mod generate;
pub mod http;
pub mod kafka;
pub mod model;
pub mod pipeline;
pub mod record;
pub mod report;
pub mod schemas;
pub mod stream;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod train;
