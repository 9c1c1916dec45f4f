//! Tests of the bridge between a real Redis and a real Kafka. Each test starts a separate Redis, because a bridge
//! serves all campaigns of its server, and because some tests stop the server. The tests share the Kafka in
//! `KAFKA_BROKERS`; a test that needs faults of Kafka uses librdkafka's mock cluster.

#![allow(
    clippy::expect_used,
    reason = "helpers of tests, outside #[test] functions"
)]

mod faults;
mod kafka;
mod pace;
mod process;
mod records;
mod redis_server;
mod sharing;
mod support;
