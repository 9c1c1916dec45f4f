//! Explains why Kafka cannot be used, and names the settings of our program that the operator should check.
//!
//! librdkafka retries by itself, and a waiting caller sees only a timeout. librdkafka reports the reason separately,
//! as an error event. If the broker closed the connection, there is no event, only a line in librdkafka's log.
//! [`LastKafkaError`] keeps the latest event or line.

use crate::broker_certificate::problem;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext};
use rushgate_gate::tls_error::{TlsError, TlsSettings};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const TLS: TlsSettings = TlsSettings {
    ca: "KAFKA_SSL_CA",
    certificate: "set KAFKA_SSL_CERTIFICATE and KAFKA_SSL_KEY to a certificate that its authorities have signed and \
                  that is not too old",
    address: "KAFKA_BROKERS",
};

/// The last error of a connection. Install it as the context of a client, or call its `log` and `error` from
/// one.
#[derive(Clone, Debug, Default)]
pub struct LastKafkaError {
    last: Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>,
    /// The authorities that the client trusts.
    ca: Option<PathBuf>,
}

impl LastKafkaError {
    /// For clients with these settings.
    pub fn of(client: &ClientConfig) -> Self {
        Self {
            ca: client.get("ssl.ca.location").map(PathBuf::from),
            ..Self::default()
        }
    }

    /// Takes the last error since the previous call, with the settings to check. After a broker's certificate was
    /// refused, it connects to that broker to find out why, for some seconds at most.
    pub fn take(&self) -> Option<String> {
        let (code, reason) = self.lock().take()?;
        Some(self.explained(code, &reason))
    }

    /// Explains the client's `error` with the remembered reason, if there is one. See [`Self::take`].
    pub fn explain(&self, error: &KafkaError) -> String {
        let code = error.rdkafka_error_code();
        self.take().unwrap_or_else(|| {
            self.explained(code.unwrap_or(RDKafkaErrorCode::Fail), &error.to_string())
        })
    }

    /// Forgets the remembered error after a success.
    pub fn forget(&self) {
        *self.lock() = None;
    }

    /// Whether waiting is useless: Kafka refused the login, or a certificate was refused.
    pub fn is_refusal(&self) -> bool {
        use RDKafkaErrorCode::{Authentication, SSL};
        matches!(*self.lock(), Some((Authentication | SSL, _)))
    }

    fn explained(&self, code: RDKafkaErrorCode, reason: &str) -> String {
        // Drop the end, which says how long the connection had been in its state.
        let reason = reason
            .rsplit_once(" (after ")
            .map_or(reason, |(reason, _)| reason);
        let certificate = problem(reason, self.ca.as_deref());
        // librdkafka's own text names its own settings.
        let reason = certificate.as_deref().unwrap_or(reason);
        match TlsError::of(reason) {
            Some(tls) => format!("{reason}: {}", tls.advice(&TLS)),
            None => match advice(code) {
                Some(advice) => format!("{reason}: {advice}"),
                None => reason.to_owned(),
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(RDKafkaErrorCode, String)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for LastKafkaError {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            // The message begins with the thread's name.
            let reason = message
                .split_once("]: ")
                .map_or(message, |(_, reason)| reason);
            *self.lock() = Some((RDKafkaErrorCode::BrokerTransportFailure, reason.to_owned()));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // AllBrokersDown follows the error that caused it, and adds nothing.
            None | Some(RDKafkaErrorCode::AllBrokersDown) => {}
            Some(code) => *self.lock() = Some((code, reason.to_owned())),
        }
    }
}

impl ConsumerContext for LastKafkaError {}

/// What to do about an error.
pub(crate) fn advice(code: RDKafkaErrorCode) -> Option<&'static str> {
    Some(match code {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            "check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM"
        }
        RDKafkaErrorCode::SSL => "check KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CA",
        RDKafkaErrorCode::BrokerTransportFailure
        | RDKafkaErrorCode::MessageTimedOut
        | RDKafkaErrorCode::OperationTimedOut
        | RDKafkaErrorCode::Resolve => {
            "check that Kafka is running, and check KAFKA_BROKERS and KAFKA_SECURITY_PROTOCOL"
        }
        RDKafkaErrorCode::TopicAuthorizationFailed => {
            "the Kafka user lacks a right on the topic (KAFKA_TOPIC): give it the rights that deploy/rights/kafka.sh \
             lists for this program"
        }
        RDKafkaErrorCode::GroupAuthorizationFailed => {
            "the Kafka user lacks a right on the consumer group (KAFKA_GROUP): give it the rights that \
             deploy/rights/kafka.sh lists for this program"
        }
        // An idempotent producer that may not write to any topic gets this.
        RDKafkaErrorCode::ClusterAuthorizationFailed => {
            "the Kafka user lacks a right, such as Write on the topic (KAFKA_TOPIC): give it the rights that \
             deploy/rights/kafka.sh lists for this program"
        }
        _ => return None,
    })
}

/// Whether the Kafka user lacks a right. It goes away when an administrator grants the right.
pub fn is_missing_kafka_right(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, GroupAuthorizationFailed, TopicAuthorizationFailed,
    };
    matches!(
        code,
        ClusterAuthorizationFailed | GroupAuthorizationFailed | TopicAuthorizationFailed
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_is_reported_once_and_names_the_variables() {
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
            assert!(!last.is_refusal(), "{code:?}");
            last.error(KafkaError::Global(code), "host:9092: no");
            last.error(
                KafkaError::Global(RDKafkaErrorCode::AllBrokersDown),
                "1/1 brokers are down",
            );
            assert_eq!(
                last.is_refusal(),
                code != RDKafkaErrorCode::BrokerTransportFailure,
                "{code:?}"
            );
            let told = last.explain(&timed_out);
            assert!(
                told.starts_with("host:9092: no: ") && told.contains(variable),
                "{code:?}: {told}"
            );
        }
        assert_eq!(last.explain(&timed_out), untold);
    }

    #[test]
    fn a_connection_that_the_broker_closes_is_found_in_the_log() {
        let last = LastKafkaError::default();
        let message =
            "[thrd:host:9092/bootstrap]: host:9092/bootstrap: Disconnected (after 3ms in state UP)";
        last.log(RDKafkaLogLevel::Info, "FAIL", message);
        let told = last.take().expect("heard");
        assert!(
            told.starts_with("host:9092/bootstrap: Disconnected: check that Kafka is running"),
            "{told}"
        );
        last.log(RDKafkaLogLevel::Info, "SOMETHING", message);
        assert_eq!(last.take(), None);
        last.log(RDKafkaLogLevel::Info, "FAIL", message);
        last.forget();
        assert_eq!(last.take(), None);
    }
}
