//! The machinery of the hops without what makes them safe: a stream read and published with nothing acked, rows inserted
//! with nobody told.

use crate::gate::Gate;
use anyhow::{Context, Result, bail};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use redis::{Value, cmd};
use rushgate_gate::{CampaignId, Event, Keys};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Entries read at once.
const READ: usize = 1_000;

/// How long Kafka may take over what is left at the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What of a stream entry goes into a record.
type Entry = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads the stream of a campaign to its end and publishes it; nothing is acked, nothing removed. How long it took.
///
/// # Errors
/// When Redis or Kafka refuse.
pub fn publish(
    gate: &mut Gate,
    campaign: &CampaignId,
    brokers: &str,
    topic: &str,
) -> Result<Duration> {
    let producer = producer(brokers)?;
    // It is connected, and knows the topic, before the clock runs.
    producer.client().fetch_metadata(Some(topic), PATIENCE)?;
    let stream = Keys::of(campaign).stream();
    let mut group = cmd("XGROUP");
    gate.run::<()>(group.arg("CREATE").arg(&stream).arg("bare").arg("0"))?;
    let mut read = cmd("XREADGROUP");
    read.arg("GROUP").arg("bare").arg("bare");
    read.arg("COUNT").arg(READ).arg("NOACK");
    read.arg("STREAMS").arg(&stream).arg(">");
    let begun = Instant::now();
    loop {
        let entries = entries(gate.run(&mut read)?).context("a reply that is no entries")?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            send(&producer, topic, &entry)?;
        }
    }
    producer.flush(PATIENCE).context("flushing")?;
    Ok(begun.elapsed())
}

/// With the settings of the bridge, but for the time that a record waits for others: here nothing else gathers batches.
fn producer(brokers: &str) -> Result<ThreadedProducer<DefaultProducerContext>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("partitioner", "murmur2_random");
    config.create().context("Kafka's settings")
}

/// The record that the bridge would make of it.
fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    entry: &Entry,
) -> Result<()> {
    let event = Event::from_fields(|name| {
        let field = entry.iter().find(|(field, _)| field == name.as_bytes());
        field.map(|(_, value)| value.as_slice())
    })?;
    let (key, value) = (event.key().to_string(), serde_json::to_vec(&event)?);
    let mut headers = OwnedHeaders::new_with_capacity(6);
    for (key, value) in [
        ("ce_specversion", "1.0"),
        ("ce_id", &event.id()),
        ("ce_source", &format!("/rushgate/{}", event.campaign)),
        ("ce_type", event.event_type.as_str()),
        ("ce_time", &event.at.to_string()),
        ("content-type", "application/json"),
    ] {
        let value = Some(value);
        headers = headers.insert(Header { key, value });
    }
    let mut record = BaseRecord::to(topic)
        .key(&key)
        .payload(&value)
        .headers(headers);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                record = again;
                sleep(Duration::from_millis(1));
            }
            Err((error, _)) => return Err(error).context("publishing"),
        }
    }
}

/// The entries in a reply to XREADGROUP on one stream.
fn entries(reply: Value) -> Option<Vec<Entry>> {
    let Value::Array(streams) = reply else {
        return matches!(reply, Value::Nil).then(Vec::new);
    };
    let Value::Array(stream) = streams.into_iter().next()? else {
        return None;
    };
    let Value::Array(entries) = stream.into_iter().nth(1)? else {
        return None;
    };
    entries
        .into_iter()
        .map(|entry| {
            let Value::Array(entry) = entry else {
                return None;
            };
            let Value::Array(fields) = entry.into_iter().nth(1)? else {
                return None;
            };
            let mut texts = fields.into_iter().map(|field| match field {
                Value::BulkString(bytes) => Some(bytes),
                _ => None,
            });
            let mut entry = vec![];
            while let Some(name) = texts.next() {
                entry.push((name?, texts.next()??));
            }
            Some(entry)
        })
        .collect()
}

/// Rows to insert: serials of a campaign's only round.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The campaign, which the database knows.
    pub campaign: CampaignId,
    /// The first serial.
    pub first: u64,
    /// How many there are.
    pub count: u64,
    /// Its quota.
    pub quota: u64,
    /// Rows in a statement, each of which is a transaction.
    pub at_once: u64,
}

/// Inserts rows with plain multi-row statements, over one connection.
///
/// # Errors
/// When the database refuses.
pub async fn insert(options: MySqlConnectOptions, rows: Rows) -> Result<()> {
    let mut connection = options.connect().await.context("the database")?;
    sqlx::query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        .execute(&mut connection)
        .await?;
    if rows.at_once == 0 {
        bail!("no rows at once are none at all");
    }
    let end = rows.first + rows.count;
    let mut serial = rows.first;
    while serial < end {
        let count = rows.at_once.min(end - serial);
        statement(&mut connection, &rows, serial, count).await?;
        serial += count;
    }
    Ok(())
}

async fn statement(
    connection: &mut MySqlConnection,
    rows: &Rows,
    first: u64,
    count: u64,
) -> Result<()> {
    let values = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?)"; count as usize].join(", ");
    let sql: Arc<str> = Arc::from(format!(
        "INSERT INTO coupons \
         (campaign_id, round_id, serial, user_id, quota, person_scope, granted_at, turn, win) VALUES {values}"
    ));
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for serial in first..first + count {
        query = query
            .bind(rows.campaign.as_str())
            .bind("once")
            .bind(serial)
            .bind(format!("{serial:012}"))
            .bind(rows.quota)
            .bind("")
            .bind("2026-12-01 01:00:00.123")
            .bind(1_u32)
            .bind(1_u32);
    }
    query.execute(connection).await?;
    Ok(())
}
