//! Whether a client is connected, as librdkafka's errors and statistics tell.

use std::sync::Mutex;

use rdkafka::{error::KafkaError, statistics::Statistics, types::RDKafkaErrorCode};

/// The state of one client's connections. Written by librdkafka's callbacks, read by the pipeline.
#[derive(Debug)]
pub(super) struct Link {
    state: Mutex<Result<(), String>>,
}

impl Link {
    pub(super) fn new(brokers: &str) -> Self {
        Self { state: Mutex::new(Err(format!("not connected to {brokers} yet"))) }
    }

    /// `Err` says why there is no connection.
    pub(super) fn state(&self) -> Result<(), String> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub(super) fn up(&self) {
        self.set(Ok(()));
    }

    pub(super) fn down(&self, why: String) {
        self.set(Err(why));
    }

    fn set(&self, state: Result<(), String>) {
        *self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = state;
    }

    /// A global error of the client. A single broker that went away is none of our business while another answers.
    pub(super) fn error(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code.is_some_and(cuts_off) {
            self.down(reason.to_owned());
        }
        tracing::debug!(target: "librdkafka", %error, reason, "client error");
    }

    /// Any broker that is up means that we are connected, unless the broker itself said that we may not.
    pub(super) fn statistics(&self, statistics: &Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.up();
        }
    }
}

/// Whether an error means that nothing can come or go.
pub(super) fn cuts_off(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
    )
}
