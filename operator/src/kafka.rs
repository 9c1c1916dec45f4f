//! The client of Kafka. It creates and checks the topic, reads the records that consumers have not committed, and
//! publishes records again.

use crate::config::Config;
use crate::waiting::{PATIENCE, noting};
use anyhow::{Context, Result, anyhow, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, Header, OwnedHeaders};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Message, Offset, TopicPartitionList};
use rushgate_gate::signature::SignaturePolicy;
use rushgate_gate::{CampaignId, Event, dead_letter, event::EventKey, record};
use rushgate_startup::{ExposeSecret, LastKafkaError, SecretString, kafka_headers};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

/// How often a wait for an answer checks whether Kafka has refused the login.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// `min.insync.replicas` of a new topic, where there are at least two brokers.
const IN_SYNC: i32 = 2;

/// A week: longer than consumers are down over a long weekend.
const SHORTEST_RETENTION: Duration = Duration::from_secs(7 * 86_400);

const MIN_IN_SYNC: &str = "min.insync.replicas";
const UNCLEAN: &str = "unclean.leader.election.enable";
const POLICY: &str = "cleanup.policy";
const RETENTION: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";

#[derive(Clone, Copy)]
enum From {
    Beginning,
    Committed,
}

/// Result of creating the topic.
pub enum Creation {
    Created,
    WasThere,
    /// Trying again would not create it.
    Declined(RDKafkaErrorCode),
}

/// Settings of a new topic.
#[derive(Clone, Copy, Debug)]
pub struct TopicTerms {
    /// Upper bound of the consumers that can share the work.
    pub partitions: i32,
    /// Brokers that store each record.
    pub replicas: i32,
    /// How long each record is kept.
    pub retention: Duration,
}

/// The topic, as far as this user may see it.
#[derive(Clone, Copy, Debug)]
pub struct TopicStatus {
    pub is_there: bool,
    pub brokers: i32,
}

/// A record whose key is one of ours.
struct Seen<'a> {
    key: &'a [u8],
    value: &'a [u8],
    headers: Option<&'a BorrowedHeaders>,
    /// The consumers have not committed it yet.
    waits: bool,
}

impl<'a> Seen<'a> {
    fn header(&self, name: &str) -> Option<&'a [u8]> {
        kafka_headers(self.headers?)
            .find(|(found, _)| found.is_some_and(|found| found.eq_ignore_ascii_case(name)))?
            .1
    }
}

/// The topic that carries grants.
#[derive(Clone)]
pub struct Kafka {
    client: ClientConfig,
    last_error: LastKafkaError,
    brokers: String,
    topic: String,
    trust: SignaturePolicy,
    producer: OnceCell<Publisher>,
}

#[derive(Clone)]
struct Publisher {
    producer: FutureProducer<LastKafkaError>,
    partitions: i32,
}

impl Kafka {
    /// Does not connect yet: the first call does.
    ///
    /// # Errors
    /// When the settings contradict each other.
    pub fn new(config: &Config) -> Result<Self> {
        let mut client = config.kafka.client("rushgate")?;
        let keys = config.kafka.signing.keys()?;
        client
            .set("group.id", config.group.id()?)
            .set("enable.auto.commit", "false")
            // The end of a partition may be the mark of a transaction, which is not handed out.
            .set("enable.partition.eof", "true")
            // As the consumers read it.
            .set("isolation.level", "read_uncommitted");
        Ok(Self {
            client,
            last_error: LastKafkaError::default(),
            brokers: config.kafka.brokers.clone(),
            topic: config.kafka.topic.clone(),
            trust: SignaturePolicy::new(
                keys.iter().map(SecretString::expose_secret),
                config.kafka.signing.are_required,
            ),
            producer: OnceCell::new(),
        })
    }

    /// Whether the topic exists, as far as this user may see. Asking does not create it, whatever the brokers'
    /// settings.
    ///
    /// # Errors
    /// When Kafka does not answer within `limit`, or refuses the login.
    pub async fn status(&self, limit: Duration) -> Result<TopicStatus> {
        let kafka = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            // A consumer's metadata request creates no topic, and reports a refused login.
            let metadata = kafka.metadata(&kafka.consumer()?, limit)?;
            let error = metadata.topics().first().and_then(MetadataTopic::error);
            // A topic without a leader exists, but cannot be used yet.
            let is_there = matches!(
                error.map(RDKafkaErrorCode::from),
                None | Some(RDKafkaErrorCode::LeaderNotAvailable)
            );
            let brokers = i32::try_from(metadata.brokers().len())?;
            anyhow::Ok(TopicStatus { is_there, brokers })
        });
        asked.await?
    }

    /// In which ways the topic may lose confirmed records with its present settings.
    ///
    /// # Errors
    /// When Kafka does not answer within `limit`, or does not return the settings.
    pub async fn risks(&self, limit: Duration) -> Result<Vec<String>> {
        let admin: AdminClient<_> = self.client.create_with_context(self.last_error.clone())?;
        let options = AdminOptions::new().request_timeout(Some(limit));
        let topic = [ResourceSpecifier::Topic(&self.topic)];
        let described = admin.describe_configs(&topic, &options).await;
        let described = described.map_err(|error| self.unusable(&error))?;
        let Some(Ok(config)) = described.into_iter().next() else {
            bail!(
                "reading the settings of topic {}: Kafka did not return them",
                self.topic
            );
        };
        let kafka = self.clone();
        let replicas = spawn_blocking(move || {
            let (consumer, deadline) = (kafka.consumer()?, Instant::now() + limit);
            loop {
                let metadata = kafka.metadata(&consumer, limit)?;
                let topic = metadata.topics().first();
                let partitions = topic.into_iter().flat_map(MetadataTopic::partitions);
                // A broker may not know a topic that was just created.
                match partitions.map(|it| it.replicas().len()).min() {
                    Some(replicas) => return Ok(replicas),
                    None if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN / 10),
                    None => bail!(
                        "reading the replicas of topic {}: Kafka did not return them",
                        kafka.topic
                    ),
                }
            }
        });
        let replicas = replicas.await??;
        Ok(risks(replicas, |name| config.get(name)?.value.as_deref()))
    }

    /// Creates the topic with settings that keep confirmed records: two in-sync replicas where there are two brokers,
    /// no unclean leader election, and a sufficient retention.
    ///
    /// # Errors
    /// When Kafka does not answer within `limit`, or cannot create topics for the moment. A refusal is a [`Creation`].
    pub async fn create_topic(&self, terms: TopicTerms, limit: Duration) -> Result<Creation> {
        let admin: AdminClient<_> = self.client.create_with_context(self.last_error.clone())?;
        let in_sync = terms.replicas.min(IN_SYNC).to_string();
        let retention = terms.retention.as_millis().to_string();
        let replication = TopicReplication::Fixed(terms.replicas);
        let topic = NewTopic::new(&self.topic, terms.partitions, replication)
            .set(MIN_IN_SYNC, &in_sync)
            .set(UNCLEAN, "false")
            .set(POLICY, "delete")
            .set(RETENTION, &retention)
            .set(RETENTION_BYTES, "-1");
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
                | RDKafkaErrorCode::InvalidConfig
                | RDKafkaErrorCode::InvalidTopic),
            ))) => Ok(Creation::Declined(code)),
            Some(Err((topic, code))) => bail!("creating topic {topic}: {code}"),
            None => bail!("creating topic {}: Kafka returned no result", self.topic),
        }
    }

    /// Events of `campaign` that the consumers have not committed yet. Reads all of them, so it takes longer the more
    /// the consumers lag.
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

    /// Every event of `campaign` that the topic still holds, each with whether consumers have yet to commit it. Skips
    /// records without an event or without the bridge's signature: the consumers make dead letters of them.
    pub async fn events(&self, campaign: &CampaignId) -> Result<Vec<(Event, bool)>> {
        let campaign = campaign.clone();
        self.ask(move |kafka| {
            let mut events = vec![];
            kafka.read(From::Beginning, |key, record| {
                if key.campaign != campaign {
                    return;
                }
                let header = |name: &str| record.header(name);
                let is_doubtful = || {
                    kafka
                        .trust
                        .problem(record.key, record.value, header)
                        .is_some()
                };
                if kafka.trust.is_strict() && is_doubtful() {
                    return;
                }
                let event = record::event(record.key, record.value, header);
                events.extend(event.ok().map(|event| (event, record.waits)));
            })?;
            Ok(events)
        })
        .await
    }

    /// Publishes a record again, to the partition that the bridge chose, and waits for the delivery report.
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

    /// Connects for publishing, if not connected yet.
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

    fn publisher(&self) -> Result<Publisher> {
        let mut client = self.client.clone();
        client
            .set("acks", "all")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string());
        let producer = client.create_with_context(self.last_error.clone())?;
        let partitions = self.partitions(&self.consumer()?)?;
        Ok(Publisher {
            producer,
            partitions: i32::try_from(partitions.len())?,
        })
    }

    /// Runs a blocking request on a thread of its own. The request has its own time limit.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let kafka = self.clone();
        let answer = spawn_blocking(move || question(&kafka));
        noting("reading from Kafka", None, answer).await?
    }

    fn partitions(&self, consumer: &BaseConsumer<LastKafkaError>) -> Result<Vec<i32>> {
        let metadata = self.metadata(consumer, PATIENCE)?;
        let Some(topic) = metadata.topics().first() else {
            bail!(
                "reading the metadata of topic {}: Kafka did not return it",
                self.topic
            );
        };
        if let Some(error) = topic.error() {
            return Err(RDKafkaErrorCode::from(error)).with_context(|| {
                format!(
                    "cannot use topic {} (is KAFKA_TOPIC right? `rushgate setup` creates a missing topic)",
                    self.topic
                )
            });
        }
        let partitions = topic.partitions().iter();
        Ok(partitions.map(|partition| partition.id()).collect())
    }

    /// Passes every record with one of our keys to `each`, from `from` to the present end of the topic.
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
                Some(Ok(record)) => record,
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    bounds.remove(&partition);
                    continue;
                }
                Some(Err(error)) => return Err(self.unusable(&error)),
                None => bail!(
                    "reading the topic: Kafka did not return records below the end offset that it reports"
                ),
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

    /// The consumers' committed offsets. A broker that has just started, or does not know the group, first has to find
    /// the group's coordinator.
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

    /// The topic's metadata. A refused login is reported at once: waiting would not help.
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
            // librdkafka reports errors only while polling.
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

/// In which ways a topic with this many replicas and these settings may lose confirmed records.
fn risks<'a>(replicas: usize, setting: impl Fn(&str) -> Option<&'a str>) -> Vec<String> {
    let mut risks = vec![];
    let number = |name: &str| setting(name)?.parse::<i64>().ok();
    let in_sync = number(MIN_IN_SYNC).unwrap_or(1);
    if replicas < 2 {
        risks.push(
            "has one replica: if the disk of that broker is lost, so are grants that are not in the database yet. Give \
             it three replicas, on three brokers"
                .to_owned(),
        );
    } else if in_sync < IN_SYNC.into() {
        risks.push(format!(
            "has {MIN_IN_SYNC} {in_sync}: Kafka confirms grants that a single broker has stored. Set it to {IN_SYNC}"
        ));
    }
    if usize::try_from(in_sync).is_ok_and(|in_sync| in_sync > replicas) {
        risks.push(format!(
            "has {MIN_IN_SYNC} {in_sync} and {replicas} replicas, so nothing can be published: grants wait in the stream"
        ));
    }
    if setting(UNCLEAN) == Some("true") {
        risks.push(format!(
            "has {UNCLEAN} true: a lagging broker may become the leader and lose the latest grants. Set it to false"
        ));
    }
    if setting(POLICY).is_some_and(|policy| policy != "delete") {
        risks.push(format!(
            "has a {POLICY} other than delete: compaction may leave only the latest event of a serial. Set it to \
             delete"
        ));
    }
    let retention = number(RETENTION).and_then(|millis| u64::try_from(millis).ok());
    if let Some(millis) = retention.filter(|it| Duration::from_millis(*it) < SHORTEST_RETENTION) {
        risks.push(format!(
            "keeps records for {} h ({RETENTION}), even if they are not in the database yet. Set it to at least one \
             week",
            millis / 3_600_000
        ));
    }
    if number(RETENTION_BYTES).is_some_and(|bytes| bytes >= 0) {
        risks.push(format!(
            "has {RETENTION_BYTES}: old records are deleted by size, even if they are not in the database yet. Set it \
             to -1"
        ));
    }
    risks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(replicas: usize, settings: &[(&str, &str)]) -> usize {
        let find = |name: &str| settings.iter().find(|(setting, _)| *setting == name);
        risks(replicas, |name| find(name).map(|(_, value)| *value)).len()
    }

    #[test]
    fn each_way_to_lose_what_was_confirmed_is_told() {
        let safe = [
            (MIN_IN_SYNC, "2"),
            (UNCLEAN, "false"),
            (POLICY, "delete"),
            (RETENTION, "604800000"),
            (RETENTION_BYTES, "-1"),
        ];
        assert_eq!(found(3, &safe), 0);
        assert_eq!(found(3, &[(RETENTION, "-1"), safe[0]]), 0, "for ever");
        assert_eq!(found(1, &[]), 1);
        assert_eq!(found(1, &safe[..1]), 2, "and cannot be written");
        for worse in [
            (MIN_IN_SYNC, "1"),
            (UNCLEAN, "true"),
            (POLICY, "compact,delete"),
            (RETENTION, "604799999"),
            (RETENTION_BYTES, "0"),
        ] {
            let mut settings = vec![worse];
            settings.extend(safe);
            assert_eq!(found(3, &settings), 1, "{worse:?}");
        }
    }
}
