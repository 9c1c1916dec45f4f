//! Kafka: a thread of its own reads records, and commits the offsets of those that are done.
//!
//! The thread never waits long for anything but Kafka, so it goes on polling, and keeps its place in the group,
//! while the database is away for hours. All of reading, committing and handing over partitions happens in it:
//! a commit can therefore not race with a rebalance and never speaks of a partition that is somebody else's.
//!
//! The assignor is eager (`range`). At a rebalance all partitions are given back, drained and committed, which
//! is the same routine as at shutdown; cooperative assignors keep partitions in order to read on meanwhile, but
//! with one writer behind all partitions, draining some waits for the others anyway.

use crate::config::KafkaConfig;
use crate::metrics;
use crate::readiness::Readiness;
use crate::record::{Clipped, Delivery, LONGEST_KEY, LONGEST_VALUE, Record};
use crate::tracker::Tracker;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

/// How long what was read may take to be done when partitions are given back: after that, whoever gets them
/// reads it again.
pub const DRAIN: Duration = Duration::from_secs(5);

/// How often the thread looks up from whatever it waits for.
const TICK: Duration = Duration::from_millis(50);

/// After so long without room for the next record, fetching is paused and polling goes on. (Pausing throws
/// away what was fetched ahead, so it is not for short jams.)
const PAUSE_AFTER: Duration = Duration::from_secs(2);

/// How long to wait after a commit that failed.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

const RUNNING: u8 = 0;
const DRAINING: u8 = 1;
const ABANDONED: u8 = 2;

/// The reading thread.
pub struct Source {
    context: Arc<Shared>,
    stopped: oneshot::Receiver<Result<(), KafkaError>>,
}

/// What thread and owner share.
struct Shared {
    tracker: Arc<Tracker>,
    stop: AtomicU8,
    readiness: Arc<Readiness>,
    commit_failed: AtomicBool,
    topic: String,
}

impl Source {
    /// Joins the group. Records come out of the channel, which holds at most `capacity` of them: when nobody
    /// takes them, reading stops. The channel closes when the source has stopped.
    ///
    /// # Errors
    /// When librdkafka refuses the configuration.
    pub fn start(
        config: &KafkaConfig,
        tracker: Arc<Tracker>,
        readiness: Arc<Readiness>,
        capacity: usize,
    ) -> Result<(Self, mpsc::Receiver<Delivery>), KafkaError> {
        let context = Arc::new(Shared {
            tracker,
            stop: AtomicU8::new(RUNNING),
            readiness,
            commit_failed: AtomicBool::new(false),
            topic: config.topic.clone(),
        });
        let consumer: BaseConsumer<Context> = config
            .client()
            .create_with_context(Context(Arc::clone(&context)))?;
        consumer.subscribe(&[&config.topic])?;
        let (sender, receiver) = mpsc::channel(capacity);
        let (report, stopped) = oneshot::channel();
        let reader = Reader {
            consumer,
            context: Arc::clone(&context),
            sender,
            runtime: Handle::current(),
            held: VecDeque::new(),
            full_since: None,
            paused: false,
            commit_again_at: None,
        };
        std::thread::Builder::new()
            .name("kafka".to_owned())
            .spawn(move || {
                // Nobody may be left to hear it.
                let _ = report.send(reader.run());
            })
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok((Self { context, stopped }, receiver))
    }

    /// Asks it to stop reading, to wait until all that was read is done (at most [`DRAIN`]), to commit, and to
    /// leave the group.
    pub fn drain(&self) {
        self.context.stop.fetch_max(DRAINING, Ordering::Relaxed);
    }

    /// Asks it to commit what is done, and to leave the group without waiting for the rest.
    pub fn abandon(&self) {
        self.context.stop.fetch_max(ABANDONED, Ordering::Relaxed);
        self.context.tracker.change(|_| ());
    }

    /// Waits until it has stopped.
    ///
    /// # Errors
    /// When it stopped because Kafka can no longer be used.
    pub async fn stopped(&mut self) -> Result<(), KafkaError> {
        // An error means that the thread is gone without a word, so it has stopped.
        (&mut self.stopped).await.unwrap_or(Ok(()))
    }
}

struct Reader {
    consumer: BaseConsumer<Context>,
    context: Arc<Shared>,
    sender: mpsc::Sender<Delivery>,
    runtime: Handle,
    /// Read, but there was no room for them yet. They count as read only once they are sent.
    held: VecDeque<(u64, Record, Instant)>,
    full_since: Option<Instant>,
    paused: bool,
    commit_again_at: Option<Instant>,
}

impl Reader {
    fn run(mut self) -> Result<(), KafkaError> {
        while self.context.stop.load(Ordering::Relaxed) == RUNNING && !self.sender.is_closed() {
            self.hand_over();
            let wait = if self.held.is_empty() {
                TICK
            } else {
                Duration::ZERO
            };
            if self.held.is_empty() || self.paused {
                match self.consumer.poll(wait) {
                    Some(Ok(message)) => {
                        let generation = self.context.tracker.lock().generation();
                        self.held
                            .push_back((generation, record(&message), Instant::now()));
                    }
                    Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                        return Err(KafkaError::MessageConsumptionFatal(code));
                    }
                    // Logged with its reason by the context; librdkafka goes on by itself.
                    Some(Err(error)) => debug!(%error, "kafka"),
                    None => {}
                }
            }
            self.commit_progress();
        }
        self.context.give_back(&self.consumer);
        // Dropping the consumer leaves the group.
        drop(self.consumer);
        Ok(())
    }

    /// Sends what is held, as far as there is room; waits a tick for room where there is none.
    fn hand_over(&mut self) {
        let sender = self.sender.clone();
        while let Some((generation, record, read_at)) = self.held.pop_front() {
            let permit = sender.try_reserve().ok().or_else(|| {
                let room = async { tokio::time::timeout(TICK, sender.reserve()).await };
                self.runtime.block_on(room).ok()?.ok()
            });
            let Some(permit) = permit else {
                self.held.push_front((generation, record, read_at));
                let full_since = *self.full_since.get_or_insert_with(Instant::now);
                if full_since.elapsed() >= PAUSE_AFTER {
                    // Again each time: a rebalance may have brought partitions that are not paused.
                    self.set_paused(true);
                }
                return;
            };
            self.full_since = None;
            let mut offsets = self.context.tracker.lock();
            // None: its partition was given back while it was held; it is read again by whoever has it now.
            if let Some(ticket) = offsets.read(generation, record.partition, record.offset) {
                drop(offsets);
                permit.send(Delivery::new(record, ticket, read_at));
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
                info!(paused, "fetching");
                self.paused = paused;
            }
            Ok(()) => {}
            Err(error) => warn!(%error, paused, "fetching could not be paused or resumed"),
        }
    }

    fn commit_progress(&mut self) {
        if self.context.commit_failed.swap(false, Ordering::Relaxed) {
            self.commit_again_at = Some(Instant::now() + COMMIT_RETRY);
        }
        if self.commit_again_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.commit_again_at = None;
        let progress = self.context.tracker.lock().take_progress();
        if !progress.is_empty() {
            self.context
                .commit(&self.consumer, &progress, CommitMode::Async);
        }
    }
}

impl Shared {
    /// The one way in which partitions go: all that was read is done, or has had its time, and is committed.
    fn give_back(&self, consumer: &BaseConsumer<Context>) {
        let deadline = Instant::now() + DRAIN;
        loop {
            if self.stop.load(Ordering::Relaxed) == ABANDONED
                || self.tracker.wait_until_drained(TICK)
            {
                break;
            }
            if Instant::now() >= deadline {
                let in_flight = self.tracker.lock().in_flight();
                warn!(
                    in_flight,
                    "partitions are given back before all that was read is written: it will be read again"
                );
                break;
            }
        }
        let unconfirmed = self.tracker.lock().take_unconfirmed();
        if !unconfirmed.is_empty() {
            self.commit(consumer, &unconfirmed, CommitMode::Sync);
        }
        self.tracker.change(|offsets| offsets.revoke());
    }

    fn commit(&self, consumer: &BaseConsumer<Context>, progress: &[(i32, i64)], mode: CommitMode) {
        let mut list = TopicPartitionList::with_capacity(progress.len());
        let listed: KafkaResult<()> = progress.iter().try_for_each(|(partition, next)| {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*next))
        });
        if let Err(error) = listed.and_then(|()| consumer.commit(&list, mode)) {
            self.committed(Err(error), &list);
        }
    }

    fn committed(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let mut tracked = self.tracker.lock();
        let mut failed = None;
        for element in offsets.elements() {
            let outcome = result.clone().and_then(|()| element.error());
            match (outcome, element.offset()) {
                (Ok(()), Offset::Offset(next)) => tracked.committed(element.partition(), next),
                (Ok(()), _) => {}
                (Err(error), _) => {
                    tracked.commit_failed(element.partition());
                    failed = Some(error);
                }
            }
        }
        drop(tracked);
        if let Some(error) = failed {
            // Harmless: it is tried again, or the partition is somebody else's and read again there.
            metrics::commit_failed();
            self.commit_failed.store(true, Ordering::Relaxed);
            warn!(%error, "offsets could not be committed");
        }
    }
}

/// What librdkafka calls, in the thread that polls.
struct Context(Arc<Shared>);

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        warn!(%error, reason, "kafka");
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                let partitions: Vec<i32> = list.elements().iter().map(|e| e.partition()).collect();
                info!(?partitions, "partitions assigned");
                metrics::assigned(partitions.len());
                self.0.tracker.change(|offsets| offsets.assign(partitions));
                self.0.readiness.group(true);
            }
            Rebalance::Revoke(list) => {
                info!(partitions = list.count(), "partitions revoked");
                metrics::assigned(0);
                self.0.readiness.group(false);
                if consumer.assignment_lost() {
                    // Somebody else may have them already; a commit would be refused.
                    self.0.tracker.change(|offsets| offsets.revoke());
                } else {
                    self.0.give_back(consumer);
                }
            }
            Rebalance::Error(error) => warn!(%error, "rebalance"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.0.committed(result, offsets);
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
        headers: message.headers().map_or_else(Vec::new, |headers| {
            Record::keep_headers(headers.iter().map(|header| (header.key, header.value)))
        }),
    }
}
