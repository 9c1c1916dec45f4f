//! The loop of one writer: it takes a batch, writes it with as many attempts as needed, and passes it on to be
//! confirmed.

use crate::batch::Batch;
use crate::gate::committed::Committed;
use crate::kafka::record::Delivery;
use crate::kafka::tracker::Tracker;
use crate::metrics;
use crate::problems::Problems;
use crate::rate_limit::RateLimit;
use crate::readiness::Readiness;
use crate::table::error::StoreError;
use crate::table::failure::number;
use crate::table::outcome::RecordOutcome;
use crate::table::store::Store;
use rushgate_gate::CampaignId;
use rushgate_gate::failpoint::{failpoint, is_active};
use rushgate_startup::Backoff;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{info, warn};

/// How often a writer with an unfinished batch looks for more records. It is not woken up by each of them.
const LOOK: Duration = Duration::from_millis(5);

/// Writes batches over one database connection.
pub(crate) struct Writer {
    /// Its number, for the readiness.
    pub(crate) index: usize,
    pub(crate) store: Store,
    /// Knows which records still belong to this consumer.
    pub(crate) tracker: Arc<Tracker>,
    pub(crate) readiness: Arc<Readiness>,
    /// Those of all writers: the database usually fails for all of them at once.
    pub(crate) problems: Arc<Problems>,
    /// The limit of rows per second for all writers together.
    pub(crate) rate_limit: Arc<RateLimit>,
    /// Passes committed batches on to the confirmer.
    pub(crate) committed: mpsc::Sender<Committed>,
}

impl Writer {
    /// Writes records until the channel is closed (returns `None`) or a batch must not be written (returns the
    /// reason).
    pub(crate) async fn run(
        mut self,
        mut batch: Batch<Delivery>,
        mut deliveries: mpsc::Receiver<Delivery>,
    ) -> Option<StoreError> {
        loop {
            if gather(&mut batch, &mut deliveries).await.is_break() {
                self.store.close().await;
                return None;
            }
            if batch.is_due(Instant::now()) {
                let batch = batch.take();
                sleep(self.rate_limit.admit(batch.len(), Instant::now())).await;
                if let Err(error) = self.write_batch(batch).await {
                    return Some(error);
                }
            }
        }
    }

    /// Writes a batch, in as many attempts as it takes, and passes it on to be confirmed.
    async fn write_batch(&mut self, mut batch: Vec<Delivery>) -> Result<(), StoreError> {
        let taken_up = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            {
                // Drop the records of partitions that were given back meanwhile: their next owner reads and
                // writes them.
                let offsets = self.tracker.lock();
                batch.retain(|delivery| offsets.is_valid(&delivery.ticket));
            }
            if batch.is_empty() {
                return Ok(());
            }
            failpoint("consumer::read");
            if is_active("bug::offsets_before_commit") {
                self.tracker.change(|offsets| {
                    batch
                        .iter()
                        .for_each(|delivery| offsets.done(&delivery.ticket))
                });
            }
            match timeout(backoff.deadline(), self.store.write(&batch)).await {
                Ok(Ok(outcomes)) => {
                    self.readiness.database(self.index, true);
                    self.problems.end();
                    if backoff.failures() > 0 {
                        info!(
                            failures = backoff.failures(),
                            records = batch.len(),
                            "the batch was written after retries"
                        );
                    }
                    metrics::batch(batch.len(), taken_up.elapsed());
                    count(&batch, &outcomes);
                    let committed = Committed::of(batch, outcomes);
                    // Sending fails only if the whole consumer is being dropped.
                    let _ = self.committed.send(committed).await;
                    return Ok(());
                }
                Ok(Err(error)) if !error.is_retryable() => return Err(error),
                Ok(Err(error)) => self.retry_later(&mut backoff, &batch, Some(error)).await,
                Err(_) => self.retry_later(&mut backoff, &batch, None).await,
            }
        }
    }

    /// Waits after an attempt that failed, or (`None`) took too long.
    async fn retry_later(
        &self,
        backoff: &mut Backoff,
        batch: &[Delivery],
        error: Option<StoreError>,
    ) {
        let code = match &error {
            Some(StoreError::Database(error)) => number(error),
            _ => 0,
        };
        metrics::retry(code);
        let wait = backoff.failed();
        // One or two deadlocks are normal. After more failures, the consumer is not ready.
        if backoff.failures() > 2 {
            self.readiness.database(self.index, false);
        }
        let problem =
            error.map_or_else(|| "no answer in time".to_owned(), |error| error.to_string());
        // The batch's own memory keeps a problem of this batch alone quiet while other batches are written.
        if backoff.is_news(&problem) && self.problems.is_news(&problem) {
            warn!(
                error = problem,
                code,
                records = batch.len(),
                "writing a batch failed; retrying until it works"
            );
        }
        sleep(wait).await;
    }
}

/// Waits for records and adds them to the batch, until it is full or no more are there. Breaks when the channel is closed.
async fn gather(
    batch: &mut Batch<Delivery>,
    deliveries: &mut mpsc::Receiver<Delivery>,
) -> ControlFlow<()> {
    let mut next = match batch.due_at() {
        None => deliveries.recv().await.ok_or(TryRecvError::Disconnected),
        Some(due_at) => {
            sleep_until(due_at.min(Instant::now() + LOOK).into()).await;
            deliveries.try_recv()
        }
    };
    while let Ok(delivery) = next {
        let read_at = delivery.read_at;
        batch.push(delivery, read_at);
        if batch.is_full() {
            return ControlFlow::Continue(());
        }
        next = deliveries.try_recv();
    }
    match next {
        Err(TryRecvError::Disconnected) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    }
}

/// Counts the outcomes of a batch, and logs each dead letter by its place in Kafka, without the applicant.
fn count(batch: &[Delivery], outcomes: &[RecordOutcome]) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut since_grants = Vec::with_capacity(batch.len());
    for (delivery, outcome) in batch.iter().zip(outcomes) {
        match outcome {
            RecordOutcome::Inserted | RecordOutcome::InsertedRevoked => {
                let granted_at = delivery.decoded.as_ref().map_or(0, |event| event.at.get());
                let granted_at = Duration::from_millis(granted_at.unsigned_abs());
                since_grants.push(now.saturating_sub(granted_at));
            }
            RecordOutcome::AlreadyInserted | RecordOutcome::AlreadyRevoked => {
                metrics::already_done()
            }
            RecordOutcome::Revoked => metrics::revoked(),
            RecordOutcome::Rejected(rejection) => {
                metrics::failed(rejection.reason.as_str());
                let campaign = delivery.campaign();
                warn!(
                    campaign = campaign.as_ref().map_or("", CampaignId::as_str),
                    reason = %rejection.reason,
                    parked = rejection.reason.is_parked(),
                    partition = delivery.record.partition,
                    offset = delivery.record.offset,
                    "a record became a dead letter"
                );
            }
        }
    }
    metrics::inserted(&since_grants);
}
