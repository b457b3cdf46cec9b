//! Kafka: how a cluster is reached.

use std::time::Duration;

use krafka::auth::{AuthConfig, TlsConfig};
use krafka::{Kafka, KrafkaError};

use super::nats::told as chain;
use super::{Finding, Login};

/// Time for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The cluster's word comes within this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// How a cluster checks a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaSasl {
    /// It sees it.
    Plain,
    /// SCRAM with SHA-256 (RFC 7677).
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
}

/// Whom a connection by TLS trusts.
#[derive(Debug, Clone)]
pub enum KafkaTrust {
    /// The authorities of the system.
    System,
    /// Those of this PEM.
    Pem(String),
}

/// A cluster, and who we are to it.
#[derive(Debug, Clone)]
pub struct KafkaCluster {
    /// Name or address of the broker that is asked first.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `None` for connections in the clear.
    pub tls: Option<KafkaTrust>,
    /// Who we are.
    pub login: Option<(KafkaSasl, Login)>,
}

impl KafkaCluster {
    pub(crate) async fn connect(&self) -> Result<Kafka, String> {
        // The first installed provider stays; a second attempt is no error.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = self.tls.as_ref().map(|trust| match trust {
            KafkaTrust::System => TlsConfig::new().with_native_roots(),
            KafkaTrust::Pem(pem) => TlsConfig::new().with_ca_cert_pem(pem.as_bytes()),
        });
        let security = match (&self.login, tls) {
            (None, None) => None,
            (None, Some(tls)) => Some(AuthConfig::ssl(tls)),
            (Some((sasl, Login { user, password })), tls) => {
                let login = match sasl {
                    KafkaSasl::Plain => AuthConfig::sasl_plain(user, password),
                    KafkaSasl::ScramSha256 => AuthConfig::sasl_scram_sha256(user, password),
                    KafkaSasl::ScramSha512 => AuthConfig::sasl_scram_sha512(user, password),
                };
                Some(match tls {
                    Some(tls) => login.with_tls(tls),
                    None => login,
                })
            }
        };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let mut builder = Kafka::builder(format!("{host}:{}", self.port)).client_id("weir");
        builder = builder.connect_timeout(CONNECT_TIMEOUT).request_timeout(REQUEST_TIMEOUT);
        if let Some(security) = security {
            builder = builder.security(security);
        }
        builder.connect().await.map_err(|error| told(&error))
    }

    /// Tries to log in, and looks at topics.
    pub async fn probe(&self, topics: &[String]) -> Vec<Finding> {
        let asking = match self.connect().await {
            Ok(kafka) => kafka.consumer_without_group().build().await.map_err(|error| told(&error)),
            Err(trouble) => Err(trouble),
        };
        let asking = match asking {
            Ok(asking) => asking,
            Err(trouble) => return vec![Err(format!("{}: {trouble}", self.place()))],
        };
        let mut findings = vec![Ok(format!("{} lets us in", self.place()))];
        for topic in topics {
            let found =
                asking.fetch_metadata(Some(topic)).await.map_err(|error| format!("topic {topic}: {}", told(&error)));
            findings.push(found.and_then(|found| match found.topics.iter().find(|it| it.name == *topic) {
                Some(found) => Ok(format!("topic {topic} has {} partitions", found.partitions.len())),
                None => Err(format!("there is no topic {topic}")),
            }));
        }
        findings
    }

    /// As it is named in messages.
    pub(crate) fn place(&self) -> String {
        format!("kafka {}:{}", self.host, self.port)
    }
}

/// An error with what caused it.
pub(crate) fn told(error: &KrafkaError) -> String {
    chain(error)
}
