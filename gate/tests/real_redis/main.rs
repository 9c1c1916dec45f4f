//! Runs the scripts on a real Redis server, the one in `REDIS_URL`.

#![allow(
    clippy::expect_used,
    reason = "helpers of tests, outside #[test] functions"
)]

mod decisions;
mod filter;
mod model;
mod out_of_memory;
mod places;
mod pool_codes;
mod refusal_cache;
mod restore;
mod support;
