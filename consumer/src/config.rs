//! Reads all settings of the consumer from flags and environment variables. They are checked before anything starts.

use clap::Parser;
use rdkafka::ClientConfig;
use rushgate_gate::signature::SignaturePolicy;
use rushgate_startup::{
    BadSetting, ConsumerGroup, CouponCodeSettings, DatabaseSettings, ExposeSecret, KafkaSettings,
    MetricsSettings, RedisSettings, Renamed, SecretString, Settings, duration,
};
use std::num::NonZeroU32;
use std::time::Duration;

/// Reads grants from Kafka, inserts them into MySQL or MariaDB, and confirms them at the gate
#[derive(Clone, Debug, Parser)]
#[command(name = "consumer", version)]
pub struct Config {
    #[command(flatten)]
    pub database: DatabaseSettings,

    #[command(flatten)]
    pub redis: RedisSettings,

    #[command(flatten)]
    pub kafka: KafkaSettings,

    #[command(flatten)]
    pub group: ConsumerGroup,

    #[command(flatten)]
    pub coupon_codes: CouponCodeSettings,

    /// Maximum number of records in a transaction
    #[arg(long, env = "CONSUMER_BATCH_SIZE", default_value_t = 1024)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch_size: u32,

    /// Number of writers; each has its own database connection and one open transaction at a time
    #[arg(long, env = "CONSUMER_WRITERS", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=16))]
    pub writers: u32,

    /// How long a record may wait for others to share its transaction
    #[arg(
        long,
        env = "CONSUMER_BATCH_AGE",
        value_name = "DURATION",
        default_value = "5ms"
    )]
    #[arg(value_parser = duration(Duration::ZERO..=Duration::from_mins(1)))]
    pub batch_age: Duration,

    /// Maximum number of rows per second, to protect a database that other programs need too; 0 means no limit
    #[arg(long, env = "CONSUMER_MAX_ROWS_PER_SECOND", default_value_t = 0)]
    pub max_rows_per_second: u32,

    /// Stop after this many dead letters in a row, of several campaigns and without a good record between them;
    /// 0 means never
    #[arg(long, env = "CONSUMER_ALL_BAD_STOPS_AT", default_value_t = 10)]
    pub all_bad_stops_at: u32,

    #[command(flatten)]
    pub metrics: MetricsSettings,
}

impl Settings for Config {
    const RENAMED: &'static [Renamed] = &[
        Renamed {
            variable: "CONSUMER_LANES",
            flag: "lanes",
            now: "writers",
            unit: "",
        },
        Renamed {
            variable: "CONSUMER_BATCH_AGE_MS",
            flag: "batch-age-ms",
            now: "batch-age",
            unit: "ms",
        },
    ];
}

impl Config {
    /// Checks the addresses, and that the settings fit together.
    pub fn check(&self) -> Result<(), BadSetting> {
        self.database.options()?;
        self.redis.client()?;
        self.coupon_codes.keys()?;
        self.kafka_client().map(drop)
    }

    /// # Errors
    /// When a setting cannot be used.
    pub fn kafka_client(&self) -> Result<ClientConfig, BadSetting> {
        let mut client = self.kafka.client("rushgate-consumer")?;
        client
            .set("group.id", self.group.id()?)
            // The consumer commits offsets itself, after the database's COMMIT.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Bridges do not use transactions. A transaction that another producer leaves open must not delay
            // the bridges' records.
            .set("isolation.level", "read_uncommitted")
            // A new group starts with the first record of the topic.
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "range")
            // How long the partitions of a dead consumer wait for another owner. Heartbeats have their own
            // thread, so a busy consumer does not look dead.
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "3000")
            // Little is fetched ahead, because the database is slower than Kafka. When there is room again,
            // fetching continues at once, instead of after a second by default.
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", "4096")
            .set("fetch.message.max.bytes", "65536")
            .set("fetch.queue.backoff.ms", "20")
            // More often than by default, so that a topic that is created later is found soon.
            .set("topic.metadata.refresh.interval.ms", "10000");
        Ok(client)
    }

    /// The signing keys, and whether a signature is required.
    ///
    /// # Errors
    /// When a key cannot be used.
    pub fn trust(&self) -> Result<SignaturePolicy, BadSetting> {
        let signing = &self.kafka.signing;
        let keys = signing.keys()?;
        Ok(SignaturePolicy::new(
            keys.iter().map(SecretString::expose_secret),
            signing.are_required,
        ))
    }

    pub fn writers(&self) -> usize {
        self.writers as usize
    }

    pub fn rows_per_second(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.max_rows_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKING: [[&str; 2]; 3] = [
        ["--database-url", "mysql://user:hush@host/name"],
        ["--kafka-brokers", "host:9092"],
        ["--redis-url", "redis://:hush@host"],
    ];

    fn config(more: &[&str]) -> Result<Config, String> {
        let working = WORKING.iter().filter(|[flag, _]| !more.contains(flag));
        let arguments = ["consumer"].iter().chain(working.flatten()).chain(more);
        Config::try_parse_from(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn secrets_are_never_shown() {
        let config = config(&[]).expect("fine");
        config.check().expect("fine");
        assert!(!format!("{config:?} {config:#?}").contains("hush"));
    }

    #[test]
    fn old_names_still_work_with_a_warning() {
        for (more, writers, age, warnings) in [
            (&[][..], 2, 5, 0),
            (&["--writers", "3", "--batch-age", "1s"], 3, 1_000, 0),
            (&["--lanes", "4", "--batch-age-ms", "0"], 4, 0, 2),
            (&["--lanes", "4", "--writers", "3"], 3, 5, 1),
        ] {
            let arguments = ["consumer"].iter().chain(more).map(Into::into);
            let parsed = rushgate_startup::parse_from::<Config>(arguments.collect());
            let parsed = parsed.expect("parses");
            let config = parsed.settings;
            assert_eq!(config.writers(), writers, "{more:?}");
            assert_eq!(config.batch_age, Duration::from_millis(age), "{more:?}");
            assert_eq!(parsed.warnings.len(), warnings, "{more:?}");
        }
    }

    #[test]
    fn unusable_settings_are_refused() {
        for (more, expected) in [
            (
                ["--database-url", "hush"],
                "DATABASE_URL: does not begin with",
            ),
            (["--redis-url", "hush"], "REDIS_URL: is not the address"),
            (["--kafka-topic", " "], "KAFKA_TOPIC: is not set"),
            (["--kafka-group", " "], "KAFKA_GROUP: is not set"),
            (
                ["--coupon-code-keys", "hush"],
                "COUPON_CODE_KEYS: has a key of fewer",
            ),
        ] {
            let config = config(&more).expect("parses");
            let error = config.check().expect_err(expected).to_string();
            assert!(error.starts_with(expected), "{more:?}: {error}");
            assert!(!error.contains("hush"), "{more:?}: {error}");
        }
        for more in [
            ["--batch-size", "0"],
            ["--batch-size", "4097"],
            ["--writers", "0"],
            ["--writers", "17"],
            ["--batch-age", "20"],
            ["--batch-age", "61s"],
            ["--max-rows-per-second", "many"],
            ["--metrics-listen", "9000"],
        ] {
            config(&more).expect_err(more[0]);
        }
    }
}
