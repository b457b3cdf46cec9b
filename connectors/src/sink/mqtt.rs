//! Outputs as messages to an MQTT broker, of QoS 1: handed over once the broker has acknowledged.
//!
//! MQTT has no key of a message, so that what was under way when a connection broke is sent again: a receiver tells repeats
//! by `alert_id`.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use weir_engine::{Output, Sink, SinkError};

use super::deliver_all;
use crate::client::MqttBroker;
use crate::client::mqtt::{Client, Event, SessionSpec};

/// Messages that wait for the broker's word.
const IN_FLIGHT_MAX: u16 = 100;
/// The broker's word on a message, or a connection, comes within this time.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Publishes to a topic.
pub struct MqttSink {
    broker: MqttBroker,
    topic: String,
    retry_for: Duration,
    session: Option<Session>,
    runtime: Handle,
}

struct Session {
    client: Client,
    /// One for the connection, and one for each message.
    answers: mpsc::UnboundedReceiver<Result<(), String>>,
    connection: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl MqttSink {
    /// A sink for this topic; connects when there is something to send.
    pub fn new(broker: MqttBroker, topic: String, retry_for: Duration, runtime: Handle) -> Self {
        Self { broker, topic, retry_for, session: None, runtime }
    }

    /// How many the broker has, and what stopped it.
    async fn send(&mut self, outputs: &[Output]) -> (usize, Result<(), String>) {
        if self.session.is_none() {
            match Session::open(&self.broker).await {
                Ok(session) => self.session = Some(session),
                Err(trouble) => return (0, Err(trouble)),
            }
        }
        let session = self.session.as_mut().expect("opened above");
        let (mut sent, mut acknowledged) = (0, 0);
        while acknowledged < outputs.len() {
            if sent < outputs.len() && sent < acknowledged + usize::from(IN_FLIGHT_MAX) {
                let payload = outputs[sent].to_json().into();
                if let Err(trouble) = session.client.publish(&self.topic, payload).await {
                    return (acknowledged, Err(trouble));
                }
                sent += 1;
                continue;
            }
            match session.answer().await {
                Ok(()) => acknowledged += 1,
                Err(trouble) => return (acknowledged, Err(trouble)),
            }
        }
        (acknowledged, Ok(()))
    }
}

impl Session {
    async fn open(broker: &MqttBroker) -> Result<Self, String> {
        // Nothing is kept for us: what has no answer is sent again by whoever holds it.
        let (client, mut events) = broker.session(SessionSpec { expiry: Duration::ZERO, in_flight_max: IN_FLIGHT_MAX });
        let (sender, answers) = mpsc::unbounded_channel();
        let connection = tokio::spawn(async move {
            loop {
                let answer = match events.next().await {
                    Ok(Event::Connected) => Ok(()),
                    Ok(Event::Acknowledged(answer)) => answer,
                    Ok(_) => continue,
                    Err(trouble) => Err(trouble),
                };
                let ends = answer.is_err();
                if sender.send(answer).is_err() || ends {
                    return;
                }
            }
        });
        let mut session = Self { client, answers, connection };
        session.answer().await.map(|()| session)
    }

    async fn answer(&mut self) -> Result<(), String> {
        match timeout(TIMEOUT, self.answers.recv()).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err("the connection is lost".to_owned()),
            Err(_) => Err("the broker does not answer".to_owned()),
        }
    }
}

impl Sink for MqttSink {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let (place, retry_for, runtime) = (self.broker.place(), self.retry_for, self.runtime.clone());
        deliver_all(outputs, (&place, retry_for), |rest| {
            let (delivered, result) = runtime.block_on(self.send(rest));
            if result.is_err() {
                self.session = None;
            }
            (delivered, result)
        })
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if let Some(session) = &self.session {
            session.client.disconnect();
        }
        Ok(())
    }
}
