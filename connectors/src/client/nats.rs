//! NATS: how a server is reached.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, jetstream};
use rustls::ClientConfig;
use tokio::sync::watch;

use super::{Finding, Login};

/// Time for a connection to be made, and for an answer to come.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Who we are to a server.
#[derive(Clone, Default)]
pub enum NatsLogin {
    /// Nobody in particular.
    #[default]
    None,
    /// A user and a password.
    User(Login),
    /// A token.
    Token(String),
    /// What a credentials file holds: a JWT and the seed that signs for it.
    Credentials(String),
}

impl std::fmt::Debug for NatsLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::User(_) => "User",
            Self::Token(_) => "Token",
            Self::Credentials(_) => "Credentials",
        })
    }
}

/// A server, and who we are to it.
#[derive(Debug, Clone)]
pub struct NatsServer {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is trusted; `None` for a connection in the clear.
    pub tls: Option<Arc<ClientConfig>>,
    /// Who we are.
    pub login: NatsLogin,
    /// Shown among the connections of the server.
    pub name: String,
}

/// A connection, and whether it is lost. It is not made again: whoever holds it begins anew, with its positions.
pub(crate) struct Connection {
    pub(crate) client: Client,
    lost: watch::Receiver<bool>,
}

impl NatsServer {
    pub(crate) async fn connect(&self) -> Result<Connection, String> {
        let (sender, lost) = watch::channel(false);
        let mut options =
            ConnectOptions::new().name(&self.name).connection_timeout(TIMEOUT).request_timeout(Some(TIMEOUT));
        options = options.event_callback(move |event| {
            if matches!(event, async_nats::Event::Disconnected | async_nats::Event::Closed) {
                sender.send_replace(true);
            }
            std::future::ready(())
        });
        options = match &self.login {
            NatsLogin::None => options,
            NatsLogin::User(login) => options.user_and_password(login.user.clone(), login.password.clone()),
            NatsLogin::Token(token) => options.token(token.clone()),
            NatsLogin::Credentials(text) => {
                options.credentials(text).map_err(|error| format!("the credentials cannot be read: {error}"))?
            }
        };
        if let Some(tls) = &self.tls {
            options = options.require_tls(true).tls_client_config(ClientConfig::clone(tls));
        }
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let connecting = options.connect(format!("{host}:{}", self.port));
        match tokio::time::timeout(TIMEOUT, connecting).await {
            Ok(Ok(client)) => Ok(Connection { client, lost }),
            Ok(Err(error)) => Err(told(&error)),
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    /// Tries to log in, and looks at a stream.
    pub async fn probe_stream(&self, name: &str) -> Vec<Finding> {
        let context = match self.connect().await {
            Ok(connection) => jetstream::new(connection.client),
            Err(trouble) => return vec![Err(format!("{}: {trouble}", self.place()))],
        };
        let found = match context.get_stream(name).await {
            Ok(stream) => {
                let state = &stream.cached_info().state;
                Ok(format!("stream {name} has {} messages, up to number {}", state.messages, state.last_sequence))
            }
            Err(error) => Err(format!("stream {name}: {}", told(&error))),
        };
        vec![Ok(format!("{} lets us in", self.place())), found]
    }

    /// Tries to log in, and looks whether a stream takes a subject.
    pub async fn probe_subject(&self, subject: &str) -> Vec<Finding> {
        let context = match self.connect().await {
            Ok(connection) => jetstream::new(connection.client),
            Err(trouble) => return vec![Err(format!("{}: {trouble}", self.place()))],
        };
        let found = match context.stream_by_subject(subject).await {
            Ok(stream) => Ok(format!("stream {stream} takes {subject}")),
            Err(error) => Err(format!("no stream takes {subject}: {}", told(&error))),
        };
        vec![Ok(format!("{} lets us in", self.place())), found]
    }

    /// As it is named in messages.
    pub(crate) fn place(&self) -> String {
        format!("nats {}:{}", self.host, self.port)
    }
}

impl Connection {
    pub(crate) fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }
}

/// An error with what caused it.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    if text.contains("authorization") { format!("{text}; look at how weir logs in") } else { text }
}
