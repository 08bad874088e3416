//! An Apache Kafka that asks everyone who they are: by certificate, password or token.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::broker::{Apache, Broker, Extras};
use super::certificates::{Certificates, EXPIRED, VALID};
use super::tools::free_ports;

/// Passwords that must be found nowhere.
pub const PASSWORDS: [&str; 4] =
    ["plain-wXq7-secret", "scram-Kd03-secret", "stranger-p9Zt-secret", "tenant-Rb52-secret"];

/// The broker, the certificates around it, and its listeners.
pub struct Secured {
    apache: Arc<Apache>,
    /// All keys. `good` signed those of the broker and of `strayd`; `other` is an authority that nobody trusts.
    pub certificates: Certificates,
    /// `host:port` of the listener that asks for a client certificate.
    pub ssl: String,
    /// Of the one that asks for a password or a token.
    pub sasl: String,
    /// Of the one that shows an expired certificate itself.
    pub late: String,
}

impl Secured {
    /// The one that the tests of this program share; `None` where there is no Apache Kafka or no OpenSSL.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Secured>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// The broker. Its clients without encryption may do everything: the tests feed and read by it.
    pub fn broker(&self) -> Broker {
        Broker::Apache(Arc::clone(&self.apache))
    }

    fn start() -> Option<Self> {
        let certificates = Certificates::new()?;
        ["good", "other"].iter().for_each(|name| certificates.authority(name));
        for (name, authority, days) in [
            ("broker", "good", VALID),
            ("late-broker", "good", EXPIRED),
            ("strayd", "good", VALID),
            ("late", "good", EXPIRED),
            ("foreign", "other", VALID),
        ] {
            certificates.certificate(name, authority, days);
        }
        ["tokens", "forger"].iter().for_each(|name| certificates.token_key(name));
        let [ssl, sasl, late] = free_ports();
        let keys = format!("file://{}", certificates.text_path("tokens.jwks"));
        let scram = |mechanism: &str| format!("{mechanism}=[name=scram,password={}]", PASSWORDS[1]);
        let format = ["SCRAM-SHA-256", "SCRAM-SHA-512"].map(|name| ["--add-scram".to_owned(), scram(name)]);
        let extras = Extras {
            java: vec![format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys}")],
            format: format.concat(),
        };
        let settings = |port: u16, controller: u16, log: &Path| {
            let [store, late_store, trust] =
                ["broker.pem", "late-broker.pem", "good.crt"].map(|file| certificates.text_path(file));
            let sasl_listener = "listener.name.sasl_ssl";
            format!(
                "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
                 listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},SSL://127.0.0.1:{ssl},\
                 SASL_SSL://127.0.0.1:{sasl},LATE://127.0.0.1:{late}\n\
                 advertised.listeners=PLAINTEXT://127.0.0.1:{port},SSL://127.0.0.1:{ssl},SASL_SSL://127.0.0.1:{sasl},\
                 LATE://127.0.0.1:{late}\n\
                 listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,LATE:SSL\n\
                 controller.listener.names=CONTROLLER\nlog.dirs={}\nauto.create.topics.enable=false\n\
                 offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
                 transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
                 group.initial.rebalance.delay.ms=0\n\
                 ssl.keystore.type=PEM\nssl.keystore.location={store}\nssl.truststore.type=PEM\n\
                 ssl.truststore.location={trust}\nlistener.name.ssl.ssl.client.auth=required\n\
                 listener.name.late.ssl.keystore.type=PEM\nlistener.name.late.ssl.keystore.location={late_store}\n\
                 sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER\n\
                 {sasl_listener}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
                 user_plain=\"{}\" user_stranger=\"{}\" user_tenant=\"{}\";\n\
                 {sasl_listener}.scram-sha-256.sasl.jaas.config={SCRAM} required;\n\
                 {sasl_listener}.scram-sha-512.sasl.jaas.config={SCRAM} required;\n\
                 {sasl_listener}.oauthbearer.sasl.jaas.config={OAUTH}.OAuthBearerLoginModule required;\n\
                 {sasl_listener}.oauthbearer.sasl.server.callback.handler.class={OAUTH}.OAuthBearerValidatorCallbackHandler\n\
                 {sasl_listener}.sasl.oauthbearer.jwks.endpoint.url={keys}\n\
                 {sasl_listener}.sasl.oauthbearer.expected.audience=kafka\n\
                 {sasl_listener}.sasl.oauthbearer.jwt.validator.class={OAUTH}.BrokerJwtValidator\n\
                 {sasl_listener}.oauthbearer.connections.max.reauth.ms=3600000\n\
                 authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
                 super.users=User:ANONYMOUS;User:CN=strayd;User:plain;User:scram;User:oauth\n",
                log.display(),
                PASSWORDS[0],
                PASSWORDS[2],
                PASSWORDS[3],
            )
        };
        let apache = Arc::new(Apache::configured(extras, settings)?);
        let [ssl, sasl, late] = [ssl, sasl, late].map(|port| format!("127.0.0.1:{port}"));
        Some(Self { apache, certificates, ssl, sasl, late })
    }
}

/// Where Kafka keeps what checks passwords, and tokens.
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";
const OAUTH: &str = "org.apache.kafka.common.security.oauthbearer";
