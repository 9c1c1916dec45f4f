//! The client of Kafka. Each request has a time limit, and a refused login is reported at once.

use crate::config::Config;
use crate::refusal::{ErrorCode, Refusal};
use crate::waiting::{PATIENCE, noting};
use anyhow::{Context, Result, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::producer::FutureProducer;
use rushgate_gate::signature::SignaturePolicy;
use rushgate_startup::{ExposeSecret, LastKafkaError, SecretString};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

/// How often a wait for an answer checks whether Kafka has refused the login.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The topic that carries grants.
#[derive(Clone)]
pub struct Kafka {
    pub(super) client: ClientConfig,
    pub(super) last_error: LastKafkaError,
    brokers: String,
    pub(super) topic: String,
    pub(super) trust: SignaturePolicy,
    pub(super) producer: OnceCell<Publisher>,
}

#[derive(Clone)]
pub(super) struct Publisher {
    pub(super) producer: FutureProducer<LastKafkaError>,
    pub(super) partitions: i32,
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
            last_error: LastKafkaError::of(&client),
            client,
            brokers: config.kafka.brokers.clone(),
            topic: config.kafka.topic.clone(),
            trust: SignaturePolicy::new(
                keys.iter().map(SecretString::expose_secret),
                config.kafka.signing.are_required,
            ),
            producer: OnceCell::new(),
        })
    }

    /// Runs a blocking request on a thread of its own. The request has its own time limit.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let kafka = self.clone();
        let answer = spawn_blocking(move || question(&kafka));
        noting("reading from Kafka", None, answer).await?
    }

    pub(super) fn partitions(&self, consumer: &BaseConsumer<LastKafkaError>) -> Result<Vec<i32>> {
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

    pub(super) fn consumer(&self) -> Result<BaseConsumer<LastKafkaError>> {
        Ok(self.client.create_with_context(self.last_error.clone())?)
    }

    /// The topic's metadata. A refused login is reported at once: waiting would not help.
    pub(super) fn metadata(
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

    pub(super) fn unusable(&self, error: &KafkaError) -> anyhow::Error {
        let reason = self.last_error.explain(error);
        let message = format!("cannot use Kafka at {}: {reason}", self.brokers);
        Refusal::new(ErrorCode::ServerUnavailable, message).into()
    }
}
