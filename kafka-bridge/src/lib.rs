#![doc = include_str!("../README.md")]

pub mod bridge;
pub mod config;
pub mod entry;
pub mod flow;
pub mod health;
pub mod lanes;
pub mod ledger;
pub mod metrics;
pub mod overdue;
pub mod record;
pub mod reply;
pub mod sink;
pub mod source;
pub mod streams;
pub mod timers;

mod slot;
