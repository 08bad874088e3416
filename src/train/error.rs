//! What can go wrong before and while fitting.

use super::network::NetworkError;

/// Why an autoencoder can't be fitted.
#[derive(Debug, thiserror::Error)]
pub enum AutoencoderError {
    /// A parameter is outside of its range.
    #[error("{name} is {value}, expected {expected}")]
    Parameter {
        /// Name of the parameter.
        name: String,
        /// The refused value.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// Two parameters exclude each other.
    #[error("{first} does not go with {second}; {cure}")]
    Contradiction {
        /// One parameter and its value.
        first: String,
        /// The other parameter and its value.
        second: String,
        /// How to resolve it.
        cure: &'static str,
    },
    /// Too few rows to fit or to validate on.
    #[error("got {got} {set} rows, expected at least {needed}")]
    TooFewRows {
        /// Which rows: `training` or `validation`.
        set: &'static str,
        /// Rows given.
        got: usize,
        /// Rows needed.
        needed: usize,
    },
    /// The rows have another width than the network.
    #[error("the {set} rows have {got} columns, expected {expected}")]
    Columns {
        /// Which rows: `training` or `validation`.
        set: &'static str,
        /// Columns given.
        got: usize,
        /// The network's input width.
        expected: usize,
    },
    /// A value can't be learned from.
    #[error("value {value} in column {column} of {set} row {row}, expected {expected}")]
    Value {
        /// Which rows: `training` or `validation`.
        set: &'static str,
        /// Row, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// The refused value.
        value: f64,
        /// What would be right.
        expected: &'static str,
    },
    /// The loss on a batch is infinite or not a number.
    #[error("the training loss is {loss} in epoch {epoch}, batch {batch}; a smaller learning rate may help")]
    TrainingLoss {
        /// The loss.
        loss: f64,
        /// Epoch, from 1.
        epoch: usize,
        /// Batch of the epoch, from 1.
        batch: usize,
    },
    /// The loss on the validation rows is infinite or not a number.
    #[error("the validation loss is {loss} after epoch {epoch}; a smaller learning rate may help")]
    ValidationLoss {
        /// The loss.
        loss: f64,
        /// Epoch, from 1.
        epoch: usize,
    },
    /// Values of the training rows that are not finite, or too large to be squared.
    #[error("the covariance of the training rows is not finite; their values must be, and their squares too")]
    Covariance,
    /// The principal components could not be found.
    #[error("the principal components of the training rows could not be computed: {0}")]
    Decomposition(#[source] linfa_linalg::LinalgError),
    /// Layers that do not fit together.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// An error of linfa's traits.
    #[error(transparent)]
    Linfa(#[from] linfa::error::Error),
}
