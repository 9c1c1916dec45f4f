//! Kafka: the topic, and what waits in it.

use crate::config::Config;
use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};
use rushgate_gate::{CampaignId, event::EventKey};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long Kafka may take over one question.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The topic that grants travel through.
pub struct Kafka {
    client: ClientConfig,
    brokers: String,
    topic: String,
}

impl Kafka {
    /// Speaks to the brokers that `config` names. Connects when first asked something.
    ///
    /// # Errors
    /// When an address makes no sense.
    pub fn new(config: &Config) -> Result<Self> {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &config.kafka_brokers)
            .set("group.id", &config.kafka_group)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "false")
            // What matters comes back as an error; librdkafka's own log would repeat it.
            .set_log_level(RDKafkaLogLevel::Emerg);
        Ok(Self {
            client,
            brokers: config.kafka_brokers.clone(),
            topic: config.kafka_topic.clone(),
        })
    }

    /// Creates the topic unless it is there; whether it had to.
    ///
    /// # Errors
    /// When Kafka does not answer or refuses.
    pub async fn create_topic(&self, partitions: i32, replicas: Option<i32>) -> Result<bool> {
        let admin: AdminClient<DefaultClientContext> = self.client.create()?;
        let topic = NewTopic::new(
            &self.topic,
            partitions,
            TopicReplication::Fixed(replicas.unwrap_or(-1)),
        );
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
        let results = admin
            .create_topics([&topic], &options)
            .await
            .with_context(|| self.unreachable())?;
        match results.into_iter().next() {
            Some(Ok(_)) => Ok(true),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
            Some(Err((topic, code))) => bail!("Kafka refused to create topic {topic}: {code}"),
            None => bail!("Kafka did not say whether it created topic {}", self.topic),
        }
    }

    /// Records of `campaign` that the consumers have not committed yet. Reads them all, so it takes as long
    /// as the consumers are behind.
    ///
    /// # Errors
    /// When Kafka does not answer or refuses.
    pub fn waiting(&self, campaign: &CampaignId) -> Result<usize> {
        let consumer: BaseConsumer = self.client.create()?;
        let metadata = consumer
            .fetch_metadata(Some(&self.topic), TIMEOUT)
            .with_context(|| self.unreachable())?;
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
        let mut ends = HashMap::new();
        for partition in committed.elements() {
            let (low, high) = consumer
                .fetch_watermarks(&self.topic, partition.partition(), TIMEOUT)
                .with_context(|| self.unreachable())?;
            let next = match partition.offset() {
                Offset::Offset(offset) => offset.max(low),
                _ => low,
            };
            if next < high {
                unread.add_partition_offset(
                    &self.topic,
                    partition.partition(),
                    Offset::Offset(next),
                )?;
                ends.insert(partition.partition(), high);
            }
        }
        consumer.assign(&unread)?;

        let mut waiting = 0;
        while !ends.is_empty() {
            let record = match consumer.poll(TIMEOUT) {
                Some(record) => record.with_context(|| self.unreachable())?,
                None => bail!("Kafka does not hand out the records that it says it has"),
            };
            let key = record.key().and_then(|key| str::from_utf8(key).ok());
            if let Some(Ok(key)) = key.map(str::parse::<EventKey>)
                && key.campaign == *campaign
            {
                waiting += 1;
            }
            if ends
                .get(&record.partition())
                .is_some_and(|end| record.offset() + 1 >= *end)
            {
                ends.remove(&record.partition());
            }
        }
        Ok(waiting)
    }

    /// Where the consumers stand. A broker that has just started, or never heard of the group, first has to
    /// find out who keeps its offsets.
    fn committed(
        &self,
        consumer: &BaseConsumer,
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
                committed => return committed.with_context(|| self.unreachable()),
            }
        }
    }

    fn unreachable(&self) -> String {
        format!(
            "cannot use Kafka at {}: is it running, and is KAFKA_BROKERS right?",
            self.brokers
        )
    }
}
