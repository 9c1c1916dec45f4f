//! The whole: read, write in writers, confirm; and how that ends.

use crate::batch::Batch;
use crate::config::Config;
use crate::confirm::{Confirmer, WAITING};
use crate::failure::Backoff;
use crate::group::DRAIN;
use crate::halt::CampaignHalter;
use crate::parked::Parking;
use crate::rate_limit::RateLimit;
use crate::readiness::Readiness;
use crate::replayer::Replayer;
use crate::store::{Store, StoreError};
use crate::streak::Streak;
use crate::topic::TopicReader;
use crate::tracker::Tracker;
use crate::writer::Writer;
use rdkafka::error::KafkaError;
use rushgate_settings::BadSetting;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// How long Kafka gets, beyond [`DRAIN`], to take the last commit and let us leave the group.
const LEAVE: Duration = Duration::from_secs(15);

/// How long the writers may take to end once the topic is left.
const CLOSING: Duration = Duration::from_secs(1);

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
    let readiness = Arc::new(Readiness::new(config.writers()));
    let streak = Streak::new(config.all_bad_stops_at as usize);
    let (database, topic) = (config.database.options()?, &config.kafka.topic);
    let store = || Store::new(database.clone(), topic.clone(), streak.clone());
    let stores = (0..config.writers()).map(|_| store());
    let mut stores: Vec<Store> = stores.collect();
    tokio::select! {
        () = database_answers(&mut stores, &readiness) => {}
        () = &mut shutdown => return Ok(()),
    }

    let rate_limit = Arc::new(RateLimit::new(config.rows_per_second()));
    let size = (config.batch_size as usize).min(rate_limit.portion());
    let tracker = Arc::new(Tracker::default());
    // Each writer gathers a batch while it writes another; what is beyond that waits in Kafka.
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
    let mut writers = JoinSet::new();
    for (index, (store, deliveries)) in stores.into_iter().zip(channels).enumerate() {
        let writer = Writer {
            index,
            store,
            tracker: Arc::clone(&tracker),
            readiness: Arc::clone(&readiness),
            rate_limit: Arc::clone(&rate_limit),
            committed: committed.clone(),
        };
        writers.spawn(writer.run(Batch::new(size, config.batch_age()), deliveries));
    }
    let replayer = Replayer::new(store(), config.trust()?, rate_limit, committed);
    let mut writing = pin!(write_and_confirm(
        all_written(writers, replayer),
        confirmer.run(to_confirm)
    ));

    let stopped = tokio::select! {
        error = &mut writing => Err(error.map_or(Stopped::Ended, Stopped::from)),
        outcome = topic_reader.stopped() => match outcome {
            // It stops also when a writer has; then that one knows why.
            Ok(()) => {
                let error = timeout(LEAVE, writing.as_mut()).await.ok().flatten();
                Err(error.map_or(Stopped::Ended, Stopped::from))
            }
            Err(error) => Err(error.into()),
        },
        () = shutdown => Ok(()),
    };
    match stopped {
        Ok(()) => {
            info!("draining");
            topic_reader.drain();
            let left = async {
                // It ends when the reader has closed the writers; or one meets a batch that it must not write.
                tokio::select! {
                    error = &mut writing => error.map_or(Ok(()), |error| Err(Stopped::from(error))),
                    _ = topic_reader.stopped() => {
                        // Nothing is left to write, or it cannot be written now. The writers end their sessions.
                        let _ = timeout(CLOSING, writing.as_mut()).await;
                        Ok(())
                    }
                }
            };
            let drained = timeout(DRAIN + LEAVE, left).await;
            let drained = drained.unwrap_or_else(|_| {
                warn!("kafka did not let us leave the group in time");
                Ok(())
            });
            if drained.is_err() {
                abandon(&mut topic_reader).await;
            }
            drained
        }
        Err(error) => {
            if !matches!(error, Stopped::Kafka(_)) {
                abandon(&mut topic_reader).await;
            }
            Err(error)
        }
    }
}

/// Waits until all writers have written all that came; or until one meets a batch that must not be written, when what
/// the others are writing is given up too, and delivered again. What is parked is replayed meanwhile. The confirmer, which
/// ends when nobody can send it anything, does not end before.
async fn all_written(
    writers: JoinSet<Option<StoreError>>,
    replayer: Replayer,
) -> Option<StoreError> {
    tokio::select! {
        error = written(writers) => error,
        never = replayer.run() => match never {},
    }
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
async fn abandon(topic_reader: &mut TopicReader) {
    topic_reader.abandon();
    if timeout(LEAVE, topic_reader.stopped()).await.is_err() {
        warn!("kafka did not let us leave the group in time");
    }
}

/// Returns once the database can be used in all writers.
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
