//! Baselines for bridge and consumer: the same work without the steps that make it safe.
//!
//! For the bridge, two loops publish a stream to Kafka: one reads with NOACK, so an entry can be lost, and one acks
//! and deletes entries in Redis (XACK, XDEL) after Kafka has confirmed them. For the consumer, a loop inserts rows
//! without a confirmation at the gate.

use crate::gate::Gate;
use anyhow::{Context, Result, bail};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use redis::{Pipeline, Value, cmd};
use rushgate_gate::{CampaignId, Event, Keys};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Entries read at once.
const READ: usize = 1_000;

/// Time limit for the remaining records at the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The consumer group of this reader.
const GROUP: &str = "bare";

/// An entry of a stream: its id, and the fields of its record.
type Entry = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

/// How read entries are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Read with NOACK.
    Nothing,
    /// Pending until Kafka has it, then acked and deleted: the least that loses no entry.
    Pending,
}

/// Reads the stream of a campaign to its end and publishes it; returns the time that took.
///
/// # Errors
/// When Redis or Kafka refuse.
pub fn publish(
    gate: &mut Gate,
    campaign: &CampaignId,
    brokers: &str,
    topic: &str,
    kept: Kept,
) -> Result<Duration> {
    let producer = producer(brokers)?;
    // Connects and fetches the topic's metadata before the clock starts.
    producer.client().fetch_metadata(Some(topic), PATIENCE)?;
    let stream = Keys::of(campaign).stream();
    let mut group = cmd("XGROUP");
    gate.run::<()>(group.arg("CREATE").arg(&stream).arg(GROUP).arg("0"))?;
    let mut read = cmd("XREADGROUP");
    read.arg("GROUP").arg(GROUP).arg("bare");
    read.arg("COUNT").arg(READ);
    if kept == Kept::Nothing {
        read.arg("NOACK");
    }
    read.arg("STREAMS").arg(&stream).arg(">");
    let begun = Instant::now();
    loop {
        let mut commands = match kept {
            Kept::Nothing => Pipeline::new(),
            Kept::Pending => acks(&producer, &stream),
        };
        let (found,): (Value,) = gate.run_all(commands.add_command(read.clone()))?;
        let entries = entries(found).context("parsing the entries of a stream")?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            send(&producer, topic, entry)?;
        }
    }
    producer.flush(PATIENCE).context("flushing")?;
    if kept == Kept::Pending {
        gate.run_all::<()>(&acks(&producer, &stream))?;
    }
    Ok(begun.elapsed())
}

/// Acks and deletes what Kafka has confirmed.
fn acks(producer: &ThreadedProducer<Delivered>, stream: &str) -> Pipeline {
    let mut commands = Pipeline::new();
    let ids = take(&mut *producer.context().lock());
    if !ids.is_empty() {
        commands
            .cmd("XACK")
            .arg(stream)
            .arg(GROUP)
            .arg(&ids)
            .ignore();
        commands.cmd("XDEL").arg(stream).arg(&ids).ignore();
    }
    commands
}

/// Ids of entries that Kafka has confirmed and that are not acked yet.
#[derive(Default)]
struct Delivered(Mutex<Vec<Vec<u8>>>);

impl Delivered {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // No thread panics between two of its states.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = Box<Vec<u8>>;

    fn delivery(&self, result: &DeliveryResult<'_>, id: Box<Vec<u8>>) {
        if result.is_ok() {
            self.lock().push(*id);
        }
    }
}

/// The settings of the bridge, except the linger time: here nothing else gathers batches.
fn producer(brokers: &str) -> Result<ThreadedProducer<Delivered>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("partitioner", "murmur2_random");
    let producer = config.create_with_context(Delivered::default());
    producer.context("Kafka's settings")
}

/// The record that the bridge would make of the entry.
fn send(producer: &ThreadedProducer<Delivered>, topic: &str, (id, fields): Entry) -> Result<()> {
    let event = Event::from_fields(|name| {
        let field = fields.iter().find(|(field, _)| field == name.as_bytes());
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
    let mut record = BaseRecord::with_opaque_to(topic, Box::new(id))
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
            let mut entry = entry.into_iter();
            let Value::BulkString(id) = entry.next()? else {
                return None;
            };
            let Value::Array(fields) = entry.next()? else {
                return None;
            };
            let mut texts = fields.into_iter().map(|field| match field {
                Value::BulkString(bytes) => Some(bytes),
                _ => None,
            });
            let mut fields = vec![];
            while let Some(name) = texts.next() {
                fields.push((name?, texts.next()??));
            }
            Some((id, fields))
        })
        .collect()
}

/// Rows to insert: serials of a campaign's only round.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The campaign, which must be in the database.
    pub campaign: CampaignId,
    pub first: u64,
    pub count: u64,
    pub quota: u64,
    /// Rows in a statement; each statement is a transaction.
    pub at_once: u64,
}

/// Inserts rows with multi-row statements over one connection.
pub async fn insert(options: MySqlConnectOptions, rows: Rows) -> Result<()> {
    let mut connection = options.connect().await.context("the database")?;
    sqlx::query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        .execute(&mut connection)
        .await?;
    if rows.at_once == 0 {
        bail!("at least one row must be inserted at once");
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
