//! Keeps track of the entries that this bridge holds: those on their way to Kafka, and those that it still has to ack
//! in Redis.
//!
//! No I/O and no clock. The ledger guarantees that:
//! - an entry is completed (acked in Redis, or moved to the dead letters) only after its delivery report or its
//!   rejection;
//! - a completion is repeated until Redis has confirmed it;
//! - an entry that is held is not published a second time, however often it is read;
//! - it never holds more entries than the window.

use crate::entry::EntryRef;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ledger {
    window: usize,
    held: BTreeMap<EntryRef, Standing>,
    /// The entries in state `ToComplete`, in the order in which they reached it.
    to_complete: VecDeque<EntryRef>,
    in_flight: usize,
    reading: bool,
    /// Completed since the current read began. The reply to that read may still list them as pending.
    completed_meanwhile: BTreeSet<EntryRef>,
}

/// How an entry is completed in Redis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Completion {
    /// Kafka has the entry: ack it and delete it from the stream.
    Ack,
    /// The entry can never be published: move it to the dead letters, with this reason.
    DeadLetter(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Standing {
    /// Given to the Kafka producer; its delivery report has not come yet.
    InFlight,
    ToComplete(Completion),
    /// The command was sent to Redis; the reply has not come yet.
    Completing(Completion),
}

impl Ledger {
    /// An empty ledger that holds up to `window` entries.
    pub fn new(window: usize) -> Self {
        Self {
            window,
            held: BTreeMap::new(),
            to_complete: VecDeque::new(),
            in_flight: 0,
            reading: false,
            completed_meanwhile: BTreeSet::new(),
        }
    }

    pub fn room(&self) -> usize {
        self.window.saturating_sub(self.held.len())
    }

    /// The number of entries that wait for their delivery report.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The number of entries that Redis has not yet confirmed as acked or moved.
    pub fn unacked(&self) -> usize {
        self.held.len() - self.in_flight
    }

    /// A read begins. Until it ends, the ledger remembers which entries were completed.
    pub fn read_began(&mut self) {
        self.reading = true;
    }

    /// The read has ended, and all its entries have been [admitted](Self::admit).
    pub fn read_ended(&mut self) {
        self.reading = false;
        self.completed_meanwhile.clear();
    }

    /// Adds an entry as in flight. Returns `false` if it is held already, or was completed while it was being
    /// read.
    pub fn admit(&mut self, entry: EntryRef) -> bool {
        if self.knows(entry) {
            return false;
        }
        self.held.insert(entry, Standing::InFlight);
        self.in_flight += 1;
        true
    }

    /// Whether an entry is held, or was completed while it was being read.
    pub fn knows(&self, entry: EntryRef) -> bool {
        self.held.contains_key(&entry) || self.completed_meanwhile.contains(&entry)
    }

    /// The entry's delivery report came, or it never reached Kafka: it is to be completed in this way. Does
    /// nothing if the entry is not in flight.
    pub fn complete(&mut self, entry: EntryRef, completion: Completion) {
        if let Some(standing @ Standing::InFlight) = self.held.get_mut(&entry) {
            *standing = Standing::ToComplete(completion);
            self.in_flight -= 1;
            self.to_complete.push_back(entry);
        }
    }

    /// The entry was not delivered. It is forgotten, and read again from Redis, where it is pending. Returns
    /// `false` if it was not in flight.
    pub fn release(&mut self, entry: EntryRef) -> bool {
        if self.held.get(&entry) != Some(&Standing::InFlight) {
            return false;
        }
        self.held.remove(&entry);
        self.in_flight -= 1;
        true
    }

    /// Takes up to `most` entries that are to be completed now.
    pub fn take_completions(&mut self, most: usize) -> Vec<(EntryRef, Completion)> {
        let entries = self.to_complete.drain(..most.min(self.to_complete.len()));
        entries
            .filter_map(|entry| {
                let standing = self.held.get_mut(&entry)?;
                let Standing::ToComplete(completion) = standing else {
                    return None;
                };
                let completion = completion.clone();
                *standing = Standing::Completing(completion.clone());
                Some((entry, completion))
            })
            .collect()
    }

    /// Redis has confirmed the completion. The entry is no longer held.
    pub fn completed(&mut self, entry: EntryRef) {
        if let Some(Standing::Completing(_)) = self.held.get(&entry) {
            self.held.remove(&entry);
            if self.reading {
                self.completed_meanwhile.insert(entry);
            }
        }
    }

    /// Redis has not confirmed the completion, or the reply was lost. It is to be sent again.
    pub fn not_completed(&mut self, entry: EntryRef) {
        if let Some(standing) = self.held.get_mut(&entry)
            && let Standing::Completing(completion) = standing
        {
            *standing = Standing::ToComplete(completion.clone());
            self.to_complete.push_back(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{EntryId, StreamNo};
    use proptest::prelude::*;

    fn entry(ms: u64) -> EntryRef {
        EntryRef {
            stream: StreamNo(0),
            id: EntryId { ms, seq: 0 },
        }
    }

    #[test]
    fn no_entry_is_completed_before_its_report() {
        let mut ledger = Ledger::new(10);
        assert!(ledger.admit(entry(1)));
        assert_eq!(ledger.take_completions(10), []);
        ledger.complete(entry(1), Completion::Ack);
        assert_eq!(ledger.take_completions(10), [(entry(1), Completion::Ack)]);
        assert_eq!(ledger.take_completions(10), [], "not twice at once");
    }

    #[test]
    fn a_completement_is_tried_until_redis_confirms() {
        let mut ledger = Ledger::new(1);
        ledger.admit(entry(1));
        ledger.complete(entry(1), Completion::DeadLetter("why".to_owned()));
        for _ in 0..3 {
            let tried = ledger.take_completions(10);
            assert_eq!(
                tried,
                [(entry(1), Completion::DeadLetter("why".to_owned()))]
            );
            ledger.not_completed(entry(1));
            assert_eq!(ledger.room(), 0, "it is held meanwhile");
        }
        ledger.take_completions(10);
        ledger.completed(entry(1));
        assert_eq!((ledger.room(), ledger.take_completions(10)), (1, vec![]));
    }

    #[test]
    fn a_reply_from_before_the_ack_does_not_publish_again() {
        let mut ledger = Ledger::new(10);
        ledger.admit(entry(1));
        ledger.read_began();
        ledger.complete(entry(1), Completion::Ack);
        ledger.take_completions(1);
        ledger.completed(entry(1));
        assert!(!ledger.admit(entry(1)));
        ledger.read_ended();
        assert!(ledger.admit(entry(1)), "a later read would be right");
    }

    #[test]
    fn an_undelivered_entry_is_forgotten_and_can_be_read_again() {
        let mut ledger = Ledger::new(10);
        ledger.admit(entry(1));
        assert!(!ledger.admit(entry(1)));
        assert!(ledger.release(entry(1)));
        assert!(!ledger.release(entry(1)));
        assert!(ledger.admit(entry(1)));
        // Reports for entries that are not in flight change nothing.
        ledger.complete(entry(2), Completion::Ack);
        assert_eq!(ledger.unacked(), 0);
    }

    proptest! {
        #[test]
        fn the_counts_agree_whatever_happens(steps in prop::collection::vec((0u8..7, 0u64..6), 0..200)) {
            let mut ledger = Ledger::new(6);
            for (step, ms) in steps {
                match step {
                    0 => { ledger.admit(entry(ms)); }
                    1 => ledger.complete(entry(ms), Completion::Ack),
                    2 => { ledger.release(entry(ms)); }
                    3 => { ledger.take_completions(usize::try_from(ms).expect("small")); }
                    4 => ledger.completed(entry(ms)),
                    5 => ledger.not_completed(entry(ms)),
                    _ => if ledger.reading { ledger.read_ended() } else { ledger.read_began() },
                }
                let standing = |wanted: fn(&Standing) -> bool| ledger.held.values().filter(|held| wanted(held)).count();
                prop_assert_eq!(ledger.in_flight(), standing(|held| *held == Standing::InFlight));
                prop_assert_eq!(ledger.to_complete.len(), standing(|held| matches!(held, Standing::ToComplete(_))));
                prop_assert_eq!(ledger.room() + ledger.in_flight() + ledger.unacked(), 6);
            }
        }
    }
}
