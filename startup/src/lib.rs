#![doc = include_str!("../README.md")]
#![allow(
    missing_docs,
    reason = "a comment that only repeats a name helps no reader"
)]

mod backoff;
mod bad_setting;
mod broker_certificate;
mod causes;
mod coupon_codes;
mod database;
mod database_error;
mod duration;
mod kafka;
mod kafka_error;
mod kafka_headers;
mod kafka_tls;
mod log;
mod metrics;
mod old_names;
mod parse;
mod pem;
mod redis;
mod redis_dangers;
mod redis_error;
mod run;
mod secret;
mod security_protocol;
mod signing;

pub use backoff::Backoff;
pub use bad_setting::BadSetting;
pub use causes::{advice, causes};
pub use coupon_codes::CouponCodeSettings;
pub use database::DatabaseSettings;
pub use duration::{duration, duration_or_number_of};
pub use kafka::{ConsumerGroup, KafkaSettings};
pub use kafka_error::{LastKafkaError, is_missing_kafka_right};
pub use kafka_headers::kafka_headers;
pub use kafka_tls::KafkaTlsSettings;
pub use metrics::MetricsSettings;
pub use old_names::Renamed;
pub use parse::{Parsed, Settings, parse, parse_from};
pub use redis::RedisSettings;
pub use redis_dangers::{RedisDanger, redis_dangers};
pub use redis_error::{is_missing_right, is_refused_connection};
pub use run::{Shutdown, block_on, run};
pub use secrecy::{ExposeSecret, SecretString};
pub use security_protocol::SecurityProtocol;
pub use signing::SigningSettings;
