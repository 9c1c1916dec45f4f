//! `rushgate setup`: everything that has to exist before a campaign can.

use crate::config::Config;
use crate::database::Database;
use crate::gate::Gate;
use crate::kafka::Kafka;
use anyhow::{Context, Result};
use clap::Args;
use std::fmt::Display;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Creates the tables and the topic, as far as they are missing.
#[derive(Args)]
pub struct Setup {
    /// How many seconds to wait for servers that are still starting
    #[arg(long, default_value_t = 60)]
    wait: u64,
    /// Partitions of a new topic: as many consumers can share the work
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=1000))]
    partitions: i32,
    /// Replicas of a new topic; the brokers' default if it is not given
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=100))]
    replicas: Option<i32>,
}

impl Setup {
    /// Does it; the text for the operator.
    ///
    /// # Errors
    /// When a server does not answer in time or refuses.
    pub async fn run(&self, config: &Config) -> Result<String> {
        let deadline = Instant::now() + Duration::from_secs(self.wait);
        let database = until(deadline, "the database", || Database::connect(config)).await?;
        let applied = database.migrate().await?;
        until(deadline, "Redis", || Gate::connect(config)).await?;
        let kafka = Kafka::new(config)?;
        let created = until(deadline, "Kafka", || {
            kafka.create_topic(self.partitions, self.replicas)
        })
        .await?;
        let topic = &config.kafka_topic;
        let topic = if created {
            format!("topic {topic} created")
        } else {
            format!("topic {topic} was there")
        };
        Ok(format!("tables ready ({applied} migrations), {topic}"))
    }
}

/// Tries again until it works or the deadline has passed.
async fn until<T, E: Display + Into<anyhow::Error>>(
    deadline: Instant,
    server: &str,
    attempt: impl AsyncFn() -> Result<T, E>,
) -> Result<T> {
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.into()).context(format!("{server} is not ready"));
            }
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}
