//! Whether this consumer can do its work.

use crate::metrics;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ready is who has a database that answers in every writer, with its tables, and a group that has given him his
/// partitions (which may be none). Shown as a gauge.
#[derive(Debug)]
pub struct Readiness {
    database: Vec<AtomicBool>,
    group: AtomicBool,
}

impl Readiness {
    /// Nothing is known yet.
    pub fn new(writers: usize) -> Self {
        Self {
            database: (0..writers).map(|_| AtomicBool::default()).collect(),
            group: AtomicBool::default(),
        }
    }

    /// Whether the database answers in that writer.
    pub fn database(&self, writer: usize, answers: bool) {
        self.database[writer].store(answers, Ordering::SeqCst);
        self.show();
    }

    /// Whether the group has given us our partitions.
    pub fn group(&self, assigned: bool) {
        self.group.store(assigned, Ordering::SeqCst);
        self.show();
    }

    fn show(&self) {
        let all = self.database.iter().chain([&self.group]);
        metrics::ready(all.into_iter().all(|part| part.load(Ordering::SeqCst)));
    }
}
