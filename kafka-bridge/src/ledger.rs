//! What this bridge holds: entries on their way to Kafka, and entries that Redis has still to be told about.
//!
//! No I/O and no clock. It guarantees that
//! - an entry is completed (acked, or made a dead letter) only after its delivery report or its rejection,
//! - what is to be completed stays so until Redis has confirmed it,
//! - an entry that is held is not published a second time, however often it is read,
//! - never more than the window is held.

use crate::entry::EntryRef;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The entries that this bridge holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ledger {
    window: usize,
    held: BTreeMap<EntryRef, Standing>,
    /// Those that stand at `ToComplete`, in the order in which they came there.
    to_complete: VecDeque<EntryRef>,
    in_flight: usize,
    reading: bool,
    /// Completed since the read under way began: its reply may still show them as pending.
    completed_meanwhile: BTreeSet<EntryRef>,
}

/// How Redis is told that an entry is done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Completion {
    /// It is in Kafka: ack and remove it.
    Ack,
    /// It can never be published: move it to the dead letters, with this reason.
    DeadLetter(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Standing {
    /// Handed to Kafka, no delivery report yet.
    InFlight,
    ToComplete(Completion),
    /// Redis has been told, and has not answered yet.
    Completing(Completion),
}

impl Ledger {
    /// An empty ledger that will hold up to `window` entries.
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

    /// How many more entries it can take.
    pub fn room(&self) -> usize {
        self.window.saturating_sub(self.held.len())
    }

    /// How many entries wait for their delivery report.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many entries Redis has still to confirm as completed.
    pub fn unacked(&self) -> usize {
        self.held.len() - self.in_flight
    }

    /// A read begins: until it ends, what is completed is remembered.
    pub fn read_began(&mut self) {
        self.reading = true;
    }

    /// The read has ended, and all that it brought has been [admitted](Self::admit).
    pub fn read_ended(&mut self) {
        self.reading = false;
        self.completed_meanwhile.clear();
    }

    /// Takes an entry in as being in flight; `false` if it is held or was completed already.
    pub fn admit(&mut self, entry: EntryRef) -> bool {
        if self.knows(entry) {
            return false;
        }
        self.held.insert(entry, Standing::InFlight);
        self.in_flight += 1;
        true
    }

    /// Whether an entry just read is held, or was completed while it was being read.
    pub fn knows(&self, entry: EntryRef) -> bool {
        self.held.contains_key(&entry) || self.completed_meanwhile.contains(&entry)
    }

    /// The entry in flight will not be heard of again (its delivery report came, or it never reached
    /// Kafka): it is to be completed in this way. Of an entry that is not in flight, nothing is believed.
    pub fn complete(&mut self, entry: EntryRef, completion: Completion) {
        if let Some(standing @ Standing::InFlight) = self.held.get_mut(&entry) {
            *standing = Standing::ToComplete(completion);
            self.in_flight -= 1;
            self.to_complete.push_back(entry);
        }
    }

    /// The entry in flight was not delivered: it is forgotten, to be read again from Redis, where it is
    /// pending. `false` if it was not in flight.
    pub fn release(&mut self, entry: EntryRef) -> bool {
        if self.held.get(&entry) != Some(&Standing::InFlight) {
            return false;
        }
        self.held.remove(&entry);
        self.in_flight -= 1;
        true
    }

    /// Up to `most` entries that Redis has to be told about now.
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

    /// Redis has confirmed: the entry is done with.
    pub fn completed(&mut self, entry: EntryRef) {
        if let Some(Standing::Completing(_)) = self.held.get(&entry) {
            self.held.remove(&entry);
            if self.reading {
                self.completed_meanwhile.insert(entry);
            }
        }
    }

    /// Redis has not confirmed, or its answer was lost: the entry is to be completed again.
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
    fn nothing_is_completed_before_its_report() {
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
    fn what_failed_is_forgotten_and_can_come_again() {
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
