//! What an operator sees: metrics (each named once), the status board behind the probes, and log lines.

pub mod board;
mod describe;
pub mod log;
pub mod metrics;
mod register;

pub use board::{Board, ModelStatus, Phase};
pub use describe::{
    DESCRIPTIONS, DeliveryResult, Description, End, Label, MetricKind, Outcome, OutputKind, Stage, TrainingResult,
    metrics_table,
};
pub use metrics::{BatchCounts, LocalDelay, Metrics, TrainingOutcome};
