//! Records as messages of Kafka topics, by a consumer group.
//!
//! How far each partition has been taken is part of what a run keeps, with what it has judged: a message is taken once, whatever
//! the group believes. What is committed to the group comes after, once it has been judged (and is durable, where a state folder
//! is kept): for those who watch the lag, and for the members of the group that a partition goes to next.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use krafka::consumer::{
    AutoOffsetReset, Consumer, ConsumerRebalanceListener, GroupProtocol, OffsetAndMetadata, TopicPartition,
};
use krafka::{ConsumerRecord, Kafka, TopicInfo};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tokio::time::timeout;
use weir_engine::backoff::Backoff;
use weir_engine::source::StreamPlace;
use weir_engine::{Feed, Source, SourceError};

use super::messages::{BATCH_MESSAGES_MAX, Batch};
use super::{STOP_POLL, keep_trying};
use crate::client::KafkaCluster;
use crate::client::kafka::told;

/// How often what has been judged is committed.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// A member that is silent for so long loses its partitions (of a classic group; of others the brokers say).
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a cluster from which nothing comes is asked whether it is there.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long it has for its answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long what is under way has to be judged once the source stops, or a partition goes to another member.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether that is so.
const DRAIN_POLL: Duration = Duration::from_millis(5);
/// Bytes that lie in the client before they are taken.
const FETCH_BYTES_MAX: i32 = 16 << 20;

/// Takes topics.
pub struct KafkaSource {
    /// Where.
    pub cluster: KafkaCluster,
    /// Which.
    pub topics: Vec<String>,
    /// Name of the consumer group; its members share the partitions.
    pub group: String,
    /// Name of this member, if it has one of its own: one that comes back under it has its partitions at once.
    pub instance: Option<String>,
    /// Whether the brokers share the partitions out (KIP-848, Kafka 4.0), or the members among themselves.
    pub shared_by_brokers: bool,
    /// Whether a partition that is new to us is taken from its first message, or from now.
    pub from_start: bool,
    /// Column that says a message's topic.
    pub topic_as: Option<String>,
    /// Where its connections run.
    pub runtime: Handle,
}

impl Source for KafkaSource {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let runtime = self.runtime.clone();
        runtime.block_on(async {
            let mut taken = HashMap::new();
            let session = async |backoff: &mut Backoff| self.session(&feed, &mut taken, backoff).await;
            keep_trying(&feed, &self.cluster.place(), session).await;
        });
        Ok(())
    }
}

/// A partition of a topic.
type Partition = (Arc<str>, i32);

/// A name of a partition that no other has: a topic that is made anew has another id.
fn name_of(topic: &TopicInfo, partition: i32) -> String {
    format!("{}/{partition} of {:032x}", topic.name, u128::from_be_bytes(topic.topic_id))
}

/// How far this run has taken a partition.
struct Taken {
    /// By [`name_of`].
    name: String,
    place: StreamPlace,
    /// Number of the last message.
    to: Option<u64>,
}

/// What has been judged of what was handed over.
#[derive(Default)]
struct Account {
    handed_over: AtomicU64,
    answered: AtomicU64,
    /// Numbers that wait to be committed, by partition.
    judged: Mutex<HashMap<Partition, i64>>,
}

impl Account {
    /// Waits until everything that was handed over has been judged, or for as long as there is time.
    async fn settle(&self) {
        let started = Instant::now();
        while self.answered.load(Ordering::Acquire) < self.handed_over.load(Ordering::Acquire)
            && started.elapsed() < DRAIN_TIMEOUT
        {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    /// Commits what has been judged since the last time. What cannot be committed now is told by what comes after it.
    async fn commit(&self, consumer: &Consumer) {
        let judged = std::mem::take(&mut *self.judged.lock());
        if !judged.is_empty() {
            let next = |((topic, partition), last): ((Arc<str>, i32), i64)| {
                (TopicPartition::new(topic.as_ref(), partition), OffsetAndMetadata::new(last + 1))
            };
            let _ = consumer.commit_offsets(judged.into_iter().map(next)).await;
        }
    }
}

/// Lets partitions go only once what was taken of them has been judged and committed.
#[derive(Clone, Default)]
struct Handover {
    account: Arc<Account>,
    /// Set once there is one.
    consumer: Arc<Mutex<std::sync::Weak<Consumer>>>,
}

impl ConsumerRebalanceListener for Handover {
    async fn on_partitions_assigned(&self, _: &[TopicPartition]) {}

    async fn on_partitions_revoked(&self, _: &[TopicPartition]) {
        self.account.settle().await;
        let consumer = self.consumer.lock().upgrade();
        if let Some(consumer) = consumer {
            self.account.commit(&consumer).await;
        }
    }
}

impl KafkaSource {
    /// One connection, until the source stops.
    async fn session(
        &self,
        feed: &Feed,
        taken: &mut HashMap<Partition, Taken>,
        backoff: &mut Backoff,
    ) -> Result<(), String> {
        let kafka = self.cluster.connect().await?;
        self.look_up(feed, &kafka, taken).await?;
        let handover = Handover::default();
        let reset = if self.from_start { AutoOffsetReset::Earliest } else { AutoOffsetReset::Latest };
        let known = taken.iter().filter_map(|((topic, partition), taken)| {
            Some((TopicPartition::new(topic.as_ref(), *partition), taken.to? as i64 + 1))
        });
        let builder = kafka.consumer(&self.group).enable_auto_commit(false).auto_offset_reset(reset);
        let builder = builder.max_poll_records(BATCH_MESSAGES_MAX as i32).fetch_max_bytes(FETCH_BYTES_MAX);
        let protocol = if self.shared_by_brokers { GroupProtocol::Consumer } else { GroupProtocol::Classic };
        let builder = builder.group_protocol(protocol).session_timeout(SESSION_TIMEOUT);
        let builder = match &self.instance {
            Some(instance) => builder.group_instance_id(instance),
            None => builder,
        };
        // Where the group knows nothing, we may.
        let builder = builder.initial_offsets(known.collect::<Vec<_>>()).rebalance_listener(handover.clone());
        let consumer = Arc::new(builder.build().await.map_err(|error| told(&error))?);
        *handover.consumer.lock() = Arc::downgrade(&consumer);
        consumer.subscribe(&self.topics).await.map_err(|error| told(&error))?;
        let result = self.take(feed, &consumer, taken, &handover.account, backoff).await;
        if result.is_ok() {
            handover.account.settle().await;
            handover.account.commit(&consumer).await;
        }
        let _ = timeout(DRAIN_TIMEOUT, consumer.close()).await;
        result
    }

    /// Finds out which partitions there are. A topic that is made anew under its name numbers from 0 again, and has another id.
    async fn look_up(&self, feed: &Feed, kafka: &Kafka, taken: &mut HashMap<Partition, Taken>) -> Result<(), String> {
        let asking = kafka.consumer_without_group().build().await.map_err(|error| told(&error))?;
        for topic in &self.topics {
            let found = asking.fetch_metadata(Some(topic)).await.map_err(|error| told(&error))?;
            let Some(found) = found.topics.into_iter().find(|it| it.name == *topic) else {
                return Err(format!("there is no topic {topic}"));
            };
            for partition in found.partitions.keys() {
                let key = (Arc::from(topic.as_str()), *partition);
                let name = name_of(&found, *partition);
                if taken.get(&key).is_none_or(|known| known.name != name) {
                    let place = feed.place_in_stream(&name);
                    taken.insert(key, Taken { name, to: place.taken, place });
                }
            }
        }
        Ok(())
    }

    async fn take(
        &self,
        feed: &Feed,
        consumer: &Consumer,
        taken: &mut HashMap<Partition, Taken>,
        account: &Arc<Account>,
        backoff: &mut Backoff,
    ) -> Result<(), String> {
        let (mut committed, mut looked) = (Instant::now(), Instant::now());
        let mut is_well = false;
        let mut seen: HashMap<Partition, i64> = HashMap::new();
        while !feed.stopping() {
            let records = consumer.poll(STOP_POLL).await.map_err(|error| told(&error))?;
            // The client looks for brokers that are gone by itself, and says nothing.
            let is_silent = records.is_empty() && looked.elapsed() >= LOOK_EVERY;
            let silence = if is_silent { self.look(consumer).await.err() } else { None };
            if is_silent || !records.is_empty() {
                looked = Instant::now();
            }
            if let Some(trouble) = silence {
                is_well = false;
                feed.say_trouble(Some(format!("{}: {trouble}", self.cluster.place())));
            } else if !is_well && (is_silent || !records.is_empty()) {
                is_well = true;
                *backoff = Backoff::endless();
                feed.say_trouble(None);
            }
            // A partition that was added to a topic is found by a new look.
            if records.iter().any(|it| !taken.contains_key(&(Arc::clone(&it.topic), it.partition))) {
                return Err("a topic has new partitions".to_owned());
            }
            // Within a session numbers go up. Where they do not, another topic may have taken the name, which a new look finds out.
            for record in &records {
                let before = seen.insert((Arc::clone(&record.topic), record.partition), record.offset);
                if before.is_some_and(|before| record.offset <= before) {
                    return Err("a partition numbers its messages anew".to_owned());
                }
            }
            block_in_place(|| self.hand_over(feed, &records, taken, account));
            if committed.elapsed() >= COMMIT_EVERY {
                committed = Instant::now();
                account.commit(consumer).await;
            }
        }
        Ok(())
    }

    /// Whether a broker answers.
    async fn look(&self, consumer: &Consumer) -> Result<(), String> {
        // What a topic is comes out of a cache; where a partition ends does not.
        match timeout(LOOK_TIMEOUT, consumer.fetch_watermarks(&self.topics[0], 0)).await {
            Ok(found) => found.map(drop).map_err(|error| told(&error)),
            Err(_) => Err("no broker answers".to_owned()),
        }
    }

    fn hand_over(
        &self,
        feed: &Feed,
        records: &[ConsumerRecord],
        taken: &mut HashMap<Partition, Taken>,
        account: &Arc<Account>,
    ) {
        for some in records.chunk_by(|one, other| (&one.topic, one.partition) == (&other.topic, other.partition)) {
            let partition = (Arc::clone(&some[0].topic), some[0].partition);
            let taken = taken.get_mut(&partition).expect("it has been looked up");
            let mut rest = some.iter().filter(|it| taken.to.is_none_or(|to| it.offset as u64 > to)).peekable();
            let mut last = taken.to;
            while let Some(first) = rest.peek() {
                let stream: Arc<str> =
                    Arc::from(format!("kafka {}/{} from {}", partition.0, partition.1, first.offset));
                let mut batch = Batch::new(self.topic_as.as_deref());
                while let Some(record) = rest.next_if(|_| batch.bytes() < feed.block_bytes()) {
                    // Without a value it is a tombstone of its key, and no record.
                    if let Some(value) = &record.value {
                        batch.push(&record.topic, value);
                    }
                    last = Some(record.offset as u64);
                }
                let (account, partition, offset) =
                    (Arc::clone(account), partition.clone(), last.unwrap_or_default() as i64);
                account.handed_over.fetch_add(1, Ordering::Release);
                let reply = Box::new(move |_| {
                    account.judged.lock().insert(partition, offset);
                    account.answered.fetch_add(1, Ordering::Release);
                });
                feed.take_messages(stream, batch.into_payload(), last.map(|to| (&taken.place, to)), reply);
            }
            drop(rest);
            taken.to = last;
        }
    }
}
