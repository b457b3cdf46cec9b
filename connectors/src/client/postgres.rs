//! PostgreSQL: how a database is reached.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio_postgres::tls::NoTls;
use tokio_postgres::{AsyncMessage, Client, Config, Connection};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Finding, Login};

/// Time for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A database, and who we are to it.
#[derive(Debug, Clone)]
pub struct PostgresServer {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Name of the database.
    pub database: String,
    /// How it is trusted; `None` for a connection in the clear.
    pub tls: Option<Arc<ClientConfig>>,
    /// Who we are.
    pub login: Login,
}

impl PostgresServer {
    /// A connection, moved along by a task of its own. `on_notice` is called with the channel of every notification.
    pub(crate) async fn connect(&self, on_notice: impl Fn(&str) + Send + Sync + 'static) -> Result<Client, String> {
        let mut config = Config::new();
        config.host(&self.host).port(self.port).dbname(&self.database).connect_timeout(CONNECT_TIMEOUT);
        config.user(&self.login.user).password(&self.login.password).application_name("weir");
        match &self.tls {
            None => {
                let (client, connection) = config.connect(NoTls).await.map_err(|error| told(&error))?;
                tokio::spawn(drive(connection, on_notice));
                Ok(client)
            }
            Some(tls) => {
                config.ssl_mode(tokio_postgres::config::SslMode::Require);
                let tls = MakeRustlsConnect::new(ClientConfig::clone(tls));
                let (client, connection) = config.connect(tls).await.map_err(|error| told(&error))?;
                tokio::spawn(drive(connection, on_notice));
                Ok(client)
            }
        }
    }

    /// Tries to log in, and looks whether a table is there or may be made.
    pub async fn probe(&self, table: &str) -> Vec<Finding> {
        let client = match self.connect(|_| ()).await {
            Ok(client) => client,
            Err(trouble) => return vec![Err(format!("{}: {trouble}", self.place()))],
        };
        let may = "SELECT CASE WHEN to_regclass($1::text) IS NULL THEN NULL \
                   ELSE has_table_privilege(to_regclass($1::text), 'INSERT') AND has_table_privilege(to_regclass($1::text), 'UPDATE') END";
        let found = match client.query_one(may, &[&table]).await.map(|row| row.get::<_, Option<bool>>(0)) {
            Ok(Some(true)) => Ok(format!("table {table} is there, and we may write to it")),
            Ok(Some(false)) => {
                Err(format!("table {table} is there, but we may not write to it: GRANT SELECT, INSERT, UPDATE"))
            }
            Ok(None) => Ok(format!("there is no table {table} yet; it is made with the first output")),
            Err(error) => Err(told(&error)),
        };
        vec![Ok(format!("{} lets us in", self.place())), found]
    }

    /// As it is named in messages.
    pub(crate) fn place(&self) -> String {
        format!("postgres {}:{}/{}", self.host, self.port, self.database)
    }
}

/// Moves a connection along until it ends; the client says what has become of it.
async fn drive<S, T>(mut connection: Connection<S, T>, on_notice: impl Fn(&str))
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(notice) = message {
            on_notice(notice.channel());
        }
    }
}

/// An error in the server's words, where it has any. They quote values where a row is at fault (classes 22 and 23): whoever writes
/// rows keeps those to himself.
pub(crate) fn told(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => super::nats::told(error),
    }
}
