//! Reads the content of gate, stream, topic, tables and dead letters, after all clients have their replies.

use crate::history::Place;
use crate::rows::{Database, FailedEvent, Row, RowCode};
use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamPendingReply, StreamRangeReply};
use redis::{AsyncConnectionConfig, AsyncTypedCommands, Client};
use rushgate_gate::keys::BRIDGE_GROUP;
use rushgate_gate::stored_grants::{HeldGrant, revoked};
use rushgate_gate::{CampaignId, Event, Keys, OnePer, record};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Time limit of one request to Kafka, or Redis.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Stores {
    pub database: Database,
    /// `REDIS_URL`.
    pub redis_url: String,
    /// `KAFKA_BROKERS`.
    pub kafka_brokers: String,
    /// `KAFKA_TOPIC`.
    pub topic: String,
    /// `KAFKA_GROUP`.
    pub group: String,
}

/// Everything known of a campaign, except the replies to its clients.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Active coupons.
    pub rows: Vec<Row>,
    /// The codes of all rows.
    pub codes: Vec<RowCode>,
    /// Revoked coupons: applicant and place.
    pub revoked: BTreeSet<(String, Place)>,
    /// Open dead letters of the consumer.
    pub failed_events: Vec<FailedEvent>,
    /// Events in the topic, whether consumed or not.
    pub published: Vec<Event>,
    /// Records of the topic, of any campaign, that are not committed yet.
    pub lag: u64,
    /// Entries of the stream that are events.
    pub in_stream: Vec<Event>,
    /// Length of the stream.
    pub entries: u64,
    /// Entries that a bridge has read and not acked.
    pub pending: u64,
    /// Dead letters of the bridge.
    pub unpublished: u64,
    pub held: Vec<HeldGrant>,
    /// Grants that the gate has revoked: applicant and place.
    pub taken_back: BTreeSet<(String, Place)>,
    /// The highest serial that the gate has given out in each round.
    pub given: BTreeMap<String, u32>,
    /// Free serials: given out before, and to be given out again.
    pub free: BTreeSet<Place>,
}

impl Evidence {
    /// The grants that the gate holds: applicant and place.
    pub(crate) fn held(&self) -> impl Iterator<Item = ((String, Place), &HeldGrant)> {
        self.held.iter().map(|held| {
            let grant = &held.assignment;
            let place = Place::new(grant.round.as_str(), grant.serial.get());
            ((grant.applicant.to_string(), place), held)
        })
    }

    /// Whether nothing is on its way any more.
    pub fn is_at_rest(&self) -> bool {
        self.entries + self.pending + self.lag == 0 && self.held.iter().all(|held| held.issued)
    }
}

impl Stores {
    /// Reads all stores.
    pub async fn read(&self, campaign: &str) -> Result<Evidence> {
        let mut evidence = Evidence::default();
        let id: CampaignId = campaign.parse().context("parsing the campaign id")?;
        // In the order in which a grant passes through them: what is at rest in one store has reached the next.
        self.read_gate(&Keys::of(&id), &mut evidence)
            .await
            .context("reading the gate")?;
        let stores = self.clone();
        let topic = tokio::task::spawn_blocking(move || {
            let mut events = vec![];
            let lag = stores.read_topic(|record| {
                let (key, value) = (record.key().unwrap_or_default(), record.payload());
                let event = record::event(key, value.unwrap_or_default(), |_| None).ok();
                events.extend(event.filter(|event| event.campaign == id));
            })?;
            anyhow::Ok((events, lag))
        });
        (evidence.published, evidence.lag) = topic.await??;
        evidence.rows = self.database.rows(campaign).await?;
        evidence.codes = self.database.codes(campaign).await?;
        evidence.revoked = self.database.revoked(campaign).await?.into_iter().collect();
        evidence.failed_events = self.database.failed_events(campaign).await?;
        Ok(evidence)
    }

    /// The partitions that hold records of each key, one for each record.
    pub async fn partitions(&self) -> Result<BTreeMap<String, Vec<i32>>> {
        let stores = self.clone();
        let topic = tokio::task::spawn_blocking(move || {
            let mut partitions: BTreeMap<String, Vec<i32>> = BTreeMap::new();
            stores.read_topic(|record| {
                let key = String::from_utf8_lossy(record.key().unwrap_or_default());
                let of_key = partitions.entry(key.into_owned()).or_default();
                of_key.push(record.partition());
            })?;
            Ok(partitions)
        });
        topic.await?
    }

    /// Deletes all records of the topic, as its retention eventually does.
    ///
    /// # Errors
    /// When Kafka does not answer or refuses.
    pub async fn empty_topic(&self) -> Result<()> {
        let stores = self.clone();
        let ends = tokio::task::spawn_blocking(move || {
            let consumer = stores.consumer()?;
            let mut ends = TopicPartitionList::new();
            for partition in stores.all_partitions(&consumer)?.elements() {
                let partition = partition.partition();
                let (_, high) = consumer.fetch_watermarks(&stores.topic, partition, TIMEOUT)?;
                ends.add_partition_offset(&stores.topic, partition, Offset::Offset(high))?;
            }
            anyhow::Ok(ends)
        });
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let emptied = admin.delete_records(&ends.await??, &AdminOptions::new());
        for partition in emptied.await?.elements() {
            partition.error()?;
        }
        Ok(())
    }

    /// A connection with the patience that a busy machine needs.
    pub(crate) async fn redis(&self) -> Result<MultiplexedConnection> {
        let client = Client::open(self.redis_url.as_str())?;
        let patience = AsyncConnectionConfig::new().set_response_timeout(Some(TIMEOUT));
        let connection = client.get_multiplexed_async_connection_with_config(&patience);
        Ok(connection.await?)
    }

    async fn read_gate(&self, keys: &Keys, evidence: &mut Evidence) -> Result<()> {
        let mut redis = self.redis().await?;
        let stream = keys.stream();
        let entries: StreamRangeReply = redis.xrange_all(&stream).await?;
        evidence.entries = entries.ids.len() as u64;
        let events = entries.ids.iter().map(|entry| {
            let fields = |name: &str| entry.get::<Vec<u8>>(name);
            let names = entry.map.keys();
            let values: BTreeMap<_, _> = names
                .filter_map(|name| Some((name, fields(name)?)))
                .collect();
            Event::from_fields(|name| values.get(&name.to_owned()).map(Vec::as_slice)).ok()
        });
        evidence.in_stream = events.flatten().collect();
        // Without a stream there is no group, so nothing is pending.
        let pending = redis.xpending(&stream, BRIDGE_GROUP).await;
        evidence.pending = pending.map_or(0, |reply: StreamPendingReply| reply.count() as u64);
        evidence.unpublished = redis.xlen(keys.dead_letters()).await? as u64;
        let one_per = redis.hget(keys.campaign(), "one_per").await?;
        let one_per = match one_per.as_deref() {
            Some("round") => OnePer::Round,
            _ => OnePer::Campaign,
        };
        for (field, value) in redis.hgetall(keys.grants()).await? {
            let held = HeldGrant::of(one_per, &field, &value);
            let held =
                held.with_context(|| format!("the grant {field} → {value} cannot be parsed"))?;
            evidence.held.push(held);
        }
        let revocations = redis.hgetall(keys.revoked()).await?;
        let taken_back = revocations.iter().filter_map(|(field, value)| {
            let place = revoked(field, value)?;
            let user_id = place.applicant.to_string();
            Some((
                user_id,
                Place::new(place.round.as_str(), place.serial.get()),
            ))
        });
        evidence.taken_back = taken_back.collect();
        for (field, value) in redis.hgetall(keys.rounds()).await? {
            if let Some(round) = field.strip_suffix("/granted") {
                evidence.given.insert(round.to_owned(), value.parse()?);
            }
        }
        for member in redis.zrange(keys.pool(), 0, -1).await? {
            let (round, serial) = member.split_once('/').context("parsing a free serial")?;
            evidence.free.insert(Place::new(round, serial.parse()?));
        }
        Ok(())
    }

    /// Passes every record of the topic to `each`; returns how many are not committed.
    pub fn read_topic(&self, mut each: impl FnMut(&BorrowedMessage<'_>)) -> Result<u64> {
        let consumer = self.consumer()?;
        let asked = self.all_partitions(&consumer)?;
        let committed = consumer.committed_offsets(asked, TIMEOUT)?;
        let (mut ends, mut unread, mut lag) = (BTreeMap::new(), TopicPartitionList::new(), 0);
        for element in committed.elements() {
            let partition = element.partition();
            let (low, high) = consumer.fetch_watermarks(&self.topic, partition, TIMEOUT)?;
            let next = match element.offset() {
                Offset::Offset(offset) => offset.max(low),
                _ => low,
            };
            lag += u64::try_from(high - next).unwrap_or_default();
            if low < high {
                unread.add_partition_offset(&self.topic, partition, Offset::Offset(low))?;
                ends.insert(partition, high);
            }
        }
        consumer.assign(&unread)?;
        let deadline = Instant::now() + TIMEOUT;
        while !ends.is_empty() {
            let Some(record) = consumer.poll(TIMEOUT) else {
                bail!(
                    "reading the topic: Kafka did not return records below the end offset that it reports"
                );
            };
            let record = match record {
                // librdkafka has lost its connections, and connects again by itself.
                Err(error)
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown)
                        && Instant::now() < deadline =>
                {
                    continue;
                }
                record => record?,
            };
            each(&record);
            if ends
                .get(&record.partition())
                .is_some_and(|end| record.offset() + 1 >= *end)
            {
                ends.remove(&record.partition());
            }
        }
        Ok(lag)
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.kafka_brokers)
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            .set_log_level(RDKafkaLogLevel::Emerg);
        client
    }

    fn consumer(&self) -> Result<BaseConsumer> {
        Ok(self.client().create()?)
    }

    fn all_partitions(&self, consumer: &BaseConsumer) -> Result<TopicPartitionList> {
        let metadata = consumer.fetch_metadata(Some(&self.topic), TIMEOUT)?;
        let partitions = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions());
        let mut all = TopicPartitionList::new();
        for partition in partitions {
            all.add_partition(&self.topic, partition.id());
        }
        Ok(all)
    }
}
