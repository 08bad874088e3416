//! Whether a client is connected, as librdkafka's errors and statistics tell.

use std::{
    error::Error,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rdkafka::{client::OAuthToken, error::KafkaError, statistics::Statistics, types::RDKafkaErrorCode};

use super::{fault, token::TokenFile};

/// The state of one client's connections. Written by librdkafka's callbacks, read by the pipeline.
#[derive(Debug)]
pub(super) struct Link {
    /// What is shown to brokers that ask for a token.
    token: TokenFile,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Whether any broker answers.
    broker: Result<(), String>,
    /// Why the last broker that was tried can't be used; that none can is told after it, and without a reason.
    fault: Option<String>,
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
        Self { token: TokenFile::default(), state: Mutex::new(State { broker, fault: None, refusal: None }) }
    }

    /// The same, which shows a token to brokers that ask for one.
    pub(super) fn showing(self, token: TokenFile) -> Self {
        Self { token, ..self }
    }

    /// The token, for librdkafka.
    pub(super) fn token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        self.token.token()
    }

    /// `Err` says why there is no connection.
    pub(super) fn state(&self) -> Result<(), String> {
        if let Some(why) = self.token.fault() {
            return Err(why);
        }
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
        state.fault = None;
        state.refusal = None;
    }

    /// A broker answers, and says no.
    pub(super) fn refused(&self, refusal: Option<Refusal>) {
        self.lock().refusal = refusal;
    }

    /// A global error of the client. A single broker that went away is none of our business while another answers.
    pub(super) fn error(&self, error: &KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                let mut state = self.lock();
                state.broker = Err(state.fault.clone().unwrap_or_else(|| reason.to_owned()));
            }
            Some(RDKafkaErrorCode::Authentication) => {
                let why = fault::explained(reason);
                let mut state = self.lock();
                (state.fault, state.broker) = (Some(why.clone()), Err(why));
            }
            Some(code) if fault::is_of_broker(code) => self.lock().fault = Some(fault::explained(reason)),
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
            let mut state = self.lock();
            (state.broker, state.fault) = (Ok(()), None);
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
    fn that_no_broker_answers_is_told_with_the_reason_of_the_last_one() {
        let link = Link::new("b:1");
        let refused = "b:1/bootstrap: Connect to ipv4#1.2.3.4:1 failed: Connection refused";
        link.error(
            &KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure),
            &format!("{refused} (after 1ms in state CONNECT)"),
        );
        assert!(link.state().unwrap_err().contains("not connected"), "another broker may answer");
        link.error(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(link.state(), Err(refused.to_owned()));
        link.statistics(&up());
        link.error(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(link.state(), Err("1/1 brokers are down".to_owned()), "the old reason is over");
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
