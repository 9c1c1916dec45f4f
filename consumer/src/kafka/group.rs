//! This consumer's membership in the Kafka consumer group: it handles assigned and revoked partitions, and commits
//! offsets.
//!
//! Everything here runs in the thread of [`topic`](crate::kafka::topic), in which librdkafka also runs its callbacks. So a
//! commit cannot race with a rebalance, and never names a partition that belongs to another consumer.
//!
//! The assignor is eager (`range`): in a rebalance, a consumer gives back all partitions, after the same drain and
//! commit as at shutdown. With a cooperative assignor, a consumer could keep reading the partitions that it keeps.
//! That would gain nothing here: each writer writes records of all partitions, so draining some partitions waits for
//! the others anyway.

use crate::kafka::tracker::Tracker;
use crate::metrics;
use crate::problems::Problems;
use crate::readiness::Readiness;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientContext, Offset, TopicPartitionList, bindings};
use rushgate_gate::failpoint::failpoint;
use rushgate_startup::{LastKafkaError, causes, is_missing_kafka_right};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// How often the thread checks for a stop or a change while it waits.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// How long the records that were read may take to finish when partitions are given back. After that, the next
/// owner reads them again.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

const RUNNING: u8 = 0;
const DRAINING: u8 = 1;
const ABANDONED: u8 = 2;

/// The state of the membership.
pub(crate) struct Group {
    pub(crate) tracker: Arc<Tracker>,
    readiness: Arc<Readiness>,
    topic: String,
    stop: AtomicU8,
    commit_failed: AtomicBool,
    last_error: LastKafkaError,
    reading: Problems,
    committing: Problems,
}

/// The callbacks of librdkafka. They run in the thread that polls.
pub(crate) struct Context(pub(crate) Arc<Group>);

impl Group {
    pub(crate) fn new(
        tracker: Arc<Tracker>,
        readiness: Arc<Readiness>,
        topic: &str,
        last_error: LastKafkaError,
    ) -> Self {
        Self {
            tracker,
            readiness,
            topic: topic.to_owned(),
            stop: AtomicU8::new(RUNNING),
            commit_failed: AtomicBool::new(false),
            last_error,
            reading: Problems::default(),
            committing: Problems::default(),
        }
    }

    /// A record was read, or partitions were assigned.
    pub(crate) fn reading_works(&self) {
        self.reading.end();
    }

    /// Logs an error of the consumer if a right is missing, once while it lasts.
    pub(crate) fn reading_failed(&self, error: &KafkaError) {
        let is_missing_right = error
            .rdkafka_error_code()
            .is_some_and(is_missing_kafka_right);
        let text = causes(error);
        if is_missing_right && self.reading.is_news(&text) {
            warn!(
                error = text,
                "reading from Kafka failed; retrying until it works"
            );
        } else {
            debug!(error = text, "kafka");
        }
    }

    /// Whether neither [`Self::drain`] nor [`Self::abandon`] was called.
    pub(crate) fn is_running(&self) -> bool {
        self.stop.load(Ordering::Relaxed) == RUNNING
    }

    /// Whether [`Self::abandon`] was called.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.stop.load(Ordering::Relaxed) == ABANDONED
    }

    /// Asks to stop after all records that were read are finished.
    pub(crate) fn drain(&self) {
        self.stop.fetch_max(DRAINING, Ordering::Relaxed);
    }

    /// Asks to stop without waiting for unfinished records.
    pub(crate) fn abandon(&self) {
        self.stop.fetch_max(ABANDONED, Ordering::Relaxed);
    }

    /// Whether a commit has failed since the last call.
    pub(crate) fn take_commit_failed(&self) -> bool {
        self.commit_failed.swap(false, Ordering::Relaxed)
    }

    /// Gives all partitions back, in a rebalance or at shutdown: waits until the records that were read are
    /// finished (at most [`DRAIN`]), and commits.
    pub(crate) fn give_back(&self, consumer: &BaseConsumer<Context>) {
        let deadline = Instant::now() + DRAIN;
        let in_flight = self.tracker.lock().in_flight();
        if in_flight > 0 {
            info!(
                in_flight,
                "partitions are given back when all records that were read are written"
            );
        }
        loop {
            if self.is_abandoned() || self.tracker.wait_until_drained(TICK) {
                break;
            }
            if Instant::now() >= deadline {
                let in_flight = self.tracker.lock().in_flight();
                warn!(
                    in_flight,
                    "partitions were given back before all records that were read were written; their next owner reads them again"
                );
                break;
            }
        }
        let unconfirmed = self.tracker.lock().take_unconfirmed();
        if !unconfirmed.is_empty() {
            self.commit_last(consumer, &unconfirmed);
        }
        self.tracker.change(|offsets| offsets.revoke());
    }

    /// Commits these next offsets and waits for the answer, because the thread does not poll any more.
    fn commit_last(&self, consumer: &BaseConsumer<Context>, progress: &[(i32, i64)]) {
        self.commit_by(progress, |list| consumer.commit(list, CommitMode::Sync));
    }

    /// Commits these next offsets. The answer comes to [`Context::commit_callback`].
    pub(crate) fn commit(&self, consumer: &BaseConsumer<Context>, progress: &[(i32, i64)]) {
        self.commit_by(progress, |list| commit_and_hear(consumer, list));
    }

    fn commit_by(
        &self,
        progress: &[(i32, i64)],
        commit: impl FnOnce(&TopicPartitionList) -> KafkaResult<()>,
    ) {
        let mut list = TopicPartitionList::with_capacity(progress.len());
        let listed: KafkaResult<()> = progress.iter().try_for_each(|(partition, next)| {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*next))
        });
        if let Err(error) = listed.and_then(|()| commit(&list)) {
            self.committed(Err(error), &list);
        }
    }

    fn committed(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let mut tracked = self.tracker.lock();
        let mut failed = None;
        for element in offsets.elements() {
            let outcome = result.clone().and_then(|()| element.error());
            match (outcome, element.offset()) {
                (Ok(()), Offset::Offset(next)) => {
                    failpoint("consumer::offsets_committed");
                    tracked.committed(element.partition(), next);
                }
                (Ok(()), _) => {}
                (Err(error), _) => {
                    tracked.commit_failed(element.partition());
                    failed = Some(error);
                }
            }
        }
        drop(tracked);
        if failed.is_none() {
            self.committing.end();
        }
        if let Some(error) = failed {
            // Harmless: the commit is repeated, or the partition has another owner, which reads the records
            // again.
            metrics::commit_failed();
            self.commit_failed.store(true, Ordering::Relaxed);
            let text = causes(&error);
            if self.committing.is_news(&text) {
                warn!(error = text, "committing offsets failed; retrying");
            }
        }
    }
}

/// Commits without waiting. The answer comes to [`Context::commit_callback`], through the queue that the thread
/// polls.
///
/// rdkafka 0.39's `CommitMode::Async` passes no queue, so the callback is never called, not even for a failed
/// commit (fede1024/rust-rdkafka#856).
fn commit_and_hear(consumer: &BaseConsumer<Context>, list: &TopicPartitionList) -> KafkaResult<()> {
    let client = consumer.client().native_ptr();
    // SAFETY: `client` is valid as long as `consumer`. We own the queue until we destroy it; librdkafka keeps
    // its own reference for the answer, and copies the list.
    #[allow(unsafe_code)]
    let code = unsafe {
        let queue = bindings::rd_kafka_queue_get_consumer(client);
        let code = bindings::rd_kafka_commit_queue(client, list.ptr(), queue, None, null_mut());
        bindings::rd_kafka_queue_destroy(queue);
        code
    };
    match code {
        bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(KafkaError::ConsumerCommit(code.into())),
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(target: "librdkafka", facility, message);
        self.0.last_error.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "librdkafka", %error, reason);
        // Each error comes to [`Group::reading_failed`] as well, which reports a missing right.
        let code = error.rdkafka_error_code();
        if code.is_some_and(is_missing_kafka_right) {
            return;
        }
        self.0.last_error.error(error, reason);
        // librdkafka reports "all brokers down" with every attempt, and the reason about once in 30 s.
        if let Some(error) = self.0.last_error.take()
            && self.0.reading.is_news(&error)
        {
            warn!(error, "the Kafka client reports an error");
        }
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
                self.0.reading_works();
                self.0.readiness.group(true);
            }
            Rebalance::Revoke(list) => {
                info!(partitions = list.count(), "partitions revoked");
                metrics::assigned(0);
                self.0.readiness.group(false);
                if consumer.assignment_lost() {
                    // Another consumer may own them already, so a commit would be refused.
                    self.0.tracker.change(|offsets| offsets.revoke());
                } else {
                    self.0.give_back(consumer);
                }
            }
            Rebalance::Error(error) => warn!(%error, "a rebalance failed"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.0.committed(result, offsets);
    }
}
