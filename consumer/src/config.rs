//! All settings, from flags and environment, checked before anything starts.

use clap::Parser;
use rdkafka::ClientConfig;
use rushgate_gate::signature::SignaturePolicy;
use rushgate_settings::{
    BadSetting, ConsumerGroup, DatabaseSettings, KafkaSettings, RedisSettings, Secret,
};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// Reads grants from Kafka and inserts them into MySQL or MariaDB.
#[derive(Clone, Debug, Parser)]
#[command(name = "consumer", version)]
pub struct Config {
    /// Where to write.
    #[command(flatten)]
    pub database: DatabaseSettings,

    /// The gate, which is told what is committed.
    #[command(flatten)]
    pub redis: RedisSettings,

    /// Where to read.
    #[command(flatten)]
    pub kafka: KafkaSettings,

    /// As part of which group.
    #[command(flatten)]
    pub group: ConsumerGroup,

    /// The most records in a transaction.
    #[arg(long, env = "CONSUMER_BATCH_SIZE", default_value_t = 1024)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch_size: u32,

    /// Number of writers. Each has its own database connection and one open transaction at a time [default: 2]
    #[arg(long, env = "CONSUMER_WRITERS")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=16))]
    pub writers: Option<u32>,

    /// The old name of `--writers`, for one version
    #[arg(long, env = "CONSUMER_LANES", hide = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=16))]
    pub lanes: Option<u32>,

    /// The longest that a record waits for others to share its transaction, in milliseconds: short enough
    /// that nobody notices, long enough for a busy topic to fill a batch.
    #[arg(long, env = "CONSUMER_BATCH_AGE_MS", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub batch_age_ms: u64,

    /// The most rows a second, to protect a database that others need too; 0 is unlimited.
    #[arg(long, env = "CONSUMER_MAX_ROWS_PER_SECOND", default_value_t = 0)]
    pub max_rows_per_second: u32,

    /// So many dead letters in a row, of several campaigns and without one good record between them, stop the consumer;
    /// 0: never. (Fewer cannot tell a bad deployment from bad data.)
    #[arg(long, env = "CONSUMER_ALL_BAD_STOPS_AT", default_value_t = 10)]
    pub all_bad_stops_at: u32,

    /// Where to serve Prometheus metrics, as address:port; not at all if absent.
    #[arg(long, env = "METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
}

impl Config {
    /// Checks what a single setting cannot know, and that the addresses can be used.
    ///
    /// # Errors
    /// With the variable's name and what to do.
    pub fn check(&self) -> Result<(), BadSetting> {
        self.database.options()?;
        self.redis.client()?;
        self.kafka_client().map(drop)
    }

    /// librdkafka's configuration.
    ///
    /// # Errors
    /// When the settings do not fit each other.
    pub fn kafka_client(&self) -> Result<ClientConfig, BadSetting> {
        let mut client = self.kafka.client("rushgate-consumer")?;
        client
            .set("group.id", self.group.id()?)
            // Offsets are committed by us, after the database's COMMIT.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Bridges use no transactions. One that another producer leaves open must not hold up what they publish.
            .set("isolation.level", "read_uncommitted")
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
            .set("topic.metadata.refresh.interval.ms", "10000");
        Ok(client)
    }

    /// Which records are believed to be a bridge's.
    ///
    /// # Errors
    /// When a key cannot be used.
    pub fn trust(&self) -> Result<SignaturePolicy, BadSetting> {
        let signing = &self.kafka.signing;
        let keys = signing.keys()?;
        Ok(SignaturePolicy::new(
            keys.iter().map(Secret::reveal),
            signing.are_required,
        ))
    }

    /// The number of writers: `--writers`, else the old `--lanes`, else 2.
    pub fn writers(&self) -> usize {
        self.writers.or(self.lanes).unwrap_or(2) as usize
    }

    /// A warning for each setting that was given by its old name.
    pub fn renamed_settings(&self) -> Option<&'static str> {
        match (self.lanes, self.writers) {
            (None, _) => None,
            (Some(_), None) => Some(
                "CONSUMER_LANES (--lanes) was renamed and will be removed in the next version: set CONSUMER_WRITERS \
                 (--writers) instead",
            ),
            (Some(_), Some(_)) => Some(
                "CONSUMER_LANES (--lanes) is ignored because CONSUMER_WRITERS (--writers) is set: remove the old one",
            ),
        }
    }

    /// The longest that a record waits for others.
    pub fn batch_age(&self) -> Duration {
        Duration::from_millis(self.batch_age_ms)
    }

    /// The most rows a second, if there is a limit.
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
    fn the_old_name_of_the_writers_still_works_with_a_warning() {
        for (more, writers, warning) in [
            (&[][..], 2, None),
            (&["--writers", "3"], 3, None),
            (&["--lanes", "4"], 4, Some("set CONSUMER_WRITERS")),
            (&["--lanes", "4", "--writers", "3"], 3, Some("is ignored")),
        ] {
            let config = config(more).expect("parses");
            assert_eq!(config.writers(), writers, "{more:?}");
            let shown = config.renamed_settings();
            assert_eq!(shown.is_some(), warning.is_some(), "{more:?}");
            assert!(
                warning.is_none_or(|warning| shown.is_some_and(|shown| shown.contains(warning))),
                "{shown:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for (more, expected) in [
            (
                ["--database-url", "hush"],
                "DATABASE_URL: does not begin with",
            ),
            (["--redis-url", "hush"], "REDIS_URL: is not the address"),
            (["--kafka-topic", " "], "KAFKA_TOPIC: is not set"),
            (["--kafka-group", " "], "KAFKA_GROUP: is not set"),
        ] {
            let config = config(&more).expect("parses");
            let error = config.check().expect_err(expected).to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
        for more in [
            ["--batch-size", "0"],
            ["--batch-size", "4097"],
            ["--writers", "0"],
            ["--lanes", "17"],
            ["--batch-age-ms", "-1"],
            ["--max-rows-per-second", "many"],
            ["--metrics-listen", "9000"],
        ] {
            config(&more).expect_err(more[0]);
        }
    }
}
