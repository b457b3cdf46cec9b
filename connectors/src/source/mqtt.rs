//! Records as messages of an MQTT broker.
//!
//! A message of QoS 1 is acknowledged once all of it has been judged (and is durable, where a state folder is kept); until
//! then the broker holds it, and holds back others beyond what may be under way. The session outlives a lost connection and a
//! restart, so that what comes meanwhile waits at the broker. A message of QoS 0 is gone if it meets nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio::time::timeout;
use weir_engine::backoff::Backoff;
use weir_engine::{Feed, Source, SourceError};

use super::messages::{BATCH_MESSAGES_MAX, Batch};
use super::{STOP_POLL, keep_trying};
use crate::client::MqttBroker;
use crate::client::mqtt::{Client, Event, Message, SessionSpec};

/// Messages of QoS 1 that the broker sends ahead of our acknowledgements.
const IN_FLIGHT_MAX: u16 = 4_096;
/// How long what is under way has to be judged once the source stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Subscribes to topics of a broker.
pub struct MqttSource {
    /// Where.
    pub broker: MqttBroker,
    /// To what; `+` and `#` stand for levels.
    pub topics: Vec<String>,
    /// Whether messages are acknowledged (QoS 1) or not (QoS 0).
    pub at_least_once: bool,
    /// How long the broker keeps messages for us while we are away.
    pub session_expiry: Duration,
    /// Column that says a message's topic.
    pub topic_as: Option<String>,
    /// Where its connection runs.
    pub runtime: Handle,
}

impl Source for MqttSource {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let runtime = self.runtime.clone();
        let session = async |backoff: &mut Backoff| self.session(&feed, backoff).await;
        runtime.block_on(keep_trying(&feed, &self.broker.place(), session));
        Ok(())
    }
}

/// Batches that have been handed over, and those of them that have been judged.
#[derive(Default)]
struct Account {
    handed_over: AtomicU64,
    answered: AtomicU64,
}

impl MqttSource {
    /// One connection, until the source stops.
    async fn session(&self, feed: &Feed, backoff: &mut Backoff) -> Result<(), String> {
        let spec = SessionSpec { expiry: self.session_expiry, in_flight_max: IN_FLIGHT_MAX };
        let (client, mut events) = self.broker.session(spec);
        let (sender, mut receiver) = mpsc::channel(usize::from(IN_FLIGHT_MAX));
        let (topics, at_least_once, asking) = (self.topics.clone(), self.at_least_once, client.clone());
        // What keeps the connection alive is never held up by a pipeline that is busy, but for a full channel.
        let mut connection = tokio::spawn(async move {
            loop {
                let trouble = match events.next().await {
                    Ok(Event::Connected) => asking.subscribe(&topics, at_least_once),
                    Ok(Event::Subscribed(Ok(()))) => sender.send(None).await.map_err(|_| String::new()),
                    Ok(Event::Subscribed(Err(refused))) => Err(refused),
                    Ok(Event::Message(message)) => sender.send(Some(message)).await.map_err(|_| String::new()),
                    Ok(Event::Acknowledged(_) | Event::Other) => Ok(()),
                    Err(trouble) => Err(trouble),
                };
                if let Err(trouble) = trouble {
                    return trouble;
                }
            }
        });
        let account = Arc::new(Account::default());
        let stream: Arc<str> = Arc::from(self.broker.place());
        let mut waiting = Vec::new();
        while !feed.stopping() {
            match timeout(STOP_POLL, receiver.recv_many(&mut waiting, BATCH_MESSAGES_MAX)).await {
                Err(_) => {}
                Ok(0) => return Err(connection.await.unwrap_or_else(|error| error.to_string())),
                Ok(_) => {
                    if waiting.iter().any(Option::is_none) {
                        *backoff = Backoff::endless();
                        feed.say_trouble(None);
                    }
                    let messages = waiting.drain(..).flatten();
                    block_in_place(|| self.hand_over(feed, &client, &stream, messages, &account));
                }
            }
        }
        let started = Instant::now();
        while account.answered.load(Ordering::Acquire) < account.handed_over.load(Ordering::Acquire)
            && started.elapsed() < DRAIN_TIMEOUT
        {
            tokio::time::sleep(STOP_POLL).await;
        }
        // Messages that have not been taken are the broker's.
        receiver.close();
        client.disconnect();
        if timeout(DRAIN_TIMEOUT, &mut connection).await.is_err() {
            connection.abort();
        }
        Ok(())
    }

    fn hand_over(
        &self,
        feed: &Feed,
        client: &Client,
        stream: &Arc<str>,
        messages: impl Iterator<Item = Message>,
        account: &Arc<Account>,
    ) {
        let mut batch = Batch::new(self.topic_as.as_deref());
        let mut packets = Vec::new();
        let mut messages = messages.peekable();
        while let Some(message) = messages.next() {
            packets.extend(message.packet);
            // What the broker keeps for those who come new is no event.
            if !message.retained {
                batch.push(&message.topic, &message.payload);
            }
            if batch.bytes() < feed.block_bytes() && messages.peek().is_some() {
                continue;
            }
            let batch = std::mem::replace(&mut batch, Batch::new(self.topic_as.as_deref()));
            let (packets, client, account) = (std::mem::take(&mut packets), client.clone(), Arc::clone(account));
            account.handed_over.fetch_add(1, Ordering::Release);
            let reply = move |_| {
                for packet in packets {
                    client.acknowledge(packet);
                }
                account.answered.fetch_add(1, Ordering::Release);
            };
            feed.take_messages(Arc::clone(stream), batch.into_payload(), None, Box::new(reply));
        }
    }
}
