//! The events of the Kafka producer, which librdkafka reports from its own threads.

use crate::entry::EntryRef;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rushgate_startup::LastKafkaError;
use tokio::sync::mpsc::UnboundedSender;

/// An event from librdkafka's threads. The channel is unbounded, but holds few events: at most one for each
/// record in flight, and those about connections.
#[derive(Debug)]
pub(crate) enum ProducerEvent {
    /// The delivery report of a record.
    Report {
        sent: Sent,
        /// `Ok` if the broker has confirmed the record.
        outcome: Result<(), KafkaError>,
    },
    /// A connection to Kafka has failed.
    Error,
}

/// A record that was given to librdkafka.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) entry: EntryRef,
    pub(crate) partition: i32,
}

/// The callbacks that librdkafka calls from its own threads.
#[derive(Clone)]
pub(crate) struct ProducerCallbacks {
    pub(crate) events: UnboundedSender<ProducerEvent>,
    pub(crate) last_error: LastKafkaError,
}

impl ClientContext for ProducerCallbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // librdkafka repeats this line with every attempt. What matters comes as an event.
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
        // Sending fails only after the bridge has stopped. The entry is still pending in Redis.
        let _ = self.events.send(ProducerEvent::Report {
            sent: *sent,
            outcome,
        });
    }
}
