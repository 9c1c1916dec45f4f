//! Our part in the consumer group: partitions that come and go, and offsets that are committed.
//!
//! All of it happens in the thread of [`source`](crate::topic), where librdkafka calls us too: a commit can
//! therefore not race with a rebalance and never speaks of a partition that is somebody else's.
//!
//! The assignor is eager (`range`). At a rebalance all partitions are given back, drained and committed, which
//! is the same routine as at shutdown. Cooperative assignors leave us partitions in order to read on meanwhile,
//! but every writer writes of all partitions, so draining some waits for the others anyway.

use crate::metrics;
use crate::readiness::Readiness;
use crate::tracker::Tracker;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientContext, Offset, TopicPartitionList, bindings};
use rushgate_gate::failpoint::failpoint;
use rushgate_settings::LastKafkaError;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// How often the thread looks up from whatever it waits for.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// How long what was read may take to be done when partitions are given back: after that, whoever gets them
/// reads it again.
pub const DRAIN: Duration = Duration::from_secs(5);

const RUNNING: u8 = 0;
const DRAINING: u8 = 1;
const ABANDONED: u8 = 2;

/// Our part in the group.
pub(crate) struct Group {
    pub(crate) tracker: Arc<Tracker>,
    readiness: Arc<Readiness>,
    topic: String,
    stop: AtomicU8,
    commit_failed: AtomicBool,
    last_error: LastKafkaError,
}

/// What librdkafka calls, in the thread that polls.
pub(crate) struct Context(pub(crate) Arc<Group>);

impl Group {
    /// A part in a group that is not joined yet.
    pub(crate) fn new(tracker: Arc<Tracker>, readiness: Arc<Readiness>, topic: &str) -> Self {
        Self {
            tracker,
            readiness,
            topic: topic.to_owned(),
            stop: AtomicU8::new(RUNNING),
            commit_failed: AtomicBool::new(false),
            last_error: LastKafkaError::default(),
        }
    }

    /// Whether nobody has asked to stop.
    pub(crate) fn is_running(&self) -> bool {
        self.stop.load(Ordering::Relaxed) == RUNNING
    }

    /// Asks to stop when all that was read is done.
    pub(crate) fn drain(&self) {
        self.stop.fetch_max(DRAINING, Ordering::Relaxed);
    }

    /// Asks to stop without waiting for what is not done.
    pub(crate) fn abandon(&self) {
        self.stop.fetch_max(ABANDONED, Ordering::Relaxed);
    }

    /// Whether a commit failed since this was last asked.
    pub(crate) fn take_commit_failed(&self) -> bool {
        self.commit_failed.swap(false, Ordering::Relaxed)
    }

    /// The one way in which partitions go: all that was read is done, or has had its time, and is committed.
    pub(crate) fn give_back(&self, consumer: &BaseConsumer<Context>) {
        let deadline = Instant::now() + DRAIN;
        let in_flight = self.tracker.lock().in_flight();
        if in_flight > 0 {
            info!(
                in_flight,
                "partitions are given back when all that was read is written"
            );
        }
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
            self.commit_last(consumer, &unconfirmed);
        }
        self.tracker.change(|offsets| offsets.revoke());
    }

    /// Commits these next offsets of our partitions, and waits for the answer: nobody polls any more.
    fn commit_last(&self, consumer: &BaseConsumer<Context>, progress: &[(i32, i64)]) {
        self.commit_by(progress, |list| consumer.commit(list, CommitMode::Sync));
    }

    /// Commits these next offsets of our partitions. The answer comes to [`Context::commit_callback`].
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
        if let Some(error) = failed {
            // Harmless: it is tried again, or the partition is somebody else's and read again there.
            metrics::commit_failed();
            self.commit_failed.store(true, Ordering::Relaxed);
            warn!(%error, "offsets could not be committed");
        }
    }
}

/// Commits without waiting; the answer comes to [`Context::commit_callback`], out of the queue that is polled.
///
/// `CommitMode::Async` of rdkafka 0.39 names no queue, so that no answer ever comes, also not that it failed
/// (fede1024/rust-rdkafka#856).
fn commit_and_hear(consumer: &BaseConsumer<Context>, list: &TopicPartitionList) -> KafkaResult<()> {
    let client = consumer.client().native_ptr();
    // SAFETY: `client` lives as long as `consumer`. The queue is ours until we destroy it; librdkafka keeps hold of it
    // for the answer. Of the list it makes a copy.
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
        self.0.last_error.error(error, reason);
        // That all brokers are down comes with every attempt, why they are is told once in 30 s.
        if let Some(error) = self.0.last_error.take() {
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
