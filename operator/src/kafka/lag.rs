//! Reads how far the consumers are behind, for `rushgate watch`. It reads at most one record of each partition.

use super::client::Kafka;
use anyhow::Result;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use rushgate_startup::LastKafkaError;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;

/// Longest time for one request.
const LIMIT: Duration = Duration::from_secs(2);

/// The topic and the group of the consumers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicReading {
    /// Records that the consumers have not committed.
    pub lag: u64,
    /// When the oldest of them was published, in ms since 1970; `None` if there is none, or it could not be read.
    pub oldest: Option<i64>,
    /// Members of the group; `None` if this user may not see them.
    pub members: Option<usize>,
}

/// A client that stays connected.
#[derive(Clone)]
pub struct LagReader {
    kafka: Kafka,
    group: String,
    consumer: Arc<BaseConsumer<LastKafkaError>>,
}

impl LagReader {
    /// # Errors
    /// When the settings contradict each other.
    pub fn new(kafka: Kafka, group: &str) -> Result<Self> {
        let mut client = kafka.client.clone();
        // Only the first record of each partition is wanted.
        client
            .set("queued.min.messages", "1")
            .set("fetch.message.max.bytes", "65536");
        let consumer = client.create_with_context(kafka.last_error.clone())?;
        Ok(Self {
            kafka,
            group: group.to_owned(),
            consumer: Arc::new(consumer),
        })
    }

    /// # Errors
    /// When Kafka does not answer in time, or there is no such topic.
    pub async fn read(self) -> Result<TopicReading> {
        spawn_blocking(move || self.reading()).await?
    }

    fn reading(&self) -> Result<TopicReading> {
        let (kafka, consumer) = (&self.kafka, &*self.consumer);
        let mut asked = TopicPartitionList::new();
        for partition in kafka.partitions(consumer)? {
            asked.add_partition(&kafka.topic, partition);
        }
        let mut waiting = TopicPartitionList::new();
        let mut lag = 0;
        for partition in kafka.committed(consumer, &asked)?.elements() {
            let id = partition.partition();
            let (low, high) = consumer
                .fetch_watermarks(&kafka.topic, id, LIMIT)
                .map_err(|error| kafka.unusable(&error))?;
            let next = match partition.offset() {
                Offset::Offset(offset) => offset.max(low),
                _ => low,
            };
            if next < high {
                lag += u64::try_from(high - next)?;
                waiting.add_partition_offset(&kafka.topic, id, Offset::Offset(next))?;
            }
        }
        let members = consumer.fetch_group_list(Some(&self.group), LIMIT);
        let members = members.ok().map(|list| {
            let group = list
                .groups()
                .iter()
                .find(|group| group.name() == self.group);
            group.map_or(0, |group| group.members().len())
        });
        Ok(TopicReading {
            lag,
            oldest: self.oldest(&waiting)?,
            members,
        })
    }

    /// When the first of these records was published. Reads one record of each partition.
    fn oldest(&self, waiting: &TopicPartitionList) -> Result<Option<i64>> {
        let mut oldest = None;
        if waiting.count() == 0 {
            return Ok(oldest);
        }
        self.consumer.assign(waiting)?;
        let mut unread: Vec<i32> = waiting
            .elements()
            .iter()
            .map(|partition| partition.partition())
            .collect();
        let deadline = Instant::now() + LIMIT;
        while !unread.is_empty() && Instant::now() < deadline {
            match self.consumer.poll(LIMIT / 20) {
                Some(Ok(record)) if unread.contains(&record.partition()) => {
                    unread.retain(|partition| *partition != record.partition());
                    let at = record.timestamp().to_millis();
                    oldest = oldest.into_iter().chain(at).min();
                }
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => {
                    unread.retain(|unread| *unread != partition);
                }
                _ => {}
            }
        }
        self.consumer.unassign()?;
        Ok(oldest)
    }
}
