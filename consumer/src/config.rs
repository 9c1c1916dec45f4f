//! All settings, from flags and environment, checked before anything starts.

mod kafka;
mod secret;

pub use kafka::{KafkaConfig, SecurityProtocol};
pub use secret::Secret;

use clap::Parser;
use redis::IntoConnectionInfo;
use redis::io::tcp::TcpSettings;
use sqlx::ConnectOptions;
use sqlx::mysql::MySqlConnectOptions;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// Reads grants from Kafka and inserts them into MySQL or MariaDB.
#[derive(Clone, Debug, Parser)]
#[command(name = "consumer", version)]
pub struct Config {
    /// The database: mysql://user:password@host:port/name
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    #[arg(default_value = "", hide_default_value = true)]
    // check() names the variable, clap would not
    pub database_url: Secret,

    /// The gate, which is told what is committed: redis://host:port, redis://user:password@host:port/database,
    /// or rediss:// for TLS
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    #[arg(default_value = "", hide_default_value = true)]
    pub redis_url: Secret,

    /// Where to read.
    #[command(flatten)]
    pub kafka: KafkaConfig,

    /// The most records in a transaction.
    #[arg(long, env = "CONSUMER_BATCH_SIZE", default_value_t = 1024)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch_size: u32,

    /// How many transactions are under way at once, each over a connection of its own.
    #[arg(long, env = "CONSUMER_LANES", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=16))]
    pub lanes: u32,

    /// The longest that a record waits for others to share its transaction, in milliseconds: short enough
    /// that nobody notices, long enough for a busy topic to fill a batch.
    #[arg(long, env = "CONSUMER_BATCH_AGE_MS", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub batch_age_ms: u64,

    /// The most rows a second, to protect a database that others need too; 0 is unlimited.
    #[arg(long, env = "CONSUMER_MAX_ROWS_PER_SECOND", default_value_t = 0)]
    pub max_rows_per_second: u32,

    /// So many dead letters in a row, without one good record between them, stop the consumer; 0: never. (Fewer
    /// cannot tell a bad deployment from bad data.)
    #[arg(long, env = "CONSUMER_ALL_BAD_STOPS_AT", default_value_t = 10)]
    pub all_bad_stops_at: u32,

    /// Where to serve Prometheus metrics, as address:port; not at all if absent.
    #[arg(long, env = "METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
}

/// A setting that cannot be used, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct BadSetting {
    variable: &'static str,
    problem: String,
}

impl Config {
    /// Checks what a single setting cannot know, and that the database's address can be used.
    ///
    /// # Errors
    /// With the variable's name and what to do.
    pub fn check(&self) -> Result<(), BadSetting> {
        self.database()?;
        self.redis()?;
        self.kafka.check()
    }

    /// How to connect to the database; never shown, because it holds the password.
    ///
    /// # Errors
    /// When the address cannot be used. The error does not quote it.
    pub fn database(&self) -> Result<MySqlConnectOptions, BadSetting> {
        let url = self.database_url.reveal();
        let bad = |problem: &str| {
            bad(
                "DATABASE_URL",
                format!(
                    "{problem}; it is written mysql://user:password@host:port/name, with % @ : / in user or password as %25 %40 %3A %2F"
                ),
            )
        };
        if url.is_empty() {
            return Err(bad("is not set"));
        }
        if !url.starts_with("mysql://") && !url.starts_with("mariadb://") {
            return Err(bad("does not begin with mysql:// (or mariadb://)"));
        }
        let options: MySqlConnectOptions = url.parse().map_err(|_| bad("is not an address"))?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(bad("names no database"));
        }
        Ok(options
            .timezone(Some("+00:00".to_owned()))
            .charset("utf8mb4")
            .disable_statement_logging())
    }

    /// A client of the gate's Redis. It does not connect yet.
    ///
    /// # Errors
    /// When the address cannot be used. The error does not quote it.
    pub fn redis(&self) -> Result<redis::Client, BadSetting> {
        let address = self.redis_url.reveal().into_connection_info();
        // The end of a long pipeline does not wait until its beginning is acknowledged.
        let undelayed = TcpSettings::default().set_nodelay(true);
        let client = address.and_then(|it| redis::Client::open(it.set_tcp_settings(undelayed)));
        client.map_err(|_| {
            bad(
                "REDIS_URL",
                "is not the address of a Redis; it is written redis://host:port, \
                 redis://user:password@host:port/database, or rediss:// for TLS",
            )
        })
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

fn bad(variable: &'static str, problem: impl Into<String>) -> BadSetting {
    BadSetting {
        variable,
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKING: &[&str] = &[
        "--database-url",
        "mysql://user:hush@host/name",
        "--kafka-brokers",
        "host:9092",
        "--redis-url",
        "redis://:hush@host",
    ];

    fn config(more: &[&str]) -> Result<Config, String> {
        let arguments = ["consumer"].iter().chain(WORKING).chain(more);
        Config::try_parse_from(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn secrets_are_never_shown() {
        let more = [
            "--kafka-security-protocol",
            "SASL_SSL",
            "--kafka-sasl-mechanism",
            "plain",
            "--kafka-sasl-username",
            "me",
            "--kafka-sasl-password",
            "hush",
        ];
        let config = config(&more).expect("fine");
        config.check().expect("fine");
        assert!(!format!("{config:?}").contains("hush"));
        assert!(!format!("{config:#?}").contains("hush"));
        assert_eq!(config.kafka.client().get("sasl.password"), Some("hush"));
    }

    #[test]
    fn a_bad_database_url_is_explained_and_not_quoted() {
        for url in [
            "",
            "hush",
            "postgres://user:hush@host/name",
            "mysql://user:hush@host",
            "mysql://user:hush@host/",
            "mysql://user:hu sh@ho st:port/x",
        ] {
            let config = Config {
                database_url: Secret::from(url),
                ..config(&[]).expect("fine")
            };
            let error = config.check().expect_err(url).to_string();
            assert!(error.starts_with("DATABASE_URL: "), "{error}");
            assert!(
                error.contains("mysql://user:password@host:port/name"),
                "{error}"
            );
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn settings_that_do_not_fit_each_other_are_refused() {
        for (more, expected) in [
            (&["--kafka-topic", " "][..], "KAFKA_TOPIC: is not set"),
            (
                &["--kafka-security-protocol", "sasl_ssl"],
                "KAFKA_SASL_MECHANISM: is needed",
            ),
            (
                &["--kafka-sasl-username", "me"],
                "KAFKA_SASL_USERNAME: is used only with",
            ),
            (&["--kafka-ssl-ca", "/x"], "KAFKA_SSL_CA: is used only with"),
            (
                &[
                    "--kafka-security-protocol",
                    "ssl",
                    "--kafka-ssl-ca",
                    "/no/such",
                ],
                "KAFKA_SSL_CA: /no/such is not a file",
            ),
        ] {
            let error = config(more)
                .expect("parses")
                .check()
                .expect_err(expected)
                .to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        for more in [
            ["--batch-size", "0"],
            ["--batch-size", "4097"],
            ["--lanes", "0"],
            ["--batch-age-ms", "-1"],
            ["--max-rows-per-second", "many"],
            ["--metrics-listen", "9000"],
            ["--kafka-sasl-mechanism", "GUESS"],
        ] {
            config(&more).expect_err(more[0]);
        }
    }
}
