//! Waits for a condition, and fails after a deadline.

use std::time::{Duration, Instant};

/// Long enough for slow machines. Only a failing test waits that long.
const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) const INTERVAL: Duration = Duration::from_millis(20);

pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "in vain waited until {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}
