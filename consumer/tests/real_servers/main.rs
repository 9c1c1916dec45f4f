//! Tests of the compiled consumer between a real Kafka (`KAFKA_BROKERS`), a real MySQL or MariaDB (`DATABASE_URL`) and
//! a gate in Redis (`REDIS_URL`). Each test has its own schema, topic and consumer group.

#![allow(
    clippy::expect_used,
    reason = "helpers of tests, outside #[test] functions"
)]

mod codes;
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
mod writers;

use consumer::Consumer;
use database::Database;
use topic::Topic;

/// A Redis database without campaigns. The consumer halts the campaign in the database, logs an error, and
/// continues.
const NO_GATE: u8 = 15;

const CAMPAIGN: &str = "welcome";

/// Batches are written when they have all the records that a test sends, however long that takes.
const ONLY_FULL_BATCHES: (&str, &str) = ("CONSUMER_BATCH_AGE", "60s");

/// The database schema and the topic of one test. Both are removed when this is dropped.
struct Rig {
    database: Database,
    topic: Topic,
}

impl Rig {
    /// An empty schema with one campaign and one round of this quota, and an empty topic.
    async fn new(quota: u32, partitions: i32) -> Self {
        Self {
            database: Database::new(quota).await,
            topic: Topic::new(partitions).await,
        }
    }

    /// Starts a consumer from this topic into this schema.
    fn consumer(&self, settings: &[(&str, &str)]) -> Consumer {
        Consumer::start(&self.database.url, &self.topic, settings)
    }
}

/// A variable that `cargo xtask test` sets.
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask test`"))
}

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
