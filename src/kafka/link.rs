//! Whether a client is connected, as librdkafka's errors and statistics tell.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::{error::KafkaError, statistics::Statistics, types::RDKafkaErrorCode};

/// The state of one client's connections. Written by librdkafka's callbacks, read by the pipeline.
#[derive(Debug)]
pub(super) struct Link {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Whether any broker answers.
    broker: Result<(), String>,
    /// What a broker that answers said against us; librdkafka tells it once, so it stays until something works.
    refusal: Option<Refusal>,
}

/// A broker answers, but nothing can come or go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// For people.
    pub(super) why: String,
    /// Whether a topic isn't there, which anyone may cure at any time.
    pub(super) is_missing_topic: bool,
}

impl Link {
    pub(super) fn new(brokers: &str) -> Self {
        let broker = Err(format!("not connected to {brokers} yet"));
        Self { state: Mutex::new(State { broker, refusal: None }) }
    }

    /// `Err` says why there is no connection.
    pub(super) fn state(&self) -> Result<(), String> {
        let state = self.lock();
        state.broker.clone()?;
        state.refusal.as_ref().map_or(Ok(()), |refusal| Err(refusal.why.clone()))
    }

    /// What stands against us although a broker answers.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.lock().refusal.clone()
    }

    /// Something was read or written: all is well.
    pub(super) fn works(&self) {
        let mut state = self.lock();
        state.broker = Ok(());
        state.refusal = None;
    }

    /// A broker answers, and says no.
    pub(super) fn refused(&self, refusal: Option<Refusal>) {
        self.lock().refusal = refusal;
    }

    /// A global error of the client. A single broker that went away is none of our business while another answers.
    pub(super) fn error(&self, error: &KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Authentication) => {
                self.lock().broker = Err(reason.to_owned());
            }
            Some(code) if refuses(code) => {
                self.refused(Some(Refusal { why: reason.to_owned(), is_missing_topic: is_missing_topic(code) }));
            }
            _ => {}
        }
        tracing::debug!(target: "librdkafka", %error, reason, "client error");
    }

    /// Any broker that is up means that we are connected.
    pub(super) fn statistics(&self, statistics: &Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.lock().broker = Ok(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a broker that answers says with this that nothing can come or go.
pub(super) fn refuses(code: RDKafkaErrorCode) -> bool {
    is_missing_topic(code)
        || matches!(
            code,
            RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
        )
}

/// Whether this says that a topic isn't there.
pub(super) fn is_missing_topic(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up() -> Statistics {
        let json = r#"{"name":"c","client_id":"c","type":"consumer","ts":1,"time":1,"age":1,"replyq":0,"msg_cnt":0,
            "msg_size":0,"msg_max":0,"msg_size_max":0,"tx":0,"tx_bytes":0,"rx":0,"rx_bytes":0,"txmsgs":0,
            "txmsg_bytes":0,"rxmsgs":0,"rxmsg_bytes":0,"simple_cnt":0,"metadata_cache_cnt":0,"brokers":{},"topics":{}}"#;
        let mut statistics: Statistics = serde_json::from_str(json).unwrap();
        statistics
            .brokers
            .insert("b".to_owned(), rdkafka::statistics::Broker { state: "UP".to_owned(), ..Default::default() });
        statistics
    }

    fn told(link: &Link, code: RDKafkaErrorCode) {
        link.error(&KafkaError::Global(code), "why");
    }

    #[test]
    fn a_broker_that_is_up_ends_an_outage_but_no_refusal() {
        let link = Link::new("b:1");
        assert!(link.state().unwrap_err().contains("b:1"));
        link.statistics(&up());
        assert_eq!(link.state(), Ok(()));
        told(&link, RDKafkaErrorCode::AllBrokersDown);
        assert!(link.state().is_err());
        link.statistics(&up());
        assert_eq!(link.state(), Ok(()));

        told(&link, RDKafkaErrorCode::TopicAuthorizationFailed);
        link.statistics(&up());
        assert_eq!(link.state(), Err("why".to_owned()), "librdkafka tells a refusal once");
        link.works();
        assert_eq!(link.state(), Ok(()));
    }

    #[test]
    fn only_a_missing_topic_is_looked_for_again() {
        let link = Link::new("b:1");
        told(&link, RDKafkaErrorCode::UnknownTopicOrPartition);
        assert!(link.refusal().unwrap().is_missing_topic);
        told(&link, RDKafkaErrorCode::GroupAuthorizationFailed);
        assert!(!link.refusal().unwrap().is_missing_topic);
    }
}
