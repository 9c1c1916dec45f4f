//! Does all communication with Kafka: it owns the producer and checks the topic.
//!
//! librdkafka collects the records into batches; its delivery reports arrive as [`ProducerEvent`]s. Every record that
//! librdkafka accepted is reported exactly once, even if the producer is closed or replaced.

use crate::config::Config;
use crate::entry::EntryRef;
use crate::kafka::partition_queues::PartitionQueues;
use crate::kafka::producer_events::{ProducerCallbacks, ProducerEvent, Sent};
use crate::kafka::record::Record;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rushgate_gate::record::partition;
use rushgate_startup::{
    BadSetting, KafkaSettings, LastKafkaError, advice, causes, is_missing_kafka_right,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How long a broker may take to answer the metadata request.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why librdkafka did not accept a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// It may be accepted later: the queue is full, or the producer had a fatal error.
    #[error("{0}")]
    Retryable(KafkaError),
    /// This record can never be sent.
    #[error("{0}")]
    Permanent(KafkaError),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("reading the topic's metadata from {brokers}: {reason}")]
    Away {
        brokers: String,
        /// librdkafka's reason, and the settings to check.
        reason: String,
    },
    /// The brokers answer, but the topic cannot be used.
    #[error("reading the metadata of topic {topic}{}", setup_advice(.source))]
    Topic {
        topic: String,
        source: RDKafkaErrorCode,
    },
}

/// Whether the same record can never be sent, decided by librdkafka's error code.
///
/// A record that a broker refuses is always sent again. Such a refusal is about the settings of the topic or
/// the cluster, and a wrong setting must not turn good entries into dead letters.
fn is_permanent(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// What to do about a topic that cannot be used. A topic that this user may not see may exist.
fn setup_advice(error: &RDKafkaErrorCode) -> &'static str {
    match is_missing_kafka_right(*error) {
        true => "",
        false => " (create it with `rushgate setup`, or set KAFKA_TOPIC to a topic that exists)",
    }
}

/// Publishes records to one topic.
pub(crate) struct Sink {
    topic: String,
    brokers: String,
    config: ClientConfig,
    callbacks: ProducerCallbacks,
    producer: Arc<ThreadedProducer<ProducerCallbacks>>,
    /// The number of partitions that a broker reported last.
    partitions: i32,
    queues: PartitionQueues<(EntryRef, Record)>,
}

impl Sink {
    /// Creates a producer with the result of [`client_config`], and the channel of its events. It connects in
    /// the background.
    ///
    /// # Errors
    /// When librdkafka refuses the settings.
    pub(crate) fn open(
        config: ClientConfig,
        settings: &KafkaSettings,
    ) -> Result<(Self, UnboundedReceiver<ProducerEvent>), KafkaError> {
        let (events, received) = unbounded_channel();
        let callbacks = ProducerCallbacks {
            events,
            last_error: LastKafkaError::of(&config),
        };
        let sink = Self {
            topic: settings.topic.clone(),
            brokers: settings.brokers.clone(),
            producer: Arc::new(producer(&config, &callbacks)?),
            config,
            callbacks,
            partitions: 0,
            queues: PartitionQueues::default(),
        };
        Ok((sink, received))
    }

    /// Sets the number of partitions that a [probe](Self::probe) found.
    pub(crate) fn has_partitions(&mut self, partitions: i32) {
        self.partitions = partitions;
    }

    /// Queues a record. [`Self::send_ready`] sends it when it is its partition's turn.
    pub(crate) fn add(&mut self, entry: EntryRef, record: Record) {
        let partition = partition(record.key.as_bytes(), self.partitions);
        self.queues.add(partition, (entry, record));
    }

    /// The delivery report for this record has come.
    pub(crate) fn report_received(&mut self, sent: Sent) {
        self.queues.finished(sent.partition);
    }

    /// Gives the records whose turn has come to librdkafka. A delivery report follows for each `Ok`, and none
    /// for an error.
    pub(crate) fn send_ready(&mut self) -> Vec<(EntryRef, Result<(), SendError>)> {
        let mut outcomes = Vec::new();
        for (partition, records) in self.queues.take_ready() {
            for (entry, record) in records {
                let outcome = self.send(Sent { entry, partition }, &record);
                if outcome.is_err() {
                    self.queues.finished(partition);
                }
                outcomes.push((entry, outcome));
            }
        }
        outcomes
    }

    fn send(&self, sent: Sent, record: &Record) -> Result<(), SendError> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            let value = Some(value);
            headers = headers.insert(Header { key, value });
        }
        let message = BaseRecord::with_opaque_to(&self.topic, Box::new(sent))
            .partition(sent.partition)
            .key(&record.key)
            .payload(&record.value)
            .headers(headers);
        self.producer.send(message).map_err(|(error, _)| {
            if is_permanent(&error) {
                SendError::Permanent(error)
            } else {
                SendError::Retryable(error)
            }
        })
    }

    /// Asks a broker whether it serves the topic, and with how many partitions. `None` if the number is
    /// unknown.
    pub(crate) fn probe(
        &self,
    ) -> impl Future<Output = Result<Option<i32>, ProbeError>> + Send + use<> {
        let producer = Arc::clone(&self.producer);
        let (topic, brokers) = (self.topic.clone(), self.brokers.clone());
        let last_error = self.callbacks.last_error.clone();
        async move {
            let answer = tokio::task::spawn_blocking(move || {
                let metadata = producer
                    .client()
                    .fetch_metadata(Some(&topic), PROBE_TIMEOUT);
                let metadata = metadata.map_err(|error| ProbeError::Away {
                    brokers,
                    reason: last_error.explain(&error),
                })?;
                let error = metadata.topics().iter().find_map(|topic| topic.error());
                let partitions = metadata
                    .topics()
                    .iter()
                    .map(|topic| topic.partitions().len());
                match error {
                    None => {
                        last_error.forget();
                        Ok(partitions.sum::<usize>().try_into().ok())
                    }
                    Some(error) => Err(ProbeError::Topic {
                        topic,
                        source: error.into(),
                    }),
                }
            });
            // The task is never cancelled and does not panic.
            answer.await.unwrap_or(Ok(None))
        }
    }

    /// Why a record was not delivered, with the setting or right to change.
    pub(crate) fn explain(&self, error: &KafkaError) -> String {
        self.fatal_error().unwrap_or_else(|| causes(error))
    }

    /// Why the producer is broken for good.
    fn fatal_error(&self) -> Option<String> {
        let (code, reason) = self.producer.client().fatal_error()?;
        let advice = advice(&code);
        Some(match advice {
            Some(advice) => format!("the Kafka producer has a fatal error: {reason}: {advice}"),
            None => format!("the Kafka producer has a fatal error: {reason}"),
        })
    }

    /// Replaces the producer after a fatal error, and returns that error. The records that the old producer
    /// still held are reported as not delivered.
    ///
    /// # Errors
    /// When the new producer cannot be created.
    pub(crate) fn renew_if_broken(&mut self) -> Result<Option<String>, KafkaError> {
        let Some(problem) = self.fatal_error() else {
            return Ok(None);
        };
        let fresh = Arc::new(producer(&self.config, &self.callbacks)?);
        let broken = std::mem::replace(&mut self.producer, fresh);
        // Dropping the producer joins its thread and collects the last reports.
        tokio::task::spawn_blocking(move || drop(broken));
        Ok(Some(problem))
    }

    /// Waits up to `patience` for all reports and closes the producer. Records that are not delivered by then
    /// are dropped, and reported as such.
    pub(crate) async fn close(self, patience: Duration) {
        let producer = self.producer;
        let flushed = tokio::task::spawn_blocking(move || {
            let flushed = producer.flush(patience);
            drop(producer);
            flushed
        });
        if let Ok(Err(error)) = flushed.await {
            tracing::warn!(%error, "some records were not delivered before the bridge stopped; their entries stay pending");
        }
    }
}

fn producer(
    config: &ClientConfig,
    callbacks: &ProducerCallbacks,
) -> Result<ThreadedProducer<ProducerCallbacks>, KafkaError> {
    ThreadedProducer::from_config_and_context(config, callbacks.clone())
}

/// librdkafka's settings for a producer that holds up to a window of records.
///
/// # Errors
/// When the settings do not fit each other.
pub(crate) fn client_config(settings: &Config) -> Result<ClientConfig, BadSetting> {
    let mut config = settings.kafka.client("rushgate-kafka-bridge")?;
    config
        // With idempotence, librdkafka's own retries cause neither duplicates nor a change of order.
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        // Long enough to fill a batch under load, short enough for an applicant not to notice.
        .set("linger.ms", "1")
        .set(
            "message.timeout.ms",
            settings.delivery_timeout.as_millis().to_string(),
        )
        .set("queue.buffering.max.messages", settings.window.to_string());
    Ok(config)
}
