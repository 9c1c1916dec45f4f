//! [`Offsets`], shared by the thread that reads and the task that writes.

use crate::offsets::Offsets;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Offsets behind a lock, and a way to wait until all that was read is done.
#[derive(Debug, Default)]
pub struct Tracker {
    offsets: Mutex<Offsets>,
    changed: Condvar,
}

impl Tracker {
    /// The offsets. Not to be held across anything that waits.
    pub fn lock(&self) -> MutexGuard<'_, Offsets> {
        // Each of its methods leaves it whole, so there is nothing a panic elsewhere could have broken.
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the offsets and wakes those who wait.
    pub fn change<T>(&self, change: impl FnOnce(&mut Offsets) -> T) -> T {
        let outcome = change(&mut self.lock());
        self.changed.notify_all();
        outcome
    }

    /// Blocks until nothing is in flight, at most for `longest`. Whether that came.
    pub fn wait_until_drained(&self, longest: Duration) -> bool {
        let (_offsets, waited) = self
            .changed
            .wait_timeout_while(self.lock(), longest, |offsets| offsets.in_flight() > 0)
            .unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }
}
