//! The bridge between a real Redis and a real Kafka. Each test starts its own Redis, because a bridge serves
//! all campaigns of its server, and some tests stop the server. Kafka is the one in `KAFKA_BROKERS`; where a
//! test needs faults of Kafka, it uses librdkafka's mock cluster.

#![allow(
    clippy::expect_used,
    reason = "helpers of tests, outside #[test] functions"
)]

mod faults;
mod kafka;
mod process;
mod records;
mod redis_server;
mod sharing;
mod support;
