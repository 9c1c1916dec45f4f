//! The settings, from flags and environment, checked before anything starts.

use crate::record::ValueFormat;
use clap::{Args, Parser};
use redis::IntoConnectionInfo;
use redis::io::tcp::TcpSettings;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

/// Carries grants from Redis to Kafka: reads, publishes, and acks after the delivery report.
#[derive(Clone, Debug, Parser)]
#[command(name = "kafka-bridge", version)]
pub struct Config {
    /// The Redis to read from.
    #[command(flatten)]
    pub redis: RedisConfig,
    /// The Kafka to publish to.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// Most entries held at once, from read to ack. It bounds memory (about 1 KB each)
    #[arg(long, env = "BRIDGE_WINDOW", default_value = "10000")]
    pub window: NonZeroUsize,
    /// Most entries read at once
    #[arg(long, env = "BRIDGE_READ_COUNT", default_value = "1000")]
    pub read_count: NonZeroUsize,
    /// How long to wait at the end for delivery reports and acks
    #[arg(long, env = "BRIDGE_DRAIN_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// Where to serve metrics, such as 0.0.0.0:9100; not served if left out
    #[arg(long, env = "METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
}

/// Where Redis is, and as whom to read.
#[derive(Args, Clone, Debug)]
pub struct RedisConfig {
    /// Redis, such as redis://127.0.0.1:6379 (rediss:// for TLS)
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub redis_url: Secret,
    /// The name under which entries are pending here: its own for every bridge, and the same again after a
    /// restart [default: the host name]
    #[arg(long, env = "BRIDGE_CONSUMER_NAME", value_name = "NAME")]
    pub consumer_name: Option<String>,
    /// After how long another bridge's pending entries are taken over
    #[arg(long, env = "BRIDGE_CLAIM_IDLE", default_value = "60s", value_parser = duration)]
    pub claim_idle: Duration,
}

/// Where Kafka is, and what to publish there.
#[derive(Args, Clone, Debug)]
pub struct KafkaConfig {
    /// Kafka's brokers: host:port, separated by commas
    #[arg(long = "kafka-brokers", env = "KAFKA_BROKERS", value_name = "BROKERS")]
    pub brokers: String,
    /// The topic
    #[arg(
        long = "kafka-topic",
        env = "KAFKA_TOPIC",
        default_value = "coupon_create"
    )]
    pub topic: String,
    /// What a record's value is: the event as JSON, or the bare user id as 8 bytes, big-endian
    #[arg(long, env = "KAFKA_VALUE_FORMAT", default_value = "json")]
    pub value_format: ValueFormat,
    /// How long Kafka may take over one record before it is sent anew
    #[arg(long, env = "BRIDGE_DELIVERY_TIMEOUT", default_value = "120s", value_parser = duration)]
    pub delivery_timeout: Duration,
    /// librdkafka's security.protocol: plaintext, ssl, sasl_plaintext or sasl_ssl
    #[arg(
        long = "kafka-security-protocol",
        env = "KAFKA_SECURITY_PROTOCOL",
        value_name = "PROTOCOL"
    )]
    pub security_protocol: Option<String>,
    /// librdkafka's sasl.mechanism, such as SCRAM-SHA-512
    #[arg(
        long = "kafka-sasl-mechanism",
        env = "KAFKA_SASL_MECHANISM",
        value_name = "MECHANISM"
    )]
    pub sasl_mechanism: Option<String>,
    /// User for SASL
    #[arg(
        long = "kafka-sasl-username",
        env = "KAFKA_SASL_USERNAME",
        value_name = "NAME"
    )]
    pub sasl_username: Option<String>,
    /// Password for SASL
    #[arg(
        long = "kafka-sasl-password",
        env = "KAFKA_SASL_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true
    )]
    pub sasl_password: Option<Secret>,
    /// File with the certificates of the authorities that sign the brokers' ones
    #[arg(long = "kafka-ssl-ca", env = "KAFKA_SSL_CA", value_name = "FILE")]
    pub ssl_ca: Option<String>,
}

/// A text that is not shown.
#[derive(Clone)]
pub struct Secret(String);

/// Why there is no telling which Redis is meant.
#[derive(Debug, thiserror::Error)]
#[error(
    "REDIS_URL is not the address of a Redis: write redis://host:port, \
     redis://user:password@host:port/database, or rediss:// for TLS"
)]
pub struct BadRedisUrl;

/// Why the name of this bridge is not known.
#[derive(Debug, thiserror::Error)]
#[error("this machine has no usable host name: set BRIDGE_CONSUMER_NAME")]
pub struct NoName;

impl RedisConfig {
    /// A client of that Redis. It does not connect yet.
    ///
    /// # Errors
    /// When the address is none. The client's own message is left out: it may hold parts of a password.
    pub fn client(&self) -> Result<redis::Client, BadRedisUrl> {
        let address = self.redis_url.expose().into_connection_info();
        // The end of a long pipeline does not wait until its beginning is acknowledged.
        let undelayed = TcpSettings::default().set_nodelay(true);
        let client = address.and_then(|it| redis::Client::open(it.set_tcp_settings(undelayed)));
        client.map_err(|_| BadRedisUrl)
    }

    /// The name under which to read.
    ///
    /// # Errors
    /// When none is set and the host has none.
    pub fn consumer(&self) -> Result<String, NoName> {
        if let Some(name) = &self.consumer_name {
            return Ok(name.clone());
        }
        let host = rustix::system::uname()
            .nodename()
            .to_str()
            .map(str::to_owned);
        host.ok().filter(|name| !name.is_empty()).ok_or(NoName)
    }
}

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A duration such as `500ms`, `60s` or `5m`; not zero.
fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text[..text.len() - unit.len()].parse::<u64>().ok();
    let milliseconds = match unit {
        "ms" => number,
        "s" | "" => number.and_then(|number| number.checked_mul(1_000)),
        "m" => number.and_then(|number| number.checked_mul(60_000)),
        _ => None,
    };
    // A day is more than any of these can mean, and far less than librdkafka's and Redis' limits.
    milliseconds
        .filter(|milliseconds| (1..=86_400_000).contains(milliseconds))
        .map(Duration::from_millis)
        .ok_or_else(|| "write a number and a unit, ms, s or m, from 1ms to a day: 60s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(more: &[&str]) -> Result<Config, clap::Error> {
        let needed = [
            "kafka-bridge",
            "--redis-url",
            "redis://anna:s3cret@r:6380/2",
            "--kafka-brokers",
            "k:9092",
        ];
        Config::try_parse_from(needed.iter().chain(more))
    }

    #[test]
    fn the_defaults_are_those_of_the_readme() {
        let config = parse(&[]).expect("enough");
        assert_eq!(config.kafka.topic, "coupon_create");
        assert_eq!(config.kafka.value_format, ValueFormat::Json);
        assert_eq!(
            (config.window.get(), config.read_count.get()),
            (10_000, 1_000)
        );
        assert_eq!(config.redis.claim_idle, Duration::from_secs(60));
        assert_eq!(config.drain_timeout, Duration::from_secs(10));
        assert_eq!(config.kafka.delivery_timeout, Duration::from_secs(120));
        assert!(!config.redis.consumer().expect("a host name").is_empty());
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = parse(&["--kafka-sasl-password", "s3cret"]).expect("enough");
        let shown = format!("{config:?}");
        assert!(
            !shown.contains("s3cret") && !shown.contains("anna"),
            "{shown}"
        );
    }

    #[test]
    fn bad_values_are_refused_with_advice() {
        for (flag, value, advice) in [
            ("--claim-idle", "0s", "write a number and a unit"),
            ("--claim-idle", "1 hour", "write a number and a unit"),
            ("--value-format", "avro", "possible values: json, long"),
            ("--window", "0", "zero"),
            ("--metrics-listen", "9100", "--metrics-listen <ADDRESS>"),
        ] {
            let error = parse(&[flag, value]).expect_err(value).to_string();
            assert!(error.contains(advice), "{error}");
        }
    }

    #[test]
    fn a_bad_address_is_refused_without_showing_it() {
        let flags = [
            "kafka-bridge",
            "--redis-url",
            "http://:s3cret@h",
            "--kafka-brokers",
            "k:1",
        ];
        let config = Config::try_parse_from(flags).expect("enough");
        let error = config.redis.client().expect_err("not a Redis").to_string();
        assert!(
            error.contains("write redis://host:port") && !error.contains("s3cret"),
            "{error}"
        );
    }

    #[test]
    fn durations_have_units() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("60s", 60_000),
            ("5m", 300_000),
            ("7", 7_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for text in [
            "",
            "s",
            "-1s",
            "1h",
            "1.5s",
            "99999999999999999999s",
            "2000m",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
