//! Where watchlists come from, other than files: a query of a PostgreSQL database.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::{Client, CopyOutStream};

use crate::client::postgres::told;
use crate::client::{Finding, PostgresServer};

/// A query may take so long before its first rows come, and between them.
const STALLED: Duration = Duration::from_mins(5);
/// Anything else that a database is asked.
const ASKED: Duration = Duration::from_secs(10);
/// How often it is looked whether the connection is still there.
const LOOK: Duration = Duration::from_secs(1);
/// Changes that are told in one breath count once.
const QUIET: Duration = Duration::from_millis(200);
/// What a session is set to: it reads only, and times name a zone.
const SETTINGS: &str = "SET default_transaction_read_only = on; SET timezone = 'UTC'";

/// Lines as they are: no JSON has these characters, so that nothing is quoted.
const AS_LINES: &str = r"FORMAT csv, DELIMITER E'\x02', QUOTE E'\x01'";

/// A list as a query of a database, which may say when it has changed (`NOTIFY`).
///
/// It has a runtime of its own, so that whoever waits for it may do so on any thread.
pub struct PostgresList {
    server: PostgresServer,
    query: String,
    channel: Option<String>,
    runtime: Arc<Runtime>,
    session: Option<Session>,
}

struct Session {
    client: Client,
    changed: Arc<Notify>,
}

impl PostgresList {
    /// The rows of `query`; a `NOTIFY` on `channel` says that they have changed.
    ///
    /// # Errors
    /// When the machine has no room for an I/O runtime.
    pub fn new(server: PostgresServer, query: String, channel: Option<String>) -> io::Result<Self> {
        let runtime = Arc::new(Builder::new_current_thread().enable_all().build()?);
        Ok(Self { server, query, channel, runtime, session: None })
    }

    /// As it is named in messages.
    pub fn place(&self) -> String {
        self.server.place()
    }

    /// The rows as NDJSON, an object each, as they come in; nothing of them is kept. The end of what can be read is the end of the rows:
    /// a connection that breaks is an error.
    ///
    /// # Errors
    /// A sentence, when the database does not let us in, or will not have the query.
    pub fn rows(&mut self) -> Result<impl Read + Send + use<>, String> {
        let runtime = Arc::clone(&self.runtime);
        let rows = runtime.block_on(async {
            // Whoever listens first misses no change that comes while he reads.
            let copy =
                format!("COPY (SELECT row_to_json(entry) FROM ({}) AS entry) TO STDOUT ({AS_LINES})", self.query);
            let client = self.connected().await?;
            within(STALLED, async { client.copy_out(&copy).await.map_err(|error| discreet(&error)) }).await
        });
        if rows.is_err() {
            self.session = None;
        }
        Ok(Rows { runtime, stream: Box::pin(rows?), chunk: Bytes::new() })
    }

    async fn connected(&mut self) -> Result<&Client, String> {
        if self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            let changed = Arc::new(Notify::new());
            let teller = Arc::clone(&changed);
            let client = self.server.connect(move |_| teller.notify_one()).await?;
            let listen = self.channel.as_ref().map(|channel| format!("; LISTEN \"{channel}\""));
            let settings = format!("{SETTINGS}{}", listen.unwrap_or_default());
            within(ASKED, async { client.batch_execute(&settings).await.map_err(|error| told(&error)) }).await?;
            self.session = Some(Session { client, changed });
        }
        Ok(&self.session.as_ref().expect("made above").client)
    }

    /// Waits for so long, or until the rows are said to have changed: whether they are.
    ///
    /// # Errors
    /// A sentence, when the connection is gone, and with it the news.
    ///
    /// # Panics
    /// Never.
    pub fn changed_within(&mut self, time: Duration) -> Result<bool, String> {
        if self.channel.is_none() {
            // A connection that nobody listens on is not held.
            self.session = None;
            std::thread::sleep(time);
            return Ok(false);
        }
        let runtime = Arc::clone(&self.runtime);
        runtime.block_on(self.connected())?;
        let Session { client, changed } = self.session.as_ref().expect("connected above");
        let until = Instant::now() + time;
        let news = self.runtime.block_on(async {
            loop {
                let left = until.saturating_duration_since(Instant::now());
                if timeout(left.min(LOOK), changed.notified()).await.is_ok() {
                    while timeout(QUIET, changed.notified()).await.is_ok() {}
                    return Ok(true);
                }
                if client.is_closed() {
                    return Err(format!("{}: the connection is gone", self.server.place()));
                }
                if left.is_zero() {
                    return Ok(false);
                }
            }
        });
        if news.is_err() {
            self.session = None;
        }
        news
    }

    /// Forgets the connection: what it said could not be used.
    pub fn disconnect(&mut self) {
        self.session = None;
    }

    /// Tries to log in, and asks which columns the query has; no row is read.
    pub fn probe(&mut self) -> Vec<Finding> {
        let runtime = Arc::clone(&self.runtime);
        let query = self.query.clone();
        runtime.block_on(async {
            let place = self.server.place();
            let client = match self.connected().await {
                Ok(client) => client,
                Err(trouble) => return vec![Err(format!("{place}: {trouble}"))],
            };
            let asked = async { client.prepare(&query).await.map_err(|error| discreet(&error)) };
            let found = within(ASKED, asked).await.map(|statement| {
                let names: Vec<&str> = statement.columns().iter().map(tokio_postgres::Column::name).collect();
                format!("the query has the columns {}", names.join(", "))
            });
            vec![Ok(format!("{place} lets us in")), found.map_err(|error| format!("the query: {error}"))]
        })
    }
}

async fn within<T>(time: Duration, asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(time, asked).await.unwrap_or_else(|_| Err(format!("no answer within {} s", time.as_secs())))
}

/// Classes of errors (SQLSTATE) whose words are about the connection, the login, the query or the server's means. Others, such as
/// those of functions that a query calls, may quote what stands in a row.
const TOLD_CLASSES: [&str; 8] = ["08", "0A", "25", "28", "3D", "42", "53", "57"];

/// An error in the server's words, where they cannot quote what stands in a row.
fn discreet(error: &tokio_postgres::Error) -> String {
    match error.code().filter(|it| !TOLD_CLASSES.contains(&&it.code()[..2])) {
        Some(state) => format!("a row does not fit the query (SQLSTATE {})", state.code()),
        None => told(error),
    }
}

struct Rows {
    runtime: Arc<Runtime>,
    stream: Pin<Box<CopyOutStream>>,
    chunk: Bytes,
}

impl Read for Rows {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let stream = &mut self.stream;
            let next = self.runtime.block_on(async { timeout(STALLED, stream.next()).await });
            match next {
                Ok(Some(Ok(chunk))) => self.chunk = chunk,
                Ok(Some(Err(error))) => return Err(io::Error::other(discreet(&error))),
                Ok(None) => return Ok(0),
                Err(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("no row within {} s", STALLED.as_secs()),
                    ));
                }
            }
        }
        let len = self.chunk.len().min(to.len());
        to[..len].copy_from_slice(&self.chunk.split_to(len));
        Ok(len)
    }
}
