//! The addresses and credentials of Redis, the database and Kafka, as the command reads them from flags and
//! environment variables.

use crate::actor::Actor;
use clap::Args;
use rushgate_startup::{
    BadSetting, ConsumerGroup, CouponCodeSettings, DatabaseSettings, KafkaSettings, RedisSettings,
};

/// From flags or environment variables, with the names that bridge and consumer use. The defaults fit a machine that
/// runs all servers locally.
#[derive(Args, Clone)]
#[command(next_help_heading = "Where the servers are")]
#[command(
    mut_arg("redis_url", |arg| arg.default_value(RedisSettings::LOCAL).hide_default_value(false)),
    mut_arg("database_url", |arg| {
        arg.default_value(DatabaseSettings::LOCAL).hide_default_value(false)
    }),
    mut_arg("kafka_brokers", |arg| arg.default_value("127.0.0.1:9092").hide_default_value(false))
)]
pub struct Config {
    #[command(flatten)]
    pub redis: RedisSettings,
    #[command(flatten)]
    pub database: DatabaseSettings,
    #[command(flatten)]
    pub kafka: KafkaSettings,
    #[command(flatten)]
    pub group: ConsumerGroup,
    #[command(flatten)]
    pub coupon_codes: CouponCodeSettings,
    /// Who runs the command, for the log of the campaign; default: user and host of the operating system
    #[arg(
        long,
        env = "RUSHGATE_ACTOR",
        global = true,
        default_value_t = Actor::default(),
        hide_default_value = true
    )]
    pub actor: Actor,
}

impl Config {
    /// Checks settings that no amount of waiting would make usable.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn check(&self) -> Result<(), BadSetting> {
        self.redis.client()?;
        self.database.options()?;
        self.kafka.client("rushgate")?;
        self.coupon_codes.keys()?;
        self.group.id().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser, Subcommand};
    use rushgate_startup::ExposeSecret;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        config: Config,
        #[command(subcommand)]
        _command: Command,
    }

    #[derive(Subcommand)]
    enum Command {
        List,
    }

    #[test]
    fn settings_may_come_before_and_after_the_command() {
        Program::command().debug_assert();
        let arguments = [
            "rushgate",
            "--kafka-brokers",
            "host:9092",
            "list",
            "--redis-url",
            "redis://host",
            "--database-url",
            "mysql://host/name",
            "--kafka-topic",
            "topic",
            "--kafka-group",
            "group",
        ];
        let config = Program::try_parse_from(arguments).expect("settings").config;
        config.check().expect("they fit");
        assert_eq!(config.kafka.brokers, "host:9092");
        assert_eq!(config.redis.url.expose_secret(), "redis://host");
        assert_eq!(config.database.url.expose_secret(), "mysql://host/name");
        assert_eq!(config.kafka.topic, "topic");
        assert_eq!(config.group.name, "group");
    }
}
