//! Runs the usual ways as programs: `rushgate-bench serve way` and `rushgate-bench serve way-consumer`.

use super::Way;
use super::count_then_insert::CountThenInsert;
use super::for_update::ForUpdate;
use super::incr_insert::IncrInsert;
use super::incr_kafka::{IncrKafka, Topic, consume};
use super::sadd_scard::SaddScard;
use super::service::serve;
use anyhow::{Result, bail};
use clap::Args;
use std::future::pending;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// A service.
#[derive(Args)]
pub struct Service {
    /// The way
    way: Way,
    /// Address to listen on
    #[arg(long)]
    listen: SocketAddr,
    /// Coupons of a campaign
    #[arg(long)]
    quota: u32,
    #[command(flatten)]
    servers: Servers,
}

/// The consumer that inserts the coupons of `incr-kafka`.
#[derive(Args)]
pub struct Consumer {
    #[command(flatten)]
    servers: Servers,
}

#[derive(Args)]
struct Servers {
    /// Address of the database, with the schema
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Address of Redis
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    redis_url: String,
    /// Kafka's bootstrap servers
    #[arg(long, env = "KAFKA_BROKERS")]
    kafka_brokers: String,
    /// The topic of incr-kafka
    #[arg(long, env = "KAFKA_TOPIC")]
    kafka_topic: String,
}

impl Service {
    /// Serves until the process ends.
    ///
    /// # Errors
    /// When a server does not answer, or the address cannot be used.
    pub async fn run(&self) -> Result<()> {
        let (quota, servers) = (self.quota, &self.servers);
        let (database, redis) = (&servers.database_url, &servers.redis_url);
        let listener = TcpListener::bind(self.listen).await?;
        let served = match self.way {
            Way::CountThenInsert => {
                let way = CountThenInsert::connect(database, quota).await?;
                serve(listener, way, pending()).await
            }
            Way::ForUpdate => {
                let way = ForUpdate::connect(database).await?;
                serve(listener, way, pending()).await
            }
            Way::IncrInsert => {
                let way = IncrInsert::connect(redis, database, quota).await?;
                serve(listener, way, pending()).await
            }
            Way::IncrKafka => {
                let way = IncrKafka::connect(redis, &servers.topic(), quota).await?;
                serve(listener, way, pending()).await
            }
            Way::SaddScard => {
                let way = SaddScard::connect(redis, database, quota).await?;
                serve(listener, way, pending()).await
            }
            Way::Spring => bail!("the Spring service is a program of its own, in bench/spring"),
        };
        Ok(served?)
    }
}

impl Consumer {
    /// Consumes until the process ends.
    ///
    /// # Errors
    /// When the database does not answer at the start, or Kafka refuses for good.
    pub async fn run(&self) -> Result<()> {
        let servers = &self.servers;
        consume(&servers.topic(), &servers.database_url, pending()).await
    }
}

impl Servers {
    fn topic(&self) -> Topic {
        Topic {
            brokers: self.kafka_brokers.clone(),
            name: self.kafka_topic.clone(),
        }
    }
}
