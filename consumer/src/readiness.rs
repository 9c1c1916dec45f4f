//! Tracks whether the consumer can work, and exports the result as the gauge `rushgate_consumer_ready`.

use crate::metrics;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ready when every writer's database connection works, the tables exist, and the group has assigned partitions
/// (possibly none).
#[derive(Debug)]
pub(crate) struct Readiness {
    database: Vec<AtomicBool>,
    group: AtomicBool,
}

impl Readiness {
    /// Starts as not ready.
    pub(crate) fn new(writers: usize) -> Self {
        Self {
            database: (0..writers).map(|_| AtomicBool::default()).collect(),
            group: AtomicBool::default(),
        }
    }

    /// Sets whether the database works for this writer.
    pub(crate) fn database(&self, writer: usize, answers: bool) {
        self.database[writer].store(answers, Ordering::SeqCst);
        self.show();
    }

    /// Sets whether the group has assigned partitions.
    pub(crate) fn group(&self, assigned: bool) {
        self.group.store(assigned, Ordering::SeqCst);
        self.show();
    }

    fn show(&self) {
        let all = self.database.iter().chain([&self.group]);
        metrics::ready(all.into_iter().all(|part| part.load(Ordering::SeqCst)));
    }
}
