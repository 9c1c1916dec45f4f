//! The records of one partition that were read and are not yet finished together with all records before them.
//!
//! Records are identified by the order of reading, not by their offsets. Offsets have gaps (compaction, transaction
//! markers), and go back when Kafka has lost the end of a log.

use std::collections::VecDeque;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Prefix {
    /// The sequence number of the first item in `open`.
    first: u64,
    /// Records in the order of reading. The first one is not finished.
    open: VecDeque<Open>,
    /// The offset after the last record that is finished together with all before it: the offset that may be
    /// committed.
    reached: Option<i64>,
    /// The last offset returned for a commit.
    sent: Option<i64>,
    /// The last offset that Kafka has confirmed.
    committed: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Open {
    offset: i64,
    done: bool,
}

impl Prefix {
    /// Adds a record that was read. Returns its sequence number.
    pub(crate) fn read(&mut self, offset: i64) -> u64 {
        let sequence = self.first + self.open.len() as u64;
        self.open.push_back(Open {
            offset,
            done: false,
        });
        sequence
    }

    /// The record is finished. Does nothing if it was finished before.
    pub(crate) fn done(&mut self, sequence: u64) {
        let open = sequence
            .checked_sub(self.first)
            .and_then(|place| self.open.get_mut(usize::try_from(place).ok()?));
        if let Some(open) = open {
            open.done = true;
        }
        while let Some(open) = self.open.pop_front_if(|open| open.done) {
            self.first += 1;
            // In Kafka, the committed offset is that of the next record to read.
            self.reached = Some(open.offset + 1);
        }
    }

    /// The number of records that are not finished.
    pub(crate) fn in_flight(&self) -> usize {
        self.open.iter().filter(|open| !open.done).count()
    }

    /// The offset that may be committed, unless it was returned before.
    pub(crate) fn take_progress(&mut self) -> Option<i64> {
        self.take_unless(self.sent)
    }

    /// The offset that may be committed, unless Kafka has confirmed it.
    pub(crate) fn take_unconfirmed(&mut self) -> Option<i64> {
        self.take_unless(self.committed)
    }

    fn take_unless(&mut self, known: Option<i64>) -> Option<i64> {
        let reached = self.reached.filter(|_| known != self.reached)?;
        self.sent = Some(reached);
        Some(reached)
    }

    pub(crate) fn committed(&mut self, next: i64) {
        self.committed = Some(next);
    }

    /// A commit failed. Its offset will be returned again.
    pub(crate) fn commit_failed(&mut self) {
        self.sent = self.committed;
    }

    /// Whether Kafka has not answered the last commit.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.sent != self.committed
    }

    /// The last offset that Kafka has confirmed.
    pub(crate) fn confirmed(&self) -> Option<i64> {
        self.committed
    }
}
