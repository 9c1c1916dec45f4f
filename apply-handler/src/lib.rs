#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "a comment that repeats the name has no use")]

// The way of one request, from top to bottom.

// Received.
#[cfg(target_family = "wasm")]
mod component;
pub mod http_io;

// Routed, and handled from there to the response.
pub mod handle;
pub mod route;

// Who applies, and for what.
pub mod application;
pub mod auth;
pub mod body_reader;
pub mod request_body;

// Answered without the gate, where a cache or an overload allows it.
pub mod load_shedding;
pub mod overview_cache;
pub mod refusal_cache;
pub mod unknown_campaigns;

// Decided.
pub mod clock;
pub mod deadline;
pub mod gate;

// Answered.
pub mod application_response;
pub mod campaign_pages;
pub mod campaign_response;
pub mod cors;
mod coupon_codes;
mod polling;
pub mod problem;
pub mod response;
mod response_body;
pub mod web_page;

// Around it.
pub mod settings;
