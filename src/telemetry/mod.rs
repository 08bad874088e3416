//! What an operator sees: metrics (each named once), the status board behind the probes, and log lines.

pub mod board;
mod describe;
mod feedback;
pub mod incidents;
mod kafka;
pub mod log;
pub mod metrics;
mod model;
mod register;
mod state;
pub mod training;

pub use board::{Board, ModelStatus, OpenIncident, Phase};
pub use describe::{
    DESCRIPTIONS, Description, End, Label, MetricKind, Outcome, Part, Stage, SwapResult, TrainingResult, metrics_table,
};
pub use incidents::{GroupOpened, IncidentOpened};
pub use kafka::{Certificate, CredentialsResult, DeliveryResult, OutputKind, TransactionResult};
pub use metrics::{BatchCounts, LocalDelay, LocalScores, Metrics};
pub use training::TrainingOutcome;
