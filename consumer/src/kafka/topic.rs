//! Reads the Kafka topic in a separate thread, and commits the offsets of finished records.
//!
//! The thread never blocks for long on anything except Kafka. So it keeps polling, and it stays a member of the
//! [`group`](crate::kafka::group) even if the database is unavailable for hours.

use crate::kafka::commit_timeouts::CommitTimeouts;
use crate::kafka::decode::decode_trusted;
use crate::kafka::group::{Context, Group, TICK};
use crate::kafka::headers::Headers;
use crate::kafka::record::{Clipped, Delivery, LONGEST_KEY, LONGEST_VALUE, Record};
use crate::kafka::routing::writer_of;
use crate::kafka::tracker::Tracker;
use crate::readiness::Readiness;
use crate::rejection::Rejection;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message};
use rushgate_gate::Event;
use rushgate_gate::signature::SignaturePolicy;
use rushgate_startup::{LastKafkaError, kafka_headers};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

/// If there was no room for the next record for this long, fetching is paused, and polling continues. Pausing
/// discards the records that were fetched ahead, so it does not start at once.
const PAUSE_AFTER: Duration = Duration::from_secs(2);

/// How often offsets are committed. For the broker, a commit is as much work as a batch of records. After a crash, records
/// whose rows exist already are read again, for this time more of them.
const COMMIT_EVERY: Duration = Duration::from_millis(100);

/// How long to wait after a failed commit.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

/// A handle to the reading thread.
pub(crate) struct TopicReader {
    group: Arc<Group>,
    stopped: oneshot::Receiver<Result<(), KafkaError>>,
}

impl TopicReader {
    /// Joins the group and starts the thread. Returns the receiving ends of the writers' channels, each of
    /// which holds at most `capacity` records. When one channel is full, reading stops. The channels close when
    /// the thread has stopped.
    ///
    /// # Errors
    /// When librdkafka refuses the configuration.
    pub(crate) fn start(
        config: &ClientConfig,
        topic: &str,
        trust: SignaturePolicy,
        tracker: Arc<Tracker>,
        readiness: Arc<Readiness>,
        writers: usize,
        capacity: usize,
    ) -> Result<(Self, Vec<mpsc::Receiver<Delivery>>), KafkaError> {
        let last_error = LastKafkaError::of(config);
        let group = Arc::new(Group::new(tracker, readiness, topic, last_error));
        let consumer: BaseConsumer<Context> =
            config.create_with_context(Context(Arc::clone(&group)))?;
        consumer.subscribe(&[topic])?;
        let (writers, receivers) = (0..writers).map(|_| mpsc::channel(capacity)).unzip();
        let (report, stopped) = oneshot::channel();
        let reader = Reader {
            consumer,
            trust,
            group: Arc::clone(&group),
            writers,
            runtime: Handle::current(),
            held: VecDeque::new(),
            full_since: None,
            paused: false,
            next_commit: None,
            commit_timeouts: CommitTimeouts::default(),
        };
        std::thread::Builder::new()
            .name("kafka".to_owned())
            .spawn(move || {
                // Sending fails if the handle was dropped.
                let _ = report.send(reader.run());
            })
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok((Self { group, stopped }, receivers))
    }

    /// Asks the thread to stop reading, to wait until all records that were read are finished (at most
    /// [`DRAIN`](crate::kafka::group::DRAIN)), to commit, and to leave the group.
    pub(crate) fn drain(&self) {
        self.group.drain();
    }

    /// Asks the thread to commit the finished records and to leave the group without waiting for the others.
    pub(crate) fn abandon(&self) {
        self.group.abandon();
    }

    /// Waits until the thread has stopped. It may be called again afterwards.
    ///
    /// # Errors
    /// When the thread stopped because Kafka can no longer be used.
    pub(crate) async fn stopped(&mut self) -> Result<(), KafkaError> {
        if self.stopped.is_terminated() {
            return Ok(());
        }
        // A closed channel means that the thread panicked or ended early, so it has stopped.
        (&mut self.stopped).await.unwrap_or(Ok(()))
    }
}

#[cfg(test)]
impl TopicReader {
    /// A handle without a thread. A test says through the sender how the thread stopped.
    pub(crate) fn without_thread() -> (Self, Arc<Group>, oneshot::Sender<Result<(), KafkaError>>) {
        let readiness = Arc::new(Readiness::new(0));
        let last_error = LastKafkaError::default();
        let group = Arc::new(Group::new(Arc::default(), readiness, "coupons", last_error));
        let (report, stopped) = oneshot::channel();
        let reader = Self {
            group: Arc::clone(&group),
            stopped,
        };
        (reader, group, report)
    }
}

struct Reader {
    consumer: BaseConsumer<Context>,
    trust: SignaturePolicy,
    group: Arc<Group>,
    writers: Vec<mpsc::Sender<Delivery>>,
    runtime: Handle,
    /// Records that were read while there was no room for them. They count as read only when they are sent to
    /// their writer.
    held: VecDeque<HeldRecord>,
    full_since: Option<Instant>,
    paused: bool,
    next_commit: Option<Instant>,
    commit_timeouts: CommitTimeouts,
}

/// A record, and the generation of the assignment under which it was read.
struct HeldRecord {
    generation: u64,
    record: Record,
    decoded: Result<Event, Rejection>,
    read_at: Instant,
}

impl Reader {
    fn run(mut self) -> Result<(), KafkaError> {
        while self.group.is_running() && !self.writers.iter().any(mpsc::Sender::is_closed) {
            self.hand_over();
            let wait = if self.held.is_empty() {
                TICK
            } else {
                Duration::ZERO
            };
            if self.held.is_empty() || self.paused {
                match self.consumer.poll(wait) {
                    Some(Ok(message)) => {
                        self.group.reading_works();
                        let record = record(&message);
                        self.held.push_back(HeldRecord {
                            generation: self.group.tracker.lock().generation(),
                            decoded: decode_trusted(&record, &self.trust),
                            record,
                            read_at: Instant::now(),
                        });
                    }
                    Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                        return Err(KafkaError::MessageConsumptionFatal(code));
                    }
                    // librdkafka recovers by itself. The context logs the reason, except for a missing right.
                    Some(Err(error)) => self.group.reading_failed(&error),
                    None => {}
                }
            }
            self.commit_progress();
        }
        self.group.give_back(&self.consumer);
        // Dropping the consumer leaves the group.
        drop(self.consumer);
        Ok(())
    }

    /// Sends the held records to their writers while there is room. If there is none, waits for one tick.
    fn hand_over(&mut self) {
        while let Some(held) = self.held.pop_front() {
            let writer = &self.writers[writer_of(&held.decoded, self.writers.len())];
            let Some(permit) = writer.try_reserve().ok().or_else(|| {
                let room = async { tokio::time::timeout(TICK, writer.reserve()).await };
                self.runtime.block_on(room).ok()?.ok()
            }) else {
                self.held.push_front(held);
                let full_since = *self.full_since.get_or_insert_with(Instant::now);
                if full_since.elapsed() >= PAUSE_AFTER {
                    // Repeated on purpose: a rebalance may have added partitions that are not paused.
                    self.set_paused(true);
                }
                return;
            };
            self.full_since = None;
            let mut offsets = self.group.tracker.lock();
            // `None` if the partition was given back meanwhile. Its next owner reads the record again.
            let Record {
                partition, offset, ..
            } = held.record;
            if let Some(ticket) = offsets.read(held.generation, partition, offset) {
                drop(offsets);
                permit.send(Delivery {
                    record: held.record,
                    decoded: held.decoded,
                    ticket,
                    read_at: held.read_at,
                });
            }
        }
        if self.paused {
            self.set_paused(false);
        }
    }

    fn set_paused(&mut self, paused: bool) {
        let partitions = self.consumer.assignment();
        let outcome = partitions.and_then(|partitions| {
            if paused {
                self.consumer.pause(&partitions)
            } else {
                self.consumer.resume(&partitions)
            }
        });
        match outcome {
            Ok(()) if self.paused != paused => {
                let state = if paused { "paused" } else { "resumed" };
                info!(paused, "fetching {state}");
                self.paused = paused;
            }
            Ok(()) => {}
            Err(error) => warn!(%error, paused, "pausing or resuming the partitions failed"),
        }
    }

    fn commit_progress(&mut self) {
        self.commit_timeouts
            .look(&self.group.tracker, Instant::now());
        if self.group.take_commit_failed() {
            self.next_commit = Some(Instant::now() + COMMIT_RETRY);
        }
        if self.next_commit.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.next_commit = None;
        let progress = self.group.tracker.lock().take_progress();
        if !progress.is_empty() {
            self.group.commit(&self.consumer, &progress);
            self.next_commit = Some(Instant::now() + COMMIT_EVERY);
        }
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(0).max(0),
        key: message.key().map(|key| Clipped::new(key, LONGEST_KEY)),
        value: message
            .payload()
            .map(|value| Clipped::new(value, LONGEST_VALUE)),
        headers: message.headers().map_or_else(Headers::default, |headers| {
            Headers::keep(kafka_headers(headers))
        }),
    }
}
