//! The problems that were logged about one server. Several parts that use it, such as the writers, share them, so that
//! each problem is logged once until it works again.

use rushgate_startup::Backoff;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub(crate) struct Problems(Mutex<Option<Backoff>>);

impl Problems {
    /// Whether this problem is to be logged.
    pub(crate) fn is_news(&self, problem: &str) -> bool {
        self.lock().get_or_insert_default().is_news(problem)
    }

    /// It works again.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Backoff>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
