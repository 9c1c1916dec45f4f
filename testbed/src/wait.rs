//! Waits until a condition holds, with a deadline. Tests use it and never sleep for a fixed time.

use std::time::{Duration, Instant};

/// Longest time for anything on a machine that is busy with other tests. Only a failing test waits this long.
pub const DEADLINE: Duration = Duration::from_secs(120);

const INTERVAL: Duration = Duration::from_millis(20);

/// What a condition returns: `bool`, or an `Option` whose value the caller wants.
pub trait Condition {
    type Value;

    /// The value, if the condition holds.
    fn value(self) -> Option<Self::Value>;
}

impl Condition for bool {
    type Value = ();

    fn value(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Condition for Option<T> {
    type Value = T;

    fn value(self) -> Self {
        self
    }
}

/// Polls until `condition` holds, for at most [`DEADLINE`]: then it panics, naming `what`.
#[cfg(feature = "async")]
pub async fn until<C: Condition>(what: &str, condition: impl AsyncFnMut() -> C) -> C::Value {
    until_within(DEADLINE, what, condition).await
}

/// The same with another deadline, for what takes longer than processes do.
#[cfg(feature = "async")]
pub async fn until_within<C: Condition>(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> C,
) -> C::Value {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition().await.value() {
            return value;
        }
        tokio::time::sleep(pause(deadline, what, begun)).await;
    }
}

/// The same for code that is not async.
pub fn until_blocking<C: Condition>(what: &str, mut condition: impl FnMut() -> C) -> C::Value {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition().value() {
            return value;
        }
        std::thread::sleep(pause(DEADLINE, what, begun));
    }
}

/// How long to sleep before the next look; panics after the deadline.
fn pause(deadline: Duration, what: &str, begun: Instant) -> Duration {
    assert!(begun.elapsed() < deadline, "waited in vain until {what}");
    INTERVAL
}
