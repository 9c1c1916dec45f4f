//! Reads from Kafka at which time the bridge passed each grant to it, and whether a consumer group has read a topic.

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
    let consumer = client(brokers, &format!("{topic}-looked-at"))?;
    let mut all = TopicPartitionList::new();
    let mut records = 0;
    for (partition, low, high) in watermarks(&consumer, topic)? {
        all.add_partition_offset(topic, partition, Offset::Beginning)?;
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

/// Whether the consumer group with the topic's name has committed the offsets of all records.
///
/// # Errors
/// When the broker does not answer.
pub fn is_consumed(brokers: &str, topic: &str) -> Result<bool> {
    let consumer = client(brokers, topic)?;
    for (partition, low, high) in watermarks(&consumer, topic)? {
        let mut this = TopicPartitionList::new();
        this.add_partition(topic, partition);
        let committed = consumer.committed_offsets(this, PATIENCE)?;
        let offset = match committed.elements().first().map(|this| this.offset()) {
            Some(Offset::Offset(offset)) => offset,
            _ => low,
        };
        if offset < high {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A consumer that joins no group until it subscribes.
fn client(brokers: &str, group: &str) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false");
    config.create().context("Kafka's settings")
}

/// Each partition, with its first offset and the one after its last record.
fn watermarks(consumer: &BaseConsumer, topic: &str) -> Result<Vec<(i32, i64, i64)>> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let partitions = metadata.topics().first().context("no such topic")?;
    let partitions = partitions.partitions().iter();
    let marks = partitions.map(|partition| {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE)?;
        Ok((partition.id(), low, high))
    });
    marks.collect()
}
