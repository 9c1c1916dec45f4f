//! The clock of Redis, as this instance heard it last: by it rounds open and close, and pages count down.
//!
//! Each reply of a script tells it, so nothing is asked for it. It is behind by as long as that reply was on its way, and
//! never ahead.

use rushgate_gate::Millis;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What it showed, and when that was heard.
static LAST_READING: Mutex<Option<(Millis, Instant)>> = Mutex::new(None);

/// Notes what it shows.
pub fn record(now: Millis) {
    let mut heard = LAST_READING.lock().unwrap_or_else(PoisonError::into_inner);
    *heard = Some((now, Instant::now()));
}

/// What it shows now; `None` before this instance has heard from Redis.
pub fn now() -> Option<Millis> {
    let (heard, at) = (*LAST_READING.lock().unwrap_or_else(PoisonError::into_inner))?;
    Some(later(heard, at.elapsed()))
}

/// An instant so much later.
pub fn later(instant: Millis, age: Duration) -> Millis {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Millis::try_from(instant.get().saturating_add(age)).unwrap_or(Millis::MAX)
}
