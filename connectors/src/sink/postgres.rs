//! Outputs as rows of a PostgreSQL table, one an id: a later revision takes the place of an earlier one, and what is sent again
//! changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::{Client, Statement};
use weir_engine::{Output, Sink, SinkError};

use super::Patience;
use crate::client::PostgresServer;
use crate::client::postgres::told;

/// Rows of one statement.
const ROWS_MAX: usize = 500;
/// A statement takes at most so long.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Writes rows.
pub struct PostgresSink {
    server: PostgresServer,
    table: String,
    retry_for: Duration,
    session: Option<(Client, Statement)>,
    refused: u64,
    runtime: Handle,
}

/// Why rows were not written.
enum Fault {
    /// It may go better another time.
    Trouble(String),
    /// The database will not have a row of these, ever.
    Rows,
}

/// A row: id, revision, stream, body.
type Row = (String, i64, &'static str, String);

impl PostgresSink {
    /// A sink for this table, which it makes if it is not there; connects when there is something to write. `table` is a plain
    /// name, or one behind the name of a schema.
    pub fn new(server: PostgresServer, table: String, retry_for: Duration, runtime: Handle) -> Self {
        Self { server, table, retry_for, session: None, refused: 0, runtime }
    }

    /// The table as it is made.
    pub fn table_definition(table: &str) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {table} (id text PRIMARY KEY, revision bigint NOT NULL, stream text NOT NULL, \
             rule text, ts timestamptz, body jsonb NOT NULL, stored timestamptz NOT NULL DEFAULT now())"
        )
    }

    async fn open(&self) -> Result<(Client, Statement), String> {
        let client = self.server.connect(|_| ()).await?;
        let table = &self.table;
        // Whoever may not make tables has one made.
        let there = client.query_opt("SELECT to_regclass($1::text)::text", &[&table]).await.map_err(|it| told(&it))?;
        if there.is_none_or(|row| row.get::<_, Option<String>>(0).is_none()) {
            client.batch_execute(&Self::table_definition(table)).await.map_err(|error| told(&error))?;
        }
        let insert = format!(
            "INSERT INTO {table} AS known (id, revision, stream, rule, ts, body) \
             SELECT id, revision, stream, body->>'rule', (body->>'ts')::timestamptz, body FROM (SELECT id, revision, stream, \
             body::jsonb AS body FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS t (id, revision, stream, body)) AS t \
             ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, stream = excluded.stream, rule = excluded.rule, \
             ts = excluded.ts, body = excluded.body, stored = now() WHERE excluded.revision > known.revision"
        );
        let statement = client.prepare(&insert).await.map_err(|error| told(&error))?;
        Ok((client, statement))
    }

    async fn write(&mut self, outputs: &[Output]) -> Result<(), Fault> {
        if self.session.as_ref().is_none_or(|(client, _)| client.is_closed()) {
            self.session = Some(self.open().await.map_err(Fault::Trouble)?);
        }
        let (client, statement) = self.session.as_ref().expect("opened above");
        let (mut ids, mut revisions, mut streams, mut bodies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (id, revision, stream, body) in rows(outputs) {
            ids.push(id);
            revisions.push(revision);
            streams.push(stream);
            bodies.push(body);
        }
        match timeout(TIMEOUT, client.execute(statement, &[&ids, &revisions, &streams, &bodies])).await {
            Ok(Ok(_)) => Ok(()),
            // 22 and 23: what a row holds.
            Ok(Err(error)) if error.code().is_some_and(|it| ["22", "23"].contains(&&it.code()[..2])) => {
                Err(Fault::Rows)
            }
            Ok(Err(error)) => Err(Fault::Trouble(told(&error))),
            Err(_) => Err(Fault::Trouble(format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }

    /// Tries until it is written, or there is no patience left. A row that the database will not have is left out and counted.
    fn write_all(&mut self, outputs: &[Output], patience: &mut Patience) -> Result<(), SinkError> {
        loop {
            match self.runtime.clone().block_on(self.write(outputs)) {
                Ok(()) => return Ok(()),
                Err(Fault::Rows) if outputs.len() == 1 => {
                    self.refused += 1;
                    return Ok(());
                }
                Err(Fault::Rows) => {
                    let (one, other) = outputs.split_at(outputs.len() / 2);
                    return self.write_all(one, patience).and_then(|()| self.write_all(other, patience));
                }
                Err(Fault::Trouble(trouble)) => {
                    self.session = None;
                    patience.wait(&self.server.place(), &trouble)?;
                }
            }
        }
    }
}

/// One row an id, the latest of them: a statement cannot touch a row twice.
fn rows(outputs: &[Output]) -> Vec<Row> {
    let mut by_id: BTreeMap<String, Row> = BTreeMap::new();
    for output in outputs {
        let body = output.to_json();
        let (id, revision) = output.identity().unwrap_or_else(|| {
            // What has no id is known by its words.
            (blake3::hash(body.as_bytes()).to_hex()[..32].to_owned(), 0)
        });
        // A text of PostgreSQL cannot hold this character.
        let body = if body.contains("\\u0000") { body.replace("\\u0000", "\\ufffd") } else { body };
        let row = (id.clone(), i64::from(revision), output.stream().word(), body);
        match by_id.get_mut(&id) {
            Some(known) if known.1 <= row.1 => *known = row,
            Some(_) => {}
            None => drop(by_id.insert(id, row)),
        }
    }
    by_id.into_values().collect()
}

impl Sink for PostgresSink {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let mut patience = Patience::new(self.retry_for);
        for (at, some) in outputs.chunks(ROWS_MAX).enumerate() {
            self.write_all(some, &mut patience).map_err(|error| error.after(at * ROWS_MAX))?;
        }
        Ok(())
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}
