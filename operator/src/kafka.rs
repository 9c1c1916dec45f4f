//! Kafka: the topic that carries grants. It is created and checked, the records that consumers have not committed are
//! read, and records are published again.

mod client;
mod lag;
mod publish;
mod read;
mod topic;

pub use client::Kafka;
pub use lag::{LagReader, TopicReading};
pub use topic::{Creation, TopicStatus, TopicTerms};
