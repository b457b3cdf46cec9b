//! Records as messages of a NATS JetStream stream.
//!
//! Where the stream has been taken is part of what a run keeps, with what it has judged: a message is taken once, whatever
//! the server believes. A durable consumer is made anew, behind the last message taken, whenever a connection is; messages are
//! acknowledged once they have been judged (and are durable, where a state folder is kept), so that the server can free them
//! and tells how far behind we are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::Subject;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::RetentionPolicy;
use async_nats::jetstream::{self, Message};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio::time::timeout;
use weir_engine::backoff::Backoff;
use weir_engine::source::StreamPlace;
use weir_engine::{Feed, Source, SourceError};

use super::messages::{BATCH_MESSAGES_MAX, Batch};
use super::{STOP_POLL, keep_trying};
use crate::client::NatsServer;
use crate::client::nats::{Connection, told};

/// Messages that the server sends ahead of our acknowledgements.
const IN_FLIGHT_MAX: i64 = 65_536;
/// Messages asked for at once.
const PULL_MESSAGES: usize = 4_096;
/// A consumer is made anew with every connection, so that nothing comes again by itself.
const ACK_WAIT: Duration = Duration::from_hours(1);
/// By this description a consumer is known to be weir's, which alone is made anew.
const OURS: &str = "weir: made anew with every connection";
/// How often a server that has nothing to send shows that it is there.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long what is under way has to be judged once the source stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes a stream.
pub struct NatsSource {
    /// Where.
    pub server: NatsServer,
    /// Name of the stream.
    pub stream: String,
    /// Only messages of this subject; `*` and `>` stand for parts.
    pub subject: Option<String>,
    /// Name of the durable consumer. Two that use one push each other out.
    pub consumer: String,
    /// Whether a stream that is new to us is taken from its first message, or from now.
    pub from_start: bool,
    /// Column that says a message's subject.
    pub subject_as: Option<String>,
    /// Where its connection runs.
    pub runtime: Handle,
}

impl Source for NatsSource {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let runtime = self.runtime.clone();
        runtime.block_on(async {
            let mut taken = None;
            let session = async |backoff: &mut Backoff| self.session(&feed, &mut taken, backoff).await;
            keep_trying(&feed, &self.server.place(), session).await;
        });
        Ok(())
    }
}

/// How far this run has taken a stream.
struct Taken {
    /// Name of the stream that no other has.
    name: String,
    place: StreamPlace,
    /// Number of the last message.
    to: Option<u64>,
}

/// Messages that are acknowledged together.
type Acknowledged = Vec<Subject>;

impl NatsSource {
    /// One connection, until the source stops.
    async fn session(&self, feed: &Feed, taken: &mut Option<Taken>, backoff: &mut Backoff) -> Result<(), String> {
        let connection = self.server.connect().await?;
        let context = jetstream::new(connection.client.clone());
        let stream = context.get_stream(&self.stream).await.map_err(|error| told(&error))?;
        let info = stream.cached_info();
        let is_queue = match info.config.retention {
            RetentionPolicy::Limits => false,
            RetentionPolicy::WorkQueue => true,
            RetentionPolicy::Interest => {
                return Err(format!(
                    "stream {} keeps messages by interest and would forget them while weir is away; give it the retention `limits` or `workqueue`",
                    self.stream
                ));
            }
        };
        // One that is made anew under its name numbers from 1 again.
        let name = format!("{} of {}", self.stream, info.created.unix_timestamp_nanos());
        if taken.as_ref().is_none_or(|taken| taken.name != name) {
            let place = feed.place_in_stream(&name);
            *taken = Some(Taken { name, to: place.taken, place });
        }
        let taken = taken.as_mut().expect("set above");
        let deliver_policy = match taken.to {
            // It gives what has not been acknowledged, and nothing else.
            _ if is_queue => DeliverPolicy::All,
            Some(number) => DeliverPolicy::ByStartSequence { start_sequence: number + 1 },
            None if self.from_start => DeliverPolicy::All,
            None => DeliverPolicy::New,
        };
        if let Ok(known) = stream.consumer_info(&self.consumer).await {
            if known.config.description.as_deref() != Some(OURS) {
                return Err(format!("consumer {} is somebody else's; give `consumer` another name", self.consumer));
            }
            stream.delete_consumer(&self.consumer).await.map_err(|error| told(&error))?;
        }
        let config = pull::Config {
            durable_name: Some(self.consumer.clone()),
            description: Some(OURS.to_owned()),
            deliver_policy,
            ack_policy: if is_queue { AckPolicy::Explicit } else { AckPolicy::All },
            ack_wait: ACK_WAIT,
            max_ack_pending: IN_FLIGHT_MAX,
            filter_subject: self.subject.clone().unwrap_or_default(),
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| told(&error))?;
        let pulled = consumer.stream().max_messages_per_batch(PULL_MESSAGES).heartbeat(HEARTBEAT);
        let messages = pulled.messages().await.map_err(|error| told(&error))?;
        *backoff = Backoff::endless();
        feed.say_trouble(None);
        self.take(feed, &connection, messages, taken, is_queue).await
    }

    async fn take(
        &self,
        feed: &Feed,
        connection: &Connection,
        mut messages: pull::Stream,
        taken: &mut Taken,
        is_queue: bool,
    ) -> Result<(), String> {
        let (sender, mut receiver) = mpsc::unbounded_channel::<Acknowledged>();
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (client, counted) = (connection.client.clone(), Arc::clone(&acknowledged));
        let acknowledging = tokio::spawn(async move {
            while let Some(subjects) = receiver.recv().await {
                for subject in subjects {
                    // Lost with the connection; the next one begins behind what has been taken.
                    let _ = client.publish(subject, Bytes::from_static(b"+ACK")).await;
                }
                counted.fetch_add(1, Ordering::Release);
            }
            let _ = client.flush().await;
        });
        let (mut handed_over, mut expected) = (0, 1);
        while !feed.stopping() {
            if connection.is_lost() {
                return Err("the connection is lost".to_owned());
            }
            let Ok(first) = timeout(STOP_POLL, messages.next()).await else { continue };
            let mut waiting = Vec::new();
            let mut next = first;
            // What is there already comes with it.
            while let Some(message) = next {
                waiting.push(message.map_err(|error| told(&error))?);
                if waiting.len() == BATCH_MESSAGES_MAX {
                    break;
                }
                match messages.next().now_or_never() {
                    Some(message) => next = message,
                    None => break,
                }
            }
            if waiting.is_empty() {
                return Err("the server gives no more messages".to_owned());
            }
            let whole = waiting.len();
            let infos = waiting.iter().map(|message| message.info().ok());
            let numbers = in_order(
                infos.map(|info| info.map(|info| (info.consumer_sequence, info.stream_sequence))),
                &mut expected,
            );
            // What came before a gap is handed over all the same: it counts as taken once it is, and not before.
            waiting.truncate(numbers.len());
            let messages = waiting.into_iter().zip(&numbers);
            handed_over += block_in_place(|| self.hand_over(feed, messages, taken, is_queue, &sender));
            // A message that was lost on its way comes again, behind others, and would be taken for one that is known.
            if numbers.len() < whole {
                return Err("a message was lost on its way".to_owned());
            }
        }
        let started = Instant::now();
        while acknowledged.load(Ordering::Acquire) < handed_over && started.elapsed() < DRAIN_TIMEOUT {
            tokio::time::sleep(STOP_POLL).await;
        }
        drop(sender);
        let _ = timeout(DRAIN_TIMEOUT, acknowledging).await;
        Ok(())
    }

    /// Messages with their numbers in the stream. How many batches it made of them.
    fn hand_over<'n>(
        &self,
        feed: &Feed,
        messages: impl Iterator<Item = (Message, &'n u64)>,
        taken: &mut Taken,
        is_queue: bool,
        sender: &mpsc::UnboundedSender<Acknowledged>,
    ) -> u64 {
        let mut batches = 0;
        let mut messages = messages.peekable();
        while messages.peek().is_some() {
            let mut batch = Batch::new(self.subject_as.as_deref());
            let mut acknowledged = Vec::new();
            let mut from = None;
            while let Some((message, &number)) = messages.next_if(|_| batch.bytes() < feed.block_bytes()) {
                if taken.to.is_none_or(|to| number > to) {
                    from.get_or_insert(number);
                    taken.to = Some(number);
                    batch.push(&message.subject, &message.payload);
                }
                if !is_queue {
                    acknowledged.clear();
                }
                acknowledged.extend(message.message.reply);
            }
            let sender = sender.clone();
            let reply = Box::new(move |_| {
                // Nobody listens once the connection is lost.
                let _ = sender.send(acknowledged);
            });
            let stream: Arc<str> = Arc::from(format!("nats {} from {}", self.stream, from.unwrap_or_default()));
            feed.take_messages(stream, batch.into_payload(), taken.to.map(|to| (&taken.place, to)), reply);
            batches += 1;
        }
        batches
    }
}

/// Of messages with their numbers at the consumer and in the stream, the latter of those that come without a gap behind
/// `expected`, which goes on with them.
fn in_order(messages: impl Iterator<Item = Option<(u64, u64)>>, expected: &mut u64) -> Vec<u64> {
    let next = |message: Option<(u64, u64)>| {
        let (_, number) = message.filter(|(at_consumer, _)| *at_consumer == *expected)?;
        *expected += 1;
        Some(number)
    };
    messages.map_while(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_before_a_gap_is_taken_and_nothing_behind_it() {
        let mut expected = 4;
        let numbers =
            |messages: &[Option<(u64, u64)>], expected: &mut u64| in_order(messages.iter().copied(), expected);
        // Numbers in the stream have gaps of their own: other subjects, messages that are gone.
        assert_eq!(numbers(&[Some((4, 17)), Some((5, 30))], &mut expected), [17, 30]);
        assert_eq!(numbers(&[Some((6, 31)), Some((8, 33)), Some((9, 34))], &mut expected), [31]);
        assert_eq!(expected, 7);
        assert!(numbers(&[Some((8, 33))], &mut expected).is_empty());
        assert!(numbers(&[None, Some((7, 32))], &mut expected).is_empty(), "what has no numbers is not ours");
        assert_eq!(numbers(&[Some((7, 32))], &mut expected), [32]);
    }
}
