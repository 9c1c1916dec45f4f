#![doc = include_str!("../README.md")]
#![allow(
    missing_docs,
    reason = "a comment that only repeats a name helps no reader"
)]

// The event loop, and its stages in the order in which an entry passes through them.
pub mod bridge;
mod completing;
mod loop_state;
mod publishing;
mod reading;

// Decided without I/O or clock: what to read, to publish and to ack next.
pub mod entry;
pub mod flow;
mod ledger;
pub mod read_plan;

/// Read from Redis, and acked there or moved to the dead letters.
mod stream {
    pub(crate) mod campaigns;
    pub(crate) mod completer;
    pub(crate) mod connection;
    pub(crate) mod reader;
    pub(crate) mod reply;
}

/// Encoded as a record, and sent to Kafka.
mod kafka {
    pub(crate) mod partition_queues;
    pub(crate) mod producer_events;
    pub(crate) mod record;
    pub(crate) mod sink;
}

// What the stages use: one task at a time, whether a server works, and when periodic work is due.
mod health;
mod slot;
mod timers;

// The program around it.
pub mod config;
pub mod metrics;
mod overdue;
