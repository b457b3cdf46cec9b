//! Outputs as messages to a Kafka topic: handed over once all replicas in sync have them.
//!
//! The producer is idempotent, so that what it sends again itself stands there once. What weir sends again, after it was killed,
//! stands there twice, under the same key: the id, by which a compacted topic keeps the latest revision.

use std::time::Duration;

use krafka::Record;
use krafka::producer::Producer;
use tokio::runtime::Handle;
use weir_engine::{Output, Sink, SinkError};

use super::deliver_all;
use crate::client::KafkaCluster;
use crate::client::kafka::told;

/// Messages that wait for the cluster's word.
const IN_FLIGHT_MAX: usize = 1_000;
/// A message is given up after this time; whoever holds it sends it again.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Produces to a topic.
pub struct KafkaSink {
    cluster: KafkaCluster,
    topic: String,
    retry_for: Duration,
    producer: Option<Producer>,
    runtime: Handle,
}

impl KafkaSink {
    /// A sink for this topic; connects when there is something to send.
    pub fn new(cluster: KafkaCluster, topic: String, retry_for: Duration, runtime: Handle) -> Self {
        Self { cluster, topic, retry_for, producer: None, runtime }
    }

    /// How many the cluster has, and what stopped it.
    async fn send(&mut self, outputs: &[Output]) -> (usize, Result<(), String>) {
        if self.producer.is_none() {
            match self.open().await {
                Ok(producer) => self.producer = Some(producer),
                Err(trouble) => return (0, Err(trouble)),
            }
        }
        let producer = self.producer.as_ref().expect("opened above");
        let mut stored = 0;
        for some in outputs.chunks(IN_FLIGHT_MAX) {
            let mut answers = Vec::with_capacity(some.len());
            for output in some {
                let mut record = Record::new(self.topic.as_str(), output.to_json());
                if let (Some((id, _)), Some(key)) = (output.identity(), output.idempotency_key()) {
                    record = record.key(id).header("idempotency-key", key);
                }
                match producer.enqueue(record).await {
                    Ok(answer) => answers.push(answer),
                    Err(error) => return (stored, Err(told(&error))),
                }
            }
            for answer in answers {
                match answer.await {
                    Ok(_) => stored += 1,
                    Err(error) => return (stored, Err(told(&error))),
                }
            }
        }
        (stored, Ok(()))
    }

    async fn open(&self) -> Result<Producer, String> {
        let kafka = self.cluster.connect().await?;
        let builder = kafka.producer().delivery_timeout(DELIVERY_TIMEOUT).max_block(DELIVERY_TIMEOUT);
        builder.build().await.map_err(|error| told(&error))
    }
}

impl Sink for KafkaSink {
    fn deliver(&mut self, outputs: &[Output]) -> Result<(), SinkError> {
        let (place, retry_for, runtime) = (self.cluster.place(), self.retry_for, self.runtime.clone());
        deliver_all(outputs, (&place, retry_for), |rest| {
            let (delivered, result) = runtime.block_on(self.send(rest));
            if result.is_err() {
                self.producer = None;
            }
            (delivered, result)
        })
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if let Some(producer) = self.producer.take() {
            // Everything has had its answer.
            let _ = self.runtime.block_on(producer.close());
        }
        Ok(())
    }
}
