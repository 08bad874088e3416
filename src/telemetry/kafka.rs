//! Words for how things end that are between Kafka and us.

use tracing::{error, info};

use super::metrics::Metrics;

/// What was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// An anomaly event.
    Anomaly,
    /// News of an incident.
    Incident,
    /// A dead letter.
    DeadLetter,
    /// What is remembered of an entity.
    Snapshot,
}

/// How publishing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryResult {
    /// The broker has it.
    Acknowledged,
    /// The broker never will.
    Refused,
}

/// How a transaction of outputs and offsets ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionResult {
    /// Its outputs are there for all to see, and its offsets are committed.
    Committed,
    /// Nothing has happened; the next one takes its outputs and offsets.
    Aborted,
}

/// What became of changed certificates, keys and passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialsResult {
    /// A new connection shows them.
    TakenUp,
    /// No connection can be made with them; the old one goes on.
    Unfit,
}

/// A certificate that Kafka and we know each other by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// What is shown to brokers.
    Client,
    /// Who signs those of brokers.
    Authority,
}

impl Certificate {
    /// The label's values, in the order of the variants.
    pub const WORDS: [&'static str; 2] = ["client", "authority"];
}

impl TransactionResult {
    /// The label's values, in the order of the variants.
    pub const WORDS: [&'static str; 2] = ["committed", "aborted"];
}

impl CredentialsResult {
    /// The label's values, in the order of the variants.
    pub const WORDS: [&'static str; 2] = ["taken_up", "unfit"];
}

impl OutputKind {
    /// The label's values, in the order of the variants.
    pub const WORDS: [&'static str; 4] = ["anomaly", "incident", "dead_letter", "snapshot"];
}

impl DeliveryResult {
    /// The label's values, in the order of the variants.
    pub const WORDS: [&'static str; 2] = ["acknowledged", "refused"];
}

impl Metrics {
    /// Certificates, keys or passwords have changed, and are shown by a new connection, or can't be, for this reason.
    pub fn credentials(&self, result: &Result<(), String>) {
        match result {
            Ok(()) => {
                self.credentials[CredentialsResult::TakenUp as usize].inc();
                info!("changed certificates or passwords of Kafka are taken up");
            }
            Err(why) => {
                self.credentials[CredentialsResult::Unfit as usize].inc();
                error!("changed certificates or passwords of Kafka can't be used, the old ones stay: {why}");
            }
        }
    }
}
