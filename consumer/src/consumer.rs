//! The loop: take a batch, settle it, have it confirmed, say so to the offsets.

use crate::alarm::Alarm;
use crate::batch::Batch;
use crate::config::{BadSetting, Config};
use crate::confirm::{Committed, Confirmer, WAITING};
use crate::failure::{Backoff, number};
use crate::group::DRAIN;
use crate::metrics;
use crate::pace::Pace;
use crate::readiness::Readiness;
use crate::record::Delivery;
use crate::source::Source;
use crate::store::{Fate, Settled, Store, StoreError};
use crate::tracker::Tracker;
use rdkafka::error::KafkaError;
use rushgate_gate::fault::{is_planted, may_die};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{info, warn};

/// How long Kafka gets, beyond [`DRAIN`], to take the last commit and let us leave the group.
const LEAVE: Duration = Duration::from_secs(15);

/// How long what is committed may still wait for its confirmation when a batch must not be written.
const LAST_CONFIRMATIONS: Duration = Duration::from_secs(5);

/// Why the consumer stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// A setting cannot be used.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// Kafka refuses for good, or its client the configuration.
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// A batch cannot be written, and must not be passed over.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The reading thread is gone without a reason.
    #[error("reading from Kafka ended unexpectedly")]
    Ended,
}

/// Consumes until `shutdown`. Then what was read is written, its offsets are committed and the group is left,
/// or, when that takes too long, left to whoever reads it next. Nothing is lost either way.
///
/// # Errors
/// When it cannot go on. The offsets of what was not written stand still.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Stopped> {
    config.check()?;
    let mut shutdown = pin!(shutdown);
    let readiness = Arc::new(Readiness::default());
    let mut store = Store::new(
        config.database()?,
        config.kafka.topic.clone(),
        config.all_bad_stops_at as usize,
    );
    tokio::select! {
        () = database_answers(&mut store) => readiness.database(true),
        () = &mut shutdown => return Ok(()),
    }

    let pace = Pace::new(config.rows_per_second());
    let size = (config.batch_size as usize).min(pace.portion());
    let tracker = Arc::new(Tracker::default());
    // One batch is gathered while another is written; what is beyond that waits in Kafka.
    let (mut source, deliveries) = Source::start(
        &config.kafka,
        Arc::clone(&tracker),
        Arc::clone(&readiness),
        size,
    )?;
    let batch = Batch::new(size, config.batch_age());
    let confirmer = Confirmer::new(
        config.redis()?,
        Alarm::new(config.database()?),
        Arc::clone(&tracker),
    );
    let (committed, to_confirm) = mpsc::channel(WAITING);
    let writer = Writer {
        store,
        tracker,
        readiness,
        pace,
        committed,
    };
    let mut writer = pin!(write_and_confirm(
        writer.run(batch, deliveries),
        confirmer.run(to_confirm)
    ));

    let stopped = tokio::select! {
        error = &mut writer => Err(error.map_or(Stopped::Ended, Stopped::from)),
        outcome = source.stopped() => Err(outcome.map_or_else(Stopped::from, |()| Stopped::Ended)),
        () = shutdown => Ok(()),
    };
    match stopped {
        Ok(()) => {
            info!("draining");
            source.drain();
            let left = async {
                // The writer ends when the source has closed its channel; or it meets a batch that it must not write.
                tokio::select! {
                    error = &mut writer => error.map_or(Ok(()), |error| Err(Stopped::from(error))),
                    _ = source.stopped() => Ok(()),
                }
            };
            let drained = timeout(DRAIN + LEAVE, left).await;
            let drained = drained.unwrap_or_else(|_| {
                warn!("kafka did not let us leave the group in time");
                Ok(())
            });
            if drained.is_err() {
                abandon(&mut source).await;
            }
            drained
        }
        Err(error) => {
            if !matches!(error, Stopped::Kafka(_)) {
                abandon(&mut source).await;
            }
            Err(error)
        }
    }
}

/// Does both at once, until nothing is left to write and all of it is confirmed; or until a batch must not be
/// written, when what was written before still has a moment to be confirmed.
async fn write_and_confirm(
    writer: impl Future<Output = Option<StoreError>>,
    confirmer: impl Future<Output = ()>,
) -> Option<StoreError> {
    let mut confirmer = pin!(confirmer);
    let error = tokio::select! {
        error = writer => error,
        // It ends when the writer has.
        () = &mut confirmer => return None,
    };
    match &error {
        None => confirmer.await,
        Some(_) => {
            if timeout(LAST_CONFIRMATIONS, confirmer).await.is_err() {
                warn!(
                    "what was written last is not confirmed; it will be when it is delivered again"
                );
            }
        }
    }
    error
}

/// Commits what is done and leaves the group, if Kafka lets us in time.
async fn abandon(source: &mut Source) {
    source.abandon();
    if timeout(LEAVE, source.stopped()).await.is_err() {
        warn!("kafka did not let us leave the group in time");
    }
}

/// Returns once the database can be used.
async fn database_answers(store: &mut Store) {
    let mut backoff = Backoff::default();
    loop {
        let problem = match timeout(backoff.deadline(), store.check()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        let wait = backoff.failed(rand::random());
        warn!(
            error = problem,
            failures = backoff.failures(),
            wait_ms = wait.as_millis(),
            "the database cannot be used yet: is it up, and have the migrations been run?"
        );
        sleep(wait).await;
    }
}

/// What writes.
struct Writer {
    store: Store,
    tracker: Arc<Tracker>,
    readiness: Arc<Readiness>,
    pace: Pace,
    committed: mpsc::Sender<Committed>,
}

impl Writer {
    /// Writes what comes until the channel is closed (`None`) or a batch must not be written.
    async fn run(
        mut self,
        mut batch: Batch<Delivery>,
        mut deliveries: mpsc::Receiver<Delivery>,
    ) -> Option<StoreError> {
        loop {
            let due_at = batch.due_at();
            tokio::select! {
                biased;
                delivery = deliveries.recv() => match delivery {
                    Some(delivery) => {
                        let read_at = delivery.read_at;
                        batch.push(delivery, read_at);
                    }
                    None => return None,
                },
                () = sleep_until(due_at.unwrap_or_else(Instant::now).into()), if due_at.is_some() => {}
            }
            while !batch.is_full()
                && let Ok(delivery) = deliveries.try_recv()
            {
                let read_at = delivery.read_at;
                batch.push(delivery, read_at);
            }
            if batch.is_due(Instant::now()) {
                let batch = batch.take();
                sleep(self.pace.admit(batch.len(), Instant::now())).await;
                if let Err(error) = self.write(batch).await {
                    return Some(error);
                }
            }
        }
    }

    /// Settles a batch, in as many attempts as it takes, and lets its offsets go.
    async fn write(&mut self, mut batch: Vec<Delivery>) -> Result<(), StoreError> {
        let taken_up = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            {
                // What was given back meanwhile is read, and written, by whoever has it now.
                let offsets = self.tracker.lock();
                batch.retain(|delivery| offsets.is_valid(&delivery.ticket));
            }
            if batch.is_empty() {
                return Ok(());
            }
            may_die("consumer::read");
            if is_planted("bug::offsets_before_commit") {
                self.tracker.change(|offsets| {
                    batch
                        .iter()
                        .for_each(|delivery| offsets.done(&delivery.ticket))
                });
            }
            match timeout(backoff.deadline(), self.store.settle(&batch)).await {
                Ok(Ok(settled)) => {
                    self.readiness.database(true);
                    if backoff.failures() > 0 {
                        info!(
                            failures = backoff.failures(),
                            records = batch.len(),
                            "written after all"
                        );
                    }
                    metrics::batch(batch.len(), taken_up.elapsed());
                    count(&batch, &settled);
                    let committed = Committed::of(&batch, &settled.fates);
                    // Nobody receives any more only when all of this is being dropped.
                    let _ = self.committed.send(committed).await;
                    return Ok(());
                }
                Ok(Err(error)) if !error.is_retryable() => return Err(error),
                Ok(Err(error)) => self.retry_later(&mut backoff, &batch, Some(error)).await,
                Err(_) => self.retry_later(&mut backoff, &batch, None).await,
            }
        }
    }

    /// After an attempt that failed, or (`None`) took too long.
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
        let wait = backoff.failed(rand::random());
        // A deadlock or two is everyday business; who waits longer is not ready.
        if backoff.failures() > 2 {
            self.readiness.database(false);
        }
        warn!(
            error = error.map_or_else(|| "no answer in time".to_owned(), |error| error.to_string()),
            code,
            failures = backoff.failures(),
            records = batch.len(),
            wait_ms = wait.as_millis(),
            "a batch is to be written again"
        );
        sleep(wait).await;
    }
}

/// Counts what became of a batch, and logs what was refused: where it stands, and never whose it is.
fn count(batch: &[Delivery], settled: &Settled) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    for (delivery, fate) in batch.iter().zip(&settled.fates) {
        match fate {
            Fate::Inserted => {
                let granted_at = delivery.decoded.as_ref().map_or(0, |event| event.at.get());
                let granted_at = Duration::from_millis(granted_at.unsigned_abs());
                metrics::inserted(now.saturating_sub(granted_at));
            }
            Fate::Done => metrics::already_done(),
            Fate::Revoked => metrics::revoked(),
            Fate::Refused(refusal) => {
                metrics::failed(refusal.reason);
                warn!(
                    reason = %refusal.reason,
                    partition = delivery.record.partition,
                    offset = delivery.record.offset,
                    "dead letter"
                );
            }
        }
    }
}
