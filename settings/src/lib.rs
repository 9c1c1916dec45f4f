#![doc = include_str!("../README.md")]

mod bad_setting;
mod database;
mod kafka;
mod kafka_error;
mod parse;
mod redis;
mod secret;
mod signing;

pub use bad_setting::BadSetting;
pub use database::DatabaseSettings;
pub use kafka::{ConsumerGroup, KafkaSettings, SecurityProtocol};
pub use kafka_error::LastKafkaError;
pub use parse::try_parse;
pub use redis::RedisSettings;
pub use secret::Secret;
pub use signing::SigningSettings;
