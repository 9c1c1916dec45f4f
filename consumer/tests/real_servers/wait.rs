//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// Generous, for slow machines: only a test that fails waits so long.
const DEADLINE: Duration = Duration::from_secs(120);

/// How often a condition is looked at.
pub(crate) const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "in vain waited until {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}
