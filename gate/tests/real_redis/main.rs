//! The scripts on a real Redis, the one that `REDIS_URL` names.

#![allow(
    clippy::expect_used,
    reason = "helpers of tests, outside #[test] functions"
)]

mod decisions;
mod model;
mod out_of_memory;
mod places;
mod refusal_cache;
mod restore;
mod support;
