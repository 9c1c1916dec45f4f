//! Keeps the time of Redis, whose clock decides when rounds open and close. Each response reports this time, so that
//! clients can count down.
//!
//! The time comes with the replies of the scripts, so reading it costs no extra request. It lags behind the clock of
//! Redis by the network delay of the last reply, and it is never ahead.

use rushgate_gate::Millis;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The last reading, and when it arrived.
static LAST_READING: Mutex<Option<(Millis, Instant)>> = Mutex::new(None);

/// Records the time in a reply that arrived `at` that time by the clock of the instance.
pub fn record(now: Millis, at: Instant) {
    let mut last = LAST_READING.lock().unwrap_or_else(PoisonError::into_inner);
    *last = Some((now, at));
}

/// The current time; `None` before the first reply.
pub fn now() -> Option<Millis> {
    let (reading, at) = (*LAST_READING.lock().unwrap_or_else(PoisonError::into_inner))?;
    Some(later(reading, at.elapsed()))
}

/// `instant` plus `age`.
pub fn later(instant: Millis, age: Duration) -> Millis {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Millis::try_from(instant.get().saturating_add(age)).unwrap_or(Millis::MAX)
}
