#![doc = include_str!("../README.md")]

pub mod answer;
pub mod application;
pub mod auth;
pub mod clock;
pub mod cors;
pub mod counts;
pub mod exchange;
pub mod gate;
pub mod handle;
pub mod lists;
pub mod misses;
pub mod pressure;
pub mod problem;
pub mod refusals;
pub mod route;
pub mod settings;

mod body;
#[cfg(target_family = "wasm")]
mod component;
