#![doc = include_str!("../README.md")]
#![allow(
    missing_docs,
    reason = "a comment that only repeats a name helps no reader"
)]

pub mod bridge;
pub mod config;
pub mod entry;
pub mod flow;
pub mod health;
pub mod ledger;
pub mod metrics;
pub mod overdue;
pub mod partition_queues;
pub mod read_plan;
pub mod record;
pub mod reply;
pub mod sink;
pub mod stream;
pub mod timers;

mod slot;
