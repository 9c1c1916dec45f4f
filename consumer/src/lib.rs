#![doc = include_str!("../README.md")]
#![allow(
    missing_docs,
    reason = "a comment that only repeats a name helps no reader"
)]

pub mod batch;
pub mod config;
pub mod confirm;
pub mod consumer;
pub mod dead_letter;
pub mod decode;
pub mod failure;
pub mod group;
pub mod halt;
pub mod headers;
pub mod insert;
pub mod judge;
pub mod metrics;
pub mod offsets;
pub mod parked;
pub mod plan;
pub mod rate_limit;
pub mod readiness;
pub mod record;
pub mod rejection;
pub mod replayer;
pub mod rounds;
pub mod routing;
pub mod session;
pub mod statement_length;
pub mod store;
pub mod streak;
pub mod topic;
pub mod tracker;
pub mod writer;

mod existing;

pub use config::Config;
pub use consumer::{Stopped, run};
