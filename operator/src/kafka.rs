//! Kafka: the topic, and what waits in it.

use crate::config::Config;
use crate::waiting::{PATIENCE, noting};
use anyhow::{Context, Result, anyhow, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, Header, Headers, OwnedHeaders};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Message, Offset, TopicPartitionList};
use rushgate_gate::signature::Trust;
use rushgate_gate::{CampaignId, Event, dead_letter, event::EventKey, record};
use rushgate_settings::{LastKafkaError, Secret};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

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
    producer: OnceCell<Publisher>,
}

/// What publishes records.
#[derive(Clone)]
struct Publisher {
    producer: FutureProducer<LastKafkaError>,
    /// How many the topic has.
    partitions: i32,
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
            producer: OnceCell::new(),
        })
    }

    /// Whether the topic is there, as far as this user may see. Asking does not create it, whatever the brokers are
    /// set to.
    trust: Trust,
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

        let keys = config.kafka.signing.keys()?;
    /// Creates the topic.
    ///
    /// # Errors
    /// When Kafka does not answer within `limit`, or cannot do it just now. That it declines is a [`Creation`].
    pub async fn create_topic(
        &self,
        partitions: i32,
        replicas: Option<i32>,
        limit: Duration,
            trust: Trust::new(
                keys.iter().map(Secret::reveal),
                config.kafka.signing.are_required,
            ),
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
    pub async fn waiting(&self, campaign: &CampaignId) -> Result<usize> {
        let campaign = campaign.clone();
        self.ask(move |kafka| {
            let mut waiting = 0;
            kafka.read(From::Committed, |key, _| {
                waiting += usize::from(key.campaign == campaign);
            })?;
            Ok(waiting)
        })
        .await
    }

    /// Every event of `campaign` that the topic still holds, and whether it waits for the consumers. Records that
    /// carry no event, or are not believed to be a bridge's, are passed over: the consumers make dead letters of them.
    ///
    /// # Errors
    /// When Kafka does not answer or refuses.
    pub async fn events(&self, campaign: &CampaignId) -> Result<Vec<(Event, bool)>> {
        let campaign = campaign.clone();
        self.ask(move |kafka| {
            let mut events = vec![];
            kafka.read(From::Beginning, |key, record| {
                if key.campaign != campaign {
                    return;
                }
                let header = |name: &str| record.header(name);
                let event = record::event(record.key, record.value, header);
                events.extend(event.ok().map(|event| (event, record.waits)));
            })?;
            Ok(events)
        })
        .await
    }

    /// Publishes a record once more, to the partition where the bridge has put it, and waits until Kafka has it.
    ///
    /// # Errors
    /// When Kafka does not answer or refuses.
    pub async fn publish(
        &self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[dead_letter::Header],
    ) -> Result<()> {
        let Publisher {
            producer,
            partitions,
        } = self.connected().await?;
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&self.topic);
        if let Some(key) = key {
            let partition = record::partition(key, *partitions);
            record = record.key(key).partition(partition);
        }
        if let Some(value) = value {
            record = record.payload(value);
        }
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: value.as_ref(),
                })
            });
        let sending = producer.send(record.headers(headers), PATIENCE);
        noting("Kafka has not answered yet", Some(PATIENCE), sending)
            .await
            .map_err(|(error, _)| self.unusable(&error))?;
        Ok(())
    }

    /// Connects for publishing, unless that was done before.
    ///
    /// # Errors
    /// When Kafka does not answer or refuses. Nothing was published then.
    pub async fn connect(&self) -> Result<()> {
        self.connected().await.map(drop)
    }

    async fn connected(&self) -> Result<&Publisher> {
        let publisher = self.producer.get_or_try_init(|| self.ask(Self::publisher));
        publisher.await
    }

    /// Connects for publishing.
    fn publisher(&self) -> Result<Publisher> {
        let mut client = self.client.clone();
        client
            .set("acks", "all")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string());
        let producer = client.create_with_context(self.last_error.clone())?;
        let partitions = self.partitions(&self.consumer()?)?;
        Ok(Publisher {
            producer,
                let is_doubtful = || {
                    kafka
                        .trust
                        .doubt(record.key, record.value, header)
                        .is_some()
                };
                if kafka.trust.is_strict() && is_doubtful() {
                    return;
                }
            partitions: i32::try_from(partitions.len())?,
        })
    }

    /// What Kafka answers to a question that keeps a thread waiting. The question itself sees to it that this ends.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let kafka = self.clone();
        let answer = spawn_blocking(move || question(&kafka));
        noting("reading from Kafka", None, answer).await?
    }

    /// The topic's partitions.
    fn partitions(&self, consumer: &BaseConsumer<LastKafkaError>) -> Result<Vec<i32>> {
        let metadata = self.metadata(consumer, PATIENCE)?;
        let Some(topic) = metadata.topics().first() else {
            bail!("Kafka says nothing about topic {}", self.topic);
        };
        if let Some(error) = topic.error() {
            return Err(RDKafkaErrorCode::from(error)).with_context(|| {
                format!(
                    "cannot use topic {} (is KAFKA_TOPIC right? `rushgate setup` makes it if it is missing)",
                    self.topic
                )
            });
        }
        let partitions = topic.partitions().iter();
        Ok(partitions.map(|partition| partition.id()).collect())
    }

    /// Hands out every record with our key, from there to where the topic ends now.
    fn read(&self, from: From, mut each: impl FnMut(EventKey, Seen<'_>)) -> Result<()> {
        let consumer = self.consumer()?;
        let mut asked = TopicPartitionList::new();
        for partition in self.partitions(&consumer)? {
            asked.add_partition(&self.topic, partition);
        }
        let committed = self.committed(&consumer, &asked)?;

        let mut unread = TopicPartitionList::new();
        let mut bounds = HashMap::new();
        for partition in committed.elements() {
            let (low, high) = consumer
                .fetch_watermarks(&self.topic, partition.partition(), PATIENCE)
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
            let record = match consumer.poll(PATIENCE) {
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
        let deadline = Instant::now() + PATIENCE;
        loop {
            match consumer.committed_offsets(asked.clone(), PATIENCE) {
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
            let left = deadline.saturating_duration_since(Instant::now());
            let left = LOOK_AGAIN.min(left.max(Duration::from_millis(10)));
            let answer = consumer.fetch_metadata(Some(&self.topic), left);
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
