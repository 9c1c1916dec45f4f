//! Why the consumer ends, and what then happens to the records that it has read.

use crate::kafka::group::DRAIN;
use crate::kafka::topic::TopicReader;
use crate::table::error::StoreError;
use rdkafka::error::KafkaError;
use rushgate_startup::BadSetting;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::timeout;
use tracing::{info, warn};

/// How long Kafka may take, after [`DRAIN`], to accept the last commit and the request to leave the group.
const LEAVE: Duration = Duration::from_secs(15);

/// How long the writers may take to end after the group was left.
const CLOSING: Duration = Duration::from_secs(1);

/// The error with which the consumer stops.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// Kafka refuses for good, or librdkafka does not accept the configuration.
    #[error("using Kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// A batch cannot be written and must not be skipped.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The reading thread ended without an error.
    #[error("reading from Kafka ended unexpectedly: start the consumer again")]
    Ended,
}

/// What happened first.
#[derive(Debug)]
pub(crate) enum Ending {
    /// SIGTERM or SIGINT.
    Shutdown,
    /// A writer has met a batch that must not be written; or (`None`) the reading thread has closed the channels
    /// of the writers.
    WritersStopped(Option<StoreError>),
    /// The reading thread stopped, because Kafka can no longer be used; or (`Ok`) because a writer has stopped,
    /// or unexpectedly.
    ReaderStopped(Result<(), KafkaError>),
}

/// Stops what is still running. `writing` ends when everything that was read is written and confirmed, or with the
/// error of a batch that must not be written; it has ended already after [`Ending::WritersStopped`].
///
/// # Errors
/// With the reason why the consumer stopped, unless that was a shutdown.
pub(crate) async fn finish(
    ending: Ending,
    reader: &mut TopicReader,
    writing: Pin<&mut impl Future<Output = Option<StoreError>>>,
) -> Result<(), Stopped> {
    match ending {
        Ending::Shutdown => match drain(reader, writing).await {
            None => Ok(()),
            Some(error) => {
                abandon(reader).await;
                Err(error.into())
            }
        },
        Ending::WritersStopped(error) => {
            abandon(reader).await;
            Err(error.map_or(Stopped::Ended, Stopped::from))
        }
        Ending::ReaderStopped(Ok(())) => {
            // If a writer has stopped, it knows the reason.
            let error = timeout(LEAVE, writing).await.ok().flatten();
            Err(error.map_or(Stopped::Ended, Stopped::from))
        }
        Ending::ReaderStopped(Err(error)) => Err(error.into()),
    }
}

/// Writes, confirms and commits what was read, and leaves the group, as far as the time allows. Returns the error of a
/// batch that must not be written.
async fn drain(
    reader: &mut TopicReader,
    mut writing: Pin<&mut impl Future<Output = Option<StoreError>>>,
) -> Option<StoreError> {
    info!("consumer is draining");
    reader.drain();
    let left = async {
        // The writers end when the reader has closed their channels, or one of them meets a batch that must not be
        // written.
        tokio::select! {
            error = &mut writing => error,
            _ = reader.stopped() => {
                // Nothing is left to write, or it cannot be written now. The writers close their connections.
                let _ = timeout(CLOSING, &mut writing).await;
                None
            }
        }
    };
    let left = timeout(DRAIN + LEAVE, left).await;
    left.unwrap_or_else(|_| {
        warn_of_late_leave();
        None
    })
}

/// Commits the offsets of finished records and leaves the group, if Kafka answers in time.
async fn abandon(reader: &mut TopicReader) {
    reader.abandon();
    if timeout(LEAVE, reader.stopped()).await.is_err() {
        warn_of_late_leave();
    }
}

fn warn_of_late_leave() {
    warn!(
        "leaving the consumer group took too long; Kafka removes this consumer after its session timeout"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::group::Group;
    use rdkafka::types::RDKafkaErrorCode;
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::sync::Arc;

    /// Ends with a reading thread that stops when it is asked to abandon the records, and with writers that end
    /// with `writes`.
    async fn end(
        ending: Ending,
        writes: impl Future<Output = Option<StoreError>>,
    ) -> (Result<(), Stopped>, Arc<Group>) {
        let (mut reader, group, stopped) = TopicReader::without_thread();
        let thread = async {
            while !group.is_abandoned() {
                tokio::task::yield_now().await;
            }
            let _ = stopped.send(Ok(()));
            pending().await
        };
        let writing = pin!(writes);
        let ended = tokio::select! {
            ended = finish(ending, &mut reader, writing) => ended,
            never = thread => never,
        };
        (ended, group)
    }

    fn bad_batch() -> Option<StoreError> {
        Some(StoreError::Unresolved)
    }

    #[tokio::test]
    async fn a_shutdown_waits_for_the_writers() {
        let (ended, group) = end(Ending::Shutdown, ready(None)).await;
        assert!(matches!(ended, Ok(())), "{ended:?}");
        assert!(!group.is_running() && !group.is_abandoned());
    }

    #[tokio::test]
    async fn a_bad_batch_during_a_shutdown_is_an_error() {
        let (ended, group) = end(Ending::Shutdown, ready(bad_batch())).await;
        assert!(matches!(ended, Err(Stopped::Store(_))), "{ended:?}");
        assert!(group.is_abandoned());
    }

    #[tokio::test]
    async fn a_bad_batch_abandons_the_records_of_the_other_writers() {
        let (ended, group) = end(Ending::WritersStopped(bad_batch()), pending()).await;
        assert!(matches!(ended, Err(Stopped::Store(_))), "{ended:?}");
        assert!(group.is_abandoned());
        let (ended, _) = end(Ending::WritersStopped(None), pending()).await;
        assert!(matches!(ended, Err(Stopped::Ended)), "{ended:?}");
    }

    #[tokio::test]
    async fn the_writers_know_why_the_reader_stopped() {
        let stopped = || Ending::ReaderStopped(Ok(()));
        let (ended, _) = end(stopped(), ready(bad_batch())).await;
        assert!(matches!(ended, Err(Stopped::Store(_))), "{ended:?}");
        let (ended, _) = end(stopped(), ready(None)).await;
        assert!(matches!(ended, Err(Stopped::Ended)), "{ended:?}");
    }

    #[tokio::test]
    async fn when_kafka_refuses_for_good_nothing_is_waited_for() {
        let refused = KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::Fenced);
        let (ended, group) = end(Ending::ReaderStopped(Err(refused)), pending()).await;
        assert!(matches!(ended, Err(Stopped::Kafka(_))), "{ended:?}");
        assert!(group.is_running());
    }
}
