//! Waits for a condition of containers, which take longer than processes.

use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Longest time for anything. Kafka has needed four minutes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Waits until `condition` returns something.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let value = timeout(PATIENCE, wait).await;
    value.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}
