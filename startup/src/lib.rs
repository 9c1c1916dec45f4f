#![doc = include_str!("../README.md")]
#![allow(
    missing_docs,
    reason = "a comment that only repeats a name helps no reader"
)]

mod backoff;
mod bad_setting;
mod causes;
mod database;
mod kafka;
mod kafka_error;
mod kafka_headers;
mod log;
mod parse;
mod redis;
mod redis_dangers;
mod signing;

pub use backoff::Backoff;
pub use bad_setting::BadSetting;
pub use causes::causes;
pub use database::DatabaseSettings;
pub use kafka::{ConsumerGroup, KafkaSettings, SecurityProtocol};
pub use kafka_error::LastKafkaError;
pub use kafka_headers::kafka_headers;
pub use log::log_to_stderr;
pub use parse::try_parse;
pub use redis::RedisSettings;
pub use redis_dangers::redis_dangers;
pub use secrecy::{ExposeSecret, SecretString};
pub use signing::SigningSettings;
