//! Why Kafka cannot be used, in words that name the variable to look at.
//!
//! librdkafka tries again on its own, and a caller that waits is told only that no answer came. The reason comes apart
//! from that: as an error event, or, for a connection that the broker has closed, only as a line of its log.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What librdkafka has said last of a connection that failed. As the context of a client it hears that by itself.
#[derive(Clone, Debug, Default)]
pub struct LastKafkaError(Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>);

impl LastKafkaError {
    /// What has failed since this was last asked, with the variables to look at.
    pub fn take(&self) -> Option<String> {
        let (code, reason) = self.lock().take()?;
        Some(explained(code, &reason))
    }

    /// The client's `error`, by what was heard of its reason.
    pub fn explain(&self, error: &KafkaError) -> String {
        let code = error.rdkafka_error_code();
        self.take().unwrap_or_else(|| {
            explained(code.unwrap_or(RDKafkaErrorCode::Fail), &error.to_string())
        })
    }

    /// All is well: what was heard before says nothing about an error that is still to come.
    pub fn forget(&self) {
        *self.lock() = None;
    }

    /// Whether waiting is of no use: Kafka refuses the login, or one of the two the other's certificate.
    pub fn is_refusal(&self) -> bool {
        use RDKafkaErrorCode::{Authentication, SSL};
        matches!(*self.lock(), Some((Authentication | SSL, _)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<(RDKafkaErrorCode, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for LastKafkaError {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            // It begins with the name of the thread.
            let reason = message
                .split_once("]: ")
                .map_or(message, |(_, reason)| reason);
            *self.lock() = Some((RDKafkaErrorCode::BrokerTransportFailure, reason.to_owned()));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // It comes after what made it so.
            None | Some(RDKafkaErrorCode::AllBrokersDown) => {}
            Some(code) => *self.lock() = Some((code, reason.to_owned())),
        }
    }
}

impl ConsumerContext for LastKafkaError {}

fn explained(code: RDKafkaErrorCode, reason: &str) -> String {
    // It ends in how long the connection had stood, which says nothing to the reader.
    let reason = reason
        .rsplit_once(" (after ")
        .map_or(reason, |(reason, _)| reason);
    let advice = match code {
        RDKafkaErrorCode::Authentication => {
            "are KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM right?"
        }
        RDKafkaErrorCode::SSL => "are KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CA right?",
        RDKafkaErrorCode::BrokerTransportFailure
        | RDKafkaErrorCode::MessageTimedOut
        | RDKafkaErrorCode::OperationTimedOut
        | RDKafkaErrorCode::Resolve => {
            "is Kafka running, and are KAFKA_BROKERS and KAFKA_SECURITY_PROTOCOL right?"
        }
        _ => return reason.to_owned(),
    };
    format!("{reason}: {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_that_was_heard_is_told_once_and_names_the_variables() {
        let last = LastKafkaError::default();
        let timed_out = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let untold = last.explain(&timed_out);
        assert!(
            untold.contains("imed out") && untold.contains("KAFKA_BROKERS"),
            "{untold}"
        );

        for (code, variable) in [
            (RDKafkaErrorCode::Authentication, "KAFKA_SASL_PASSWORD"),
            (RDKafkaErrorCode::SSL, "KAFKA_SSL_CA"),
            (
                RDKafkaErrorCode::BrokerTransportFailure,
                "KAFKA_SECURITY_PROTOCOL",
            ),
        ] {
            let level = RDKafkaLogLevel::Error;
            last.log(level, "FAIL", "[thrd:host:9092]: host:9092: no");
            assert!(!last.is_refusal());
            last.error(KafkaError::Global(code), "host:9092: no");
            last.error(
                KafkaError::Global(RDKafkaErrorCode::AllBrokersDown),
                "1/1 brokers are down",
            );
            assert_eq!(
                last.is_refusal(),
                code != RDKafkaErrorCode::BrokerTransportFailure
            );
            let told = last.explain(&timed_out);
            assert!(
                told.starts_with("host:9092: no: ") && told.contains(variable),
                "{told}"
            );
        }
        assert_eq!(last.explain(&timed_out), untold);
    }

    #[test]
    fn a_connection_that_the_broker_closes_is_heard_of_in_the_log() {
        let last = LastKafkaError::default();
        let message =
            "[thrd:host:9092/bootstrap]: host:9092/bootstrap: Disconnected (after 3ms in state UP)";
        last.log(RDKafkaLogLevel::Info, "FAIL", message);
        let told = last.take().expect("heard");
        assert!(
            told.starts_with("host:9092/bootstrap: Disconnected: is Kafka running"),
            "{told}"
        );
        last.log(RDKafkaLogLevel::Info, "SOMETHING", message);
        assert_eq!(last.take(), None);
        last.log(RDKafkaLogLevel::Info, "FAIL", message);
        last.forget();
        assert_eq!(last.take(), None);
    }
}
