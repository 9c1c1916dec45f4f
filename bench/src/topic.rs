//! Reads from a Kafka topic at which time the bridge passed each grant to Kafka.

use anyhow::{Context, Result, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::time::Duration;

/// Time limit for the broker.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serials of the only campaign in a topic, and when the bridge handed their records to Kafka: milliseconds since 1970.
///
/// # Errors
/// When the topic cannot be read to its end.
pub fn handed_over(brokers: &str, topic: &str) -> Result<HashMap<u64, u64>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", topic.to_owned() + "-looked-at")
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().context("Kafka's settings")?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let partitions = metadata.topics().first().context("no such topic")?;
    let mut all = TopicPartitionList::new();
    let mut records = 0;
    for partition in partitions.partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE)?;
        all.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        records += (high - low).unsigned_abs() as usize;
    }
    consumer.assign(&all)?;
    let mut handed_over = HashMap::with_capacity(records);
    for read in 0..records {
        let Some(record) = consumer.poll(PATIENCE) else {
            bail!("the topic has {records} records, but only {read} could be read");
        };
        let record = record?;
        let key = record.key().and_then(|key| str::from_utf8(key).ok());
        let serial = key.and_then(|key| key.rsplit('/').next()?.parse().ok());
        let at = record.timestamp().to_millis().unwrap_or(0).unsigned_abs();
        handed_over.insert(serial.context("a record has no serial")?, at);
    }
    Ok(handed_over)
}
