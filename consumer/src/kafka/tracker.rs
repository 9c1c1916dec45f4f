//! Shares [`Offsets`] between the thread that reads the topic, the writers and the task that confirms, and lets a
//! thread wait until all records are finished.

use crate::kafka::offsets::Offsets;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Offsets behind a lock, with a way to wait until all records are finished.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    offsets: Mutex<Offsets>,
    changed: Condvar,
}

impl Tracker {
    /// Locks the offsets. Do not hold the lock while waiting for something else.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Offsets> {
        // Each method of `Offsets` leaves it consistent, so a panic elsewhere cannot have damaged it.
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the offsets and wakes the threads that wait for a change.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Offsets) -> T) -> T {
        let outcome = change(&mut self.lock());
        self.changed.notify_all();
        outcome
    }

    /// Blocks until no record is in flight, for at most `longest`. Returns whether that happened.
    pub(crate) fn wait_until_drained(&self, longest: Duration) -> bool {
        let (_offsets, waited) = self
            .changed
            .wait_timeout_while(self.lock(), longest, |offsets| offsets.in_flight() > 0)
            .unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }
}
