//! Kafka: the one file that speaks to it.
//!
//! Records are handed to librdkafka, which batches them; its delivery reports come back as [`ProducerEvent`]s. Every
//! record that was taken is reported exactly once, also when the producer is closed or replaced.

use crate::config::Config;
use crate::entry::EntryRef;
use crate::partition_queues::PartitionQueues;
use crate::record::Record;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rushgate_gate::record::partition;
use rushgate_settings::{BadSetting, KafkaSettings, LastKafkaError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How long a broker may take to say what it knows of the topic.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// What librdkafka has to say. There is room for all: at most one for each record in flight, and a word
/// about each connection.
#[derive(Debug)]
pub enum ProducerEvent {
    /// What became of a record.
    Report {
        /// Of which.
        sent: Sent,
        /// Whether Kafka has it, as the broker confirmed.
        outcome: Result<(), KafkaError>,
    },
    /// Something is wrong with the connection to Kafka.
    Error,
}

/// A record that was handed over.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// The entry it was made of.
    pub entry: EntryRef,
    partition: i32,
}

/// Why a record was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Not now: the queue is full, or the producer broken.
    #[error("{0}")]
    Retryable(KafkaError),
    /// Never: this very record cannot be sent.
    #[error("{0}")]
    Permanent(KafkaError),
}

/// Why the topic cannot be published to.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No broker answers, or not in time.
    #[error("no broker answers at {brokers}: {reason}")]
    Away {
        /// Where one was looked for.
        brokers: String,
        /// What librdkafka says, and what to look at.
        reason: String,
    },
    /// The brokers answer, but not for this topic.
    #[error("topic {topic}: {error}; create it, or set KAFKA_TOPIC to one that exists")]
    Topic {
        /// Its name.
        topic: String,
        /// What the broker says.
        error: RDKafkaErrorCode,
    },
}

/// Whether sending the very same record again may go better, on librdkafka's error code.
///
/// What a broker refuses is always tried again: that is about the topic's or the cluster's settings, and a
/// wrong one must not turn good entries into dead letters.
fn is_permanent(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// Hears what librdkafka's threads say.
#[derive(Clone)]
struct ProducerCallbacks {
    events: UnboundedSender<ProducerEvent>,
    last_error: LastKafkaError,
}

impl ClientContext for ProducerCallbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // It repeats itself with every attempt; what matters comes as a notice.
        tracing::debug!(target: "librdkafka", facility, message);
        self.last_error.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
        self.last_error.error(error, reason);
        let _ = self.events.send(ProducerEvent::Error);
    }
}

impl ProducerContext for ProducerCallbacks {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        // Nobody listens any more once the bridge has ended; the entry is pending in Redis.
        let _ = self.events.send(ProducerEvent::Report {
            sent: *sent,
            outcome,
        });
    }
}

/// Publishes records to one topic.
pub struct Sink {
    topic: String,
    brokers: String,
    config: ClientConfig,
    callbacks: ProducerCallbacks,
    producer: Arc<ThreadedProducer<ProducerCallbacks>>,
    /// How many the topic has, as a broker said last.
    partitions: i32,
    queues: PartitionQueues<(EntryRef, Record)>,
}

impl Sink {
    /// A producer by that [`client_config`], and where it will be heard. Connects in the background.
    ///
    /// # Errors
    /// When librdkafka refuses the settings.
    pub fn open(
        config: ClientConfig,
        settings: &KafkaSettings,
    ) -> Result<(Self, UnboundedReceiver<ProducerEvent>), KafkaError> {
        let (events, received) = unbounded_channel();
        let callbacks = ProducerCallbacks {
            events,
            last_error: LastKafkaError::default(),
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

    /// The topic has so many partitions, as a [probe](Self::probe) found.
    pub fn has_partitions(&mut self, partitions: i32) {
        self.partitions = partitions;
    }

    /// Takes a record, which is sent by [`Self::send_ready`] when its partition's turn has come.
    pub fn add(&mut self, entry: EntryRef, record: Record) {
        let partition = partition(record.key.as_bytes(), self.partitions);
        self.queues.add(partition, (entry, record));
    }

    /// A report was heard.
    pub fn report_received(&mut self, sent: Sent) {
        self.queues.finished(sent.partition);
    }

    /// Hands over the records whose turn has come. A report will follow for each that is taken, and none for the
    /// others.
    pub fn send_ready(&mut self) -> Vec<(EntryRef, Result<(), SendError>)> {
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

    /// Asks a broker whether it serves the topic, and with how many partitions. `None` if there is no telling.
    pub fn probe(&self) -> impl Future<Output = Result<Option<i32>, ProbeError>> + Send + use<> {
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
                        error: error.into(),
                    }),
                }
            });
            // It is not cancelled, and does not panic.
            answer.await.unwrap_or(Ok(None))
        }
    }

    /// Replaces the producer if it is broken for good, as an idempotent one is after a fatal error. What it
    /// still held is reported as not delivered. Returns what broke it.
    ///
    /// # Errors
    /// When no new one can be made.
    pub fn renew_if_broken(&mut self) -> Result<Option<String>, KafkaError> {
        let Some((_, reason)) = self.producer.client().fatal_error() else {
            return Ok(None);
        };
        let fresh = Arc::new(producer(&self.config, &self.callbacks)?);
        let broken = std::mem::replace(&mut self.producer, fresh);
        // Dropping it joins its thread and collects the last reports.
        tokio::task::spawn_blocking(move || drop(broken));
        Ok(Some(reason))
    }

    /// Waits for all reports, up to `patience`, and closes the producer; what is not delivered by then is
    /// thrown away, and reported so.
    pub async fn close(self, patience: Duration) {
        let producer = self.producer;
        let flushed = tokio::task::spawn_blocking(move || {
            let flushed = producer.flush(patience);
            drop(producer);
            flushed
        });
        if let Ok(Err(error)) = flushed.await {
            tracing::warn!(%error, "records were not delivered before the end; their entries stay pending");
        }
    }
}

fn producer(
    config: &ClientConfig,
    callbacks: &ProducerCallbacks,
) -> Result<ThreadedProducer<ProducerCallbacks>, KafkaError> {
    ThreadedProducer::from_config_and_context(config, callbacks.clone())
}

/// librdkafka's settings, for a producer that holds up to a window of records.
///
/// # Errors
/// When the settings do not fit each other.
pub fn client_config(settings: &Config) -> Result<ClientConfig, BadSetting> {
    let mut config = settings.kafka.client("rushgate-kafka-bridge")?;
    config
        // acks=all, and no duplicates nor disorder from librdkafka's own retries.
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        // Long enough for a batch under a rush, too short for a person to notice.
        .set("linger.ms", "1")
        .set(
            "message.timeout.ms",
            settings.delivery_timeout.as_millis().to_string(),
        )
        .set("queue.buffering.max.messages", settings.window.to_string())
        .set("reconnect.backoff.max.ms", "2000");
    Ok(config)
}
