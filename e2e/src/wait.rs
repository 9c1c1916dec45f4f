//! Waits until a condition holds, with a deadline. Tests use it and never sleep for a fixed time.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "for tests: what cannot be set up ends the test, and says why"
)]

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest time for anything on a machine that is busy with other tests.
const DEADLINE: Duration = Duration::from_secs(90);

/// Polls until `condition` returns a value, for at most 90 s: then it panics, naming `what`.
pub async fn until<T>(what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
