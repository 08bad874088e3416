//! What librdkafka says of a broker that can't be used, with what would be right.

use rdkafka::{ClientContext, client::Client, types::RDKafkaErrorCode};

/// Words of librdkafka's (those of brokers and of OpenSSL among them) with what would be right. The first that occurs counts.
const ADVICE: [(&[&str], &str); 6] = [
    (
        &["broker certificate could not be verified"],
        "an authority in ssl.ca.location must have signed the broker's certificate, which must be valid today and name this host",
    ),
    (
        &["alert bad certificate", "alert certificate required", "alert handshake failure"],
        "the broker asks for a client certificate of an authority that it trusts: name one in ssl.certificate.location and its \
         key in ssl.key.location",
    ),
    (
        &["alert certificate", "alert unknown ca", "alert unsupported certificate"],
        "the broker refuses the client certificate in ssl.certificate.location: it must be valid today and signed by an \
         authority that the broker trusts",
    ),
    (&["unexpected eof", "wrong version number"], "is this port one for TLS, as security.protocol says?"),
    (
        &["invalid_token"],
        "the broker refuses the token in kafka.oauth_token_file: it must be signed, meant for it and valid as the broker expects",
    ),
    (
        &["SASL authentication error"],
        "the broker must know this user and password for this sasl.mechanism (kafka.secrets.sasl.password)",
    ),
];

/// librdkafka's words without what differs from one try to the next, and what would be right where it doesn't say so itself.
pub(super) fn explained(reason: &str) -> String {
    let (what, _) = reason.split_once(" (after ").unwrap_or((reason, ""));
    match ADVICE.iter().find(|(words, _)| words.iter().any(|word| what.contains(word))) {
        Some((_, advice)) => format!("{what}: {advice}"),
        None => what.to_owned(),
    }
}

/// Whether this says why a single broker can't be used.
pub(super) fn is_of_broker(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
    )
}

/// What the broker forbids, with the access control entries that are missing; `None` where it forbids nothing.
pub(super) fn forbidden(code: RDKafkaErrorCode, wish: &Wish<'_>) -> Option<String> {
    match (code, wish) {
        (RDKafkaErrorCode::TopicAuthorizationFailed, Wish::Read { topic, .. }) => Some(format!(
            "the broker forbids reading the topic `{topic}`: its ACLs must allow this user Read and Describe"
        )),
        (RDKafkaErrorCode::GroupAuthorizationFailed, Wish::Read { group, .. }) => {
            Some(format!("the broker forbids joining the group `{group}`: its ACLs must allow this user Read"))
        }
        (RDKafkaErrorCode::TopicAuthorizationFailed, Wish::Write { topic }) => Some(format!(
            "the broker forbids writing to the topic `{topic}`: its ACLs must allow this user Write and Describe"
        )),
        _ => None,
    }
}

/// What is wrong with an output topic.
pub(super) fn of_output(topic: &str, code: Option<RDKafkaErrorCode>, error: &dyn std::fmt::Display) -> String {
    let told = code.and_then(|code| forbidden(code, &Wish::Write { topic }));
    told.unwrap_or_else(|| format!("topic `{topic}`: {error}"))
}

/// Why a producer will never write anything: a user who may write to no topic at all gets no idempotent producer.
pub(super) fn forbids_writing<C: ClientContext>(client: &Client<C>) -> Option<String> {
    let (code, _) = client.fatal_error()?;
    let why =
        "the broker forbids writing to the output topics: its ACLs must allow this user Write and Describe on them";
    (code == RDKafkaErrorCode::ClusterAuthorizationFailed).then(|| why.to_owned())
}

/// Why a client will never work any more, if it won't.
pub(super) fn fatal<C: ClientContext>(client: &Client<C>) -> Option<String> {
    let (code, why) = client.fatal_error()?;
    Some(match code {
        RDKafkaErrorCode::FencedInstanceId => format!(
            "another process is in the group under the same kafka.group_instance_id, which must be this one's alone ({why})"
        ),
        _ => why,
    })
}

/// What is asked of a broker.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wish<'a> {
    /// To read a topic as a member of a group.
    Read { topic: &'a str, group: &'a str },
    /// To write into a topic.
    Write { topic: &'a str },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_one_try_to_the_next_is_left_out() {
        let first = "127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 0ms in state CONNECT)";
        let again = first
            .replace("(after 0ms in state CONNECT)", "(after 12ms in state CONNECT, 3 identical error(s) suppressed)");
        assert_eq!(explained(first), explained(&again));
        assert!(explained(first).ends_with("Connection refused"), "{}", explained(first));
    }

    #[test]
    fn each_way_to_be_refused_has_its_own_advice() {
        let told = [
            (
                "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified, \
                 verify that ssl.ca.location is correctly configured or root CA certificates are installed",
                "name this host",
            ),
            (
                "Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert number 42 (after 2ms in \
                 state APIVERSION_QUERY)",
                "asks for a client certificate",
            ),
            ("error:0A00045C:SSL routines::tlsv13 alert certificate required", "asks for a client certificate"),
            ("error:0A000416:SSL routines::sslv3 alert certificate unknown", "refuses the client certificate"),
            ("error:0A000415:SSL routines::sslv3 alert certificate expired", "refuses the client certificate"),
            (
                "SSL handshake failed: error:0A000126:SSL routines::unexpected eof while reading",
                "is this port one for TLS",
            ),
            ("SASL authentication error: Authentication failed: Invalid username or password", "must know this user"),
            (r#"SASL authentication error: {"status":"invalid_token"}"#, "refuses the token in kafka.oauth_token_file"),
        ];
        for (reason, advice) in told {
            assert!(explained(reason).contains(advice), "{}", explained(reason));
        }
        assert_eq!(explained("1/1 brokers are down"), "1/1 brokers are down");
    }

    #[test]
    fn what_is_forbidden_is_named_with_the_missing_access() {
        let read = Wish::Read { topic: "in", group: "g" };
        let topic = forbidden(RDKafkaErrorCode::TopicAuthorizationFailed, &read).unwrap();
        assert!(topic.contains("reading the topic `in`") && topic.contains("Read and Describe"), "{topic}");
        let group = forbidden(RDKafkaErrorCode::GroupAuthorizationFailed, &read).unwrap();
        assert!(group.contains("the group `g`"), "{group}");
        let write = forbidden(RDKafkaErrorCode::TopicAuthorizationFailed, &Wish::Write { topic: "out" }).unwrap();
        assert!(write.contains("writing to the topic `out`"), "{write}");
        assert_eq!(forbidden(RDKafkaErrorCode::UnknownTopic, &read), None);
    }
}
