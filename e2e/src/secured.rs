//! The settings with which programs reach the servers over TLS. Redis has a port for it, Kafka has listeners, and the
//! database accepts both on its port.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "for tests: what cannot be set up ends the test, and says why"
)]

use crate::shared::server;
use rushgate_testbed::certificates::{AUTHORITY, CLIENT, Certificates, KEY_PASSWORD, LOCKED};
use rushgate_testbed::port::Port;
use rushgate_testbed::servers::kafka::{CLIENT_CERTIFICATE, LOGIN};
use rushgate_testbed::servers::redis::Tls;
use std::sync::Arc;

/// What one system needs for this.
#[derive(Clone, Debug)]
pub struct Secured {
    pub certificates: Certificates,
    /// The second port of Redis.
    redis: Arc<Port>,
}

/// Variables and their values.
type Settings = Vec<(&'static str, String)>;

impl Secured {
    pub(crate) fn new() -> Self {
        Self {
            certificates: Certificates::in_directory(server("RUSHGATE_CERTIFICATES")),
            redis: Port::free().expect("a free port").into(),
        }
    }

    pub(crate) fn redis(&self) -> Tls {
        Tls {
            port: self.redis.number(),
            certificates: self.certificates.clone(),
        }
    }

    /// Changes the settings of a program: TLS with a verified name to every server.
    pub(crate) fn secure(&self, settings: &mut Settings) {
        let authority = self.file(AUTHORITY);
        let mut more = vec![];
        for (variable, value) in settings.iter_mut() {
            match *variable {
                "REDIS_URL" | "SPIN_VARIABLE_REDIS_URL" => {
                    let address = value.trim_start_matches("redis://");
                    let host = address.rsplit_once(':').expect("a port").0;
                    *value = format!("rediss://{host}:{}", self.redis.number());
                    more.push(match *variable {
                        "REDIS_URL" => ("REDIS_SSL_CA", authority.clone()),
                        // Spin's Redis client has no setting for it: it reads this variable of the process.
                        _ => ("SSL_CERT_FILE", authority.clone()),
                    });
                }
                "DATABASE_URL" => {
                    let verified = format!("VERIFY_IDENTITY&ssl-ca={authority}");
                    *value = value.replace("DISABLED", &verified);
                }
                "KAFKA_BROKERS" => {
                    *value = tls_kafka(LOGIN);
                    more.push(("KAFKA_SSL_CA", authority.clone()));
                }
                "KAFKA_SECURITY_PROTOCOL" => "SASL_SSL".clone_into(value),
                "KAFKA_SASL_MECHANISM" => "SCRAM-SHA-256".clone_into(value),
                _ => {}
            }
        }
        settings.extend(more);
    }

    /// A client certificate to Redis and to Kafka, there in place of a password.
    pub fn client_certificate(&self) -> Settings {
        let certificate = self.file(CLIENT);
        let key = |name| self.certificates.key(name).display().to_string();
        vec![
            ("REDIS_SSL_CERTIFICATE", certificate.clone()),
            ("REDIS_SSL_KEY", key(CLIENT)),
            ("KAFKA_BROKERS", tls_kafka(CLIENT_CERTIFICATE)),
            ("KAFKA_SECURITY_PROTOCOL", "SSL".to_owned()),
            ("KAFKA_SASL_MECHANISM", String::new()),
            ("KAFKA_SASL_USERNAME", String::new()),
            ("KAFKA_SASL_PASSWORD", String::new()),
            ("KAFKA_SSL_CERTIFICATE", certificate),
            ("KAFKA_SSL_KEY", key(LOCKED)),
            ("KAFKA_SSL_KEY_PASSWORD", KEY_PASSWORD.to_owned()),
        ]
    }

    /// The file with this certificate.
    pub fn file(&self, certificate: &str) -> String {
        let file = self.certificates.certificate(certificate);
        file.display().to_string()
    }
}

/// The address of a listener with TLS.
pub fn tls_kafka(listener: &str) -> String {
    let listeners = server("RUSHGATE_TLS_KAFKA");
    let mut listeners = listeners.split_whitespace();
    let found = listeners.find_map(|named| named.strip_prefix(listener)?.strip_prefix('='));
    found.expect(listener).to_owned()
}
