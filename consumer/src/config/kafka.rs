//! The part of the settings that is about Kafka, and what librdkafka is told of it.

use super::{BadSetting, Secret, bad};
use clap::{Args, ValueEnum};
use rdkafka::ClientConfig;
use std::path::PathBuf;

/// How to reach Kafka.
#[derive(Clone, Debug, Args)]
pub struct KafkaConfig {
    /// Kafka's bootstrap servers: host:port, several with commas between them
    #[arg(long = "kafka-brokers", env = "KAFKA_BROKERS")]
    #[arg(default_value = "", hide_default_value = true)]
    pub brokers: String,

    /// The topic with the grants.
    #[arg(
        long = "kafka-topic",
        env = "KAFKA_TOPIC",
        default_value = "coupon_create"
    )]
    pub topic: String,

    /// The consumer group.
    #[arg(
        long = "kafka-group",
        env = "KAFKA_GROUP",
        default_value = "rushgate-consumer"
    )]
    pub group: String,

    /// How to speak to Kafka.
    #[arg(
        long = "kafka-security-protocol",
        env = "KAFKA_SECURITY_PROTOCOL",
        default_value = "plaintext"
    )]
    #[arg(value_enum, ignore_case = true)]
    pub security_protocol: SecurityProtocol,

    /// How to log in: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
    #[arg(long = "kafka-sasl-mechanism", env = "KAFKA_SASL_MECHANISM")]
    #[arg(value_parser = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], ignore_case = true)]
    pub sasl_mechanism: Option<String>,

    /// Who logs in.
    #[arg(long = "kafka-sasl-username", env = "KAFKA_SASL_USERNAME")]
    pub sasl_username: Option<String>,

    /// With which password.
    #[arg(
        long = "kafka-sasl-password",
        env = "KAFKA_SASL_PASSWORD",
        hide_env_values = true
    )]
    pub sasl_password: Option<Secret>,

    /// File (PEM) of the authority that signed the brokers' certificates, if the system does not know it.
    #[arg(long = "kafka-ssl-ca", env = "KAFKA_SSL_CA")]
    pub ssl_ca: Option<PathBuf>,
}

/// Kafka's `security.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// Neither encrypted nor logged in.
    Plaintext,
    /// Encrypted.
    Ssl,
    /// Logged in, not encrypted.
    SaslPlaintext,
    /// Logged in and encrypted.
    SaslSsl,
}

impl KafkaConfig {
    pub(super) fn check(&self) -> Result<(), BadSetting> {
        for (variable, value) in [
            ("KAFKA_BROKERS", &self.brokers),
            ("KAFKA_TOPIC", &self.topic),
            ("KAFKA_GROUP", &self.group),
        ] {
            if value.trim().is_empty() {
                return Err(bad(variable, "is not set: give it a value"));
            }
        }
        let sasl = self.security_protocol.logs_in();
        for (variable, there) in [
            ("KAFKA_SASL_MECHANISM", self.sasl_mechanism.is_some()),
            ("KAFKA_SASL_USERNAME", self.sasl_username.is_some()),
            ("KAFKA_SASL_PASSWORD", self.sasl_password.is_some()),
        ] {
            if sasl && !there {
                return Err(bad(
                    variable,
                    "is needed with KAFKA_SECURITY_PROTOCOL=sasl_…: set it",
                ));
            }
            if there && !sasl {
                return Err(bad(
                    variable,
                    "is used only with KAFKA_SECURITY_PROTOCOL=sasl_ssl or sasl_plaintext: set that, or remove it",
                ));
            }
        }
        match &self.ssl_ca {
            Some(_) if !self.security_protocol.encrypts() => Err(bad(
                "KAFKA_SSL_CA",
                "is used only with KAFKA_SECURITY_PROTOCOL=ssl or sasl_ssl: set that, or remove it",
            )),
            Some(file) if !file.is_file() => Err(bad(
                "KAFKA_SSL_CA",
                format!("{} is not a file", file.display()),
            )),
            _ => Ok(()),
        }
    }

    /// librdkafka's configuration.
    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("client.id", "rushgate-consumer")
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", &self.group)
            // Offsets are committed by us, after the database's COMMIT.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // A new group begins with the first grant, not with the next one.
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "range")
            // How long the partitions of a consumer that died wait for another (heartbeats have a thread of
            // their own, so a busy consumer is not taken for a dead one).
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "3000")
            // Fetched ahead: little, since the database is slower than Kafka. Fetching goes on at once when
            // there is room again (the default is to look a second later).
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", "4096")
            .set("fetch.message.max.bytes", "65536")
            .set("fetch.queue.backoff.ms", "20")
            // Not by default: a topic that does not exist yet is asked for again soon.
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("security.protocol", self.security_protocol.as_str());
        let secret = self.sasl_password.as_ref().map(Secret::reveal);
        let ca = self.ssl_ca.as_ref().map(|file| file.display().to_string());
        let optional = [
            ("sasl.mechanism", self.sasl_mechanism.as_deref()),
            ("sasl.username", self.sasl_username.as_deref()),
            ("sasl.password", secret),
            ("ssl.ca.location", ca.as_deref()),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                client.set(name, value);
            }
        }
        client
    }
}

impl SecurityProtocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    fn logs_in(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    fn encrypts(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }
}
