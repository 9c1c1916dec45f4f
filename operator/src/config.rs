//! Where the servers are.

use crate::actor::Actor;
use clap::Args;

/// Addresses and credentials, from flags or environment.
#[derive(Args, Clone)]
#[command(next_help_heading = "Where the servers are")]
pub struct Config {
    /// Redis, such as redis://:PASSWORD@HOST:6379/0
    #[arg(
        long,
        env = "REDIS_URL",
        hide_env_values = true,
        global = true,
        default_value = "redis://127.0.0.1:6379",
        hide_default_value = false
    )]
    pub redis_url: String,
    /// MySQL or MariaDB, such as mysql://USER:PASSWORD@HOST:3306/rushgate
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        global = true,
        default_value = "mysql://rushgate@127.0.0.1:3306/rushgate"
    )]
    pub database_url: String,
    /// Kafka's bootstrap servers, such as HOST:9092,HOST:9092
    #[arg(
        long,
        env = "KAFKA_BROKERS",
        global = true,
        default_value = "127.0.0.1:9092"
    )]
    pub kafka_brokers: String,
    /// The topic that grants travel through
    #[arg(
        long,
        env = "KAFKA_TOPIC",
        global = true,
        default_value = "coupon_create"
    )]
    pub kafka_topic: String,
    /// The consumer group of the consumers
    #[arg(
        long,
        env = "KAFKA_GROUP",
        global = true,
        default_value = "rushgate-consumer"
    )]
    pub kafka_group: String,
    /// Who runs the command, for the log of the campaign; the user and host of the operating system if not given
    #[arg(
        long,
        env = "RUSHGATE_ACTOR",
        global = true,
        default_value_t = Actor::default(),
        hide_default_value = true
    )]
    pub actor: Actor,
}
