//! Tests of the whole system. Each test has its own Redis, topic, schema, handlers, bridges and consumers; all
//! programs are the compiled ones. The tests share the Kafka in `KAFKA_BROKERS` and the database server in
//! `DATABASE_URL`. `RUSHGATE_SASL_KAFKA` names a listener of that Kafka that requires a login, with the credentials:
//! `user:password@host:port`; `RUSHGATE_TLS_KAFKA` its listeners with TLS, each as `name=host:port`;
//! `RUSHGATE_CERTIFICATES` the directory of the certificates.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests, outside #[test] functions"
)]

mod audit;
mod auth;
mod browser;
mod cancel;
mod codes;
mod edge;
mod failed;
mod front;
mod host;
mod http;
mod ids;
mod interrupted;
mod journey;
mod kills;
mod lists;
mod load;
mod login;
mod openapi;
mod operator;
mod operator_errors;
mod output;
mod overload;
mod page;
mod personal_data;
mod places;
mod put;
mod redis_away;
mod refusals;
mod restore;
mod rights;
mod rounds;
mod secured;
mod setup;
mod signatures;
mod tab;
mod terms;
mod topic;
mod upgrade;
mod view;
mod watch;
mod watching;
