#![doc = include_str!("../README.md")]
#![allow(
    missing_docs,
    reason = "a comment that only repeats a name helps no reader"
)]

mod backoff;
mod bad_setting;
mod causes;
mod database;
mod duration;
mod kafka;
mod kafka_error;
mod kafka_headers;
mod log;
mod metrics;
mod old_names;
mod parse;
mod redis;
mod redis_dangers;
mod run;
mod signing;

pub use backoff::Backoff;
pub use bad_setting::BadSetting;
pub use causes::causes;
pub use database::DatabaseSettings;
pub use duration::{duration, duration_or_number_of};
pub use kafka::{ConsumerGroup, KafkaSettings, SecurityProtocol};
pub use kafka_error::LastKafkaError;
pub use kafka_headers::kafka_headers;
pub use metrics::MetricsSettings;
pub use old_names::Renamed;
pub use parse::{Parsed, Settings, parse, parse_from};
pub use redis::RedisSettings;
pub use redis_dangers::redis_dangers;
pub use run::{Shutdown, block_on, run};
pub use secrecy::{ExposeSecret, SecretString};
pub use signing::SigningSettings;
