//! The way that counts in Redis with `INCR`, and inserts in a Kafka consumer.
//!
//! This is the well-known Spring tutorial: `SADD` for one per person, `INCR` for the quota, `KafkaTemplate.send`, and
//! a `@KafkaListener` that saves row by row. It is exact as long as nothing fails. If a request dies between the two
//! calls of Redis, its applicant can never win. If a record is lost, no applicant gets its coupon. And an applicant
//! who got the reply "granted" has no coupon until the consumer has saved it.

use super::coupons::{insert, pool};
use super::incr_insert::redis;
use super::{Decide, Decision};
use crate::say;
use anyhow::{Context, Result};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use redis::AsyncCommands;
use redis::aio::ConnectionManager;
use serde::{Deserialize, Serialize};
use sqlx::mysql::MySqlPool;
use std::future::ready;
use std::pin::pin;
use std::time::Duration;
use tokio::time::sleep;

#[derive(Clone, Debug)]
pub struct Topic {
    pub brokers: String,
    /// The topic's name, which is also the consumer group's.
    pub name: String,
}

#[derive(Deserialize, Serialize)]
struct Won<'a> {
    campaign: &'a str,
    user_id: &'a str,
}

pub struct IncrKafka {
    redis: ConnectionManager,
    producer: ThreadedProducer<Reports>,
    topic: String,
    quota: u32,
}

impl IncrKafka {
    /// Gives out `quota` coupons of each campaign.
    ///
    /// # Errors
    /// When Redis does not answer, or Kafka's client refuses its settings.
    pub async fn connect(redis_url: &str, topic: &Topic, quota: u32) -> Result<Self> {
        Ok(Self {
            redis: redis(redis_url).await?,
            // The default of the Java producer.
            producer: client(topic)
                .set("enable.idempotence", "true")
                .create_with_context(Reports)
                .context("a producer")?,
            topic: topic.name.clone(),
            quota,
        })
    }
}

impl Decide for IncrKafka {
    async fn apply(&self, campaign: &str, user_id: &str) -> Result<Decision> {
        let mut redis = self.redis.clone();
        let added: u8 = redis
            .sadd(format!("way:{campaign}:applied"), user_id)
            .await?;
        if added == 0 {
            return Ok(Decision::AlreadyApplied);
        }
        let number: u64 = redis.incr(format!("way:{campaign}:count"), 1).await?;
        if number > u64::from(self.quota) {
            return Ok(Decision::SoldOut);
        }
        let won = serde_json::to_vec(&Won { campaign, user_id })?;
        // The request does not wait for the broker.
        let record = BaseRecord::<(), [u8]>::to(&self.topic).payload(&won);
        self.producer.send(record).map_err(|(error, _)| error)?;
        Ok(Decision::Granted)
    }
}

/// Receives delivery reports, and can only log them.
struct Reports;

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            say::note(format_args!("a coupon is lost: {error}"));
        }
    }
}

/// Records per poll, as in Kafka's Java client (`max.poll.records`).
const POLL: usize = 500;

/// Attempts of an insert, and the pause between them: Spring's defaults.
const TRIES: usize = 10;

/// The result of processing one record.
enum Fate {
    Saved,
    Skipped,
}

/// Reads records and inserts them row by row, and commits their offsets after each poll, until `shutdown`.
///
/// # Errors
/// When the database does not answer at the start, or Kafka refuses for good.
pub async fn consume(
    topic: &Topic,
    database_url: &str,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    // One listener has one connection.
    let database = pool(database_url, 1).await?;
    let consumer: StreamConsumer = client(topic)
        .set("group.id", &topic.name)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()
        .context("a consumer")?;
    consumer.subscribe(&[&topic.name])?;
    let mut shutdown = pin!(shutdown);
    loop {
        let first = tokio::select! {
            record = consumer.recv() => record?.detach(),
            () = &mut shutdown => return Ok(()),
        };
        let mut records = vec![first];
        while records.len() < POLL {
            tokio::select! {
                biased;
                record = consumer.recv() => records.push(record?.detach()),
                () = ready(()) => break,
            }
        }
        for record in &records {
            if let Fate::Skipped = save(&database, record).await {
                let (partition, offset) = (record.partition(), record.offset());
                say::note(format_args!("a coupon is lost: {partition}/{offset}"));
            }
        }
        consumer.commit_consumer_state(CommitMode::Async)?;
    }
}

async fn save(database: &MySqlPool, record: &OwnedMessage) -> Fate {
    let payload = record.payload().unwrap_or_default();
    let Ok(won) = serde_json::from_slice::<Won<'_>>(payload) else {
        return Fate::Skipped;
    };
    for _ in 0..TRIES {
        match insert(database, won.campaign, won.user_id).await {
            Ok(_) => return Fate::Saved,
            Err(error) => say::note(format_args!("an insert failed: {error}")),
        }
        sleep(Duration::from_millis(100)).await;
    }
    Fate::Skipped
}

fn client(topic: &Topic) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &topic.brokers);
    config
}
