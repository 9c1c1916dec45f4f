//! The bridge on a real Redis (each test starts one of its own, since every bridge on a server sees all of its
//! campaigns, and some tests stop it) and on the real Kafka that `KAFKA_BROKERS` names. Where Kafka has to
//! misbehave to order, librdkafka's mock cluster stands in.

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
