#![doc = include_str!("../README.md")]
#![allow(
    missing_docs,
    reason = "a comment that only repeats a name helps no reader"
)]

// The way of one record, from top to bottom.

/// Read: a thread reads the topic, decodes each record, sends it to a writer, and commits its offset at the end.
pub mod kafka {
    pub(crate) mod commit_timeouts;
    pub(crate) mod decode;
    pub(crate) mod group;
    pub(crate) mod headers;
    pub mod offsets;
    pub(crate) mod prefix;
    pub(crate) mod record;
    pub(crate) mod routing;
    pub(crate) mod topic;
    pub(crate) mod tracker;
}

// Gathered: a writer gathers records in a batch, and passes the batch on when it is written.
mod batch;
mod rate_limit;
mod writer;

/// Judged and written: the transaction of a batch.
pub mod table {
    pub(crate) mod coupon_row;
    pub(crate) mod dead_letter;
    pub(crate) mod error;
    pub(crate) mod existing;
    pub(crate) mod failure;
    pub(crate) mod insert;
    pub mod judge;
    #[cfg(test)]
    mod model;
    pub(crate) mod outcome;
    pub(crate) mod parked;
    pub(crate) mod parking;
    pub mod plan;
    pub(crate) mod revoke;
    pub(crate) mod rounds;
    pub(crate) mod row_codes;
    pub(crate) mod session;
    pub(crate) mod statement_length;
    pub(crate) mod store;
    pub(crate) mod streak;
}

/// Confirmed: after its COMMIT, the gate learns which grants have their rows.
mod gate {
    pub(crate) mod committed;
    pub(crate) mod confirm;
    pub(crate) mod connection;
    pub(crate) mod halt;
}

// Rejected: the record becomes a dead letter. Some dead letters are replayed later.
pub mod rejection;
mod replayer;

// The program around it.
pub mod config;
mod consumer;
mod ending;
pub mod metrics;
mod problems;
mod readiness;

pub use config::Config;
pub use consumer::run;
pub use ending::Stopped;
