//! Waiting for a condition, never for a time.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long anything may take on a machine that is busy with other tests.
const DEADLINE: Duration = Duration::from_secs(90);

/// Polls until `condition` gives something.
pub(crate) async fn until<T>(what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
