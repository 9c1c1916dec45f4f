//! Whether this consumer can do its work.

use crate::metrics;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ready is who has a database that answers, with its tables, and a group that has given him his partitions
/// (which may be none). Shown as a gauge.
#[derive(Debug, Default)]
pub struct Readiness {
    database: AtomicBool,
    group: AtomicBool,
}

impl Readiness {
    /// Whether the database answers.
    pub fn database(&self, answers: bool) {
        self.database.store(answers, Ordering::SeqCst);
        self.show();
    }

    /// Whether the group has given us our partitions.
    pub fn group(&self, assigned: bool) {
        self.group.store(assigned, Ordering::SeqCst);
        self.show();
    }

    fn show(&self) {
        metrics::ready(self.database.load(Ordering::SeqCst) && self.group.load(Ordering::SeqCst));
    }
}
