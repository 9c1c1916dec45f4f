//! What this bridge holds: entries on their way to Kafka, and entries that Redis has still to be told about.
//!
//! No I/O and no clock. It guarantees that
//! - an entry is settled (acked, or made a dead letter) only after its delivery report or its rejection,
//! - what is to be settled stays so until Redis has confirmed it,
//! - an entry that is held is not published a second time, however often it is read,
//! - never more than the window is held.

use crate::entry::EntryRef;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The entries that this bridge holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ledger {
    window: usize,
    held: BTreeMap<EntryRef, Standing>,
    /// Those that stand at `ToSettle`, in the order in which they came there.
    to_settle: VecDeque<EntryRef>,
    in_flight: usize,
    reading: bool,
    /// Settled since the read under way began: its reply may still show them as pending.
    settled_meanwhile: BTreeSet<EntryRef>,
}

/// How Redis is told that an entry is done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// It is in Kafka: ack and remove it.
    Ack,
    /// It can never be published: move it to the dead letters, with this reason.
    DeadLetter(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Standing {
    /// Handed to Kafka, no delivery report yet.
    InFlight,
    ToSettle(Settlement),
    /// Redis has been told, and has not answered yet.
    Settling(Settlement),
}

impl Ledger {
    /// An empty ledger that will hold up to `window` entries.
    pub fn new(window: usize) -> Self {
        Self {
            window,
            held: BTreeMap::new(),
            to_settle: VecDeque::new(),
            in_flight: 0,
            reading: false,
            settled_meanwhile: BTreeSet::new(),
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

    /// How many entries Redis has still to confirm as settled.
    pub fn unsettled(&self) -> usize {
        self.held.len() - self.in_flight
    }

    /// A read begins: until it ends, what is settled is remembered.
    pub fn read_began(&mut self) {
        self.reading = true;
    }

    /// The read has ended, and all that it brought has been [admitted](Self::admit).
    pub fn read_ended(&mut self) {
        self.reading = false;
        self.settled_meanwhile.clear();
    }

    /// Takes an entry in as being in flight; `false` if it is held or was settled already.
    pub fn admit(&mut self, entry: EntryRef) -> bool {
        if self.knows(entry) {
            return false;
        }
        self.held.insert(entry, Standing::InFlight);
        self.in_flight += 1;
        true
    }

    /// Whether an entry just read is held, or was settled while it was being read.
    pub fn knows(&self, entry: EntryRef) -> bool {
        self.held.contains_key(&entry) || self.settled_meanwhile.contains(&entry)
    }

    /// The entry in flight will not be heard of again (its delivery report came, or it never reached
    /// Kafka): it is to be settled in this way. Of an entry that is not in flight, nothing is believed.
    pub fn settle(&mut self, entry: EntryRef, settlement: Settlement) {
        if let Some(standing @ Standing::InFlight) = self.held.get_mut(&entry) {
            *standing = Standing::ToSettle(settlement);
            self.in_flight -= 1;
            self.to_settle.push_back(entry);
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
    pub fn take_settlements(&mut self, most: usize) -> Vec<(EntryRef, Settlement)> {
        let entries = self.to_settle.drain(..most.min(self.to_settle.len()));
        entries
            .filter_map(|entry| {
                let standing = self.held.get_mut(&entry)?;
                let Standing::ToSettle(settlement) = standing else {
                    return None;
                };
                let settlement = settlement.clone();
                *standing = Standing::Settling(settlement.clone());
                Some((entry, settlement))
            })
            .collect()
    }

    /// Redis has confirmed: the entry is done with.
    pub fn settled(&mut self, entry: EntryRef) {
        if let Some(Standing::Settling(_)) = self.held.get(&entry) {
            self.held.remove(&entry);
            if self.reading {
                self.settled_meanwhile.insert(entry);
            }
        }
    }

    /// Redis has not confirmed, or its answer was lost: the entry is to be settled again.
    pub fn not_settled(&mut self, entry: EntryRef) {
        if let Some(standing) = self.held.get_mut(&entry)
            && let Standing::Settling(settlement) = standing
        {
            *standing = Standing::ToSettle(settlement.clone());
            self.to_settle.push_back(entry);
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
    fn nothing_is_settled_before_its_report() {
        let mut ledger = Ledger::new(10);
        assert!(ledger.admit(entry(1)));
        assert_eq!(ledger.take_settlements(10), []);
        ledger.settle(entry(1), Settlement::Ack);
        assert_eq!(ledger.take_settlements(10), [(entry(1), Settlement::Ack)]);
        assert_eq!(ledger.take_settlements(10), [], "not twice at once");
    }

    #[test]
    fn a_settlement_is_tried_until_redis_confirms() {
        let mut ledger = Ledger::new(1);
        ledger.admit(entry(1));
        ledger.settle(entry(1), Settlement::DeadLetter("why".to_owned()));
        for _ in 0..3 {
            let tried = ledger.take_settlements(10);
            assert_eq!(
                tried,
                [(entry(1), Settlement::DeadLetter("why".to_owned()))]
            );
            ledger.not_settled(entry(1));
            assert_eq!(ledger.room(), 0, "it is held meanwhile");
        }
        ledger.take_settlements(10);
        ledger.settled(entry(1));
        assert_eq!((ledger.room(), ledger.take_settlements(10)), (1, vec![]));
    }

    #[test]
    fn a_reply_from_before_the_ack_does_not_publish_again() {
        let mut ledger = Ledger::new(10);
        ledger.admit(entry(1));
        ledger.read_began();
        ledger.settle(entry(1), Settlement::Ack);
        ledger.take_settlements(1);
        ledger.settled(entry(1));
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
        ledger.settle(entry(2), Settlement::Ack);
        assert_eq!(ledger.unsettled(), 0);
    }

    proptest! {
        #[test]
        fn the_counts_agree_whatever_happens(steps in prop::collection::vec((0u8..7, 0u64..6), 0..200)) {
            let mut ledger = Ledger::new(6);
            for (step, ms) in steps {
                match step {
                    0 => { ledger.admit(entry(ms)); }
                    1 => ledger.settle(entry(ms), Settlement::Ack),
                    2 => { ledger.release(entry(ms)); }
                    3 => { ledger.take_settlements(usize::try_from(ms).expect("small")); }
                    4 => ledger.settled(entry(ms)),
                    5 => ledger.not_settled(entry(ms)),
                    _ => if ledger.reading { ledger.read_ended() } else { ledger.read_began() },
                }
                let standing = |wanted: fn(&Standing) -> bool| ledger.held.values().filter(|held| wanted(held)).count();
                prop_assert_eq!(ledger.in_flight(), standing(|held| *held == Standing::InFlight));
                prop_assert_eq!(ledger.to_settle.len(), standing(|held| matches!(held, Standing::ToSettle(_))));
                prop_assert_eq!(ledger.room() + ledger.in_flight() + ledger.unsettled(), 6);
            }
        }
    }
}
