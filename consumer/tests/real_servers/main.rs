//! The compiled consumer between a real Kafka and a real MySQL or MariaDB, those that `KAFKA_BROKERS` and
//! `DATABASE_URL` name, with a gate in the Redis of `REDIS_URL`. Each test has a schema, a topic and a group of its own.

#![allow(
    clippy::expect_used,
    reason = "helpers of tests, outside #[test] functions"
)]

mod confirm;
mod consumer;
mod database;
mod faults;
mod flow;
mod group;
mod keys;
mod neighbours;
mod refused;
mod server;
mod topic;
mod wait;
mod writers;

use consumer::Consumer;
use database::Database;
use topic::Topic;

/// A Redis database in which no campaign is: the consumer raises an alarm, and goes on.
const NO_GATE: u8 = 15;

/// The campaign of every test.
const CAMPAIGN: &str = "welcome";

/// What a consumer stands between, of the test's own, and removed with it.
struct Rig {
    database: Database,
    topic: Topic,
}

impl Rig {
    /// An empty schema with one campaign and one round of that quota, and an empty topic.
    async fn new(quota: u32, partitions: i32) -> Self {
        Self {
            database: Database::new(quota).await,
            topic: Topic::new(partitions).await,
        }
    }

    /// A consumer of this topic into this database.
    fn consumer(&self, settings: &[(&str, &str)]) -> Consumer {
        Consumer::start(&self.database.url, &self.topic, settings)
    }
}

/// The value of a variable that `cargo xtask test` sets.
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask test`"))
}

/// A name that no other test has.
fn unique(kind: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_millis();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{kind}_{}_{now}_{next}", std::process::id())
}
