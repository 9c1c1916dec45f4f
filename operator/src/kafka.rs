//! Kafka: the topic, and what waits in it.

use crate::config::Config;
use anyhow::{Result, anyhow, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, Header, Headers, OwnedHeaders};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Message, Offset, TopicPartitionList};
use rushgate_gate::{CampaignId, Event, event::EventKey, record};
use rushgate_settings::LastKafkaError;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// How long Kafka may take over one question.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is looked whether Kafka has refused the login, while an answer is waited for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where reading begins.
#[derive(Clone, Copy)]
enum From {
    /// Where the topic does.
    Beginning,
    /// Where the consumers stand.
    Committed,
}

/// What became of a topic that was to be created.
pub enum Creation {
    /// It is there now.
    Created,
    /// It was there already.
    WasThere,
    /// It will not be created by trying again.
    Declined(RDKafkaErrorCode),
}

/// A record with our key.
struct Seen<'a> {
    key: &'a [u8],
    value: &'a [u8],
    headers: Option<&'a BorrowedHeaders>,
    /// Whether the consumers have not committed it yet.
    waits: bool,
}

impl<'a> Seen<'a> {
    fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers?
            .iter()
            .find(|header| header.key.eq_ignore_ascii_case(name))?
            .value
    }
}

/// The topic that grants travel through.
#[derive(Clone)]
pub struct Kafka {
    client: ClientConfig,
    last_error: LastKafkaError,
    brokers: String,
    topic: String,
}

impl Kafka {
    /// Speaks to the brokers that `config` names. Connects when first asked something.
    ///
    /// # Errors
    /// When the settings do not fit each other.
    pub fn new(config: &Config) -> Result<Self> {
        let mut client = config.kafka.client("rushgate")?;
        client
            .set("group.id", config.group.id()?)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "false");
        Ok(Self {
            client,
            last_error: LastKafkaError::default(),
            brokers: config.kafka.brokers.clone(),
            topic: config.kafka.topic.clone(),
        })
    }

    /// Whether the topic is there, as far as this user may see. Asking does not create it, whatever the brokers are
    /// set to.
    ///
    /// # Errors
    /// When Kafka does not answer within `limit`, or refuses the login.
    pub async fn has_topic(&self, limit: Duration) -> Result<bool> {
        let kafka = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            // A consumer's question creates no topic, and hears of a login that is refused.
            let metadata = kafka.metadata(&kafka.consumer()?, limit)?;
            let error = metadata.topics().first().and_then(MetadataTopic::error);
            anyhow::Ok(error.map(RDKafkaErrorCode::from))
        });
        // Without a leader it cannot be used yet, but it is there.
        Ok(matches!(
            asked.await??,
            None | Some(RDKafkaErrorCode::LeaderNotAvailable)
        ))
    }

    /// Creates the topic.
    ///
    /// # Errors
    /// When Kafka does not answer within `limit`, or cannot do it just now. That it declines is a [`Creation`].
    pub async fn create_topic(
        &self,
        partitions: i32,
        replicas: Option<i32>,
        limit: Duration,
    ) -> Result<Creation> {
        let admin: AdminClient<_> = self.client.create_with_context(self.last_error.clone())?;
        let topic = NewTopic::new(
            &self.topic,
            partitions,
            TopicReplication::Fixed(replicas.unwrap_or(-1)),
        );
        let options = AdminOptions::new()
            .request_timeout(Some(limit))
            .operation_timeout(Some(limit));
        let results = admin
            .create_topics([&topic], &options)
            .await
            .map_err(|error| self.unusable(&error))?;
        match results.into_iter().next() {
            Some(Ok(_)) => Ok(Creation::Created),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(Creation::WasThere),
            Some(Err((
                _,
                code @ (RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::PolicyViolation
                | RDKafkaErrorCode::InvalidTopic),
            ))) => Ok(Creation::Declined(code)),
            Some(Err((topic, code))) => bail!("Kafka did not create topic {topic}: {code}"),
            None => bail!("Kafka did not say whether it created topic {}", self.topic),
        }
    }

    /// Events of `campaign` that the consumers have not committed yet. Reads them all, so it takes as long as the
    /// consumers are behind.
    ///
    /// # Errors
    /// When Kafka does not answer or refuses.
    pub fn waiting(&self, campaign: &CampaignId) -> Result<usize> {
        let mut waiting = 0;
        self.read(From::Committed, |key, _| {
            waiting += usize::from(key.campaign == *campaign);
        })?;
        Ok(waiting)
    }

    /// Every event of `campaign` that the topic still holds, and whether it waits for the consumers. Records that
    /// carry no event are passed over: the consumers make dead letters of them.
    ///
    /// # Errors
    /// When Kafka does not answer or refuses.
    pub fn events(&self, campaign: &CampaignId) -> Result<Vec<(Event, bool)>> {
        let mut events = vec![];
        self.read(From::Beginning, |key, record| {
            if key.campaign != *campaign {
                return;
            }
            let header = |name: &str| record.header(name);
            let event = record::event(record.key, record.value, header);
            events.extend(event.ok().map(|event| (event, record.waits)));
        })?;
        Ok(events)
    }

    /// Publishes a record once more, and waits until Kafka has it.
    ///
    /// # Errors
    /// When Kafka does not answer or refuses.
    pub async fn publish(
        &self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &BTreeMap<String, String>,
    ) -> Result<()> {
        let producer: FutureProducer<_> = self
            .client
            .clone()
            .set("acks", "all")
            .set("message.timeout.ms", TIMEOUT.as_millis().to_string())
            .create_with_context(self.last_error.clone())?;
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&self.topic);
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(value) = value {
            record = record.payload(value);
        }
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            });
        producer
            .send(record.headers(headers), TIMEOUT)
            .await
            .map_err(|(error, _)| self.unusable(&error))?;
        Ok(())
    }

    /// Hands out every record with our key, from there to where the topic ends now.
    fn read(&self, from: From, mut each: impl FnMut(EventKey, Seen<'_>)) -> Result<()> {
        let consumer = self.consumer()?;
        let metadata = self.metadata(&consumer, TIMEOUT)?;
        let topic = metadata.topics().first();
        if topic.is_none_or(|topic| topic.partitions().is_empty()) {
            bail!(
                "topic {} is not there, or this user may not see it: is KAFKA_TOPIC right? `rushgate setup` creates it",
                self.topic
            );
        }
        let mut asked = TopicPartitionList::new();
        for partition in metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
        {
            asked.add_partition(&self.topic, partition.id());
        }
        let committed = self.committed(&consumer, &asked)?;

        let mut unread = TopicPartitionList::new();
        let mut bounds = HashMap::new();
        for partition in committed.elements() {
            let (low, high) = consumer
                .fetch_watermarks(&self.topic, partition.partition(), TIMEOUT)
                .map_err(|error| self.unusable(&error))?;
            let next = match partition.offset() {
                Offset::Offset(offset) => offset.max(low),
                _ => low,
            };
            let first = match from {
                From::Beginning => low,
                From::Committed => next,
            };
            if first < high {
                unread.add_partition_offset(
                    &self.topic,
                    partition.partition(),
                    Offset::Offset(first),
                )?;
                bounds.insert(partition.partition(), (next, high));
            }
        }
        consumer.assign(&unread)?;

        while !bounds.is_empty() {
            let record = match consumer.poll(TIMEOUT) {
                Some(record) => record.map_err(|error| self.unusable(&error))?,
                None => bail!("Kafka does not hand out the records that it says it has"),
            };
            let Some((next, high)) = bounds.get(&record.partition()).copied() else {
                continue;
            };
            let key = record.key().unwrap_or_default();
            if let Some(Ok(event_key)) = str::from_utf8(key).ok().map(str::parse) {
                let seen = Seen {
                    key,
                    value: record.payload().unwrap_or_default(),
                    headers: record.headers(),
                    waits: record.offset() >= next,
                };
                each(event_key, seen);
            }
            if record.offset() + 1 >= high {
                bounds.remove(&record.partition());
            }
        }
        Ok(())
    }

    /// Where the consumers stand. A broker that has just started, or never heard of the group, first has to
    /// find out who keeps its offsets.
    fn committed(
        &self,
        consumer: &BaseConsumer<LastKafkaError>,
        asked: &TopicPartitionList,
    ) -> Result<TopicPartitionList> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match consumer.committed_offsets(asked.clone(), TIMEOUT) {
                Err(error)
                    if Instant::now() < deadline
                        && matches!(
                            error.rdkafka_error_code(),
                            Some(
                                RDKafkaErrorCode::NotCoordinator
                                    | RDKafkaErrorCode::CoordinatorNotAvailable
                                    | RDKafkaErrorCode::CoordinatorLoadInProgress
                            )
                        ) =>
                {
                    std::thread::sleep(Duration::from_millis(100));
                }
                committed => return committed.map_err(|error| self.unusable(&error)),
            }
        }
    }

    fn consumer(&self) -> Result<BaseConsumer<LastKafkaError>> {
        Ok(self.client.create_with_context(self.last_error.clone())?)
    }

    /// What the brokers know of the topic. A login that they refuse is told at once: waiting does not mend it.
    fn metadata(
        &self,
        consumer: &BaseConsumer<LastKafkaError>,
        limit: Duration,
    ) -> Result<Metadata> {
        let deadline = Instant::now() + limit;
        loop {
            let answer = consumer.fetch_metadata(Some(&self.topic), LOOK_AGAIN.min(limit));
            let error = match answer {
                Ok(metadata) => {
                    self.last_error.forget();
                    return Ok(metadata);
                }
                Err(error) => error,
            };
            // What went wrong is heard only while polling.
            while consumer.poll(Duration::from_millis(10)).is_some() {}
            if self.last_error.is_refusal() || Instant::now() >= deadline {
                return Err(self.unusable(&error));
            }
        }
    }

    fn unusable(&self, error: &KafkaError) -> anyhow::Error {
        let reason = self.last_error.explain(error);
        anyhow!("cannot use Kafka at {}: {reason}", self.brokers)
    }
}
