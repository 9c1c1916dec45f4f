//! Starts and stops the parts of the consumer: a thread that reads the topic, several writers that insert batches, and
//! a task that confirms the rows at the gate. At shutdown, the consumer writes, confirms and commits the records that
//! it has already read, for a limited time.

use crate::batch::Batch;
use crate::config::Config;
use crate::ending::{Ending, Stopped, finish};
use crate::gate::confirm::{Confirmer, WAITING};
use crate::gate::halt::CampaignHalter;
use crate::kafka::topic::TopicReader;
use crate::kafka::tracker::Tracker;
use crate::problems::Problems;
use crate::rate_limit::RateLimit;
use crate::readiness::Readiness;
use crate::replayer::Replayer;
use crate::table::error::StoreError;
use crate::table::parking::Parking;
use crate::table::row_codes::RowCodes;
use crate::table::store::Store;
use crate::table::streak::Streak;
use crate::writer::Writer;
use rushgate_startup::Backoff;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// How long committed rows may still be confirmed after the consumer has met a batch that must not be written.
const LAST_CONFIRMATIONS: Duration = Duration::from_secs(5);

/// Consumes until `shutdown` completes. Then the records that were read are written, their offsets are
/// committed, and the consumer leaves the group. Records for which the time is too short are read again by the
/// next owner of their partitions. Nothing is lost either way.
///
/// # Errors
/// When the consumer cannot continue. The offsets of unwritten records are not committed.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Stopped> {
    config.check()?;
    let mut shutdown = pin!(shutdown);
    let readiness = Arc::new(Readiness::new(config.writers()));
    let streak = Streak::new(config.all_bad_stops_at as usize);
    let (database, topic) = (config.database.options()?, &config.kafka.topic);
    let codes = RowCodes::new(config.coupon_codes.keys()?);
    let store = || {
        Store::new(
            database.clone(),
            topic.clone(),
            streak.clone(),
            codes.clone(),
        )
    };
    let stores = (0..config.writers()).map(|_| store());
    let mut stores: Vec<Store> = stores.collect();
    tokio::select! {
        () = database_answers(&mut stores, &readiness) => {}
        () = &mut shutdown => return Ok(()),
    }

    let rate_limit = Arc::new(RateLimit::new(config.rows_per_second()));
    let size = (config.batch_size as usize).min(rate_limit.portion());
    let tracker = Arc::new(Tracker::default());
    // Each writer gathers a batch while it writes another one. Everything else waits in Kafka.
    let (mut topic_reader, channels) = TopicReader::start(
        &config.kafka_client()?,
        topic,
        config.trust()?,
        Arc::clone(&tracker),
        Arc::clone(&readiness),
        stores.len(),
        size,
    )?;
    let confirmer = Confirmer::new(
        config.redis.client()?,
        CampaignHalter::new(database.clone()),
        Parking::new(database.clone(), topic.clone()),
        Arc::clone(&tracker),
    );
    let (committed, to_confirm) = mpsc::channel(WAITING);
    let problems = Arc::new(Problems::default());
    let mut writers = JoinSet::new();
    for (index, (store, deliveries)) in stores.into_iter().zip(channels).enumerate() {
        let writer = Writer {
            index,
            store,
            tracker: Arc::clone(&tracker),
            readiness: Arc::clone(&readiness),
            problems: Arc::clone(&problems),
            rate_limit: Arc::clone(&rate_limit),
            committed: committed.clone(),
        };
        writers.spawn(writer.run(Batch::new(size, config.batch_age), deliveries));
    }
    let replayer = Replayer::new(store(), config.trust()?, rate_limit, committed);
    let mut writing = pin!(write_and_confirm(
        all_written(writers, replayer),
        confirmer.run(to_confirm)
    ));

    let ending = tokio::select! {
        error = &mut writing => Ending::WritersStopped(error),
        outcome = topic_reader.stopped() => Ending::ReaderStopped(outcome),
        () = shutdown => Ending::Shutdown,
    };
    finish(ending, &mut topic_reader, writing).await
}

/// Waits until the writers have written everything. If one of them meets a batch that must not be written, the
/// others are stopped as well, and their records will be read again. Parked dead letters are replayed
/// meanwhile. The confirmer ends after this, when the last sender of its channel is dropped.
async fn all_written(
    writers: JoinSet<Option<StoreError>>,
    replayer: Replayer,
) -> Option<StoreError> {
    replayer.run_until(written(writers)).await
}

async fn written(mut writers: JoinSet<Option<StoreError>>) -> Option<StoreError> {
    while let Some(outcome) = writers.join_next().await {
        match outcome {
            Ok(None) => {}
            Ok(error) => return error,
            Err(ended) => {
                if let Ok(panic) = ended.try_into_panic() {
                    resume_unwind(panic);
                }
            }
        }
    }
    None
}

/// Writes and confirms at the same time, until everything is written and confirmed. If a batch must not be
/// written, earlier batches still have a moment to be confirmed.
async fn write_and_confirm(
    writer: impl Future<Output = Option<StoreError>>,
    confirmer: impl Future<Output = ()>,
) -> Option<StoreError> {
    let mut confirmer = pin!(confirmer);
    let error = tokio::select! {
        error = writer => error,
        // The confirmer ends after the writers.
        () = &mut confirmer => return None,
    };
    match &error {
        None => confirmer.await,
        Some(_) => {
            if timeout(LAST_CONFIRMATIONS, confirmer).await.is_err() {
                warn!(
                    "the last rows could not be confirmed in time; they are confirmed when their records are read again"
                );
            }
        }
    }
    error
}

/// Returns when the database can be used by all writers.
async fn database_answers(stores: &mut [Store], readiness: &Readiness) {
    for (writer, store) in stores.iter_mut().enumerate() {
        answers(store).await;
        readiness.database(writer, true);
    }
}

async fn answers(store: &mut Store) {
    let mut backoff = Backoff::default();
    loop {
        let problem = match timeout(backoff.deadline(), store.check()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if backoff.is_news(&problem) {
            warn!(
                error = problem,
                "the database cannot be used yet; retrying until it works. Check that it is running, and run the migrations with \
                 `rushgate setup`"
            );
        }
        sleep(backoff.failed()).await;
    }
}
