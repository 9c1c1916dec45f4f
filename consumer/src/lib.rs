#![doc = include_str!("../README.md")]

pub mod alarm;
pub mod batch;
pub mod config;
pub mod confirm;
pub mod consumer;
pub mod dead_letter;
pub mod decode;
pub mod failure;
pub mod group;
pub mod headers;
pub mod insert;
pub mod judge;
pub mod lane;
pub mod metrics;
pub mod offsets;
pub mod pace;
pub mod parked;
pub mod plan;
pub mod readiness;
pub mod record;
pub mod refusal;
pub mod replayer;
pub mod rounds;
pub mod session;
pub mod shape;
pub mod source;
pub mod store;
pub mod streak;
pub mod tracker;
pub mod writer;

mod existing;

pub use config::Config;
pub use consumer::{Stopped, run};
