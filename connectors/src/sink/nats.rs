//! Outputs as messages to NATS JetStream: handed over once the server has stored them.
//!
//! Each carries `Nats-Msg-Id`, so that the server drops one that is sent again within its window (`duplicate_window` of the
//! stream, two minutes by default); beyond it a receiver tells repeats by `alert_id`.

use std::future::IntoFuture;
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::PublishMessage;
use tokio::runtime::Handle;
use weir_engine::{Output, Sink, SinkError};

use super::deliver_all;
use crate::client::NatsServer;
use crate::client::nats::{Connection, told};

/// Messages that wait for the server's word.
const IN_FLIGHT_MAX: usize = 256;
/// The server's word on a message comes within this time.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Publishes to a subject that a stream takes.
pub struct NatsSink {
    server: NatsServer,
    subject: String,
    retry_for: Duration,
    connection: Option<Connection>,
    runtime: Handle,
}

impl NatsSink {
    /// A sink for this subject; connects when there is something to send.
    pub fn new(server: NatsServer, subject: String, retry_for: Duration, runtime: Handle) -> Self {
        Self { server, subject, retry_for, connection: None, runtime }
    }

    /// How many the server has, and what stopped it.
    async fn send(&mut self, outputs: &[Output]) -> (usize, Result<(), String>) {
        if self.connection.as_ref().is_none_or(Connection::is_lost) {
            match self.server.connect().await {
                Ok(connection) => self.connection = Some(connection),
                Err(trouble) => return (0, Err(trouble)),
            }
        }
        let client = self.connection.as_ref().expect("connected above").client.clone();
        let context = ContextBuilder::new().timeout(TIMEOUT).ack_timeout(TIMEOUT).build(client);
        let mut stored = 0;
        for some in outputs.chunks(IN_FLIGHT_MAX) {
            let mut answers = Vec::with_capacity(some.len());
            for output in some {
                let mut message = PublishMessage::build().payload(output.to_json().into());
                if let Some(key) = output.idempotency_key() {
                    message = message.message_id(key);
                }
                match context.send_publish(self.subject.clone(), message).await {
                    Ok(answer) => answers.push(answer),
                    Err(error) => return (stored, Err(told(&error))),
                }
            }
            for answer in answers {
                match answer.into_future().await {
                    Ok(_) => stored += 1,
                    Err(error) => return (stored, Err(self.told(&told(&error)))),
                }
            }
        }
        (stored, Ok(()))
    }

    fn told(&self, error: &str) -> String {
        if error.contains("no responders") || error.contains("stream not found") {
            return format!("no stream takes the subject {}; make one that does", self.subject);
        }
        error.to_owned()
    }
}

impl Sink for NatsSink {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let (place, retry_for, runtime) = (self.server.place(), self.retry_for, self.runtime.clone());
        deliver_all(outputs, (&place, retry_for), |rest| {
            let (delivered, result) = runtime.block_on(self.send(rest));
            if result.is_err() {
                self.connection = None;
            }
            (delivered, result)
        })
    }
}
