//! The composed system, each test with one of its own: a private Redis, a topic, a schema, and as many handlers,
//! bridges and consumers as it asks for, all of them the compiled programs. Kafka and the database server are
//! those that `KAFKA_BROKERS` and `DATABASE_URL` name; `RUSHGATE_SASL_KAFKA` names a listener of that Kafka which asks for a
//! login, and which one: `user:password@host:port`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests, outside #[test] functions"
)]

mod audit;
mod auth;
mod browser;
mod failed;
mod http;
mod interrupted;
mod journey;
mod kills;
mod lists;
mod login;
mod openapi;
mod operator;
mod operator_errors;
mod overload;
mod page;
mod places;
mod redis_away;
mod refusals;
mod restore;
mod rounds;
mod setup;
mod signatures;
mod terms;
mod topic;
mod view;
mod watch;
