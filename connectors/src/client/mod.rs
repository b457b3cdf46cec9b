//! What a source and a sink of one broker share: how it is reached.

pub(crate) mod digest;
pub(crate) mod kafka;
pub(crate) mod mqtt;
pub(crate) mod nats;
pub(crate) mod postgres;
pub(crate) mod s3;
pub(crate) mod syslog;
mod tls;
pub(crate) mod viid;

pub use kafka::{KafkaCluster, KafkaSasl, KafkaTrust};
pub use mqtt::{MqttBroker, MqttVersion};
pub use nats::{NatsLogin, NatsServer};
pub use postgres::PostgresServer;
pub use rustls::ClientConfig;
pub use s3::S3Bucket;
pub use syslog::SyslogServer;
pub use tls::{TlsError, tls_config};
pub use viid::ViidPlatform;

/// What was tried, and how it went: for people.
pub type Finding = Result<String, String>;

/// A user and a password.
#[derive(Clone)]
pub struct Login {
    /// As the server knows it.
    pub user: String,
    /// Read from a file; never shown.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}
