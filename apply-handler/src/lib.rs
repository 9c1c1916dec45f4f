#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "a comment that repeats the name has no use")]

pub mod application_response;
pub mod auth;
pub mod campaign_pages;
pub mod campaign_response;
pub mod clock;
pub mod cors;
pub mod gate;
pub mod handle;
pub mod http_io;
pub mod load_shedding;
pub mod overview_cache;
pub mod problem;
pub mod refusal_cache;
pub mod request_body;
pub mod response;
pub mod route;
pub mod settings;
pub mod unknown_campaigns;

#[cfg(target_family = "wasm")]
mod component;
mod response_body;
