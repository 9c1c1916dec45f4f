//! Reads all settings of the bridge from flags and environment variables. They are checked before anything starts.

use crate::kafka::record::ValueFormat;
use clap::Parser;
use rushgate_startup::{
    BadSetting, KafkaSettings, MetricsSettings, RedisSettings, Settings, duration_or_number_of,
};
use std::num::NonZeroUsize;
use std::time::Duration;

/// Moves grants from Redis to Kafka: reads them from the streams, publishes them, and acks them after the
/// delivery report
#[derive(Clone, Debug, Parser)]
#[command(name = "kafka-bridge", version)]
pub struct Config {
    #[command(flatten)]
    pub redis: RedisSettings,
    /// Name of this bridge in the consumer groups. It must be different for every bridge and the same again
    /// after a restart [default: the host name]
    #[arg(long, env = "BRIDGE_CONSUMER_NAME", value_name = "NAME")]
    pub consumer_name: Option<String>,
    /// How long an entry must have been pending at another bridge before this one takes it over
    #[arg(long, env = "BRIDGE_CLAIM_IDLE", default_value = "60s", value_name = "DURATION", value_parser = up_to_a_day())]
    pub claim_idle: Duration,
    /// How long a bridge must have been silent before its name is removed from the groups, if nothing is
    /// pending under it
    #[arg(long, env = "BRIDGE_FORGET_IDLE", default_value = "24h", value_name = "DURATION", value_parser = up_to_a_day())]
    pub forget_idle: Duration,
    #[command(flatten)]
    pub kafka: KafkaSettings,
    /// Value of a record: the event as JSON, or the bare user id as 8 bytes, big-endian
    #[arg(long, env = "KAFKA_VALUE_FORMAT", default_value = "json")]
    pub value_format: ValueFormat,
    /// How long Kafka may take to confirm a record before it is sent again
    #[arg(long, env = "BRIDGE_DELIVERY_TIMEOUT", default_value = "120s", value_name = "DURATION", value_parser = up_to_a_day())]
    pub delivery_timeout: Duration,
    /// Maximum number of entries in memory, from read to ack; about 1 KB each
    #[arg(long, env = "BRIDGE_WINDOW", default_value = "10000")]
    pub window: NonZeroUsize,
    /// Maximum number of entries in one read
    #[arg(long, env = "BRIDGE_READ_COUNT", default_value = "1000")]
    pub read_count: NonZeroUsize,
    /// How long to wait for delivery reports and acks at shutdown
    #[arg(long, env = "BRIDGE_DRAIN_TIMEOUT", default_value = "10s", value_name = "DURATION", value_parser = up_to_a_day())]
    pub drain_timeout: Duration,
    /// How often to measure the age of the oldest grant without a row
    #[arg(long, env = "BRIDGE_OVERDUE_EVERY", default_value = "30s", value_name = "DURATION", value_parser = up_to_a_day())]
    pub overdue_every: Duration,
    #[command(flatten)]
    pub metrics: MetricsSettings,
}

impl Settings for Config {}

impl Config {
    /// The name of this bridge in the consumer groups.
    ///
    /// # Errors
    /// When no name is set and the machine has no host name.
    pub fn consumer(&self) -> Result<String, BadSetting> {
        // A blank name counts as unset: two bridges with the same name would read each other's pending entries.
        let named = self.consumer_name.as_ref();
        if let Some(name) = named.filter(|name| !name.trim().is_empty()) {
            return Ok(name.clone());
        }
        let host = rustix::system::uname()
            .nodename()
            .to_str()
            .map(str::to_owned);
        host.ok().filter(|name| !name.is_empty()).ok_or_else(|| {
            BadSetting::new(
                "BRIDGE_CONSUMER_NAME",
                "is not set, and this machine has no usable host name: set a name that no other bridge has",
            )
        })
    }
}

/// How the durations are parsed. They used to be numbers of seconds. No setting needs more than a day, and the limits of
/// librdkafka and Redis are far above it.
fn up_to_a_day() -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync {
    let limits = Duration::from_millis(1)..=Duration::from_hours(24);
    duration_or_number_of(Duration::from_secs(1), limits)
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
    fn the_defaults_are_as_documented() {
        let config = parse(&[]).expect("enough");
        assert_eq!(config.kafka.topic, "coupon_create");
        assert_eq!(config.value_format, ValueFormat::Json);
        assert_eq!(
            (config.window.get(), config.read_count.get()),
            (10_000, 1_000)
        );
        assert_eq!(config.claim_idle, Duration::from_secs(60));
        assert_eq!(config.forget_idle, Duration::from_secs(86_400));
        assert_eq!(config.drain_timeout, Duration::from_secs(10));
        assert_eq!(config.overdue_every, Duration::from_secs(30));
        assert_eq!(config.delivery_timeout, Duration::from_secs(120));
        let host = config.consumer().expect("a host name");
        assert!(!host.is_empty());
        for blank in ["", " "] {
            let unnamed = parse(&["--consumer-name", blank]).expect("enough");
            assert_eq!(unnamed.consumer().as_ref(), Ok(&host), "{blank:?}");
        }
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
            ("--claim-idle", "0s", "write a duration from 1ms to 24h"),
            ("--claim-idle", "25h", "write a duration from 1ms to 24h"),
            ("--value-format", "avro", "possible values: json, long"),
            ("--window", "0", "zero"),
            ("--metrics-listen", "9100", "--metrics-listen <ADDRESS>"),
        ] {
            let error = parse(&[flag, value]).expect_err(value).to_string();
            assert!(error.contains(advice), "{flag}={value}: {error}");
        }
    }
}
